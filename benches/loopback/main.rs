//! How close a transfer comes to what this machine can do: `cargo bench --bench loopback`, on Linux.
//!
//! In turn, a few rounds of: the ceiling (two programs in one that do nothing but read, seal, send in bursts,
//! receive, open and write), the same with block hashes and a journal, and the real program with and without
//! bursts and by way of a server's relay, a sender and a receiver of their own; file to file on a tmpfs, over the
//! loopback interface. At the end coturn's server relays as much, if it is installed. Printed are medians, ratios, CPU seconds a gigabyte and peak memory. `--megabytes N` and `--rounds N` change the size
//! (2000) and the number of rounds (5); run it in a network namespace whose `lo` has an MTU of 1500 to see what an
//! ordinary network card would be asked to do.
//!
//! `--disk DIR` instead copies a large file (`--megabytes`) and trees of small ones within DIR, in turn with `cp`, `tar`
//! and rsync, and prints how long each takes until everything is on the medium.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark plays the outside world: it owns clocks, sockets and files"
)]

#[cfg(target_os = "linux")]
mod ceiling;
#[cfg(target_os = "linux")]
mod coturn;
#[cfg(target_os = "linux")]
mod disks;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod run;

#[cfg(target_os = "linux")]
fn main() {
    run::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark needs Linux: it reads /proc and writes to /dev/shm");
}
