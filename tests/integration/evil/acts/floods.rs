//! Too much of what is allowed, and too little.

use std::net::SocketAddr;
use std::time::Duration;

use crate::evil::act::{Answer, receiver, sender};
use crate::evil::list::one_file;
use crate::evil::wire::{self, message};

fn elsewhere(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

#[test]
fn a_flood_of_pings_changes_nothing() {
    sender(|evil| {
        for _ in 0..200 {
            (0..200).for_each(|_| evil.packet(&[wire::PING; 100]));
            evil.settles();
        }
        evil.transfers(&one_file());
    })
    .completes();
}

#[test]
fn a_flood_of_path_challenges_is_not_answered_with_a_flood() {
    sender(|evil| {
        let before = evil.heard.bytes.values().sum::<u64>();
        let mut sent = 0;
        for some in 0..200 {
            for token in 0..20 {
                let frame = wire::challenge(some * 20 + token);
                sent += frame.len() as u64;
                evil.packet(&frame);
            }
            evil.waits(Duration::from_millis(1));
        }
        let heard = evil.heard.bytes.values().sum::<u64>() - before;
        assert!(heard <= 3 * sent, "{heard} bytes for {sent}");
        evil.transfers(&one_file());
    })
    .completes();
}

#[test]
fn packets_from_a_thousand_addresses_get_at_most_three_times_as_much() {
    sender(|evil| {
        let home = evil.at;
        evil.packet(&[wire::PING]);
        evil.settles();
        for port in 1..1000 {
            evil.at = elsewhere(port);
            evil.packet(&[wire::PING]);
            evil.waits(Duration::from_millis(1));
        }
        evil.at = home;
        evil.waits(Duration::from_secs(20));
        for port in 1..1000 {
            let bytes = evil.heard.bytes.get(&elsewhere(port)).copied().unwrap_or(0);
            let said = evil.said[&elsewhere(port)];
            assert!(bytes <= 3 * said, "{bytes} bytes went to port {port} for {said}");
        }
        evil.transfers(&one_file());
    })
    .completes();
}

#[test]
fn a_stream_cannot_be_aimed_at_somebody_else_by_the_first_packet() {
    receiver(|evil| {
        let home = std::mem::replace(&mut evil.at, elsewhere(7));
        evil.packet(&[wire::PING]);
        evil.settles();
        evil.at = home;
        evil.awaits(message::OFFER);
        evil.says(message::ACCEPT, [0; 4]);
        evil.says(message::HAVE, [1]);
        evil.waits(Duration::from_secs(10));
        let aimed = evil.heard.bytes.get(&elsewhere(7)).copied().unwrap_or(0);
        let said = evil.said[&elsewhere(7)];
        assert!(aimed <= 3 * said, "{aimed} bytes for {said}");
    })
    .against(|victim| victim.sends(8 << 20))
    .within(48)
    .changes_nothing();
}

#[test]
fn a_wrong_answer_to_a_challenge_moves_nothing() {
    receiver(|evil| {
        evil.accepts();
        evil.settles();
        evil.at = elsewhere(7);
        for token in 0..1000 {
            evil.packet(&wire::response(token));
        }
        evil.waits(Duration::from_secs(2));
        let aimed = evil.heard.bytes.get(&elsewhere(7)).copied().unwrap_or(0);
        assert!(aimed < 10_000, "{aimed} bytes");
    })
    .against(|victim| victim.sends(8 << 20))
    .within(48)
    .changes_nothing();
}

#[test]
fn the_answer_to_a_challenge_on_another_address_moves_nothing() {
    receiver(|evil| {
        evil.accepts();
        let home = std::mem::replace(&mut evil.at, elsewhere(7));
        evil.packet(&[wire::PING]);
        evil.settles();
        let tokens: Vec<u64> = evil.heard.challenges.iter().map(|(_, token)| *token).collect();
        assert!(!tokens.is_empty(), "the new address is challenged");
        evil.at = home;
        for token in tokens {
            evil.packet(&wire::response(token));
        }
        evil.waits(Duration::from_secs(1));
        let aimed = evil.heard.bytes.get(&elsewhere(7)).copied().unwrap_or(0);
        assert!(aimed <= 3 * evil.said[&elsewhere(7)], "{aimed} bytes");
    })
    .against(|victim| victim.sends(8 << 20))
    .within(48)
    .changes_nothing();
}

#[test]
fn a_peer_that_falls_silent_at_any_stage_is_given_up() {
    for stage in 0..4 {
        sender(move |evil| {
            let steps: [fn(&mut crate::evil::peer::Evil); 3] = [
                |evil| evil.offers(&one_file()),
                |evil| evil.is_accepted(),
                |evil| evil.announces(&one_file()),
            ];
            evil.packet(&[wire::PING]);
            steps.iter().take(stage).for_each(|step| step(evil));
            evil.settles();
            evil.alive = false;
        })
        .gives_up();
        receiver(move |evil| {
            let steps: [fn(&mut crate::evil::peer::Evil); 3] = [
                |evil| drop(evil.awaits(message::OFFER)),
                |evil| evil.says(message::ACCEPT, [0; 4]),
                |evil| evil.says(message::HAVE, [1]),
            ];
            evil.packet(&[wire::PING]);
            steps.iter().take(stage).for_each(|step| step(evil));
            evil.settles();
            evil.alive = false;
        })
        .gives_up();
    }
}

#[test]
fn a_close_at_any_stage_is_the_end_and_places_nothing() {
    let codes = [
        (0, "ended too early"),
        (1, "cancelled"),
        (2, "refused"),
        (3, "changed"),
        (4, "verification"),
    ];
    for (code, text) in [
        (5, "stopped"),
        (6, "stopped"),
        (999, "stopped"),
        (u16::MAX, "stopped"),
    ]
    .into_iter()
    .chain(codes)
    {
        sender(move |evil| {
            evil.offers(&one_file());
            evil.packet(&wire::close(code, b"because"));
        })
        .against(|victim| victim.answer = Answer::Thinks)
        .ends(code, text);
        receiver(move |evil| {
            evil.accepts();
            evil.packet(&wire::close(code, b"because"));
        })
        .ends(code, text);
    }
}

#[test]
fn a_reason_with_escape_codes_does_not_reach_the_terminal() {
    sender(|evil| {
        evil.packet(&wire::close(6, b"\x1b[2Jerror:\nnext: rm -rf\xff"));
        evil.settles();
        let failure = evil
            .victim
            .verdict
            .clone()
            .expect("it has ended")
            .expect_err("by the peer");
        assert!(!failure.to_string().contains(char::is_control), "{failure}");
    })
    .ends(6, "stopped");
}

#[test]
fn what_began_the_connection_is_not_answered_again() {
    sender(|evil| {
        evil.packet(&[wire::PING]);
        evil.settles();
        let before = evil.heard.bytes.clone();
        for _ in 0..1000 {
            for datagram in evil.began.clone() {
                evil.datagram(datagram);
            }
        }
        evil.alive = false;
        evil.waits(Duration::from_secs(1));
        let heard: u64 = evil.heard.bytes.values().sum::<u64>() - before.values().sum::<u64>();
        assert!(heard < 2000, "{heard} bytes");
    })
    .changes_nothing();
}

#[test]
fn packets_with_a_gap_before_each_cost_no_memory() {
    sender(|evil| {
        for _ in 0..500 {
            for _ in 0..200 {
                evil.skips_a_number();
                evil.packet(&[wire::PING]);
            }
            evil.settles();
        }
        evil.transfers(&one_file());
    })
    .within(4)
    .completes();
}

#[test]
fn a_flood_of_acknowledgements_costs_little_time() {
    receiver(|evil| {
        evil.accepts();
        evil.awaits(message::DONE);
        let all = evil.heard.numbers.clone();
        let last = all.last().expect("much was sent").end;
        let singles: Vec<_> = (0..last.min(1000)).step_by(2).map(|n| n..n + 1).collect();
        for _ in 0..2000 {
            evil.packet(&wire::ack(&all, 0, 1024));
            evil.packet(&wire::ack(&singles[..60.min(singles.len())], 0, 1024));
            evil.waits(Duration::from_micros(200));
        }
        let content = evil
            .heard
            .content
            .values()
            .flatten()
            .copied()
            .collect::<Vec<u8>>();
        evil.says(message::FINISHED, blake3::hash(&content).as_bytes());
    })
    .against(|victim| victim.sends(8 << 20))
    .within(64)
    .completes();
}

#[test]
fn datagrams_of_any_length_are_taken_or_dropped() {
    sender(|evil| {
        for len in [0, 1, 12, 13, 28, 29, 1500, 9000, 65_000] {
            evil.datagram(vec![0x50; len]);
            evil.packet(&vec![wire::PING; len.saturating_sub(29)]);
        }
        evil.transfers(&one_file());
    })
    .completes();
}
