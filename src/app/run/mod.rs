//! One run, in the order in which its user sees it: find out what this network is and swap addresses
//! (`lobby`), then meet the peer and transfer (`follow`).

mod follow;
mod lobby;
mod look;
mod meet;
mod moved;
mod nearby;
mod outside;
mod punching;
mod seeds;
mod time;

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};

use super::close;
use super::command::{Command, Notice};
use super::event::{Change, Event, Front, Link};
use super::lookup::nat64;
use super::machine::{controller, hardware_aes};
use super::options::Common;
use super::outcome::{Failure, Summary};
use super::outlet;
use super::port_mapping::Mapper;
use super::relaying::Relaying;
use super::session::{Session, Settings, Side};
use super::told::Note;
use super::trace::Trace;
use super::unless_stopped;
use super::wording::os_errors::of_socket;
use super::wording::{tell_clock, tell_forward, tell_network};
use crate::net::{self, Door, Driver, Waker};
use crate::protocol::Role;
use crate::protocol::handshake::PublicKey;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Address, AddressError, Filtering, Guessing, Mapping, NatClass};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::relay::{RelayPass, RelayUse};
use crate::rendezvous::meeting::wire::Terms;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::punch::{Ipv6Socket, Punch, PunchConfig, Surroundings, obstacle};
use crate::system::insisted;
pub(super) use lobby::tell_steps;
use lobby::{Around, Aside};
pub(super) use look::{Seen, look, look_at_server};
use meet::Found;
use outside::{Forward, Outside};
use seeds::{Handshake, Seeds};
use time::TimeKeeper;

/// After the user stopped the run: the longest wait until the peer and the server were told. It takes a round trip. Without
/// answers the connection ends after 0.7 s and the goodbye to the server after 0.3 s more, unless this machine is too busy for
/// the network thread. Windows ends a program 5 s after its console was closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a side needs from the run.
pub(super) struct Parts {
    /// Wakes the network thread.
    pub waker: Waker,
    /// The run's clock.
    pub clock: net::Clock,
    /// The channel that tells the user's thread what happens.
    pub notices: UnboundedSender<Notice>,
}

/// Runs one end, from binding sockets to the outcome.
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
        // It is better to fail now than after the servers were asked.
        Address::parse_other(text, errand).map_err(peer_option)?;
    }
    let trace = common.trace.as_deref().map(Trace::create).transpose()?;
    let mut user = UserSide::open(errand, common, nat64().await, front, side)?;
    user.trace = trace;
    let ran = unless_stopped(user.run(yes, front)).await;
    user.leave(ran).await
}

/// What a run needs once both addresses are known.
struct Run {
    role: Role,
    /// Whether the user agreed beforehand (`--yes`).
    yes: bool,
    own: Address,
    /// Whether only a name vouches for the peer.
    unproven: bool,
}

/// The side of the run that talks to the user, from the first socket to the end. Commands go to the network
/// thread, and notices come from it.
struct UserSide<'a> {
    errand: Errand,
    common: &'a Common,
    clock: net::Clock,
    waker: Waker,
    /// Takes TCP streams for the network thread.
    door: Door,
    commands: Sender<Command>,
    notices: UnboundedReceiver<Notice>,
    ipv4: Vec<u16>,
    ipv6: Option<(u8, u16)>,
    local: net::Local,
    seeds: Seeds,
    /// The path to the peer, once it was found.
    link: Option<Link>,
    trace: Option<Trace>,
    /// The time, as the servers told it.
    time: Option<TimeKeeper>,
    /// Whether a server knows of this run.
    meets: bool,
    /// The peer's key, if its whole address is known.
    peer_key: Option<PublicKey>,
    /// Whether the user has ended the chat.
    has_ended: bool,
    /// The limits of the server's relay and when to use it, if the run may.
    relay: Option<(Terms, RelayUse)>,
    /// What was found out about our own address; `None` if only a server told it.
    outside: Option<Outside>,
    /// Our address before the router forwarded a port, if it was shown.
    told_before: Option<Address>,
    /// Which UDP ports this network lets out, if that was found out.
    outlet: Option<Outlet>,
    /// Renews the port that the router forwards.
    mapper: Option<Mapper>,
    /// What the run finds out while the users swap addresses.
    asides: JoinSet<Aside>,
    asking_nearby: Option<AbortHandle>,
}

/// The next notice of the network thread. An error if the run failed there.
async fn heard(notices: &mut UnboundedReceiver<Notice>) -> Result<Notice, Failure> {
    match notices.recv().await {
        Some(Notice::Ended(Err(failure))) => Err(failure),
        Some(notice) => Ok(notice),
        None => Err(Failure::internal("the network thread is gone")),
    }
}

/// The failure for an unusable `--peer`.
fn peer_option(error: AddressError) -> Failure {
    Failure::usage(error.to_string(), "correct --peer, or leave it out to be asked")
}

fn socket_failure(port: Option<u16>, error: std::io::Error) -> Failure {
    match port {
        Some(port) => Failure::other(
            format!("cannot use UDP port {port}: {}", of_socket(&error)),
            "choose another with --localport, or leave it out",
        ),
        None => Failure::system(error),
    }
}

impl<'a> UserSide<'a> {
    fn open(
        errand: Errand,
        common: &'a Common,
        nat64: Option<net::Nat64>,
        front: &mut dyn Front,
        side: impl FnOnce(Parts) -> Result<Box<dyn Side>, Failure>,
    ) -> Result<Self, Failure> {
        let clock = net::Clock::start();
        let ports = net::bind(common.localport, common.offload, nat64)
            .map_err(|e| socket_failure(common.localport, e))?;
        let (ipv4, ipv6) = (ports.ipv4.clone(), ports.ipv6);
        let local = net::local(ipv4[0], ipv6.map(|(_, port)| port));
        front.event(Event::LocalPort(ipv4[0]));
        if let Some(bytes) = ports.small_buffer() {
            front.event(Event::Note(Note::SmallBuffer { bytes }));
        }
        let seeds = Seeds::new(net::random_seed().map_err(Failure::system)?);
        let mut driver = Driver::new(ports, clock).map_err(Failure::system)?;
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
            peer_timeout: common.timeout,
            seed: seeds.connection.clone(),
            trace: common.trace.is_some(),
        };
        std::thread::Builder::new()
            .name("net".into())
            .spawn(move || {
                let mut session = Session::new(settings, side, inbox, tell.clone());
                while !session.is_over() {
                    if let Err(e) = driver.turn(&mut session) {
                        let why = format!("the network failed: {}", of_socket(&e));
                        let failure = Failure::other(why, "run the command again");
                        // The receiver is gone only while the run ends.
                        let _ = tell.send(Notice::Ended(Err(failure)));
                        return;
                    }
                }
            })
            .map_err(Failure::system)?;
        Ok(UserSide {
            errand,
            common,
            clock,
            waker,
            door,
            commands,
            notices,
            ipv4,
            ipv6,
            local,
            seeds,
            link: None,
            trace: None,
            time: None,
            meets: false,
            peer_key: None,
            has_ended: false,
            relay: None,
            outside: None,
            told_before: None,
            outlet: None,
            mapper: None,
            asides: JoinSet::new(),
            asking_nearby: None,
        })
    }

    fn command(&self, command: Command) {
        // The network thread is gone only after it has told its end.
        let _ = self.commands.send(command);
        self.waker.wake();
    }

    async fn run(&mut self, yes: bool, front: &mut dyn Front) -> Result<Summary, Failure> {
        let met = match &self.common.server {
            Some(place) => self.meet(place, front).await?,
            None => None,
        };
        let found = match met {
            Some(found) => found,
            None => self.look_and_swap(front).await?,
        };
        let Found {
            own,
            peer,
            clock,
            moment,
            relay,
            unproven,
        } = found;
        if relay.is_none()
            && let Some(certain) = obstacle(&own, &peer, &self.local.networks)
            && certain.is_certain()
        {
            return Err(Failure::no_path(certain.to_string(), certain.remedy()));
        }
        // The users may have taken long, or this machine may have slept.
        let keeper = self.time.take().filter(|_| moment.is_none());
        // Both sides have the time of the server where they met. It only has to be corrected if a clock of
        // this machine jumps.
        let mut keeper = keeper.unwrap_or_else(|| TimeKeeper::new(Vec::new(), self.clock, clock));
        let clock = keeper.now().await;
        let run = Run {
            role: self.role(&peer),
            yes,
            own,
            unproven,
        };
        self.punch(&run, clock, peer, moment, relay)?;
        self.follow(&run, keeper, front).await
    }

    /// Our role towards the peer with this address.
    fn role(&self, peer: &Address) -> Role {
        let key = self.seeds.public;
        self.errand
            .role(&key, &peer.token.as_ref().map_or(key, |token| token.key))
    }

    /// Begins to look for the peer; also when the user pastes another address.
    fn punch(
        &mut self,
        run: &Run,
        clock: WallClock,
        peer: Address,
        moment: Option<Time>,
        relay: Option<Box<RelayPass>>,
    ) -> Result<(), Failure> {
        let role = self.role(&peer);
        self.ask_nearby_for(&run.own, &peer);
        self.peer_key = peer.token.as_ref().map(|token| token.key);
        let between = obstacle(&run.own, &peer, &self.local.networks);
        self.relay = relay.as_ref().map(|pass| {
            let hides = peer.reflexive == pass.path.remote;
            let uses = if hides { RelayUse::Only } else { self.common.relay };
            (pass.terms, uses)
        });
        let Some(Handshake { keypair, seeds }) = &mut self.seeds.handshake else {
            return Err(Failure::internal("the handshake is over"));
        };
        let config = PunchConfig {
            role,
            keypair: keypair.clone(),
            own: run.own.clone(),
            peer,
            clock,
            low_ttl: self.common.ttl,
            timeout: self.common.timeout,
            ipv6: self.ipv6.map(|(socket, _)| Ipv6Socket {
                socket,
                zones: self.local.zones.clone(),
            }),
            around: Surroundings {
                networks: self.local.networks.clone(),
                outlet: self.outlet.clone(),
                told_before: self.told_before.clone(),
                relay: relay.as_ref().map(|pass| pass.path),
            },
            hardware_aes: hardware_aes(),
            verify: self.common.verify || run.unproven,
            seed: seeds.seed(),
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
        if let Some((pass, (_, uses))) = relay.zip(self.relay) {
            let relaying = Relaying::new(*pass, uses, between, moment.unwrap_or(now));
            self.command(Command::Relay(Box::new(relaying)));
        }
        self.command(Command::Punch(Box::new(punch)));
        Ok(())
    }

    /// Finds out what this network is, and lets the users swap addresses.
    async fn look_and_swap(&mut self, front: &mut dyn Front) -> Result<Found, Failure> {
        let common = self.common;
        // If the user has configured a forwarded port, the router is not asked for another.
        let mapping = (common.port_mapping && common.external_port.is_none()).then(|| {
            let (mapper, told) = Mapper::start(self.ipv4[0]);
            self.mapper = mapper;
            told
        });
        let Around {
            report,
            clock,
            outlet,
            ..
        } = self.look_patiently(front).await?;
        tell_clock(front, &clock);
        let nat = NatClass {
            mapping: report.mapping,
            filtering: Filtering::Untested,
        };
        tell_network(front, &report, nat, outlet.as_ref());
        self.outlet = outlet;
        let mut candidates = self.local.candidates.clone();
        // If IPv6 passes a NAT, the outside address is none of this machine's own.
        let is_new = |outside: &SocketAddr| candidates.iter().all(|own| own.ip() != outside.ip());
        candidates.extend(report.mapped_ipv6.filter(is_new));
        let outside = Outside {
            errand: self.errand,
            key: self.seeds.public,
            nat,
            mapped: report.mapped,
            forward: common.external_port.map(Forward::Told),
            candidates,
            guessing: match (common.guess, report.mapping) {
                (false, _) => Guessing::Refused,
                (true, Mapping::Dependent) => Guessing::from_seen(&report.seen),
                (true, _) => Guessing::Anywhere,
            },
            clock: clock.timekeeping(),
        };
        tell_forward(front, common.external_port, outside.forwarded());
        self.outside = Some(outside);
        if let Some(told) = mapping {
            self.hear_router(told, report.mapping, front).await;
        }
        let own = self.outside.as_ref().and_then(Outside::address).ok_or_else(|| {
            Failure::other("this computer has no network address", "connect it to a network")
        })?;
        front.event(Event::Address {
            address: own.to_string(),
            change: Change::First,
        });
        if report.answered > 0 {
            let (answered, others) = (report.servers, report.other_ports);
            self.asides
                .spawn(async move { Aside::Outlet(outlet::when_answered(&answered, &others).await) });
        }
        let (own, peer) = self.swap(own, front).await?;
        Ok(Found::swapped(own, peer, clock))
    }

    /// Tells the peer if this side ends the run, and ends the network thread.
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
        if self.link.is_some() || self.meets {
            let told = async { while !matches!(self.notices.recv().await, None | Some(Notice::Ended(_))) {} };
            // If the peer is not told in time, it looks for us for as long as its `--timeout` says.
            tokio::select! {
                _ = tokio::time::timeout(FAREWELL, told) => {}
                () = insisted() => {}
            }
        }
        Err(failure)
    }
}
