//! What the receiver's user is asked to accept: facts about the whole list, and the lines that show them.
//!
//! Two blanks stand before text of the peer's, so that it cannot look like a line of this program.

use std::path::PathBuf;
use std::sync::Arc;

use super::event::{Consent, Question};
use super::units::Size;
use super::wording::files;
use crate::transfer::BLOCK_LEN;
use crate::transfer::manifest::offer::Offer;
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::names::Escaped;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::staging::Prospect;

/// The most changed names, links and omitted links that are shown one by one.
const SHOWN: usize = 16;

/// A list to show. Two are equal if they are the same list in memory.
#[derive(Clone, Debug)]
pub(crate) struct Listing(pub Arc<Manifest>);

impl PartialEq for Listing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Listing {}

impl Listing {
    /// Everything that can appear in the output directory, one line for each entry.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(index, entry)| {
            let path = path(&self.0, index);
            match entry.kind {
                Kind::Dir => format!("  {path}/"),
                Kind::Symlink => format!("  {path} -> {}", Escaped(entry.target)),
                Kind::HardLink(of) => format!("  {path}, the same file as {}", self::path(&self.0, of)),
                Kind::File if entry.mode & 0o111 != 0 => {
                    format!("  {path}, {}, executable", Size(entry.size))
                }
                Kind::File | Kind::Text => format!("  {path}, {}", Size(entry.size)),
                Kind::Stream => format!("  {path}, a stream"),
            }
        })
    }
}

/// The answer of the Enter key, and the only one that `--yes` may give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DefaultAnswer {
    /// Yes: the user sees everything that matters.
    Yes,
    /// No: the offer contains something that has an effect without being opened.
    No,
}

/// What is offered, and what it meets in the output directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    /// The summary of the list.
    pub offer: Offer,
    pub list: Listing,
    /// What lies in the output directory and concerns the offer.
    pub prospect: Prospect,
    /// What happens to files that exist already.
    pub conflicts: Conflicts,
    /// The output directory; `None` for a pipe.
    pub root: Option<PathBuf>,
    /// Bytes of it that an earlier transfer left here.
    pub held: Option<u64>,
}

impl Offered {
    /// The answer that Enter and `--yes` give. It is no if the list has hidden names, because such files can
    /// have an effect by themselves. Links that lead elsewhere are in the list only if the user asked for
    /// them, and an executable has no effect before somebody starts it.
    pub(crate) fn default_answer(&self) -> DefaultAnswer {
        if self.root.is_some() && self.offer.hidden().next().is_some() {
            DefaultAnswer::No
        } else {
            DefaultAnswer::Yes
        }
    }

    /// The question to the user. Comparing an existing file tells the peer which parts are equal. So the
    /// program compares only after a yes to a question that says so, or if the user asked for an update.
    pub(crate) fn question(&self) -> Question {
        let (offer, name) = (&self.offer, offer_name(&self.offer));
        let size = if offer.stream {
            "a stream of unknown length".to_owned()
        } else {
            Size(offer.bytes).to_string()
        };
        let consent = |what| Consent {
            what,
            default: self.default_answer(),
            list: (offer.entries > 1).then(|| self.list.clone()),
        };
        match self.held {
            Some(held) if offer.stream => {
                let held = Size(held);
                Question::Resume(consent(format!(
                    "{name}, comparing it with {held} of an earlier pipe of that name that broke off"
                )))
            }
            Some(held) if offer.bytes > 0 => {
                let percent = held.saturating_mul(100) / offer.bytes;
                Question::Resume(consent(format!("{name} at {percent}%")))
            }
            _ if self.prospect.came.is_some() && self.conflicts != Conflicts::Update => {
                Question::Resume(consent(format!(
                    "{name}, {size}, comparing it with what came before (the sender learns what is equal)"
                )))
            }
            _ if self.prospect.other.is_some() && self.conflicts != Conflicts::Update => {
                Question::Resume(consent(format!(
                    "{name}, {size}, comparing it with other files of these names (the sender learns what is equal)"
                )))
            }
            _ => Question::Accept(consent(format!("{name}, {size}"))),
        }
    }

    /// The names that are stored differently: as sent and as stored; and how many more there are.
    pub(crate) fn renamed(&self) -> (Vec<(String, String)>, u32) {
        let (count, changed) = self.list.0.changed();
        let shown: Vec<_> = changed
            .iter()
            .take(SHOWN)
            .map(|change| {
                (
                    Escaped(&change.sent).to_string(),
                    path(&self.list.0, change.entry),
                )
            })
            .collect();
        let more = count - shown.len() as u32;
        (shown, more)
    }

    /// The first links, and their targets.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        let list = &self.list.0;
        let link = |&i: &EntryIndex| (path(list, i), Escaped(list.entry(i).target).to_string());
        self.offer.links_shown.iter().map(link).collect()
    }

    /// The first links that are left out, with their targets, and the number of all.
    pub(crate) fn left_out(&self) -> (Vec<(String, String)>, u32) {
        let (count, left_out) = self.list.0.left_out();
        let shown = left_out.iter().take(SHOWN).map(|link| {
            let path = link.path.as_os_str().as_encoded_bytes();
            (Escaped(path).to_string(), Escaped(&link.target).to_string())
        });
        (shown.collect(), count)
    }

    /// The whole offer, in lines for the user.
    pub fn lines(&self) -> Vec<String> {
        if self.offer.is_text() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        self.tell_names(&mut lines);
        self.tell_links(&mut lines);
        let (renamed, more) = self.renamed();
        if !renamed.is_empty() {
            lines.push("Stored under other names, as these could mislead a reader or a program:".into());
            lines.extend(
                renamed
                    .iter()
                    .map(|(sent, here)| format!("  {sent} is stored as {here}")),
            );
            tell_more(&mut lines, more, "names");
        }
        if self.list.0.times_changed() > 0 {
            let count = self.list.0.times_changed();
            lines.push(format!(
                "{count} with a time that disks do not hold: stored with the nearest"
            ));
        }
        let without = self.list.0.attributes_left_out();
        if self.root.is_some() && without > 0 {
            lines.push(format!(
                "{without} with extended attributes or access control lists, which are left out (--xattrs keeps them)"
            ));
        }
        if self.root.is_some() {
            if let Some(root) = &self.prospect.creates {
                lines.push(format!("the directory {} will be created", root.display()));
            }
            tell_found(&self.prospect, &mut lines);
        }
        for taken in &self.prospect.taken {
            let fate = match self.conflicts {
                Conflicts::Overwrite | Conflicts::Update if taken.is_other_kind => {
                    "what is sent gets another name, as a directory and something else never replace each other"
                }
                Conflicts::Overwrite => "it is replaced",
                Conflicts::Update => "it is replaced if it differs",
                Conflicts::Rename if self.prospect.came.is_some() => {
                    "what came of it before, and is as it was then, stays or is renewed, and the rest is added"
                }
                Conflicts::Rename => {
                    "the new one gets another name (--overwrite replaces it, --update sends only what differs)"
                }
            };
            lines.push(format!("  {} exists here already; {fate}", taken.name.display()));
        }
        if let (Some(free), Some(root)) = (self.prospect.room.bytes, &self.root) {
            lines.push(format!("{} free in {}", Size(free), files::place(root).display()));
        }
        lines
    }

    fn tell_names(&self, lines: &mut Vec<String>) {
        let offer = &self.offer;
        if offer.entries > 1 {
            let (files, dirs, links) = (offer.files, offer.directories, offer.links);
            let counts = [
                (files, "file", "files"),
                (dirs, "directory", "directories"),
                (links, "link", "links"),
            ];
            let counts = counts.iter().filter(|(n, ..)| *n > 0);
            let counts: Vec<_> = counts
                .map(|(n, one, many)| format!("{n} {}", if *n == 1 { one } else { many }))
                .collect();
            lines.push(format!(
                "{}: {}, about {} on this disk",
                counts.join(", "),
                Size(offer.bytes),
                Size(offer.on_disk)
            ));
        }
        for top in &offer.top {
            let hidden = if top.hidden { ", hidden" } else { "" };
            let executable = if top.executable { ", executable" } else { "" };
            let slash = if top.kind == Kind::Dir { "/" } else { "" };
            if offer.entries > 1 || top.hidden || top.executable {
                let (name, size) = (top.name.display(), Size(top.size));
                lines.push(format!("  {name}{slash}, {size}{hidden}{executable}"));
            }
        }
        tell_more(lines, offer.unlisted(), "at the top");
        if offer.hidden().next().is_some() {
            lines.push(
                "Hidden names can change what programs here do: take them only if you expect them".into(),
            );
        }
        let below = [
            (offer.hidden_below, "hidden"),
            (offer.executables_below, "executable"),
        ];
        for (count, what) in below.into_iter().filter(|(count, _)| *count > 0) {
            lines.push(format!("{count} {what} further down"));
        }
        let listed = offer.top.iter().filter(|top| top.executable).count() as u32;
        if offer.executables_top > listed {
            let more = offer.executables_top - listed;
            lines.push(format!("{more} more executable at the top"));
        }
    }

    fn tell_links(&self, lines: &mut Vec<String>) {
        let links = self.links();
        lines.extend(
            links
                .iter()
                .map(|(path, target)| format!("  link {path} -> {target}")),
        );
        tell_more(lines, self.offer.links - links.len() as u32, "links");
        let (left_out, count) = self.left_out();
        if count > 0 {
            lines.push("Links that lead out of what is sent are left out (--links makes them):".into());
            lines.extend(
                left_out
                    .iter()
                    .map(|(path, target)| format!("  {path} -> {target}")),
            );
            tell_more(lines, count - left_out.len() as u32, "links");
        }
    }
}

fn offer_name(offer: &Offer) -> String {
    let first = offer
        .top
        .first()
        .map(|t| t.name.display().to_string())
        .unwrap_or_default();
    match offer.top_count {
        0 | 1 => first,
        n => format!("{first} and {} more", n - 1),
    }
}

/// Tells what earlier transfers left, and what happens to it.
fn tell_found(prospect: &Prospect, lines: &mut Vec<String>) {
    for complete in &prospect.complete {
        let fate = match complete.conflicts {
            Conflicts::Rename => "and is put in place first, under another name where there is one already",
            Conflicts::Overwrite | Conflicts::Update => {
                "and is put in place first; it replaces what is there, as was wanted then"
            }
        };
        for name in complete.names.iter().take(SHOWN) {
            let name = Escaped(name.as_os_str().as_encoded_bytes());
            lines.push(format!("  an earlier transfer of {name} is complete {fate}"));
        }
        let more = complete.names.len().saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("  and {more} more of it"));
        }
    }
    if let Some((dir, blocks)) = &prospect.other {
        lines.push(format!(
            "  {} keeps {} of an interrupted transfer of another list; it stays there, and what is equal is taken from it \
             (--discard removes it)",
            dir.display(),
            Size(u64::from(*blocks) * BLOCK_LEN as u64)
        ));
    }
    if let Some(busy) = &prospect.busy {
        lines.push(format!(
            "  {} ({}) is being received by another run, and is left to it",
            busy.name.display(),
            Size(busy.bytes)
        ));
    }
    if prospect.kept.is_none()
        && let Some(dir) = prospect.strangers.first()
    {
        lines.push(format!(
            "  {} was not made by this program here, or others may change it: it is left alone",
            dir.display()
        ));
    }
    if !prospect.resumable {
        lines.push(
            "this transfer cannot be resumed if it is interrupted: there is no directory for p2pcopy's key (HOME is not set)"
                .to_owned(),
        );
    }
}

fn tell_more(lines: &mut Vec<String>, count: u32, what: &str) {
    if count > 0 {
        lines.push(format!("  and {count} more {what}"));
    }
}

/// A path of the list, made safe to show.
fn path(list: &Manifest, index: EntryIndex) -> String {
    Escaped(list.path(index).as_os_str().as_encoded_bytes()).to_string()
}
