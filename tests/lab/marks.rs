//! ECN on real sockets: marks of the kernel are heeded, and where they are removed or put on everything, none is sent.

use super::driver::binary;
use super::shell::{command_in, must};
use super::wires::Wires;

/// What the demonstration sends, MB.
const MEGABYTES: usize = 20;

/// Packets that left as ECT(0) and not, and that arrived marked.
#[derive(Debug)]
struct Seen {
    ect: u64,
    not: u64,
    marked: u64,
}

/// Runs the demonstration over a loopback interface that does this to each UDP packet on its way.
fn demo(on_the_way: &str) -> Seen {
    let wires = Wires::new(&["x"], &[]);
    wires.ip("x", "link set lo up mtu 1500");
    let namespace = wires.name("x");
    let rules = format!(
        "table inet marks {{
           counter ect {{ }}
           counter bare {{ }}
           counter marked {{ }}
           chain way {{ type filter hook prerouting priority mangle; meta l4proto udp {on_the_way}; }}
           chain out {{ type filter hook output priority filter; udp length > 1000 ip ecn ect0 counter name ect;
             udp length > 1000 ip ecn not-ect counter name bare; }}
           chain in {{ type filter hook input priority filter; udp length > 1000 ip ecn ce counter name marked; }}
         }}"
    );
    must(command_in(&namespace, "nft").args(["-f", "-"]), &rules);
    let file = std::env::temp_dir().join(&namespace);
    std::fs::write(&file, vec![7; MEGABYTES * 1_000_000]).expect("the file for the demonstration is written");
    must(command_in(&namespace, binary()).arg("demo").arg(&file), "");
    std::fs::remove_file(&file).expect("it is still there");
    let count = |name: &str| {
        let shown = must(
            command_in(&namespace, "nft").args(["list", "counter", "inet", "marks", name]),
            "",
        );
        let packets = shown
            .split_whitespace()
            .skip_while(|word| *word != "packets")
            .nth(1);
        packets
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("no count in {shown}"))
    };
    Seen {
        ect: count("ect"),
        not: count("bare"),
        marked: count("marked"),
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn marks_of_the_kernel_come_back_and_a_path_that_changes_them_gets_none() {
    let clean = demo("accept");
    assert!(
        clean.ect > 100 && clean.not == 0 && clean.marked == 0,
        "{clean:?}"
    );
    let marking = demo("ip ecn ect0 numgen inc mod 100 0 ip ecn set ce");
    assert!(marking.marked > 0 && marking.not == 0, "{marking:?}");
    for change in ["ip ecn set not-ect", "ip ecn set ce"] {
        let changed = demo(change);
        assert!(changed.not > changed.ect, "{change}: {changed:?}");
    }
    let dropped = demo("ip ecn != not-ect drop");
    assert!(dropped.not > 100, "{dropped:?}");
}
