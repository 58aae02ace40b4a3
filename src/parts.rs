//! What the tests and the benchmarks outside `src` use of this package.
//!
//! This is no interface for other programs and keeps no promise between versions. Each part is here because something
//! outside `src` drives it: the simulations drive the connection, the controllers and the punch;
//! `tests/integration/evil` drives a session with its disk thread; `tests/integration/crash` and
//! `tests/integration/trees` drive a sink over a layer of their own. All other items are `pub(crate)`, so that the
//! compiler finds unused ones.

/// Sessions and what they are made of.
pub mod app {
    pub use crate::app::close::failure_of;
    pub use crate::app::command::{Command, Notice};
    pub use crate::app::linked::Settings;
    pub use crate::app::machine::controller;
    pub use crate::app::options::Congestion;
    pub use crate::app::outcome::{Failure, Party, Summary};
    pub use crate::app::receiving::{Receiving, Target};
    pub use crate::app::sending::Sending;
    pub use crate::app::session::Session;
    pub use crate::app::side::Side;
    pub use crate::app::words_gate::ToCompare;
}

/// The monotonic clock, and what one thread and its machine tell each other.
pub mod net {
    pub use crate::net::Clock;
    pub use crate::net::driver::{Machine, Waker};
}

/// The sealed transport.
pub mod protocol {
    pub use crate::protocol::ack_tracker::AckTracker;
    pub use crate::protocol::congestion::bbr::{Bbr, Params};
    pub use crate::protocol::congestion::cubic::Cubic;
    pub use crate::protocol::congestion::udt::Udt;
    pub use crate::protocol::congestion::{AckSample, Controller, Stage};
    pub use crate::protocol::connection::Connection;
    pub use crate::protocol::connection::interface::{Closed, Config, Event, Stats};
    pub use crate::protocol::ecn::Ecn;
    pub use crate::protocol::handshake::compare::Words;
    pub use crate::protocol::handshake::keys::{Cipher, StaticKeypair};
    pub use crate::protocol::ranges::RangeSet;
    pub use crate::protocol::recovery::{Fate, Recovery};
    pub use crate::protocol::rng::SplitMix64;
    pub use crate::protocol::seal::{Opener, Sealer};
    pub use crate::protocol::sent_packets::{Carries, Settled};
    pub use crate::protocol::time::Time;
    pub use crate::protocol::wire::{
        DATA_HEADER_LEN, Frame, Frames, HEADER_LEN, Header, PacketNumber, TAG_LEN,
    };
    pub use crate::protocol::{Path, Reach, Role};
}

/// Addresses, STUN, the clock of the slots, the punch and the server.
pub mod rendezvous {
    pub use crate::rendezvous::address::{Address, Guessing, NatClass, Timekeeping, Token};
    pub use crate::rendezvous::clock::WallClock;
    pub use crate::rendezvous::errand::Errand;
    pub use crate::rendezvous::meeting::pake::End;
    pub use crate::rendezvous::meeting::wire::{
        Bind, BindWant, Binding, Bound, Hello as MeetingHello, Open, SessionId, Standing, State, Want,
    };
    pub use crate::rendezvous::punch::events::PunchEvent;
    pub use crate::rendezvous::punch::{Punch, PunchConfig};
    pub use crate::rendezvous::schedule::Schedule;
    pub use crate::rendezvous::stun::{StunClient, respond};
}

/// Files: lists, offers, both conversations, staging and the layer under them.
pub mod transfer {
    pub use crate::transfer::chunks::{Chunk, Chunker};
    pub use crate::transfer::error::{LocalError, TransferError};
    pub use crate::transfer::fs::disk::DiskLayer;
    pub use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind, Room, Stat};
    pub use crate::transfer::fs::owner::OwnerKey;
    pub use crate::transfer::hash::{BlockHash, Root, RootBuilder, hash_block};
    pub use crate::transfer::manifest::Manifest;
    pub use crate::transfer::manifest::offer::Offer;
    pub use crate::transfer::names::SafeName;
    pub use crate::transfer::session::receive::{ReceiveEvent, ReceiveSession};
    pub use crate::transfer::session::send::{Purpose, SendEvent, SendSession, Work};
    pub use crate::transfer::sink::Sink;
    pub use crate::transfer::sink::assemble::{Assembler, Taken};
    pub use crate::transfer::sink::losses::Remark;
    pub use crate::transfer::sink::ordered::{ORDERED_BUFFERS, OrderedSink};
    pub use crate::transfer::sink::place::{Conflicts, Placed};
    pub use crate::transfer::sink::staging::discard;
    pub use crate::transfer::sink::staging::survey::{Prospect, prospect};
    pub use crate::transfer::sink::store::{Store, StoreEvent, StoreJob};
    pub use crate::transfer::source::Source;
    pub use crate::transfer::source::scan::{Links, ScanOptions, scan, stream_manifest};
    pub use crate::transfer::{BLOCK_LEN, BlockIndex, ORDERED_WINDOW};
}
