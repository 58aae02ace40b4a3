//! The servers of the played internet: Debian's coturn and chrony, and clocks that are wrong by a stated time.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::shell::{Daemon, command_in, inside, must};

/// How long the servers may take before they answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Seconds from 1900 to 1970 (RFC 5905, section 6).
const NTP_EPOCH: u64 = 2_208_988_800;

/// The running servers; they end when dropped.
#[derive(Debug)]
pub(crate) struct Services {
    _daemons: Vec<Daemon>,
    _clocks: Vec<Answering>,
    _files: TempDir,
}

impl Services {
    /// Both addresses of the STUN server, port 3478.
    pub(crate) const STUN: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
    /// The NTP server that tells this machine's time.
    pub(crate) const CHRONY: &str = "192.0.2.3";
    /// The NTP servers that are wrong on purpose, one for each side.
    pub(crate) const CLOCKS: [&str; 2] = ["192.0.2.4", "192.0.2.5"];

    /// Every address the servers' namespace must hold.
    pub(crate) fn addresses() -> impl Iterator<Item = &'static str> {
        Self::STUN.into_iter().chain([Self::CHRONY]).chain(Self::CLOCKS)
    }

    /// Starts all servers in `namespace` and waits until each answers.
    pub(crate) fn start(namespace: &str, clock_offset_ms: [i64; 2]) -> Services {
        let files = tempfile::tempdir().expect("room for a few small files");
        let path = |name: &str| files.path().join(name).display().to_string();
        let log = File::create(files.path().join("log")).expect("room for a log");
        let log = || Stdio::from(log.try_clone().expect("a file handle can be shared"));

        let mut turn = command_in(namespace, "turnserver");
        turn.args([
            "-n",
            "--no-auth",
            "--stun-only",
            "-p",
            "3478",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
        ]);
        turn.args([
            "-L",
            Self::STUN[0],
            "-L",
            Self::STUN[1],
            "--relay-threads",
            "1",
            "--log-file",
            "stdout",
        ]);
        turn.args(["--pidfile", &path("turn.pid"), "--userdb", &path("turn.db")])
            .current_dir(files.path());

        let config = format!(
            "local stratum 1\nallow\nbindaddress {}\nbindcmdaddress /\ncmdport 0\npidfile {}\n",
            Self::CHRONY,
            path("chrony.pid")
        );
        std::fs::write(files.path().join("chrony.conf"), config).expect("room for a few small files");
        let mut chrony = command_in(namespace, "chronyd");
        chrony.args(["-x", "-d", "-u", "root", "-f", &path("chrony.conf")]);

        let daemons = [turn, chrony]
            .iter_mut()
            .map(|command| {
                let command = command.stdin(Stdio::null()).stdout(log()).stderr(log());
                Daemon(
                    command
                        .spawn()
                        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")),
                )
            })
            .collect();
        let clocks = (0..2)
            .filter(|_| clock_offset_ms != [0, 0])
            .map(|side| wrong_clock(namespace, Self::CLOCKS[side], clock_offset_ms[side]))
            .collect();
        let ready = inside(namespace, || {
            Self::STUN
                .iter()
                .all(|server| answers(server, 3478, &stun_request()))
                && answers(Self::CHRONY, 123, &ntp_request())
        });
        let said = || std::fs::read_to_string(files.path().join("log")).unwrap_or_default();
        assert!(ready, "the STUN and NTP servers did not come up:\n{}", said());
        Services {
            _daemons: daemons,
            _clocks: clocks,
            _files: files,
        }
    }
}

/// A binding request without attributes (RFC 8489, section 5).
fn stun_request() -> [u8; 20] {
    let mut request = [0; 20];
    request[1] = 1;
    request[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
    request[8..].copy_from_slice(b"p2pcopy-lab.");
    request
}

/// A client's request of NTP version 4 (RFC 5905, section 7.3).
fn ntp_request() -> [u8; 48] {
    let mut request = [0; 48];
    request[0] = 0x23;
    request
}

/// Whether a server answers within the limit; asks it again every few milliseconds.
fn answers(server: &str, port: u16, request: &[u8]) -> bool {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a fresh namespace has free ports");
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a time above zero");
    let end = Instant::now() + START_LIMIT;
    while Instant::now() < end {
        let _ = socket.send_to(request, (server, port));
        if socket.recv(&mut [0; 1500]).is_ok() {
            return true;
        }
    }
    false
}

/// What answers datagrams on a thread of its own until it is dropped.
#[derive(Debug)]
struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    fn start(socket: UdpSocket, mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time above zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut request = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut request) else {
                    continue;
                };
                if let Some(answer) = answer(&request[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Answering {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A router that forwards the ports it is asked for (NAT-PMP, RFC 6886) to the host `inside`. Its rules have a chain `pre`.
#[derive(Debug)]
pub(crate) struct Forwarder {
    _answering: Answering,
}

impl Forwarder {
    pub(crate) fn start(router: String, inside_address: &'static str, outside: Ipv4Addr) -> Forwarder {
        let socket = inside(&router, || UdpSocket::bind(("0.0.0.0", 5351))).expect("the port is free here");
        let mut forwarded = BTreeSet::new();
        let answer = move |request: &[u8]| match request {
            [0, 0] => Some([&[0, 128, 0, 0, 0, 0, 0, 9][..], &outside.octets()].concat()),
            // Each port is mapped to itself.
            [0, 1, _, _, high, low, _, _, lifetime @ ..] => {
                let port = u16::from_be_bytes([*high, *low]);
                if lifetime != [0; 4] && forwarded.insert(port) {
                    let rule = format!(
                        "add rule ip home pre iifname wan udp dport {port} dnat ip to {inside_address}:{port}"
                    );
                    must(command_in(&router, "nft").args(["-f", "-"]), &rule);
                }
                Some(
                    [
                        &[0, 129, 0, 0, 0, 0, 0, 9, *high, *low, *high, *low][..],
                        lifetime,
                    ]
                    .concat(),
                )
            }
            _ => Some(vec![0, 128, 0, 1, 0, 0, 0, 9]),
        };
        Forwarder {
            _answering: Answering::start(socket, answer),
        }
    }
}

/// An NTP server that is wrong by a fixed time.
fn wrong_clock(namespace: &str, address: &'static str, offset_ms: i64) -> Answering {
    let socket = inside(namespace, move || UdpSocket::bind((address, 123))).expect("port 123 is free here");
    Answering::start(socket, move |request| {
        let request = request.get(..48)?;
        Some(ntp_answer(request, timestamp(offset_ms)).to_vec())
    })
}

/// This machine's time, wrong by `offset_ms`, as an NTP timestamp: 32 bits of seconds, 32 of their fraction.
fn timestamp(offset_ms: i64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("this machine's clock is after 1970");
    let now_ns = now.as_nanos() as i128 + i128::from(offset_ms) * 1_000_000;
    let seconds = (now_ns / 1_000_000_000) as u64 + NTP_EPOCH;
    let fraction = ((now_ns % 1_000_000_000) as u64 * (1 << 32)) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// A server's answer: stratum 1, the request's transmit time as origin, one time for all our own stamps.
fn ntp_answer(request: &[u8], now: u64) -> [u8; 48] {
    let mut answer = [0; 48];
    answer[0] = 0x24;
    answer[1] = 1;
    answer[2] = request[2];
    answer[3] = 0xec; // precision, 2^-20 s
    answer[12..16].copy_from_slice(b"LAB\0");
    answer[16..24].copy_from_slice(&now.to_be_bytes());
    answer[24..32].copy_from_slice(&request[40..48]);
    answer[32..40].copy_from_slice(&now.to_be_bytes());
    answer[40..48].copy_from_slice(&now.to_be_bytes());
    answer
}
