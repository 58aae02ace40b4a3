//! Decides whether ports between two addresses must be guessed, and which side does what.

use super::paths::is_private;
use super::report::{Outlook, outlook};
use crate::rendezvous::address::{Address, Filtering, Guessing, Mapping, PAIRS, Token};
use crate::rendezvous::schedule::guess_times::Task;

/// The pairs that serve guesses, the near and the far one: the last two pairs for which the side with lasting
/// ports has told ports. Both sides compute the same.
fn pairs(lasting: &Address) -> [usize; 2] {
    let mut last = (0..PAIRS).rev().filter(|&k| lasting.pair(k).is_some());
    let far = last.next().unwrap_or(0);
    [last.next().unwrap_or(far), far]
}

/// Whether ports can be guessed between the two, and both users allow it.
fn is_allowed(own: &Address, peer: &Address) -> bool {
    let lets = |address: &Address| {
        let token: Option<&Token> = address.token.as_ref();
        token.is_some_and(|token| token.guessing != Guessing::Refused)
    };
    let outside = |address: &Address| address.reflexive.is_ipv4() && !is_private(address.reflexive.ip());
    let apart = outside(own) && outside(peer) && own.reflexive.ip() != peer.reflexive.ip();
    apart && lets(own) && lets(peer)
}

/// The part of the side whose ports are unknown.
fn open(peer: &Address) -> Option<Task> {
    let [near, far] = pairs(peer);
    Some(Task::Open {
        near: peer.pair(near)?,
        far: peer.pair(far)?,
    })
}

/// The part of the other side.
fn try_ports(own: &Address, peer: &Address, rule: Guessing) -> Task {
    Task::Try {
        locals: pairs(own).map(|k| u8::try_from(k).unwrap_or(0)),
        remote: peer.reflexive.ip(),
        rule,
    }
}

/// Our part, if ports must be guessed and both users allow it.
pub(super) fn task(own: &Address, peer: &Address) -> Option<Task> {
    if !is_allowed(own, peer) || outlook(own.nat(), peer.nat()) == Outlook::Good {
        return None;
    }
    match (own.nat().mapping, peer.nat().mapping) {
        (Mapping::Dependent, Mapping::Independent | Mapping::Public) => open(peer),
        (Mapping::Independent | Mapping::Public, Mapping::Dependent) => {
            Some(try_ports(own, peer, peer.token.as_ref()?.guessing))
        }
        _ => None,
    }
}

/// Our part if a connected peer stays silent, perhaps because a router has begun to give out other ports. `ours`: it
/// is our router.
pub(super) fn after_silence(own: &Address, peer: &Address, ours: bool) -> Option<Task> {
    let is_open = [own, peer]
        .iter()
        .any(|side| side.nat().filtering == Filtering::Independent);
    if !is_allowed(own, peer) || is_open {
        return None;
    }
    if ours {
        open(peer)
    } else {
        Some(try_ports(own, peer, Guessing::Anywhere))
    }
}

/// The pair that slots do not use while a side does this: the far one. A side with only one port uses it for everything.
pub(super) fn reserved(task: Task, own: &Address, peer: &Address) -> Option<usize> {
    let lasting = match task {
        Task::Open { .. } => peer,
        Task::Try { .. } => own,
    };
    let [_, far] = pairs(lasting);
    Some(far).filter(|&k| k > 0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::rendezvous::address::NatClass;
    use crate::rendezvous::errand::Errand;

    const RULE: Guessing = Guessing::Steps {
        last: 40_000,
        step: 2,
    };

    fn address(ip: [u8; 4], mapping: Mapping, filtering: Filtering, ports: usize) -> Address {
        let nat = NatClass { mapping, filtering };
        let mapped = std::array::from_fn(|k| (k < ports).then(|| SocketAddr::from((ip, 4300 + k as u16))));
        Address::own(Errand::Send, [ip[3]; 32], nat, mapped, Vec::new())
            .unwrap()
            .guessed(RULE)
    }

    fn reserved(own: &Address, peer: &Address) -> Option<usize> {
        super::reserved(task(own, peer)?, own, peer)
    }

    fn symmetric() -> Address {
        address([203, 0, 113, 7], Mapping::Dependent, Filtering::Untested, 4)
    }

    fn lasting(ports: usize) -> Address {
        address(
            [198, 51, 100, 2],
            Mapping::Independent,
            Filtering::Untested,
            ports,
        )
    }

    #[test]
    fn the_symmetric_side_opens_and_the_other_tries_by_the_rule_that_was_told() {
        let (a, b) = (symmetric(), lasting(4));
        let open = |near: &str, far: &str| {
            Some(Task::Open {
                near: near.parse().unwrap(),
                far: far.parse().unwrap(),
            })
        };
        assert_eq!(task(&a, &b), open("198.51.100.2:4302", "198.51.100.2:4303"));
        let tries = Task::Try {
            locals: [2, 3],
            remote: a.reflexive.ip(),
            rule: RULE,
        };
        assert_eq!(task(&b, &a), Some(tries));
        assert_eq!((reserved(&a, &b), reserved(&b, &a)), (Some(3), Some(3)));
        let one = lasting(1);
        assert_eq!(task(&a, &one), open("198.51.100.2:4300", "198.51.100.2:4300"));
        assert_eq!((reserved(&a, &one), reserved(&one, &a)), (None, None));
    }

    #[test]
    fn after_a_silence_the_side_whose_ports_changed_opens_and_the_other_tries_any_port() {
        let (a, b) = (
            lasting(4),
            address([203, 0, 113, 7], Mapping::Independent, Filtering::Untested, 4),
        );
        assert_eq!(task(&a, &b), None);
        assert!(
            matches!(after_silence(&a, &b, true), Some(Task::Open { far, .. }) if Some(far) == b.pair(3))
        );
        let tries = Task::Try {
            locals: [2, 3],
            remote: a.reflexive.ip(),
            rule: Guessing::Anywhere,
        };
        assert_eq!(after_silence(&b, &a, false), Some(tries));
        let open = address([203, 0, 113, 7], Mapping::Independent, Filtering::Independent, 4);
        assert_eq!(
            after_silence(&a, &open, true),
            None,
            "its owner hears us as it is"
        );
        assert_eq!(after_silence(&a.guessed(Guessing::Refused), &b, true), None);
    }

    #[test]
    fn nobody_guesses_unless_it_helps_and_both_agree() {
        let (a, b) = (symmetric(), lasting(4));
        assert_eq!(task(&a, &b.clone().guessed(Guessing::Refused)), None);
        assert_eq!(task(&b, &a.clone().guessed(Guessing::Refused)), None);
        let open = address([198, 51, 100, 2], Mapping::Independent, Filtering::Independent, 4);
        assert_eq!(task(&a, &open), None, "it is found as it is");
        let firewalled = address([198, 51, 100, 2], Mapping::Public, Filtering::Untested, 4);
        assert!(task(&a, &firewalled).is_some());
        let other = address([198, 51, 100, 3], Mapping::Dependent, Filtering::Untested, 4);
        assert_eq!(task(&a, &other), None, "nobody's ports last");
        let inside = address([192, 168, 1, 5], Mapping::Independent, Filtering::Untested, 4);
        assert_eq!(task(&a, &inside), None);
        let beside = address([203, 0, 113, 7], Mapping::Independent, Filtering::Untested, 4);
        assert_eq!(task(&a, &beside), None);
        let bare = Address { token: None, ..b };
        assert_eq!(task(&a, &bare), None);
    }
}
