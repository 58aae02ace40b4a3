//! The command line as clap parses it. `validate` decides what combinations mean.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::console::{Clipboard, Shown};
use super::lines::Detail;
use super::server_args::{self, ServerArgs};
use super::values::{self, Servers};
use crate::app::options::MeetingServer;
use crate::rendezvous::meeting::name::Name;

const EXAMPLES: &str = "\
Examples:
  p2pcopy sender vm.img    on one computer
  p2pcopy receiver         on the other; then paste each one's address into the other
  p2pcopy demo             both sides on this computer, to see it work

Exit codes:
  0  done and verified          4  refused or cancelled by either side
  1  other failure              5  verification failed, or changed while sent
  2  usage, or no answer        6  a local file problem
  3  no path to the peer        7  done and verified, but not everything
                                130  Ctrl-C";

const SENDER_EXAMPLES: &str = "\
Examples:
  p2pcopy sender vm.img
  p2pcopy sender --file vm.img --localport 4300
  p2pcopy sender photos/ notes.txt --exclude '*.tmp'
  tar c dir | p2pcopy sender --file - --name dir.tar
  pass show wifi | p2pcopy sender --text -";

const RECEIVER_EXAMPLES: &str = "\
Examples:
  p2pcopy receiver
  p2pcopy receiver 7-guitar-harbor --server example.org
  p2pcopy receiver --output ~/Downloads --yes
  p2pcopy receiver --output - | tar x
  p2pcopy receiver --discard";

const CHAT_EXAMPLES: &str = "\
Examples:
  p2pcopy chat                                       on both sides; then swap the addresses
  p2pcopy chat --server example.org                  shows a code
  p2pcopy chat 7-guitar-harbor --server example.org  on the other side

What the other side says stands behind '> ', or by itself on a standard output that is no terminal. Ctrl-D ends the chat, \
on Windows Ctrl-Z and Enter.";

/// Options that only commands with a peer use.
const OF_A_PEER: [&str; 10] = [
    "peer",
    "own_name",
    "peer_name",
    "secret_file",
    "relay",
    "ttl",
    "timeout",
    "verify",
    "insecure",
    "no_clipboard",
];

/// Options that only commands with a transfer use.
const OF_A_CONNECTION: [&str; 4] = ["limit", "congestion", "no_offload", "trace"];

/// Copy files straight from one computer to another through their home routers: encrypted, verified, no
/// account, no server in between.
#[derive(Parser, Debug)]
#[command(name = "p2pcopy", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Cli {
    /// The whole command line. Every subcommand accepts the common options, so that scripts can pass them
    /// along. A command that does not use some of them hides them in its help.
    pub(super) fn reviewed_command() -> clap::Command {
        let hide = |command: clap::Command, names: &[&[&str]]| {
            names.iter().copied().flatten().fold(command, |command, name| {
                command.mut_arg(name, |argument| argument.hide(true))
            })
        };
        let own_network = [
            "localport",
            "external_port",
            "no_port_mapping",
            "no_guess",
            "stun",
            "ntp",
        ];
        let asks_a_server = |command: clap::Command| {
            command.mut_arg("server", |server| server.help("The p2pcopy server to ask"))
        };
        Cli::command()
            .mut_subcommand("demo", |demo| {
                hide(demo, &[&OF_A_PEER, &own_network, &["server"]])
            })
            .mut_subcommand("check", |check| {
                asks_a_server(hide(check, &[&OF_A_PEER, &OF_A_CONNECTION]))
            })
            .mut_subcommand("list", |list| {
                asks_a_server(hide(list, &[&OF_A_PEER, &OF_A_CONNECTION, &own_network]))
            })
    }

    /// Parses the program's arguments. The first is the program's name.
    pub(super) fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        Cli::from_arg_matches(&Cli::reviewed_command().try_get_matches_from(arguments)?)
    }
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Send files, directories, a pipe or a message to one peer
    #[command(visible_alias = "send", after_help = SENDER_EXAMPLES)]
    Sender(SenderArgs),
    /// Receive what one peer sends
    #[command(visible_alias = "receive", after_help = RECEIVER_EXAMPLES)]
    Receiver(ReceiverArgs),
    /// Run both sides on this computer, through the real sockets and protocol; needs no internet
    Demo(DemoArgs),
    /// Let people meet by a short code: run it on a machine with a public address
    #[command(after_help = super::server_args::EXAMPLES)]
    Server(ServerArgs),
    /// Find out what this network is (addresses, NAT, clock) and what that means, or with --server what a server sees
    Check(CheckArgs),
    /// Chat with one peer: lines both ways, over the same sealed connection as files
    #[command(after_help = CHAT_EXAMPLES)]
    Chat(ChatArgs),
    /// Show who waits at a server under a name, for what and for how long
    List(CheckArgs),
    /// Draw a trace: rate, round trip, bytes in flight, loss and what limited the speed, over time
    Plot(PlotArgs),
    /// Print the man page: p2pcopy man > p2pcopy.1
    Man,
    /// Print what a shell reads to complete commands and options
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(super) struct SenderArgs {
    /// What to send: files and directories, or - for standard input
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Another way to give a path to send; may be repeated
    #[arg(long = "file", short = 'f', value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,
    /// Send this message instead of files, or with - one from standard input (at most 1 MiB; other users of this
    /// machine can read the command line). The receiver prints it, with a line end after it only on a terminal
    #[arg(long, conflicts_with_all = ["paths", "files", "name", "exclude", "exclude_from", "links", "xattrs"])]
    pub(super) text: Option<String>,
    /// The name that the receiver sees, for a pipe or a single path
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Leave out what matches this pattern; may be repeated. A pattern without a slash matches names, also of the
    /// paths given here: '*.tmp'. One with a slash matches whole paths, which begin with the sent name or below it:
    /// 'photos/raw', '/raw', '**/raw' (* and ? stop at a slash). One with a slash at its end matches only
    /// directories: 'cache/'
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<String>,
    /// Leave out what matches the patterns in FILE: one a line; empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    pub(super) exclude_from: Vec<PathBuf>,
    /// Send symbolic links as links (they are left out otherwise, and never followed)
    #[arg(long)]
    pub(super) links: bool,
    /// Also send extended attributes (user.*) and POSIX access control lists
    #[arg(long)]
    pub(super) xattrs: bool,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct ReceiverArgs {
    /// The code (with --server) or the address that the sender's screen shows
    #[arg(value_name = "CODE", conflicts_with_all = ["peer", "own_name", "peer_name"])]
    pub(super) code: Option<String>,
    /// The directory for what arrives, or - for standard output; it is made if only its last part is missing
    #[arg(long, short = 'o', value_name = "DIR", default_value = ".")]
    pub(super) output: PathBuf,
    /// Accept and resume without asking; hidden names at the top level still need an answer
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
    /// Replace existing files, once the new ones are verified
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Replace existing files. Content that they have already, also at another place, is not sent
    #[arg(long)]
    pub(super) update: bool,
    /// Also make symbolic links that lead out of what is sent (they are left out otherwise)
    #[arg(long)]
    pub(super) links: bool,
    /// Keep extended attributes (user.*) and POSIX access control lists that are sent
    #[arg(long)]
    pub(super) xattrs: bool,
    /// Only remove what your unfinished transfers left in DIR
    #[arg(long, conflicts_with_all = ["overwrite", "update"])]
    pub(super) discard: bool,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// What to send; a file that the demo makes if not given
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct ChatArgs {
    /// The code (with --server) or the address that the other side's screen shows
    #[arg(value_name = "CODE", conflicts_with_all = ["peer", "own_name", "peer_name"])]
    pub(super) code: Option<String>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Args, Debug)]
pub(super) struct PlotArgs {
    /// The file that was given to --trace
    pub(super) trace: PathBuf,
    /// The SVG file to write; the trace's name with .svg after it if not given. An existing file is replaced
    /// only if it is such a picture
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(super) enum CongestionArg {
    /// Finds the path's rate and tells random loss from congestion
    Bbr,
    /// UDT's own rate control, for comparison
    Udt,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(super) enum RelayArg {
    /// Where no direct path is found
    Fallback,
    /// Not at all
    Never,
    /// Always
    Only,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Finding the peer")]
pub(super) struct CommonArgs {
    /// Local UDP port; any free one if not given
    #[arg(long, value_name = "PORT", value_parser = values::port, allow_hyphen_values = true)]
    pub(super) localport: Option<u16>,
    /// The outside port that the router forwards to --localport: the peer is told to connect there
    #[arg(long, value_name = "PORT", value_parser = values::port, allow_hyphen_values = true, requires = "localport")]
    pub(super) external_port: Option<u16>,
    /// Do not ask the router to forward a port (PCP, NAT-PMP, UPnP)
    #[arg(long, env = "P2PCOPY_NO_PORT_MAPPING", hide_env_values = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) no_port_mapping: bool,
    /// Do not guess ports if a router uses another port for each destination (guessing sends up to 87 packets a
    /// second to the peer's address)
    #[arg(long, env = "P2PCOPY_NO_GUESS", hide_env_values = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) no_guess: bool,
    /// The peer's address, or its code (with --server). Without it you are asked
    #[arg(long, value_name = "ADDRESS")]
    pub(super) peer: Option<String>,
    /// Meet at this p2pcopy server by a short code, and ask no other server
    #[arg(long, value_name = "HOST[:PORT][/TOKEN]", env = "P2PCOPY_SERVER", hide_env_values = true,
          value_parser = server_args::meeting_server)]
    pub(super) server: Option<MeetingServer>,
    /// Wait at the server under this name
    #[arg(long = "as", value_name = "NAME", value_parser = values::name, conflicts_with = "peer")]
    pub(super) own_name: Option<Name>,
    /// Meet the peer that waits there under this name. With --as you also wait for that peer
    #[arg(long = "to", value_name = "NAME", value_parser = values::name, conflicts_with = "peer")]
    pub(super) peer_name: Option<Name>,
    /// A secret that both sides have, in a file of at least 16 bytes: it proves who uses a name. Without it
    /// both users compare six words
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// When the server may pass on the encrypted data: only if no direct path is found, never, or always
    /// (then the peer does not learn your address)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = RelayArg::Fallback)]
    pub(super) relay: RelayArg,
    /// STUN server in place of the built-in list; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "P2PCOPY_STUN", hide_env_values = true,
          value_parser = values::stun_servers)]
    pub(super) stun: Vec<Servers>,
    /// NTP server in place of the built-in list; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", env = "P2PCOPY_NTP", hide_env_values = true,
          value_parser = values::ntp_servers)]
    pub(super) ntp: Vec<Servers>,
    /// For experts: TTL of the packets that open your own router, in place of 2 to 5 in turn. They must pass your
    /// routers and expire before they reach the peer's
    #[arg(long, value_name = "N", value_parser = values::ttl, allow_hyphen_values = true)]
    pub(super) ttl: Option<u8>,
    /// How long to look for the peer before giving up, at first and whenever it falls silent
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::duration, allow_hyphen_values = true)]
    pub(super) timeout: Duration,
    /// Make both users compare six words before anything is sent, whatever they pasted
    #[arg(long, conflicts_with = "insecure")]
    pub(super) verify: bool,
    /// Do not compare words after a bare IP:PORT was pasted. Then an attacker in the middle can read and change
    /// everything
    #[arg(long)]
    pub(super) insecure: bool,
    /// Highest rate to send, or to receive: 20mbit, 2MB/s. The smaller limit of both sides holds
    #[arg(long, value_name = "RATE", value_parser = values::rate, allow_hyphen_values = true, help_heading = "Speed")]
    pub(super) limit: Option<u64>,
    /// How the sender finds its rate: bbr, or udt to compare with
    #[arg(long, value_enum, default_value_t = CongestionArg::Bbr, help_heading = "Speed")]
    pub(super) congestion: CongestionArg,
    /// Send datagrams one by one, for a network driver that mishandles bursts
    #[arg(long, help_heading = "Speed")]
    pub(super) no_offload: bool,
    /// Do not put the address on the terminal's clipboard
    #[arg(long, help_heading = "Output")]
    pub(super) no_clipboard: bool,
    /// Write a trace of the connection to FILE, one JSON object per line; p2pcopy plot draws it. An existing
    /// file is replaced only if it is a trace
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) trace: Option<PathBuf>,
    /// Events as JSON lines on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Only errors, prompts and results, such as the address
    #[arg(long, short, conflicts_with = "verbose", help_heading = "Output")]
    pub(super) quiet: bool,
    /// Show more, such as what limits the speed; twice for everything
    #[arg(long, short, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(super) verbose: u8,
}

impl Command {
    /// What the user wants to see of it.
    pub(super) fn shown(&self) -> Shown {
        match self {
            Command::Sender(SenderArgs { common, .. })
            | Command::Receiver(ReceiverArgs { common, .. })
            | Command::Demo(DemoArgs { common, .. })
            | Command::Chat(ChatArgs { common, .. })
            | Command::Check(CheckArgs { common })
            | Command::List(CheckArgs { common }) => Shown {
                json: common.json,
                detail: Detail::of(common.quiet, common.verbose),
                clipboard: match common.no_clipboard {
                    true => Clipboard::Never,
                    false => Clipboard::Once,
                },
            },
            Command::Server(args) => args.shown(),
            Command::Plot(_) | Command::Man | Command::Completions { .. } => Shown::default(),
        }
    }
}
