//! Every number of the controller: value, unit, source and effect.
//!
//! The ablation run (`cargo test --release --test integration -- --ignored --nocapture ablation`) sets each number to
//! half and to double, and prints which cells of the tables move. Section numbers are those of draft-ietf-ccwg-bbr
//! unless another source is named. "Measured" means: chosen with the tables of `tests/integration/congestion`. "Half:",
//! "Double:", "Zero:" and "Never:" tell the largest moves of an ablation run with that value, from the mean of six seeds to one
//! run; "nothing" means that none was beyond chance. "One:" stands for a share or a factor of one. Paths have short names here;
//! `ablation.rs` has them whole.

use std::time::Duration;

/// Makes the struct, its defaults, and the list that the ablation run goes through.
macro_rules! params {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $value:expr;)*) => {
        /// The numbers of one controller.
        #[derive(Clone, Copy, Debug)]
        pub struct Params {
            $($(#[$doc])* pub $name: $ty,)*
        }

        impl Params {
            /// The numbers that p2pcopy runs with.
            pub const DEFAULT: Params = Params { $($name: $value,)* };

            /// Each number's name, and a function that multiplies it.
            pub const SCALES: &[(&str, fn(&mut Params, f64))] =
                &[$((stringify!($name), |params, by| params.$name = params.$name.scaled(by)),)*];
        }
    };
}

params! {
    // ---- the first packets and the limits of window and pace ----

    /// Initial window, packets, paced over the first RTT. It saves two rounds compared with the 10 of RFC 6928. At 1
    /// Mbit/s it takes less than a second, which buffers there hold.
    /// Half: 40% in place of 23 beside a later BBRv1 at 20 Mbit/s; double: nothing.
    initial_packets: u64 = 64;
    /// Initial window at least, bytes a second of RTT: `initial_packets` for each 100 ms.
    /// Half: nothing that is sure. Double: the file takes 3 times as long over 2 Mbit/s, 60 ms and 40% loss.
    initial_rate: u64 = 64 * 1200 * 10;
    /// RTT assumed before the first sample. QUIC assumes 333 ms (RFC 9002, section 6.2.2).
    /// Half and double: nothing.
    initial_rtt: Duration = Duration::from_millis(100);
    /// Smallest window, packets (BBRMinPipeCwnd), also of competitive mode.
    /// Half and double: nothing.
    min_pipe_packets: u64 = 4;
    /// Pacing rate as a part of the estimate, so that queues drain (BBRPacingMarginPercent = 1).
    /// Half: files take three times as long. Double: 46% lost at 20 Mbit/s and 2 ms.
    pacing_margin: f64 = 0.99;
    /// Send quanta that the window holds beside what is in the pipe (section 4.6.4.2, BBRQuantizationBudget: offload
    /// budget of three).
    /// Half: a file over 20 Mbit/s, 2 ms and 1% loss takes 1.15 of the ideal in place of 1.01. Double: 1.3 products
    /// lost at the start in place of 0.9 at 100 Mbit/s, 20 ms.
    quanta: u64 = 3;
    /// Startup: of these quanta the window holds this share of the product, or what exceeds the product.
    /// One: a buffer of one product is overrun by 0.43 of it at 100 Mbit/s and 20 ms in place of 0.28. Zero: two more of
    /// 64 sharing rows miss.
    startup_quanta: f64 = 0.2;
    /// Smallest send quantum, packets (section 4.6.3).
    /// Half: 18 : 82 in place of 69 : 31 for RTT x1, x5 at 20 Mbit/s. Double: 19 ms of queue in place of 5 at 20 Mbit/s
    /// and 30% loss.
    quantum_packets: u64 = 2;

    // ---- gains (section 4.6) ----

    /// Startup: pacing of the first window, then relative to the fastest train so far (BBRStartupPacingGain). A train
    /// shows the path's rate after a part of a round trip, and the window bounds the excess.
    /// 4: 6.2% of 25 MB is repeated at 300 Mbit/s and 100 ms with a buffer of one product in place of nothing.
    /// Half: 1 MB takes 5.9 round trips in place of 3.4 at 300 Mbit/s and 100 ms.
    startup_pacing_gain: f64 = 2.77;
    /// Drain: pacing gain (BBRDrainPacingGain = 0.5).
    /// Half: 13% in place of 94 of 2 Mbit/s with 40% loss. Double: the file takes 1.16 of the ideal in place of 1.03 on
    /// Wi-Fi.
    drain_pacing_gain: f64 = 0.5;
    /// ProbeBW_DOWN: pacing gain.
    /// Half: 90% in place of 98 of 20 Mbit/s, 300 ms. Double: 24 to 37% lost on clean paths.
    down_pacing_gain: f64 = 0.9;
    /// ProbeBW_UP: pacing gain.
    /// Half: 28% in place of 98 of a path that moved from 20 to 200 ms. Double: a policed 50 Mbit/s loses 48% in place of 6.
    up_pacing_gain: f64 = 1.25;
    /// ProbeBW_UP: window gain.
    /// Half: 28% in place of 41 beside a CUBIC that was first at 20 Mbit/s, 100 ms, half a product. Double: nothing.
    up_cwnd_gain: f64 = 2.25;
    /// All other states: window gain (BBRDefaultCwndGain, BBRStartupCwndGain). A buffer of one product holds Startup
    /// without loss.
    /// Half: 11% in place of 94 of 2 Mbit/s with 40% loss. Double: half a product is overrun by 1.8 in place of 0.8
    /// products.
    cwnd_gain: f64 = 2.0;

    // ---- rounds and intervals (section 4.5.1) ----

    /// Packets after which an interval may end. Measured.
    /// Half: a policed 20 Mbit/s loses 44% in place of 6. Double: nothing alone; 61% in place of 48 beside a later CUBIC.
    interval_packets: u64 = 100;
    /// Time after which an interval may end on slow paths, where `interval_packets` would take seconds. Measured.
    /// Half: a policed 20 Mbit/s loses 42% in place of 6. Double: 17% in place of 98 of 5 Mbit/s with 30% loss.
    interval_time: Duration = Duration::from_millis(250);
    /// Packets needed before a ratio means anything, or the rate of a train.
    /// Half: a policed 1 Mbit/s loses 34% in place of 30. Double: 94% in place of 98 on Wi-Fi.
    fewest_packets: u64 = 20;
    /// Shorter queues are ignored, because a busy machine at either end may cause them. On a local network they last
    /// for many rounds. On paths of a shorter RTT probes come more often in proportion. Otherwise such a moment lowers
    /// the rate of a local network for seconds. Measured there.
    /// Zero: ten seconds of 20 Mbit/s at 2 ms take 1.18 of the ideal in place of 1.01; beside four CUBIC 84% in place
    /// of 46.
    lasting: Duration = Duration::from_millis(20);
    /// Rounds after which a probe ends that has no answer because the application paused, and in which others do not
    /// react to the step to a hold yet (the filter of BBRv1 remembers ten).
    /// Half and double: nothing.
    patient_rounds: u32 = 8;

    // ---- the path's model ----

    /// Longest memory of the unloaded RTT (MinRTTFilterLen).
    /// Half: nothing that is sure. Double: 76% in place of 98, 20 s after a path moved from 20 to 200 ms.
    min_rtt_window: Duration = Duration::from_secs(10);
    /// The same in competitive mode, where other flows keep the queue full. After this time the path may have become
    /// longer.
    /// Half and double: nothing.
    competitive_min_rtt_window: Duration = Duration::from_secs(60);
    /// An RTT that changes by less than noise, and by less than this part of its rise above the minimum, is no rival's queue.
    /// Without: a path whose RTT goes from 50 to 100 ms is filled to 83% for a minute.
    steady_part: u32 = 8;
    /// An RTT up to this part above the minimum still shows an idle path. With a stricter test every path needs ProbeRTT.
    /// Half and double: nothing that is sure.
    idle_part: u32 = 32;
    /// And this much above it.
    /// Half and double: nothing that is sure.
    idle_slack: Duration = Duration::from_micros(100);
    /// Below this the RTT is that of ACK timers (1 ms at least) and of schedulers, not the path's.
    /// Half and double: nothing from 2 ms on.
    least_rtt: Duration = Duration::from_millis(1);
    /// Packets in service that are no queue.
    /// None: 83% of what 100 Mbit/s and 50 ms with 40% loss can carry in place of 85 and more; 25% in place of 37
    /// beside a later BBRv1 in eight packets of buffer, but 76 in place of 89 beside a CUBIC that was first.
    service_packets: f64 = 1.5;
    /// Spread up to this part of the RTT is small: it may come from delayed ACKs, and samples of a probe that was cut
    /// short may lower the estimate.
    /// Half: nothing alone. Double: 94% in place of 78 beside a later CUBIC in eight packets.
    jitter_part: u32 = 4;
    /// A larger spread counts as this: it is an outage, not jitter.
    /// Zero: 20 Mbit/s, 2 ms and 10 ms of jitter give 80% of the rate in place of 97.
    max_jitter: Duration = Duration::from_millis(500);
    /// The newest spread is one part of so many of the average, so one late ACK moves it little.
    /// Half: 46% in place of 29 beside four CUBIC. Double: 6 ms of queue in place of 1 on Wi-Fi.
    jitter_weight: u32 = 4;

    // ---- loss ----

    /// Loss beyond the baseline that is tolerated (BBRLossThresh = 2%, there beyond none).
    /// Half: nothing. Double: a policed 20 Mbit/s loses 15% in place of 6.
    loss_threshold: f64 = 0.02;
    /// Standard deviations beyond which loss is not chance.
    /// Half: 74% in place of 98 of 5 Mbit/s with 30% loss. Double: policed paths lose 16 to 18% in place of 6.
    loss_sigmas: f64 = 3.0;
    /// The same beside a queue, which short paths test hundreds of times a second: one error in a million.
    /// Never: 59 to 78% beside four CUBIC on eight paths in place of 18 to 40, but for one.
    overflow_sigmas: f64 = 5.0;
    /// Spread assumed of an unknown baseline: one loss in twenty packets proves nothing.
    /// Half and double: 32 of 160 results change, none for sure.
    least_deviation: f64 = 0.01;
    /// Highest baseline that needs no proof: noisy radio paths lose up to a tenth. A hold accepts so much beyond the
    /// baseline: beside one BBRv1 an even share costs 5 to 10%. Measured.
    /// Zero: a path of 10% loss with 0.05 BDP loses 30% of what is sent in place of 11.
    max_baseline: f64 = 0.12;
    /// Packets that an average remembers: enough to know a loss of 1% to a fifth.
    /// Half and double: 95% in place of 98 on Wi-Fi.
    baseline_memory: f64 = 2000.0;
    /// More loss than `max_baseline` is believed, up to this, if a lower rate does not lower it.
    /// Half: 5% in place of 96 of 20 Mbit/s with 30% loss. Double: a policer of 50 Mbit/s lets nothing through.
    max_heavy: f64 = 0.5;
    /// That lower rate, share of the rate at which the loss was first seen. One cut by `beta` leaves a little less.
    /// Half: 81% in place of 98 of 5 Mbit/s, 100 ms and 30% loss. Double: 49% lost in place of 5 behind a policer of 50
    /// Mbit/s.
    heavy_share: f64 = 0.75;
    /// Packets needed at either rate for that. On slow paths the rate falls after so few. With 200, a path of 5 Mbit/s,
    /// 100 ms and 40% loss gave 3% of what it can carry, with 50 it gives 90%.
    heavy_packets: f64 = 50.0;
    /// Share of the loss that must be left at the lower rate.
    /// Half: nothing that is sure. Double: nothing heavy is believed.
    heavy_steady: f64 = 0.8;
    /// An interval tells of the path's own loss if its RTT is at most this part and `least_rtt` above the minimum. In
    /// Startup its highest RTT may be `jitter_part` above it.
    /// Half: nothing. Double: bursts of 40 packets on a path that became slow lose 9.7% in place of 6.5.
    quiet_part: u32 = 20;
    /// How far bw_shortterm falls at most in one interval (BBRBeta). Share of the rate before the cuts that is held.
    /// One: a policed path of 50 Mbit/s loses 69% of what is sent in place of 5.
    beta: f64 = 0.7;

    // ---- Startup and Drain (sections 4.3.1 and 4.3.2) ----

    /// Growth of the estimate that counts as growth (section 4.3.1.2).
    /// Half (growth is any change): 60 to 90% lost. Double: 39% in place of 95 of 2 ms with 10 ms of jitter.
    startup_growth: f64 = 1.25;
    /// Rounds without growth that end Startup. The draft waits for three, because TCP's receive window may hold growth
    /// up for one. Each round more adds to the queue.
    /// One: 44% in place of 23 beside a later BBRv1 at 20 Mbit/s; at 30% loss the file takes 1.15 of the ideal in place
    /// of 1.09.
    full_bw_rounds: u32 = 2;
    /// Shortest train that is measured: many times the error of a timer.
    /// Half: nothing. Double: 1 MB takes 7.0 round trips in place of 6.2 at 100 Mbit/s and 20 ms.
    train_time: Duration = Duration::from_millis(4);
    /// A train is this many times as long as the spread among the packets of one ACK. Startup waits for growth at least
    /// this many times as long as reordered packets are late.
    /// Half: 13 : 87 in place of 70 : 30 for RTT x1, x5. Double: 6 ms of queue in place of 2 at 30% loss.
    train_spread: u32 = 2;

    /// Rounds after which Drain ends in any case.
    /// Half: nothing. Double: 87 ms of queue in place of less than 50 after 100 Mbit/s became 20.
    drain_rounds: u32 = 4;

    // ---- ProbeBW (section 4.3.3) ----

    /// Least time between probes. In a hold: until the others react, and after so long without a queue they are gone.
    /// On long paths `probe_rounds` round trips more (section 4.3.3.6: 2 to 3 s).
    /// Half: 13 products overrun in place of 10 at 10 Mbit/s. Double: 93% in place of 98 of a path with 5% loss and jitter.
    probe_wait: Duration = Duration::from_secs(2);
    /// Random part of that time, so that flows do not probe in step.
    /// Half: one of four of ours has 8% in place of 24. Double: 96% in place of 98 on Wi-Fi.
    probe_spread: Duration = Duration::from_secs(1);
    /// Round trips between probes beside `probe_wait`.
    /// Half: 486 ms of queue in place of 133 over the satellite. Double: a policed 20 Mbit/s loses 14% in place of 6.
    probe_rounds: u32 = 6;
    /// Probes come more often on short paths (`lasting`) with at least so many packets a second, since a probe and its
    /// answer take a few hundred.
    /// Never: 84% in place of 93 of a cellular 200 Mbit/s at 2 ms (eight seeds).
    short_packets: u64 = 4000;
    /// Rounds in ProbeBW_REFILL.
    /// Half: 94% in place of 99 of 20 Mbit/s with 50 ms of jitter. Double: nothing alone.
    refill_rounds: u32 = 2;
    /// Growth that keeps a probe going: a little less than half of what the probe asks for, and above the noise.
    /// Half (any answer is growth): 2.6% lost in place of 1.3 at 300 ms. Double: 54% in place of 98 after a move to 200 ms.
    probe_growth: f64 = 1.1;
    /// One measurement may be this much too low by chance.
    /// One: a policed 1 Mbit/s loses 35% of what is sent in place of 30.
    probe_noise: f64 = 0.95;

    // ---- ProbeRTT (section 4.3.4) ----

    /// How often the unloaded RTT must be seen (ProbeRTTInterval). In competitive mode: how often the window is lowered
    /// to see whether the queue is ours alone (as Copa does each 5 RTT).
    /// Half: the file takes 1.24 of the ideal in place of 1.10 over the satellite. Double: 96% in place of 98 after a move
    /// to 200 ms.
    probe_rtt_interval: Duration = Duration::from_secs(5);
    /// How long it is measured at least (ProbeRTTDuration).
    /// Half and double: nothing that is sure.
    probe_rtt_time: Duration = Duration::from_millis(200);
    /// Window meanwhile (BBRProbeRTTCwndGain).
    /// Half and double: nothing.
    probe_rtt_cwnd_gain: f64 = 0.5;

    // ---- queues, and whose they are ----

    /// A queue adds more than this part of the RTT, by which ACKs are apart ...
    /// Half: two of ours share 16 : 84 in eight packets. Double: 70% in place of 98 of 5 Mbit/s with 30% loss.
    queue_part: u32 = 16;
    /// ... and more than this, by which timers are late ...
    /// Half: nothing. Double: 92% in place of 98 on Wi-Fi.
    queue_slack: Duration = Duration::from_micros(500);
    /// ... and more than this part of the jitter, since some intervals contain no packet without jitter.
    /// Half and double: nothing alone.
    queue_jitter_part: u32 = 2;
    /// Each interval of cruise in a queue lowers the pace by this part, since the estimate may be too high. Each
    /// interval without excess loss raises bw_shortterm by it; the draft resets that at a probe. Measured.
    /// Zero: 20 Mbit/s with 30% loss has 26 ms of queue in place of 5.
    trim: f64 = 0.03;
    /// Most that trims take from the pace. A queue that is still there is not ours. Measured.
    /// Half: 16 ms of queue in place of 2 at 30% loss. Double: 96% in place of 98 on Wi-Fi.
    max_trim: f64 = 0.15;
    /// Each interval without a queue gives back so many packets a round trip. Slower flows regain more in proportion,
    /// so shares even out.
    /// Half: 52% in place of 41 beside a CUBIC that was first at 20 Mbit/s, 100 ms, half a product. Double: 14 ms of
    /// queue in place of 5 at 20 Mbit/s and 30% loss.
    untrim_packets: f64 = 1.0;
    /// It gives back at least this part, or fast flows would take minutes.
    /// Half and double: nothing at 20 Mbit/s.
    untrim: f64 = 0.002;
    /// Intervals in a queue after which the queue is a rival's. Measured.
    /// Half: 86% in place of 63 beside a later BBRv1. Double: a cellular file takes 1.84 of the ideal in place of 1.35.
    rival_intervals: u32 = 9;
    /// The same if the queue overflows meanwhile.
    /// Half: bursts on a path that became slow lose 7.4% in place of 5.6. Double: nothing that is sure.
    rival_overflow_intervals: u32 = 3;
    /// A lower pace, share of the estimate, is not explained by our own error: a probe would only take from others.
    /// Zero: 77% in place of 66 beside a CUBIC that was first, at 100 Mbit/s, 50 ms and a quarter product, and 51 in
    /// place of 42 beside two (three seeds each).
    pressed: f64 = 0.92;
    /// With fewer packets in the pipe a queue cannot be told from packets in service. Measured.
    /// Half and double: nothing at 20 Mbit/s.
    few_packets: f64 = 12.0;
    /// A delivery rate below this share of the estimate, in a queue, means that the path has become slower or that
    /// others fill a deep buffer.
    /// Zero: 90, 84 and 84% of three cellular paths (10 Mbit/s 60 ms, 20 Mbit/s 50 ms, 50 Mbit/s 40 ms; eight seeds) in
    /// place of 80, 77 and 80, but 62, 25 and 15 ms of queue in place of 33, 22 and 13.
    collapse: f64 = 0.7;
    /// Share of the estimate that one such verdict leaves at least, since a rival's burst can stop our packets for a
    /// moment.
    /// Half and double: nothing in the sample. 0.7: 368 ms of queue in place of less than 50 after 100 Mbit/s became
    /// 20.
    collapse_floor: f64 = 0.5;
    /// If a later verdict finds less than this share of the first one's rate, the queue is a rival's.
    /// Zero: beside two CUBIC that were first, after 50 s, 6% in place of 18 at 20 Mbit/s, 40 ms and 20 products, 6 in
    /// place of 32 at 10 Mbit/s, 50 ms and 20, 19 in place of 33 at 20 Mbit/s, 40 ms and 8 (one seed). In smaller
    /// buffers nothing.
    collapse_steady: f64 = 0.8;
    /// Share of Startup's estimate that the first queue leaves at least.
    /// One: 81% in place of 90 of a satellite of 20 Mbit/s and 600 ms, 18 ms of queue in place of 12 at 1 Mbit/s and 2
    /// ms.
    train_noise: f64 = 0.8;

    // ---- competitive mode ----

    /// Pace of the window over the smoothed RTT (RFC 9002, section 7.7, proposes 1.25).
    /// Half: 19 to 21% in place of 57 beside CUBIC. Double: 36% in place of 29 beside four.
    competitive_pacing_gain: f64 = 1.2;
    /// The window grows only if it is used up to so many packets (RFC 9002, section 7.8).
    /// Half: 32% in place of 43 beside a CUBIC that was first. Double: nothing.
    competitive_slack: f64 = 16.0;
    /// In a queue, the window of a flow that was alone on the path grows to this share of its highest rate. The others
    /// use the rest.
    /// Without: 86% in place of 64 beside a later BBRv1 at 20 Mbit/s, 20 ms and four products.
    alone_share: f64 = 0.65;
    /// A probe with less growth took nothing from others, so the flow is alone. At `up_pacing_gain` two equal flows
    /// gain 1.11.
    /// Half (never alone): 85% in place of 63 beside a later BBRv1. Double: nothing that is sure.
    alone_growth: f64 = 1.04;
    /// So many cuts, each before the window was back from the one before, are in vain.
    /// Half: 86% in place of 28 beside four CUBIC, 97 in place of 78 beside a later CUBIC in eight packets.
    /// Never: 8% in place of 37 beside a later BBRv1 at 40 Mbit/s and half a product.
    vain_cuts: u32 = 4;
    /// Window of the test of competitive mode, share of the product at our delivery rate.
    /// Never tested: 33 ms of queue in place of 5 there; 66% in place of 57 beside a later CUBIC at 40 Mbit/s.
    dip_gain: f64 = 0.75;
    /// For so long after competitive mode, a probe that overflows means that rivals are still there.
    /// Zero: a CUBIC that heeds marks has 15 to 22% in place of 27 to 30 at 100 Mbit/s, 50 ms and a queue that marks
    /// after 10 ms.
    competitive_memory: Duration = Duration::from_secs(10);
    /// Round trips from the end of competitive mode, of a hold or of a collapse to the next probe. A rival that is still
    /// there shows by then.
    /// Half: 58% in place of 72 for RTT x1, x5. Double: 96% in place of 98 after a move to 200 ms.
    look_rounds: u32 = 16;

    // ---- holding a rate ----

    /// A hold has at least this share of the highest rate that the path ever gave: an even share beside one such flow.
    /// So much is also believed of the path's rate as the step to a hold shows it, which errs by a factor of two.
    /// Half: nothing. Double: two of ours share 15 : 84.
    hold_peak_part: f64 = 0.5;
    /// If the step to a hold makes the path look faster than so many times its highest rate, the others made room for it.
    /// Beside BBRv1 it looks 1.2 to 5.8 times as fast, beside CUBIC 7.3 times and more. The highest rate of a flow that was
    /// alone is the path's, so `hold_peak_part` of this counts for it: beside BBRv1 it looks up to 3 times as fast.
    /// Half and double: nothing. Never: 81% in place of 28 beside four CUBIC at 20 Mbit/s and one product.
    hold_peaks: f64 = 6.5;
    /// How long a rate is held.
    /// Half and double: nothing that is sure.
    hold_time: Duration = Duration::from_secs(16);
}

/// Multiplies a number of any kind.
trait Scaled {
    fn scaled(self, by: f64) -> Self;
}

impl Scaled for f64 {
    fn scaled(self, by: f64) -> Self {
        self * by
    }
}

impl Scaled for u32 {
    fn scaled(self, by: f64) -> Self {
        // For a count or a divisor, zero would switch a rule off or divide by zero.
        ((f64::from(self) * by) as u32).max(1)
    }
}

impl Scaled for u64 {
    fn scaled(self, by: f64) -> Self {
        ((self as f64 * by) as u64).max(1)
    }
}

impl Scaled for Duration {
    fn scaled(self, by: f64) -> Self {
        self.mul_f64(by)
    }
}
