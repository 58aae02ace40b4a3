//! Before there is a peer: what this network is, and the two addresses.

use super::{Lobby, peer_option};
use crate::app::command::{Command, Notice};
use crate::app::event::{Answer, Change, Event, Front, Question};
use crate::app::lookup::{ask_ntp, named, resolve};
use crate::app::machine::interrupted;
use crate::app::options::Common;
use crate::app::outcome::Failure;
use crate::net;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::Clock;
use crate::rendezvous::servers;
use crate::rendezvous::stun::{StunClient, StunReport};
use std::net::SocketAddr;
use std::time::Duration;

/// A wait longer than this is explained.
const PATIENCE: Duration = Duration::from_secs(1);

impl Lobby {
    /// [`look_around`](Self::look_around), with a word if it takes long.
    pub(super) async fn look_patiently(
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
    pub(super) async fn look_around(
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
}
