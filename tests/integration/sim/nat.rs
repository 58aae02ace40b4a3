//! A home router in virtual time: endpoint-independent mapping, any filtering (RFC 4787), and rebindings.

use std::net::SocketAddr;

use p2pcopy::parts::protocol::Path;

/// Sockets of each end, as the program has.
pub const SOCKETS: usize = 4;

/// Whose datagrams a mapping lets in (RFC 4787, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filtering {
    /// Anybody's.
    EndpointIndependent,
    /// Those of addresses that something was sent to, from any port.
    AddressDependent,
    /// Those of addresses and ports that something was sent to.
    AddressAndPortDependent,
}

impl Filtering {
    pub const ALL: [Filtering; 3] = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ];
}

/// What a router forgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rebinding {
    /// Whom its sockets have sent to; the ports are the same again.
    Contacts,
    /// One socket's port.
    OnePort(u8),
    /// All ports.
    AllPorts,
    /// All ports and the public address.
    Address,
}

/// The router of one end.
#[derive(Clone, Debug)]
pub struct Nat {
    filtering: Filtering,
    /// Public address of each socket.
    mapped: [SocketAddr; SOCKETS],
    /// Whom each socket has sent to since its mapping began.
    contacts: [Vec<SocketAddr>; SOCKETS],
    next: u16,
}

impl Nat {
    pub fn new(filtering: Filtering, last_octet: u8) -> Self {
        let mut nat = Nat {
            filtering,
            mapped: [SocketAddr::from(([10, 0, 0, last_octet], 0)); SOCKETS],
            contacts: Default::default(),
            next: 4000,
        };
        (0..SOCKETS).for_each(|k| nat.renumber(k));
        nat
    }

    fn renumber(&mut self, socket: usize) {
        self.mapped[socket].set_port(self.next);
        self.contacts[socket].clear();
        self.next += 1;
    }

    /// The public address of a socket.
    pub fn address(&self, socket: usize) -> SocketAddr {
        self.mapped[socket]
    }

    /// A datagram leaves; gives the address it comes from.
    pub fn outbound(&mut self, socket: u8, to: SocketAddr) -> SocketAddr {
        let contacts = &mut self.contacts[usize::from(socket)];
        if !contacts.contains(&to) {
            contacts.push(to);
        }
        self.mapped[usize::from(socket)]
    }

    /// A datagram arrives from outside; gives the socket it is handed to, if it passes.
    pub fn inbound(&self, from: SocketAddr, to: SocketAddr) -> Option<u8> {
        let socket = self.mapped.iter().position(|m| *m == to)?;
        let contacts = &self.contacts[socket];
        let passes = match self.filtering {
            Filtering::EndpointIndependent => !contacts.is_empty(),
            Filtering::AddressDependent => contacts.iter().any(|c| c.ip() == from.ip()),
            Filtering::AddressAndPortDependent => contacts.contains(&from),
        };
        passes.then(|| u8::try_from(socket).unwrap())
    }

    pub fn rebind(&mut self, how: Rebinding) {
        match how {
            Rebinding::Contacts => self.contacts.iter_mut().for_each(Vec::clear),
            Rebinding::OnePort(socket) => self.renumber(usize::from(socket)),
            Rebinding::AllPorts => (0..SOCKETS).for_each(|k| self.renumber(k)),
            Rebinding::Address => {
                for mapped in &mut self.mapped {
                    let SocketAddr::V4(v4) = mapped else {
                        unreachable!()
                    };
                    let [a, b, c, d] = v4.ip().octets();
                    v4.set_ip([a, b, c + 1, d].into());
                }
                (0..SOCKETS).for_each(|k| self.renumber(k));
            }
        }
    }

    /// Whether a datagram from `from` would reach `socket` once this end has sent everywhere it knows.
    fn could_admit(&self, socket: usize, from: SocketAddr, knows: &[Path]) -> bool {
        let mut contacts = knows
            .iter()
            .filter(|p| usize::from(p.local) == socket)
            .map(|p| p.remote);
        match self.filtering {
            Filtering::EndpointIndependent => contacts.next().is_some(),
            Filtering::AddressDependent => contacts.any(|c| c.ip() == from.ip()),
            Filtering::AddressAndPortDependent => contacts.any(|c| c == from),
        }
    }
}

/// Whether two ends can still find each other, each by sending wherever it `knows`: some datagram must reach the other
/// end, which then knows where to answer, and is expected there.
pub fn can_meet(nats: [&Nat; 2], knows: [&[Path]; 2]) -> bool {
    [0, 1].into_iter().any(|from| {
        let to = 1 - from;
        knows[from].iter().any(|path| {
            let source = nats[from].address(usize::from(path.local));
            let socket = nats[to].mapped.iter().position(|m| *m == path.remote);
            socket.is_some_and(|socket| nats[to].could_admit(socket, source, knows[to]))
        })
    })
}
