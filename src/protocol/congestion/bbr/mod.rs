//! The default controller: the skeleton of BBRv3 (draft-ietf-ccwg-bbr) with loss told from congestion.
//!
//! It models the path by its bandwidth and its unloaded RTT, paces at the first and keeps about one product of
//! both in flight; every few seconds it probes for more. What differs from the draft, and why:
//!
//! 1. Loss counts only beyond the path's own (`loss`), and the pacing rate makes up for that loss: BBRv3 takes
//!    any loss above 2% for congestion.
//! 2. Bandwidth is the mean of rate samples over stretches of a round or more, of at least 100 packets: the
//!    maximum of noisy samples is several percent too high, and fills buffers.
//! 3. The window covers the jitter seen while we build no queue, or reordering would idle the path.
//! 4. Startup follows the rate of trains of packets, which are shorter than a round (`filters`), and ends when it
//!    stops growing, whatever is lost: after one round if that shows a queue, else after two.
//! 5. A path that shows its unloaded RTT anyway is not emptied to measure it.
//! 6. Cruising in a queue slows down step by step. A queue that outlives this belongs to others, and then the
//!    window follows CUBIC's curve until they are gone (`contest`): two flows of the draft's kind keep whatever
//!    shares they began with, and push CUBIC aside in shallow buffers. Where that is in vain, because they do not
//!    react to loss, a part of the rate is held for a while (`hold`).
//!
//! Section numbers below are those of draft-ietf-ccwg-bbr.

mod contest;
mod filters;
mod hold;
mod loss;
mod probe;

use super::{AckSample, Controller, Phase};
use crate::protocol::spread::SplitMix64;
use crate::protocol::time::Time;
use contest::{Contest, Fall};
use filters::{Jitter, MaxBandwidth, MinRtt, Round, Stretch, Train};
use hold::Hold;
use loss::Baseline;
use probe::State;
use std::time::Duration;

/// First window, packets: paced over the first RTT it saves two rounds over the 10 of RFC 6928, and at 1 Mbit/s
/// it is less than the second that buffers there hold.
const INITIAL_PACKETS: u64 = 64;
/// Least window, packets (BBRMinPipeCwnd).
const MIN_PACKETS: u64 = 4;
const INITIAL_RATE: u64 = 64 * 1200 * 10;
/// RTT assumed before the first sample.
const UNKNOWN_RTT: Duration = Duration::from_millis(100);
/// Pace this much below the estimate, so that queues drain (BBRPacingMarginPercent = 1).
const MARGIN: f64 = 0.99;
/// How far short-term bandwidth falls at most in one round (BBRBeta).
const BETA: f64 = 0.7;
/// Each stretch that cruises in a queue slows down by this part. Even a flow that is alone needs it, because its
/// estimate may err upward.
const TRIM: f64 = 0.03;
/// Each stretch without a queue gives back so many packets a round trip: more, in proportion, to a flow with less,
/// so that shares even out.
const UNTRIM_PACKETS: f64 = 1.0;
/// And this part at least, or very fast flows would take minutes.
const UNTRIM: f64 = 0.002;
/// So much at most. A queue that outlives it is not ours.
const MOST_TRIM: f64 = 0.15;
/// Stretches in a queue after which we know that it is somebody else's.
const RIVAL: u32 = 9;
/// What ends sooner may be a busy machine at either end: on a local network its moments outlast many rounds, show as
/// queues and hold growth up.
const LASTING: Duration = Duration::from_millis(20);

/// BBR with a loss baseline.
#[derive(Debug)]
pub struct Bbr {
    mtu: u64,
    rng: SplitMix64,
    state: State,
    phase_began: Time,
    round: Round,
    max_bw: MaxBandwidth,
    min_rtt: MinRtt,
    jitter: Jitter,
    /// How much later than others overtaken packets came.
    late: Duration,
    train: Train,
    baseline: Baseline,
    /// The baseline loss in force, 0 to 1.
    p0: f64,
    /// What excess loss left of the bandwidth, until the next probe.
    bw_lo: Option<u64>,
    /// Whether the last stretch lost too much.
    suspect: bool,
    /// Whether the last stretch saw a queue throughout.
    queued: bool,
    /// How long stretches have been delivered far below the estimate.
    low_time: Duration,
    /// The first verdict that the path has become slower. Forgotten when a stretch of cruising sees no queue.
    fallen: Option<Fall>,
    /// The window while other flows fill the queue.
    contest: Option<Contest>,
    contested_at: Option<Time>,
    /// The highest delivery rate ever seen on this path.
    peak: u64,
    /// The rate beside flows that do not react to loss.
    hold: Option<Hold>,
    /// Stretches in a row that cruised in a queue, and the time they took.
    queued_for: u32,
    queued_time: Duration,
    /// Whether cruising had to slow down for a queue that is not ours.
    pressed: bool,
    /// Whether the queue has been empty since the last probe.
    cleared: bool,
    /// What cruising in queues leaves of the pacing rate.
    trim: f64,
    /// Startup: the bandwidth that must be outgrown, and rounds in which it was not.
    full_bw: u64,
    full_rounds: u32,
    grew_at: Time,
    /// The most that the current probe was given.
    probed: u64,
    full: bool,
    /// Whether nothing but startup's trains speaks for the bandwidth yet.
    unproven: bool,
    probe_wait: Duration,
    probe_rtt_done: Option<Time>,
    /// Lowest RTT of this RTT probe.
    dip: Option<Duration>,
    /// Delivery rate of the last stretch.
    rate: u64,
    window: u64,
    pacing_rate: u64,
}

/// The pace of the first window (BBRInitPacingRate).
fn first_rate(window: u64, rtt: Duration) -> u64 {
    (probe::STARTUP_GAIN * window as f64 / rtt.max(filters::LEAST_RTT).as_secs_f64()) as u64
}

impl Bbr {
    /// A controller for a fresh path. `initial_rtt` is what the handshake took, if known; `seed` spreads the
    /// probes of several flows in time.
    pub fn new(now: Time, mtu: u16, initial_rtt: Option<Duration>, seed: u64) -> Self {
        let mtu = u64::from(mtu);
        let rtt = initial_rtt.unwrap_or(UNKNOWN_RTT);
        let window = (INITIAL_PACKETS * mtu).max((INITIAL_RATE as f64 * rtt.as_secs_f64()) as u64);
        Bbr {
            mtu,
            rng: SplitMix64::new(seed),
            state: State::Startup,
            phase_began: now,
            round: Round::default(),
            max_bw: MaxBandwidth::default(),
            min_rtt: MinRtt::new(now),
            jitter: Jitter::default(),
            late: Duration::ZERO,
            train: Train::default(),
            baseline: Baseline::default(),
            p0: 0.0,
            bw_lo: None,
            suspect: false,
            queued: false,
            low_time: Duration::ZERO,
            fallen: None,
            contest: None,
            contested_at: None,
            peak: 0,
            hold: None,
            queued_for: 0,
            queued_time: Duration::ZERO,
            pressed: false,
            cleared: false,
            trim: 1.0,
            full_bw: 0,
            full_rounds: 0,
            grew_at: now,
            probed: 0,
            full: false,
            unproven: false,
            probe_wait: Duration::from_secs(2),
            probe_rtt_done: None,
            dip: None,
            rate: 0,
            window,
            pacing_rate: first_rate(window, rtt),
        }
    }

    /// The loss that is taken for the path's own, 0 to 1.
    pub fn baseline_loss(&self) -> f64 {
        self.p0
    }

    /// Bandwidth to act on: the maximum, unless excess loss has bounded it.
    fn bw(&self) -> u64 {
        let max = self.max_bw.get();
        self.bw_lo.map_or(max, |lo| lo.min(max))
    }

    /// Bytes sent to have `bw` delivered.
    fn gross(&self, bw: u64) -> f64 {
        bw as f64 / (1.0 - self.p0)
    }

    /// Bandwidth-delay product in bytes, of the unloaded RTT.
    fn bdp(&self, bw: u64) -> f64 {
        let rtt = self.min_rtt.get().unwrap_or(UNKNOWN_RTT);
        self.gross(bw) * rtt.as_secs_f64()
    }

    /// What is in flight at `bw` without a queue of ours: half the jitter is its mean.
    fn pipe(&self, bw: u64) -> f64 {
        self.bdp(bw) + self.gross(bw) * self.jitter.get().as_secs_f64() / 2.0
    }

    /// A packet and a half in service.
    fn service(&self) -> Duration {
        Duration::from_secs_f64(1.5 * self.mtu as f64 / self.max_bw.get().max(10_000) as f64)
    }

    /// What the window must cover beside the unloaded RTT. In startup, where the spread of RTTs may be a queue of ours,
    /// only reordering proves jitter.
    fn spread(&self) -> Duration {
        if self.full { self.jitter.get() } else { self.late }
    }

    fn on_model(&mut self, s: &AckSample) -> Option<Stretch> {
        if let Some(rtt) = s.rtt {
            if self.min_rtt.get().is_none() {
                self.pacing_rate = self.pacing_rate.max(first_rate(self.window, rtt));
            }
            self.min_rtt.on_sample(s.now, rtt, self.service());
        }
        let min_rtt = self.min_rtt.get().unwrap_or_default();
        // The RTT that others had meanwhile may hold a queue of ours.
        self.late = s.late.saturating_sub(s.smoothed_rtt.max(min_rtt));
        let least = min_rtt + self.spread();
        let ended = self.round.on_ack(s, least);
        if self.full {
            if let Some(rate) = ended.and_then(|e| e.rate()) {
                self.max_bw.on_sample(rate);
                self.peak = self.peak.max(rate);
            }
        } else {
            let train = self.train.on_ack(s, min_rtt, self.mtu);
            self.max_bw.on_sample(train.max(s.delivery_rate).unwrap_or(0));
            self.peak = self.max_bw.get();
        }
        ended
    }

    fn set_pacing(&mut self, s: &AckSample) {
        let trim = if self.state == State::Cruise {
            self.trim
        } else {
            1.0
        };
        let rate = trim * self.state.pacing_gain() * self.gross(self.bw()) * MARGIN;
        let rate = (rate as u64).max(self.mtu);
        if let Some(c) = self.contest {
            let srtt = s.smoothed_rtt.as_secs_f64().max(1e-4);
            self.pacing_rate = (1.2 * c.window * self.mtu as f64 / srtt) as u64;
            return;
        }
        if let Some(hold) = self.hold {
            self.pacing_rate = hold.rate;
            return;
        }
        // Until the pipe is full a slower rate would only come from too few samples (section 4.6.2).
        if self.max_bw.get() > 0 && (self.full || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    fn set_window(&mut self) {
        let least = MIN_PACKETS * self.mtu;
        let gain = self.state.window_gain();
        let bursts = 3 * (self.pacing_rate / 1000).max(2 * self.mtu);
        let jitter = self.gross(self.bw()) * self.spread().as_secs_f64();
        let target = (gain * self.bdp(self.bw()) + jitter) as u64 + bursts;
        self.window = if self.full {
            target
        } else {
            target.max(self.window)
        };
        if let Some(c) = self.contest {
            self.window = (c.window * self.mtu as f64) as u64;
        }
        if self.state == State::ProbeRtt {
            self.window = self.window.min(self.probe_rtt_window());
        }
        self.window = self.window.max(least);
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, _now: Time, _bytes: u64, _in_flight: u64) {}

    fn on_ack(&mut self, sample: &AckSample) {
        if sample.after_outage {
            // Without its losses the stretch would count as one on a path that loses nothing.
            self.round.restart(sample.now, sample.delivered, 1);
        }
        let ended = self.on_model(sample);
        self.on_state(sample, ended);
        self.set_pacing(sample);
        self.set_window();
    }

    fn on_spurious_loss(&mut self, _now: Time, bytes: u64) {
        let lost = &mut self.round.current().count.lost;
        *lost = lost.saturating_sub(bytes.div_ceil(self.mtu.max(1)));
    }

    fn on_path_change(&mut self, now: Time) {
        let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
        let rng = self.rng.clone();
        *self = Bbr {
            rng,
            ..Bbr::new(now, mtu, None, 0)
        };
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> u64 {
        self.pacing_rate
    }

    fn set_mtu(&mut self, bytes: u16) {
        self.mtu = u64::from(bytes);
    }

    fn phase(&self) -> Phase {
        self.state.phase()
    }

    fn bandwidth(&self) -> u64 {
        self.bw()
    }
}

#[cfg(test)]
mod tests;
