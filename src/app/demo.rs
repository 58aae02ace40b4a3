//! Both sides on this machine, through the real sockets and the real protocol, with a STUN and an NTP
//! responder of its own. The demo shows what a transfer looks like and how fast this machine can be, without
//! the internet.

use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::event::{Answer, Event, Front, Pending, Question, Reply};
use super::options::{Common, DemoOptions, Payload, ReceiveOptions, SendOptions, Server};
use super::outcome::{Failure, Summary};
use super::receiving::Target;
use super::told::Info;
use crate::net;
use crate::protocol::Role;
use crate::rendezvous::stun;
use crate::transfer::manifest::OutsideLinks;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::source::scan::ScanOptions;

/// Bytes of the file that the demo makes.
const SIZE: usize = 256 << 20;
/// Seconds between 1900 (NTP) and 1970 (Unix), RFC 5905, section 6.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// The front end of one side: it forwards everything to the one that shows both.
struct Relay {
    role: Role,
    tell: UnboundedSender<(Role, Told)>,
}

enum Told {
    Event(Event),
    Asked(Question, Reply),
}

impl Front for Relay {
    fn event(&mut self, event: Event) {
        // The demo listens until both sides are done.
        let _ = self.tell.send((self.role, Told::Event(event)));
    }

    fn ask(&mut self, question: Question) -> Pending {
        let (reply, pending) = Pending::new();
        let _ = self.tell.send((self.role, Told::Asked(question, reply)));
        pending
    }
}

/// A directory that is removed when the value is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it cannot be removed, it stays in the system's temporary directory, where that does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a demo makes what it sends")]
impl Scratch {
    fn new() -> Result<Self, Failure> {
        // A number of its own: a demo that was killed leaves its directory, and process ids come again.
        let [a, b, c, d, ..] = net::random_seed().map_err(Failure::system)?;
        let number = u32::from_be_bytes([a, b, c, d]);
        let dir = std::env::temp_dir().join(format!("p2pcopy-demo-{number:08x}"));
        std::fs::create_dir(&dir).map_err(|e| Failure::file("create", &dir, &e))?;
        Ok(Scratch(dir))
    }

    fn make_file(&self) -> Result<PathBuf, Failure> {
        let path = self.0.join("demo.bin");
        let mut block = vec![0; 1 << 20];
        let mut bytes = blake3::Hasher::new().update(b"p2pcopy demo").finalize_xof();
        let mut write = || {
            let mut file = std::fs::File::create(&path)?;
            for _ in 0..SIZE / block.len() {
                bytes.fill(&mut block);
                file.write_all(&block)?;
            }
            Ok(())
        };
        write().map_err(|e| Failure::file("write", &path, &e))?;
        Ok(path)
    }
}

/// Runs both sides on this machine through the real sockets, without the internet.
///
/// # Errors
/// As for [`super::send`] and [`super::receive`].
pub(crate) async fn run(options: DemoOptions, front: &mut dyn Front) -> Result<Summary, Failure> {
    let scratch = Scratch::new()?;
    let file = match options.file {
        Some(file) => file,
        None => {
            let bytes = SIZE as u64;
            front.event(Event::Info(Info::DemoMakesFile { bytes }));
            scratch.make_file()?
        }
    };
    // Two STUN servers: only two answers tell how a NAT maps.
    let (first, second) = (
        local().await.map_err(Failure::system)?,
        local().await.map_err(Failure::system)?,
    );
    let ntp = local().await.map_err(Failure::system)?;
    let server = |socket: &UdpSocket| {
        socket
            .local_addr()
            .map(|a| Server {
                host: a.ip().to_string(),
                port: a.port(),
            })
            .map_err(Failure::system)
    };
    let common = Common {
        stun: vec![server(&first)?, server(&second)?],
        ntp: vec![server(&ntp)?],
        peer: None,
        port_mapping: false,
        guess: false,
        ..options.common
    };
    front.event(Event::Info(Info::DemoBegins));
    let output = scratch.0.join("received");
    // This future contains those of both sides, so it is boxed.
    let ran = Box::pin(both(&file, &output, common, front));
    let summary = tokio::select! {
        ran = ran => ran?,
        e = answer_stun(&first) => return Err(Failure::system(e)),
        e = answer_stun(&second) => return Err(Failure::system(e)),
        e = answer_ntp(&ntp) => return Err(Failure::system(e)),
    };
    front.event(Event::Info(Info::DemoEnds));
    Ok(summary)
}

async fn local() -> std::io::Result<UdpSocket> {
    UdpSocket::bind("127.0.0.1:0").await
}

/// Runs both sides, shows them, and gives each the other's address.
async fn both(file: &Path, output: &Path, common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    let (tell, mut told) = unbounded_channel();
    let mut send_front = Relay {
        role: Role::Sender,
        tell: tell.clone(),
    };
    let mut receive_front = Relay {
        role: Role::Receiver,
        tell,
    };
    let send = super::send(
        SendOptions {
            payload: Payload::Paths(vec![file.to_owned()]),
            scan: ScanOptions::default(),
            common: common.clone(),
        },
        &mut send_front,
    );
    let receive = super::receive(
        ReceiveOptions {
            destination: Target::Directory(output.to_owned(), Conflicts::Rename),
            yes: true,
            outside_links: OutsideLinks::LeaveOut,
            attributes: Attributes::LeaveOut,
            discard: false,
            // Only the sender's trace tells why a transfer is as fast as it is.
            common: Common {
                trace: None,
                ..common
            },
        },
        &mut receive_front,
    );
    // A side that fails before it is connected leaves the other with a question that nobody answers.
    let mut ran = std::pin::pin!(async { tokio::try_join!(send, receive) });
    let mut addresses: [Option<String>; 2] = [None, None];
    let mut waiting: [Option<Reply>; 2] = [None, None];
    loop {
        let (role, news) = tokio::select! {
            biased;
            Some(news) = told.recv() => news,
            ran = &mut ran => {
                while let Ok((role, news)) = told.try_recv() {
                    if let Told::Event(event) = news {
                        front.event(Event::Of(role, Box::new(event)));
                    }
                }
                return ran.map(|(_, received)| received);
            }
        };
        match news {
            Told::Asked(Question::PeerAddress, reply) => waiting[role as usize] = Some(reply),
            Told::Asked(_, reply) => drop(reply.send(Ok(Answer::Yes))),
            Told::Event(event) => {
                if let Event::Address { address, .. } = &event {
                    addresses[role as usize] = Some(address.clone());
                }
                front.event(Event::Of(role, Box::new(event)));
            }
        }
        for (role, other) in [(0, 1), (1, 0)] {
            if let (Some(address), Some(_)) = (&addresses[other], &waiting[role])
                && let Some(reply) = waiting[role].take()
            {
                let _ = reply.send(Ok(Answer::Text(address.clone())));
            }
        }
    }
}

async fn answer_stun(socket: &UdpSocket) -> std::io::Error {
    let mut buf = [0; 1500];
    loop {
        match socket.recv_from(&mut buf).await {
            Ok((len, from)) => {
                if let Some(answer) = stun::respond(&buf[..len], from) {
                    // The client repeats its request if the answer is lost.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            Err(e) => return e,
        }
    }
}

/// A stratum-1 server that tells this machine's own time (RFC 5905, section 7.3).
async fn answer_ntp(socket: &UdpSocket) -> std::io::Error {
    let mut packet = [0; 48];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((48, from)) => {
                let unix = net::unix_nanos();
                let seconds = (unix / 1_000_000_000 + NTP_TO_UNIX) & 0xffff_ffff;
                let now = (seconds << 32) | (((unix % 1_000_000_000) << 32) / 1_000_000_000);
                let mut answer = [0; 48];
                // No leap warning, version 4, mode server; stratum 1; reference "LOCL".
                answer[..2].copy_from_slice(&[0x24, 1]);
                answer[12..16].copy_from_slice(b"LOCL");
                answer[16..24].copy_from_slice(&now.to_be_bytes());
                answer[24..32].copy_from_slice(&packet[40..48]);
                answer[32..40].copy_from_slice(&now.to_be_bytes());
                answer[40..48].copy_from_slice(&now.to_be_bytes());
                let _ = socket.send_to(&answer, from).await;
            }
            Ok(_) => {}
            Err(e) => return e,
        }
    }
}
