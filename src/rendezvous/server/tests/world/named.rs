//! Clients that meet by name, and a client that asks who waits.

use std::net::SocketAddr;
use std::time::Duration;

use super::{To, World, server_address};
use crate::protocol::Path;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::interface::Purpose;
use crate::rendezvous::meeting::list::{Lister, NoList};
use crate::rendezvous::meeting::name::Name;
use crate::rendezvous::meeting::wire::{Names, Present};
use crate::rendezvous::trial::Trial;

fn purpose(own: &str, peer: &str, secret: &str) -> Purpose {
    let names = Names {
        own: Name::parse(own).ok(),
        peer: Name::parse(peer).ok(),
    };
    Purpose::Named(names, secret.as_bytes().to_vec().into())
}

impl World {
    /// Adds a client that meets by name.
    pub(in super::super) fn named(&mut self, errand: Errand, own: &str, peer: &str, secret: &str) -> usize {
        self.arrives(errand, purpose(own, peer, secret))
    }

    /// Lets a client that failed try again.
    pub(in super::super) fn again(
        &mut self,
        client: usize,
        errand: Errand,
        own: &str,
        peer: &str,
        secret: &str,
    ) {
        let meeting = self.meeting(errand, purpose(own, peer, secret));
        self.clients[client].meeting = Some(meeting);
    }

    /// Asks who waits, over a line without delay.
    pub(in super::super) fn list(&mut self) -> Result<Vec<Present>, NoList> {
        let path = Path {
            local: 0,
            remote: server_address(0),
        };
        let back = Path {
            local: 0,
            remote: SocketAddr::from(([203, 0, 113, 250], 5000)),
        };
        let seed: [u8; 32] = self.rng.array();
        let mut lister = Lister::new(path, self.token, &seed, self.now);
        loop {
            if let Some(result) = lister.result() {
                return result;
            }
            while let Some((_, question)) = lister.poll_transmit() {
                self.drain();
                if self.line.lost_percent < 100 {
                    self.deliver(To::Server(back), &question);
                }
                while let Some((_, answer)) = self.server.poll_transmit() {
                    lister.handle_datagram(self.now, path, &answer);
                }
            }
            self.now = self.now.max(lister.poll_timeout().unwrap_or(self.now)) + Duration::from_millis(1);
            lister.handle_timeout(self.now);
        }
    }
}
