//! Where no UDP passes: the same server over TCP.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// The port that passes most firewalls, tried beside the one the server has for UDP.
pub(super) const USUAL: u16 = 443;
/// UDP goes first for so long. A server that answers is heard by then.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connecting takes no longer; what it found is then at hand when UDP is given up.
const CONNECT: Duration = Duration::from_millis(1900);

/// Connects to a server's TCP ports, both at once: those that take it, the server's own port first.
pub(super) async fn connect(server: SocketAddr) -> Vec<TcpStream> {
    tokio::time::sleep(PATIENCE).await;
    let one = async |ip: IpAddr, port: u16| {
        let connecting = tokio::net::TcpStream::connect((ip, port));
        let stream = tokio::time::timeout(CONNECT, connecting).await.ok()?.ok()?;
        stream.into_std().ok()
    };
    let (own, usual) = tokio::join!(one(server.ip(), server.port()), one(server.ip(), USUAL));
    own.into_iter().chain(usual).collect()
}
