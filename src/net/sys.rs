//! System calls that the standard library and our crates do not make: socket options, the clock's tick, the list of
//! temporary IPv6 addresses, and the router of the default route.

#![expect(
    unsafe_code,
    reason = "these are C functions; a pointer that a call passes is to one value that lives until it returns"
)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

/// Forbids the system to fragment datagrams: path MTU discovery needs too large ones to be lost (RFC 8899,
/// section 3). A system that refuses one of these options keeps its own rule, and discovery then only finds less.
pub(super) fn dont_fragment(socket: &UdpSocket, ipv6: bool) {
    for (level, name, value) in fragmentation(ipv6) {
        let _ = set(socket, *level, *name, &value.to_ne_bytes());
    }
}

#[cfg(target_os = "linux")]
const fn fragmentation(ipv6: bool) -> &'static [(i32, i32, i32)] {
    if ipv6 {
        &[
            (
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
            ),
            (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1),
        ]
    } else {
        &[(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)]
    }
}

#[cfg(not(any(windows, target_os = "linux")))]
const fn fragmentation(ipv6: bool) -> &'static [(i32, i32, i32)] {
    if ipv6 {
        &[(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)]
    } else {
        &[(libc::IPPROTO_IP, libc::IP_DONTFRAG, 1)]
    }
}

#[cfg(windows)]
const fn fragmentation(ipv6: bool) -> &'static [(i32, i32, i32)] {
    use windows_sys::Win32::Networking::WinSock::{IP_DONTFRAGMENT, IPPROTO_IP, IPPROTO_IPV6, IPV6_DONTFRAG};
    if ipv6 {
        &[(IPPROTO_IPV6, IPV6_DONTFRAG, 1)]
    } else {
        &[(IPPROTO_IP, IP_DONTFRAGMENT, 1)]
    }
}

/// Stops the receive timestamps that quinn-udp 0.6.3 asks for and nobody here reads. With them the control messages
/// of a joined burst need 112 or 120 bytes, but its buffer has 96, and the ECN bits, which come last, are lost.
#[cfg(target_os = "linux")]
pub(super) fn without_timestamps(socket: &UdpSocket) {
    let off = 0_i32.to_ne_bytes();
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &off);
}

#[cfg(not(target_os = "linux"))]
pub(super) const fn without_timestamps(_socket: &UdpSocket) {}

/// The number of the socket option for IP options: Linux has its own.
#[cfg(target_os = "linux")]
const IP_OPTIONS: i32 = libc::IP_OPTIONS;
/// The number in netinet/in.h of macOS and the BSDs and in ws2ipdef.h of Windows. The crates do not define it
/// for all of them.
#[cfg(not(target_os = "linux"))]
const IP_OPTIONS: i32 = 1;

/// Sets the IP options of all datagrams from now on. An empty slice removes them.
pub(super) fn set_ip_options(socket: &UdpSocket, options: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    use libc::IPPROTO_IP;
    #[cfg(windows)]
    use windows_sys::Win32::Networking::WinSock::IPPROTO_IP;
    set(socket, IPPROTO_IP, IP_OPTIONS, options)
}

/// An IP option with which a datagram passes at most `routers` routers (at most 15) and never reaches a host.
/// It is an internet timestamp (RFC 791, section 3.1) without room for a timestamp. Each device adds one to
/// its four-bit overflow counter, and a device that would make the counter itself overflow must discard the
/// datagram. Unlike with the TTL, the addressee counts, too.
pub(super) const fn timestamp_option(routers: u8) -> [u8; 4] {
    const INTERNET_TIMESTAMP: u8 = 68;
    const LENGTH: u8 = 4;
    const MOST: u8 = 15;
    [INTERNET_TIMESTAMP, LENGTH, LENGTH + 1, (MOST - routers) << 4]
}

#[cfg(unix)]
fn set(socket: &UdpSocket, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor stays open while `socket` is borrowed. The option is read from `value`, whose
    // size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(windows)]
fn set(socket: &UdpSocket, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;

    use windows_sys::Win32::Networking::WinSock::setsockopt;
    // SAFETY: the socket stays open while it is borrowed. The option is read from `value`, whose size is
    // given.
    let result = unsafe {
        setsockopt(
            socket.as_raw_socket() as usize,
            level,
            name,
            value.as_ptr(),
            value.len() as i32,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Tells Windows not to report ICMP errors of earlier packets on the next receive: port unreachable
/// (WSAECONNRESET) and TTL expired (WSAENETRESET), which low-TTL packets cause. Other systems do not report
/// them to unconnected sockets.
#[cfg(windows)]
pub(super) fn ignore_icmp(socket: &UdpSocket) {
    use std::os::windows::io::AsRawSocket;
    use std::ptr::null_mut;

    use windows_sys::Win32::Networking::WinSock::{SIO_UDP_CONNRESET, SIO_UDP_NETRESET, WSAIoctl};
    for code in [SIO_UDP_CONNRESET, SIO_UDP_NETRESET] {
        let off: i32 = 0;
        let mut returned = 0;
        // SAFETY: the socket stays open while it is borrowed. `off` and `returned` outlive the call, which is
        // not overlapped. A system that does not know the code returns an error, and `socket::is_icmp_report`
        // still filters the reports.
        unsafe {
            WSAIoctl(
                socket.as_raw_socket() as usize,
                code,
                (&raw const off).cast(),
                size_of_val(&off) as u32,
                null_mut(),
                0,
                &raw mut returned,
                null_mut(),
                None,
            );
        }
    }
}

#[cfg(not(windows))]
pub(super) const fn ignore_icmp(_socket: &UdpSocket) {}

/// While this value lives, timers of Windows are at most a millisecond late, and not 15.6 ms, the usual tick of its
/// clock. Other systems always have fine timers.
#[derive(Debug)]
pub(super) struct FineTimers(());

#[cfg(windows)]
const TICK_MILLISECONDS: u32 = 1;

impl FineTimers {
    pub(super) fn hold() -> Self {
        // SAFETY: it passes a number. A system that refuses keeps its tick.
        #[cfg(windows)]
        unsafe {
            windows_sys::Win32::Media::timeBeginPeriod(TICK_MILLISECONDS);
        }
        FineTimers(())
    }
}

#[cfg(windows)]
impl Drop for FineTimers {
    fn drop(&mut self) {
        // SAFETY: it passes a number, the one of `hold`, as the system requires.
        unsafe {
            windows_sys::Win32::Media::timeEndPeriod(TICK_MILLISECONDS);
        }
    }
}

/// The IPv6 addresses that are temporary (RFC 8981) or deprecated (RFC 4862, section 5.5.4). Linux lists them
/// in a file. Other systems would need a system call for each address; there the list is empty.
#[expect(clippy::disallowed_methods, reason = "the kernel's table")]
#[cfg(target_os = "linux")]
pub(super) fn passing_addresses() -> Vec<Ipv6Addr> {
    std::fs::read_to_string("/proc/net/if_inet6")
        .map(|table| table.lines().filter_map(passing).collect())
        .unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn passing_addresses() -> Vec<Ipv6Addr> {
    Vec::new()
}

/// The address in a line of `/proc/net/if_inet6` (address, index, prefix, scope, flags, name, in
/// hexadecimal), if it will not stay.
#[cfg(target_os = "linux")]
fn passing(line: &str) -> Option<Ipv6Addr> {
    /// `IFA_F_TEMPORARY | IFA_F_DADFAILED | IFA_F_DEPRECATED` of linux/if_addr.h.
    const PASSING: u32 = 0x01 | 0x08 | 0x20;
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    (flags & PASSING != 0).then(|| Ipv6Addr::from_bits(address))
}

/// The router of the IPv4 default route. Linux lists it in a file. Other systems would need their own system
/// call; there the first address of the network is taken, which most home routers have, and UPnP needs no
/// address.
#[expect(clippy::disallowed_methods, reason = "the kernel's table")]
#[cfg(target_os = "linux")]
pub(super) fn default_gateway() -> Option<Ipv4Addr> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    let routes = table.lines().filter_map(default_route);
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, gateway)| gateway)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn default_gateway() -> Option<Ipv4Addr> {
    let own = super::interfaces::ipv4_source()?;
    let [a, b, c, _] = own.octets();
    own.is_private().then(|| Ipv4Addr::new(a, b, c, 1))
}

/// Metric and gateway of a line of `/proc/net/route` (interface, destination, gateway, flags, counts, metric, mask; the
/// addresses in hexadecimal as the machine stores them), if it is a default route.
#[cfg(target_os = "linux")]
fn default_route(line: &str) -> Option<(u32, Ipv4Addr)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "00000000", gateway, _, _, _, metric, "00000000", ..] = words.as_slice() else {
        return None;
    };
    let gateway = u32::from_str_radix(gateway, 16)
        .ok()
        .filter(|gateway| *gateway != 0)?;
    Some((metric.parse().ok()?, Ipv4Addr::from(gateway.to_ne_bytes())))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_and_deprecated_addresses_are_told_from_stable_ones() {
        let line = |flags| format!("20010db8000000000000000000000001 02 40 00 {flags}     eth0");
        let found = Some("2001:db8::1".parse().unwrap());
        assert_eq!(passing(&line("01")), found);
        assert_eq!(passing(&line("20")), found);
        assert_eq!(passing(&line("80")), None);
        assert_eq!(passing(&line("00")), None);
        assert_eq!(passing("no table"), None);
    }

    #[test]
    fn the_gateway_is_that_of_a_default_route() {
        let route = |destination, gateway| {
            format!("eth0\t{destination}\t{gateway}\t0003\t0\t0\t100\t00000000\t0\t0\t0")
        };
        let gateway = format!("{:08X}", u32::from_ne_bytes([192, 168, 1, 1]));
        assert_eq!(
            default_route(&route("00000000", &gateway)),
            Some((100, Ipv4Addr::new(192, 168, 1, 1)))
        );
        assert_eq!(default_route(&route("0001A8C0", &gateway)), None);
        assert_eq!(default_route(&route("00000000", &"0".repeat(8))), None);
    }
}
