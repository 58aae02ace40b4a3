//! p2pcopy copies files straight from one computer to another through their home routers.

pub mod app;
pub mod cli;
pub mod net;
pub mod protocol;
pub mod rendezvous;
mod system;
pub mod transfer;
