//! The code that two people tell each other: `7-guitar-harbor`. The number (the nameplate) tells the server
//! which two belong together. Only the two people know the words, which never leave their computers.

use std::fmt;

use crate::protocol::handshake::words::WORDS;
use crate::rendezvous::address::plain;

/// The number of letters that distinguish a word of the list from all others.
const TELLING: usize = 4;

/// The number at which the server lets two people meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Nameplate(u16);

impl Nameplate {
    /// The largest number: four digits are quick to say, and there are ten times as many numbers as clients
    /// that may wait at once.
    pub(crate) const MAX: u16 = 9999;

    /// A nameplate, if the number is from 1 to [`Nameplate::MAX`].
    pub(crate) const fn new(number: u16) -> Option<Self> {
        if number >= 1 && number <= Self::MAX {
            Some(Nameplate(number))
        } else {
            None
        }
    }

    pub(crate) const fn get(self) -> u16 {
        self.0
    }
}

/// The two words of a code: 16 bits that only the two people know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Words([u8; 2]);

impl Words {
    /// The two words that two random bytes choose.
    pub(crate) const fn new(random: [u8; 2]) -> Self {
        Words(random)
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.map(|byte| WORDS[usize::from(byte)]);
        write!(f, "{first}-{second}")
    }
}

/// A whole code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code {
    /// The part that the server knows.
    pub nameplate: Nameplate,
    /// The part that the server never learns.
    pub words: Words,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.nameplate.get(), self.words)
    }
}

/// What is wrong with a typed code, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CodeError {
    /// It does not look like a number with two words.
    #[error("this is not a code like 7-guitar-harbor: type what p2pcopy shows on the other computer")]
    NotACode,
    /// The number is out of range.
    #[error("no code begins with the number {0}: type what p2pcopy shows on the other computer")]
    NoSuchNumber(String),
    /// It has a word that no code contains.
    #[error("no code contains the word '{0}': type what p2pcopy shows on the other computer")]
    UnknownWord(String),
}

impl Code {
    /// Whether a text is meant as a code and not as an address: it is a number followed by a word of letters,
    /// or it contains a whole code.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        if Code::within(text).is_some() {
            return true;
        }
        let mut parts = parts(text);
        let number = parts.next().unwrap_or_default();
        let word = parts.next().unwrap_or_default();
        !number.is_empty()
            && number.chars().all(|c| c.is_ascii_digit())
            && word.chars().all(char::is_alphabetic)
            && word.chars().count() >= 2
            && !text.contains([':', '/'])
    }

    /// Reads a typed code. Case and the characters between the parts do not matter, and only the first four
    /// letters of each word count.
    ///
    /// # Errors
    ///
    /// If the text is not a code.
    pub(crate) fn parse(text: &str) -> Result<Code, CodeError> {
        match Code::within(text) {
            Some(code) => Ok(code),
            None => Code::parse_alone(text),
        }
    }

    /// The only code in a text. Other text may stand around it: a chat's line begins with a name and a time.
    fn within(text: &str) -> Option<Code> {
        let plain = plain(text);
        let parts: Vec<&str> = parts(&plain).collect();
        let codes = parts
            .windows(3)
            .filter_map(|three| Code::parse_alone(&three.join("-")).ok());
        let mut found: Vec<Code> = codes.collect();
        found.dedup();
        match found[..] {
            [code] => Some(code),
            _ => None,
        }
    }

    fn parse_alone(text: &str) -> Result<Code, CodeError> {
        let parts: Vec<String> = parts(text).map(str::to_lowercase).collect();
        let [number, words @ ..] = parts.as_slice() else {
            return Err(CodeError::NotACode);
        };
        if words.len() != 2 || !number.chars().all(|c| c.is_ascii_digit()) {
            return Err(CodeError::NotACode);
        }
        let nameplate = number.parse().ok().and_then(Nameplate::new);
        let nameplate = nameplate.ok_or_else(|| CodeError::NoSuchNumber(number.clone()))?;
        let mut found = [0; 2];
        for (place, word) in found.iter_mut().zip(words) {
            *place = index_of(word).ok_or_else(|| CodeError::UnknownWord(word.clone()))?;
        }
        Ok(Code {
            nameplate,
            words: Words(found),
        })
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    let between = |c: char| !c.is_alphanumeric();
    text.split(between).filter(|part| !part.is_empty())
}

/// The index of the word in the list; only its first letters must agree.
fn index_of(word: &str) -> Option<u8> {
    let start = word.get(..TELLING).unwrap_or(word);
    let same = |listed: &str| listed == word || word.len() >= TELLING && listed.starts_with(start);
    let index = WORDS.iter().position(|listed| same(listed))?;
    u8::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_shown_can_be_typed_in_any_dress() {
        let code = Code::parse("7-guitar-harbor").expect("a code");
        for text in [
            "7-guitar-harbor",
            " 7 GUITAR harbor. ",
            "7_Guitar.Harbor",
            "\"7 – guitar – harbour\"",
            "[14:02] Ann: 7-guitar-harbor",
            "Ann <a@b.example>: type 7-guitar-harbor please",
            "\u{1b}[200~7-guitar-harbor\u{1b}[201~",
            "\u{ff17}\u{ff0d}guitar\u{ff0d}harbor",
        ] {
            assert!(Code::is_meant_by(text), "{text}");
            assert_eq!(Code::parse(text), Ok(code), "{text}");
        }
        assert_eq!(code.to_string(), "7-guitar-harbor");
    }

    #[test]
    fn what_cannot_be_a_code_is_told_apart() {
        assert_eq!(
            Code::parse("7-guitar-xylophone"),
            Err(CodeError::UnknownWord("xylophone".into()))
        );
        assert_eq!(
            Code::parse("10000-guitar-harbor"),
            Err(CodeError::NoSuchNumber("10000".into()))
        );
        for text in [
            "",
            "guitar-harbor",
            "7-guitar",
            "7-guitar-harbor or 8-guitar-harbor",
        ] {
            assert_eq!(Code::parse(text), Err(CodeError::NotACode), "{text}");
        }
        for text in [
            "203.0.113.7:4300",
            "203.0.113.7:4300/CRk7nuV",
            "[fd00::1]:4300",
            "2001",
            "7",
        ] {
            assert!(!Code::is_meant_by(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(number in 1..=Nameplate::MAX, words in any::<[u8; 2]>()) {
            let code = Code { nameplate: Nameplate::new(number).expect("in range"), words: Words::new(words) };
            prop_assert_eq!(Code::parse(&code.to_string()), Ok(code));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = (Code::is_meant_by(&text), Code::parse(&text));
        }
    }
}
