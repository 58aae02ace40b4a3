//! IPv6 alone: against IPv4 alone it is told at once that nothing can be done, and behind a translator it connects.

use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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

/// STUN servers of IPv6.
const STUN_6: [&str; 2] = ["[2001:db8:5::1]:3478", "[2001:db8:5::2]:3478"];

/// Two homes with IPv6 alone: `a` behind `fa`, `b` behind `fb`, and `r` between these and the servers.
fn homes() -> Wires {
    let wires = Wires::new(
        &["a", "fa", "r", "srv", "fb", "b"],
        &[
            ("a", "eth0", "fa", "lan"),
            ("fa", "wan", "r", "a"),
            ("r", "s", "srv", "eth0"),
            ("r", "b", "fb", "wan"),
            ("fb", "lan", "b", "eth0"),
        ],
    );
    wires.ip(
        "r",
        "link set lo up\nlink set dev a up\nlink set dev s up\nlink set dev b up\naddress add 2001:db8:1::1/64 dev a\n\
         address add 2001:db8:2::1/64 dev b\naddress add 2001:db8:5::ff/64 dev s\n\
         route add 2001:db8:a::/48 via 2001:db8:1::2\nroute add 2001:db8:b::/48 via 2001:db8:2::2",
    );
    wires.ip(
        "srv",
        "link set lo up\nlink set eth0 up\naddress add 2001:db8:5::1/64 dev eth0\naddress add 2001:db8:5::2/64 dev eth0\n\
         route add default via 2001:db8:5::ff",
    );
    for (router, host, number) in [("fa", "a", 1), ("fb", "b", 2)] {
        wires.ip(
            router,
            &format!(
                "link set lo up\nlink set wan up\nlink set lan up\naddress add 2001:db8:{number}::2/64 dev wan\n\
                 address add 2001:db8:{host}::1/64 dev lan\naddress add 2001:db8:{host}:9::1/64 dev lan\n\
                 route add default via 2001:db8:{number}::1"
            ),
        );
        wires.ip(
            host,
            &format!(
                "link set lo up\nlink set eth0 up\naddress add 2001:db8:{host}::10/64 dev eth0\n\
                 route add default via 2001:db8:{host}::1"
            ),
        );
    }
    for short in ["a", "b", "srv"] {
        wires.wait_until_running(short, "eth0");
    }
    wires
}

/// A firewall that lets in only what answers somebody inside.
fn replies_only(wires: &Wires, router: &str) {
    let rules = "table inet firewall {
        chain forward { type filter hook forward priority 0; ct state established,related accept; iifname wan drop;
        }
        }";
    must(command_in(&wires.name(router), "nft").args(["-f", "-"]), rules);
}

/// Two users of [`homes`] who have swapped addresses, and when; `limit` is the most that is sent.
fn users(wires: &Wires, files: &std::path::Path, size: usize, limit: &str) -> (Peer, Peer, Instant) {
    std::fs::write(files.join("vm.img"), content(size)).expect("room for a file");
    let begin = |short: &str, name: &'static str, arguments: &[&str]| {
        Peer::start_in(&wires.name(short), name, |command| {
            command.args(arguments).current_dir(files);
            command
                .env("P2PCOPY_STUN", STUN_6.join(","))
                .env("P2PCOPY_NTP", "[2001:db8:5::9]");
        })
    };
    let mut sender = begin("a", "sender", &["sender", "vm.img", "--limit", limit]);
    let output = ["receiver", "--yes", "--output", "received"];
    let mut receiver = begin("b", "receiver", &output);
    let [from_a, from_b] = [&sender, &receiver].map(|peer| peer.address().unwrap_or_else(|e| panic!("{e}")));
    sender.enter(&from_b);
    receiver.enter(&from_a);
    (sender, receiver, Instant::now())
}

fn end_well(mut sender: Peer, mut receiver: Peer, files: &std::path::Path) {
    let exits = [&mut sender, &mut receiver].map(|peer| peer.wait(LIMIT));
    let account = format!("{}\n{}", sender.stderr(), receiver.stderr());
    assert_eq!(exits, [Ok(Some(0)), Ok(Some(0))], "{account}");
    let read = |name: &str| std::fs::read(files.join(name)).expect("just written");
    assert!(read("received/vm.img") == read("vm.img"), "{account}");
}

/// The second user is connected as soon as the address is pasted, and the file arrives.
fn meet_without_a_slot(wires: &Wires) {
    let _stun = STUN_6.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a file");
    let (sender, receiver, pasted) = users(wires, files.path(), 300_000, "1GB/s");
    let connected = receiver
        .connected(LIMIT)
        .unwrap_or_else(|error| panic!("{error}\n{}", sender.stderr()));
    println!(
        "connected after {:.2?}\n{}",
        connected - pasted,
        receiver.stderr()
    );
    assert!(connected - pasted < Duration::from_secs(2), "{}", sender.stderr());
    end_well(sender, receiver, files.path());
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn two_firewalls_of_ipv6_that_let_in_replies_alone_are_crossed_without_a_slot() {
    let wires = homes();
    replies_only(&wires, "fa");
    replies_only(&wires, "fb");
    meet_without_a_slot(&wires);
}

/// Two prefixes, a local address, and temporary addresses (RFC 8981), from which a system prefers to send: each side must
/// be expected at the address that the other sends to, and from the one that it sends from.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn several_addresses_and_temporary_ones_cross_two_firewalls_without_a_slot() {
    let wires = homes();
    for (host, firewall) in [("a", "fa"), ("b", "fb")] {
        replies_only(&wires, firewall);
        inside(&wires.name(host), || {
            let setting = "/proc/sys/net/ipv6/conf/eth0/use_tempaddr";
            std::fs::write(setting, "2").expect("root may configure a namespace");
        });
        wires.ip(
            host,
            &format!(
                "address del 2001:db8:{host}::10/64 dev eth0\n\
                 address add 2001:db8:{host}::10/64 dev eth0 mngtmpaddr valid_lft 7200 preferred_lft 3600\n\
                 address add 2001:db8:{host}:9::10/64 dev eth0 mngtmpaddr valid_lft 7200 preferred_lft 3600\n\
                 address add fd00:{host}::10/64 dev eth0\nroute replace default via 2001:db8:{host}::1"
            ),
        );
    }
    meet_without_a_slot(&wires);
}

/// The provider gives a home another prefix: the old address goes, and a new one comes. The home's own firewall lets in
/// replies alone; the other one lets in everybody, or the new address could not be heard there.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn another_prefix_in_mid_transfer_does_not_end_it() {
    for (host, firewall) in [("a", "fa"), ("b", "fb")] {
        let wires = homes();
        replies_only(&wires, firewall);
        let _stun = STUN_6.map(|address| Stun::start(&wires.name("srv"), address));
        let files = tempfile::tempdir().expect("room for a file");
        let (sender, receiver, _) = users(&wires, files.path(), 10_000_000, "1MB/s");
        receiver
            .connected(LIMIT)
            .unwrap_or_else(|error| panic!("{error}\n{}", sender.stderr()));
        thread::sleep(Duration::from_secs(3));
        wires.ip(
            host,
            &format!(
                "address add 2001:db8:{host}:9::10/64 dev eth0\naddress del 2001:db8:{host}::10/64 dev eth0\n\
                 route replace default via 2001:db8:{host}:9::1"
            ),
        );
        let changed = Instant::now();
        end_well(sender, receiver, files.path());
        println!("{host}: done {:.1?} after the change", changed.elapsed());
    }
}
