//! The way in: from a datagram to frames, and what each frame changes.

use super::{Challenge, Closed, Connection, Content, Ending, Event, MAX_CHALLENGES};
use crate::protocol::Path;
use crate::protocol::time::Time;
use crate::protocol::wire::{Ack, Frame, Frames, HEADER_LEN, Header};

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
        if self.our_credit == 0 && plaintext.first() == Some(&crate::protocol::wire::frame::DATA) {
            // No room for it: as if it had been lost. The peer was told, and will send it again.
            return None;
        }
        self.replay.take(header.number);
        self.counters.received += 1;
        self.heard(now, path);

        let mut content = None;
        let mut eliciting = false;
        for frame in Frames::new(plaintext) {
            match frame {
                Ok(Frame::Data { offset, range }) => {
                    eliciting = true;
                    content = Some(Content {
                        offset,
                        range: range.start + HEADER_LEN..range.end + HEADER_LEN,
                    });
                }
                Ok(Frame::Ack(ack)) => self.on_ack(now, &ack),
                Ok(frame) => {
                    eliciting |= !matches!(frame, Frame::Close { .. });
                    if !self.on_frame(now, path, frame) {
                        return None;
                    }
                }
                Err(malformed) => {
                    self.misbehaved(malformed.0);
                    return None;
                }
            }
        }
        self.received.on_packet(now, header.number, bytes, eliciting);
        content
    }

    fn heard(&mut self, now: Time, path: Path) {
        self.last_heard = now;
        if !self.confirmed {
            self.confirmed = true;
            // The handshake may have ended on several paths at once; the peer's first packet shows its choice.
            self.path = path;
            self.events.push_back(Event::Confirmed);
        }
        if self.silent {
            self.silent = false;
            self.events.push_back(Event::Back);
        }
        if path != self.path && !self.challenges.iter().any(|c| c.path == path) {
            // The peer shows up elsewhere: ask there before anything is sent there.
            self.challenge(path);
        }
    }

    /// Asks for an answer on `path`.
    pub(super) fn challenge(&mut self, path: Path) -> u64 {
        let token = self.tokens.next_u64();
        if self.challenges.len() >= MAX_CHALLENGES {
            self.challenges.pop_front();
        }
        self.challenges.push_back(Challenge { path, token });
        if self.answers.len() < MAX_CHALLENGES {
            self.answers.push_back(Challenge { path, token: 0 });
        }
        token
    }

    /// A frame other than DATA and ACK; false if the packet ends here.
    fn on_frame(&mut self, now: Time, path: Path, frame: Frame<'_>) -> bool {
        match frame {
            Frame::Ping | Frame::Data { .. } | Frame::Ack(_) => {}
            // Beyond the window: drop the packet unacknowledged, the peer sends it again when there is room.
            Frame::Control { offset, bytes } => return self.control_in.receive(offset, bytes),
            Frame::PathChallenge(token) => {
                if self.answers.len() < MAX_CHALLENGES {
                    self.answers.push_back(Challenge { path, token });
                }
            }
            Frame::PathResponse(token) => {
                if self.challenges.iter().any(|c| c.path == path && c.token == token) {
                    self.challenges.clear();
                    self.move_to(now, path);
                }
            }
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

    fn move_to(&mut self, now: Time, path: Path) {
        if path == self.path {
            return;
        }
        self.path = path;
        self.recovery.on_path_change(now);
        self.mtu.fall_back(now);
        self.use_mtu();
        self.probes_owed = 1;
        self.events.push_back(Event::Moved(path));
    }

    fn on_ack(&mut self, now: Time, ack: &Ack<'_>) {
        let (recovery, mut cargo) = self.recovery_and_cargo(now);
        let result = recovery.on_ack(now, ack, |fate, packet| cargo.settle(fate, packet));
        if cargo.finish() {
            self.use_mtu();
        }
        let Ok(news) = result else {
            self.misbehaved("an ACK of a packet that was never sent");
            return;
        };
        self.peer_credit = ack.credit;
        if news {
            self.probes_owed = 0;
        }
        self.outgoing.tidy();
    }
}
