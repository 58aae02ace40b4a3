//! Extended attributes between two processes.

use super::{both, introduce, start};

/// Attributes are kept if both sides say so, and never beyond what a mode may give.
#[test]
fn extended_attributes_arrive_if_both_sides_want_them_and_are_told_otherwise() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let place = tempfile::tempdir().expect("a place for files");
    let at = |path: &str| place.path().join(path);
    std::fs::create_dir(at("tree")).expect("a directory");
    #[expect(clippy::disallowed_methods, reason = "a test makes its files")]
    std::fs::write(at("tree/file"), "content").expect("room for a few bytes");
    for path in ["tree", "tree/file"] {
        let set = |name: &str, value: &[u8]| setxattr(at(path), name, value, XattrFlags::empty());
        if set("user.author", b"me").is_err() {
            // This file system has none.
            return;
        }
    }
    // Owner rw, user 1001 rw, group r, mask rw, others none: refused where there are no such lists.
    let list: Vec<u8> = [[2u16, 0].map(u16::to_le_bytes).concat()]
        .into_iter()
        .chain(
            [
                (1u16, 6u16, u32::MAX),
                (2, 6, 1001),
                (4, 4, u32::MAX),
                (16, 6, u32::MAX),
                (32, 0, u32::MAX),
            ]
            .map(|(kind, rights, id)| {
                [&kind.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
            }),
        )
        .flatten()
        .collect();
    let acl = "system.posix_acl_access";
    let has_lists = setxattr(at("tree/file"), acl, &list, XattrFlags::empty()).is_ok();
    let value = |path: &str, name: &str| {
        let mut value = [0; 100];
        let len = getxattr(at(path), name, &mut value[..]).ok()?;
        Some(value[..len].to_vec())
    };
    let runs = |sender: &[&str], out: &str, receiver: &[&str]| {
        let receiver = [&["receiver", "--yes", "--output", out], receiver].concat();
        let ends = both(&[&["sender", "tree"], sender].concat(), &receiver, place.path());
        ends.map(|end| {
            let told = String::from_utf8_lossy(&end.stderr).into_owned();
            assert_eq!(end.status.code(), Some(0), "{told}");
            told
        })
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runs(&["--xattrs"], "with", &["--xattrs"]);
            for path in ["with/tree", "with/tree/file"] {
                assert_eq!(value(path, "user.author").as_deref(), Some(&b"me"[..]), "{path}");
            }
            if has_lists {
                let kept = value("with/tree/file", acl).expect("it is kept");
                let rights: Vec<u8> = kept[4..].chunks(8).map(|entry| entry[2]).collect();
                assert_eq!(rights, [6, 4, 4, 4, 0], "nobody but the owner may write");
            }
        });
        scope.spawn(|| {
            let [_, told] = runs(&["--xattrs"], "unwanted", &[]);
            assert!(told.contains("2 with extended attributes"), "{told}");
            assert_eq!(value("unwanted/tree/file", "user.author"), None);
        });
        let receiver = ["receiver", "--yes", "--output", "unsent", "--xattrs"];
        let ends = [
            start(&["sender", "tree"], place.path()),
            start(&receiver, place.path()),
        ];
        // Before anybody waits for it.
        ends[0].told("--xattrs sends them");
        for end in introduce(ends) {
            assert_eq!(end.end().status.code(), Some(0));
        }
        assert_eq!(value("unsent/tree/file", "user.author"), None);
    });
    // An update brings an attribute that alone has changed.
    setxattr(at("tree/file"), "user.author", b"you", XattrFlags::empty()).expect("as before");
    runs(&["--xattrs"], "with", &["--xattrs", "--update"]);
    assert_eq!(
        value("with/tree/file", "user.author").as_deref(),
        Some(&b"you"[..])
    );
}
