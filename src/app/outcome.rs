//! How a run ends: a summary, or a failure with one cause, one next step and an exit code.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::event::Cancelled;
use super::wording::{files, os_errors};
use crate::transfer::hash::Root;
use crate::transfer::manifest::{EntryIndex, Manifest};

/// The next step after a transfer that broke off, whether or not something of it is kept.
pub(super) const AGAIN: &str = "run the same command again on both sides; if a NAME.part is left in the output directory, only the rest is sent";

/// What a finished run did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Bytes of content that are verified at the receiver.
    pub bytes: u64,
    /// Bytes that did not have to be sent, because an earlier transfer or an older copy had them.
    pub reused: u64,
    /// From the accepted offer to the last confirmation.
    pub elapsed: Duration,
    /// BLAKE3 of the content in hexadecimal; for a single file, what `b3sum` prints.
    pub blake3: Option<String>,
    /// What was offered and did not arrive.
    pub missing: Shortfall,
    /// The paths that were written (receiver) or sent (sender), top names only.
    pub paths: Vec<PathBuf>,
}

/// What was offered and did not arrive, or not completely.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Shortfall {
    /// The number of files and directories.
    pub count: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The first of them, with the paths of the list.
    pub shown: Vec<PathBuf>,
}

impl Shortfall {
    /// The most paths that are kept.
    const SHOWN: usize = 1000;

    /// Counts these entries of a list.
    pub(crate) fn of(list: &Manifest, entries: impl Iterator<Item = EntryIndex>) -> Shortfall {
        let mut shortfall = Shortfall::default();
        for index in entries {
            shortfall.count += 1;
            shortfall.bytes += list.entry(index).size;
            if shortfall.shown.len() < Shortfall::SHOWN {
                shortfall.shown.push(list.path(index));
            }
        }
        shortfall
    }

    /// Whether all arrived.
    pub(crate) fn is_nothing(&self) -> bool {
        self.count == 0
    }
}

impl Summary {
    /// What is told of a content of `total` bytes of which `held` were there before, without these entries.
    pub(crate) fn of(total: Option<u64>, held: u64, missing: Shortfall, root: Root) -> Summary {
        let bytes = total.unwrap_or(0).saturating_sub(missing.bytes);
        Summary {
            bytes,
            reused: held.min(bytes),
            blake3: missing.is_nothing().then(|| root.to_string()),
            missing,
            ..Summary::default()
        }
    }

    /// The exit code, which scripts depend on.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.missing.is_nothing() { 0 } else { 7 }
    }

    /// Bytes a second that were really sent, averaged over the whole transfer.
    pub(crate) fn average(&self) -> u64 {
        let seconds = self.elapsed.as_secs_f64().max(1e-6);
        (self.bytes.saturating_sub(self.reused) as f64 / seconds) as u64
    }
}

/// One of the two sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// This side.
    Us,
    /// The other side.
    Peer,
}

/// What a failure in its own words is about. The numbers are the exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum About {
    /// Nothing that has an exit code of its own.
    Other = 1,
    /// The command line contradicts itself or has an impossible value.
    Usage = 2,
    /// None of the peer's packets arrived within the time limit, or none of ours.
    Path = 3,
    /// A local file is missing, unreadable or unwritable, or the disk is full.
    File = 6,
}

/// Why a run failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// A failure in its own words.
    #[error("{cause}")]
    Told {
        /// Where it lies.
        about: About,
        /// What happened.
        cause: String,
        /// What to do about it.
        next: String,
    },
    /// Somebody refused the offer, or said that the words differ.
    #[error("{}", match .0 { Party::Us => "you refused the transfer", Party::Peer => "the other side refused the transfer" })]
    Refused(Party),
    /// This user refused to continue an earlier transfer.
    #[error("you did not resume the transfer")]
    NotResumed,
    /// Hidden names are offered. `--yes` does not accept them, and nobody was there to ask.
    #[error("hidden names are offered, which --yes does not accept, and nobody answered")]
    Hidden,
    /// Several files were offered to a receiver that writes to a pipe.
    #[error("{}", match .0 {
        Party::Us => "several files or directories are offered, and --output - takes one file or one stream",
        Party::Peer => "the other side receives into a pipe, which takes one file or one stream",
    })]
    NotOneStream(Party),
    /// The two screens showed different words.
    #[error("the words differ: somebody may sit between the two of you")]
    WordsDiffer,
    /// Somebody stopped the run.
    #[error("{}", match .0 { Party::Us => "cancelled", Party::Peer => "the other side cancelled the transfer" })]
    Cancelled(Party),
    /// A question got no answer.
    #[error("{0}")]
    Unanswered(Cancelled),
    /// What arrived differs from what was sent.
    #[error("verification failed: {cause}")]
    Verification {
        /// Which file, and how it differs.
        cause: String,
    },
    /// A file was changed or replaced while it was being sent.
    #[error("{cause}")]
    SourceChanged {
        /// Which file, if it is ours, and what became of it.
        cause: String,
    },
    /// The user pressed Ctrl-C, or the system asked the program to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub(crate) fn told(about: About, cause: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure::Told {
            about,
            cause: cause.into(),
            next: next.into(),
        }
    }

    /// A bug of this program.
    pub(crate) fn internal(cause: &str) -> Failure {
        Failure::other(
            format!("internal: {cause}"),
            "please report this to whoever gave you p2pcopy, with the output of -vv",
        )
    }

    pub(crate) fn other(cause: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure::told(About::Other, cause, next)
    }

    /// The peer fell silent during the transfer and did not come back.
    pub(crate) fn lost(silence: Duration) -> Failure {
        let seconds = silence.as_secs();
        Failure::other(
            format!("the connection was lost: nothing heard from the other side for {seconds} s"),
            AGAIN,
        )
    }

    pub(crate) fn no_path(cause: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure::told(About::Path, cause, next)
    }

    pub(crate) fn usage(cause: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure::told(About::Usage, cause, next)
    }

    /// A local file could not be used. `doing` is "read", "write", "create" or "rename".
    pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> Failure {
        let (what, next) = os_errors::explain(error);
        let cause = format!("cannot {doing} {}: {what}", files::place(path).display());
        Failure::told(About::File, cause, next)
    }

    /// The system refuses what every run needs.
    pub(super) fn system(error: io::Error) -> Failure {
        let what = os_errors::of_socket(&error);
        Failure::other(
            format!("the system gives no socket or thread: {what}"),
            os_errors::TOO_MANY_OPEN,
        )
    }

    /// The exit code, which scripts depend on.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Told { about, .. } => *about as u8,
            Failure::Unanswered(_) => 2,
            Failure::NotOneStream(_)
            | Failure::NotResumed
            | Failure::Hidden
            | Failure::Refused(_)
            | Failure::WordsDiffer
            | Failure::Cancelled(_) => 4,
            Failure::Verification { .. } | Failure::SourceChanged { .. } => 5,
            Failure::Interrupted => 130,
        }
    }

    /// What the user can do next.
    pub fn next_step(&self) -> &str {
        match self {
            Failure::Told { next, .. } => next,
            Failure::WordsDiffer => {
                "send nothing now; start again on both sides, and swap the whole addresses another way (a call, another chat)"
            }
            Failure::NotResumed => {
                "to start afresh, run p2pcopy receiver --discard (with the same --output), which removes what is kept of \
                 it, and then the same commands again"
            }
            Failure::Hidden => {
                "have the sender put them into a directory, or run the same command again where you can answer"
            }
            Failure::NotOneStream(Party::Us) => {
                "choose a directory with --output DIR, or have the sender run: tar c PATHS | p2pcopy sender --file - --name all.tar"
            }
            Failure::NotOneStream(Party::Peer) => {
                "run: tar c PATHS | p2pcopy sender --file - --name all.tar (and over there: p2pcopy receiver --output - | tar x)"
            }
            Failure::Refused(Party::Us) => {
                "nothing new was written; if you change your mind, both run their commands again"
            }
            Failure::Refused(Party::Peer) => "ask the other person, then run the command again on both sides",
            Failure::Cancelled(_) | Failure::Interrupted => AGAIN,
            Failure::Unanswered(Cancelled::EndOfInput) => {
                "answer each question with one line on standard input; or ask for none: --peer ADDRESS or names with a --secret-file, and --yes on the receiver"
            }
            Failure::Unanswered(Cancelled::NoTerminal) => "pass the address with --peer ADDRESS",
            Failure::Verification { .. } => {
                "run the same command again on both sides; if it fails again, check memory and disk of the sender"
            }
            Failure::SourceChanged { .. } => {
                "run the same command again on both sides once nothing writes to it; only what changed is sent"
            }
        }
    }
}

impl From<Cancelled> for Failure {
    fn from(cancelled: Cancelled) -> Failure {
        Failure::Unanswered(cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_scripts_depend_on() {
        let io = io::Error::from(io::ErrorKind::StorageFull);
        let codes = [
            (Failure::internal("x"), 1),
            (Failure::lost(Duration::from_secs(30)), 1),
            (Failure::usage("x", "y"), 2),
            (Failure::no_path("x", "y"), 3),
            (Failure::Refused(Party::Peer), 4),
            (Failure::NotOneStream(Party::Us), 4),
            (Failure::NotResumed, 4),
            (Failure::Hidden, 4),
            (Failure::Cancelled(Party::Us), 4),
            (Failure::Unanswered(Cancelled::EndOfInput), 2),
            (Failure::Verification { cause: "x".into() }, 5),
            (Failure::SourceChanged { cause: "x".into() }, 5),
            (Failure::file("write", Path::new("x"), &io), 6),
            (Failure::Interrupted, 130),
        ];
        for (failure, code) in codes {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
            assert!(!failure.to_string().is_empty() && !failure.next_step().is_empty());
            assert!(!failure.to_string().contains('\n') && !failure.next_step().contains('\n'));
        }
    }

    #[test]
    fn full_disk_says_so_and_what_to_do() {
        let failure = Failure::file(
            "write",
            Path::new("/data/vm.img"),
            &io::Error::from(io::ErrorKind::StorageFull),
        );
        assert_eq!(failure.to_string(), "cannot write /data/vm.img: the disk is full");
        assert!(failure.next_step().starts_with("make room"));
    }

    #[test]
    fn average_counts_only_what_moved() {
        let summary = Summary {
            bytes: 3000,
            reused: 1000,
            elapsed: Duration::from_secs(2),
            ..Summary::default()
        };
        assert_eq!(summary.average(), 1000);
        assert_eq!(Summary::default().average(), 0);
    }
}
