//! The p2pcopy command.

fn main() {}
