//! UDP sockets: binds them, and sends and receives bursts.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::interfaces;
use super::nat64::Nat64;
use super::sys;
use crate::protocol::ecn::Ecn;

/// IPv4 sockets of each run: the port that the user named or the system chose, and three more
/// (docs/design.md, port pairs).
const IPV4_SOCKETS: u16 = 4;
/// Socket buffer sizes to ask for, largest first. The system may grant less.
const BUFFERS: [usize; 4] = [16 << 20, 8 << 20, 4 << 20, 1 << 20];
/// With a smaller receive buffer, this machine loses packets at several Gbit/s while it is busy.
const ENOUGH_BUFFER: usize = 1 << 20;
/// TTL of ordinary packets; the default of most systems.
const DEFAULT_TTL: u32 = 64;
/// The largest burst that one call hands to the kernel, in bytes.
const MAX_BURST: usize = 65_000;

/// The most ICMP error reports that one call skips.
const MOST_REPORTS: usize = 64;
/// WSAENETRESET: the TTL of an earlier packet expired on its way.
const NET_RESET: i32 = 10052;

#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    ipv6: bool,
    /// Whether the system may split and join bursts.
    offload: bool,
    /// For an IPv6 socket that serves IPv4 addresses: the translator's prefix.
    nat64: Option<Nat64>,
    /// Sends and receives many datagrams in one call. Without it, each datagram takes a call.
    bursts: Option<UdpSocketState>,
}

impl Socket {
    /// `offload`: whether the system may split and join bursts. If it cannot (Wine; some drivers and
    /// kernels), each datagram takes a call.
    fn new(io: UdpSocket, offload: bool) -> io::Result<Self> {
        let ipv6 = io.local_addr()?.is_ipv6();
        let bursts = offload
            .then(|| UdpSocketState::new(UdpSockRef::from(&io)).ok())
            .flatten();
        if bursts.is_none() {
            sys::dont_fragment(&io, ipv6);
        }
        sys::without_timestamps(&io);
        sys::ignore_icmp(&io);
        let sock = SockRef::from(&io);
        for bytes in BUFFERS {
            // If the system grants no large buffers, fast paths are slower. Nothing else suffers.
            let _ = sock.set_send_buffer_size(bytes.min(4 << 20));
            if sock.set_recv_buffer_size(bytes).is_ok() {
                break;
            }
        }
        Ok(Socket {
            io,
            ipv6,
            offload,
            nat64: None,
            bursts,
        })
    }

    /// A socket with the same settings on a port of its own.
    pub(super) fn another(&self) -> io::Result<Self> {
        let any = interfaces::unspecified(self.io.local_addr()?.ip());
        Ok(Socket {
            nat64: self.nat64,
            ..Socket::new(bind_one(SocketAddr::new(any, 0))?, self.offload)?
        })
    }

    pub(super) fn io(&self) -> &UdpSocket {
        &self.io
    }

    /// Sends `contents` to `remote` in segments of `segment` bytes, as much as one system call takes. If the system
    /// can, they have the mark `ecn` and leave from the address `source`. Returns the number of bytes sent.
    pub(super) fn send(
        &self,
        source: Option<IpAddr>,
        remote: SocketAddr,
        contents: &[u8],
        segment: usize,
        ecn: Ecn,
    ) -> io::Result<usize> {
        let remote = self.nat64.map_or(remote, |nat64| nat64.outward(remote));
        let Some(state) = &self.bursts else {
            let datagram = &contents[..contents.len().min(segment)];
            return self.io.send_to(datagram, remote);
        };
        let most = (MAX_BURST / segment.max(1)).clamp(1, state.max_gso_segments()) * segment;
        let burst = &contents[..contents.len().min(most)];
        let transmit = quinn_udp::Transmit {
            destination: remote,
            ecn: (ecn == Ecn::Ect0).then_some(EcnCodepoint::Ect0),
            contents: burst,
            segment_size: (burst.len() > segment).then_some(segment),
            src_ip: source,
        };
        match state.try_send(UdpSockRef::from(&self.io), &transmit) {
            Ok(()) => Ok(burst.len()),
            // The interface cannot segment after all. From now on `max_gso_segments` says so, and segments
            // are sent one by one.
            Err(_) if burst.len() > segment && state.max_gso_segments() == 1 => {
                self.send(source, remote, contents, segment, ecn)
            }
            Err(e) => Err(e),
        }
    }

    /// Sends one datagram with this TTL.
    pub(super) fn send_with_ttl(&self, remote: SocketAddr, contents: &[u8], ttl: u8) -> io::Result<usize> {
        self.set_ttl(u32::from(ttl))?;
        let sent = self.send(None, remote, contents, contents.len(), Ecn::NotEct);
        self.set_ttl(DEFAULT_TTL)?;
        sent
    }

    /// Sends one datagram that passes at most `routers` routers and never reaches a host: see
    /// [`sys::timestamp_option`]. Errors are not reported, as a system or firewall may refuse the option; the
    /// other packets show what is wrong.
    pub(super) fn send_through(&self, remote: SocketAddr, contents: &[u8], routers: u8) -> io::Result<usize> {
        if !self.ipv6 && sys::set_ip_options(&self.io, &sys::timestamp_option(routers)).is_ok() {
            // Where routers ignore the option, the TTL stops the datagram.
            let _ = self.send_with_ttl(remote, contents, routers + 1);
            sys::set_ip_options(&self.io, &[])?;
        }
        Ok(contents.len())
    }

    fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let sock = SockRef::from(&self.io);
        if self.ipv6 {
            sock.set_unicast_hops_v6(ttl)
        } else {
            sock.set_ttl_v4(ttl)
        }
    }

    /// Fills `buffers` with what has arrived, and returns how many it filled. Skips reports of ICMP errors
    /// about sent packets, so that they do not delay datagrams that wait.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived. Any other error means that the socket cannot be used any more.
    pub(super) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let mut filled = 0;
        let mut reports = 0;
        while filled < buffers.len() {
            match self.receive_some(&mut buffers[filled..], &mut metas[filled..]) {
                Ok(count) => {
                    filled += count;
                    if self.bursts.is_some() && count < BATCH_SIZE {
                        break;
                    }
                }
                Err(e) if is_icmp_report(&e) && reports < MOST_REPORTS => reports += 1,
                Err(_) if filled > 0 => break,
                Err(e) => return Err(e),
            }
        }
        if let Some(nat64) = self.nat64 {
            for meta in &mut metas[..filled] {
                meta.addr = nat64.inward(meta.addr);
            }
        }
        Ok(filled)
    }

    /// Receives as much as one system call gives.
    fn receive_some(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        if let Some(state) = &self.bursts {
            return state.recv(UdpSockRef::from(&self.io), buffers, metas);
        }
        let (len, addr) = self.io.recv_from(&mut buffers[0])?;
        metas[0] = RecvMeta::default();
        (metas[0].addr, metas[0].len, metas[0].stride) = (addr, len, len);
        Ok(1)
    }
}

/// Whether a receive error is about an earlier packet: it found no open port, or its TTL expired, as it is
/// meant to on packets of low TTL.
fn is_icmp_report(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionReset | ConnectionRefused | HostUnreachable | NetworkUnreachable
    ) || is_ttl_report(error)
}

/// Whether a receive error says that the TTL of an earlier packet expired. Only Windows reports that.
pub(super) fn is_ttl_report(error: &io::Error) -> bool {
    cfg!(windows) && error.raw_os_error() == Some(NET_RESET)
}

/// The sockets of a run, and their ports.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(super) sockets: Vec<Socket>,
    /// Local IPv4 ports, in the order of the sockets.
    pub ipv4: Vec<u16>,
    /// Index and port of the IPv6 socket, if the system has IPv6.
    pub ipv6: Option<(u8, u16)>,
}

impl Ports {
    /// The size of the first socket's receive buffer in bytes, if that is small for a fast path.
    pub(crate) fn small_buffer(&self) -> Option<usize> {
        let socket = self.sockets.first()?;
        let bytes = SockRef::from(&socket.io).recv_buffer_size().ok()?;
        (bytes < ENOUGH_BUFFER).then_some(bytes)
    }
}

/// Binds the sockets of a run. With `port` given, the first one has exactly that port. `offload`: whether the
/// system may split and join bursts (GSO, GRO, `recvmmsg`), where it can; otherwise each datagram takes a
/// call. `nat64`: the translator's prefix, on a machine without IPv4; the IPv4 sockets are then IPv6 sockets
/// that send to translated addresses.
///
/// # Errors
/// If that port is in use, or no socket can be bound at all.
pub(crate) fn bind(port: Option<u16>, offload: bool, nat64: Option<Nat64>) -> io::Result<Ports> {
    let unspecified: IpAddr = match nat64 {
        None => Ipv4Addr::UNSPECIFIED.into(),
        Some(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let any = |port: u16| bind_one(SocketAddr::new(unspecified, port));
    let set_up = |io: UdpSocket| {
        Ok::<_, io::Error>(Socket {
            nat64,
            ..Socket::new(io, offload)?
        })
    };
    let mut sockets = vec![set_up(any(port.unwrap_or(0))?)?];
    let mut ipv4 = vec![sockets[0].io.local_addr()?.port()];
    for i in 1..IPV4_SOCKETS {
        // Neighbouring ports are easier to read in a capture, but any port works.
        let near = ipv4[0]
            .checked_add(i)
            .map_or_else(|| any(0), |p| any(p).or_else(|_| any(0)))?;
        ipv4.push(near.local_addr()?.port());
        sockets.push(set_up(near)?);
    }
    let six = |port: u16| {
        let io = bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        Ok::<_, io::Error>((io.local_addr()?.port(), Socket::new(io, offload)?))
    };
    let ipv6 = six(ipv4[0]).or_else(|_| six(0)).ok().map(|(port, socket)| {
        sockets.push(socket);
        (IPV4_SOCKETS as u8, port)
    });
    Ok(Ports { sockets, ipv4, ipv6 })
}

/// Binds sockets on exactly these addresses.
///
/// # Errors
/// If a socket cannot be bound: its address and the reason.
pub(crate) fn bind_at(addresses: &[SocketAddr]) -> Result<Ports, (SocketAddr, io::Error)> {
    let mut ports = Ports {
        sockets: Vec::new(),
        ipv4: Vec::new(),
        ipv6: None,
    };
    for &address in addresses {
        let mut bind = || {
            let io = bind_one(address)?;
            let port = io.local_addr()?.port();
            let local = u8::try_from(ports.sockets.len()).map_err(io::Error::other)?;
            ports.sockets.push(Socket::new(io, true)?);
            match address {
                SocketAddr::V4(_) => ports.ipv4.push(port),
                SocketAddr::V6(_) => ports.ipv6 = Some((local, port)),
            }
            Ok(())
        };
        bind().map_err(|e| (address, e))?;
    }
    Ok(ports)
}

/// Adds a socket at the next port of each IPv4 address, if that port is free.
pub(crate) fn bind_beside(ports: &mut Ports) -> io::Result<()> {
    for index in 0..ports.sockets.len() {
        let address = ports.sockets[index].io.local_addr()?;
        let next = address.port().checked_add(1).filter(|_| address.is_ipv4());
        if let Some(io) = next.and_then(|port| bind_one(SocketAddr::new(address.ip(), port)).ok()) {
            ports.sockets.push(Socket::new(io, true)?);
        }
    }
    Ok(())
}

/// A socket on exactly this address. It stays unconnected: the peer may answer from any address, and a
/// connected socket would report the ICMP errors that low-TTL packets cause.
fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends three full segments and a short one to `to`, and returns what arrives there.
    fn segments_that_arrive(from: &Socket, to: &Socket) -> Vec<Vec<u8>> {
        let contents: Vec<u8> = (0..3_500u16).map(|i| i as u8).collect();
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, to.io.local_addr().unwrap().port()));
        let mut left = 0;
        while left < contents.len() {
            left += from
                .send(None, remote, &contents[left..], 1_000, Ecn::NotEct)
                .unwrap();
        }
        let mut arrived: Vec<Vec<u8>> = Vec::new();
        let mut space = vec![vec![0; 65_536]; 4];
        while arrived.iter().map(Vec::len).sum::<usize>() < contents.len() {
            let mut slices: Vec<IoSliceMut<'_>> = space.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let mut metas = [RecvMeta::default(); 4];
            let Ok(count) = to.receive(&mut slices, &mut metas) else {
                // Loopback usually delivers during the send. On a busy Windows it may take a moment.
                std::thread::yield_now();
                continue;
            };
            drop(slices);
            for (buffer, meta) in space.iter().zip(&metas[..count]) {
                assert_eq!(meta.addr.port(), from.io.local_addr().unwrap().port());
                arrived.extend(buffer[..meta.len].chunks(meta.stride).map(<[u8]>::to_vec));
            }
        }
        assert_eq!(arrived.concat(), contents);
        arrived
    }

    fn sockets(offload: bool) -> (Socket, Socket) {
        let mut sockets = bind(None, offload, None).unwrap().sockets;
        (sockets.remove(1), sockets.remove(0))
    }

    #[test]
    fn bursts_and_single_calls_carry_the_same_datagrams() {
        for (sending, receiving) in [(true, true), (true, false), (false, true), (false, false)] {
            let (from, _) = sockets(sending);
            let (_, to) = sockets(receiving);
            let sizes: Vec<usize> = segments_that_arrive(&from, &to).iter().map(Vec::len).collect();
            assert_eq!(sizes, [1_000, 1_000, 1_000, 500], "{sending} {receiving}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn marks_of_a_burst_arrive() {
        let ((from, _), (_, to)) = (sockets(true), sockets(true));
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, to.io.local_addr().unwrap().port()));
        for (ecn, seen) in [(Ecn::Ect0, Some(EcnCodepoint::Ect0)), (Ecn::NotEct, None)] {
            from.send(None, remote, &[7; 2_000], 1_000, ecn).unwrap();
            let mut space = vec![vec![0; 65_536]; 4];
            let mut slices: Vec<IoSliceMut<'_>> = space.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let mut metas = [RecvMeta::default(); 4];
            let count = to.receive(&mut slices, &mut metas).unwrap();
            assert!(
                count > 0 && metas[..count].iter().all(|meta| meta.ecn == seen),
                "{ecn:?}"
            );
        }
    }

    #[test]
    fn without_offload_nothing_is_left_to_the_system() {
        let (from, _) = sockets(false);
        assert!(from.bursts.is_none());
    }

    #[test]
    fn an_icmp_error_neither_ends_a_receive_nor_hides_what_waits() {
        for offload in [true, false] {
            let (from, to) = sockets(offload);
            // Nobody listens there. The ICMP errors that say so come back to `to`.
            let deaf = {
                let gone = bind_one(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
                gone.local_addr().unwrap()
            };
            for _ in 0..10 {
                let _ = to.send_with_ttl(deaf, b"probe", 1);
            }
            let sizes: Vec<usize> = segments_that_arrive(&from, &to).iter().map(Vec::len).collect();
            assert_eq!(sizes, [1_000, 1_000, 1_000, 500]);
        }
    }

    #[test]
    fn what_windows_says_of_low_ttl_packets_is_no_error_of_the_socket() {
        assert!(is_icmp_report(&io::Error::from(io::ErrorKind::ConnectionReset)));
        assert!(!is_icmp_report(&io::Error::from(io::ErrorKind::WouldBlock)));
        #[cfg(windows)]
        for code in [10052, 10054] {
            assert!(is_icmp_report(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
