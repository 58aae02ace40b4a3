//! The outside address of one side changes during a transfer. If the router of the other side filters,
//! neither finds the other by itself. So both users are told, and a user who gets the other's new address
//! pastes it.

use std::net::SocketAddr;
use std::time::Duration;

use super::Run;
use super::follow::Following;
use super::lobby::Telling;
use super::outside::peer_address;
use crate::app::command::Command;
use crate::app::event::{Event, Pending, Question};
use crate::app::told::Warning;
use crate::protocol::connection;
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::errand::Errand;

/// After the first change of an outside address, all sockets learn theirs within this time.
const SETTLED: Duration = Duration::from_secs(1);

/// A silence longer than the slots in which two sides find each other again.
const LONG_SILENCE: Duration = Duration::from_secs(30);

/// What is known and was shown of addresses that change during a transfer.
pub(super) struct Moves {
    /// The number of our socket on the path in use.
    pub(super) local: u8,
    /// Our address as it was last shown.
    told: Address,
    telling: Telling,
    /// When it last changed; `None` once that was shown.
    changed: Option<Time>,
    /// Whether the user was asked during this silence.
    pub(super) has_asked: bool,
    /// The bytes that have arrived, and since when there are no more; `None` once that was reported.
    stuck: (u64, Option<Time>),
}

impl Moves {
    pub(super) fn new(run: &Run) -> Moves {
        Moves {
            local: 0,
            told: run.own.clone(),
            telling: Telling::new(),
            changed: None,
            has_asked: false,
            stuck: (0, None),
        }
    }

    /// Whether nothing has moved for the time after which a peer counts as silent. True once each time.
    pub(super) fn is_stuck(&mut self, now: Time, done: u64) -> bool {
        if self.stuck.0 != done {
            self.stuck = (done, Some(now));
        }
        let stuck = self
            .stuck
            .1
            .take_if(|since| now.since(*since) >= connection::SILENCE);
        stuck.is_some()
    }
}

impl Following<'_, '_> {
    /// Whether the users swap addresses by hand, so that our user can paste another address of the peer.
    pub(super) const fn can_paste(&self) -> bool {
        self.user.common.peer.is_none() && self.user.outside.is_some()
    }

    /// Whether to ask the user for another address of a silent peer: once in each silence.
    pub(super) fn may_ask_again(&mut self, silence: Duration) -> bool {
        let may = silence >= LONG_SILENCE && self.can_paste() && self.user.errand != Errand::Chat;
        may && !std::mem::replace(&mut self.moves.has_asked, true)
    }

    /// A STUN server sees a socket at another address than before, while the peer is silent.
    pub(super) fn on_outside_changed(&mut self, socket: u8, to: SocketAddr) {
        let Some(outside) = &mut self.user.outside else {
            return;
        };
        let before = outside.mapped.get(usize::from(socket)).copied().flatten();
        outside.on_mapping(socket, to);
        // It does no harm if only the port of a socket changed that was not in use.
        if socket == self.moves.local || before.is_none_or(|before| before.ip() != to.ip()) {
            self.moves.changed = Some(self.user.clock.now());
        }
    }

    /// Shows our new address, once all sockets have theirs.
    pub(super) fn tell_move(&mut self) {
        let (now, moves) = (self.user.clock.now(), &mut self.moves);
        let has_settled = moves.changed.is_some_and(|at| now.since(at) >= SETTLED);
        if has_settled && moves.telling.try_begin(now) {
            moves.changed = None;
            self.front.event(Event::Warning(Warning::OutsideChanged));
            if let Some(new) = self.user.tell_changed(&moves.told, self.front) {
                moves.told = new;
            }
        }
    }

    /// Looks for the silent peer at another address, if the address has the key of the same peer.
    pub(super) fn paste_moved(&mut self, text: &str) -> Option<Pending> {
        let why = match peer_address(text, &self.run.own, &self.user.local.networks) {
            Ok(peer) if peer.token.as_ref().map(|token| token.key) == self.user.peer_key => {
                self.user.command(Command::Relocate(Box::new(peer)));
                return None;
            }
            Ok(_) => "this address is of another run: paste the one that the run over there shows now".into(),
            Err(unfit) => unfit.to_string(),
        };
        self.front.event(Event::Warning(Warning::Unfit { why }));
        Some(self.front.ask(Question::PeerAddress))
    }
}
