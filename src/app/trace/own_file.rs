//! Files that the program writes under a name of the user's. An existing file is replaced only if it is of
//! the same kind, so that a mistyped name destroys nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::Path;

use crate::app::outcome::{About, Failure};
use crate::transfer::source::device;

pub(super) struct FileKind {
    /// The name of the kind, with its article.
    pub(super) name: &'static str,
    /// The first bytes of every such file.
    pub(super) start: &'static str,
    /// The option that names another file.
    pub(super) option: &'static str,
}

impl FileKind {
    /// Opens `path` for writing, empty. The path may be free, an empty file or an earlier file of this kind.
    /// It may also be something that has nothing to lose: a pipe or a terminal.
    ///
    /// # Errors
    /// If anything else is there, or the file cannot be written.
    pub(super) fn create(&self, path: &Path) -> Result<File, Failure> {
        let another = || format!("name another file with {}", self.option);
        // The usual next steps are for what is sent or received, which this is not.
        let failed = |e: io::Error| {
            let cause = Failure::file("write", path, &e).to_string();
            Failure::told(About::File, cause, another())
        };
        match std::fs::metadata(path) {
            // Windows says nothing of a device, or takes it for a file. Why one takes nothing it tells by various numbers.
            _ if device::is_named_by(path) => open_special(path).map_err(|_| {
                Failure::told(
                    About::File,
                    format!("{} is a device that takes nothing now", path.display()),
                    another(),
                )
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Whatever appears at the path in this moment is not ours, not even a link to nothing.
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(path)
                    .map_err(failed)
            }
            Err(e) => Err(failed(e)),
            Ok(found) if !found.is_file() => open_special(path).map_err(|e| {
                // ENXIO says this of a pipe that is opened without waiting: fifo(7).
                #[cfg(unix)]
                if e.raw_os_error() == Some(libc::ENXIO) {
                    return Failure::told(
                        About::File,
                        format!("no program reads {}", path.display()),
                        "start the program that reads it, then run the same command again",
                    );
                }
                failed(e)
            }),
            Ok(_) => {
                let mut file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(path)
                    .map_err(failed)?;
                if !self.begins(&mut file).map_err(failed)? {
                    return Err(Failure::told(
                        About::File,
                        format!("{} exists and is not {}", path.display(), self.name),
                        format!("name another file with {}, or move that one away", self.option),
                    ));
                }
                file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
                Ok(file)
            }
        }
    }

    /// Whether the file is empty or begins like this kind.
    fn begins(&self, file: &mut File) -> io::Result<bool> {
        let mut start = Vec::new();
        file.take(self.start.len() as u64).read_to_end(&mut start)?;
        Ok(start.is_empty() || start == self.start.as_bytes())
    }
}

/// Opens a pipe or a terminal. A pipe whose reader is slow loses what it does not take, and the run goes on.
fn open_special(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.write(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KIND: FileKind = FileKind {
        name: "a test",
        start: "TEST",
        option: "--test",
    };

    #[expect(clippy::disallowed_methods, reason = "a test reads its file")]
    fn content(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn put(path: &Path, text: &str) {
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[test]
    fn only_nothing_and_files_of_the_kind_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        KIND.create(&path).unwrap().write_all(b"TEST one").unwrap();
        KIND.create(&path).unwrap().write_all(b"TEST").unwrap();
        assert_eq!(content(&path), "TEST");
        for other in ["TES", "a diary", " TEST"] {
            put(&path, other);
            let failure = KIND.create(&path).unwrap_err();
            assert_eq!(failure.exit_code(), 6);
            assert!(failure.to_string().ends_with("exists and is not a test"));
            assert_eq!(content(&path), other);
        }
        put(&path, "");
        KIND.create(&path).unwrap();
        assert_eq!(KIND.create(dir.path()).unwrap_err().exit_code(), 6);
        let failure = KIND.create(&path.join("y")).unwrap_err();
        assert_eq!(failure.exit_code(), 6);
        assert_eq!(failure.next_step(), "name another file with --test");
    }

    #[test]
    fn what_keeps_nothing_takes_it() {
        let path = if cfg!(windows) { "NUL" } else { "/dev/null" };
        KIND.create(Path::new(path)).unwrap().write_all(b"TEST").unwrap();
    }

    #[test]
    #[cfg(windows)]
    fn a_device_that_takes_nothing_is_told_without_a_number() {
        let failure = KIND.create(Path::new("COM9")).unwrap_err();
        assert_eq!(failure.to_string(), "COM9 is a device that takes nothing now");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_that_nobody_reads_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let failure = KIND.create(&path).unwrap_err();
        assert!(failure.to_string().contains("no program reads"), "{failure}");
        let _reader = rustix::fs::open(
            &path,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        );
        KIND.create(&path).unwrap().write_all(b"TEST").unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_judged_by_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (link, file) = (dir.path().join("link"), dir.path().join("file"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(KIND.create(&link).is_err(), "nothing is made behind a link");
        put(&file, "a diary");
        assert!(KIND.create(&link).is_err());
        assert_eq!(content(&file), "a diary");
    }
}
