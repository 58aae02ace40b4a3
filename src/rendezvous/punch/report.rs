//! Why there was no connection: what was tried, what was seen, the likely cause, and one next step.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use super::events::Hint;
use super::obstacle::Obstacle;
use crate::protocol::handshake::HandshakeError;
use crate::rendezvous::address::{Filtering, Mapping, NatClass};
use crate::rendezvous::clock::{ClockSource, WallClock};
use crate::rendezvous::outlet::Outlet;

/// If two clocks differ by more, the sides miss each other's opening packets.
const MAX_SKEW: Duration = Duration::from_millis(1500);

/// This many refusals in a row are not an accident.
const MANY: u64 = 5;

/// What a punch did and saw. All counts are datagrams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The peer's address.
    pub peer: SocketAddr,
    /// For how long it was looked for.
    pub elapsed: Duration,
    /// The number of slots used.
    pub attempts: u32,
    /// The ports of a symmetric NAT that were opened or tried.
    pub guesses: u32,
    /// All datagrams sent.
    pub sent: u64,
    /// Datagrams that the peer certainly sent.
    pub received: u64,
    /// Datagrams that did not authenticate.
    pub forged: u64,
    /// Datagrams sent to an address that leads out of this network, or all if the peer told none.
    pub outward: u64,
    /// Those of them that this system refused to send.
    pub refused: u64,
    /// Why it refused the last one.
    pub refusal: Option<ErrorKind>,
    /// Whether a router or firewall near this computer answered that it lets nothing through to the peer.
    pub rejected: bool,
    /// What the two addresses told before anything was sent.
    pub obstacle: Option<Obstacle>,
    /// Which UDP ports our network lets out, if that was found out.
    pub outlet: Option<Outlet>,
    /// What was shown while the peer was looked for.
    pub hints: Vec<Hint>,
    pub own_nat: NatClass,
    /// The peer's NAT, if its address tells.
    pub peer_nat: Option<NatClass>,
    pub clock: WallClock,
    /// How far the peer's clock is ahead, in nanoseconds, if one of its datagrams arrived.
    pub peer_clock_ahead: Option<i64>,
    /// The error that ended the handshake before the time limit, if any.
    pub error: Option<HandshakeError>,
}

/// The chances of a connection between two NATs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outlook {
    /// Nothing prevents it.
    Good,
    /// It works only if the second NAT does not filter by port, which is not known.
    Doubtful,
    /// It works only by luck.
    Hopeless,
}

/// The chances of a connection between two NATs.
pub(crate) fn outlook(a: NatClass, b: NatClass) -> Outlook {
    // If one NAT admits everybody, the other side's packets arrive there and show their source address.
    if [a, b].iter().any(|nat| nat.filtering == Filtering::Independent) {
        return Outlook::Good;
    }
    match (a.mapping, b.mapping) {
        (Mapping::Dependent, Mapping::Dependent) => Outlook::Hopeless,
        // A public address may have a firewall before it.
        (Mapping::Dependent, Mapping::Independent | Mapping::Public) => against_symmetric(b.filtering),
        (Mapping::Independent | Mapping::Public, Mapping::Dependent) => against_symmetric(a.filtering),
        _ => Outlook::Good,
    }
}

fn against_symmetric(filtering: Filtering) -> Outlook {
    match filtering {
        Filtering::Untested => Outlook::Doubtful,
        Filtering::Independent | Filtering::Address => Outlook::Good,
        Filtering::AddressAndPort => Outlook::Hopeless,
    }
}

/// What helps if the system refuses to send.
const REFUSAL_REMEDY: &str =
    "Check the network and the firewall of this computer, then start both sides again.";

/// The sentence for a router or firewall that lets nothing through.
pub(super) const REJECTED: &str =
    "A router or firewall near this computer answers by ICMP that it lets nothing through to the other side.";

/// The next step in that case.
pub(super) const REJECTED_REMEDY: &str = "if it stays so, move one of the two to another network such as a phone's hotspot, start p2pcopy there \
     again and paste its new address";

/// The sentence for a system that refuses to send.
pub(super) fn refusal(kind: Option<ErrorKind>) -> String {
    match kind {
        Some(ErrorKind::PermissionDenied) => {
            "A firewall on this computer forbids p2pcopy to send to the other side.".to_owned()
        }
        Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => {
            "This computer has no route to the other side.".to_owned()
        }
        Some(other) => format!("This computer refuses to send to the other side ({other})."),
        None => "This computer refuses to send to the other side.".to_owned(),
    }
}

/// Adds a capital letter and a full stop.
fn sentence(words: impl fmt::Display) -> String {
    let words = words.to_string();
    let mut rest = words.chars();
    let first = rest.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(rest).chain(['.']).collect()
}

impl Report {
    /// The likely cause and the next step, one sentence each.
    pub(crate) fn diagnosis(&self) -> (String, String) {
        let say = |cause: &str, next: &str| (cause.to_owned(), next.to_owned());
        let was_seen = |hint| self.hints.contains(&hint);
        if let Some(error) = self.error {
            return say(&error.to_string(), "Then start both sides again.");
        }
        if was_seen(Hint::PeerPastedBare) && self.received == 0 {
            return say(
                "Your peer is there, but was given only the ip:port of your address.",
                "Ask them to start again and to paste the whole address, with all that follows the slash.",
            );
        }
        if was_seen(Hint::WePastedBare) {
            return say(
                "Your peer is there and has your whole address, but you were given only the ip:port of theirs.",
                "Start again on both sides and paste the whole address, with all that follows the slash.",
            );
        }
        if was_seen(Hint::SameRole) {
            return say(
                "Your peer runs p2pcopy in the same role as you.",
                "One of you must run `p2pcopy sender`, the other `p2pcopy receiver`.",
            );
        }
        if self.received > 0 {
            return say(
                "Packets of your peer arrive here, but ours do not arrive there: a firewall on one side drops them.",
                "Allow p2pcopy in the firewall of the other computer, or try from another network.",
            );
        }
        if self.is_refused() {
            return say(&refusal(self.refusal), REFUSAL_REMEDY);
        }
        if was_seen(Hint::OldAddress) {
            return say(
                "Packets arrive, but they are not made for this run: one side holds an address of an earlier run.",
                "Start both sides again and swap the lines they print now.",
            );
        }
        if let Some(outlet) = self.outlet.as_ref().filter(|outlet| outlet.is_closed()) {
            return say(&sentence(outlet), &sentence(outlet.remedy()));
        }
        if self.rejected {
            return say(REJECTED, &sentence(REJECTED_REMEDY));
        }
        if let Some(answer) = self.nat_diagnosis() {
            return answer;
        }
        if let Some(obstacle) = self.obstacle {
            return say(&sentence(obstacle), &sentence(obstacle.remedy()));
        }
        if let Some(outlet) = &self.outlet
            && *outlet != Outlet::Open
        {
            return say(&sentence(outlet), &sentence(outlet.remedy()));
        }
        if self.attempts == 0 {
            return say(
                "The time given was over before both sides could try at the same moment.",
                "Start both sides again and give more time with --timeout, a minute at least.",
            );
        }
        // Between full addresses, slots are not used with a clock that NTP has not confirmed.
        if self.clock.source() == ClockSource::System && self.peer_nat.is_none() {
            return say(
                "No NTP server answered here, and the system clock may be off by more than a second.",
                "Set the clock of this computer, or name a server with --ntp, and start again.",
            );
        }
        say(
            "Nothing arrived from your peer: it was not waiting at the same time, one of the two addresses is an old one, or \
             a firewall drops UDP.",
            "Check that both of you pasted the address of the run that is waiting now, then start both sides again.",
        )
    }

    /// Whether this system refused all datagrams that lead to the peer.
    pub(super) fn is_refused(&self) -> bool {
        self.refused >= MANY && self.refused == self.outward
    }

    fn nat_diagnosis(&self) -> Option<(String, String)> {
        let peer = self.peer_nat?;
        if outlook(self.own_nat, peer) == Outlook::Good {
            return self.peer_clock_diagnosis();
        }
        let cause = match (self.own_nat.mapping, peer.mapping) {
            (Mapping::Dependent, Mapping::Dependent) => {
                "Both networks are symmetric NATs (another port for every destination): neither side can know \
                 the port the other's packets will come from."
            }
            (Mapping::Public, _) | (_, Mapping::Public) => return None,
            (Mapping::Dependent, _) => {
                "Your network is a symmetric NAT (another port for every destination) and your peer's is \
                 port-restricted (it lets in only ports it has sent to): your packets come from a port it cannot \
                 know."
            }
            _ => {
                "Your peer's network is a symmetric NAT (another port for every destination) and yours is \
                 port-restricted (it lets in only ports it has sent to): its packets come from a port yours \
                 cannot know."
            }
        };
        let who = if self.own_nat.mapping == Mapping::Dependent {
            "Move this computer"
        } else {
            "Ask your peer to move"
        };
        let next = format!(
            "{who} to another network, such as a phone's hotspot, or forward a UDP port there and pass it with --localport and \
             --external-port, or meet at a server of your own with --server, which relays."
        );
        Some((cause.to_owned(), next))
    }

    fn peer_clock_diagnosis(&self) -> Option<(String, String)> {
        let ahead = self.peer_clock_ahead?;
        (ahead.unsigned_abs() > u64::try_from(MAX_SKEW.as_nanos()).unwrap_or(u64::MAX)).then(|| {
            (
                format!(
                    "The two clocks are {:.1} s apart, so the two sides miss each other.",
                    ahead as f64 / 1e9
                ),
                "Let both computers reach an NTP server, or set their clocks, and start again.".to_owned(),
            )
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, next) = self.diagnosis();
        writeln!(f, "No path to {} in {} s.", self.peer, self.elapsed.as_secs())?;
        write!(f, "Tried: {} slots, ", self.attempts)?;
        if self.guesses > 0 {
            write!(f, "{} guessed ports, ", self.guesses)?;
        }
        writeln!(
            f,
            "{} packets sent, {} received from the peer, {} not authentic.",
            self.sent, self.received, self.forged
        )?;
        writeln!(f, "Your network: {}.", self.own_nat)?;
        match self.peer_nat {
            Some(nat) => writeln!(f, "Your peer's: {nat}.")?,
            None => writeln!(f, "Your peer's: not known (a bare ip:port tells nothing of it).")?,
        }
        write!(f, "Clock: {}", self.clock)?;
        match self.peer_clock_ahead {
            Some(ahead) => writeln!(f, "; the peer's is {:+} ms from it.", ahead / 1_000_000)?,
            None => writeln!(f, ".")?,
        }
        writeln!(f, "Likely cause: {cause}")?;
        write!(f, "Next step: {next}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::time::Time;

    fn report(own: Mapping, peer: Mapping) -> Report {
        let nat = |mapping| NatClass {
            mapping,
            filtering: Filtering::Untested,
        };
        Report {
            peer: "203.0.113.7:4300".parse().unwrap(),
            elapsed: Duration::from_secs(600),
            attempts: 60,
            guesses: 0,
            sent: 2000,
            received: 0,
            forged: 0,
            outward: 1900,
            refused: 0,
            refusal: None,
            rejected: false,
            obstacle: None,
            outlet: None,
            hints: Vec::new(),
            own_nat: nat(own),
            peer_nat: Some(nat(peer)),
            clock: WallClock::system(1, Time::ZERO),
            peer_clock_ahead: None,
            error: None,
        }
    }

    #[test]
    fn the_symmetric_side_is_named() {
        let ours = report(Mapping::Dependent, Mapping::Independent).to_string();
        assert!(
            ours.contains("Your network is a symmetric NAT") && ours.contains("port-restricted"),
            "{ours}"
        );
        assert!(ours.contains("\nClock: the system's"), "{ours}");
        let theirs = report(Mapping::Independent, Mapping::Dependent).to_string();
        assert!(
            theirs.contains("Your peer's network is a symmetric NAT"),
            "{theirs}"
        );
        assert!(theirs.contains("Ask your peer to move"), "{theirs}");
        let both = report(Mapping::Dependent, Mapping::Dependent).to_string();
        assert!(both.contains("Both networks are symmetric"), "{both}");
    }

    #[test]
    fn what_was_seen_outweighs_what_is_supposed() {
        let mut report = report(Mapping::Dependent, Mapping::Independent);
        report.hints = vec![Hint::PeerPastedBare];
        assert!(report.diagnosis().1.contains("whole address"));
        report.hints.clear();
        report.forged = 3;
        assert!(
            !report.diagnosis().0.contains("earlier run"),
            "strangers probe ports"
        );
        report.hints.push(Hint::OldAddress);
        assert!(report.diagnosis().0.contains("earlier run"));
        report.error = Some(HandshakeError::PeerIsNewer);
        assert!(report.diagnosis().0.contains("newer p2pcopy"));
    }

    #[test]
    fn an_old_address_and_blocked_udp_are_named_only_when_nothing_else_explains_it() {
        let mut report = report(Mapping::Unknown, Mapping::Independent);
        report.peer_nat = None;
        assert!(
            report.diagnosis().0.contains("clock"),
            "a guess at UDP would come too early"
        );
        report.peer_nat = Some(NatClass::default());
        report.obstacle = Some(Obstacle::SameOutside);
        assert!(report.diagnosis().0.contains("same outside address"));
        report.rejected = true;
        assert!(report.diagnosis().0.contains("lets nothing through"));
        report.outlet = Some(Outlet::Dropped);
        assert!(report.diagnosis().0.starts_with("UDP is blocked here"));
        (report.refused, report.refusal) = (report.outward, Some(ErrorKind::PermissionDenied));
        assert!(report.diagnosis().0.contains("forbids p2pcopy to send"));
    }

    #[test]
    fn who_lets_anybody_in_is_within_reach_of_a_symmetric_peer() {
        let class = |mapping, filtering| NatClass { mapping, filtering };
        let forwarded = class(Mapping::Dependent, Filtering::Independent);
        for other in [Mapping::Dependent, Mapping::Independent] {
            assert_eq!(
                outlook(forwarded, class(other, Filtering::AddressAndPort)),
                Outlook::Good
            );
        }
    }

    #[test]
    fn filtering_decides_what_a_symmetric_peer_can_hope_for() {
        let class = |mapping, filtering| NatClass { mapping, filtering };
        let symmetric = class(Mapping::Dependent, Filtering::Untested);
        let cone = |filtering| class(Mapping::Independent, filtering);
        assert_eq!(outlook(symmetric, cone(Filtering::Address)), Outlook::Good);
        assert_eq!(
            outlook(cone(Filtering::AddressAndPort), symmetric),
            Outlook::Hopeless
        );
        assert_eq!(outlook(cone(Filtering::Untested), symmetric), Outlook::Doubtful);
        let public = |filtering| class(Mapping::Public, filtering);
        assert_eq!(outlook(public(Filtering::Untested), symmetric), Outlook::Doubtful);
        assert_eq!(outlook(symmetric, public(Filtering::Independent)), Outlook::Good);
    }
}
