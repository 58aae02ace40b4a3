//! Names under which people wait at a server. A name proves nothing: the peer must also know a secret, or
//! both users compare words.

use std::fmt;

/// A name: 1 to [`Name::MAX`] lower-case letters and digits, with `.`, `-`, `_` between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Name(String);

/// What is wrong with a name, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a name has 1 to 32 letters (a to z), digits, and . - _ between them")]
pub(crate) struct NameError;

impl Name {
    /// The most characters of a name.
    pub(crate) const MAX: usize = 32;

    /// Reads a typed name. Case does not matter.
    ///
    /// # Errors
    ///
    /// If the text is not a name.
    pub(crate) fn parse(text: &str) -> Result<Name, NameError> {
        let name = text.trim().to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = name.chars().all(|c| plain(c) || ".-_".contains(c));
        if fits && name.len() <= Self::MAX && name.starts_with(plain) && name.ends_with(plain) {
            Ok(Name(name))
        } else {
            Err(NameError)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_and_what_nobody_could_type_is_no_name() {
        assert_eq!(Name::parse(" Alice.B-2_x "), Name::parse("alice.b-2_x"));
        assert!(Name::parse(&"a".repeat(32)).is_ok());
        for text in [
            "",
            "-a",
            "a.",
            "a b",
            "älice",
            "a/b",
            "\u{1b}[2J",
            &"a".repeat(33),
        ] {
            assert_eq!(Name::parse(text), Err(NameError), "{text}");
        }
    }
}
