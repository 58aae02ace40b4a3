//! All integration tests but the lab, in one binary: one link, and one place to look.
//!
//! Each module says at its top what it plays. `cargo test --test integration -- evil::` runs those of one.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "test code"
)]

mod cli;
mod congestion;
mod crash;
#[cfg(target_os = "linux")]
mod disks;
mod evil;
mod faults;
#[path = "../forge/mod.rs"]
mod forge;
mod layout;
mod memory;
mod mounted;
mod pair;
mod process;
mod remains;
#[cfg(target_os = "linux")]
mod server;
mod sessions;
mod sim;
mod systems;
mod targets;
mod threat_model;
mod trees;
mod two;
