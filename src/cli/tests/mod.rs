//! Tests of the command line as users see it: help, lines, JSON, prompts.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::args::{Cli, Command};
use super::console::{Clipboard, Console};
use super::lines::{self, Detail};
use super::prompts::Input;
use super::screen::{Kind, Screen};
use super::{Task, json, progress as progress_line, text};
use crate::app::event::{
    Answer, Bound, Cancelled, Change, ClockSource, Event, Front, Link, Phase, Progress, Question,
};
use crate::app::options::{Congestion, Payload, Server};
use crate::app::outcome::{Failure, Party, Shortfall, Summary};
use crate::app::receiving::Target;
use crate::app::told::{Info, Note, Warning};
use crate::protocol::Role;
use crate::rendezvous::punch::PathKind;
use crate::transfer::source::scan::Links;

mod offers;
mod story;

use offers::{consent, offered};
use story::story;

/// A standard error or output that is kept for the test.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn console(kind: Kind, detail: Detail, input: &'static str) -> (Console, Kept) {
    let kept = Kept::default();
    let screen = Screen::new(kind, Box::new(kept.clone()));
    (Console::new(screen, Input::Given(input), detail, None), kept)
}

fn link(kind: PathKind) -> Link {
    Link {
        remote: "188.44.136.7:21300".parse().unwrap(),
        kind,
        rtt: Duration::from_micros(41_300),
    }
}

fn progress(done: u64, total: Option<u64>) -> Progress {
    Progress {
        done,
        total,
        phase: Phase::Moving,
        since: Duration::from_secs(3),
        rate: 11_800_000,
        rtt: Duration::from_millis(41),
        loss: Some(0.0123),
        bound: Bound::Path,
    }
}

#[test]
fn silence_and_its_end_are_told_once_each() {
    let (mut console, kept) = console(Kind::Plain, Detail::Normal, "");
    console.event(Event::Connected(link(PathKind::Direct)));
    for ms in (8_000..9_000).step_by(200) {
        console.event(Event::Reconnecting {
            silence: Duration::from_millis(ms),
        });
    }
    console.event(Event::Reconnected(link(PathKind::Direct)));
    console.event(Event::Reconnected(link(PathKind::Direct)));
    let moved = Link {
        remote: "188.44.136.7:9".parse().unwrap(),
        rtt: Duration::ZERO,
        ..link(PathKind::Open)
    };
    console.event(Event::Reconnected(moved));
    insta::assert_snapshot!("silence", kept.text());
}

#[test]
fn help_is_as_reviewed() {
    let mut command = Cli::reviewed_command().term_width(100);
    command.build();
    insta::assert_snapshot!("help", command.render_long_help());
    for name in ["sender", "receiver", "demo", "check", "list", "server", "plot"] {
        let subcommand = command.find_subcommand_mut(name).unwrap();
        insta::assert_snapshot!(
            format!("help-{name}"),
            subcommand.clone().term_width(100).render_help()
        );
    }
}

/// The text without what differs between systems.
fn without_own(text: String) -> String {
    text.replace(text::MORE_BUFFER, "")
}

#[test]
fn plain_lines_are_those_people_and_scripts_look_for() {
    for (name, detail) in [
        ("quiet", Detail::Quiet),
        ("normal", Detail::Normal),
        ("verbose", Detail::Verbose),
    ] {
        let (mut console, kept) = console(Kind::Plain, detail, "");
        story().into_iter().for_each(|event| console.event(event));
        assert!(!kept.text().contains('\x1b'));
        insta::assert_snapshot!(format!("plain-{name}"), without_own(kept.text()));
    }
}

#[cfg(not(windows))]
#[test]
fn terminal_gets_colours_and_the_clipboard_only_there() {
    let (mut console, kept) = console(Kind::Color, Detail::Normal, "");
    console.event(story()[4].clone());
    let warning = |event: &Event| matches!(event, Event::Warning(_));
    console.event(story().into_iter().find(warning).unwrap());
    insta::assert_snapshot!("color", kept.text().escape_debug());
}

#[test]
fn the_clipboard_is_written_once_and_never_if_the_user_says_so() {
    let [first, changed] = [story()[4].clone(), story()[5].clone()];
    for (clipboard, copies) in [(Clipboard::Once, 1), (Clipboard::Never, 0)] {
        let (console, kept) = console(Kind::Color, Detail::Normal, "");
        let mut console = console.with_clipboard(clipboard);
        console.event(first.clone());
        // A server whose answers change decides when this arrives, and how often.
        for _ in 0..3 {
            console.event(changed.clone());
        }
        // On Windows the sequence is used over ssh alone: else the desktop's clipboard is always there.
        let copies = if cfg!(windows) && !crate::system::is_over_ssh() {
            0
        } else {
            copies
        };
        assert_eq!(kept.text().matches("\x1b]52;").count(), copies);
        assert_eq!(
            kept.text().matches("203.0.113.7:4301/Ab9").count(),
            3,
            "it is told"
        );
    }
}

#[test]
fn progress_tells_size_speed_time_left_rtt_and_loss() {
    let known = progress(3_700_000_000, Some(10_000_000_000));
    assert_eq!(
        progress_line::line(&known, Some(Duration::from_secs(534)), Detail::Verbose, None),
        " 37% 3.7 GB of 10.0 GB  11.8 MB/s  ETA 8m54s  RTT 41 ms  loss 1.2%  bound by path"
    );
    assert_eq!(
        progress_line::line(&progress(5_000, None), None, Detail::Normal, None),
        "5.0 kB  11.8 MB/s  RTT 41 ms  loss 1.2%"
    );
    let comparing = Progress {
        phase: Phase::Comparing,
        since: Duration::from_secs(3),
        ..known
    };
    assert!(
        progress_line::line(&comparing, None, Detail::Normal, None)
            .starts_with(" 37% 3.7 GB of 10.0 GB  comparing 11.8 MB/s  ")
    );
    let copying = Progress {
        phase: Phase::Copying { left: 1_234_000_000 },
        rate: 0,
        ..comparing
    };
    assert!(
        progress_line::line(&copying, None, Detail::Normal, None)
            .starts_with(" 37% 3.7 GB of 10.0 GB  copying, 1.2 GB to go  ")
    );
    let almost = progress_line::line(
        &progress(9_999_999_999, Some(10_000_000_000)),
        None,
        Detail::Normal,
        None,
    );
    assert!(almost.starts_with(" 99%"));
}

#[test]
fn a_narrow_terminal_gets_fewer_fields_and_always_the_same() {
    let told = |room, rate| {
        let mut now = progress(3_700_000_000, Some(10_000_000_000));
        now.rate = rate;
        progress_line::line(&now, Some(Duration::from_secs(534)), Detail::Normal, Some(room))
    };
    assert_eq!(told(2, 1), "");
    assert_eq!(told(10, 1), " 37%");
    assert_eq!(told(36, 1), " 37% 3.7 GB of 10.0 GB");
    assert_eq!(told(46, 11_800_000), " 37% 3.7 GB of 10.0 GB  11.8 MB/s");
    for room in 0..100 {
        let fields = |rate| {
            told(room, rate)
                .split("  ")
                .filter(|f| !f.starts_with("ETA"))
                .count()
        };
        assert!(told(room, 999_900_000).chars().count() <= room);
        assert_eq!(fields(0), fields(999_900_000), "{room}");
    }
}

#[test]
fn json_lines_are_as_documented() {
    let mut all: Vec<String> = story().iter().map(json::of_event).collect();
    all.push(json::of_event(&Event::Progress(progress(1, None))));
    all.push(json::of_event(&Event::Message("one\ntwo".into())));
    all.push(json::of_question(&Question::Accept(consent("vm.img, 10.0 GB"))));
    all.push(json::of_failure(&Failure::Refused(Party::Peer)));
    insta::assert_snapshot!("json", without_own(all.join("\n")));
}

#[tokio::test]
async fn prompts_read_one_line_each_from_a_pipe() {
    let (mut console, kept) = console(Kind::Plain, Detail::Normal, " 1.2.3.4:5/abc \nmaybe\nYES\n\n\nn");
    assert_eq!(
        console.ask(Question::PeerAddress).await,
        Ok(Answer::Text("1.2.3.4:5/abc".into()))
    );
    assert_eq!(
        console.ask(Question::ConfirmWords("a b c".into())).await,
        Ok(Answer::Yes)
    );
    assert_eq!(
        console.ask(Question::ConfirmWords("a b c".into())).await,
        Ok(Answer::No)
    );
    assert_eq!(
        console.ask(Question::Accept(consent("vm.img, 10.0 GB"))).await,
        Ok(Answer::Yes)
    );
    assert_eq!(
        console.ask(Question::Resume(consent("vm.img at 94%"))).await,
        Ok(Answer::No)
    );
    assert_eq!(
        console.ask(Question::PeerAddress).await,
        Err(Cancelled::EndOfInput)
    );
    assert_eq!(
        console.ask(Question::PeerAddress).await,
        Err(Cancelled::EndOfInput)
    );
    insta::assert_snapshot!("prompts", kept.text().replace(" \n", " ⏎\n"));
}

#[tokio::test]
async fn a_line_for_a_question_taken_back_answers_the_next() {
    let (mut console, _) = console(Kind::Plain, Detail::Normal, "first\nsecond\n");
    drop(console.ask(Question::PeerAddress));
    let answers = [
        console.ask(Question::PeerAddress).await,
        console.ask(Question::PeerAddress).await,
    ];
    // The first line may or may not be matched before the question is taken back. No line is ever used twice.
    let texts: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    let (first, second) = (Answer::Text("first".into()), Answer::Text("second".into()));
    assert!(texts == [first, second.clone()] || texts == [second], "{texts:?}");
}

#[tokio::test]
async fn an_event_while_a_question_is_open_shows_the_question_again() {
    let (mut console, kept) = console(Kind::Mono, Detail::Normal, "");
    let screen_text = || kept.text();
    let (reply, pending) = crate::app::event::Pending::new();
    drop((reply, pending));
    let open = console.ask(Question::PeerAddress);
    console.event(Event::Warning(Warning::ServerSilent));
    assert_eq!(open.await, Err(Cancelled::EndOfInput));
    console.event(Event::Info(Info::ChatEnded));
    let text = screen_text();
    assert!(text.starts_with("Enter the ip:port of your peer: "), "{text:?}");
    assert!(text.ends_with("\nThe chat has ended\n"), "{text:?}");
}

fn command(arguments: &[&str]) -> Result<Command, Failure> {
    Cli::from_arguments([&["p2pcopy"], arguments].concat().into_iter().map(Into::into))
        .map_err(|error| Failure::usage(error.to_string(), ""))
        .map(|cli| cli.command)
}

fn task(arguments: &[&str]) -> Result<Task, Failure> {
    Task::from_command(command(arguments)?)
}

#[test]
fn arguments_become_options() {
    let command = command(&[
        "send",
        "--file",
        "a",
        "b",
        "--file",
        "c",
        "--links",
        "--exclude",
        "*.tmp",
        "--localport",
        "4300",
        "--stun",
        "s.example,t.example:5",
        "--limit",
        "20mbit",
        "--congestion",
        "udt",
        "-vv",
        "--timeout",
        "90s",
    ])
    .unwrap();
    assert_eq!(command.shown().detail, Detail::Everything);
    let Ok(Task::Send(options)) = Task::from_command(command) else {
        panic!("not a sender");
    };
    assert_eq!(
        options.payload,
        Payload::Paths(["a", "c", "b"].map(PathBuf::from).into())
    );
    assert_eq!(options.scan.links, Links::Keep);
    assert!(!options.scan.exclude.is_empty());
    let common = &options.common;
    assert_eq!((common.localport, common.limit), (Some(4300), Some(2_500_000)));
    assert_eq!(
        (common.congestion, common.timeout, common.ttl),
        (Congestion::Udt, Duration::from_secs(90), None)
    );
    let server = |host: &str, port| Server {
        host: host.into(),
        port,
    };
    assert_eq!(common.stun, [server("s.example", 3478), server("t.example", 5)]);

    let Ok(Task::Send(options)) = task(&["sender", "--file", "-", "--name", "dir.tar"]) else {
        panic!("not a sender");
    };
    assert_eq!(
        (options.payload, options.scan.name.as_deref()),
        (Payload::Stdin, Some("dir.tar"))
    );
    let Ok(Task::Send(options)) = task(&["sender", "--text", "-"]) else {
        panic!("not a sender");
    };
    assert_eq!(options.payload, Payload::StdinText);
    let Ok(Task::Receive(options)) = task(&["receive", "-o", "-", "-y"]) else {
        panic!("not a receiver");
    };
    assert_eq!((options.destination, options.yes), (Target::Stdout, true));
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for arguments in [
        &["sender"][..],
        &["sender", "a", "-"],
        &["sender", "a", "b", "--name", "c"],
        &["sender", "--text", "hi", "a"],
        &["sender", ""],
        &["sender", "a", "--name", "b/c"],
        &["sender", "a", "--name", ".."],
        &["sender", "-", "--name", ""],
        &["sender", "a", "--exclude", "[z"],
        &["sender", "a", "--exclude", "../b"],
        &["sender", "a", "--limit", "20mb"],
        &["sender", "a", "--localport", "0"],
        &["sender", "a", "--ttl", "0"],
        &["sender", "a", "-q", "-v"],
        &["receiver", "--output", "-", "--json"],
        &["receiver", "--output", "-", "--discard"],
        &["receiver", "--output", ""],
        &["receiver", "--yes", "extra"],
        &["nothing"],
    ] {
        assert_eq!(
            task(arguments).err().map(|failure| failure.exit_code()),
            Some(2),
            "{arguments:?}"
        );
    }
}
