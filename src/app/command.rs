//! Messages between the thread that talks to the user and the thread that owns the sockets.

use std::time::Duration;

use super::event::{Event, Phase};
use super::offered::Offered;
use super::outcome::{Failure, Summary};
use super::relaying::Relaying;
use super::words_gate::ToCompare;
use crate::net::StreamNews;
use crate::protocol::Path;
use crate::protocol::connection::{self, Stats};
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::interface::MeetingEvent;
use crate::rendezvous::meeting::relay::RelayRefusal;
use crate::rendezvous::punch::{PathKind, Punch, PunchEvent};
use crate::rendezvous::stun::{StunClient, StunEvent};
use crate::transfer::source::Missing;

/// What the user's thread tells the network thread.
pub enum Command {
    /// Ask STUN servers.
    Gather(Box<StunClient>),
    /// Meet the peer at a server of codes.
    Meet(Box<Meeting>),
    /// The user typed the code that the peer shows.
    Join(Code),
    /// The server is not needed any more.
    LeaveServer,
    /// Use the server's relay where it is needed.
    Relay(Box<Relaying>),
    /// Look for the peer.
    Punch(Box<Punch>),
    /// The peer has another address now: look for it there.
    Relocate(Box<Address>),
    /// The time was corrected.
    SetClock(WallClock),
    /// The users compared the words and found them equal.
    Vouch,
    /// The user accepts the offer.
    Accept,
    /// The user typed this line in a chat. An empty line ends the chat.
    Say(String),
    /// The user has seen a line of the peer's.
    Heard,
    /// Close the connection with this reason. Without a connection, end the run.
    Close {
        /// One of the codes in `app::close`.
        code: u16,
        /// The text for the peer's user.
        reason: String,
    },
}

/// What the network thread tells the user's thread.
#[derive(Debug)]
pub enum Notice {
    /// News of the search for our outside address.
    Stun(StunEvent),
    /// News of the meeting at a server.
    Meeting(MeetingEvent),
    /// The server does not relay, or no longer.
    RelayRefused(RelayRefusal),
    /// News of the TCP stream to the server.
    Stream(StreamNews),
    /// The connection uses another path now.
    Moved {
        /// The path.
        path: Path,
        /// What kind of path.
        kind: PathKind,
    },
    /// News of the punching.
    Punch(PunchEvent),
    /// The peer is found and has proved who it is.
    Connected {
        /// The path to it.
        path: Path,
        /// What kind of path.
        kind: PathKind,
        /// The round-trip time, if this end has measured one.
        rtt: Option<Duration>,
        /// What the users must compare first, if anything.
        to_compare: Option<ToCompare>,
    },
    /// An event of the connection.
    Connection(connection::Event),
    /// Something to tell the user as it is.
    Tell(Event),
    /// The peer offers this.
    Offered(Box<Offered>),
    /// The progress of the transfer.
    Progress {
        /// Content bytes the receiver has.
        done: u64,
        /// All bytes; unknown for a pipe.
        total: Option<u64>,
        /// What the transfer is doing.
        phase: Phase,
        /// The connection's counters.
        stats: Stats,
        /// For how long the peer has been silent, if the session looks for it.
        silent: Option<Duration>,
    },
    /// A line for the trace.
    Sample {
        /// The time of the sample.
        at: Time,
        /// Content bytes the receiver has.
        done: u64,
        /// The connection's counters.
        stats: Stats,
    },
    /// Something in the list does not arrive.
    Missing(Missing),
    /// The peer said this line in a chat.
    Said(String),
    /// The user's line is on its way, and there is room for the next.
    Passed,
    /// A message that was sent as text.
    Message(String),
    /// The run ended.
    Ended(Result<Summary, Failure>),
}
