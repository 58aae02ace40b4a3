//! Paths as the system reads them.

use std::path::{Path, PathBuf};

/// The path without the dots and blanks at its end that Windows ignores: `a.txt.` is the file `a.txt`. Other systems return
/// it unchanged.
pub(crate) fn without_ignored_end(path: PathBuf) -> PathBuf {
    if cfg!(not(windows)) {
        return path;
    }
    let full = std::path::absolute(&path).unwrap_or_default();
    match (full.file_name(), path.file_name()) {
        (Some(read), Some(typed)) if typed.as_encoded_bytes().starts_with(read.as_encoded_bytes()) => {
            path.with_file_name(read)
        }
        _ => path,
    }
}

/// Whether a path names a stream of a file, as a colon does on Windows.
pub(crate) fn names_stream(path: &Path) -> bool {
    cfg!(windows)
        && path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().contains(&b':'))
}

/// Why no path of this system can be like this one, and what to do.
pub(crate) fn impossible(path: &Path) -> Option<(&'static str, &'static str)> {
    if cfg!(windows) && path.as_os_str().as_encoded_bytes().contains(&b'"') {
        // "C:\dir\" gives one, with all that follows on the line.
        return Some((
            "it has a quotation mark in it",
            "if a backslash stands before the closing quotation mark, leave it out: together they mean a quotation mark",
        ));
    }
    None
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn dots_and_blanks_at_the_end_are_no_part_of_a_name() {
        for (typed, read) in [
            ("a.txt.", "a.txt"),
            ("a.txt ", "a.txt"),
            (r"dir\new. .", r"dir\new"),
            ("C:a. ", "C:a"),
            (".hidden", ".hidden"),
            (r"dir\..", r"dir\.."),
            ("...", "..."),
            ("NUL", "NUL"),
            (r"\\?\C:\a.", r"\\?\C:\a."),
        ] {
            assert_eq!(without_ignored_end(typed.into()), Path::new(read), "{typed}");
        }
    }
}
