//! The real end: a session with its disk thread on real files, and a played user.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use p2pcopy::parts::app::{
    Command, Congestion, Failure, Notice, Receiving, Sending, Session, Settings, Side, Summary, Target,
    ToCompare, controller,
};
use p2pcopy::parts::net::{Clock, Waker};
use p2pcopy::parts::protocol::{Role, StaticKeypair, Time};
use p2pcopy::parts::rendezvous::{
    Address, Errand, Guessing, NatClass, Punch, PunchConfig, Timekeeping, Token, WallClock,
};
use p2pcopy::parts::transfer::{Conflicts, ScanOptions, Source, scan, stream_manifest};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::evil::peer::Evil;

/// Longest real time the disk thread may take for a step.
const PATIENCE: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(600);

/// Of the handshake of an end that is not evil, and one more for a receiver.
const HONEST_SEED: u8 = 100;

/// What the user says to an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Yes,
    No,
    /// Nothing, for ever.
    Thinks,
}

/// What is to be attacked.
pub struct Setup {
    pub role: Role,
    pub answer: Answer,
    pub conflicts: Conflicts,
    /// A receiver's output directory.
    pub out: PathBuf,
    /// What a sender sends: all that lies here, unless there is a pipe.
    pub src: PathBuf,
    pub pipe: Option<Box<dyn Read + Send>>,
    /// The users swap `ip:port` alone, so that nobody has a key yet.
    pub bare: bool,
    /// The victim's user wants words compared.
    pub verify: bool,
    /// What the user says to the words, if there are any.
    pub words: Answer,
    /// What somebody without a key does before the two meet.
    pub strangers: Option<fn(&mut Evil)>,
}

impl Setup {
    /// Starts a sender of a file with this many bytes.
    pub fn sends(&self, len: usize) {
        self.plants("src/a", &vec![b'a'; len]);
    }

    /// Puts a file where the act will find it: below `out`, `src` or `outside`.
    pub fn plants(&self, path: &str, content: &[u8]) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("below a directory")).expect("a place");
        std::fs::write(path, content).expect("room");
    }

    /// Another peer was here before: it met the same user with the same directories, and left.
    pub fn met_before(&self, play: impl FnOnce(&mut Evil)) {
        let setup = Setup {
            out: self.out.clone(),
            src: self.src.clone(),
            pipe: None,
            strangers: None,
            ..*self
        };
        let mut evil = Evil::new(setup);
        play(&mut evil);
        evil.settles();
        evil.victim.end();
    }

    /// Where something below `out`, `src` or `outside` really lies.
    pub fn at(&self, path: &str) -> PathBuf {
        self.out.parent().expect("all lie together").join(path)
    }
}

/// The real end.
pub struct Victim {
    pub session: Session,
    pub verdict: Option<Result<Summary, Failure>>,
    /// What its user was asked and told, in lines.
    pub told: Vec<String>,
    pub met: bool,
    pub offered: bool,
    /// Bytes of content the receiver has, as this end knows.
    pub done: u64,
    answer: Answer,
    words: Answer,
    commands: Sender<Command>,
    notices: UnboundedReceiver<Notice>,
    woken: Receiver<()>,
}

/// One end of the punch.
pub fn punch(role: Role, own: &Address, peer: &Address, seed: u8, verify: bool, now: Time) -> Punch {
    let config = PunchConfig {
        role,
        own: own.clone(),
        peer: peer.clone(),
        keypair: keypair(role),
        hardware_aes: true,
        verify,
        clock: WallClock::system(1_700_000_000_000_000_000, Time::ZERO),
        low_ttl: None,
        timeout: TIMEOUT,
        ipv6: None,
        around: Default::default(),
        seed: [seed; 32].into(),
    };
    Punch::new(config, now).expect("good keys")
}

/// The key pair of an end, the same in every act.
pub fn keypair(role: Role) -> StaticKeypair {
    StaticKeypair::from_seed(&[role as u8 + 1; 32])
}

/// The address of an end that is told to the other.
pub fn address(role: Role, at: SocketAddr, bare: bool) -> Address {
    let token = Token {
        errand: [Errand::Send, Errand::Receive][role as usize],
        key: *keypair(role).public(),
        nat: NatClass::default(),
        spare_ports: [0; 3],
        candidates: vec![at],
        guessing: Guessing::default(),
        clock: Timekeeping::default(),
    };
    Address {
        reflexive: at,
        token: (!bare).then_some(token),
    }
}

impl Victim {
    /// Starts it and lets it look for `peer`.
    pub fn new(setup: Setup, own: &Address, peer: &Address, now: Time) -> Victim {
        let (role, answer, words) = (setup.role, setup.answer, setup.words);
        let (wake, woken) = channel();
        let waker = Waker::new(move || {
            // Nobody waits any more only when the act is over.
            let _ = wake.send(());
        });
        let (tell, notices) = unbounded_channel();
        let side: Box<dyn Side> = match role {
            Role::Receiver => {
                let target = Target::Directory(setup.out, setup.conflicts);
                Box::new(Receiving::new(target, waker, Clock::start(), tell.clone()).expect("a thread"))
            }
            Role::Sender => {
                let (manifest, source) = match setup.pipe {
                    Some(pipe) => (stream_manifest("pipe").expect("a name"), Source::pipe(pipe)),
                    None => files(&setup.src),
                };
                let paths = vec![setup.src];
                let sending = Sending::new(manifest, source, paths, waker, Clock::start(), tell.clone());
                Box::new(sending.expect("a thread"))
            }
        };
        let settings = Settings {
            peer_timeout: Duration::from_secs(120),
            controller: controller(Congestion::Bbr, 1),
            limit: None,
            seed: [1; 32].into(),
            trace: false,
        };
        let (commands, inbox) = channel();
        let start = punch(role, own, peer, HONEST_SEED + role as u8, setup.verify, now);
        commands
            .send(Command::Punch(Box::new(start)))
            .expect("the session listens");
        Victim {
            session: Session::new(settings, side, inbox, tell),
            verdict: None,
            told: Vec::new(),
            met: false,
            offered: false,
            done: 0,
            answer,
            words,
            commands,
            notices,
            woken,
        }
    }

    /// Waits, in real time, until the disk thread has news.
    pub fn wait_for_disk(&self) {
        if self.woken.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            panic!("the disk thread is stuck");
        }
    }

    /// The user reads what there is, and answers.
    pub fn attend(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Offered(offered) => {
                    self.offered = true;
                    self.told.extend(offered.lines());
                    match self.answer {
                        Answer::Yes => self.command(Command::Accept),
                        Answer::No => self.close(2),
                        Answer::Thinks => {}
                    }
                }
                Notice::Connected { to_compare, .. } => {
                    self.met = true;
                    to_compare.into_iter().for_each(|words| self.compare(words));
                }
                Notice::Progress { done, .. } => self.done = done,
                Notice::Message(line) => self.told.push(line),
                Notice::Ended(verdict) => self.verdict = Some(verdict),
                _ => {}
            }
        }
    }

    /// The user compares the words; one nonce that breaks its promise is enough to say no.
    fn compare(&self, words: ToCompare) {
        match (words, self.words) {
            (ToCompare::PromiseBroken, _) | (_, Answer::No) => self.close(7),
            (ToCompare::Words(..), Answer::Yes) => self.command(Command::Vouch),
            (ToCompare::Words(..), Answer::Thinks) => {}
        }
    }

    pub fn close(&self, code: u16) {
        let reason = String::new();
        self.command(Command::Close { code, reason });
    }

    fn command(&self, command: Command) {
        self.commands.send(command).expect("the session listens");
    }

    /// Ends it. Gives its user's verdict once its disk thread is gone.
    pub fn end(mut self) -> (Option<Result<Summary, Failure>>, Vec<String>) {
        self.attend();
        drop(self.session);
        loop {
            match self.woken.recv_timeout(PATIENCE) {
                Ok(()) => {}
                // The thread had the last waker.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the disk thread does not end"),
            }
        }
        (self.verdict, self.told)
    }
}

fn files(src: &Path) -> (std::sync::Arc<p2pcopy::parts::transfer::Manifest>, Source) {
    let entries = std::fs::read_dir(src).expect("made for the act");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let scanned = scan(&paths, &ScanOptions::default()).expect("files of ours");
    (scanned.manifest.clone(), Source::files(scanned))
}
