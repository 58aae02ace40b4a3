//! Lists who waits at a server under a name.

use std::net::{SocketAddr, TcpStream};

use super::event::{Event, Front};
use super::lookup::resolve_one;
use super::options::Common;
use super::outcome::{Failure, Summary};
use super::tcp::{self, TcpFallback};
use super::told::Info;
use crate::net::{self, Driver, Machine};
use crate::protocol::ecn::Ecn;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Transmit};
use crate::rendezvous::meeting::list::{Lister, NoList};
use crate::rendezvous::meeting::wire::{Present, TokenKey, token_key};

pub(super) async fn run(common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    let Some(place) = &common.server else {
        return Err(Failure::usage(
            "only a server can list who waits",
            "add --server HOST/WORD, or set P2PCOPY_SERVER",
        ));
    };
    front.event(Event::Info(Info::AskingServer {
        server: place.server.to_string(),
    }));
    let server = resolve_one(&place.server, true)
        .await
        .map_err(|cause| Failure::no_path(cause, "check --server"))?;
    let token = place.token.as_ref().map(|token| token_key(token.word()));
    let mut fallback = TcpFallback::new(server);
    let mut way = Way::Udp(server);
    let present = loop {
        let asking = tokio::task::spawn_blocking(move || ask(way, token));
        let answer = tokio::select! {
            answer = asking => answer,
            never = fallback.go_on() => match never {},
        };
        match answer {
            Ok(Ok(Ok(present))) => break present,
            Ok(Ok(Err(NoList::Unreachable))) => {
                let Some((at, stream)) = fallback.next().await else {
                    return Err(Failure::no_path(tcp::silence(&place.server), "check --server"));
                };
                front.event(Event::Info(Info::TryingTcp { port: at.port() }));
                way = Way::Tcp(at, stream);
            }
            Ok(Ok(Err(why))) => return Err(Failure::no_path(why.to_string(), why.next_step())),
            Ok(Err(e)) => return Err(Failure::socket(&e)),
            Err(_) => return Err(Failure::internal("the network thread is gone")),
        }
    };
    if present.is_empty() {
        front.event(Event::Info(Info::NobodyWaits));
    }
    for one in present {
        front.event(Event::Present(one));
    }
    Ok(Summary::default())
}

enum Way {
    Udp(SocketAddr),
    Tcp(SocketAddr, TcpStream),
}

fn ask(way: Way, token: Option<TokenKey>) -> std::io::Result<Result<Vec<Present>, NoList>> {
    let clock = net::Clock::start();
    let ports = net::bind(None, true, None)?;
    let ipv6 = ports.ipv6;
    let mut driver = Driver::new(ports, clock)?;
    let (local, remote) = match (way, ipv6) {
        (Way::Udp(server @ SocketAddr::V6(_)), Some((socket, _))) => (socket, server),
        (Way::Udp(server), _) => (0, server),
        (Way::Tcp(server, stream), _) => {
            driver.door().give(stream);
            (net::TCP, server)
        }
    };
    let path = Path { local, remote };
    let mut asking = Asking(Lister::new(path, token, &net::random_seed()?, clock.now()));
    loop {
        if let Some(result) = asking.0.take_result() {
            return Ok(result);
        }
        driver.turn(&mut asking)?;
    }
}

struct Asking(Lister);

impl Machine for Asking {
    fn handle_datagram(&mut self, now: Time, path: Path, _ecn: Ecn, datagram: &mut [u8]) {
        self.0.handle_datagram(now, path, datagram);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.0.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Time, buf: &mut Vec<u8>, _segments: usize) -> Option<Transmit> {
        let (path, payload) = self.0.poll_transmit(now)?;
        Some(Transmit::single(buf, path, Reach::Full, &payload))
    }

    fn poll_timeout(&mut self, _now: Time) -> Option<Time> {
        Some(self.0.poll_timeout())
    }
}
