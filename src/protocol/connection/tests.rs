//! Two ends whose addresses may change, in virtual time.

use std::net::SocketAddr;

use super::*;
use crate::protocol::congestion::bbr::Bbr;
use crate::protocol::ecn::Ecn;
use crate::protocol::seal::Cipher;
use crate::protocol::time::Time;
use crate::protocol::wire::{HEADER_LEN, TAG_LEN, frame};

impl Config {
    /// The configuration of one end of a pair with fixed secrets: the sender's, the receiver's, and this
    /// end's seed.
    pub(crate) fn of_pair(role: Role, path: Path, [sender, receiver, seed]: [[u8; 32]; 3]) -> Config {
        let (send, receive) = match role {
            Role::Sender => (sender, receiver),
            Role::Receiver => (receiver, sender),
        };
        Config {
            role,
            cipher: Cipher::Aes256Gcm,
            send_secret: send.into(),
            receive_secret: receive.into(),
            local_id: role as u32,
            remote_id: role.peer() as u32,
            path,
            handshake_rtt: None,
            seed: seed.into(),
            send_blocks: 2,
            limit: None,
        }
    }
}

const DELAY: Duration = Duration::from_millis(10);
/// The port where each end is, and two more ports of the sender or of somebody else.
const SENDER: u16 = 1;
const RECEIVER: u16 = 2;
const SECOND: u16 = 3;
const NOWHERE: u16 = 4;

fn path(port: u16) -> Path {
    Path {
        local: 0,
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

fn end(role: Role, now: Time, peer: u16) -> Connection {
    with_secrets(role, now, peer, [[1; 32], [2; 32], [role as u8 + 3; 32]])
}

fn with_secrets(role: Role, now: Time, peer: u16, secrets: [[u8; 32]; 3]) -> Connection {
    let config = Config {
        handshake_rtt: Some(DELAY * 2),
        send_blocks: 8,
        limit: Some(2_000_000),
        ..Config::of_pair(role, path(peer), secrets)
    };
    let controller = Box::new(Bbr::new(now, 1200, Some(DELAY * 2), 1));
    Connection::new(config, controller, now)
}

struct Sent {
    from: Role,
    to: u16,
    bytes: Vec<u8>,
}

struct Ends {
    now: Time,
    sender: Connection,
    receiver: Connection,
    under_way: VecDeque<(Time, u16, Sent)>,
    /// The moves that the application was told of: the receiver's, and the sender's.
    moves: [Vec<(Time, Path)>; 2],
    /// The content as it arrived; a later copy replaces an earlier one.
    content: Vec<u8>,
}

impl Ends {
    /// The receiver believes that the sender is at this port.
    fn new(sender_at: u16) -> Ends {
        let now = Time::from_nanos(1_000_000_000);
        Ends {
            now,
            sender: end(Role::Sender, now, RECEIVER),
            receiver: end(Role::Receiver, now, sender_at),
            under_way: VecDeque::new(),
            moves: Default::default(),
            content: Vec::new(),
        }
    }

    /// Lets time pass. `seen_from` returns the ports from which the other end sees a datagram come: none if
    /// it is lost, two if somebody duplicates it.
    fn run(&mut self, time: Duration, mut seen_from: impl FnMut(Time, &Sent) -> Vec<u16>) {
        let until = self.now + time;
        while self.now < until {
            let (mut buf, now) = (Vec::new(), self.now);
            for role in [Role::Sender, Role::Receiver] {
                while let Some(t) = self.end(role).poll_transmit(now, &mut buf, 4) {
                    for bytes in buf.chunks(t.segment).map(<[u8]>::to_vec) {
                        let (from, to) = (role, t.path.remote.port());
                        let sent = Sent { from, to, bytes };
                        for port in seen_from(now, &sent) {
                            let bytes = sent.bytes.clone();
                            self.under_way
                                .push_back((now + DELAY, port, Sent { from, to, bytes }));
                        }
                    }
                }
            }
            let timers = [Role::Sender, Role::Receiver].map(|role| self.end(role).poll_timeout(now));
            let next = timers
                .into_iter()
                .flatten()
                .chain(self.under_way.front().map(|d| d.0))
                .min();
            self.now = next.unwrap_or(until).max(self.now + Duration::from_micros(5));
            while self.under_way.front().is_some_and(|d| d.0 <= self.now) {
                let (_, port, mut sent) = self.under_way.pop_front().unwrap();
                let now = self.now;
                let end = self.end(sent.from.peer());
                if let Some(content) = end.handle_datagram(now, path(port), Ecn::Ect0, &mut sent.bytes) {
                    let (at, bytes) = (content.offset as usize, &sent.bytes[content.range]);
                    self.content.resize(self.content.len().max(at + bytes.len()), 0);
                    self.content[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
            for role in [Role::Sender, Role::Receiver] {
                let now = self.now;
                self.end(role).handle_timeout(now);
                while let Some(event) = self.end(role).poll_event() {
                    if let Event::Moved(path) = event {
                        self.moves[role as usize].push((now, path));
                    }
                }
            }
        }
    }

    fn end(&mut self, role: Role) -> &mut Connection {
        match role {
            Role::Sender => &mut self.sender,
            Role::Receiver => &mut self.receiver,
        }
    }

    fn moves_of_receiver(&self) -> &[(Time, Path)] {
        &self.moves[Role::Receiver as usize]
    }
}

/// A datagram reaches the other end only if that end is at the address.
fn only_if_at(sent: &Sent, sender_at: u16) -> Vec<u16> {
    match sent.from {
        Role::Sender => vec![sender_at],
        Role::Receiver if sent.to == sender_at => vec![RECEIVER],
        Role::Receiver => vec![],
    }
}

#[test]
fn a_peer_that_hops_between_two_proven_addresses_is_told_of_now_and_then() {
    let mut ends = Ends::new(SENDER);
    let (mut hops, mut moves, mut before) = (0, 0, ends.receiver.path());
    let began = ends.now;
    while ends.now.since(began) < Duration::from_secs(60) {
        let at = [SENDER, SECOND][hops % 2];
        hops += 1;
        ends.sender
            .write_control(b"so that more than path frames comes from there");
        ends.run(Duration::from_millis(400), |_, sent| only_if_at(sent, at));
        ends.receiver.read_control(&mut Vec::new());
        moves += u32::from(std::mem::replace(&mut before, ends.receiver.path()) != before);
    }
    let told = ends.moves_of_receiver().len();
    assert!(moves > 50, "only {moves} moves");
    assert!((1..=7).contains(&told), "{moves} moves, told of {told}");
    // The last address is reported in the end.
    for at in [SENDER, SECOND] {
        ends.sender.write_control(b"and here it stays");
        ends.run(Duration::from_secs(15), |_, sent| only_if_at(sent, at));
        assert_eq!(ends.receiver.path(), path(at));
        assert_eq!(ends.moves_of_receiver().last().map(|m| m.1), Some(path(at)));
    }
}

#[test]
fn a_first_path_that_fails_is_left_without_a_word_and_the_next_move_is_told() {
    let mut ends = Ends::new(NOWHERE);
    ends.run(Duration::from_secs(3), |_, sent| only_if_at(sent, SENDER));
    assert_eq!(ends.receiver.path(), path(SENDER));
    assert_eq!(ends.moves_of_receiver(), []);
    ends.sender.write_control(b"from elsewhere");
    ends.run(Duration::from_secs(3), |_, sent| only_if_at(sent, SECOND));
    let told: Vec<Path> = ends.moves_of_receiver().iter().map(|m| m.1).collect();
    assert_eq!(told, [path(SECOND)]);
}

/// Each end begins on another path, as after a handshake on IPv4 and IPv6. Now and then both ends do nothing for a while,
/// and no path answers in time.
#[test]
fn two_ends_that_begin_on_different_paths_agree_on_one() {
    for (period, light) in [
        (1_900, 1_200),
        (1_300, 1_250),
        (2_600, 1_700),
        (3_150, 3_000),
        (700, 400),
    ] {
        let mut ends = Ends::new(SECOND);
        ends.receiver.set_flow_limit(ends.now, 64 << 20);
        let began = ends.now;
        for second in 0..60u64 {
            ends.sender.offer(second << 17, vec![7; 1 << 17]);
            ends.run(Duration::from_secs(1), |now, sent| {
                let is_dark = now.since(began).as_millis() % period > light;
                if is_dark { vec![] } else { vec![sent.to] }
            });
        }
        let moves: usize = ends.moves.iter().map(Vec::len).sum();
        assert!(moves <= 2, "{period}, {light}: {:?}", ends.moves);
        let agree = ends.sender.path() == ends.receiver.path();
        assert!(agree, "{period}, {light}: {:?}", ends.moves);
    }
}

/// An attacker on the path sees a packet first and forwards it from another address. Packets to that address
/// are lost, or the attacker forwards them both ways, so that this path is proven as well.
#[test]
fn a_fresh_packet_that_is_sent_on_from_elsewhere_moves_nothing() {
    for passes_on in [false, true] {
        let mut ends = Ends::new(SENDER);
        ends.receiver.set_flow_limit(ends.now, 8 << 20);
        for block in 0..8u64 {
            ends.sender.offer(block << 20, vec![7; 1 << 20]);
        }
        ends.sender.finish_content();
        let (mut stolen, mut from, mut to, mut all) = (0, 0, 0, 0);
        let began = ends.now;
        ends.run(Duration::from_secs(6), |now, sent| {
            let bytes = sent.bytes.len();
            if sent.from == Role::Sender {
                all += bytes;
                to += if sent.to == SECOND { bytes } else { 0 };
            }
            match (sent.from, sent.to) {
                (_, SECOND) if !passes_on => vec![],
                (_, SECOND) => vec![SECOND],
                (Role::Sender, _) => vec![SENDER],
                // Once every half second, when the receiver sends something.
                (Role::Receiver, _) if now.since(began).as_millis() / 500 > stolen => {
                    stolen += 1;
                    from += bytes;
                    vec![SECOND, RECEIVER]
                }
                (Role::Receiver, _) => vec![RECEIVER],
            }
        });
        assert!(
            stolen >= 7 && ends.sender.stats().arrived_bytes == 8 << 20,
            "{passes_on}: {stolen}"
        );
        assert_eq!(ends.sender.path(), path(RECEIVER));
        assert_eq!(ends.moves[Role::Sender as usize], [], "{passes_on}");
        if passes_on {
            assert!(to < all / 50, "{to} of {all} bytes");
        } else {
            assert!(to > 0 && to <= 3 * from, "{to} bytes for {from}");
        }
    }
}

#[test]
fn what_a_connection_shows_of_itself_does_not_depend_on_its_secrets() {
    let shown = |secrets| {
        let now = Time::from_nanos(1_000_000_000);
        let mut end = with_secrets(Role::Sender, now, RECEIVER, secrets);
        let mut buf = Vec::new();
        while end.poll_transmit(now, &mut buf, 4).is_some() {}
        format!("{end:?}")
    };
    let one = shown([[1; 32], [2; 32], [3; 32]]);
    for other in [
        [[4; 32], [2; 32], [3; 32]],
        [[1; 32], [4; 32], [3; 32]],
        [[1; 32], [2; 32], [4; 32]],
    ] {
        assert_eq!(one, shown(other));
    }
}

#[test]
fn without_room_a_packet_with_content_is_as_good_as_lost_wherever_the_content_stands_in_it() {
    let now = Time::from_nanos(1_000_000_000);
    let data = [&[frame::DATA][..], &[0; 8], b"content"].concat();
    for frames in [data.clone(), [&[frame::PING], &data[..]].concat()] {
        let mut receiver = end(Role::Receiver, now, SENDER);
        let mut sealer = Sealer::new(Cipher::Aes256Gcm, [1; 32].into(), Role::Receiver as u32);
        let mut packet = [&[0; HEADER_LEN][..], &frames, &[0; TAG_LEN]].concat();
        sealer.seal(&mut packet);
        let takes = |receiver: &mut Connection| {
            let content = receiver.handle_datagram(now, path(SENDER), Ecn::NotEct, &mut packet.clone());
            (content.is_some(), receiver.stats().received_packets)
        };
        assert_eq!(takes(&mut receiver), (false, 0));
        receiver.set_flow_limit(now, 1 << 20);
        assert_eq!(takes(&mut receiver), (true, 1), "it comes again");
    }
}

/// The receiver asks for a block again while packets of its first copy are on their way or their ACKs are: these say
/// nothing about the second copy.
#[test]
fn a_block_that_is_offered_again_arrives_again_whatever_becomes_of_its_first_copy() {
    const LEN: usize = 100_000;
    for (asked_after, lost_for) in [(20, 0), (45, 0), (60, 0), (60, 20), (60, 100), (200, 30)] {
        let mut ends = Ends::new(SENDER);
        ends.receiver.set_flow_limit(ends.now, 8 << 20);
        // So a packet crosses into the block, and one crosses out of it.
        ends.sender.offer(0, vec![1; 500]);
        ends.sender.offer(500, vec![1; LEN]);
        ends.sender.offer(500 + LEN as u64, vec![1; 500]);
        ends.run(Duration::from_millis(asked_after), |_, sent| {
            only_if_at(sent, SENDER)
        });
        ends.sender.offer(500, vec![2; LEN]);
        let again = ends.now;
        ends.run(Duration::from_secs(5), |now, sent| {
            let is_lost = sent.from == Role::Sender && now < again + Duration::from_millis(lost_for);
            if is_lost { vec![] } else { only_if_at(sent, SENDER) }
        });
        let expected = [vec![1; 500], vec![2; LEN], vec![1; 500]].concat();
        let wrong = ends.content.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(
            ends.content.len() == expected.len() && wrong == 0,
            "asked after {asked_after} ms, {lost_for} ms lost: {} bytes, {wrong} of the first copy",
            ends.content.len()
        );
        assert_eq!(ends.sender.recovery.content_in_flight(), 0);
    }
}
