//! The real program killed at random times, and started again with the same two commands, until all has arrived.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::nat::Nat;
use super::network::{Network, Place, Plan};
use super::standing::{Dice, Goods, Standing};

/// Bytes of a file or a pipe: about a second at [`LIMIT`], so that deaths fall before, into and after the content. A
/// tree has about as many.
const SIZE: u64 = 24_000_003;
/// Keeps the transfer long enough to be killed in the midst of it.
const LIMIT: &str = "200mbit";
/// The latest death after the second paste, in milliseconds.
const LATEST_DEATH_MS: u64 = 900;
/// How long a survivor may run on before its user gives up and presses Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long one attempt may take that nobody kills.
const WHOLE: Duration = Duration::from_secs(60);
/// Kills of one test, unless `KILL_ROUNDS` says otherwise.
const ROUNDS: u64 = 60;
/// Kills in a chain before the transfer is left in peace and must arrive.
const CHAIN: u64 = 10;

/// Who was killed after the last name was given finds everything there, and has it compared. Without this it is received
/// once more, under another name: nothing that exists is compared unasked.
const AGAIN: &[&str] = &["--update"];
/// Some of the links in the tree lead out of it.
const LINKS: &[&str] = &["--links"];

#[test]
#[ignore = "needs root: builds network namespaces"]
fn killed_at_any_time_a_file_resumes() {
    kill(Goods::File(SIZE), AGAIN);
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn killed_at_any_time_a_tree_resumes() {
    kill(Goods::Tree, &[AGAIN, LINKS].concat());
}

/// What comes out of a pipe has no length that could tell that it is there already: it replaces what is.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn killed_at_any_time_a_pipe_resumes() {
    kill(Goods::Pipe(SIZE), &["--overwrite"]);
}

fn kill(goods: Goods, receiver: &[&str]) {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (rounds, seed) = (number("KILL_ROUNDS", ROUNDS), number("KILL_SEED", 1));
    println!("KILL_SEED={seed}");
    let mut dice = Dice::new(seed);
    let network = Network::build(Plan {
        place: Place::OneHost,
        ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
    });
    let (start, mut killed, mut whole, mut resumed) = (Instant::now(), 0, 0, 0);
    while killed < rounds {
        let standing = Standing::new(goods, dice.roll(), [&["--limit", LIMIT], receiver]);
        let attempt = || {
            let attempt = standing.attempt(&network);
            attempt.unwrap_or_else(|error| panic!("{error}"))
        };
        for _ in 0..CHAIN {
            let (mut attempt, pasted) = (attempt(), Instant::now());
            let delay = Duration::from_millis(dice.roll() % LATEST_DEATH_MS);
            let (mut victims, mut survivors) = match dice.roll() % 3 {
                0 => (vec![&mut attempt.sender], vec![&mut attempt.receiver]),
                1 => (vec![&mut attempt.receiver], vec![&mut attempt.sender]),
                _ => (vec![&mut attempt.sender, &mut attempt.receiver], Vec::new()),
            };
            // Either it is over before, or death comes at its time.
            let running = |left| delay.saturating_sub(left);
            if victims[0].wait(running(pasted.elapsed())).is_err() {
                victims.iter().for_each(|victim| victim.signal(Signal::KILL));
                killed += 1;
            }
            for victim in &mut victims {
                let _ = victim.wait(WHOLE);
            }
            for survivor in &mut survivors {
                if survivor.wait(PATIENCE).is_err() {
                    survivor.signal(Signal::INT);
                    let ended = survivor.wait(WHOLE);
                    assert!(ended.is_ok(), "Ctrl-C ends it after {killed} kills: {ended:?}");
                }
            }
            resumed += usize::from(attempt.receiver.stderr().contains("Resum"));
            assert!(
                !standing.arrived() || standing.exact(),
                "part of it under its final name after {killed} kills\n{}",
                attempt.account()
            );
            if standing.arrived() {
                break;
            }
        }
        let mut attempt = attempt();
        attempt.succeeds(WHOLE);
        resumed += usize::from(attempt.receiver.stderr().contains("Resum"));
        assert!(standing.exact() && standing.is_tidy(), "{}", attempt.account());
        whole += 1;
        println!("{killed} kills, {whole} whole, {resumed} resumed");
    }
    println!("{killed} kills in {:?}", start.elapsed());
    assert!(resumed > 0, "no transfer was ever resumed");
}
