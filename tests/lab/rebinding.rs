//! A router that filters by address and port and gives out other ports every few seconds, on a line that loses a tenth.
//!
//! Challenges and their answers are lost as often as anything else; the transfer must go on all the same.

use std::time::{Duration, Instant};

use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::standing::{Attempt, Goods, Standing};

/// What the sender is limited to, in bits per second, and how it is told.
const RATE: u64 = 8_000_000;
const LIMIT: &str = "8mbit";
/// How often the router forgets its mappings.
const REBIND_EVERY: Duration = Duration::from_secs(3);
/// A rebinding may cost so long: silence is noticed after 8 s, and a slot of the search is 10 s away at most.
const MOST_LOST: Duration = Duration::from_secs(40);

/// Two homes 30 ms apart on a line that loses `loss` of all packets. A's router, which the test has forget its mappings,
/// filters; B's lets strangers in, or nobody could learn A's new port.
pub(crate) fn forgetful(loss: f64) -> Network {
    let direction = Direction {
        delay: Duration::from_millis(15),
        loss,
        ..Direction::default()
    };
    Network::build(Plan {
        link: LinkPlan::symmetric(direction),
        ..Plan::new(Nat::MasqueradeDrop, Nat::Cone)
    })
}

/// Both ends, once they are connected.
pub(crate) fn connected(standing: &Standing, network: &Network) -> Attempt {
    let attempt = standing
        .attempt(network)
        .unwrap_or_else(|error| panic!("{error}"));
    for peer in [&attempt.sender, &attempt.receiver] {
        peer.connected(Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    attempt
}

/// `REBIND_ROUNDS=50` by hand; a few by default.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_rebinds_again_and_again_stalls_nothing() {
    let rounds = std::env::var("REBIND_ROUNDS").ok();
    let rounds: u32 = rounds.map_or(4, |text| text.parse().expect("REBIND_ROUNDS is a number"));
    let size = RATE / 8 * REBIND_EVERY.as_secs() * u64::from(rounds + 1);
    let network = forgetful(0.1);
    let standing = Standing::new(Goods::File(size), 1, [&["--limit", LIMIT], &[]]);
    let mut attempt = connected(&standing, &network);
    let start = Instant::now();
    let end = start + MOST_LOST * (rounds + 1);
    let mut rebindings = 0;
    while attempt.sender.wait(REBIND_EVERY).is_err() {
        assert!(Instant::now() < end, "too slow: {}", attempt.account());
        if rebindings < rounds {
            network.rebind(Side::A);
            rebindings += 1;
        }
    }
    attempt.succeeds(Duration::from_secs(30));
    assert!(standing.exact(), "{}", attempt.account());
    assert_eq!(rebindings, rounds, "the transfer was too short for all of them");
    println!("{size} bytes in {:?}, {rebindings} rebindings", start.elapsed());
}
