//! Questions to the user. Each is answered by one line from a terminal or a pipe.
//!
//! Reading blocks, so another thread reads the lines and matches them to questions. It reads nothing before
//! the first question.

use std::io::{BufReader, IsTerminal};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::lines::{self, Line};
use super::screen::Screen;
use super::typed::Terminal;
#[cfg(unix)]
use super::typed::{Device, forget_typed};
use super::typed::{Lines, Next, Pipe};
use crate::app::event::{Answer, Cancelled, Pending, Question, Reply};
use crate::app::offered::{DefaultAnswer, Listing};

/// Lines of a list shown at once. They fit on a usual terminal, with the question below.
const PAGE: usize = 20;

/// Where answers come from.
pub(super) enum Input {
    /// Standard input.
    Stdin,
    /// The controlling terminal, because standard input carries the payload.
    Terminal,
    /// These lines.
    #[cfg(test)]
    Given(&'static str),
    #[cfg(all(test, unix))]
    Device(Device),
}

/// A question, and where its answer goes. The asker takes it back by dropping its [`Pending`].
pub(super) struct Ask {
    question: Question,
    reply: Mutex<Option<Reply>>,
}

impl Ask {
    /// Whether the asker still waits for the answer.
    pub(super) fn is_open(&self) -> bool {
        self.reply().as_ref().is_some_and(|reply| !reply.is_closed())
    }

    fn reply(&self) -> std::sync::MutexGuard<'_, Option<Reply>> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Result<Answer, Cancelled>) {
        if let Some(reply) = self.reply().take() {
            // The asker may have stopped waiting.
            let _ = reply.send(answer);
        }
    }
}

/// Asks the user.
pub(super) struct Prompts {
    screen: Screen,
    input: Option<Input>,
    asks: Option<Sender<Arc<Ask>>>,
    /// The terminal's device. A person may type on it before the question is shown.
    #[cfg(unix)]
    device: Option<Device>,
    /// Whether input is a Windows console, for the same reason.
    #[cfg(windows)]
    is_console: bool,
}

impl Prompts {
    pub(super) fn new(input: Input, screen: Screen) -> Prompts {
        Prompts {
            screen,
            input: Some(input),
            asks: None,
            #[cfg(unix)]
            device: None,
            #[cfg(windows)]
            is_console: false,
        }
    }

    /// Shows the question. Returns the pending answer.
    pub(super) fn ask(&mut self, question: Question) -> Pending {
        let (reply, pending) = Pending::new();
        let ask = Arc::new(Ask {
            question,
            reply: Mutex::new(Some(reply)),
        });
        if let Some(input) = self.input.take() {
            match self.open(input) {
                Ok(lines) => self.asks = Some(start(lines, self.screen.clone())),
                Err(cancelled) => ask.answer(Err(cancelled)),
            }
        }
        // In a chat people type whenever they like.
        if ask.question != Question::Say {
            self.forget_typed_ahead();
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

    fn open(&mut self, input: Input) -> Result<Lines, Cancelled> {
        #[cfg(unix)]
        {
            self.device = match &input {
                Input::Stdin if std::io::stdin().is_terminal() => Some(Arc::new(std::io::stdin())),
                Input::Terminal => Some(Arc::new(open_terminal()?)),
                #[cfg(test)]
                Input::Device(device) => Some(device.clone()),
                _ => None,
            };
            if let Some(device) = &self.device {
                return Ok(Lines::Terminal(Terminal::new(device.clone())));
            }
        }
        #[cfg(windows)]
        {
            let console: Option<super::typed::Device> = match &input {
                Input::Stdin if std::io::stdin().is_terminal() => Some(Box::new(std::io::stdin())),
                Input::Terminal => Some(Box::new(open_terminal()?)),
                _ => None,
            };
            self.is_console = console.is_some();
            if let Some(console) = console {
                return Ok(Lines::Terminal(Terminal::new(console)));
            }
        }
        Ok(Lines::Pipe(Pipe::new(match input {
            Input::Stdin => Box::new(BufReader::new(std::io::stdin())),
            Input::Terminal => Box::new(BufReader::new(open_terminal()?)),
            #[cfg(test)]
            Input::Given(text) => Box::new(text.as_bytes()),
            #[cfg(all(test, unix))]
            Input::Device(_) => return Err(Cancelled::NoTerminal),
        })))
    }

    /// Discards what was typed before a question was shown, so that it never answers the question. If a paste
    /// came too early, the user is told that it is lost.
    fn forget_typed_ahead(&self) {
        #[cfg(unix)]
        let forgotten = self.device.as_ref().is_some_and(forget_typed);
        #[cfg(windows)]
        let forgotten = self.is_console && crate::system::forget_typed();
        if forgotten {
            let text = "What was typed before this question was thrown away.".to_owned();
            self.screen.line(&Line::new(text));
        }
    }
}

/// The controlling terminal, for when standard input is something else.
fn open_terminal() -> Result<std::fs::File, Cancelled> {
    let path = if cfg!(windows) { "CONIN$" } else { "/dev/tty" };
    #[expect(
        clippy::disallowed_methods,
        reason = "the terminal is the user, not a file of a transfer"
    )]
    std::fs::File::open(path).map_err(|_| Cancelled::NoTerminal)
}

fn start(lines: Lines, screen: Screen) -> Sender<Arc<Ask>> {
    let (sender, asks) = mpsc::channel();
    thread::spawn(move || Desk { lines, screen }.run(&asks));
    sender
}

/// Matches lines to questions.
struct Desk {
    lines: Lines,
    screen: Screen,
}

impl Desk {
    fn run(mut self, asks: &Receiver<Arc<Ask>>) {
        while let Ok(ask) = asks.recv() {
            self.serve(&ask);
        }
    }

    /// Gets an answer to one question, unless the question is taken back.
    fn serve(&mut self, ask: &Arc<Ask>) {
        loop {
            let line = match self.lines.next(&|| ask.is_open()) {
                Next::Line(line) => line,
                Next::TakenBack => return,
                Next::End => {
                    self.screen.abandoned();
                    ask.answer(Err(Cancelled::EndOfInput));
                    return;
                }
            };
            let line = self.whole_paste(&ask.question, line);
            if let Some(list) = wants_list(&ask.question, &line) {
                self.show(list, ask);
                continue;
            }
            match interpret(&ask.question, &line) {
                Some(answer) => {
                    self.screen.answered();
                    ask.answer(Ok(answer));
                    return;
                }
                None => self.screen.prompt(ask, &again(&ask.question)),
            }
        }
    }

    /// Shows a whole list, page by page if a person reads it, and asks again.
    fn show(&mut self, list: &Listing, ask: &Arc<Ask>) {
        self.screen.answered();
        let mut left = list.0.len() as usize;
        for (count, line) in list.lines().enumerate() {
            if self.lines.are_typed() && count > 0 && count % PAGE == 0 {
                self.screen
                    .prompt(ask, &format!("{left} more; Enter goes on, q ends the list "));
                let word = self.lines.next(&|| ask.is_open());
                self.screen.answered();
                let goes_on = matches!(word, Next::Line(word) if !word.eq_ignore_ascii_case("q"));
                if !goes_on {
                    break;
                }
            }
            left -= 1;
            self.screen.line(&Line::new(line));
        }
        self.screen.prompt(ask, &lines::question(&ask.question));
    }

    /// Joins the lines of one paste: a chat may wrap an address, so that it arrives as several lines at once.
    fn whole_paste(&mut self, question: &Question, first: String) -> String {
        let mut whole = first;
        if question.is_text() {
            while let Some(more) = self.lines.more() {
                whole.push('\n');
                whole.push_str(&more);
            }
        }
        whole
    }
}

/// The list to show, if the line asks for one.
fn wants_list<'a>(question: &'a Question, line: &str) -> Option<&'a Listing> {
    let (Question::Accept(consent) | Question::Resume(consent)) = question else {
        return None;
    };
    let line = line.trim().to_ascii_lowercase();
    consent.list.as_ref().filter(|_| line == "l" || line == "list")
}

/// The answer that a line means, or `None` if it is not an answer.
fn interpret(question: &Question, line: &str) -> Option<Answer> {
    let line = line.trim();
    match question {
        // An empty line of a chat is an answer, too. It is ignored.
        Question::Say => Some(Answer::Text(line.to_owned())),
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

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;
    use crate::app::event::Consent;
    use crate::cli::screen::Kind;

    /// A user at a pseudo-terminal.
    struct User {
        keyboard: OwnedFd,
        device: Device,
        prompts: Prompts,
    }

    impl User {
        fn new() -> User {
            let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&keyboard).unwrap();
            unlockpt(&keyboard).unwrap();
            let name = ptsname(&keyboard, Vec::new()).unwrap();
            let device = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
            let device: Device = Arc::new(device);
            let screen = Screen::new(Kind::Plain, Box::new(std::io::sink()));
            User {
                keyboard,
                prompts: Prompts::new(Input::Device(device.clone()), screen),
                device,
            }
        }

        fn types(&self, text: &str) {
            assert_eq!(
                rustix::io::write(&self.keyboard, text.as_bytes()).unwrap(),
                text.len()
            );
        }

        /// Types lines before anything asks for them, and waits until the terminal holds them.
        fn types_ahead(&self, text: &str) {
            self.types(text);
            let holds = || rustix::io::ioctl_fionread(&self.device).unwrap();
            while holds() < text.len() as u64 {
                std::thread::yield_now();
            }
        }
    }

    fn consent(what: &str) -> Consent {
        Consent {
            what: what.into(),
            default: DefaultAnswer::Yes,
            list: None,
        }
    }

    fn accept() -> Question {
        Question::Accept(consent("vm.img"))
    }

    #[tokio::test]
    async fn what_was_typed_before_a_question_never_answers_it() {
        for question in [
            accept(),
            Question::ConfirmWords("a b".into()),
            Question::Resume(consent("a")),
        ] {
            let mut user = User::new();
            for _ in 0..20 {
                user.types_ahead("y\n\nyes\n");
                let pending = user.prompts.ask(question.clone());
                user.types("n\n");
                assert_eq!(pending.await, Ok(Answer::No), "{question:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_early_paste_of_an_address_is_thrown_away_and_a_wrapped_one_is_one_answer() {
        let mut user = User::new();
        user.types_ahead("203.0.113.7:1\n");
        let pending = user.prompts.ask(Question::PeerAddress);
        user.types("203.0.113.8:2/abc\ndef\n");
        assert_eq!(pending.await, Ok(Answer::Text("203.0.113.8:2/abc\ndef".into())));
        // The prompt thread waited for the gap after the paste, so nobody is reading now.
        user.types_ahead("y\n");
        let pending = user.prompts.ask(accept());
        user.types("n\n");
        assert_eq!(pending.await, Ok(Answer::No));
    }

    #[tokio::test]
    async fn every_line_of_a_chat_is_said_as_it_is_those_typed_early_too() {
        let mut user = User::new();
        drop(user.prompts.ask(accept()));
        user.types_ahead("hello\n\ny\n");
        for line in ["hello", "", "y"] {
            let pending = user.prompts.ask(Question::Say);
            assert_eq!(pending.await, Ok(Answer::Text(line.into())));
        }
    }

    #[tokio::test]
    async fn a_question_that_is_taken_back_takes_no_line_with_it() {
        let mut user = User::new();
        drop(user.prompts.ask(accept()));
        let pending = user.prompts.ask(accept());
        user.types("maybe\ny\n");
        assert_eq!(pending.await, Ok(Answer::Yes));
    }
}
