//! Settings of a connection that depend on this machine and on the options.

use std::time::Duration;

use super::options::Congestion;
use crate::protocol::congestion::Controller;
use crate::protocol::congestion::bbr::Bbr;
use crate::protocol::congestion::udt::Udt;
use crate::protocol::time::Time;
use crate::protocol::wire::BASE_MTU;

/// Makes the controllers of a run's connections.
pub fn controller(
    which: Congestion,
    seed: u64,
) -> Box<dyn Fn(Time, Option<Duration>) -> Box<dyn Controller> + Send> {
    match which {
        Congestion::Bbr => Box::new(move |now, rtt| Box::new(Bbr::new(now, BASE_MTU, rtt, seed))),
        Congestion::Udt => Box::new(move |now, rtt| Box::new(Udt::new(now, BASE_MTU, rtt, seed))),
    }
}

/// Whether this machine has instructions for AES and carry-less multiplication.
pub(super) fn hardware_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}
