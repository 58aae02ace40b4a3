//! How a transfer goes, in one line.

use super::lines::Detail;
use crate::app::event::{Bound, Phase, Progress};
use crate::app::units::{Rate, Size, Span};
use std::time::Duration;

/// How a transfer goes, in one line; with `--verbose` also what keeps it from being faster. `room`: no more columns
/// than this, for which fields are left out from the right.
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
        // They move nothing across the line: that time passes shows that they go on.
        (Phase::Preparing, _) => line.add(23, format!("  preparing the disk {}", Span(progress.since))),
        (Phase::Finishing, _) => line.add(24, format!("  writing to the disk {}", Span(progress.since))),
        (Phase::Moving, rate) => line.add(12, format!("  {}", Rate(rate))),
        // What matched is copied when something else did not, and does not count again.
        (Phase::Comparing, 0) => line.add(23, "  copying what is there".into()),
        (Phase::Comparing, rate) => line.add(23, format!("  comparing {}", Rate(rate))),
    }
    // With nothing moving any estimate would be a guess that grows.
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
        line.add(16, format!("  bound by {}", bound(progress.bound)));
    }
    line.text
}

/// A line of fields in limited room.
struct Fields {
    text: String,
    /// Columns the fields so far can take at most.
    widest: usize,
    room: Option<usize>,
    full: bool,
}

impl Fields {
    /// Adds a field that is at most `widest` columns wide, if that fits: one that fitted only now and then would jump.
    fn add(&mut self, widest: usize, field: String) {
        self.widest += widest;
        self.full |= self.room.is_some_and(|room| self.widest > room);
        if !self.full {
            self.text += &field;
        }
    }
}

/// A forecast is never good to less than a second.
fn time_left(eta: Duration) -> String {
    match eta.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds => Span(Duration::from_secs(seconds)).to_string(),
    }
}

/// Whole percents, never 100 before the end.
fn percent(done: u64, total: u64) -> u64 {
    match total {
        0 => 100,
        total => (u128::from(done.min(total)) * 100 / u128::from(total)) as u64,
    }
}

/// What is being done, in a word of JSON.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Listing => "listing",
        Phase::Preparing => "preparing",
        Phase::Moving => "moving",
        Phase::Comparing => "comparing",
        Phase::Finishing => "finishing",
    }
}

/// What bounds the speed, in a word that JSON uses too.
pub(super) fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Path => "path",
        Bound::Limit => "limit",
        Bound::Disk => "disk",
        Bound::Peer => "peer",
        Bound::Unknown => "unknown",
    }
}
