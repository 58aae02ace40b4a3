//! Tests of every room at once: the vectors of docs/protocol.md, and all decoders with whatever a generator makes.

pub mod decoders;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod vectors;
