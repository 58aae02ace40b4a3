//! Arguments into options: everything that clap cannot see for itself is checked here, before anything runs.

use super::args::{
    CheckArgs, CommonArgs, CongestionArg, DemoArgs, PlotArgs, ReceiverArgs, RelayArg, SenderArgs,
};
use crate::app::options::{
    CheckOptions, Common, Congestion, DemoOptions, Destination, Links, PlotOptions, ReceiveOptions,
    SendOptions, Source,
};
use crate::app::outcome::Failure;
use crate::protocol::Role;
use crate::rendezvous::address::Address;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::relay::RelayUse;
use crate::system::expand;
use crate::transfer::manifest::OutsideLinks;
use crate::transfer::names::SafeName;
use crate::transfer::source::scan::{Exclude, PatternFileError, patterns_of_file};
use std::path::{Path, PathBuf};

/// What the names `-` stand for.
fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A sender's options.
pub(super) fn sender(args: SenderArgs) -> Result<SendOptions, Failure> {
    let mut paths = args.files;
    paths.extend(args.paths);
    let source = match (args.text, paths.as_slice()) {
        (Some(dash), _) if dash == "-" => Source::StdinText,
        (Some(text), _) => Source::Text(text),
        (None, []) => {
            return Err(Failure::usage(
                "nothing to send",
                "name a file: p2pcopy sender vm.img",
            ));
        }
        (None, [only]) if is_dash(only) => Source::Stdin,
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
        (None, several) => Source::Paths(expand(several.to_vec())),
    };
    if args.name.is_some() && matches!(&source, Source::Paths(paths) if paths.len() > 1) {
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
        source,
        name: args.name,
        exclude: exclude(&args.exclude, &args.exclude_from)?,
        links: if args.links { Links::Send } else { Links::Skip },
        common: common(args.common)?,
    })
}

/// A receiver's options.
pub(super) fn receiver(args: ReceiverArgs) -> Result<ReceiveOptions, Failure> {
    let destination = if is_dash(&args.output) {
        Destination::Stdout
    } else if args.output.as_os_str().is_empty() {
        return Err(Failure::usage(
            "--output is empty",
            "name a directory, or - for standard output",
        ));
    } else {
        Destination::Directory(args.output)
    };
    if destination == Destination::Stdout {
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
    if let Some(word) = args.code {
        // A stray word is no peer: better to learn now than after the servers have been asked.
        if !Code::is_meant_by(&word) {
            Address::parse_other(&word, Role::Receiver).map_err(|e| {
                Failure::usage(
                    e.to_string(),
                    "give the code or the address that the sender shows",
                )
            })?;
        }
        common.peer = Some(word);
    }
    Ok(ReceiveOptions {
        destination,
        yes: args.yes,
        overwrite: args.overwrite,
        update: args.update,
        outside_links: if args.links {
            OutsideLinks::Make
        } else {
            OutsideLinks::LeaveOut
        },
        discard: args.discard,
        common: self::common(common)?,
    })
}

/// A demo's options.
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

/// A check's options.
pub(super) fn check(args: CheckArgs) -> Result<CheckOptions, Failure> {
    Ok(CheckOptions {
        common: common(args.common)?,
    })
}

/// What to draw.
pub(super) fn plot(args: PlotArgs) -> PlotOptions {
    let picture = args.output.unwrap_or_else(|| {
        let mut name = args.trace.clone().into_os_string();
        name.push(".svg");
        name.into()
    });
    PlotOptions {
        trace: args.trace,
        picture,
        common: Common::default(),
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
    Ok(Common {
        localport: args.localport,
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
        clipboard: !args.no_clipboard,
        json: args.json,
        quiet: args.quiet,
        verbose: args.verbose,
        trace: args.trace,
    })
}

/// The patterns of the options and of the files.
fn exclude(patterns: &[String], files: &[PathBuf]) -> Result<Exclude, Failure> {
    let mut all = patterns.to_vec();
    for file in files {
        all.extend(patterns_of_file(file).map_err(|error| match error {
            PatternFileError::Read(error) => Failure::file("read", file, &error),
            error => Failure::usage(
                format!("--exclude-from {}: {error}", file.display()),
                "name a file with one pattern a line",
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
