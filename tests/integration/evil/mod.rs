//! The evil peer: it has valid keys, makes its own packets, and tries to do harm.
//!
//! At the other end stands the real program: `Session` with its side, its disk thread and real files. Only the
//! sockets, the clock and the user are played, so an act runs in virtual time and takes milliseconds. Each act is a
//! test that says what the evil one does and how it must end; [`act::Act`] then checks what must hold in any case.
//!
//! To add an act, write ten lines in the file of its kind below `acts/`.

#![expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one run of blocks is meant"
)]

mod act;
mod acts;
mod heard;
mod list;
mod memory;
mod peer;
mod tree;
pub(crate) mod victim;
mod wire;
