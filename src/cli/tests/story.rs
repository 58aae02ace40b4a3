//! A run with every kind of event, compared with what docs/json.md says about each.

use super::*;
use crate::app::check::diagnosis::tests::ordinary;
use crate::app::told::{SeenServer, Word};
use crate::protocol::congestion::Stage;
use crate::protocol::connection::{Limit, Stats};
use crate::rendezvous::address::{Filtering, Mapping, NatClass};
use crate::rendezvous::punch::Hint;

fn stats() -> Stats {
    Stats {
        rtt: Duration::from_millis(41),
        min_rtt: Duration::from_millis(40),
        in_flight: 500_000,
        window: 1_200_000,
        pacing_rate: 12_500_000,
        bandwidth: 12_500_000,
        stage: Stage::Steady,
        sent_packets: 1000,
        lost_packets: 3,
        repeated_packets: 4,
        received_packets: 500,
        forgeries: 0,
        replays: 0,
        arrived_bytes: 1_400_000,
        mtu: 1400,
        limit: Limit::Path,
    }
}

fn seen_server(tcp_port: Option<u16>) -> SeenServer {
    SeenServer {
        server: "example.org:4300".into(),
        tcp_port,
        rtt_ms: 41,
        sees: vec!["203.0.113.7:4300".parse().unwrap()],
        nat: true,
        word: Word::Right,
    }
}

/// A whole run with every kind of event.
pub(super) fn story() -> Vec<Event> {
    vec![
        Event::LocalPort(4300),
        Event::Network(NatClass {
            mapping: Mapping::Independent,
            filtering: Filtering::Untested,
        }),
        Event::Clock {
            source: ClockSource::Ntp { servers: 3 },
            offset_ms: -120,
        },
        Event::Clock {
            source: ClockSource::System,
            offset_ms: 0,
        },
        Event::Address {
            address: "203.0.113.7:4300/Ab9".into(),
            change: Change::First,
        },
        Event::Address {
            address: "203.0.113.7:4301/Ab9".into(),
            change: Change::Changed,
        },
        Event::Waiting {
            unix_seconds: 1_700_000_000 / 86_400 * 86_400 + 64_315,
            seconds: 4,
        },
        Event::Attempt {
            number: 0,
            remote: "188.44.136.7:21300".parse().unwrap(),
        },
        Event::Connected(link(PathKind::Direct)),
        Event::AwaitingAnswer,
        Event::Offer(Box::new(offered(&[
            ("photos/", ""),
            (".zshenv", ""),
            ("run\u{2028}me", ""),
            ("link", "photos"),
            ("passwd", "/etc/passwd"),
        ]))),
        Event::Resumed {
            bytes: 9_400_000_000,
            total: 10_000_000_000,
        },
        Event::Progress(progress(3_700_000_000, Some(10_000_000_000))),
        Event::Reconnecting {
            silence: Duration::from_secs(12),
        },
        Event::Reconnected(link(PathKind::Lan)),
        Event::Seen("203.0.113.7:4300".parse().unwrap()),
        Event::Diagnosis(Box::new(ordinary())),
        Event::Info(Info::StunServersFound { found: 3, asked: 5 }),
        Event::Info(Info::Server(seen_server(None))),
        Event::Info(Info::Server(seen_server(Some(443)))),
        Event::Warning(Warning::Search { hint: Hint::SameRole }),
        Event::Warning(Warning::LeftOut {
            why: "it cannot be read".into(),
            paths: vec!["a".into(), "b".into()],
            more: 0,
        }),
        Event::Note(Note::SmallBuffer { bytes: 212_992 }),
        Event::Stats(Box::new(stats())),
        Event::Finished(Summary {
            bytes: 10_000_000_000,
            reused: 9_400_000_000,
            elapsed: Duration::from_millis(50_800),
            blake3: Some("af1349b9f5f9a1a6a0404dea36dcc949".into()),
            paths: vec!["vm.img".into()],
            ..Summary::default()
        }),
        Event::Finished(Summary {
            bytes: 1000,
            elapsed: Duration::from_secs(1),
            missing: Shortfall {
                count: 3,
                bytes: 70,
                shown: vec!["t/secret".into(), "t/log".into()],
            },
            paths: vec!["t".into()],
            ..Summary::default()
        }),
        Event::Of(
            Role::Receiver,
            Box::new(Event::Address {
                address: "127.0.0.1:4300/x".into(),
                change: Change::First,
            }),
        ),
    ]
}

/// The document's table of events: the names of one or more, and the text of their rows. Rows without a name belong to
/// the names above.
fn rows() -> Vec<(&'static str, String)> {
    let document = include_str!("../../../docs/json.md");
    let (_, table) = document
        .split_once("| event | fields | meaning |\n|---|---|---|\n")
        .unwrap();
    let mut rows = Vec::<(&str, String)>::new();
    for line in table.lines() {
        let (names, fields) = line[1..].split_once('|').unwrap();
        match rows.last_mut() {
            Some((_, more)) if names.trim().is_empty() => more.push_str(fields),
            _ => rows.push((names, fields.to_owned())),
        }
    }
    rows
}

#[test]
fn the_document_names_every_field_of_every_event() {
    let rows = rows();
    let consent = || consent("vm.img");
    let questions = [
        Question::PeerAddress,
        Question::PeerCode,
        Question::Say,
        Question::Accept(consent()),
        Question::ConfirmWords("a b".into()),
        Question::Resume(consent()),
    ];
    let lines = story().into_iter().map(|event| json::of_event(&event));
    let lines = lines
        .chain(questions.iter().map(json::of_question))
        .chain([json::of_failure(&Failure::Interrupted)]);
    for line in lines {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        let name = object["event"].as_str().unwrap();
        let row = rows
            .iter()
            .find(|(names, _)| names.contains(&format!("`{name}`")));
        let (_, row) = row.unwrap_or_else(|| panic!("no row for {name}"));
        // A remark has its own fields. Its `what` says which.
        let own = object.contains_key("what");
        // In a demo every event says which side it comes from.
        let fields = object
            .keys()
            .filter(|key| !["event", "side"].contains(&key.as_str()));
        for key in fields.filter(|key| !own || ["what", "text"].contains(&key.as_str())) {
            assert!(row.contains(&format!("`{key}`")), "{name} has {key}: {row}");
        }
        if name == "question" {
            let kind = object["kind"].as_str().unwrap();
            assert!(row.contains(&format!("`{kind}`")), "{kind}: {row}");
        }
    }
}
