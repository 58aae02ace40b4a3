//! Removing namespaces, also those that a killed run left.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::shell::{command, namespace_path, run};

/// Start of every namespace's name.
pub(crate) const PREFIX: &str = "p2pcopy-lab-";

/// How long the removal of namespaces may take.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

/// Kills what runs in the namespaces.
pub(crate) fn kill_all(namespaces: &[String]) {
    let identity = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        Some((file.dev(), file.ino()))
    };
    let doomed: Vec<_> = namespaces
        .iter()
        .filter_map(|name| identity(&namespace_path(name)))
        .collect();
    let processes = fs::read_dir("/proc").expect("every process is listed");
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if identity(&process.path().join("ns/net")).is_some_and(|home| doomed.contains(&home)) {
            // It may have ended since.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Kills what runs in the namespaces and deletes them.
pub(crate) fn remove(namespaces: &[String]) {
    kill_all(namespaces);
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
    let Ok(entries) = fs::read_dir("/run/netns") else {
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
