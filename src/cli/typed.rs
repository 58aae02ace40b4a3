//! Input lines from a terminal, or from something else.
//!
//! A terminal is read only while a question is open. What was typed before the question was shown is
//! discarded: an extra Enter must not accept an offer. The lines of a pipe are all meant, one for each
//! question.

use std::io::{BufRead, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;
#[cfg(unix)]
use std::{os::fd::AsFd, sync::Arc};

/// The longest line that is read, in bytes: ten times the longest address, wrapped and quoted.
const LONGEST_LINE: u64 = 8 * 1024;

/// Lines of one paste into a terminal arrive closer together than this. Nobody types that fast.
const PASTE_GAP: Duration = Duration::from_millis(100);

/// How often the reader checks whether its question was taken back.
#[cfg(unix)]
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The result of waiting for a line.
pub(super) enum Next {
    /// A line, without white space around it.
    Line(String),
    TakenBack,
    /// The input has ended.
    End,
}

/// Lines of a user or of a program.
pub(super) enum Lines {
    Terminal(Terminal),
    /// Anything else.
    Pipe(Pipe),
}

impl Lines {
    /// Whether a person types them.
    pub(super) fn are_typed(&self) -> bool {
        match self {
            Lines::Terminal(_) => true,
            Lines::Pipe(_) => false,
        }
    }

    /// Waits for the next line while `is_wanted` returns true.
    pub(super) fn next(&mut self, is_wanted: &dyn Fn() -> bool) -> Next {
        match self {
            Lines::Terminal(terminal) => terminal.next(is_wanted),
            Lines::Pipe(pipe) => pipe.next(is_wanted),
        }
    }

    /// Another line of the same paste, if one arrives at once.
    pub(super) fn more(&mut self) -> Option<String> {
        match self {
            Lines::Terminal(terminal) => terminal.more(),
            Lines::Pipe(_) => None,
        }
    }
}

/// A terminal's device.
#[cfg(unix)]
pub(super) type Device = Arc<dyn AsFd + Send + Sync>;

/// Discards typed input that was not read yet. True if there was a whole line.
#[cfg(unix)]
pub(super) fn forget_typed(device: &Device) -> bool {
    let waiting = rustix::io::ioctl_fionread(device.as_fd()).unwrap_or(0);
    // Fails only if it is not a terminal.
    let _ = rustix::termios::tcflush(device.as_fd(), rustix::termios::QueueSelector::IFlush);
    waiting > 0
}

/// See [`Lines::Terminal`].
#[cfg(unix)]
pub(super) struct Terminal {
    device: Device,
}

#[cfg(unix)]
impl Terminal {
    pub(super) fn new(device: Device) -> Self {
        Terminal { device }
    }

    /// Whether something can be read within `limit`. `None` if the system cannot tell: macOS cannot for
    /// /dev/tty.
    fn is_ready(&self, limit: Duration) -> Option<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut polled = [PollFd::new(&self.device, PollFlags::IN)];
        let timeout = Timespec::try_from(limit).ok()?;
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Some(false),
            Ok(_) if polled[0].revents().contains(PollFlags::NVAL) => None,
            Ok(_) => Some(true),
            Err(_) => None,
        }
    }

    fn next(&mut self, is_wanted: &dyn Fn() -> bool) -> Next {
        while self.is_ready(LOOK_AGAIN) == Some(false) {
            if !is_wanted() {
                return Next::TakenBack;
            }
        }
        if !is_wanted() {
            // The typed line stays for the next question, which discards it if it was typed before that
            // question was shown.
            return Next::TakenBack;
        }
        match self.read() {
            _ if !is_wanted() => Next::TakenBack,
            Some(line) => Next::Line(line),
            None => Next::End,
        }
    }

    fn more(&mut self) -> Option<String> {
        (self.is_ready(PASTE_GAP) == Some(true))
            .then(|| self.read())
            .flatten()
    }

    /// A terminal returns one line at a time, and `None` at its end.
    fn read(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut piece = [0; 1024];
        loop {
            match rustix::io::read(&self.device, &mut piece) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => return None,
                Ok(n) => {
                    line.extend_from_slice(&piece[..n]);
                    if piece[n - 1] == b'\n' || line.len() as u64 >= LONGEST_LINE {
                        return Some(String::from_utf8_lossy(&line).trim().to_owned());
                    }
                }
            }
        }
    }
}

/// A Windows console. It is read while a question is open. A line that ends after its question was taken back
/// answers nothing.
#[cfg(windows)]
pub(super) struct Terminal(std::io::BufReader<Device>);

/// The source of a console's lines.
#[cfg(windows)]
pub(super) type Device = Box<dyn Read + Send>;

#[cfg(windows)]
impl Terminal {
    pub(super) fn new(device: Device) -> Self {
        Terminal(std::io::BufReader::new(device))
    }

    fn next(&mut self, is_wanted: &dyn Fn() -> bool) -> Next {
        match read_line(&mut self.0) {
            _ if !is_wanted() => Next::TakenBack,
            Some(line) => Next::Line(line),
            None => Next::End,
        }
    }

    fn more(&mut self) -> Option<String> {
        (!self.0.buffer().is_empty() || crate::system::is_typed(PASTE_GAP))
            .then(|| read_line(&mut self.0))
            .flatten()
    }
}

/// See [`Lines::Pipe`]. Reading blocks, so another thread reads, at most two lines ahead.
pub(super) struct Pipe {
    lines: Receiver<String>,
    /// A line that arrived for a question that was taken back. The next question gets it.
    spare: Option<String>,
}

impl Pipe {
    pub(super) fn new(mut reader: Box<dyn BufRead + Send>) -> Self {
        let (sender, lines) = mpsc::sync_channel(1);
        // Until the input ends or nobody wants more.
        thread::spawn(move || {
            while let Some(line) = read_line(&mut reader)
                && sender.send(line).is_ok()
            {}
        });
        Pipe { lines, spare: None }
    }

    fn next(&mut self, is_wanted: &dyn Fn() -> bool) -> Next {
        let Some(line) = self.spare.take().or_else(|| self.lines.recv().ok()) else {
            return Next::End;
        };
        if is_wanted() {
            return Next::Line(line);
        }
        self.spare = Some(line);
        Next::TakenBack
    }
}

/// The next line, if there is one, without white space around it.
fn read_line(reader: &mut dyn BufRead) -> Option<String> {
    let mut line = Vec::new();
    match reader.take(LONGEST_LINE).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&line).trim().to_owned()),
    }
}
