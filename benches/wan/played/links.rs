//! The links transfers are measured over: those of docs/performance.md.

use std::time::Duration;

use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{Place, Plan};
use super::queue::Discipline;

/// The longest a transfer may take before it counts as stalled.
const LONGEST: Duration = Duration::from_secs(40);

/// What is hard about a link; each family has a picture of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Clean,
    Loss,
    Buffers,
    Queues,
    Trouble,
}

impl Family {
    pub(crate) const ALL: [Family; 5] = [
        Family::Clean,
        Family::Loss,
        Family::Buffers,
        Family::Queues,
        Family::Trouble,
    ];

    /// The picture's file name, without its ending.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Family::Clean => "peers-clean",
            Family::Loss => "peers-loss",
            Family::Buffers => "peers-buffers",
            Family::Queues => "peers-queues",
            Family::Trouble => "peers-trouble",
        }
    }

    /// The picture's headline.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Family::Clean => "Nothing in the way",
            Family::Loss => "Random loss",
            Family::Buffers => "Buffers too large and too small",
            Family::Queues => "Managed queues",
            Family::Trouble => "Reordering, a black-out, a policer, a poor way back",
        }
    }
}

/// A link, what is hard about it, and how large a file crosses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    /// Mbit/s of the bottleneck; zero stands for the local network, without a played link.
    pub(crate) mbit: u64,
    rtt_ms: u64,
    jitter_ms: u64,
    loss: f64,
    /// Mean packets lost in a row; 0 = each by itself.
    burst: f64,
    /// Bytes of buffer, or of the policer's bucket.
    queue: usize,
    discipline: Discipline,
    /// Mbit/s and loss of the way back; none: as fast as the way there, and without loss.
    way_back: Option<(u64, f64)>,
    /// How long the link is dark after a third of the file has crossed it.
    pub(crate) dark: Duration,
    megabytes: u64,
    /// One of the few that `--quick` keeps.
    pub(crate) telling: bool,
}

const PLAIN: Cell = Cell {
    name: "",
    family: Family::Clean,
    mbit: 100,
    rtt_ms: 100,
    jitter_ms: 0,
    loss: 0.0,
    burst: 0.0,
    queue: 0,
    discipline: Discipline::Fifo,
    way_back: None,
    dark: Duration::ZERO,
    megabytes: 125,
    telling: false,
};

/// The link of an ordinary home, with a buffer that holds a second: what an upload does to a video call shows here.
pub(crate) const HOME: &str = "20 Mbit/s, 40 ms, 1 s buffer";

/// A managed queue of a second.
const MANAGED: Cell = Cell {
    family: Family::Queues,
    mbit: 20,
    rtt_ms: 40,
    queue: 2_500_000,
    megabytes: 25,
    ..PLAIN
};

/// The queues that mark begin where CoDel would (RFC 8289, section 4.3).
const STEP: Discipline = Discipline::Step(Duration::from_millis(5));

/// About ten seconds' worth of each link, less of the fast ones; and one short file.
pub(crate) const CELLS: [Cell; 19] = [
    Cell {
        name: "100 Mbit/s, 100 ms",
        queue: 1_250_000,
        ..PLAIN
    },
    Cell {
        name: "100 Mbit/s, 100 ms, a file of 1 MB",
        queue: 1_250_000,
        megabytes: 1,
        ..PLAIN
    },
    Cell {
        name: "1 Gbit/s, 20 ms",
        mbit: 1000,
        rtt_ms: 20,
        queue: 2_500_000,
        megabytes: 625,
        ..PLAIN
    },
    Cell {
        name: "LAN (veth)",
        mbit: 0,
        rtt_ms: 0,
        megabytes: 1000,
        ..PLAIN
    },
    Cell {
        name: "100 Mbit/s, 100 ms, 1% loss",
        family: Family::Loss,
        loss: 0.01,
        queue: 1_250_000,
        telling: true,
        ..PLAIN
    },
    Cell {
        name: "100 Mbit/s, 20 ms, 5% loss",
        family: Family::Loss,
        rtt_ms: 20,
        loss: 0.05,
        queue: 250_000,
        ..PLAIN
    },
    Cell {
        name: "500 Mbit/s, 100 ms, 0.1% loss",
        family: Family::Loss,
        mbit: 500,
        loss: 0.001,
        queue: 6_250_000,
        megabytes: 400,
        telling: true,
        ..PLAIN
    },
    Cell {
        name: "100 Mbit/s, 50 ms, 1% loss in bursts of 8",
        family: Family::Loss,
        rtt_ms: 50,
        loss: 0.01,
        burst: 8.0,
        queue: 625_000,
        ..PLAIN
    },
    Cell {
        name: HOME,
        family: Family::Buffers,
        mbit: 20,
        rtt_ms: 40,
        queue: 2_500_000,
        megabytes: 25,
        telling: true,
        ..PLAIN
    },
    Cell {
        name: "20 Mbit/s, 80 ms, 32 KB buffer",
        family: Family::Buffers,
        mbit: 20,
        rtt_ms: 80,
        queue: 32_000,
        megabytes: 25,
        ..PLAIN
    },
    Cell {
        name: "20 Mbit/s, 40 ms, FQ-CoDel",
        discipline: Discipline::FqCodel,
        telling: true,
        ..MANAGED
    },
    Cell {
        name: "100 Mbit/s, 50 ms, FQ-CoDel",
        mbit: 100,
        rtt_ms: 50,
        queue: 12_500_000,
        discipline: Discipline::FqCodel,
        megabytes: 60,
        ..MANAGED
    },
    // Shaped below the link's rate, so that the link's own buffer stays empty. It is not played.
    Cell {
        name: "19 of 20 Mbit/s, 40 ms, like CAKE",
        mbit: 19,
        discipline: Discipline::HostFair,
        ..MANAGED
    },
    Cell {
        name: "20 Mbit/s, 40 ms, marks after 5 ms",
        discipline: STEP,
        ..MANAGED
    },
    Cell {
        name: "100 Mbit/s, 50 ms, marks after 5 ms",
        mbit: 100,
        rtt_ms: 50,
        queue: 12_500_000,
        discipline: STEP,
        megabytes: 60,
        ..MANAGED
    },
    Cell {
        name: "100 Mbit/s, 50 ms, 10 ms jitter",
        family: Family::Trouble,
        rtt_ms: 50,
        jitter_ms: 10,
        queue: 625_000,
        telling: true,
        ..PLAIN
    },
    Cell {
        name: "50 Mbit/s, 40 ms, dark for 1 s",
        family: Family::Trouble,
        mbit: 50,
        rtt_ms: 40,
        queue: 250_000,
        dark: Duration::from_secs(1),
        megabytes: 60,
        ..PLAIN
    },
    Cell {
        name: "50 Mbit/s, 40 ms, policer",
        family: Family::Trouble,
        mbit: 50,
        rtt_ms: 40,
        queue: 100_000,
        discipline: Discipline::Policer,
        megabytes: 60,
        ..PLAIN
    },
    Cell {
        name: "50 Mbit/s, 40 ms, 1 Mbit/s and 2% loss back",
        family: Family::Trouble,
        mbit: 50,
        rtt_ms: 40,
        queue: 250_000,
        way_back: Some((1, 0.02)),
        megabytes: 60,
        ..PLAIN
    },
];

impl Cell {
    /// A clean link; `queue` in bytes.
    pub(crate) fn clean(mbit: u64, rtt_ms: u64, queue: usize) -> Cell {
        Cell {
            mbit,
            rtt_ms,
            queue,
            ..PLAIN
        }
    }

    /// The network that has this link in it.
    pub(crate) fn plan(&self) -> Plan {
        let forth = Direction {
            rate: self.mbit * 1_000_000,
            delay: Duration::from_millis(self.rtt_ms) / 2,
            jitter: Duration::from_millis(self.jitter_ms),
            loss: self.loss,
            burst: self.burst,
            queue: self.queue,
            discipline: self.discipline,
        };
        let (back_mbit, back_loss) = self.way_back.unwrap_or((self.mbit, 0.0));
        let back = Direction {
            rate: back_mbit * 1_000_000,
            delay: forth.delay,
            loss: back_loss,
            // A way back as fast as the way there is never the bottleneck; a slow one has a buffer like any other.
            queue: if self.way_back.is_some() {
                64_000
            } else {
                10_000_000
            },
            ..Direction::default()
        };
        let plan = Plan {
            hops: 1,
            link: LinkPlan { forth, back, seed: 1 },
            ..Plan::new(Nat::Public, Nat::Public)
        };
        match self.mbit {
            0 => Plan {
                place: Place::OneLan,
                a: Nat::MasqueradeDrop,
                ..plan
            },
            _ => plan,
        }
    }

    /// Whether its queue marks packets.
    pub(crate) fn marks(&self) -> bool {
        self.family == Family::Queues
    }

    /// Whether there is a played link, or only a cable.
    pub(crate) fn is_played(&self) -> bool {
        self.mbit > 0
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.megabytes * 1_000_000
    }

    /// C(1 - p) in Mbit/s; none without a played link.
    pub(crate) fn ideal_mbit(&self) -> Option<f64> {
        self.is_played().then_some(self.mbit as f64 * (1.0 - self.loss))
    }

    /// How long a transfer may take before it counts as stalled: four times the ideal and 20 s, 40 s at most.
    pub(crate) fn bound(&self) -> Duration {
        let ideal = self.ideal_mbit().unwrap_or(1000.0);
        let seconds = self.size() as f64 * 8e-6 / ideal;
        Duration::from_secs_f64(4.0 * seconds + 20.0).min(LONGEST)
    }
}
