//! The randomness of a run, one seed for each purpose. None can be computed from another, and the number all were
//! made from is wiped at once.

use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::handshake::{PublicKey, StaticKeypair};

/// See the module.
pub(super) struct Seeds {
    /// The key that stands in the address.
    pub(super) public: PublicKey,
    /// Wiped once the connection has its keys.
    pub(super) handshake: Option<Handshake>,
    /// Transaction ids of STUN.
    pub(super) stun: SeedRng,
    /// Meetings at a server.
    pub(super) meeting: SeedRng,
    /// Path challenges.
    pub(super) connection: Seed,
    /// Jitter of the congestion controller.
    pub(super) jitter: u64,
}

/// The secrets of the handshake.
pub(super) struct Handshake {
    /// Its public half is in the address.
    pub(super) keypair: StaticKeypair,
    /// Ephemeral keys, nonces, probes: a seed for each address that is pasted.
    pub(super) seeds: SeedRng,
}

impl Seeds {
    /// From 32 random bytes that serve nothing else.
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
