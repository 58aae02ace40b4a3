//! Removing namespaces, also those that a killed run left.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use super::shell::{command, run};

/// Start of every namespace's name.
pub(crate) const PREFIX: &str = "p2pcopy-lab-";

/// How long a tool may take that ends a process or a namespace.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

/// Kills what runs in a namespace.
pub(crate) fn kill_all(namespace: &str) {
    let pids = run(
        command("ip").args(["netns", "pids", namespace]),
        "",
        REMOVAL_LIMIT,
    );
    for pid in pids
        .text
        .split_whitespace()
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
    {
        run(command("kill").args(["-9", pid]), "", REMOVAL_LIMIT);
    }
}

/// Kills what runs in the namespaces and deletes them.
pub(crate) fn remove(namespaces: &[String]) {
    for name in namespaces {
        kill_all(name);
    }
    let lines: Vec<String> = namespaces
        .iter()
        .map(|name| format!("netns delete {name}"))
        .collect();
    run(
        command("ip").args(["-force", "-batch", "-"]),
        &lines.join("\n"),
        REMOVAL_LIMIT,
    );
}

/// [`sweep`], once in a process.
pub(crate) fn sweep_once() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
}

/// Removes the namespaces of runs that were killed: those whose process is gone.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let stale: Vec<String> = names
        .filter(|name| {
            let pid = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            // Our own number on a namespace at the start of the run is an earlier process's.
            pid.is_some_and(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists())
        })
        .collect();
    if !stale.is_empty() {
        remove(&stale);
    }
}
