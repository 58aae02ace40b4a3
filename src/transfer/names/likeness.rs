//! Finds names that some file system may take for the same, and names that look the same.

use std::hash::{DefaultHasher, Hasher};

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

use crate::transfer::names::unseen::is_variation_selector;

/// A number that is equal for all names that some file system may take for the same: in any case, composed or
/// decomposed, canonical or compatible. Equal numbers do not prove that names are the same; only the disk
/// knows.
pub(crate) fn likeness(name: &[u8]) -> u64 {
    let mut key = Vec::with_capacity(name.len());
    if name.is_ascii() {
        // The result is the same as below. Most names are ASCII.
        key.extend(name.iter().map(u8::to_ascii_lowercase));
    } else {
        let mut marks = Vec::new();
        for chunk in name.utf8_chunks() {
            for c in folded(chunk.valid()).filter(|c| !is_variation_selector(*c)) {
                match c {
                    // Removing case turns a combining iota (below a letter) into this letter. Other marks may
                    // stand before or after it, so every iota is left out.
                    'ι' => {}
                    _ if canonical_combining_class(c) > 0 => marks.push(c),
                    _ => key.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            key.extend_from_slice(chunk.invalid());
        }
        marks.sort_unstable();
        key.extend(marks.into_iter().flat_map(|c| u32::from(c).to_be_bytes()));
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(&key);
    hasher.finish()
}

/// Decomposed, case removed, decomposed again: some letters only decompose after case is removed (UAX 15,
/// D146 of Unicode 3.13). Case is removed by lower, upper and lower case again: some letters (ẞ, ſ, ς) only
/// become equal this way.
fn folded(text: &str) -> impl Iterator<Item = char> {
    let lower = text.nfkd().flat_map(char::to_lowercase);
    let turned = lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    turned.nfkd()
}

/// Whether two different names look the same on a screen: they differ only in composed and decomposed
/// letters.
pub(crate) fn look_alike(one: &str, other: &str) -> bool {
    one.nfc().eq(other.nfc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alike(one: &str, other: &str) -> bool {
        likeness(one.as_bytes()) == likeness(other.as_bytes())
    }

    #[test]
    fn names_that_differ_by_case_or_normalisation_are_alike() {
        for (one, other) in [
            ("README", "readme"),
            ("STRASSE", "straße"),
            ("ß", "ẞ"),
            ("Σς", "σσ"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("\u{1e69}", "s\u{307}\u{323}"),
            ("\u{212b}", "\u{e5}"),
            ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}"),
            ("\u{fb01}n", "fin"),
            ("\u{1f80}", "\u{1f00}\u{345}"),
            ("\u{263a}", "\u{263a}\u{fe0f}"),
        ] {
            assert!(alike(one, other), "{one:?}, {other:?}");
        }
        for (one, other) in [
            ("a", "b"),
            ("a", "\u{e4}"),
            ("1", "l"),
            ("\u{430}", "a"),
            ("x", ""),
        ] {
            assert!(!alike(one, other), "{one:?}, {other:?}");
        }
        assert_ne!(likeness(b"a\xff"), likeness(b"a\xfe"));
        assert_eq!(likeness(b"A\xff"), likeness(b"a\xff"));
    }

    #[test]
    fn marks_beside_an_iota_below_may_change_their_order() {
        for name in ["\u{1ff2}\u{dca}", "\u{1f80}\u{10a38}"] {
            assert!(alike(name, &name.to_uppercase()), "{name:?}");
        }
        assert!(!alike("caf\u{e9}", "cafe"));
    }

    #[test]
    fn every_character_is_like_its_other_cases() {
        for c in '\0'..=char::MAX {
            let (lower, upper) = (c.to_lowercase().to_string(), c.to_uppercase().to_string());
            let c = c.to_string();
            assert!(alike(&c, &lower) && alike(&c, &upper), "{c:?}");
        }
    }

    #[test]
    fn composed_and_decomposed_look_the_same_and_other_pairs_do_not() {
        assert!(look_alike("caf\u{e9}", "cafe\u{301}"));
        assert!(!look_alike("caf\u{e9}", "cafe"));
        assert!(!look_alike("README", "readme"));
    }

    proptest! {
        #[test]
        fn a_name_is_like_all_its_forms(name in "\\PC{1,12}") {
            for form in [
                name.nfc().to_string(),
                name.nfd().to_string(),
                name.nfkc().to_string(),
                name.nfkd().to_string(),
                name.to_uppercase(),
                name.to_lowercase(),
                name.nfd().to_string().to_uppercase().nfc().to_string(),
            ] {
                prop_assert!(alike(&name, &form), "{form:?}");
            }
        }
    }
}
