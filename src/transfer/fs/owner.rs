//! The user's own key. With it the program recognises what it made itself.
//!
//! The key has 32 random bytes. It lies in the user's state directory, and nobody else can read it. It proves
//! a journal and the name of a temporary directory (`OwnerKey::mac`). It never leaves this machine, and no
//! peer can learn it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::transfer::error::LocalError;

/// Bytes of the key.
const KEY_LEN: usize = 32;

/// The name of the key's file in the state directory.
const KEY_FILE: &str = "owner-key";

/// What a proof is for. A proof for one purpose is not valid for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The name of a temporary directory.
    Name = 1,
    /// A journal's header.
    Header = 2,
    /// A journal's record.
    Record = 3,
    /// The part that makes a temporary name differ from others.
    Nonce = 4,
}

/// The key of the receiving user.
#[derive(Clone)]
pub struct OwnerKey {
    key: Arc<Zeroizing<[u8; KEY_LEN]>>,
    lasting: bool,
}

impl fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerKey")
            .field("lasting", &self.lasting)
            .finish_non_exhaustive()
    }
}

impl OwnerKey {
    /// The key in the user's state directory. It is created when it is needed first. If there is no such
    /// directory, or it belongs to another user, the key is for this run only ([`OwnerKey::is_lasting`]).
    ///
    /// # Errors
    /// [`LocalError::Key`] if others may know the key or may have put it there. Such a key is neither used
    /// nor replaced.
    pub(crate) fn load() -> Result<OwnerKey, LocalError> {
        match state_directory() {
            Some(dir) => OwnerKey::load_from(&dir),
            None => Ok(OwnerKey::passing()),
        }
    }

    /// As [`OwnerKey::load`], with the key in `dir`, which is created if it does not exist.
    ///
    /// # Errors
    /// Those of [`OwnerKey::load`].
    pub(crate) fn load_from(dir: &Path) -> Result<OwnerKey, LocalError> {
        // With sudo, root may have another user's HOME. It must neither use that user's key nor leave a key
        // there.
        if !file::is_own(dir) {
            return Ok(OwnerKey::passing());
        }
        let path = dir.join(KEY_FILE);
        let read = |path: &Path| match file::read(path) {
            Ok(key) => Ok(key.map(|key| OwnerKey {
                key: Arc::new(key),
                lasting: true,
            })),
            Err(fault) => Err(LocalError::Key {
                path: path.to_owned(),
                fault,
            }),
        };
        if let Some(key) = read(&path)? {
            return Ok(key);
        }
        let fresh = OwnerKey::passing();
        if file::create(dir, &path, &fresh.key).is_err() {
            return Ok(fresh);
        }
        // Another run may have been faster. Then its key is the one to use.
        Ok(read(&path)?.unwrap_or(fresh))
    }

    /// A new random key that is not stored. Only this run can recognise what is made with it.
    pub fn passing() -> OwnerKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        #[expect(
            clippy::disallowed_methods,
            clippy::expect_used,
            reason = "the key is made where it is kept; without the system's randomness nothing here is safe"
        )]
        getrandom::fill(&mut *key).expect("the system has randomness");
        OwnerKey {
            key: Arc::new(key),
            lasting: false,
        }
    }

    /// A known key, for tests.
    pub fn from_bytes(key: [u8; KEY_LEN]) -> OwnerKey {
        OwnerKey {
            key: Arc::new(Zeroizing::new(key)),
            lasting: true,
        }
    }

    /// Whether a later run can recognise what this one makes.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lasting
    }

    /// Keyed BLAKE3 over `purpose` and `parts`. Each part but the last must have a fixed length. Compare
    /// results as [`blake3::Hash`], which takes constant time.
    pub(crate) fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[purpose as u8]);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// `p2pcopy` in the directory where this system keeps the state of programs: XDG Base Directory Specification
/// 0.8, Apple's File System Programming Guide, Windows Known Folders.
fn state_directory() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
    };
    base.map(|base| base.join("p2pcopy"))
}

/// Reads and creates the key's file.
mod file {
    use std::fs::{DirBuilder, File, OpenOptions};
    use std::io::{self, Read, Write};
    use std::path::Path;

    #[cfg(windows)]
    use windows_sys::Win32::Storage::FileSystem::{
        FILE_FLAG_OPEN_REPARSE_POINT, FILE_GENERIC_WRITE, WRITE_DAC,
    };
    use zeroize::Zeroizing;

    use super::KEY_LEN;
    #[cfg(windows)]
    use crate::system;
    use crate::transfer::error::KeyFault;

    /// Whether `dir`, or the nearest directory above it that exists, belongs to this user.
    #[cfg(unix)]
    pub(crate) fn is_own(dir: &Path) -> bool {
        let nearest = dir.ancestors().find_map(|dir| dir.metadata().ok());
        nearest.is_some_and(|found| found.is_dir() && owner(&found) == user())
    }

    #[cfg(not(unix))]
    pub(crate) fn is_own(_: &Path) -> bool {
        true
    }

    #[cfg(unix)]
    fn owner(found: &std::fs::Metadata) -> u32 {
        std::os::unix::fs::MetadataExt::uid(found)
    }

    #[cfg(unix)]
    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Opens the file at `path`. Does not follow a link, and does not wait for a pipe.
    fn open(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
        }
        #[cfg(windows)]
        std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, FILE_FLAG_OPEN_REPARSE_POINT);
        options.open(path)
    }

    /// The key, or `None` if there is no file.
    pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_LEN]>>, KeyFault> {
        let mut file = match open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(KeyFault::Unreadable),
        };
        let found = file.metadata().map_err(|_| KeyFault::Unreadable)?;
        if !found.is_file() || found.len() != KEY_LEN as u64 {
            return Err(KeyFault::NotAKey);
        }
        #[cfg(unix)]
        {
            if owner(&found) != user() {
                return Err(KeyFault::NotOurs);
            }
            if std::os::unix::fs::MetadataExt::mode(&found) & 0o077 != 0 {
                return Err(KeyFault::Open);
            }
        }
        #[cfg(windows)]
        if !system::is_private(&file).map_err(|_| KeyFault::Unreadable)? {
            return Err(KeyFault::Open);
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        file.read_exact(&mut *key).map_err(|_| KeyFault::Unreadable)?;
        Ok(Some(key))
    }

    /// Stores `key` at `path`, completely or not at all. Does nothing if a file is there.
    pub(crate) fn create(dir: &Path, path: &Path, key: &[u8; KEY_LEN]) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        #[cfg(windows)]
        std::os::windows::fs::OpenOptionsExt::access_mode(&mut options, FILE_GENERIC_WRITE | WRITE_DAC);
        builder.create(dir)?;
        // The name reveals nothing about the key and is used only once.
        let tag = blake3::derive_key("p2pcopy v1 temporary name of the owner's key", key);
        let temporary = path.with_extension(&blake3::Hash::from(tag).to_hex()[..16]);
        let mut file = options.open(&temporary)?;
        let outcome = keep_secret(&file)
            .and_then(|()| file.write_all(key))
            .and_then(|()| file.sync_all())
            // A hard link, unlike a rename, never replaces the key of another run.
            .and_then(|()| match std::fs::hard_link(&temporary, path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(_) if !path.exists() => std::fs::rename(&temporary, path),
                other => other,
            });
        let _ = std::fs::remove_file(&temporary);
        outcome
    }

    /// Some file systems give everybody rights to every file.
    fn keep_secret(file: &File) -> io::Result<()> {
        #[cfg(unix)]
        let is_secret = std::os::unix::fs::MetadataExt::mode(&file.metadata()?) & 0o077 == 0;
        #[cfg(windows)]
        let is_secret = system::make_private(file).and_then(|()| system::is_private(file))?;
        if is_secret {
            Ok(())
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests plant files")]
mod tests {
    use super::*;
    use crate::transfer::error::KeyFault;

    fn same(one: &OwnerKey, other: &OwnerKey) -> bool {
        one.mac(Purpose::Name, &[b"x"]) == other.mac(Purpose::Name, &[b"x"])
    }

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state");
        let first = OwnerKey::load_from(&state).unwrap();
        let second = OwnerKey::load_from(&state).unwrap();
        assert!(first.is_lasting() && same(&first, &second));
        assert_eq!(
            std::fs::read_dir(&state).unwrap().count(),
            1,
            "nothing else is left"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&state), mode(&state.join(KEY_FILE))), (0o700, 0o600));
        }
        assert!(!same(&first, &OwnerKey::passing()));
    }

    #[test]
    fn runs_that_start_together_end_with_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let keys: Vec<OwnerKey> = std::thread::scope(|scope| {
            let load = || OwnerKey::load_from(&state).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| same(key, &keys[0])));
    }

    #[test]
    #[cfg(unix)]
    fn a_key_that_others_could_know_is_refused_and_left() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        let fault = || match OwnerKey::load_from(dir.path()) {
            Err(LocalError::Key { fault, .. }) => fault,
            other => panic!("{other:?}"),
        };
        let set = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        std::fs::write(&path, [1; KEY_LEN]).unwrap();
        for mode in [0o640, 0o602, 0o666] {
            set(mode);
            assert_eq!(fault(), KeyFault::Open);
        }
        std::fs::write(&path, [1; KEY_LEN + 1]).unwrap();
        assert_eq!(fault(), KeyFault::NotAKey);
        assert_eq!(std::fs::read(&path).unwrap().len(), KEY_LEN + 1);
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert_eq!(fault(), KeyFault::Unreadable);
    }

    #[test]
    #[cfg(windows)]
    fn a_key_that_everybody_may_read_is_refused_and_left() {
        use std::os::windows::fs::OpenOptionsExt;

        use windows_sys::Win32::Storage::FileSystem::{FILE_GENERIC_READ, WRITE_DAC};
        let dir = tempfile::tempdir().unwrap();
        OwnerKey::load_from(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        let file = std::fs::File::options()
            .access_mode(FILE_GENERIC_READ | WRITE_DAC)
            .open(&path)
            .unwrap();
        crate::system::share_with_everybody(&file);
        let refused = OwnerKey::load_from(dir.path());
        assert!(
            matches!(
                refused,
                Err(LocalError::Key {
                    fault: KeyFault::Open,
                    ..
                })
            ),
            "{refused:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap().len(), KEY_LEN);
    }

    #[test]
    #[cfg(unix)]
    fn without_a_directory_of_ones_own_there_is_a_key_for_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let not_a_directory = dir.path().join("file");
        std::fs::write(&not_a_directory, b"").unwrap();
        let key = OwnerKey::load_from(&not_a_directory.join("state")).unwrap();
        assert!(!key.is_lasting());
    }
}
