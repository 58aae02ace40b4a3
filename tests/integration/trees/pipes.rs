//! What comes from a pipe or goes into one.

use super::*;

/// A pipe's list is the same whatever comes out of it.
#[test]
fn a_shorter_pipe_cuts_nothing_before_all_of_it_is_verified() {
    let p = place();
    let content = Rng::new(5).bytes(20 * MIB + 3);
    let pipe = |content: &[u8], die_after| {
        let setup = Setup {
            die_after,
            ..Setup::default()
        };
        let source = Source::pipe(Box::new(Cursor::new(content.to_vec())));
        run(stream_manifest("dir.tar").unwrap(), source, disk(&p.out), setup).unwrap()
    };
    assert!(pipe(&content, Some(15)).died);
    let before = fs::metadata(p.out.join("dir.tar.part/data/dir.tar"))
        .unwrap()
        .len();
    assert!(pipe(&Rng::new(6).bytes(3 * MIB), Some(1)).died);
    let after = fs::metadata(p.out.join("dir.tar.part/data/dir.tar"))
        .unwrap()
        .len();
    assert_eq!(before, after);
    let outcome = pipe(&content, None);
    assert!(outcome.sent <= 9 * MIB as u64, "{}", outcome.sent);
    assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
}

/// All pipes of one name have one list. Until a block of the new one is verified, the old one's stays.
#[test]
fn a_resumed_pipe_replaces_verified_blocks_only_by_verified_ones() {
    let (old, new) = (Rng::new(5).bytes(12 * MIB), Rng::new(6).bytes(12 * MIB));
    for seed in 0..8 {
        let p = place();
        let pipe = |content: &[u8], setup| {
            let source = Source::pipe(Box::new(Cursor::new(content.to_vec())));
            run(stream_manifest("dir.tar").unwrap(), source, disk(&p.out), setup).unwrap()
        };
        // Few buffers: most blocks come to the disk in parts.
        let setup = |die_after| Setup {
            seed,
            buffers: 2,
            die_after,
            ..Setup::default()
        };
        assert!(pipe(&old, setup(Some(10))).died);
        assert!(pipe(&new, setup(Some(3))).died);
        let data = fs::read(p.out.join("dir.tar.part/data/dir.tar")).unwrap();
        let is = |block: usize, of: &[u8]| {
            let range = block * MIB..(block + 1) * MIB;
            data.get(range.clone()).is_some_and(|kept| kept == &of[range])
        };
        let kept = (0..12).filter(|&block| is(block, &old)).count();
        let came = (0..12).filter(|&block| is(block, &new)).count();
        // A block may have been written when the run ended and not been counted yet.
        assert!(came >= 3 && kept + came >= 10, "seed {seed}: {kept} + {came}");
        pipe(&new, setup(None));
        assert_eq!(names(&p.out), ["dir.tar"]);
        assert!(fs::read(p.out.join("dir.tar")).unwrap() == new);
    }
}

#[test]
fn a_pipe_is_received_as_a_file() {
    for size in [0, 5, MIB, 40 * MIB + 3] {
        let p = place();
        let content = Rng::new(size as u64).bytes(size);
        let source = Source::pipe(Box::new(Cursor::new(content.clone())));
        let layer = disk(&p.out);
        let manifest = stream_manifest("dir.tar").unwrap();
        let outcome = run(
            manifest,
            source,
            layer,
            Setup {
                window: 40,
                buffers: 24,
                ..Setup::default()
            },
        )
        .unwrap();
        assert_eq!(outcome.root.unwrap().0, *blake3::hash(&content).as_bytes());
        assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
        assert_eq!(names(&p.out), ["dir.tar"]);
    }
}

#[test]
fn a_broken_pipe_transfer_can_be_repeated() {
    let p = place();
    let content = Rng::new(5).bytes(20 * MIB + 3);
    let run_once = |die_after| {
        let source = Source::pipe(Box::new(Cursor::new(content.clone())));
        let layer = disk(&p.out);
        run(
            stream_manifest("dir.tar").unwrap(),
            source,
            layer,
            Setup {
                die_after,
                ..Setup::default()
            },
        )
        .unwrap()
    };
    assert!(run_once(Some(10)).died);
    assert!(run_once(None).sent <= 11 * MIB as u64);
    assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
}

#[test]
fn an_update_of_what_came_from_a_pipe_sends_only_blocks_that_differ() {
    let p = place();
    let mut content = Rng::new(5).bytes(20 * MIB + 3);
    let pipe = |content: &[u8], setup| {
        let source = Source::pipe(Box::new(Cursor::new(content.to_vec())));
        let outcome = run(stream_manifest("dir.tar").unwrap(), source, disk(&p.out), setup).unwrap();
        assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
        assert_eq!(names(&p.out), ["dir.tar"]);
        outcome.sent
    };
    pipe(&content, Setup::default());
    content[7 * MIB] ^= 1;
    // A last block that is not whole is sent again.
    for (len, most) in [
        (20 * MIB + 3, MIB + 3),
        (12 * MIB + 5, 5),
        (12 * MIB, 0),
        (12 * MIB + 5, 5),
        (3, 3),
        (0, 0),
        (MIB, MIB),
    ] {
        let sent = pipe(&content[..len], UPDATE);
        assert!(sent <= most as u64, "{sent} of {len}");
    }
    // Nothing is compared that the user does not want compared.
    let overwrite = Setup {
        conflicts: Conflicts::Overwrite,
        ..UPDATE
    };
    assert_eq!(pipe(&content[..MIB], overwrite), MIB as u64);
}

#[test]
fn content_in_order_goes_straight_through() {
    for (size, stream) in [
        (0, true),
        (MIB / 2, false),
        (37 * MIB + 1, true),
        (37 * MIB, false),
    ] {
        let p = place();
        let content = write(&p.src.join("x"), size as u64, size);
        let (manifest, source) = if stream {
            (
                stream_manifest("x").unwrap(),
                Source::pipe(Box::new(Cursor::new(content.clone()))),
            )
        } else {
            let scanned = scan(&[p.src.join("x")], &ScanOptions::default()).unwrap();
            (scanned.manifest.clone(), Source::files(scanned))
        };
        let setup = Setup {
            window: 40,
            damage: Some(20),
            seed: size as u64,
            ..Setup::default()
        };
        let (outcome, received) = pair::run_ordered(manifest, source, setup).unwrap();
        assert!(received == content, "{} of {size}", received.len());
        assert_eq!(outcome.root.unwrap().0, *blake3::hash(&content).as_bytes());
    }
}
