//! The two halves of the conversation about a transfer, sans-IO.

pub(crate) mod messages;
pub(crate) mod receive;
pub(crate) mod send;
#[cfg(test)]
mod tests;
