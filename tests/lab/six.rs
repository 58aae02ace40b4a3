//! IPv6 alone: against IPv4 alone it is told at once that nothing can be done, and behind a translator it connects.

use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use p2pcopy::parts::rendezvous::respond;

use super::driver::Peer;
use super::pair::content;
use super::shell::{Daemon, command_in, inside, must};
use super::wires::Wires;

const LIMIT: Duration = Duration::from_secs(40);
/// Addresses that no translator takes for private or for documentation; they exist in the namespaces only.
pub(crate) const STUN: [&str; 2] = ["5.5.5.1:3478", "5.5.5.2:3478"];
const NOWHERE: &str = "5.5.5.9";

/// A STUN server that ends with its owner.
pub(crate) struct Stun {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stun {
    pub(crate) fn start(namespace: &str, address: &'static str) -> Stun {
        let socket = inside(namespace, move || UdpSocket::bind(address)).expect("the port is free here");
        let tick = Some(Duration::from_millis(50));
        socket.set_read_timeout(tick).expect("a time above zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                if let Some(answer) = respond(&buffer[..length], from) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Stun {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Stun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// `a` has IPv6 alone, `b` IPv4 alone behind a router `nb` of its own, and `r` joins both networks and the servers'.
fn apart() -> Wires {
    let wires = Wires::new(
        &["a", "r", "srv", "nb", "b"],
        &[
            ("a", "eth0", "r", "a"),
            ("r", "s", "srv", "eth0"),
            ("r", "b", "nb", "wan"),
            ("nb", "lan", "b", "eth0"),
        ],
    );
    wires.ip(
        "r",
        "link set lo up\nlink set dev a up\nlink set dev s up\nlink set dev b up\naddress add 2001:db8:a::1/64 dev a\n\
         address add 5.5.5.254/24 dev s\naddress add 6.6.6.1/24 dev b",
    );
    wires.ip(
        "a",
        "link set lo up\nlink set eth0 up\naddress add 2001:db8:a::10/64 dev eth0\nroute add default via 2001:db8:a::1",
    );
    wires.ip(
        "srv",
        "link set lo up\nlink set eth0 up\naddress add 5.5.5.1/24 dev eth0\naddress add 5.5.5.2/24 dev eth0\n\
         route add default via 5.5.5.254",
    );
    wires.ip(
        "nb",
        "link set lo up\nlink set wan up\nlink set lan up\naddress add 6.6.6.2/24 dev wan\n\
         address add 192.168.1.1/24 dev lan\nroute add default via 6.6.6.1",
    );
    wires.ip(
        "b",
        "link set lo up\nlink set eth0 up\naddress add 192.168.1.20/24 dev eth0\nroute add default via 192.168.1.1",
    );
    let router = "table ip home {
        chain post { type nat hook postrouting priority srcnat; oifname wan masquerade; }
        chain input { type filter hook input priority filter; iifname wan ct state established,related accept;
          iifname wan drop;
}
}";
    must(command_in(&wires.name("nb"), "nft").args(["-f", "-"]), router);
    for short in ["a", "b"] {
        wires.wait_until_running(short, "eth0");
    }
    wires
}

/// Starts the program in a namespace of `wires`. It asks the servers there for its address, and none for the time.
pub(crate) fn start(
    wires: &Wires,
    short: &str,
    name: &'static str,
    files: &std::path::Path,
    arguments: &[&str],
) -> Peer {
    Peer::start_in(&wires.name(short), name, |command| {
        command.args(arguments).current_dir(files);
        command
            .env("P2PCOPY_STUN", STUN.join(","))
            .env("P2PCOPY_NTP", NOWHERE)
            .env_remove("P2PCOPY_NO_PORT_MAPPING");
    })
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn ipv6_alone_against_ipv4_alone_is_told_at_the_paste_and_another_address_can_be_pasted() {
    let wires = apart();
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a file");
    std::fs::write(files.path().join("vm.img"), b"x").expect("room for a file");
    let mut sender = start(&wires, "a", "sender", files.path(), &["sender", "vm.img"]);
    let mut receiver = start(&wires, "b", "receiver", files.path(), &["receiver"]);
    let [six, four] = [&sender, &receiver].map(|peer| peer.address().unwrap_or_else(|e| panic!("{e}")));
    for (peer, address, words) in [
        (
            &mut sender,
            four,
            "this computer has only IPv6 and the other side has none",
        ),
        (
            &mut receiver,
            six,
            "the other side has only IPv6 and this computer has none",
        ),
    ] {
        peer.enter(&address);
        peer.wait_for(words, Duration::from_secs(1))
            .unwrap_or_else(|e| panic!("{e}"));
        peer.enter("again");
        let asked = peer.wait_for("this is not an address", Duration::from_secs(1));
        asked.unwrap_or_else(|e| panic!("{e}"));
    }
}

/// The translator is Debian's tayga; a masquerading router gives its private addresses one outside.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn ipv6_alone_behind_a_translator_connects_with_ipv4_alone() {
    let wires = apart();
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a few small files");
    let config = format!(
        "tun-device nat64\nipv4-addr 192.168.255.1\nipv6-addr 2001:db8:f::1\nprefix 64:ff9b::/96\n\
         dynamic-pool 192.168.255.0/24\ndata-dir {}\n",
        files.path().display()
    );
    let path = files.path().join("tayga.conf");
    std::fs::write(&path, config).expect("room for a few small files");
    let router = wires.name("r");
    must(
        command_in(&router, "tayga").arg("-c").arg(&path).arg("--mktun"),
        "",
    );
    wires.ip(
        "r",
        "link set nat64 up\nroute add 192.168.255.0/24 dev nat64\nroute add 64:ff9b::/96 dev nat64",
    );
    // One address outside, whichever way it goes, and no packet for the router itself.
    let masquerade = "table ip translated {
        chain post { type nat hook postrouting priority srcnat; ip saddr 192.168.255.0/24 snat to 6.6.6.1;
        }
        chain input { type filter hook input priority 0; ct state established,related accept;
          iifname { b, s } udp dport 1024-65535 drop;
        }
        }";
    must(command_in(&router, "nft").args(["-f", "-"]), masquerade);
    let mut tayga = command_in(&router, "tayga");
    tayga.arg("-d").arg("-c").arg(&path);
    let tayga = tayga
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _tayga = Daemon(tayga.spawn().expect("tayga is installed"));
    let sent = content(300_000);
    std::fs::write(files.path().join("vm.img"), &sent).expect("room for a file");
    let mut sender = start(&wires, "a", "sender", files.path(), &["sender", "vm.img"]);
    let output = ["receiver", "--yes", "--output", "received"];
    let mut receiver = start(&wires, "b", "receiver", files.path(), &output);
    let [six, four] = [&sender, &receiver].map(|peer| peer.address().unwrap_or_else(|e| panic!("{e}")));
    assert!(six.starts_with("6.6.6.1:"), "{six}");
    sender.enter(&four);
    receiver.enter(&six);
    let exits = [&mut sender, &mut receiver].map(|peer| peer.wait(LIMIT));
    let account = format!("{}\n{}", sender.stderr(), receiver.stderr());
    assert_eq!(exits, [Ok(Some(0)), Ok(Some(0))], "{account}");
    let received = std::fs::read(files.path().join("received/vm.img")).expect("just received");
    assert!(received == sent, "{account}");
}
