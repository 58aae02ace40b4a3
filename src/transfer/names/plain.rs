//! Safe names that some file system refuses, and other names to use for them.

use crate::transfer::names::{SafeName, is_windows_device, shorten};

/// Longest name that every file system accepts, in bytes: eCryptfs has the least room.
const ALWAYS_SHORT_ENOUGH: usize = 143;

/// Something in a name that makes some file system refuse it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Doubt {
    /// A character that is not ASCII, or has a special meaning on Windows, FAT or NTFS.
    Char(char),
    /// Bytes that are not UTF-8.
    Bytes,
    /// The name of a Windows device.
    Device,
    /// A dot at the end.
    LastDot,
    /// A length in bytes.
    Length(usize),
}

/// What is doubtful in a name. Empty for most names.
pub(crate) fn doubts(name: &[u8]) -> impl Iterator<Item = Doubt> + '_ {
    let chars = name.utf8_chunks().flat_map(|chunk| {
        let chars = chunk.valid().chars().filter(|&c| !c.is_ascii() || is_reserved(c));
        let bytes = (!chunk.invalid().is_empty()).then_some(Doubt::Bytes);
        chars.map(Doubt::Char).chain(bytes)
    });
    let whole = [
        is_windows_device(name).then_some(Doubt::Device),
        (name.last() == Some(&b'.')).then_some(Doubt::LastDot),
        (name.len() > ALWAYS_SHORT_ENOUGH).then_some(Doubt::Length(name.len())),
    ];
    chars.chain(whole.into_iter().flatten())
}

/// Other names for `name`, each simpler than the one before. `at_the_top`: as for
/// [`SafeName::top_from_peer`].
pub(crate) fn more_and_more_plain(name: &[u8], at_the_top: bool) -> impl Iterator<Item = SafeName> {
    let portable = portable(name, |c| !is_reserved(c));
    let ascii = self::portable(name, |c| c.is_ascii() && !is_reserved(c));
    let mut short = ascii.clone();
    shorten(&mut short, ALWAYS_SHORT_ENOUGH);
    [portable, ascii, short].into_iter().map(move |name| {
        let name = SafeName(name);
        if at_the_top { name.not_like_staging() } else { name }
    })
}

/// Characters that Windows, FAT and NTFS reserve in names (Microsoft, "Naming Files, Paths, and Namespaces").
pub(super) const fn is_reserved(c: char) -> bool {
    matches!(c, '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*')
}

/// `name` in a form that Windows accepts, with only the characters for which `fits` is true.
pub(super) fn portable(name: &[u8], fits: impl Fn(char) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let c = if fits(c) { c } else { '_' };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if !chunk.invalid().is_empty() {
            out.push(b'_');
        }
    }
    if is_windows_device(&out) {
        out.insert(0, b'_');
    }
    shorten(&mut out, super::MAX_NAME);
    // Windows drops dots and spaces at the end, so two names could become one.
    if let Some(last @ (b'.' | b' ')) = out.last_mut() {
        *last = b'_';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plainer(raw: &[u8]) -> Vec<String> {
        let names = more_and_more_plain(raw, true);
        names.map(|name| name.display().to_string()).collect()
    }

    fn portable(raw: &str) -> String {
        plainer(raw.as_bytes()).swap_remove(0)
    }

    #[test]
    fn windows_devices_get_another_name_where_they_are_refused() {
        for raw in [
            "CON",
            "con.txt",
            "Com1.tar.gz",
            "COM¹",
            "lpt³.x",
            "NUL .x",
            "aux",
            "CONIN$",
            "com0",
        ] {
            assert_eq!(portable(raw), format!("_{raw}"));
            assert!(doubts(raw.as_bytes()).any(|doubt| doubt == Doubt::Device));
        }
        for raw in ["CONSOLE", "COM10", "com", "auxiliary", "xCON"] {
            assert_eq!(
                (portable(raw), doubts(raw.as_bytes()).count()),
                (raw.to_owned(), 0)
            );
        }
    }

    #[test]
    fn a_plainer_name_is_taken_by_more_file_systems() {
        assert_eq!(plainer(b"a:b?\xe9"), ["a_b__"; 3]);
        assert_eq!(plainer("é|1.".as_bytes()), ["é_1_", "__1_", "__1_"]);
        let long = plainer(format!("{}.jpeg", "x".repeat(240)).as_bytes());
        assert_eq!(long.iter().map(String::len).collect::<Vec<_>>(), [245, 245, 143]);
        assert!(long[2].ends_with("x.jpeg"));
    }

    #[test]
    fn no_plainer_name_is_one_of_a_staging_directory() {
        let long = format!("{}.part{}", "x".repeat(138), "y".repeat(30));
        for raw in [&long, "x.part:", "é.PART"] {
            for name in plainer(raw.as_bytes()) {
                assert!(!super::super::is_staging_like(name.as_bytes()), "{name}");
            }
        }
    }
}
