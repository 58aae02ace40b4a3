//! What the tests, the benchmarks and the fuzz targets of this package use of it.
//!
//! This is no interface for other programs and keeps no promise between versions. Each part is here because
//! something outside `src` drives it: the simulations drive the connection, the controllers and the punch; `tests/integration/evil`
//! drives a session with its disk thread; `tests/integration/crash` and `tests/integration/trees` drive a sink over a layer of their own;
//! the vectors of docs/protocol.md and the fuzz targets read and write every layout. All other items are `pub(crate)`,
//! so that the compiler sees what nothing uses.

/// Sessions and what they are made of.
pub mod app {
    pub use crate::app::close::failure_of;
    pub use crate::app::command::{Command, Notice};
    pub use crate::app::gate::ToCompare;
    pub use crate::app::linked::Settings;
    pub use crate::app::machine::controller;
    pub use crate::app::options::Congestion;
    pub use crate::app::outcome::{Failure, Party, Summary};
    pub use crate::app::receiving::{Receiving, Target};
    pub use crate::app::sending::Sending;
    pub use crate::app::session::Session;
    pub use crate::app::side::Side;
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
    pub use crate::protocol::ecn::{Ecn, EcnCounts};
    pub use crate::protocol::handshake::compare::{Words, commitment, six_words};
    pub use crate::protocol::handshake::hello::Hello;
    pub use crate::protocol::handshake::keys::{Cipher, StaticKeypair};
    pub use crate::protocol::handshake::probe::{Probe, ProbeKey};
    pub use crate::protocol::handshake::prologue;
    pub use crate::protocol::ranges::RangeSet;
    pub use crate::protocol::recovery::{Fate, Recovery};
    pub use crate::protocol::rng::SplitMix64;
    pub use crate::protocol::seal::{Opener, Sealer};
    pub use crate::protocol::sent_packets::{Carries, Settled};
    pub use crate::protocol::time::Time;
    pub use crate::protocol::wire::{
        Ack, DATA_HEADER_LEN, Frame, Frames, HEADER_LEN, Header, PacketNumber, TAG_LEN,
    };
    pub use crate::protocol::{Path, Reach, Role};
}

/// Addresses, STUN, the clock of the slots, the punch and the server.
pub mod rendezvous {
    pub use crate::rendezvous::address::{
        Address, Filtering, Guessing, Mapping, NatClass, Timekeeping, Token,
    };
    pub use crate::rendezvous::clock::WallClock;
    pub use crate::rendezvous::errand::Errand;
    pub use crate::rendezvous::meeting::client::Meeting;
    pub use crate::rendezvous::meeting::code::Nameplate;
    pub use crate::rendezvous::meeting::interface::{MeetingConfig, Purpose};
    pub use crate::rendezvous::meeting::name::Name;
    pub use crate::rendezvous::meeting::pake::{CodeKeys, End};
    pub use crate::rendezvous::meeting::relay::RelayUse;
    pub use crate::rendezvous::meeting::wire::{
        Bind, BindWant, Binding, Bound, Hello as MeetingHello, List, Listed, Listing, Names, Open, Present,
        SessionId, Standing, State, Want, proof, token_key,
    };
    pub use crate::rendezvous::punch::events::PunchEvent;
    pub use crate::rendezvous::punch::{Punch, PunchConfig};
    pub use crate::rendezvous::schedule::Schedule;
    pub use crate::rendezvous::server::{Limits, RelayLimits, Server, ServerConfig};
    pub use crate::rendezvous::stun::{StunClient, respond};
}

/// Files: lists, offers, both conversations, staging and the layer under them.
pub mod transfer {
    pub use crate::transfer::chunks::{Chunk, ChunkList, Chunker};
    pub use crate::transfer::error::{LocalError, TransferError};
    pub use crate::transfer::fs::disk::DiskLayer;
    pub use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind, Room, Stat};
    pub use crate::transfer::fs::owner::OwnerKey;
    pub use crate::transfer::hash::{BlockHash, Root, RootBuilder, hash_block};
    pub use crate::transfer::manifest::builder::{ManifestBuilder, Trust};
    pub use crate::transfer::manifest::offer::{ListHead, Offer};
    pub use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest};
    pub use crate::transfer::names::SafeName;
    pub use crate::transfer::ranges::Run;
    pub use crate::transfer::session::messages::{Message, MessageReader};
    pub use crate::transfer::session::receive::{ReceiveEvent, ReceiveSession};
    pub use crate::transfer::session::send::{Purpose, SendEvent, SendSession, Work};
    pub use crate::transfer::sink::Sink;
    pub use crate::transfer::sink::assemble::{Assembler, Taken};
    pub use crate::transfer::sink::journal::JournalContents;
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
