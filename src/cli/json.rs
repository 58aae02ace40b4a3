//! Events as JSON, one object a line (`--json`). The README lists them; names and meanings do not change.

use super::lines;
use super::printable::is_active;
use crate::app::event::{Change, ClockSource, Event, Link, Question};
use crate::app::offered::{DefaultAnswer, Offered};
use crate::app::outcome::Failure;
use crate::protocol::Role;
use crate::transfer::manifest::Kind;
use std::fmt::{Display, Write};
use std::time::Duration;

/// A JSON object being written. Writing to a String cannot fail, so results of `write!` are dropped.
struct Object(String);

impl Object {
    fn new() -> Object {
        Object("{".into())
    }

    fn objects(mut self, key: &str, values: impl IntoIterator<Item = Object>) -> Object {
        self.key(key);
        let values: Vec<String> = values.into_iter().map(Object::end).collect();
        let _ = write!(self.0, "[{}]", values.join(","));
        self
    }

    fn event(name: &str) -> Object {
        let mut object = Object::new();
        object.key("event");
        quote(&mut object.0, name);
        object
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, key);
        self.0.push(':');
    }

    fn text(mut self, key: &str, value: &str) -> Object {
        self.key(key);
        quote(&mut self.0, value);
        self
    }

    /// A value whose Display is JSON already: integers, booleans.
    fn plain(mut self, key: &str, value: impl Display) -> Object {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    fn optional(self, key: &str, value: Option<impl Display>) -> Object {
        match value {
            Some(value) => self.plain(key, value),
            None => self.plain(key, "null"),
        }
    }

    fn number(self, key: &str, value: f64) -> Object {
        // JSON knows no infinity and no NaN.
        if value.is_finite() {
            self.plain(key, format_args!("{value:.3}"))
        } else {
            self.plain(key, "null")
        }
    }

    fn texts<T: AsRef<str>>(mut self, key: &str, values: impl IntoIterator<Item = T>) -> Object {
        self.key(key);
        self.0.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            quote(&mut self.0, value.as_ref());
        }
        self.0.push(']');
        self
    }

    fn link(self, link: &Link) -> Object {
        self.text("remote", &link.remote.to_string())
            .text("kind", &link.kind)
            .plain("relayed", link.relayed)
            .number(
                "rtt_ms",
                if link.rtt.is_zero() {
                    f64::NAN
                } else {
                    millis(link.rtt)
                },
            )
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON string (RFC 8259, section 7). Characters that act on a terminal are escaped too: people look at logs.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if is_active(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// An event's line, without the line break.
pub(super) fn of_event(event: &Event) -> String {
    object(event).end()
}

fn object(event: &Event) -> Object {
    let text = |name, text: &str| Object::event(name).text("text", text);
    match event {
        Event::LocalPort(port) => Object::event("local_port").plain("port", port),
        Event::Network(line) => text("network", line),
        Event::Address { address, change } => Object::event("address")
            .text("address", address)
            .plain("changed", *change == Change::Changed),
        Event::Code { code, change } => Object::event("code")
            .text("code", code)
            .plain("changed", *change == Change::Changed),
        Event::Serving { word } => Object::event("serving").text("word", word),
        Event::Clock { source, offset_ms } => {
            let object = Object::event("clock");
            match source {
                ClockSource::Ntp { servers } => object.text("source", "ntp").plain("servers", servers),
                ClockSource::System => object.text("source", "system").plain("servers", 0),
            }
            .plain("offset_ms", offset_ms)
        }
        Event::Waiting { time_of_day, seconds } => Object::event("waiting")
            .text("time", &time_of_day.to_string())
            .plain("seconds", seconds),
        Event::Attempt { number, remote } => Object::event("attempt")
            .plain("number", number)
            .text("remote", &remote.to_string()),
        Event::Connected(link) => Object::event("connected").link(link),
        Event::AwaitingAnswer => Object::event("awaiting_answer"),
        Event::Offer(offered) => offer(offered),
        Event::Resumed { bytes, total } => Object::event("resumed")
            .plain("bytes", bytes)
            .plain("total", total),
        Event::Progress(progress) => Object::event("progress")
            .plain("done", progress.done)
            .optional("total", progress.total)
            .text("phase", lines::phase(progress.phase))
            .plain("rate", progress.rate)
            .number("rtt_ms", millis(progress.rtt))
            .number("loss", progress.loss.unwrap_or(f64::NAN))
            .text("bound", lines::bound(progress.bound)),
        Event::Reconnecting { silence } => {
            Object::event("reconnecting").number("silent_s", silence.as_secs_f64())
        }
        Event::Reconnected(link) => Object::event("reconnected").link(link),
        Event::Message(message) => text("message", message),
        Event::Info(line) => text("info", line),
        Event::Warning(line) => text("warning", line),
        Event::Note(line) => text("note", line),
        Event::Stats(line) => text("stats", line),
        Event::Finished(summary) => {
            let object = Object::event("finished")
                .plain("bytes", summary.bytes)
                .plain("reused", summary.reused)
                .number("seconds", summary.elapsed.as_secs_f64())
                .plain("average", summary.average());
            match &summary.blake3 {
                Some(hash) => object.text("blake3", hash),
                None => object.plain("blake3", "null"),
            }
            .texts("paths", summary.paths.iter().map(|path| path.to_string_lossy()))
        }
        Event::Of(role, inner) => object(inner).text(
            "side",
            match role {
                Role::Sender => "sender",
                Role::Receiver => "receiver",
            },
        ),
    }
}

/// All of an offer, as fields.
fn offer(offered: &Offered) -> Object {
    let offer = &offered.offer;
    let top = offer.top.iter().map(|top| {
        Object::new()
            .text("name", &top.name.display().to_string())
            .text("kind", kind(top.kind))
            .plain("bytes", top.size)
            .plain("hidden", top.hidden)
            .plain("executable", top.executable)
    });
    let link = |(path, target): (String, String)| Object::new().text("path", &path).text("target", &target);
    let (left_out, left_out_count) = offered.left_out();
    let (renamed, more_renamed) = offered.renamed();
    let renamed_count = renamed.len() as u32 + more_renamed;
    let name = |(sent, stored): (String, String)| Object::new().text("sent", &sent).text("stored", &stored);
    Object::event("offer")
        .plain("entries", offer.entries)
        .optional("bytes", (!offer.stream).then_some(offer.bytes))
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
        .objects("renamed_shown", renamed.into_iter().map(name))
        .plain("times_changed", offered.list.0.times_changed())
        .texts(
            "exist",
            offered
                .prospect
                .taken
                .iter()
                .map(|name| name.display().to_string()),
        )
        .optional("free", offered.prospect.room.bytes)
        .plain("resumable", offered.prospect.resumable)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Dir => "directory",
        Kind::Symlink => "link",
        Kind::Stream => "stream",
        Kind::Text => "text",
    }
}

/// A question's line: the answer is expected on standard input, one line.
pub(super) fn of_question(question: &Question) -> String {
    let (kind, consent) = match question {
        Question::PeerAddress => ("peer_address", None),
        Question::PeerCode => ("peer_code", None),
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

/// A failure's line, the last one.
pub(super) fn of_failure(failure: &Failure) -> String {
    Object::event("failed")
        .plain("code", failure.exit_code())
        .text("error", &failure.to_string())
        .text("next", failure.next_step())
        .end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_are_escaped_as_json_and_for_terminals() {
        let mut out = String::new();
        quote(&mut out, "a\"b\\c\n\u{1b}[0m \u{9b} \u{202e} é 🦀 \u{e0041}");
        assert_eq!(out, r#""a\"b\\c\u000a\u001b[0m \u009b \u202e é 🦀 \udb40\udc41""#);
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
