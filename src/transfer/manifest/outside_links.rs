//! Links that lead outside of what is sent.
//!
//! A program that follows such a link later would read or write files that the user never agreed to. A
//! receiver leaves such links out unless its user decides otherwise. The target is resolved in the list only,
//! component by component. The disk is not asked, because it may change.

use std::path::PathBuf;

use crate::transfer::manifest::{EntryIndex, Kind, MAX_CHANGED, Manifest, NO_PARENT};

/// What to do with links that lead outside of what is sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum OutsideLinks {
    /// Do not make them.
    #[default]
    LeaveOut,
    /// Make them like other links (`receiver --links`).
    Make,
}

/// A link that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LeftOut {
    /// The path that it would have had.
    pub path: PathBuf,
    /// Its target as sent. Show it with [`crate::transfer::names::Escaped`].
    pub target: Box<[u8]>,
}

/// Most components that are looked up for all links of a list. They take some seconds at worst; a real tree
/// of 100,000 links needs about a million. Links beyond this limit are left out.
const MAX_LOOKUPS: u32 = 1 << 22;

impl Manifest {
    /// How many links lead outside and were left out, and the first [`MAX_CHANGED`] of them.
    pub(crate) fn left_out(&self) -> (u32, &[LeftOut]) {
        (self.left_out_numbers.len() as u32, &self.left_out)
    }

    /// Removes the links that lead outside from the list.
    #[must_use]
    pub(crate) fn without_outside_links(mut self) -> Manifest {
        if self.slots.iter().all(|slot| slot.kind != Kind::Symlink) {
            return self;
        }
        let mut places = Places::new(&self);
        let outside: Vec<bool> = (0..self.len())
            .map(|i| self.slots[i as usize].kind == Kind::Symlink && !places.is_inside(EntryIndex(i)))
            .collect();
        let numbers = outside.iter().zip(0..).filter(|(gone, _)| **gone);
        self.left_out_numbers = numbers.map(|(_, number)| number).collect();
        let told = self.left_out_numbers.iter().take(MAX_CHANGED);
        self.left_out = told
            .map(|&number| LeftOut {
                path: self.path(EntryIndex(number)),
                target: self.entry(EntryIndex(number)).target.into(),
            })
            .collect();
        self.take_out(&outside);
        self
    }

    /// The number of entries that the sender sent.
    pub(crate) fn sent_len(&self) -> u32 {
        self.len() + self.left_out_numbers.len() as u32
    }

    /// The entry that was sent as number `sent`. `None` for a link that was left out.
    pub(crate) fn entry_sent_as(&self, sent: u32) -> Option<EntryIndex> {
        match self.left_out_numbers.binary_search(&sent) {
            Ok(_) => None,
            Err(before) => Some(EntryIndex(sent - before as u32)),
        }
    }

    /// Removes entries. None of them is a parent, so only the numbers of other entries change.
    fn take_out(&mut self, outside: &[bool]) {
        let mut kept = 0;
        let number: Vec<u32> = outside
            .iter()
            .map(|outside| {
                let own = kept;
                kept += u32::from(!outside);
                own
            })
            .collect();
        let mut at = 0..;
        self.slots.retain(|_| !outside[at.next().unwrap_or(0)]);
        for slot in self.slots.iter_mut().filter(|slot| slot.parent != NO_PARENT) {
            slot.parent = number[slot.parent as usize];
        }
        for slot in &mut self.slots {
            if let Kind::HardLink(of) = &mut slot.kind {
                of.0 = number[of.0 as usize];
            }
        }
        self.index_hard_links();
        self.changed.retain(|change| !outside[change.entry.0 as usize]);
        for change in &mut self.changed {
            change.entry = EntryIndex(number[change.entry.0 as usize]);
        }
    }
}

/// Finds entries by their names.
struct Places<'a> {
    manifest: &'a Manifest,
    /// All entries, sorted by directory and name.
    order: Vec<u32>,
    lookups: u32,
}

/// The place that a path has reached so far.
enum At {
    /// A directory of the list; `None` is the output directory.
    Listed(Option<EntryIndex>),
    /// Below a directory of the list, through names that are not in the list.
    Unlisted,
}

impl<'a> Places<'a> {
    fn new(manifest: &'a Manifest) -> Places<'a> {
        let mut order: Vec<u32> = (0..manifest.len()).collect();
        order.sort_unstable_by_key(|&i| key(manifest, i));
        Places {
            manifest,
            order,
            lookups: 0,
        }
    }

    fn find(&mut self, parent: Option<EntryIndex>, name: &[u8]) -> Option<EntryIndex> {
        self.lookups += 1;
        let parent = parent.map_or(NO_PARENT, |p| p.0);
        let at = self
            .order
            .binary_search_by_key(&(parent, name), |&i| key(self.manifest, i));
        at.ok().map(|at| EntryIndex(self.order[at]))
    }

    /// Whether link `index` leads to something below the output directory that is sent with it. False for a
    /// path that climbs out, begins at a root, goes through another link, or goes up again from a place that
    /// the list does not know.
    fn is_inside(&mut self, index: EntryIndex) -> bool {
        let link = self.manifest.entry(index);
        let is_drive = matches!(link.target, [letter, b':', ..] if letter.is_ascii_alphabetic());
        if link.target.starts_with(b"/") || link.target.contains(&b'\\') || is_drive {
            return false;
        }
        let parts = link.target.split(|&b| b == b'/');
        let mut parts = parts.filter(|part| !part.is_empty() && *part != b".").peekable();
        let mut at = At::Listed(link.parent);
        while let Some(part) = parts.next() {
            if self.lookups >= MAX_LOOKUPS {
                return false;
            }
            at = match (at, part) {
                (At::Listed(Some(dir)), b"..") => At::Listed(self.manifest.entry(dir).parent),
                (At::Listed(None) | At::Unlisted, b"..") => return false,
                (At::Unlisted, _) => At::Unlisted,
                (At::Listed(dir), name) => match self.find(dir, name) {
                    Some(found) => match self.manifest.entry(found).kind {
                        Kind::Dir => At::Listed(Some(found)),
                        Kind::Symlink if parts.peek().is_some() => return false,
                        _ => At::Unlisted,
                    },
                    // In the output directory such a name belongs to somebody else.
                    None if dir.is_none() => return false,
                    None => At::Unlisted,
                },
            };
        }
        !matches!(at, At::Listed(None))
    }
}

fn key(manifest: &Manifest, i: u32) -> (u32, &[u8]) {
    (
        manifest.slots[i as usize].parent,
        manifest.entry(EntryIndex(i)).name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::manifest::{Entry, ManifestBuilder, Trust};

    /// A tree with a link to `target` at `tree/sub/link`, a directory beside it, a file and a second link.
    fn with_link(target: &[u8]) -> Manifest {
        let mut builder = ManifestBuilder::new(Trust::Peer);
        let mut add = |kind, parent, name, target| {
            let entry = Entry {
                kind,
                parent,
                name,
                size: 0,
                mtime: 0,
                mode: 0o755,
                target,
            };
            builder.add(entry).unwrap()
        };
        let tree = add(Kind::Dir, None, b"tree", b"");
        let sub = add(Kind::Dir, Some(tree), b"sub", b"");
        add(Kind::Symlink, Some(sub), b"link", target);
        let late = add(Kind::Dir, Some(tree), b"late", b"");
        add(Kind::File, Some(late), b"file", b"");
        add(Kind::Symlink, Some(tree), b"other", b"sub");
        add(Kind::File, None, b"beside", b"");
        builder.finish().unwrap().without_outside_links()
    }

    #[test]
    fn links_inside_the_tree_stay() {
        for target in [
            "../late/file",
            "../late/../sub",
            "./x",
            "new/name",
            "../../beside",
            "../../tree/late/file/",
            "../other",
            "..",
            "a...b/c",
            "...",
        ] {
            assert_eq!(with_link(target.as_bytes()).left_out().0, 0, "{target}");
        }
    }

    #[test]
    fn links_out_of_the_tree_are_left_out() {
        for target in [
            "/etc/passwd",
            "//server/share",
            "../../..",
            "../..",
            "../../../etc/passwd",
            "../../.ssh/id_ed25519",
            "../late/../../../x",
            "../other/x",
            "../other/..",
            "new/../../../x",
            "new/..",
            "..\\..\\x",
            "C:x",
            "c:/x",
            "./../../..//x",
        ] {
            assert_eq!(with_link(target.as_bytes()).left_out().0, 1, "{target}");
        }
    }

    #[test]
    fn what_stays_keeps_its_place() {
        let m = with_link(b"/etc/passwd");
        let paths: Vec<_> = m.iter().map(|(i, _)| m.path(i)).collect();
        let expected = [
            "tree",
            "tree/sub",
            "tree/late",
            "tree/late/file",
            "tree/other",
            "beside",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
        let (count, left_out) = m.left_out();
        assert_eq!((count, &*left_out[0].target), (1, &b"/etc/passwd"[..]));
        assert_eq!(left_out[0].path, PathBuf::from("tree/sub/link"));
    }
}
