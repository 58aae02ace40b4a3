//! The transfer half of a session. It knows neither sockets nor punching.

use std::time::Duration;

use super::command::Command;
use super::event::Phase;
use super::outcome::{Failure, Summary};
use crate::protocol::connection::{self, Connection};
use crate::protocol::time::Time;

/// The transfer half of a session.
pub trait Side: Send {
    /// Takes content. Returns for how many more bytes there is room: none on a side that is sent no content,
    /// authenticated or not.
    fn on_content(&mut self, _offset: u64, _bytes: &[u8]) -> u64 {
        0
    }
    /// Moves what can move between connection, disk and user. The session calls it after every input.
    fn pump(&mut self, now: Time, connection: &mut Connection);
    /// Takes a command of the user.
    fn on_command(&mut self, _command: Command) {}
    /// Content bytes done and in all, for the progress display. `None` while there is nothing to show.
    fn progress(&self) -> Option<(u64, Option<u64>)> {
        None
    }
    /// Whether all content has arrived. It may still wait for the disk.
    fn has_all(&self) -> bool {
        self.progress().is_some_and(|(done, total)| total == Some(done))
    }
    /// What the transfer is doing, for the progress display.
    fn phase(&self) -> Phase {
        Phase::Moving
    }
    /// Whether another thread still works for this side; the waker tells when it has news. A simulation lets
    /// no time pass meanwhile.
    fn is_working(&self) -> bool {
        false
    }
    /// Told once: the connection ended or was given up. Returns how the run ended, if the end does not tell it.
    fn on_end(&mut self, end: &End) -> Option<Result<Summary, Failure>>;
}

/// Writes what `next` appends to `out` to the control stream, until there is nothing left or no more room.
pub(crate) fn flush_control(
    connection: &mut Connection,
    out: &mut Vec<u8>,
    mut next: impl FnMut(&mut Vec<u8>) -> bool,
) {
    while !out.is_empty() || next(out) {
        let taken = connection.write_control(out);
        out.drain(..taken);
        if !out.is_empty() {
            return;
        }
    }
}

/// How the connection ended for the side.
#[derive(Debug)]
pub enum End {
    Closed(connection::Closed),
    /// The peer was silent for this long.
    Lost(Duration),
}
