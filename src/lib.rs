//! p2pcopy copies files straight from one computer to another through their home routers.
//!
//! The rooms, from the user down; each uses only those below it (`tests/integration/layout.rs` holds that):
//!
//! - `cli`: options, prompts, the screen and `--json`.
//! - `app`: one run from validated options to an outcome; the only room that knows all others.
//! - `rendezvous`: two programs find each other: addresses, STUN, slots, the punch, codes and the server. Sans-IO.
//! - `transfer`: what is sent, how it is named, hashed, stored and taken up again.
//! - `net`: the one thread that owns sockets, the clock and randomness.
//! - `system`: what differs between Linux, macOS and Windows.
//! - `protocol`: the sealed transport: packets, acknowledgements, loss, congestion. Sans-IO.

// Only `parts` and `run` leave the crate; whatever else says `pub` hides dead code.
#![warn(unreachable_pub)]
#![expect(
    private_interfaces,
    reason = "what the tests drive has fields and errors whose types no test names; those stay within the crate"
)]

mod app;
mod cli;
mod net;
pub mod parts;
mod protocol;
mod rendezvous;
mod system;
#[cfg(any(test, fuzzing))]
pub mod tests;
mod transfer;

pub use cli::run;
