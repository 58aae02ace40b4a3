//! Asks the router to forward a port, renews the mapping, and deletes it at the end. A thread does this for
//! as long as the value lives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::net::{self, Gateway, http, multicast_search};
use crate::rendezvous::portmap::pcp::{self, Answer};
use crate::rendezvous::portmap::upnp::{self, Ask};
use crate::rendezvous::portmap::{LEASE, Mapped, Method};

/// The shortest time between two requests, however short the router's leases are (RFC 6887, section 11.2.1).
const SOONEST: Duration = Duration::from_secs(4);
/// The longest wait for the router to delete the mapping when the run ends.
const FAREWELL: Duration = Duration::from_millis(700);
/// A router that gives no port may be starting. It is asked again after this; each further pause is twice as long, up
/// to an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Further ports to try if a UPnP router has given ours to somebody else.
const OTHER_PORTS: u16 = 3;

/// A mapping at the router. Dropping the value deletes it.
pub(super) struct Mapper {
    stop: Option<Sender<()>>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
    /// Whether the router has given a port, so that there is something to delete.
    held: Arc<AtomicBool>,
}

impl Mapper {
    /// Begins to ask for `port`. The receiver gets the result of the first round, and then each new mapping of the
    /// router.
    pub(super) fn start(port: u16) -> (Option<Mapper>, UnboundedReceiver<Option<Mapped>>) {
        let (tell, told) = unbounded_channel();
        let (stop, stopped) = channel();
        let (end, done) = channel();
        let held = Arc::new(AtomicBool::new(false));
        let holds = Arc::clone(&held);
        let thread = std::thread::Builder::new()
            .name("port mapping".into())
            .spawn(move || {
                let mut pause = FIRST_PAUSE;
                let lease = loop {
                    let lease = Lease::new(port);
                    if lease.is_some() || pause == FIRST_PAUSE {
                        // After the users have swapped addresses nobody listens.
                        let _ = tell.send(lease.as_ref().map(|lease| lease.mapped));
                    }
                    if lease.is_some() || stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                        break lease;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                };
                if let Some(lease) = lease {
                    holds.store(true, Ordering::Relaxed);
                    lease.hold(&stopped, &tell);
                }
                let _ = end.send(());
            });
        let mapper = thread.ok().map(|thread| Mapper {
            stop: Some(stop),
            done,
            thread: Some(thread),
            held,
        });
        (mapper, told)
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        self.stop = None;
        // If the router does not answer, the lease expires by itself. While it is still being asked, nobody waits for it.
        if self.held.load(Ordering::Relaxed) && self.done.recv_timeout(FAREWELL).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

/// Where the mapping was made, and the data to renew or delete it.
enum Router {
    Pmp {
        gateway: Gateway,
        nonce: [u8; 12],
    },
    Upnp {
        host: SocketAddr,
        path: String,
        service: &'static str,
    },
}

struct Lease {
    port: u16,
    client: Ipv4Addr,
    mapped: Mapped,
    router: Router,
    /// Lifetime that the router granted, in seconds.
    granted: u32,
}

/// A port, and its lifetime in seconds.
type Grant = (Mapped, u32);

/// When to renew: after half of the granted lifetime (RFC 6887, section 11.2.1). A router may grant more than
/// was asked for, or no end; then after half of what was asked for.
fn renewal(granted: u32) -> Duration {
    let asked = if granted == 0 { LEASE } else { granted.min(LEASE) };
    (Duration::from_secs(asked.into()) / 2).max(SOONEST)
}

impl Lease {
    fn new(port: u16) -> Option<Lease> {
        let nonce = *net::random_seed().ok()?.first_chunk()?;
        let by_gateway = Gateway::of_this_network().and_then(|gateway| {
            let client = gateway.client;
            let (mapped, granted) =
                pcp_map(&gateway, nonce, port, port).or_else(|| pmp_map(&gateway, port, port))?;
            let router = Router::Pmp { gateway, nonce };
            Some(Lease {
                port,
                client,
                mapped,
                router,
                granted,
            })
        });
        by_gateway.or_else(|| upnp_map(port))
    }

    /// Renews the mapping until told to stop, then deletes it. Reports another mapping if the router makes one.
    fn hold(mut self, stopped: &Receiver<()>, tell: &UnboundedSender<Option<Mapped>>) {
        while stopped.recv_timeout(renewal(self.granted)) == Err(RecvTimeoutError::Timeout) {
            let before = self.mapped.external;
            self.renew();
            if self.mapped.external != before {
                let _ = tell.send(Some(self.mapped));
            }
        }
        self.delete();
    }

    /// Renews the mapping. A router that has forgotten it gives the same port again, if that is still free.
    fn renew(&mut self) {
        let external = self.mapped.external.port();
        let (port, client) = (self.port, self.client);
        let renewed = match &self.router {
            Router::Pmp { gateway, nonce } if self.mapped.method == Method::Pcp => {
                pcp_map(gateway, *nonce, port, external)
            }
            Router::Pmp { gateway, .. } => pmp_map(gateway, port, external),
            Router::Upnp { host, path, service } => {
                let ask = Ask::Map {
                    client,
                    internal: port,
                    external,
                    lease: self.granted,
                };
                let answer = http(*host, &upnp::request(*host, path, service, ask));
                // A router that was restarted may listen at another port, or have given ours to somebody else.
                if !answer.is_some_and(|answer| upnp::is_granted(&answer))
                    && let Some(anew) = upnp_map(port)
                {
                    *self = anew;
                }
                None
            }
        };
        if let Some((mapped, granted)) = renewed {
            (self.mapped, self.granted) = (mapped, granted);
        }
    }

    fn delete(&self) {
        let (port, external) = (self.port, self.mapped.external.port());
        match &self.router {
            Router::Pmp { gateway, nonce } => {
                let request = match self.mapped.method {
                    Method::Pcp => pcp::pcp_request(*nonce, self.client, port, 0, 0),
                    _ => pcp::pmp_request(port, 0, 0),
                };
                let _ = gateway.ask(pcp::PORT, &request, |answer| (answer.len() >= 4).then_some(()));
            }
            Router::Upnp { host, path, service } => {
                let _ = http(
                    *host,
                    &upnp::request(*host, path, service, Ask::Unmap { external }),
                );
            }
        }
    }
}

fn pcp_map(gateway: &Gateway, nonce: [u8; 12], port: u16, suggested: u16) -> Option<Grant> {
    let request = pcp::pcp_request(nonce, gateway.client, port, suggested, LEASE);
    let read = |answer: &[u8]| pcp::pcp_answer(answer, nonce, port);
    match gateway.ask(pcp::PORT, &request, read)? {
        Answer::Granted(external, seconds) => Some((
            Mapped {
                method: Method::Pcp,
                external,
            },
            seconds,
        )),
        Answer::Refused => None,
    }
}

fn pmp_map(gateway: &Gateway, port: u16, suggested: u16) -> Option<Grant> {
    let Answer::Granted(ip, _) = gateway.ask(pcp::PORT, &pcp::PMP_ADDRESS, pcp::pmp_address)? else {
        return None;
    };
    let request = pcp::pmp_request(port, suggested, LEASE);
    match gateway.ask(pcp::PORT, &request, |answer| pcp::pmp_answer(answer, port))? {
        Answer::Granted(external, seconds) => Some((
            Mapped {
                method: Method::NatPmp,
                external: SocketAddr::from((ip, external)),
            },
            seconds,
        )),
        Answer::Refused => None,
    }
}

fn upnp_map(port: u16) -> Option<Lease> {
    let (client, answers) = multicast_search(upnp::SEARCH_AT, upnp::SEARCH.as_bytes());
    let client = client?;
    for (from, answer) in answers {
        let Some((host, path)) = upnp::description_at(&answer, from) else {
            continue;
        };
        let description = http(host, &upnp::get(host, &path)).unwrap_or_default();
        let Some((service, path)) = upnp::control(&description) else {
            continue;
        };
        let ask = |ask: Ask| http(host, &upnp::request(host, &path, service, ask));
        let Some(ip) = ask(Ask::Address).as_deref().and_then(upnp::address) else {
            continue;
        };
        for external in (port..=u16::MAX).take(usize::from(1 + OTHER_PORTS)) {
            // Some routers only accept a lease without an end. The program deletes that one, too.
            for lease in [LEASE, 0] {
                let answer = ask(Ask::Map {
                    client,
                    internal: port,
                    external,
                    lease,
                })
                .unwrap_or_default();
                if upnp::is_granted(&answer) {
                    let mapped = Mapped {
                        method: Method::Upnp,
                        external: SocketAddr::from((ip, external)),
                    };
                    let router = Router::Upnp { host, path, service };
                    return Some(Lease {
                        port,
                        client,
                        mapped,
                        router,
                        granted: lease,
                    });
                }
                if upnp::refusal(&answer) != Some(upnp::ONLY_PERMANENT) {
                    break;
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_when_half_of_it_is_over_and_no_router_is_pestered() {
        let seconds = |granted| renewal(granted).as_secs();
        assert_eq!(seconds(LEASE), 60);
        assert_eq!(seconds(20), 10);
        assert_eq!(seconds(1), 4);
        assert_eq!(seconds(7200), 60, "a router that forgot is noticed");
        assert_eq!(seconds(0), 60, "for ever");
    }

    #[test]
    fn only_a_router_that_gave_a_port_is_waited_for_at_the_end() {
        for (held, most) in [(false, FAREWELL / 2), (true, FAREWELL * 4)] {
            let (_silent, done) = channel();
            let clock = net::Clock::start();
            let began = clock.now();
            drop(Mapper {
                stop: None,
                done,
                thread: None,
                held: Arc::new(AtomicBool::new(held)),
            });
            let took = clock.now().since(began);
            assert!(took <= most && held == (took >= FAREWELL), "{held}: {took:?}");
        }
    }
}
