//! What the datagrams of a punch contain, and what an arriving one means. Neither times nor paths are its
//! business, except that a bare peer must have the pasted IP.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::protocol::handshake::bare::{BareInitiator, BareResponder, hello_header};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::handshake::{HandshakeError, Local, Probe, ProbeKey, SessionKeys, kk, packet, prologue};
use crate::protocol::{Path, Role};
use crate::rendezvous::address::{Address, Token};
use crate::rendezvous::schedule::Reach;

/// Probes remembered, so that copies are recognised. A slot brings about thirty.
const REMEMBERED: usize = 64;

/// What a datagram turned out to be.
pub(super) enum Heard {
    /// The peer's.
    Peer {
        reply: Option<Vec<u8>>,
        keys: Option<Box<SessionKeys>>,
        peer_unix_nanos: Option<u64>,
    },
    /// A copy of one that was already dealt with: somebody's replay.
    Copy,
    /// Nobody's we know.
    Forged,
    /// A bare hello, while we hold a whole address.
    BareHello,
    /// A whole-address datagram from the pasted IP, while we hold a bare address.
    WholeAddressProbe,
    /// A bare hello in our own role.
    SameRole,
    /// The peer's, and there is no going on.
    Fatal(HandshakeError),
}

/// Either of the two handshakes, from either end.
pub(super) struct Engine {
    role: Role,
    /// Only this IP is listened to; between bare addresses.
    only_from: Option<IpAddr>,
    heard: bool,
    rng: SeedRng,
    kind: Kind,
}

enum Kind {
    Sender {
        initiator: Box<kk::Initiator>,
        probes: Probes,
    },
    Receiver {
        responder: kk::Responder,
        probes: Probes,
    },
    BareSender {
        initiator: Box<BareInitiator>,
        keys: Option<Box<SessionKeys>>,
    },
    BareReceiver {
        responder: BareResponder,
    },
}

struct Probes {
    key: ProbeKey,
    seen: VecDeque<[u8; 8]>,
}

impl Probes {
    fn read(&mut self, datagram: &[u8], own_role: Role) -> Result<Probe, Heard> {
        let probe = Probe::decode(datagram, &self.key)
            .filter(|p| p.role == own_role.peer())
            .ok_or(Heard::Forged)?;
        if self.seen.contains(&probe.random) {
            return Err(Heard::Copy);
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(probe.random);
        Ok(probe)
    }
}

impl Engine {
    pub(super) fn new(
        role: Role,
        local: Local,
        own: &Address,
        peer: &Address,
        rng: &mut SeedRng,
    ) -> Result<Self, HandshakeError> {
        let mut only_from = None;
        let kind = match (&own.token, &peer.token) {
            (Some(ours), Some(theirs)) => {
                let (sender, receiver): (&Token, &Token) = match role {
                    Role::Sender => (ours, theirs),
                    Role::Receiver => (theirs, ours),
                };
                let prologue = prologue(&sender.identity(), &receiver.identity());
                let key = ProbeKey::new(&local.keypair, &theirs.key, &prologue)?;
                let probes = Probes {
                    key,
                    seen: VecDeque::new(),
                };
                match role {
                    Role::Sender => {
                        let initiator = Box::new(kk::Initiator::new(&local, &theirs.key, &prologue)?);
                        Kind::Sender { initiator, probes }
                    }
                    Role::Receiver => Kind::Receiver {
                        responder: kk::Responder::new(local, theirs.key, prologue),
                        probes,
                    },
                }
            }
            _ => {
                only_from = Some(peer.reflexive.ip());
                match role {
                    Role::Sender => Kind::BareSender {
                        initiator: Box::new(BareInitiator::new(local)?),
                        keys: None,
                    },
                    Role::Receiver => Kind::BareReceiver {
                        responder: BareResponder::new(local),
                    },
                }
            }
        };
        let rng = SeedRng::new(&rng.seed(), "p2pcopy 1 probes");
        Ok(Engine {
            role,
            only_from,
            heard: false,
            rng,
            kind,
        })
    }

    /// What to send now.
    pub(super) fn datagram(&mut self, reach: Reach, slot: u32, unix_nanos: u64) -> Vec<u8> {
        let (role, heard) = (self.role, self.heard);
        let random = self.rng.array();
        let probe = |key: &ProbeKey| {
            Probe {
                role,
                heard,
                slot,
                unix_nanos,
                random,
            }
            .encode(key)
            .to_vec()
        };
        match (&self.kind, reach) {
            (Kind::Sender { initiator, .. }, Reach::Full) => initiator.message_1().to_vec(),
            (Kind::Sender { probes, .. } | Kind::Receiver { probes, .. }, _) => probe(&probes.key),
            (Kind::BareSender { initiator, .. }, _) => initiator
                .message_3()
                .unwrap_or_else(|| initiator.hello())
                .to_vec(),
            (Kind::BareReceiver { .. }, _) => BareResponder::hello(),
        }
    }

    /// Takes a datagram whose first byte is a handshake's.
    pub(super) fn handle(&mut self, path: Path, datagram: &[u8]) -> Heard {
        let heard = match self.only_from {
            None => self.handle_full(datagram),
            Some(ip) if ip == path.remote.ip() => self.handle_bare(datagram),
            Some(_) => Heard::Forged,
        };
        self.heard |= matches!(heard, Heard::Peer { .. });
        heard
    }

    fn handle_full(&mut self, datagram: &[u8]) -> Heard {
        let role = self.role;
        match (&mut self.kind, datagram.first()) {
            (_, Some(&packet::HELLO)) if hello_header(datagram).is_some() => Heard::BareHello,
            (Kind::Sender { initiator, probes }, Some(&packet::PROBE)) => match probes.read(datagram, role) {
                Ok(probe) => Heard::Peer {
                    reply: Some(initiator.message_1().to_vec()),
                    keys: None,
                    peer_unix_nanos: Some(probe.unix_nanos),
                },
                Err(heard) => heard,
            },
            (Kind::Receiver { probes, .. }, Some(&packet::PROBE)) => match probes.read(datagram, role) {
                Ok(probe) => {
                    let answer = Probe {
                        role,
                        heard: true,
                        random: self.rng.array(),
                        ..probe
                    };
                    Heard::Peer {
                        reply: Some(answer.encode(&probes.key).to_vec()),
                        keys: None,
                        peer_unix_nanos: Some(probe.unix_nanos),
                    }
                }
                Err(heard) => heard,
            },
            (Kind::Receiver { responder, .. }, Some(&packet::MESSAGE_1)) => {
                match responder.read_message_1(datagram) {
                    Ok(reply) => Heard::Peer {
                        reply: Some(reply.message_2),
                        keys: reply.keys.map(Box::new),
                        peer_unix_nanos: None,
                    },
                    Err(error) => judged(error),
                }
            }
            (Kind::Sender { initiator, .. }, Some(&packet::MESSAGE_2)) => {
                match initiator.read_message_2(datagram) {
                    Ok(keys) => Heard::Peer {
                        reply: None,
                        keys: Some(Box::new(keys)),
                        peer_unix_nanos: None,
                    },
                    Err(error) => judged(error),
                }
            }
            _ => Heard::Forged,
        }
    }

    fn handle_bare(&mut self, datagram: &[u8]) -> Heard {
        let answer = |reply| Heard::Peer {
            reply,
            keys: None,
            peer_unix_nanos: None,
        };
        match (&mut self.kind, datagram.first()) {
            (kind, Some(&packet::HELLO)) => match (hello_header(datagram), kind) {
                (Some(header), _) if header.role == self.role => Heard::SameRole,
                (Some(_), Kind::BareReceiver { responder }) => match responder.read_hello(datagram) {
                    Some(message_2) => answer(Some(message_2)),
                    None => Heard::Forged,
                },
                // The receiver's hello proves nothing, but shows the port to try.
                (
                    Some(_),
                    Kind::BareSender {
                        initiator,
                        keys: None,
                    },
                ) => answer(Some(initiator.hello().to_vec())),
                (Some(_), _) => Heard::Copy,
                (None, _) => Heard::Forged,
            },
            (Kind::BareSender { initiator, keys }, Some(&packet::MESSAGE_2)) => {
                match initiator.read_message_2(datagram) {
                    Ok(fresh) => {
                        *keys = Some(Box::new(fresh));
                        answer(initiator.message_3().map(<[u8]>::to_vec))
                    }
                    Err(HandshakeError::Replayed) => Heard::Copy,
                    Err(error) => judged(error),
                }
            }
            (
                Kind::BareSender {
                    initiator,
                    keys: keys @ Some(_),
                },
                Some(&packet::PROBE),
            ) if initiator.is_confirmation(datagram) => Heard::Peer {
                reply: None,
                keys: keys.take(),
                peer_unix_nanos: None,
            },
            (Kind::BareReceiver { responder }, Some(&packet::MESSAGE_3)) => {
                match responder.read_message_3(datagram) {
                    Ok((keys, confirmation)) => Heard::Peer {
                        reply: Some(confirmation.to_vec()),
                        keys: keys.map(Box::new),
                        peer_unix_nanos: None,
                    },
                    Err(error) => judged(error),
                }
            }
            _ if has_the_shape_of_ours(datagram) => Heard::WholeAddressProbe,
            _ => Heard::Forged,
        }
    }

    pub(super) fn into_responder(self) -> Responder {
        Responder {
            kind: match self.kind {
                Kind::Receiver { responder, .. } => Late::Kk(responder),
                Kind::BareReceiver { responder } => Late::Bare(responder, self.only_from),
                Kind::Sender { .. } | Kind::BareSender { .. } => Late::Nothing,
            },
        }
    }
}

/// Whether a datagram that did not authenticate could be of another run of ours, by its looks.
pub(super) fn has_the_shape_of_ours(datagram: &[u8]) -> bool {
    match datagram.first() {
        Some(&packet::PROBE) => datagram.len() == Probe::LEN,
        Some(&packet::MESSAGE_1) => datagram.len() == kk::MESSAGE_1_LEN,
        _ => false,
    }
}

/// Whether a handshake's error is to be counted or ends it.
fn judged(error: HandshakeError) -> Heard {
    match error {
        HandshakeError::Forged | HandshakeError::Malformed => Heard::Forged,
        HandshakeError::Replayed => Heard::Copy,
        fatal => Heard::Fatal(fatal),
    }
}

/// What remains of a punch beside the connection: the answers to late copies of the peer's handshake. The
/// sender may have lost our first answer, and asks until one arrives. Whoever sees such a message could send copies
/// of it in anybody's name, so this ends with the first sealed packet: it shows that the answer has arrived.
pub struct Responder {
    kind: Late,
}

enum Late {
    /// The sender's end has nothing to answer: it was connected by the last word.
    Nothing,
    Kk(kk::Responder),
    Bare(BareResponder, Option<IpAddr>),
}

impl Responder {
    /// The peer's first sealed packet has opened: nothing is answered any more.
    pub fn confirm(&mut self) {
        self.kind = Late::Nothing;
    }

    /// The answer to send back along `path`, if the datagram is a copy of a handshake message already
    /// accepted. Everything else is ignored; nothing changes.
    pub fn handle_datagram(&mut self, path: Path, datagram: &[u8]) -> Option<Vec<u8>> {
        match (&mut self.kind, datagram.first()) {
            (Late::Kk(responder), Some(&packet::MESSAGE_1)) => responder.known_answer(datagram),
            (Late::Bare(responder, ip), Some(&packet::MESSAGE_3))
                if ip.is_none_or(|ip| ip == path.remote.ip()) =>
            {
                responder
                    .read_message_3(datagram)
                    .ok()
                    .map(|(_, confirmation)| confirmation.to_vec())
            }
            _ => None,
        }
    }
}
