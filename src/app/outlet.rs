//! Finds out which UDP ports this network lets out: asks STUN servers at several ports, from sockets of its
//! own.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::net::{self, Echo, try_out};
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::stun;

/// Ports that restrictive networks often leave open: DNS, HTTP, NTP, HTTPS and QUIC, STUN.
const OFTEN_OPEN: [u16; 5] = [53, 80, 123, 443, 3478];
/// Ports to try at a STUN server that does not answer at its own port. Some public servers listen there, too.
const OTHER_PORTS: [u16; 2] = [443, 53];
/// The most servers to ask.
const SERVERS: usize = 4;

/// Asks servers that did not answer, at their own and at other ports. Also returns the addresses that answer.
pub(super) async fn when_silent(servers: &[SocketAddr]) -> (Outlet, Vec<SocketAddr>) {
    if servers.is_empty() {
        return (Outlet::NoNames, Vec::new());
    }
    let some = servers.iter().take(SERVERS);
    let targets: Vec<SocketAddr> = some
        .flat_map(|&server| {
            let others = OTHER_PORTS.map(|port| SocketAddr::new(server.ip(), port));
            [server].into_iter().chain(others)
        })
        .collect();
    let echoes = ask(targets).await;
    let answered = echoes.iter().filter(|(_, echo)| *echo == Echo::Answered);
    let answered = answered.map(|(target, _)| *target).collect();
    (verdict(&echoes), answered)
}

/// Finds out whether rarely opened ports are open. `answered`: the servers that answered; `others`: the
/// further addresses at which such servers say they answer.
pub(super) async fn when_answered(answered: &[SocketAddr], others: &[SocketAddr]) -> Outlet {
    let known: Vec<(SocketAddr, Echo)> = answered.iter().map(|&server| (server, Echo::Answered)).collect();
    // A single server may be wrong about its other port.
    if others.len() < 2 || answered.iter().any(|server| !OFTEN_OPEN.contains(&server.port())) {
        return Outlet::Open;
    }
    let again = answered.iter().take(1);
    let asked = ask(others.iter().take(SERVERS).chain(again).copied().collect()).await;
    if !is_heard_from_anywhere(&asked, answered) {
        return Outlet::Open;
    }
    verdict(&[known, asked].concat())
}

/// Whether a server that answered the run's own sockets also answers another one. If not, the network decides by the
/// source port, and nothing follows for destination ports.
fn is_heard_from_anywhere(asked: &[(SocketAddr, Echo)], answered: &[SocketAddr]) -> bool {
    asked
        .iter()
        .any(|(target, echo)| answered.contains(target) && *echo == Echo::Answered)
}

async fn ask(targets: Vec<SocketAddr>) -> Vec<(SocketAddr, Echo)> {
    let Ok(seed) = net::random_seed() else {
        return Vec::new();
    };
    let (request, id) = stun::probe(&seed);
    let asking = tokio::task::spawn_blocking(move || {
        let requests: Vec<_> = targets.iter().map(|target| (*target, request.clone())).collect();
        let echoes = try_out(&requests, |datagram| stun::answers(datagram, id));
        targets.into_iter().zip(echoes).collect()
    });
    asking.await.unwrap_or_default()
}

/// What the results say about the ports.
fn verdict(echoes: &[(SocketAddr, Echo)]) -> Outlet {
    let any = |wanted: Echo| echoes.iter().any(|(_, echo)| *echo == wanted);
    let open = ports_of(echoes, Echo::Answered);
    let some_closed = echoes.iter().any(|(target, _)| !open.contains(&target.port()));
    let one_server = echoes.iter().all(|(target, _)| target.ip() == echoes[0].0.ip());
    let reached = reached(echoes);
    match open.as_slice() {
        [] if one_server && !any(Echo::Forbidden) => Outlet::NoServer,
        [] if any(Echo::Forbidden) => Outlet::Forbidden,
        [] if !reached.is_empty() => Outlet::Ports(reached),
        [] if any(Echo::Rejected) || any(Echo::Refused) => Outlet::Rejected,
        [] => Outlet::Dropped,
        ports if some_closed && ports.iter().all(|port| OFTEN_OPEN.contains(port)) => Outlet::Ports(open),
        _ => Outlet::Open,
    }
}

/// The ports at which servers were asked with this result.
fn ports_of(echoes: &[(SocketAddr, Echo)], wanted: Echo) -> Vec<u16> {
    let those = echoes.iter().filter(|(_, echo)| *echo == wanted);
    let ports: BTreeSet<u16> = those.map(|(target, _)| target.port()).collect();
    ports.into_iter().collect()
}

/// The ports at which servers refused the datagram because nothing listens there, while nothing comes back from other
/// ports. The datagrams reached the servers, so these ports are open. A network that itself refuses datagrams would
/// also refuse those to the servers' own ports.
fn reached(echoes: &[(SocketAddr, Echo)]) -> Vec<u16> {
    let ports = ports_of(echoes, Echo::Refused);
    let nothing_else = echoes
        .iter()
        .all(|(_, echo)| matches!(echo, Echo::Refused | Echo::Silent));
    let some_silent = echoes.iter().any(|(target, _)| !ports.contains(&target.port()));
    let is_reached = nothing_else && some_silent && ports.iter().all(|port| OTHER_PORTS.contains(port));
    if is_reached { ports } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_that_goes_by_our_port_says_nothing_of_others() {
        let [server, other] = [3478, 3479].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let heard = |echo| is_heard_from_anywhere(&[(other, Echo::Silent), (server, echo)], &[server]);
        assert!(heard(Echo::Answered));
        assert!(!heard(Echo::Silent) && !heard(Echo::Forbidden));
    }

    #[test]
    fn what_became_of_datagrams_tells_what_gets_out() {
        use Echo::{Answered, Forbidden, Refused, Rejected, Silent};
        let judged = |fates: &[(u16, Echo)]| {
            let of = |last: u8| move |&(port, echo)| (SocketAddr::from(([192, 0, 2, last], port)), echo);
            let both = fates.iter().map(of(1)).chain(fates.iter().map(of(2)));
            verdict(&both.collect::<Vec<(SocketAddr, Echo)>>())
        };
        assert_eq!(
            judged(&[(3478, Silent), (443, Silent), (53, Silent)]),
            Outlet::Dropped
        );
        assert_eq!(judged(&[(3478, Rejected), (443, Silent)]), Outlet::Rejected);
        assert_eq!(judged(&[(3478, Forbidden), (443, Forbidden)]), Outlet::Forbidden);
        assert_eq!(judged(&[(3478, Refused), (443, Refused)]), Outlet::Rejected);
        // The datagrams reach the servers at a port where they do not listen.
        assert_eq!(
            judged(&[(3478, Silent), (443, Silent), (53, Refused)]),
            Outlet::Ports(vec![53])
        );
        assert_eq!(
            judged(&[(3478, Rejected), (443, Silent), (53, Refused)]),
            Outlet::Rejected
        );
        assert_eq!(judged(&[(19302, Refused), (443, Silent)]), Outlet::Rejected);
        assert_eq!(
            judged(&[(3478, Silent), (443, Answered)]),
            Outlet::Ports(vec![443])
        );
        assert_eq!(
            judged(&[(3478, Answered), (3479, Rejected)]),
            Outlet::Ports(vec![3478])
        );
        assert_eq!(judged(&[(3478, Answered), (3479, Answered)]), Outlet::Open);
        let lonely = SocketAddr::from(([192, 0, 2, 1], 3478));
        assert_eq!(verdict(&[(lonely, Rejected)]), Outlet::NoServer);
        let other = SocketAddr::from(([192, 0, 2, 2], 53));
        let doors = [
            (lonely, Silent),
            (SocketAddr::new(lonely.ip(), 53), Refused),
            (other, Silent),
        ];
        assert_eq!(verdict(&doors), Outlet::Ports(vec![53]), "one keeps silent there");
        // One of several servers is down. That says nothing about its port.
        assert_eq!(judged(&[(3478, Answered), (3478, Silent)]), Outlet::Open);
        // Networks rarely open port 19302. So port 3479 is silent because the server does not answer there.
        assert_eq!(judged(&[(19302, Answered), (3479, Silent)]), Outlet::Open);
    }
}
