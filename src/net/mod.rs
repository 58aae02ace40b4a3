//! The only owner of sockets, of the clock and of the system's randomness.
//!
//! One thread runs a [`Driver`]: it waits for datagrams and timers, hands them to a sans-IO [`Machine`], and
//! sends what the machine wants to send. It does not interpret the bytes.

pub(crate) mod driver;
mod faces;
mod gateway;
mod interfaces;
mod nat64;
mod reach;
mod socket;
mod sys;
mod tcp;

use std::time::{Duration, Instant, SystemTime};

use crate::protocol::time::Time;
pub(crate) use driver::{BURSTS_RECEIVED, Driver, Machine, Waker};
pub(crate) use gateway::{Gateway, http, multicast_search};
pub(crate) use interfaces::{Local, has_ipv6_alone, local};
pub(crate) use nat64::Nat64;
pub(crate) use reach::{Echo, try_nearby, try_out};
pub(crate) use socket::{Ports, bind, bind_at, bind_beside};
pub(crate) use tcp::{Door, StreamNews, TCP};

/// The monotonic clock of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
}

impl Clock {
    /// Starts a run's clock at one second, so that earlier times can be expressed.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the monotonic clock"
    )]
    pub fn start() -> Self {
        let base = Instant::now();
        Clock {
            base: base.checked_sub(Duration::from_secs(1)).unwrap_or(base),
        }
    }

    /// The current time of the run.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the monotonic clock"
    )]
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + Instant::now().duration_since(self.base)
    }
}

/// The system's time, as nanoseconds since 1970; 0 before that.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the system clock"
)]
pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// A new seed from the system.
///
/// # Errors
/// If the system has no randomness to give.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the system's randomness"
)]
pub(crate) fn random_seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(seed)
}
