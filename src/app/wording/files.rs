//! Problems with this machine's files, as people read them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::app::event::Event;
use crate::app::told::Warning;
use crate::app::units::Size;
use crate::app::wording::absence;
use crate::system;
use crate::transfer::MAX_CONTENT;
use crate::transfer::error::{Leftover, ListBound, LocalError, Malformed};
use crate::transfer::manifest::{MAX_DEPTH, MAX_ENTRIES, MAX_NAMES, MAX_TARGET};
use crate::transfer::names::{self, Escaped};
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::staging;
use crate::transfer::source::Absence;
use crate::transfer::source::scan::Scanned;

/// A path for people: what stands for a file that is not complete yet says so.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().collect();
        let inside = |pair: &[&OsStr]| staging::is_part(pair[0]) && staging::is_inside(pair[1]);
        match parts.windows(2).position(inside) {
            Some(at) => {
                let part: PathBuf = parts[..=at].iter().collect();
                match parts[at + 2..].iter().collect::<PathBuf>() {
                    rest if rest.as_os_str().is_empty() => {
                        write!(f, "{}, which keeps what has arrived", part.display())
                    }
                    rest => write!(
                        f,
                        "{} (in {}, which keeps what has arrived)",
                        rest.display(),
                        part.display()
                    ),
                }
            }
            None => place(self.0).display().fmt(f),
        }
    }
}

/// A directory for people: a dot alone says nothing.
pub(crate) fn place(path: &Path) -> Cow<'_, Path> {
    match path.to_str() {
        Some("." | "") => std::path::absolute(".").map_or(Cow::Borrowed(path), Cow::Owned),
        _ => Cow::Borrowed(path),
    }
}

/// Two names that look the same want a word more.
fn likeness(one: &Path, other: &Path) -> &'static str {
    if names::look_alike(&one.to_string_lossy(), &other.to_string_lossy()) {
        " (they look alike and are different characters)"
    } else {
        ""
    }
}

/// What takes the room that is missing, as far as this program knows.
fn kept(leftovers: &[Leftover]) -> String {
    match leftovers {
        [] => String::new(),
        [one] => format!(
            "; {} there keeps {} of an interrupted transfer",
            one.name.display(),
            Size(one.bytes)
        ),
        [first, ..] => format!(
            "; {} and {} more there keep {} of interrupted transfers",
            first.name.display(),
            leftovers.len() - 1,
            Size(leftovers.iter().map(|leftover| leftover.bytes).sum())
        ),
    }
}

/// What happened.
pub(crate) fn cause(error: &LocalError) -> String {
    match error {
        LocalError::TooLarge { path, size, limit } => format!(
            "{} has {}, and files there can have no more than {}",
            Shown(path),
            Size(*size),
            Size(*limit)
        ),
        LocalError::Io { action, path, error } => {
            format!("could not {action} {}: {}", Shown(path), explain(error).0)
        }
        LocalError::Collision(one, other) => format!("{error}{}", likeness(one, other)),
        LocalError::TooLittleSpace {
            path,
            free,
            needed,
            leftovers,
        } => format!(
            "{} has {} free and {} are needed{}",
            Shown(path),
            Size(*free),
            Size(*needed),
            kept(leftovers)
        ),
        LocalError::TooFewNodes {
            path,
            free,
            needed,
            leftovers,
        } => format!(
            "{} has room for {free} more files and directories, and {needed} are needed{}",
            Shown(path),
            kept(leftovers)
        ),
        LocalError::Unlistable {
            path,
            why: Malformed::Bound(bound),
        } => format!("{} cannot be sent: {}", path.display(), rule(*bound)),
        error => error.to_string(),
    }
}

const THROUGH_A_PIPE: &str = "send what it gives through a pipe: p2pcopy sender --file - < PATH";

const TOO_LARGE: &str = "choose another disk with --output (FAT32 holds 4 GiB in a file), or lift the limit that \
                         `ulimit -f` shows";

/// EIO and the like of systems that have numbers for them, which the standard library has no kinds for.
#[cfg(unix)]
fn of_number(error: &io::Error) -> Option<(&'static str, &'static str)> {
    let device =
        "check the disk, its cable or its server, then run the same command again; what has arrived is kept";
    Some(match error.raw_os_error()? {
        libc::EIO => ("the disk could not read or write (an input/output error)", device),
        libc::ENODEV | libc::ENXIO => ("the disk is gone", device),
        libc::EMFILE | libc::ENFILE => (
            "too many files are open",
            "close some programs, or lift the limit that `ulimit -n` shows, and run the same command again",
        ),
        libc::ELOOP => (
            "a link is where a file or directory should be",
            "name what the link leads to",
        ),
        _ => return None,
    })
}

/// The same of Windows (System Error Codes, winerror.h).
#[cfg(windows)]
fn of_number(error: &io::Error) -> Option<(&'static str, &'static str)> {
    use windows_sys::Win32::Foundation as known;
    let device =
        "check the disk, its cable or its server, then run the same command again; what has arrived is kept";
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
        known::ERROR_TOO_MANY_OPEN_FILES => (
            "too many files are open",
            "close some programs, and run the same command again",
        ),
        known::ERROR_VIRUS_INFECTED | known::ERROR_VIRUS_DELETED => (
            "an antivirus keeps it back",
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

/// A system error on a file in plain words, with a next step: the one table of them.
pub(crate) fn explain(error: &io::Error) -> (String, &'static str) {
    use io::ErrorKind as Kind;
    let (what, next) = match error.kind() {
        _ if system::is_held(error) => (
            "another program uses it",
            "close that program, then run the same command again",
        ),
        Kind::NotFound => (
            "it does not exist, or this disk refuses the name",
            "check the path and its spelling",
        ),
        Kind::PermissionDenied => (
            "no permission",
            "check who may read and write there, or choose another place",
        ),
        Kind::StorageFull => (
            "the disk is full",
            "make room there and run the same command again; what has arrived is kept",
        ),
        Kind::QuotaExceeded => (
            "your disk quota is used up",
            "make room and run the same command again; what has arrived is kept",
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
            "the disk does not take it: a length or a kind that it does not know",
            "choose another disk with --output",
        ),
        Kind::CrossesDevices => (
            "another file system is mounted there",
            "choose a directory inside it with --output",
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
        Kind::WouldBlock => ("it gives nothing until something happens", THROUGH_A_PIPE),
        Kind::AlreadyExists => ("it already exists", "move it away, or name another"),
        Kind::IsADirectory => ("it is a directory", "name a file, or move the directory away"),
        Kind::NotADirectory => ("part of the path is a file, not a directory", "check the path"),
        Kind::BrokenPipe => (
            "the program that reads our output has left",
            "check that program, then run again",
        ),
        _ => match of_number(error) {
            Some(found) => found,
            None => {
                return (
                    error.to_string(),
                    "run the same command again on both sides; if it fails again, choose another disk with --output",
                );
            }
        },
    };
    (what.into(), next)
}

/// What the peer may read of it: its kind, never a path of this machine.
pub(crate) fn over_there(error: &LocalError) -> &'static str {
    use io::ErrorKind as Kind;
    match error {
        LocalError::OutputClosed => "the program that reads its output has left",
        LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. } => {
            "the disk over there has too little room"
        }
        LocalError::Collision(..) | LocalError::OneName(..) => "the disk over there does not take a name",
        LocalError::TooLarge { .. } => "a file is larger than the disk over there takes",
        LocalError::Io { error, .. } => match error.kind() {
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

/// How the disk took what was sent.
pub(crate) fn remark(remark: &Remark) -> Event {
    let shown = |path: &PathBuf| Escaped(path.as_os_str().as_encoded_bytes()).to_string();
    Event::Warning(match remark {
        Remark::Renamed(paths) => return Event::Renamed(paths.clone()),
        Remark::ModesLost => Warning::ModesNotKept,
        Remark::TimesLost => Warning::TimesNotKept,
        Remark::Beside(wanted, found) => Warning::StoredBeside {
            sent: shown(wanted),
            stored: shown(found),
        },
        Remark::AttributesLost => Warning::AttributesNotKept,
        Remark::HardLinksLost => Warning::HardLinksNotMade,
        Remark::LinksLost(count) => Warning::LinksNotMade { count: *count },
    })
}

/// What is not sent, told before anybody waits for it: the first few of each kind, and how many there are.
pub(crate) fn left_out(scanned: &Scanned) -> Vec<Warning> {
    const FEW: usize = 3;
    let mut kinds: Vec<(&'static str, Vec<&Path>)> = Vec::new();
    let unreadable = scanned.unreadable.iter().map(|missing| {
        let why = match missing.why {
            Absence::Changed => "it changed while it was being listed",
            why => absence(why),
        };
        (why, missing.path.as_path())
    });
    let skipped = scanned
        .skipped
        .iter()
        .map(|skipped| (skipped.reason, skipped.path.as_path()));
    for (why, path) in unreadable.chain(skipped) {
        match kinds.iter_mut().find(|(kind, _)| *kind == why) {
            Some((_, paths)) => paths.push(path),
            None => kinds.push((why, vec![path])),
        }
    }
    let few = |paths: &[&Path]| if paths.len() > FEW { 1 } else { paths.len() };
    kinds
        .into_iter()
        .map(|(why, paths)| Warning::LeftOut {
            why,
            paths: paths[..few(&paths)]
                .iter()
                .map(|path| (*path).to_owned())
                .collect(),
            more: paths.len() - few(&paths),
        })
        .collect()
}

/// What every list must keep to.
fn rule(bound: ListBound) -> String {
    match bound {
        ListBound::Entries => format!("a list has at most {MAX_ENTRIES} files and directories"),
        ListBound::Depth => format!("directories nest at most {MAX_DEPTH} deep"),
        ListBound::Name => format!("a name has at most {} bytes", u16::MAX),
        ListBound::Target => format!("the target of a link has at most {MAX_TARGET} bytes"),
        ListBound::Names => format!("all names together have at most {} MiB", MAX_NAMES >> 20),
        ListBound::Content => format!("all files together have at most {} PiB", MAX_CONTENT >> 50),
    }
}

/// What the user can do about it.
pub(crate) fn next_step(error: &LocalError) -> &'static str {
    match error {
        LocalError::TooLittleSpace { leftovers, .. } | LocalError::TooFewNodes { leftovers, .. }
            if !leftovers.is_empty() =>
        {
            "make room, for one by --discard, which removes what interrupted transfers left, or choose another --output; \
             then run the same commands again"
        }
        LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. } => {
            "make room or choose another --output, and run the same commands again"
        }
        LocalError::Collision(..) | LocalError::OneName(..) => "ask the sender to rename one of them",
        LocalError::SameName(..) => "send them one by one, or a directory that holds both",
        LocalError::Unlistable { .. } => {
            "send it in parts, or packed: tar c PATHS | p2pcopy sender --file - --name all.tar"
        }
        LocalError::Reserved(_) => "name another file with --trace, outside the output directory",
        LocalError::Endless(_) => THROUGH_A_PIPE,
        LocalError::NotSendable(_) => {
            "name files or directories; a pipe is sent with: p2pcopy sender --file - < PIPE"
        }
        LocalError::AllExcluded => "give --exclude fewer patterns, or name other files",
        LocalError::Busy(_) => "wait for it, or choose another --output",
        LocalError::OutputClosed => {
            "see why that program ended, then run the same commands again on both sides; a pipe starts from the \
             beginning"
        }
        LocalError::Key { .. } => {
            "remove it, if you do not know how that came about; what interrupted transfers left is then resumed \
             no more"
        }
        LocalError::TooLarge { .. } => TOO_LARGE,
        LocalError::Io { error, .. } => explain(error).1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_error_has_a_cause_and_a_next_step_without_the_systems_words() {
        use io::ErrorKind as Kind;
        let kinds = [
            Kind::StorageFull,
            Kind::QuotaExceeded,
            Kind::FileTooLarge,
            Kind::CrossesDevices,
            Kind::PermissionDenied,
            Kind::StaleNetworkFileHandle,
            Kind::ExecutableFileBusy,
            Kind::ResourceBusy,
            Kind::NotFound,
            Kind::InvalidInput,
            Kind::TimedOut,
        ];
        let mut errors: Vec<io::Error> = kinds.into_iter().map(io::Error::from).collect();
        #[cfg(unix)]
        errors.extend([libc::EIO, libc::EMFILE, libc::EDQUOT, libc::EFBIG].map(io::Error::from_raw_os_error));
        // A bad sector, a drive without its disk, a server gone, a sharing violation, an antivirus, a cloud.
        #[cfg(windows)]
        errors.extend([23, 21, 64, 32, 225, 1920].map(io::Error::from_raw_os_error));
        for error in errors {
            let said = error.to_string();
            let error = LocalError::new("write", "/data/vm.img", error);
            let (cause, next) = (cause(&error), next_step(&error));
            assert!(
                cause.contains("/data/vm.img") && !cause.contains(&said),
                "{cause}"
            );
            assert!(!next.is_empty() && !next.contains("system log"), "{next}");
        }
    }

    #[test]
    fn what_could_not_be_made_is_not_said_to_be_missing_alone() {
        let new = |action| LocalError::new(action, "/data/x", io::ErrorKind::NotFound.into());
        let told = "it does not exist, or this disk refuses the name";
        assert_eq!(cause(&new("create")), format!("could not create /data/x: {told}"));
    }

    #[test]
    fn a_bound_is_told_with_its_number() {
        let error = LocalError::Unlistable {
            path: "/deep".into(),
            why: ListBound::Depth.into(),
        };
        assert_eq!(
            cause(&error),
            "/deep cannot be sent: directories nest at most 512 deep"
        );
    }

    #[test]
    fn names_that_look_alike_are_said_to() {
        let error = LocalError::Collision("\u{e9}".into(), "e\u{301}".into());
        assert!(cause(&error).contains("look alike"), "{}", cause(&error));
        let error = LocalError::Collision("a".into(), "A".into());
        assert!(!cause(&error).contains("look alike"), "{}", cause(&error));
    }
}
