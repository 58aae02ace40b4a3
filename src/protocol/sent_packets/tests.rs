use super::super::congestion::sampler::Sampler;
use super::super::ranges::RangeSet;
use super::super::wire::{Frame, Frames};
use super::*;
use crate::protocol::ecn::EcnCounts;

fn ms(n: u64) -> Time {
    Time::from_nanos(n * 1_000_000)
}

fn send(sent_packets: &mut SentPackets, sampler: &mut Sampler, now: Time, carries: Carries) {
    let stamp = sampler.on_sent(now, 1200, sent_packets.in_flight() + 1200);
    sent_packets.on_sent(stamp, 1200, carries);
}

/// Acknowledges `numbers`. Returns the content that newly arrived.
fn ack(sent_packets: &mut SentPackets, now: Time, numbers: &[u64]) -> Vec<Carries> {
    let mut set = RangeSet::default();
    for n in numbers {
        set.insert(*n..*n + 1);
    }
    let mut buf = Vec::new();
    Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0, EcnCounts::default());
    let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
        panic!("an ACK")
    };
    let mut arrived = Vec::new();
    sent_packets
        .on_ack(now, &ack, |s| arrived.push(s.carries))
        .expect("all were sent");
    arrived
}

#[test]
fn gap_is_lost_only_after_the_reordering_window_which_overtaken_packets_widen_for_a_while() {
    let (mut sent_packets, mut sampler) = (SentPackets::new(ms(0)), Sampler::new(ms(0)));
    let mut rtt = RttEstimator::new(None);
    rtt.on_sample(Duration::from_millis(80), Duration::ZERO);
    for n in 0..3 {
        send(
            &mut sent_packets,
            &mut sampler,
            ms(0),
            Carries::Content(n * 10..n * 10 + 10),
        );
    }
    assert_eq!(ack(&mut sent_packets, ms(80), &[1, 2]).len(), 2);
    let mut lost = 0;
    sent_packets.detect_losses(ms(85), &rtt, |_| lost += 1);
    assert_eq!(lost, 0);
    sent_packets.detect_losses(ms(91), &rtt, |_| lost += 1);
    assert_eq!((lost, sent_packets.in_flight()), (1, 0));
    // It was only late: it arrived 250 ms after it left, many times later than others.
    assert_eq!(
        ack(&mut sent_packets, ms(250), &[0, 1, 2]),
        [Carries::Content(0..10)]
    );
    let mut wait = |sent_packets: &mut SentPackets, now: u64| {
        let first = sent_packets.base + sent_packets.sent.len() as u64;
        send(sent_packets, &mut sampler, ms(now), Carries::Content(30..40));
        send(sent_packets, &mut sampler, ms(now), Carries::Content(40..50));
        ack(sent_packets, ms(now + 80), &[first + 1]);
        let mut lost = 0;
        (now..now + 500)
            .find(|t| {
                sent_packets.detect_losses(ms(*t), &rtt, |_| lost += 1);
                lost > 0
            })
            .map(|t| t - now)
    };
    assert_eq!(
        wait(&mut sent_packets, 300),
        Some(282),
        "as late as that one, and an eighth"
    );
    assert_eq!(wait(&mut sent_packets, 3000), Some(90), "that was long ago");
    let lost = sent_packets.base + sent_packets.sent.len() as u64 - 2;
    ack(&mut sent_packets, ms(6000), &[lost]);
    assert_eq!(
        wait(&mut sent_packets, 6000),
        Some(450),
        "the first after a long pause counts, too"
    );
}

#[test]
fn acknowledging_what_was_never_sent_is_an_error() {
    let mut sent_packets = SentPackets::new(ms(0));
    let mut buf = Vec::new();
    let mut set = RangeSet::default();
    set.insert(0..1);
    Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0, EcnCounts::default());
    let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
        panic!("an ACK")
    };
    assert_eq!(sent_packets.on_ack(ms(1), &ack, |_| ()), Err(FalseAck::Unsent));
}

#[test]
fn acknowledging_a_skipped_number_is_an_error_even_after_all_below_it_was_acknowledged() {
    for before in [None, Some([0, 1])] {
        let (mut sent_packets, mut sampler) = (SentPackets::new(ms(0)), Sampler::new(ms(0)));
        let rtt = RttEstimator::new(Some(Duration::from_millis(50)));
        send(&mut sent_packets, &mut sampler, ms(0), Carries::Nothing);
        send(&mut sent_packets, &mut sampler, ms(0), Carries::Nothing);
        let stamp = sampler.on_sent(ms(0), 0, sent_packets.in_flight());
        sent_packets.on_skipped(stamp);
        send(&mut sent_packets, &mut sampler, ms(1), Carries::Nothing);
        assert_eq!(sent_packets.in_flight(), 3600);
        if let Some(numbers) = before {
            ack(&mut sent_packets, ms(10), &numbers);
            sent_packets.detect_losses(ms(10), &rtt, |_| panic!("nothing is lost"));
        }
        let mut buf = Vec::new();
        Ack::encode(
            &mut buf,
            500,
            std::iter::once(&(0..4)),
            0,
            0,
            EcnCounts::default(),
        );
        let Some(Ok(Frame::Ack(all))) = Frames::new(&buf).next() else {
            panic!("an ACK")
        };
        assert_eq!(sent_packets.on_ack(ms(20), &all, |_| ()), Err(FalseAck::Skipped));
    }
}

#[test]
fn a_skipped_number_is_neither_lost_nor_in_the_way() {
    let (mut sent_packets, mut sampler) = (SentPackets::new(ms(0)), Sampler::new(ms(0)));
    let mut rtt = RttEstimator::new(None);
    rtt.on_sample(Duration::from_millis(50), Duration::ZERO);
    let stamp = sampler.on_sent(ms(0), 0, 0);
    sent_packets.on_skipped(stamp);
    send(&mut sent_packets, &mut sampler, ms(0), Carries::Content(0..10));
    assert_eq!(ack(&mut sent_packets, ms(50), &[1]), [Carries::Content(0..10)]);
    sent_packets.detect_losses(ms(5000), &rtt, |_| panic!("nothing is lost"));
    assert!(sent_packets.loss_time(&rtt).is_none() && sent_packets.sent.is_empty());
}

#[test]
fn each_packet_is_copied_once_and_looked_at_once_the_newest_first() {
    let (mut sent_packets, mut sampler) = (SentPackets::new(ms(0)), Sampler::new(ms(0)));
    let mut send = |sent_packets: &mut SentPackets, numbers: Range<u64>| {
        for n in numbers {
            let carries = match n % 4 {
                3 => Carries::Nothing,
                _ => Carries::Content(n..n + 1),
            };
            send(sent_packets, &mut sampler, ms(n), carries);
        }
    };
    send(&mut sent_packets, 0..100);
    ack(&mut sent_packets, ms(100), &[1, 4, 97]);
    for copied in [98, 96, 94, 93] {
        assert_eq!(sent_packets.newest_uncopied(), Some(copied..copied + 1));
        assert_eq!(sent_packets.copying, Some(0..copied));
    }
    // Copies are in flight, too, and wait for their turn.
    send(&mut sent_packets, 100..104);
    assert_eq!(sent_packets.newest_uncopied(), Some(92..93));
    let mut rest =
        || std::iter::from_fn(|| sent_packets.newest_uncopied().map(|r| r.start)).collect::<Vec<_>>();
    let first: Vec<u64> = (0..92)
        .rev()
        .filter(|n| n % 4 < 3 && ![1, 4].contains(n))
        .collect();
    assert_eq!(rest(), first);
    assert_eq!(rest(), [102, 101, 100]);
    assert!(rest().is_empty());
}

#[test]
fn peer_that_never_acknowledges_fills_no_memory() {
    let (mut sent_packets, mut sampler) = (SentPackets::new(ms(0)), Sampler::new(ms(0)));
    for n in 0..(MAX_REMEMBERED as u64 + 1000) {
        send(&mut sent_packets, &mut sampler, ms(n), Carries::Nothing);
    }
    assert_eq!(sent_packets.sent.len(), MAX_REMEMBERED);
    assert_eq!(sent_packets.in_flight(), MAX_REMEMBERED as u64 * 1200);
}
