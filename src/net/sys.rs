//! Socket options that neither the standard library nor socket2 can set, for the sockets that quinn-udp does not set up.

#![expect(
    unsafe_code,
    reason = "setsockopt and WSAIoctl are C functions; each call passes one value that lives until it returns"
)]

use std::io;
use std::net::UdpSocket;

/// Forbids the system to cut datagrams into fragments: path MTU discovery must lose what is too large (RFC 8899,
/// section 3). Systems that lack one of these options keep their own rule, and discovery then only finds less.
pub(super) fn dont_fragment(socket: &UdpSocket, ipv6: bool) {
    for (level, name, value) in fragmentation(ipv6) {
        let _ = set(socket, *level, *name, *value);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
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

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
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

#[cfg(not(any(
    windows,
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
)))]
const fn fragmentation(_ipv6: bool) -> &'static [(i32, i32, i32)] {
    &[]
}

#[cfg(unix)]
fn set(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the option is an int, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(windows)]
fn set(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::setsockopt;
    // SAFETY: the socket is open as long as it is borrowed; the option is a DWORD, and its size is given.
    let result = unsafe {
        setsockopt(
            socket.as_raw_socket() as usize,
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as i32,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks Windows not to report on the next receive that an earlier packet met an ICMP error: port unreachable
/// (WSAECONNRESET) and TTL expired (WSAENETRESET), as packets of low TTL provoke. Other systems do not report them to
/// unconnected sockets.
#[cfg(windows)]
pub(super) fn ignore_icmp(socket: &UdpSocket) {
    use std::os::windows::io::AsRawSocket;
    use std::ptr::null_mut;
    use windows_sys::Win32::Networking::WinSock::{SIO_UDP_CONNRESET, SIO_UDP_NETRESET, WSAIoctl};
    for code in [SIO_UDP_CONNRESET, SIO_UDP_NETRESET] {
        let off: i32 = 0;
        let mut returned = 0;
        // SAFETY: the socket is open as long as it is borrowed; `off` and `returned` outlive the call, which is not
        // overlapped. Where the code is not known it fails, and `socket::is_icmp_report` still holds.
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
