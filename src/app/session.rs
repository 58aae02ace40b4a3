//! One run on its sockets: it finds addresses, punches, carries the transfer, and looks for a silent peer
//! again. Sans-IO: [`crate::net::Driver`] or a simulation drives it.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use zeroize::Zeroizing;

use super::close::failure_of_end;
use super::command::{Command, Notice};
use super::linked::Linked;
pub(crate) use super::linked::Settings;
use super::relaying::Relaying;
pub(crate) use super::side::{End, Side, flush_control};
use super::tcp;
use super::words_gate::Gate;
use crate::net::{Machine, StreamNews};
use crate::protocol::connection::{self, Config, Connection};
use crate::protocol::ecn::Ecn;
use crate::protocol::handshake::SessionKeys;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Transmit};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::punch::{Punch, PunchEvent};
use crate::rendezvous::schedule::Schedule;
use crate::rendezvous::stun::{StunClient, StunEvent};

/// The interval of progress notices.
const PROGRESS: Duration = Duration::from_millis(200);
/// The interval of trace samples: a few in each round trip, except on local paths.
const SAMPLE: Duration = Duration::from_millis(20);
/// How long to wait for the first RTT before the connection is announced without it.
const ANNOUNCE: Duration = Duration::from_millis(400);
/// Blocks of content a sender holds: 40 MiB covers 1 Gbit/s at 300 ms.
const SEND_BLOCKS: usize = 40;

/// The sans-IO machine of a run.
pub struct Session {
    settings: Settings,
    side: Box<dyn Side>,
    commands: Receiver<Command>,
    notices: UnboundedSender<Notice>,
    stun: Option<StunClient>,
    meeting: Option<Meeting>,
    punch: Option<Punch>,
    relaying: Option<Relaying>,
    linked: Option<Linked>,
    next_progress: Time,
    /// When the next trace sample is due, if there is a trace.
    next_sample: Option<Time>,
    /// The run has ended, and the server is being told.
    leaving: bool,
    /// How the connection ended, for the side.
    end: Option<End>,
}

impl Session {
    /// A session that waits for commands.
    pub fn new(
        settings: Settings,
        side: Box<dyn Side>,
        commands: Receiver<Command>,
        notices: UnboundedSender<Notice>,
    ) -> Self {
        Session {
            next_sample: settings.trace.then_some(Time::ZERO),
            settings,
            side,
            commands,
            notices,
            stun: None,
            meeting: None,
            punch: None,
            relaying: None,
            linked: None,
            next_progress: Time::ZERO,
            leaving: false,
            end: None,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.leaving
            && self.meeting.as_ref().is_none_or(Meeting::has_left)
            && self.relaying.as_ref().is_none_or(|r| r.client.has_left())
    }

    /// See [`Side::is_working`].
    pub fn is_working(&self) -> bool {
        self.side.is_working()
    }

    /// The STUN client, if it may ask now.
    fn stun(&mut self, now: Time) -> Option<&mut StunClient> {
        let is_asked = self.linked.as_ref().is_none_or(|l| l.may_ask_outside(now));
        self.stun.as_mut().filter(|_| is_asked)
    }

    fn tell(&self, notice: Notice) {
        // The receiver is gone only while the run ends.
        let _ = self.notices.send(notice);
    }

    fn take_commands(&mut self, now: Time) {
        use std::sync::mpsc::TryRecvError;
        loop {
            match self.commands.try_recv() {
                Ok(Command::Gather(stun)) => self.stun = Some(*stun),
                Ok(Command::Meet(meeting)) => self.meeting = Some(*meeting),
                Ok(Command::Join(code)) => self.meeting.iter_mut().for_each(|m| m.join(code, now)),
                Ok(Command::LeaveServer) => self.meeting.iter_mut().for_each(|m| m.end(now)),
                Ok(Command::Relay(relaying)) => self.relaying = Some(*relaying),
                // The peer may have been found while its user was pasting another address.
                Ok(Command::Punch(punch)) if self.linked.is_none() => {
                    self.punch = Some(punch.resume(self.punch.take()));
                }
                Ok(Command::Punch(_)) => {}
                Ok(Command::Relocate(peer)) => self.linked.iter_mut().for_each(|l| l.relocate(&peer)),
                Ok(Command::SetClock(clock)) => self.set_clock(clock, now),
                Ok(Command::Vouch) => {
                    if let Some(linked) = &mut self.linked {
                        linked.gate.open();
                    }
                }
                Ok(Command::Close { code, reason }) => match &mut self.linked {
                    Some(linked) => linked.connection.close(now, code, &reason),
                    None => self.leave(now),
                },
                Ok(command) => self.side.on_command(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.leave(now),
            }
        }
    }

    fn set_clock(&mut self, clock: WallClock, now: Time) {
        if let Some(punch) = &mut self.punch {
            punch.set_clock(clock, now);
        }
        if let Some(linked) = &mut self.linked {
            linked.places.set_clock(clock);
            if let Some(search) = &mut linked.search {
                search.set_clock(clock, now);
            }
        }
    }

    fn drain(&mut self, now: Time) {
        while let Some(event) = self.stun(now).and_then(StunClient::poll_event) {
            if let (StunEvent::MappingChanged { .. }, Some(linked)) = (&event, &mut self.linked) {
                linked.has_other_ports = true;
            }
            self.tell(Notice::Stun(event));
        }
        while let Some(event) = self.meeting.as_mut().and_then(Meeting::poll_event) {
            self.tell(Notice::Meeting(event));
        }
        while let Some(event) = self.punch.as_mut().and_then(Punch::poll_event) {
            match event {
                PunchEvent::Connected { path, keys, rtt } => {
                    self.connect(now, path, keys, rtt);
                    break;
                }
                event => self.tell(Notice::Punch(event)),
            }
        }
        if let Some(why) = self.relaying.as_mut().and_then(|r| r.client.poll_refusal()) {
            self.tell(Notice::RelayRefused(why));
        }
        self.drain_linked(now);
        let is_over = self.is_over();
        // The program may end as soon as the verdict is told.
        if let Some(end) = self.end.take_if(|_| is_over) {
            let verdict = self.side.on_end(&end);
            self.tell(Notice::Ended(
                verdict.unwrap_or_else(|| Err(failure_of_end(&end))),
            ));
        }
    }

    /// Tells the server that the run has ended.
    fn leave(&mut self, now: Time) {
        self.leaving = true;
        self.punch = None;
        self.meeting.iter_mut().for_each(|m| m.end(now));
        self.relaying.iter_mut().for_each(|r| r.client.rest(now));
    }

    fn drain_linked(&mut self, now: Time) {
        let Some(linked) = self.linked.as_mut().filter(|_| !self.leaving) else {
            return;
        };
        linked.gate.pump(now, &mut linked.connection);
        if linked.gate.is_open() && linked.announce.is_none() {
            self.side.pump(now, &mut linked.connection);
        }
        let mut end = None;
        while let Some(event) = linked.connection.poll_event() {
            match event {
                connection::Event::Silent => {
                    linked.silent = true;
                    // The time begins here, because a program that was suspended has not looked for the peer
                    // yet.
                    linked.give_up = now + self.settings.peer_timeout;
                    if let Some(relaying) = &mut self.relaying {
                        relaying.client.rouse(now);
                    }
                }
                connection::Event::Back => (linked.silent, linked.has_other_ports) = (false, false),
                connection::Event::Closed(ref closed) => end = Some(End::Closed(closed.clone())),
                connection::Event::Confirmed => linked.responder.confirm(),
                connection::Event::Moved(path) => {
                    let kind = linked.places.kind(path);
                    let _ = self.notices.send(Notice::Moved { path, kind });
                }
            }
            let _ = self.notices.send(Notice::Connection(event));
        }
        linked.look_for_peer(now, self.relaying.as_mut());
        let silence = linked.connection.silence(now);
        if linked.silent && now >= linked.give_up {
            end.get_or_insert(End::Lost(silence));
        }
        if end.is_some() {
            self.end = end;
            return self.leave(now);
        }
        if let Some(until) = linked.announce
            && linked.gate.is_known()
            && (now >= until || linked.connection.rtt().is_some())
        {
            linked.announce = None;
            let (path, rtt) = (linked.connection.path(), linked.connection.rtt());
            // The peer may have chosen another working path.
            let kind = linked.places.kind(path);
            let _ = self.notices.send(Notice::Connected {
                path,
                kind,
                rtt,
                to_compare: linked.gate.to_compare(),
            });
        }
        self.tell_progress(now);
    }

    /// Tells trace samples and progress, each at its own interval.
    fn tell_progress(&mut self, now: Time) {
        let Some(linked) = &self.linked else { return };
        if self.next_sample.is_some_and(|t| now >= t) {
            self.next_sample = Some(now + SAMPLE);
            let _ = self.notices.send(Notice::Sample {
                at: now,
                done: self.side.progress().map_or(0, |(done, _)| done),
                stats: linked.connection.stats(),
            });
        }
        if now >= self.next_progress {
            self.next_progress = now + PROGRESS;
            let stats = linked.connection.stats();
            let silent = linked.silent.then(|| linked.connection.silence(now));
            // A silent peer is reported even if there is no progress to tell.
            let unknown = silent.map(|_| (0, None));
            if let Some((done, total)) = self.side.progress().or(unknown) {
                let _ = self.notices.send(Notice::Progress {
                    done,
                    total,
                    phase: self.side.phase(),
                    stats,
                    silent,
                });
            }
        }
    }

    fn connect(&mut self, now: Time, path: Path, mut keys: Box<SessionKeys>, rtt: Option<Duration>) {
        let Some(punch) = self.punch.take() else { return };
        let config = Config {
            role: keys.role,
            cipher: keys.cipher,
            send_secret: Zeroizing::new(keys.send),
            receive_secret: Zeroizing::new(keys.receive),
            local_id: keys.local_cid,
            remote_id: keys.remote_cid,
            path,
            handshake_rtt: rtt,
            seed: self.settings.seed.clone(),
            send_blocks: SEND_BLOCKS,
            limit: self.settings.limit,
        };
        let controller = (self.settings.controller)(now, rtt);
        let mut connection = Connection::new(config, controller, now);
        if let Some(relaying) = &self.relaying {
            relaying.prepare(now, &mut connection);
        }
        let (responder, places, answer) = punch.into_parts();
        self.linked = Some(Linked {
            connection,
            responder,
            late: answer.map(|answer| (answer.path, answer.payload)),
            places,
            silent: false,
            has_other_ports: false,
            search: None,
            give_up: Time::FAR_FUTURE,
            announce: Some(now + ANNOUNCE),
            gate: Gate::new(now, keys.comparison.take()),
        });
        self.meeting = None;
    }
}

impl Machine for Session {
    fn handle_datagram(&mut self, now: Time, path: Path, ecn: Ecn, datagram: &mut [u8]) {
        let relaying = self.relaying.as_mut();
        if relaying.is_some_and(|relaying| relaying.handle_datagram(now, path, datagram))
            || (self.stun(now)).is_some_and(|stun| stun.handle_datagram(now, path, datagram))
        {
            return self.drain(now);
        }
        if let Some(linked) = &mut self.linked {
            if let Some(content) = linked.connection.handle_datagram(now, path, ecn, datagram) {
                let room = self.side.on_content(content.offset, &datagram[content.range]);
                if room == 0 {
                    linked.connection.set_flow_limit(now, 0);
                }
            } else {
                // A late handshake message: the peer may not have received our answer.
                let answer = linked.responder.handle_datagram(now, path, datagram);
                linked.late = answer.map(|a| (path, a)).or(linked.late.take());
            }
            return;
        }
        if self
            .meeting
            .as_mut()
            .is_some_and(|m| m.handle_datagram(now, path, datagram))
        {
            return self.drain(now);
        }
        if let Some(punch) = &mut self.punch {
            punch.handle_datagram(now, path, datagram);
            self.drain(now);
            // The first sealed packet may be in the same batch as the last handshake message.
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.take_commands(now);
        if let Some(stun) = self.stun(now) {
            stun.handle_timeout(now);
        }
        if let Some(meeting) = &mut self.meeting {
            meeting.handle_timeout(now);
        }
        if let Some(relaying) = &mut self.relaying {
            relaying.handle_timeout(now, self.punch.as_mut());
        }
        if let Some(punch) = &mut self.punch {
            punch.handle_timeout(now);
        }
        if let Some(linked) = &mut self.linked {
            linked.connection.handle_timeout(now);
        }
        self.drain(now);
    }

    fn poll_transmit(&mut self, now: Time, buf: &mut Vec<u8>, segments: usize) -> Option<Transmit> {
        let single = self
            .stun(now)
            .and_then(StunClient::poll_transmit)
            .or_else(|| self.meeting.as_mut()?.poll_transmit())
            .or_else(|| self.relaying.as_mut()?.client.poll_transmit())
            .or_else(|| self.linked.as_mut()?.late.take());
        if let Some((path, payload)) = single {
            return Some(Transmit::single(buf, path, Reach::Full, &payload));
        }
        if let Some(t) = self.punch.as_mut().and_then(Punch::poll_transmit) {
            return Some(Transmit::single(buf, t.path, t.reach, &t.payload));
        }
        let linked = self.linked.as_mut()?;
        if let Some(send) = linked.search.as_mut().and_then(|s| s.poll(now)) {
            return Some(Transmit {
                reach: send.reach,
                ..linked.connection.poll_path_probe(now, send.path, buf)
            });
        }
        linked.connection.poll_transmit(now, buf, segments)
    }

    fn poll_timeout(&mut self, now: Time) -> Option<Time> {
        if self.is_over() {
            return Some(now);
        }
        let linked = self.linked.as_mut().filter(|_| !self.leaving);
        let linked = linked.map(|l| {
            [
                l.connection.poll_timeout(now),
                l.search.as_ref().and_then(Schedule::poll_timeout),
                Some(self.next_progress),
                self.next_sample,
            ]
        });
        let before = [
            self.stun(now).and_then(|stun| stun.poll_timeout()),
            self.meeting.as_ref().and_then(|m| m.poll_timeout(now)),
            self.relaying.as_ref().and_then(|r| r.client.poll_timeout()),
            self.punch.as_ref().and_then(Punch::poll_timeout),
        ];
        linked.into_iter().flatten().chain(before).flatten().min()
    }

    fn only_socket(&self) -> Option<Path> {
        match &self.linked {
            // Until both ends have confirmed the connection, the peer may use another path than ours. One that was silent
            // may be heard on another path, to which the connection has not moved yet.
            Some(Linked {
                connection,
                search: None,
                ..
            }) if connection.is_confirmed() && connection.is_settled() => Some(connection.path()),
            _ => None,
        }
    }

    fn on_stream(&mut self, now: Time, path: Path, news: StreamNews) {
        let meeting = self.meeting.as_mut().filter(|m| m.needs(path));
        let relay = self.relaying.as_mut().and_then(|r| r.at(path));
        if meeting.is_some() || relay.is_some() {
            let _ = self.notices.send(Notice::Stream(news));
        }
        tcp::on_stream(news, now, meeting, relay);
    }

    fn on_refused(&mut self, path: Path, kind: std::io::ErrorKind) {
        if let Some(punch) = &mut self.punch {
            punch.on_refused(path, kind);
        }
    }

    fn on_too_large(&mut self, now: Time, size: usize) {
        if let Some(linked) = &mut self.linked {
            linked
                .connection
                .on_too_large(now, u16::try_from(size).unwrap_or(u16::MAX));
        }
    }
}
