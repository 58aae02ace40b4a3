use super::super::congestion::sampler::Sampler;
use super::super::ranges::RangeSet;
use super::super::wire::{Frame, Frames};
use super::*;

fn ms(n: u64) -> Time {
    Time::from_nanos(n * 1_000_000)
}

fn send(ledger: &mut Ledger, sampler: &mut Sampler, now: Time, carries: Carries) {
    let stamp = sampler.on_sent(now, 1200, ledger.in_flight() + 1200);
    ledger.on_sent(stamp, 1200, carries);
}

/// Acknowledges `numbers`; gives the content that newly arrived.
fn ack(ledger: &mut Ledger, now: Time, numbers: &[u64]) -> Vec<Carries> {
    let mut set = RangeSet::new();
    for n in numbers {
        set.insert(*n..*n + 1);
    }
    let mut buf = Vec::new();
    Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0);
    let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
        panic!("an ACK")
    };
    let mut arrived = Vec::new();
    ledger
        .on_ack(now, &ack, |s| arrived.push(s.carries))
        .expect("all were sent");
    arrived
}

#[test]
fn gap_is_lost_only_after_the_reordering_window_which_overtaken_packets_widen_for_a_while() {
    let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
    let mut rtt = RttEstimator::new(None);
    rtt.on_sample(Duration::from_millis(80), Duration::ZERO);
    for n in 0..3 {
        send(
            &mut ledger,
            &mut sampler,
            ms(0),
            Carries::Content(n * 10..n * 10 + 10),
        );
    }
    assert_eq!(ack(&mut ledger, ms(80), &[1, 2]).len(), 2);
    let mut lost = 0;
    ledger.detect_losses(ms(85), &rtt, |_| lost += 1);
    assert_eq!(lost, 0);
    ledger.detect_losses(ms(91), &rtt, |_| lost += 1);
    assert_eq!((lost, ledger.in_flight()), (1, 0));
    // It was only late: 250 ms after it left, many times what others took.
    assert_eq!(ack(&mut ledger, ms(250), &[0, 1, 2]), [Carries::Content(0..10)]);
    let mut wait = |ledger: &mut Ledger, now: u64| {
        let first = ledger.base + ledger.sent.len() as u64;
        send(ledger, &mut sampler, ms(now), Carries::Content(30..40));
        send(ledger, &mut sampler, ms(now), Carries::Content(40..50));
        ack(ledger, ms(now + 80), &[first + 1]);
        let mut lost = 0;
        (now..now + 500)
            .find(|t| {
                ledger.detect_losses(ms(*t), &rtt, |_| lost += 1);
                lost > 0
            })
            .map(|t| t - now)
    };
    assert_eq!(
        wait(&mut ledger, 300),
        Some(282),
        "as late as that one, and an eighth"
    );
    assert_eq!(wait(&mut ledger, 3000), Some(90), "that was long ago");
    let lost = ledger.base + ledger.sent.len() as u64 - 2;
    ack(&mut ledger, ms(6000), &[lost]);
    assert_eq!(
        wait(&mut ledger, 6000),
        Some(450),
        "the first after a long pause counts, too"
    );
}

#[test]
fn acknowledging_what_was_never_sent_is_an_error() {
    let mut ledger = Ledger::new(ms(0));
    let mut buf = Vec::new();
    let mut set = RangeSet::new();
    set.insert(0..1);
    Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0);
    let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
        panic!("an ACK")
    };
    assert_eq!(ledger.on_ack(ms(1), &ack, |_| ()), Err(FalseAck::Unsent));
}

#[test]
fn acknowledging_a_skipped_number_is_an_error_even_after_all_below_it_was_acknowledged() {
    for before in [None, Some([0, 1])] {
        let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
        let rtt = RttEstimator::new(Some(Duration::from_millis(50)));
        send(&mut ledger, &mut sampler, ms(0), Carries::Nothing);
        send(&mut ledger, &mut sampler, ms(0), Carries::Nothing);
        let stamp = sampler.on_sent(ms(0), 0, ledger.in_flight());
        ledger.on_skipped(stamp);
        send(&mut ledger, &mut sampler, ms(1), Carries::Nothing);
        assert_eq!(ledger.in_flight(), 3600);
        if let Some(numbers) = before {
            ack(&mut ledger, ms(10), &numbers);
            ledger.detect_losses(ms(10), &rtt, |_| panic!("nothing is lost"));
        }
        let mut buf = Vec::new();
        Ack::encode(&mut buf, 500, std::iter::once(&(0..4)), 0, 0);
        let Some(Ok(Frame::Ack(all))) = Frames::new(&buf).next() else {
            panic!("an ACK")
        };
        assert_eq!(ledger.on_ack(ms(20), &all, |_| ()), Err(FalseAck::Skipped));
    }
}

#[test]
fn a_skipped_number_is_neither_lost_nor_in_the_way() {
    let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
    let mut rtt = RttEstimator::new(None);
    rtt.on_sample(Duration::from_millis(50), Duration::ZERO);
    let stamp = sampler.on_sent(ms(0), 0, 0);
    ledger.on_skipped(stamp);
    send(&mut ledger, &mut sampler, ms(0), Carries::Content(0..10));
    assert_eq!(ack(&mut ledger, ms(50), &[1]), [Carries::Content(0..10)]);
    ledger.detect_losses(ms(5000), &rtt, |_| panic!("nothing is lost"));
    assert!(ledger.loss_time(&rtt).is_none() && ledger.sent.is_empty());
}

#[test]
fn each_packet_is_copied_once_and_looked_at_once() {
    let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
    for n in 0..100 {
        let carries = match n % 4 {
            3 => Carries::Nothing,
            _ => Carries::Content(n..n + 1),
        };
        send(&mut ledger, &mut sampler, ms(n), carries);
    }
    // The oldest stays in flight, and what is looked at begins behind it all the same.
    ack(&mut ledger, ms(100), &[1, 4, 5]);
    assert_eq!(ledger.oldest_uncopied(ms(50)), Some(0..1));
    for (copied, looked_at) in [(2, 3), (6, 7), (8, 9), (9, 10)] {
        assert_eq!(ledger.oldest_uncopied(ms(50)), Some(copied..copied + 1));
        assert_eq!(ledger.uncopied, looked_at);
    }
    let rest = std::iter::from_fn(|| ledger.oldest_uncopied(ms(50))).count();
    assert_eq!((rest, ledger.uncopied), (31, 51), "what is younger must wait");
    assert_eq!(ledger.oldest_uncopied(ms(52)), Some(52..53));
}

#[test]
fn peer_that_never_acknowledges_fills_no_memory() {
    let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
    for n in 0..(MAX_REMEMBERED as u64 + 1000) {
        send(&mut ledger, &mut sampler, ms(n), Carries::Nothing);
    }
    assert_eq!(ledger.sent.len(), MAX_REMEMBERED);
    assert_eq!(ledger.in_flight(), MAX_REMEMBERED as u64 * 1200);
}
