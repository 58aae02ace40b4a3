//! What the user reads of a punch.

use crate::app::event::{Event, Front};
use crate::app::outcome::Failure;
use crate::app::told::Info;
use crate::rendezvous::punch::Report;
use crate::rendezvous::schedule::guess_times::{CHANCES_TOLD_AFTER, SOCKETS, Task};

/// The line about guessed ports.
pub(super) fn guessing(task: Task) -> Info {
    let seconds = CHANCES_TOLD_AFTER.as_secs();
    match task {
        Task::Try { .. } => Info::TryingPorts { seconds },
        Task::Open { .. } => Info::OpeningPorts {
            ports: SOCKETS,
            seconds,
        },
    }
}

/// Shows what was tried, and returns the failure with which the run ends.
pub(super) fn failure(report: &Report, front: &mut dyn Front) -> Failure {
    let (cause, next) = report.diagnosis();
    for line in report.to_string().lines().take(5) {
        let line = line.to_owned();
        front.event(Event::Info(Info::Tried { line }));
    }
    Failure::no_path(cause, next)
}
