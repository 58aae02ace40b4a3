//! Runs a server, from its sockets to its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::event::{Event, Front};
use super::lookup::{named, resolve};
use super::options::{ServeOptions, Server as Host};
use super::outcome::{Failure, Summary};
use super::told::{Info, Note, Warning};
use super::wording::os_errors::of_socket;
use crate::net::{self, Driver, Machine};
use crate::protocol::ecn::Ecn;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Transmit};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::meeting::wire::{PORT, token_key};
use crate::rendezvous::server::{Counters, Limits, Server, ServerConfig};
use crate::rendezvous::servers;
use crate::rendezvous::stun::{StunClient, StunEvent};
use crate::system::stopped;

/// How often the operator gets a report, if there is anything to report.
const REPORT: Duration = Duration::from_secs(60);

/// News from the thread that owns the sockets.
enum News {
    /// The outside address of the first socket, if a STUN server answered.
    Outside(Option<SocketAddr>),
    /// The counters so far, how many clients wait, and how many pairs use the relay.
    Report(Counters, usize, usize),
    Broken(std::io::Error),
}

/// The server with its sockets. At the start it also asks for its own address.
struct Serving {
    server: Server,
    stun: Option<StunClient>,
    news: UnboundedSender<News>,
    told: Counters,
    next_report: Time,
    stop: Arc<AtomicBool>,
}

impl Serving {
    fn report(&mut self) {
        let counters = self.server.counters();
        if std::mem::replace(&mut self.told, counters) != counters {
            self.tell(News::Report(
                counters,
                self.server.waiting(),
                self.server.joined(),
            ));
        }
    }

    fn tell(&self, news: News) {
        // The receiver is gone only while the run ends.
        let _ = self.news.send(news);
    }
}

impl Machine for Serving {
    /// Bursts to send before receiving more: as many as two full sockets hold, and answers.
    const BURSTS_PER_TURN: usize = 3 * net::BURSTS_RECEIVED;

    fn handle_datagram(&mut self, now: Time, path: Path, _ecn: Ecn, datagram: &mut [u8]) {
        // STUN asks from the first socket. The answer's path also tells at which address of this machine it came.
        let first = Path { local: 0, ..path };
        let answer = self
            .stun
            .as_mut()
            .is_some_and(|stun| stun.handle_datagram(now, first, datagram));
        if !answer {
            self.server.handle_datagram(now, path, datagram);
        }
    }

    fn handle_burst(&mut self, now: Time, path: Path, ecn: Ecn, datagrams: &mut [u8], segment: usize) {
        if self.stun.is_some() {
            for datagram in datagrams.chunks_mut(segment) {
                self.handle_datagram(now, path, ecn, datagram);
            }
        } else {
            self.server.handle_burst(now, path, datagrams, segment);
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.server.handle_timeout(now);
        if let Some(stun) = &mut self.stun {
            stun.handle_timeout(now);
            let gathered = std::iter::from_fn(|| stun.poll_event()).find_map(|event| match event {
                StunEvent::Gathered(report) => Some(report.mapped[0]),
                _ => None,
            });
            if let Some(outside) = gathered {
                self.stun = None;
                self.tell(News::Outside(outside));
            }
        }
        if now >= self.next_report {
            self.next_report = now + REPORT;
            self.report();
        }
    }

    fn poll_transmit(&mut self, _now: Time, buf: &mut Vec<u8>, _segments: usize) -> Option<Transmit> {
        let question = self.stun.as_mut().and_then(StunClient::poll_transmit);
        if let Some((path, payload)) = question.or_else(|| self.server.poll_transmit()) {
            return Some(Transmit::single(buf, path, Reach::Full, &payload));
        }
        let (path, segment) = self.server.poll_relayed(buf)?;
        Some(Transmit::new(path, segment))
    }

    fn poll_timeout(&mut self, now: Time) -> Option<Time> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(now);
        }
        let stun = self.stun.as_ref().and_then(StunClient::poll_timeout);
        [stun, self.server.poll_timeout(), Some(self.next_report)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Runs a server where people meet by a code, until it is told to stop.
///
/// # Errors
/// If its port is taken, or the sockets fail.
pub(crate) async fn run(options: ServeOptions, front: &mut dyn Front) -> Result<Summary, Failure> {
    let clock = net::Clock::start();
    let (mut ports, port) = bind(&options.listen)?;
    // From two ports a client sees whether its NAT is symmetric.
    net::bind_beside(&mut ports).map_err(Failure::system)?;
    let mut driver = Driver::new(ports, clock).map_err(Failure::system)?;
    driver.answer_where_asked();
    for listener in options
        .tcp
        .map(|tcp| listen(&options.listen, tcp))
        .transpose()?
        .unwrap_or_default()
    {
        driver.listen(listener).map_err(Failure::system)?;
    }
    let mut rng = SeedRng::new(&net::random_seed().map_err(Failure::system)?, "p2pcopy v1 serve");
    let config = ServerConfig {
        token: options.token.as_ref().map(|token| token_key(token.word())),
        limits: Limits {
            relay: options.relay,
            ..Limits::default()
        },
        clock: WallClock::system(net::unix_nanos(), clock.now()),
        seed: rng.seed(),
    };
    let asks = options.public.is_none() && options.listen.first().is_none_or(SocketAddr::is_ipv4);
    front.event(Event::Info(Info::Listening {
        port,
        tcp_port: options.tcp,
        asks,
    }));
    let found = if asks {
        resolve(&named(&options.stun, servers::STUN)).await
    } else {
        Vec::new()
    };
    let stun = asks.then(|| StunClient::new(&found, 1, None, &[], &rng.seed(), clock.now()));
    let (news, mut told) = unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut serving = Serving {
        server: Server::new(config, clock.now()),
        stun,
        news,
        told: Counters::default(),
        next_report: clock.now() + REPORT,
        stop: Arc::clone(&stop),
    };
    let waker = driver.waker();
    let thread = std::thread::Builder::new()
        .name("net".into())
        .spawn(move || {
            while !serving.stop.load(Ordering::Relaxed) {
                if let Err(e) = driver.turn(&mut serving) {
                    serving.tell(News::Broken(e));
                    break;
                }
            }
            let server = &serving.server;
            (server.counters(), server.waiting(), server.joined())
        })
        .map_err(Failure::system)?;
    let word = |host: &str| {
        let host = Host {
            host: host.to_owned(),
            port,
        };
        let host = host.to_string();
        // The default port need not be named.
        let host = host.strip_suffix(&format!(":{PORT}")).unwrap_or(&host);
        let token = options.token.as_ref().map(|token| format!("/{}", token.word()));
        host.to_owned() + &token.unwrap_or_default()
    };
    if let Some(host) = &options.public {
        front.event(Event::Serving { word: word(host) });
    } else if !asks {
        tell_outside(None, port, &word, front);
    }
    let ran = follow(&mut told, port, &word, front).await;
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    // A thread that panicked has already printed why.
    let (counters, waiting, relayed) = thread.join().unwrap_or_default();
    ran?;
    front.event(Event::Info(Info::ServerStopped {
        pairs: counters.pairs,
        waiting,
        relayed,
    }));
    Ok(Summary::default())
}

fn bind(listen: &[SocketAddr]) -> Result<(net::Ports, u16), Failure> {
    let usual = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
    ];
    let bound = match listen {
        // A system may have no IPv6.
        [] => net::bind_at(&usual).or_else(|_| net::bind_at(&usual[..1])),
        addresses => net::bind_at(addresses),
    };
    let ports = bound.map_err(|(address, e)| {
        Failure::other(
            format!("cannot listen at UDP {address}: {}", of_socket(&e)),
            "choose an address of this machine and a port that no other program uses: --listen IP:PORT",
        )
    })?;
    let port = ports
        .ipv4
        .first()
        .copied()
        .or(ports.ipv6.map(|(_, port)| port))
        .unwrap_or(PORT);
    Ok((ports, port))
}

/// Listens at a TCP port, at the addresses of the UDP sockets.
fn listen(addresses: &[SocketAddr], port: u16) -> Result<Vec<TcpListener>, Failure> {
    let mut ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    ips.sort();
    ips.dedup();
    let bound = match ips.as_slice() {
        // A socket for IPv6 may accept IPv4, too. Then the IPv4 socket is not needed.
        [] => {
            let both = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
            let bound: Vec<_> = both.map(|ip| TcpListener::bind((ip, port))).into();
            if bound.iter().any(Result::is_ok) {
                bound.into_iter().filter(Result::is_ok).collect()
            } else {
                bound
            }
        }
        ips => ips.iter().map(|ip| TcpListener::bind((*ip, port))).collect(),
    };
    bound.into_iter().collect::<Result<_, _>>().map_err(|e| {
        Failure::other(
            format!("cannot listen at TCP port {port}: {}", of_socket(&e)),
            "stop the other program, choose another port with --tcp PORT, or leave it out",
        )
    })
}

/// Tells what happens until the operator stops the server.
async fn follow(
    told: &mut UnboundedReceiver<News>,
    port: u16,
    word: &dyn Fn(&str) -> String,
    front: &mut dyn Front,
) -> Result<(), Failure> {
    loop {
        let news = tokio::select! {
            news = told.recv() => news,
            () = stopped() => return Ok(()),
        };
        match news {
            Some(News::Outside(outside)) => tell_outside(outside, port, word, front),
            Some(News::Report(counters, waiting, relayed)) => front.event(Event::Note(Note::ServerReport {
                pairs: counters.pairs,
                waiting,
                relayed_pairs: relayed,
                relayed_bytes: counters.relayed.bytes,
                beyond_limit_bytes: counters.relayed.dropped,
                dropped: counters.dropped,
                stale: counters.stale,
                strangers: counters.strangers,
            })),
            Some(News::Broken(e)) => {
                return Err(Failure::other(
                    format!("the network failed: {}", of_socket(&e)),
                    "start the server again",
                ));
            }
            None => return Err(Failure::internal("the network thread is gone")),
        }
    }
}

fn tell_outside(
    outside: Option<SocketAddr>,
    port: u16,
    word: &dyn Fn(&str) -> String,
    front: &mut dyn Front,
) {
    let own: Vec<IpAddr> = net::local(port, Some(port))
        .candidates
        .iter()
        .map(SocketAddr::ip)
        .collect();
    let ip = match outside {
        Some(outside) => {
            if !own.contains(&outside.ip()) || outside.port() != port {
                front.event(Event::Warning(Warning::ServerBehindNat { outside, port }));
            }
            Some(outside.ip())
        }
        None => {
            front.event(Event::Warning(Warning::ServerWithoutAddress));
            own.first().copied()
        }
    };
    if let Some(ip) = ip {
        front.event(Event::Serving {
            word: word(&ip.to_string()),
        });
    }
}
