//! Applies the fate of packets (arrived or lost) to the data that they carried.

use std::ops::Range;

use super::Connection;
use crate::protocol::mtu::MtuSearch;
use crate::protocol::recovery::{Fate, Recovery};
use crate::protocol::send_buffer::SendBuffer;
use crate::protocol::sent_packets::{Carries, Settled};
use crate::protocol::stream::SendStream;
use crate::protocol::time::Time;

/// The parts of a connection that learn the fate of packets.
pub(super) struct Cargo<'a> {
    now: Time,
    send_buffer: &'a mut SendBuffer,
    control: &'a mut SendStream,
    mtu: &'a mut MtuSearch,
    /// Packets declared lost, minus those that arrived later.
    lost: &'a mut u64,
    /// Content that arrived and is not yet reported to the send buffer: an ACK usually covers a contiguous
    /// run.
    run: Option<Range<u64>>,
    mtu_changed: bool,
}

impl Connection {
    /// The recovery and the parts that it informs, for one ACK or one timeout.
    pub(super) fn recovery_and_cargo(&mut self, now: Time) -> (&mut Recovery, Cargo<'_>) {
        let cargo = Cargo {
            now,
            send_buffer: &mut self.send_buffer,
            control: &mut self.control_out,
            mtu: &mut self.mtu,
            lost: &mut self.counters.lost,
            run: None,
            mtu_changed: false,
        };
        (&mut self.recovery, cargo)
    }
}

impl Cargo<'_> {
    /// Applies the fate of one packet.
    pub(super) fn settle(&mut self, fate: Fate, packet: Settled) {
        match fate {
            Fate::Arrived => self.on_arrived(packet),
            Fate::Lost => self.on_lost(packet),
        }
    }

    fn on_arrived(&mut self, packet: Settled) {
        match packet.carries {
            Carries::Content(range) => match &mut self.run {
                Some(run) if run.end == range.start => run.end = range.end,
                _ => {
                    self.tell_run();
                    self.run = Some(range);
                }
            },
            Carries::Control(range) => self.control.on_arrived(range),
            Carries::MtuProbe(size) => self.mtu_changed |= self.mtu.on_probe_arrived(self.now, size),
            Carries::Nothing => {}
        }
        self.mtu.on_arrived(packet.stamp.sent_at, packet.bytes);
        *self.lost = self.lost.saturating_sub(u64::from(packet.was_lost));
    }

    fn on_lost(&mut self, packet: Settled) {
        *self.lost += 1;
        match packet.carries {
            Carries::Content(range) => {
                // A copy of this content may have arrived by the same ACK.
                self.tell_run();
                self.send_buffer.on_lost(range);
            }
            Carries::Control(range) => self.control.on_lost(range),
            Carries::MtuProbe(size) => {
                self.mtu_changed |= self.mtu.on_probe_lost(self.now, size);
                return;
            }
            Carries::Nothing => {}
        }
        self.mtu_changed |= self.mtu.on_lost(self.now, packet.stamp.sent_at, packet.bytes);
    }

    fn tell_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.send_buffer.on_arrived(run);
        }
    }

    /// Ends the ACK or timeout. Returns whether the MTU has changed.
    pub(super) fn finish(mut self) -> bool {
        self.tell_run();
        self.mtu_changed
    }
}
