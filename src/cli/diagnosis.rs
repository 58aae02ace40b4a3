//! The result of a check, as lines for people and as one object for programs.

use super::json::Object;
use crate::app::check::diagnosis::{Diagnosis, Forwarding, Ipv6, Preservation, has_nat};
use crate::rendezvous::clock::ClockSource;
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::stun::hairpin::Hairpin;

/// Bytes of the largest IP packet that Ethernet carries.
const FULL: u16 = 1500;

/// The result as lines for people.
pub(super) fn lines(found: &Diagnosis) -> Vec<String> {
    let mut lines: Vec<String> = found
        .local
        .iter()
        .map(|at| format!("Local address: {at}"))
        .collect();
    for (socket, outside) in found.outside.iter().enumerate() {
        if let Some(outside) = outside {
            lines.push(format!("Outside address of socket {socket}: {outside}"));
        }
    }
    let [answered, asked] = found.servers;
    lines.push(match asked {
        0 => "No STUN server was asked: no name server told the address of one.".to_owned(),
        _ => format!("{answered} of {asked} STUN servers answered."),
    });
    lines.push(format!("Your network: {}.", found.nat));
    if has_nat(found.outside[0], found.nat.mapping) {
        let kept = match found.preservation {
            Preservation::Kept => "your router keeps them",
            Preservation::Partly => "your router keeps those that are free outside",
            Preservation::Changed => "your router changes them",
            Preservation::Unknown => "what your router does to them is not known",
        };
        lines.push(format!("Port numbers: {kept}."));
        lines.push(format!(
            "Behind your router: computers reach each other {}.",
            match found.hairpin {
                Hairpin::Works => "by its outside address, too",
                Hairpin::Fails => "by their own addresses only",
                Hairpin::Untested => "by their own addresses; by its outside address is not known",
            }
        ));
    }
    lines.push(match found.ipv6() {
        Ipv6::Works(outside) => format!("IPv6: works; outside address {outside}."),
        Ipv6::Unanswered => "IPv6: this computer has it; no STUN server answered by it.".to_owned(),
        Ipv6::Absent => "IPv6: none.".to_owned(),
    });
    lines.push(format!("Ports: {}.", found.outlet));
    lines.push(match found.packet {
        Some(FULL) => format!("Packet size: {FULL} bytes get out, as on Ethernet."),
        Some(size) => format!("Packet size: no more than {size} bytes get out; p2pcopy adapts to that."),
        None => "Packet size: not known.".to_owned(),
    });
    lines.push(match &found.forwarding {
        Forwarding::NotAsked => "Port mapping: not asked for.".to_owned(),
        Forwarding::Refused => {
            "Port mapping: no router here forwards a port when asked (PCP, NAT-PMP, UPnP).".to_owned()
        }
        Forwarding::Done(worth) => format!("Port mapping: {worth}."),
    });
    lines.push(format!("Clock: {}.", found.clock));
    lines.push(format!("For you: {}", found.means()));
    lines.push(format!("To tell a peer: {}", found.for_a_peer()));
    lines
}

/// The result as an object for programs. Every fact has a field.
pub(super) fn object(found: &Diagnosis) -> Object {
    let [answered, asked] = found.servers;
    let (source, servers) = match found.clock.source() {
        ClockSource::Ntp { servers } => ("ntp", servers),
        ClockSource::System => ("system", 0),
    };
    let mapped = match &found.forwarding {
        Forwarding::Done(worth) => Some(worth.mapped()),
        Forwarding::NotAsked | Forwarding::Refused => None,
    };
    let text_of = |at: &Option<std::net::SocketAddr>| at.map(|at| at.to_string());
    Object::event("diagnosis")
        .texts("local", found.local.iter().map(ToString::to_string))
        .plain("outside", found.outside.iter().map(text_of).collect::<Vec<_>>())
        .plain("outside_ipv6", text_of(&found.outside_ipv6))
        .plain("stun_answered", answered)
        .plain("stun_asked", asked)
        .word("mapping", &found.nat.mapping)
        .word("filtering", &found.nat.filtering)
        .word("port_preservation", &found.preservation)
        .word("hairpin", &found.hairpin)
        .text("ipv6", ipv6(found.ipv6()))
        .word("udp", &found.outlet)
        .plain("udp_ports", found.outlet.ports().to_vec())
        .plain("largest_packet", found.packet)
        .text("port_mapping", forwarding(&found.forwarding))
        .plain("port_mapping_by", mapped.map(|at| at.method.to_string()))
        .plain("port_mapping_at", mapped.map(|at| at.external.to_string()))
        .text("clock_source", source)
        .plain("clock_servers", servers)
        .plain("clock_offset_ms", found.clock.offset_nanos() / 1_000_000)
        .text("means", found.means())
        .text("for_a_peer", &found.for_a_peer())
}

const fn ipv6(ipv6: Ipv6) -> &'static str {
    match ipv6 {
        Ipv6::Works(_) => "works",
        Ipv6::Unanswered => "unanswered",
        Ipv6::Absent => "none",
    }
}

const fn forwarding(forwarding: &Forwarding) -> &'static str {
    match forwarding {
        Forwarding::NotAsked => "not_asked",
        Forwarding::Refused => "refused",
        Forwarding::Done(Worth::Good(_)) => "works",
        Forwarding::Done(Worth::DoubleNat(_)) => "double_nat",
        Forwarding::Done(Worth::Elsewhere(_)) => "elsewhere",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::check::diagnosis::tests::ordinary;

    #[test]
    fn servers_without_a_known_address_are_not_counted_as_asked() {
        let found = Diagnosis {
            servers: [0, 0],
            ..ordinary()
        };
        let lines = lines(&found);
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("No STUN server was asked")),
            "{lines:?}"
        );
        assert!(!lines.iter().any(|line| line.contains("0 of 0")), "{lines:?}");
    }
}
