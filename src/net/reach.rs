//! Tests whether datagrams leave this network or pass the routers nearby, from separate connected sockets: the system
//! reports ICMP errors only to these (RFC 1122, section 4.1.3.3).

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::SockRef;

use super::Clock;
use super::interfaces::unspecified;
use super::socket::is_ttl_report;
use super::sys;

/// When to send a request again, after it was first sent.
const REPEAT: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(400),
    Duration::from_millis(1000),
];
/// The longest wait for all answers.
const LIMIT: Duration = Duration::from_millis(1800);
/// The interval at which the sockets are checked.
const LOOK: Duration = Duration::from_millis(10);

/// What happened to the requests to one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Echo {
    Answered,
    /// ICMP "port unreachable": the host was reached and nobody listens at the port, or a router answered in
    /// the host's name.
    Refused,
    /// Another ICMP error, or no route.
    Rejected,
    /// The system refused to send.
    Forbidden,
    /// No answer.
    Silent,
}

/// How often the routers nearby are asked, and the time between. A router gives few ICMP answers (Linux: one a second
/// for each destination), and the run's other packets to the target get most of them. So only repeated requests get
/// one.
const NEARBY: (u32, Duration) = (500, Duration::from_millis(20));

/// Sends requests to `target` that pass at most `routers` routers. No device beyond them sees one, so only a router
/// or firewall that stops them answers. Takes up to 10 s.
pub(crate) async fn try_nearby(target: SocketAddr, request: &[u8], routers: u32) -> Echo {
    let limited = connected(target).filter(|socket| limit_hops(socket, target.ip(), routers).is_ok());
    let Some(socket) = limited else {
        // There is no route at the moment. That says nothing about the target.
        return Echo::Silent;
    };
    let (times, pause) = NEARBY;
    for _ in 0..times {
        let mut echo = echo_of(socket.send(request));
        if echo == Echo::Silent {
            tokio::time::sleep(pause).await;
            // Polled, because not every system wakes a waiting socket for an ICMP error (Wine).
            echo = echo_of(socket.recv(&mut [0; 1500]));
        }
        if echo != Echo::Silent {
            return echo;
        }
    }
    Echo::Silent
}

struct Asked {
    socket: Option<UdpSocket>,
    echo: Echo,
    sent: usize,
}

/// Sends each request to its target in one datagram, until the fate of each is known or 1.8 s have passed.
/// Blocks meanwhile.
pub(crate) fn try_out(requests: &[(SocketAddr, Vec<u8>)], is_answer: impl Fn(&[u8]) -> bool) -> Vec<Echo> {
    let clock = Clock::start();
    let began = clock.now();
    let mut asked: Vec<Asked> = requests
        .iter()
        .map(|(target, _)| Asked {
            socket: connected(*target),
            echo: Echo::Silent,
            sent: 0,
        })
        .collect();
    loop {
        let waited = clock.now().since(began);
        for (one, (_, request)) in asked.iter_mut().zip(requests) {
            one.go_on(waited, request, &is_answer);
        }
        let is_open = |one: &Asked| one.socket.is_some() && one.echo == Echo::Silent;
        if waited >= LIMIT || !asked.iter().any(is_open) {
            return asked.into_iter().map(|one| one.echo).collect();
        }
        std::thread::sleep(LOOK);
    }
}

impl Asked {
    fn go_on(&mut self, waited: Duration, request: &[u8], is_answer: &impl Fn(&[u8]) -> bool) {
        let Some(socket) = &self.socket else {
            self.echo = Echo::Rejected;
            return;
        };
        if self.echo != Echo::Silent {
            return;
        }
        if REPEAT.get(self.sent).is_some_and(|at| waited >= *at) {
            self.sent += 1;
            self.echo = echo_of(socket.send(request));
        }
        let mut buffer = [0; 1500];
        match socket.recv(&mut buffer) {
            Ok(length) if is_answer(&buffer[..length]) => self.echo = Echo::Answered,
            Ok(_) => {}
            Err(e) if self.echo == Echo::Silent => self.echo = echo_of(Err(e)),
            Err(_) => {}
        }
    }
}

/// What the result of a socket call says, except that nothing has arrived yet.
fn echo_of(result: std::io::Result<usize>) -> Echo {
    if result.as_ref().is_err_and(is_ttl_report) {
        return Echo::Silent;
    }
    match result.map_err(|e| e.kind()) {
        Ok(_) | Err(ErrorKind::WouldBlock | ErrorKind::Interrupted) => Echo::Silent,
        // Linux reports its own firewall by EPERM, and an ICMP "prohibited" by EACCES or EHOSTUNREACH.
        Err(ErrorKind::PermissionDenied) => Echo::Forbidden,
        // Windows reports the same as a connection reset.
        Err(ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => Echo::Refused,
        Err(_) => Echo::Rejected,
    }
}

#[expect(clippy::disallowed_methods, reason = "sockets belong to net, and this is it")]
fn connected(target: SocketAddr) -> Option<UdpSocket> {
    let socket = UdpSocket::bind((unspecified(target.ip()), 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(target).ok()?;
    sys::dont_fragment(&socket, target.is_ipv6());
    Some(socket)
}

fn limit_hops(socket: &UdpSocket, target: IpAddr, hops: u32) -> std::io::Result<()> {
    match target {
        IpAddr::V4(_) => SockRef::from(socket).set_ttl_v4(hops),
        IpAddr::V6(_) => SockRef::from(socket).set_unicast_hops_v6(hops),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the server and the closed port of the test"
    )]
    fn an_answer_and_a_closed_port_are_told_apart() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let requests = [server.local_addr().unwrap(), closed].map(|target| (target, b"hello".to_vec()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 16];
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer[..length], from).unwrap();
            });
            let echoes = try_out(&requests, |answer| answer == b"hello");
            assert_eq!(echoes, [Echo::Answered, Echo::Refused]);
        });
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the closed port of the test")]
    async fn a_refusal_nearby_is_told() {
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = closed.local_addr().unwrap();
        drop(closed);
        assert_eq!(try_nearby(target, b"hello", 1).await, Echo::Refused);
    }
}
