//! Files that somebody else holds for a moment.

use std::io;
use std::time::Duration;

/// Waits between attempts, about 1.5 s in all: an antivirus program or an indexer holds a new file about that
/// long.
const WAITS: [Duration; 6] = [
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Renames or removes a file. Tries again for a moment while another program holds the file: Windows lets
/// programs lock others out, other systems do not.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    if cfg!(windows) {
        again_while(
            call,
            |error| is_held(error) || is_going(error),
            std::thread::sleep,
        )
    } else {
        call()
    }
}

/// Opens a file. Tries again for a moment while another program holds it. An error that denies access is
/// returned at once.
#[cfg(not(unix))]
pub(crate) fn open_patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    if cfg!(windows) {
        again_while(open, is_held, std::thread::sleep)
    } else {
        open()
    }
}

/// Whether the error says that another program holds the file: ERROR_SHARING_VIOLATION or
/// ERROR_LOCK_VIOLATION.
pub(crate) fn is_held(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33))
}

/// Whether the error says that the reader of a pipe has left. The standard library does not know ERROR_PIPE_NOT_CONNECTED.
pub(crate) fn is_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || cfg!(windows) && error.raw_os_error() == Some(233)
}

/// Whether the error is ERROR_ACCESS_DENIED or ERROR_DIR_NOT_EMPTY. Windows also answers so for a deleted file that
/// another program still has open: its name stays until then, and so does its directory.
fn is_going(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 145))
}

fn again_while<T>(
    mut call: impl FnMut() -> io::Result<T>,
    held: impl Fn(&io::Error) -> bool,
    mut wait: impl FnMut(Duration),
) -> io::Result<T> {
    for pause in WAITS {
        match call() {
            Err(error) if held(&error) => wait(pause),
            other => return other,
        }
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(failures: usize, code: i32) -> (io::Result<usize>, usize, Duration) {
        let (mut calls, mut waited) = (0, Duration::ZERO);
        let result = again_while(
            || {
                calls += 1;
                if calls <= failures {
                    Err(io::Error::from_raw_os_error(code))
                } else {
                    Ok(calls)
                }
            },
            |error| error.raw_os_error() == Some(32),
            |pause| waited += pause,
        );
        (result, calls, waited)
    }

    #[test]
    fn a_file_held_for_a_moment_is_waited_for() {
        let (result, calls, waited) = attempts(3, 32);
        assert_eq!((result.unwrap(), calls), (4, 4));
        assert_eq!(waited, Duration::from_millis(140));
    }

    #[test]
    fn a_file_held_for_good_is_told() {
        let (result, calls, waited) = attempts(usize::MAX, 32);
        assert_eq!(result.unwrap_err().raw_os_error(), Some(32));
        assert_eq!(calls, WAITS.len() + 1);
        assert!(waited < Duration::from_secs(2));
    }

    #[test]
    fn any_other_error_is_told_at_once() {
        assert_eq!(attempts(1, 2).1, 1);
    }

    #[test]
    fn a_pipe_without_a_reader_is_known() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert!(is_unread(&io::Write::write_all(&mut writer, b"x").unwrap_err()));
    }

    /// Opens a file so that nobody else can, and repeats `call`, which opens or renames it, until it
    /// succeeds. The file is closed at the third call.
    #[cfg(windows)]
    fn calls_until_let_go(call: impl Fn(&std::path::Path) -> io::Result<()>) -> usize {
        use std::os::windows::fs::OpenOptionsExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("held");
        let mut create = std::fs::File::options();
        create.write(true).create_new(true).share_mode(0);
        let mut holder = Some(create.open(&path).unwrap());
        let mut calls = 0;
        let mut attempt = || {
            calls += 1;
            if calls == 3 {
                holder.take();
            }
            call(&path)
        };
        patiently(&mut attempt).unwrap();
        calls
    }

    #[cfg(windows)]
    #[test]
    fn what_another_program_holds_is_opened_renamed_and_removed_once_it_lets_go() {
        let open = |path: &std::path::Path| std::fs::File::open(path).map(drop);
        assert_eq!(calls_until_let_go(open), 3);
        assert_eq!(
            calls_until_let_go(|path| std::fs::rename(path, path.with_extension("new"))),
            3
        );
        assert_eq!(calls_until_let_go(|path| std::fs::remove_file(path)), 3);
    }
}
