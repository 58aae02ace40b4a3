//! Before there is a peer: finds out what this network is, and lets the users swap addresses.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::outside::{Forward, Unfit, peer_address};
use super::time::TimeKeeper;
use super::{UserSide, heard, peer_option};
use crate::app::command::{Command, Notice};
use crate::app::event::{Answer, Change, Event, Front, Question};
use crate::app::lookup::{ask_ntp, named, resolve};
use crate::app::options::Common;
use crate::app::outcome::Failure;
use crate::app::outlet;
use crate::app::told::{Info, Note, Warning};
use crate::net::{self, Echo};
use crate::protocol::time::Time;
use crate::rendezvous::address::{Address, Mapping};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::portmap::{Mapped, Worth};
use crate::rendezvous::servers;
use crate::rendezvous::stun::{StunClient, StunEvent, StunReport};

/// If a wait takes longer than this, the user is told why.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// After this long without a line, the user is told that the wait goes on.
const QUIET: Duration = Duration::from_millis(1500);

/// The first pause between two changed addresses that are shown. Each further pause is twice as long, up to
/// an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Limits how often a changed address is shown. A STUN server that names another address every 15 s cannot
/// fill the screen, and a real change is still shown.
pub(super) struct Telling {
    next: Time,
    pause: Duration,
}

impl Telling {
    pub(super) const fn new() -> Telling {
        Telling {
            next: Time::ZERO,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether a change may be shown now. If so, the caller must show it, and the next pause begins.
    pub(super) fn try_begin(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// The port of NTP servers (RFC 5905, section 7.2).
const NTP_PORT: u16 = 123;

/// If no server has answered after this, the run also tries other ports.
const SILENCE: Duration = Duration::from_secs(1);

/// What the run finds out while the users swap addresses.
pub(super) enum Aside {
    /// Which UDP ports this network lets out.
    Outlet(Outlet),
    /// The port that the router forwards, if it does.
    Mapped(Option<Mapped>),
    /// The answers of the routers nearby about packets to the peer.
    Nearby(Echo),
}

/// What the servers answered.
pub(in crate::app) struct Around {
    pub report: StunReport,
    pub clock: WallClock,
    /// STUN servers whose names were resolved.
    pub servers: Vec<SocketAddr>,
    /// Which UDP ports this network lets out, if no server answered at its own port.
    pub outlet: Option<Outlet>,
}

/// Waits for `work` and shows the steps it reports. Never stays silent for long.
pub(in crate::app) async fn tell_steps<T>(
    work: impl Future<Output = Result<T, Failure>>,
    told: &mut UnboundedReceiver<Info>,
    front: &mut dyn Front,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            Some(step) = told.recv() => front.event(Event::Info(step)),
            found = &mut work => {
                while let Ok(step) = told.try_recv() {
                    front.event(Event::Info(step));
                }
                return found;
            }
            () = tokio::time::sleep(QUIET) => front.event(Event::Info(Info::StillWaiting)),
        }
    }
}

impl UserSide<'_> {
    /// Like [`look_around`](Self::look_around), but tells the user if it takes long.
    pub(super) async fn look_patiently(&mut self, front: &mut dyn Front) -> Result<Around, Failure> {
        let (steps, mut told) = unbounded_channel();
        let common = self.common;
        let mut looking = std::pin::pin!(self.look_around(&steps));
        tokio::select! {
            found = &mut looking => return found,
            () = tokio::time::sleep(TOLD_AFTER) => {}
        }
        front.event(Event::Info(asking(common)));
        tell_steps(looking, &mut told, front).await
    }

    /// Asks all STUN and NTP servers at once. What they answer goes to `steps`.
    pub(super) async fn look_around(&mut self, steps: &UnboundedSender<Info>) -> Result<Around, Failure> {
        let stun_names = named(&self.common.stun, servers::STUN);
        let ntp_names = named(&self.common.ntp, servers::NTP);
        let clock = self.clock;
        // The receiver may be gone.
        let say = |step: Info| drop(steps.send(step));
        let local: Vec<SocketAddr> = self
            .local
            .candidates
            .iter()
            .filter(|c| c.is_ipv4())
            .flat_map(|c| self.ipv4.iter().map(|port| SocketAddr::new(c.ip(), *port)))
            .collect();
        let gather = async {
            let mut found = resolve(&stun_names).await;
            say(Info::StunServersFound {
                found: stun_servers(&found),
                asked: stun_names.len(),
            });
            let mut silent = std::pin::pin!({
                let found = found.clone();
                async move {
                    tokio::time::sleep(SILENCE).await;
                    outlet::when_silent(&found).await
                }
            });
            let mut outlet = None;
            self.gather(&found, &local);
            loop {
                let notice = tokio::select! {
                    notice = heard(&mut self.notices) => notice?,
                    told = &mut silent, if outlet.is_none() => {
                        outlet = Some(told);
                        continue;
                    }
                };
                match notice {
                    Notice::Stun(StunEvent::Answered { server, mapped }) => {
                        let outside = mapped;
                        say(Info::StunAnswer { server, outside });
                    }
                    Notice::Stun(StunEvent::Gathered(report)) if report.answered > 0 => {
                        // Servers answer the run's own sockets. If they do not answer others, the network only
                        // decides by the source port.
                        let outlet = outlet.map(|(outlet, _)| outlet);
                        let outlet = outlet.filter(|outlet| matches!(outlet, Outlet::Ports(_)));
                        return Ok::<_, Failure>((report, found, outlet));
                    }
                    Notice::Stun(StunEvent::Gathered(report)) => {
                        let (verdict, elsewhere) = match outlet {
                            Some(told) => told,
                            None => silent.as_mut().await,
                        };
                        if elsewhere.is_empty() || elsewhere == found {
                            return Ok((report, found, Some(verdict)));
                        }
                        // These servers answer, but at other ports than their own.
                        self.gather(&elsewhere, &local);
                        outlet = Some((verdict, Vec::new()));
                        found = elsewhere;
                    }
                    _ => {}
                }
            }
        };
        let ask = async {
            let samples = ask_ntp(&ntp_names).await;
            say(Info::NtpAnswers {
                answered: samples.len(),
                asked: ntp_names.len(),
            });
            samples
        };
        let (gathered, samples) = tokio::join!(gather, ask);
        let (report, servers, outlet) = gathered?;
        // If no STUN server answers but NTP servers do, the NTP port is open.
        let outlet = match outlet {
            Some(outlet) if !samples.is_empty() && all_at_their_port(&ntp_names) => {
                Some(outlet.and(NTP_PORT))
            }
            outlet => outlet,
        };
        let time = WallClock::from_samples(&samples, net::unix_nanos(), clock.now());
        self.time = Some(TimeKeeper::new(ntp_names, clock, time));
        Ok(Around {
            report,
            clock: time,
            servers,
            outlet,
        })
    }

    /// Tells the network thread to ask these servers.
    fn gather(&mut self, servers: &[SocketAddr], local: &[SocketAddr]) {
        let seed = self.seeds.stun.seed();
        let sockets = u8::try_from(self.ipv4.len()).unwrap_or(u8::MAX);
        let ipv6 = self.ipv6.map(|(socket, _)| socket);
        let client = StunClient::new(servers, sockets, ipv6, local, &seed, self.clock.now());
        self.command(Command::Gather(Box::new(client)));
    }

    /// Lets the users swap addresses. Returns both.
    pub(super) async fn swap(
        &mut self,
        mut own: Address,
        front: &mut dyn Front,
    ) -> Result<(Address, Address), Failure> {
        if let Some(text) = &self.common.peer {
            let peer = Address::parse_peer(text, &own).map_err(peer_option)?;
            return Ok((own, peer));
        }
        let mut pending = front.ask(Question::PeerAddress);
        let mut unfit = None;
        let (mut telling, mut changed) = (Telling::new(), false);
        loop {
            if changed && telling.try_begin(self.clock.now()) {
                changed = false;
                if let Some(new) = self.tell_changed(&own, front) {
                    own = new;
                }
            }
            tokio::select! {
                answer = &mut pending => {
                    let answer = match (answer, unfit.take()) {
                        (Err(_), Some(Unfit::OutOfReach(obstacle))) => {
                            return Err(Failure::no_path(obstacle.to_string(), obstacle.remedy()));
                        }
                        (answer, _) => answer?,
                    };
                    let Answer::Text(text) = answer else { continue };
                    match peer_address(&text, &own, &self.local.networks) {
                        Ok(peer) => return Ok((own, peer)),
                        Err(error) => {
                            let why = error.to_string();
                            front.event(Event::Warning(Warning::Unfit { why }));
                            unfit = Some(error);
                        }
                    }
                    pending = front.ask(Question::PeerAddress);
                }
                Some(Ok(aside)) = self.asides.join_next() => {
                    if let Some(better) = self.on_aside(aside, front) {
                        own = better;
                    }
                }
                notice = heard(&mut self.notices) => {
                    if let Notice::Stun(StunEvent::MappingChanged { socket, to, .. }) = notice? {
                        if let Some(outside) = &mut self.outside {
                            outside.on_mapping(socket, to);
                        }
                        changed = true;
                    }
                }
                () = tokio::time::sleep(telling.next.since(self.clock.now())), if changed => {}
            }
        }
    }

    /// Shows our address if it is no longer `told`, because the router has given a socket another one.
    pub(super) fn tell_changed(&self, told: &Address, front: &mut dyn Front) -> Option<Address> {
        let new = self.outside.as_ref()?.address().filter(|new| new != told)?;
        front.event(Event::Address {
            address: new.to_string(),
            change: Change::Changed,
        });
        Some(new)
    }

    /// Takes a fact that was found out meanwhile. Returns a better address if there is one now.
    fn on_aside(&mut self, aside: Aside, front: &mut dyn Front) -> Option<Address> {
        match aside {
            // Nobody is asked before there is a peer.
            Aside::Nearby(_) => None,
            Aside::Outlet(outlet) => {
                if let Some(warning) = Warning::of_outlet(&outlet) {
                    front.event(Event::Warning(warning));
                }
                self.outlet = Some(outlet);
                None
            }
            Aside::Mapped(mapped) => {
                let before = self.outside.as_ref()?.address();
                self.take_mapping(mapped?, front)?;
                let better = self.outside.as_ref()?.address()?;
                self.told_before = before;
                let instead = better.nat().mapping == Mapping::Dependent;
                front.event(Event::Info(Info::BetterAddress { instead }));
                front.event(Event::Address {
                    address: better.to_string(),
                    change: Change::Better,
                });
                Some(better)
            }
        }
    }

    /// Puts the port that the router forwards into the address, if a peer outside can use it.
    pub(super) fn take_mapping(&mut self, mapped: Mapped, front: &mut dyn Front) -> Option<()> {
        let outside = self.outside.as_mut()?;
        let seen = outside.mapped[0].map(|seen| seen.ip());
        match Worth::of(mapped, seen) {
            worth @ Worth::Good(mapped) => {
                front.event(Event::Note(Note::Mapped(worth)));
                outside.forward = Some(Forward::Mapped(mapped.external));
                Some(())
            }
            worth => {
                front.event(Event::Info(Info::UselessMapping(worth)));
                None
            }
        }
    }
}

/// The line that tells which servers a run asks for its outside address and the time.
pub(super) fn asking(common: &Common) -> Info {
    Info::AskingServers {
        stun: named(&common.stun, servers::STUN).len(),
        ntp: named(&common.ntp, servers::NTP).len(),
    }
}

/// Whether all these NTP servers are at the NTP port.
fn all_at_their_port(ntp_names: &[String]) -> bool {
    ntp_names.iter().all(|name| {
        name.rsplit_once(':')
            .is_some_and(|(_, port)| port.parse() == Ok(NTP_PORT))
    })
}

/// The number of servers: each has at most one address of either IP version.
fn stun_servers(found: &[SocketAddr]) -> usize {
    let of_family = |ipv6: bool| found.iter().filter(|at| at.is_ipv6() == ipv6).count();
    of_family(false).max(of_family(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::event::{Cancelled, Pending};

    struct Lines {
        told: Vec<Info>,
        on_silence: Option<tokio::sync::oneshot::Sender<()>>,
    }

    impl Front for Lines {
        fn event(&mut self, event: Event) {
            let Event::Info(info) = event else { return };
            if info == Info::StillWaiting
                && let Some(go_on) = self.on_silence.take()
            {
                let _ = go_on.send(());
            }
            self.told.push(info);
        }

        fn ask(&mut self, _: Question) -> Pending {
            Pending::ready(Err(Cancelled::EndOfInput))
        }
    }

    fn answers(answered: usize) -> Info {
        Info::NtpAnswers { answered, asked: 2 }
    }

    #[tokio::test]
    async fn what_comes_in_is_told_before_the_result_and_silence_is_too() {
        let (go_on, silence_told) = tokio::sync::oneshot::channel();
        let mut front = Lines {
            told: Vec::new(),
            on_silence: Some(go_on),
        };
        let (steps, mut told) = unbounded_channel();
        let work = async move {
            let _ = steps.send(answers(1));
            let _ = silence_told.await;
            let _ = steps.send(answers(2));
            Ok::<_, Failure>(7)
        };
        let found = tell_steps(work, &mut told, &mut front).await;
        assert_eq!(found, Ok(7));
        assert_eq!(front.told, [answers(1), Info::StillWaiting, answers(2)]);
    }

    #[test]
    fn an_address_that_keeps_changing_is_told_ever_more_rarely() {
        let mut telling = Telling::new();
        let every_15_s = (0..10 * 240).map(|i| Time::ZERO + Duration::from_secs(15 * i));
        let told: Vec<_> = every_15_s.filter(|&now| telling.try_begin(now)).collect();
        assert!(told.len() < 20, "{told:?}");
        assert_eq!(told[0], Time::ZERO, "the first change is told at once");
        let last = told[told.len() - 1];
        assert!(
            telling.try_begin(last + LONGEST_PAUSE),
            "and a later one within an hour"
        );
    }
}
