//! Problems with this machine's files, as people read them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::app::event::Event;
use crate::app::told::Warning;
use crate::app::units::Size;
use crate::app::wording::absence;
use crate::app::wording::os_errors::{THROUGH_A_PIPE, TOO_LARGE, explain};
use crate::transfer::MAX_CONTENT;
use crate::transfer::error::{Leftover, ListBound, LocalError, Malformed};
use crate::transfer::manifest::{MAX_DEPTH, MAX_ENTRIES, MAX_NAMES, MAX_TARGET};
use crate::transfer::names::{self, Escaped};
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::staging;
use crate::transfer::source::Absence;
use crate::transfer::source::scan::Scanned;

/// A path for people. A file that is not complete yet is marked as such.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().collect();
        let inside = |pair: &[&OsStr]| staging::is_part(pair[0]) && staging::is_inside(pair[1]);
        match parts.windows(2).position(inside) {
            Some(at) => {
                let part: PathBuf = parts[..=at].iter().collect();
                match parts[at + 2..].iter().collect::<PathBuf>() {
                    // A run in which nothing arrived has removed it.
                    rest if !part.is_dir() => part.with_file_name(rest).display().fmt(f),
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

/// A directory for people: the path `.` alone would say nothing.
pub(crate) fn place(path: &Path) -> Cow<'_, Path> {
    match path.to_str() {
        Some("." | "") => std::path::absolute(".").map_or(Cow::Borrowed(path), Cow::Owned),
        _ => Cow::Borrowed(path),
    }
}

/// An additional remark if two names look the same.
fn likeness(one: &Path, other: &Path) -> &'static str {
    if names::look_alike(&one.to_string_lossy(), &other.to_string_lossy()) {
        " (they look alike and are different characters)"
    } else {
        ""
    }
}

/// What takes the missing room, as far as this program knows.
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
        LocalError::Output(error) => format!("could not write standard output: {}", explain(error).0),
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

/// The event for how the disk stored what was sent.
pub(crate) fn remark(remark: Remark) -> Event {
    let shown = |path: PathBuf| Escaped(path.as_os_str().as_encoded_bytes()).to_string();
    Event::Warning(match remark {
        Remark::Renamed(paths) => return Event::Renamed(paths),
        Remark::ModesLost => Warning::ModesNotKept,
        Remark::TimesLost => Warning::TimesNotKept,
        Remark::Beside(wanted, found) => Warning::StoredBeside {
            sent: shown(wanted),
            stored: shown(found),
        },
        Remark::OutputMoved(path) => Warning::OutputMoved { path },
        Remark::AttributesLost => Warning::AttributesNotKept,
        Remark::HardLinksLost => Warning::HardLinksNotMade,
        Remark::LinksLost(count) => Warning::LinksNotMade { count },
    })
}

/// What is not sent, told before the users wait for it: the first paths of each kind, and the number of all.
pub(crate) fn left_out(scanned: &Scanned) -> Vec<Warning> {
    const FEW: usize = 3;
    let mut kinds: Vec<(Cow<'static, str>, Vec<&Path>)> = Vec::new();
    let unreadable = scanned.unreadable.iter().map(|missing| {
        let why = match missing.why {
            Absence::Changed => Cow::Borrowed("it changed while it was being listed"),
            why => absence(why),
        };
        (why, missing.path.as_path())
    });
    let skipped = scanned
        .skipped
        .iter()
        .map(|skipped| (skipped.reason.into(), skipped.path.as_path()));
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

/// The limit that a list breaks.
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
            "make room (--discard removes what interrupted transfers left) or choose another --output; then run the \
             same commands again"
        }
        LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. } => {
            "make room or choose another --output, and run the same commands again"
        }
        LocalError::Collision(..) => "ask the sender to rename one of them",
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
        LocalError::Removed(_) => {
            "see who did it, put it back (or mount its disk again), and run the same commands again on both sides"
        }
        LocalError::Busy(_) => "wait for it, or choose another --output",
        LocalError::OutputClosed => {
            "see why that program ended, then run the same commands again on both sides; a pipe starts from the \
             beginning"
        }
        LocalError::Output(_) => {
            "see where the output goes, then run the same commands again on both sides; a pipe starts from the beginning"
        }
        LocalError::Key { .. } => {
            "if you do not know why, remove it: p2pcopy makes another, and interrupted transfers start from the beginning"
        }
        LocalError::TooLarge { .. } => TOO_LARGE,
        // What is read was typed: no output directory has to do with it.
        LocalError::Io {
            action: "read",
            error,
            ..
        } if error.kind() == io::ErrorKind::InvalidFilename => "check the path and its spelling",
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
        // A bad sector, a drive without a disk, a lost server, a sharing violation, an antivirus program, a
        // cloud drive.
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
    fn what_is_left_out_is_told_with_the_systems_cause() {
        #[cfg(unix)]
        let known = [
            (libc::EIO, "the disk could not read"),
            (libc::EBUSY, "another program uses it"),
        ];
        // A sharing violation, a locked range, an antivirus program, a cloud drive.
        #[cfg(windows)]
        let known = [
            (32, "another program uses it"),
            (33, "another program uses it"),
            (225, "an antivirus program blocks it"),
            (1920, "only a reference to it lies on this disk"),
        ];
        for (number, cause) in known {
            let told = absence(Absence::Refused((&io::Error::from_raw_os_error(number)).into()));
            assert!(told.starts_with(cause), "{told}");
        }
    }

    #[test]
    fn whoever_sends_an_impossible_name_is_not_told_of_an_output_directory() {
        let next = |action| {
            next_step(&LocalError::new(
                action,
                "a?b",
                io::ErrorKind::InvalidFilename.into(),
            ))
        };
        assert!(!next("read").contains("--output"));
        assert!(next("create").contains("--output"));
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
