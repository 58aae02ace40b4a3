//! One visit to a server: from a number, or a code that was typed, to the peer's address.

use std::time::Duration;

use super::code::{Code, Nameplate, Words};
use super::interface::MeetingConfig;
use super::pake::{CodeKeys, End, Exchange, MESSAGE_LEN};
use super::refusal::Refusal;
use super::wire::{Closed, Cookie, Names, Open, SessionId, Standing, State, Ticket, Want, proof_or_zeros};
use crate::rendezvous::address::Address;

/// Our end of an exchange.
struct Ours {
    message: [u8; MESSAGE_LEN],
    /// `None` once it was answered.
    open: Option<Exchange>,
}

impl Ours {
    fn new(exchange: Exchange) -> Self {
        let mut message = [0; MESSAGE_LEN];
        message.copy_from_slice(exchange.message());
        Ours {
            message,
            open: Some(exchange),
        }
    }
}

/// Our end of one code.
struct Half {
    words: Words,
    nameplate: Option<Nameplate>,
    exchange: Ours,
}

impl Half {
    fn new(end: End, words: Words, nameplate: Option<Nameplate>, seed: &[u8; 32]) -> Self {
        Half {
            words,
            nameplate,
            exchange: Ours::new(Exchange::new(end, words.to_string().as_bytes(), seed)),
        }
    }
}

/// What a state from the server means.
#[derive(Debug)]
pub(super) enum Meaning {
    Nothing,
    /// Something more must be sent to the peer at once.
    MoreToSay,
    /// Our number is known.
    Shown(Code),
    /// The typed code failed. The visit goes on with a number of our own.
    Refused(Refusal),
    /// The visit failed.
    Over(Refusal),
    /// The peer did not know the words. The server must be told, and the visit ends.
    Burn(Refusal),
    /// Everything is known.
    Met(Box<Meeting>),
}

/// What two peers know about each other.
#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) peer: Address,
    /// Our address, as the peer was told. Later news does not change it.
    pub(super) own: Address,
    /// When to punch, in Unix nanoseconds.
    pub(super) moment: u64,
    /// For the relay: the shared ticket, and which end we are.
    pub(super) ticket: (Ticket, End),
}

#[derive(Default)]
pub(super) struct Visit {
    pub(super) session: SessionId,
    own: Option<Half>,
    typed: Option<Half>,
    /// The names, if the two meet by name.
    named: Option<(Names, Ours)>,
    /// Our end of the code, if somebody has joined.
    pub(super) paired: Option<End>,
    keys: Option<CodeKeys>,
    sealed: Vec<u8>,
    told: Option<Address>,
    peer: Option<Address>,
}

impl Visit {
    pub(super) fn new(session: SessionId) -> Self {
        Visit {
            session,
            ..Visit::default()
        }
    }

    /// Shows a code of our own with these words.
    pub(super) fn show(&mut self, words: Words, seed: &[u8; 32]) {
        self.own = Some(Half::new(End::Owner, words, None, seed));
    }

    /// Joins the client that shows this code. A code of our own stays: if the peer has typed it at the same
    /// moment, the server uses one of the two.
    pub(super) fn join(&mut self, code: Code, seed: &[u8; 32]) {
        self.typed = Some(Half::new(End::Joiner, code.words, Some(code.nameplate), seed));
    }

    /// Meets by name a client that knows the secret.
    pub(super) fn meet(&mut self, names: Names, secret: &[u8], seed: &[u8; 32]) {
        self.named = Some((names, Ours::new(Exchange::either(secret, seed))));
    }

    /// The code that was typed, unless it has failed.
    pub(super) fn typed(&self) -> Option<Code> {
        let half = self.typed.as_ref()?;
        Some(Code {
            nameplate: half.nameplate?,
            words: half.words,
        })
    }

    /// The request to send now.
    pub(super) fn open(&self, config: &MeetingConfig, cookie: Cookie, rtt: Duration) -> Open {
        let (want, exchange) = match (&self.named, &self.typed, &self.own) {
            (Some((names, exchange)), ..) => (Want::Named(names.clone()), Some(exchange)),
            (_, Some(half), _) => (
                half.nameplate.map_or(Want::Leave, Want::Join),
                Some(&half.exchange),
            ),
            (.., Some(half)) => (Want::Wait(half.nameplate), Some(&half.exchange)),
            (None, None, None) => (Want::Leave, None),
        };
        Open {
            errand: config.errand,
            want,
            session: self.session,
            cookie,
            proof: proof_or_zeros(config.token.as_ref(), &cookie, self.session),
            rtt,
            message: exchange.map_or([0; MESSAGE_LEN], |ours| ours.message),
            sealed: self.sealed.clone(),
        }
    }

    /// Takes a state from the server. `own` is the address for the peer.
    pub(super) fn on_state(&mut self, state: &State, own: &Address) -> Meaning {
        match state.standing {
            Standing::Waiting => match (&mut self.own, state.nameplate) {
                (Some(half), Some(nameplate)) if half.nameplate != Some(nameplate) => {
                    half.nameplate = Some(nameplate);
                    Meaning::Shown(Code {
                        nameplate,
                        words: half.words,
                    })
                }
                _ => Meaning::Nothing,
            },
            Standing::Paired(end) => self.on_paired(end, state, own),
            // The server was restarted, and the other side has not come back yet.
            Standing::Nobody | Standing::Expired if self.paired.is_some() => Meaning::Nothing,
            Standing::Nobody if self.named.is_some() => Meaning::Over(Refusal::NobodyNamed),
            Standing::Nobody => self.refused(Refusal::Nobody),
            Standing::NameTaken => Meaning::Over(Refusal::NameTaken),
            Standing::SameRole => self.refused(Refusal::SameRole),
            Standing::Closed(Closed::TooMany(seconds)) => self.refused(Refusal::TooMany(seconds)),
            Standing::Closed(Closed::WrongToken) => Meaning::Over(Refusal::WrongToken),
            Standing::Gone => Meaning::Over(Refusal::Gone),
            Standing::Burnt => Meaning::Over(self.wrong()),
            Standing::Expired => Meaning::Over(Refusal::Expired),
            // After a restart of the server, clients that waited come back within a keepalive.
            Standing::Closed(Closed::StaleCookie) | Standing::Fresh => Meaning::Nothing,
        }
    }

    /// The refusal that tells of a wrong secret or of wrong words.
    fn wrong(&self) -> Refusal {
        match self.named {
            Some(_) => Refusal::WrongSecret,
            None => Refusal::WrongWords,
        }
    }

    fn refused(&mut self, why: Refusal) -> Meaning {
        match (self.typed.take(), &self.own) {
            (Some(_), Some(_)) => Meaning::Refused(why),
            _ => Meaning::Over(why),
        }
    }

    fn on_paired(&mut self, end: End, state: &State, own: &Address) -> Meaning {
        self.paired = Some(end);
        let exchange = match (&mut self.named, end) {
            (Some((_, exchange)), _) => Some(exchange),
            (None, End::Owner) => self.own.as_mut().map(|half| &mut half.exchange),
            (None, End::Joiner) => self.typed.as_mut().map(|half| &mut half.exchange),
        };
        let mut more = false;
        if self.keys.is_none()
            && state.message != [0; MESSAGE_LEN]
            && let Some(exchange) = exchange.and_then(|ours| ours.open.take())
        {
            let Ok(keys) = exchange.finish(end, &state.message) else {
                return Meaning::Burn(self.wrong());
            };
            self.sealed = keys.seal(&own.to_string());
            self.told = Some(own.clone());
            self.keys = Some(keys);
            more = true;
        }
        if let (Some(keys), None, false) = (&self.keys, &self.peer, state.sealed.is_empty()) {
            let Ok(text) = keys.open(&state.sealed) else {
                return Meaning::Burn(self.wrong());
            };
            match Address::parse_peer(&text, own) {
                Ok(peer) => self.peer = Some(peer),
                Err(error) => return Meaning::Burn(Refusal::Address(error)),
            }
        }
        match (&self.peer, &self.told, &self.keys) {
            (Some(peer), Some(told), Some(keys)) if state.moment != 0 => Meaning::Met(Box::new(Meeting {
                peer: peer.clone(),
                own: told.clone(),
                moment: state.moment,
                ticket: (keys.ticket(), end),
            })),
            _ if more => Meaning::MoreToSay,
            _ => Meaning::Nothing,
        }
    }
}
