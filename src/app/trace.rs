//! `--trace`: the connection's numbers as JSON lines, fifty a second, to see why a transfer was slow.

use super::outcome::Failure;
use crate::protocol::Role;
use crate::protocol::connection::Stats;
use crate::protocol::time::Time;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// A trace being written.
#[derive(Debug)]
pub(super) struct Trace(File);

impl Trace {
    /// Creates the file; replaces one that is there.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        File::create(path)
            .map(Trace)
            .map_err(|e| Failure::file("create", path, &e))
    }

    /// One line: seconds since the run began, bytes, bytes a second, milliseconds; counters count from the start.
    pub(super) fn write(&mut self, role: Role, at: Time, done: u64, s: &Stats) {
        let side = match role {
            Role::Sender => "sender",
            Role::Receiver => "receiver",
        };
        // A trace that cannot be written must not end the transfer.
        let _ = writeln!(
            self.0,
            "{{\"time_s\":{:.3},\"side\":\"{side}\",\"done\":{done},\"arrived\":{},\"phase\":\"{:?}\",\"limit\":\"{:?}\",\
             \"pacing_rate\":{},\"bandwidth\":{},\"in_flight\":{},\"window\":{},\"rtt_ms\":{:.3},\"min_rtt_ms\":{:.3},\
             \"sent\":{},\"lost\":{},\"repeated\":{},\"received\":{},\"mtu\":{}}}",
            at.as_nanos() as f64 * 1e-9,
            s.arrived_bytes,
            s.phase,
            s.limit,
            s.pacing_rate,
            s.bandwidth,
            s.in_flight,
            s.window,
            s.rtt.as_secs_f64() * 1e3,
            s.min_rtt.as_secs_f64() * 1e3,
            s.sent_packets,
            s.lost_packets,
            s.repeated_packets,
            s.received_packets,
            s.mtu
        );
    }
}
