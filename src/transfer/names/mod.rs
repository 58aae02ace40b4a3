//! Checks every name that comes from the peer.
//!
//! A name that passes [`SafeName::from_peer`] is one path component. It stays in its directory on every
//! system, and nothing in it can mislead a terminal or a reader. A name that tries to be a path is refused.
//! Misleading characters are replaced by `_`. What only Windows refuses is replaced on Windows, and on other
//! systems only if the disk refuses it too ([`more_and_more_plain`]). Names are bytes: any bytes on Unix, and
//! (potentially ill-formed) UTF-8 elsewhere.

mod likeness;
mod plain;
pub(crate) mod unseen;
#[cfg(any(windows, test))]
mod wide;

use std::ffi::OsString;
use std::fmt;

use crate::transfer::error::Malformed;
pub(crate) use crate::transfer::names::likeness::{likeness, look_alike};
pub(crate) use crate::transfer::names::plain::{Doubt, doubts, more_and_more_plain};
use crate::transfer::names::unseen::{is_blank, is_invisible};

/// Longest name in bytes: NAME_MAX of the usual Unix file systems. NTFS accepts at least as much.
pub(crate) const MAX_NAME: usize = 255;

/// Longest extension that is kept when a name is shortened, in bytes.
const MAX_KEPT_EXTENSION: usize = 16;

/// One path component that is safe to create.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SafeName(Vec<u8>);

impl SafeName {
    /// Checks a name from the peer. Replaces what can be made safe.
    ///
    /// # Errors
    /// [`Malformed::Name`] for an empty name or a path: empty, `.`, `..`, with `/` or NUL.
    pub fn from_peer(raw: &[u8]) -> Result<SafeName, Malformed> {
        match raw {
            b"" => return Err(Malformed::Name("empty")),
            b"." | b".." => return Err(Malformed::Name("a way out of its directory")),
            _ if raw.contains(&b'/') => return Err(Malformed::Name("it is a path")),
            _ if raw.contains(&0) => return Err(Malformed::Name("it holds a NUL byte")),
            _ => {}
        }
        let mut name = Vec::with_capacity(raw.len());
        for chunk in raw.utf8_chunks() {
            let mut before = ' ';
            for c in chunk.valid().chars() {
                let c = match c {
                    // It selects a coloured picture, as in ☺️.
                    '\u{fe0f}' if before >= '\u{2000}' => c,
                    c if is_invisible(c) => '_',
                    c if is_blank(c) => ' ',
                    c => c,
                };
                before = c;
                name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            if cfg!(unix) {
                name.extend_from_slice(chunk.invalid());
            } else if !chunk.invalid().is_empty() {
                name.push(b'_');
            }
        }
        if cfg!(windows) {
            name = plain::portable(&name, |c| !plain::is_reserved(c));
        }
        shorten(&mut name, MAX_NAME);
        fill_long_gaps(&mut name);
        // Nobody sees a space at the end.
        if let Some(last @ b' ') = name.last_mut() {
            *last = b'_';
        }
        Ok(SafeName(name))
    }

    /// As [`SafeName::from_peer`], for a top-level name. Changes a name that a staging directory could have:
    /// otherwise what is sent would be put among what is being received.
    ///
    /// # Errors
    /// As for [`SafeName::from_peer`].
    pub(crate) fn top_from_peer(raw: &[u8]) -> Result<SafeName, Malformed> {
        SafeName::from_peer(raw).map(SafeName::not_like_staging)
    }

    fn not_like_staging(self) -> SafeName {
        if is_staging_like(&self.0) {
            return self.with_suffix("_");
        }
        self
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name in the system's form.
    pub(crate) fn to_os(&self) -> OsString {
        os_from_bytes(&self.0)
    }

    /// This name with `suffix` after it, shortened if necessary.
    #[must_use]
    pub(crate) fn with_suffix(&self, suffix: &str) -> SafeName {
        SafeName(fitted(&self.0, suffix.as_bytes(), MAX_NAME))
    }

    /// The `n`th other name for a taken one: `photo (1).jpg` for `photo.jpg`.
    #[must_use]
    pub(crate) fn numbered(&self, n: u32) -> SafeName {
        let (stem, extension) = split_extension(&self.0);
        let tail = [format!(" ({n})").as_bytes(), extension].concat();
        SafeName(fitted(stem, &tail, MAX_NAME))
    }

    /// For a terminal: nothing in it can move a cursor or stay invisible.
    pub(crate) fn display(&self) -> Escaped<'_> {
        Escaped(&self.0)
    }
}

/// Whether some file system may take a top-level name for that of a staging directory.
pub(crate) fn is_staging_like(name: &[u8]) -> bool {
    name.last_chunk::<5>()
        .is_some_and(|end| end.eq_ignore_ascii_case(b".part"))
}

/// A system's name as bytes for the wire.
pub(crate) fn bytes_from_os(name: &std::ffi::OsStr) -> Vec<u8> {
    // Raw bytes on Unix, UTF-8 with surrogates on Windows.
    name.as_encoded_bytes().to_vec()
}

/// The bytes of a checked name in the system's form.
pub(crate) fn os_from_bytes(name: &[u8]) -> OsString {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(name.to_vec());
    #[cfg(windows)]
    return std::os::windows::ffi::OsStringExt::from_wide(&wide::units(name));
}

/// Files that Windows reads by itself when their directory is opened or their disk is mounted.
const READ_UNASKED: [&[u8]; 3] = [b"desktop.ini", b"autorun.inf", b"folder.htt"];

/// Extensions of files whose icon Windows loads, from any address, when their directory is opened (MITRE
/// ATT&CK, T1187).
const ICON_FROM_ANYWHERE: [&[u8]; 5] = [b"lnk", b"url", b"scf", b"library-ms", b"searchconnector-ms"];

/// Whether directory listings hide a name, or a program acts on it without being asked: dot files, names that
/// a shell's `*` turns into an option (`tar`, `rsync` and others have options that run programs), and a few
/// Windows files.
pub(crate) fn is_hidden(name: &[u8]) -> bool {
    let is_one_of = |known: &[&[u8]], name: &[u8]| known.iter().any(|k| name.eq_ignore_ascii_case(k));
    let extension = name.rsplit(|&b| b == b'.').next().unwrap_or_default();
    matches!(name.first(), Some(b'.' | b'-'))
        || is_one_of(&READ_UNASKED, name)
        || is_one_of(&ICON_FROM_ANYWHERE, extension)
}

/// Bytes shown so that they cannot control a terminal: unsafe characters and bytes outside UTF-8 become
/// escapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_invisible(c) || is_blank(c) {
                    write!(f, "{}", c.escape_unicode())?
                } else {
                    write!(f, "{c}")?
                }
            }
            chunk
                .invalid()
                .iter()
                .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Replaces runs of spaces that push the end of a name out of sight, as in `invoice.pdf          .exe`: two
/// or more before a dot, or four or more anywhere.
fn fill_long_gaps(name: &mut [u8]) {
    let mut rest = name;
    while let Some(start) = rest.iter().position(|&b| b == b' ') {
        let tail = &mut rest[start..];
        let len = tail.iter().take_while(|&&b| b == b' ').count();
        let (gap, tail) = tail.split_at_mut(len);
        if len >= 4 || (len >= 2 && tail.first() == Some(&b'.')) {
            gap.fill(b'_');
        }
        rest = tail;
    }
}

/// Names that Windows gives to devices, whatever follows the first dot (Microsoft, "Naming Files, Paths, and
/// Namespaces"; the superscript digits count as digits).
pub(crate) fn is_windows_device(name: &[u8]) -> bool {
    let stem = name
        .split(|&b| b == b'.' || b == b':')
        .next()
        .unwrap_or(name)
        .trim_ascii_end();
    let Ok(stem) = std::str::from_utf8(stem) else {
        return false;
    };
    let stem = stem.to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$" => true,
        _ => stem
            .strip_prefix("COM")
            .or_else(|| stem.strip_prefix("LPT"))
            .is_some_and(|number| {
                let mut digits = number.chars();
                matches!(
                    (digits.next(), digits.next()),
                    (Some('0'..='9' | '¹' | '²' | '³'), None)
                )
            }),
    }
}

fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&b| b == b'.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_KEPT_EXTENSION => name.split_at(dot),
        _ => (name, b""),
    }
}

fn shorten(name: &mut Vec<u8>, limit: usize) {
    if name.len() > limit {
        let (stem, extension) = split_extension(name);
        *name = fitted(stem, extension, limit);
    }
}

/// `stem` and `tail`; the stem is shortened between two characters if both together are longer than `limit`.
fn fitted(stem: &[u8], tail: &[u8], limit: usize) -> Vec<u8> {
    let room = limit - tail.len();
    let mut end = stem.len().min(room);
    if stem.len() > room {
        let is_continuation = |&b: &u8| b & 0xc0 == 0x80;
        let starts = (room.saturating_sub(3)..=room).rev();
        end = starts
            .into_iter()
            .find(|&at| !is_continuation(&stem[at]))
            .unwrap_or(room);
    }
    [&stem[..end], tail].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(raw: &str) -> String {
        String::from_utf8(SafeName::from_peer(raw.as_bytes()).unwrap().0).unwrap()
    }

    #[test]
    fn names_that_act_by_themselves_count_as_hidden() {
        for name in [
            ".zshenv",
            "-rf",
            "--checkpoint-action=exec=sh x",
            "Desktop.ini",
            "x.LNK",
            "photos.library-ms",
        ] {
            assert!(is_hidden(name.as_bytes()), "{name}");
        }
        for name in ["a.txt", "a-b", "lnk.txt", "desktop.ini.txt"] {
            assert!(!is_hidden(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn paths_are_refused() {
        for raw in [
            "",
            ".",
            "..",
            "/",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a/",
            "a\0b",
        ] {
            assert!(
                matches!(SafeName::from_peer(raw.as_bytes()), Err(Malformed::Name(_))),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn unfit_characters_become_underscores() {
        assert_eq!(safe("a\u{1b}[31mb\nc\u{7f}\u{9b}"), "a_[31mb_c__");
        assert_eq!(safe("photo\u{202e}gpj.exe"), "photo_gpj.exe");
        assert_eq!(safe("a\u{200b}b\u{feff}\u{2066}"), "a_b__");
        assert_eq!(safe("é 日本.txt"), "é 日本.txt");
    }

    #[test]
    fn spaces_that_hide_the_end_of_a_name_are_filled() {
        for space in ["  ", "\u{a0}\u{a0}", "\u{2800}\u{3000}", " \u{2003}", "\u{202f} "] {
            assert_eq!(
                safe(&format!("invoice.pdf{space}.exe")),
                "invoice.pdf__.exe",
                "{space:?}"
            );
        }
        assert_eq!(safe("a    b"), "a____b");
        assert_eq!(safe("a   b .txt"), "a   b .txt");
        assert_eq!(safe("Shot at 3.04\u{202f}PM.png"), "Shot at 3.04 PM.png");
        assert_eq!(safe("\u{263a}\u{fe0f}.txt"), "\u{263a}\u{fe0f}.txt");
        assert_eq!(safe("a\u{fe0f}\u{fe00}\u{e0101}\u{3164}"), "a____");
    }

    #[test]
    fn what_windows_alone_refuses_stays_elsewhere() {
        for (raw, on_windows) in [
            ("aux.c", "_aux.c"),
            ("con.h", "_con.h"),
            ("a\\x2db.mount", "a_x2db.mount"),
            ("..\\..\\evil", ".._.._evil"),
            ("C:\\x", "C__x"),
            ("d:", "d_"),
            ("a.", "a_"),
            ("...", ".._"),
        ] {
            assert_eq!(safe(raw), if cfg!(windows) { on_windows } else { raw });
        }
        assert_eq!(safe("a "), "a_");
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = safe(&format!("{}.jpeg", "é".repeat(150)));
        assert!(name.len() <= MAX_NAME && name.len() > 250 && name.ends_with("é.jpeg"));
        assert_eq!(safe(&"x".repeat(300)).len(), MAX_NAME);
    }

    #[test]
    fn numbered_names_keep_their_extension() {
        let name = |raw: &str| SafeName::from_peer(raw.as_bytes()).unwrap();
        assert_eq!(name("photo.jpg").numbered(1), name("photo (1).jpg"));
        assert_eq!(name(".bashrc").numbered(2), name(".bashrc (2)"));
        assert_eq!(name(&"x".repeat(255)).numbered(3).as_bytes().len(), MAX_NAME);
        assert_eq!(name("vm.img").with_suffix(".part"), name("vm.img.part"));
    }

    #[test]
    #[cfg(unix)]
    fn bytes_outside_utf8_are_kept_and_shown_escaped() {
        let name = SafeName::from_peer(b"a\xff\x1bz").unwrap();
        assert_eq!(name.as_bytes(), b"a\xff_z");
        assert_eq!(name.display().to_string(), "a\\xff_z");
        assert_eq!(
            Escaped(b"x\x1b[2J\xe2\x80\xae").to_string(),
            "x\\u{1b}[2J\\u{202e}"
        );
    }

    proptest! {
        #[test]
        fn whatever_passes_is_one_harmless_component(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(name) = SafeName::from_peer(&raw) {
                let bytes = name.as_bytes();
                prop_assert!(!bytes.is_empty() && bytes.len() <= MAX_NAME);
                prop_assert!(bytes != b"." && bytes != b"..");
                prop_assert!(!bytes.iter().any(|b| matches!(b, b'/' | 0..=0x1f | 0x7f)));
                prop_assert_eq!(SafeName::from_peer(bytes), Ok(name.clone()));
                let path = std::path::PathBuf::from(name.to_os());
                let parts: Vec<_> = path.components().collect();
                prop_assert!(matches!(parts[..], [std::path::Component::Normal(_)]));
                prop_assert!(!name.display().to_string().chars().any(char::is_control));
            }
        }
    }
}
