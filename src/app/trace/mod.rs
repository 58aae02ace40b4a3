//! `--trace`: the connection's counters as JSON lines, fifty a second, to find out why a transfer was slow;
//! and the picture that `p2pcopy plot` makes of them.

mod own_file;
mod plot;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use self::own_file::FileKind;
use super::event::{Event, Front};
use super::options::PlotOptions;
use super::outcome::{Failure, Summary};
use crate::app::told::Info;
use crate::protocol::Role;
use crate::protocol::connection::Stats;
use crate::protocol::time::Time;

/// How to recognize a trace.
const TRACE: FileKind = FileKind {
    name: "a trace",
    start: "{\"time_s\":",
    option: "--trace",
};

/// How to recognize a picture.
const PICTURE: FileKind = FileKind {
    name: "a picture of a trace",
    start: "<svg xmlns=\"http://www.w3.org/2000/svg\"",
    option: "--output",
};

/// A trace being written.
#[derive(Debug)]
pub(super) struct Trace(File);

impl Trace {
    /// Creates the file. Replaces an earlier trace.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        TRACE.create(path).map(Trace)
    }

    /// Writes one line: seconds since the run began, bytes, bytes a second, milliseconds. Counters count from
    /// the start.
    ///
    /// # Errors The system's error. A trace that cannot be written must not end the transfer.
    pub(super) fn write(&mut self, role: Role, at: Time, done: u64, s: &Stats) -> std::io::Result<()> {
        let side = match role {
            Role::Sender => "sender",
            Role::Receiver => "receiver",
        };
        let millis = |seconds: f64| (seconds * 1e6).round() / 1e3;
        let sample = json!({
            "time_s": (at.as_nanos() as f64 * 1e-6).round() / 1e3,
            "side": side,
            "done": done,
            "arrived": s.arrived_bytes,
            "phase": format!("{:?}", s.stage),
            "limit": format!("{:?}", s.limit),
            "pacing_rate": s.pacing_rate,
            "bandwidth": s.bandwidth,
            "in_flight": s.in_flight,
            "window": s.window,
            "rtt_ms": millis(s.rtt.as_secs_f64()),
            "min_rtt_ms": millis(s.min_rtt.as_secs_f64()),
            "sent": s.sent_packets,
            "lost": s.lost_packets,
            "repeated": s.repeated_packets,
            "received": s.received_packets,
            "mtu": s.mtu,
        });
        // Each line is one write, because others read the file while it grows.
        let line = format!("{sample}\n");
        self.0.write_all(line.as_bytes())
    }
}

/// The fields of a line that the picture needs. Rates are in bytes a second, times in seconds.
#[derive(Clone, PartialEq, Debug)]
struct Sample {
    time: f64,
    side: String,
    /// Content bytes the receiver has: for a sender, those acknowledged; for a receiver, those verified.
    done: f64,
    limit: String,
    pacing_rate: f64,
    in_flight: f64,
    window: f64,
    rtt: f64,
    min_rtt: f64,
    sent: f64,
    lost: f64,
}

impl Sample {
    /// Reads a line of [`Trace::write`]. `None` if it is not complete, such as the last line of a killed run.
    fn parse(line: &str) -> Option<Sample> {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| line[key].as_str();
        let number = |key: &str| line[key].as_f64();
        Some(Sample {
            time: number("time_s")?,
            side: text("side")?.to_owned(),
            done: number("done")?.max(number("arrived")?),
            limit: text("limit")?.to_owned(),
            pacing_rate: number("pacing_rate")?,
            in_flight: number("in_flight")?,
            window: number("window")?,
            rtt: number("rtt_ms")? / 1e3,
            min_rtt: number("min_rtt_ms")? / 1e3,
            sent: number("sent")?,
            lost: number("lost")?,
        })
    }
}

/// Draws a trace.
///
/// # Errors
/// If the trace cannot be read, holds nothing to draw, or the picture cannot be written.
#[expect(clippy::disallowed_methods, reason = "a trace is a file of the user's own")]
pub(crate) fn draw(options: &PlotOptions, front: &mut dyn Front) -> Result<Summary, Failure> {
    let (trace, picture) = (&options.trace, &options.picture);
    let text = match std::fs::read_to_string(trace) {
        // A file that is not even text is not a trace, like any other wrong file.
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => String::new(),
        other => other.map_err(|e| Failure::file("read", trace, &e))?,
    };
    let samples: Vec<Sample> = text.lines().filter_map(Sample::parse).collect();
    let side = samples.first().map_or("", |s| s.side.as_str());
    let name = trace.file_name().unwrap_or_default().to_string_lossy();
    let svg = plot::draw(&samples, &format!("{name}, the {side}'s side")).ok_or_else(|| {
        Failure::usage(
            format!("{} holds no trace of a transfer", trace.display()),
            "name the file that was given to --trace",
        )
    })?;
    let written = PICTURE.create(picture)?.write_all(svg.as_bytes());
    written.map_err(|e| Failure::file("write", picture, &e))?;
    let path = picture.clone();
    front.event(Event::Info(Info::Wrote { path }));
    Ok(Summary::default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::congestion::Stage;
    use crate::protocol::connection::Limit;

    #[expect(clippy::disallowed_methods, reason = "a test reads its file")]
    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let stats = Stats {
            rtt: Duration::from_micros(20_500),
            min_rtt: Duration::from_millis(20),
            in_flight: 7,
            window: 8,
            pacing_rate: 10,
            bandwidth: 11,
            stage: Stage::Steady,
            sent_packets: 100,
            lost_packets: 3,
            repeated_packets: 2,
            received_packets: 50,
            forgeries: 0,
            replays: 0,
            arrived_bytes: 0,
            mtu: 1200,
            limit: Limit::Peer,
        };
        // The second call replaces the trace of the first.
        Trace::create(&path)
            .unwrap()
            .write(Role::Sender, Time::ZERO, 5, &stats)
            .unwrap();
        Trace::create(&path)
            .unwrap()
            .write(Role::Sender, Time::from_nanos(1_250_000_000), 9, &stats)
            .unwrap();
        let line = std::fs::read_to_string(&path).unwrap();
        let sample = Sample::parse(&line).unwrap();
        assert_eq!((sample.time, sample.done, sample.rtt), (1.25, 9.0, 0.0205));
        assert_eq!(
            (sample.sent, sample.lost, sample.limit.as_str()),
            (100.0, 3.0, "Peer")
        );
        for cut in 0..line.len() - 2 {
            assert_eq!(Sample::parse(&line[..cut]), None, "{cut}");
        }
    }
}
