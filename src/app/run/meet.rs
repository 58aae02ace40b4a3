//! Lets both sides meet at a server by a code, instead of swapping addresses.

use std::net::SocketAddr;

use super::{UserSide, heard, peer_option};
use crate::app::command::{Command, Notice};
use crate::app::event::{Answer, Cancelled, Change, Event, Front, Pending, Question};
use crate::app::lookup::resolve_one;
use crate::app::options::{ByName, MeetingServer};
use crate::app::outcome::Failure;
use crate::app::tcp::{self, TcpFallback};
use crate::app::told::{Info, Note, Warning};
use crate::net;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Address, AddressError};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::interface::{MeetingConfig, MeetingEvent, Purpose};
use crate::rendezvous::meeting::name::Name;
use crate::rendezvous::meeting::relay::{RelayPass, RelayUse};
use crate::rendezvous::meeting::wire::{Names, Terms, token_key};

/// Both addresses, and what the punch needs.
pub(super) struct Found {
    pub(super) own: Address,
    pub(super) peer: Address,
    pub(super) clock: WallClock,
    /// The moment at which both sides punch, if a server named one.
    pub(super) moment: Option<Time>,
    /// The pass for the server's relay, if there is one.
    pub(super) relay: Option<Box<RelayPass>>,
    /// Whether only the words that both users compare vouch for the peer.
    pub(super) unproven: bool,
}

impl Found {
    /// The users swapped the two addresses, so no server is needed any more.
    pub(super) fn swapped(own: Address, peer: Address, clock: WallClock) -> Self {
        Found {
            own,
            peer,
            clock,
            moment: None,
            relay: None,
            unproven: false,
        }
    }
}

/// What is asked of the user and of the server, and what is known so far.
struct Talk {
    /// The code that the user gave on the command line.
    given: Option<Code>,
    /// The address that the user gave there.
    pasted: Option<String>,
    welcome: Option<(WallClock, Address)>,
    shown: bool,
    pending: Option<Pending>,
}

impl UserSide<'_> {
    /// Meets the peer at a server. Returns `None` if the server does not answer and the users can still swap
    /// addresses.
    pub(super) async fn meet(
        &mut self,
        told: &MeetingServer,
        front: &mut dyn Front,
    ) -> Result<Option<Found>, Failure> {
        let common = self.common;
        let given = common.peer.as_deref().filter(|text| Code::is_meant_by(text));
        let given = given
            .map(Code::parse)
            .transpose()
            .map_err(|e| Failure::usage(e.to_string(), "correct the code"))?;
        front.event(Event::Info(Info::AskingServer {
            server: told.server.to_string(),
        }));
        let server = match resolve_one(&told.server, self.ipv6.is_some()).await {
            Ok(server) => server,
            Err(cause) => return no_server(cause, given, front),
        };
        let purpose = match (&common.by_name, given) {
            (Some(ByName { names, secret }), _) => Purpose::Named(names.clone(), secret.clone()),
            (None, Some(code)) => Purpose::Join(code),
            (None, None) => Purpose::Show,
        };
        let udp = self.sockets_for(server);
        let meeting = self.meeting(server, udp, told, purpose.clone());
        self.command(Command::Meet(Box::new(meeting)));
        self.meets = true;
        let mut fallback = TcpFallback::new(server);
        let mut talk = Talk {
            given,
            pasted: common.peer.clone().filter(|_| given.is_none()),
            welcome: None,
            shown: false,
            pending: None,
        };
        loop {
            let notice = tokio::select! {
                notice = heard(&mut self.notices) => notice?,
                answer = answered(&mut talk.pending), if talk.pending.is_some() => {
                    talk.pending = None;
                    // Nobody can be asked, but the peer may still come.
                    let Ok(Answer::Text(text)) = answer else { continue };
                    match self.on_answer(&text, &mut talk, front) {
                        Some(found) => return Ok(Some(found)),
                        None => continue,
                    }
                }
                never = fallback.go_on() => match never {},
            };
            match notice {
                Notice::Meeting(MeetingEvent::Unreachable) => {
                    let Some(at) = self.try_tcp(&mut fallback, front).await else {
                        self.command(Command::LeaveServer);
                        return no_server(tcp::silence(&told.server), given, front);
                    };
                    let sockets = vec![net::TCP];
                    let meeting = self.meeting(at, sockets, told, purpose.clone());
                    self.command(Command::Meet(Box::new(meeting)));
                }
                Notice::Meeting(event) => {
                    if matches!(event, MeetingEvent::Welcome { .. }) {
                        fallback.stop();
                    }
                    if let Some(found) = self.on_meeting(event, &mut talk, front)? {
                        return Ok(Some(found));
                    }
                }
                Notice::Stream(news) => tcp::tell(news, front),
                _ => {}
            }
        }
    }

    /// Hands the next TCP stream to a server that does not answer over UDP to the network thread. Returns the
    /// stream's remote address.
    pub(super) async fn try_tcp(
        &self,
        fallback: &mut TcpFallback,
        front: &mut dyn Front,
    ) -> Option<SocketAddr> {
        let (at, stream) = fallback.next().await?;
        front.event(Event::Info(Info::TryingTcp { port: at.port() }));
        self.door.give(stream);
        Some(at)
    }

    /// The sockets that can reach this server over UDP.
    pub(super) fn sockets_for(&self, server: SocketAddr) -> Vec<u8> {
        match (server, self.ipv6) {
            (SocketAddr::V6(_), Some((socket, _))) => vec![socket],
            _ => (0..u8::try_from(self.ipv4.len()).unwrap_or(u8::MAX)).collect(),
        }
    }

    pub(super) fn meeting(
        &mut self,
        server: SocketAddr,
        sockets: Vec<u8>,
        told: &MeetingServer,
        purpose: Purpose,
    ) -> Meeting {
        let config = MeetingConfig {
            errand: self.errand,
            server,
            token: told.token.as_ref().map(|token| token_key(token.word())),
            sockets,
            key: self.seeds.public,
            candidates: self.local.candidates.clone(),
            purpose,
            relay: self.common.relay,
            guess: self.common.guess,
            seed: self.seeds.meeting.seed(),
        };
        Meeting::new(config, self.clock.now())
    }

    fn on_meeting(
        &self,
        event: MeetingEvent,
        talk: &mut Talk,
        front: &mut dyn Front,
    ) -> Result<Option<Found>, Failure> {
        let relay = self.common.relay;
        match event {
            MeetingEvent::Welcome { terms, .. } if !terms.relays && relay == RelayUse::Only => {
                return Err(Failure::no_path(
                    "the server does not relay",
                    "leave out --relay only, or use another server",
                ));
            }
            MeetingEvent::Welcome { clock, own, seen, .. } => {
                if let Some(first) = seen.first() {
                    front.event(Event::Seen(*first));
                }
                let address = own.to_string();
                front.event(Event::Note(Note::OwnAddress { address }));
                talk.welcome = Some((clock, own));
                if let Some(text) = talk.pasted.take() {
                    return self.on_pasted(&text, talk).map(Some).map_err(peer_option);
                }
                if let Some(ByName { names, .. }) = &self.common.by_name {
                    front.event(Event::Info(waiting_for(names)));
                }
                if talk.given.is_some() {
                    front.event(Event::Info(Info::LookingForPeer));
                }
            }
            MeetingEvent::Code(code) => {
                front.event(Event::Code {
                    code: code.to_string(),
                    change: if talk.shown {
                        Change::Changed
                    } else {
                        Change::First
                    },
                });
                talk.shown = true;
                if talk.pending.is_none() {
                    talk.pending = Some(front.ask(Question::PeerCode));
                }
            }
            MeetingEvent::Spoilt(why) => front.event(Event::Warning(Warning::Refused { why })),
            MeetingEvent::Refused(why) => {
                front.event(Event::Warning(Warning::Refused { why }));
                talk.pending = Some(front.ask(Question::PeerCode));
            }
            MeetingEvent::Failed(why) => {
                return Err(Failure::no_path(why.to_string(), why.next_step()));
            }
            MeetingEvent::Silent(true) => {
                front.event(Event::Warning(Warning::ServerSilent));
            }
            MeetingEvent::Fresh => front.event(Event::Info(Info::ServerIsFresh)),
            MeetingEvent::Silent(false) => front.event(Event::Info(Info::ServerIsBack)),
            MeetingEvent::Met {
                peer,
                own,
                moment,
                relay: pass,
            } => {
                let Some((clock, _)) = talk.welcome else {
                    return Ok(None);
                };
                let only_at = pass.as_ref().filter(|_| relay == RelayUse::Only);
                return Ok(Some(Found {
                    own,
                    peer: match only_at {
                        Some(pass) => peer.found_only_at(pass.path.remote),
                        None => peer,
                    },
                    clock,
                    moment: Some(moment),
                    relay: pass,
                    unproven: matches!(&self.common.by_name, Some(by_name) if by_name.secret.is_empty()),
                }));
            }
            MeetingEvent::Unreachable => {}
        }
        Ok(None)
    }

    /// Takes the user's answer: the peer's code, or its whole address.
    fn on_answer(&self, text: &str, talk: &mut Talk, front: &mut dyn Front) -> Option<Found> {
        let why = if Code::is_meant_by(text) {
            match Code::parse(text) {
                Ok(code) => {
                    self.command(Command::Join(code));
                    return None;
                }
                Err(e) => e.to_string(),
            }
        } else {
            match self.on_pasted(text, talk) {
                Ok(found) => return Some(found),
                Err(e) => e.to_string(),
            }
        };
        front.event(Event::Warning(Warning::Unfit { why }));
        talk.pending = Some(front.ask(Question::PeerCode));
        None
    }

    fn on_pasted(&self, text: &str, talk: &Talk) -> Result<Found, AddressError> {
        let Some((clock, own)) = &talk.welcome else {
            return Err(AddressError::Empty);
        };
        let peer = Address::parse_peer(text, own)?;
        self.command(Command::LeaveServer);
        Ok(Found::swapped(own.clone(), peer, *clock))
    }
}

/// The line that tells whom a meeting by name waits for.
fn waiting_for(names: &Names) -> Info {
    let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
    Info::WaitingByName {
        own: text(&names.own),
        peer: text(&names.peer),
    }
}

/// The line that tells the limits of the relay.
pub(super) const fn relay_terms(terms: &Terms) -> Info {
    Info::Relay {
        relays: terms.relays,
        pair_rate: terms.pair_rate,
        pair_bytes: terms.pair_bytes,
    }
}

/// The answer to the open question. Waits for ever if none is open.
pub(super) async fn answered(pending: &mut Option<Pending>) -> Result<Answer, Cancelled> {
    match pending {
        Some(pending) => pending.await,
        None => std::future::pending().await,
    }
}

/// The server does not answer. A code is useless without it; otherwise the users can swap addresses.
fn no_server(cause: String, given: Option<Code>, front: &mut dyn Front) -> Result<Option<Found>, Failure> {
    if given.is_some() {
        return Err(Failure::no_path(
            cause,
            "check --server, or run both sides without it and swap the addresses they print",
        ));
    }
    front.event(Event::Warning(Warning::NoServer { why: cause }));
    Ok(None)
}
