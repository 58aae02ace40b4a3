//! One call to a receiver's disk fails, whichever, with whatever error: it is told with path, cause and next step, nothing
//! wrong has a final name, and the same command completes it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use p2pcopy::parts::app::failure_of;
use p2pcopy::parts::transfer::{Conflicts, Source, TransferError, stream_manifest};

use crate::memory::{Crash, MemoryLayer};
use crate::pair::{self, Fault, Outcome, Rng, Setup};
use crate::remains::{Contents, expected, finals};

/// An error, and what must be said of it.
type Case = (fn() -> io::Error, &'static str);

/// Errors that every system has kinds for.
const KINDS: [Case; 9] = [
    (|| ErrorKind::StorageFull.into(), "the disk is full"),
    (|| ErrorKind::QuotaExceeded.into(), "quota"),
    (|| ErrorKind::FileTooLarge.into(), "more than a file can hold"),
    (|| ErrorKind::CrossesDevices.into(), "another file system"),
    (|| ErrorKind::PermissionDenied.into(), "permission"),
    (|| ErrorKind::StaleNetworkFileHandle.into(), "stale"),
    (|| ErrorKind::ExecutableFileBusy.into(), "a program that runs"),
    (|| ErrorKind::ReadOnlyFilesystem.into(), "read-only"),
    (|| ErrorKind::TimedOut.into(), "does not answer"),
];

/// The disk itself, as Unix numbers it.
#[cfg(unix)]
const BROKEN: Case = (|| io::Error::from_raw_os_error(libc::EIO), "input/output error");
#[cfg(not(unix))]
const BROKEN: Case = KINDS[0];

const SETUP: Setup = Setup {
    seed: 5,
    piece: 60_000,
    buffers: 8,
    window: 6,
    conflicts: Conflicts::Overwrite,
    die_after: None,
    damage: None,
};

/// How a transfer is begun, on a disk that an earlier one may have left something on.
struct Scene<'a> {
    name: &'static str,
    prepare: &'a dyn Fn(&MemoryLayer),
    run: &'a dyn Fn(&MemoryLayer) -> Result<Outcome, Fault>,
    /// What a final name may hold before the end.
    old: Contents,
    new: Contents,
}

impl Scene<'_> {
    fn disk(&self) -> MemoryLayer {
        let layer = MemoryLayer::new();
        (self.prepare)(&layer);
        layer
    }

    /// Fails each call in turn with each of these errors.
    fn fail_everywhere(&self, cases: &[Case]) {
        let healthy = self.disk();
        let before = healthy.calls();
        (self.run)(&healthy).unwrap();
        assert!(healthy.contents() == self.new, "{:?}", healthy.contents().keys());
        for at in 1..=healthy.calls() - before {
            for case in cases {
                self.fail(at, case);
            }
        }
    }

    fn fail(&self, at: u64, (error, words): &Case) {
        let layer = self.disk();
        layer.fail_at(at, *error);
        let ended = (self.run)(&layer);
        let context = format!("{}, call {at} ({:?}), {:?}", self.name, layer.failed(), error());
        match ended {
            Ok(_) => {}
            Err(Fault::Receiver(error @ TransferError::Local(_))) => {
                let failure = failure_of(error);
                let said = failure.to_string();
                assert!(
                    said.contains(words) && said.contains("OUTPUT"),
                    "{context}: {said}"
                );
                assert!(!failure.next_step().is_empty(), "{context}: {said}");
            }
            Err(other) => panic!("{context}: {other:?}"),
        }
        for (path, content) in finals(&layer) {
            let is_right = [&self.old, &self.new]
                .iter()
                .any(|right| right.get(&path) == Some(&content));
            assert!(is_right, "{context}: {path:?} is wrong");
        }
        layer.revive(Crash::KeepAll);
        (self.run)(&layer).unwrap_or_else(|fault| panic!("{context}, again: {fault:?}"));
        assert!(
            layer.contents() == self.new,
            "{context}: {:?}",
            layer.contents().keys()
        );
    }
}

/// A tree, and the same as it was before.
fn trees(dir: &Path) -> [PathBuf; 2] {
    let [old, new] = ["old/t", "new/t"].map(|name| dir.join(name));
    for (tree, seed) in [(&old, 1), (&new, 2)] {
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("a"), Rng::new(seed).bytes(1_100_000)).unwrap();
        fs::write(tree.join("sub/b"), Rng::new(seed + 2).bytes(900)).unwrap();
        fs::write(tree.join("sub/empty"), b"").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("../a", tree.join("sub/link")).unwrap();
    }
    [old, new]
}

fn scene<'a>(
    name: &'static str,
    prepare: &'a dyn Fn(&MemoryLayer),
    run: &'a dyn Fn(&MemoryLayer) -> Result<Outcome, Fault>,
    old: Contents,
    new: Contents,
) -> Scene<'a> {
    Scene {
        name,
        prepare,
        run,
        old,
        new,
    }
}

fn cases() -> Vec<Case> {
    KINDS.into_iter().chain([BROKEN]).collect()
}

#[test]
fn whatever_call_fails_a_tree_that_is_replaced_is_told_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = trees(dir.path());
    let receive =
        |tree: &PathBuf, layer: &MemoryLayer| pair::send(std::slice::from_ref(tree), layer.clone(), SETUP);
    let prepare = |layer: &MemoryLayer| drop(receive(&old, layer).unwrap());
    let run = |layer: &MemoryLayer| receive(&new, layer);
    let contents = [&old, &new].map(|tree| expected(std::slice::from_ref(tree)));
    let [before, after] = contents;
    scene("a tree over another", &prepare, &run, before, after).fail_everywhere(&cases());
}

#[test]
fn whatever_call_fails_a_resumed_tree_is_told_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let [_, new] = trees(dir.path());
    let receive = |die_after, layer: &MemoryLayer| {
        let setup = Setup {
            die_after,
            conflicts: Conflicts::Update,
            ..SETUP
        };
        pair::send(std::slice::from_ref(&new), layer.clone(), setup)
    };
    let prepare = |layer: &MemoryLayer| assert!(receive(Some(1), layer).unwrap().died);
    let run = |layer: &MemoryLayer| receive(None, layer);
    let after = expected(std::slice::from_ref(&new));
    scene("a resumed tree", &prepare, &run, Contents::new(), after).fail_everywhere(&[KINDS[0], BROKEN]);
}

#[test]
fn whatever_call_fails_a_mount_below_the_target_is_told_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = trees(dir.path());
    let receive =
        |tree: &PathBuf, layer: &MemoryLayer| pair::send(std::slice::from_ref(tree), layer.clone(), SETUP);
    let prepare = |layer: &MemoryLayer| {
        receive(&old, layer).unwrap();
        layer.mount(Path::new("t/sub"));
    };
    let run = |layer: &MemoryLayer| receive(&new, layer);
    let [before, after] = [&old, &new].map(|tree| expected(std::slice::from_ref(tree)));
    scene("a mount below", &prepare, &run, before, after).fail_everywhere(&[KINDS[0], BROKEN]);
}

#[test]
fn whatever_call_fails_a_pipe_is_told_and_comes_anew() {
    let content = Rng::new(7).bytes(2_200_000);
    let run = |layer: &MemoryLayer| {
        let source = Source::pipe(Box::new(io::Cursor::new(content.clone())));
        pair::run(stream_manifest("pipe").unwrap(), source, layer.clone(), SETUP)
    };
    let after = Contents::from([("pipe".into(), Some(content.clone()))]);
    scene("a pipe", &|_| (), &run, Contents::new(), after).fail_everywhere(&cases());
}
