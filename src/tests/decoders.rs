//! Every decoder of bytes that somebody else made, each fed with anything at all.
//!
//! The seeded runner beside this file and the targets in fuzz/ drive them. What they look for is a panic, a
//! run without end, and an answer that contradicts itself.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::congestion::bbr::Bbr;
use crate::protocol::connection::Connection;
use crate::protocol::connection::interface::Config;
use crate::protocol::ecn::Ecn;
use crate::protocol::handshake::keys::{Cipher, StaticKeypair};
use crate::protocol::seal::Sealer;
use crate::protocol::time::Time;
use crate::protocol::wire::{Frame, Frames, HEADER_LEN, Header, TAG_LEN};
use crate::protocol::{Path, Role};
use crate::rendezvous::address::{Address, NatClass};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::meeting::interface::{MeetingConfig, Purpose};
use crate::rendezvous::meeting::relay::RelayUse;
use crate::rendezvous::meeting::wire::{Bound, Listed};
use crate::rendezvous::punch::{Punch, PunchConfig};
use crate::rendezvous::server::{Limits, Server, ServerConfig};
use crate::rendezvous::stun::{StunClient, respond};
use crate::transfer::fs::layer::Stat;
use crate::transfer::fs::owner::OwnerKey;
use crate::transfer::manifest::builder::{ManifestBuilder, Trust};
use crate::transfer::session::messages::MessageReader;
use crate::transfer::sink::journal::JournalContents;

/// Where the peer seems to be.
const PEER: ([u8; 4], u16) = ([203, 0, 113, 7], 4300);
/// After so many inputs a machine with a state is made anew, so that a find can be replayed from few of them.
const LIFETIME: u32 = 1000;

fn now() -> Time {
    Time::from_nanos(1_000_000_000)
}

/// The path everything comes along.
pub(super) fn path() -> Path {
    Path {
        local: 0,
        remote: SocketAddr::from(PEER),
    }
}

/// What a user pasted; and the same with its checksum put right, so that what lies behind it is reached too.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(address) = text.parse::<Address>() {
        let again: Address = address.to_string().parse().expect("what we print can be pasted");
        assert_eq!(again, address);
    }
    let Some((token, checksum)) = data.split_at_checked(data.len() / 2) else {
        return;
    };
    let body = if data.len().is_multiple_of(2) {
        token
    } else {
        checksum
    };
    // The front address in its wire form: 4, the address, the port.
    let mut summed = vec![4];
    summed.extend(PEER.0);
    summed.extend(PEER.1.to_be_bytes());
    summed.extend(body);
    let mut whole = body.to_vec();
    whole.extend(crc32fast::hash(&summed).to_be_bytes());
    let text = format!("{}/{}", SocketAddr::from(PEER), bs58::encode(whole).into_string());
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
}

/// An answer of a STUN server, and a request to the one of the demonstration.
pub fn stun(data: &[u8]) {
    thread_local! {
        static CLIENT: RefCell<(u32, Option<StunClient>)> = const { RefCell::new((0, None)) };
    }
    CLIENT.with_borrow_mut(|(age, client)| {
        *age += 1;
        if *age % LIFETIME == 0 {
            *client = None;
        }
        client
            .get_or_insert_with(stun_client)
            .handle_datagram(now(), path(), data);
    });
    let _ = respond(data, SocketAddr::from(PEER));
}

/// The client whose requests the samples answer.
pub(super) fn stun_client() -> StunClient {
    StunClient::new(&[SocketAddr::from(PEER)], 4, None, &[], &[7; 32], now())
}

/// The clear header of a packet and the frames under the seal.
pub fn frames(data: &[u8]) {
    if let Some(header) = Header::decode(data) {
        let mut again = [0; HEADER_LEN];
        header.encode(&mut again);
        assert_eq!(again, data[..HEADER_LEN]);
    }
    for frame in Frames::new(data) {
        match frame {
            Ok(Frame::Ack(ack)) => {
                let ranges = ack.ranges().take(data.len() + 1);
                assert!(ranges.count() <= data.len(), "more ranges than bytes");
            }
            Ok(Frame::Data { range, .. }) => assert!(!data[range].is_empty()),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The same frames, sealed by a peer who has the keys and means harm.
pub fn connection(data: &[u8]) {
    thread_local! {
        static ENDS: RefCell<(u32, Option<(Sealer, Connection)>)> = const { RefCell::new((0, None)) };
    }
    ENDS.with_borrow_mut(|(age, ends)| {
        *age += 1;
        if *age % LIFETIME == 0 || ends.as_ref().is_some_and(|(_, end)| end.is_closed()) {
            *ends = None;
        }
        let (sealer, end) = ends.get_or_insert_with(hostile_peer);
        let mut packet = vec![0; HEADER_LEN];
        packet.extend(data);
        packet.extend([0; TAG_LEN]);
        sealer.seal(&mut packet);
        end.handle_datagram(now(), path(), Ecn::Ect0, &mut packet);
        let mut buf = Vec::new();
        let mut answers = 0;
        while end.poll_transmit(now(), &mut buf, 16).is_some() {
            answers += 1;
            assert!(answers < 10_000, "answers without end");
        }
        while end.poll_event().is_some() {}
        end.read_control(&mut Vec::new());
    });
}

fn hostile_peer() -> (Sealer, Connection) {
    let config = Config {
        role: Role::Sender,
        cipher: Cipher::Aes256Gcm,
        send_secret: [1; 32].into(),
        receive_secret: [2; 32].into(),
        local_id: 5,
        remote_id: 6,
        path: path(),
        handshake_rtt: Some(Duration::from_millis(20)),
        seed: [3; 32].into(),
        send_blocks: 2,
        limit: None,
    };
    let bbr = Bbr::new(now(), 1200, config.handshake_rtt, 1);
    let mut end = Connection::new(config, Box::new(bbr), now());
    end.set_flow_limit(now(), 1 << 20);
    end.offer(0, vec![1; 100_000]);
    end.write_control(&[2; 10_000]);
    (Sealer::new(Cipher::Aes256Gcm, [2; 32].into(), 5), end)
}

/// A datagram of somebody's handshake, at both ends, with a whole address and with a bare one; then at what
/// remains of a punch.
pub fn handshake(data: &[u8]) {
    thread_local! {
        static PUNCHES: RefCell<(u32, Vec<Punch>)> = const { RefCell::new((0, Vec::new())) };
    }
    PUNCHES.with_borrow_mut(|(age, punches)| {
        *age += 1;
        if *age % LIFETIME == 0 {
            punches.clear();
        }
        if punches.is_empty() {
            *punches = all_punches();
        }
        let which = data
            .first()
            .map_or(0, |byte| usize::from(*byte >> 6) % punches.len());
        for (i, punch) in punches.iter_mut().enumerate() {
            // The dear ones take turns.
            if i % 2 == which % 2 {
                punch.handle_datagram(now(), path(), &mut data.to_vec());
                while punch.poll_transmit().is_some() {}
                while punch.poll_event().is_some() {}
            }
        }
    });
}

/// Punches of both roles, each with a peer known by its whole address and by its bare one.
fn all_punches() -> Vec<Punch> {
    let both = [Role::Sender, Role::Receiver];
    both.iter()
        .flat_map(|&role| [punch(role, false), punch(role, true)])
        .collect()
}

/// One end of a pair of punches that suit each other.
pub(super) fn punch(role: Role, bare: bool) -> Punch {
    let keypair = |role: Role| StaticKeypair::from_seed(&[role as u8 + 1; 32]);
    let of = |role: Role| {
        let front = Some(SocketAddr::from(PEER));
        let mapped = [front, None, None, None];
        let key = *keypair(role).public();
        let errand = [Errand::Send, Errand::Receive][role as usize];
        Address::own(errand, key, NatClass::default(), mapped, Vec::new()).expect("it is mapped")
    };
    let mut peer = of(role.peer());
    if bare {
        peer.token = None;
    }
    let config = PunchConfig {
        role,
        own: of(role),
        peer,
        keypair: keypair(role),
        hardware_aes: true,
        verify: false,
        clock: WallClock::system(1_795_236_100_000_000_000, now()),
        low_ttl: None,
        timeout: Duration::from_secs(600),
        ipv6: None,
        around: Default::default(),
        seed: [role as u8 + 3; 32].into(),
    };
    Punch::new(config, now()).expect("honest keys")
}

/// A hostile list of files.
pub fn manifest(data: &[u8]) {
    let mut builder = ManifestBuilder::new(Trust::Peer);
    let (one, other) = data.split_at(data.len() / 2);
    let whole = ManifestBuilder::new(Trust::Peer).add_wire(data);
    if whole.is_err() {
        // Cut elsewhere it may be two good halves, or not.
        let _ = builder.add_wire(one).and_then(|()| builder.add_wire(other));
    } else {
        builder.add_wire(data).expect("the same bytes");
    }
    let Ok(manifest) = builder.finish() else {
        return;
    };
    let _ = manifest.alike();
    let _ = manifest.total();
    for (index, entry) in manifest.iter() {
        let path = manifest.path(index);
        assert!(path.is_relative(), "{path:?}");
        assert!(!entry.name.contains(&b'/') && entry.name != b"..", "{entry:?}");
    }
}

/// The control stream.
pub fn messages(data: &[u8]) {
    let mut reader = MessageReader::default();
    reader.feed(data);
    while let Ok(Some(message)) = reader.poll_message() {
        let mut again = Vec::new();
        message.encode(&mut again);
        let mut reader = MessageReader::default();
        reader.feed(&again);
        assert_eq!(reader.poll_message(), Ok(Some(message)));
    }
}

/// What lies beside a partial file. With proofs that fit, `transfer::sink::journal` tries it itself.
pub fn journal(data: &[u8]) {
    let dir = Stat {
        inode: 1,
        device: 0,
        born: 2,
        owner: 3,
        mode: 0o700,
    };
    assert!(JournalContents::decode(data, &OwnerKey::from_bytes([1; 32]), &dir).is_err());
}

/// A client that shows a code, and a server.
pub(super) fn meeting_pair() -> (Meeting, Server) {
    let client = MeetingConfig {
        errand: Errand::Send,
        server: path().remote,
        token: None,
        sockets: vec![0],
        key: *StaticKeypair::from_seed(&[1; 32]).public(),
        candidates: vec![SocketAddr::from(([192, 168, 1, 5], 4300))],
        purpose: Purpose::Show,
        relay: RelayUse::Fallback,
        guess: true,
        seed: [1; 32].into(),
    };
    let server = ServerConfig {
        token: None,
        limits: Limits::default(),
        clock: WallClock::system(1_795_236_107_500_000_000, now()),
        seed: [2; 32].into(),
    };
    (Meeting::new(client, now()), Server::new(server, now()))
}

/// A datagram to a server, and one to a client of it.
pub fn meeting(data: &[u8]) {
    thread_local! {
        static PAIR: RefCell<(u32, Option<(Meeting, Server)>)> = const { RefCell::new((0, None)) };
    }
    PAIR.with_borrow_mut(|(age, pair)| {
        *age += 1;
        if *age % LIFETIME == 0 {
            *pair = None;
        }
        let (client, server) = pair.get_or_insert_with(meeting_pair);
        let mut longest = 0;
        server.handle_datagram(now(), path(), data);
        while let Some((path, payload)) = server.poll_transmit() {
            longest = longest.max(payload.len());
            client.handle_datagram(now(), path, &payload);
        }
        assert!(
            longest <= data.len(),
            "an answer of {longest} bytes to {}",
            data.len()
        );
        assert!(server.poll_relayed(&mut Vec::new()).is_none(), "nobody is bound");
        client.handle_datagram(now(), path(), data);
        while client.poll_transmit().is_some() {}
        while client.poll_event().is_some() {}
        // Of what only clients of the relay and of the list read.
        if let Ok(bound) = Bound::decode(data) {
            assert_eq!(Bound::decode(&bound.encode()), Ok(bound));
        }
        if let Ok(listed) = Listed::decode(data) {
            assert_eq!(Listed::decode(&listed.encode()), Ok(listed));
        }
    });
}
