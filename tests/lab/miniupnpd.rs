//! miniupnpd, which forwards ports to whoever asks for them.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::shell::{Daemon, command_in, inside};
use super::wires::Wires;

pub(crate) const PMP_ONLY: &str = "enable_upnp=no\nenable_natpmp=yes";
pub(crate) const UPNP_ONLY: &str = "enable_upnp=yes\nenable_natpmp=no";

/// Starts it on the router `na`, and waits until it answers.
pub(crate) fn daemon(wires: &Wires, files: &Path, protocols: &str) -> Daemon {
    let config = files.join("miniupnpd.conf");
    let text = format!(
        "ext_ifname=wan\nlistening_ip=lan\n{protocols}\nsystem_uptime=yes\nsecure_mode=yes\nuuid=00000000-0000-0000-0000-000000000001\n\
         allow 1024-65535 192.168.1.0/24 1024-65535\nupnp_table_name=filter\nupnp_nat_table_name=filter\n\
         upnp_forward_chain=miniupnpd\nupnp_nat_chain=prerouting_miniupnpd\n\
         upnp_nat_postrouting_chain=postrouting_miniupnpd\nlease_file={}\n",
        files.join("leases").display()
    );
    std::fs::write(&config, text).expect("room for a few small files");
    let mut command = command_in(&wires.name("na"), "miniupnpd");
    command
        .args(["-d", "-f"])
        .arg(&config)
        .arg("-P")
        .arg(files.join("pid"));
    let log = std::fs::File::create(files.join("log")).expect("room for a log");
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(log));
    let daemon = Daemon(command.spawn().expect("miniupnpd is installed"));
    // It listens long before it answers.
    let (question, port): (&[u8], u16) = if protocols.contains("enable_natpmp=yes") {
        (&[0, 0], 5351)
    } else {
        let search = b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n";
        (search, 1900)
    };
    let socket = inside(&wires.name("a"), || UdpSocket::bind("0.0.0.0:0")).expect("a port is free");
    let tick = Some(Duration::from_millis(100));
    socket.set_read_timeout(tick).expect("a time above zero");
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let _ = socket.send_to(question, ("192.168.1.1", port));
        if socket.recv_from(&mut [0; 1500]).is_ok() {
            break;
        }
        let log = || std::fs::read_to_string(files.join("log")).unwrap_or_default();
        assert!(Instant::now() < end, "{}", log());
    }
    daemon
}
