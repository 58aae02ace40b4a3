//! Peers over UDP, each with a congestion control of its own, or none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::super::network::Side;
use super::super::shell::{command, run};
use super::{Ends, Ground, Peer, Proof, Ready, find};

/// How long the compiler may take for `udt.cpp`.
const COMPILER_LIMIT: Duration = Duration::from_secs(60);
/// The port each end of UDT and SRT binds.
const PORT: &str = "5000";

/// The library has no program for files; `udt.cpp` is one around its `sendfile`.
pub(super) const UDT4: Peer = Peer {
    name: "UDT4",
    install: "apt install libudt-dev g++",
    is_installed: || udt().is_some(),
    tcp: None,
    ecn: false,
    waits_at: Side::B,
    far: |ground| Ok(udt_end(ground, Side::B, "receive", &ground.arrived())),
    ready: Ready::Udp(5000),
    near: |ground, _| Ok(udt_end(ground, Side::A, "send", ground.file)),
    // It ends on the receiver's answer; the receiver may linger, for the news of that end can be lost.
    ends: Ends::Near,
    proof: Proof::File,
};

fn udt_end(ground: &Ground, side: Side, verb: &str, file: &Path) -> Command {
    let mut command = ground.command(side, udt().unwrap_or(Path::new("udt")));
    let peer = match side {
        Side::A => Side::B,
        Side::B => Side::A,
    };
    command.args([verb, PORT, ground.address(peer), PORT]).arg(file);
    command.arg(ground.size.to_string());
    command
}

/// The program made of `udt.cpp`, compiled once a run; none without the library or a compiler.
fn udt() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compiled = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wan/played/peers/udt.cpp");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("udt");
        find("c++").filter(|_| Path::new("/usr/include/udt/udt.h").exists())?;
        let mut compiler = command("c++");
        compiler.args(["-O2", "-o"]).arg(&program).arg(source);
        compiler.args(["-ludt", "-lpthread"]);
        let outcome = run(&mut compiler, "", COMPILER_LIMIT);
        if !outcome.success {
            eprintln!("udt.cpp does not compile:\n{}", outcome.text);
        }
        outcome.success.then_some(program)
    };
    PROGRAM.get_or_init(compiled).as_deref()
}

/// Both ends call each other, as through two NATs.
pub(super) const SRT: Peer = Peer {
    name: "SRT",
    install: "apt install srt-tools",
    is_installed: || find("srt-file-transmit").is_some(),
    tcp: None,
    ecn: false,
    waits_at: Side::B,
    far: |ground| {
        let mut command = ground.command(Side::B, "srt-file-transmit");
        command.arg(meet(ground.address(Side::A)));
        command.arg(format!("file://{}", ground.arrived().display()));
        Ok(command)
    },
    ready: Ready::Udp(5000),
    near: |ground, _| {
        let mut command = ground.command(Side::A, "srt-file-transmit");
        command.arg(format!("file://{}", ground.file.display()));
        command.arg(meet(ground.address(Side::B)));
        Ok(command)
    },
    ends: Ends::Both,
    proof: Proof::File,
};

fn meet(address: &str) -> String {
    format!("srt://{address}:{PORT}?mode=rendezvous")
}

/// iroh's file sender, told to use no relay. Here the sender waits.
pub(super) const SENDME: Peer = Peer {
    name: "sendme",
    install: "cargo install sendme --locked",
    is_installed: || find("sendme").is_some(),
    tcp: None,
    ecn: false,
    waits_at: Side::A,
    far: |ground| {
        let mut command = ground.command(Side::A, find("sendme").unwrap_or_default());
        command.args([
            "send",
            "--relay",
            "disabled",
            "--ticket-type",
            "addresses",
            "--no-progress",
        ]);
        command.args([
            "--magic-ipv4-addr",
            &format!("{}:{PORT}", ground.address(Side::A)),
        ]);
        command.arg(ground.file);
        Ok(command)
    },
    ready: Ready::Said("sendme receive blob"),
    near: |ground, said| {
        let (_, rest) = said.split_once("sendme receive ").unwrap_or_default();
        let ticket = rest.split_whitespace().next().unwrap_or_default();
        let mut command = ground.command(Side::B, find("sendme").unwrap_or_default());
        command.args(["receive", "--relay", "disabled", "--no-progress", ticket]);
        command.current_dir(ground.received());
        Ok(command)
    },
    ends: Ends::Near,
    proof: Proof::File,
};

/// Multicast's file sender, to one receiver. It is told its rate; here, 95% of the link's.
pub(super) const UFTP: Peer = Peer {
    name: "uftp (told the rate)",
    install: "apt install uftp",
    is_installed: || find("uftp").is_some() && find("uftpd").is_some(),
    tcp: None,
    ecn: false,
    waits_at: Side::B,
    far: |ground| {
        let mut command = ground.command(Side::B, "uftpd");
        command
            .args(["-d", "-I", ground.address(Side::B), "-D"])
            .arg(ground.received());
        Ok(command)
    },
    ready: Ready::Udp(1044),
    near: |ground, _| {
        /// Where nobody states a rate: what one of its packets at a time can use of a cable.
        const UNPLAYED_MBIT: u64 = 1000;
        let mbit = if ground.mbit == 0 {
            UNPLAYED_MBIT
        } else {
            ground.mbit
        };
        let mut command = ground.command(Side::A, "uftp");
        command.args(["-I", ground.address(Side::A), "-M", ground.address(Side::B)]);
        // A closed group of one, named by its address: it need not wait for others.
        command.args(["-H", &identity(ground.address(Side::B))]);
        command.args(["-R", &(mbit * 950).to_string()]).arg(ground.file);
        Ok(command)
    },
    ends: Ends::Near,
    proof: Proof::File,
};

/// The name uftp gives a client: its IPv4 address in hexadecimal.
fn identity(address: &str) -> String {
    let digits = address.split('.').filter_map(|part| part.parse::<u8>().ok());
    digits.fold("0x".to_owned(), |text, part| format!("{text}{part:02X}"))
}
