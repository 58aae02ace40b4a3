//! Limits the requests of one network in a minute.

use std::collections::HashMap;
use std::time::Duration;

use crate::protocol::Network;
use crate::protocol::time::Time;

/// The span over which requests are counted.
const SPAN: Duration = Duration::from_secs(60);
/// The most networks remembered. Each was proven by a cookie. If there are more, the oldest are forgotten.
const MAX_NETWORKS: usize = 8192;

/// The kinds of requests that are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A request that the server must remember or look up.
    Open = 0,
    /// A wrong code or a wrong token.
    Wrong = 1,
}

/// What one network has asked for since this time, by [`Kind`].
type Counts = (Time, [u16; 2]);

/// The counts of all networks.
pub(super) struct Rates {
    counts: HashMap<Network, Counts>,
    most: [u16; 2],
}

impl Rates {
    /// Allows `opens` and `wrong` of their kinds in a minute.
    pub(super) fn new(opens: u16, wrong: u16) -> Self {
        Rates {
            counts: HashMap::new(),
            most: [opens, wrong],
        }
    }

    /// Whether one more of this kind is too many; if so, for how many seconds.
    pub(super) fn wait(&self, now: Time, network: Network, kind: Kind) -> Option<u16> {
        let (began, counts) = self.counts.get(&network)?;
        let left = SPAN
            .checked_sub(now.since(*began))
            .filter(|left| !left.is_zero())?;
        let full = counts[kind as usize] >= self.most[kind as usize];
        u16::try_from(left.as_secs() + 1).ok().filter(|_| full)
    }

    /// Counts one request.
    pub(super) fn count(&mut self, now: Time, network: Network, kind: Kind) {
        if self.counts.len() >= MAX_NETWORKS && !self.counts.contains_key(&network) {
            self.sweep(now);
            let oldest = self
                .counts
                .iter()
                .min_by_key(|(_, (began, _))| *began)
                .map(|(n, _)| *n);
            if let Some(oldest) = oldest.filter(|_| self.counts.len() >= MAX_NETWORKS) {
                self.counts.remove(&oldest);
            }
        }
        let counts = self.counts.entry(network).or_insert((now, [0; 2]));
        if now.since(counts.0) >= SPAN {
            *counts = (now, [0; 2]);
        }
        let count = &mut counts.1[kind as usize];
        *count = count.saturating_add(1);
    }

    /// Forgets requests that no longer count.
    pub(super) fn sweep(&mut self, now: Time) {
        self.counts.retain(|_, (began, _)| now.since(*began) < SPAN);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_network_waits_for_its_minute_to_pass_and_others_do_not() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let network = |text: &str| Network::of(text.parse().expect("an address"));
        let mut rates = Rates::new(3, 1);
        for _ in 0..3 {
            assert_eq!(rates.wait(at(10), network("2001:db8::1"), Kind::Open), None);
            rates.count(at(10), network("2001:db8::1"), Kind::Open);
        }
        assert_eq!(
            rates.wait(at(30), network("2001:db8::ffff:2"), Kind::Open),
            Some(41)
        );
        assert_eq!(rates.wait(at(30), network("2001:db8::1"), Kind::Wrong), None);
        assert_eq!(rates.wait(at(30), network("2001:db8:0:1::1"), Kind::Open), None);
        assert_eq!(rates.wait(at(70), network("2001:db8::1"), Kind::Open), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rates = Rates::new(3, 1);
        for ip in 0..3 * MAX_NETWORKS as u32 {
            rates.count(Time::ZERO, Network::of(IpAddr::V4(ip.into())), Kind::Open);
        }
        assert_eq!(rates.counts.len(), MAX_NETWORKS);
    }
}
