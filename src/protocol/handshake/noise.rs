//! Begins handshakes of the Noise library, and writes and reads their messages.

use super::compare::NONCE_LEN;
use super::rng::SeededResolver;
use super::{HandshakeError, Local, PublicKey, packet};
use crate::protocol::Role;

/// Begins a handshake of this pattern. `seed` makes the ephemeral key; `peer` is the peer's static key, if the pattern
/// knows it beforehand.
pub(super) fn build(
    pattern: &str,
    prologue: &[u8],
    local: &Local,
    seed: &[u8; 32],
    peer: Option<&PublicKey>,
    role: Role,
) -> Result<snow::HandshakeState, HandshakeError> {
    let attempt = || {
        let mut builder = snow::Builder::with_resolver(pattern.parse()?, SeededResolver::boxed(seed))
            .prologue(prologue)?
            .local_private_key(local.keypair.secret())?;
        if let Some(peer) = peer {
            builder = builder.remote_public_key(peer)?;
        }
        match role {
            Role::Sender => builder.build_initiator(),
            Role::Receiver => builder.build_responder(),
        }
    };
    attempt().map_err(|_: snow::Error| HandshakeError::Noise)
}

/// The next message with this payload.
pub(super) fn write(state: &mut snow::HandshakeState, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut out = vec![0; packet::MAX];
    let n = state
        .write_message(payload, &mut out)
        .map_err(|_| HandshakeError::Noise)?;
    out.truncate(n);
    Ok(out)
}

/// The payload of the peer's next message.
///
/// # Errors
/// [`HandshakeError::Forged`]; the state is then unchanged.
pub(super) fn read(state: &mut snow::HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut payload = vec![0; packet::MAX];
    let n = state
        .read_message(message, &mut payload)
        .map_err(|_| HandshakeError::Forged)?;
    payload.truncate(n);
    Ok(payload)
}

/// Splits a payload into the commitment or nonce at its start and the hello behind it.
pub(super) fn split_payload(payload: &[u8]) -> Result<([u8; NONCE_LEN], &[u8]), HandshakeError> {
    let (first, hello) = payload
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(HandshakeError::Forged)?;
    Ok((*first, hello))
}
