//! Datagrams of strangers and of a lying server.

use std::net::SocketAddr;
use std::time::Duration;

use super::{UNIX, World, server_address};
use crate::protocol::Path;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::Words;
use crate::rendezvous::meeting::pake::{End, Exchange};
use crate::rendezvous::meeting::wire::{
    Bind, BindWant, Hello, Open, SessionId, Standing, State, Want, packet,
};

#[derive(Debug)]
pub(in super::super) struct Flooded {
    pub(in super::super) replies: usize,
    pub(in super::super) longer: usize,
}

impl World {
    /// Sends forged, replayed and true datagrams from anywhere. Counts those that were answered, and those
    /// answered with more bytes.
    pub(in super::super) fn flood(&mut self, count: usize) -> Flooded {
        self.drain();
        let mut flooded = Flooded {
            replies: 0,
            longer: 0,
        };
        let true_session = self.clients[0].session.expect("a client has spoken");
        for number in 0..count {
            let ip: [u8; 4] = self.rng.array();
            let path = Path {
                local: 0,
                remote: SocketAddr::from((ip, 4300)),
            };
            let open = |cookie, session| Open {
                errand: Errand::Receive,
                want: Want::Wait(None),
                session,
                cookie,
                proof: [0; 16],
                rtt: Duration::ZERO,
                message: [1; _],
                sealed: Vec::new(),
            };
            let bind = Bind {
                end: End::Owner,
                want: BindWant::Bind,
                session: SessionId(self.rng.next_u64()),
                cookie: self.rng.array(),
                proof: [0; 16],
                ticket: self.rng.array(),
            };
            let datagram = match number % 6 {
                0 => Hello { id: number as u64 }.encode(),
                1 => open(self.rng.array(), SessionId(self.rng.next_u64())).encode(),
                // A session and a cookie of somebody else.
                2 => open(true_session.1, true_session.0).encode(),
                3 => vec![packet::OPEN; 1 + (self.rng.next_u64() % 1400) as usize],
                4 => bind.encode(),
                _ => vec![self.rng.next_u64() as u8; 1 + (self.rng.next_u64() % 1400) as usize],
            };
            self.server.handle_datagram(self.now, path, &datagram);
            assert!(self.server.poll_relayed(&mut Vec::new()).is_none());
            while let Some((to, reply)) = self.server.poll_transmit() {
                flooded.replies += 1;
                flooded.longer += usize::from(reply.len() > datagram.len() || to != path);
            }
        }
        flooded
    }

    /// Plays a server that answers as the joiner of a client's code, with words of its choice. Returns what
    /// it can read of the client's address.
    pub(in super::super) fn impersonate(
        &mut self,
        client: usize,
        words: Words,
        peer: &str,
    ) -> Option<String> {
        self.drain();
        let path = Path {
            local: 0,
            remote: server_address(0),
        };
        let now = self.now;
        let session = self.clients[client].session.expect("it has spoken").0;
        let meeting = self.clients[client].meeting.as_mut().expect("it runs");
        let exchange = Exchange::new(End::Joiner, words.to_string().as_bytes(), &[9; 32]);
        let mut state = State {
            session,
            standing: Standing::Paired(End::Owner),
            unix_nanos: UNIX,
            nameplate: None,
            moment: 0,
            message: exchange.message().try_into().expect("33 bytes"),
            sealed: Vec::new(),
        };
        meeting.handle_datagram(now, path, &state.encode());
        let mut opens = Vec::new();
        while let Some((_, payload)) = meeting.poll_transmit() {
            opens.extend(Open::decode(&payload).ok());
        }
        let open = opens.pop().expect("it answers");
        let keys = exchange.finish(End::Joiner, &open.message).expect("well formed");
        let learnt = keys.open(&open.sealed).ok();
        state.sealed = keys.seal(peer);
        state.moment = u64::MAX;
        meeting.handle_datagram(now, path, &state.encode());
        learnt
    }
}
