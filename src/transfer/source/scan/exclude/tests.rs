use super::*;

/// The `paths` that the patterns leave out, and the unused patterns. Directories end in a slash.
fn left_out(patterns: &[&str], paths: &[&str]) -> (Vec<String>, Vec<String>) {
    let exclude = Exclude::new(patterns).unwrap();
    let mut matcher = Matcher::new(&exclude);
    let out = paths
        .iter()
        .filter(|path| matcher.leaves_out(Path::new(path.trim_end_matches('/')), path.ends_with('/')))
        .map(|path| (*path).to_owned())
        .collect();
    (out, matcher.unused())
}

#[test]
fn every_form_of_a_pattern_leaves_out_what_its_users_expect() {
    let tree = [
        "tree/",
        "tree/cache/",
        "tree/a/cache/",
        "tree/a/b/cache/",
        "tree/b/cache",
        "tree/a/x.o",
        "x.o",
        "cache/",
        "tree/cachet",
        "tree/a/b/c.d",
    ];
    for (pattern, expected) in [
        ("*.o", &["tree/a/x.o", "x.o"][..]),
        ("./*.o", &["tree/a/x.o", "x.o"]),
        (
            "cache",
            &[
                "tree/cache/",
                "tree/a/cache/",
                "tree/a/b/cache/",
                "tree/b/cache",
                "cache/",
            ],
        ),
        (
            "cache/",
            &["tree/cache/", "tree/a/cache/", "tree/a/b/cache/", "cache/"],
        ),
        (
            "cache///",
            &["tree/cache/", "tree/a/cache/", "tree/a/b/cache/", "cache/"],
        ),
        (
            "./cache/",
            &["tree/cache/", "tree/a/cache/", "tree/a/b/cache/", "cache/"],
        ),
        (
            "**/cache/",
            &["tree/cache/", "tree/a/cache/", "tree/a/b/cache/", "cache/"],
        ),
        (
            "**/cache",
            &[
                "tree/cache/",
                "tree/a/cache/",
                "tree/a/b/cache/",
                "tree/b/cache",
                "cache/",
            ],
        ),
        ("/cache", &["tree/cache/", "cache/"]),
        ("/cache/", &["tree/cache/", "cache/"]),
        ("//cache", &["tree/cache/", "cache/"]),
        ("tree/cache", &["tree/cache/"]),
        ("/tree/cache", &["tree/cache/"]),
        ("./tree/cache/", &["tree/cache/"]),
        ("a/x.o", &["tree/a/x.o"]),
        ("tree/*/cache", &["tree/a/cache/", "tree/b/cache"]),
        (
            "tree/**/cache",
            &["tree/cache/", "tree/a/cache/", "tree/a/b/cache/", "tree/b/cache"],
        ),
        (
            "tree/**",
            &[
                "tree/cache/",
                "tree/a/cache/",
                "tree/a/b/cache/",
                "tree/b/cache",
                "tree/a/x.o",
                "tree/cachet",
                "tree/a/b/c.d",
            ],
        ),
        ("c[a-c]che?", &["tree/cachet"]),
        ("{x.o,c.d}", &["tree/a/x.o", "x.o", "tree/a/b/c.d"]),
        ("tree", &["tree/"]),
        ("TREE", if cfg!(windows) { &["tree/"] } else { &[] }),
        ("tree/x.o", &[]),
        ("ache", &[]),
    ] {
        let (out, unused) = left_out(&[pattern], &tree);
        assert_eq!(out, expected, "{pattern}");
        assert_eq!(unused.is_empty(), !expected.is_empty(), "{pattern}");
    }
}

#[test]
fn spaces_and_letters_of_other_scripts_are_matched_exactly() {
    let names = ["t/my file.txt", "t/ lead", "t/caf\u{e9}", "t/#x", "t/!x"];
    for (pattern, expected) in [
        ("my file.*", &["t/my file.txt"][..]),
        (" lead", &["t/ lead"]),
        ("lead", &[]),
        ("caf*", &["t/caf\u{e9}"]),
        ("caf\u{e9}", &["t/caf\u{e9}"]),
        ("#x", &["t/#x"]),
        ("[!a]x", &["t/#x", "t/!x"]),
    ] {
        assert_eq!(left_out(&[pattern], &names).0, expected, "{pattern}");
    }
}

#[test]
#[cfg(unix)]
fn names_that_are_no_text_match_by_their_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(b"t/\xff\xfe.tmp"));
    let exclude = Exclude::new(["*.tmp"]).unwrap();
    assert!(Matcher::new(&exclude).leaves_out(path, false));
    let exclude = Exclude::new(["t/*.tmp"]).unwrap();
    assert!(Matcher::new(&exclude).leaves_out(path, false));
}

#[test]
fn patterns_that_matched_nothing_are_known() {
    let (out, unused) = left_out(&["*.o", "nowhere/", "x.o", "./gone"], &["x.o", "nowhere"]);
    assert_eq!(
        (out.len(), unused),
        (1, vec!["nowhere/".to_owned(), "./gone".to_owned()])
    );
}

#[test]
fn what_is_no_pattern_says_why() {
    for (pattern, reason) in [
        ("[z", "unclosed character class"),
        ("{a", "unclosed alternate"),
        ("[b-a]", "range"),
        ("", "names nothing"),
        ("/", "names nothing"),
        (".", "names nothing"),
        ("./", "names nothing"),
        ("../x", "without .."),
        ("a/../b", "without .."),
        ("!keep", "begins with !"),
    ] {
        let error = Exclude::new([pattern]).unwrap_err().to_string();
        assert!(
            error.contains(reason) && error.contains(&format!("'{pattern}'")),
            "{pattern}: {error}"
        );
    }
    assert_eq!(
        Exclude::new(vec!["x"; MAX_PATTERNS + 1]).unwrap_err(),
        PatternError::TooMany
    );
    let nested = |depth| "{".repeat(depth) + &"}".repeat(depth);
    assert!(Exclude::new([nested(MAX_PATTERN / 2)]).is_ok());
    assert_eq!(
        Exclude::new([nested(1_000_000)]).unwrap_err(),
        PatternError::TooLong
    );
}

#[test]
fn a_file_of_patterns_is_read_line_by_line_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("patterns");
    let put = |bytes: &[u8]| {
        std::io::Write::write_all(
            &mut std::fs::OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap(),
            bytes,
        )
        .unwrap();
    };
    put("\u{feff}*.o\r\n# a comment\n\n  two words \n\\#x\nlast".as_bytes());
    assert_eq!(
        patterns_of_file(&path).unwrap(),
        ["*.o", "  two words ", "\\#x", "last"]
    );
    put(b"ok\n\xff\n");
    assert!(matches!(
        patterns_of_file(&path),
        Err(PatternFileError::NotText(2))
    ));
    put(&vec![b'x'; MAX_FILE as usize + 1]);
    assert!(matches!(patterns_of_file(&path), Err(PatternFileError::TooLong)));
    assert!(matches!(
        patterns_of_file(&dir.path().join("none")),
        Err(PatternFileError::Read(_))
    ));
}
