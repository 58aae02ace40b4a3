//! The user interface of the command line: events become lines, a bar, JSON or clipboard text, and questions
//! become prompts.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lines::{self, Detail, Line};
use super::printable::printable;
use super::prompts::{Input, Prompts};
use super::screen::{Kind, Screen};
use super::{clipboard, json, progress};
use crate::app::event::{Change, Event, Front, Pending, Phase, Progress, Question};
use crate::app::outcome::Failure;
use crate::protocol::Role;
use crate::system;

/// How often progress is shown where there is no bar.
const PLAIN_PERIOD: Duration = Duration::from_secs(3);

/// How often the progress of a long list is shown where there is no bar. It is shown first after this time.
const LIST_PERIOD: Duration = Duration::from_millis(1500);

/// How often a continuing silence of the peer is shown where there is no bar.
const SILENCE_PERIOD: Duration = Duration::from_secs(15);

/// How often figures are shown: a person can read one line a second.
const STATS_PERIOD: Duration = Duration::from_secs(1);

/// Columns reserved for the bar itself and the blank behind it.
const BAR: usize = 4;

/// Weight of the newest rate in the estimate of the time left. Older rates lose half their weight in about a
/// second at five reports a second.
const ETA_WEIGHT: f64 = 0.15;

/// What to do with the address.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Clipboard {
    /// Copy it when it is first shown. If a server's answer changes the address later, it is not copied
    /// again: the user may have copied something else by then, and a server must not decide when that is
    /// lost.
    #[default]
    Once,
    /// Do not copy it.
    Never,
}

/// What the user wants to see of a run.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    /// Events as JSON lines on standard output.
    pub(super) json: bool,
    pub(super) detail: Detail,
    pub(super) clipboard: Clipboard,
}

/// Shows a run on standard error, and with `--json` on standard output.
pub(super) struct Console {
    screen: Screen,
    prompts: Prompts,
    detail: Detail,
    json: Option<Box<dyn Write + Send>>,
    clipboard: Clipboard,
    progress_period: Period,
    list_period: Period,
    silence_period: Period,
    stats_period: Period,
    /// Whether the peer is silent and being looked for.
    silent: bool,
    /// The peer's last address.
    remote: Option<SocketAddr>,
    smooth_rate: f64,
}

impl Console {
    /// The console of this process.
    pub(super) fn of_process(shown: Shown, input: Input) -> Console {
        let json = shown
            .json
            .then(|| Box::new(std::io::stdout()) as Box<dyn Write + Send>);
        let screen = Screen::new(stderr_kind(), Box::new(std::io::stderr())).measured(terminal_width);
        Console::new(screen, input, shown.detail, json).with_clipboard(shown.clipboard)
    }

    /// This console with another rule for the address.
    pub(super) fn with_clipboard(self, clipboard: Clipboard) -> Console {
        Console { clipboard, ..self }
    }

    pub(super) fn new(
        screen: Screen,
        input: Input,
        detail: Detail,
        json: Option<Box<dyn Write + Send>>,
    ) -> Console {
        let prompts = Prompts::new(input, screen.clone());
        Console {
            screen,
            prompts,
            detail,
            json,
            clipboard: Clipboard::Once,
            progress_period: Period::of(PLAIN_PERIOD),
            list_period: Period::of(LIST_PERIOD),
            silence_period: Period::of(SILENCE_PERIOD),
            stats_period: Period::of(STATS_PERIOD),
            silent: false,
            remote: None,
            smooth_rate: 0.0,
        }
    }

    /// Shows the last lines of a run that failed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.screen.clear_bar();
        self.screen.abandoned();
        self.json_line(&json::of_failure(failure));
        for line in lines::of_failure(failure) {
            self.screen.line(&line);
        }
    }

    fn json_line(&mut self, line: &str) {
        if let Some(out) = &mut self.json {
            // The transfer continues even if the reader of the output has closed it.
            let _ = writeln!(out, "{line}");
            let _ = out.flush();
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if self.detail == Detail::Quiet {
            return;
        }
        let rate = progress.rate as f64;
        self.smooth_rate = if self.smooth_rate == 0.0 {
            rate
        } else {
            self.smooth_rate + ETA_WEIGHT * (rate - self.smooth_rate)
        };
        let eta = self.time_left(progress);
        if self.screen.kind() != Kind::Plain {
            let room = self.screen.width().map(|width| width.saturating_sub(BAR));
            let text = progress::line(progress, eta, self.detail, room);
            self.screen.bar(progress.done, progress.total, &text);
            return;
        }
        let text = progress::line(progress, eta, self.detail, None);
        let period = match progress.phase {
            Phase::Listing => &mut self.list_period,
            _ => &mut self.progress_period,
        };
        if period.restart_if_over(now()) {
            self.screen.line(&Line::new(text));
        }
    }

    /// Tells a silence once. After that only shows that it continues.
    fn silence(&mut self, event: &Event, silence: Duration) {
        if !self.silent {
            self.silent = true;
            self.silence_period = Period::of(SILENCE_PERIOD);
            self.silence_period.restart_if_over(now());
            self.screen.clear_bar();
        } else if self.screen.kind() != Kind::Plain {
            let text = format!("silent for {} s, looking for the other side", silence.as_secs());
            if self.detail > Detail::Quiet {
                self.screen.bar(0, None, &text);
            }
            return;
        } else if !self.silence_period.restart_if_over(now()) {
            return;
        }
        self.lines(event);
    }

    /// Tells that the peer is back or has another address. Both ends of the connection may notice it; it is
    /// told once.
    fn back(&mut self, event: &Event, remote: SocketAddr) {
        let moved = self.remote.replace(remote) != Some(remote);
        if std::mem::take(&mut self.silent) || moved {
            self.screen.clear_bar();
            self.lines(event);
        }
    }

    fn lines(&self, event: &Event) {
        for line in lines::of_event(event, self.detail) {
            self.screen.line(&line);
        }
    }

    fn time_left(&self, progress: &Progress) -> Option<Duration> {
        let left = progress.total?.saturating_sub(progress.done);
        let seconds = left as f64 / self.smooth_rate;
        // A forecast of a day or more would mean nothing.
        (left > 0 && seconds < 86_400.0).then(|| Duration::from_secs_f64(seconds))
    }

    /// Copies to the desktop's clipboard and to the terminal's. The terminal's also works over ssh. Old
    /// consoles of Windows would show the escape sequence, and there the desktop's clipboard is always at hand.
    fn to_clipboard(&self, address: &str) {
        if self.screen.is_terminal() {
            if !cfg!(windows) || system::is_over_ssh() {
                self.screen.control(&clipboard::copy_sequence(address));
            }
            let address = address.to_owned();
            // A thread of its own: the run must not wait for a desktop that does not answer.
            std::thread::spawn(move || system::copy(&address));
        }
    }

    /// Writes a message to standard output: unchanged into a pipe, escaped onto a terminal.
    fn message(&self, message: &str) {
        self.screen.clear_bar();
        let mut out = std::io::stdout();
        let _ = if out.is_terminal() {
            lines::quoted(message, terminal_width()).try_for_each(|line| writeln!(out, "{line}"))
        } else {
            out.write_all(message.as_bytes())
        };
        let _ = out.flush();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how often to print is a matter of the console alone"
)]
fn now() -> Instant {
    Instant::now()
}

/// Lets an event pass once per period.
struct Period {
    length: Duration,
    began: Option<Instant>,
}

impl Period {
    const fn of(length: Duration) -> Period {
        Period { length, began: None }
    }

    /// True if the period is over, which restarts it. The first call only starts it: a task that ends soon
    /// needs no lines.
    fn restart_if_over(&mut self, now: Instant) -> bool {
        let is_over = self
            .began
            .is_some_and(|began| now.duration_since(began) >= self.length);
        if is_over || self.began.is_none() {
            self.began = Some(now);
        }
        is_over
    }
}

impl Front for Console {
    fn event(&mut self, event: Event) {
        let wanted = match &event {
            Event::Note(_) => self.detail >= Detail::Verbose,
            Event::Stats(_) => self.detail == Detail::Everything && self.stats_period.restart_if_over(now()),
            _ => true,
        };
        if !wanted {
            return;
        }
        if self.json.is_some() {
            self.json_line(&json::of_event(&event));
        }
        match &event {
            Event::Progress(progress) => return self.progress(progress),
            Event::Of(role, inner) => match (role, &**inner) {
                // Only the sender's side of a demo shows progress, because it knows more about the path.
                (Role::Sender, Event::Progress(progress)) => return self.progress(progress),
                (_, Event::Stats(_)) => return,
                (_, Event::Finished(_)) => self.screen.clear_bar(),
                _ => {}
            },
            Event::Message(message) if self.json.is_none() => return self.message(message),
            // At a terminal, a person sees it among the other lines, above the line being typed. A program
            // gets it alone on standard output.
            Event::Said(line) if self.json.is_none() && !std::io::stdout().is_terminal() => {
                let mut out = std::io::stdout();
                let _ = writeln!(out, "{}", printable(line)).and_then(|()| out.flush());
                return;
            }
            Event::Address {
                address,
                change: Change::First,
            } if self.clipboard == Clipboard::Once => {
                self.to_clipboard(address);
            }
            Event::Connected(link) => self.remote = Some(link.remote),
            Event::Reconnecting { silence } => return self.silence(&event, *silence),
            Event::Reconnected(link) => return self.back(&event, link.remote),
            Event::Finished(_) | Event::Offer(_) | Event::AwaitingAnswer => self.screen.clear_bar(),
            _ => {}
        }
        self.lines(&event);
    }

    fn ask(&mut self, question: Question) -> Pending {
        if question != Question::Say {
            self.json_line(&json::of_question(&question));
        }
        self.prompts.ask(question)
    }
}

/// Columns of this process's standard error, if it is a terminal and reports them.
fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stderr()).map(|(columns, _)| usize::from(columns.0))
}

/// Whether the terminal interprets escape sequences. Only old consoles of Windows do not.
fn follows_escapes() -> bool {
    #[cfg(windows)]
    return system::follow_escapes();
    #[cfg(not(windows))]
    true
}

/// The kind of this process's standard error.
fn stderr_kind() -> Kind {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !std::io::stderr().is_terminal()
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        || !follows_escapes()
    {
        Kind::Plain
    } else if is_set("NO_COLOR") {
        Kind::Mono
    } else {
        Kind::Color
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_progress_is_told_every_few_seconds() {
        let (mut period, start) = (Period::of(PLAIN_PERIOD), now());
        let told: Vec<u64> = (0..50)
            .map(|i| i * 200)
            .filter(|ms| period.restart_if_over(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(told, [3000, 6000, 9000]);
    }
}
