//! The real server under load: a thousand pairs, and a flood. Linux only, as all addresses of 127.0.0.0/8 are this
//! machine's there, and each is a network of its own to the server's limits.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use p2pcopy::parts::rendezvous::{
    Bind, BindWant, Binding, Bound, End, Errand, MeetingHello, Open, SessionId, Standing, State, Want,
};

/// How long a datagram on this machine may take when it is busy.
const LIMIT: Duration = Duration::from_millis(500);
/// And how often that is waited for.
const TRIES: usize = 60;
/// The first byte of a COOKIE.
const COOKIE: u8 = 0x61;
/// What a server may hold with a thousand pairs, bytes.
const MOST_MEMORY: u64 = 32 << 20;

struct Server {
    child: Child,
    at: SocketAddr,
}

impl Server {
    fn start() -> Server {
        Server::start_at("127.0.0.1:0")
    }

    fn start_at(listen: &str) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pcopy"));
        command.args(["server", "-q", "--listen", listen, "--public", "127.0.0.1"]);
        Server::run(command)
    }

    /// A server that a command starts with `-q`.
    fn run(mut command: Command) -> Server {
        let child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        // From here on it ends with the test, whatever fails.
        let mut server = Server { child, at };
        let stderr = server.child.stderr.take().expect("piped");
        let line = BufReader::new(stderr).lines().next().expect("it says a line");
        let line = line.expect("which can be read");
        let (_, at) = line.rsplit_once(' ').expect("its last word is where it is");
        server.at = at.parse().expect("an address and a port");
        server
    }

    /// The most memory it has held so far, in bytes (VmHWM of proc(5)).
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("Linux says it");
        let kibibytes: u64 = line
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kibibytes * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client in a network of its own.
struct Client {
    socket: UdpSocket,
    number: u32,
}

impl Client {
    fn new(server: &Server, number: u32) -> Client {
        let ip = Ipv4Addr::from(0x7f01_0000 + number);
        let socket = UdpSocket::bind((ip, 0)).expect("an address of this machine");
        socket.connect(server.at).expect("a route");
        socket.set_read_timeout(Some(LIMIT)).expect("a time");
        Client { socket, number }
    }

    /// Asks until there is an answer: what comes faster than it is read is lost.
    fn ask(&self, question: &[u8]) -> Vec<u8> {
        for _ in 0..TRIES {
            self.socket.send(question).expect("room");
            if let Some(answer) = self.try_hear() {
                return answer;
            }
        }
        panic!("no answer in time");
    }

    fn try_hear(&self) -> Option<Vec<u8>> {
        let mut answer = vec![0; 2048];
        let len = self.socket.recv(&mut answer).ok()?;
        answer.truncate(len);
        Some(answer)
    }

    fn hear(&self) -> Vec<u8> {
        (0..TRIES)
            .find_map(|_| self.try_hear())
            .expect("something in time")
    }

    /// Hears that both are there, now or after a late answer to an earlier question.
    fn joins(&self, first: Vec<u8>) {
        let is_joined = |news: &[u8]| Bound::decode(news).is_ok_and(|bound| bound.binding == Binding::Joined);
        assert!(is_joined(&first) || (0..TRIES).any(|_| is_joined(&self.hear())));
    }

    fn cookie(&self) -> [u8; 16] {
        let hello = MeetingHello {
            id: u64::from(self.number),
        };
        // A busy machine answers late, and then twice: the second answer to an earlier question may come first.
        let answer = (0..TRIES)
            .map(|_| self.ask(&hello.encode()))
            .find(|answer| answer[0] == COOKIE);
        answer.expect("a cookie")[12..28].try_into().expect("16 bytes")
    }

    fn session(&self) -> SessionId {
        SessionId(1_000_000 + u64::from(self.number))
    }

    fn open(&self, cookie: [u8; 16]) -> Open {
        Open {
            errand: Errand::Send,
            want: Want::Wait(None),
            session: self.session(),
            cookie,
            proof: [0; 16],
            rtt: Duration::ZERO,
            message: [1; _],
            sealed: Vec::new(),
        }
    }

    fn bind(&self, cookie: [u8; 16], end: End, pair: u32) -> Bind {
        let mut ticket = [0; 16];
        ticket[..4].copy_from_slice(&pair.to_be_bytes());
        Bind {
            end,
            want: BindWant::Bind,
            session: self.session(),
            cookie,
            proof: [0; 16],
            ticket,
        }
    }
}

/// A pair that the server relays for.
fn bound(server: &Server, pair: u32) -> [Client; 2] {
    let owner = Client::new(server, 10_000 + 2 * pair);
    let joiner = Client::new(server, 10_001 + 2 * pair);
    owner.ask(&owner.bind(owner.cookie(), End::Owner, pair).encode());
    let answer = joiner.ask(&joiner.bind(joiner.cookie(), End::Joiner, pair).encode());
    joiner.joins(answer);
    // The owner is told that the joiner came.
    owner.joins(owner.hear());
    [owner, joiner]
}

#[test]
fn a_thousand_who_wait_and_a_thousand_pairs_that_are_relayed_fit_into_32_mib() {
    let server = Server::start();
    let waiting: Vec<Client> = (1..=1000).map(|number| Client::new(&server, number)).collect();
    for client in &waiting {
        let answer = client.ask(&client.open(client.cookie()).encode());
        assert_eq!(
            State::decode(&answer).expect("a state").standing,
            Standing::Waiting
        );
    }
    let pairs: Vec<[Client; 2]> = (0..1000).map(|pair| bound(&server, pair)).collect();
    for [owner, joiner] in &pairs {
        owner.socket.send(&[0x50; 1200]).expect("room");
        assert_eq!(joiner.hear(), [0x50; 1200]);
        joiner.socket.send(&[0x51; 40]).expect("room");
        assert_eq!(owner.hear(), [0x51; 40]);
    }
    let peak = server.peak_memory();
    println!("{} KiB", peak >> 10);
    assert!(peak <= MOST_MEMORY);
}

#[test]
fn who_asks_one_of_several_addresses_is_answered_and_relayed_for_from_there() {
    let mut server = Server::start_at("0.0.0.0:0");
    let mut ends = Vec::new();
    // A connected socket hears nobody but whom it asked.
    for (address, end) in [([127, 0, 0, 2], End::Owner), ([127, 0, 0, 3], End::Joiner)] {
        server.at.set_ip(address.into());
        let client = Client::new(&server, ends.len() as u32);
        client.ask(&client.bind(client.cookie(), end, 1).encode());
        ends.push(client);
    }
    let news = Bound::decode(&ends[0].hear()).expect("news");
    assert_eq!(news.binding, Binding::Joined);
    ends[0].socket.send(b"\x50there").expect("room");
    assert_eq!(ends[1].hear(), b"\x50there");
    ends[1].socket.send(b"\x51back").expect("room");
    assert_eq!(ends[0].hear(), b"\x51back");
}

/// Real time: a machine that is busy with other things loses some.
#[test]
#[ignore = "needs a quiet machine"]
fn two_hundred_pairs_at_a_megabit_a_second_each_lose_nothing() {
    const PAIRS: u32 = 200;
    const PACKET: usize = 1_250;
    const EACH: u32 = 1_000;
    let server = Server::start();
    let pairs: Vec<[Client; 2]> = (0..PAIRS).map(|pair| bound(&server, pair)).collect();
    let heard = std::thread::scope(|scope| {
        let hearing = scope.spawn(|| {
            let mut heard = 0;
            let mut last = Instant::now();
            let mut space = [0; 2048];
            for [_, joiner] in &pairs {
                joiner.socket.set_nonblocking(true).expect("a mode");
            }
            while heard < PAIRS * EACH && last.elapsed() < Duration::from_secs(5) {
                for [_, joiner] in &pairs {
                    while joiner.socket.recv(&mut space).is_ok_and(|len| len == PACKET) {
                        (heard, last) = (heard + 1, Instant::now());
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            heard
        });
        // One packet of each pair every 10 ms, spread over that time.
        let began = Instant::now();
        for number in 0..PAIRS * EACH {
            let due = Duration::from_millis(10) * number / PAIRS;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let [owner, _] = &pairs[(number % PAIRS) as usize];
            owner.socket.send(&[0x50; PACKET]).expect("room");
        }
        println!("{} packets in {:.1?}", PAIRS * EACH, began.elapsed());
        hearing.join().expect("it counts")
    });
    assert_eq!(heard, PAIRS * EACH);
}

/// Shells and systemd let a program open 1,024 files at once, and macOS 256.
#[test]
fn a_server_that_may_open_no_more_files_takes_new_streams_instead_of_silent_ones() {
    let program = env!("CARGO_BIN_EXE_p2pcopy");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let tcp = free.local_addr().expect("bound");
    drop(free);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "ulimit -n 40; exec {program} server -q --listen 127.0.0.1:0 --public 127.0.0.1 --tcp {}",
        tcp.port()
    ));
    let _server = Server::run(command);
    let silent: Vec<_> = (0..80)
        .map(|_| std::net::TcpStream::connect(tcp).expect("the system takes it"))
        .collect();
    let mut last = std::net::TcpStream::connect(tcp).expect("the system takes it");
    last.set_read_timeout(Some(LIMIT * TRIES as u32)).expect("a time");
    let hello = MeetingHello { id: 7 }.encode();
    last.write_all(&[&(hello.len() as u16).to_be_bytes()[..], &hello].concat())
        .expect("room");
    last.read_exact(&mut [0; 2]).expect("it is served");
    drop(silent);
}

#[test]
fn a_million_forged_replayed_and_flooding_datagrams_cost_no_memory_and_no_pair_its_relay() {
    let server = Server::start();
    let [owner, joiner] = bound(&server, 1);
    let before = server.peak_memory();
    // One that is known floods with all that it may send, and another with what it may not.
    let known = Client::new(&server, 1);
    let open = known.open(known.cookie()).encode();
    known.ask(&open);
    let bind = owner.bind([7; 16], End::Owner, 1).encode();
    let stale = known.open([7; 16]).encode();
    let hello = MeetingHello { id: 7 }.encode();
    let flood = Client::new(&server, 2);
    flood.socket.set_nonblocking(true).expect("a mode");
    known.socket.set_nonblocking(true).expect("a mode");
    let (mut sent, mut heard) = (0, 0);
    let joined = |datagram: &[u8]| Bound::decode(datagram).map(|bound| bound.binding) == Ok(Binding::Joined);
    let alive = [
        owner.bind(owner.cookie(), End::Owner, 1),
        joiner.bind(joiner.cookie(), End::Joiner, 1),
    ];
    let mut space = [0; 2048];
    for number in 0..1_000_000_usize {
        let (client, datagram) = match number % 6 {
            0 => (&flood, &hello),
            1 => (&flood, &stale),
            2 => (&flood, &bind),
            3 => (&known, &open),
            4 => (&flood, &open),
            _ => (&known, &bind),
        };
        if number % 50_000 == 0 {
            // As clients do every fifteen seconds.
            for (client, bind) in [&owner, &joiner].into_iter().zip(alive) {
                assert!(joined(&client.ask(&bind.encode())), "the pair is still there");
            }
        }
        match client.socket.send(datagram) {
            Ok(len) => sent += len,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
        for client in [&flood, &known] {
            while let Ok(len) = client.socket.recv(&mut space) {
                assert!(len <= open.len());
                heard += len;
            }
        }
    }
    assert!(heard > 0 && heard <= sent, "{heard} bytes came for {sent}");
    // It has done with the flood when it has answered.
    owner.cookie();
    while joiner.try_hear().is_some() {}
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown <= 8 << 20, "{} KiB more", grown >> 10);
    owner.socket.send(b"\x50still here").expect("room");
    assert_eq!(joiner.hear(), b"\x50still here");
}
