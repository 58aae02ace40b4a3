//! p2pcopy's own turn: two users swap addresses, and from the connection on the clock runs.

use std::path::Path;
use std::time::Duration;

use super::contest::{Insight, Measured};
use super::links::Cell;
use super::network::Network;
use super::pair::{Errand, Pair, Report};

/// From the second paste to the connection: a slot is ten seconds away at most, and then there is a punch.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Carries a file of the cell's size once.
pub(crate) fn run(network: &Network, cell: &Cell, directory: &Path) -> Measured {
    let errand = Errand {
        size: usize::try_from(cell.size()).unwrap_or(usize::MAX),
        limit: cell.bound() + CONNECT_LIMIT,
        directory: Some(directory.to_owned()),
        // The figures it prints each second hold its repetitions.
        arguments: vec!["-vv".to_owned()],
        ..Errand::default()
    };
    let pair = match Pair::start(network, &errand) {
        Ok(pair) => pair,
        Err(account) => return Measured::failed(account),
    };
    let pasted = pair.pasted;
    let report = pair.finish();
    let Some(connected) = report.connected else {
        return Measured::failed(report.account());
    };
    let (begin, end) = (pasted + connected, pasted + report.took);
    if report.exits.iter().any(Result::is_err) || end - begin > cell.bound() {
        return Measured::stalled(begin, end);
    }
    if !report.succeeded() {
        return Measured::failed(report.account());
    }
    Measured {
        insight: Some(Insight {
            repeated: repeated(&report),
            memory: report.peak_memory,
        }),
        ..Measured::done(begin, end, cell.size())
    }
}

/// The share of repetitions in the last figures the sender printed.
fn repeated(report: &Report) -> Option<f64> {
    let before = |text: &str, word: &str| -> Option<(usize, f64)> {
        let at = text.rfind(word)?;
        let number = text[..at].rsplit([' ', ',']).next()?;
        Some((at, number.parse().ok()?))
    };
    let (at, repeated) = before(&report.stderr[0], " repeated, ")?;
    let (_, sent) = before(&report.stderr[0][..at], " sent, ")?;
    Some(repeated / sent)
}
