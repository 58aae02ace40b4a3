//! One run, as its user lives it: find out what this network is, swap addresses, meet the peer, transfer.

use super::close;
use super::command::{Command, Notice};
use super::event::{Answer, Change, Event, Front, Link, Question, TimeOfDay};
use super::lookup::{ask_ntp, named, resolve};
use super::machine::{controller, hardware_aes, interrupted};
use super::options::Common;
use super::outcome::{Failure, Party, Summary};
use super::session::{Session, Settings, Side};
use super::trace::Trace;
use super::units;
use super::wording::{Pace, describe, tell_clock, tell_network};
use crate::net::{self, Driver, Waker};
use crate::protocol::Role;
use crate::protocol::connection::{self};
use crate::protocol::handshake::StaticKeypair;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Address, Filtering, NatClass};
use crate::rendezvous::clock::Clock;
use crate::rendezvous::punch::{Punch, PunchConfig, PunchEvent};
use crate::rendezvous::schedule::ScheduleEvent;
use crate::rendezvous::servers;
use crate::rendezvous::stun::{StunClient, StunReport};
use crate::transfer::offer::Offer;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How soon a peer on the own network has answered.
const NEARBY: Duration = Duration::from_millis(500);
/// A wait longer than this is explained.
const PATIENCE: Duration = Duration::from_secs(1);
/// After the user stopped the run, longest wait for the peer to be told.
const FAREWELL: Duration = Duration::from_millis(700);

/// What a run's side needs to be built.
pub(super) struct Parts {
    /// Wakes the network thread.
    pub waker: Waker,
    /// The run's clock.
    pub clock: net::Clock,
    /// Where to tell what happens.
    pub notices: UnboundedSender<Notice>,
}

/// What a look around found.
pub(super) struct Seen {
    /// Addresses this machine has itself.
    pub candidates: Vec<SocketAddr>,
    /// What STUN said.
    pub report: StunReport,
    /// What NTP said.
    pub clock: Clock,
    /// STUN servers whose names are known.
    pub servers: Vec<SocketAddr>,
}

/// Finds out what this network is, and leaves.
pub(super) async fn look(common: &Common, front: &mut dyn Front) -> Result<Seen, Failure> {
    let mut lobby = Lobby::open(Role::Sender, common, front, |_| Ok(Box::new(Idle)))?;
    let candidates = net::local_candidates(lobby.ipv4[0], lobby.ipv6.map(|(_, port)| port));
    let (report, clock) = tokio::select! {
        found = lobby.look_around(common, &candidates) => found?,
        () = interrupted() => return Err(Failure::Interrupted),
    };
    let servers = resolve(&named(&common.stun, servers::STUN)).await;
    Ok(Seen {
        candidates,
        report,
        clock,
        servers,
    })
}

/// A side that only looks.
struct Idle;

impl Side for Idle {
    fn on_content(&mut self, _offset: u64, _bytes: &[u8]) -> u64 {
        0
    }
    fn pump(&mut self, _now: Time, _connection: &mut connection::Connection) {}
    fn on_command(&mut self, _command: Command) {}
    fn progress(&self) -> Option<(u64, Option<u64>)> {
        None
    }
    fn on_end(&mut self, _end: super::session::End) {}
}

/// Runs one end, from binding sockets to the verdict.
pub(super) async fn run(
    role: Role,
    common: &Common,
    yes: bool,
    front: &mut dyn Front,
    side: impl FnOnce(Parts) -> Result<Box<dyn Side>, Failure>,
) -> Result<Summary, Failure> {
    let mut lobby = Lobby::open(role, common, front, side)?;
    let ran = lobby.run(role, common, yes, front).await;
    lobby.leave(ran).await
}

/// The thread that talks to the user, and its line to the network thread.
struct Lobby {
    clock: net::Clock,
    waker: Waker,
    commands: Sender<Command>,
    notices: UnboundedReceiver<Notice>,
    ipv4: Vec<u16>,
    ipv6: Option<(u8, u16)>,
    seed: [u8; 32],
    linked: bool,
}

fn socket_failure(port: Option<u16>, error: &std::io::Error) -> Failure {
    match port {
        Some(port) => Failure::other(
            format!("cannot use UDP port {port}: {error}"),
            "choose another with --localport, or leave it out",
        ),
        None => Failure::other(
            format!("cannot open a UDP socket: {error}"),
            "check the limits of this system",
        ),
    }
}

impl Lobby {
    fn open(
        role: Role,
        common: &Common,
        front: &mut dyn Front,
        side: impl FnOnce(Parts) -> Result<Box<dyn Side>, Failure>,
    ) -> Result<Self, Failure> {
        let broken = |e: std::io::Error| Failure::other(e.to_string(), "check the limits of this system");
        let clock = net::Clock::start();
        let ports = net::bind(common.localport).map_err(|e| socket_failure(common.localport, &e))?;
        let (ipv4, ipv6) = (ports.ipv4.clone(), ports.ipv6);
        front.event(Event::LocalPort(ipv4[0]));
        let seed = net::random_seed().map_err(broken)?;
        let mut driver = Driver::new(ports, clock).map_err(broken)?;
        let waker = driver.waker();
        let (commands, inbox) = channel();
        let (tell, notices) = unbounded_channel();
        let parts = Parts {
            waker: waker.clone(),
            clock,
            notices: tell.clone(),
        };
        let side = side(parts)?;
        let number = u64::from_be_bytes(seed[..8].try_into().expect("8 of 32 bytes"));
        let settings = Settings {
            role,
            controller: controller(common.congestion, number),
            limit: common.limit,
            seed: number,
        };
        std::thread::Builder::new()
            .name("net".into())
            .spawn(move || {
                let mut session = Session::new(settings, side, inbox, tell.clone());
                while !session.is_over() {
                    if let Err(e) = driver.turn(&mut session) {
                        let failure =
                            Failure::other(format!("the network failed: {e}"), "run the command again");
                        // Nobody listens any more only when the run is being torn down.
                        let _ = tell.send(Notice::Ended(Err(failure)));
                        return;
                    }
                }
            })
            .map_err(broken)?;
        Ok(Lobby {
            clock,
            waker,
            commands,
            notices,
            ipv4,
            ipv6,
            seed,
            linked: false,
        })
    }

    fn command(&self, command: Command) {
        // The network thread is gone only after it told its end.
        let _ = self.commands.send(command);
        self.waker.wake();
    }

    async fn run(
        &mut self,
        role: Role,
        common: &Common,
        yes: bool,
        front: &mut dyn Front,
    ) -> Result<Summary, Failure> {
        let candidates = net::local_candidates(self.ipv4[0], self.ipv6.map(|(_, port)| port));
        let (report, clock) = self.look_patiently(common, &candidates, front).await?;
        tell_clock(front, &clock);
        let keypair = StaticKeypair::from_seed(&self.seed);
        let nat = NatClass {
            mapping: report.mapping,
            filtering: Filtering::Untested,
        };
        tell_network(front, &report, nat);
        let mut mapped = report.mapped;
        let own =
            Address::own(role, *keypair.public(), nat, mapped, candidates.clone()).ok_or_else(|| {
                Failure::other("this computer has no network address", "connect it to a network")
            })?;
        front.event(Event::Address {
            address: own.to_string(),
            change: Change::First,
        });

        let (own, peer) = self.swap(common, own, &mut mapped, front).await?;
        let config = PunchConfig {
            role,
            keypair,
            own,
            peer,
            clock,
            low_ttl: common.ttl,
            not_before: 0,
            timeout: common.timeout,
            ipv6_socket: self.ipv6.map(|(socket, _)| socket),
            hardware_aes: hardware_aes(),
            seed: blake3::derive_key("p2pcopy v1 punch", &self.seed),
        };
        let punch = Punch::new(config, self.clock.now()).map_err(|e| {
            Failure::other(
                e.to_string(),
                "start both sides again and swap the lines they print then",
            )
        })?;
        self.command(Command::Punch(Box::new(punch)));
        self.follow(role, common, yes, &clock, front).await
    }

    /// [`look_around`](Self::look_around), with a word if it takes long.
    async fn look_patiently(
        &mut self,
        common: &Common,
        candidates: &[SocketAddr],
        front: &mut dyn Front,
    ) -> Result<(StunReport, Clock), Failure> {
        let mut looking = std::pin::pin!(self.look_around(common, candidates));
        tokio::select! {
            found = &mut looking => return found,
            () = tokio::time::sleep(PATIENCE) => {}
            () = interrupted() => return Err(Failure::Interrupted),
        }
        front.event(Event::Info(
            "Asking STUN servers for your outside address, NTP servers for the time".into(),
        ));
        tokio::select! {
            found = &mut looking => found,
            () = interrupted() => Err(Failure::Interrupted),
        }
    }

    /// Asks STUN and NTP servers, all at once.
    async fn look_around(
        &mut self,
        common: &Common,
        candidates: &[SocketAddr],
    ) -> Result<(StunReport, Clock), Failure> {
        let stun_names = named(&common.stun, servers::STUN);
        let ntp_names = named(&common.ntp, servers::NTP);
        let clock = self.clock;
        let local: Vec<SocketAddr> = candidates
            .iter()
            .filter(|c| c.is_ipv4())
            .flat_map(|c| self.ipv4.iter().map(|port| SocketAddr::new(c.ip(), *port)))
            .collect();
        let gather = async {
            let found = resolve(&stun_names).await;
            let seed = blake3::derive_key("p2pcopy v1 stun", &self.seed);
            let sockets = u8::try_from(self.ipv4.len()).unwrap_or(u8::MAX);
            let client = StunClient::new(&found, sockets, &local, &seed, clock.now());
            let _ = self.commands.send(Command::Gather(Box::new(client)));
            self.waker.wake();
            loop {
                match self.notices.recv().await {
                    Some(Notice::Gathered(report)) => return Ok(report),
                    Some(Notice::Ended(Err(failure))) => return Err(failure),
                    Some(_) => {}
                    None => return Err(Failure::internal("the network thread is gone")),
                }
            }
        };
        let (report, samples) = tokio::join!(gather, ask_ntp(&ntp_names));
        let unix = u64::try_from(net::unix_nanos()).unwrap_or(0);
        Ok((report?, Clock::from_samples(&samples, unix, clock.now())))
    }

    /// Has the users swap addresses; gives both.
    async fn swap(
        &mut self,
        common: &Common,
        mut own: Address,
        mapped: &mut [Option<SocketAddr>; 4],
        front: &mut dyn Front,
    ) -> Result<(Address, Address), Failure> {
        if let Some(text) = &common.peer {
            let peer = Address::parse_peer(text, &own)
                .map_err(|e| Failure::usage(e.to_string(), "correct --peer, or leave it out to be asked"))?;
            return Ok((own, peer));
        }
        let mut pending = front.ask(Question::PeerAddress);
        loop {
            tokio::select! {
                answer = &mut pending => {
                    let Answer::Text(text) = answer? else { continue };
                    match Address::parse_peer(&text, &own) {
                        Ok(peer) => return Ok((own, peer)),
                        Err(e) => front.event(Event::Warning(e.to_string())),
                    }
                    pending = front.ask(Question::PeerAddress);
                }
                notice = self.notices.recv() => match notice {
                    Some(Notice::MappingChanged { socket, to }) => {
                        if let Some(place) = mapped.get_mut(usize::from(socket)) {
                            *place = Some(to);
                        }
                        if let Some(token) = &own.token
                            && let Some(new) = Address::own(token.role, token.key, token.nat, *mapped, token.candidates.clone())
                        {
                            own = new;
                            front.event(Event::Address { address: own.to_string(), change: Change::Changed });
                        }
                    }
                    Some(Notice::Ended(Err(failure))) => return Err(failure),
                    Some(_) => {}
                    None => return Err(Failure::internal("the network thread is gone")),
                },
                () = interrupted() => return Err(Failure::Interrupted),
            }
        }
    }

    /// Shows what happens until the end, and asks what has to be asked.
    async fn follow(
        &mut self,
        role: Role,
        common: &Common,
        yes: bool,
        clock: &Clock,
        front: &mut dyn Front,
    ) -> Result<Summary, Failure> {
        let mut pace = Pace::default();
        let mut trace = common.trace.as_deref().map(Trace::create).transpose()?;
        let mut link: Option<Link> = None;
        // A wait for the slot is told only if the own network did not have the peer at once.
        let mut waiting: Option<Time> = None;
        loop {
            let notice = tokio::select! {
                notice = self.notices.recv() => notice,
                () = tokio::time::sleep(NEARBY), if waiting.is_some() => {
                    if let Some(until) = waiting.take() {
                        self.tell_waiting(until, clock, front);
                    }
                    continue;
                }
                () = interrupted() => return Err(Failure::Interrupted),
            };
            match notice {
                Some(Notice::Punch(PunchEvent::Schedule(ScheduleEvent::Waiting { until, .. }))) => {
                    waiting = Some(until);
                }
                Some(Notice::Punch(event)) => self.on_punch(event, front)?,
                Some(Notice::Connected {
                    path,
                    kind,
                    rtt,
                    words,
                }) => {
                    self.linked = true;
                    waiting = None;
                    let found = Link {
                        remote: path.remote,
                        kind: kind.to_string(),
                        rtt: rtt.unwrap_or_default(),
                    };
                    front.event(Event::Connected(found.clone()));
                    link = Some(found);
                    if let Some(words) = words {
                        self.vouch(common, &words.join(" "), front).await?;
                    }
                    if role == Role::Sender {
                        front.event(Event::Info("Waiting for the other side to accept".into()));
                    }
                }
                Some(Notice::Connection(connection::Event::Moved(path))) => {
                    if let Some(link) = &mut link {
                        link.remote = path.remote;
                        front.event(Event::Reconnected(link.clone()));
                    }
                }
                Some(Notice::Connection(connection::Event::Silent)) => {
                    front.event(Event::Reconnecting {
                        silence: connection::SILENCE,
                    });
                }
                Some(Notice::Connection(connection::Event::Back)) => {
                    if let Some(link) = &link {
                        front.event(Event::Reconnected(link.clone()));
                    }
                }
                Some(Notice::Offered { offer, held, lines }) => {
                    self.consent(offer, held, lines, yes, front).await?;
                    self.command(Command::Accept);
                }
                Some(Notice::Started { held, total }) if held > 0 => {
                    front.event(Event::Resumed {
                        bytes: held,
                        total: total.unwrap_or(held),
                    });
                }
                Some(Notice::Progress {
                    done,
                    total,
                    stats,
                    silent,
                }) => {
                    if let Some(trace) = &mut trace {
                        trace.write(self.clock.now(), done, &stats);
                    }
                    if let Some(silence) = silent {
                        front.event(Event::Reconnecting { silence });
                    } else {
                        front.event(Event::Progress(pace.progress(
                            self.clock.now(),
                            done,
                            total,
                            &stats,
                        )));
                    }
                    front.event(Event::Stats(describe(&stats)));
                }
                Some(Notice::Info(text)) => front.event(Event::Info(text)),
                Some(Notice::Message(text)) => front.event(Event::Message(text)),
                Some(Notice::Ended(verdict)) => {
                    self.linked = false;
                    if let Ok(summary) = &verdict {
                        front.event(Event::Finished(summary.clone()));
                    }
                    return verdict;
                }
                Some(_) => {}
                None => return Err(Failure::internal("the network thread is gone")),
            }
        }
    }

    fn tell_waiting(&self, until: Time, clock: &Clock, front: &mut dyn Front) {
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
            PunchEvent::Failed(report) => {
                let (cause, next) = report.diagnosis();
                for line in report.to_string().lines().take(5) {
                    front.event(Event::Info(line.to_owned()));
                }
                return Err(Failure::no_path(cause, next));
            }
            PunchEvent::Notice(notice) => front.event(Event::Warning(notice.to_string())),
            PunchEvent::Reflexive(path) => {
                front.event(Event::Note(format!("heard the peer from {}", path.remote)));
            }
        }
        Ok(())
    }

    async fn vouch(&mut self, common: &Common, words: &str, front: &mut dyn Front) -> Result<(), Failure> {
        if common.insecure {
            front.event(Event::Warning(format!(
                "nobody vouched for the other side; its words are: {words}"
            )));
        } else {
            let answer = self.put(Question::ConfirmWords(words.to_owned()), front).await?;
            if answer != Answer::Yes {
                return Err(Failure::WordsDiffer);
            }
        }
        self.command(Command::Vouch);
        Ok(())
    }

    async fn consent(
        &mut self,
        offer: Offer,
        held: Option<u64>,
        lines: Vec<String>,
        yes: bool,
        front: &mut dyn Front,
    ) -> Result<(), Failure> {
        let total = (!offer.stream).then_some(offer.bytes);
        let name = offer_name(&offer);
        let size = total.map_or_else(
            || "a stream of unknown length".to_owned(),
            |t| units::Size(t).to_string(),
        );
        front.event(Event::Offer {
            entries: u64::from(offer.entries),
            bytes: total,
            lines,
        });
        if yes {
            return Ok(());
        }
        let question = match (held, total) {
            (Some(held), Some(total)) if total > 0 => {
                Question::Resume(format!("{name} at {}%", held.saturating_mul(100) / total))
            }
            _ => Question::Accept(format!("{name}, {size}")),
        };
        let answer = self.put(question, front).await?;
        if answer == Answer::Yes {
            Ok(())
        } else {
            Err(Failure::Refused(Party::Us))
        }
    }

    /// Asks the user once the peer is there; the peer may go while the user thinks.
    async fn put(&mut self, question: Question, front: &mut dyn Front) -> Result<Answer, Failure> {
        let mut pending = front.ask(question);
        loop {
            tokio::select! {
                answer = &mut pending => return Ok(answer?),
                () = interrupted() => return Err(Failure::Interrupted),
                notice = self.notices.recv() => match notice {
                    Some(Notice::Ended(verdict)) => {
                        self.linked = false;
                        return Err(verdict.err().unwrap_or(Failure::Cancelled(Party::Peer)));
                    }
                    Some(_) => {}
                    None => return Err(Failure::internal("the network thread is gone")),
                },
            }
        }
    }

    /// Tells the peer if this side ends of itself, and lets the network thread go.
    async fn leave(&mut self, ran: Result<Summary, Failure>) -> Result<Summary, Failure> {
        let Err(failure) = ran else { return ran };
        let code = match failure {
            Failure::Refused(_) => close::REFUSED,
            Failure::WordsDiffer => close::WORDS_DIFFER,
            Failure::Interrupted | Failure::Unanswered(_) => close::CANCELLED,
            _ => close::OTHER,
        };
        self.command(Command::Close {
            code,
            reason: "the user over there stopped it".into(),
        });
        if self.linked {
            let told = async { while !matches!(self.notices.recv().await, None | Some(Notice::Ended(_))) {} };
            // Not telling in time costs the peer a minute of looking for us, no more.
            let _ = tokio::time::timeout(FAREWELL, told).await;
        }
        Err(failure)
    }
}

/// What an offer is called in a question.
fn offer_name(offer: &Offer) -> String {
    let first = offer
        .top
        .first()
        .map(|t| t.name.display().to_string())
        .unwrap_or_default();
    match offer.top_count {
        0 | 1 => first,
        n => format!("{first} and {} more", n - 1),
    }
}
