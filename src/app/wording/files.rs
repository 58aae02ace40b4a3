//! Problems with this machine's files, as people read them.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::app::units::Size;
use crate::system;
use crate::transfer::MAX_CONTENT;
use crate::transfer::error::{ListBound, LocalError, Malformed};
use crate::transfer::manifest::{MAX_DEPTH, MAX_ENTRIES, MAX_NAMES, MAX_TARGET};
use crate::transfer::names;
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::staging;

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
            None => self.0.display().fmt(f),
        }
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

/// What happened.
pub(crate) fn cause(error: &LocalError) -> String {
    match error {
        LocalError::NoSpace(path) => format!("the disk is full: no room for {}", Shown(path)),
        LocalError::Permission { action, path } => format!("no permission to {action} {}", Shown(path)),
        LocalError::ReadOnly(path) => format!("{} is on a read-only file system", Shown(path)),
        LocalError::NameTooLong(path) => format!("the name {} is too long for this file system", Shown(path)),
        LocalError::Missing(path) => format!("{} does not exist", Shown(path)),
        LocalError::Io { action, path, error } if system::is_held(error) => {
            format!("could not {action} {}: another program uses it", Shown(path))
        }
        LocalError::Io { action, path, error } => format!("could not {action} {}: {error}", Shown(path)),
        LocalError::Collision(one, other) => format!("{error}{}", likeness(one, other)),
        LocalError::TooLittleSpace { path, free, needed } => format!(
            "{} has {} free and {} are needed",
            path.display(),
            Size(*free),
            Size(*needed)
        ),
        LocalError::Unlistable {
            path,
            why: Malformed::Bound(bound),
        } => format!("{} cannot be sent: {}", path.display(), rule(*bound)),
        error => error.to_string(),
    }
}

/// How the disk took what was sent.
pub(crate) fn remark(remark: &Remark) -> String {
    match remark {
        Remark::ModesLost => {
            "this disk does not keep the permissions that were sent: what arrives has those that it \
                              gives to everything"
                .into()
        }
        Remark::TimesLost => {
            "this disk does not keep the times that were sent: what arrives is dated now".into()
        }
        Remark::LinksLost(1) => "this disk takes no links: one is left out".into(),
        Remark::LinksLost(count) => format!("this disk takes no links: {count} are left out"),
    }
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
        LocalError::NoSpace(_) => "make room there and run the same commands again; what has arrived is kept",
        LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. } => {
            "make room or choose another --output, and run the same commands again"
        }
        LocalError::Permission { .. } => "check who may read and write there, or choose another place",
        LocalError::ReadOnly(_) => "choose another directory with --output",
        LocalError::NameTooLong(_) => "ask the sender to shorten it",
        LocalError::Collision(..) | LocalError::OneName(..) => "ask the sender to rename one of them",
        LocalError::SameName(..) => "send them one by one, or a directory that holds both",
        LocalError::Unlistable { .. } => {
            "send it in parts, or packed: tar c PATHS | p2pcopy sender --file - --name all.tar"
        }
        LocalError::Reserved(_) => "name another file with --trace, outside the output directory",
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
        LocalError::Missing(_) => "check the path and its spelling",
        LocalError::Io { error, .. } if system::is_held(error) => {
            "close the program that uses it, and run the same commands again on both sides"
        }
        LocalError::Io { .. } => {
            "check the disk and the system log, then run the same commands again on both sides"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
