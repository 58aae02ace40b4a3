//! What passes between the thread that talks to the user and the thread that owns the sockets.

use crate::net::StreamNews;
use crate::protocol::Path;
use crate::protocol::connection::{self, Stats};
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::interface::MeetingEvent;
use crate::rendezvous::meeting::relay::RelayEvent;
use crate::rendezvous::punch::{PathKind, Punch, PunchEvent};
use crate::rendezvous::stun::{StunClient, StunEvent};
use std::path::PathBuf;
use std::time::Duration;

use super::event::Phase;
use super::gate::ToCompare;
use super::offered::Offered;
use super::outcome::{Failure, Summary};
use super::relaying::Relaying;
use crate::transfer::sink::losses::Remark;
use crate::transfer::source::Missing;

/// To the network thread.
pub enum Command {
    /// Ask STUN servers.
    Gather(Box<StunClient>),
    /// Meet the peer at a server.
    Meet(Box<Meeting>),
    /// The user typed the code that the peer shows.
    Join(Code),
    /// The server is of no more use.
    LeaveServer,
    /// The server's relay may be used.
    Relay(Box<Relaying>),
    /// Look for the peer.
    Punch(Box<Punch>),
    /// The peer is at another address now: look for it there.
    Relocate(Box<Address>),
    /// The time turned out to be another one.
    SetClock(WallClock),
    /// The users found the same words on both screens.
    Vouch,
    /// The user takes the offer.
    Accept,
    /// The user said a line in a chat; an empty one ends it.
    Say(String),
    /// The user has been shown a line of the peer's.
    Heard,
    /// End the connection with this reason, or the run if there is none yet.
    Close {
        /// One of `app::close`.
        code: u16,
        /// For the peer's user.
        reason: String,
    },
}

/// From the network thread.
#[derive(Debug)]
pub enum Notice {
    /// Something of the search for our outside address.
    Stun(StunEvent),
    /// Something of the meeting at a server.
    Meeting(MeetingEvent),
    /// Something of the server's relay.
    Relay(RelayEvent),
    /// Something became of the stream of TCP to the server.
    Stream(StreamNews),
    /// The connection uses another path now.
    Moved {
        /// Which.
        path: Path,
        /// What kind of path.
        kind: PathKind,
    },
    /// Something of the punching.
    Punch(PunchEvent),
    /// The peer is there.
    Connected {
        /// Where.
        path: Path,
        /// What kind of path.
        kind: PathKind,
        /// Round trip, if this end saw one.
        rtt: Option<Duration>,
        /// What the users compare first, if anything.
        to_compare: Option<ToCompare>,
    },
    /// Something of the connection.
    Connection(connection::Event),
    /// The other user has all of the list and can be asked.
    Listed,
    /// The peer offers this.
    Offered(Box<Offered>),
    /// Content flows; so many bytes need not move.
    Started {
        /// Bytes already at the receiver.
        held: u64,
        /// All bytes.
        total: Option<u64>,
    },
    /// How far it is.
    Progress {
        /// Content bytes the receiver has.
        done: u64,
        /// All.
        total: Option<u64>,
        /// What is being done.
        phase: Phase,
        /// The connection's numbers.
        stats: Stats,
        /// Nothing heard for so long, if the peer is being looked for.
        silent: Option<Duration>,
    },
    /// A line for the trace.
    Sample {
        /// When.
        at: Time,
        /// Content bytes the receiver has.
        done: u64,
        /// The connection's numbers.
        stats: Stats,
    },
    /// Something that was listed does not arrive.
    Missing(Missing),
    /// The pipe that was sent ended without a byte.
    EmptyInput,
    /// What was offered was there already, with the same content.
    Identical(PathBuf),
    /// How the disk took what was sent.
    Remark(Remark),
    /// The peer said a line in a chat.
    Said(String),
    /// What the user said is on its way: there is room for more.
    Passed,
    /// A message that was sent as text.
    Message(String),
    /// The end.
    Ended(Result<Summary, Failure>),
}
