//! Turns words of the command line into values: durations, rates, sizes, servers.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::app::options::Server;
use crate::rendezvous::meeting::name::Name;

/// The longest time a run may look for its peer: a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The slowest limit in bytes a second: one full packet a second. A slower limit would block everything.
const SLOWEST: f64 = 1_500.0;

/// The fastest limit in bytes a second (8 Tbit/s): faster than any link, and far from an overflow.
const FASTEST: f64 = 1e12;

/// A time such as `90s`, `10m`, `1h30m` or `1.5m`. A bare number means seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration: write 90s, 10m or 1h30m");
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, after) = number(rest).ok_or_else(wrong)?;
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, left) = after.split_at(unit_end);
        let scale = match unit {
            "" if rest == text.trim() && left.is_empty() => 1.0,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        seconds += number * scale;
        rest = left.trim_start();
    }
    if !(1.0..=LONGEST.as_secs_f64()).contains(&seconds) {
        return Err(format!("'{text}' is out of range: give between 1s and 7d"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A whole number within bounds.
fn whole<T: FromStr + PartialOrd + Display>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String> {
    let number = text.trim().parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| {
        let (least, most) = bounds.into_inner();
        format!("'{text}' is not a whole number from {least} to {most}")
    })
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    whole(text, 1..=u16::MAX)
}

/// A TTL that leads out of our routers and not across the internet.
pub(super) fn ttl(text: &str) -> Result<u8, String> {
    whole(text, 1..=64)
}

/// An address to listen at, with its port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| {
        format!("'{text}' is not IP:PORT: write 0.0.0.0:4300 or [::]:4300, or one address in place of all")
    };
    text.trim().parse().map_err(wrong)
}

/// A rate such as `20mbit`, `2MB/s`, `1.5Gbit/s` or `500KiB`, in bytes a second.
///
/// Only the spelling tells bits from bytes, so a unit that people use for both is refused.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a rate: write 20mbit (bits) or 2MB/s (bytes)");
    let (number, unit) = number(text.trim()).ok_or_else(wrong)?;
    let unit = unit.trim();
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let (prefix, bytes_per_unit) = if let Some(prefix) = ["bit", "bits", "Bit", "bps"]
        .iter()
        .find_map(|name| unit.strip_suffix(name))
    {
        (prefix, 0.125)
    } else if let Some(prefix) = unit.strip_suffix('B') {
        (prefix, 1.0)
    } else {
        return Err(wrong());
    };
    let rate = number * scale(prefix).ok_or_else(wrong)? * bytes_per_unit;
    if !(SLOWEST..=FASTEST).contains(&rate) {
        return Err(format!("'{text}' is out of range: give between 12kbit and 8Tbit"));
    }
    Ok(rate as u64)
}

/// The factor of a prefix such as `k` or `Mi`.
fn scale(prefix: &str) -> Option<f64> {
    Some(match prefix {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        "t" | "T" => 1e12,
        "ki" | "Ki" => 1024.0,
        "mi" | "Mi" => 1024.0 * 1024.0,
        "gi" | "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    })
}

/// A size such as `10GB` or `500MiB`, in bytes; at least a megabyte.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size: write 10GB or 500MiB");
    let (number, unit) = number(text.trim()).ok_or_else(wrong)?;
    let prefix = unit.trim().strip_suffix('B').ok_or_else(wrong)?;
    let bytes = number * scale(prefix).ok_or_else(wrong)?;
    if !(1e6..=1e18).contains(&bytes) {
        return Err(format!(
            "'{text}' is out of range: give between 1MB and 1000000TB"
        ));
    }
    Ok(bytes as u64)
}

/// A name at a server.
pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|e| e.to_string())
}

/// Servers separated by commas or spaces, each `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Servers(pub(super) Vec<Server>);

/// STUN servers; the port is 3478 if not given (RFC 8489, section 18.6).
pub(super) fn stun_servers(text: &str) -> Result<Servers, String> {
    servers(text, 3478)
}

/// NTP servers; the port is 123 if not given (RFC 5905, section 17).
pub(super) fn ntp_servers(text: &str) -> Result<Servers, String> {
    servers(text, 123)
}

fn servers(text: &str, default_port: u16) -> Result<Servers, String> {
    text.split([',', ' ', '\t', '\n'])
        .filter(|word| !word.is_empty())
        .map(|word| server(word, default_port))
        .collect::<Result<Vec<_>, _>>()
        .map(Servers)
}

/// One server: `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
pub(super) fn server(text: &str, default_port: u16) -> Result<Server, String> {
    let wrong = || format!("'{text}' is not a server: write HOST, HOST:PORT or [IPV6]:PORT");
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (host, port) = inner.split_once(']').ok_or_else(wrong)?;
        (
            host,
            port.strip_prefix(':')
                .or(port.is_empty().then_some(""))
                .ok_or_else(wrong)?,
        )
    } else if text.matches(':').count() > 1 {
        (text, "")
    } else {
        text.split_once(':')
            .map_or(Ok((text, "")), |(host, port)| match port {
                "" => Err(wrong()),
                port => Ok((host, port)),
            })?
    };
    let port = match port {
        "" => default_port,
        digits => digits.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    if host.is_empty() || !(is_ipv6 || host.chars().all(is_name)) {
        return Err(wrong());
    }
    Ok(Server {
        host: host.into(),
        port,
    })
}

/// A plain decimal number at the start of the text, and the text after it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    digits.parse().ok().map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_take_the_usual_spellings() {
        for (text, seconds) in [
            ("10m", 600.0),
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("1.5m", 90.0),
            ("45", 45.0),
            ("1h 5s", 3605.0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in [
            "", "m", "10x", "1h30", "-5s", "0", "0.2s", "9d", "1e9s", "..s", "10m ago", "٣m",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_tell_bits_from_bytes() {
        for (text, bytes) in [
            ("20mbit", 2_500_000),
            ("20Mbit/s", 2_500_000),
            ("8mbps", 1_000_000),
            ("2MB/s", 2_000_000),
            ("1.5GB", 1_500_000_000),
            ("1 KiB/s", 0),
            ("500KiB", 512_000),
            ("12kbit", 1_500),
        ] {
            match bytes {
                0 => assert!(rate(text).is_err(), "{text}"),
                bytes => assert_eq!(rate(text), Ok(bytes), "{text}"),
            }
        }
        for text in [
            "20", "20m", "20mb", "", "bit", "0mbit", "-1MB/s", "1e6mbit", "2PB/s", "NaNmbit",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_have_bounds() {
        assert_eq!((port("4300"), ttl("64")), (Ok(4300), Ok(64)));
        for text in ["0", "70000", "-1", "1.5", "x", "", "99999999999999999999"] {
            assert_eq!(
                port(text),
                Err(format!("'{text}' is not a whole number from 1 to 65535"))
            );
        }
        assert!(ttl("65").is_err());
    }

    #[test]
    fn what_is_too_much_or_too_little_is_told_with_both_bounds() {
        for text in ["1bit", "0mbit", "99999999999999999999GB/s"] {
            let told = rate(text).unwrap_err();
            assert!(told.contains("between 12kbit and 8Tbit"), "{told}");
        }
        for text in ["1kB", "0B", "9999999999TB"] {
            let told = size(text).unwrap_err();
            assert!(told.contains("between 1MB and"), "{told}");
        }
    }

    #[test]
    fn sizes_are_in_bytes() {
        for (text, bytes) in [("10GB", 10_000_000_000), ("1 MB", 1_000_000), ("2GiB", 2 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "10G", "10Gbit", "1kB", "1e99GB", "9999999999TB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_parted_by_commas_or_spaces_and_have_default_ports() {
        let shown = |text| stun_servers(text).map(|s| s.0.iter().map(Server::to_string).collect::<Vec<_>>());
        assert_eq!(
            shown("a.example:19302, b.example"),
            Ok(vec!["a.example:19302".into(), "b.example:3478".into()])
        );
        assert_eq!(
            shown("[2001:db8::1]:5 2001:db8::2"),
            Ok(vec!["[2001:db8::1]:5".into(), "[2001:db8::2]:3478".into()])
        );
        assert_eq!(shown("[2001:db8::1]"), Ok(vec!["[2001:db8::1]:3478".into()]));
        assert_eq!(shown(""), Ok(vec![]));
        for text in [
            "a:0", "a:", ":5", "a:65536", "a b:x", "[::1", "[::1]x", "[]:5", "a\u{1b}b", "http://a",
        ] {
            assert!(stun_servers(text).is_err(), "{text}");
        }
        assert_eq!(ntp_servers("10.0.0.1").map(|s| s.0[0].port), Ok(123));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,20}|[0-9.]{0,9}[a-zA-Z/]{0,6}") {
            let _ = (duration(&text), rate(&text), stun_servers(&text));
        }
    }
}
