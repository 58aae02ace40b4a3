//! Finds out what this network is, or what a server sees, and ends.

use std::net::SocketAddr;

use tokio::sync::mpsc::unbounded_channel;

use super::lobby::{Around, asking, tell_steps};
use super::meet::relay_terms;
use super::{UserSide, heard};
use crate::app::command::{Command, Notice};
use crate::app::event::{Event, Front};
use crate::app::lookup::{nat64, resolve_one};
use crate::app::options::{Common, MeetingServer};
use crate::app::outcome::{Failure, Summary};
use crate::app::side::{End, Side};
use crate::app::tcp::{self, TcpFallback};
use crate::app::told::{Info, SeenServer, Word};
use crate::net;
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::interface::{MeetingEvent, Purpose};
use crate::rendezvous::meeting::refusal::Refusal;

/// What a run found out about this network.
pub(in crate::app) struct Seen {
    /// Addresses this machine has itself.
    pub candidates: Vec<SocketAddr>,
    /// The local ports of the sockets.
    pub ports: Vec<u16>,
    /// What the servers answered.
    pub around: Around,
}

/// Finds out what this network is, and ends.
pub(in crate::app) async fn look(common: &Common, front: &mut dyn Front) -> Result<Seen, Failure> {
    let mut user = UserSide::open(Errand::Send, common, nat64().await, front, |_| Ok(Box::new(Idle)))?;
    front.event(Event::Info(asking(common)));
    let (steps, mut told) = unbounded_channel();
    let looking = user.look_around(&steps);
    let around = tell_steps(looking, &mut told, front).await?;
    Ok(Seen {
        candidates: user.local.candidates.clone(),
        ports: user.ipv4.clone(),
        around,
    })
}

/// A side that transfers nothing.
pub(super) struct Idle;

impl Side for Idle {
    fn pump(&mut self, _now: Time, _connection: &mut Connection) {}

    fn on_end(&mut self, _end: &End) -> Option<Result<Summary, Failure>> {
        None
    }
}

/// Asks a server what it sees of us, and ends.
pub(in crate::app) async fn look_at_server(
    common: &Common,
    told: &MeetingServer,
    front: &mut dyn Front,
) -> Result<(), Failure> {
    let mut user = UserSide::open(Errand::Send, common, None, front, |_| Ok(Box::new(Idle)))?;
    let silent = |why: String| {
        Failure::no_path(
            why,
            "check --server; p2pcopy check without it tells of your network",
        )
    };
    front.event(Event::Info(Info::AskingServer {
        server: told.server.to_string(),
    }));
    let looking = resolve_one(&told.server, user.ipv6.is_some());
    let server = looking.await.map_err(silent)?;
    let ask = |user: &mut UserSide<'_>, at, sockets| {
        let meeting = user.meeting(at, sockets, told, Purpose::Look);
        user.command(Command::Meet(Box::new(meeting)));
    };
    let udp = user.sockets_for(server);
    ask(&mut user, server, udp);
    let mut fallback = TcpFallback::new(server);
    let (mut tcp_port, mut seen) = (None, None);
    loop {
        let notice = tokio::select! {
            notice = heard(&mut user.notices) => notice?,
            never = fallback.go_on() => match never {},
        };
        let why = match notice {
            Notice::Meeting(MeetingEvent::Welcome {
                seen: sees,
                terms,
                rtt,
                ..
            }) => {
                seen = Some((sees, terms, rtt));
                continue;
            }
            Notice::Meeting(MeetingEvent::Failed(why)) => why,
            Notice::Meeting(MeetingEvent::Silent(_)) => return Err(silent(tcp::silence(&told.server))),
            Notice::Meeting(MeetingEvent::Unreachable) => {
                let Some(at) = user.try_tcp(&mut fallback, front).await else {
                    return Err(silent(tcp::silence(&told.server)));
                };
                tcp_port = Some(at.port());
                ask(&mut user, at, vec![net::TCP]);
                continue;
            }
            _ => continue,
        };
        let Some((sees, terms, rtt)) = seen.take() else {
            continue;
        };
        let ours = |at: &SocketAddr| at.ip().is_loopback() || user.local.candidates.contains(at);
        front.event(Event::Info(Info::Server(SeenServer {
            server: told.server.to_string(),
            tcp_port,
            rtt_ms: rtt.as_millis() as u64,
            nat: !sees.iter().any(ours),
            sees,
            word: match why {
                Refusal::WrongToken => Word::Wrong,
                Refusal::TooMany(_) => Word::Untold,
                _ if terms.wants_token => Word::Right,
                _ => Word::NotWanted,
            },
        })));
        front.event(Event::Info(relay_terms(&terms)));
        return match why {
            Refusal::WrongToken | Refusal::TooMany(_) => {
                Err(Failure::no_path(why.to_string(), why.next_step()))
            }
            _ => Ok(()),
        };
    }
}
