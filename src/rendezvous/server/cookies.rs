//! Cookies prove that a client receives at the address it sends from. The server keeps no state for them.

use std::time::Duration;

use crate::protocol::Path;
use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::mac::{equal, of_path};
use crate::protocol::time::Time;
use crate::rendezvous::meeting::wire::Cookie;

/// How long a path has the same cookie. It stays valid for as long again.
const TURN: Duration = Duration::from_secs(120);

pub(super) struct Cookies(Seed);

impl Cookies {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Cookies(SeedRng::new(seed, "p2pcopy 1 cookies").seed())
    }

    /// The cookie of the client on this path.
    pub(super) fn make(&self, now: Time, path: Path) -> Cookie {
        of_path(&self.0, path, now, TURN, 0)
    }

    /// Whether this path's client got the cookie at most four minutes ago.
    pub(super) fn is_good(&self, now: Time, path: Path, cookie: &Cookie) -> bool {
        [0, 1]
            .into_iter()
            .any(|age| equal(&of_path(&self.0, path, now, TURN, age), cookie))
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
        let cookies = Cookies::new(&[1; 32]);
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
