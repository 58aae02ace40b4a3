//! One run, as its user lives it: find out what this network is and swap addresses (`lobby`), then meet the peer
//! and transfer (`follow`).

mod follow;
mod lobby;
mod look;
mod meet;
mod seeds;
mod tcp;
mod time;

use super::close;
use super::command::{Command, Notice};
use super::event::{Change, Event, Front};
use super::lookup::named;
use super::machine::{controller, hardware_aes};
use super::options::Common;
use super::outcome::{Failure, Summary};
use super::relaying::Relaying;
use super::session::{Session, Settings, Side};
use super::trace::Trace;
use super::units::Size;
use super::wording::{tell_clock, tell_network};
use crate::net::{self, Door, Driver, Waker};
use crate::protocol::connection::{self};
use crate::protocol::handshake::PublicKey;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Address, AddressError, Filtering, NatClass};
use crate::rendezvous::clock::Clock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::wire::Terms;
use crate::rendezvous::punch::{Ipv6Socket, Punch, PunchConfig};
use crate::rendezvous::servers;
use crate::rendezvous::stun::StunReport;
use lobby::Around;
pub(super) use lobby::tell_steps;
pub(super) use look::look_at_server;
use meet::Found;
use seeds::{Handshake, Seeds};
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use time::TimeKeeper;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
    let mut lobby = Lobby::open(common, front, |_| Ok(Box::new(Idle)))?;
    front.event(Event::Info(format!(
        "Asking {} for your outside address and {} for the time",
        counted(named(&common.stun, servers::STUN).len(), "STUN server"),
        counted(named(&common.ntp, servers::NTP).len(), "NTP server")
    )));
    let (steps, mut told) = unbounded_channel();
    let looking = lobby.look_around(common, &steps);
    let around = tell_steps(looking, &mut told, front).await?;
    Ok(Seen {
        candidates: lobby.local.candidates.clone(),
        report: around.report,
        clock: around.clock,
        servers: around.servers,
    })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
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
    errand: Errand,
    common: &Common,
    yes: bool,
    front: &mut dyn Front,
    side: impl FnOnce(Parts) -> Result<Box<dyn Side>, Failure>,
) -> Result<Summary, Failure> {
    if let Some(text) = &common.peer
        && !Code::is_meant_by(text)
    {
        // Better to learn now than after the servers have been asked.
        Address::parse_other(text, errand).map_err(peer_option)?;
    }
    let trace = common.trace.as_deref().map(Trace::create).transpose()?;
    let mut lobby = Lobby::open(common, front, side)?;
    lobby.trace = trace;
    let ran = lobby.run(errand, common, yes, front).await;
    lobby.leave(ran).await
}

/// The thread that talks to the user, and its line to the network thread.
struct Lobby {
    clock: net::Clock,
    waker: Waker,
    /// Where streams of TCP go in.
    door: Door,
    commands: Sender<Command>,
    notices: UnboundedReceiver<Notice>,
    ipv4: Vec<u16>,
    ipv6: Option<(u8, u16)>,
    local: net::Local,
    seeds: Seeds,
    linked: bool,
    trace: Option<Trace>,
    /// The time, as the servers told it.
    time: Option<TimeKeeper>,
    /// A server knows of us.
    meets: bool,
    /// The user has ended the chat.
    has_ended: bool,
    /// What its relay gives, if it may be used.
    relay: Option<Terms>,
}

/// What is wrong with `--peer`.
fn peer_option(error: AddressError) -> Failure {
    Failure::usage(error.to_string(), "correct --peer, or leave it out to be asked")
}

/// What a small socket buffer means, and how to have a larger one.
fn small_buffer(bytes: usize) -> String {
    let remedy = if cfg!(target_os = "linux") {
        "; sysctl net.core.rmem_max=4194304 allows more"
    } else if cfg!(target_os = "macos") {
        "; sysctl kern.ipc.maxsockbuf=8388608 allows more"
    } else {
        ""
    };
    let size = Size(bytes as u64);
    format!("the system buffers {size} of arriving packets, which is little for more than 1 Gbit/s{remedy}")
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
        common: &Common,
        front: &mut dyn Front,
        side: impl FnOnce(Parts) -> Result<Box<dyn Side>, Failure>,
    ) -> Result<Self, Failure> {
        let broken = |e: std::io::Error| Failure::other(e.to_string(), "check the limits of this system");
        let clock = net::Clock::start();
        let ports =
            net::bind(common.localport, common.offload).map_err(|e| socket_failure(common.localport, &e))?;
        let (ipv4, ipv6) = (ports.ipv4.clone(), ports.ipv6);
        let local = net::local(ipv4[0], ipv6.map(|(_, port)| port));
        front.event(Event::LocalPort(ipv4[0]));
        if let Some(bytes) = ports.small_buffer() {
            front.event(Event::Note(small_buffer(bytes)));
        }
        let seeds = Seeds::new(net::random_seed().map_err(broken)?);
        let mut driver = Driver::new(ports, clock).map_err(broken)?;
        let waker = driver.waker();
        let door = driver.door();
        let (commands, inbox) = channel();
        let (tell, notices) = unbounded_channel();
        let parts = Parts {
            waker: waker.clone(),
            clock,
            notices: tell.clone(),
        };
        let side = side(parts)?;
        let settings = Settings {
            controller: controller(common.congestion, seeds.jitter),
            limit: common.limit,
            patience: common.timeout,
            seed: seeds.connection.clone(),
            trace: common.trace.is_some(),
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
            door,
            commands,
            notices,
            ipv4,
            ipv6,
            local,
            seeds,
            linked: false,
            trace: None,
            time: None,
            meets: false,
            has_ended: false,
            relay: None,
        })
    }

    fn command(&self, command: Command) {
        // The network thread is gone only after it told its end.
        let _ = self.commands.send(command);
        self.waker.wake();
    }

    async fn run(
        &mut self,
        errand: Errand,
        common: &Common,
        yes: bool,
        front: &mut dyn Front,
    ) -> Result<Summary, Failure> {
        let key = self.seeds.public;
        let met = match &common.server {
            Some(place) => self.meet(errand, key, common, place, front).await?,
            None => None,
        };
        let found = match met {
            Some(found) => found,
            None => self.look_and_swap(errand, key, common, front).await?,
        };
        let Found {
            own,
            peer,
            clock,
            moment,
            relay,
            unproven,
        } = found;
        // The users may have taken their time, or put the machine to sleep.
        let keeper = self.time.take().filter(|_| moment.is_none());
        // A server's clock is the other's as well: it is only carried over a jump.
        let mut keeper = keeper.unwrap_or_else(|| TimeKeeper::new(Vec::new(), self.clock, clock));
        let clock = keeper.now().await;
        let role = match &peer.token {
            Some(token) => errand.role(&key, &token.key),
            None => errand.role(&key, &key),
        };
        let Some(Handshake { keypair, seed }) = self.seeds.handshake.take() else {
            return Err(Failure::internal("a run has one handshake"));
        };
        let config = PunchConfig {
            role,
            keypair,
            own,
            peer,
            clock,
            low_ttl: common.ttl,
            not_before: 0,
            timeout: common.timeout,
            ipv6: self.ipv6.map(|(socket, _)| Ipv6Socket {
                socket,
                zones: self.local.zones.clone(),
            }),
            hardware_aes: hardware_aes(),
            verify: common.verify || unproven,
            seed,
        };
        let mut punch = Punch::new(config, self.clock.now()).map_err(|e| {
            Failure::other(
                e.to_string(),
                "start both sides again and swap the lines they print then",
            )
        })?;
        let now = self.clock.now();
        if let Some(moment) = moment {
            punch.meet_at(moment, now);
        }
        self.relay = relay.as_ref().map(|pass| pass.terms);
        if let Some(pass) = relay {
            punch.expect_relay(pass.path);
            let relaying = Relaying::new(*pass, common.relay, moment.unwrap_or(now));
            self.command(Command::Relay(Box::new(relaying)));
        }
        self.command(Command::Punch(Box::new(punch)));
        self.follow((errand, role), common, yes, keeper, front).await
    }

    /// Finds out what this network is, and has the users swap addresses.
    async fn look_and_swap(
        &mut self,
        errand: Errand,
        key: PublicKey,
        common: &Common,
        front: &mut dyn Front,
    ) -> Result<Found, Failure> {
        let candidates = self.local.candidates.clone();
        let Around { report, clock, .. } = self.look_patiently(common, front).await?;
        tell_clock(front, &clock);
        let nat = NatClass {
            mapping: report.mapping,
            filtering: Filtering::Untested,
        };
        tell_network(front, &report, nat);
        let mut mapped = report.mapped;
        let own = Address::own(errand, key, nat, mapped, candidates).ok_or_else(|| {
            Failure::other("this computer has no network address", "connect it to a network")
        })?;
        front.event(Event::Address {
            address: own.to_string(),
            change: Change::First,
        });
        let (own, peer) = self.swap(common, own, &mut mapped, front).await?;
        Ok(Found {
            own,
            peer,
            clock,
            moment: None,
            relay: None,
            unproven: false,
        })
    }

    /// Tells the peer if this side ends of itself, and lets the network thread go.
    async fn leave(&mut self, ran: Result<Summary, Failure>) -> Result<Summary, Failure> {
        let Err(failure) = ran else { return ran };
        let code = match failure {
            Failure::Refused(_) | Failure::NotResumed | Failure::Hidden => close::REFUSED,
            Failure::WordsDiffer => close::WORDS_DIFFER,
            Failure::Interrupted | Failure::Unanswered(_) => close::CANCELLED,
            _ => close::OTHER,
        };
        self.command(Command::Close {
            code,
            reason: "the user over there stopped it".into(),
        });
        if self.linked || self.meets {
            let told = async { while !matches!(self.notices.recv().await, None | Some(Notice::Ended(_))) {} };
            // Not telling in time costs the peer a minute of looking for us, no more.
            let _ = tokio::time::timeout(FAREWELL, told).await;
        }
        Err(failure)
    }
}
