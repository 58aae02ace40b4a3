//! What this network is, and what that means for meeting a peer.

use super::event::{Event, Front};
use super::mapper::Mapper;
use super::options::CheckOptions;
use super::outcome::{Failure, Summary};
use super::outlet;
use super::run;
use super::told::{Info, Warning};
use crate::net::{self, Driver, Machine, Transmit};
use crate::protocol::Path;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Filtering, Mapping, NatClass};
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::stun::filtering::FilteringTest;
use std::net::SocketAddr;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Servers tried for the filtering test; few answer from a second address.
const SERVERS: usize = 8;

/// Runs the check.
pub(super) async fn run(options: CheckOptions, front: &mut dyn Front) -> Result<Summary, Failure> {
    if let Some(place) = &options.common.server {
        run::look_at_server(&options.common, place, front).await?;
        return Ok(Summary::default());
    }
    let seen = run::look(&options.common, front).await?;
    let filtering = if seen.report.answered > 0 {
        let servers: Vec<SocketAddr> = seen
            .servers
            .iter()
            .copied()
            .filter(SocketAddr::is_ipv4)
            .take(SERVERS)
            .collect();
        let (steps, mut told) = unbounded_channel();
        let testing = tokio::task::spawn_blocking(move || test_filtering(&servers, &steps));
        let testing = async { Ok(testing.await.ok().and_then(Result::ok).unwrap_or_default()) };
        run::tell_steps(testing, &mut told, front).await?
    } else {
        Filtering::Untested
    };
    let nat = NatClass {
        mapping: seen.report.mapping,
        filtering,
    };
    let say = |front: &mut dyn Front, line: String| front.event(Event::Info(Info::Check { line }));
    for candidate in &seen.candidates {
        say(front, format!("Local address: {candidate}"));
    }
    for (socket, mapped) in seen.report.mapped.iter().enumerate() {
        if let Some(mapped) = mapped {
            say(front, format!("Outside address of socket {socket}: {mapped}"));
        }
    }
    say(
        front,
        format!(
            "{} of {} STUN servers answered.",
            seen.report.answered, seen.report.asked
        ),
    );
    say(front, format!("Your network: {nat}."));
    if let Some(mapped) = seen.report.mapped[0].filter(|_| nat.mapping != Mapping::Public) {
        let kept = if mapped.port() == seen.port {
            "is"
        } else {
            "is not"
        };
        say(
            front,
            format!("The local port {kept} kept outside (port preservation)."),
        );
    }
    say(
        front,
        match seen.report.mapped_ipv6 {
            Some(outside) => format!("IPv6: works; outside address {outside}."),
            None if seen.candidates.iter().any(SocketAddr::is_ipv6) => {
                "IPv6: this computer has it; no STUN server answered by it.".into()
            }
            None => "IPv6: none.".into(),
        },
    );
    let outlet = match seen.outlet {
        Some(outlet) => outlet,
        None => outlet::when_answered(&seen.report.servers, &seen.report.other_ports).await,
    };
    match Warning::of_outlet(&outlet) {
        None => say(front, "Ports: UDP gets out.".into()),
        Some(warning) => front.event(Event::Warning(warning)),
    }
    let worth = if options.common.port_mapping {
        let (mapper, told) = Mapper::start(seen.port);
        let mapped = async { Ok(told.await.ok().flatten()) };
        let (_steps, mut nothing) = unbounded_channel();
        let mapped = run::tell_steps(mapped, &mut nothing, front).await?;
        // Deleting takes a moment, which is the router's.
        drop(mapper);
        let outside = seen.report.mapped[0].map(|outside| outside.ip());
        mapped.map(|mapped| Worth::of(mapped, outside))
    } else {
        None
    };
    say(
        front,
        match &worth {
            Some(worth) => format!("Port mapping: {worth}."),
            None => "Port mapping: no router here forwards a port when asked (PCP, NAT-PMP, UPnP).".into(),
        },
    );
    say(front, format!("Clock: {}.", seen.clock));
    say(front, meaning(nat).to_owned());
    let forwarded = matches!(worth, Some(Worth::Good(_)));
    say(
        front,
        format!("To tell a peer: {}", for_a_peer(nat, forwarded, &outlet)),
    );
    Ok(Summary::default())
}

/// One sentence about this network that helps whoever wants to connect with it.
fn for_a_peer(nat: NatClass, forwarded: bool, outlet: &Outlet) -> String {
    match (outlet, nat.mapping) {
        (closed, _) if closed.is_closed() => {
            "my network lets no UDP out, so only a computer on the same network reaches me.".into()
        }
        (Outlet::Ports(ports), _) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("I can reach you only if you are at UDP port {}.", ports.join(" or "))
        }
        (_, Mapping::Public) => "I have a public address; any network that lets UDP out will do for you.".into(),
        _ if forwarded => "my router forwards a port to me; any network that lets UDP out will do for you.".into(),
        (_, Mapping::Independent) => {
            "I am behind an ordinary router; any network but one with a symmetric NAT will do for you.".into()
        }
        (_, Mapping::Dependent) => {
            "I am behind a symmetric NAT; you need a public address, a forwarded port, or a router that lets anybody in."
                .into()
        }
        (_, Mapping::Unknown) => "my outside address is not known; be on the same network, or have IPv6 as I have.".into(),
    }
}

fn meaning(nat: NatClass) -> &'static str {
    match (nat.mapping, nat.filtering) {
        (Mapping::Public, _) => "For you: no NAT in the way; any peer that can send UDP reaches you.",
        (Mapping::Independent, Filtering::Independent | Filtering::Address) => {
            "For you: good; even a peer behind a symmetric NAT can connect."
        }
        (Mapping::Independent, _) => {
            "For you: good; every peer can connect but one behind a symmetric NAT (some mobile and office networks)."
        }
        (Mapping::Dependent, _) => {
            "For you: hard; your NAT is symmetric. A peer without NAT, or with one that does not filter by port, can \
             connect. Another network, such as a phone's hotspot, may do better."
        }
        (Mapping::Unknown, _) => {
            "For you: not known; too few STUN servers answered. UDP may be blocked here; peers on your own network \
             can connect."
        }
    }
}

/// Asks servers to answer from elsewhere, on a socket that is never punched with: such an answer makes some NATs
/// change the port (docs/design.md).
fn test_filtering(servers: &[SocketAddr], steps: &UnboundedSender<Info>) -> std::io::Result<Filtering> {
    let clock = net::Clock::start();
    let mut driver = Driver::new(net::bind(None, true, None)?, clock)?;
    for (number, &remote) in servers.iter().enumerate() {
        // Nobody listens any more only when the run is being torn down.
        let _ = steps.send(Info::AskingToAnswerElsewhere {
            server: remote,
            number: number + 1,
            most: servers.len(),
        });
        let seed = net::random_seed()?;
        let mut scratch = Scratch(FilteringTest::new(Path { local: 0, remote }, &seed, clock.now()));
        while scratch.0.result().is_none() {
            driver.turn(&mut scratch)?;
        }
        if let Some(found) = scratch.0.result().filter(|f| *f != Filtering::Untested) {
            return Ok(found);
        }
    }
    Ok(Filtering::Untested)
}

struct Scratch(FilteringTest);

impl Machine for Scratch {
    fn handle_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        self.0.handle_datagram(now, path, datagram);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.0.handle_timeout(now);
    }

    fn poll_transmit(&mut self, _now: Time, buf: &mut Vec<u8>, _segments: usize) -> Option<Transmit> {
        let (path, payload) = self.0.poll_transmit()?;
        Some(Transmit::single(buf, path, None, &payload))
    }

    fn poll_timeout(&mut self, _now: Time) -> Option<Time> {
        self.0.poll_timeout()
    }

    fn on_too_large(&mut self, _now: Time, _size: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_for_a_peer_names_what_stands_in_the_way() {
        let told = |mapping, forwarded, outlet| {
            let filtering = Filtering::Untested;
            for_a_peer(NatClass { mapping, filtering }, forwarded, &outlet)
        };
        assert!(told(Mapping::Dependent, false, Outlet::Open).contains("symmetric NAT"));
        assert!(told(Mapping::Dependent, true, Outlet::Open).contains("forwards a port"));
        assert!(told(Mapping::Independent, true, Outlet::Dropped).contains("no UDP out"));
        assert!(told(Mapping::Unknown, false, Outlet::Ports(vec![53, 443])).contains("port 53 or 443"));
    }
}
