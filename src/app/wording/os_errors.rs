//! The only table of the systems' errors: what happened, the next step, and what the peer is told.

use std::io;

use crate::system;
use crate::transfer::error::LocalError;

pub(super) const THROUGH_A_PIPE: &str = "send what it gives through a pipe: p2pcopy sender --file - < PATH";

pub(super) const TOO_LARGE: &str = if cfg!(windows) {
    "choose another disk with --output (FAT32 holds 4 GiB in a file)"
} else {
    "choose another disk with --output (FAT32 holds 4 GiB in a file), or lift the limit that `ulimit -f` shows"
};

/// When the system gives no more files, sockets or threads.
pub(crate) const TOO_MANY_OPEN: &str = if cfg!(windows) {
    "close some programs, and run the same command again"
} else {
    "close some programs, or lift the limit that `ulimit -n` shows, and run the same command again"
};

/// EIO and similar errors on Unix, for which the standard library has no kind.
#[cfg(unix)]
fn of_number(error: &io::Error) -> Option<(&'static str, &'static str)> {
    let device = "check the disk, its cable or its server, then run the same command again";
    Some(match error.raw_os_error()? {
        libc::EIO => ("the disk could not read or write (an input/output error)", device),
        libc::ENODEV | libc::ENXIO => ("the disk is gone", device),
        libc::EMFILE | libc::ENFILE => ("too many files are open", TOO_MANY_OPEN),
        libc::EBADF => (
            "it is closed, or was opened only to read or only to write",
            "look at the redirections (< and >) of the command, then run it again",
        ),
        libc::ELOOP => (
            "a link is where a file or directory should be",
            "name what the link leads to",
        ),
        _ => return None,
    })
}

/// The same errors on Windows (System Error Codes, winerror.h).
#[cfg(windows)]
fn of_number(error: &io::Error) -> Option<(&'static str, &'static str)> {
    use windows_sys::Win32::Foundation as known;
    /// WSAEMFILE and WSAENOBUFS.
    const TOO_MANY_SOCKETS: u32 = 10024;
    const NO_ROOM_FOR_SOCKETS: u32 = 10055;
    let device = "check the disk, its cable or its server, then run the same command again";
    Some(match error.raw_os_error()?.cast_unsigned() {
        known::ERROR_CRC
        | known::ERROR_IO_DEVICE
        | known::ERROR_SEEK
        | known::ERROR_READ_FAULT
        | known::ERROR_WRITE_FAULT => ("the disk could not read or write (an input/output error)", device),
        known::ERROR_NOT_READY | known::ERROR_DEV_NOT_EXIST | known::ERROR_NO_SUCH_DEVICE => {
            ("the disk is gone", device)
        }
        known::ERROR_NETNAME_DELETED | known::ERROR_UNEXP_NET_ERR => ("its server does not answer", device),
        known::ERROR_TOO_MANY_OPEN_FILES | TOO_MANY_SOCKETS | NO_ROOM_FOR_SOCKETS => {
            ("too many files or connections are open", TOO_MANY_OPEN)
        }
        known::ERROR_VIRUS_INFECTED | known::ERROR_VIRUS_DELETED => (
            "an antivirus program blocks it",
            "ask that program what it found; what it took away is not sent or kept",
        ),
        known::ERROR_CANT_ACCESS_FILE | known::ERROR_CLOUD_FILE_PROVIDER_NOT_RUNNING => (
            "only a reference to it lies on this disk, and its content cannot be fetched",
            "start the program that keeps it in the cloud, then run the same command again",
        ),
        known::ERROR_USER_MAPPED_FILE => (
            "another program uses it",
            "close that program, then run the same command again",
        ),
        _ => return None,
    })
}

/// A system error on a file in plain words, with a next step.
pub(crate) fn explain(error: &io::Error) -> (String, &'static str) {
    use io::ErrorKind as Kind;
    let (what, next) = match error.kind() {
        _ if system::is_held(error) => (
            "another program uses it",
            "close that program, then run the same command again",
        ),
        _ if system::is_unread(error) => (
            "the program that reads our output has left",
            "check that program, then run again",
        ),
        Kind::NotFound => (
            "it does not exist, or this disk refuses the name",
            "check the path and its spelling",
        ),
        #[cfg(unix)]
        Kind::PermissionDenied if error.raw_os_error() == Some(libc::EPERM) => (
            "no permission: it may not be changed, or only by its owner",
            "see whether it is marked as immutable or append-only (lsattr -d) and whose it is, or choose another place",
        ),
        // ERROR_ACCESS_DENIED. Windows says no more of a name that is to be replaced and another program uses, or of a
        // directory that is to be renamed and holds such a file.
        #[cfg(windows)]
        Kind::PermissionDenied if error.raw_os_error() == Some(5) => (
            "no permission, or another program uses it or what is in it",
            "close that program, check who may read and write there, or choose another place",
        ),
        Kind::PermissionDenied => (
            "no permission",
            "check who may read and write there, or choose another place",
        ),
        Kind::StorageFull => (
            "the disk is full",
            "make room there and run the same command again",
        ),
        Kind::QuotaExceeded => (
            "your disk quota is used up",
            "make room and run the same command again",
        ),
        Kind::ReadOnlyFilesystem => (
            "the file system is read-only",
            "choose another directory with --output",
        ),
        Kind::FileTooLarge => ("this is more than a file can hold there", TOO_LARGE),
        Kind::InvalidFilename => (
            "the disk does not take this name, which is too long or has characters that it does not know",
            "rename it, or choose another disk with --output",
        ),
        Kind::InvalidInput => (
            "the disk does not take a file of this kind or length",
            "choose another disk with --output",
        ),
        Kind::CrossesDevices => (
            "another file system is mounted there",
            "choose a directory inside it, or another one, with --output",
        ),
        Kind::StaleNetworkFileHandle => (
            "its server has replaced it (a stale file handle)",
            "look whether the network disk is still mounted, then run the same command again",
        ),
        Kind::ExecutableFileBusy => (
            "it is a program that runs",
            "end it, or choose another --output, and run the same command again",
        ),
        Kind::ResourceBusy => (
            "another program uses it",
            "close that program, or choose another --output, and run the same command again",
        ),
        Kind::DirectoryNotEmpty => (
            "something else has appeared in that directory",
            "look what it is; then run the same command again",
        ),
        Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NotConnected => (
            "its server does not answer",
            "look whether the network disk can be reached, then run the same command again",
        ),
        Kind::WouldBlock => (
            "it gives no data now, and nobody knows when it will",
            THROUGH_A_PIPE,
        ),
        Kind::AlreadyExists => ("it already exists", "move it away, or name another"),
        Kind::IsADirectory => ("it is a directory", "name a file, or move the directory away"),
        Kind::NotADirectory => ("part of the path is a file, not a directory", "check the path"),
        _ => match of_number(error) {
            Some(found) => found,
            None => {
                return (
                    in_its_words(error),
                    "run the same command again on both sides; if it fails again, choose another disk with --output",
                );
            }
        },
    };
    (what.into(), next)
}

/// What the system itself says. Windows has no words for some of its numbers.
fn in_its_words(error: &io::Error) -> String {
    let told = error.to_string();
    match error.raw_os_error() {
        Some(number) if told.contains("FormatMessage") => {
            format!("Windows refuses it without a reason that it has words for ({number})")
        }
        _ => told,
    }
}

/// A system error on a socket in plain words. Whoever tells it knows the next step.
pub(crate) fn of_socket(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let what = match error.kind() {
        Kind::AddrInUse => "another program uses it",
        Kind::AddrNotAvailable => "this machine has no such address",
        // Unix has ports that only root gets, Windows ranges that it keeps for itself or for another program.
        Kind::PermissionDenied => "no permission (the system keeps some ports for itself)",
        Kind::NetworkDown => "the network is down",
        Kind::NetworkUnreachable | Kind::HostUnreachable => "there is no route",
        _ => return of_number(error).map_or_else(|| in_its_words(error), |(what, _)| what.into()),
    };
    what.into()
}

/// What the peer is told of it: the kind of error, and no path of this machine.
pub(crate) fn over_there(error: &LocalError) -> &'static str {
    use io::ErrorKind as Kind;
    match error {
        LocalError::OutputClosed => "the program that reads its output has left",
        LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. } => {
            "the disk over there has too little room"
        }
        LocalError::Collision(..) => "the disk over there does not take a name",
        LocalError::Removed(_) => "a file or directory over there has been moved, removed or replaced",
        LocalError::TooLarge { .. } => "a file is larger than the disk over there takes",
        LocalError::Io { error, .. } | LocalError::Output(error) => match error.kind() {
            Kind::StorageFull => "the disk over there has too little room",
            Kind::QuotaExceeded => "the quota over there is used up",
            Kind::FileTooLarge => "a file is larger than the disk over there takes",
            Kind::PermissionDenied => "it has no permission for a file or directory over there",
            Kind::ReadOnlyFilesystem => "the disk over there is read-only",
            Kind::InvalidFilename => "the disk over there does not take a name",
            Kind::NotFound => "a file over there has gone",
            _ => "the disk over there fails",
        },
        _ => "a file problem over there: disk, permission or name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "the system's own errors, of sockets that nobody uses"
    )]
    #[test]
    fn sockets_that_are_refused_are_told_without_the_systems_words() {
        let told = |error: io::Error| of_socket(&error);
        let socket = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = socket();
        let bound = std::net::UdpSocket::bind(taken.local_addr().unwrap());
        assert_eq!(told(bound.unwrap_err()), "another program uses it");
        // A documentation address (RFC 5737) is nobody's.
        let elsewhere = std::net::UdpSocket::bind("203.0.113.7:0");
        assert_eq!(told(elsewhere.unwrap_err()), "this machine has no such address");
        // WSAEACCES, WSAEMFILE, WSAENOBUFS, WSAENETDOWN.
        #[cfg(windows)]
        for (number, part) in [
            (10013, "no permission"),
            (10024, "open"),
            (10055, "open"),
            (10050, "down"),
        ] {
            let told = told(io::Error::from_raw_os_error(number));
            assert!(told.contains(part), "{told}");
        }
        #[cfg(unix)]
        for (number, part) in [
            (libc::EACCES, "no permission"),
            (libc::EMFILE, "open"),
            (libc::ENETDOWN, "down"),
        ] {
            let told = told(io::Error::from_raw_os_error(number));
            assert!(told.contains(part), "{told}");
        }
    }

    /// A number that no part of Windows uses.
    #[cfg(windows)]
    #[test]
    fn a_number_of_windows_never_stands_alone() {
        for tell in [|e: &io::Error| explain(e).0, of_socket] {
            let told = tell(&io::Error::from_raw_os_error(0x1fff_fff0));
            assert!(told.starts_with("Windows refuses it"), "{told}");
        }
    }
}
