//! Cookies prove that a client receives at the address it sends from. The server keeps no state for them.

use std::time::Duration;

use crate::protocol::Path;
use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::mac::{equal, mac};
use crate::protocol::time::Time;
use crate::rendezvous::meeting::wire::Cookie;

/// How long a secret makes cookies. They stay valid for as long again.
const TURN: Duration = Duration::from_secs(120);

pub(super) struct Cookies {
    rng: SeedRng,
    secret: Seed,
    before: Seed,
    changed: Time,
}

impl Cookies {
    pub(super) fn new(seed: &[u8; 32], now: Time) -> Self {
        let mut rng = SeedRng::new(seed, "p2pcopy 1 cookies");
        Cookies {
            secret: rng.seed(),
            before: rng.seed(),
            rng,
            changed: now,
        }
    }

    /// The cookie of the client on this path.
    pub(super) fn make(&mut self, now: Time, path: Path) -> Cookie {
        self.turn(now);
        mac(&self.secret, &path.to_bytes())
    }

    /// Whether this path's client got the cookie at most four minutes ago.
    pub(super) fn is_good(&mut self, now: Time, path: Path, cookie: &Cookie) -> bool {
        self.turn(now);
        [&self.secret, &self.before]
            .into_iter()
            .any(|secret| equal(&mac(secret, &path.to_bytes()), cookie))
    }

    fn turn(&mut self, now: Time) {
        let turns = now.since(self.changed).as_secs() / TURN.as_secs();
        // After two turns both secrets are new, even if more have passed.
        for _ in 0..turns.min(2) {
            self.before = std::mem::replace(&mut self.secret, self.rng.seed());
        }
        self.changed += TURN * u32::try_from(turns).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_path_and_for_two_to_four_minutes() {
        let path = |text: &str, local| Path {
            local,
            remote: text.parse().expect("an address"),
        };
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mine = path("203.0.113.7:4300", 0);
        let mut cookies = Cookies::new(&[1; 32], at(0));
        let cookie = cookies.make(at(100), mine);
        for other in [
            path("203.0.113.7:4301", 0),
            path("203.0.113.8:4300", 0),
            path("203.0.113.7:4300", 1),
        ] {
            assert!(!cookies.is_good(at(100), other, &cookie));
        }
        assert!(cookies.is_good(at(100), mine, &cookie) && cookies.is_good(at(239), mine, &cookie));
        assert!(!cookies.is_good(at(240), mine, &cookie));
        let cookie = cookies.make(at(240), mine);
        assert!(!cookies.is_good(at(100_000), mine, &cookie));
    }
}
