//! Finds the router of this network, and asks it over UDP, multicast or HTTP. Every wait and every answer is
//! bounded. All calls block, so they belong on a thread of their own.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::Clock;
use super::interfaces::{ipv4_source, source_towards};
use super::sys;

/// How long each transmission of a request waits for an answer; RFC 6886, section 3.1, begins with 250 ms.
const WAITS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];
/// How long to collect answers to a search. Routers may delay theirs by up to the one second that the search
/// allows.
const SEARCH: Duration = Duration::from_millis(1200);
/// How long to wait for further answers after the first one.
const OTHERS: Duration = Duration::from_millis(100);
/// The time limit of an exchange over HTTP.
const HTTP: Duration = Duration::from_secs(2);
/// The most bytes of an answer, and the most answers, taken from a router.
const MOST_BYTES: u64 = 64 << 10;
const MOST_ANSWERS: usize = 8;

/// The router, as this machine reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gateway {
    router: Ipv4Addr,
    /// This machine's address, as the router sees it.
    pub(crate) client: Ipv4Addr,
}

impl Gateway {
    /// The router of the default route.
    pub(crate) fn of_this_network() -> Option<Gateway> {
        let router = sys::default_gateway()?;
        match source_towards(router.into())? {
            IpAddr::V4(client) => Some(Gateway { router, client }),
            IpAddr::V6(_) => None,
        }
    }

    /// Sends a request, and repeats it until `read` accepts an answer. If nothing listens at the router's
    /// port, the router refuses at once.
    pub(crate) fn ask<T>(&self, port: u16, request: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let socket = bind(self.client)?;
        socket.connect((self.router, port)).ok()?;
        let clock = Clock::start();
        let mut buffer = [0; 1500];
        for wait in WAITS {
            let end = clock.now() + wait;
            socket.send(request).ok()?;
            loop {
                let left = end.since(clock.now());
                if left.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(left)).ok()?;
                match socket.recv(&mut buffer) {
                    Ok(length) => match read(&buffer[..length]) {
                        Some(answer) => return Some(answer),
                        None => continue,
                    },
                    Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => break,
                    Err(_) => return None,
                }
            }
        }
        None
    }
}

/// Asks all devices on this network. Returns the address that asked, and each answer with its sender.
pub(crate) fn multicast_search(
    at: (Ipv4Addr, u16),
    request: &[u8],
) -> (Option<Ipv4Addr>, Vec<(SocketAddr, String)>) {
    let mut answers: Vec<(SocketAddr, String)> = Vec::new();
    let Some((client, socket)) = ipv4_source().and_then(|client| Some((client, bind(client)?))) else {
        return (None, answers);
    };
    let clock = Clock::start();
    let mut end = clock.now() + SEARCH;
    let mut buffer = [0; 1500];
    // The search is sent twice, as a datagram may be lost.
    let sent = socket
        .send_to(request, at)
        .and_then(|_| socket.send_to(request, at));
    while sent.is_ok() && answers.len() < MOST_ANSWERS {
        let left = end.since(clock.now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            break;
        }
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            break;
        };
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if answers.iter().all(|(_, other)| *other != answer) {
            answers.push((from, answer));
        }
        end = end.min(clock.now() + OTHERS);
    }
    (Some(client), answers)
}

/// One exchange over HTTP. The connection is closed afterwards.
pub(crate) fn http(host: SocketAddr, request: &str) -> Option<String> {
    let clock = Clock::start();
    let end = clock.now() + HTTP;
    let mut stream = TcpStream::connect_timeout(&host, HTTP).ok()?;
    stream.set_write_timeout(Some(HTTP)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = end.since(clock.now());
        if left.is_zero() || answer.len() as u64 > MOST_BYTES {
            return None;
        }
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(_) => return None,
        }
        if is_whole(&answer) {
            break;
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether an answer is complete according to its length header: some routers do not close the connection.
fn is_whole(answer: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|bytes| bytes == END) else {
        return false;
    };
    let (head, body) = (&answer[..end], &answer[end + END.len()..]);
    let length = String::from_utf8_lossy(head).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

#[expect(clippy::disallowed_methods, reason = "sockets belong to net, and this is it")]
fn bind(client: Ipv4Addr) -> Option<UdpSocket> {
    UdpSocket::bind((client, 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_answer_is_whole_when_it_has_the_length_it_says() {
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\nab"));
        // The length is in bytes, and not every router writes UTF-8.
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\xe9"));
    }
}
