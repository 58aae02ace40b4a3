//! A small network that a test lays out itself: namespaces, the cables between them, and nothing else.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::shell::{command, inside, must};
use super::sweep::{PREFIX, remove, sweep_once};

/// See [`Wires::wait_until_running`].
const RUNNING_LIMIT: Duration = Duration::from_secs(20);

/// Namespaces with cables; everything of it goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Wires {
    prefix: String,
    namespaces: Vec<String>,
}

impl Wires {
    /// Namespaces with these short names, and between them cables: (namespace, interface, namespace, interface). All
    /// forward; addresses of IPv6 are used at once, without a search for duplicates.
    pub(crate) fn new(names: &[&str], cables: &[(&str, &str, &str, &str)]) -> Wires {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep_once();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-w{number}-", std::process::id());
        let namespaces: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        let lines: Vec<String> = namespaces
            .iter()
            .map(|name| format!("netns add {name}"))
            .collect();
        must(command("ip").args(["-batch", "-"]), &lines.join("\n"));
        for name in namespaces.clone() {
            inside(&name, || {
                for (setting, value) in [
                    ("ipv4/ip_forward", "1"),
                    ("ipv6/conf/all/forwarding", "1"),
                    ("ipv6/conf/default/accept_dad", "0"),
                    ("ipv6/conf/all/accept_dad", "0"),
                ] {
                    let path = format!("/proc/sys/net/{setting}");
                    std::fs::write(path, value).expect("root may configure a namespace");
                }
            });
        }
        let wires = Wires { prefix, namespaces };
        let lines: Vec<String> = cables
            .iter()
            .map(|(near, near_if, far, far_if)| {
                let (near, far) = (wires.name(near), wires.name(far));
                format!("link add name {near_if} netns {near} type veth peer name {far_if} netns {far}")
            })
            .collect();
        must(command("ip").args(["-batch", "-"]), &lines.join("\n"));
        wires
    }

    /// The full name of a namespace.
    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// Runs lines of `ip` in a namespace.
    pub(crate) fn ip(&self, short: &str, lines: &str) {
        must(
            command("ip").args(["-n", &self.name(short), "-batch", "-"]),
            lines,
        );
    }

    /// Waits until the kernel counts an interface as running, which takes it up to a second after both ends are up.
    pub(crate) fn wait_until_running(&self, short: &str, interface: &str) {
        let end = Instant::now() + RUNNING_LIMIT;
        let shown = || {
            must(
                command("ip").args(["-n", &self.name(short), "link", "show", interface]),
                "",
            )
        };
        while !shown().contains("state UP") {
            assert!(Instant::now() < end, "{}", shown());
        }
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        remove(&self.namespaces);
    }
}
