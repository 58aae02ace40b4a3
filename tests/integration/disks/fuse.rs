//! A file system of the tests' own, below `/dev/fuse`: a directory as it is, but for one call that fails, or calls that take
//! their time.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use tempfile::TempDir;

use super::wire::{Answer, Body, Call, answer, attributes, pack, pack32};

/// What goes wrong.
#[derive(Default)]
struct Trouble {
    calls: u64,
    fail_at: Option<(u64, i32)>,
    failed: Option<Call>,
    slow: Option<(Call, Duration)>,
    slowed: Duration,
    /// Slow calls that the kernel no longer waits for.
    interrupted: Vec<u64>,
}

#[derive(Default)]
struct Shared {
    trouble: Mutex<Trouble>,
    news: Condvar,
}

/// A mounted one, gone with this value.
pub struct Troubled {
    place: TempDir,
    shared: Arc<Shared>,
}

impl Troubled {
    pub fn new() -> Troubled {
        let place = tempfile::tempdir().unwrap();
        for name in ["mnt", "dir"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .unwrap();
        // The device is the command's standard input, so that no unsafe call is needed here.
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "troubled"])
            .arg(place.path().join("mnt"))
            .args([
                "-o",
                "fd=0,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
            ])
            .stdin(device.try_clone().unwrap())
            .status()
            .unwrap();
        assert!(mounted.success());
        let shared = Arc::<Shared>::default();
        let server = Server {
            device: Arc::new(device),
            nodes: HashMap::from([(1, place.path().join("dir"))]),
            files: HashMap::new(),
            next: 2,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || server.run());
        Troubled { place, shared }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.place.path().join("mnt")
    }

    /// What lies in it, without its troubles.
    pub fn below(&self) -> PathBuf {
        self.place.path().join("dir")
    }

    /// Fails call `at` (counted from 1 and from now) with this error, once.
    pub fn fail_at(&self, at: u64, error: i32) {
        let mut trouble = self.shared.trouble.lock().unwrap();
        trouble.fail_at = Some((trouble.calls + at, error));
        trouble.failed = None;
    }

    /// Fails nothing more. The call that failed.
    pub fn calm(&self) -> Option<Call> {
        let mut trouble = self.shared.trouble.lock().unwrap();
        (trouble.fail_at, trouble.slow) = (None, None);
        self.shared.news.notify_all();
        trouble.failed
    }

    pub fn calls(&self) -> u64 {
        self.shared.trouble.lock().unwrap().calls
    }

    /// How long such calls took so far, by the clock.
    pub fn slowed(&self) -> Duration {
        self.shared.trouble.lock().unwrap().slowed
    }

    /// Makes each of these calls take longer by this time, if the kernel waits for it.
    pub fn slow(&self, call: Call, by: Duration) {
        self.shared.trouble.lock().unwrap().slow = Some((call, by));
    }
}

impl Drop for Troubled {
    fn drop(&mut self) {
        self.calm();
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

struct Server {
    device: Arc<File>,
    nodes: HashMap<u64, PathBuf>,
    files: HashMap<u64, File>,
    next: u64,
    shared: Arc<Shared>,
}

impl Server {
    fn run(mut self) {
        let mut buffer = vec![0; (1 << 20) + 4096];
        // The end is an error: it is unmounted.
        while let Ok(len) = (&*self.device).read(&mut buffer) {
            let whole = Body(&buffer[..len]);
            let (call, unique, node) = (Call(whole.u32(4)), whole.u64(8), whole.u64(16));
            let body = Body(&buffer[40..len]);
            match call {
                Call::FORGET | Call::BATCH_FORGET => continue,
                Call::INTERRUPT => {
                    self.shared.trouble.lock().unwrap().interrupted.push(body.u64(0));
                    self.shared.news.notify_all();
                    continue;
                }
                _ => {}
            }
            let (mut failure, mut delay) = (None, None);
            if call.counts() {
                let mut trouble = self.shared.trouble.lock().unwrap();
                trouble.calls += 1;
                if let Some((at, error)) = trouble.fail_at
                    && at == trouble.calls
                {
                    trouble.failed = Some(call);
                    failure = Some(io::Error::from_raw_os_error(error));
                }
                delay = trouble.slow.filter(|(slow, _)| *slow == call).map(|(_, by)| by);
            }
            let done = match failure {
                Some(error) => Err(error),
                None => self.handle(call, node, &body),
            };
            match delay {
                Some(by) => {
                    let (device, shared) = (Arc::clone(&self.device), Arc::clone(&self.shared));
                    let called = Instant::now();
                    std::thread::spawn(move || {
                        let done = if wait(&shared, unique, by) {
                            done
                        } else {
                            Err(io::Error::from_raw_os_error(libc::EINTR))
                        };
                        shared.trouble.lock().unwrap().slowed += called.elapsed();
                        answer(&device, unique, done);
                    });
                }
                None => answer(&self.device, unique, done),
            }
        }
    }

    fn path(&self, node: u64) -> io::Result<PathBuf> {
        let stale = || io::Error::from_raw_os_error(libc::ESTALE);
        self.nodes.get(&node).cloned().ok_or_else(stale)
    }

    fn file(&self, handle: u64) -> io::Result<&File> {
        let bad = || io::Error::from_raw_os_error(libc::EBADF);
        self.files.get(&handle).ok_or_else(bad)
    }

    /// An entry: its node, no time for which it holds, its attributes.
    fn entry(&mut self, path: &Path) -> Answer {
        let metadata = fs::symlink_metadata(path)?;
        let known = self
            .nodes
            .iter()
            .find(|(_, known)| *known == path)
            .map(|(node, _)| *node);
        let node = known.unwrap_or_else(|| {
            self.next += 1;
            self.nodes.insert(self.next, path.to_owned());
            self.next
        });
        let mut out = pack(&[node, 0, 0, 0, 0]);
        out.extend(attributes(&metadata, node));
        Ok(out)
    }

    fn opened(&mut self, file: File) -> Vec<u8> {
        self.next += 1;
        self.files.insert(self.next, file);
        // FOPEN_DIRECT_IO: each read and write comes here.
        pack(&[self.next, 1])
    }

    fn renamed(&mut self, from: &Path, to: &Path, flags: RenameFlags) -> Answer {
        rustix::fs::renameat_with(CWD, from, CWD, to, flags)?;
        self.nodes.retain(|_, path| !path.starts_with(to));
        for path in self.nodes.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() {
                    to.to_owned()
                } else {
                    to.join(rest)
                };
            }
        }
        Ok(Vec::new())
    }

    fn removed(&mut self, path: &Path) -> Answer {
        self.nodes.retain(|_, known| known != path);
        Ok(Vec::new())
    }

    fn handle(&mut self, call: Call, node: u64, body: &Body<'_>) -> Answer {
        match call {
            // Protocol 7.31; no flags; writes of 1 MiB need pages that are not asked for: 128 KiB.
            Call::INIT => {
                let mut out = pack32(&[7, 31, 0, 0, 0, 128 << 10, 1]);
                out.resize(64, 0);
                Ok(out)
            }
            Call::LOOKUP => {
                let path = self.path(node)?.join(body.name(0, 0));
                self.entry(&path)
            }
            Call::GETATTR => self.attributes_of(node),
            Call::SETATTR => {
                self.set_attributes(node, body)?;
                self.attributes_of(node)
            }
            Call::READLINK => Ok(fs::read_link(self.path(node)?)?.as_os_str().as_bytes().to_vec()),
            Call::SYMLINK => {
                let path = self.path(node)?.join(body.name(0, 0));
                symlink(body.name(0, 1), &path)?;
                self.entry(&path)
            }
            Call::MKDIR => {
                let path = self.path(node)?.join(body.name(8, 0));
                fs::DirBuilder::new().mode(body.u32(0)).create(&path)?;
                self.entry(&path)
            }
            Call::UNLINK => {
                let path = self.path(node)?.join(body.name(0, 0));
                fs::remove_file(&path)?;
                self.removed(&path)
            }
            Call::RMDIR => {
                let path = self.path(node)?.join(body.name(0, 0));
                fs::remove_dir(&path)?;
                self.removed(&path)
            }
            Call::RENAME | Call::RENAME2 => {
                let (flags, names) = if call == Call::RENAME2 {
                    (body.u32(8), 16)
                } else {
                    (0, 8)
                };
                let from = self.path(node)?.join(body.name(names, 0));
                let to = self.path(body.u64(0))?.join(body.name(names, 1));
                self.renamed(&from, &to, RenameFlags::from_bits_retain(flags))
            }
            Call::CREATE => {
                let path = self.path(node)?.join(body.name(16, 0));
                let mut options = OpenOptions::new();
                let file = options
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(body.u32(4))
                    .open(&path)?;
                let mut out = self.entry(&path)?;
                out.extend(self.opened(file));
                Ok(out)
            }
            Call::OPEN => {
                let path = self.path(node)?;
                let writes = body.u32(0) as i32 & libc::O_ACCMODE != libc::O_RDONLY;
                let file = OpenOptions::new().read(true).write(writes).open(path)?;
                Ok(self.opened(file))
            }
            Call::OPENDIR => {
                let directory = File::open(self.path(node)?)?;
                Ok(self.opened(directory))
            }
            Call::READ => self.read(body),
            Call::WRITE => {
                let bytes = &body.0[40..40 + body.u32(16) as usize];
                self.file(body.u64(0))?.write_all_at(bytes, body.u64(8))?;
                Ok(pack(&[bytes.len() as u64]))
            }
            Call::STATFS => {
                // Much room, blocks of 4 KiB, names of 255 bytes.
                let mut out = pack(&[1 << 24, 1 << 24, 1 << 24, 1 << 24, 1 << 24]);
                out.extend(pack32(&[4096, 255, 4096]));
                out.resize(80, 0);
                Ok(out)
            }
            Call::READDIR => self.listed(node, body),
            Call::RELEASE | Call::RELEASEDIR => {
                self.files.remove(&body.u64(0));
                Ok(Vec::new())
            }
            Call::FSYNC | Call::FSYNCDIR | Call::FLUSH => Ok(Vec::new()),
            // The kernel does without.
            _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        }
    }

    fn read(&mut self, body: &Body<'_>) -> Answer {
        let mut out = vec![0; body.u32(16) as usize];
        let mut filled = 0;
        while filled < out.len() {
            let at = body.u64(8) + filled as u64;
            match self.file(body.u64(0))?.read_at(&mut out[filled..], at)? {
                0 => break,
                n => filled += n,
            }
        }
        out.truncate(filled);
        Ok(out)
    }

    fn attributes_of(&self, node: u64) -> Answer {
        let mut out = pack(&[0, 0]);
        out.extend(attributes(&fs::symlink_metadata(self.path(node)?)?, node));
        Ok(out)
    }

    fn set_attributes(&self, node: u64, body: &Body<'_>) -> io::Result<()> {
        const MODE: u32 = 1 << 0;
        const SIZE: u32 = 1 << 3;
        let (valid, path) = (body.u32(0), self.path(node)?);
        if valid & SIZE != 0 {
            OpenOptions::new()
                .write(true)
                .open(&path)?
                .set_len(body.u64(16))?;
        }
        if valid & MODE != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(body.u32(68) & 0o7777))?;
        }
        let time = |given: u32, now: u32, seconds: usize, nanos: usize| Timespec {
            tv_sec: body.u64(seconds) as i64,
            tv_nsec: match (valid & given != 0, valid & now != 0) {
                (_, true) => UTIME_NOW,
                (true, false) => body.u32(nanos).into(),
                (false, false) => UTIME_OMIT,
            },
        };
        let times = Timestamps {
            last_access: time(1 << 4, 1 << 7, 32, 56),
            last_modification: time(1 << 5, 1 << 8, 40, 60),
        };
        Ok(utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn listed(&self, node: u64, body: &Body<'_>) -> Answer {
        let mut names: Vec<OsString> = fs::read_dir(self.path(node)?)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort_unstable();
        let (mut out, most) = (Vec::new(), body.u32(16) as usize);
        for (i, name) in names.iter().enumerate().skip(body.u64(8) as usize) {
            let mut entry = pack(&[u64::MAX, i as u64 + 1]);
            entry.extend(pack32(&[name.len() as u32, 0]));
            entry.extend(name.as_bytes());
            entry.resize(entry.len().next_multiple_of(8), 0);
            if out.len() + entry.len() > most {
                break;
            }
            out.extend(entry);
        }
        Ok(out)
    }
}

/// False if the kernel gave up before.
fn wait(shared: &Shared, unique: u64, by: Duration) -> bool {
    let end = Instant::now() + by;
    let mut trouble = shared.trouble.lock().unwrap();
    loop {
        if let Some(at) = trouble.interrupted.iter().position(|call| *call == unique) {
            trouble.interrupted.swap_remove(at);
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || trouble.slow.is_none() {
            return true;
        }
        trouble = shared.news.wait_timeout(trouble, left).unwrap().0;
    }
}
