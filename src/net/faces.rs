//! Which of this machine's addresses a datagram was sent to, so that its answer leaves from there.
//!
//! To whoever asked a server with several addresses, an answer from another one is a stranger's, and a NAT drops it. Each
//! address that a socket is reached at has a number of its own, which the paths of its datagrams carry.

use std::net::IpAddr;

/// Above the numbers of sockets.
const FIRST: u8 = 64;
/// Below the number of TCP's. Of an address beyond that, the system chooses where answers leave from.
const MOST: usize = 128;

/// The addresses at which sockets were reached so far.
#[derive(Debug, Default)]
pub(super) struct Faces(Vec<(u8, IpAddr)>);

impl Faces {
    /// The number of a socket where it was reached at this address.
    pub(super) fn number(&mut self, socket: u8, at: IpAddr) -> u8 {
        let face = (socket, at);
        let known = self.0.iter().position(|known| *known == face);
        let index = known.or_else(|| {
            let has_room = self.0.len() < MOST && !at.is_multicast();
            has_room.then(|| {
                self.0.push(face);
                self.0.len() - 1
            })
        });
        index
            .and_then(|index| u8::try_from(index).ok())
            .map_or(socket, |index| FIRST + index)
    }

    /// The socket that a number stands for, and the address to send from, if it matters.
    pub(super) fn socket(&self, number: u8) -> (u8, Option<IpAddr>) {
        let index = number.checked_sub(FIRST).map(usize::from);
        match index.and_then(|index| self.0.get(index)) {
            Some((socket, at)) => (*socket, Some(*at)),
            None => (number, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_address_of_a_socket_has_a_number_that_leads_back_to_it() {
        let mut faces = Faces::default();
        let at = |last: u32| IpAddr::from(Ipv4Addr::from(0xc000_0200 + last));
        for last in 1..=100 {
            for socket in [0, 1] {
                let number = faces.number(socket, at(last));
                assert_eq!(faces.number(socket, at(last)), number);
                // Beyond what there is room for, only the socket counts.
                let address = (last <= 64).then(|| at(last));
                assert_eq!(faces.socket(number), (socket, address));
                assert_ne!(number, super::super::TCP);
            }
        }
        assert_eq!(faces.socket(2), (2, None));
    }
}
