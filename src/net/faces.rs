//! The addresses of this machine at which datagrams arrive, so that answers leave from there.
//!
//! If a server has several addresses and answers from another one than was asked, the client takes the answer for a
//! stranger's, and its NAT drops it. So each address at which a socket is reached has a number, and the paths of its
//! datagrams carry this number.

use std::net::IpAddr;

/// The first number: larger than the numbers of sockets.
const FIRST: u8 = 64;
/// The numbers stay below TCP's. For further addresses the system chooses the source of answers.
const MOST: usize = 128;

/// The addresses at which sockets were reached so far.
#[derive(Debug, Default)]
pub(super) struct Faces(Vec<(u8, IpAddr)>);

impl Faces {
    /// The number of a socket and the address at which it was reached.
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

    /// The socket of a number, and the address to send from, if there is one.
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
                // If there is no number left, only the socket counts.
                let address = (last <= 64).then(|| at(last));
                assert_eq!(faces.socket(number), (socket, address));
                assert_ne!(number, super::super::TCP);
            }
        }
        assert_eq!(faces.socket(2), (2, None));
    }
}
