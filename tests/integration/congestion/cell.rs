//! One path to be measured on, and what one flow, or several, make of it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use p2pcopy::parts::protocol::{Bbr, Controller, Params, Time, Udt};

use crate::sim::flow::{Flow, PACKET, World};
use crate::sim::link::{Bursts, Policer, Profile, Rng};
use crate::sim::rivals::{BbrV1, Cubic};

pub(crate) fn at(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

/// What a path does beside delaying, queueing and losing at random.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// Up to so many milliseconds more for each packet, which puts them out of order.
    Jitter(f64),
    /// A fifth of the rate is let through, with bursts of 100 ms, as routers are commonly configured.
    Policer,
    /// [`BURSTS`].
    Bursts,
    /// Nothing arrives for a second, twice.
    Blackouts,
    /// A cellular link: [`cellular`].
    Cellular,
    /// Both ways send in bursts, 4 ms apart, as Wi-Fi aggregates.
    Wifi,
    /// The rate changes by a third each five seconds, as a satellite link adapts to the weather.
    Weather,
    /// CoDel manages the queue: fq_codel and CAKE, as one flow meets them.
    CoDel,
    /// The way back has a fiftieth of the rate (128 kbit/s at least), half a second of buffer, and loses 5%.
    NarrowReturn,
}

/// Bursts of about 20 packets, half of them lost, one each 2000 packets.
const BURSTS: Bursts = Bursts {
    enter: 0.0005,
    leave: 0.05,
    loss: 0.5,
};

/// Rates of a cellular link with a mean of `mean` bytes a second, by a generator of our own: each 100 ms the logarithm of
/// the rate moves by 0.2 (standard deviation, nearly normal) and a tenth of the way back to its mean, and once in four
/// seconds on average the rate falls to a tenth within 300 ms, for half a second to two. That gives quantiles of about 0.1
/// (5%), 0.5 (25%), 0.9, 1.4 and 2.4 (95%) of the mean, and changes by a factor of ten within a second.
fn cellular(mean: f64, seed: u64) -> Vec<(Time, u64)> {
    let mut rng = Rng::new(seed ^ 0xce11);
    let (mut log, mut fade, mut fading) = (0.0_f64, 0.0_f64, 0);
    (0..400)
        .map(|step| {
            let normal = (0..4).map(|_| rng.unit()).sum::<f64>() - 2.0;
            log += 0.2 * normal * 3.0_f64.sqrt() - 0.1 * log;
            if fading == 0 && rng.chance(1.0 / 40.0) {
                fading = 5 + (rng.unit() * 15.0) as u32;
            }
            fading = fading.saturating_sub(1);
            let aim = if fading > 0 { -10.0_f64.ln() } else { 0.0 };
            fade += (aim - fade).clamp(-0.8, 0.8);
            (
                at(f64::from(step) * 0.1),
                (mean * 1.1 * (log + fade).exp()) as u64,
            )
        })
        .collect()
}

/// A cell of the grid.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) mbit: f64,
    pub(crate) rtt_ms: f64,
    /// Random loss, 0 to 1.
    pub(crate) loss: f64,
    pub(crate) buffer_bdp: f64,
    pub(crate) trouble: Trouble,
}

impl Cell {
    pub(crate) fn new(mbit: f64, rtt_ms: f64, loss: f64, buffer_bdp: f64) -> Self {
        Cell {
            mbit,
            rtt_ms,
            loss,
            buffer_bdp,
            trouble: Trouble::None,
        }
    }

    pub(crate) fn with(self, trouble: Trouble) -> Self {
        Cell { trouble, ..self }
    }

    /// Bytes a second.
    pub(crate) fn rate(&self) -> f64 {
        self.mbit * 125_000.0
    }

    /// What arrives at best, bytes a second; rates that change aside.
    pub(crate) fn ideal(&self) -> f64 {
        self.rate() * self.share()
    }

    /// What arrives at best, of what the link can serve.
    fn share(&self) -> f64 {
        let share = match self.trouble {
            Trouble::Policer => 0.2,
            Trouble::Bursts => 1.0 - BURSTS.loss * BURSTS.enter / (BURSTS.enter + BURSTS.leave),
            Trouble::Blackouts => 13.0 / 15.0,
            _ => 1.0,
        };
        share * (1.0 - self.loss)
    }

    pub(crate) fn links(&self, seed: u64) -> (Profile, Profile) {
        let half = Duration::from_secs_f64(self.rtt_ms / 2000.0);
        let bdp = self.rate() * self.rtt_ms / 1000.0;
        // No real queue holds less than four packets.
        let buffer = ((bdp * self.buffer_bdp) as u64).max(4 * 1500);
        let mut forth = Profile::new(self.rate() as u64, half, buffer);
        let mut back = Profile::new(self.rate() as u64, half, 10_000_000);
        forth.loss = self.loss;
        match self.trouble {
            Trouble::None => {}
            Trouble::Jitter(ms) => forth.jitter = Duration::from_secs_f64(ms / 1000.0),
            Trouble::Policer => {
                forth.policer = Some(Policer {
                    rate: (self.rate() * 0.2) as u64,
                    burst: (self.rate() * 0.02) as u64,
                });
            }
            Trouble::Bursts => forth.bursts = Some(BURSTS),
            Trouble::Blackouts => forth.blackouts = vec![(at(8.0), at(9.0)), (at(16.0), at(17.0))],
            Trouble::Cellular => forth.rates = cellular(self.rate(), seed),
            Trouble::Wifi => {
                forth.aggregate = Duration::from_millis(4);
                back.aggregate = Duration::from_millis(4);
            }
            Trouble::Weather => {
                let third = |n: u64| if n.is_multiple_of(2) { 1.0 } else { 2.0 / 3.0 };
                forth.rates = (0..9)
                    .map(|n| (at(5.0 * n as f64), (self.rate() * third(n)) as u64))
                    .collect();
            }
            Trouble::CoDel => forth.codel = true,
            Trouble::NarrowReturn => {
                back.rate = (forth.rate / 50).max(16_000);
                back.buffer = back.rate / 2;
                back.loss = 0.05;
            }
        }
        (forth, back)
    }

    pub(crate) fn world(&self, seed: u64) -> World {
        let (forth, back) = self.links(seed);
        World::new(forth, back, seed)
    }

    /// Least steady goodput aimed at, percent of the ideal.
    fn floor(&self) -> f64 {
        match self.trouble {
            Trouble::Jitter(ms) if ms >= 50.0 => 90.0,
            Trouble::Policer | Trouble::Blackouts => 90.0,
            _ => 95.0,
        }
    }

    /// Longest median of added delay aimed at, ms, in buffers bloated enough to have one. The packet in service is
    /// no queue: at 1 Mbit/s it alone takes 11 ms.
    fn most_queue(&self) -> f64 {
        if self.buffer_bdp >= 20.0 {
            (self.rtt_ms * 0.25).max(10.0) + 1000.0 * PACKET as f64 / self.rate()
        } else {
            f64::INFINITY
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = self.loss * 100.0;
        write!(
            f,
            "{:>4} Mbit/s {:>3} ms {loss:>4}% {:>4} BDP",
            self.mbit, self.rtt_ms, self.buffer_bdp
        )?;
        let trouble = match self.trouble {
            Trouble::None => String::new(),
            Trouble::Jitter(ms) => format!("jitter {ms} ms"),
            Trouble::Policer => "policer".into(),
            Trouble::Bursts => "bursts".into(),
            Trouble::Blackouts => "black-outs".into(),
            Trouble::Cellular => "cellular".into(),
            Trouble::Wifi => "Wi-Fi".into(),
            Trouble::Weather => "weather".into(),
            Trouble::CoDel => "CoDel".into(),
            Trouble::NarrowReturn => "narrow return".into(),
        };
        write!(f, " {trouble:<13}")
    }
}

fn controller(name: &str, now: Time, rtt: Duration, seed: u64, params: Params) -> Box<dyn Controller> {
    match name {
        "cubic" => Box::new(Cubic::new()),
        "udt" => Box::new(Udt::new(now, PACKET as u16, Some(rtt), seed)),
        "bbr1" => Box::new(BbrV1::new()),
        _ => Box::new(Bbr::with_params(now, PACKET as u16, Some(rtt), seed, params)),
    }
}

/// The numbers of our own controllers: the program's, unless PARAMS="trim*0.5 max_trim*2" changes some of them.
pub(crate) fn params() -> Params {
    let mut params = Params::DEFAULT;
    for change in std::env::var("PARAMS").unwrap_or_default().split_whitespace() {
        let (name, by) = change.split_once('*').expect("NAME*FACTOR");
        let by = by.parse().expect("FACTOR is a number");
        let (_, scale) = Params::SCALES
            .iter()
            .find(|(known, _)| *known == name)
            .expect("NAME is one of params.rs");
        scale(&mut params, by);
    }
    params
}

pub(crate) fn add(world: &mut World, name: &str, start: f64, rtt_ms: f64, seed: u64, goal: Option<u64>) {
    add_with(world, name, start, rtt_ms, seed, goal, params());
}

/// The same; our own controller runs with these numbers.
pub(crate) fn add_with(
    world: &mut World,
    name: &str,
    start: f64,
    rtt_ms: f64,
    seed: u64,
    goal: Option<u64>,
    params: Params,
) {
    let rtt = Duration::from_secs_f64(rtt_ms / 1000.0);
    let start = at(start);
    let mut f = Flow::new(
        world.flows.len(),
        controller(name, start, rtt, seed, params),
        rtt,
        start,
        goal,
        seed,
    );
    f.paced = name != "cubic";
    f.tcp = name == "cubic" || name == "bbr1";
    f.ecn = !f.tcp;
    world.flows.push(f);
}

/// What one flow alone made of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Steady goodput, percent of the ideal.
    pub(crate) steady: f64,
    /// Time until ten seconds' worth was acknowledged, percent of ten seconds.
    pub(crate) file: f64,
    /// Median of the added delay, ms.
    pub(crate) queue: f64,
    /// Packets declared lost, percent of those sent.
    pub(crate) lost: f64,
    /// Of those sent, percent that had been repeated although they arrived.
    pub(crate) spurious: f64,
}

/// Whole-file time aimed at, percent of the ideal.
pub(crate) const MOST_FILE: f64 = 110.0;

/// The goals of a cell, in the order of the table's columns.
pub(crate) const GOALS: [&str; 4] = ["steady", "file", "queue", "repeated in vain"];

impl Outcome {
    /// Which of [`GOALS`] are missed.
    pub(crate) fn missed(&self, cell: &Cell) -> [bool; 4] {
        [
            self.steady < cell.floor(),
            self.file > MOST_FILE,
            self.queue > cell.most_queue(),
            self.spurious >= 1.0,
        ]
    }

    /// How near the cell comes to the goal that it is farthest beyond, or nearest to: above 1 is a miss.
    pub(crate) fn strain(&self, cell: &Cell) -> f64 {
        let of_goals = [
            cell.floor() / self.steady.max(0.1),
            self.file / MOST_FILE,
            self.queue / cell.most_queue(),
            self.spurious,
        ];
        of_goals.into_iter().fold(0.0, f64::max)
    }

    /// A line of the table. A cell that misses its goal is marked.
    pub(crate) fn line(&self, cell: &Cell) -> String {
        let mark = self.missed(cell).map(|m| if m { '!' } else { ' ' });
        // Rounded toward the worse, so that what is marked also reads so.
        format!(
            "{cell} | {:>3.0}{} | {:>3.0}{} | {:>4.0}{} | {:>2.0} | {:>3.1}{}",
            self.steady.floor(),
            mark[0],
            self.file.ceil(),
            mark[1],
            self.queue.ceil(),
            mark[2],
            self.lost,
            self.spurious,
            mark[3],
        )
        .trim_end()
        .to_string()
    }
}

/// One flow alone. Steady means after five seconds and ten round trips.
pub(crate) fn alone(cell: &Cell, name: &str, seed: u64) -> Outcome {
    alone_with(cell, name, seed, params())
}

/// The same; our own controller runs with these numbers.
pub(crate) fn alone_with(cell: &Cell, name: &str, seed: u64, params: Params) -> Outcome {
    let mut w = cell.world(seed);
    add_with(&mut w, name, 0.0, cell.rtt_ms, seed, None, params);
    let warm = 5.0 + cell.rtt_ms / 100.0;
    let end = warm + 15.0;
    let share = cell.share();
    let goal = (share * w.forth.capacity(at(0.0), at(10.0)) / PACKET as f64) as u64;
    let mut file = f64::INFINITY;
    let mut mark = None;
    let mut t = 0.0;
    while t < end {
        t += 0.01;
        w.run(at(t));
        if w.flows[0].stats.useful >= goal && file.is_infinite() {
            file = t * 10.0;
        }
        if t >= warm && mark.is_none() {
            mark = Some((t, w.flows[0].stats));
            w.delays.clear();
        }
    }
    let (t0, before) = mark.expect("the run outlasts the warm-up");
    let s = w.flows[0].stats;
    let sent = (s.sent - before.sent).max(1) as f64;
    Outcome {
        steady: 100.0 * ((s.useful - before.useful) * PACKET) as f64
            / (share * w.forth.capacity(at(t0), at(t))),
        file,
        queue: w.median_delay().as_secs_f64() * 1000.0,
        lost: 100.0 * (s.lost - before.lost) as f64 / sent,
        spurious: 100.0 * (s.spurious - before.spurious) as f64 / sent,
    }
}

/// Percent of the link that each flow has, after 10 s of getting used to each other; `rtts` are multiples of the path's.
pub(crate) fn shares(cell: &Cell, names: &[&str], rtts: &[f64], seconds: f64, seed: u64) -> Vec<f64> {
    shares_with(cell, names, rtts, seconds, seed, params())
}

/// The same; our own controllers run with these numbers.
pub(crate) fn shares_with(
    cell: &Cell,
    names: &[&str],
    rtts: &[f64],
    seconds: f64,
    seed: u64,
    params: Params,
) -> Vec<f64> {
    let mut w = cell.world(seed);
    for (i, (name, times)) in names.iter().zip(rtts).enumerate() {
        // Each seed starts the later flows at another moment: without loss little else differs between runs.
        let start = i as f64 * (2.0 + 0.37 * (seed % 7) as f64);
        let seed = seed * 31 + i as u64;
        add_with(&mut w, name, start, cell.rtt_ms * times, seed, None, params);
        w.flows[i].farther = Duration::from_secs_f64(cell.rtt_ms * (times - 1.0) / 1000.0);
    }
    w.run(at(10.0 + 5.0 * names.len() as f64));
    let before: Vec<u64> = w.flows.iter().map(|f| f.stats.useful).collect();
    let t0 = w.now;
    w.run(t0 + Duration::from_secs_f64(seconds));
    w.flows
        .iter()
        .zip(before)
        .map(|(f, b)| 100.0 * ((f.stats.useful - b) * PACKET) as f64 / seconds / cell.ideal())
        .collect()
}

/// Does `work` for each job on all cores; the results come in the order of the jobs.
pub(crate) fn parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((i, job)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(i).map(|job| (i, job))
                } {
                    let result = work(job);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((i, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, r)| r).collect()
}
