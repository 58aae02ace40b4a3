//! The words for remarks, warnings and details of a run.

use std::path::Path;
use std::time::Duration;

use crate::app::told::{Info, Note, SeenServer, Warning, Word};
use crate::app::units::{Rate, Size, Span};
use crate::app::wording::absence;
use crate::protocol::connection::Stats;

/// A remark, in lines.
pub(super) fn info(info: &Info) -> Vec<String> {
    let line = match info {
        Info::AskingServers { stun, ntp } => format!(
            "Asking {} for your outside address and {} for the time",
            counted(*stun as u64, "STUN server"),
            counted(*ntp as u64, "NTP server")
        ),
        Info::StunServersFound { found, asked } => {
            format!("The name server knows {found} of {asked} STUN servers")
        }
        Info::StunAnswer { server, outside } => format!("STUN server {server} sees {outside}"),
        Info::NtpAnswers { answered, asked } => format!("{answered} of {asked} NTP servers answered"),
        Info::AskingToAnswerElsewhere { server, number, most } => {
            format!("Asking {server} to answer from another address ({number} of at most {most})")
        }
        Info::StillWaiting => "Still waiting for answers".into(),
        Info::BetterAddress { instead: false } => {
            "You have a better address now; a peer that has the earlier one can still connect".into()
        }
        Info::BetterAddress { instead: true } => {
            "You have a better address now: the router forwards a port. Tell your peer this one, not the earlier one".into()
        }
        Info::UselessMapping(worth) => format!("Note: {worth}"),
        Info::Listening { port, tcp_port, asks } => format!(
            "Listening at UDP port {port}{}{}",
            tcp_port.map_or(String::new(), |port| format!(" and TCP port {port}")),
            if *asks { "; asking for the public address" } else { "" }
        ),
        Info::AskingServer { server } => format!("Asking the server {server}"),
        Info::TryingTcp { port } => format!("No answer from the server on UDP; trying its TCP port {port}"),
        Info::TcpIsBack => "The TCP connection to the server is there again".into(),
        Info::WaitingByName { own, peer } => match (own, peer) {
            (Some(own), Some(peer)) => format!("Waiting under the name {own} for {peer}"),
            (Some(own), None) => format!("Waiting under the name {own} for whoever asks for it"),
            (None, Some(peer)) => format!("Looking for {peer}"),
            (None, None) => "Looking for the other side".into(),
        },
        Info::LookingForPeer => "The server answers; looking for the other side".into(),
        Info::ServerIsBack => "The server answers again".into(),
        Info::Relay {
            relays,
            pair_rate,
            pair_bytes,
        } => relay(*relays, *pair_rate, *pair_bytes),
        Info::LookingForDirectPath => "Still looking for a direct path".into(),
        Info::Server(seen) => return server(seen),
        Info::ServerIsFresh => {
            "The server was just started: waiting up to 12 s for those who were there before".into()
        }
        Info::NobodyWaits => "Nobody waits under a name.".into(),
        Info::ServerStopped {
            pairs,
            waiting,
            relayed,
        } => format!(
            "Stopped after {} had met here; {} still waited, and {} must find another way now. Direct transfers go on.",
            counted(*pairs, "pair"),
            counted(*waiting as u64, "client"),
            counted(*relayed as u64, "relayed pair")
        ),
        Info::TryingPorts { seconds } => format!(
            "Your peer's router gives another port to everyone: trying ports, up to {seconds} s once both try"
        ),
        Info::OpeningPorts { ports, seconds } => format!(
            "Your router gives another port to everyone: opening {ports} of them for your peer to try, up to {seconds} s once \
             both try"
        ),
        Info::ChatHelp => "Type lines to say them; Ctrl-D (on Windows Ctrl-Z and Enter) ends the chat".into(),
        Info::ChatEnded => "The chat has ended".into(),
        Info::Tried { line } => line.clone(),
        Info::DemoMakesFile { bytes } => format!("Making a file of {} MiB to send.", bytes >> 20),
        Info::DemoBegins => "Both sides run on this machine; in real life they are two computers.".into(),
        Info::DemoEnds => "The copy was verified and is removed again: this was a demonstration.".into(),
        Info::Wrote { path } => format!("Wrote {}", path.display()),
        Info::Removed { path, bytes } => format!("Removed {} ({})", path.display(), Size(*bytes)),
        Info::NothingToRemove { path } => format!("Nothing to remove in {}", path.display()),
        Info::Identical { path, more: 0 } => format!("{} was here already, identical", path.display()),
        Info::Identical { path, more } => {
            format!("{} and {more} more were here already, identical", path.display())
        }
        Info::EmptyInput => "standard input was empty, and so is what was sent: if a program should have written it, see whether that failed".into(),
    };
    vec![line]
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn relay(relays: bool, pair_rate: u64, pair_bytes: u64) -> String {
    let rate = (pair_rate > 0).then(|| Rate(pair_rate).to_string());
    let bytes = (pair_bytes > 0).then(|| format!("{} in all", Size(pair_bytes)));
    match (relays, rate, bytes) {
        (false, ..) => "The server does not relay.".into(),
        (true, None, None) => "The server relays without limit.".into(),
        (true, rate, bytes) => {
            let limits: Vec<String> = rate.into_iter().chain(bytes).collect();
            format!("The server relays at most {} for one pair.", limits.join(", "))
        }
    }
}

/// The result of `check --server`.
fn server(seen: &SeenServer) -> Vec<String> {
    let rtt = Span(Duration::from_millis(seen.rtt_ms));
    let mut lines = Vec::new();
    match seen.tcp_port {
        None => {
            lines.push(format!("The server {} answers after {rtt}.", seen.server));
            let socket = |(socket, seen)| format!("It sees socket {socket} at {seen}.");
            lines.extend(seen.sees.iter().enumerate().map(socket));
        }
        Some(port) => {
            lines.push(format!(
                "The server {} answers at TCP port {port} after {rtt}, and not on UDP: what you send goes by way of it.",
                seen.server
            ));
            lines.extend(
                seen.sees
                    .first()
                    .map(|at| format!("It sees this computer at {at}.")),
            );
        }
    }
    lines.push(if seen.nat {
        "This computer is behind a NAT.".into()
    } else {
        "No NAT is in the way.".into()
    });
    let word = match seen.word {
        Word::NotWanted => Some("It serves everybody."),
        Word::Right => Some("It serves only those who know its token, as you do."),
        // The error line that follows says so.
        Word::Wrong | Word::Untold => None,
    };
    lines.extend(word.map(String::from));
    lines
}

pub(super) fn warning(warning: &Warning) -> Vec<String> {
    let line = match warning {
        Warning::Outlet(outlet) => format!("{outlet}: {}", outlet.remedy()),
        Warning::NoOutsideAddress => {
            "no STUN server answered, so your address outside this network is not known: only a peer on the same network, \
             or with IPv6, can reach you"
                .into()
        }
        Warning::UselessExternalPort { port } => format!(
            "--external-port {port} has no effect: no STUN server told the outside address"
        ),
        Warning::LeftOut { why, paths, more: 0 } => {
            let line = |path: &std::path::PathBuf| format!("left out {}: {why}", path.display());
            return paths.iter().map(line).collect();
        }
        Warning::LeftOut { why, paths, more } => {
            let first = paths.first().map_or(Path::new(""), |path| path);
            format!("left out {} and {more} more: {why}", first.display())
        }
        Warning::UnusedPattern { pattern } => format!("--exclude '{pattern}' matched nothing"),
        Warning::TraceStopped => {
            "the trace ends here, because its disk is full or fails; the transfer goes on".into()
        }
        Warning::Missing { path, why } => format!("left out {}: {}", path.display(), absence(*why)),
        Warning::Unfit { why } => why.clone(),
        Warning::Search { hint } => hint.to_string(),
        Warning::Unvouched { words } => {
            format!("--insecure: nobody has compared the words, so somebody in the middle can read and change everything. They are: {words}")
        }
        Warning::Refused { why } => why.to_string(),
        Warning::RelayRefused { why } => why.to_string(),
        Warning::OutsideChanged => {
            "your outside address has changed, and the other side's router may not let the new one in: send it to your peer, \
             who can paste it there while p2pcopy waits"
                .into()
        }
        Warning::PeerMayHaveMoved => {
            "still no sign of the other side: if p2pcopy shows a new address there, paste it here, and the transfer goes on"
                .into()
        }
        Warning::ServerSilent => "the server does not answer any more; asking it again and again".into(),
        Warning::TcpBroke => "the TCP connection to the server broke; opening it again".into(),
        Warning::NoServer { why } => format!("{why}; swap addresses instead, on both sides"),
        Warning::ServerBehindNat { outside, port } => format!(
            "this machine is behind a NAT ({outside} outside): forward UDP port {port} to it, or no client can reach it"
        ),
        Warning::ServerWithoutAddress => {
            "no STUN server told the outside address: give it with --public HOST if this one is not it".into()
        }
        Warning::ModesNotKept => {
            "this disk keeps no permissions: what arrives has those that the disk gives to all files"
                .into()
        }
        Warning::TimesNotKept => {
            "this disk does not keep the times that were sent: what arrives is dated now".into()
        }
        Warning::StoredBeside { sent, stored } => format!(
            "{sent} exists and is something else (a link, a file, a directory), so it stays: what was sent is stored as \
             {stored}"
        ),
        Warning::OutputMoved { path: Some(path) } => {
            format!("the output directory was moved: what arrived is in {}", path.display())
        }
        Warning::OutputMoved { path: None } => {
            "the output directory was moved or replaced: what arrived is where it is now".into()
        }
        Warning::AttributesNotSent => {
            "extended attributes or access control lists are left out: --xattrs sends them, if both sides give it".into()
        }
        Warning::NoAttributesHere => {
            "--xattrs does nothing here: extended attributes are built in for Linux only".into()
        }
        Warning::AttributesNotKept => {
            "this disk does not take all extended attributes and access control lists that were sent".into()
        }
        Warning::HardLinksNotMade => {
            "this disk does not make all hard links: what was one file under several names becomes several files".into()
        }
        Warning::LinksNotMade { count: 1 } => "this disk takes no links: one is left out".into(),
        Warning::LinksNotMade { count } => format!("this disk takes no links: {count} are left out"),
    };
    vec![line]
}

/// How the user lets this system buffer more.
pub(super) const MORE_BUFFER: &str = if cfg!(target_os = "linux") {
    "; sysctl net.core.rmem_max=4194304 allows more"
} else if cfg!(target_os = "macos") {
    "; sysctl kern.ipc.maxsockbuf=8388608 allows more"
} else {
    ""
};

/// A detail, in one line.
pub(super) fn note(note: &Note) -> String {
    match note {
        Note::ClockAskedAgain => {
            "this computer slept, or its clock was set: the time was asked for again".into()
        }
        Note::HeardFrom { remote } => format!("heard the peer from {remote}"),
        Note::Forwarded { at } => format!("the peer is told to come in at {at}"),
        Note::Mapped(worth) => worth.to_string(),
        Note::OwnAddress { address } => format!("for a peer without the server, your address is {address}"),
        Note::SmallBuffer { bytes } => {
            let size = Size(*bytes as u64);
            format!(
                "the system buffers {size} of arriving packets, which is little for more than 1 Gbit/s{MORE_BUFFER}"
            )
        }
        Note::ServerReport {
            pairs,
            waiting,
            relayed_pairs,
            relayed_bytes,
            beyond_limit_bytes,
            dropped,
            stale,
            strangers,
        } => format!(
            "Pairs that met: {pairs}; clients that wait: {waiting}; pairs that are relayed: {relayed_pairs}, {} passed on, {} \
             beyond a limit; datagrams dropped: {dropped}, with an old cookie: {stale}, without the token: {strangers}",
            Size(*relayed_bytes),
            Size(*beyond_limit_bytes)
        ),
    }
}

/// The figures of the connection, for `-vv`.
pub(super) fn stats(stats: &Stats) -> String {
    format!(
        "{:?}, limited by {:?}: {:.1} Mbit/s paced, {} KiB in flight of {}, RTT {:.1} ms (least {:.1}), \
         {} sent, {} lost, {} repeated, {} forged, {} replayed, MTU {}",
        stats.stage,
        stats.limit,
        stats.pacing_rate as f64 * 8e-6,
        stats.in_flight >> 10,
        stats.window >> 10,
        stats.rtt.as_secs_f64() * 1e3,
        stats.min_rtt.as_secs_f64() * 1e3,
        stats.sent_packets,
        stats.lost_packets,
        stats.repeated_packets,
        stats.forgeries,
        stats.replays,
        stats.mtu
    )
}
