//! The receiving half: turns a datagram into frames, and applies each frame.

use std::time::Duration;

use super::{Closed, Connection, Content, Ending, Event, Misbehaviour};
use crate::protocol::Path;
use crate::protocol::ecn::Ecn;
use crate::protocol::mtu::MtuSearch;
use crate::protocol::time::Time;
use crate::protocol::wire::{Ack, Frame, Frames, HEADER_LEN, Header};

/// The least time between two reports of a move: a peer with two addresses may move between them as often as
/// it likes.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);

impl Connection {
    /// Takes a datagram from `path` that came with `ecn` and decrypts it in place. Returns the content bytes it carried, if
    /// any.
    ///
    /// A datagram that is not a new packet sealed by the peer is counted and changes nothing else.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        path: Path,
        ecn: Ecn,
        datagram: &mut [u8],
    ) -> Option<Content> {
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
            // There is no room, so the packet counts as lost. The peer knows the limit and will send it
            // again.
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
        self.ack_tracker
            .on_packet(now, header.number, ecn, bytes, eliciting);
        content
    }

    fn heard(&mut self, now: Time) {
        self.last_heard = now;
        self.recovery.on_heard();
        if !self.confirmed {
            self.confirmed = true;
            self.events.push_back(Event::Confirmed);
        }
        if self.silent {
            self.silent = false;
            self.events.push_back(Event::Back);
        }
    }

    /// Handles a frame other than DATA and ACK, from a datagram of `bytes`. Returns false if the rest of the
    /// packet must be dropped.
    fn on_frame(&mut self, now: Time, path: Path, bytes: usize, frame: Frame<'_>) -> bool {
        match frame {
            Frame::Ping | Frame::Data { .. } | Frame::Ack(_) => {}
            // The bytes lie beyond the window: the packet is dropped unacknowledged, and the peer sends it
            // again when there is room.
            Frame::Control { offset, bytes } => return self.control_in.receive(offset, bytes),
            Frame::PathChallenge(token) => self.paths.on_challenge(path, token, bytes),
            Frame::PathResponse(token) => {
                let probe_timeout = self.recovery.probe_timeout();
                self.paths.on_response(now, path, token, probe_timeout);
            }
            Frame::Close { code, reason } => {
                self.on_close(code, reason);
                return false;
            }
        }
        true
    }

    /// The end that closes first ends when the other has answered. The other answers and ends.
    fn on_close(&mut self, code: u16, reason: &[u8]) {
        match self.ending {
            Ending::Open => {
                let reason = String::from_utf8_lossy(reason).into_owned();
                self.ending = Ending::Answering {
                    code,
                    reason,
                    copies: super::CLOSE_ANSWERS,
                };
            }
            Ending::Closing { .. } => self.end(Closed::ByUs),
            Ending::Answering { .. } | Ending::Over => {}
        }
    }

    /// Moves to another path if the peer is there now.
    pub(super) fn follow_peer(&mut self, now: Time) {
        if let Some(path) = self.paths.next_move(now) {
            let began = !self.paths.is_proven();
            self.paths.move_to(now, path);
            self.use_limit(now);
            if began {
                // The handshake ended on several paths, and only challenges were sent so far.
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

    /// When to report a move to the application.
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
