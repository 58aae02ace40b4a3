//! The rounds, and the table.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ceiling::{self, Work};
use super::{coturn, program};

/// One transfer's cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// From the first byte read to the last one written, seconds.
    pub(crate) seconds: f64,
    /// CPU time of both ends together, seconds.
    pub(crate) cpu: f64,
    /// Peak memory of the larger end, bytes; none where both share a process.
    pub(crate) memory: Option<u64>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contender {
    Ceiling(Work),
    Program {
        offload: bool,
    },
    /// The same by way of a server on this machine; what is told of CPU and memory is the server's.
    Relay,
}

const CONTENDERS: [(&str, Contender); 5] = [
    ("ceiling: AEAD, GSO/GRO, copy", Contender::Ceiling(Work::Copy)),
    (
        "the same, hashing and journaling",
        Contender::Ceiling(Work::Verify),
    ),
    ("p2pcopy", Contender::Program { offload: true }),
    (
        "p2pcopy --relay only (CPU, RSS: of the server alone)",
        Contender::Relay,
    ),
    ("p2pcopy --no-offload", Contender::Program { offload: false }),
];

/// Runs the rounds the command line asks for and prints the table.
pub(crate) fn main() {
    let megabytes = option("--megabytes").unwrap_or(2000);
    let rounds = option("--rounds").unwrap_or(5);
    if let Some(directory) = option::<PathBuf>("--disk") {
        return super::disks::run(&directory, megabytes, rounds);
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory on a tmpfs");
    let file = directory.path().join("vm.img");
    make_file(&file, megabytes);
    let mtu = interface_mtu();
    println!("{megabytes} MB, file to file on a tmpfs, MTU of lo {mtu}; medians of {rounds} rounds\n");

    let mut costs: [Vec<Cost>; CONTENDERS.len()] = Default::default();
    for _ in 0..rounds {
        for ((name, contender), costs) in CONTENDERS.iter().zip(&mut costs) {
            let copy = directory.path().join("received");
            let warm = || warm(&directory.path().join("warm"), megabytes);
            let removed = |cost| std::fs::remove_dir_all(&copy).map(|()| cost);
            let cost = match contender {
                Contender::Ceiling(work) => {
                    warm();
                    ceiling::run(&file, &copy, datagram(mtu), *work)
                }
                Contender::Program { offload } => {
                    program::run(&file, &copy, *offload, warm).and_then(removed)
                }
                Contender::Relay => program::run_relayed(&file, &copy, warm).and_then(removed),
            };
            costs.push(cost.unwrap_or_else(|e| panic!("{name}: {e}")));
        }
    }
    print_table(&costs, megabytes);
    let coturn = (0..rounds).map(|_| coturn::cpu_per_gigabyte(megabytes));
    match coturn.collect::<Result<Vec<f64>, _>>() {
        Ok(costs) => println!(
            "\ncoturn, relaying datagrams of 1,400 bytes: {:.2} CPU s/GB",
            median(costs.into_iter())
        ),
        Err(e) => println!("\ncoturn is left out: {e}"),
    }
}

fn print_table(costs: &[Vec<Cost>; CONTENDERS.len()], megabytes: usize) {
    let gigabytes = megabytes as f64 / 1000.0;
    let gbit = |costs: &[Cost]| gigabytes * 8.0 / median(costs.iter().map(|c| c.seconds));
    let ceiling = gbit(&costs[0]);
    println!("| | Gbit/s | of the ceiling | CPU s/GB | RSS of the larger end |\n|---|---|---|---|---|");
    for ((name, _), costs) in CONTENDERS.iter().zip(costs) {
        let rate = gbit(costs);
        let memory = costs.iter().filter_map(|c| c.memory).max();
        println!(
            "| {name} | {rate:.1} | {:.0}% | {:.2} | {} |",
            100.0 * rate / ceiling,
            median(costs.iter().map(|c| c.cpu)) / gigabytes,
            memory.map_or("-".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
        );
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn option<T: FromStr>(name: &str) -> Option<T> {
    let word = std::env::args().skip_while(|word| word != name).nth(1)?;
    Some(
        word.parse()
            .unwrap_or_else(|_| panic!("{name} {word}: not a value")),
    )
}

/// Bytes nobody can compress, the same on every run.
pub(crate) fn make_file(path: &Path, megabytes: usize) {
    let mut file = std::fs::File::create(path).expect("room on the tmpfs");
    let mut bytes = blake3::Hasher::new().update(b"p2pcopy loopback").finalize_xof();
    let mut block = vec![0; 1_000_000];
    for _ in 0..megabytes {
        bytes.fill(&mut block);
        file.write_all(&block).expect("room on the tmpfs");
    }
}

/// Takes the memory of a copy and gives it back, right before it is needed. A virtual machine hands memory that was
/// free for seconds to its host, and page faults there would be all that is measured.
fn warm(path: &Path, megabytes: usize) {
    let mut file = std::fs::File::create(path).expect("room on the tmpfs");
    let block = vec![0; 1_000_000];
    for _ in 0..megabytes + megabytes / 10 {
        file.write_all(&block).expect("room on the tmpfs");
    }
    std::fs::remove_file(path).expect("it was just made");
}

fn interface_mtu() -> usize {
    // What lies below /sys may tell of another network namespace.
    let text = std::fs::read_to_string(PathBuf::from("/proc/sys/net/ipv6/conf/lo/mtu")).unwrap_or_default();
    text.trim().parse().unwrap_or(65_536)
}

/// The largest datagram p2pcopy uses there (its MTU ladder ends at 8952, an Ethernet's jumbo frame).
fn datagram(mtu: usize) -> usize {
    (mtu - 28).min(8952)
}
