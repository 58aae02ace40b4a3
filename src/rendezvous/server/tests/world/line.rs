//! The line between clients and their server.

/// What a line does to datagrams.
#[derive(Clone, Copy)]
pub(in super::super) struct Line {
    pub(super) delay_millis: u64,
    pub(super) jitter_millis: u64,
    pub(super) lost_percent: u64,
    pub(super) doubled_percent: u64,
}

impl Line {
    /// A line with a round-trip time of 100 ms and no faults.
    pub(in super::super) const fn clean() -> Self {
        Line {
            delay_millis: 50,
            jitter_millis: 0,
            lost_percent: 0,
            doubled_percent: 0,
        }
    }

    pub(in super::super) const fn bad() -> Self {
        Line {
            delay_millis: 30,
            jitter_millis: 200,
            lost_percent: 25,
            doubled_percent: 20,
        }
    }

    pub(in super::super) const fn dead() -> Self {
        Line {
            lost_percent: 100,
            ..Self::clean()
        }
    }
}
