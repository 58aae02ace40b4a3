//! Reads a message from standard input, for `--text -`: other users of the machine can read a command line,
//! but not a pipe.

use std::io::Read;

use crate::app::outcome::Failure;
use crate::transfer::BLOCK_LEN;

/// The longest message, in bytes: the most a receiver accepts.
const MAX_MESSAGE: usize = BLOCK_LEN;

/// Reads a message until the input ends.
///
/// # Errors
/// If it cannot be read, is empty, longer than 1 MiB, or not UTF-8.
pub(in crate::app) fn read(input: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(MAX_MESSAGE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::file("read", "standard input".as_ref(), &e))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Failure::usage(
            "the message is longer than 1 MiB",
            "send it as a file: p2pcopy sender --file - --name message.txt",
        ));
    }
    if bytes.is_empty() {
        return Err(Failure::usage(
            "standard input holds no message",
            "see why what should write it wrote nothing",
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::usage(
            "the message is not UTF-8 text",
            "send it as a file: p2pcopy sender --file - --name NAME",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_text_of_at_most_a_mebibyte() {
        assert_eq!(
            read("the key is\nunder the mat\n".as_bytes()).unwrap(),
            "the key is\nunder the mat\n"
        );
        assert_eq!(read(&vec![b'x'; MAX_MESSAGE][..]).unwrap().len(), MAX_MESSAGE);
        for bad in [&vec![b'x'; MAX_MESSAGE + 1][..], b"", b"\xff"] {
            assert_eq!(read(bad).unwrap_err().exit_code(), 2);
        }
        // An endless input must not be read to its end.
        assert_eq!(read(std::io::repeat(b'x')).unwrap_err().exit_code(), 2);
    }
}
