//! Questions to the user, answered by lines of a terminal or of a pipe, one line each.
//!
//! Reading blocks, so it happens on a thread of its own; another matches lines to questions. Nothing is read
//! before the first question, and never more than two lines ahead.

use super::lines::{self, Line};
use super::screen::Screen;
use crate::app::event::{Answer, Cancelled, Pending, Question, Reply};
use crate::app::offered::{DefaultAnswer, Listing};
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The longest line that is read, in bytes: ten times the longest address, wrapped and quoted.
const LONGEST_LINE: u64 = 8 * 1024;

/// Lines of one paste into a terminal arrive closer together than this; nobody types so fast.
const PASTE_GAP: Duration = Duration::from_millis(100);

/// Lines of a list shown at once: they fit the usual terminal, with the question below.
const PAGE: usize = 20;

/// Where answers come from.
pub(super) enum Input {
    /// Standard input.
    Stdin,
    /// The controlling terminal, because standard input carries the payload.
    Terminal,
    /// Given lines.
    #[cfg(test)]
    Given(&'static str),
}

/// A question on its way, and whom to answer. Taken back when the asker drops its [`Pending`].
pub(super) struct Ask {
    question: Question,
    reply: Mutex<Option<Reply>>,
}

impl Ask {
    /// Whether anybody still wants the answer.
    pub(super) fn is_open(&self) -> bool {
        self.reply().as_ref().is_some_and(|reply| !reply.is_closed())
    }

    fn reply(&self) -> std::sync::MutexGuard<'_, Option<Reply>> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Result<Answer, Cancelled>) {
        if let Some(reply) = self.reply().take() {
            // Nobody may be waiting any more.
            let _ = reply.send(answer);
        }
    }
}

/// The user, as somebody to ask.
pub(super) struct Prompts {
    screen: Screen,
    input: Option<Input>,
    asks: Option<Sender<Arc<Ask>>>,
    typed: Typed,
}

/// Whether answers are typed by a person, who may have typed ahead of the question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    Yes,
    No,
}

impl Prompts {
    pub(super) fn new(input: Input, screen: Screen) -> Prompts {
        Prompts {
            screen,
            input: Some(input),
            asks: None,
            typed: Typed::No,
        }
    }

    /// Shows the question and gives back the answer to wait for.
    pub(super) fn ask(&mut self, question: Question) -> Pending {
        let (reply, pending) = Pending::new();
        let ask = Arc::new(Ask {
            question,
            reply: Mutex::new(Some(reply)),
        });
        if let Some(input) = self.input.take() {
            match open(input) {
                Ok((reader, typed)) => {
                    self.typed = typed;
                    self.asks = Some(start(reader, typed, self.screen.clone()));
                }
                Err(cancelled) => ask.answer(Err(cancelled)),
            }
        }
        if self.typed == Typed::Yes && !ask.question.is_text() {
            drop_typed_ahead();
        }
        match &self.asks {
            Some(asks) => {
                self.screen.prompt(&ask, &lines::question(&ask.question));
                if asks.send(ask.clone()).is_err() {
                    self.screen.abandoned();
                    ask.answer(Err(Cancelled::EndOfInput));
                }
            }
            None => ask.answer(Err(Cancelled::NoTerminal)),
        }
        pending
    }
}

fn open(input: Input) -> Result<(Box<dyn BufRead + Send>, Typed), Cancelled> {
    match input {
        Input::Stdin => {
            let typed = if std::io::stdin().is_terminal() {
                Typed::Yes
            } else {
                Typed::No
            };
            Ok((Box::new(BufReader::new(std::io::stdin())), typed))
        }
        Input::Terminal => {
            let path = if cfg!(windows) { "CONIN$" } else { "/dev/tty" };
            #[expect(
                clippy::disallowed_methods,
                reason = "the terminal is the user, not a file of a transfer"
            )]
            let terminal = std::fs::File::open(path).map_err(|_| Cancelled::NoTerminal)?;
            Ok((Box::new(BufReader::new(terminal)), Typed::Yes))
        }
        #[cfg(test)]
        Input::Given(text) => Ok((Box::new(text.as_bytes()), Typed::No)),
    }
}

/// Throws away what was typed before the question was shown: an Enter too many must not accept an offer.
fn drop_typed_ahead() {
    #[cfg(unix)]
    if std::io::stdin().is_terminal() {
        // Nothing depends on it: the threads drop read lines as well.
        let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
    }
}

fn start(reader: Box<dyn BufRead + Send>, typed: Typed, screen: Screen) -> Sender<Arc<Ask>> {
    let (line_sender, line_receiver) = mpsc::sync_channel(1);
    let (ask_sender, ask_receiver) = mpsc::channel();
    thread::spawn(move || read_lines(reader, &line_sender));
    thread::spawn(move || {
        Desk {
            lines: line_receiver,
            typed,
            screen,
            spare: None,
        }
        .run(&ask_receiver)
    });
    ask_sender
}

/// Reads lines until the input or the interest ends.
fn read_lines(mut reader: Box<dyn BufRead + Send>, lines: &SyncSender<String>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_)
                if lines
                    .send(String::from_utf8_lossy(&line).trim().to_owned())
                    .is_err() =>
            {
                return;
            }
            Ok(_) => {}
        }
    }
}

/// Matches lines to questions.
struct Desk {
    lines: Receiver<String>,
    typed: Typed,
    screen: Screen,
    /// A line that came for a question taken back; a pipe's lines are not lost for that.
    spare: Option<String>,
}

impl Desk {
    fn run(mut self, asks: &Receiver<Arc<Ask>>) {
        let mut next = None;
        while let Some(ask) = next.take().or_else(|| asks.recv().ok()) {
            next = self.serve(ask, asks);
        }
    }

    /// Answers one question; gives back the one that replaced it, if it was taken back.
    fn serve(&mut self, ask: Arc<Ask>, asks: &Receiver<Arc<Ask>>) -> Option<Arc<Ask>> {
        if self.typed == Typed::Yes && !ask.question.is_text() {
            while self.lines.try_recv().is_ok() {}
        }
        loop {
            let line = match self.spare.take() {
                Some(line) => line,
                None => match self.lines.recv() {
                    Ok(line) => line,
                    Err(_) => {
                        self.screen.abandoned();
                        ask.answer(Err(Cancelled::EndOfInput));
                        return None;
                    }
                },
            };
            if !ask.is_open() {
                // A person's line belongs to the question on the screen; a pipe's to the next one, whatever it is.
                let next = asks.try_recv().ok();
                if self.typed == Typed::No || next.as_ref().is_some_and(|ask| ask.question.is_text()) {
                    self.spare = Some(line);
                }
                return next;
            }
            let line = self.whole_paste(&ask.question, line);
            if let Some(list) = wants_list(&ask.question, &line) {
                self.show(list, &ask);
                continue;
            }
            match interpret(&ask.question, &line) {
                Some(answer) => {
                    self.screen.answered();
                    ask.answer(Ok(answer));
                    return None;
                }
                None => self.screen.prompt(&ask, &again(&ask.question)),
            }
        }
    }

    /// Shows a whole list, to a person page by page, and asks again.
    fn show(&mut self, list: &Listing, ask: &Arc<Ask>) {
        self.screen.answered();
        let mut left = list.0.len() as usize;
        for (count, line) in list.lines().enumerate() {
            if self.typed == Typed::Yes && count > 0 && count % PAGE == 0 {
                self.screen
                    .prompt(ask, &format!("{left} more; Enter goes on, q ends the list "));
                let word = self.lines.recv();
                self.screen.answered();
                if !ask.is_open() || word.is_ok_and(|word| word.eq_ignore_ascii_case("q")) {
                    break;
                }
            }
            left -= 1;
            self.screen.line(&Line::new(line));
        }
        self.screen.prompt(ask, &lines::question(&ask.question));
    }

    /// An address that was wrapped by a chat arrives as several lines at once when it is pasted.
    fn whole_paste(&self, question: &Question, first: String) -> String {
        let mut whole = first;
        if self.typed == Typed::Yes && question.is_text() {
            while let Ok(more) = self.lines.recv_timeout(PASTE_GAP) {
                whole.push(' ');
                whole.push_str(&more);
            }
        }
        whole
    }
}

/// The list to show, if that is what a line asks for.
fn wants_list<'a>(question: &'a Question, line: &str) -> Option<&'a Listing> {
    let (Question::Accept(consent) | Question::Resume(consent)) = question else {
        return None;
    };
    let line = line.trim().to_ascii_lowercase();
    consent.list.as_ref().filter(|_| line == "l" || line == "list")
}

/// What a line means as an answer; nothing if it is none.
fn interpret(question: &Question, line: &str) -> Option<Answer> {
    let line = line.trim();
    match question {
        question if question.is_text() && line.is_empty() => None,
        question if question.is_text() => Some(Answer::Text(line.to_owned())),
        question => match line.to_ascii_lowercase().as_str() {
            "y" | "yes" => Some(Answer::Yes),
            "n" | "no" => Some(Answer::No),
            "" if matches!(question, Question::ConfirmWords(_)) => Some(Answer::No),
            "" => match question {
                Question::Accept(consent) | Question::Resume(consent)
                    if consent.default == DefaultAnswer::No =>
                {
                    Some(Answer::No)
                }
                _ => Some(Answer::Yes),
            },
            _ => None,
        },
    }
}

fn again(question: &Question) -> String {
    match question {
        question if question.is_text() => lines::question(question),
        question => format!("Please answer y or n. {}", lines::question(question)),
    }
}
