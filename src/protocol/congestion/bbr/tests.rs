//! Feeds the controller with samples, because a simulated path would hide which rule decides.

use super::*;

/// A controller, and what has been delivered to the peer so far.
struct Fed {
    bbr: Bbr,
    now: Time,
    delivered: u64,
}

impl Fed {
    fn new() -> Self {
        Fed {
            bbr: Bbr::new(Time::ZERO, 1200, None, 1),
            now: Time::ZERO,
            delivered: 0,
        }
    }

    /// An ACK that ends a round: `rate` bytes a second were delivered in the last `millis`, `lost` packets were not.
    fn sample(&mut self, millis: u64, rate: u64, rtt: Duration, lost: u64) -> AckSample {
        let bytes = rate * millis / 1000;
        self.now += Duration::from_millis(millis);
        self.delivered += bytes;
        AckSample {
            now: self.now,
            acked_bytes: bytes,
            acked_packets: bytes / 1200,
            lost_packets: lost,
            marked_packets: 0,
            rtt: Some(rtt),
            max_rtt: Some(rtt),
            late: Duration::ZERO,
            min_rtt: Duration::from_micros(40),
            smoothed_rtt: rtt,
            delivery_rate: Some(rate),
            app_limited: false,
            delivered: self.delivered,
            delivered_at_send: self.delivered - bytes,
            after_outage: false,
            prior_in_flight: 2 * bytes,
            in_flight: bytes,
            in_flight_at_send: bytes,
        }
    }

    fn feed(&mut self, samples: u64, millis: u64, rate: u64, rtt: Duration, lost: u64) {
        for _ in 0..samples {
            let sample = self.sample(millis, rate, rtt, lost);
            self.bbr.on_ack(&sample);
        }
    }
}

#[test]
fn a_machine_busy_for_milliseconds_does_not_end_startup() {
    let mut fed = Fed::new();
    let (quick, slow) = (Duration::from_micros(40), Duration::from_millis(4));
    fed.feed(4, 1, 10_000_000, quick, 0);
    fed.feed(15, 1, 10_000_000, slow, 0);
    assert!(fed.bbr.is_starting());
    fed.feed(30, 1, 10_000_000, slow, 0);
    assert!(!fed.bbr.is_starting(), "this queue is the path's");
}

#[test]
fn a_machine_busy_for_milliseconds_does_not_make_the_path_slow() {
    let mut fed = Fed::new();
    let (quick, slow) = (Duration::from_micros(40), Duration::from_millis(4));
    fed.feed(50, 1, 200_000_000, quick, 0);
    assert!(matches!(fed.bbr.mode, Mode::Cruise));
    fed.feed(12, 1, 80_000_000, slow, 0);
    assert_eq!(fed.bbr.bandwidth(), 200_000_000);
    fed.feed(20, 1, 80_000_000, slow, 0);
    assert!(fed.bbr.bandwidth() < 150_000_000, "it does so for long");
}

#[test]
fn what_comes_out_of_a_queue_corrects_what_startup_believed() {
    let mut fed = Fed::new();
    let (quick, slow) = (Duration::from_millis(40), Duration::from_millis(60));
    // ACKs that arrived together once: the rate looks a fifth too high.
    fed.feed(4, 40, 6_000_000, quick, 0);
    fed.feed(40, 40, 5_000_000, slow, 0);
    assert_eq!(fed.bbr.bandwidth(), 5_000_000);
}

#[test]
fn the_first_queue_is_drained_unless_the_application_pauses() {
    let (quick, slow) = (Duration::from_millis(40), Duration::from_millis(60));
    for app_limited in [false, true] {
        let mut fed = Fed::new();
        fed.feed(20, 40, 6_000_000, quick, 0);
        assert!(matches!(fed.bbr.mode, Mode::Cruise));
        let mut drained = false;
        for _ in 0..4 {
            let mut sample = fed.sample(40, 5_500_000, slow, 0);
            sample.app_limited = app_limited;
            sample.in_flight *= 2;
            fed.bbr.on_ack(&sample);
            drained |= matches!(fed.bbr.mode, Mode::Drain);
        }
        assert_eq!(drained, !app_limited);
    }
}

/// A path of 40 ms that gave 40 Mbit/s and has a queue of 60 ms from now on.
fn queued() -> (Fed, Duration) {
    let mut fed = Fed::new();
    fed.feed(20, 40, 5_000_000, Duration::from_millis(40), 0);
    assert!(matches!(fed.bbr.mode, Mode::Cruise));
    (fed, Duration::from_millis(100))
}

#[test]
fn a_path_that_became_slow_is_believed_however_slow() {
    let (mut fed, rtt) = queued();
    fed.feed(60, 100, 500_000, rtt, 0);
    assert!(!matches!(fed.bbr.mode, Mode::Competitive(_)));
    let bandwidth = fed.bbr.bandwidth();
    assert!((450_000..800_000).contains(&bandwidth), "{bandwidth}");
}

#[test]
fn where_giving_way_brings_less_and_less_others_are() {
    let (mut fed, rtt) = queued();
    for _ in 0..60 {
        // Three fifths of what is sent get through, whatever the rate, because others send as well.
        let rate = fed.bbr.pacing_rate().min(fed.bbr.window() * 10) * 3 / 5;
        fed.feed(1, 100, rate, rtt, 0);
        if let Mode::Competitive(competitive) = fed.bbr.mode {
            let window = competitive.window();
            assert!(window > 200.0, "{window}: what we had");
            return;
        }
    }
    panic!("they fill the queue");
}

/// A path of 100 Mbit/s on which a step to a hold begins, because cuts were in vain.
fn stepping() -> Fed {
    let mut fed = Fed::new();
    fed.feed(40, 10, 12_500_000, Duration::from_millis(10), 0);
    fed.bbr.given = 3_000_000;
    let sample = fed.sample(10, 3_000_000, Duration::from_millis(20), 10);
    fed.bbr.hold(&sample, 50.0);
    fed
}

/// The same when the step has lost a fifth, because another flow does not react.
fn holding() -> Fed {
    let mut fed = stepping();
    fed.feed(10, 20, 5_000_000, Duration::from_millis(20), 20);
    fed
}

#[test]
fn there_is_no_hold_beside_those_who_make_room() {
    let mut fed = stepping();
    for _ in 0..20 {
        fed.feed(1, 20, 6_200_000, Duration::from_millis(20), 1);
        if let Mode::Competitive(competitive) = fed.bbr.mode {
            let window = competitive.window() * 1200.0;
            assert_eq!(
                window.round(),
                0.02 * 3_000_000.0,
                "what the others left us before"
            );
            return;
        }
    }
    panic!("they react, so the window must as well");
}

#[test]
fn a_hold_is_half_of_what_the_path_gave() {
    let mut fed = holding();
    fed.feed(100, 20, 6_000_000, Duration::from_millis(20), 1);
    assert!(matches!(fed.bbr.mode, Mode::Hold(_)));
    assert_eq!(fed.bbr.pacing_rate(), 6_250_000);
}

#[test]
fn a_hold_ends_when_nobody_is_there_any_more() {
    let mut fed = holding();
    fed.feed(220, 10, 6_250_000, Duration::from_millis(10), 0);
    assert!(!matches!(fed.bbr.mode, Mode::Hold(_)));
}

#[test]
fn a_hold_falls_to_what_comes_through_where_a_tenth_is_lost_for_seconds() {
    let mut fed = holding();
    fed.feed(260, 20, 500_000, Duration::from_millis(40), 100);
    assert!(fed.bbr.pacing_rate() < 1_000_000, "{}", fed.bbr.pacing_rate());
}

/// A path that gave 20 Mbit/s, on which a step of 2 Mbit/s to a hold begins.
fn small_step() -> Fed {
    let mut fed = Fed::new();
    fed.feed(40, 10, 2_500_000, Duration::from_millis(10), 0);
    fed.bbr.given = 1_000_000;
    let rtt = Duration::from_millis(20);
    let sample = fed.sample(10, 1_000_000, rtt, 1);
    fed.bbr.hold(&sample, 10.0);
    fed.feed(1, 20, 1_250_000, rtt, 0);
    assert_eq!(fed.bbr.pacing_rate(), 1_250_000);
    fed
}

#[test]
fn the_step_to_a_hold_tells_of_a_path_that_was_never_seen_empty() {
    // Another flow has used most of the path from the start.
    let mut fed = small_step();
    // The rate rises by 0.25 MB/s, and then a thirtieth is lost. So the path carries about 8 MB/s.
    fed.feed(60, 20, 1_900_000, Duration::from_millis(20), 1);
    let rate = fed.bbr.pacing_rate();
    assert!((1_700_000..2_500_000).contains(&rate), "{rate}");
}

/// What a flow measured while it was alone is the path's rate, so a step that shows five times as much shows others that
/// make room. Without that knowledge the path may have been full from the start.
#[test]
fn a_flow_that_was_alone_knows_the_path() {
    for alone in [true, false] {
        let mut fed = small_step();
        fed.bbr.alone = alone;
        fed.feed(20, 40, 1_240_000, Duration::from_millis(20), 1);
        assert_eq!(matches!(fed.bbr.mode, Mode::Hold(_)), !alone);
    }
}

#[test]
fn a_new_path_is_met_like_the_first_one() {
    let (mut fed, _) = queued();
    let fresh = Fed::new().bbr;
    fed.bbr.set_mtu(1400);
    fed.bbr.on_path_change(fed.now);
    assert!(fed.bbr.is_starting());
    assert_eq!((fed.bbr.bandwidth(), fed.bbr.p0()), (0, 0.0));
    assert!(fed.bbr.pacing_rate() >= fresh.pacing_rate() && fed.bbr.window() >= fresh.window());
    assert_eq!(fed.bbr.model.mtu(), 1400, "the connection tells of a smaller one");
}
