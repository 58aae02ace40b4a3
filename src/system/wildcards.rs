//! Wildcards in arguments. cmd.exe and PowerShell do not expand them, so the program does.

use std::path::{Path, PathBuf};

use globset::GlobBuilder;

use super::paths::without_ignored_end;

/// Replaces each path whose last component has `*` or `?` by the names that match, sorted. Other systems return the
/// paths unchanged: their shells have expanded them, and a remaining `*` is part of a name.
///
/// # Errors
/// A path that matches nothing: no file of Windows has such a name.
pub(crate) fn expand(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, PathBuf> {
    if cfg!(not(windows)) {
        return Ok(paths);
    }
    let found: Result<Vec<_>, _> = paths.into_iter().map(expand_one).collect();
    found.map(|found| found.concat())
}

fn expand_one(path: PathBuf) -> Result<Vec<PathBuf>, PathBuf> {
    let Some(pattern) = pattern(&path) else {
        return Ok(vec![without_ignored_end(path)]);
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    let place = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(place)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| pattern.is_match(Path::new(name)))
        .map(|name| parent.join(name))
        .collect();
    found.sort();
    if found.is_empty() { Err(path) } else { Ok(found) }
}

/// The pattern in the last component, as Windows reads it: case does not matter, and brackets and braces are
/// ordinary characters.
fn pattern(path: &Path) -> Option<globset::GlobMatcher> {
    let name = path.file_name()?.to_str()?;
    if !name.contains(['*', '?']) {
        return None;
    }
    // To cmd.exe, this is every name: with a dot or without.
    let name = if name == "*.*" { "*" } else { name };
    let mut escaped = String::new();
    for letter in name.chars() {
        match letter {
            '[' | ']' | '{' | '}' => escaped.extend(['[', letter, ']']),
            _ => escaped.push(letter),
        }
    }
    let glob = GlobBuilder::new(&escaped)
        .case_insensitive(true)
        .backslash_escape(false)
        .build();
    glob.ok().map(|glob| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_names_and_all_else_for_itself() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a.jpg", "B.JPG", "c.png", "d[1].jpg", "e{2}.jpg", "README"] {
            #[expect(clippy::disallowed_methods, reason = "a test makes its files")]
            std::fs::write(place.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = expand_one(place.path().join(pattern)).unwrap();
            found
                .iter()
                .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names("*.jpg"), ["B.JPG", "a.jpg", "d[1].jpg", "e{2}.jpg"]);
        assert_eq!(names("?.jpg"), ["B.JPG", "a.jpg"]);
        assert_eq!(names("*[1].*"), ["d[1].jpg"]);
        assert_eq!(names("*.*"), names("*"));
        assert_eq!(names("?{2}.jpg"), ["e{2}.jpg"]);
        let none = place.path().join("*.gif");
        assert_eq!(expand_one(none.clone()), Err(none));
        assert_eq!(names("c.png"), ["c.png"]);
    }

    #[test]
    fn a_pattern_without_a_directory_stays_without_one() {
        let found = expand_one(PathBuf::from("Cargo.t?ml"));
        assert_eq!(found, Ok(vec![PathBuf::from("Cargo.toml")]));
    }
}
