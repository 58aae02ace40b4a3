//! UDP sockets: binding them, and sending and receiving bursts.

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Sockets of each run: the port the user named or was given, and three beside it (docs/design.md, port pairs).
const IPV4_SOCKETS: u16 = 4;
/// Socket buffers asked for, largest first; the system may grant less.
const BUFFERS: [usize; 4] = [16 << 20, 8 << 20, 4 << 20, 1 << 20];
/// With a receive buffer below this a busy moment of this machine loses packets at several Gbit/s.
const ENOUGH_BUFFER: usize = 1 << 20;
/// Lifetime of ordinary packets, as the system's default.
const DEFAULT_TTL: u32 = 64;
/// Largest burst the kernel takes in one call, bytes.
const MAX_BURST: usize = 65_000;

/// One UDP socket.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    ipv6: bool,
    /// Whether bursts may be left to the system to cut up.
    offload: bool,
}

impl Socket {
    fn new(io: UdpSocket, offload: bool) -> io::Result<Self> {
        let ipv6 = io.local_addr()?.is_ipv6();
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        for bytes in BUFFERS {
            let sock = UdpSockRef::from(&io);
            // Not being given large buffers costs speed on fast paths, nothing else.
            let _ = state.set_send_buffer_size(sock, bytes.min(4 << 20));
            if state.set_recv_buffer_size(UdpSockRef::from(&io), bytes).is_ok() {
                break;
            }
        }
        Ok(Socket {
            io,
            state,
            ipv6,
            offload,
        })
    }

    pub(super) fn io(&self) -> &UdpSocket {
        &self.io
    }

    /// Sends what one system call takes of `contents`, segments of `segment` bytes each, to `remote`. Says how many
    /// bytes that was.
    pub(super) fn send(&self, remote: SocketAddr, contents: &[u8], segment: usize) -> io::Result<usize> {
        let segments = if self.offload {
            self.state.max_gso_segments()
        } else {
            1
        };
        let most = (MAX_BURST / segment.max(1)).clamp(1, segments) * segment;
        let burst = &contents[..contents.len().min(most)];
        let transmit = quinn_udp::Transmit {
            destination: remote,
            ecn: None,
            contents: burst,
            segment_size: (burst.len() > segment).then_some(segment),
            src_ip: None,
        };
        match self.state.try_send(UdpSockRef::from(&self.io), &transmit) {
            Ok(()) => Ok(burst.len()),
            // The interface cannot segment after all, and from now on the count above says so: one by one.
            Err(_) if burst.len() > segment && self.state.max_gso_segments() == 1 => {
                self.send(remote, contents, segment)
            }
            Err(e) => Err(e),
        }
    }

    /// Sends one datagram that lives for `ttl` hops.
    pub(super) fn send_with_ttl(&self, remote: SocketAddr, contents: &[u8], ttl: u8) -> io::Result<usize> {
        self.set_ttl(u32::from(ttl))?;
        let sent = self.send(remote, contents, contents.len());
        self.set_ttl(DEFAULT_TTL)?;
        sent
    }

    fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let sock = socket2::SockRef::from(&self.io);
        if self.ipv6 {
            sock.set_unicast_hops_v6(ttl)
        } else {
            sock.set_ttl_v4(ttl)
        }
    }

    pub(super) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv(UdpSockRef::from(&self.io), buffers, metas)
    }
}

/// The sockets of a run, and the ports they got.
#[derive(Debug)]
pub struct Ports {
    pub(super) sockets: Vec<Socket>,
    /// Local IPv4 ports, in the order of the sockets.
    pub ipv4: Vec<u16>,
    /// Index and port of the IPv6 socket, if the system has IPv6.
    pub ipv6: Option<(u8, u16)>,
}

impl Ports {
    /// Bytes that the system buffers for the first socket, if that is little for a fast path.
    pub fn small_buffer(&self) -> Option<usize> {
        let socket = self.sockets.first()?;
        let bytes = socket.state.recv_buffer_size(UdpSockRef::from(&socket.io)).ok()?;
        (bytes < ENOUGH_BUFFER).then_some(bytes)
    }
}

/// Binds the sockets of a run. With `port` given, the first has exactly that one. `offload`: whether bursts may be
/// left to the system to cut up (GSO), where it can.
///
/// # Errors
/// If that port is taken, or no socket can be had at all.
pub fn bind(port: Option<u16>, offload: bool) -> io::Result<Ports> {
    let any = |port: u16| bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let mut sockets = vec![Socket::new(any(port.unwrap_or(0))?, offload)?];
    let mut ipv4 = vec![sockets[0].io.local_addr()?.port()];
    for i in 1..IPV4_SOCKETS {
        // Neighbouring ports are easier to read in a capture; any other does as well.
        let near = ipv4[0]
            .checked_add(i)
            .map_or_else(|| any(0), |p| any(p).or_else(|_| any(0)))?;
        ipv4.push(near.local_addr()?.port());
        sockets.push(Socket::new(near, offload)?);
    }
    let ipv6 = match bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, ipv4[0])))
        .or_else(|_| bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))))
        .and_then(|io| Ok((io.local_addr()?.port(), Socket::new(io, offload)?)))
    {
        Ok((port, socket)) => {
            sockets.push(socket);
            Some((IPV4_SOCKETS as u8, port))
        }
        Err(_) => None,
    };
    Ok(Ports { sockets, ipv4, ipv6 })
}

/// A socket on exactly this address. It stays unconnected: the peer may answer from anywhere, and a connected
/// one would report the ICMP errors that low-TTL packets provoke.
fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
