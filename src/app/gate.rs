//! What stands between a connection and its transfer: words that both users compare first.
//!
//! Nothing of the transfer is sent, read or answered before this end's user has confirmed them. The peer's user
//! confirms on the other side, so the transfer begins when both have.

use crate::protocol::connection::Connection;
use crate::protocol::handshake::compare::Awaited;
use crate::protocol::handshake::{Comparison, Reason, SixWords, Words};
use crate::protocol::time::Time;
use std::time::Duration;

/// How long a sender may take to reveal its nonce, the first thing it says: many times what a bad line takes.
const REVEALED_WITHIN: Duration = Duration::from_secs(20);

/// What the users have to compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToCompare {
    /// These words, and why.
    Words(SixWords, Reason),
    /// The peer revealed another nonce than it had promised, or none: no honest program does.
    PromiseBroken,
}

/// See the module.
pub(super) struct Gate {
    state: State,
    /// When the peer has broken its promise to reveal a nonce.
    deadline: Time,
}

enum State {
    /// The nonce of the peer is still to come.
    Awaiting(Box<Awaited>, Reason),
    /// The nonce of ours is still to be sent.
    Revealing([u8; 32], SixWords, Reason),
    /// The user is to be asked.
    Shut(ToCompare),
    /// The transfer may go on.
    Open,
}

impl Gate {
    pub(super) fn new(now: Time, comparison: Option<Comparison>) -> Self {
        let state = match comparison {
            None => State::Open,
            Some(Comparison { reason, words }) => match words {
                Words::Known(six) => State::Shut(ToCompare::Words(six, reason)),
                Words::ToReveal(nonce, six) => State::Revealing(nonce, six, reason),
                Words::Awaited(awaited) => State::Awaiting(Box::new(awaited), reason),
            },
        };
        Gate {
            state,
            deadline: now + REVEALED_WITHIN,
        }
    }

    /// Sends our nonce or takes the peer's: the first bytes of the sender's control stream.
    pub(super) fn pump(&mut self, now: Time, connection: &mut Connection) {
        match &self.state {
            State::Revealing(nonce, six, reason) => {
                let written = connection.write_control(nonce);
                debug_assert_eq!(written, nonce.len(), "the stream's window is empty at first");
                self.state = State::Shut(ToCompare::Words(*six, *reason));
            }
            State::Awaiting(awaited, reason) => {
                let mut nonce = [0; 32];
                if connection.read_control_exact(&mut nonce) {
                    let six = awaited.reveal(nonce);
                    self.state = State::Shut(
                        six.map_or(ToCompare::PromiseBroken, |six| ToCompare::Words(six, *reason)),
                    );
                } else if now >= self.deadline {
                    self.state = State::Shut(ToCompare::PromiseBroken);
                }
            }
            State::Shut(_) | State::Open => {}
        }
    }

    /// What to show, once it is known; nothing if there is nothing to compare.
    pub(super) fn to_compare(&self) -> Option<ToCompare> {
        match self.state {
            State::Shut(to_compare) => Some(to_compare),
            _ => None,
        }
    }

    /// Whether it is known what the users have to compare, if anything.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.state, State::Shut(_) | State::Open)
    }

    /// The user has confirmed the words that were shown.
    pub(super) fn open(&mut self) {
        if matches!(self.state, State::Shut(ToCompare::Words(..))) {
            self.state = State::Open;
        }
    }

    /// Whether the transfer may go on.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }
}
