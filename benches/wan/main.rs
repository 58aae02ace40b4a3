//! The real program over played links, as root on Linux: see `played.rs`.

#![expect(
    clippy::disallowed_methods,
    reason = "the laboratory plays the outside world: it owns clocks, sockets and files"
)]

#[cfg(target_os = "linux")]
#[expect(
    dead_code,
    reason = "shared with the laboratory's tests, which use more of it"
)]
mod played;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    played::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark needs Linux: it builds network namespaces");
}
