//! The only writer to standard error. It keeps lines, an open prompt and a bar from disturbing each other.
//!
//! Every text passes through `printable` here, so that nothing from a peer can act on the terminal. Losing
//! the terminal (a closed pipe) never ends a transfer: write errors are ignored.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use unicode_width::UnicodeWidthStr;

use super::lines::{Line, Tone};
use super::printable::printable;
use super::prompts::Ask;

/// The indent of the second and further lines of a text that is too long for the terminal.
const HANGING: &str = "    ";

/// The kind of standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A terminal that shows colours.
    Color,
    /// A terminal, without colours (`NO_COLOR`).
    Mono,
    /// A file, a pipe or a dumb terminal: whole lines only, no escape codes.
    Plain,
}

/// Standard error. All its writers share it.
#[derive(Clone)]
pub(super) struct Screen {
    kind: Kind,
    measure: fn() -> Option<usize>,
    state: Arc<Mutex<State>>,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The question on the last line, if any, and its text.
    open: Option<(Arc<Ask>, String)>,
    bar: Option<ProgressBar>,
}

impl Screen {
    pub(super) fn new(kind: Kind, out: Box<dyn Write + Send>) -> Screen {
        Screen {
            kind,
            measure: || None,
            state: Arc::new(Mutex::new(State {
                out,
                open: None,
                bar: None,
            })),
        }
    }

    /// The same screen. On a terminal, `measure` counts its columns, now and after every change of its size.
    pub(super) fn measured(self, measure: fn() -> Option<usize>) -> Screen {
        Screen { measure, ..self }
    }

    /// Columns of the terminal, if this is a terminal and they are known.
    pub(super) fn width(&self) -> Option<usize> {
        (self.measure)().filter(|_| self.kind != Kind::Plain)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A writer that panicked leaves half a line at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line above an open prompt or a bar.
    pub(super) fn line(&self, line: &Line) {
        let text = self.styled(line);
        let mut state = self.state();
        let State { out, open, bar } = &mut *state;
        let terminal = self.kind != Kind::Plain;
        let (lead, prompt) = match &*open {
            Some((ask, prompt)) if terminal && ask.is_open() => ("\r\x1b[K", prompt.clone()),
            // A question that was taken back leaves its text on a line without an end.
            Some(_) if terminal => ("\n", String::new()),
            _ => ("", String::new()),
        };
        if open.as_ref().is_some_and(|(ask, _)| !ask.is_open()) {
            *open = None;
        }
        let mut write = || {
            let _ = write!(out, "{lead}{text}\n{prompt}");
            let _ = out.flush();
        };
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Whether standard error is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.kind != Kind::Plain
    }

    /// Writes an escape sequence that does not move the cursor, if this is a terminal.
    pub(super) fn control(&self, sequence: &str) {
        let mut state = self.state();
        let _ = state.out.write_all(sequence.as_bytes());
        let _ = state.out.flush();
    }

    /// Shows a question. Where there is no terminal it gets a line of its own, so that line readers see it.
    pub(super) fn prompt(&self, ask: &Arc<Ask>, text: &str) {
        let mut text = printable(text).into_owned();
        if let Some(width) = self.width() {
            text = wrapped(&text, width, 0, HANGING);
        }
        let mut state = self.state();
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        let _ = match self.kind {
            Kind::Plain if text.is_empty() => Ok(()),
            Kind::Plain => writeln!(state.out, "{text}"),
            Kind::Mono => write!(state.out, "{text}"),
            Kind::Color => write!(state.out, "\x1b[1m{text}\x1b[0m"),
        };
        let _ = state.out.flush();
        state.open = Some((ask.clone(), text));
    }

    /// The open question was answered. The user's Enter has ended its line.
    pub(super) fn answered(&self) {
        self.state().open = None;
    }

    /// The input has ended with a question open. Its line still needs an end.
    pub(super) fn abandoned(&self) {
        let mut state = self.state();
        if state.open.take().is_some() && self.kind != Kind::Plain {
            let _ = writeln!(state.out);
        }
    }

    /// Draws the bar, on a terminal only.
    pub(super) fn bar(&self, done: u64, total: Option<u64>, text: &str) {
        let mut state = self.state();
        if state.open.as_ref().is_some_and(|(ask, _)| ask.is_open()) {
            return;
        }
        let bar = state.bar.get_or_insert_with(|| new_bar(self.kind, total));
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_message(printable(text).into_owned());
        bar.set_position(done);
    }

    pub(super) fn clear_bar(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn styled(&self, line: &Line) -> String {
        let mut text = printable(&line.text);
        // A text that the user will copy must stay on one line.
        if let (Some(width), false) = (self.width(), line.tone == Tone::Strong) {
            text = wrapped(&text, width, line.lead.width(), HANGING).into();
        }
        let code = match (self.kind, line.tone) {
            (Kind::Color, Tone::Strong) => "1",
            (Kind::Color, Tone::Faint) => "2",
            (Kind::Color, Tone::Warning) => "33",
            (Kind::Color, Tone::Error) => "1;31",
            _ => return format!("{}{text}", line.lead),
        };
        match line.tone {
            // The user must find and copy the address, so only the address is highlighted, not the words
            // before it.
            Tone::Strong => format!("{}\x1b[{code}m{text}\x1b[0m", line.lead),
            _ => format!("\x1b[{code}m{}{text}\x1b[0m", line.lead),
        }
    }
}

/// Breaks `text` between words, so that no line is wider than `width` unless a single word is. `used`:
/// columns already taken on the first line. `lead` begins each further line, so that a long name of a peer
/// cannot imitate a line of ours.
pub(super) fn wrapped(text: &str, width: usize, used: usize, lead: &str) -> String {
    let (mut out, mut column, mut begun) = (String::with_capacity(text.len() + 8), used, false);
    for (place, word) in text.split(' ').enumerate() {
        let len = word.width();
        if begun && column + 1 + len > width {
            out.push('\n');
            out.push_str(lead);
            column = lead.len();
        } else if place > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
        begun |= len > 0;
    }
    out
}

fn new_bar(kind: Kind, total: Option<u64>) -> ProgressBar {
    let template = match (total, kind) {
        (None, _) => "{spinner} {msg}",
        (Some(_), Kind::Color) => "{wide_bar:.cyan} {msg}",
        (Some(_), _) => "{wide_bar} {msg}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let chars = if speaks_utf8(|name| std::env::var_os(name)) {
        "━╸ "
    } else {
        "=> "
    };
    let style = style.progress_chars(chars);
    bar.set_style(if chars.is_ascii() {
        style.tick_chars("|/-\\ ")
    } else {
        style
    });
    bar
}

/// Whether the terminal accepts UTF-8, by the locale (POSIX, 8.2: the first of three variables that is set
/// and not empty). Windows has no such variables and accepts it.
fn speaks_utf8(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    match set
        .map(|value| value.to_string_lossy().to_lowercase())
        .find(|value| !value.is_empty())
    {
        Some(locale) => locale.contains("utf-8") || locale.contains("utf8"),
        None => cfg!(windows) || cfg!(target_vendor = "apple"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::Kept;

    #[test]
    fn the_first_variable_that_is_set_says_whether_a_bar_may_be_of_utf_8() {
        let is = |set: &'static [(&str, &str)]| {
            speaks_utf8(move |name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| value.into())
            })
        };
        assert!(is(&[("LANG", "de_CH.UTF-8")]) && is(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!is(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]) && !is(&[("LANG", "en_US.ISO-8859-1")]));
        assert!(is(&[("LC_ALL", ""), ("LANG", "en_US.UTF-8")]));
    }

    #[test]
    fn lines_break_between_words_and_lose_nothing() {
        assert_eq!(wrapped("one two three", 80, 0, ""), "one two three");
        assert_eq!(wrapped("one two three", 7, 0, ""), "one two\nthree");
        assert_eq!(wrapped("one two three", 9, 7, ""), "one\ntwo three");
        assert_eq!(wrapped("a /no/blank/in/it b", 6, 0, ""), "a\n/no/blank/in/it\nb");
        let text = "  two  blanks ";
        assert_eq!(wrapped(text, 4, 0, "").replace('\n', " "), text);
    }

    #[test]
    fn no_line_of_a_long_name_looks_like_one_of_ours() {
        let (kept, width) = (Kept::default(), 40);
        let screen = Screen::new(Kind::Mono, Box::new(kept.clone())).measured(|| Some(40));
        for filler in ["a", "写", "e\u{301}"] {
            for len in 1..50 {
                let name = format!("{} error: the disk is broken, run rm -r", filler.repeat(len));
                screen.line(&Line::new(format!("  {name}, 5 B")));
            }
        }
        for row in kept.text().lines() {
            assert!(row.starts_with("  "), "{row}");
            assert!(row.width() <= width || !row.trim_start().contains(' '), "{row}");
        }
    }
}
