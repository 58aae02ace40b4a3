//! coturn's TURN server, for the CPU time that a gigabyte costs which it relays.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::program::cpu_seconds;

const HERE: &str = "127.0.0.1";
/// Bytes of a datagram: nearly what fits into an Ethernet's packet.
const DATAGRAM: usize = 1_400;
/// Clients at once. Each sends a datagram every millisecond.
const CLIENTS: usize = 32;

/// A program that ends when this is dropped.
struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &str) -> io::Result<Running> {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace());
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.spawn().map(Running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds of the server for each gigabyte that it relays. Its own client sends to its own echo, so each datagram is
/// relayed twice.
pub(crate) fn cpu_per_gigabyte(megabytes: usize) -> io::Result<f64> {
    let server = format!(
        "-n -L {HERE} -E {HERE} -p 3478 -r bench -m 1 --no-auth --no-cli --no-tls --no-dtls --allow-loopback-peers \
         --simple-log --log-file /dev/null"
    );
    let server = Running::start("turnserver", &server)?;
    let _echo = Running::start("turnutils_peer", &format!("-L {HERE} -p 3480"))?;
    // Neither says when it is ready.
    std::thread::sleep(Duration::from_secs(1));
    let each = megabytes * 1_000_000 / (2 * CLIENTS * DATAGRAM);
    let client =
        format!("-c -L {HERE} -e {HERE} -r 3480 -m {CLIENTS} -n {each} -l {DATAGRAM} -z 1 -p 3478 {HERE}");
    let output = Command::new("turnutils_uclient")
        .args(client.split_whitespace())
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let back = told.rsplit_once("tot_recv_bytes ~ ").map(|(_, rest)| rest);
    let digits = back.and_then(|rest| rest.split_whitespace().next());
    let back: f64 = digits
        .and_then(|bytes| bytes.parse().ok())
        .filter(|bytes| *bytes > 0.0)
        .ok_or_else(|| io::Error::other(format!("nothing came back:\n{told}")))?;
    Ok(cpu_seconds(&server.0)? / (2.0 * back / 1e9))
}
