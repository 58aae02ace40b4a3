//! Turns arguments into options. Checks everything that clap cannot check, before anything runs.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::args::{
    ChatArgs, CheckArgs, CommonArgs, CongestionArg, DemoArgs, PlotArgs, ReceiverArgs, RelayArg, SenderArgs,
};
use crate::app::options::{
    ByName, Common, Congestion, DemoOptions, Payload, PlotOptions, ReceiveOptions, SendOptions,
};
use crate::app::outcome::Failure;
use crate::app::receiving::Target;
use crate::rendezvous::address::Address;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::relay::RelayUse;
use crate::rendezvous::meeting::wire::Names;
use crate::system::{expand, impossible, without_ignored_end};
use crate::transfer::manifest::OutsideLinks;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::names::SafeName;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::source::scan::{Exclude, Links, PatternFileError, ScanOptions, patterns_of_file};

/// Whether a path is `-`, which stands for standard input or output.
fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Refuses a path that this system cannot have.
fn possible(path: &Path) -> Result<(), Failure> {
    match impossible(path) {
        Some((cause, next)) => Err(Failure::usage(format!("{}: {cause}", path.display()), next)),
        None => Ok(()),
    }
}

pub(super) fn sender(args: SenderArgs) -> Result<SendOptions, Failure> {
    let mut paths = args.files;
    paths.extend(args.paths);
    paths.iter().try_for_each(|path| possible(path))?;
    let payload = match (args.text, paths.as_slice()) {
        (Some(dash), _) if dash == "-" => Payload::StdinText,
        (Some(text), _) => Payload::Text(text),
        (None, []) => {
            return Err(Failure::usage(
                "nothing to send",
                "name a file: p2pcopy sender vm.img",
            ));
        }
        (None, [only]) if is_dash(only) => Payload::Stdin,
        (None, several) if several.iter().any(|path| is_dash(path)) => {
            return Err(Failure::usage(
                "standard input (-) cannot be sent together with files",
                "send it by itself: … | p2pcopy sender --file - --name NAME",
            ));
        }
        (None, empty) if empty.iter().any(|path| path.as_os_str().is_empty()) => {
            return Err(Failure::usage(
                "an empty path names nothing",
                "check the variable it came from",
            ));
        }
        (None, several) => Payload::Paths(expand(several.to_vec()).map_err(|pattern| {
            Failure::usage(
                format!("nothing matches {}", pattern.display()),
                "check the pattern, and the directory that it looks in",
            )
        })?),
    };
    if args.name.is_some() && matches!(&payload, Payload::Paths(paths) if paths.len() > 1) {
        return Err(Failure::usage(
            "--name fits only one path or a pipe",
            "leave --name out, or send the paths one by one",
        ));
    }
    if let Some(Err(error)) = args
        .name
        .as_ref()
        .map(|name| SafeName::from_peer(name.as_bytes()))
    {
        return Err(Failure::usage(
            format!("--name: {error}"),
            "give a plain file name, such as dir.tar",
        ));
    }
    Ok(SendOptions {
        payload,
        scan: ScanOptions {
            name: args.name,
            exclude: exclude(&args.exclude, &args.exclude_from)?,
            links: if args.links { Links::Keep } else { Links::Skip },
            attributes: attributes(args.xattrs),
        },
        common: common(args.common)?,
    })
}

fn attributes(xattrs: bool) -> Attributes {
    if xattrs {
        Attributes::Keep
    } else {
        Attributes::LeaveOut
    }
}

pub(super) fn receiver(args: ReceiverArgs) -> Result<ReceiveOptions, Failure> {
    let conflicts = match (args.overwrite, args.update) {
        (_, true) => Conflicts::Update,
        (true, false) => Conflicts::Overwrite,
        (false, false) => Conflicts::Rename,
    };
    let destination = if is_dash(&args.output) {
        Target::Stdout
    } else if args.output.as_os_str().is_empty() {
        return Err(Failure::usage(
            "--output is empty",
            "name a directory, or - for standard output",
        ));
    } else {
        possible(&args.output)?;
        Target::Directory(without_ignored_end(args.output), conflicts)
    };
    if destination == Target::Stdout {
        let clash = [
            (args.common.json, "--json"),
            (args.overwrite, "--overwrite"),
            (args.update, "--update"),
            (args.discard, "--discard"),
        ];
        if let Some((_, name)) = clash.into_iter().find(|(given, _)| *given) {
            return Err(Failure::usage(
                format!("{name} cannot be used with --output -"),
                "choose a directory with --output DIR",
            ));
        }
    }
    let mut common = args.common;
    meet(&mut common, args.code, Errand::Receive)?;
    Ok(ReceiveOptions {
        destination,
        yes: args.yes,
        outside_links: if args.links {
            OutsideLinks::Make
        } else {
            OutsideLinks::LeaveOut
        },
        attributes: attributes(args.xattrs),
        discard: args.discard,
        common: self::common(common)?,
    })
}

pub(super) fn demo(args: DemoArgs) -> Result<DemoOptions, Failure> {
    let common = Common {
        server: None,
        ..common(args.common)?
    };
    Ok(DemoOptions {
        file: args.file,
        common,
    })
}

pub(super) fn chat(args: ChatArgs) -> Result<Common, Failure> {
    let mut common = args.common;
    meet(&mut common, args.code, Errand::Chat)?;
    self::common(common)
}

/// Takes the positional word that may replace `--peer`. Any other word is refused here, before servers are
/// asked.
fn meet(common: &mut CommonArgs, word: Option<String>, errand: Errand) -> Result<(), Failure> {
    let Some(word) = word else { return Ok(()) };
    if !Code::is_meant_by(&word) {
        Address::parse_other(&word, errand).map_err(|e| {
            Failure::usage(
                e.to_string(),
                "give the code or the address that the other side shows",
            )
        })?;
    }
    common.peer = Some(word);
    Ok(())
}

pub(super) fn check(args: CheckArgs) -> Result<Common, Failure> {
    common(args.common)
}

pub(super) fn plot(args: PlotArgs) -> PlotOptions {
    let picture = args.output.unwrap_or_else(|| {
        let mut name = args.trace.clone().into_os_string();
        name.push(".svg");
        name.into()
    });
    PlotOptions {
        trace: args.trace,
        picture,
    }
}

fn common(args: CommonArgs) -> Result<Common, Failure> {
    if args.relay == RelayArg::Only && args.server.is_none() {
        return Err(Failure::usage(
            "--relay only needs a server",
            "add --server HOST, or leave --relay out",
        ));
    }
    if let Some(text) = args.peer.as_deref().filter(|text| Code::is_meant_by(text)) {
        Code::parse(text).map_err(|e| Failure::usage(e.to_string(), "correct the code"))?;
        if args.server.is_none() {
            return Err(Failure::usage(
                "a code needs the server that it was made at",
                "add the same --server as on the other computer, or set P2PCOPY_SERVER",
            ));
        }
    }
    let by_name = by_name(&args)?;
    Ok(Common {
        by_name,
        localport: args.localport,
        external_port: args.external_port,
        port_mapping: !args.no_port_mapping,
        guess: !args.no_guess,
        offload: !args.no_offload,
        peer: args.peer,
        server: args.server,
        relay: match args.relay {
            RelayArg::Fallback => RelayUse::Fallback,
            RelayArg::Never => RelayUse::Never,
            RelayArg::Only => RelayUse::Only,
        },
        stun: args.stun.into_iter().flat_map(|servers| servers.0).collect(),
        ntp: args.ntp.into_iter().flat_map(|servers| servers.0).collect(),
        ttl: args.ttl,
        timeout: args.timeout,
        limit: args.limit,
        congestion: match args.congestion {
            CongestionArg::Bbr => Congestion::Bbr,
            CongestionArg::Udt => Congestion::Udt,
        },
        insecure: args.insecure,
        verify: args.verify,
        trace: args.trace,
    })
}

/// Bytes of the shortest secret. Nobody can guess that many.
const LEAST_SECRET: usize = 16;
/// Bytes of the longest secret. A larger file is surely a mistake.
const MOST_SECRET: u64 = 4096;

/// How to be met by name, if the options say so.
fn by_name(args: &CommonArgs) -> Result<Option<ByName>, Failure> {
    let names = Names {
        own: args.own_name.clone(),
        peer: args.peer_name.clone(),
    };
    if names == Names::default() {
        return match args.secret_file {
            Some(_) => Err(Failure::usage(
                "--secret-file is for a meeting by name",
                "add --as NAME or --to NAME",
            )),
            None => Ok(None),
        };
    }
    if names.own == names.peer {
        return Err(Failure::usage(
            "--as and --to name the same",
            "give your own name with --as and the other's with --to",
        ));
    }
    if args.server.is_none() {
        return Err(Failure::usage(
            "to meet by name needs a server",
            "add --server HOST, or set P2PCOPY_SERVER",
        ));
    }
    let secret = args.secret_file.as_deref().map(secret).transpose()?;
    Ok(Some(ByName {
        names,
        secret: secret.unwrap_or_default(),
    }))
}

/// The content of a file without its final line end.
fn secret(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let read = |e: std::io::Error| Failure::file("read", file, &e);
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the user's, not of a transfer"
    )]
    let mut from = std::fs::File::open(file).map_err(read)?.take(MOST_SECRET + 1);
    let mut bytes = Zeroizing::new(Vec::new());
    from.read_to_end(&mut bytes).map_err(read)?;
    let len = bytes.trim_ascii_end().len();
    if len < LEAST_SECRET || bytes.len() as u64 > MOST_SECRET {
        return Err(Failure::usage(
            format!("--secret-file {}: a secret has 16 to 4096 bytes", file.display()),
            if cfg!(windows) {
                "write more characters into it that nobody can guess, and bring a copy to the other side"
            } else {
                "make one: head -c 24 /dev/urandom | base64 > FILE, and bring a copy to the other side"
            },
        ));
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// The patterns from the options and from the files.
fn exclude(patterns: &[String], files: &[PathBuf]) -> Result<Exclude, Failure> {
    let mut all = patterns.to_vec();
    for file in files {
        all.extend(patterns_of_file(file).map_err(|error| match error {
            PatternFileError::Read(error) => Failure::file("read", file, &error),
            error => Failure::usage(
                format!("--exclude-from {}: {error}", file.display()),
                "save it as UTF-8 text with one pattern a line",
            ),
        })?);
    }
    Exclude::new(&all).map_err(|error| {
        Failure::usage(
            format!("--exclude: {error}"),
            "correct it, or leave it out; p2pcopy sender --help tells what a pattern is",
        )
    })
}
