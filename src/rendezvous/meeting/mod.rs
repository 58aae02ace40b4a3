//! Meeting at a server: a short code in place of two long addresses.
//!
//! The server sees a number and two network addresses. The words of the code make a key between the two programs
//! ([`pake`]), and under it each sends its whole address, so that from there on everything is as if both had been
//! pasted. A server that lies, or anybody on the way, has one guess in 65,536 for each code, and a wrong one shows.
//!
//! The server also says which outside address it sees and what time it has, so that no other server is asked; and when
//! both shall punch, so that nobody waits for a slot.

pub(crate) mod client;
pub(crate) mod code;
mod finder;
pub(crate) mod interface;
pub(crate) mod list;
pub(crate) mod name;
pub(crate) mod pake;
pub(crate) mod refusal;
pub(crate) mod relay;
mod visit;
pub(crate) mod wire;
