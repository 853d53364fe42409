//! How many names of a vault are gone together, over all who read it.
//!
//! A vault that loses many names at once was restored, pointed elsewhere or cleaned up by mistake more often than all of them
//! are meant to go. That many are gone shows only bit by bit: so a loss counts as one of few only once so many others were
//! read since, and are there, that the rest cannot make it one of many.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Host;
use crate::vault::{
    answer::Losses,
    connection::{Connection, ObjectKind, Source},
    names::ObjectName,
    plane::{entry::Presence, handle::Handle},
};

/// A handle that fails for so long says nothing of what is there.
const SILENT: Duration = Duration::from_secs(60 * 60);

/// How many names stand how.
#[derive(Clone, Copy, Debug, Default)]
struct Census {
    unread: usize,
    there: usize,
    gone: usize,
}

impl Census {
    const fn losses(self) -> Losses {
        let used = self.unread + self.there + self.gone;
        if Losses::are_many(self.gone, used) {
            Losses::Many
        } else if Losses::are_many(self.gone + self.unread, used) {
            Losses::Undecided
        } else {
            Losses::Few
        }
    }
}

impl Host {
    /// Whether these sources of a connection, which are gone, went with many names of the vault.
    pub(in crate::vault::plane) fn losses(
        &self,
        connection: &Connection,
        sources: &[&Source],
        now: Instant,
    ) -> Losses {
        let Some(own) = self.known_handle(connection) else { return Losses::Undecided };
        if own.entries.values().any(|entry| entry.is_held()) {
            return Losses::Many;
        }
        let gone_since = |source: &&Source| own.entries.get(*source)?.gone_since();
        let gone: Option<Vec<Instant>> = sources.iter().map(gone_since).collect();
        // What is there again is asked for again.
        let (Some(since), None) = (gone.and_then(|gone| gone.into_iter().max()), own.gate.outage()) else {
            return Losses::Undecided;
        };
        self.census(own, since, now).losses()
    }

    fn census(&self, own: &Handle, since: Instant, now: Instant) -> Census {
        let speaks = |handle: &&Handle| {
            let outage = handle.gate.outage();
            std::ptr::eq(*handle, own)
                || outage.is_none_or(|outage| now.saturating_duration_since(outage.since) < SILENT)
        };
        let entries =
            || self.handles.values().filter(speaks).flat_map(|handle: &Handle| handle.entries.iter());
        // As long as it may take to find out what is gone.
        let used = entries().filter(|(_, entry)| entry.was_there());
        let span = used.filter_map(|(_, entry)| entry.interval()).max().unwrap_or_default();
        let mut names: HashMap<(ObjectKind, &ObjectName), Presence> = HashMap::new();
        for (source, entry) in entries() {
            if let Some(presence) = entry.presence(since, span) {
                // Of several who read one name any may know more.
                let known = names.entry((source.kind, &source.name)).or_insert(presence);
                *known = presence.max(*known);
            }
        }
        let mut census = Census::default();
        for presence in names.into_values() {
            *match presence {
                Presence::Unread => &mut census.unread,
                Presence::There => &mut census.there,
                Presence::Gone => &mut census.gone,
            } += 1;
        }
        census
    }
}
