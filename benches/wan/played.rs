//! Transfers over played links, one after the other: how much of each link a transfer uses, and the memory it takes.
//!
//! `cargo bench --bench wan`, as root, on Linux, with nothing else running. A word after `--` picks the links whose
//! names contain it. The laboratory of tests/lab is the ground: two public hosts, so that punching costs a slot
//! and nothing else; files lie in memory, so that no disk is measured.

#[path = "../../tests/lab/driver.rs"]
mod driver;
#[path = "../../tests/lab/link.rs"]
mod link;
#[path = "../../tests/lab/nat.rs"]
mod nat;
#[path = "../../tests/lab/network.rs"]
mod network;
#[path = "../../tests/lab/pair.rs"]
mod pair;
#[path = "../../tests/lab/services.rs"]
mod services;
#[path = "../../tests/lab/shell.rs"]
mod shell;

use std::path::PathBuf;
use std::time::Duration;

use self::link::{Direction, LinkPlan};
use self::nat::Nat;
use self::network::{Network, Place, Plan};
use self::pair::{Errand, run_pair};

/// What a link is called, and what it does. A rate of zero stands for the local network, without a played link.
struct Link {
    name: &'static str,
    mbit: u64,
    rtt_ms: u64,
    jitter_ms: u64,
    loss: f64,
    queue: usize,
    megabytes: usize,
}

/// Those of docs/performance.md.
const LINKS: [Link; 9] = [
    Link {
        name: "100 Mbit/s, 100 ms",
        mbit: 100,
        rtt_ms: 100,
        jitter_ms: 0,
        loss: 0.0,
        queue: 1_250_000,
        megabytes: 250,
    },
    Link {
        name: "100 Mbit/s, 100 ms, 1% loss",
        mbit: 100,
        rtt_ms: 100,
        jitter_ms: 0,
        loss: 0.01,
        queue: 1_250_000,
        megabytes: 250,
    },
    Link {
        name: "100 Mbit/s, 20 ms, 5% loss",
        mbit: 100,
        rtt_ms: 20,
        jitter_ms: 0,
        loss: 0.05,
        queue: 250_000,
        megabytes: 200,
    },
    Link {
        name: "500 Mbit/s, 100 ms, 0.1% loss",
        mbit: 500,
        rtt_ms: 100,
        jitter_ms: 0,
        loss: 0.001,
        queue: 6_250_000,
        megabytes: 800,
    },
    Link {
        name: "20 Mbit/s, 40 ms, 1 s buffer",
        mbit: 20,
        rtt_ms: 40,
        jitter_ms: 0,
        loss: 0.0,
        queue: 2_500_000,
        megabytes: 40,
    },
    Link {
        name: "20 Mbit/s, 80 ms, 32 KB buffer",
        mbit: 20,
        rtt_ms: 80,
        jitter_ms: 0,
        loss: 0.0,
        queue: 32_000,
        megabytes: 40,
    },
    Link {
        name: "1 Gbit/s, 20 ms",
        mbit: 1000,
        rtt_ms: 20,
        jitter_ms: 0,
        loss: 0.0,
        queue: 2_500_000,
        megabytes: 1000,
    },
    Link {
        name: "100 Mbit/s, 50 ms, 10 ms jitter",
        mbit: 100,
        rtt_ms: 50,
        jitter_ms: 10,
        loss: 0.0,
        queue: 625_000,
        megabytes: 200,
    },
    Link {
        name: "LAN (veth)",
        mbit: 0,
        rtt_ms: 0,
        jitter_ms: 0,
        loss: 0.0,
        queue: 0,
        megabytes: 2000,
    },
];

impl Link {
    fn plan(&self) -> Plan {
        let direction = Direction {
            rate: self.mbit * 1_000_000,
            delay: Duration::from_millis(self.rtt_ms) / 2,
            jitter: Duration::from_millis(self.jitter_ms),
            loss: self.loss,
            queue: self.queue,
            ..Direction::default()
        };
        // Acknowledgements come back over the same distance, but the other way is never the bottleneck.
        let back = Direction {
            jitter: Duration::ZERO,
            loss: 0.0,
            queue: 10_000_000,
            ..direction
        };
        let plan = Plan {
            hops: 1,
            link: LinkPlan {
                forth: direction,
                back,
                seed: 1,
            },
            ..Plan::new(Nat::Public, Nat::Public)
        };
        match self.mbit {
            0 => Plan {
                place: Place::OneLan,
                ..Plan {
                    a: Nat::MasqueradeDrop,
                    ..plan
                }
            },
            _ => plan,
        }
    }
}

/// Runs the links the command line picks, prints the table, and fails if one transfer failed.
pub(crate) fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    println!("| link | Mbit/s | of C(1-p) | RSS sender | RSS receiver |\n|---|---|---|---|---|");
    let mut failed = false;
    for link in LINKS {
        if !wanted.is_empty() && !wanted.iter().any(|word| link.name.contains(word.as_str())) {
            continue;
        }
        let network = Network::build(link.plan());
        let errand = Errand {
            size: link.megabytes * 1_000_000,
            limit: Duration::from_secs(180),
            directory: Some(PathBuf::from("/dev/shm")),
            ..Errand::default()
        };
        let report = run_pair(&network, &errand);
        let time = report
            .connected
            .map(|connected| report.took.saturating_sub(connected));
        let Some(time) = time.filter(|_| report.succeeded()) else {
            failed = true;
            println!("| {} | FAILED | | | |", link.name);
            eprintln!("{}\n{}", link.name, report.account());
            continue;
        };
        let mbit = errand.size as f64 * 8.0 / 1e6 / time.as_secs_f64();
        let share = match link.mbit {
            0 => "-".to_owned(),
            capacity => format!("{:.1}%", mbit * 100.0 / (capacity as f64 * (1.0 - link.loss))),
        };
        let [sender, receiver] = report.peak_memory.map(|bytes| bytes / (1 << 20));
        println!(
            "| {} | {mbit:.1} | {share} | {sender} MiB | {receiver} MiB |",
            link.name
        );
    }
    std::process::exit(failed.into());
}
