//! What this network is, and what that means for meeting a peer.

use super::event::{Event, Front};
use super::options::CheckOptions;
use super::outcome::{Failure, Summary};
use super::run;
use crate::net::{self, Driver, Machine, Transmit};
use crate::protocol::Path;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Filtering, Mapping, NatClass};
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
            .into_iter()
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
    let say = |front: &mut dyn Front, line: String| front.event(Event::Info(line));
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
    say(front, format!("Clock: {}.", seen.clock));
    say(front, meaning(nat).to_owned());
    Ok(Summary::default())
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
fn test_filtering(servers: &[SocketAddr], steps: &UnboundedSender<String>) -> std::io::Result<Filtering> {
    let clock = net::Clock::start();
    let mut driver = Driver::new(net::bind(None, true, None)?, clock)?;
    for (number, &remote) in servers.iter().enumerate() {
        // Nobody listens any more only when the run is being torn down.
        let _ = steps.send(format!(
            "Asking {remote} to answer from another address ({} of at most {})",
            number + 1,
            servers.len()
        ));
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
