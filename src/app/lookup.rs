//! Looks up names and the time. All servers are asked at once and share one time limit.

use std::net::SocketAddr;
use std::time::Duration;

use super::options::Server;
use crate::net::{self, Nat64};
use crate::rendezvous::clock::NtpSample;

/// The longest wait for a name server or an NTP server.
const LOOKUP: Duration = Duration::from_millis(2500);
/// The longest wait for the prefix of a NAT64 translator.
const DISCOVERY: Duration = Duration::from_secs(1);

/// The servers that the user named, or else the built-in ones.
pub(super) fn named(given: &[Server], built_in: &[&str]) -> Vec<String> {
    if given.is_empty() {
        built_in.iter().map(|s| (*s).to_owned()).collect()
    } else {
        given.iter().map(Server::to_string).collect()
    }
}

/// The addresses of all names that a name server resolves in time: for each name one IPv4 and one IPv6
/// address, where there is one.
pub(super) async fn resolve(names: &[String]) -> Vec<SocketAddr> {
    let lookup = |name: &String| {
        let name = name.clone();
        tokio::spawn(async move {
            let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(name)).await;
            let found = found.ok().and_then(Result::ok);
            found.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
        })
    };
    let lookups: Vec<_> = names.iter().map(lookup).collect();
    let mut found = Vec::new();
    for lookup in lookups {
        let addresses = lookup.await.unwrap_or_default();
        let first = |wanted: fn(&SocketAddr) -> bool| addresses.iter().copied().find(wanted);
        found.extend(first(SocketAddr::is_ipv4));
        found.extend(first(SocketAddr::is_ipv6));
    }
    found
}

/// The address of one server. An IPv4 address is preferred, because the port pairs are IPv4.
///
/// # Errors
/// A sentence for the user, if the server has no address.
pub(super) async fn resolve_one(server: &Server, ipv6: bool) -> Result<SocketAddr, String> {
    let host = &server.host;
    let looking = tokio::net::lookup_host((host.as_str(), server.port));
    let found = tokio::time::timeout(LOOKUP, looking)
        .await
        .map_err(|_| format!("no name server answered when asked for {host}"))?
        .map_err(|_| format!("the name server does not know {host}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let first = |wanted: fn(&SocketAddr) -> bool| found.iter().copied().find(wanted);
    first(SocketAddr::is_ipv4)
        .or_else(|| first(SocketAddr::is_ipv6).filter(|_| ipv6))
        .ok_or_else(|| format!("{host} has only IPv6 addresses, and this computer has no IPv6"))
}

/// The prefix of the NAT64 translator, if this machine has only IPv6: the one that the name server's answers
/// show (RFC 7050), or else the well-known one, which most translators use. It does no harm if there is no
/// translator.
pub(super) async fn nat64() -> Option<Nat64> {
    if !net::has_ipv6_alone() {
        return None;
    }
    let looking = tokio::net::lookup_host(("ipv4only.arpa", 0));
    let found = tokio::time::timeout(DISCOVERY, looking).await;
    let found = found.ok().and_then(Result::ok).into_iter().flatten();
    let discovered = found.into_iter().find_map(|at| Nat64::discovered(at.ip()));
    Some(discovered.unwrap_or(Nat64::WELL_KNOWN))
}

/// Asks every server once.
pub(super) async fn ask_ntp(names: &[String]) -> Vec<NtpSample> {
    let mut queries = tokio::task::JoinSet::new();
    for name in names.iter().cloned() {
        queries.spawn(async move {
            let client = rsntp::AsyncSntpClient::new();
            let answer = tokio::time::timeout(LOOKUP, client.synchronize(name))
                .await
                .ok()?
                .ok()?;
            let nanos = |d: rsntp::SntpDuration| (d.as_secs_f64() * 1e9) as i64;
            let (offset, rtt) = (answer.clock_offset(), answer.round_trip_delay());
            Some(NtpSample {
                offset_nanos: nanos(offset),
                rtt_nanos: nanos(rtt),
            })
        });
    }
    let mut samples = Vec::new();
    while let Some(result) = queries.join_next().await {
        samples.extend(result.ok().flatten());
    }
    samples
}
