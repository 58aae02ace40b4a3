//! The real program killed at random times, and started again with the same two commands, until all has arrived.

use std::time::{Duration, Instant};

use super::nat::Nat;
use super::network::{Network, Place, Plan};
use super::standing::{Dice, Standing};
use rustix::process::Signal;

/// Bytes of the file: about a second at [`LIMIT`], so that deaths fall before, into and after the content.
const SIZE: u64 = 24_000_003;
/// Keeps the transfer long enough to be killed in the midst of it.
const LIMIT: &str = "200mbit";
/// The latest death after the second paste, in milliseconds.
const LATEST_DEATH_MS: u64 = 900;
/// How long the survivor may run on before its user gives up and presses Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long one attempt may take that nobody kills.
const WHOLE: Duration = Duration::from_secs(60);

/// Kills in a chain before the transfer is left in peace and must arrive.
const CHAIN: u64 = 10;

#[test]
#[ignore = "needs root: builds network namespaces"]
fn killed_at_any_time_it_resumes() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (rounds, seed) = (number("KILL_ROUNDS", 200), number("KILL_SEED", 1));
    println!("KILL_SEED={seed}");
    let mut dice = Dice::new(seed);
    let network = Network::build(Plan {
        place: Place::OneHost,
        ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
    });
    let (start, mut killed, mut whole, mut resumed) = (Instant::now(), 0, 0, 0);
    while killed < rounds {
        let standing = Standing::new(SIZE, dice.roll(), [&["--limit", LIMIT], &[]]);
        for _ in 0..CHAIN {
            let mut attempt = standing
                .attempt(&network)
                .unwrap_or_else(|error| panic!("{error}"));
            let pasted = Instant::now();
            let delay = Duration::from_millis(dice.roll() % LATEST_DEATH_MS);
            let [victim, survivor] = if dice.roll().is_multiple_of(2) {
                [&mut attempt.sender, &mut attempt.receiver]
            } else {
                [&mut attempt.receiver, &mut attempt.sender]
            };
            // Either it is over before, or death comes at its time.
            if victim.wait(delay.saturating_sub(pasted.elapsed())).is_err() {
                victim.signal(Signal::KILL);
                killed += 1;
            }
            let _ = victim.wait(WHOLE);
            if survivor.wait(PATIENCE).is_err() {
                survivor.signal(Signal::INT);
                let ended = survivor.wait(WHOLE);
                assert!(ended.is_ok(), "Ctrl-C ends it after {killed} kills: {ended:?}");
            }
            resumed += usize::from(attempt.receiver.stderr().contains("Resum"));
            assert!(
                !standing.arrived() || standing.exact(),
                "part of the file under its final name after {killed} kills\n{}",
                attempt.account()
            );
            if standing.arrived() {
                break;
            }
        }
        let mut attempt = standing
            .attempt(&network)
            .unwrap_or_else(|error| panic!("{error}"));
        attempt.succeeds(WHOLE);
        resumed += usize::from(attempt.receiver.stderr().contains("Resum"));
        assert!(standing.exact(), "{}", attempt.account());
        let left: Vec<_> = std::fs::read_dir(standing.directory())
            .expect("the receiver's directory")
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
            .collect();
        assert_eq!(left, ["vm.img"], "{}", attempt.account());
        whole += 1;
        println!("{killed} kills, {whole} files whole, {resumed} resumed");
    }
    println!("{killed} kills in {:?}", start.elapsed());
}
