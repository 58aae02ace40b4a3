//! Files that somebody else holds for a moment.

use std::io;
use std::time::Duration;

/// Waits between attempts, about a second and a half in all: what an antivirus or an indexer takes for a new file.
const WAITS: [Duration; 6] = [
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Calls again for a moment while another program holds the file. Only Windows lets programs keep others away.
pub(crate) fn patiently<T>(call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    if cfg!(windows) {
        again_while(call, is_held, std::thread::sleep)
    } else {
        let mut call = call;
        call()
    }
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

/// ERROR_ACCESS_DENIED (also a name that is being deleted), ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 32 | 33))
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
            is_held,
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
}
