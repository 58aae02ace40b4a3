//! The reasons of a CLOSE frame.

use super::outcome::{AGAIN, About, Failure, Party};
use super::session::End;
use super::wording::{files, os_errors};
use crate::protocol::connection::Closed;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::names::Escaped;

/// Everything arrived and has its final name.
pub(super) const DONE: u16 = 0;
/// The user stopped the transfer.
pub(super) const CANCELLED: u16 = 1;
/// The user refused the offer.
pub(super) const REFUSED: u16 = 2;
const SOURCE_CHANGED: u16 = 3;
/// A block did not match its hash.
const VERIFICATION: u16 = 4;
/// A disk problem.
const LOCAL: u16 = 5;
/// Anything else.
pub(super) const OTHER: u16 = 6;
/// The user saw words that differ from ours.
pub(super) const WORDS_DIFFER: u16 = 7;
/// Several files were offered to a pipe.
const NOT_ONE_STREAM: u16 = 8;

/// What the peer is told, with [`SOURCE_CHANGED`], of a file in whose place is another.
const REPLACED: &str = "a file was replaced while it was being sent";

/// The code that tells the peer about an error of this side.
pub(super) fn code_of(error: &TransferError) -> u16 {
    match error {
        TransferError::NotOneStream => NOT_ONE_STREAM,
        TransferError::SourceChanged(_) | TransferError::SourceReplaced(_) => SOURCE_CHANGED,
        TransferError::Verification(_) => VERIFICATION,
        TransferError::Local(_) => LOCAL,
        TransferError::Malformed(_) | TransferError::PeerMisbehaved(_) | TransferError::OnlyOutsideLinks => {
            OTHER
        }
    }
}

/// The text that tells the peer about an error of this side. It names the kind of error and no path of this
/// machine.
pub(super) fn text_of(error: &TransferError) -> &'static str {
    match error {
        TransferError::NotOneStream => "its output is a pipe, which takes one file or one stream",
        TransferError::SourceChanged(_) => "a file changed while it was being sent",
        TransferError::SourceReplaced(_) => REPLACED,
        TransferError::Verification(_) => "a part of the content arrived damaged",
        TransferError::Local(error) => os_errors::over_there(error),
        TransferError::Malformed(_) | TransferError::PeerMisbehaved(_) | TransferError::OnlyOutsideLinks => {
            "a problem with the protocol"
        }
    }
}

/// What an error of the transfer means for this run.
pub fn failure_of(error: TransferError) -> Failure {
    match error {
        TransferError::Local(e @ LocalError::AllExcluded) => {
            Failure::usage(files::cause(&e), files::next_step(&e))
        }
        TransferError::Local(e) => Failure::told(About::File, files::cause(&e), files::next_step(&e)),
        TransferError::SourceChanged(path) => Failure::SourceChanged {
            cause: format!("{} changed while it was being sent", path.display()),
        },
        TransferError::SourceReplaced(path) => Failure::SourceChanged {
            cause: format!("{} was replaced while it was being sent", path.display()),
        },
        e @ TransferError::Verification(_) => Failure::Verification { cause: e.to_string() },
        TransferError::NotOneStream => Failure::NotOneStream(Party::Us),
        e @ TransferError::OnlyOutsideLinks => Failure::other(
            e.to_string(),
            "if you want them, run the same command again with --links",
        ),
        e @ (TransferError::Malformed(_) | TransferError::PeerMisbehaved(_)) => Failure::other(
            e.to_string(),
            "compare `p2pcopy --version` on both sides, and run the same one",
        ),
    }
}

fn from_peer(code: u16, text: &str) -> Failure {
    let text: String = Escaped(text.as_bytes()).to_string().chars().take(300).collect();
    match code {
        CANCELLED => Failure::Cancelled(Party::Peer),
        REFUSED => Failure::Refused(Party::Peer),
        WORDS_DIFFER => Failure::WordsDiffer,
        NOT_ONE_STREAM => Failure::NotOneStream(Party::Peer),
        VERIFICATION => Failure::Verification {
            cause: format!("the other side says: {text}"),
        },
        SOURCE_CHANGED if text == REPLACED => Failure::SourceChanged {
            cause: "a file of the other side was replaced while it was being sent".into(),
        },
        SOURCE_CHANGED => Failure::SourceChanged {
            cause: "a file of the other side changed while it was being sent".into(),
        },
        code => Failure::told(
            if code == LOCAL { About::File } else { About::Other },
            format!("the other side stopped: {text}"),
            "read what it says over there; then run the same command again on both sides",
        ),
    }
}

/// What the end of a connection means for this run, if this side did not close it.
pub(super) fn failure_of_end(end: &End) -> Failure {
    let closed = match end {
        End::Closed(closed) => closed,
        End::Lost(silence) => return Failure::lost(*silence),
    };
    match closed {
        Closed::ByPeer { code: DONE, .. } => Failure::other(
            "the other side ended too early",
            "run the same command again on both sides",
        ),
        Closed::ByPeer { code, reason } => from_peer(*code, reason),
        Closed::ByUs => Failure::Interrupted,
        Closed::Misbehaved(what) => Failure::other(
            format!("the other side broke the protocol ({what})"),
            "compare `p2pcopy --version` on both sides, and run the same one",
        ),
        Closed::TooManyForgeries => Failure::other(
            "somebody forges packets on this connection, too many to go on safely",
            AGAIN,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::transfer::error::Leftover;

    #[test]
    fn advice_is_given_once_and_a_path_of_ours_is_explained() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        let full = || {
            LocalError::new(
                "write",
                at("t.part/data/t/a"),
                std::io::ErrorKind::StorageFull.into(),
            )
        };
        let told = |path: String| format!("could not write {path}: the disk is full");
        let failure = failure_of(full().into());
        assert_eq!(
            failure.to_string(),
            told(at("t").join("a").display().to_string()),
            "nothing has arrived"
        );
        std::fs::DirBuilder::new().create(at("t.part")).unwrap();
        let failure = failure_of(full().into());
        let kept = format!(
            "{} (in {}, which keeps what has arrived)",
            Path::new("t").join("a").display(),
            at("t.part").display()
        );
        assert_eq!(failure.to_string(), told(kept));
        assert!(!failure.next_step().contains("kept"), "that is said once");
        let mine = LocalError::new(
            "read",
            "/home/x.part",
            std::io::ErrorKind::PermissionDenied.into(),
        );
        assert_eq!(
            failure_of(mine.into()).to_string(),
            "could not read /home/x.part: no permission"
        );
        let closed = failure_of(LocalError::OutputClosed.into());
        assert!(!closed.next_step().contains("kept"), "nothing is kept of a pipe");
        let full = LocalError::Output(std::io::ErrorKind::StorageFull.into());
        assert!(!failure_of(full.into()).next_step().contains("kept"));
        assert!(text_of(&LocalError::OutputClosed.into()).contains("program"));
    }

    #[test]
    fn text_from_the_peer_cannot_steer_the_terminal() {
        let failure = from_peer(OTHER, "\u{1b}[2Jhi\u{202e}");
        assert_eq!(
            failure.to_string(),
            "the other side stopped: \\u{1b}[2Jhi\\u{202e}"
        );
    }

    #[test]
    fn a_disk_that_refuses_gives_the_same_exit_code_on_both_sides() {
        for kind in [
            std::io::ErrorKind::StorageFull,
            std::io::ErrorKind::ReadOnlyFilesystem,
            std::io::ErrorKind::Other,
        ] {
            let error = TransferError::from(LocalError::new("write", "/data/a", kind.into()));
            let there = from_peer(code_of(&error), text_of(&error));
            assert_eq!(there.exit_code(), failure_of(error).exit_code());
            assert!(there.to_string().contains("over there"), "{there}");
        }
    }

    #[test]
    fn too_little_space_is_told_in_sizes_people_read() {
        let told = |leftovers: &[(&str, u64)]| {
            let leftovers = leftovers.iter().map(|&(name, bytes)| Leftover {
                name: name.into(),
                bytes,
            });
            let error = LocalError::TooLittleSpace {
                path: "/data".into(),
                free: 1_234_567_890,
                needed: 10_000_000_000,
                leftovers: leftovers.collect(),
            };
            let error = TransferError::Local(error);
            assert_eq!(text_of(&error), "the disk over there has too little room");
            let failure = failure_of(error);
            assert!(failure.next_step().starts_with("make room"));
            assert_eq!(failure.exit_code(), 6);
            (failure.to_string(), failure.next_step().contains("--discard"))
        };
        let plain = "/data has 1.2 GB free and 10.0 GB are needed".to_owned();
        assert_eq!(told(&[]), (plain.clone(), false));
        let one = "; a.part there keeps 5.0 GB of an interrupted transfer";
        assert_eq!(told(&[("a.part", 5_000_000_000)]), (plain.clone() + one, true));
        let two = "; a.part and 1 more there keep 7.0 GB of interrupted transfers";
        let kept = [("a.part", 5_000_000_000), ("b.part", 2_000_000_000)];
        assert_eq!(told(&kept), (plain + two, true));
    }
}
