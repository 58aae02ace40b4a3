//! Arguments into options: everything that clap cannot see for itself is checked here, before anything runs.

use super::args::{CheckArgs, CommonArgs, CongestionArg, DemoArgs, PlotArgs, ReceiverArgs, SenderArgs};
use crate::app::options::{
    CheckOptions, Common, Congestion, DemoOptions, Destination, Links, PlotOptions, ReceiveOptions,
    SendOptions, Source,
};
use crate::app::outcome::Failure;
use crate::system::expand;
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::path::Path;

/// What the names `-` stand for.
fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A sender's options.
pub(super) fn sender(args: SenderArgs) -> Result<SendOptions, Failure> {
    let mut paths = args.files;
    paths.extend(args.paths);
    let source = match (args.text, paths.as_slice()) {
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
            "--name fits only one file or a pipe",
            "leave --name out, or send the files one by one",
        ));
    }
    Ok(SendOptions {
        source,
        name: args.name,
        exclude: globs(&args.exclude)?,
        links: if args.links { Links::Send } else { Links::Skip },
        common: common(args.common),
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
    Ok(ReceiveOptions {
        destination,
        yes: args.yes,
        overwrite: args.overwrite,
        update: args.update,
        discard: args.discard,
        common: common(args.common),
    })
}

/// A demo's options.
pub(super) fn demo(args: DemoArgs) -> DemoOptions {
    DemoOptions {
        file: args.file,
        common: common(args.common),
    }
}

/// A check's options.
pub(super) fn check(args: CheckArgs) -> CheckOptions {
    CheckOptions {
        common: common(args.common),
    }
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

fn common(args: CommonArgs) -> Common {
    Common {
        localport: args.localport,
        offload: !args.no_offload,
        peer: args.peer,
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
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let wrong = |error: globset::Error| {
        Failure::usage(
            format!("--exclude: {error}"),
            "write a pattern such as '*.tmp' or 'cache/**'",
        )
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(wrong)?);
    }
    set.build().map_err(wrong)
}
