//! Public servers to ask if the user names none. All answered in November 2026.

/// STUN servers of several operators: two answers from different addresses show how the NAT maps, and no
/// single operator's failure matters.
pub(crate) const STUN: &[&str] = &[
    "stun.cloudflare.com:3478",
    "stun.l.google.com:19302",
    "stun.nextcloud.com:3478",
    "stun.sonetel.com:3478",
    "stun.freeswitch.org:3478",
    "stun.voipgate.com:3478",
    "stun.antisip.com:3478",
    "stun.threema.ch:3478",
    "stun.framasoft.org:3478",
    "stun.telnyx.com:3478",
];

/// NTP servers. Google's are left out, because they smear leap seconds, and clocks of both kinds must not be
/// mixed.
pub(crate) const NTP: &[&str] = &[
    "time.cloudflare.com:123",
    "pool.ntp.org:123",
    "time.apple.com:123",
    "time.windows.com:123",
];
