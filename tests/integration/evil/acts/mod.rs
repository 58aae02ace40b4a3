//! The acts, by their kind.

mod chunks;
mod claims;
mod disk;
mod floods;
mod frames;
mod hashes;
mod lists;
mod missing;
mod names;
#[cfg(unix)]
mod neighbours;
#[cfg(unix)]
mod source;
mod strangers;
mod texts;
mod turns;
mod words;
