//! Content that has moved inside the files of an update does not cross the line again.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{MIB, UPDATE, names, place, send, snapshot, write};
use crate::pair::{Outcome, Rng, Setup};

/// Bytes that crossed the line because of content.
fn moved(outcome: &Outcome) -> usize {
    (outcome.sent + outcome.described) as usize
}

/// Updates the file `vm.img` that holds `old` by one that holds `new`.
fn update(old: &[u8], new: &[u8]) -> Outcome {
    let p = place();
    let file = p.src.join("vm.img");
    fs::write(p.out.join("vm.img"), old).unwrap();
    fs::write(&file, new).unwrap();
    let outcome = send(&[file], &p.out, UPDATE).unwrap();
    assert_eq!(outcome.root.unwrap().0, *blake3::hash(new).as_bytes());
    assert!(fs::read(p.out.join("vm.img")).unwrap() == new);
    assert_eq!(snapshot(&p.out), snapshot(&p.src), "and nothing is left behind");
    outcome
}

#[test]
fn one_byte_in_front_of_a_file_moves_no_more_than_a_fiftieth_of_it() {
    let old = Rng::new(1).bytes(64 * MIB);
    let outcome = update(&old, &[b"x", &old[..]].concat());
    assert!(moved(&outcome) <= old.len() / 50, "{outcome:?}");
    assert!(moved(&outcome) <= 400_000, "chunks, not blocks: {outcome:?}");
}

#[test]
fn what_is_inserted_cut_out_or_moved_in_a_file_moves_no_more_than_that() {
    let old = Rng::new(2).bytes(24 * MIB + 12_345);
    let new = Rng::new(3).bytes(9 * MIB);
    let (head, tail) = old.split_at(10 * MIB + 77);
    let cases = [
        ("inserted in the middle", [head, b"inserted", tail].concat(), 0),
        ("much inserted in front", [&new[..], &old[..]].concat(), 9 * MIB),
        ("cut out of the middle", [head, &tail[5_000_001..]].concat(), 0),
        ("cut off in front", old[3_333_333..].to_vec(), 0),
        ("halves swapped", [tail, head].concat(), 0),
        ("appended to", [&old[..], b"more"].concat(), 0),
    ];
    for (name, content, fresh) in cases {
        let outcome = update(&old, &content);
        assert!(moved(&outcome) <= fresh + 500_000, "{name}: {outcome:?}");
    }
}

#[test]
fn what_is_equal_at_its_place_is_not_described() {
    let old = Rng::new(4).bytes(20 * MIB);
    let mut new = old.clone();
    new[7 * MIB + 5] ^= 1;
    let outcome = update(&old, &new);
    assert!(outcome.described <= 20 * 70, "one block only: {outcome:?}");
    assert!(outcome.sent <= 300_000, "{outcome:?}");
    let outcome = update(&old, &old);
    assert_eq!(moved(&outcome), 0);
}

#[test]
fn what_is_equal_is_copied_block_by_block_once_something_differs() {
    let old = Rng::new(7).bytes(12 * MIB);
    let mut new = old.clone();
    new[10 * MIB + 5] ^= 1;
    let outcome = update(&old, &new);
    let left: Vec<u64> = (0..10).rev().map(|blocks| blocks * MIB as u64).collect();
    assert_eq!(outcome.copying, left);
    assert!(update(&old, &old).copying.is_empty());
}

#[test]
fn a_file_of_other_content_comes_whole_and_once() {
    let (old, new) = (Rng::new(5).bytes(9 * MIB), Rng::new(6).bytes(9 * MIB));
    let outcome = update(&old, &new);
    assert_eq!(outcome.sent, new.len() as u64);
    // Zeros among what is the same: many places have these bytes.
    let zeros = vec![0; 5 * MIB];
    let outcome = update(&[&zeros[..], &old].concat(), &[&old[..], &zeros].concat());
    assert!(moved(&outcome) <= 600_000, "{outcome:?}");
}

#[test]
fn in_a_tree_of_small_files_only_those_that_changed_move() {
    let p = place();
    for i in 0..300 {
        write(&p.src.join(format!("{i:03}")), i, 9_000);
        fs::copy(p.src.join(format!("{i:03}")), p.out.join(format!("{i:03}"))).unwrap();
    }
    for i in [7, 250] {
        write(&p.src.join(format!("{i:03}")), 1000 + i, 9_000);
    }
    let paths: Vec<PathBuf> = names(&p.src).iter().map(|name| p.src.join(name)).collect();
    let outcome = send(&paths, &p.out, UPDATE).unwrap();
    assert_eq!(outcome.sent, 18_000);
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn what_moved_from_a_file_to_one_after_it_is_found() {
    let p = place();
    let (log, older, oldest) = ("app.log", "app.log.1", "app.log.2");
    let content = |seed| Rng::new(seed).bytes(4 * MIB + 999);
    for (name, seed) in [(log, 1), (older, 2), (oldest, 3)] {
        fs::write(p.out.join(name), content(seed)).unwrap();
    }
    fs::write(p.src.join(log), b"a new beginning").unwrap();
    fs::write(p.src.join(older), content(1)).unwrap();
    fs::write(p.src.join(oldest), content(2)).unwrap();
    let paths = [log, older, oldest].map(|name| p.src.join(name));
    let outcome = send(&paths, &p.out, UPDATE).unwrap();
    assert!(moved(&outcome) <= 600_000, "{outcome:?}");
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn an_update_that_broke_off_goes_on_with_what_it_verified() {
    let p = place();
    let file = p.src.join("vm.img");
    let old = Rng::new(7).bytes(30 * MIB);
    let new = [&Rng::new(8).bytes(10 * MIB + 1)[..], &old].concat();
    fs::write(p.out.join("vm.img"), &old).unwrap();
    fs::write(&file, &new).unwrap();
    let (mut crossed, mut verified) = (0, 0);
    for blocks in [8, 25] {
        let dies = Setup {
            die_after: Some(blocks),
            ..UPDATE
        };
        let outcome = send(std::slice::from_ref(&file), &p.out, dies).unwrap();
        assert!(outcome.died && outcome.sent as usize <= 11 * MIB);
        (crossed, verified) = (crossed + moved(&outcome), blocks);
    }
    assert_eq!(verified, 25);
    assert!(
        fs::read(p.out.join("vm.img")).unwrap() == old,
        "as it was until all is here"
    );
    crossed += moved(&send(&[file], &p.out, UPDATE).unwrap());
    assert!(fs::read(p.out.join("vm.img")).unwrap() == new);
    // What was in flight when it died comes again.
    assert!(crossed <= 10 * MIB + 14 * MIB, "{crossed}");
}

#[test]
fn what_an_interrupted_transfer_kept_is_searched_too() {
    let p = place();
    let file = p.src.join("vm.img");
    let old = write(&file, 9, 20 * MIB);
    let dies = Setup {
        die_after: Some(18),
        ..Setup::default()
    };
    assert!(send(std::slice::from_ref(&file), &p.out, dies).unwrap().died);
    let new = [b"x", &old[..]].concat();
    fs::write(&file, &new).unwrap();
    let outcome = send(&[file], &p.out, Setup::default()).unwrap();
    assert!(fs::read(p.out.join("vm.img")).unwrap() == new);
    assert!(moved(&outcome) <= 4 * MIB, "{outcome:?}");
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, usize),
    Cut(usize, usize),
    Overwrite(usize, usize),
    Copy(usize, usize, usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let (at, len) = (0usize..4 * MIB, 1usize..700_000);
    prop_oneof![
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Insert(at, len)),
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Cut(at, len)),
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Overwrite(at, len)),
        (at.clone(), at, len).prop_map(|(from, to, len)| Edit::Copy(from, to, len)),
    ]
}

fn edit(content: &mut Vec<u8>, edit: &Edit, seed: u64) {
    let end = content.len();
    let within = |at: usize, len: usize| at.min(end)..(at + len).min(end);
    let (range, new) = match *edit {
        Edit::Insert(at, len) => (within(at, 0), Rng::new(seed).bytes(len)),
        Edit::Cut(at, len) => (within(at, len), Vec::new()),
        Edit::Overwrite(at, len) => (within(at, len), Rng::new(seed).bytes(within(at, len).len())),
        Edit::Copy(from, to, len) => (within(to, 0), content[within(from, len)].to_vec()),
    };
    content.splice(range, new);
}

fn write_all(dir: &Path, files: &[Vec<u8>]) {
    for (i, content) in files.iter().enumerate() {
        fs::write(dir.join(format!("{i}")), content).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_edited_and_however_often_it_breaks_off_what_is_sent_arrives(
        sizes in proptest::collection::vec(prop_oneof![0usize..5_000, 0usize..3 * MIB], 1..6),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any_edit()), 0..6),
        deaths in proptest::collection::vec(1u32..8, 0..3),
        seed in any::<u64>(),
    ) {
        let p = place();
        let mut files: Vec<Vec<u8>> = sizes.iter().zip(seed..).map(|(&len, seed)| Rng::new(seed).bytes(len)).collect();
        write_all(&p.out, &files);
        for (n, (which, what)) in edits.iter().enumerate() {
            edit(which.get_mut(&mut files), what, seed ^ n as u64);
        }
        write_all(&p.src, &files);
        let paths: Vec<PathBuf> = names(&p.src).iter().map(|name| p.src.join(name)).collect();
        for (n, &blocks) in deaths.iter().enumerate() {
            let dies = Setup { die_after: Some(blocks), seed: seed ^ n as u64, ..UPDATE };
            send(&paths, &p.out, dies).unwrap();
        }
        send(&paths, &p.out, Setup { seed, buffers: 2 + (seed % 7) as usize, ..UPDATE }).unwrap();
        let arrived = snapshot(&p.out);
        for (path, node) in snapshot(&p.src) {
            prop_assert_eq!(arrived.get(&path), Some(&node));
        }
    }
}

/// A tree here, and the same there with files and a directory under other names.
fn renamed_tree() -> super::Place {
    let p = place();
    for (n, (old, new, len)) in [
        ("t/a", "t/a", 300_000),
        ("t/b", "t/sub/c", 5 * MIB + 77),
        ("t/raw/1", "t/cooked/1", 3 * MIB),
        ("t/raw/2", "t/cooked/2", 70_001),
        ("t/z", "t/z", 2 * MIB),
    ]
    .into_iter()
    .enumerate()
    {
        for path in [p.out.join(old), p.src.join(new)] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            super::changing::write_dated(&path, n as u64, len, 5000 * (n as u64 + 1));
        }
    }
    p
}

#[test]
fn what_was_renamed_by_the_sender_does_not_cross_the_line_in_an_update() {
    let p = renamed_tree();
    let outcome = send(&[p.src.join("t")], &p.out, UPDATE).unwrap();
    assert_eq!(moved(&outcome), 0, "{outcome:?}");
    for path in ["t/a", "t/sub/c", "t/cooked/1", "t/cooked/2", "t/z"] {
        assert!(fs::read(p.out.join(path)).unwrap() == fs::read(p.src.join(path)).unwrap());
    }
    assert_eq!(
        names(&p.out.join("t/raw")),
        ["1", "2"],
        "an update removes nothing"
    );
}

#[test]
fn a_renamed_file_that_only_looks_the_same_is_sent() {
    let p = renamed_tree();
    let path = p.out.join("t/b");
    let meta = fs::metadata(&path).unwrap();
    write(&path, 99, meta.len() as usize);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    let outcome = send(&[p.src.join("t")], &p.out, UPDATE).unwrap();
    assert!(outcome.sent >= 5 * MIB as u64, "{outcome:?}");
    let arrived = fs::read(p.out.join("t/sub/c")).unwrap();
    assert!(arrived == fs::read(p.src.join("t/sub/c")).unwrap());
}

#[test]
fn files_beside_what_is_sent_and_files_without_an_update_are_not_compared() {
    let p = renamed_tree();
    fs::rename(p.out.join("t"), p.out.join("other")).unwrap();
    fs::create_dir(p.out.join("t")).unwrap();
    let outcome = send(&[p.src.join("t")], &p.out, UPDATE).unwrap();
    assert!(outcome.sent > 10 * MIB as u64, "{outcome:?}");
    let p = renamed_tree();
    let outcome = send(&[p.src.join("t")], &p.out, Setup::default()).unwrap();
    assert!(outcome.sent > 10 * MIB as u64, "{outcome:?}");
}

/// As they come out of an archive: of one size, and of one time.
#[test]
fn of_renamed_files_that_look_alike_each_is_found_by_its_name() {
    let p = place();
    let [old, new] = ["t/old", "t/new"].map(|path| p.src.join(path));
    fs::create_dir_all(&old).unwrap();
    for seed in 0..20 {
        let path = old.join(format!("{seed}.jpg"));
        write(&path, seed, 100_000);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    }
    let paths = [p.src.join("t")];
    send(&paths, &p.out, Setup::default()).unwrap();
    fs::rename(&old, &new).unwrap();
    assert_eq!(send(&paths, &p.out, UPDATE).unwrap().sent, 0);
    assert_eq!(snapshot(&p.out.join("t/new")), snapshot(&new));
}
