//! A chat: lines both ways over the control stream. docs/protocol.md draws them.

use tokio::sync::mpsc::UnboundedSender;

use super::close;
use super::command::{Command, Notice};
use super::options::Common;
use super::outcome::{Failure, Summary};
use super::run;
use super::session::{End, Side, flush_control};
use crate::app::event::Front;
use crate::protocol::connection::{Closed, Connection};
use crate::protocol::time::Time;
use crate::rendezvous::errand::Errand;

/// The longest line, in bytes: as long as a prompt reads.
const LONGEST: usize = 8 * 1024;
/// The most lines told and not yet shown. Further lines of the peer stay in its stream, so flow control holds
/// it back.
const MOST_UNHEARD: usize = 64;

/// Chats with one peer until either side ends it.
///
/// # Errors
/// Whatever kept the two from connecting.
pub(crate) async fn run(common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    run::run(Errand::Chat, &common, false, front, |parts| {
        Ok(Box::new(Chatting::new(parts.notices)))
    })
    .await
}

struct Chatting {
    notices: UnboundedSender<Notice>,
    out: Vec<u8>,
    inbox: Vec<u8>,
    unheard: usize,
    peer_ended: bool,
    verdict: Option<Result<Summary, Failure>>,
}

impl Chatting {
    fn new(notices: UnboundedSender<Notice>) -> Self {
        Chatting {
            notices,
            out: Vec::new(),
            inbox: Vec::new(),
            unheard: 0,
            peer_ended: false,
            verdict: None,
        }
    }

    fn tell(&self, notice: Notice) {
        // The receiver goes away only when the run ends.
        let _ = self.notices.send(notice);
    }

    /// Takes what the peer said. Returns `Ok(true)` if the peer ended the chat.
    fn hear(&mut self, connection: &mut Connection) -> Result<bool, ()> {
        while self.unheard < MOST_UNHEARD && !self.peer_ended {
            let Some(text) = first_line(&self.inbox)? else {
                if connection.read_control(&mut self.inbox) == 0 {
                    return Ok(false);
                }
                continue;
            };
            if text.is_empty() {
                return Ok(true);
            }
            let text = text.to_owned();
            self.inbox.drain(..2 + text.len());
            self.unheard += 1;
            self.tell(Notice::Said(text));
        }
        Ok(false)
    }
}

/// The first line, once all of it has come. An error if it is none.
fn first_line(inbox: &[u8]) -> Result<Option<&str>, ()> {
    let Some((length, rest)) = inbox.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > LONGEST {
        return Err(());
    }
    let line = rest.get(..length).map(std::str::from_utf8);
    line.transpose().map_err(|_| ())
}

impl Side for Chatting {
    fn pump(&mut self, now: Time, connection: &mut Connection) {
        if self.verdict.is_some() {
            return;
        }
        if !self.out.is_empty() {
            flush_control(connection, &mut self.out, |_| false);
            if self.out.is_empty() {
                self.tell(Notice::Passed);
            }
        }
        match self.hear(connection) {
            Ok(ended) => {
                self.peer_ended |= ended;
                // What our user said before must still arrive.
                if self.peer_ended && self.out.is_empty() && connection.control_arrived() {
                    connection.close(now, close::DONE, "");
                    self.verdict = Some(Ok(Summary::default()));
                }
            }
            Err(()) => {
                connection.close(now, close::OTHER, "a problem with the protocol");
                self.verdict = Some(Err(Failure::other(
                    "the other side broke the protocol (a line that is none)",
                    "run the same version of p2pcopy on both sides",
                )));
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Say(mut line) => {
                let mut end = line.len().min(LONGEST);
                while !line.is_char_boundary(end) {
                    end -= 1;
                }
                line.truncate(end);
                // A line of length zero ends the chat.
                self.out.extend(u16::try_from(end).unwrap_or(0).to_be_bytes());
                self.out.extend(line.as_bytes());
            }
            Command::Heard => self.unheard = self.unheard.saturating_sub(1),
            _ => {}
        }
    }

    fn on_end(&mut self, end: &End) -> Option<Result<Summary, Failure>> {
        let is_done = matches!(
            end,
            End::Closed(Closed::ByPeer {
                code: close::DONE,
                ..
            })
        );
        let done = is_done.then(|| Ok(Summary::default()));
        self.verdict.take().or(done)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::protocol::Path;
    use crate::protocol::congestion::udt::Udt;
    use crate::protocol::connection::Config;
    use crate::protocol::handshake::Cipher;

    struct Pair {
        now: Time,
        connections: [Connection; 2],
        sides: [Chatting; 2],
        told: [UnboundedReceiver<Notice>; 2],
    }

    fn connection(number: u8, now: Time) -> Connection {
        let (own, peer) = (number, 1 - number);
        let config = Config {
            role: if number == 0 {
                crate::protocol::Role::Sender
            } else {
                crate::protocol::Role::Receiver
            },
            cipher: Cipher::ChaCha20Poly1305,
            send_secret: [own; 32].into(),
            receive_secret: [peer; 32].into(),
            local_id: u32::from(own),
            remote_id: u32::from(peer),
            path: Path {
                local: 0,
                remote: std::net::SocketAddr::from(([203, 0, 113, 7], 1)),
            },
            handshake_rtt: None,
            seed: [own; 32].into(),
            send_blocks: 1,
            limit: None,
        };
        Connection::new(config, Box::new(Udt::new(now, 1200, None, 1)), now)
    }

    impl Pair {
        fn new() -> Pair {
            let now = Time::ZERO;
            let channels = [unbounded_channel(), unbounded_channel()];
            let [(a, a_told), (b, b_told)] = channels;
            Pair {
                now,
                connections: [connection(0, now), connection(1, now)],
                sides: [Chatting::new(a), Chatting::new(b)],
                told: [a_told, b_told],
            }
        }

        /// Runs both sides for `time`.
        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            let mut buf = Vec::new();
            while self.now < end {
                for number in 0..2 {
                    self.connections[number].handle_timeout(self.now);
                    self.sides[number].pump(self.now, &mut self.connections[number]);
                    while let Some(out) = self.connections[number].poll_transmit(self.now, &mut buf, 8) {
                        for datagram in buf.chunks_mut(out.segment) {
                            let _ = self.connections[1 - number]
                                .handle_datagram(self.now, out.path, out.ecn, datagram);
                        }
                    }
                }
                self.now += Duration::from_millis(1);
            }
        }

        fn heard(&mut self, number: usize) -> Vec<String> {
            let said = |notice| match notice {
                Notice::Said(text) => Some(text),
                _ => None,
            };
            std::iter::from_fn(|| self.told[number].try_recv().ok())
                .filter_map(said)
                .collect()
        }
    }

    #[test]
    fn lines_that_nobody_has_read_hold_the_peer_back() {
        let mut pair = Pair::new();
        for number in 0..1000 {
            pair.sides[0].on_command(Command::Say(format!("line {number}")));
        }
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.heard(1).len(), MOST_UNHEARD);
        assert!(pair.sides[1].inbox.len() < 16 * 1000);
        for _ in 0..10 {
            pair.sides[1].on_command(Command::Heard);
        }
        pair.run(Duration::from_millis(10));
        let next: Vec<String> = (64..74).map(|number| format!("line {number}")).collect();
        assert_eq!(pair.heard(1), next);
    }

    #[test]
    fn what_is_no_line_ends_the_chat() {
        let long = [&(LONGEST as u16 + 1).to_be_bytes()[..], &[b'a'; LONGEST + 1]].concat();
        for bytes in [&[0, 1, 0xff][..], &long] {
            let mut pair = Pair::new();
            pair.sides[0].out.extend(bytes);
            pair.run(Duration::from_secs(1));
            assert!(matches!(pair.sides[1].verdict, Some(Err(_))));
            assert!(pair.heard(1).is_empty());
        }
    }

    #[test]
    fn the_end_comes_after_all_that_was_said_and_both_end_well() {
        let mut pair = Pair::new();
        pair.sides[0].on_command(Command::Say("first".into()));
        pair.sides[1].on_command(Command::Say("second".into()));
        pair.sides[0].on_command(Command::Say(String::new()));
        pair.run(Duration::from_secs(1));
        assert_eq!(
            (pair.heard(1), pair.heard(0)),
            (vec!["first".into()], vec!["second".into()])
        );
        assert_eq!(pair.sides[1].verdict, Some(Ok(Summary::default())));
        let Some(crate::protocol::connection::Event::Closed(closed)) =
            std::iter::from_fn(|| pair.connections[0].poll_event()).last()
        else {
            panic!("it was closed");
        };
        let ended = pair.sides[0].on_end(&End::Closed(closed));
        assert!(matches!(ended, Some(Ok(_))), "{ended:?}");
    }
}
