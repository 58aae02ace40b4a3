//! What each side tells the other inside the encrypted handshake.

use super::HandshakeError;

/// The protocol this build speaks.
pub(crate) const PROTOCOL_VERSION: u8 = 1;

/// The payload of a handshake message.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+---------------+---------------+
/// |  oldest ver.  |  newest ver.  |          reserved         |W|A|
/// +---------------+---------------+---------------+---------------+
/// |              connection id of packets to its author           |
/// +---------------------------------------------------------------+
/// ```
/// A: the author has hardware for AES-GCM. W: the author's user wants to compare words. Further bytes are
/// reserved for newer versions and ignored: an end can only compare the version numbers if it skips what it
/// does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    /// The oldest protocol version that the author supports.
    pub oldest: u8,
    /// The newest protocol version that the author supports.
    pub newest: u8,
    /// Whether the author's processor has instructions for AES-GCM.
    pub hardware_aes: bool,
    /// Whether the author's user wants both users to compare six words.
    pub verify: bool,
    /// The connection ID for packets to the author.
    pub cid: u32,
}

const AES_BIT: u8 = 1;
const VERIFY_BIT: u8 = 2;

impl Hello {
    /// Bytes on the wire.
    pub(crate) const LEN: usize = 8;

    /// The wire form.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0] = self.oldest;
        out[1] = self.newest;
        out[3] = if self.hardware_aes { AES_BIT } else { 0 } | if self.verify { VERIFY_BIT } else { 0 };
        out[4..].copy_from_slice(&self.cid.to_be_bytes());
        out
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] if the bytes are too few or the version range is empty.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let Some((&[oldest, newest, _, flags, c0, c1, c2, c3], _)) =
            bytes.split_first_chunk::<{ Hello::LEN }>()
        else {
            return Err(HandshakeError::Forged);
        };
        if oldest > newest {
            return Err(HandshakeError::Forged);
        }
        Ok(Hello {
            oldest,
            newest,
            hardware_aes: flags & AES_BIT != 0,
            verify: flags & VERIFY_BIT != 0,
            cid: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }

    /// The newest version that both ends support.
    ///
    /// # Errors
    /// [`HandshakeError::PeerIsNewer`] or [`HandshakeError::PeerIsOlder`] if there is none.
    pub(crate) fn common_version(&self, peer: &Hello) -> Result<u8, HandshakeError> {
        if peer.oldest > self.newest {
            Err(HandshakeError::PeerIsNewer)
        } else if peer.newest < self.oldest {
            Err(HandshakeError::PeerIsOlder)
        } else {
            Ok(self.newest.min(peer.newest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(oldest: u8, newest: u8) -> Hello {
        Hello {
            oldest,
            newest,
            hardware_aes: true,
            verify: newest % 2 == 1,
            cid: 0xdead_beef,
        }
    }

    #[test]
    fn survives_the_wire_and_tolerates_what_a_newer_version_appends() {
        let mut bytes = hello(1, 3).encode().to_vec();
        assert_eq!(Hello::decode(&bytes).unwrap(), hello(1, 3));
        bytes.push(9);
        assert_eq!(Hello::decode(&bytes).unwrap(), hello(1, 3));
        assert_eq!(Hello::decode(&bytes[..7]), Err(HandshakeError::Forged));
        assert_eq!(Hello::decode(&hello(3, 1).encode()), Err(HandshakeError::Forged));
    }

    #[test]
    fn picks_the_newest_common_version_or_says_who_is_behind() {
        assert_eq!(hello(1, 3).common_version(&hello(2, 5)), Ok(3));
        assert_eq!(
            hello(1, 2).common_version(&hello(3, 5)),
            Err(HandshakeError::PeerIsNewer)
        );
        assert_eq!(
            hello(3, 5).common_version(&hello(1, 2)),
            Err(HandshakeError::PeerIsOlder)
        );
    }
}
