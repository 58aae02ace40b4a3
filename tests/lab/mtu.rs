//! Interfaces and links that carry less than is usual: from the start, and from some moment on. Nobody says so: the
//! program looks at no ICMP message.

use std::time::{Duration, Instant};

use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::pair::{Errand, Pair, run_pair};

/// Where the narrow cable is.
#[derive(Clone, Copy, Debug)]
enum Narrow {
    /// At a host's own interface.
    Own(Side),
    /// Between two routers in the middle.
    Middle,
}

fn narrow(network: &Network, at: Narrow, mtu: u16) {
    match at {
        Narrow::Own(Side::A) => network.set_mtu(("na", "port1"), ("a", "eth0"), mtu),
        Narrow::Own(Side::B) => network.set_mtu(("nb", "port1"), ("b", "eth0"), mtu),
        Narrow::Middle => network.set_mtu(("r6", "r"), ("r7", "l"), mtu),
    }
}

/// 20 Mbit/s, 30 ms there and back.
fn plan() -> Plan {
    let direction = Direction {
        rate: 20_000_000,
        delay: Duration::from_millis(15),
        queue: 100_000,
        ..Direction::default()
    };
    Plan {
        link: LinkPlan::symmetric(direction),
        ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn interfaces_and_links_of_any_mtu_carry_a_file() {
    for mtu in [576, 1200, 1220, 1280] {
        for at in [Narrow::Own(Side::A), Narrow::Own(Side::B), Narrow::Middle] {
            let network = Network::build(plan());
            narrow(&network, at, mtu);
            let report = run_pair(
                &network,
                &Errand {
                    size: 5_000_000,
                    ..Errand::default()
                },
            );
            assert!(report.succeeded(), "{mtu} {at:?}\n{}", report.account());
            let took = report.took - report.connected.expect("it succeeded");
            println!("{mtu} {at:?}: {took:.1?} from the connection to the end");
            assert!(
                took < Duration::from_secs(10),
                "{mtu} {at:?}\n{}",
                report.account()
            );
        }
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn an_mtu_that_falls_in_mid_transfer_stops_nothing() {
    for at in [Narrow::Own(Side::A), Narrow::Own(Side::B), Narrow::Middle] {
        let network = Network::build(plan());
        narrow(&network, at, 1400);
        let errand = Errand {
            size: 10_000_000,
            ..Errand::default()
        };
        let pair = Pair::start(&network, &errand).unwrap_or_else(|error| panic!("{error}"));
        for peer in [&pair.sender, &pair.receiver] {
            peer.connected(Duration::from_secs(30))
                .unwrap_or_else(|error| panic!("{error}"));
        }
        for (mtu, bytes) in [(1200, 2_000_000), (576, 5_000_000)] {
            let end = Instant::now() + Duration::from_secs(15);
            while network.link().counters()[0].delivered_bytes < bytes {
                assert!(Instant::now() < end, "stands still before {bytes} bytes");
                std::thread::sleep(Duration::from_millis(10));
            }
            narrow(&network, at, mtu);
        }
        let report = pair.finish();
        assert!(report.succeeded(), "{at:?}\n{}", report.account());
        let took = report.took - report.connected.expect("it succeeded");
        println!("{at:?}: {took:.1?} from the connection to the end");
        assert!(took < Duration::from_secs(15), "{at:?}\n{}", report.account());
    }
}
