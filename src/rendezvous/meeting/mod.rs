//! Meeting at a server: a short code instead of two long addresses.
//!
//! The server sees a number and two network addresses. From the words of the code the two programs make a key
//! ([`pake`]). Each sends its full address sealed with that key, and from then on everything is as if both
//! addresses had been pasted. A server that lies, or an attacker on the path, has one guess in 65,536 for
//! each code, and a wrong guess is noticed.
//!
//! The server also tells the outside address it sees and its time, so that no other server is asked. And it
//! names the moment at which both punch, so that nobody waits for a slot.

pub(crate) mod client;
pub(crate) mod code;
mod finder;
mod goodbye;
pub(crate) mod interface;
pub(crate) mod list;
pub(crate) mod name;
pub(crate) mod pake;
pub(crate) mod refusal;
pub(crate) mod relay;
mod visit;
pub(crate) mod wire;
