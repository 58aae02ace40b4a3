//! What `p2pcopy check` finds out behind each kind of router, as it tells programs.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::driver::binary;
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::shell::{command_in, run};

/// From the start to the end, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the check in a namespace with these servers; gives the fields of what it found.
pub(crate) fn check(namespace: &str, stun: &str, ntp: &str) -> Value {
    let mut command = command_in(namespace, binary());
    command.args(["check", "--json"]).stdin(Stdio::null());
    command
        .env("P2PCOPY_STUN", stun)
        .env("P2PCOPY_NTP", ntp)
        .env_remove("P2PCOPY_NO_PORT_MAPPING");
    let outcome = run(&mut command, "", LIMIT);
    assert!(outcome.success, "{}", outcome.text);
    let lines = outcome.text.lines();
    let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = events.filter(|event| event["event"] == "diagnosis");
    found
        .next()
        .unwrap_or_else(|| panic!("no diagnosis:\n{}", outcome.text))
}

fn check_at_a(network: &Network) -> Value {
    check(&network.host(Side::A), &network.stun(), network.ntp(Side::A))
}

fn has(found: &Value, fields: &[(&str, &str)]) {
    for (field, value) in fields {
        assert_eq!(found[field], **value, "{field} of {found:#}");
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn each_kind_of_router_is_told_with_a_field_for_every_fact() {
    for (nat, mapping, filtering, kept) in [
        (Nat::Public, "public", "independent", "kept"),
        (Nat::Cone, "independent", "independent", "kept"),
        (Nat::MasqueradeDrop, "independent", "address_and_port", "kept"),
        (Nat::MasqueradeAccept, "independent", "address_and_port", "kept"),
        (Nat::Symmetric, "dependent", "address_and_port", "changed"),
    ] {
        let network = Network::build(Plan::new(nat, Nat::Public));
        let found = check_at_a(&network);
        has(
            &found,
            &[
                ("mapping", mapping),
                ("filtering", filtering),
                ("port_preservation", kept),
                ("hairpin", if nat == Nat::Public { "untested" } else { "fails" }),
                ("ipv6", "none"),
                ("udp", "open"),
                ("port_mapping", "refused"),
                ("clock_source", "ntp"),
            ],
        );
        assert_eq!(found["largest_packet"], 1500, "{found:#}");
        assert_eq!(found["stun_answered"], 2, "{found:#}");
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_hairpins_a_narrow_line_and_a_closed_one_are_told() {
    let network = Network::build(Plan::new(Nat::Cone, Nat::Public));
    let (host, outside) = (network.host_address(Side::A), network.public_address(Side::A));
    let hairpin = format!(
        "table ip hairpin {{
           chain pre {{ type nat hook prerouting priority -101; iifname lan ip daddr {outside} meta l4proto udp dnat ip to {host};
           }}
           chain post {{ type nat hook postrouting priority 99; oifname lan ct status dnat snat ip to {outside};
           }}
         }}"
    );
    network.rules(&network.edge(Side::A), &hairpin);
    // Otherwise the bridge gives nothing back to the port that it came from.
    network.configure(
        "na",
        &["link set dev port1 type bridge_slave hairpin on".to_owned()],
    );
    network.set_mtu(("na", "wan"), ("r1", "l"), 1400);
    let found = check_at_a(&network);
    has(&found, &[("hairpin", "works"), ("mapping", "independent")]);
    assert_eq!(found["largest_packet"], 1380, "{found:#}");

    let closed = "table ip closed { chain forward { type filter hook forward priority -10;
                  meta l4proto udp drop; }
                  }";
    network.rules(&network.edge(Side::A), closed);
    let found = check_at_a(&network);
    has(
        &found,
        &[
            ("udp", "dropped"),
            ("mapping", "unknown"),
            ("clock_source", "system"),
        ],
    );
    assert_eq!(found["largest_packet"], Value::Null, "{found:#}");
}
