//! Before a connection: the pasted address, STUN, the clock, the slots and the punch. Sans-IO.

pub mod address;
pub mod clock;
pub mod servers;
pub mod stun;
