//! Runs a trial: one question to a server, on sockets of its own.

use std::io;
use std::net::{SocketAddr, TcpStream};

use crate::net::{self, Driver, Machine};
use crate::protocol::ecn::Ecn;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Transmit};
use crate::rendezvous::trial::Trial;

/// Runs a trial with `server` to its end, through `stream` if there is one. Blocks.
pub(super) fn run<T: Trial>(
    server: SocketAddr,
    stream: Option<TcpStream>,
    begin: impl FnOnce(Path, &[u8; 32], Time) -> T,
) -> io::Result<T::Found> {
    let clock = net::Clock::start();
    let ports = net::bind(None, true, None)?;
    let ipv6 = ports.ipv6.filter(|_| server.is_ipv6());
    let mut driver = Driver::new(ports, clock)?;
    let local = match (stream, ipv6) {
        (Some(stream), _) => {
            driver.door().give(stream);
            net::TCP
        }
        (None, ipv6) => ipv6.map_or(0, |(socket, _)| socket),
    };
    let path = Path {
        local,
        remote: server,
    };
    let mut running = Running(begin(path, &net::random_seed()?, clock.now()));
    loop {
        if let Some(found) = running.0.result() {
            return Ok(found);
        }
        driver.turn(&mut running)?;
    }
}

struct Running<T>(T);

impl<T: Trial> Machine for Running<T> {
    fn handle_datagram(&mut self, now: Time, path: Path, _ecn: Ecn, datagram: &mut [u8]) {
        self.0.handle_datagram(now, path, datagram);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.0.handle_timeout(now);
    }

    fn poll_transmit(&mut self, _now: Time, buf: &mut Vec<u8>, _segments: usize) -> Option<Transmit> {
        let (path, payload) = self.0.poll_transmit()?;
        Some(Transmit::single(buf, path, Reach::Full, &payload))
    }

    fn poll_timeout(&mut self, _now: Time) -> Option<Time> {
        self.0.poll_timeout()
    }
}
