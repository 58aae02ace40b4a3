//! Quantities as people read them: sizes, rates and durations, decimal and short.

use std::fmt;
use std::time::Duration;

/// A size in bytes, shown as `10.0 GB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, ["B", "kB", "MB", "GB", "TB", "PB"])
    }
}

/// A rate in bytes a second, shown as `12.5 MB/s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"])
    }
}

/// A span of time, shown as `1.5 s`, `2m05s`, `1h02m`; `<1 ms` and milliseconds below a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 if self.0 < Duration::from_millis(1) => write!(f, "<1 ms"),
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..60 => write!(f, "{}.{} s", seconds, self.0.subsec_millis() / 100),
            60..3600 => write!(f, "{}m{:02}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        }
    }
}

/// Writes the value with one decimal in the largest unit that keeps it at 1 or more.
fn scaled(f: &mut fmt::Formatter<'_>, value: u64, units: [&str; 6]) -> fmt::Result {
    if value < 1000 {
        return write!(f, "{value} {}", units[0]);
    }
    let mut scale = 1000u64;
    for unit in &units[1..] {
        // In tenths, rounded, so that 999,950 shows as 1.0 MB and not as 1000.0 kB.
        let tenths = (u128::from(value) * 10 + u128::from(scale) / 2) / u128::from(scale);
        if tenths < 10_000 || *unit == units[5] {
            return write!(f, "{}.{} {unit}", tenths / 10, tenths % 10);
        }
        scale *= 1000;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_with_one_digit() {
        let shown: Vec<String> = [0, 999, 1000, 999_949, 999_950, 10_000_000_000, u64::MAX]
            .map(|n| Size(n).to_string())
            .into();
        assert_eq!(
            shown,
            [
                "0 B",
                "999 B",
                "1.0 kB",
                "999.9 kB",
                "1.0 MB",
                "10.0 GB",
                "18446.7 PB"
            ]
        );
    }

    #[test]
    fn spans_are_short_at_every_scale() {
        let shown: Vec<String> = [0, 42, 1500, 59_999, 125_000, 3_720_000]
            .map(|ms| Span(Duration::from_millis(ms)).to_string())
            .into();
        assert_eq!(shown, ["<1 ms", "42 ms", "1.5 s", "59.9 s", "2m05s", "1h02m"]);
    }
}
