//! Opens what the user wants to send.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::message;
use crate::app::close;
use crate::app::event::{Event, Front};
use crate::app::options::Payload;
use crate::app::outcome::Failure;
use crate::app::told::Warning;
use crate::app::wording;
use crate::system::standard_input;
use crate::transfer::error::Malformed;
use crate::transfer::manifest::Manifest;
use crate::transfer::names;
use crate::transfer::source::scan::ScanOptions;
use crate::transfer::source::{Source, device, scan};

/// What a sender offers, where to read it, and the paths that the summary names.
type Opened = (Arc<Manifest>, Source, Vec<PathBuf>);

/// Makes the list of what is sent. `trace`: the file that this run writes, which cannot be sent.
///
/// # Errors
/// If there is nothing to send, or it cannot be listed.
pub(in crate::app) fn open(
    payload: Payload,
    how: ScanOptions,
    trace: Option<&Path>,
    front: &mut dyn Front,
) -> Result<Opened, Failure> {
    match payload {
        Payload::Paths(paths) => {
            if let [path] = &paths[..]
                && let Some(reader) = device::open(path).map_err(|e| close::failure_of(e.into()))?
            {
                let own_name = || names::bytes_from_os(path.file_name().unwrap_or_default());
                let name = how
                    .name
                    .unwrap_or_else(|| String::from_utf8_lossy(&own_name()).into_owned());
                let source = Source::stream(path.clone(), reader);
                return Ok((stream(&name)?, source, paths));
            }
            files(&paths, &how, trace, front)
        }
        Payload::Stdin => {
            let name = how.name.unwrap_or_else(|| "stdin".into());
            let source = Source::pipe(Box::new(input()?));
            Ok((stream(&name)?, source, vec![name.into()]))
        }
        Payload::Text(text) => single_text(text),
        Payload::StdinText => single_text(message::read(input()?)?),
    }
}

/// Standard input.
fn input() -> Result<impl Read + Send + 'static, Failure> {
    standard_input().map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => Failure::usage(
            "standard input is a directory",
            "name the directory: p2pcopy sender DIR",
        ),
        _ => Failure::file("read", Path::new("standard input"), &error),
    })
}

fn files(
    paths: &[PathBuf],
    how: &ScanOptions,
    trace: Option<&Path>,
    front: &mut dyn Front,
) -> Result<Opened, Failure> {
    let scanned = scan::scan(paths, how).map_err(close::failure_of)?;
    for left_out in wording::files::left_out(&scanned) {
        front.event(Event::Warning(left_out));
    }
    if scanned.leaves_attributes {
        front.event(Event::Warning(Warning::AttributesNotSent));
    }
    if trace.is_some_and(|trace| scanned.holds(trace)) {
        return Err(Failure::usage(
            "the file of --trace is among what is to be sent",
            "name another file with --trace, or leave that one out with --exclude",
        ));
    }
    for pattern in &scanned.unused_patterns {
        let pattern = pattern.clone();
        front.event(Event::Warning(Warning::UnusedPattern { pattern }));
    }
    let paths = scanned.sent_paths();
    Ok((scanned.manifest.clone(), Source::files(scanned), paths))
}

fn stream(name: &str) -> Result<Arc<Manifest>, Failure> {
    scan::stream_manifest(name).map_err(|e| unusable(&e, "give another --name"))
}

fn single_text(text: String) -> Result<Opened, Failure> {
    let manifest =
        scan::text_manifest(&text).map_err(|e| unusable(&e, "put the text in a file and send that"))?;
    Ok((manifest, Source::text(text), Vec::new()))
}

fn unusable(error: &Malformed, next: &'static str) -> Failure {
    Failure::usage(error.to_string(), next)
}
