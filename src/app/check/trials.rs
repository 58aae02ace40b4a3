//! Tests from sockets that are never used for punching: some NATs change a port after such a test
//! (docs/design.md).

use std::io;
use std::net::SocketAddr;

use tokio::sync::mpsc::UnboundedSender;

use crate::app::told::Info;
use crate::app::trial;
use crate::net::{self, Echo, try_out};
use crate::rendezvous::address::Filtering;
use crate::rendezvous::stun;
use crate::rendezvous::stun::filtering::FilteringTest;
use crate::rendezvous::stun::hairpin::{Hairpin, HairpinTest};

/// Servers tried for the filtering test. Few servers can answer from a second address.
const SERVERS: usize = 8;

/// Servers that receive long packets. One alone may be behind a narrow line of its own.
const FAR_ENDS: usize = 2;

/// Sizes of IP packets to try, in bytes: the least that IPv4 hosts must accept (RFC 791), the least of IPv6
/// (RFC 8200), tunnels (WireGuard over IPv6 and IPv4, 6in4), PPPoE, Ethernet.
const PACKETS: [u16; 8] = [576, 1280, 1380, 1420, 1440, 1480, 1492, 1500];

/// Asks servers to answer from elsewhere.
pub(super) async fn filtering(servers: Vec<SocketAddr>, steps: UnboundedSender<Info>) -> Filtering {
    let testing = tokio::task::spawn_blocking(move || {
        let most = servers.len().min(SERVERS);
        for (number, &remote) in servers.iter().take(SERVERS).enumerate() {
            // The receiver is gone only while the run ends.
            let _ = steps.send(Info::AskingToAnswerElsewhere {
                server: remote,
                number: number + 1,
                most,
            });
            let found = trial::run(remote, None, FilteringTest::new)?;
            if found != Filtering::Untested {
                return Ok(found);
            }
        }
        Ok::<_, io::Error>(Filtering::Untested)
    });
    testing.await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Sends from one socket to the outside address of another.
pub(super) async fn hairpin(server: SocketAddr) -> Hairpin {
    let testing = tokio::task::spawn_blocking(move || {
        trial::run(server, None, |path, seed, now| {
            HairpinTest::new(path.remote, seed, now)
        })
    });
    testing
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or(Hairpin::Untested)
}

/// The largest IP packet, in bytes, that gets out to one of these servers; `None` if none answers.
pub(super) async fn largest_packet(servers: &[SocketAddr]) -> Option<u16> {
    let (request, id) = stun::probe(&net::random_seed().ok()?);
    let ends: Vec<SocketAddr> = servers.iter().copied().take(FAR_ENDS).collect();
    let all = ends.iter().flat_map(|end| PACKETS.map(|size| (size, *end)));
    let (sizes, requests): (Vec<u16>, Vec<_>) = all
        .map(|(size, end)| (size, (end, stun::padded(request.clone(), size - headers(end)))))
        .unzip();
    let trying =
        tokio::task::spawn_blocking(move || try_out(&requests, |datagram| stun::answers(datagram, id)));
    let echoes = trying.await.ok()?;
    let answered = sizes.into_iter().zip(echoes);
    answered
        .filter(|(_, echo)| *echo == Echo::Answered)
        .map(|(size, _)| size)
        .max()
}

/// Bytes of the headers of IP and UDP.
const fn headers(remote: SocketAddr) -> u16 {
    match remote {
        SocketAddr::V4(_) => 20 + 8,
        SocketAddr::V6(_) => 40 + 8,
    }
}
