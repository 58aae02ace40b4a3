//! Before there is a peer: what this network is, and the two addresses.

use super::time::TimeKeeper;
use super::{Lobby, peer_option};
use crate::app::command::{Command, Notice};
use crate::app::event::{Answer, Change, Event, Front, Question};
use crate::app::lookup::{ask_ntp, named, resolve};
use crate::app::options::Common;
use crate::app::outcome::Failure;
use crate::net;
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::Clock;
use crate::rendezvous::servers;
use crate::rendezvous::stun::{StunClient, StunReport};
use crate::system::stopped;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A wait longer than this is explained.
const PATIENCE: Duration = Duration::from_secs(1);

/// After so long without news, that it goes on is news.
const QUIET: Duration = Duration::from_millis(1500);

/// How long a changed address is not told again: twice as long each time, up to an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// When a changed address is told. A STUN server that names another one every 15 s fills no screen, and a NAT that does
/// change is told all the same.
struct Telling {
    next: Time,
    pause: Duration,
}

impl Telling {
    const fn new() -> Telling {
        Telling {
            next: Time::ZERO,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether one may be told now; it is.
    fn is_due(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// What the servers said.
pub(super) struct Around {
    pub(super) report: StunReport,
    pub(super) clock: Clock,
    /// STUN servers whose names are known.
    pub(super) servers: Vec<SocketAddr>,
}

/// Waits for `work` and shows what it says on its way; never silent for long.
pub(in crate::app) async fn tell_steps<T>(
    work: impl Future<Output = Result<T, Failure>>,
    told: &mut UnboundedReceiver<String>,
    front: &mut dyn Front,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            Some(line) = told.recv() => front.event(Event::Info(line)),
            found = &mut work => {
                while let Ok(line) = told.try_recv() {
                    front.event(Event::Info(line));
                }
                return found;
            }
            () = stopped() => return Err(Failure::Interrupted),
            () = tokio::time::sleep(QUIET) => front.event(Event::Info("Still waiting for answers".into())),
        }
    }
}

impl Lobby {
    /// [`look_around`](Self::look_around), with a word if it takes long.
    pub(super) async fn look_patiently(
        &mut self,
        common: &Common,
        front: &mut dyn Front,
    ) -> Result<Around, Failure> {
        let (steps, mut told) = unbounded_channel();
        let mut looking = std::pin::pin!(self.look_around(common, &steps));
        tokio::select! {
            found = &mut looking => return found,
            () = tokio::time::sleep(PATIENCE) => {}
            () = stopped() => return Err(Failure::Interrupted),
        }
        front.event(Event::Info(
            "Asking STUN servers for your outside address, NTP servers for the time".into(),
        ));
        tell_steps(looking, &mut told, front).await
    }

    /// Asks STUN and NTP servers, all at once; what comes in goes to `steps`, in words.
    pub(super) async fn look_around(
        &mut self,
        common: &Common,
        steps: &UnboundedSender<String>,
    ) -> Result<Around, Failure> {
        let stun_names = named(&common.stun, servers::STUN);
        let ntp_names = named(&common.ntp, servers::NTP);
        let clock = self.clock;
        // Nobody need listen.
        let say = |line: String| drop(steps.send(line));
        let local: Vec<SocketAddr> = self
            .local
            .candidates
            .iter()
            .filter(|c| c.is_ipv4())
            .flat_map(|c| self.ipv4.iter().map(|port| SocketAddr::new(c.ip(), *port)))
            .collect();
        let gather = async {
            let found = resolve(&stun_names).await;
            say(format!(
                "{} of {} STUN servers are known to the name server",
                found.len(),
                stun_names.len()
            ));
            let seed = self.seeds.stun.seed();
            let sockets = u8::try_from(self.ipv4.len()).unwrap_or(u8::MAX);
            let client = StunClient::new(&found, sockets, &local, &seed, clock.now());
            let _ = self.commands.send(Command::Gather(Box::new(client)));
            self.waker.wake();
            loop {
                match self.notices.recv().await {
                    Some(Notice::Answered { server, mapped }) => {
                        say(format!("STUN server {server} sees {mapped}"));
                    }
                    Some(Notice::Gathered(report)) => return Ok((report, found)),
                    Some(Notice::Ended(Err(failure))) => return Err(failure),
                    Some(_) => {}
                    None => return Err(Failure::internal("the network thread is gone")),
                }
            }
        };
        let ask = async {
            let samples = ask_ntp(&ntp_names).await;
            say(format!(
                "{} of {} NTP servers answered",
                samples.len(),
                ntp_names.len()
            ));
            samples
        };
        let (gathered, samples) = tokio::join!(gather, ask);
        let (report, servers) = gathered?;
        let unix = u64::try_from(net::unix_nanos()).unwrap_or(0);
        let time = Clock::from_samples(&samples, unix, clock.now());
        self.time = Some(TimeKeeper::new(ntp_names, clock, time));
        Ok(Around {
            report,
            clock: time,
            servers,
        })
    }

    /// Has the users swap addresses; gives both.
    pub(super) async fn swap(
        &mut self,
        common: &Common,
        mut own: Address,
        mapped: &mut [Option<SocketAddr>; 4],
        front: &mut dyn Front,
    ) -> Result<(Address, Address), Failure> {
        if let Some(text) = &common.peer {
            let peer = Address::parse_peer(text, &own).map_err(peer_option)?;
            return Ok((own, peer));
        }
        let mut pending = front.ask(Question::PeerAddress);
        let (mut telling, mut changed) = (Telling::new(), false);
        loop {
            if changed && telling.is_due(self.clock.now()) {
                changed = false;
                if let Some(new) = own.seen_at(*mapped)
                    && new != own
                {
                    own = new;
                    front.event(Event::Address {
                        address: own.to_string(),
                        change: Change::Changed,
                    });
                }
            }
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
                        changed = true;
                    }
                    Some(Notice::Ended(Err(failure))) => return Err(failure),
                    Some(_) => {}
                    None => return Err(Failure::internal("the network thread is gone")),
                },
                () = tokio::time::sleep(telling.next.since(self.clock.now())), if changed => {}
                () = stopped() => return Err(Failure::Interrupted),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::event::{Cancelled, Pending};

    struct Lines {
        told: Vec<String>,
        on_silence: Option<tokio::sync::oneshot::Sender<()>>,
    }

    impl Front for Lines {
        fn event(&mut self, event: Event) {
            let Event::Info(line) = event else { return };
            if line.starts_with("Still")
                && let Some(go_on) = self.on_silence.take()
            {
                let _ = go_on.send(());
            }
            self.told.push(line);
        }

        fn ask(&mut self, _: Question) -> Pending {
            Pending::ready(Err(Cancelled::EndOfInput))
        }
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
            let _ = steps.send("first".to_owned());
            let _ = silence_told.await;
            let _ = steps.send("last".to_owned());
            Ok::<_, Failure>(7)
        };
        let found = tell_steps(work, &mut told, &mut front).await;
        assert_eq!(found, Ok(7));
        assert_eq!(front.told, ["first", "Still waiting for answers", "last"]);
    }

    #[test]
    fn an_address_that_keeps_changing_is_told_ever_more_rarely() {
        let mut telling = Telling::new();
        let every_15_s = (0..10 * 240).map(|i| Time::ZERO + Duration::from_secs(15 * i));
        let told: Vec<_> = every_15_s.filter(|&now| telling.is_due(now)).collect();
        assert!(told.len() < 20, "{told:?}");
        assert_eq!(told[0], Time::ZERO, "the first change is told at once");
        let last = told[told.len() - 1];
        assert!(
            telling.is_due(last + LONGEST_PAUSE),
            "and a later one within an hour"
        );
    }
}
