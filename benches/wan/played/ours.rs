//! p2pcopy's own turn: two users swap addresses, and from the connection on the clock runs.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::contest::{Insight, Measured};
use super::driver::Peer;
use super::links::Cell;
use super::network::{Network, Side};
use super::pair::{Errand, Pair};
use super::services::Services;

/// From the second paste to the connection: a slot is ten seconds away at most, and then there is a punch.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// How often it is seen how much memory both ends hold.
const LOOK: Duration = Duration::from_millis(50);

/// Carries a file of the cell's size once.
pub(crate) fn run(network: &Network, cell: &Cell, directory: &Path) -> Measured {
    let trace = match NamedTempFile::new() {
        Ok(trace) => trace,
        Err(error) => return Measured::failed(error.to_string()),
    };
    let errand = Errand {
        size: usize::try_from(cell.size()).unwrap_or(usize::MAX),
        limit: cell.bound() + CONNECT_LIMIT,
        directory: Some(directory.to_owned()),
        // The figures it prints each second hold its repetitions.
        arguments: vec!["-vv".to_owned()],
        trace: Some(trace.path().to_owned()),
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
            repeated: repeated(&report.stderr[0]),
            memory: report.peak_memory,
            middle: middle(trace.path(), cell.size()),
        }),
        ..Measured::done(begin, end, cell.size())
    }
}

/// The same by way of a server's relay, whose users meet by a code.
pub(crate) fn run_relayed(network: &Network, cell: &Cell, directory: &Path, file: &Path) -> Measured {
    relayed(network, cell, directory, file).unwrap_or_else(Measured::failed)
}

fn relayed(network: &Network, cell: &Cell, directory: &Path, file: &Path) -> Result<Measured, String> {
    let here = Services::STUN[0];
    let listen = format!("{here}:4300");
    let server = Peer::start_in(&network.name("srv"), "server", |command| {
        // With a word nothing is limited.
        command.args([
            "server", "--listen", &listen, "--public", here, "--token", "bench",
        ]);
    });
    server.wait_for("Clients use: --server", CONNECT_LIMIT)?;
    let place = format!("{here}/bench");
    let meets = ["--server", &place, "--relay", "only", "-vv"];
    let mut sender = Peer::start(network, Side::A, "sender", |command| {
        command.arg("sender").arg(file).args(meets);
    });
    let code = sender.told()?;
    let output = directory.join("relayed");
    // One that stalled has left something.
    let _ = std::fs::remove_dir_all(&output);
    let mut receiver = Peer::start(network, Side::B, "receiver", |command| {
        command
            .args(["receiver", &code, "--yes", "--output"])
            .arg(&output)
            .args(meets);
    });
    let [sent, received] = [&sender, &receiver].map(|end| end.connected(CONNECT_LIMIT));
    let begin = sent?.max(received?);
    let mut memory = [0; 2];
    let exits = loop {
        for (most, end) in memory.iter_mut().zip([&sender, &receiver]) {
            *most = end.peak_memory().unwrap_or(0).max(*most);
        }
        let exits = [&mut sender, &mut receiver].map(|end| end.wait(LOOK));
        if exits.iter().all(Result::is_ok) || begin.elapsed() > cell.bound() {
            break exits;
        }
    };
    let end = Instant::now();
    if exits.iter().any(Result::is_err) {
        return Ok(Measured::stalled(begin, end));
    }
    if exits != [Ok(Some(0)), Ok(Some(0))] {
        return Err(format!("{exits:?}\n{}\n{}", sender.stderr(), receiver.stderr()));
    }
    std::fs::remove_dir_all(&output).map_err(|e| e.to_string())?;
    Ok(Measured {
        insight: Some(Insight {
            repeated: repeated(&sender.stderr()),
            memory,
            middle: None,
        }),
        ..Measured::done(begin, end, cell.size())
    })
}

/// The share of repetitions in the last figures the sender printed.
fn repeated(told: &str) -> Option<f64> {
    let before = |text: &str, word: &str| -> Option<(usize, f64)> {
        let at = text.rfind(word)?;
        let number = text[..at].rsplit([' ', ',']).next()?;
        Some((at, number.parse().ok()?))
    };
    let (at, repeated) = before(told, " repeated, ")?;
    let (_, sent) = before(&told[..at], " sent, ")?;
    Some(repeated / sent)
}

/// How fast the middle eight tenths of the file were acknowledged, in Mbit/s: the rate without start and end.
fn middle(trace: &Path, size: u64) -> Option<f64> {
    let text = std::fs::read_to_string(trace).ok()?;
    let samples = text.lines().filter_map(|line| {
        let sample: serde_json::Value = serde_json::from_str(line).ok()?;
        Some((sample["time_s"].as_f64()?, sample["arrived"].as_f64()?))
    });
    let mut middle = samples.skip_while(|(_, arrived)| *arrived < size as f64 * 0.1);
    let begin = middle.next()?;
    let end = middle.find(|(_, arrived)| *arrived >= size as f64 * 0.9)?;
    Some((end.1 - begin.1) * 8e-6 / (end.0 - begin.0))
}
