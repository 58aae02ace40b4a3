//! Probes: the datagrams that open NATs and identify their author before any handshake message has passed.
//!
//! Both static keys are known after the paste, so a key that only the two ends share authenticates every
//! probe. Any other datagram gets no answer, so nobody can use this end to reflect or amplify traffic.

use super::{HandshakeError, PublicKey, StaticKeypair, packet};
use crate::protocol::Role;
use crate::protocol::mac::{MAC_LEN, equal, mac};

/// One probe, as read from or written to the wire.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+---------------+---------------+
/// |     0x40      | reserved  |H|R|             slot...           |
/// +---------------+---------------+-------------------------------+
/// |           ...slot             |      send time (64)...        |
/// +-------------------------------+                               |
/// |                               +-------------------------------+
/// |                               |        random (64)...         |
/// +-------------------------------+                               |
/// |                               +-------------------------------+
/// |                               |   MAC (128), keyed BLAKE3...  |
/// +-------------------------------+-------------------------------+
/// ```
/// R: the author is the receiver. H: the author has received something from the peer. Slot: number of the
/// 10-second slot. Send time: Unix nanoseconds of the author's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Probe {
    /// The role of its author.
    pub role: Role,
    /// Whether the author has received a valid datagram of ours.
    pub heard: bool,
    /// The number of its slot: 10-second units since 1970.
    pub slot: u32,
    /// The author's clock, in Unix nanoseconds.
    pub unix_nanos: u64,
    /// Makes each probe unique, so that a copy is recognised.
    pub random: [u8; 8],
}

/// Authenticates probes between two static keys.
#[derive(Clone)]
pub(crate) struct ProbeKey {
    key: zeroize::Zeroizing<[u8; 32]>,
}

const BODY: usize = 1 + 1 + 4 + 8 + 8;
const ROLE_BIT: u8 = 1;
const HEARD_BIT: u8 = 2;

impl ProbeKey {
    /// The key for this pair of users and this pair of addresses (`context` as in [`super::prologue`]).
    ///
    /// # Errors
    /// [`HandshakeError::WeakKey`] if the peer's key is of small order.
    pub(crate) fn new(own: &StaticKeypair, peer: &PublicKey, context: &[u8]) -> Result<Self, HandshakeError> {
        let secret = own.shared_secret(peer)?;
        let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 probe");
        hasher.update(secret.as_slice());
        hasher.update(context);
        Ok(ProbeKey {
            key: zeroize::Zeroizing::new(*hasher.finalize().as_bytes()),
        })
    }

    /// Appends a MAC, which shows that one of the two ends made all bytes before it.
    pub(super) fn sign(&self, datagram: &mut Vec<u8>) {
        let mac = mac(&self.key, datagram);
        datagram.extend_from_slice(&mac);
    }

    /// The bytes before the MAC, if the MAC is right. This costs one hash for any datagram.
    pub(super) fn signed<'a>(&self, datagram: &'a [u8]) -> Option<&'a [u8]> {
        let (body, shown) = datagram.split_last_chunk::<MAC_LEN>()?;
        equal(shown, &mac(&self.key, body)).then_some(body)
    }
}

impl Probe {
    /// Bytes on the wire.
    pub(crate) const LEN: usize = BODY + MAC_LEN;

    /// The wire form under `key`.
    pub(crate) fn encode(&self, key: &ProbeKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        let heard = if self.heard { HEARD_BIT } else { 0 };
        out.extend_from_slice(&[packet::PROBE, self.role as u8 | heard]);
        out.extend_from_slice(&self.slot.to_be_bytes());
        out.extend_from_slice(&self.unix_nanos.to_be_bytes());
        out.extend_from_slice(&self.random);
        key.sign(&mut out);
        out
    }

    /// Reads and authenticates the wire form. `None` if no holder of `key` made the bytes.
    pub(crate) fn decode(bytes: &[u8], key: &ProbeKey) -> Option<Self> {
        if bytes.len() != Self::LEN || bytes[0] != packet::PROBE {
            return None;
        }
        let body = key.signed(bytes)?;
        Some(Probe {
            role: if body[1] & ROLE_BIT == 0 {
                Role::Sender
            } else {
                Role::Receiver
            },
            heard: body[1] & HEARD_BIT != 0,
            slot: u32::from_be_bytes(body[2..6].try_into().ok()?),
            unix_nanos: u64::from_be_bytes(body[6..14].try_into().ok()?),
            random: body[14..22].try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (ProbeKey, ProbeKey) {
        let (a, b) = (
            StaticKeypair::from_seed(&[1; 32]),
            StaticKeypair::from_seed(&[2; 32]),
        );
        (
            ProbeKey::new(&a, b.public(), b"x").unwrap(),
            ProbeKey::new(&b, a.public(), b"x").unwrap(),
        )
    }

    #[test]
    fn the_peer_reads_it_and_any_flipped_bit_makes_it_nothing() {
        let (a, b) = pair();
        let probe = Probe {
            role: Role::Receiver,
            heard: true,
            slot: 9,
            unix_nanos: 77,
            random: [5; 8],
        };
        let wire = probe.encode(&a);
        assert_eq!(Probe::decode(&wire, &b), Some(probe));
        for bit in 0..wire.len() * 8 {
            let mut bad = wire.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Probe::decode(&bad, &b), None, "bit {bit}");
        }
        assert_eq!(Probe::decode(&wire[..37], &b), None);
    }

    /// A vector for docs/protocol.md.
    #[test]
    fn the_wire_form_stays_what_it_is() {
        let probe = Probe {
            role: Role::Receiver,
            heard: true,
            slot: 0x0102_0304,
            unix_nanos: 5,
            random: [6; 8],
        };
        let wire: String = probe
            .encode(&pair().0)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            wire,
            "40030102030400000000000000050606060606060606ed96e2b680a25762575f3f8b40223448"
        );
    }

    #[test]
    fn another_pair_of_addresses_has_another_key() {
        let (a, b) = (
            StaticKeypair::from_seed(&[1; 32]),
            StaticKeypair::from_seed(&[2; 32]),
        );
        let probe = Probe {
            role: Role::Sender,
            heard: false,
            slot: 0,
            unix_nanos: 0,
            random: [0; 8],
        };
        let wire = probe.encode(&ProbeKey::new(&a, b.public(), b"x").unwrap());
        assert_eq!(
            Probe::decode(&wire, &ProbeKey::new(&b, a.public(), b"y").unwrap()),
            None
        );
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let own = StaticKeypair::from_seed(&[1; 32]);
        assert_eq!(
            ProbeKey::new(&own, &[0; 32], b"").err(),
            Some(HandshakeError::WeakKey)
        );
    }
}
