//! Probes between full addresses. Each counts once, however often and from wherever its bytes come.

use std::collections::BTreeSet;

use super::engine::Heard;
use crate::protocol::Role;
use crate::protocol::handshake::{Probe, ProbeKey};

/// The most probes remembered, to recognise copies: two slots bring about sixty. Older ones count as copies,
/// too, so a recorded probe can never be replayed.
const REMEMBERED: usize = 64;

pub(super) struct Probes {
    key: ProbeKey,
    /// Send time and random bytes of the newest probes that arrived.
    seen: BTreeSet<(u64, [u8; 8])>,
    /// The newest probe that is no longer remembered.
    forgotten: Option<(u64, [u8; 8])>,
    /// The send time of our last probe. The peer relies on growing send times, so they must grow even if the
    /// clock is set back.
    last_sent: u64,
}

impl Probes {
    pub(super) fn new(key: ProbeKey) -> Self {
        Probes {
            key,
            seen: BTreeSet::new(),
            forgotten: None,
            last_sent: 0,
        }
    }

    /// Makes a probe of ours.
    pub(super) fn write(
        &mut self,
        role: Role,
        heard: bool,
        slot: u32,
        unix_nanos: u64,
        random: [u8; 8],
    ) -> Vec<u8> {
        self.last_sent = unix_nanos.max(self.last_sent + 1);
        let probe = Probe {
            role,
            heard,
            slot,
            unix_nanos: self.last_sent,
            random,
        };
        probe.encode(&self.key)
    }

    /// Reads a probe of the peer's. Returns it only if it was never read before.
    pub(super) fn read(&mut self, datagram: &[u8], own_role: Role) -> Result<Probe, Heard> {
        let probe = Probe::decode(datagram, &self.key)
            .filter(|p| p.role == own_role.peer())
            .ok_or(Heard::Forged)?;
        let identity = (probe.unix_nanos, probe.random);
        let forgotten = self.forgotten.is_some_and(|newest| identity <= newest);
        if forgotten || !self.seen.insert(identity) {
            return Err(Heard::Copy);
        }
        if self.seen.len() > REMEMBERED {
            self.forgotten = self.seen.pop_first();
        }
        Ok(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::StaticKeypair;

    fn ends() -> (Probes, Probes) {
        let (a, b) = (
            StaticKeypair::from_seed(&[1; 32]),
            StaticKeypair::from_seed(&[2; 32]),
        );
        let key =
            |own: &StaticKeypair, peer: &StaticKeypair| ProbeKey::new(own, peer.public(), b"p").unwrap();
        (Probes::new(key(&a, &b)), Probes::new(key(&b, &a)))
    }

    fn write(probes: &mut Probes, at: u64, n: u64) -> Vec<u8> {
        probes.write(Role::Sender, false, 0, at, n.to_be_bytes())
    }

    #[test]
    fn no_recorded_probe_counts_again_however_many_came_since() {
        let (mut a, mut b) = ends();
        let recorded: Vec<Vec<u8>> = (0..1000).map(|n| write(&mut a, n, n)).collect();
        for probe in &recorded {
            assert!(b.read(probe, Role::Receiver).is_ok());
        }
        for probe in &recorded {
            assert!(matches!(b.read(probe, Role::Receiver), Err(Heard::Copy)));
        }
        assert!(b.seen.len() <= REMEMBERED);
    }

    #[test]
    fn probes_that_overtook_each_other_all_count() {
        let (mut a, mut b) = ends();
        let sent: Vec<Vec<u8>> = (0..640).map(|n| write(&mut a, n, n)).collect();
        for group in sent.chunks(REMEMBERED / 2) {
            for probe in group.iter().rev() {
                assert!(b.read(probe, Role::Receiver).is_ok());
            }
        }
    }

    #[test]
    fn a_clock_set_back_does_not_silence_its_owner() {
        let (mut a, mut b) = ends();
        for n in 0..200 {
            assert!(b.read(&write(&mut a, 1_000_000 + n, n), Role::Receiver).is_ok());
        }
        for n in 200..400 {
            assert!(b.read(&write(&mut a, n, n), Role::Receiver).is_ok());
        }
    }
}
