//! Requests to end the program: Ctrl-C, signals, a closed window.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};

thread_local! {
    /// The requests of the waiting thread, counted from its first wait on.
    static REQUESTS: RefCell<Requests> = RefCell::default();
}

/// Waits until the user or the system asks this program to end: Ctrl-C, a polite `kill`, a closed terminal or
/// console window, the end of the session or of the machine. A hang-up that was ignored when the program
/// started (`nohup`) stays ignored. Before a thread's first wait the system ends the program itself. After it
/// every request counts, also one between two waits, and every later wait of that thread ends at once. Only
/// one task of a thread may wait at a time.
pub(crate) async fn stopped() {
    wait_for(1).await;
}

/// Waits until the user or the system asks a second time. The program should then end without further delay.
pub(crate) async fn insisted() {
    wait_for(2).await;
}

async fn wait_for(count: u32) {
    poll_fn(|context| REQUESTS.with_borrow_mut(|requests| requests.poll(count, context))).await;
}

/// A stream of one kind of request, from tokio.
type Listener = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<()>>>;

/// Requests to end. The listeners are kept: a new listener for each wait would miss a request between two
/// waits.
#[derive(Default)]
struct Requests {
    listeners: Option<Vec<Listener>>,
    /// How many requests have come.
    count: u32,
}

impl Requests {
    /// Ready once `count` requests have come.
    fn poll(&mut self, count: u32, context: &mut Context<'_>) -> Poll<()> {
        let listeners = self.listeners.get_or_insert_with(listeners);
        // Polls every listener, so that each of them wakes this task.
        for listener in listeners {
            while listener(context) == Poll::Ready(Some(())) {
                self.count += 1;
            }
        }
        if self.count >= count {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Listeners for all signals that ask to end. If no listener exists for one, the system ends the program
/// itself.
#[cfg(unix)]
fn listeners() -> Vec<Listener> {
    listeners_to(heeded())
}

#[cfg(unix)]
fn listeners_to(kinds: &[i32]) -> Vec<Listener> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = kinds
        .iter()
        .filter_map(|&kind| signal(SignalKind::from_raw(kind)).ok());
    signals
        .map(|mut signal| Box::new(move |context: &mut Context<'_>| signal.poll_recv(context)) as Listener)
        .collect()
}

/// Listeners for all console events that ask to end. Windows ends a program 5 s after its window was closed,
/// which is enough time to tell the peer.
#[cfg(windows)]
fn listeners() -> Vec<Listener> {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
    let mut listeners = Vec::new();
    macro_rules! listen_to {
        ($($event:ident),*) => {
            $(if let Ok(mut event) = $event() {
                listeners.push(Box::new(move |context: &mut Context<'_>| event.poll_recv(context)) as Listener);
            })*
        };
    }
    listen_to!(ctrl_c, ctrl_break, ctrl_close, ctrl_logoff, ctrl_shutdown);
    listeners
}

/// The signals that ask to end. A hang-up that was ignored at the first call is left out. Shells also ignore
/// other signals for background programs, but somebody who sends one of those by hand means it.
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

/// Makes a write beyond `ulimit -f` fail like one to a full disk. Otherwise the system ends the program
/// without a message.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs in this process what the console runs in every program whose window is closed. It never returns.
    #[cfg(windows)]
    #[expect(unsafe_code, reason = "no library names this function of the system")]
    fn close_window() {
        use windows_sys::Win32::System::Console::CTRL_CLOSE_EVENT;
        use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
        type Routine = unsafe extern "system" fn(usize) -> u32;
        // SAFETY: both names end with a zero. Every process has this library. The routine is a thread's first function,
        // as `Routine` says, and takes the event in place of a pointer.
        unsafe {
            let library = GetModuleHandleW(windows_sys::w!("kernelbase.dll"));
            let found = GetProcAddress(library, windows_sys::s!("CtrlRoutine")).expect("Windows 10 has it");
            let routine: Routine = std::mem::transmute(found);
            std::thread::spawn(move || routine(CTRL_CLOSE_EVENT as usize));
        }
    }

    /// No other test of this process waits for a request to end.
    #[cfg(windows)]
    #[tokio::test]
    async fn a_closed_console_window_asks_to_end_and_the_program_has_time_for_it() {
        let mut requests = Requests::default();
        tokio::select! {
            biased;
            () = poll_fn(|context| requests.poll(1, context)) => panic!("nobody asked"),
            () = std::future::ready(()) => {}
        }
        close_window();
        let wait = poll_fn(|context| requests.poll(1, context));
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_request_that_comes_between_two_waits_ends_the_next_and_all_after_it_and_a_second_is_told_apart()
     {
        let mut requests = Requests {
            // Nothing else in this process handles this signal.
            listeners: Some(listeners_to(&[libc::SIGUSR1])),
            count: 0,
        };
        let signal = || {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1).unwrap();
        };
        tokio::select! {
            biased;
            () = poll_fn(|context| requests.poll(1, context)) => panic!("nobody asked"),
            () = std::future::ready(()) => {}
        }
        signal();
        for count in [1, 1, 2] {
            if count == 2 {
                tokio::select! {
                    biased;
                    () = poll_fn(|context| requests.poll(2, context)) => panic!("nobody insisted"),
                    () = std::future::ready(()) => signal(),
                }
            }
            let wait = poll_fn(|context| requests.poll(count, context));
            tokio::time::timeout(std::time::Duration::from_secs(10), wait)
                .await
                .unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_ignored_signal_is_told_from_others() {
        // The standard library ignores SIGPIPE.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGTERM));
    }
}
