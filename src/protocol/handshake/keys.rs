//! The keys of a run and the keys of a connection.

use snow::params::DHChoice;
use snow::types::Dh;
use zeroize::{Zeroize, Zeroizing};

use super::HandshakeError;
use super::compare::{Comparison, Reason, Words};
use crate::protocol::Role;

/// An X25519 public key, made for one run.
pub(crate) type PublicKey = [u8; 32];

/// The X25519 key pair made for one run; its public half is part of the pasted address.
#[derive(Clone)]
pub struct StaticKeypair {
    secret: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl StaticKeypair {
    /// Makes a key pair from 32 random bytes, which must serve nothing else.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = Zeroizing::new(blake3::derive_key("p2pcopy 1 static key", seed));
        let public = match x25519(&secret) {
            Some(dh) => dh.pubkey().try_into().unwrap_or([0; 32]),
            None => [0; 32],
        };
        StaticKeypair { secret, public }
    }

    /// The public key, which the peer is told.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The X25519 secret shared with the holder of `peer`.
    ///
    /// # Errors
    /// [`HandshakeError::WeakKey`] if `peer` is one of the few points that give the same secret with every
    /// key.
    pub(super) fn shared_secret(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, HandshakeError> {
        let mut out = Zeroizing::new([0; 32]);
        let dh = x25519(&self.secret).ok_or(HandshakeError::Noise)?;
        dh.dh(peer, out.as_mut_slice())
            .map_err(|_| HandshakeError::Noise)?;
        // An all-zero result shows a point of small order (RFC 7748, section 6.1).
        if out.iter().all(|&b| b == 0) {
            Err(HandshakeError::WeakKey)
        } else {
            Ok(out)
        }
    }
}

fn x25519(secret: &[u8; 32]) -> Option<Box<dyn Dh>> {
    let mut dh = super::rng::x25519(&DHChoice::Curve25519)?;
    dh.set(secret);
    Some(dh)
}

/// The cipher that seals packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cipher {
    /// If both machines have instructions for AES and carry-less multiplication.
    Aes256Gcm,
    /// Otherwise: it is the fastest in software, and takes constant time.
    ChaCha20Poly1305,
}

/// The result of a handshake. It is wiped from memory when dropped.
#[derive(Clone)]
pub struct SessionKeys {
    /// The key for packets to the peer.
    pub send: [u8; 32],
    /// The key for packets from the peer.
    pub receive: [u8; 32],
    /// The cipher that uses the keys.
    pub cipher: Cipher,
    /// The connection ID of packets to us; we chose it.
    pub local_cid: u32,
    /// The connection ID of packets to the peer; the peer chose it.
    pub remote_cid: u32,
    pub role: Role,
    /// What both users must compare first. Always there between bare addresses; otherwise only if one of the
    /// users asked for it.
    pub comparison: Option<Comparison>,
}

impl SessionKeys {
    /// The keys for each direction and cipher, derived from the raw split of the Noise handshake (first half:
    /// initiator to responder). So the same bytes never serve as a key of two algorithms.
    pub(super) fn from_split(
        role: Role,
        split: ([u8; 32], [u8; 32]),
        (ours, theirs): (&super::Hello, &super::Hello),
        words: Words,
    ) -> Result<Self, HandshakeError> {
        let (to_responder, to_initiator) = (Zeroizing::new(split.0), Zeroizing::new(split.1));
        ours.common_version(theirs)?;
        let reason = match &words {
            _ if ours.verify || theirs.verify => Some(Reason::Asked),
            Words::Known(_) => Some(Reason::Bare),
            Words::ToReveal(..) | Words::Awaited(_) => None,
        };
        let (cipher, context) = match ours.hardware_aes && theirs.hardware_aes {
            true => (Cipher::Aes256Gcm, "p2pcopy 1 packets AES-256-GCM"),
            false => (Cipher::ChaCha20Poly1305, "p2pcopy 1 packets ChaCha20-Poly1305"),
        };
        let (send, receive) = match role {
            Role::Sender => (&to_responder, &to_initiator),
            Role::Receiver => (&to_initiator, &to_responder),
        };
        Ok(SessionKeys {
            send: blake3::derive_key(context, send.as_slice()),
            receive: blake3::derive_key(context, receive.as_slice()),
            cipher,
            local_cid: ours.cid,
            remote_cid: theirs.cid,
            role,
            comparison: reason.map(|reason| Comparison { reason, words }),
        })
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.send.zeroize();
        self.receive.zeroize();
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKeys")
            .field("cipher", &self.cipher)
            .field("local_cid", &self.local_cid)
            .field("remote_cid", &self.remote_cid)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
