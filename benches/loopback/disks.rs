//! From a disk to the same disk, beside what else copies there. Each time ends when everything is on the medium.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program;
use super::run::{make_file, median};

/// Files in one directory of a tree.
const PER_DIRECTORY: usize = 1000;
/// The type of a file system in memory (statfs(2)).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Where rsync's daemon listens.
const PORT: &str = "127.0.0.1:28730";

/// What is copied.
struct Load {
    name: String,
    path: PathBuf,
    /// A large file is not in memory when its copy begins; a tree is.
    is_cold: bool,
}

/// Who copies: `cp`, `tar` and `rsync` are commands of a shell that knows `$FROM` and `$TO`, an empty directory.
const CONTENDERS: [(&str, Option<&str>); 4] = [
    ("cp -r", Some("cp -r $FROM $TO")),
    (
        "tar \\| tar",
        Some("tar -C $(dirname $FROM) -cf - $(basename $FROM) | tar -C $TO -xf -"),
    ),
    ("rsync -a, its daemon", Some("rsync -a $FROM rsync://$PORT/to/")),
    ("p2pcopy", None),
];

/// rsync's daemon, as long as it is needed.
struct Daemon(Option<Child>);

impl Daemon {
    fn start(directory: &Path, to: &Path) -> Daemon {
        let config = directory.join("rsyncd.conf");
        let (address, port) = PORT.split_once(':').expect("an address");
        // Root's daemon would write as nobody.
        let user = if rustix::process::geteuid().is_root() {
            "uid = 0\ngid = 0\n"
        } else {
            ""
        };
        let text = format!(
            "{user}address = {address}\nport = {port}\nuse chroot = no\nlog file = /dev/null\n\
             [to]\npath = {}\nread only = no\n",
            to.display()
        );
        std::fs::write(&config, text).expect("room on the disk");
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--config"]).arg(config);
        Daemon(command.stdin(Stdio::null()).spawn().ok())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.0 {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Copies within `parent`, which lies on the disk to be measured, and prints the tables.
pub(crate) fn run(parent: &Path, megabytes: usize, rounds: usize) {
    let directory = tempfile::tempdir_in(parent).expect("a directory on that disk");
    let to = directory.path().join("to");
    let kept = directory.path().join("kept");
    let daemon = Daemon::start(directory.path(), &to);
    let in_memory = rustix::fs::statfs(parent).expect("a directory").f_type == TMPFS_MAGIC;
    for load in loads(directory.path(), megabytes) {
        let mut times: [Vec<f64>; CONTENDERS.len()] = Default::default();
        std::fs::create_dir(&kept).expect("room on the disk");
        for round in 0..rounds {
            for ((name, command), times) in CONTENDERS.iter().zip(&mut times) {
                if daemon.0.is_none() && name.starts_with("rsync") {
                    continue;
                }
                std::fs::create_dir(&to).expect("room on the disk");
                rustix::fs::sync();
                if load.is_cold {
                    forget(&load.path);
                }
                times.push(match command {
                    Some(command) => shell(command, &load.path, &to),
                    None => {
                        program::run(&load.path, &to, true, || {})
                            .expect("p2pcopy")
                            .seconds
                    }
                });
                // Where many files were removed just now, ext4 makes new ones slowly, so trees stay until the end. A
                // virtual machine gets memory slowly that it never had, so they do not stay in it.
                if load.is_cold || in_memory {
                    std::fs::remove_dir_all(&to).expect("our own copy");
                } else {
                    forget(&to);
                    std::fs::rename(&to, kept.join(format!("{name} {round}"))).expect("our own copy");
                }
            }
        }
        std::fs::remove_dir_all(&kept).expect("our own copies");
        println!(
            "| {}, median of {rounds} | s | times cp |\n|---|---|---|",
            load.name
        );
        let cp = median(times[0].iter().copied());
        for ((name, _), times) in CONTENDERS.iter().zip(&times) {
            let took = median(times.iter().copied());
            println!("| {name} | {took:.2} | {:.2} |", took / cp);
        }
        println!();
    }
}

/// Makes one after the other: the disk need not hold all at once.
fn loads(directory: &Path, megabytes: usize) -> impl Iterator<Item = Load> {
    let path = directory.join("load");
    [(1, megabytes * 1_000_000), (100_000, 1000), (10_000, 100_000)]
        .into_iter()
        .map(move |(count, size)| {
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
            let is_cold = count == 1;
            let name = if is_cold {
                make_file(&path, megabytes);
                format!("one file of {megabytes} MB")
            } else {
                make_tree(&path, count, size);
                format!("{count} files of {} KB", size / 1000)
            };
            let path = path.clone();
            Load { name, path, is_cold }
        })
}

fn make_tree(path: &Path, count: usize, size: usize) {
    let mut bytes = blake3::Hasher::new().update(b"p2pcopy disks").finalize_xof();
    let mut content = vec![0; size];
    for i in 0..count {
        let directory = path.join((i / PER_DIRECTORY).to_string());
        if i % PER_DIRECTORY == 0 {
            std::fs::create_dir_all(&directory).expect("room on the disk");
        }
        bytes.fill(&mut content);
        std::fs::write(directory.join(i.to_string()), &content).expect("room on the disk");
    }
}

/// Takes a file, or all files in a directory, out of the system's memory.
fn forget(path: &Path) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a directory");
        return entries.for_each(|entry| forget(&entry.expect("an entry").path()));
    }
    let file = std::fs::File::open(path).expect("a file");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("Linux has it");
}

/// Seconds until a command has copied and the disk has everything.
fn shell(command: &str, from: &Path, to: &Path) -> f64 {
    let began = Instant::now();
    let status = Command::new("sh")
        .args(["-ec", &format!("{command}; sync -f $TO")])
        .env("FROM", from)
        .env("TO", to)
        .env("PORT", PORT)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
    began.elapsed().max(Duration::from_millis(1)).as_secs_f64()
}
