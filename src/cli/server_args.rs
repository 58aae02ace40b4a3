//! The command line of a server.

use std::net::SocketAddr;

use clap::Args;

use super::console::Shown;
use super::lines::Detail;
use super::values::{self, Servers};
use crate::app::options::{MeetingServer, ServeOptions, ServerToken};
use crate::rendezvous::meeting::wire;
use crate::rendezvous::server::RelayLimits;

pub(super) const EXAMPLES: &str = "\
Examples:
  p2pcopy server                          on a machine with a public address; open UDP ports 4300 and 4301 in its firewall
  p2pcopy server --token sesame           only for those who know the token
  p2pcopy sender vm.img --server HOST     then, on one computer: shows a code such as 7-guitar-harbor
  p2pcopy receiver 7-guitar-harbor --server HOST    and on the other";

#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// Address to listen at; may be repeated [default: port 4300 of all addresses]
    #[arg(long, value_name = "IP:PORT", value_parser = values::listen)]
    listen: Vec<SocketAddr>,
    /// The name or address that clients use; found out by STUN if not given
    #[arg(long, value_name = "HOST")]
    public: Option<String>,
    /// Serve only those who give this token: --server HOST/TOKEN
    #[arg(long, value_name = "TOKEN", value_parser = token, env = "P2PCOPY_SERVER_TOKEN", hide_env_values = true)]
    token: Option<ServerToken>,
    /// Also serve networks that let no UDP through, at this TCP port; 443 passes most firewalls
    #[arg(long, value_name = "PORT", value_parser = values::port, allow_hyphen_values = true)]
    tcp: Option<u16>,
    /// Do not relay; clients only meet here
    #[arg(long, conflicts_with_all = ["pair_rate", "total_rate", "pair_bytes"])]
    no_relay: bool,
    /// Highest rate to relay for one pair: 20mbit, 2MB/s [default: 20mbit, and no limit with --token]
    #[arg(long, value_name = "RATE", value_parser = values::rate, allow_hyphen_values = true)]
    pair_rate: Option<u64>,
    /// Highest rate to relay for all pairs together [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = values::rate, allow_hyphen_values = true)]
    total_rate: Option<u64>,
    /// Most bytes to relay for one pair: 10GB, 500MiB [default: 10GB, and no limit with --token]
    #[arg(long, value_name = "SIZE", value_parser = values::size, allow_hyphen_values = true)]
    pair_bytes: Option<u64>,
    /// STUN server in place of the built-in list; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "P2PCOPY_STUN", hide_env_values = true,
          value_parser = values::stun_servers)]
    stun: Vec<Servers>,
    /// Events as JSON lines on standard output
    #[arg(long)]
    json: bool,
    /// Only errors and the word that clients need
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Show more: what was done, once a minute if anything was
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl ServerArgs {
    pub(super) fn shown(&self) -> Shown {
        Shown {
            json: self.json,
            detail: Detail::of(self.quiet, self.verbose),
            ..Shown::default()
        }
    }

    pub(super) fn into_options(self) -> ServeOptions {
        let usual = match self.token {
            Some(_) => RelayLimits::FRIENDS,
            None => RelayLimits::STRANGERS,
        };
        ServeOptions {
            listen: self.listen,
            public: self.public,
            token: self.token,
            tcp: self.tcp,
            relay: (!self.no_relay).then_some(RelayLimits {
                pair_rate: self.pair_rate.or(usual.pair_rate),
                total_rate: self.total_rate.or(usual.total_rate),
                pair_bytes: self.pair_bytes.or(usual.pair_bytes),
                ..usual
            }),
            stun: self.stun.into_iter().flat_map(|servers| servers.0).collect(),
        }
    }
}

/// A token for `--server HOST/TOKEN`. It has only characters that no shell and no chat changes.
fn token(text: &str) -> Result<ServerToken, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("a token has 1 to 64 letters, digits and - . _ ~".into());
    }
    Ok(ServerToken::new(text))
}

/// `HOST[:PORT][/TOKEN]`, the word that a server prints.
pub(super) fn meeting_server(text: &str) -> Result<MeetingServer, String> {
    if text.contains("://") {
        return Err("a server is HOST, HOST:PORT or HOST/TOKEN, as it prints it, and no web address".into());
    }
    let (host, word) = match text.trim().split_once('/') {
        Some((host, word)) => (host, Some(token(word)?)),
        None => (text.trim(), None),
    };
    Ok(MeetingServer {
        server: values::server(host, wire::PORT)?,
        token: word,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_holds_host_port_and_token() {
        for (text, host, port, word) in [
            ("example.org", "example.org", 4300, None),
            ("example.org:5000", "example.org", 5000, None),
            ("203.0.113.7/sesame", "203.0.113.7", 4300, Some("sesame")),
            ("[2001:db8::1]:5000/a.b-c", "2001:db8::1", 5000, Some("a.b-c")),
            (" 2001:db8::1 ", "2001:db8::1", 4300, None),
        ] {
            let told = meeting_server(text).expect(text);
            assert_eq!(
                (told.server.host.as_str(), told.server.port),
                (host, port),
                "{text}"
            );
            assert_eq!(told.token.as_ref().map(ServerToken::word), word, "{text}");
        }
        for text in [
            "",
            "/sesame",
            "host/",
            "host/two words",
            "host:0",
            "http://host",
            "host/a/b",
        ] {
            assert!(meeting_server(text).is_err(), "{text}");
        }
        let web = meeting_server("https://example.org/sesame").unwrap_err();
        assert!(web.contains("HOST/TOKEN"), "{web}");
    }
}
