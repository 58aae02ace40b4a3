//! What a session carries: the transfer's half, which knows neither sockets nor punching.

use super::command::Command;
use super::event::Phase;
use crate::protocol::connection::{self, Connection};
use crate::protocol::time::Time;
use std::time::Duration;

/// The transfer's half of a session.
pub trait Side: Send {
    /// Content arrived. Gives how many bytes more there is room for.
    fn on_content(&mut self, offset: u64, bytes: &[u8]) -> u64;
    /// Moves whatever can move between connection, disk and user. Called after every input.
    fn pump(&mut self, now: Time, connection: &mut Connection);
    /// The user's word on an offer.
    fn on_command(&mut self, command: Command);
    /// Content bytes done and to do, for the progress display.
    fn progress(&self) -> Option<(u64, Option<u64>)>;
    /// What it is doing, for the same.
    fn phase(&self) -> Phase {
        Phase::Moving
    }
    /// Whether another thread has work of this side's to do: its news come with the waker. A simulation lets no time
    /// pass while it has.
    fn is_working(&self) -> bool {
        false
    }
    /// The connection ended or was given up.
    fn on_end(&mut self, end: End);
}

/// Writes what `next` appends to `out` to the control stream, until there is nothing more or no more room.
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
    /// As the connection says.
    Closed(connection::Closed),
    /// The peer was silent for so long.
    Lost(Duration),
}
