//! One run of a sender, a receiver, a demo or a check: from validated options to an outcome.
//!
//! A run tells the outside everything through a [`Front`] and asks it everything it needs to
//! know; it never prints. It ends in a [`Summary`] or in a [`Failure`].

pub mod event;
pub mod options;
pub mod outcome;
pub mod units;

use event::Front;
use options::{CheckOptions, DemoOptions, ReceiveOptions, SendOptions};
use outcome::{Failure, Summary};

/// Sends what the options name to one peer.
///
/// # Errors
/// Whatever kept the peer from having all of it, verified.
pub async fn send(_options: SendOptions, _front: &mut dyn Front) -> Result<Summary, Failure> {
    Err(Failure::internal("sending is not there"))
}

/// Receives from one peer what it offers.
///
/// # Errors
/// Whatever kept the files from being complete and verified.
pub async fn receive(_options: ReceiveOptions, _front: &mut dyn Front) -> Result<Summary, Failure> {
    Err(Failure::internal("receiving is not there"))
}

/// Runs both sides on this machine through the real sockets, without the internet.
///
/// # Errors
/// As for [`send`] and [`receive`].
pub async fn demo(_options: DemoOptions, _front: &mut dyn Front) -> Result<Summary, Failure> {
    Err(Failure::internal("the demo is not there"))
}

/// Finds out what this network is and what that means for punching.
///
/// # Errors
/// If not even the local sockets could be used.
pub async fn check(_options: CheckOptions, _front: &mut dyn Front) -> Result<Summary, Failure> {
    Err(Failure::internal("the check is not there"))
}
