//! The laboratory: real namespaces, real NATs, real STUN and NTP servers, and the real program run in them by two
//! scripted users.
//!
//! Everything here needs root and Linux, so every test is ignored unless asked for:
//! `cargo test --release --test lab -- --ignored`. A network is built per test, in its own namespaces; nothing
//! outside them is touched, and no address outside them is ever used.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![expect(
    clippy::disallowed_methods,
    reason = "the laboratory plays the outside world: it owns clocks, sockets and files"
)]

mod carrier;
mod check;
mod clocks;
#[path = "../integration/sim/codel.rs"]
mod codel;
mod driver;
mod ends;
mod faults;
mod flood;
#[path = "../forge/mod.rs"]
mod forge;
mod guesses;
mod headers;
mod interfaces;
mod kills;
mod link;
mod lost;
mod mapping;
mod marks;
mod matrix;
mod meeting;
mod miniupnpd;
mod moves;
mod mtu;
mod nat;
mod nearby;
mod network;
mod over_tcp;
mod pair;
mod ping;
mod queue;
mod queues;
mod rebinding;
mod selftest;
mod services;
mod shell;
mod six;
mod soak;
mod standing;
mod sweep;
mod verdicts;
mod wires;
