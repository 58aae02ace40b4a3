//! A flood of forged and replayed datagrams in the midst of a transfer between two real programs.
//!
//! The attacker sits at both ends of the line: it hears all that arrives there and sends what it likes, beyond the
//! bottleneck, so that its flood takes work of the two programs and no room of the line.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::forge::Forger;
use super::link::{Direction, Link, LinkPlan, Tap, Way};
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::rebinding::connected;
use super::standing::{Goods, Standing};

/// The bottleneck, bits a second.
const RATE: u64 = 20_000_000;
/// Bytes of the file: some 22 s at [`RATE`].
const SIZE: u64 = 50_000_001;
/// Datagrams a second, to both ends together.
const FLOOD: u64 = 52_000;
/// What a run must have had.
const LEAST: u64 = 1_000_000;
/// Of four datagrams so many go to the receiver, the rest to the sender, which more routers stand before.
const TO_RECEIVER: u64 = 3;
/// How much longer a transfer may take under the flood.
const SLOWER: f64 = 1.1;
/// Handshake messages that may come after the first sealed packet: copies under way when the connection began.
const LATE: u64 = 10;
/// How long both transfers may take at most.
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes of an IPv4 header without options (RFC 791) and of a UDP header (RFC 768).
const IP: usize = 20;
const UDP: usize = 8;

/// A UDP datagram in an IPv4 packet without options.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    (packet.len() > IP + UDP && packet[0] == 0x45 && packet[9] == 17).then(|| &packet[IP + UDP..])
}

fn source(packet: &[u8]) -> [u8; 4] {
    [packet[12], packet[13], packet[14], packet[15]]
}

fn destination(packet: &[u8]) -> [u8; 4] {
    [packet[16], packet[17], packet[18], packet[19]]
}

/// `headers` (of a packet that was heard) before another content, from another sender if one is given. The checksum
/// of UDP is left out, as IPv4 allows.
fn packet(headers: &[u8], from: Option<([u8; 4], u16)>, content: &[u8]) -> Vec<u8> {
    let mut packet = headers[..IP + UDP].to_vec();
    if let Some((address, port)) = from {
        packet[12..16].copy_from_slice(&address);
        packet[IP..IP + 2].copy_from_slice(&port.to_be_bytes());
    }
    packet.extend_from_slice(content);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[IP + 4..IP + 6].copy_from_slice(&(length - IP as u16).to_be_bytes());
    packet[IP + 6..IP + 8].fill(0);
    packet[10..12].fill(0);
    let mut sum: u32 = packet[..IP]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

/// What was heard on the way to one end.
#[derive(Debug)]
struct Ear {
    forger: Forger,
    /// Headers of a packet of the connection itself; empty before there is one.
    headers: Vec<u8>,
}

/// Who floods one network.
#[derive(Debug)]
struct Attacker {
    /// On the way to the receiver, and to the sender.
    ears: [Arc<Mutex<Ear>>; 2],
    /// Packets for the addresses strangers send from, and handshake messages for a peer that has long been connected:
    /// answers to what came in their names.
    answers: [Arc<AtomicU64>; 2],
}

const WAYS: [Way; 2] = [Way::Forth, Way::Back];

impl Attacker {
    /// Begins to listen. `peers` are the public addresses of the two hosts, `strangers` others beside them.
    fn new(link: &Link, peers: [[u8; 4]; 2], strangers: [[u8; 4]; 2]) -> Attacker {
        let answers = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let ears = [1, 2].map(|seed| {
            Arc::new(Mutex::new(Ear {
                forger: Forger::new(seed),
                headers: Vec::new(),
            }))
        });
        for (way, ear) in WAYS.into_iter().zip(&ears) {
            let ear = Arc::clone(ear);
            let [to_strangers, to_peer] = answers.each_ref().map(Arc::clone);
            let tap: Tap = Box::new(move |packet| {
                let Some(content) = payload(packet) else { return };
                if strangers.contains(&destination(packet)) {
                    to_strangers.fetch_add(1, Ordering::Relaxed);
                } else if peers.contains(&source(packet)) && peers.contains(&destination(packet)) {
                    let mut ear = ear.lock().unwrap_or_else(PoisonError::into_inner);
                    ear.forger.hear(content);
                    if ear.forger.is_plausible(content) {
                        ear.headers = packet[..IP + UDP].to_vec();
                    } else if ear.forger.is_ready() {
                        to_peer.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            link.tap(way, tap);
        }
        Attacker { ears, answers }
    }

    /// Floods both ends until told to stop; how many datagrams went out.
    fn flood(&self, link: &Link, strangers: [[u8; 4]; 2], stop: &AtomicBool) -> u64 {
        let heard = |ear: &Arc<Mutex<Ear>>| ear.lock().is_ok_and(|ear| ear.forger.is_ready());
        while !(stop.load(Ordering::Relaxed) || self.ears.iter().all(heard)) {
            thread::sleep(Duration::from_millis(1));
        }
        let (start, mut sent, mut turn) = (Instant::now(), 0, 0);
        while !stop.load(Ordering::Relaxed) {
            let due = (start.elapsed().as_secs_f64() * FLOOD as f64) as u64;
            if sent >= due {
                thread::sleep(Duration::from_micros(500));
                continue;
            }
            turn += 1;
            let end = usize::from(turn % 4 >= TO_RECEIVER);
            let mut ear = self.ears[end].lock().unwrap_or_else(PoisonError::into_inner);
            let headers = ear.headers.clone();
            let content = ear.forger.forge();
            let dice = ear.forger.roll();
            drop(ear);
            // Half of it from where the peer is, half from somewhere else.
            let from = (dice.is_multiple_of(2)).then_some((strangers[end], (dice >> 1) as u16 | 1));
            sent += u64::from(link.inject(WAYS[end], &packet(&headers, from, &content)));
        }
        sent
    }
}

/// What one of two transfers came to.
#[derive(Debug)]
struct Ran {
    took: Duration,
    account: String,
}

/// Runs a transfer to its end.
fn run(network: &Network, standing: &Standing) -> Ran {
    let mut attempt = connected(standing, network);
    let start = Instant::now();
    attempt.succeeds(LIMIT);
    Ran {
        took: start.elapsed(),
        account: attempt.account(),
    }
}

/// The last of the numbers that stand before `word`, in what each side said with -vv.
fn counted(account: &str, word: &str) -> [u64; 2] {
    let sides: Vec<&str> = account.split("--- receiver ---").collect();
    [0, 1].map(|side| {
        let words: Vec<&str> = sides[side].split_whitespace().collect();
        let at = words.iter().rposition(|w| *w == word);
        at.and_then(|at| words[at - 1].parse().ok()).unwrap_or(0)
    })
}

/// Two transfers at the same time, over two lines of their own, one of them flooded.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_million_forged_and_replayed_datagrams_are_neither_accepted_nor_answered() {
    let direction = Direction {
        rate: RATE,
        delay: Duration::from_millis(10),
        queue: 100_000,
        ..Direction::default()
    };
    // No routers in between that would keep strangers out.
    let plan = Plan {
        link: LinkPlan::symmetric(direction),
        ..Plan::new(Nat::Public, Nat::Public)
    };
    let standing = [1, 2].map(|seed| Standing::new(Goods::File(SIZE), seed, [&["-vv"], &["-vv"]]));
    let networks = [Network::build(plan), Network::build(plan)];
    let peers = [Side::A, Side::B].map(|side| octets(networks[1].public_address(side)));
    // Neighbours of the other host, so that answers to them take this line.
    let strangers = peers.map(|[a, b, c, _]| [a, b, c, 66]);
    let link = networks[1].link();
    let attacker = Attacker::new(link, peers, strangers);
    let stop = AtomicBool::new(false);
    let (quiet, loud, sent) = thread::scope(|scope| {
        let quiet = scope.spawn(|| run(&networks[0], &standing[0]));
        let flood = scope.spawn(|| attacker.flood(link, strangers, &stop));
        let loud = run(&networks[1], &standing[1]);
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().expect("the attacker does not panic");
        (quiet.join().expect("it succeeds"), loud, sent)
    });
    let [forged, replayed] = ["forged,", "replayed,"].map(|word| counted(&loud.account, word));
    let answers = attacker
        .answers
        .each_ref()
        .map(|answers| answers.load(Ordering::Relaxed));
    println!(
        "{sent} datagrams sent; counted by sender and receiver: {forged:?} forged, {replayed:?} replayed; answers to \
         strangers and in the peer's name: {answers:?}; {:.1?} undisturbed, {:.1?} flooded",
        quiet.took, loud.took
    );
    assert!(sent >= LEAST, "only {sent} datagrams");
    let dropped: u64 = forged.iter().chain(&replayed).sum();
    assert!(
        dropped >= LEAST / 2,
        "hardly any of them came to the programs: {dropped}"
    );
    assert!(standing[0].exact() && standing[1].exact(), "{}", loud.account);
    assert_eq!(answers[0], 0, "strangers were answered");
    assert!(
        answers[1] <= LATE,
        "the peer was answered for what it did not send"
    );
    assert!(loud.took <= quiet.took.mul_f64(SLOWER), "{}", loud.account);
}

fn octets(address: &str) -> [u8; 4] {
    let address: Ipv4Addr = address.parse().expect("an address of the network");
    address.octets()
}
