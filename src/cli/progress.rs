//! The progress of a transfer in one line.

use std::time::Duration;

use super::lines::Detail;
use crate::app::event::{Bound, Phase, Progress};
use crate::app::told::word;
use crate::app::units::{Rate, Size, Span};

/// The progress in one line. With `--verbose` it also names what limits the speed. `room` is the most columns
/// it may take: fields that do not fit are left out from the right.
pub(super) fn line(
    progress: &Progress,
    eta: Option<Duration>,
    detail: Detail,
    room: Option<usize>,
) -> String {
    let mut line = Fields {
        text: String::new(),
        widest: 0,
        room,
        full: false,
    };
    match progress.total {
        Some(total) => {
            line.add(4, format!("{:>3}%", percent(progress.done, total)));
            line.add(21, format!(" {} of {}", Size(progress.done), Size(total)));
        }
        None => line.add(8, Size(progress.done).to_string()),
    }
    match (progress.phase, progress.rate) {
        (Phase::Listing, _) => line.add(22, "  of the list of files".into()),
        // These phases send nothing. The time that passes shows that they continue.
        (Phase::Preparing, _) => line.add(23, format!("  preparing the disk {}", Span(progress.since))),
        (Phase::Finishing, _) => line.add(24, format!("  writing to the disk {}", Span(progress.since))),
        (Phase::Moving, rate) => line.add(12, format!("  {}", Rate(rate))),
        (Phase::Copying { left }, _) => line.add(23, format!("  copying, {} to go", Size(left))),
        // The sender cannot tell whether the receiver copies.
        (Phase::Comparing, 0) => line.add(23, "  comparing or copying".into()),
        (Phase::Comparing, rate) => line.add(23, format!("  comparing {}", Rate(rate))),
    }
    // While nothing moves, an estimate would only grow.
    if let Some(eta) = eta.filter(|_| progress.rate > 0) {
        line.add(12, format!("  ETA {}", time_left(eta)));
    } else {
        line.add(12, String::new());
    }
    line.add(12, format!("  RTT {}", Span(progress.rtt)));
    if let Some(loss) = progress.loss {
        line.add(12, format!("  loss {:.1}%", loss.clamp(0.0, 1.0) * 100.0));
    }
    if detail >= Detail::Verbose && progress.bound != Bound::Unknown {
        line.add(16, format!("  bound by {}", word(&progress.bound)));
    }
    line.text
}

/// Fields of a line that has limited room.
struct Fields {
    text: String,
    /// Columns that the fields so far may take at most.
    widest: usize,
    room: Option<usize>,
    full: bool,
}

impl Fields {
    /// Adds a field that takes at most `widest` columns, if that many are free. A field that fits only
    /// sometimes would appear and disappear.
    fn add(&mut self, widest: usize, field: String) {
        self.widest += widest;
        self.full |= self.room.is_some_and(|room| self.widest > room);
        if !self.full {
            self.text += &field;
        }
    }
}

/// The time left. A forecast is never exact to less than a second.
fn time_left(eta: Duration) -> String {
    match eta.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds => Span(Duration::from_secs(seconds)).to_string(),
    }
}

/// Whole percent; never 100 before the end.
fn percent(done: u64, total: u64) -> u64 {
    match total {
        0 => 100,
        total => (u128::from(done.min(total)) * 100 / u128::from(total)) as u64,
    }
}
