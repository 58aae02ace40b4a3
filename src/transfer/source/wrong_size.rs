//! Files that report a wrong size. The system or a program generates them when they are read (/proc, /sys),
//! and they report 0 or a page.
//!
//! They take no room on any disk, which distinguishes them from nearly all other files. Such a file is read
//! to its end when it is listed, and sent as it was at that moment. It is opened without blocking
//! ([`crate::transfer::source::origin`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use cap_std::fs::Metadata;

use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::manifest::EntryIndex;
use crate::transfer::source::origin::OpenError;

/// Largest size that such a file reports: a page, which is 64 KiB on some processors.
#[cfg(unix)]
const LARGEST_PAGE: u64 = 64 << 10;

/// Most bytes that are read of one such file: /proc/kallsyms has about 20 MB.
const MOST_OF_ONE: usize = 32 << 20;

/// Most bytes that are held of all such files.
const MOST_OF_ALL: usize = 64 << 20;

/// The content of such files, by their numbers in the list.
#[derive(Clone, Default, Debug)]
pub(crate) struct Snapshots {
    taken: BTreeMap<EntryIndex, Box<[u8]>>,
    held: usize,
}

/// Whether a file may hold more or fewer bytes than it reports.
#[cfg(unix)]
pub(crate) fn is_due(metadata: &Metadata) -> bool {
    cap_std::fs::MetadataExt::blocks(metadata) == 0 && metadata.len() <= LARGEST_PAGE
}

/// On other systems files report their true size.
#[cfg(not(unix))]
pub(crate) fn is_due(_: &Metadata) -> bool {
    false
}

impl Snapshots {
    /// Reads the file that will be entry `index` of the list. Keeps its content unless it has exactly
    /// `listed` bytes. Returns the number of bytes.
    ///
    /// # Errors
    /// If the file cannot be read; [`LocalError::Endless`] if it holds too much.
    pub(crate) fn take(
        &mut self,
        index: EntryIndex,
        path: &Path,
        listed: u64,
        open: impl FnOnce() -> Result<File, OpenError>,
    ) -> Result<u64, TransferError> {
        let file = open().map_err(|e| e.told("open", path.to_owned()))?;
        let most = MOST_OF_ONE.min(MOST_OF_ALL - self.held);
        let mut bytes = Vec::new();
        (&file)
            .take(most as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| LocalError::new("read", path, e))?;
        if bytes.len() > most {
            return Err(LocalError::Endless(path.to_owned()).into());
        }
        let len = bytes.len() as u64;
        if len != listed {
            self.held += bytes.len();
            self.taken.insert(index, bytes.into());
        }
        Ok(len)
    }

    /// The content of entry `index`, if it was read in advance.
    pub(crate) fn of(&self, index: EntryIndex) -> Option<&[u8]> {
        self.taken.get(&index).map(|bytes| &**bytes)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::PathBuf;

    use rustix::fs::OFlags;

    use super::*;
    use crate::transfer::BlockIndex;
    use crate::transfer::source::missing::Absence;
    use crate::transfer::source::origin;
    use crate::transfer::source::scan::{ScanOptions, scan};
    use crate::transfer::source::{Source, device};

    #[test]
    fn a_file_that_says_it_is_empty_or_a_page_is_sent_as_it_was_when_it_was_listed() {
        // The second file reports a page, where that file system exists.
        let paths = ["/proc/self/stat", "/sys/kernel/mm/transparent_hugepage/enabled"].map(PathBuf::from);
        let paths: Vec<PathBuf> = paths.into_iter().filter(|path| path.exists()).collect();
        let scanned = scan(&paths, &ScanOptions::default()).unwrap();
        let sizes: Vec<usize> = scanned.manifest.iter().map(|(_, e)| e.size as usize).collect();
        assert!(sizes.iter().all(|&size| size > 0 && size < 4096), "{sizes:?}");
        let mut source = Source::files(scanned);
        let mut content = vec![0; 1 << 20];
        let read = source.read_block(BlockIndex::new(0), &mut content).unwrap();
        assert_eq!(read.len, sizes.iter().sum::<usize>());
        let own = format!("{} (", std::process::id());
        assert!(content.starts_with(own.as_bytes()));
        source.check_unchanged().unwrap();
        assert!(source.take_missing().is_empty());
    }

    fn taken(file: File) -> Result<u64, TransferError> {
        Snapshots::default().take(EntryIndex::new(0), Path::new("x"), 0, || Ok(file))
    }

    #[test]
    fn what_gives_nothing_now_is_known_at_once() {
        let (reader, _writer) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let error = taken(File::from(std::os::fd::OwnedFd::from(reader))).unwrap_err();
        assert_eq!(Absence::of(&error), Some(Absence::Waits));
    }

    #[test]
    fn what_has_no_end_is_not_read_for_ever() {
        let error = taken(origin::open_typed(Path::new("/dev/zero")).unwrap()).unwrap_err();
        assert_eq!(Absence::of(&error), Some(Absence::Endless));
    }

    #[test]
    fn a_device_is_read_like_a_pipe_and_a_terminal_that_says_nothing_is_refused() {
        let mut zero = device::open(Path::new("/dev/zero")).unwrap().unwrap();
        let mut bytes = vec![1; 100_000];
        zero.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, vec![0; 100_000]);
        assert!(device::open(Path::new("/proc/self/stat")).unwrap().is_none());
        let master =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let error = device::open(Path::new(name.to_str().unwrap())).err().unwrap();
        assert!(
            matches!(error, LocalError::Io { error, .. } if error.kind() == std::io::ErrorKind::WouldBlock)
        );
    }
}
