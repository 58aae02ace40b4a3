//! The program on real file systems, mounted for it. Only root mounts, so this is ignored otherwise:
//!
//! ```text
//! cargo test --test integration -- --ignored --nocapture disks:: --skip systems::
//! ```
//!
//! `P2PCOPY_BIN` names another program than that of this tree and profile; `DISKS` tries only file systems with that in
//! their names, and compares no table.

mod acts;
mod fuse;
mod mounts;
mod programs;
mod refused;
mod table;
mod trouble;
mod wire;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Mutex;

use acts::{ACTS, Place, make_source};
use mounts::{FILE_SYSTEMS, FileSystem, Mounted, NOBODY};
use programs::Programs;
use table::Row;

/// File systems at once.
const WORKERS: usize = 3;

/// Everything that one user does on one file system.
fn act(programs: &Programs, file_system: &FileSystem, mounted: &Mounted, user: u32) -> Row {
    let [source, back] = [(); 2].map(|()| {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(user), Some(user)).unwrap();
        dir
    });
    make_source(source.path(), user);
    let mut place = Place {
        programs,
        user,
        source: source.path().to_owned(),
        out: mounted.directory(file_system, user),
        back: back.path().to_owned(),
        remount: &|| mounted.remount(file_system),
        told: Vec::new(),
    };
    let cells = ACTS.iter().map(|(name, act)| {
        let came = act(&mut place);
        if came.is_err() {
            place.discard();
        }
        println!("{} as {user}: {name}: {came:?}", file_system.name);
        came.err()
    });
    let cells = cells.collect();
    Row {
        name: file_system.name.into(),
        cells,
        told: place.told,
    }
}

/// The rows of one file system: one if both users met the same.
fn rows(programs: &Programs, file_system: &FileSystem, tree: &Path) -> Option<Vec<Row>> {
    let mounted = Mounted::new(file_system, tree)?;
    let [mut one, mut other] = [0, NOBODY].map(|user| act(programs, file_system, &mounted, user));
    if (&one.cells, &one.told) == (&other.cells, &other.told) {
        return Some(vec![one]);
    }
    one.name += ", root";
    other.name += ", nobody";
    Some(vec![one, other])
}

#[test]
#[ignore = "mounts, which only root may"]
fn every_act_on_every_file_system_passes_or_says_why_not() {
    let programs = Programs::new();
    let tree = tempfile::tempdir().unwrap();
    make_source(tree.path(), NOBODY);
    let permissions = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(tree.path(), permissions).unwrap();
    let wanted = std::env::var("DISKS").unwrap_or_default();
    let is_wanted = |(_, file_system): &(usize, &FileSystem)| file_system.name.contains(&wanted);
    let todo = Mutex::new(FILE_SYSTEMS.iter().enumerate().filter(is_wanted));
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().unwrap().next();
                    let Some((i, file_system)) = next else { break };
                    let rows = rows(&programs, file_system, tree.path());
                    done.lock().unwrap().insert(i, rows);
                }
            });
        }
    });
    let mut found = Vec::new();
    for (i, rows) in done.into_inner().unwrap() {
        match rows {
            Some(rows) => found.extend(rows),
            None => println!(
                "GAP: {}: this kernel does not know {}",
                FILE_SYSTEMS[i].name, FILE_SYSTEMS[i].kernel
            ),
        }
    }
    let table = table::render(&found);
    println!("\n{table}");
    if wanted.is_empty() {
        table::check(&table);
    }
}
