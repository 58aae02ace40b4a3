//! The handshake: probes, Noise KK between full addresses, and Noise XX with six words between bare ones.
//!
//! Nothing here holds a socket or decides when to send. Invariants: unauthenticated input changes no state, a
//! message 2 is never larger than the datagram it answers, and the same message 1 always gets the same
//! answer.

pub(crate) mod bare;
pub(crate) mod compare;
pub(crate) mod hello;
pub(crate) mod keys;
pub(crate) mod kk;
mod noise;
pub(crate) mod probe;
pub(crate) mod rng;
pub(crate) mod words;

pub(crate) use compare::{Comparison, Reason, SixWords, Words};
pub(crate) use hello::{Hello, PROTOCOL_VERSION};
pub(crate) use keys::{Cipher, PublicKey, SessionKeys, StaticKeypair};
pub(crate) use probe::{Probe, ProbeKey};

/// First bytes of the datagrams before a connection. In STUN the top bits are zero; sealed packets begin with
/// 0x50.
pub(crate) mod packet {
    /// A [`Probe`](super::Probe).
    pub(crate) const PROBE: u8 = 0x40;
    /// Noise KK, message 1.
    pub(crate) const MESSAGE_1: u8 = 0x41;
    /// Noise KK, message 2.
    pub(crate) const MESSAGE_2: u8 = 0x42;
    /// A hello of bare mode. If the sender made it, it holds Noise XX message 1.
    pub(crate) const HELLO: u8 = 0x43;
    /// Bare mode, message 2: Noise XX message 2.
    pub(crate) const BARE_2: u8 = 0x44;
    /// Bare mode, message 3: Noise XX message 3.
    pub(crate) const BARE_3: u8 = 0x45;
    /// Bare mode, message 4: the receiver's nonce.
    pub(crate) const BARE_4: u8 = 0x46;
    /// The largest datagram of a handshake. It fits every path that carries IPv6 (RFC 8200, section 5: 1280).
    pub(crate) const MAX: usize = 1200;
}

/// Why a handshake cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// A message breaks its layout or does not authenticate; it is dropped and counted.
    #[error("a handshake message did not authenticate")]
    Forged,
    /// A message is from an earlier handshake of this run; it is dropped.
    #[error("an old handshake message arrived again")]
    Replayed,
    /// The pasted key gives the same secret with every key.
    #[error("the key in the peer's address is not usable: ask for the address again")]
    WeakKey,
    /// The peer's program is newer and does not support our version.
    #[error("the peer runs a newer p2pcopy that no longer speaks this version: update p2pcopy here")]
    PeerIsNewer,
    /// The peer's program is older and we do not support its version.
    #[error("the peer runs an older p2pcopy that this version no longer speaks: ask them to update it")]
    PeerIsOlder,
    /// The Noise library failed, which is a bug of this program.
    #[error("the handshake could not be set up: this is a defect of p2pcopy, please report it")]
    Noise,
}

/// What this end brings to a handshake.
#[derive(Clone)]
pub(crate) struct Local {
    /// Our key pair of this run.
    pub keypair: StaticKeypair,
    /// What we tell the peer.
    pub hello: Hello,
    /// New random bytes for this handshake alone.
    pub seed: rng::Seed,
}

/// The data that both sides must agree on beforehand: the label and both identities, the sender's first.
///
/// An identity is the part of an address that names its owner: version, role and key. The `ip:port` and the
/// mapped ports are left out on purpose: a NAT may change them while the users paste, and then the two sides
/// have different versions of an address.
pub(crate) fn prologue(sender_identity: &[u8], receiver_identity: &[u8]) -> Vec<u8> {
    [b"p2pcopy 1 full".as_slice(), sender_identity, receiver_identity].concat()
}
