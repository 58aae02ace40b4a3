//! The random seeds of a run, one for each purpose. None can be computed from another. The secret from which
//! all are made is wiped at once.

use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::handshake::{PublicKey, StaticKeypair};

/// One seed for each purpose.
pub(super) struct Seeds {
    /// The public key in our address.
    pub(super) public: PublicKey,
    /// The secrets of the handshake. They are wiped once the connection has its keys.
    pub(super) handshake: Option<Handshake>,
    /// For the transaction ids of STUN.
    pub(super) stun: SeedRng,
    /// For meetings at a server.
    pub(super) meeting: SeedRng,
    /// For path challenges.
    pub(super) connection: Seed,
    /// For the jitter of the congestion controller.
    pub(super) jitter: u64,
}

pub(super) struct Handshake {
    /// The key pair whose public half is in our address.
    pub(super) keypair: StaticKeypair,
    /// For ephemeral keys, nonces and probes: one seed for each address that is pasted.
    pub(super) seeds: SeedRng,
}

impl Seeds {
    /// Makes all seeds from 32 random bytes, which must serve nothing else.
    pub(super) fn new(master: [u8; 32]) -> Self {
        let master = Seed::new(master);
        let derived = |purpose| SeedRng::new(&master, purpose);
        let keypair = StaticKeypair::from_seed(&derived("p2pcopy v1 run key pair").seed());
        Seeds {
            public: *keypair.public(),
            handshake: Some(Handshake {
                keypair,
                seeds: derived("p2pcopy v1 run handshake"),
            }),
            stun: derived("p2pcopy v1 run stun"),
            meeting: derived("p2pcopy v1 run meeting"),
            connection: derived("p2pcopy v1 run connection").seed(),
            jitter: derived("p2pcopy v1 run jitter").next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_a_seed_of_its_own() {
        let all = |master| {
            let mut seeds = Seeds::new(master);
            let mut handshake = seeds.handshake.take().unwrap().seeds;
            let first = |seed: Seed| {
                seed.first_chunk()
                    .map(|bytes| u64::from_be_bytes(*bytes))
                    .unwrap()
            };
            [
                first(handshake.seed()),
                first(handshake.seed()),
                seeds.stun.next_u64(),
                seeds.stun.next_u64(),
                seeds.meeting.next_u64(),
                seeds.meeting.next_u64(),
                first(seeds.connection),
                seeds.jitter,
                first(Seed::new(seeds.public)),
                first(Seed::new(master)),
            ]
        };
        let all = [all([1; 32]), all([2; 32])].concat();
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| one != other));
        }
    }
}
