//! What is played: the networks of two users, and when they paste.

use std::time::Duration;

use super::nat::NatKind;

#[derive(Clone)]
pub(super) struct Scene {
    pub(super) nats: [NatKind; 2],
    /// When the sender and the receiver paste, in milliseconds.
    pub(super) paste: [u64; 2],
    /// How far each clock is ahead, in milliseconds.
    pub(super) skew: [i64; 2],
    pub(super) loss_percent: u64,
    pub(super) delay_millis: u64,
    pub(super) low_ttl: Option<u8>,
    /// The number of routers between the two NATs.
    pub(super) routers: u8,
    /// Whether routers drop packets with IP options.
    pub(super) drops_ip_options: bool,
    pub(super) same_lan: bool,
    /// Whether only the first port gets through, on both sides.
    pub(super) one_port: bool,
    /// Which sides paste the peer's bare `ip:port`.
    pub(super) bare: [bool; 2],
    /// Which users allow guesses of ports.
    pub(super) guess: [bool; 2],
    /// Which sides got no time from NTP servers.
    pub(super) untold: [bool; 2],
    /// Which sides paste the same address again once the peer has connected.
    pub(super) again: [bool; 2],
    pub(super) timeout: Duration,
    pub(super) seed: u64,
}

impl Scene {
    pub(super) fn new(a: NatKind, b: NatKind) -> Self {
        Scene {
            nats: [a, b],
            paste: [0, 0],
            skew: [0, 0],
            loss_percent: 0,
            delay_millis: 20,
            low_ttl: None,
            routers: 8,
            drops_ip_options: false,
            same_lan: false,
            one_port: false,
            bare: [false, false],
            guess: [true, true],
            untold: [false, false],
            again: [false, false],
            timeout: Duration::from_secs(300),
            seed: 1,
        }
    }
}
