//! Predicts the outside ports of a symmetric NAT, if STUN answers show how it assigns ports (RFC 4787,
//! section 4.2).

use std::net::SocketAddr;

/// The least port that NATs assign. Lower ports are for services (RFC 6335, section 6).
const LEAST_PORT: u16 = 1024;
/// The least number of answers that can show a rule.
const ENOUGH: usize = 4;
/// The largest difference between two answers that counts as a step: while STUN is asked, the programs of one
/// home open fewer flows.
const LONGEST_STEP: i32 = 256;
/// The largest block of ports in use that a carrier assigns to one customer (RFC 7422 counts in thousands).
const LARGEST_BLOCK: u16 = 4096;
/// The least margin, in ports, to add on both sides of the observed part of a block.
const MARGIN: u16 = 64;
/// The number of steps after the last known port that are tried in turn: as many as a busy home may use
/// before both users have pasted.
const STEPS: u32 = 2048;
/// The first round tries every 32nd step, and each further round tries steps between those. The ports that
/// the other side opens lie closer together, so each round finds some of them.
const STRIDE: u32 = 32;
/// One guess of this many ignores the rule, because the rule may be wrong.
const FREE: u32 = 4;

/// Whether the owner of an address allows guesses of its ports, and which ports are likely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Guessing {
    /// No rule is known.
    #[default]
    Anywhere,
    /// Each flow gets a port at a fixed distance from the one before.
    Steps {
        /// The last port that is known.
        last: u16,
        /// The distance; never 0.
        step: i16,
    },
    /// The ports are in this range.
    Between {
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
    /// Guesses are of no use, or the owner does not allow them.
    Refused,
}

impl Guessing {
    /// Derives a rule from the outside addresses of flows, which must be in the order in which the flows
    /// began.
    pub(crate) fn from_seen(seen: &[SocketAddr]) -> Guessing {
        // If the network has several outside addresses, nobody knows from which one its packets will come.
        if seen.iter().any(|at| at.ip() != seen[0].ip()) {
            return Guessing::Refused;
        }
        let ports: Vec<u16> = seen.iter().map(SocketAddr::port).collect();
        let (Some(&lowest), Some(&highest), Some(&last)) =
            (ports.iter().min(), ports.iter().max(), ports.last())
        else {
            return Guessing::Anywhere;
        };
        if ports.len() < ENOUGH {
            return Guessing::Anywhere;
        }
        let steps: Vec<i32> = ports
            .windows(2)
            .map(|two| i32::from(two[1]) - i32::from(two[0]))
            .collect();
        let is_step =
            |step: &i32| step.signum() == steps[0].signum() && (1..=LONGEST_STEP).contains(&step.abs());
        if steps.iter().all(is_step) {
            // Other flows of the same home may have begun in between.
            let common = steps.iter().fold(0, |common, step| divisor(common, *step));
            let step = i16::try_from(common * steps[0].signum()).unwrap_or(1);
            return Guessing::Steps { last, step };
        }
        let span = highest - lowest;
        if span < LARGEST_BLOCK {
            let margin = (span / 2).max(MARGIN);
            return Guessing::Between {
                first: lowest.saturating_sub(margin),
                last: highest.saturating_add(margin),
            };
        }
        Guessing::Anywhere
    }

    /// The port of guess number `n`. `random` chooses it where the rule names no order.
    pub(crate) fn port(self, n: u32, random: u64) -> u16 {
        let free = n % FREE == FREE - 1;
        // The number of earlier guesses that followed the rule.
        let ruled = n - n / FREE;
        match self {
            Guessing::Steps { last, step } if !free => after(last, step, step_number(ruled)),
            Guessing::Between { first, last } if !free => {
                within(first.max(LEAST_PORT), last.max(LEAST_PORT), random)
            }
            _ => within(LEAST_PORT, u16::MAX, random),
        }
    }
}

/// The greatest common divisor; positive.
fn divisor(a: i32, b: i32) -> i32 {
    if b == 0 { a.abs() } else { divisor(b, a % b) }
}

fn within(first: u16, last: u16, random: u64) -> u16 {
    let count = u64::from(last.saturating_sub(first)) + 1;
    first.saturating_add(u16::try_from(random % count).unwrap_or(0))
}

/// The number of steps for guess number `n`: each round goes over the whole range, between the steps of
/// earlier rounds.
fn step_number(n: u32) -> u32 {
    let rounds = STEPS / STRIDE;
    let (round, place) = (n / rounds % STRIDE, n % rounds);
    // The offsets are 0, 16, 8, 24, 4, …: the bits of the round number in reverse order.
    let offset = round.reverse_bits() >> (u32::BITS - STRIDE.trailing_zeros());
    1 + place * STRIDE + offset
}

/// The port `count` steps after `last`, among the ports that NATs assign.
fn after(last: u16, step: i16, count: u32) -> u16 {
    let ports = i64::from(u16::MAX - LEAST_PORT) + 1;
    let place = i64::from(last) - i64::from(LEAST_PORT) + i64::from(step) * i64::from(count);
    LEAST_PORT + u16::try_from(place.rem_euclid(ports)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn seen(ports: &[u16]) -> Guessing {
        let at = |port: &u16| SocketAddr::from(([203, 0, 113, 7], *port));
        Guessing::from_seen(&ports.iter().map(at).collect::<Vec<_>>())
    }

    #[test]
    fn steps_show_though_other_flows_began_in_between() {
        let steps = |last, step| Guessing::Steps { last, step };
        assert_eq!(seen(&[5000, 5002, 5004, 5010, 5012]), steps(5012, 2));
        assert_eq!(seen(&[5012, 5009, 5003, 5000]), steps(5000, -3));
        assert_eq!(seen(&[5000, 5001, 5002]), Guessing::Anywhere, "too few");
    }

    #[test]
    fn a_block_shows_and_ports_from_anywhere_do_not_look_like_one() {
        let block = seen(&[40_900, 41_800, 40_100, 41_300, 40_500]);
        let Guessing::Between { first, last } = block else {
            panic!("{block:?}")
        };
        assert!(first <= 40_000 && last >= 42_047, "{block:?}");
        assert_eq!(seen(&[40_900, 1_800, 60_100, 21_300, 9_500]), Guessing::Anywhere);
        let two = [[203, 0, 113, 7], [203, 0, 113, 8]].map(|ip| SocketAddr::from((ip, 5000)));
        assert_eq!(Guessing::from_seen(&two), Guessing::Refused);
        assert_eq!(Guessing::from_seen(&[]), Guessing::Anywhere);
    }

    #[test]
    fn every_step_is_tried_once_a_turn_and_the_first_round_goes_far() {
        let first: Vec<u32> = (0..STEPS / STRIDE).map(step_number).collect();
        assert_eq!((first[0], first[1]), (1, 1 + STRIDE));
        assert!(first.last() > Some(&(STEPS - 2 * STRIDE)));
        let all: BTreeSet<u32> = (0..STEPS).map(step_number).collect();
        assert_eq!(
            (all.len(), all.first(), all.last()),
            (2048, Some(&1), Some(&STEPS))
        );
        assert_eq!(step_number(STEPS), step_number(0));
    }

    fn spread(n: u32) -> u64 {
        u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7
    }

    #[test]
    fn most_guesses_follow_the_rule_and_all_are_ports_that_nats_give_out() {
        let rules = [
            Guessing::Steps {
                last: 65_530,
                step: 3,
            },
            Guessing::Steps {
                last: 1_030,
                step: -7,
            },
            Guessing::Steps {
                last: 7,
                step: i16::MIN,
            },
            Guessing::Between {
                first: 40_000,
                last: 42_047,
            },
            Guessing::Between {
                first: 0,
                last: u16::MAX,
            },
            Guessing::Anywhere,
        ];
        for rule in rules {
            let port = |n: u32| rule.port(n, spread(n));
            assert!((0..10_000).map(port).all(|port| port >= LEAST_PORT), "{rule:?}");
            let _ = rule.port(u32::MAX, u64::MAX);
        }
        let block = (0..400)
            .filter(|&n| (40_000..42_048).contains(&rules[3].port(n, spread(n))))
            .count();
        assert!((300..330).contains(&block), "{block}");
    }
}
