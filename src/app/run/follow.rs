//! From the swapped addresses to the end of the run: what to show, and what to ask.

use std::time::Duration;

use tokio::sync::mpsc;

use super::lobby::Aside;
use super::meet::{answered, relay_terms};
use super::moved::Moves;
use super::nearby;
use super::outside::peer_address;
use super::time::TimeKeeper;
use super::{Run, UserSide, heard, punching};
use crate::app::command::{Command, Notice};
use crate::app::event::{Answer, Cancelled, Event, Front, Link, Pending, Question};
use crate::app::offered::{DefaultAnswer, Offered};
use crate::app::outcome::{Failure, Party, Summary};
use crate::app::tcp;
use crate::app::told::{Info, Note, Warning};
use crate::app::wording::Pace;
use crate::app::words_gate::ToCompare;
use crate::net::Echo;
use crate::protocol::Path;
use crate::protocol::connection::{self, Stats};
use crate::protocol::handshake::Reason;
use crate::protocol::time::Time;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::relay::{RelayRefusal, RelayUse};
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::punch::{Hint, PathKind, PunchEvent};
use crate::rendezvous::schedule::ScheduleEvent;
use crate::rendezvous::stun::StunEvent;
use crate::system::Awake;

/// A peer on the same network has answered by then.
const NEARBY: Duration = Duration::from_millis(500);

/// The most warnings of files that do not arrive. The summary counts all.
const MOST_MISSED: u32 = 20;

/// The state of what was shown and asked.
pub(super) struct Following<'a, 'o> {
    pub(super) user: &'a mut UserSide<'o>,
    pub(super) run: &'a Run,
    pub(super) front: &'a mut dyn Front,
    clock: WallClock,
    times: mpsc::UnboundedReceiver<WallClock>,
    pace: Pace,
    awake: Option<Awake>,
    /// The end of a wait for the slot. It is shown only if no peer on the same network answers at once.
    waiting: Option<Time>,
    saying: Option<Pending>,
    missed: u32,
    /// What the run saw contradicts the pasted address. The user may paste another one while the run still
    /// tries this one.
    another: Option<Pending>,
    pub(super) moves: Moves,
    /// Whether a router nearby lets nothing through to the peer.
    rejected: bool,
}

impl Following<'_, '_> {
    /// The next notice of the network thread. `None` if this call handled something else: an answer of the
    /// user or a change of the time.
    async fn next(&mut self) -> Result<Option<Notice>, Failure> {
        tokio::select! {
            notice = heard(&mut self.user.notices) => return notice.map(Some),
            answer = answered(&mut self.saying), if self.saying.is_some() => {
                self.saying = self.say(answer);
            }
            () = tokio::time::sleep(NEARBY), if self.waiting.is_some() => {
                if let Some(until) = self.waiting.take() {
                    self.tell_waiting(until);
                }
            }
            answer = answered(&mut self.another), if self.another.is_some() => {
                // At the end of the input nobody can paste.
                self.another = match answer {
                    Ok(Answer::Text(text)) if self.user.link.is_some() => self.paste_moved(&text),
                    Ok(Answer::Text(text)) => self.paste_another(&text)?,
                    _ => None,
                };
            }
            Some(time) = self.times.recv() => {
                self.clock = time;
                self.user.command(Command::SetClock(time));
                self.front.event(Event::Note(Note::ClockAskedAgain));
            }
            Some(Ok(Aside::Nearby(echo))) = self.user.asides.join_next() => self.on_nearby(echo),
        }
        Ok(None)
    }

    /// Asks the routers nearby whether they stop packets to the peer.
    fn ask_nearby(&mut self) {
        if let Some(Link { remote, kind, .. }) = self.user.link
            && kind != PathKind::Relayed
        {
            self.user.ask_nearby(remote, Duration::ZERO);
        }
    }

    /// The routers nearby said whether they let anything through to a peer that is not heard.
    fn on_nearby(&mut self, echo: Echo) {
        self.user.asking_nearby = None;
        // A network that lets nothing out at all was reported before.
        let is_closed = self.user.outlet.as_ref().is_some_and(Outlet::is_closed);
        if let Some(hint) = nearby::hint_of(echo).filter(|_| !is_closed) {
            self.rejected |= hint == Hint::Rejected;
            self.tell_hint(hint);
        }
    }

    /// Shows the results of the search, and asks for another address if that would help.
    fn tell_hint(&mut self, hint: Hint) {
        self.front.event(Event::Warning(Warning::Search { hint }));
        if hint.wants_another_address() && self.another.is_none() && self.can_paste() {
            self.another = Some(self.front.ask(Question::PeerAddress));
        }
    }

    async fn on(&mut self, notice: Notice) -> Result<(), Failure> {
        match notice {
            Notice::Punch(event) => self.on_punch(event)?,
            Notice::Connected {
                path,
                kind,
                rtt,
                to_compare,
            } => {
                self.on_connected(path, kind, rtt.unwrap_or_default());
                if let Some(to_compare) = to_compare {
                    self.vouch(to_compare).await?;
                }
                if self.user.errand == Errand::Chat {
                    self.front.event(Event::Info(Info::ChatHelp));
                    self.saying = Some(self.front.ask(Question::Say));
                }
            }
            Notice::Moved { path, kind } => self.on_moved(path, kind),
            Notice::Stun(StunEvent::MappingChanged { socket, to, .. }) if self.user.link.is_some() => {
                self.on_outside_changed(socket, to);
            }
            Notice::Stream(news) => tcp::tell(news, self.front),
            Notice::Connection(connection::Event::Silent) => {
                let silence = connection::SILENCE;
                self.ask_nearby();
                self.front.event(Event::Reconnecting { silence });
            }
            Notice::Connection(connection::Event::Back) => {
                self.user.stop_asking_nearby();
                (self.another, self.moves.has_asked) = (None, false);
                if let Some(link) = self.user.link {
                    self.front.event(Event::Reconnected(link));
                }
            }
            Notice::RelayRefused(why) => {
                if self.user.common.relay == RelayUse::Only {
                    let next = match why {
                        RelayRefusal::Spent => "run the same command again on both sides",
                        _ => "leave out --relay only, or use another server",
                    };
                    return Err(Failure::no_path(why.to_string(), next));
                }
                self.front.event(Event::Warning(Warning::RelayRefused { why }));
            }
            Notice::Said(line) => {
                self.front.event(Event::Said(line));
                self.user.command(Command::Heard);
            }
            Notice::Passed if self.saying.is_none() && !self.user.has_ended => {
                self.saying = Some(self.front.ask(Question::Say));
            }
            Notice::Tell(event) => self.front.event(event),
            Notice::Offered(offered) => {
                self.consent(*offered).await?;
                self.user.command(Command::Accept);
            }
            Notice::Progress {
                done,
                total,
                phase,
                stats,
                silent,
            } => {
                match silent {
                    Some(silence) => self.on_silence(silence),
                    None => {
                        let now = self.user.clock.now();
                        // The peer may be heard although nothing gets there.
                        if self.moves.is_stuck(now, done) {
                            self.ask_nearby();
                        }
                        let progress = self.pace.progress(now, done, total, phase, &stats);
                        self.front.event(Event::Progress(progress));
                    }
                }
                self.front.event(Event::Stats(Box::new(stats)));
            }
            Notice::Sample { at, done, stats } => self.on_sample(at, done, &stats),
            Notice::Missing(missing) => {
                self.missed += 1;
                if self.missed <= MOST_MISSED {
                    let (path, why) = (missing.path, missing.why);
                    self.front.event(Event::Warning(Warning::Missing { path, why }));
                }
            }
            Notice::Message(text) => self.front.event(Event::Message(text)),
            _ => {}
        }
        Ok(())
    }

    fn on_sample(&mut self, at: Time, done: u64, stats: &Stats) {
        let trace = self.user.trace.as_mut();
        if trace.is_some_and(|trace| trace.write(self.run.role, at, done, stats).is_err()) {
            self.user.trace = None;
            self.front.event(Event::Warning(Warning::TraceStopped));
        }
    }

    fn on_punch(&mut self, event: PunchEvent) -> Result<(), Failure> {
        match event {
            PunchEvent::Schedule(ScheduleEvent::Waiting { until }) => self.waiting = Some(until),
            PunchEvent::Hint(hint) => self.tell_hint(hint),
            PunchEvent::Failed(mut report) => {
                report.rejected = self.rejected;
                return Err(punching::failure(&report, self.front));
            }
            PunchEvent::Schedule(ScheduleEvent::Attempt { number, to }) => {
                self.front.event(Event::Attempt { number, remote: to });
            }
            PunchEvent::Schedule(ScheduleEvent::Guessing(task)) => {
                self.front.event(Event::Info(punching::guessing(task)));
            }
            PunchEvent::Reflexive(Path { remote, .. }) => {
                self.front.event(Event::Note(Note::HeardFrom { remote }));
            }
            PunchEvent::Connected { .. } => {}
        }
        Ok(())
    }

    fn on_connected(&mut self, path: Path, kind: PathKind, rtt: Duration) {
        self.user.stop_asking_nearby();
        self.user.seeds.handshake = None;
        self.moves.local = path.local;
        (self.another, self.waiting) = (None, None);
        self.awake = Some(Awake::hold());
        let remote = path.remote;
        let link = Link { remote, kind, rtt };
        self.user.link = Some(link);
        self.front.event(Event::Connected(link));
        self.tell_terms(kind);
    }

    fn on_moved(&mut self, path: Path, kind: PathKind) {
        self.user.stop_asking_nearby();
        self.another = None;
        (self.moves.has_asked, self.moves.local) = (false, path.local);
        if let Some(link) = &mut self.user.link {
            (link.remote, link.kind) = (path.remote, kind);
            self.front.event(Event::Reconnected(*link));
            self.tell_terms(kind);
        }
    }

    fn on_silence(&mut self, silence: Duration) {
        self.front.event(Event::Reconnecting { silence });
        self.tell_move();
        if self.another.is_none() && self.may_ask_again(silence) {
            self.front.event(Event::Warning(Warning::PeerMayHaveMoved));
            self.another = Some(self.front.ask(Question::PeerAddress));
        }
    }

    fn finished(self, summary: Summary) -> Summary {
        self.front.event(match self.user.errand {
            Errand::Chat => Event::Info(Info::ChatEnded),
            _ => Event::Finished(summary.clone()),
        });
        summary
    }

    /// Sends the user's line to the peer. The next line is asked for once this one is on its way, or at once
    /// if it was empty.
    fn say(&mut self, answer: Result<Answer, Cancelled>) -> Option<Pending> {
        match answer {
            Ok(Answer::Text(line)) if !line.is_empty() => self.user.command(Command::Say(line)),
            Ok(_) => return Some(self.front.ask(Question::Say)),
            Err(_) => {
                self.user.has_ended = true;
                self.user.command(Command::Say(String::new()));
            }
        }
        None
    }

    /// Tells the limits of the server's relay, if the path uses it.
    fn tell_terms(&mut self, kind: PathKind) {
        let Some((terms, uses)) = self.user.relay.filter(|_| kind == PathKind::Relayed) else {
            return;
        };
        self.front.event(Event::Info(relay_terms(&terms)));
        if uses == RelayUse::Fallback {
            self.front.event(Event::Info(Info::LookingForDirectPath));
        }
    }

    /// Looks for the peer at another address. If the text is not an address, asks again.
    fn paste_another(&mut self, text: &str) -> Result<Option<Pending>, Failure> {
        match peer_address(text, &self.run.own, &self.user.local.networks) {
            Ok(peer) => {
                self.user.punch(self.run, self.clock, peer, None, None)?;
                Ok(None)
            }
            Err(unfit) => {
                let why = unfit.to_string();
                self.front.event(Event::Warning(Warning::Unfit { why }));
                Ok(Some(self.front.ask(Question::PeerAddress)))
            }
        }
    }

    fn tell_waiting(&mut self, until: Time) {
        let now = self.user.clock.now();
        let unix_seconds = self.clock.unix_nanos(now) / 1_000_000_000;
        let seconds = (until.since(now).as_millis() as u64).div_ceil(1000);
        if seconds > 0 {
            self.front.event(Event::Waiting {
                unix_seconds,
                seconds,
            });
        }
    }

    async fn vouch(&mut self, to_compare: ToCompare) -> Result<(), Failure> {
        let ToCompare::Words(words, reason) = to_compare else {
            return Err(Failure::WordsDiffer);
        };
        let words = words.join(" ");
        if self.user.common.insecure && reason == Reason::Bare {
            self.front.event(Event::Warning(Warning::Unvouched { words }));
        } else if self.put(Question::ConfirmWords(words)).await? != Answer::Yes {
            return Err(Failure::WordsDiffer);
        }
        self.user.command(Command::Vouch);
        Ok(())
    }

    /// Asks the user to agree. `--yes` agrees wherever Enter would, and leaves the other questions to the
    /// user.
    async fn consent(&mut self, offered: Offered) -> Result<(), Failure> {
        let yes = self.run.yes;
        let (question, default) = (offered.question(), offered.default_answer());
        self.front.event(Event::Offer(Box::new(offered)));
        if yes && default == DefaultAnswer::Yes {
            return Ok(());
        }
        let no = match question {
            Question::Resume(_) => Failure::NotResumed,
            _ => Failure::Refused(Party::Us),
        };
        match self.put(question).await {
            Ok(Answer::Yes) => Ok(()),
            // With `--yes`, perhaps nobody is there to ask.
            Err(Failure::Unanswered(_)) if yes => Err(Failure::Hidden),
            Err(failure) => Err(failure),
            Ok(_) => Err(no),
        }
    }

    /// Asks the user after the peer was found. The peer may leave while the user thinks.
    async fn put(&mut self, question: Question) -> Result<Answer, Failure> {
        let mut pending = self.front.ask(question);
        loop {
            tokio::select! {
                answer = &mut pending => return Ok(answer?),
                notice = heard(&mut self.user.notices) => if let Notice::Ended(_) = notice? {
                    return Err(Failure::Cancelled(Party::Peer));
                },
            }
        }
    }
}

impl UserSide<'_> {
    /// Shows what happens until the end, and asks the user where that is needed.
    pub(super) async fn follow(
        &mut self,
        run: &Run,
        keeper: TimeKeeper,
        front: &mut dyn Front,
    ) -> Result<Summary, Failure> {
        let mut following = Following {
            clock: keeper.clock(),
            times: keeper.watch(),
            pace: Pace::default(),
            awake: None,
            waiting: None,
            saying: None,
            missed: 0,
            another: None,
            moves: Moves::new(run),
            rejected: false,
            user: self,
            run,
            front,
        };
        loop {
            match following.next().await? {
                Some(Notice::Ended(Ok(summary))) => return Ok(following.finished(summary)),
                Some(notice) => following.on(notice).await?,
                None => {}
            }
        }
    }
}
