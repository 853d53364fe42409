//! What an object reads, through what, and what of it its namespace may read.

use super::Context;
use super::connections::{ConnectionsOf, Usable, connections_of};
use crate::api::{VaultSecretSync, fnv1a};
use crate::object_key::ObjectKey;
use crate::plan::{self, Connected, FoundBefore, FoundNames, Permit, Problem, Sources, UsedSource};
use crate::vault::{Find, Found, ObjectName, Sought};
use std::time::Duration;

/// How many objects become stale in a second when a vault stays silent, so that their status writes do not come at
/// once.
const STALE_PER_SECOND: usize = 20;

/// See the module.
pub(super) struct Reads {
    pub(super) found: ConnectionsOf,
    pub(super) sources: Result<Sources, Problem>,
    /// As what each source may be read.
    pub(super) permits: Vec<Permit>,
}

/// What one connection is searched for.
struct NameSearch<'a> {
    usable: &'a Usable,
    interval: Duration,
    finds: Vec<Find>,
    before: FoundBefore,
    known: Vec<ObjectName>,
    /// Whether the namespace may find anything; else no list is asked for.
    asks: bool,
}

impl Reads {
    /// Finds out what an object reads: its connections, what it finds there by name, and what it may read of it all.
    pub(super) fn gather(context: &Context, key: &ObjectKey, object: &VaultSecretSync) -> Self {
        let found = connections_of(context, object);
        let mut reads = Self { found, sources: Ok(Sources::default()), permits: Vec::new() };
        let searches = reads.searches(context, object);
        let sources = plan::sources(&object.spec, &find(context, key, object, &searches));
        let permits = if let Ok(sources) = &sources {
            reads.permits(object, sources)
        } else {
            // Where too many are found, what was read before is read until there are fewer.
            let before = |search: &NameSearch<'_>| FoundNames::of(Found::Pending, &search.before, |_| true);
            let before: Vec<FoundNames> = searches.iter().map(before).collect();
            match plan::sources(&object.spec, &before) {
                Ok(sources) => reads.permits(object, &sources),
                // What was read is not known: nothing is read any more.
                Err(_) => Err(Vec::new()),
            }
        };
        drop(searches);
        reads.sources = sources;
        match permits {
            Ok(permits) => reads.permits = permits,
            Err(problems) => reads.found = ConnectionsOf::Unusable(problems),
        }
        reads
    }

    /// The connections, where all of them can be used.
    pub(super) fn usable(&self) -> &[Usable] {
        match &self.found {
            ConnectionsOf::Usable(usable) => usable,
            ConnectionsOf::Unknown | ConnectionsOf::Unusable(_) => &[],
        }
    }

    /// The same as a round sees them; `users`: how many each has.
    pub(super) fn connected(
        &self,
        context: &Context,
        object: &VaultSecretSync,
        users: &[usize],
    ) -> Vec<Connected<'_>> {
        let users = users.iter().copied().chain(std::iter::repeat(0));
        let connected = self.usable().iter().zip(users).map(|(usable, users)| {
            let interval = interval(context, object, usable);
            let stale_after = stale_after(context, object, interval, users);
            Connected {
                vault: &usable.vault,
                url: usable.connection.url.as_str(),
                interval,
                stale_after,
                removals_confirmed: usable.described.removals.until(),
            }
        });
        connected.collect()
    }

    /// As what each source may be read, each by its own connection.
    fn permits(&self, object: &VaultSecretSync, sources: &Sources) -> Result<Vec<Permit>, Vec<Problem>> {
        let mut permits = vec![Permit::default(); sources.used.len()];
        let mut problems = Vec::new();
        for (place, usable) in self.usable().iter().enumerate() {
            let of_vault = || sources.used.iter().enumerate().filter(|(_, used)| used.vault == place);
            let used: Vec<&UsedSource> = of_vault().map(|(_, used)| used).collect();
            match usable.permits(object, &used) {
                Ok(permitted) => {
                    for ((index, _), permitted) in of_vault().zip(permitted) {
                        if let Some(permit) = permits.get_mut(index) {
                            *permit = permitted;
                        }
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(permits) } else { Err(problems) }
    }

    /// What each of the connections is searched for.
    fn searches(&self, context: &Context, object: &VaultSecretSync) -> Vec<NameSearch<'_>> {
        let connections = self.connected(context, object, &[]);
        let each = self.usable().iter().zip(&connections).enumerate();
        let searches = each.map(|(place, (usable, connected))| {
            let finds = plan::finds(&object.spec, &usable.vault);
            let before = plan::found_before(object, &finds, (&connections, place));
            let asks = !finds.is_empty() && usable.reads_secrets(object) && !object.spec.suspend;
            NameSearch {
                usable,
                interval: connected.interval,
                known: before.names.concat(),
                finds,
                before,
                asks,
            }
        });
        searches.collect()
    }
}

/// What the object finds by name through each of its connections, as far as its namespace may read it.
fn find(
    context: &Context,
    key: &ObjectKey,
    object: &VaultSecretSync,
    searches: &[NameSearch<'_>],
) -> Vec<FoundNames> {
    let sought = searches.iter().filter(|search| search.asks).map(|search| Sought {
        connection: &search.usable.connection,
        terms: search.usable.terms,
        finds: &search.finds,
        interval: search.interval,
        known: &search.known,
    });
    let mut found = context.plane.find(key, &sought.collect::<Vec<_>>()).into_iter();
    let names = searches.iter().map(|search| {
        let nothing = || Found::Names {
            names: vec![Vec::new(); search.finds.len()].into(),
            absent: search.known.clone(),
            failed: None,
        };
        let found = if search.asks { found.next() } else { None };
        FoundNames::of(found.unwrap_or_else(nothing), &search.before, search.usable.names(object))
    });
    names.collect()
}

/// How often this object's sources of a connection are read.
fn interval(context: &Context, object: &VaultSecretSync, usable: &Usable) -> Duration {
    let floor = usable.described.spec.min_refresh_interval.as_str();
    plan::interval(object, floor, context.settings.min_refresh_interval)
}

/// How long this object's values may go unconfirmed, with its place in a queue of the connection's other users.
fn stale_after(context: &Context, object: &VaultSecretSync, interval: Duration, users: usize) -> Duration {
    let base = plan::stale_after(context.settings.stale_after, interval);
    let queue = u64::try_from(users / STALE_PER_SECOND).unwrap_or_default();
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    base + Duration::from_secs(fnv1a(uid.as_bytes()) % (queue + 1))
}
