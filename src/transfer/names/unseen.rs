//! The only table of characters that a reader cannot recognise.
//!
//! It decides both which characters are replaced in names and which are escaped on the screen, so the two
//! cannot differ. (Unicode's `Default_Ignorable_Code_Point` and `White_Space`, UAX 9, UTS 39, and U+2800,
//! which is drawn empty.)

/// Control characters, characters that change the direction of writing, and characters without width.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || is_variation_selector(c)
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether it is drawn as empty space but is not a plain space.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{2800}' | '\u{3000}'
    )
}

/// Whether it only selects how the character before it is drawn. It has no width, and ext4's case folding
/// ignores it.
pub(crate) fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_is_a_plain_space_or_in_the_table() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_whitespace() && *c != ' ') {
            assert!(is_invisible(c) != is_blank(c), "{c:?}");
        }
    }

    #[test]
    fn what_is_seen_is_not_in_the_table() {
        for c in "aÅé日本🦀☺-_ .".chars() {
            assert!(!is_invisible(c) && !is_blank(c), "{c:?}");
        }
    }
}
