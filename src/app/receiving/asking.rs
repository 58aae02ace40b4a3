//! What happens before the user is asked: is there enough room, and what must the user know?

use std::sync::Arc;

use super::{Receiving, Target};
use crate::app::command::Notice;
use crate::app::offered::{Listing, Offered};
use crate::transfer::BLOCK_LEN;
use crate::transfer::error::LocalError;
use crate::transfer::sink::came::Came;
use crate::transfer::sink::disk_room::{check, check_sizes};
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::staging::{OWN_NODES, Prospect};

impl Receiving {
    /// Drops the note of an earlier transfer if it has no file of this list.
    pub(super) fn of_this_list(&self, mut prospect: Prospect) -> Prospect {
        let list = self.session.offered().map(|(_, list)| list);
        let is_added_to = |came: &Came| list.is_some_and(|list| came.of(list).is_some());
        prospect.came = prospect.came.filter(is_added_to);
        prospect
    }

    /// Fails if nothing of the offer is here and the disk has no room for it: then there is no point in
    /// asking.
    pub(super) fn check_space(&self, prospect: &Prospect) -> Result<(), LocalError> {
        let (Some((offer, list)), Target::Directory(root, conflicts)) =
            (self.session.offered(), &self.target)
        else {
            return Ok(());
        };
        check_sizes(list, &prospect.room, root)?;
        // An existing file may already hold all of it. So only an offer that is new for certain is refused
        // without asking.
        let compared =
            *conflicts == Conflicts::Update && (!prospect.taken.is_empty() || offer.unlisted() > 0);
        let is_added = prospect.came.is_some();
        if prospect.kept.is_some() || compared || is_added || offer.stream || offer.is_text() {
            return Ok(());
        }
        let (bytes, nodes) = (offer.on_disk, u64::from(offer.entries) + OWN_NODES);
        check(&prospect.room, root, bytes, nodes, &prospect.leftovers)
    }

    /// Tells the user's thread what is offered.
    pub(super) fn ask(&mut self, prospect: Prospect) {
        let Some((offer, list)) = self.session.offered() else {
            return;
        };
        let held = prospect.kept.filter(|k| k.blocks > 0).map(|k| {
            let most = if offer.stream { u64::MAX } else { offer.bytes };
            most.min(u64::from(k.blocks) * BLOCK_LEN as u64)
        });
        let (root, conflicts) = match &self.target {
            Target::Directory(root, conflicts) => (Some(root.clone()), *conflicts),
            Target::Stdout => (None, Conflicts::Rename),
        };
        let _ = self.notices.send(Notice::Offered(Box::new(Offered {
            offer: offer.clone(),
            list: Listing(Arc::clone(list)),
            prospect,
            conflicts,
            root,
            held,
        })));
    }
}
