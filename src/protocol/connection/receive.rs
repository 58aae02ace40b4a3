//! The way in: from a datagram to frames, and what each frame changes.

use super::{Closed, Connection, Content, Ending, Event, Misbehaviour};
use crate::protocol::Path;
use crate::protocol::mtu::MtuSearch;
use crate::protocol::time::Time;
use crate::protocol::wire::{Ack, Frame, Frames, HEADER_LEN, Header};
use std::time::Duration;

/// Least time between two tales of a move: a peer with two addresses may move between them as often as it likes.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);

impl Connection {
    /// Takes a datagram from `path`, opening it in place. Gives the content bytes it carried, if any.
    ///
    /// Whatever is not a fresh packet sealed by the peer is counted and changes nothing.
    pub fn handle_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) -> Option<Content> {
        let header = Header::decode(datagram).filter(|h| h.connection_id == self.local_id)?;
        if matches!(self.ending, Ending::Over) {
            return None;
        }
        if !self.replay.is_fresh(header.number) {
            self.counters.replays += 1;
            return None;
        }
        let bytes = datagram.len();
        let Some(plaintext) = self.opener.open(&header, datagram) else {
            self.check_forgeries();
            return None;
        };
        let plaintext = &*plaintext;
        let is_data = |frame| matches!(frame, Ok(Frame::Data { .. }));
        if self.our_flow_limit == 0 && Frames::new(plaintext).any(is_data) {
            // No room for it: as if it had been lost. The peer was told, and will send it again.
            return None;
        }
        self.replay.take(header.number);
        self.counters.received += 1;
        self.heard(now);
        self.paths
            .on_packet(now, path, bytes, self.recovery.probe_timeout());

        let mut content = None;
        let (mut eliciting, mut probing) = (false, true);
        for frame in Frames::new(plaintext) {
            match frame {
                Ok(Frame::Data { offset, range }) => {
                    (eliciting, probing) = (true, false);
                    content = Some(Content {
                        offset,
                        range: range.start + HEADER_LEN..range.end + HEADER_LEN,
                    });
                }
                Ok(Frame::Ack(ack)) => {
                    probing = false;
                    self.on_ack(now, &ack);
                }
                Ok(frame) => {
                    eliciting |= !matches!(frame, Frame::Close { .. });
                    probing &= matches!(frame, Frame::PathChallenge(_) | Frame::PathResponse(_));
                    if !self.on_frame(now, path, bytes, frame) {
                        return None;
                    }
                }
                Err(malformed) => {
                    self.misbehaved(Misbehaviour::Malformed(malformed));
                    return None;
                }
            }
        }
        if !probing {
            let probe_timeout = self.recovery.probe_timeout();
            self.paths.on_newest(now, header.number, path, probe_timeout);
        }
        self.follow_peer(now);
        self.ack_tracker.on_packet(now, header.number, bytes, eliciting);
        content
    }

    fn heard(&mut self, now: Time) {
        self.last_heard = now;
        if !self.confirmed {
            self.confirmed = true;
            self.events.push_back(Event::Confirmed);
        }
        if self.silent {
            self.silent = false;
            self.events.push_back(Event::Back);
        }
    }

    /// A frame other than DATA and ACK, from a datagram of `bytes`; false if the packet ends here.
    fn on_frame(&mut self, now: Time, path: Path, bytes: usize, frame: Frame<'_>) -> bool {
        match frame {
            Frame::Ping | Frame::Data { .. } | Frame::Ack(_) => {}
            // Beyond the window: drop the packet unacknowledged, the peer sends it again when there is room.
            Frame::Control { offset, bytes } => return self.control_in.receive(offset, bytes),
            Frame::PathChallenge(token) => self.paths.on_challenge(path, token, bytes),
            Frame::PathResponse(token) => self.paths.on_response(now, path, token),
            Frame::Close { code, reason } => {
                self.on_close(code, reason);
                return false;
            }
        }
        true
    }

    /// Whoever closes goes once the other has answered; whoever is told answers once and goes.
    fn on_close(&mut self, code: u16, reason: &[u8]) {
        match self.ending {
            Ending::Open => {
                let reason = String::from_utf8_lossy(reason).into_owned();
                self.ending = Ending::Answering { code, reason };
            }
            Ending::Closing { .. } => self.end(Closed::ByUs),
            Ending::Answering { .. } | Ending::Over => {}
        }
    }

    /// Moves to another path if the peer is to be found there.
    pub(super) fn follow_peer(&mut self, now: Time) {
        let probe_timeout = self.recovery.probe_timeout();
        if let Some(path) = self.paths.next_move(now, probe_timeout) {
            let began = !self.paths.is_proven();
            self.paths.move_to(now, path);
            self.use_limit(now);
            if began {
                // The handshake ended on several paths, and nothing was sent yet but challenges.
                self.told.0 = path;
                return;
            }
            self.recovery.on_path_change(now);
            self.mtu = MtuSearch::new(now);
            self.use_mtu();
            self.probes_owed = 1;
        }
        let path = self.paths.path();
        if self.move_news().is_some_and(|due| due <= now) {
            self.told = (path, now + NEWS_INTERVAL);
            self.events.push_back(Event::Moved(path));
        }
    }

    /// When the application is to be told of a move.
    pub(super) fn move_news(&self) -> Option<Time> {
        let (known, due) = self.told;
        (known != self.paths.path()).then_some(due)
    }

    fn on_ack(&mut self, now: Time, ack: &Ack<'_>) {
        let (recovery, mut cargo) = self.recovery_and_cargo(now);
        let result = recovery.on_ack(now, ack, |fate, packet| cargo.settle(fate, packet));
        if cargo.finish() {
            self.use_mtu();
        }
        let news = match result {
            Ok(news) => news,
            Err(false_ack) => return self.misbehaved(false_ack.into()),
        };
        self.peer_flow_limit = ack.flow_limit;
        if news {
            self.probes_owed = 0;
        }
        self.send_buffer.tidy();
    }
}
