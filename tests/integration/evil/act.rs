//! An act: what the evil one does, to whom, and how it must end. What must hold after every act is checked here.

use std::collections::BTreeSet;
use std::fs;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use p2pcopy::parts::app::Failure;
use p2pcopy::parts::protocol::Role;
use p2pcopy::parts::transfer::Conflicts;

use crate::evil::memory::Watch;
use crate::evil::peer::Evil;
use crate::evil::tree::{self, Node, Tree};
pub use crate::evil::victim::Answer;
use crate::evil::victim::Setup;

/// Set in a process that plays one test: memory and time are counted for a whole process.
const ALONE: &str = "P2PCOPY_ACT_ALONE";
/// Tests that have had a process of their own, which played all their acts.
static PLAYED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// Panics in all threads.
static PANICS: LazyLock<AtomicUsize> = LazyLock::new(|| {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        PANICS.fetch_add(1, SeqCst);
        before(info);
    }));
    AtomicUsize::new(0)
});

/// Real time after which an act hangs, on a busy machine too.
const HANGS: Duration = Duration::from_secs(60);
/// Virtual time after which a victim that must end has not.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// Virtual time after which a silent peer is given up, and some more.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(150);
/// Memory an act may cost unless it says otherwise, in MiB.
const MEMORY: usize = 16;
/// Time of both threads an act may cost unless it says otherwise.
const CPU: Duration = Duration::from_secs(3);

/// Mode bits that no peer may set: others write, and who runs it is somebody else.
const OTHERS: u32 = 0o7022;

/// How it must end.
enum Outcome {
    /// The transfer is completed.
    Completes,
    /// The victim's user reads this, and the peer is told this code if there is one.
    Ends { told: Option<u16>, text: &'static str },
    /// One or the other.
    Either,
    /// The victim waits for more.
    GoesOn,
    /// The victim looks for its silent peer and gives up.
    IsGivenUp,
}

/// An act.
pub struct Act {
    victim: Role,
    setup: Box<dyn FnOnce(&mut Setup)>,
    play: Box<dyn FnOnce(&mut Evil)>,
    memory: usize,
    cpu: Duration,
}

/// The act of an evil sender.
pub fn sender(play: impl FnOnce(&mut Evil) + 'static) -> Act {
    Act::new(Role::Receiver, play)
}

/// The act of an evil receiver.
pub fn receiver(play: impl FnOnce(&mut Evil) + 'static) -> Act {
    Act::new(Role::Sender, play)
}

impl Act {
    fn new(victim: Role, play: impl FnOnce(&mut Evil) + 'static) -> Act {
        Act {
            victim,
            setup: Box::new(|_| {}),
            play: Box::new(play),
            memory: MEMORY,
            cpu: CPU,
        }
    }

    /// Changes what is attacked, or plants something in its directories.
    pub fn against(self, setup: impl FnOnce(&mut Setup) + 'static) -> Act {
        let before = self.setup;
        Act {
            setup: Box::new(|victim| {
                before(victim);
                setup(victim);
            }),
            ..self
        }
    }

    /// Allows this many MiB of memory.
    pub fn within(self, memory: usize) -> Act {
        Act { memory, ..self }
    }

    /// The transfer must complete nevertheless.
    pub fn completes(self) {
        self.run(&Outcome::Completes);
    }

    /// Whether it completes or ends does not matter; what holds after every act does.
    pub fn ends_or_completes(self) {
        self.run(&Outcome::Either);
    }

    /// The victim must end: its user reads `text`, the peer is told `code`.
    pub fn ends(self, code: u16, text: &'static str) {
        let told = Some(code);
        self.run(&Outcome::Ends { told, text });
    }

    /// The victim must end without a word to such a peer; its user reads `text`.
    pub fn breaks_off(self, text: &'static str) {
        self.run(&Outcome::Ends { told: None, text });
    }

    /// The victim must wait for what comes next.
    pub fn changes_nothing(self) {
        self.run(&Outcome::GoesOn);
    }

    /// The victim must give up its silent peer.
    pub fn gives_up(self) {
        self.run(&Outcome::IsGivenUp);
    }

    fn run(self, expected: &Outcome) {
        if std::env::var_os(ALONE).is_none() {
            return play_alone();
        }
        let panics = PANICS.load(SeqCst);
        let _watchdog = Watchdog::start();
        let place = tempfile::tempdir().expect("a place for files");
        let mut setup = places(place.path(), self.victim);
        (self.setup)(&mut setup);
        let conflicts = setup.conflicts;
        let mut before = tree::read(place.path());
        let (memory, cpu) = (Watch::start(), cpu_time());

        let mut evil = Evil::new(setup);
        (self.play)(&mut evil);
        conclude(&mut evil, expected);
        let Evil {
            victim,
            agreed,
            touched,
            heard,
            ..
        } = evil;
        let (verdict, told) = victim.end();

        let (memory, cpu) = (memory.peak(), cpu_time() - cpu);
        let context = format!(
            "it ended with {verdict:?}, code {:?}; told: {told:#?}",
            heard.close
        );
        match (expected, &verdict) {
            (Outcome::Completes, Some(Ok(_))) | (Outcome::Either, Some(_)) | (Outcome::GoesOn, None) => {}
            (Outcome::Ends { told, text }, Some(Err(failure))) => {
                assert!(failure.to_string().contains(text), "not {text:?}: {context}");
                assert_eq!(heard.close, *told, "{context}");
            }
            (Outcome::IsGivenUp, Some(Err(Failure::Told { cause, .. }))) => {
                assert!(cause.contains("nothing heard"), "{context}");
            }
            _ => panic!("another end than stated: {context}"),
        }
        assert_eq!(PANICS.load(SeqCst), panics, "a thread panicked: {context}");
        assert!(memory <= self.memory << 20, "{} KiB: {context}", memory >> 10);
        assert!(cpu <= self.cpu, "{cpu:?} of work: {context}");
        let mut after = tree::read(place.path());
        for path in touched {
            before.retain(|other, _| !other.starts_with(&path));
            after.retain(|other, _| !other.starts_with(&path));
        }
        check_tree(&before, &after, &agreed, conflicts);
    }
}

/// Plays the test of this thread in a process of its own.
fn play_alone() {
    let thread = std::thread::current();
    let name = thread.name().expect("a test has a thread of its own");
    if !PLAYED
        .lock()
        .expect("no test panics here")
        .insert(name.to_owned())
    {
        return;
    }
    let played = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("this program starts again");
    let said = [played.stdout, played.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(
        played.status.success() && said[0].contains("1 passed"),
        "{}",
        said.concat()
    );
}

/// Goes on until the act is over, in virtual time.
fn conclude(evil: &mut Evil, expected: &Outcome) {
    match expected {
        Outcome::Completes | Outcome::Ends { .. } | Outcome::Either => evil.waits(ENDS_WITHIN),
        Outcome::GoesOn => evil.waits(Duration::from_secs(2)),
        Outcome::IsGivenUp => evil.waits(GIVEN_UP_WITHIN),
    }
    evil.hears_the_rest();
}

/// A directory to receive into, one to send from, and one that no transfer may touch.
fn places(root: &Path, victim: Role) -> Setup {
    let [out, src, outside] = ["out", "src", "outside"].map(|name| root.join(name));
    for dir in [&out, &src, &outside] {
        fs::create_dir(dir).expect("a place");
    }
    fs::write(outside.join("diary"), "nobody's business").expect("room");
    if victim == Role::Sender {
        fs::write(src.join("a"), "what the user sends").expect("room");
    }
    Setup {
        role: victim,
        answer: Answer::Yes,
        conflicts: Conflicts::Rename,
        out,
        src,
        pipe: None,
        bare: false,
        verify: false,
        words: Answer::Yes,
        strangers: None,
    }
}

/// What was there is as it was, and what is new was agreed to: by its name, and by every byte of it.
fn check_tree(before: &Tree, after: &Tree, agreed: &[(PathBuf, Option<Vec<u8>>)], conflicts: Conflicts) {
    let agreed_to = |path: &Path| {
        let path = path.strip_prefix("out").ok()?;
        let same = |other: &Path| other == path || other == without_number(path);
        agreed.iter().find(|(other, _)| same(other))
    };
    for (path, node) in before {
        let is_replaced = conflicts != Conflicts::Rename && agreed_to(path).is_some();
        // Whatever is put into a directory, the directory stays.
        let is_same = after.get(path) == Some(node);
        assert!(
            is_same || is_replaced,
            "{path:?} was changed: {:?}",
            after.get(path)
        );
    }
    for (path, node) in after.iter().filter(|(path, _)| !before.contains_key(*path)) {
        if is_staged(path, agreed) {
            continue;
        }
        let Some((_, bytes)) = agreed_to(path) else {
            panic!("{path:?} is there, and nobody agreed to it: {node:?}");
        };
        if let (Node::File { bytes: found, .. }, Some(bytes)) = (node, bytes) {
            assert!(
                *found == blake3::hash(bytes),
                "{path:?} has a final name and other bytes than agreed"
            );
        }
        if let Node::File { mode, .. } | Node::Dir { mode } = node {
            assert_eq!(mode & OTHERS, 0, "{path:?} has mode {mode:o}");
        }
    }
}

/// Whether it lies in the directory where a transfer waits for its final names: `NAME.part` of the first name.
fn is_staged(path: &Path, agreed: &[(PathBuf, Option<Vec<u8>>)]) -> bool {
    let mut parts = path.iter();
    let (out, top) = (parts.next(), parts.next().map(|top| top.to_string_lossy()));
    let is_of = |name: &Path| {
        let (name, top) = (name.to_string_lossy(), top.as_deref().unwrap_or_default());
        let rest = top.strip_prefix(&*name).unwrap_or_default();
        rest == ".part" || (rest.starts_with(" (") && rest.ends_with(").part"))
    };
    out.is_some_and(|out| out == "out") && agreed.iter().any(|(name, _)| is_of(name))
}

/// `photo (1).jpg` is what `photo.jpg` becomes where that name is taken.
fn without_number(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    PathBuf::from(text.replacen(" (1)", "", 1))
}

/// Ends the whole program if an act hangs: a test that waits for ever says nothing.
struct Watchdog {
    _over: std::sync::mpsc::Sender<()>,
}

impl Watchdog {
    fn start() -> Watchdog {
        let (over, wait) = channel();
        let name = std::thread::current().name().unwrap_or("an act").to_owned();
        std::thread::spawn(move || {
            if wait.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{name} hangs");
                std::process::abort();
            }
        });
        Watchdog { _over: over }
    }
}

/// What all threads together have worked.
#[cfg(target_os = "linux")]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(target_os = "linux"))]
fn cpu_time() -> Duration {
    Duration::ZERO
}
