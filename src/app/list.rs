//! Lists who waits at a server under a name.

use super::event::{Event, Front};
use super::lookup::resolve_one;
use super::options::Common;
use super::outcome::{Failure, Summary};
use super::tcp::{self, TcpFallback};
use super::told::Info;
use super::trial;
use crate::rendezvous::meeting::list::{Lister, NoList};
use crate::rendezvous::meeting::wire::token_key;

pub(super) async fn run(common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    let Some(place) = &common.server else {
        return Err(Failure::usage(
            "only a server can list who waits",
            "add --server HOST/TOKEN, or set P2PCOPY_SERVER",
        ));
    };
    front.event(Event::Info(Info::AskingServer {
        server: place.server.to_string(),
    }));
    let server = resolve_one(&place.server, true)
        .await
        .map_err(|cause| Failure::no_path(cause, "check --server"))?;
    let token = place.token.as_ref().map(|token| token_key(token.word()));
    let mut fallback = TcpFallback::new(server);
    let (mut at, mut stream) = (server, None);
    let present = loop {
        let asking = tokio::task::spawn_blocking(move || {
            trial::run(at, stream, |path, seed, now| Lister::new(path, token, seed, now))
        });
        let answer = tokio::select! {
            answer = asking => answer,
            never = fallback.go_on() => match never {},
        };
        match answer {
            Ok(Ok(Ok(present))) => break present,
            Ok(Ok(Err(NoList::Unreachable))) => {
                let Some(next) = fallback.next().await else {
                    return Err(Failure::no_path(tcp::silence(&place.server), "check --server"));
                };
                (at, stream) = (next.0, Some(next.1));
                front.event(Event::Info(Info::TryingTcp { port: at.port() }));
            }
            Ok(Ok(Err(why))) => return Err(Failure::no_path(why.to_string(), why.next_step())),
            Ok(Err(e)) => return Err(Failure::system(e)),
            Err(_) => return Err(Failure::internal("the network thread is gone")),
        }
    };
    if present.is_empty() {
        front.event(Event::Info(Info::NobodyWaits));
    }
    for one in present {
        front.event(Event::Present(one));
    }
    Ok(Summary::default())
}
