//! Finds addresses in text that chats, mail programs and people have changed.
//!
//! The checksum covers the whole address. So the search tries every place where an address may begin and end,
//! and accepts what fits the checksum. A bare `ip:port` has no checksum: it must be the only one in the text,
//! but words may stand around it.

use std::net::{IpAddr, SocketAddr};

use super::{Address, AddressError, Token, usable};

/// The most characters that are searched: a whole screen of chat, and several addresses.
const MAX_TEXT: usize = 8000;
/// The longest token that is searched inside other text: eight IPv6 candidates take 270 characters.
const MAX_KNOWN_TOKEN: usize = 300;
/// The longest token at all, perhaps of a newer version. Decoding base58 takes time quadratic in the length.
const MAX_TOKEN: usize = 1000;
/// The shortest token that is searched inside other text.
const MIN_TOKEN: usize = 20;
/// The longest `ip:port`.
const MAX_FRONT: usize = 60;
/// The most places in a text where a token may follow an `ip:port`. Each takes some milliseconds if nothing
/// fits.
const MAX_PLACES: usize = 16;

/// All different addresses in a text; at least one.
pub(super) fn find(text: &str) -> Result<Vec<Address>, AddressError> {
    let plain = plain(text);
    let joined = joined(&plain);
    if joined.is_empty() {
        return Err(AddressError::Empty);
    }
    let mut seen = Seen::default();
    // Chats put names and times before each line of a broken address. Only what follows them belongs to the
    // address.
    let unled: String = plain.lines().map(without_lead).collect();
    for reading in [joined.as_str(), &self::joined(&unled)] {
        seen.look_in(reading);
        if !seen.found.is_empty() {
            return Ok(seen.found);
        }
    }
    match seen.error {
        Some(error) => Err(error),
        None => bare(&plain, &joined).map(|address| vec![address]),
    }
}

/// What a search has found.
#[derive(Default)]
struct Seen {
    found: Vec<Address>,
    error: Option<AddressError>,
}

impl Seen {
    /// Looks at every slash that follows an `ip:port`.
    fn look_in(&mut self, text: &str) {
        let slashes = text.match_indices('/').map(|(at, _)| at);
        let places = slashes.map(|at| (fronts(&text[..at]), &text[at + 1..]));
        for (fronts, rest) in places.filter(|(fronts, _)| !fronts.is_empty()).take(MAX_PLACES) {
            match whole(&fronts, rest) {
                Ok(address) if self.found.contains(&address) => {}
                Ok(address) => self.found.push(address),
                // An error that a checksum proves tells more than suspected damage.
                Err(AddressError::Damaged) => drop(self.error.get_or_insert(AddressError::Damaged)),
                Err(error) => self.error = Some(error),
            }
        }
    }
}

/// Every `ip:port` that ends where the text ends.
fn fronts(text: &str) -> Vec<SocketAddr> {
    let last = text.char_indices().rev().take(MAX_FRONT);
    last.filter_map(|(at, _)| text[at..].parse().ok()).collect()
}

/// The address whose token begins the text and ends where the checksum fits.
fn whole(fronts: &[SocketAddr], text: &str) -> Result<Address, AddressError> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    let run = &text[..end.min(MAX_TOKEN)];
    let shorter = (MIN_TOKEN..run.len().min(MAX_KNOWN_TOKEN + 1)).rev();
    for len in std::iter::once(run.len()).chain(shorter) {
        let Ok(bytes) = bs58::decode(&run[..len]).into_vec() else {
            continue;
        };
        for &reflexive in fronts {
            match Token::decode(&bytes, reflexive) {
                Ok(_) if !usable(reflexive) => return Err(AddressError::Unusable),
                Ok(token) => {
                    let token = Some(token);
                    return Ok(Address { reflexive, token });
                }
                Err(AddressError::Damaged) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(AddressError::Damaged)
}

/// The only `ip:port` of a text.
fn bare(plain: &str, joined: &str) -> Result<Address, AddressError> {
    let trimmed = |word: &str| {
        word.trim_end_matches(['.', ',', ';', '!', ':', '?', '|'])
            .to_owned()
    };
    let mut words: Vec<String> = vec![trimmed(joined)];
    let between = |c: char| is_dropped(c) || matches!(c, '/' | ',' | ';' | '<' | '|');
    if ends_in_address(&words[0]).is_none() {
        words.extend(plain.split(between).map(trimmed));
    }
    let mut found: Vec<SocketAddr> = words.iter().filter_map(|word| ends_in_address(word)).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [reflexive] if usable(reflexive) => Ok(Address {
            reflexive,
            token: None,
        }),
        [_] => Err(AddressError::Unusable),
        [] if words.iter().any(|word| word.parse::<IpAddr>().is_ok()) => Err(AddressError::NoPort),
        _ => Err(AddressError::NotAnAddress),
    }
}

/// The `ip:port` at the end of a word. Characters that no address contains may stand before it.
fn ends_in_address(word: &str) -> Option<SocketAddr> {
    let word = &without_zone(word);
    let starts = word.char_indices().map(|(at, _)| at);
    let begins = |at: usize| {
        let before = word[..at].chars().next_back();
        before.is_none_or(|c| c != '.' && (!c.is_ascii_alphanumeric() || word[at..].starts_with('[')))
    };
    starts
        .filter(|&at| begins(at))
        .find_map(|at| word[at..].parse().ok())
}

/// The word without the zone of an IPv6 address (RFC 4007, section 11): it names an interface of the other computer.
fn without_zone(word: &str) -> String {
    match (word.find('%'), word.rfind("]:")) {
        (Some(zone), Some(end)) if zone < end => word[..zone].to_owned() + &word[end..],
        _ => word.to_owned(),
    }
}

/// The part of a line behind the mark that ends a name, a time or a quotation mark; the whole line if there
/// is no mark.
fn without_lead(line: &str) -> &str {
    let ends = [": ", "] ", "> "]
        .into_iter()
        .filter_map(|mark| Some(line.rfind(mark)? + mark.len()));
    &line[ends.max().unwrap_or(0)..]
}

/// Characters that no address contains and that may stand anywhere in a pasted one: white space, invisible
/// characters, quotation marks, marks of emphasis, and what programs put where they break a line.
fn is_dropped(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '"' | '\'' | '`' | '>' | '(' | ')' | '*' | '|' | '\\' | '-' | '=' | '\u{ab}' | '\u{bb}'
        )
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2018}'..='\u{201f}'
            | '\u{2028}'..='\u{202e}' | '\u{2039}' | '\u{203a}' | '\u{2060}'..='\u{206f}' | '\u{3000}'
            | '\u{300c}'..='\u{300f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn joined(text: &str) -> String {
    text.chars().filter(|&c| !is_dropped(c)).collect()
}

/// The text in plain characters. Full-width and look-alike characters and the `%` escapes of links are
/// replaced, and control sequences of terminals (such as those of a bracketed paste) are removed.
pub(in crate::rendezvous) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().take(MAX_TEXT);
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // ESC [ numbers letter-or-tilde (ECMA-48, section 5.4). Any other sequence ends at its first
                // character.
                if chars.next() == Some('[') {
                    chars.find(|c| !matches!(c, '0'..='?'));
                }
            }
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(u32::from(c) - 0xfee0)),
            '\u{2236}' | '\u{a789}' | '\u{fe55}' | '\u{fe30}' => out.push(':'),
            '\u{2044}' | '\u{2215}' | '\u{29f8}' => out.push('/'),
            '\u{2024}' | '\u{3002}' | '\u{ff61}' => out.push('.'),
            '\u{2028}' | '\u{2029}' | '\u{85}' | '\r' => out.push('\n'),
            c => out.push(c),
        }
    }
    for (code, c) in [("3A", ":"), ("2F", "/"), ("5B", "["), ("5D", "]")] {
        out = out.replace(&format!("%{code}"), c);
        out = out.replace(&format!("%{}", code.to_lowercase()), c);
    }
    out
}
