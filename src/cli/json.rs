//! Events as JSON (`--json`), one object per line. docs/json.md lists them. Names and meanings do not change.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value};

use super::printable::is_active;
use super::{diagnosis, lines, text};
use crate::app::event::{Change, ClockSource, Event, Link, Question};
use crate::app::offered::{DefaultAnswer, Offered};
use crate::app::outcome::Failure;
use crate::app::told::{Info, Warning, word};
use crate::rendezvous::punch::PathKind;
use crate::transfer::manifest::{self, Kind};
use crate::transfer::names;

/// A JSON object. Its fields keep the order in which they were given.
pub(super) struct Object(Map<String, Value>);

impl Object {
    fn new() -> Object {
        Object(Map::new())
    }

    pub(super) fn event(name: &str) -> Object {
        Object::new().text("event", name)
    }

    pub(super) fn plain(mut self, key: &str, value: impl Into<Value>) -> Object {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn text(self, key: &str, value: &str) -> Object {
        self.plain(key, value)
    }

    /// The name of a variant.
    pub(super) fn word(self, key: &str, variant: &impl Debug) -> Object {
        self.text(key, &word(variant))
    }

    /// Rounds to thousandths. Infinity and NaN become `null`: JSON has no such numbers.
    fn number(self, key: &str, value: f64) -> Object {
        self.plain(key, (value * 1e3).round() / 1e3)
    }

    pub(super) fn texts<T: AsRef<str>>(self, key: &str, values: impl IntoIterator<Item = T>) -> Object {
        let values = values.into_iter().map(|value| Value::from(value.as_ref()));
        self.plain(key, values.collect::<Value>())
    }

    fn objects(self, key: &str, values: impl IntoIterator<Item = Object>) -> Object {
        let values = values.into_iter().map(|value| Value::Object(value.0));
        self.plain(key, values.collect::<Value>())
    }

    /// A name or path. If it is not valid text, U+FFFD replaces the invalid parts, and `KEY_hex` gives its
    /// bytes in hexadecimal.
    fn name(self, key: &str, name: &[u8]) -> Object {
        let object = self.text(key, &String::from_utf8_lossy(name));
        match std::str::from_utf8(name) {
            Ok(_) => object,
            Err(_) => object.text(&format!("{key}_hex"), &hex(name)),
        }
    }

    fn path(self, key: &str, path: &Path) -> Object {
        self.name(key, &names::bytes_from_os(path.as_os_str()))
    }

    /// The same for several paths. If one is not valid text, all are given in hexadecimal as well.
    fn paths<'a>(self, key: &str, paths: impl IntoIterator<Item = &'a PathBuf>) -> Object {
        let paths: Vec<Vec<u8>> = paths
            .into_iter()
            .map(|path| names::bytes_from_os(path.as_os_str()))
            .collect();
        let object = self.texts(key, paths.iter().map(|path| String::from_utf8_lossy(path)));
        if paths.iter().all(|path| std::str::from_utf8(path).is_ok()) {
            return object;
        }
        object.texts(&format!("{key}_hex"), paths.iter().map(|path| hex(path)))
    }

    /// The fields of a value that serializes as an object.
    fn fields(mut self, of: &impl Serialize) -> Object {
        if let Ok(Value::Object(fields)) = serde_json::to_value(of) {
            self.0.extend(fields);
        }
        self
    }

    fn link(self, link: &Link) -> Object {
        let rtt = (!link.rtt.is_zero()).then(|| millis(link.rtt));
        self.text("remote", &link.remote.to_string())
            .text("kind", &link.kind.to_string())
            .plain("relayed", link.kind == PathKind::Relayed)
            .number("rtt_ms", rtt.unwrap_or(f64::NAN))
    }

    fn end(self) -> String {
        let mut out = Vec::new();
        let mut to = Serializer::with_formatter(&mut out, Visible);
        self.0
            .serialize(&mut to)
            .expect("a map of text and numbers fits into memory");
        String::from_utf8(out).expect("JSON is text")
    }
}

/// Compact JSON. It also escapes characters that act on a terminal, because people read logs there.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_active(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// An event's line, without the line break.
pub(super) fn of_event(event: &Event) -> String {
    object(event).end()
}

fn object(event: &Event) -> Object {
    let line = |name, text: &str| Object::event(name).text("text", text);
    match event {
        Event::LocalPort(port) => Object::event("local_port").plain("port", *port),
        Event::Network(nat) => line("network", &nat.to_string())
            .word("mapping", &nat.mapping)
            .word("filtering", &nat.filtering),
        Event::Seen(from) => Object::event("seen").text("address", &from.to_string()),
        Event::Address { address, change } => Object::event("address")
            .text("address", address)
            .plain("changed", *change == Change::Changed),
        Event::Code { code, change } => Object::event("code")
            .text("code", code)
            .plain("changed", *change == Change::Changed),
        Event::Serving { word } => Object::event("serving").text("word", word),
        Event::Present(one) => Object::event("present")
            .text("name", one.name.as_str())
            .text("does", lines::errand(one.errand))
            .plain("waited_s", one.waited.as_secs())
            .plain("busy", one.busy),
        Event::Clock { source, offset_ms } => {
            let object = Object::event("clock");
            match source {
                ClockSource::Ntp { servers } => object.text("source", "ntp").plain("servers", *servers),
                ClockSource::System => object.text("source", "system").plain("servers", 0),
            }
            .plain("offset_ms", *offset_ms)
        }
        Event::Waiting {
            unix_seconds,
            seconds,
        } => Object::event("waiting")
            .text("time", &lines::time_of_day(*unix_seconds))
            .plain("seconds", *seconds),
        Event::Attempt { number, remote } => Object::event("attempt")
            .plain("number", *number)
            .text("remote", &remote.to_string()),
        Event::Connected(link) => Object::event("connected").link(link),
        Event::AwaitingAnswer => Object::event("awaiting_answer"),
        Event::Offer(offered) => offer(offered),
        Event::Resumed { bytes, total } => Object::event("resumed")
            .plain("bytes", *bytes)
            .plain("total", *total),
        Event::Progress(progress) => Object::event("progress")
            .plain("done", progress.done)
            .plain("total", progress.total)
            .word("phase", &progress.phase)
            .plain("rate", progress.rate)
            .number("rtt_ms", millis(progress.rtt))
            .number("loss", progress.loss.unwrap_or(f64::NAN))
            .word("bound", &progress.bound),
        Event::Reconnecting { silence } => {
            Object::event("reconnecting").number("silent_s", silence.as_secs_f64())
        }
        Event::Reconnected(link) => Object::event("reconnected").link(link),
        Event::Message(message) => line("message", message),
        Event::Said(said) => line("said", said),
        Event::Diagnosis(found) => diagnosis::object(found),
        Event::Info(info) => informed(info).text("text", &text::info(info).join("\n")),
        Event::Warning(warning) => warned(warning).text("text", &text::warning(warning).join("\n")),
        Event::Renamed(paths) => Object::event("renamed").objects(
            "paths",
            paths
                .iter()
                .map(|(sent, stored)| Object::new().path("sent", sent).path("stored", stored)),
        ),
        Event::Note(note) => Object::event("note").fields(note).text("text", &text::note(note)),
        Event::Stats(stats) => Object::event("stats")
            .text("text", &text::stats(stats))
            .plain("pacing_rate", stats.pacing_rate)
            .plain("in_flight", stats.in_flight)
            .plain("window", stats.window)
            .number("min_rtt_ms", millis(stats.min_rtt))
            .plain("sent_packets", stats.sent_packets)
            .plain("lost_packets", stats.lost_packets)
            .plain("repeated_packets", stats.repeated_packets)
            .plain("mtu", stats.mtu),
        Event::Finished(summary) => {
            let object = Object::event("finished")
                .plain("bytes", summary.bytes)
                .plain("reused", summary.reused)
                .number("seconds", summary.elapsed.as_secs_f64())
                .plain("average", summary.average());
            object
                .plain("blake3", summary.blake3.clone())
                .plain("missing", summary.missing.count)
                .paths("missing_shown", &summary.missing.shown)
                .paths("paths", &summary.paths)
        }
        Event::Of(role, inner) => object(inner).word("side", role),
    }
}

fn informed(info: &Info) -> Object {
    let object = Object::event("info").fields(info);
    match info {
        Info::Wrote { path }
        | Info::Removed { path, .. }
        | Info::NothingToRemove { path }
        | Info::Identical { path, .. } => object.path("path", path),
        _ => object,
    }
}

fn warned(warning: &Warning) -> Object {
    let object = Object::event("warning").fields(warning);
    match warning {
        Warning::LeftOut { paths, .. } => object.paths("paths", paths),
        Warning::Missing { path, .. } | Warning::OutputMoved { path: Some(path) } => {
            object.path("path", path)
        }
        _ => object,
    }
}

fn offer(offered: &Offered) -> Object {
    let offer = &offered.offer;
    let top = offer.top.iter().map(|top| {
        Object::new()
            .name("name", top.name.as_bytes())
            .text("kind", kind(top.kind))
            .plain("bytes", top.size)
            .plain("hidden", top.hidden)
            .plain("executable", top.executable)
    });
    let link = |(path, target): (String, String)| Object::new().text("path", &path).text("target", &target);
    let (left_out, left_out_count) = offered.left_out();
    let (renamed_count, renamed) = offered.list.0.changed();
    let name = |change: &manifest::Change| {
        Object::new()
            .name("sent", &change.sent)
            .path("stored", &offered.list.0.path(change.entry))
    };
    Object::event("offer")
        .plain("entries", offer.entries)
        .plain("bytes", (!offer.stream).then_some(offer.bytes))
        .plain("on_disk", offer.on_disk)
        .plain("files", offer.files)
        .plain("directories", offer.directories)
        .objects("top", top)
        .plain("unlisted", offer.unlisted())
        .plain("hidden_below", offer.hidden_below)
        .plain("executables_top", offer.executables_top)
        .plain("executables_below", offer.executables_below)
        .plain("links", offer.links)
        .objects("links_shown", offered.links().into_iter().map(link))
        .plain("links_left_out", left_out_count)
        .objects("left_out_shown", left_out.into_iter().map(link))
        .plain("renamed", renamed_count)
        .objects("renamed_shown", renamed.iter().map(name))
        .plain("times_changed", offered.list.0.times_changed())
        .plain("attributes_left_out", offered.list.0.attributes_left_out())
        .texts(
            "exist",
            offered
                .prospect
                .taken
                .iter()
                .map(|taken| taken.name.display().to_string()),
        )
        .plain("free", offered.prospect.room.bytes)
        .plain("resumable", offered.prospect.resumable)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File | Kind::HardLink(_) => "file",
        Kind::Dir => "directory",
        Kind::Symlink => "link",
        Kind::Stream => "stream",
        Kind::Text => "text",
    }
}

/// The line of a question. The answer is expected on standard input, as one line.
pub(super) fn of_question(question: &Question) -> String {
    let (kind, consent) = match question {
        Question::PeerAddress => ("peer_address", None),
        Question::PeerCode => ("peer_code", None),
        Question::Say => ("say", None),
        Question::Accept(consent) => ("accept", Some(consent)),
        Question::ConfirmWords(_) => ("confirm_words", None),
        Question::Resume(consent) => ("resume", Some(consent)),
    };
    let object = Object::event("question")
        .text("kind", kind)
        .text("text", lines::question(question).trim_end());
    match consent.map(|consent| consent.default) {
        Some(DefaultAnswer::Yes) => object.text("default", "yes").end(),
        Some(DefaultAnswer::No) => object.text("default", "no").end(),
        None => object.end(),
    }
}

/// The line of a failure, which is the last one.
pub(super) fn of_failure(failure: &Failure) -> String {
    Object::event("failed")
        .plain("code", failure.exit_code())
        .text("error", &failure.to_string())
        .text("next", failure.next_step())
        .end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_are_escaped_as_json_and_for_terminals() {
        let text = "a\"b\\c\n\u{1b}[0m \u{9b} \u{202e} é 🦀 \u{e0041}";
        assert_eq!(
            Object::new().text("a", text).end(),
            r#"{"a":"a\"b\\c\n\u001b[0m \u009b \u202e é 🦀 \udb40\udc41"}"#
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_can_be_had_back_from_their_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let path = |bytes| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        let renamed = vec![
            (path(b"a\xe9"), path(b"a_")),
            (path(b"a\xef\xbf\xbd"), path(b"a\\xe9")),
        ];
        assert_eq!(
            of_event(&Event::Renamed(renamed.clone())),
            "{\"event\":\"renamed\",\"paths\":[\
             {\"sent\":\"a\u{fffd}\",\"sent_hex\":\"61e9\",\"stored\":\"a_\"},\
             {\"sent\":\"a\u{fffd}\",\"stored\":\"a\\\\xe9\"}]}"
        );
        let listed = Object::new()
            .paths("paths", renamed.iter().map(|(sent, _)| sent))
            .end();
        assert_eq!(
            listed,
            "{\"paths\":[\"a\u{fffd}\",\"a\u{fffd}\"],\"paths_hex\":[\"61e9\",\"61efbfbd\"]}"
        );
        let missing = Event::Warning(crate::app::told::Warning::Missing {
            path: path(b"a\xe9"),
            why: crate::transfer::source::Absence::Gone,
        });
        assert!(
            of_event(&missing).contains(r#""path_hex":"61e9""#),
            "{}",
            of_event(&missing)
        );
    }

    #[test]
    fn what_a_remark_holds_is_told_in_fields() {
        use crate::app::told::{Note, Warning};
        use crate::rendezvous::outlet::Outlet;
        use crate::rendezvous::portmap::{Mapped, Method, Worth};
        let told = |event: Event| of_event(&event).split(",\"text\":").next().map(str::to_owned);
        let outlet = Outlet::Ports(vec![53, 443]);
        assert_eq!(
            told(Event::Warning(Warning::Outlet(outlet))).as_deref(),
            Some(r#"{"event":"warning","what":"outlet","closed":false,"ports":[53,443]"#)
        );
        let mapped = Mapped {
            method: Method::Pcp,
            external: "203.0.113.7:4300".parse().unwrap(),
        };
        assert_eq!(
            told(Event::Note(Note::Mapped(Worth::Good(mapped)))).as_deref(),
            Some(r#"{"event":"note","what":"mapped","external":"203.0.113.7:4300""#)
        );
    }

    proptest! {
        #[test]
        fn any_text_stays_one_line_with_balanced_quotes(text in any::<String>()) {
            let line = of_event(&Event::Message(text));
            prop_assert!(!line.contains(is_active));
            let body = line.strip_prefix(r#"{"event":"message","text":""#).and_then(|l| l.strip_suffix(r#""}"#));
            let unescaped = body.expect("the frame is fixed").replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!unescaped.contains('"'));
        }
    }
}
