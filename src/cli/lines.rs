//! Turns events into lines for people. Scripts search for several of these lines, so snapshots fix them.

use std::path::PathBuf;
use std::time::Duration;

use super::printable::escaped;
use super::screen::wrapped;
use super::{diagnosis, text};
use crate::app::event::{Change, ClockSource, Consent, Event, Link, Question};
use crate::app::offered::DefaultAnswer;
use crate::app::outcome::{Failure, Summary};
use crate::app::units::{Rate, Size, Span};
use crate::protocol::Role;
use crate::rendezvous::errand::Errand;
use crate::transfer::names::Escaped;

/// Begins each line of a message or chat text from the peer.
const MARK: &str = "> ";

/// Most paths of missing entries that are shown.
const MOST_MISSING: usize = 20;

/// How much is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) enum Detail {
    /// Errors, prompts and the address.
    Quiet,
    /// What a user needs to follow.
    #[default]
    Normal,
    /// Also the reasons.
    Verbose,
    /// Also the figures.
    Everything,
}

impl Detail {
    /// What `--quiet` and this many `--verbose` ask for.
    pub(super) const fn of(quiet: bool, verbose: u8) -> Detail {
        match (quiet, verbose) {
            (true, _) => Detail::Quiet,
            (false, 0) => Detail::Normal,
            (false, 1) => Detail::Verbose,
            (false, _) => Detail::Everything,
        }
    }
}

/// The meaning of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    /// Ordinary text.
    Plain,
    /// Something that the user must find at once.
    Strong,
    Faint,
    /// Something that the user should act on.
    Warning,
    /// The failure that ended the run.
    Error,
}

/// One line: its lead and its text. The text may still contain unsafe characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) lead: &'static str,
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Line {
    pub(super) fn new(text: impl Into<String>) -> Line {
        Line {
            lead: "",
            text: text.into(),
            tone: Tone::Plain,
        }
    }

    fn led(lead: &'static str, text: impl Into<String>, tone: Tone) -> Line {
        Line {
            lead,
            text: text.into(),
            tone,
        }
    }

    fn faint(text: impl Into<String>) -> Line {
        Line::led("", text, Tone::Faint)
    }
}

/// The lines of an event. Empty if it is shown in another way (progress, messages) or is too detailed.
pub(super) fn of_event(event: &Event, detail: Detail) -> Vec<Line> {
    let shown_from = match event {
        Event::Address { .. }
        | Event::Code { .. }
        | Event::Serving { .. }
        | Event::Present(_)
        | Event::Said(_) => Detail::Quiet,
        // An offer with hidden names, whose default answer is no, is shown even with --quiet.
        Event::Offer(offered) if offered.default_answer() == DefaultAnswer::No => Detail::Quiet,
        Event::Of(_, inner) => return of_side(event, inner, detail),
        Event::Stats(_) => Detail::Everything,
        Event::Note(_)
        | Event::Clock {
            source: ClockSource::Ntp { .. },
            ..
        } => Detail::Verbose,
        _ => Detail::Normal,
    };
    if detail < shown_from {
        return Vec::new();
    }
    match event {
        Event::LocalPort(port) => vec![Line::new(format!("Using local port: {port}"))],
        Event::Network(text) => vec![Line::new(format!("Your network: {text}"))],
        Event::Seen(from) => vec![Line::new(format!("Your network: {from} as the server sees it"))],
        Event::Diagnosis(found) => diagnosis::lines(found).into_iter().map(Line::new).collect(),
        Event::Info(info) => text::info(info).into_iter().map(Line::new).collect(),
        Event::Address { address, change } => {
            let line = Line::led("Tell this to your peer: ", address.clone(), Tone::Strong);
            match change {
                Change::First | Change::Better => vec![line],
                Change::Changed => vec![
                    Line::led(
                        "warning: ",
                        "your address has changed; the old one no longer works",
                        Tone::Warning,
                    ),
                    line,
                ],
            }
        }
        Event::Code { code, .. } => vec![Line::led("Tell this to your peer: ", code.clone(), Tone::Strong)],
        Event::Serving { word } => vec![Line::led(
            "Clients use: ",
            format!("--server {word}"),
            Tone::Strong,
        )],
        Event::Present(one) => {
            let busy = if one.busy { ", has met somebody" } else { "" };
            // The server sends whole seconds.
            let waited = one.waited.max(Duration::from_secs(1));
            vec![Line::new(format!(
                "{:32}  {:8}  for {}{busy}",
                one.name.as_str(),
                errand(one.errand),
                Span(waited)
            ))]
        }
        Event::Clock { source, offset_ms } => vec![clock(source, *offset_ms)],
        Event::Waiting {
            unix_seconds,
            seconds,
        } => vec![Line::new(waiting(*unix_seconds, *seconds))],
        Event::Attempt { number, remote } => {
            vec![Line::new(format!("{number} - Trying to connect to {remote}"))]
        }
        Event::Connected(link) => vec![connected("Connected successfully to", link)],
        Event::AwaitingAnswer => vec![Line::new("Waiting for the other side to accept")],
        Event::Offer(offered) => offered.lines().into_iter().map(Line::new).collect(),
        Event::Resumed { bytes, total } => {
            vec![Line::new(format!(
                "Resuming: {} of {} need not be sent again if they are still equal; comparing",
                Size(*bytes),
                Size(*total)
            ))]
        }
        Event::Reconnecting { silence } => vec![Line::led(
            "",
            format!(
                "The other side is silent ({}): looking for it again as long as --timeout allows; Ctrl-C ends it, and the same \
                 commands resume it",
                Span(*silence)
            ),
            Tone::Warning,
        )],
        Event::Reconnected(link) => vec![connected("Connected again to", link)],
        Event::Renamed(paths) => renamed(paths),
        Event::Warning(warning) => {
            let line = |text| Line::led("warning: ", text, Tone::Warning);
            text::warning(warning).into_iter().map(line).collect()
        }
        Event::Note(note) => vec![Line::faint(text::note(note))],
        Event::Stats(stats) => vec![Line::faint(text::stats(stats))],
        Event::Finished(summary) => {
            let mut lines = missing(summary);
            lines.insert(0, Line::new(finished(summary)));
            lines
        }
        Event::Said(text) => vec![Line::led(MARK, text.clone(), Tone::Strong)],
        Event::Progress(_) | Event::Message(_) | Event::Of(..) => Vec::new(),
    }
}

/// Lines for names that the disk refuses.
fn renamed(paths: &[(PathBuf, PathBuf)]) -> Vec<Line> {
    /// Most names that are shown one by one.
    const SHOWN: usize = 16;
    let told = match paths.len() {
        1 => "this disk refuses one name; it is stored under another".into(),
        count => format!("this disk refuses {count} of the names; they are stored under others"),
    };
    let mut lines = vec![Line::led("warning: ", told, Tone::Warning)];
    let shown = |path: &PathBuf| Escaped(path.as_os_str().as_encoded_bytes()).to_string();
    lines.extend(
        paths
            .iter()
            .take(SHOWN)
            .map(|(sent, stored)| Line::new(format!("  {} is stored as {}", shown(sent), shown(stored)))),
    );
    if paths.len() > SHOWN {
        lines.push(Line::new(format!("  and {} more", paths.len() - SHOWN)));
    }
    lines
}

/// A demo's lines name their side, because the events of sender and receiver are mixed.
fn of_side(event: &Event, inner: &Event, detail: Detail) -> Vec<Line> {
    let side = match event {
        Event::Of(Role::Sender, _) => "sender   | ",
        _ => "receiver | ",
    };
    of_event(inner, detail)
        .into_iter()
        .map(|line| Line {
            lead: side,
            text: format!("{}{}", line.lead, line.text),
            tone: line.tone,
        })
        .collect()
}

fn clock(source: &ClockSource, offset_ms: i64) -> Line {
    match source {
        ClockSource::Ntp { servers } => {
            let side = if offset_ms < 0 { "ahead" } else { "behind" };
            Line::faint(format!(
                "Clock: by {servers} NTP server{}; this computer's is {} {side}",
                if *servers == 1 { "" } else { "s" },
                Span(Duration::from_millis(offset_ms.unsigned_abs()))
            ))
        }
        ClockSource::System => Line::led(
            "warning: ",
            "no NTP server answered, so the two sides do not agree on a time; with a bare ip:port this computer's clock \
             must be right to the second",
            Tone::Warning,
        ),
    }
}

/// The wait for a slot. With all four port pairs, the next one is at most ten seconds away.
fn waiting(unix_seconds: u64, seconds: u64) -> String {
    let time_of_day = time_of_day(unix_seconds);
    let why = if seconds > 20 {
        ": few ports are known, and each must rest between two attempts"
    } else {
        ""
    };
    format!("[{time_of_day}] - Waiting {seconds} sec to sync with other peer{why}")
}

/// The time of day in UTC.
pub(super) fn time_of_day(unix: u64) -> String {
    format!("{:02}:{:02}:{:02}", unix / 3600 % 24, unix / 60 % 60, unix % 60)
}

fn connected(lead: &'static str, link: &Link) -> Line {
    let rtt = if link.rtt.is_zero() {
        String::new()
    } else {
        format!(", RTT {}", Span(link.rtt))
    };
    Line::new(format!("{lead} {} ({}{rtt})", link.remote, link.kind))
}

/// Lines about missing entries, and how to get them.
fn missing(summary: &Summary) -> Vec<Line> {
    let shortfall = &summary.missing;
    let shown = shortfall.shown.iter().take(MOST_MISSING);
    let line = |text: String| Line::led("missing: ", text, Tone::Warning);
    let mut lines: Vec<Line> = shown.map(|path| line(path.display().to_string())).collect();
    let more = shortfall.count - lines.len() as u64;
    if more > 0 {
        lines.push(line(format!("{more} more")));
    }
    if !lines.is_empty() {
        lines.push(Line::led(
            "next: ",
            "once the sender can read them and nothing writes to them, run the same commands again: only what is missing is sent",
            Tone::Plain,
        ));
    }
    lines
}

fn finished(summary: &Summary) -> String {
    let names = match summary.paths.as_slice() {
        [] => String::new(),
        [only] => format!("{}, ", only.display()),
        [first, rest @ ..] => format!("{} and {} more, ", first.display(), rest.len()),
    };
    let reused = match summary.reused {
        0 => String::new(),
        bytes => format!(" ({} were here already)", Size(bytes)),
    };
    let hash = summary
        .blake3
        .as_ref()
        .map(|hash| format!(", BLAKE3 {hash}"))
        .unwrap_or_default();
    let done = match summary.missing.count {
        0 => "Done".to_owned(),
        count => format!("Done, but not everything ({count} missing)"),
    };
    // Nothing had to cross: a rate would say nothing.
    let average = match summary.average() {
        0 => String::new(),
        rate => format!(", {} on average", Rate(rate)),
    };
    format!(
        "{done}: {names}{} bytes{reused} in {}{average}{hash}",
        summary.bytes,
        Span(summary.elapsed)
    )
}

/// What somebody wants to do, as a word for JSON and for the screen.
pub(super) fn errand(errand: Errand) -> &'static str {
    match errand {
        Errand::Send => "sends",
        Errand::Receive => "receives",
        Errand::Chat => "chats",
    }
}

/// The text of a question, with a blank at its end for the answer.
pub(super) fn question(question: &Question) -> String {
    match question {
        Question::PeerAddress => "Enter the ip:port of your peer: ".into(),
        Question::PeerCode => "Enter the code (or ip:port) of your peer, or wait for it: ".into(),
        Question::Say => String::new(),
        Question::Accept(consent) => format!("Accept {}? {}", consent.what, choices(consent)),
        Question::ConfirmWords(words) => {
            format!(
                "Ask by voice, not in the chat of the addresses: does the other screen show {words}? [y/N] "
            )
        }
        Question::Resume(consent) => format!("Resume {}? {}", consent.what, choices(consent)),
    }
}

/// The possible answers, with a blank at the end. The capital letter is the answer that Enter gives.
fn choices(consent: &Consent) -> &'static str {
    match (consent.default, &consent.list) {
        (DefaultAnswer::Yes, None) => "[Y/n] ",
        (DefaultAnswer::No, None) => "[y/N] ",
        (DefaultAnswer::Yes, Some(_)) => "[Y/n, l lists all] ",
        (DefaultAnswer::No, Some(_)) => "[y/N, l lists all] ",
    }
}

/// A failure's two lines.
pub(super) fn of_failure(failure: &Failure) -> [Line; 2] {
    [
        Line::led("error: ", failure.to_string(), Tone::Error),
        Line::led("next: ", failure.next_step(), Tone::Plain),
    ]
}

/// The peer's text for a terminal with `width` columns. A mark begins each line, so that no line looks like
/// one of ours.
pub(super) fn quoted(text: &str, width: Option<usize>) -> impl Iterator<Item = String> + '_ {
    text.lines().map(move |line| {
        let line = escaped(line);
        let broken = width.map(|width| wrapped(&line, width, MARK.len(), MARK));
        format!("{MARK}{}", broken.as_deref().unwrap_or(&line))
    })
}
