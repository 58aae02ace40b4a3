//! Reaches a server over TCP, where the network blocks UDP.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::Duration;

use super::event::{Event, Front};
use super::options::Server;
use super::told::{Info, Warning};
use crate::net::StreamNews;
use crate::protocol::time::Time;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::meeting::relay::RelayClient;

/// The port that passes most firewalls. It is tried beside the server's UDP port number.
const USUAL: u16 = 443;
/// UDP alone has this long. A server that answers over UDP has done so by then.
const UDP_ALONE: Duration = Duration::from_secs(1);
/// The time limit of connecting. It ends before the client gives up UDP after 3 s, so the streams are ready by
/// then.
const CONNECT: Duration = Duration::from_millis(1900);

/// Connects to a server's TCP ports, while the run asks the server over UDP.
pub(super) struct TcpFallback {
    connecting: Option<Pin<Box<dyn Future<Output = Vec<TcpStream>> + Send>>>,
    streams: VecDeque<TcpStream>,
}

impl TcpFallback {
    /// Begins a while after the first poll, so that UDP has the first chance.
    pub(super) fn new(server: SocketAddr) -> Self {
        TcpFallback {
            connecting: Some(Box::pin(connect(server))),
            streams: VecDeque::new(),
        }
    }

    /// Goes on connecting, and never ends: for a branch of `select!` beside what the caller waits for.
    pub(super) async fn go_on(&mut self) -> std::convert::Infallible {
        self.finish().await;
        std::future::pending().await
    }

    /// The next connected stream and its remote address, if there is one.
    pub(super) async fn next(&mut self) -> Option<(SocketAddr, TcpStream)> {
        self.finish().await;
        let stream = self.streams.pop_front()?;
        Some((stream.peer_addr().ok()?, stream))
    }

    /// The server answers, so no stream is needed.
    pub(super) fn stop(&mut self) {
        self.connecting = None;
        self.streams.clear();
    }

    async fn finish(&mut self) {
        if let Some(connecting) = &mut self.connecting {
            self.streams = connecting.await.into();
            self.connecting = None;
        }
    }
}

/// Connects to both TCP ports of a server at once. Returns the streams that connected, the server's own port
/// first.
async fn connect(server: SocketAddr) -> Vec<TcpStream> {
    tokio::time::sleep(UDP_ALONE).await;
    let one = async |ip: IpAddr, port: u16| {
        let connecting = tokio::net::TcpStream::connect((ip, port));
        let stream = tokio::time::timeout(CONNECT, connecting).await.ok()?.ok()?;
        stream.into_std().ok()
    };
    let usual = async {
        match server.port() {
            USUAL => None,
            _ => one(server.ip(), USUAL).await,
        }
    };
    let (own, usual) = tokio::join!(one(server.ip(), server.port()), usual);
    own.into_iter().chain(usual).collect()
}

/// The sentence for a server that does not answer.
pub(super) fn silence(server: &Server) -> String {
    let ports = match server.port {
        USUAL => "its TCP port 443".to_owned(),
        port => format!("TCP ports {port} and 443"),
    };
    format!(
        "the server {server} does not answer, neither on UDP nor on {ports}: it is not running, or UDP is blocked on the \
         way and it was started without --tcp 443"
    )
}

/// Lets the clients of the server do what the news of its stream requires.
pub(super) fn on_stream(
    news: StreamNews,
    now: Time,
    meeting: Option<&mut Meeting>,
    relay: Option<&mut RelayClient>,
) {
    match news {
        // A client that waits at a server sends often enough by itself.
        StreamNews::Quiet => relay.into_iter().for_each(|relay| relay.ask(now)),
        StreamNews::Broken | StreamNews::Open => {
            meeting.into_iter().for_each(|meeting| meeting.renew(now));
            relay.into_iter().for_each(|relay| relay.rebind(now));
        }
        StreamNews::Back => {}
    }
}

/// Tells the user what happened to the stream.
pub(super) fn tell(news: StreamNews, front: &mut dyn Front) {
    match news {
        StreamNews::Broken => front.event(Event::Warning(Warning::TcpBroke)),
        StreamNews::Back => front.event(Event::Info(Info::TcpIsBack)),
        StreamNews::Quiet | StreamNews::Open => {}
    }
}
