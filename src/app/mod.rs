//! One run of a sender, a receiver, a chat, a server or one of the smaller commands: from validated options
//! to an outcome.
//!
//! A run tells and asks everything through a [`Front`]; it never prints. It ends in a [`Summary`] or in a
//! [`Failure`].

mod chat;
pub(crate) mod check;
pub(crate) mod close;
pub(crate) mod command;
mod demo;
pub(crate) mod event;
pub(crate) mod linked;
mod list;
mod lookup;
pub(crate) mod machine;
pub(crate) mod offered;
pub(crate) mod options;
pub(crate) mod outcome;
mod outlet;
mod port_mapping;
pub(crate) mod receiving;
mod relaying;
mod run;
pub(crate) mod sending;
mod serve;
pub(crate) mod session;
pub(crate) mod side;
mod tcp;
pub(crate) mod told;
mod trace;
mod trial;
pub(crate) mod units;
pub(crate) mod wording;
pub(crate) mod words_gate;

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use crate::rendezvous::errand::Errand;
use crate::system::{HAS_ATTRIBUTES, lift_file_limit, names_stream, stopped};
use crate::transfer;
use crate::transfer::fs::disk::DiskLayer;
use crate::transfer::fs::layer::Layer;
use crate::transfer::fs::owner::OwnerKey;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::source::device;
pub(crate) use chat::run as chat;
pub(crate) use demo::run as demo;
use event::{Event, Front};
use options::{Common, Payload, ReceiveOptions, SendOptions};
use outcome::{About, Failure, Summary};
use receiving::{Receiving, Target};
use sending::Sending;
pub(crate) use serve::run as serve;
use session::Side;
use told::{Info, Warning};
pub(crate) use trace::draw as plot;

/// Sends what the options name to one peer.
///
/// # Errors
/// Whatever kept the peer from receiving and verifying everything.
pub(crate) async fn send(options: SendOptions, front: &mut dyn Front) -> Result<Summary, Failure> {
    let SendOptions {
        payload,
        scan,
        common,
    } = options;
    check_file_limit()?;
    tell_attributes(scan.attributes, front);
    if let Payload::Paths(paths) = &payload {
        check_here(paths.iter().map(PathBuf::as_path))?;
    }
    let (manifest, source, paths) = sending::payload::open(payload, scan, common.trace.as_deref(), front)?;
    run::run(Errand::Send, &common, false, front, |parts| {
        Sending::new(manifest, source, paths, parts.waker, parts.clock, parts.notices)
            .map(|side| Box::new(side) as Box<dyn Side>)
            .map_err(Failure::system)
    })
    .await
}

/// Receives what one peer offers.
///
/// # Errors
/// Whatever kept the files from being complete and verified.
pub(crate) async fn receive(options: ReceiveOptions, front: &mut dyn Front) -> Result<Summary, Failure> {
    check_file_limit()?;
    tell_attributes(options.attributes, front);
    let (target, common) = (options.destination, options.common);
    let mut reserved = None;
    if let Target::Directory(root, _) = &target {
        check_here([root.as_path()])?;
        if options.discard {
            return discard_parts(root, front);
        }
        // It is better to fail now than after both sides have met.
        usable(root)?;
        reserved = common.trace.as_deref().and_then(|trace| path_within(root, trace));
    }
    run::run(Errand::Receive, &common, options.yes, front, |parts| {
        let side = Receiving::new(target, parts.waker, parts.clock, parts.notices);
        let mut side = side.map_err(Failure::system)?;
        side.session.outside_links = options.outside_links;
        side.session.attributes = options.attributes;
        side.limit = common.limit.and_then(NonZeroU64::new);
        side.reserved = reserved;
        Ok(Box::new(side))
    })
    .await
}

/// Checks that the files and sockets of a transfer may all be open at once.
fn check_file_limit() -> Result<(), Failure> {
    /// Files and directories that either side holds open, and what the connection needs.
    const LEAST: u64 = 128;
    match lift_file_limit(LEAST) {
        Some(limit) if limit < LEAST => Err(Failure::other(
            format!("a transfer needs {LEAST} open files, and no more than {limit} are allowed"),
            "lift the limit that `ulimit -n` shows, and run the same command again",
        )),
        _ => Ok(()),
    }
}

/// Warns if the user wants to keep attributes and this system does not support them.
fn tell_attributes(attributes: Attributes, front: &mut dyn Front) {
    if attributes == Attributes::Keep && !HAS_ATTRIBUTES {
        front.event(Event::Warning(Warning::NoAttributesHere));
    }
}

/// Checks that there is a current directory, if a path leads from there. A removed one can still be opened, but nothing can
/// be found or made in it.
fn check_here<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    let starts_here = |path: &Path| path.is_relative() && !path.starts_with("..");
    let is_needed = paths.into_iter().any(starts_here);
    match std::env::current_dir() {
        Err(e) if is_needed && e.kind() == ErrorKind::NotFound => Err(Failure::told(
            About::File,
            "the current directory has been removed",
            "go to another directory, and run the same command again",
        )),
        _ => Ok(()),
    }
}

/// Checks that the output directory takes files, or that it can be made.
fn usable(root: &Path) -> Result<(), Failure> {
    // A file's name with a slash at its end names nothing.
    let root = root.components().as_path();
    let no_directory = |what: &str| {
        Failure::told(
            About::File,
            format!("--output {} is a {what}, and must be a directory", root.display()),
            "name the directory to put the files in; their names come from the sender",
        )
    };
    if device::is_named_by(root) {
        return Err(no_directory("device"));
    }
    if root.ancestors().any(device::is_named_by) {
        return Err(no_directory("path through a device"));
    }
    if names_stream(root) {
        return Err(no_directory("stream of a file (its name has a colon)"));
    }
    let is_missing = root
        .symlink_metadata()
        .is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory));
    let place = if is_missing {
        receiving::parent_of(root)
    } else {
        root
    };
    let cause = match place.metadata() {
        Ok(found) if found.is_dir() => None,
        Ok(_) if is_missing => Some(format!("{} is a file", place.display())),
        Ok(_) => return Err(no_directory("file")),
        Err(e) if e.kind() == ErrorKind::NotFound && !is_missing => {
            Some(format!("{} is a link to nothing", root.display()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Some(format!("there is no directory {}", place.display()))
        }
        Err(e) => return Err(Failure::file("use the directory", place, &e)),
    };
    if let Some(cause) = cause {
        return Err(Failure::usage(
            format!("--output {}: {cause}", root.display()),
            "check that the disk is there, or make the directory first; only its last part is made here",
        ));
    }
    let key = OwnerKey::load().map_err(|e| close::failure_of(e.into()))?;
    let layer = DiskLayer::new(place, key)
        .and_then(|layer| layer.check_writable().map(|()| layer))
        .map_err(|e| Failure::file("write to the directory", place, &e))?;
    if is_missing {
        return Ok(());
    }
    layer
        .open_dir(Path::new(""))
        .map_err(|e| Failure::file("read the directory", place, &e))?;
    if layer.is_append_only() {
        return Err(Failure::told(
            About::File,
            format!(
                "the directory {} is append-only: what arrives there could not get its final name",
                place.display()
            ),
            "choose another directory with --output, or remove the mark with chattr -a",
        ));
    }
    Ok(())
}

/// The path from the output directory to `file`, if `file` lies inside.
fn path_within(root: &Path, file: &Path) -> Option<PathBuf> {
    let (root, place) = (
        root.canonicalize().ok()?,
        receiving::parent_of(file).canonicalize().ok()?,
    );
    let inside = place.strip_prefix(root).ok()?;
    Some(inside.join(file.file_name()?))
}

/// Removes what unfinished transfers left in `root`.
fn discard_parts(root: &Path, front: &mut dyn Front) -> Result<Summary, Failure> {
    let key = OwnerKey::load().map_err(|e| close::failure_of(e.into()))?;
    let layer = DiskLayer::new(root, key).map_err(|e| Failure::file("open", root, &e))?;
    let removed = transfer::sink::staging::discard(&layer).map_err(|e| close::failure_of(e.into()))?;
    for leftover in &removed {
        let (path, bytes) = (root.join(&leftover.name), leftover.bytes);
        front.event(Event::Info(Info::Removed { path, bytes }));
    }
    if removed.is_empty() {
        let path = root.to_owned();
        front.event(Event::Info(Info::NothingToRemove { path }));
    }
    Ok(Summary::default())
}

/// Tells who waits at a server under a name.
///
/// # Errors
/// If the server does not answer or refuses.
pub(crate) async fn list(common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    unless_stopped(list::run(common, front)).await
}

/// Finds out what this network is and what that means for punching.
///
/// # Errors
/// If not even the local sockets could be used.
pub(crate) async fn check(common: Common, front: &mut dyn Front) -> Result<Summary, Failure> {
    unless_stopped(check::run(common, front)).await
}

/// Does `work`, unless the user stops the run before.
async fn unless_stopped<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = stopped() => Err(Failure::Interrupted),
    }
}
