//! Peers over TCP. Their numbers say what the kernel's congestion control makes of a link.

use std::io;
use std::process::{Command, Stdio};

use super::super::network::{Network, Side};
use super::super::shell::{Daemon, command, command_in, run};
use super::{Ends, Ground, Peer, Proof, Ready, find, prepare_tcp};

/// No file: bytes from memory to memory, the rate as the receiver saw it. What TCP can do at best.
pub(super) const IPERF3_CUBIC: Peer = Peer {
    name: "iperf3 CUBIC",
    install: "apt install iperf3",
    is_installed: || find("iperf3").is_some(),
    tcp: Some("cubic"),
    ecn: false,
    waits_at: Side::B,
    far: |ground| {
        let mut command = ground.command(Side::B, "iperf3");
        command.args(["-s", "-1", "-B", ground.address(Side::B), "-p", "5201"]);
        Ok(command)
    },
    ready: Ready::Tcp(5201),
    near: |ground, _| {
        let mut command = ground.command(Side::A, "iperf3");
        command.args(["-c", ground.address(Side::B), "-p", "5201", "--json"]);
        command.args(["-n", &ground.size.to_string()]);
        Ok(command)
    },
    ends: Ends::Near,
    proof: Proof::Rate(rate_received),
};

/// The same with ECN, which is no default: the marks of a queue are worth something to it.
pub(super) const IPERF3_ECN: Peer = Peer {
    name: "iperf3 CUBIC, ECN",
    ecn: true,
    ..IPERF3_CUBIC
};

pub(super) const IPERF3_BBR: Peer = Peer {
    name: "iperf3 BBR",
    install: "apt install iperf3, and a kernel with BBR (modprobe tcp_bbr)",
    is_installed: || has_bbr() && find("iperf3").is_some(),
    tcp: Some("bbr"),
    ..IPERF3_CUBIC
};

/// A daemon without encryption, so that nothing but the link is in the way.
pub(super) const RSYNC_CUBIC: Peer = Peer {
    name: "rsync CUBIC",
    install: "apt install rsync",
    is_installed: || find("rsync").is_some(),
    tcp: Some("cubic"),
    ecn: false,
    waits_at: Side::B,
    far: |ground| {
        let configuration = ground.path("rsyncd.conf");
        let received = ground.received();
        std::fs::write(
            &configuration,
            format!(
                "use chroot = no\nuid = 0\ngid = 0\n[in]\npath = {}\nread only = no\n",
                received.display()
            ),
        )?;
        let mut command = ground.command(Side::B, "rsync");
        command.args(["--daemon", "--no-detach", "--port=8730"]);
        command.arg(format!("--address={}", ground.address(Side::B)));
        command.arg(format!("--config={}", configuration.display()));
        Ok(command)
    },
    ready: Ready::Tcp(8730),
    near: |ground, _| {
        let mut command = ground.command(Side::A, "rsync");
        command.arg(ground.file);
        command.arg(format!("rsync://{}:8730/in/", ground.address(Side::B)));
        Ok(command)
    },
    ends: Ends::Near,
    proof: Proof::File,
};

pub(super) const RSYNC_BBR: Peer = Peer {
    name: "rsync BBR",
    install: "apt install rsync, and a kernel with BBR (modprobe tcp_bbr)",
    is_installed: || has_bbr() && find("rsync").is_some(),
    tcp: Some("bbr"),
    ..RSYNC_CUBIC
};

/// Its own server with keys made for this one transfer; the ciphers are the defaults.
pub(super) const SCP: Peer = Peer {
    name: "scp CUBIC",
    install: "apt install openssh-server openssh-client",
    is_installed: || {
        ["sshd", "scp", "ssh-keygen"]
            .iter()
            .all(|program| find(program).is_some())
    },
    tcp: Some("cubic"),
    ecn: false,
    waits_at: Side::B,
    far: |ground| {
        for key in ["host-key", "user-key"] {
            make_key(ground, key)?;
        }
        // Where the server wants to keep its unprivileged part.
        std::fs::create_dir_all("/run/sshd")?;
        let configuration = format!(
            "Port 2222\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nSubsystem sftp internal-sftp\n",
            ground.address(Side::B),
            ground.path("host-key").display(),
            ground.path("user-key.pub").display(),
        );
        std::fs::write(ground.path("sshd.conf"), configuration)?;
        // The server insists on its full path.
        let mut command = ground.command(Side::B, find("sshd").unwrap_or_default());
        command.args(["-D", "-e", "-f"]).arg(ground.path("sshd.conf"));
        Ok(command)
    },
    ready: Ready::Tcp(2222),
    near: |ground, _| {
        let mut command = ground.command(Side::A, "scp");
        command.args(["-q", "-F", "none", "-P", "2222", "-i"]);
        command.arg(ground.path("user-key"));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            command.args(["-o", option]);
        }
        command.arg(ground.file);
        command.arg(format!(
            "{}:{}/",
            ground.address(Side::B),
            ground.received().display()
        ));
        Ok(command)
    },
    ends: Ends::Near,
    proof: Proof::File,
};

/// A key of one transfer, without a passphrase.
fn make_key(ground: &Ground, name: &str) -> io::Result<()> {
    let mut command: Command = ground.command(Side::A, "ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(ground.path(name));
    let outcome = run(&mut command, "", super::READY_LIMIT);
    if outcome.success {
        Ok(())
    } else {
        Err(io::Error::other(outcome.text))
    }
}

/// TCP connections that send from A to B for `seconds` or until they are dropped, with this congestion control, and with
/// ECN if asked for.
pub(crate) fn flows(
    network: &Network,
    control: &str,
    count: usize,
    ecn: bool,
    seconds: u64,
) -> io::Result<[Daemon; 2]> {
    prepare_tcp(network, control, ecn)?;
    let start = |side, arguments: &[&str]| {
        let mut command = command_in(&network.host(side), "iperf3");
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Daemon)
    };
    let far = network.host_address(Side::B);
    let mut server = start(Side::B, &["-s", "-1", "-B", far, "-p", "5201"])?;
    Ready::Tcp(5201).wait(&mut server.0, String::new)?;
    let (count, seconds) = (count.to_string(), seconds.to_string());
    let client = start(Side::A, &["-c", far, "-p", "5201", "-P", &count, "-t", &seconds])?;
    Ok([server, client])
}

/// Whether this kernel has BBR, loaded now if it was not.
pub(crate) fn has_bbr() -> bool {
    let listed = || {
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
            .is_ok_and(|list| list.split_whitespace().any(|word| word == "bbr"))
    };
    if !listed() && find("modprobe").is_some() {
        run(command("modprobe").arg("tcp_bbr"), "", super::READY_LIMIT);
    }
    listed()
}

/// The receiver's rate in what `iperf3 --json` prints, in Mbit/s.
fn rate_received(report: &str) -> Option<f64> {
    let (_, received) = report.split_once("\"sum_received\"")?;
    let (_, rate) = received.split_once("\"bits_per_second\":")?;
    let number = rate.trim_start().split([',', '}', '\n']).next()?;
    Some(number.trim().parse::<f64>().ok()? / 1e6)
}
