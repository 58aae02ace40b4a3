//! Finds out what this network is, and what that means for a connection.

pub(crate) mod diagnosis;
mod trials;

use std::net::{IpAddr, SocketAddr};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::diagnosis::{Diagnosis, Forwarding, Preservation, has_nat};
use super::event::{Event, Front};
use super::options::Common;
use super::outcome::{Failure, Summary};
use super::outlet;
use super::port_mapping::Mapper;
use super::run::{self, Seen};
use super::told::{Info, Warning};
use crate::rendezvous::address::{Filtering, NatClass};
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::stun::hairpin::Hairpin;

pub(super) async fn run(common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    if let Some(place) = &common.server {
        run::look_at_server(&common, place, front).await?;
        return Ok(Summary::default());
    }
    let seen = run::look(&common, front).await?;
    let (steps, mut told) = unbounded_channel();
    let examining = examine(seen, common.port_mapping, steps);
    let diagnosis = run::tell_steps(examining, &mut told, front).await?;
    if let Some(warning) = Warning::of_outlet(&diagnosis.outlet) {
        front.event(Event::Warning(warning));
    }
    front.event(Event::Diagnosis(Box::new(diagnosis)));
    Ok(Summary::default())
}

/// Finds out what `look` does not tell, all at the same time.
async fn examine(seen: Seen, ask_router: bool, steps: UnboundedSender<Info>) -> Result<Diagnosis, Failure> {
    let Seen {
        candidates,
        ports,
        around,
    } = seen;
    let report = &around.report;
    let ipv4: Vec<SocketAddr> = around
        .servers
        .iter()
        .copied()
        .filter(SocketAddr::is_ipv4)
        .collect();
    let outside = report.mapped[0];
    let has_nat = has_nat(outside, report.mapping);
    let filtering = async {
        match outside {
            Some(_) => trials::filtering(ipv4, steps.clone()).await,
            None => Filtering::Untested,
        }
    };
    let hairpin = async {
        match report.servers.first().filter(|_| has_nat) {
            Some(server) => trials::hairpin(*server).await,
            None => Hairpin::Untested,
        }
    };
    let outlet = async {
        match around.outlet.clone() {
            Some(outlet) => outlet,
            None => outlet::when_answered(&report.servers, &report.other_ports).await,
        }
    };
    let forwarding = async {
        match ask_router {
            true => forwarding(ports[0], outside.map(|outside| outside.ip())).await,
            false => Forwarding::NotAsked,
        }
    };
    let packet = trials::largest_packet(&report.servers);
    let (filtering, hairpin, outlet, forwarding, packet) =
        tokio::join!(filtering, hairpin, outlet, forwarding, packet);
    Ok(Diagnosis {
        nat: NatClass {
            mapping: report.mapping,
            filtering,
        },
        preservation: Preservation::of(&ports, &report.mapped),
        hairpin,
        outlet,
        forwarding,
        packet,
        local: candidates,
        outside: report.mapped,
        outside_ipv6: report.mapped_ipv6,
        servers: [report.answered, report.asked],
        clock: around.clock,
    })
}

/// Has the router forward a port, and takes it back.
async fn forwarding(port: u16, seen: Option<IpAddr>) -> Forwarding {
    let (mapper, mut told) = Mapper::start(port);
    let mapped = told.recv().await.flatten();
    // Deleting the mapping waits for the router, so it runs on a thread that may block.
    let _ = tokio::task::spawn_blocking(move || drop(mapper)).await;
    mapped.map_or(Forwarding::Refused, |mapped| {
        Forwarding::Done(Worth::of(mapped, seen))
    })
}
