//! Pacing: a token bucket in bytes that spreads packets over time, and the user's hard limit.
//!
//! Bytes are UDP payload bytes, as in congestion control. The bucket may go into debt, because probes and
//! ACKs leave in any case. Later packets wait until the debt is paid, so the long-term rate is exact. The
//! pacer does not know the congestion window.

use std::time::Duration;

use super::time::Time;

/// Timers fire up to about 1 ms late (the tick of common event loops). Beside one burst, the bucket holds the bytes
/// of this time.
pub(crate) const CATCH_UP: Duration = Duration::from_millis(1);
/// A timer may fire this late without a loss of speed. Windows' clock ticks every 15.6 ms unless a program asks for
/// more, and a busy machine is late as well. If bytes were lost by late timers, congestion control would take the
/// lower rate for the path's, and ask for less each time.
const LATEST: Duration = Duration::from_millis(16);
/// The bytes of at most this time leave as one burst. Longer bursts fill shallow buffers (draft-ietf-ccwg-bbr,
/// 4.6.3).
const QUANTUM: Duration = Duration::from_millis(1);
/// A burst takes at most this part of the RTT, so that half of it fits a buffer of 0.05 BDP.
const RTT_PER_QUANTUM: u32 = 40;
/// Shorter bursts cost more CPU time than any path gains by them.
const LEAST_QUANTUM: Duration = Duration::from_micros(50);
/// The most segments of a burst below 1 Gbit/s: some mobile paths lose packets of longer offloaded bursts.
const SEGMENTS: u64 = 16;
/// The most segments above 1 Gbit/s, where system calls cost more than bursts do: as many as the kernel
/// accepts.
const SEGMENTS_FAST: u64 = 64;
/// 1 Gbit/s, in bytes a second.
const FAST: u64 = 125_000_000;
/// A larger debt is forgiven, so that forced packets at a tiny rate cannot silence the sender.
const MAX_DEBT: Duration = Duration::from_secs(1);

/// Decides how many bytes may leave now, and when more may.
#[derive(Debug)]
pub struct Pacer {
    /// The rate that congestion control asks for, in bytes a second.
    asked: u64,
    /// The user's limit, in bytes a second.
    limit: Option<u64>,
    /// The bytes that may leave; negative while there is debt.
    tokens: f64,
    /// When `tokens` was last brought up to date.
    updated: Time,
    /// When the timer of [`Pacer::next`] is due.
    due: Option<Time>,
    /// The time whose bytes leave as one burst.
    quantum: Duration,
    /// The largest datagram, in bytes.
    mtu: u64,
}

impl Pacer {
    /// A pacer without a rate, which [`Pacer::set_rate`] sets, and with tokens for the smallest burst.
    pub(crate) fn new(now: Time) -> Self {
        let mtu = 1200;
        Pacer {
            asked: FAST / 1000,
            limit: None,
            tokens: mtu as f64,
            updated: now,
            due: None,
            quantum: QUANTUM,
            mtu,
        }
    }

    /// Sets the rate in bytes a second. The bucket shrinks with it: tokens of a higher rate would overrun the path
    /// once more. Tokens of a late timer keep their worth in time.
    pub(crate) fn set_rate(&mut self, now: Time, bytes_per_second: u64) {
        if bytes_per_second != self.asked {
            self.refill(now);
            let old = self.rate();
            self.asked = bytes_per_second.max(1);
            let scaled = self.tokens * self.rate() as f64 / old as f64;
            self.tokens = self.tokens.min(scaled.max(self.capacity(CATCH_UP)));
        }
    }

    /// Sets or removes the user's hard limit, in bytes a second.
    pub(crate) fn set_limit(&mut self, now: Time, bytes_per_second: Option<u64>) {
        self.refill(now);
        self.limit = bytes_per_second.map(|b| b.max(1));
        self.tokens = self.tokens.min(self.capacity(CATCH_UP));
    }

    /// Sets the RTT of the unloaded path. Bursts are shorter on short paths.
    pub(crate) fn set_rtt(&mut self, min_rtt: Duration) {
        self.quantum = (min_rtt / RTT_PER_QUANTUM).clamp(LEAST_QUANTUM, QUANTUM);
    }

    /// Sets the size of the largest datagram.
    pub(crate) fn set_mtu(&mut self, bytes: u16) {
        self.mtu = u64::from(bytes);
    }

    /// The rate in force, in bytes a second.
    pub(crate) fn rate(&self) -> u64 {
        self.limit.map_or(self.asked, |l| l.min(self.asked))
    }

    /// Whether the user's limit decides the rate, and not the path. The delivery-rate sampler must then treat
    /// the flow as application-limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some_and(|l| l < self.asked)
    }

    /// The bytes of one burst: at most 1 ms of the rate, but at least one packet. At low rates a burst is one
    /// packet, because two may already fill a policer's bucket or a short queue.
    pub fn quantum(&self) -> u64 {
        (self.worth(self.quantum) as u64).clamp(self.mtu, SEGMENTS_FAST * self.mtu)
    }

    /// The time from one burst to the next.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.quantum() as f64 / self.rate() as f64)
    }

    /// The most segments to hand to the kernel at once.
    pub(crate) fn max_segments(&self) -> u64 {
        if self.rate() < FAST {
            SEGMENTS
        } else {
            SEGMENTS_FAST
        }
    }

    /// Bytes that may leave now.
    pub fn budget(&mut self, now: Time) -> u64 {
        self.refill(now);
        self.tokens.max(0.0) as u64
    }

    /// Records that `bytes` left.
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        // After sending, the sender may wait for the window and not for the timer.
        self.due = None;
        self.tokens -= bytes as f64;
        let floor = -self.worth(MAX_DEBT).max((SEGMENTS_FAST * self.mtu) as f64);
        self.tokens = self.tokens.max(floor);
    }

    /// When `bytes` may leave; `now` if they may leave already. If `bytes` exceeds the bucket, a full bucket
    /// is enough.
    pub fn next(&mut self, now: Time, bytes: u64) -> Time {
        self.refill(now);
        let missing = (bytes as f64).min(self.capacity(CATCH_UP)) - self.tokens;
        if missing <= 0.0 {
            self.due = None;
            return now;
        }
        // Rounded up, so that the tokens are there when the timer fires on time.
        let due = now + Duration::from_nanos((missing * 1e9 / self.rate() as f64) as u64 + 1);
        self.due = Some(due);
        due
    }

    fn refill(&mut self, now: Time) {
        // A sender that waits for the timer is not idle.
        let late = self
            .due
            .take_if(|due| *due <= now)
            .map_or(Duration::ZERO, |due| now.since(due));
        let most = self.capacity(late.clamp(CATCH_UP, LATEST));
        let earned = self.worth(now.since(self.updated));
        self.updated = self.updated.max(now);
        // Tokens of a late timer stay until they are used.
        self.tokens = (self.tokens + earned).min(most.max(self.tokens));
    }

    /// The bytes of one burst and of this time, by which a timer may be late.
    fn capacity(&self, missed: Duration) -> f64 {
        self.worth(self.quantum).max(self.mtu as f64) + self.worth(missed)
    }

    fn worth(&self, time: Duration) -> f64 {
        self.rate() as f64 * time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends 1200-byte packets for `seconds`, with timers that fire `late` too late. Returns the bytes sent.
    fn run(pacer: &mut Pacer, seconds: u64, late: Duration) -> u64 {
        let end = Time::ZERO + Duration::from_secs(seconds);
        let (mut now, mut sent) = (Time::ZERO, 0);
        while now < end {
            while pacer.budget(now) >= 1200 {
                pacer.on_sent(1200);
                sent += 1200;
            }
            let quantum = pacer.quantum();
            now = pacer.next(now, quantum) + late;
        }
        sent
    }

    fn within(got: u64, want: u64, percent: u64) -> bool {
        got.abs_diff(want) * 100 <= want * percent
    }

    #[test]
    fn rate_holds_from_slow_to_fast_with_late_timers() {
        for rate in [125_000, 1_250_000, 12_500_000, 125_000_000, 1_250_000_000_u64] {
            for late in [0, 100, 900, 4_000, 15_600] {
                let mut p = Pacer::new(Time::ZERO);
                p.set_rate(Time::ZERO, rate);
                let sent = run(&mut p, 4, Duration::from_micros(late));
                assert!(within(sent, rate * 4, 2), "{rate} B/s, {late} us late: {sent}");
            }
        }
    }

    #[test]
    fn limit_holds_within_two_percent() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 125_000_000);
        p.set_limit(Time::ZERO, Some(1_000_000));
        assert!(p.is_limited());
        let sent = run(&mut p, 10, Duration::from_micros(700));
        assert!(within(sent, 10_000_000, 2), "{sent}");
    }

    #[test]
    fn pause_earns_no_more_than_the_catch_up() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 12_500_000);
        assert!(p.budget(Time::ZERO + Duration::from_secs(60)) <= 25_000);
    }

    #[test]
    fn what_a_late_timer_is_allowed_is_bounded_and_given_once() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 12_500_000);
        p.on_sent(p.mtu);
        let due = p.next(Time::ZERO, 12_500);
        let late = due + Duration::from_secs(60);
        let allowed = p.budget(late);
        assert!((200_000..=212_500).contains(&allowed), "{allowed}");
        p.on_sent(allowed);
        assert!(p.budget(late + Duration::from_secs(60)) <= 25_000);
    }

    #[test]
    fn tokens_of_a_rate_that_was_lowered_do_not_stay() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 12_500_000);
        p.on_sent(p.mtu);
        let late = p.next(Time::ZERO, 12_500) + Duration::from_millis(11);
        assert!(p.budget(late) >= 125_000);
        p.set_rate(late, 1_250_000);
        let left = p.budget(late);
        assert!((12_500..=15_000).contains(&left), "{left}");
    }

    #[test]
    fn waiting_for_the_window_is_no_late_timer() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 12_500_000);
        p.on_sent(p.mtu);
        let due = p.next(Time::ZERO, p.mtu);
        // An ACK comes before the timer, and the packets that it allows fill the window.
        p.on_sent(p.mtu);
        assert!(p.budget(due + Duration::from_millis(10)) <= 25_000);
    }

    #[test]
    fn forced_packets_are_paid_back() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 1_000_000);
        p.on_sent(12_400);
        assert_eq!(p.budget(Time::ZERO), 0);
        let due = p.next(Time::ZERO, 1200);
        assert!(within(due.as_nanos(), 12_400_000, 1), "{due:?}");
        assert!(p.budget(due) >= 1200);
    }

    #[test]
    fn bursts_are_short_below_one_gigabit() {
        let mut p = Pacer::new(Time::ZERO);
        p.set_rate(Time::ZERO, 50_000_000);
        assert_eq!(p.max_segments(), 16);
        p.set_rate(Time::ZERO, 500_000_000);
        assert_eq!(p.max_segments(), 64);
    }
}
