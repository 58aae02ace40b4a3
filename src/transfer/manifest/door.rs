//! Limits what a peer may set for an entry: permissions, access control lists and times.

/// Bits that are removed whatever the umask says: only the owner may write what a peer sent.
const NEVER: u16 = 0o022;

/// Nanoseconds in a second.
const NANOS: i64 = 1_000_000_000;

/// The earliest time that the usual file systems hold: ext4, XFS and NFS begin in December 1901.
const FIRST_TIME: i64 = -(1 << 31) * NANOS;

/// The latest time: NFS version 3 ends in February 2106. A file system that ends earlier gets the nearest
/// time it holds.
const LAST_TIME: i64 = ((1 << 32) - 1) * NANOS;

/// The permissions that an entry gets here. The peer can only remove bits from those that the user's own
/// programs would set.
pub(super) fn mode(from_peer: u16) -> u16 {
    from_peer & !NEVER & !umask()
}

/// Removes from a peer's access control list what [`mode`] removes: the group's bits for everybody but the
/// owner and others. `None` if it is not such a list: acl(5), in the layout that Linux stores.
pub(super) fn access_list(value: &mut [u8]) -> Option<()> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    const OWNER: u16 = 0x01;
    const OTHERS: u16 = 0x20;
    let (version, entries) = value.split_first_chunk_mut::<4>()?;
    let (entries, rest) = entries.as_chunks_mut::<8>();
    if *version != VERSION || !rest.is_empty() {
        return None;
    }
    let all = mode(0o777);
    for [k0, k1, r0, r1, ..] in entries {
        let class = match u16::from_le_bytes([*k0, *k1]) {
            OWNER => all >> 6,
            OTHERS => all,
            _ => all >> 3,
        };
        let rights = u16::from_le_bytes([*r0, *r1]) & class & 0o7;
        [*r0, *r1] = rights.to_le_bytes();
    }
    Some(())
}

/// The time nearest to `from_peer` that a file can have.
pub(super) fn time(from_peer: i64) -> i64 {
    from_peer.clamp(FIRST_TIME, LAST_TIME)
}

/// The umask of the process at the first call. The system returns it only when it is changed. Until it is set
/// back, files that other threads create are private.
#[cfg(unix)]
fn umask() -> u16 {
    use std::sync::LazyLock;

    use rustix::fs::Mode;
    static UMASK: LazyLock<u16> = LazyLock::new(|| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        (mask.as_raw_mode() & 0o777) as u16
    });
    *UMASK
}

/// There is no umask: the directory decides.
#[cfg(not(unix))]
fn umask() -> u16 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_never_write_and_a_mode_only_takes_away() {
        for raw in 0..=0o777 {
            let mode = mode(raw);
            assert_eq!((mode & 0o022, mode & !raw), (0, 0), "{raw:o}");
        }
    }

    #[test]
    fn times_that_no_disk_holds_become_the_nearest_it_does() {
        assert_eq!(time(i64::MIN), -2_147_483_648 * NANOS);
        assert_eq!(time(i64::MAX), 4_294_967_295 * NANOS);
        for ordinary in [-1, 0, 1_700_000_000_123_456_789] {
            assert_eq!(time(ordinary), ordinary);
        }
    }
}
