//! Makes text harmless for a terminal. No other module does.
//!
//! Names and messages of a peer may contain escape codes, line breaks, or characters that reverse or hide
//! their neighbours. Everything that is shown passes through here, whoever wrote it.

use std::borrow::Cow;
use std::fmt::Write;

use crate::transfer::names::unseen::{is_blank, is_invisible};

/// The longest line that is shown, in characters. A longer one is cut and ends with an ellipsis.
const LONGEST: usize = 2_000;

/// Escapes every character that does more than show itself, as `\u{1b}`. Cuts very long text.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", escaped(&text[..end]))),
        None => escaped(text),
    }
}

/// The same without cutting.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_active(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a character acts on the terminal or on its neighbours instead of showing itself.
pub(super) fn is_active(c: char) -> bool {
    is_invisible(c) || is_blank(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_codes_and_bidi_become_visible() {
        assert_eq!(printable("plain näme 写真.jpg"), "plain näme 写真.jpg");
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n\u{9b}31m"),
            "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{9b}31m"
        );
        assert_eq!(printable("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(printable("\u{e0041}"), "\\u{e0041}");
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(printable(&"x".repeat(5_000)).chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn nothing_active_ever_remains(text in any::<String>()) {
            prop_assert!(!printable(&text).contains(is_active));
        }
    }
}
