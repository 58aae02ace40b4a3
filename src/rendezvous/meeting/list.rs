//! The client that asks a server who waits there under a name. Sans-IO.

use std::time::Duration;

use super::wire::{
    Closed, Cookie, Hello, List, Listed, Listing, Present, SessionId, TokenKey, Welcome, packet,
    proof_or_zeros,
};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::trial::{Rounds, Trial};

/// When to repeat a question.
const REPEAT: Duration = Duration::from_millis(500);
/// How often it is asked. If a server has not answered 3 s after the first time, it is not there or UDP is blocked.
const ATTEMPTS: u32 = 6;
/// More names than a server keeps.
const MOST: usize = 4096;

/// Why there is no list, in words for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NoList {
    /// No answer came.
    #[error("the server does not answer")]
    Unreachable,
    /// The server's token is missing or wrong.
    #[error(
        "the server serves only those who know its token, and --server HOST/TOKEN has none or a wrong one"
    )]
    WrongToken,
    /// There were too many requests from this network.
    #[error("the server takes no more from your network for {0} s")]
    TooMany(u16),
    /// The server has no token, so anybody could ask.
    #[error("this server tells nobody who waits there: only one that wants a token does")]
    Untold,
}

impl NoList {
    /// What the user can do next.
    pub(crate) const fn next_step(self) -> &'static str {
        match self {
            NoList::Unreachable => "check --server",
            NoList::WrongToken => "ask the server's owner for its token",
            NoList::TooMany(_) => "run the same command again then",
            NoList::Untold => "ask the server's owner to start it with --token TOKEN",
        }
    }
}

/// The client. It asks for a cookie, and then for one page after the other.
pub(crate) struct Lister {
    path: Path,
    token: Option<TokenKey>,
    session: SessionId,
    cookie: Option<Cookie>,
    present: Vec<Present>,
    rounds: Rounds<Result<Vec<Present>, NoList>>,
}

impl Lister {
    pub(crate) fn new(path: Path, token: Option<TokenKey>, seed: &[u8; 32], now: Time) -> Self {
        let mut rng = SeedRng::new(seed, "p2pcopy 1 list");
        Lister {
            path,
            token,
            session: SessionId(rng.next_u64()),
            cookie: None,
            present: Vec::new(),
            rounds: Rounds::new(REPEAT, ATTEMPTS, now),
        }
    }

    fn on_listed(&mut self, now: Time, listed: Listed) {
        let over = match listed.listing {
            Listing::Closed(Closed::StaleCookie) => {
                self.cookie = None;
                return;
            }
            Listing::Closed(Closed::WrongToken) => Err(NoList::WrongToken),
            Listing::Closed(Closed::TooMany(seconds)) => Err(NoList::TooMany(seconds)),
            Listing::Untold => Err(NoList::Untold),
            Listing::All | Listing::More => {
                // A page that comes twice, or out of order, is ignored.
                let last = self.present.last().map(|one| &one.name);
                let follows = listed
                    .present
                    .first()
                    .is_none_or(|one| last.is_none_or(|last| one.name > *last));
                if follows {
                    self.present.extend(listed.present);
                    self.rounds.restart(now);
                }
                if listed.listing == Listing::More && self.present.len() < MOST {
                    return;
                }
                Ok(std::mem::take(&mut self.present))
            }
        };
        self.rounds.result = Some(over);
    }
}

impl Trial for Lister {
    type Found = Result<Vec<Present>, NoList>;

    fn rounds(&mut self) -> &mut Rounds<Self::Found> {
        &mut self.rounds
    }

    fn ask(&mut self) {
        let question = match self.cookie {
            None => Hello { id: self.session.0 }.encode(),
            Some(cookie) => List {
                session: self.session,
                cookie,
                proof: proof_or_zeros(self.token.as_ref(), &cookie, self.session),
                after: self.present.last().map(|one| one.name.clone()),
            }
            .encode(),
        };
        self.rounds.outbox.push_back((self.path, question));
    }

    fn conclude(&self) -> Self::Found {
        Err(NoList::Unreachable)
    }

    fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) {
        if path != self.path || self.rounds.result.is_some() {
            return;
        }
        match datagram.first() {
            Some(&packet::COOKIE) => {
                if let Ok(welcome) = Welcome::decode(datagram)
                    && welcome.id == self.session.0
                    && self.cookie.replace(welcome.cookie).is_none()
                {
                    self.rounds.restart(now);
                }
            }
            Some(&packet::LISTING) => {
                if let Ok(listed) = Listed::decode(datagram)
                    && listed.session == self.session
                {
                    self.on_listed(now, listed);
                }
            }
            _ => {}
        }
    }
}
