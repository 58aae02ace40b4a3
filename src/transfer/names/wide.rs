//! Names on Windows: 16-bit units that need not be valid Unicode. As bytes they are UTF-8; a surrogate
//! without its other half, which UTF-8 cannot express, becomes three bytes, as in the standard library
//! (WTF-8).

/// The 16-bit units of `name`. Bytes that are neither UTF-8 nor such a surrogate become U+FFFD.
pub(super) fn units(mut name: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(name.len());
    while let Some(chunk) = name.utf8_chunks().next() {
        units.extend(chunk.valid().encode_utf16());
        name = &name[chunk.valid().len()..];
        match name {
            [0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf, rest @ ..] => {
                units.push(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f));
                name = rest;
            }
            _ => {
                units.extend((!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER as u16));
                name = &name[chunk.invalid().len()..];
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf_16() {
        for text in [
            "",
            "vm.img",
            "größe 写真",
            "\u{1f600}\u{fffd}",
            "\u{d7ff}\u{e000}",
        ] {
            assert_eq!(units(text.as_bytes()), text.encode_utf16().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_lone_surrogate_is_itself_and_other_bytes_stand_for_nothing() {
        assert_eq!(units(b"a\xed\xa0\x80b"), [0x61, 0xd800, 0x62]);
        assert_eq!(units(b"\xed\xbf\xbf"), [0xdfff]);
        assert_eq!(units(b"\xed\xa0"), [0xfffd, 0xfffd]);
        assert_eq!(units(b"x\xff\xc3"), [0x78, 0xfffd, 0xfffd]);
    }

    #[cfg(windows)]
    #[test]
    fn a_name_of_this_system_comes_back_unchanged() {
        use std::os::windows::ffi::OsStringExt;

        use crate::transfer::names::{bytes_from_os, os_from_bytes};
        for units in [&[0x61, 0xd800, 0x62][..], &[0xdc00, 0xd800], &[0xd83d, 0xde00]] {
            let name = std::ffi::OsString::from_wide(units);
            assert_eq!(os_from_bytes(&bytes_from_os(&name)), name);
        }
    }
}
