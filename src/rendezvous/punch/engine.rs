//! Makes the datagrams of a punch and interprets those that arrive. It decides neither times nor paths,
//! except that a bare peer must have the pasted IP.

use std::net::SocketAddr;
use std::time::Duration;

use super::Hint;
use super::probes::Probes;
use crate::protocol::handshake::bare::{BareHeader, BareInitiator, BareResponder, Confirmed, Cookie};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::handshake::{
    HandshakeError, Local, Probe, ProbeKey, PublicKey, SessionKeys, kk, packet, prologue,
};
use crate::protocol::time::Time;
use crate::protocol::{Path, Role};
use crate::rendezvous::address::{Address, PAIRS, Token};
use crate::rendezvous::budget::{Budget, Budgets};
use crate::rendezvous::schedule::Content;

/// Answers to bare peers, each of which costs a hash. A peer asks at most 50 times a second. The told port
/// has a larger budget, because anybody can forge packets from there.
const ANSWERS: Budgets = Budgets::new(
    Budget::new(Duration::from_millis(5), 32),
    Budget::new(Duration::from_millis(25), 16),
);
/// Handshake computations for bare peers, about 0.3 ms each, and answers to late copies of a handshake
/// message.
const WORK: Budgets = Budgets::new(
    Budget::new(Duration::from_millis(20), 32),
    Budget::new(Duration::from_millis(25), 16),
);

/// The result of reading a datagram.
pub(super) enum Heard {
    /// It is the peer's.
    Peer {
        reply: Option<Vec<u8>>,
        keys: Option<Box<SessionKeys>>,
        peer_unix_nanos: Option<u64>,
    },
    /// It may be the peer's, or from anybody who receives at the pasted IP. It may get an answer, and changes
    /// nothing else.
    Unproven { reply: Vec<u8> },
    /// The budget for datagrams that do not authenticate is used up.
    TooMany,
    /// It is a copy of one that was already handled: a replay.
    Copy,
    /// It does not authenticate.
    Forged,
    /// It is of a run of this program that does not fit ours, for this reason.
    Misfit(Hint),
    /// It is the peer's, and the handshake cannot go on.
    Fatal(HandshakeError),
}

/// One end of one of the two handshakes.
pub(super) struct Engine {
    role: Role,
    /// The addresses that the peer told.
    told: Vec<SocketAddr>,
    /// The key in the peer's address. A bare address has none; then only packets from the pasted IP are accepted.
    peer_key: Option<PublicKey>,
    heard: bool,
    rng: SeedRng,
    answers: Budgets,
    work: Budgets,
    kind: Kind,
}

enum Kind {
    Sender {
        initiator: Box<kk::Initiator>,
        probes: Probes,
    },
    Receiver {
        responder: Box<kk::Responder>,
        probes: Probes,
    },
    BareSender {
        initiator: Box<BareInitiator>,
        /// The path of message 2, and the cookie in it.
        bound: Option<(Path, Cookie)>,
    },
    BareReceiver {
        responder: Box<BareResponder>,
    },
}

impl Engine {
    pub(super) fn new(
        role: Role,
        local: Local,
        own: &Address,
        peer: &Address,
        rng: &mut SeedRng,
    ) -> Result<Self, HandshakeError> {
        let mut peer_key = None;
        let kind = match (&own.token, &peer.token) {
            (Some(ours), Some(theirs)) => {
                peer_key = Some(theirs.key);
                let (sender, receiver): (&Token, &Token) = match role {
                    Role::Sender => (ours, theirs),
                    Role::Receiver => (theirs, ours),
                };
                let prologue = prologue(&sender.identity(), &receiver.identity());
                let key = ProbeKey::new(&local.keypair, &theirs.key, &prologue)?;
                let probes = Probes::new(key.clone());
                match role {
                    Role::Sender => {
                        let initiator = kk::Initiator::new(&local, &theirs.key, &prologue, key)?;
                        Kind::Sender {
                            initiator: Box::new(initiator),
                            probes,
                        }
                    }
                    Role::Receiver => Kind::Receiver {
                        responder: Box::new(kk::Responder::new(local, theirs.key, prologue, key)),
                        probes,
                    },
                }
            }
            _ => match role {
                Role::Sender => Kind::BareSender {
                    initiator: Box::new(BareInitiator::new(local)?),
                    bound: None,
                },
                Role::Receiver => Kind::BareReceiver {
                    responder: Box::new(BareResponder::new(local)),
                },
            },
        };
        let pairs = (0..PAIRS).filter_map(|k| peer.pair(k));
        let candidates = peer.token.iter().flat_map(|t| t.candidates.iter().copied());
        let rng = SeedRng::new(&rng.seed(), "p2pcopy 1 probes");
        Ok(Engine {
            role,
            told: pairs.chain(candidates).collect(),
            peer_key,
            heard: false,
            rng,
            answers: ANSWERS,
            work: WORK,
            kind,
        })
    }

    /// Goes on with the handshake of `earlier` if it is with the same peer. The peer may have accepted a message of
    /// it, and then accepts no other.
    pub(super) fn resume(&mut self, earlier: Engine) {
        let is_known = self.peer_key.is_some() || self.told.first() == earlier.told.first();
        let is_same = self.peer_key == earlier.peer_key && is_known;
        if is_same && self.role == earlier.role {
            let told = std::mem::take(&mut self.told);
            *self = Engine { told, ..earlier };
        }
    }

    /// The datagram to send now.
    pub(super) fn datagram(&mut self, path: Path, content: Content, slot: u32, unix_nanos: u64) -> Vec<u8> {
        let (role, heard) = (self.role, self.heard);
        match (&mut self.kind, content) {
            (Kind::Sender { initiator, .. }, Content::Handshake) => initiator.message_1().to_vec(),
            (Kind::Sender { probes, .. } | Kind::Receiver { probes, .. }, _) => {
                probes.write(role, heard, slot, unix_nanos, self.rng.array())
            }
            (Kind::BareSender { initiator, bound }, _) => match bound {
                Some((at, cookie)) if *at == path => initiator.datagram(cookie),
                _ => initiator.first_datagram(),
            },
            (Kind::BareReceiver { responder }, _) => responder.hello(path),
        }
    }

    /// Takes a datagram whose first byte is one of the handshake. `unix_nanos` is the time of our clock.
    pub(super) fn handle(&mut self, now: Time, unix_nanos: u64, path: Path, datagram: &[u8]) -> Heard {
        let heard = if self.peer_key.is_some() {
            self.handle_full(unix_nanos, path, datagram)
        } else if self.told.iter().any(|told| told.ip() == path.remote.ip()) {
            self.handle_bare(now, path, datagram)
        } else {
            Heard::Forged
        };
        self.heard |= matches!(heard, Heard::Peer { .. });
        heard
    }

    fn handle_full(&mut self, unix_nanos: u64, path: Path, datagram: &[u8]) -> Heard {
        let role = self.role;
        match (&mut self.kind, datagram.first()) {
            (_, Some(&packet::HELLO)) if BareHeader::decode(datagram).is_some() => {
                Heard::Misfit(Hint::PeerPastedBare)
            }
            (Kind::Sender { probes, .. } | Kind::Receiver { probes, .. }, Some(&packet::PROBE)) => {
                match probes.read(datagram, role) {
                    Ok(probe) => {
                        self.heard = true;
                        let reply = self.datagram(path, Content::Handshake, probe.slot, unix_nanos);
                        Heard::Peer {
                            reply: Some(reply),
                            keys: None,
                            peer_unix_nanos: Some(probe.unix_nanos),
                        }
                    }
                    Err(heard) => heard,
                }
            }
            (Kind::Receiver { responder, .. }, Some(&packet::MESSAGE_1)) => responder
                .read_message_1(datagram)
                .map_or_else(judged, |reply| proven(Some(reply.message_2), reply.keys)),
            (Kind::Sender { initiator, .. }, Some(&packet::MESSAGE_2)) => initiator
                .read_message_2(datagram)
                .map_or_else(judged, |keys| proven(None, Some(keys))),
            _ => Heard::Forged,
        }
    }

    fn handle_bare(&mut self, now: Time, path: Path, datagram: &[u8]) -> Heard {
        let told = is_told(&self.told, path.remote);
        let own_role = self.role;
        let header = BareHeader::decode(datagram);
        match (&mut self.kind, datagram.first(), header) {
            (_, Some(_), Some(header)) if header.role == own_role => Heard::Misfit(Hint::SameRole),
            (Kind::BareReceiver { responder }, Some(&kind), Some(header)) => {
                // A datagram without the right cookie costs only a hash. Only one with the cookie may cost a
                // computation.
                if header.cookie != responder.cookie(path) {
                    let left = self.answers.take(now, told);
                    return unproven(left.then(|| responder.hello(path)));
                }
                if !self.work.take(now, told) {
                    return Heard::TooMany;
                }
                match kind {
                    packet::HELLO => unproven(responder.read_hello(path, datagram)),
                    _ => responder
                        .read_message_3(datagram)
                        .map_or_else(judged, |(keys, message_4)| proven(Some(message_4), Some(keys))),
                }
            }
            // The receiver's hello proves nothing, but it carries a cookie and shows which port to try.
            (Kind::BareSender { initiator, .. }, Some(&packet::HELLO), Some(header)) => {
                let left = self.answers.take(now, told);
                unproven(left.then(|| initiator.datagram(&header.cookie)))
            }
            (Kind::BareSender { initiator, bound }, Some(&packet::BARE_2), Some(header)) => {
                if !initiator.is_echo(datagram) {
                    return Heard::Forged;
                }
                if bound.is_some() {
                    let left = self.answers.take(now, told);
                    return unproven(left.then(|| initiator.datagram(&header.cookie)));
                }
                if !self.work.take(now, told) {
                    return Heard::TooMany;
                }
                match initiator.read_message_2(datagram) {
                    Ok(()) => {
                        *bound = Some((path, header.cookie));
                        proven(Some(initiator.datagram(&header.cookie)), None)
                    }
                    Err(error) => judged(error),
                }
            }
            (Kind::BareSender { initiator, .. }, Some(&packet::BARE_4), _) => initiator
                .read_message_4(datagram)
                .map_or_else(judged, |keys| proven(None, Some(keys))),
            _ if has_the_shape_of_ours(datagram) => Heard::Misfit(Hint::WePastedBare),
            _ => Heard::Forged,
        }
    }

    pub(super) fn into_responder(self) -> LateResponder {
        let kind = match self.kind {
            Kind::Receiver { responder, .. } => responder.into_answered().map(Late::Kk),
            Kind::BareReceiver { responder } => responder.confirmed().cloned().map(Late::Bare),
            Kind::Sender { .. } | Kind::BareSender { .. } => None,
        };
        LateResponder {
            kind: kind.unwrap_or(Late::Nothing),
            told: self.told,
            budgets: WORK,
        }
    }
}

/// Whether the peer told the address `remote`. It tells a link-local address without its zone.
fn is_told(told: &[SocketAddr], remote: SocketAddr) -> bool {
    let place = |at: &SocketAddr| (at.ip(), at.port());
    told.iter().any(|at| place(at) == place(&remote))
}

fn proven(reply: Option<Vec<u8>>, keys: Option<SessionKeys>) -> Heard {
    Heard::Peer {
        reply,
        keys: keys.map(Box::new),
        peer_unix_nanos: None,
    }
}

fn unproven(reply: Option<Vec<u8>>) -> Heard {
    reply.map_or(Heard::TooMany, |reply| Heard::Unproven { reply })
}

/// Whether a datagram that did not authenticate looks like one of another run of this program.
pub(super) fn has_the_shape_of_ours(datagram: &[u8]) -> bool {
    match datagram.first() {
        Some(&packet::PROBE) => datagram.len() == Probe::LEN,
        Some(&packet::MESSAGE_1) => datagram.len() == kk::MESSAGE_1_LEN,
        _ => false,
    }
}

/// Whether an error of the handshake is only counted or ends it.
fn judged(error: HandshakeError) -> Heard {
    match error {
        HandshakeError::Forged => Heard::Forged,
        HandshakeError::Replayed => Heard::Copy,
        fatal => Heard::Fatal(fatal),
    }
}

/// What remains of a punch beside the connection: the answers to late copies of the peer's handshake
/// messages. The sender may have lost our first answer, and repeats its message until one arrives. An
/// attacker who sees such a message could send copies of it from forged addresses. So the answers end with
/// the first sealed packet, which shows that one has arrived. It holds no key of the handshake.
pub(crate) struct LateResponder {
    kind: Late,
    told: Vec<SocketAddr>,
    budgets: Budgets,
}

enum Late {
    /// The sender has nothing to answer: the last message of the handshake was the receiver's.
    Nothing,
    Kk(kk::Answered),
    Bare(Confirmed),
}

impl LateResponder {
    /// Stops answering: the peer's first sealed packet has arrived.
    pub(crate) fn confirm(&mut self) {
        self.kind = Late::Nothing;
    }

    /// The answer to send back along `path`, if the datagram is a copy of an accepted handshake message and
    /// the budget allows it. Anything else is ignored.
    pub(crate) fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) -> Option<Vec<u8>> {
        let answer = match (&self.kind, datagram.first()) {
            (Late::Kk(answered), Some(&packet::MESSAGE_1)) => answered.answer(datagram),
            (Late::Bare(confirmed), Some(&packet::BARE_3)) => confirmed.answer(path, datagram),
            _ => None,
        }?;
        let told = is_told(&self.told, path.remote);
        self.budgets.take(now, told).then(|| answer.to_vec())
    }
}
