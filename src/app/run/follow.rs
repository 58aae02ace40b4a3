//! From the swapped addresses to the end: what is shown, and what has to be asked.

use super::meet::{answered, relay_terms};
use super::moved::Moves;
use super::outside::peer_address;
use super::time::TimeKeeper;
use super::{Lobby, Run, heard};
use crate::app::command::{Command, Notice};
use crate::app::event::{Answer, Cancelled, Event, Front, Link, Pending, Question, TimeOfDay};
use crate::app::gate::ToCompare;
use crate::app::offered::{DefaultAnswer, Offered};
use crate::app::options::Common;
use crate::app::outcome::{Failure, Party, Summary};
use crate::app::told::{Info, Note, Warning};
use crate::app::wording::{Pace, files};
use crate::protocol::connection;
use crate::protocol::handshake::Reason;
use crate::protocol::time::Time;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::relay::{RelayEvent, RelayUse};
use crate::rendezvous::punch::{PathKind, PunchEvent};
use crate::rendezvous::schedule::ScheduleEvent;
use crate::rendezvous::schedule::guess::{PATIENCE, SOCKETS, Task};
use crate::rendezvous::stun::StunEvent;
use crate::system::{Awake, stopped};
use std::time::Duration;

/// How soon a peer on the own network has answered.
const NEARBY: Duration = Duration::from_millis(500);

/// Warnings of what does not arrive, one each; the end counts them all.
const MOST_MISSED: u32 = 20;

/// What is said of a guess.
fn guessing(task: Task) -> Info {
    let seconds = PATIENCE.as_secs();
    match task {
        Task::Try { .. } => Info::TryingPorts { seconds },
        Task::Open(_) => Info::OpeningPorts {
            ports: SOCKETS,
            seconds,
        },
    }
}

impl Lobby {
    /// Shows what happens until the end, and asks what has to be asked.
    pub(super) async fn follow(
        &mut self,
        run: &Run<'_>,
        keeper: TimeKeeper,
        front: &mut dyn Front,
    ) -> Result<Summary, Failure> {
        let mut clock = keeper.clock();
        let mut times = keeper.watch();
        let mut pace = Pace::default();
        let mut link: Option<Link> = None;
        let mut _awake: Option<Awake> = None;
        // A wait for the slot is told only if the own network did not have the peer at once.
        let mut waiting: Option<Time> = None;
        let mut saying: Option<Pending> = None;
        let mut missed = 0;
        // What was seen speaks against the pasted address: the user may paste another while this one is tried.
        let mut another: Option<Pending> = None;
        let mut moves = Moves::new(run);
        loop {
            let notice = tokio::select! {
                notice = heard(&mut self.notices) => notice?,
                answer = answered(&mut saying), if saying.is_some() => {
                    saying = self.say(answer, front);
                    continue;
                }
                () = tokio::time::sleep(NEARBY), if waiting.is_some() => {
                    if let Some(until) = waiting.take() {
                        self.tell_waiting(until, &clock, front);
                    }
                    continue;
                }
                answer = answered(&mut another), if another.is_some() => {
                    // At the end of input nobody is there to paste.
                    another = match answer {
                        Ok(Answer::Text(text)) if self.linked => self.paste_moved(run, &text, front),
                        Ok(Answer::Text(text)) => self.paste_another(run, clock, &text, front)?,
                        _ => None,
                    };
                    continue;
                }
                Some(time) = times.recv() => {
                    clock = time;
                    self.command(Command::SetClock(time));
                    front.event(Event::Note(Note::ClockAskedAgain));
                    continue;
                }
                () = stopped() => return Err(Failure::Interrupted),
            };
            match notice {
                Notice::Punch(PunchEvent::Schedule(ScheduleEvent::Waiting { until, .. })) => {
                    waiting = Some(until);
                }
                Notice::Punch(event) => {
                    let wanted = matches!(&event, PunchEvent::Hint(hint) if hint.wants_another_address());
                    self.on_punch(event, front)?;
                    if wanted && another.is_none() && self.can_paste(run) {
                        another = Some(front.ask(Question::PeerAddress));
                    }
                }
                Notice::Connected {
                    path,
                    kind,
                    rtt,
                    to_compare,
                } => {
                    self.linked = true;
                    moves.local = path.local;
                    another = None;
                    self.seeds.handshake = None;
                    _awake = Some(Awake::hold());
                    waiting = None;
                    let found = Link {
                        remote: path.remote,
                        kind: kind.to_string(),
                        relayed: kind == PathKind::Relayed,
                        rtt: rtt.unwrap_or_default(),
                    };
                    front.event(Event::Connected(found.clone()));
                    self.tell_terms(kind, run.common, front);
                    link = Some(found);
                    if let Some(to_compare) = to_compare {
                        self.vouch(run.common, to_compare, front).await?;
                    }
                    if run.errand == Errand::Chat {
                        front.event(Event::Info(Info::ChatHelp));
                        saying = Some(front.ask(Question::Say));
                    }
                }
                Notice::Said(line) => {
                    front.event(Event::Said(line));
                    self.command(Command::Heard);
                }
                Notice::Passed if saying.is_none() && !self.has_ended => {
                    saying = Some(front.ask(Question::Say));
                }
                Notice::Listed => {
                    front.event(Event::AwaitingAnswer);
                }
                Notice::Moved { path, kind } => {
                    (another, moves.has_asked, moves.local) = (None, false, path.local);
                    if let Some(link) = &mut link {
                        link.remote = path.remote;
                        (link.kind, link.relayed) = (kind.to_string(), kind == PathKind::Relayed);
                        front.event(Event::Reconnected(link.clone()));
                        self.tell_terms(kind, run.common, front);
                    }
                }
                Notice::Relay(RelayEvent::Refused(why)) => {
                    if run.common.relay == RelayUse::Only {
                        return Err(Failure::no_path(
                            why.to_string(),
                            "leave out --relay only, or use another server",
                        ));
                    }
                    front.event(Event::Warning(Warning::RelayRefused { why }));
                }
                Notice::Connection(connection::Event::Silent) => {
                    front.event(Event::Reconnecting {
                        silence: connection::SILENCE,
                    });
                }
                Notice::Stun(StunEvent::MappingChanged { socket, to, .. }) if self.linked => {
                    self.on_outside_changed(socket, to, &mut moves);
                }
                Notice::Connection(connection::Event::Back) => {
                    (another, moves.has_asked) = (None, false);
                    if let Some(link) = &link {
                        front.event(Event::Reconnected(link.clone()));
                    }
                }
                Notice::Offered(offered) => {
                    self.consent(*offered, run.yes, front).await?;
                    self.command(Command::Accept);
                }
                Notice::Started { held, total } if held > 0 => {
                    front.event(Event::Resumed {
                        bytes: held,
                        total: total.unwrap_or(held),
                    });
                }
                Notice::Progress {
                    done,
                    total,
                    phase,
                    stats,
                    silent,
                } => {
                    if let Some(silence) = silent {
                        front.event(Event::Reconnecting { silence });
                        self.tell_move(&mut moves, front);
                        if another.is_none() && self.may_ask_again(run, silence, &mut moves) {
                            front.event(Event::Warning(Warning::PeerMayHaveMoved));
                            another = Some(front.ask(Question::PeerAddress));
                        }
                    } else {
                        front.event(Event::Progress(pace.progress(
                            self.clock.now(),
                            done,
                            total,
                            phase,
                            &stats,
                        )));
                    }
                    front.event(Event::Stats(Box::new(stats)));
                }
                Notice::Sample { at, done, stats } => {
                    if let Some(trace) = &mut self.trace {
                        trace.write(run.role, at, done, &stats);
                    }
                }
                Notice::Remark(remark) => front.event(files::remark(&remark)),
                Notice::Missing(missing) => {
                    missed += 1;
                    if missed <= MOST_MISSED {
                        front.event(Event::Warning(Warning::Missing {
                            path: missing.path,
                            why: missing.why,
                        }));
                    }
                }
                Notice::EmptyInput => front.event(Event::Info(Info::EmptyInput)),
                Notice::Identical(path) => front.event(Event::Info(Info::Identical { path })),
                Notice::Message(text) => front.event(Event::Message(text)),
                Notice::Ended(verdict) => {
                    self.linked = false;
                    if run.errand == Errand::Chat && verdict.is_ok() {
                        front.event(Event::Info(Info::ChatEnded));
                    } else if let Ok(summary) = &verdict {
                        front.event(Event::Finished(summary.clone()));
                    }
                    return verdict;
                }
                _ => {}
            }
        }
    }

    /// What the user said goes to the peer. The next line is asked for once it is on its way, or at once if it was empty.
    fn say(&mut self, answer: Result<Answer, Cancelled>, front: &mut dyn Front) -> Option<Pending> {
        match answer {
            Ok(Answer::Text(line)) if !line.is_empty() => self.command(Command::Say(line)),
            Ok(_) => return Some(front.ask(Question::Say)),
            Err(_) => {
                self.has_ended = true;
                self.command(Command::Say(String::new()));
            }
        }
        None
    }

    /// What is sent by way of a server may be limited there.
    fn tell_terms(&self, kind: PathKind, common: &Common, front: &mut dyn Front) {
        let Some(terms) = self.relay.filter(|_| kind == PathKind::Relayed) else {
            return;
        };
        front.event(Event::Info(relay_terms(&terms)));
        if common.relay == RelayUse::Fallback {
            front.event(Event::Info(Info::LookingForDirectPath));
        }
    }

    /// Looks for the peer at another address; asks again if that one is none.
    fn paste_another(
        &mut self,
        run: &Run<'_>,
        clock: WallClock,
        text: &str,
        front: &mut dyn Front,
    ) -> Result<Option<Pending>, Failure> {
        match peer_address(text, &run.own, &self.local.networks) {
            Ok(peer) => {
                self.punch(run, clock, peer, None, None)?;
                Ok(None)
            }
            Err(unfit) => {
                let why = unfit.to_string();
                front.event(Event::Warning(Warning::Unfit { why }));
                Ok(Some(front.ask(Question::PeerAddress)))
            }
        }
    }

    fn tell_waiting(&self, until: Time, clock: &WallClock, front: &mut dyn Front) {
        let now = self.clock.now();
        let time_of_day = TimeOfDay::from_unix(clock.unix_nanos(now) / 1_000_000_000);
        let seconds = (until.since(now).as_millis() as u64).div_ceil(1000);
        if seconds > 0 {
            front.event(Event::Waiting { time_of_day, seconds });
        }
    }

    fn on_punch(&self, event: PunchEvent, front: &mut dyn Front) -> Result<(), Failure> {
        match event {
            PunchEvent::Schedule(ScheduleEvent::Waiting { .. }) | PunchEvent::Connected { .. } => {}
            PunchEvent::Schedule(ScheduleEvent::Attempt { number, to }) => {
                front.event(Event::Attempt { number, remote: to });
            }
            PunchEvent::Schedule(ScheduleEvent::Guessing(task)) => {
                front.event(Event::Info(guessing(task)));
            }
            PunchEvent::Failed(report) => {
                let (cause, next) = report.diagnosis();
                for line in report.to_string().lines().take(5) {
                    let line = line.to_owned();
                    front.event(Event::Info(Info::Tried { line }));
                }
                return Err(Failure::no_path(cause, next));
            }
            PunchEvent::Hint(hint) => front.event(Event::Warning(Warning::Search { hint })),
            PunchEvent::Reflexive(path) => {
                let remote = path.remote;
                front.event(Event::Note(Note::HeardFrom { remote }));
            }
        }
        Ok(())
    }

    async fn vouch(
        &mut self,
        common: &Common,
        to_compare: ToCompare,
        front: &mut dyn Front,
    ) -> Result<(), Failure> {
        let ToCompare::Words(words, reason) = to_compare else {
            return Err(Failure::WordsDiffer);
        };
        let words = words.join(" ");
        if common.insecure && reason == Reason::Bare {
            front.event(Event::Warning(Warning::Unvouched { words }));
        } else if self.put(Question::ConfirmWords(words), front).await? != Answer::Yes {
            return Err(Failure::WordsDiffer);
        }
        self.command(Command::Vouch);
        Ok(())
    }

    /// Has the user say yes. `--yes` says it wherever Enter would, and leaves the rest to the user.
    async fn consent(&mut self, offered: Offered, yes: bool, front: &mut dyn Front) -> Result<(), Failure> {
        let (question, default) = (offered.question(), offered.default_answer());
        front.event(Event::Offer(Box::new(offered)));
        if yes && default == DefaultAnswer::Yes {
            return Ok(());
        }
        let no = match question {
            Question::Resume(_) => Failure::NotResumed,
            _ => Failure::Refused(Party::Us),
        };
        match self.put(question, front).await {
            Ok(Answer::Yes) => Ok(()),
            // With --yes nobody need be there to ask.
            Err(Failure::Unanswered(_)) if yes => Err(Failure::Hidden),
            Err(failure) => Err(failure),
            Ok(_) => Err(no),
        }
    }

    /// Asks the user once the peer is there; the peer may go while the user thinks.
    async fn put(&mut self, question: Question, front: &mut dyn Front) -> Result<Answer, Failure> {
        let mut pending = front.ask(question);
        loop {
            tokio::select! {
                answer = &mut pending => return Ok(answer?),
                () = stopped() => return Err(Failure::Interrupted),
                notice = heard(&mut self.notices) => if let Notice::Ended(verdict) = notice? {
                    self.linked = false;
                    return Err(verdict.err().unwrap_or(Failure::Cancelled(Party::Peer)));
                },
            }
        }
    }
}
