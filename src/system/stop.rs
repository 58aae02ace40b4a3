//! Being told to end.

/// Waits until the user or the system asks this program to end: Ctrl-C, a polite `kill`, the terminal or the console
/// window closed, the session or the machine going down. A hang-up that was to be ignored when the program started
/// (`nohup`) stays ignored.
pub(crate) async fn stopped() {
    let mut waits = tokio::task::JoinSet::new();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        for kind in heeded() {
            if let Ok(mut signal) = signal(SignalKind::from_raw(*kind)) {
                waits.spawn(async move { signal.recv().await });
            }
        }
    }
    #[cfg(windows)]
    {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
        // Windows ends a program 5 s after its window was closed: time enough to tell the peer.
        macro_rules! wait_for {
            ($($event:ident),*) => {
                $(if let Ok(mut event) = $event() {
                    waits.spawn(async move { event.recv().await });
                })*
            };
        }
        wait_for!(ctrl_c, ctrl_break, ctrl_close, ctrl_logoff, ctrl_shutdown);
    }
    if waits.join_next().await.is_none() {
        // Without a handler the system ends the program itself.
        std::future::pending::<()>().await;
    }
}

/// The signals that mean the end, but for a hang-up that was ignored at the first call. Shells ignore others for what runs
/// in the background, and who sends one of them by hand means it.
#[cfg(unix)]
fn heeded() -> &'static [i32] {
    static HEEDED: std::sync::OnceLock<Vec<i32>> = std::sync::OnceLock::new();
    HEEDED.get_or_init(|| {
        let all = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        all.into_iter()
            .filter(|&signal| signal != libc::SIGHUP || !is_ignored(signal))
            .collect()
    })
}

/// Has a write beyond `ulimit -f` fail as one onto a full disk does, instead of ending the program without a word.
pub(crate) fn outlive_file_limit() {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "the standard library ignores no signal but SIGPIPE")]
    // SAFETY: no handler is installed, so nothing runs when the signal comes.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "only sigaction tells what is done with a signal")]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: `sigaction` is plain data, for which all zeros are a value; with a null action the call only reads.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_told_from_others() {
        // The standard library ignores SIGPIPE.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGTERM));
    }
}
