//! Holds a transfer back until both users have compared words.
//!
//! This end sends, reads and answers nothing of the transfer before its user has confirmed the words. The
//! peer does the same, so the transfer begins when both users have confirmed.

use std::time::Duration;

use crate::protocol::connection::Connection;
use crate::protocol::handshake::compare::Awaited;
use crate::protocol::handshake::{Comparison, Reason, SixWords, Words};
use crate::protocol::time::Time;

/// How long a sender may take to reveal its nonce, which is the first thing it sends: many times what a bad
/// line takes.
const REVEALED_WITHIN: Duration = Duration::from_secs(20);

/// What the users have to compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToCompare {
    /// These words; and the reason to compare them.
    Words(SixWords, Reason),
    /// The peer revealed no nonce, or not the one it had committed to. No honest program does that.
    PromiseBroken,
}

/// Decides whether the transfer may go on.
pub(super) struct Gate {
    state: State,
    /// A peer that has not revealed its nonce by then has broken its promise.
    deadline: Time,
}

enum State {
    /// The peer's nonce is still to come.
    Awaiting(Box<Awaited>, Reason),
    /// Our nonce is still to be sent.
    Revealing([u8; 32], SixWords, Reason),
    /// The user still has to compare.
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

    /// What the users have to compare, once it is known; `None` if there is nothing to compare.
    pub(super) fn to_compare(&self) -> Option<ToCompare> {
        match self.state {
            State::Shut(to_compare) => Some(to_compare),
            _ => None,
        }
    }

    /// Whether it is known if the users have to compare something, and what.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.state, State::Shut(_) | State::Open)
    }

    /// Opens the gate: the user has confirmed the words.
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
