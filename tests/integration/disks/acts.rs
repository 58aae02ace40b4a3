//! What is done on each file system.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::programs::{Ended, Programs, Side, files};
use crate::pair::Rng;

const MIB: usize = 1 << 20;

/// What came of an act: nothing to say, or why it could not be done.
pub type Outcome = Result<(), String>;

/// A user, and where he sends from and receives into.
pub struct Place<'a> {
    pub programs: &'a Programs,
    pub user: u32,
    /// What is sent.
    pub source: PathBuf,
    /// The directory of the file system.
    pub out: PathBuf,
    /// A directory elsewhere, for what is sent from there.
    pub back: PathBuf,
    /// Takes the file system down and mounts it again.
    pub remount: &'a dyn Fn(),
    /// What was told of what this disk does not keep.
    pub told: Vec<String>,
}

/// What is done.
pub type Act = fn(&mut Place<'_>) -> Outcome;

/// All of it, by name.
pub const ACTS: [(&str, Act); 9] = [
    ("file", file),
    ("tree", tree),
    ("pipe", pipe),
    ("killed", killed),
    ("again", again),
    ("`--update`", update),
    ("`--overwrite`", overwrite),
    ("case", case),
    ("from there", from_there),
];

/// Makes what is sent: the user's own.
pub fn make_source(dir: &Path, user: u32) {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    fs::create_dir(tree.join("none")).unwrap();
    let content = [
        ("one.bin", 3 * MIB + 5),
        ("big.bin", 24 * MIB),
        ("tree/plain", 3 * MIB + 7),
        ("tree/sub/a:b?.txt", 10),
        ("tree/sub/aux.c", 20),
        ("tree/sub/a\\x2db", 30),
        ("tree/sub/dot.", 40),
        ("tree/sub/caf\u{e9} \u{1f980}", 50),
        ("tree/sub/deep/empty", 0),
        ("tree/sub/deep/locked", MIB),
    ];
    for (i, (name, size)) in content.into_iter().enumerate() {
        fs::write(dir.join(name), Rng::new(i as u64).bytes(size)).unwrap();
    }
    fs::write(tree.join(OsStr::from_bytes(b"sub/latin \xe9")), "latin").unwrap();
    fs::set_permissions(tree.join("sub/deep/locked"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(tree.join("plain"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("plain", tree.join("link")).unwrap();
    fs::create_dir(dir.join("names")).unwrap();
    for name in ["README", "readme"] {
        fs::write(dir.join("names").join(name), name).unwrap();
    }
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        std::os::unix::fs::lchown(&path, Some(user), Some(user)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    chown(dir, Some(user), Some(user)).unwrap();
}

impl Place<'_> {
    fn side<'a>(&self, arguments: &'a [&'a str], directory: &'a Path) -> Side<'a> {
        Side {
            user: self.user,
            arguments,
            directory,
        }
    }

    /// Sends `what`, and receives it with these options. Both sides end well, or the receiver says why not.
    fn send(&mut self, what: &[&str], input: Option<Vec<u8>>, how: &[&str]) -> Result<Ended, String> {
        let sender = [&["sender"], what].concat();
        let receiver = [&["receiver", "--yes"], how].concat();
        let (source, out) = (self.source.clone(), self.out.clone());
        let ends = self
            .programs
            .run(&self.side(&sender, &source), input, &self.side(&receiver, &out));
        self.conclude(ends)
    }

    /// What an act that failed left is removed, on a full disk as well; where nothing can be, there is nothing.
    pub fn discard(&self) {
        self.programs
            .alone(&self.side(&["receiver", "--discard"], &self.out));
        assert_no_leftovers(&self.out);
    }

    fn tell(&mut self, text: String) {
        if !self.told.contains(&text) {
            self.told.push(text);
        }
    }

    fn conclude(&mut self, [sender, receiver]: [Ended; 2]) -> Result<Ended, String> {
        if let Some(renamed) = receiver.event("renamed") {
            let count = renamed["paths"].as_array().unwrap().len();
            self.tell(format!("{count} names are stored under others"));
        }
        for warning in receiver.events.iter().filter(|event| event["event"] == "warning") {
            self.tell(warning["text"].as_str().unwrap().to_owned());
        }
        match (sender.code, receiver.code) {
            (Some(0), Some(0)) => Ok(receiver),
            (_, Some(6)) => Err(sentence(&receiver, &self.out)),
            (Some(6), _) => Err(format!("the sender: {}", sentence(&sender, &self.source))),
            codes => panic!("{codes:?} {:?}\n{}\n{}", self.out, sender.said, receiver.said),
        }
    }
}

/// Cause and next step, without what differs from run to run.
fn sentence(ended: &Ended, place: &Path) -> String {
    let failed = ended.event("failed").unwrap_or_else(|| panic!("{}", ended.said));
    let text = |field: &str| failed[field].as_str().unwrap().to_owned();
    let place = place.to_str().unwrap().trim_end_matches('/');
    let said = format!("{}; {}", text("error"), text("next")).replace(place, "DIR");
    let mut words: Vec<&str> = said.split(' ').collect();
    for i in 1..words.len() {
        if ["B", "kB", "MB", "GB"].contains(&words[i].trim_end_matches(',')) {
            words[i - 1] = "N bytes";
            words[i] = "";
        } else if words[i].bytes().all(|byte| byte.is_ascii_digit()) {
            words[i] = "N";
        }
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// Every file of `sent` lies in `found` with its content: under its name, or under another that was told.
fn assert_arrived(sent: &Path, found: &Path, told: &[serde_json::Value]) {
    let renamed: HashMap<String, String> = told
        .iter()
        .filter(|event| event["event"] == "renamed")
        .flat_map(|event| event["paths"].as_array().unwrap())
        .map(|pair| {
            let name = |field: &str| pair[field].as_str().unwrap().to_owned();
            (name("sent"), name("stored"))
        })
        .collect();
    let (sent, found) = (files(sent), files(found));
    assert_eq!(
        sent.len(),
        found.len(),
        "{:?}",
        found.iter().map(|f| &f.0).collect::<Vec<_>>()
    );
    for (path, content) in sent {
        let arrived = found.iter().find(|(_, other)| *other == content);
        let (stored, _) = arrived.unwrap_or_else(|| panic!("{path:?} did not arrive"));
        // Its own name is the last that is looked at: a directory above may have another one.
        let (name, stored) = (path.file_name(), stored.file_name());
        let is_told = || {
            let stored = stored.unwrap().to_string_lossy();
            renamed.values().any(|told| told.ends_with(&*stored))
        };
        // One file system shows all names in lower case.
        let is_same = name.unwrap().eq_ignore_ascii_case(stored.unwrap());
        assert!(
            is_same || is_told(),
            "{path:?} is {stored:?}, and nobody said so: {renamed:?}"
        );
    }
}

fn assert_no_leftovers(out: &Path) {
    let left = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left
        .filter(|name| name.to_string_lossy().contains(".part"))
        .collect();
    assert!(left.is_empty(), "{out:?}: {left:?}");
}

fn assert_same(one: &Path, other: &Path) {
    assert!(
        fs::read(one).unwrap() == fs::read(other).unwrap(),
        "{one:?} is not {other:?}"
    );
}

fn file(place: &mut Place<'_>) -> Outcome {
    place.send(&["one.bin"], None, &[])?;
    let [sent, found] = [&place.source, &place.out].map(|dir| dir.join("one.bin"));
    assert_same(&sent, &found);
    let times = [&sent, &found].map(|path| fs::metadata(path).unwrap().mtime());
    let is_told = place.told.iter().any(|told| told.contains("times"));
    assert!(
        is_told || times[0].abs_diff(times[1]) <= 2,
        "{found:?}: {times:?}"
    );
    assert_no_leftovers(&place.out);
    Ok(())
}

fn tree(place: &mut Place<'_>) -> Outcome {
    let was_there = place.out.join("tree").exists();
    let ended = place.send(&["tree", "--links"], None, &[])?;
    let name = if was_there { "tree (1)" } else { "tree" };
    assert_arrived(&place.source.join("tree"), &place.out.join(name), &ended.events);
    assert_no_leftovers(&place.out);
    Ok(())
}

fn pipe(place: &mut Place<'_>) -> Outcome {
    let content = Rng::new(99).bytes(3 * MIB + 9);
    place.send(&["--file", "-", "--name", "pipe.bin"], Some(content.clone()), &[])?;
    assert!(fs::read(place.out.join("pipe.bin")).unwrap() == content);
    assert_no_leftovers(&place.out);
    Ok(())
}

/// Sends and kills both when half of it is there; `from` and `to` are directories.
fn kill_halfway(place: &mut Place<'_>, from: &Path, to: &Path) -> Outcome {
    let sender = ["sender", "big.bin", "--limit", "20MB/s"];
    let receiver = ["receiver", "--yes"];
    let [mut sender, mut receiver] =
        place
            .programs
            .pair(&place.side(&sender, from), None, &place.side(&receiver, to));
    loop {
        match receiver.next() {
            Some(event) if event["done"].as_u64() >= Some(12 << 20) => break,
            Some(_) => {}
            None => {
                let receiver = receiver.end();
                if receiver.event("connected").is_none() {
                    sender.child.kill().unwrap();
                }
                return place.conclude([sender.end(), receiver]).map(drop);
            }
        }
    }
    // A disk may be behind what is in memory, and only what the journal tells is resumed: a record of 69 bytes after 121.
    let (journal, whole) = (to.join("big.bin.part/journal"), to.join("big.bin"));
    while fs::metadata(&journal).is_ok_and(|file| file.len() < 190) && !whole.exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    receiver.kill();
    sender.kill();
    assert!(!whole.exists());
    Ok(())
}

fn assert_resumed(ended: &Ended) {
    let resumed = ended.event("resumed").unwrap_or_else(|| panic!("{}", ended.said));
    assert!(resumed["bytes"].as_u64() > Some(0), "{resumed}");
}

/// Killed half-way and resumed; killed again and discarded.
fn killed(place: &mut Place<'_>) -> Outcome {
    let (source, out) = (place.source.clone(), place.out.clone());
    kill_halfway(place, &source, &out)?;
    let ended = place.send(&["big.bin"], None, &[])?;
    assert_resumed(&ended);
    assert_same(&source.join("big.bin"), &out.join("big.bin"));
    assert_no_leftovers(&out);
    fs::rename(out.join("big.bin"), out.join("whole.bin")).unwrap();
    kill_halfway(place, &source, &out)?;
    let ended = place
        .programs
        .alone(&place.side(&["receiver", "--discard"], &out));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_no_leftovers(&out);
    fs::rename(out.join("whole.bin"), out.join("big.bin")).unwrap();
    Ok(())
}

/// The same commands once more: nothing that is there is touched.
fn again(place: &mut Place<'_>) -> Outcome {
    place.send(&["one.bin"], None, &[])?;
    for name in ["one.bin", "one (1).bin"] {
        assert_same(&place.source.join("one.bin"), &place.out.join(name));
    }
    assert_no_leftovers(&place.out);
    Ok(())
}

/// Onto nothing or an older copy, then with nothing changed, then with one byte changed.
fn update(place: &mut Place<'_>) -> Outcome {
    let plain = place.source.join("tree/plain");
    for moved in [u64::MAX, 0, 2 * MIB as u64] {
        let ended = place.send(&["tree", "--links"], None, &["--update"])?;
        let finished = ended.event("finished").unwrap();
        let count = |field: &str| finished[field].as_u64().unwrap();
        assert!(
            count("bytes") - count("reused") <= moved,
            "{:?}: {finished}",
            place.out
        );
        let (sent, found) = (place.source.join("tree"), place.out.join("tree"));
        assert_arrived(&sent, &found, &ended.events);
        assert_no_leftovers(&place.out);
        let mut content = fs::read(&plain).unwrap();
        if moved == 0 {
            content[MIB + 1] ^= 1;
            fs::write(&plain, content).unwrap();
        }
    }
    Ok(())
}

fn overwrite(place: &mut Place<'_>) -> Outcome {
    let one = place.source.join("one.bin");
    let mut content = fs::read(&one).unwrap();
    content[0] ^= 1;
    fs::write(&one, content).unwrap();
    place.send(&["one.bin", "tree", "--links"], None, &["--overwrite"])?;
    assert_same(&one, &place.out.join("one.bin"));
    assert_same(&place.source.join("tree/plain"), &place.out.join("tree/plain"));
    assert_no_leftovers(&place.out);
    Ok(())
}

/// Two names that only their case tells apart: both arrive, or it is told before anything does.
fn case(place: &mut Place<'_>) -> Outcome {
    let was_there = place.out.join("names").exists();
    let sent = place.send(&["names"], None, &[]);
    match &sent {
        Ok(ended) => assert_arrived(
            &place.source.join("names"),
            &place.out.join("names"),
            &ended.events,
        ),
        Err(_) => assert_eq!(place.out.join("names").exists(), was_there),
    }
    assert_no_leftovers(&place.out);
    sent.map(drop)
}

/// What arrived is sent from there: a tree, and a file on whose way the file system is taken down.
fn from_there(place: &mut Place<'_>) -> Outcome {
    let (there, back) = (place.out.clone(), place.back.clone());
    if !there.join("big.bin").exists() || !there.join("tree").exists() {
        return Err("nothing arrived that could be sent".into());
    }
    kill_halfway(place, &there, &back)?;
    (place.remount)();
    for what in [&["sender", "big.bin"][..], &["sender", "tree", "--links"]] {
        let receiver = ["receiver", "--yes"];
        let [sender, receiver] =
            place
                .programs
                .run(&place.side(what, &there), None, &place.side(&receiver, &back));
        assert_eq!(
            [sender.code, receiver.code],
            [Some(0); 2],
            "{}\n{}",
            sender.said,
            receiver.said
        );
        if what[1] == "big.bin" {
            assert_resumed(&receiver);
        }
    }
    assert_same(&there.join("big.bin"), &back.join("big.bin"));
    assert_arrived(&there.join("tree"), &back.join("tree"), &[]);
    Ok(())
}
