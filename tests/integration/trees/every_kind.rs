//! Trees of random shape: files, directories and links, with names of any bytes, modes and times.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use p2pcopy::parts::transfer::{Conflicts, SafeName};
use proptest::prelude::*;

use super::{MIB, UPDATE, place, send, snapshot, write};
use crate::pair::Setup;

#[derive(Clone, Debug)]
struct Made {
    name: Vec<u8>,
    parent: usize,
    what: u8,
    size: usize,
    mode: u32,
    mtime: i64,
}

fn made() -> impl Strategy<Value = Made> {
    let name = prop_oneof![
        "[a-z]{1,3}".prop_map(String::into_bytes),
        "[a-zA-Z0-9 éß日_.-]{1,12}[a-z]".prop_map(String::into_bytes),
        proptest::collection::vec(0xf8u8..=0xff, 1..5),
    ]
    // Names that no system should be asked for, such as `prn`, arrive under another; tests of `names` show that.
    .prop_filter("kept as it is", |name| {
        SafeName::from_peer(name).is_ok_and(|safe| safe.as_bytes() == name)
    });
    let size = prop_oneof![Just(0), 1usize..3000, 0usize..3 * MIB];
    (
        name,
        any::<usize>(),
        0u8..6,
        size,
        0u32..0o1000,
        -2_000_000_000i64..4_000_000_000,
    )
        .prop_map(|(name, parent, what, size, mode, mtime)| Made {
            name,
            parent,
            what,
            size,
            mode,
            mtime,
        })
}

/// The permission bits that a receiver never gives: those of this process's umask, and writing by others.
fn taken_away() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    umask.map_or(0o022, |digits| u32::from_str_radix(digits.trim(), 8).unwrap()) | 0o022
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn trees_of_every_kind_round_trip(
        entries in proptest::collection::vec(made(), 1..40), seed in any::<u64>(), die in 0u32..6,
    ) {
        let p = place();
        fs::create_dir(p.src.join("top")).unwrap();
        let mut dirs = vec![p.src.join("top")];
        let mut finish = Vec::new();
        for (i, m) in entries.iter().enumerate() {
            let path = dirs[m.parent % dirs.len()].join(std::ffi::OsStr::from_bytes(&m.name));
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            match m.what {
                0 | 1 => {
                    fs::create_dir(&path).unwrap();
                    dirs.push(path.clone());
                    finish.push((path, (m.mode | 0o500) & !taken_away(), m.mtime));
                }
                2 => std::os::unix::fs::symlink("in side/\u{e9}", &path).unwrap(),
                _ => {
                    write(&path, i as u64, m.size);
                    finish.push((path, (m.mode | 0o400) & !taken_away(), m.mtime));
                }
            }
        }
        for (path, mode, mtime) in finish.into_iter().rev() {
            let file = fs::File::open(&path).unwrap();
            let distance = std::time::Duration::from_secs(mtime.unsigned_abs());
            let epoch = std::time::SystemTime::UNIX_EPOCH;
            let time = if mtime < 0 { epoch - distance } else { epoch + distance };
            file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        }
        let top = [p.src.join("top")];
        let setup = Setup { seed, piece: 30_000, buffers: 3, ..Setup::default() };
        if die > 0 {
            let _ = send(&top, &p.out, Setup { die_after: Some(die), ..setup }).unwrap();
        }
        send(&top, &p.out, Setup { conflicts: Conflicts::Overwrite, ..setup }).unwrap();
        prop_assert_eq!(snapshot(&p.out), snapshot(&p.src));
        let again = send(&top, &p.out, Setup { seed, ..UPDATE }).unwrap();
        prop_assert!(again.placed[0].already_there && again.sent == 0);
    }
}
