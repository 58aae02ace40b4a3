//! The evil one's hands: it meets its victim as the protocol says, and from then on every byte is its own.

mod way;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use p2pcopy::parts::net::Machine;
use p2pcopy::parts::protocol::{
    Frames, HEADER_LEN, Header, Opener, Path, Reach, Role, Sealer, TAG_LEN, Time, Words,
};
use p2pcopy::parts::rendezvous::{Punch, PunchEvent};

use crate::evil::heard::Heard;
use crate::evil::list::List;
use crate::evil::victim::{Setup, Victim, address, punch};
use crate::evil::wire::{self, message};

/// One way through the played network.
const DELAY: Duration = Duration::from_millis(1);
/// How often the evil one shows that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// Longest virtual time to wait for something the victim must say.
const PATIENCE: Duration = Duration::from_secs(60);
/// Datagrams the victim is given before it may act on them, as one batch of the system's.
const BATCH: usize = 32;
/// Content bytes in one packet.
const PIECE: usize = 1100;

/// Of its handshake; 0 and those of honest ends are taken.
const SEED: u8 = 2;
const VICTIM: ([u8; 4], u16) = ([10, 0, 0, 1], 1000);
const EVIL: ([u8; 4], u16) = ([10, 0, 0, 2], 2000);

/// Datagrams on their way: when they arrive, and the address they come from or go to.
type Way = VecDeque<(Time, SocketAddr, Vec<u8>)>;

/// The keys, once both have met.
struct Linked {
    id: u32,
    sealer: Sealer,
    opener: Opener,
}

/// The evil peer and, before it, its victim.
pub struct Evil {
    pub now: Time,
    /// The victim's output directory.
    pub out: PathBuf,
    pub victim: Victim,
    pub heard: Heard,
    /// What may lie in the output directory, by what was offered.
    pub agreed: Vec<(PathBuf, Option<Vec<u8>>)>,
    /// What the act itself changes on the disk, below the directory that holds `out`, `src` and `outside`.
    pub touched: Vec<PathBuf>,
    /// The datagrams of its handshake.
    pub began: Vec<Vec<u8>>,
    /// What it has promised to reveal, where words are compared.
    pub nonce: Option<[u8; 32]>,
    /// Where it sends from.
    pub at: SocketAddr,
    /// Whether it acknowledges, answers and shows that it is alive.
    pub alive: bool,
    /// Whether virtual time waits for the victim's disk thread.
    pub patient: bool,
    /// What its acknowledgements grant, in KiB.
    pub flow_limit_kib: u32,
    punch: Option<Punch>,
    linked: Option<Linked>,
    control_sent: u64,
    /// Challenges dealt with: those that come to where it met its victim are answered.
    answered: usize,
    /// Bytes it sent from each address.
    pub said: HashMap<SocketAddr, u64>,
    to_victim: Way,
    to_evil: Way,
    spoke: Time,
}

impl Evil {
    /// Meets its victim.
    pub fn new(mut setup: Setup) -> Evil {
        let now = Time::ZERO + Duration::from_secs(1);
        let (role, at) = (setup.role.peer(), SocketAddr::from(EVIL));
        let bare = setup.bare;
        let (theirs, ours) = (address(setup.role, VICTIM.into(), bare), address(role, at, bare));
        let strangers = setup.strangers.take();
        let mut evil = Evil {
            now,
            out: setup.out.clone(),
            victim: Victim::new(setup, &theirs, &ours, now),
            heard: Heard::default(),
            agreed: Vec::new(),
            touched: Vec::new(),
            began: Vec::new(),
            nonce: None,
            at,
            alive: false,
            patient: true,
            flow_limit_kib: 64 << 10,
            punch: None,
            linked: None,
            control_sent: 0,
            answered: 0,
            said: HashMap::new(),
            to_victim: VecDeque::new(),
            to_evil: VecDeque::new(),
            spoke: now,
        };
        if let Some(act) = strangers {
            act(&mut evil);
        }
        evil.punch = Some(punch(role, &ours, &theirs, SEED, false, evil.now));
        // The receiver has the keys first. Its peer has them as soon as it sends a sealed packet.
        let has_met = |evil: &Evil| match role {
            Role::Sender => evil.linked.is_some(),
            Role::Receiver => evil.punch.is_none(),
        };
        assert!(evil.until(has_met), "they do not meet");
        // Until now it has said nothing under the keys: the first packet is the act's own.
        evil.alive = true;
        evil
    }

    // ---- packets ----

    /// Sends a packet with these frames.
    pub fn packet(&mut self, frames: &[u8]) {
        let mut packet = [&[0; HEADER_LEN][..], frames, &[0; TAG_LEN]].concat();
        let linked = self.linked.as_mut().expect("they have met");
        linked.sealer.seal(&mut packet);
        self.datagram(packet);
    }

    /// Uses up a packet number for nothing.
    pub fn skips_a_number(&mut self) {
        let linked = self.linked.as_mut().expect("they have met");
        linked.sealer.seal(&mut [0; HEADER_LEN + 1 + TAG_LEN]);
    }

    /// Sends a datagram as it is.
    pub fn datagram(&mut self, datagram: Vec<u8>) {
        if self.victim.session.is_over() {
            return;
        }
        self.spoke = self.now;
        *self.said.entry(self.at).or_default() += datagram.len() as u64;
        self.to_victim.push_back((self.now + DELAY, self.at, datagram));
    }

    /// The datagrams on their way to the victim, so that an act can repeat them.
    pub fn on_the_way(&self) -> Vec<Vec<u8>> {
        self.to_victim
            .iter()
            .map(|(.., datagram)| datagram.clone())
            .collect()
    }

    /// Acknowledges what came, as an honest end does.
    pub fn acknowledges(&mut self) {
        let recent = self.heard.numbers.len().saturating_sub(32);
        let ack = wire::ack(&self.heard.numbers[recent..], 0, self.flow_limit_kib);
        self.packet(&ack);
    }

    /// What somebody in our place, who makes `seed` the seed of its handshake, would send first.
    pub fn greeting(&self, role: Role, bare: bool, seed: u8) -> Vec<u8> {
        let (theirs, ours) = (
            address(role.peer(), VICTIM.into(), bare),
            address(role, self.at, bare),
        );
        let mut punch = punch(role, &ours, &theirs, seed, false, self.now);
        punch.handle_timeout(self.now + Duration::from_millis(200));
        let full = std::iter::from_fn(|| punch.poll_transmit()).find(|t| t.reach == Reach::Full);
        full.expect("a candidate needs no slot").payload
    }

    // ---- messages ----

    /// Puts bytes into the control stream.
    pub fn control(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let frame = wire::control(self.control_sent, piece);
            self.control_sent += piece.len() as u64;
            self.packet(&frame);
        }
    }

    /// Says a message.
    pub fn says(&mut self, kind: u8, body: impl AsRef<[u8]>) {
        self.control(&wire::message(kind, body.as_ref()));
    }

    /// Waits for a message of this kind, and passes over others.
    pub fn awaits(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let came = self.until(|evil| !evil.heard.messages.is_empty());
            assert!(
                came,
                "message {kind} does not come; {:?}, told {:?}",
                self.victim.verdict, self.victim.told
            );
            match self.heard.messages.pop_front() {
                Some((found, body)) if found == kind => return body,
                _ => {}
            }
        }
    }

    // ---- what an honest sender does, piece by piece ----

    /// Reveals the nonce it has promised.
    pub fn reveals(&mut self) {
        let nonce = self.nonce.expect("words are compared");
        self.control(&nonce);
    }

    /// Offers and lists `list`; from now on that is what the user agreed to.
    pub fn offers(&mut self, list: &List) {
        self.agrees(list);
        self.says(message::OFFER, list.offer().body());
        self.lists(list);
    }

    /// What is listed may lie in the output directory.
    pub fn agrees(&mut self, list: &List) {
        let agreed = list.agreed();
        let owned = agreed
            .into_iter()
            .map(|(path, bytes)| (path, bytes.map(<[u8]>::to_vec)));
        self.agreed.extend(owned);
    }

    /// Sends the list.
    pub fn lists(&mut self, list: &List) {
        for chunk in list.chunks() {
            self.says(message::MANIFEST_CHUNK, chunk);
        }
    }

    /// Waits until content may flow.
    pub fn is_accepted(&mut self) {
        self.awaits(message::ACCEPT);
        while self.awaits(message::HAVE)[0] == 0 {}
    }

    /// Announces the hashes of all blocks.
    pub fn announces(&mut self, list: &List) {
        for (i, hashes) in list.hashes().chunks(1024).enumerate() {
            let cvs: Vec<u8> = hashes.iter().flat_map(|hash| hash.cv).collect();
            let first = i as u32 * 1024;
            self.says(message::HASHES, [&first.to_be_bytes()[..], &cvs].concat());
        }
    }

    /// Sends content bytes that belong at `offset`.
    pub fn sends(&mut self, offset: u64, content: &[u8]) {
        assert!(self.until(|evil| evil.heard.flow_limit > 0), "no room is granted");
        for (i, piece) in content.chunks(PIECE).enumerate() {
            self.packet(&wire::data(offset + (i * PIECE) as u64, piece));
        }
    }

    /// Transfers all of `list` as an honest sender would.
    pub fn transfers(&mut self, list: &List) {
        self.offers(list);
        self.is_accepted();
        self.goes_through(list);
    }

    /// The same from where content may flow.
    pub fn goes_through(&mut self, list: &List) {
        self.announces(list);
        let content = list.content();
        if !content.is_empty() {
            self.sends(0, &content);
        }
        self.says(message::DONE, list.root());
        self.awaits(message::FINISHED);
        self.packet(&wire::close(0, b""));
    }

    // ---- what an honest receiver does, piece by piece ----

    /// Accepts what the victim offers, and has nothing of it.
    pub fn accepts(&mut self) {
        self.awaits(message::OFFER);
        self.says(message::ACCEPT, 0u32.to_be_bytes());
        self.says(message::HAVE, [1]);
    }

    /// Waits until all was sent, and gives it.
    pub fn collects(&mut self) -> Vec<u8> {
        let root = self.awaits(message::DONE);
        let content: Vec<u8> = self.heard.content.values().flatten().copied().collect();
        assert_eq!(
            blake3::hash(&content).as_bytes()[..],
            root,
            "something is missing"
        );
        content
    }

    /// Receives all of it as an honest receiver would.
    pub fn receives(&mut self) {
        self.accepts();
        self.finishes();
    }

    /// The same from where content flows.
    pub fn finishes(&mut self) {
        let content = self.collects();
        self.says(message::FINISHED, blake3::hash(&content).as_bytes());
    }

    // ---- time ----

    /// Lets time pass until `is_so`; false if the victim ended first, or a virtual minute was not enough.
    pub fn until(&mut self, mut is_so: impl FnMut(&Evil) -> bool) -> bool {
        let end = self.now + PATIENCE;
        while !is_so(self) {
            if self.now >= end || self.victim.session.is_over() {
                return false;
            }
            self.turn();
        }
        true
    }

    /// Lets this much time pass, or less if the victim ends.
    pub fn waits(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && !self.victim.session.is_over() {
            self.turn();
        }
    }

    /// Lets everything arrive, and what the victim says to it.
    pub fn settles(&mut self) {
        self.waits(20 * DELAY);
    }

    /// Hears what the victim said last, if it has ended.
    pub fn hears_the_rest(&mut self) {
        self.now += 2 * DELAY;
        self.hear();
    }
}
