//! Who looks for secrets by name and tag, and what the list shows them.
//!
//! A list that somebody looks into is kept from one sweep to the next. It is whole or it is none: pages of a sweep that did
//! not come to its end are nobody's answer.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Find, Found, Sought},
    connection::Connection,
    names::ObjectName,
    plane::{detect::Why, host::Host, lanes::HandleId},
    rest::list::Tags,
};

/// So many names are looked for, and one more: an object has no more sources.
const MOST_FOUND: usize = 257;

/// A sweep that is made because somebody waits for it begins no sooner after the last one.
pub(super) const SOONEST: Duration = Duration::from_secs(30);

/// One secret of the list.
#[derive(Debug, Eq, PartialEq)]
struct NamedSecret {
    name: ObjectName,
    tags: Option<Tags>,
}

/// The secrets of a vault that back no certificate, by their lower-cased names.
#[derive(Debug, Default, Eq, PartialEq)]
struct NameList {
    names: BTreeMap<String, NamedSecret>,
    /// The names of the tags that were kept: those that somebody looks for.
    tags: BTreeSet<String>,
}

/// One user that looks for names.
#[derive(Debug)]
struct Finder {
    finds: Arc<[Find]>,
    interval: Duration,
    /// What it was told last.
    told: ToldNames,
    /// It was told that the list cannot be read.
    failing: bool,
}

/// What a finder was told.
#[derive(Clone, Debug, Eq, PartialEq)]
enum ToldNames {
    /// To wait.
    Nothing,
    /// The names for each of its finds.
    These(Arc<[Vec<ObjectName>]>),
    /// That there is no list.
    Failed(Why),
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::vault::plane) struct Finders {
    users: HashMap<ObjectKey, Finder>,
    complete: Option<NameList>,
    /// Of the sweep under way.
    gathering: NameList,
    /// Why the list cannot be read any more.
    failed: Option<Why>,
}

impl Finders {
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The smallest interval at which somebody wants to see the list.
    pub(in crate::vault::plane) fn interval(&self) -> Option<Duration> {
        self.users.values().map(|finder| finder.interval).min()
    }

    /// Whether somebody waits for a list.
    pub(super) fn is_awaited(&self) -> bool {
        self.users.values().any(|finder| finder.told == ToldNames::Nothing)
    }

    /// Whether `user` waits for a list.
    pub(in crate::vault::plane) fn keeps_waiting(&self, user: &ObjectKey) -> bool {
        self.users.get(user).is_some_and(|finder| finder.told == ToldNames::Nothing)
    }

    /// The list stays until the next look at the handle: whoever comes and goes makes no sweep.
    pub(in crate::vault::plane) fn forget(&mut self, user: &ObjectKey) {
        self.users.remove(user);
    }

    /// Drops a list that nobody looks into.
    pub(super) fn tidy(&mut self) {
        if self.users.is_empty() {
            (self.complete, self.gathering) = (None, NameList::default());
        }
    }

    /// A sweep begins.
    pub(super) fn begin(&mut self) {
        let finds = self.users.values().flat_map(|finder| &*finder.finds);
        let tags = finds.flat_map(|find| find.tags.keys().cloned()).collect();
        self.gathering = NameList { names: BTreeMap::new(), tags };
    }

    /// A page of it shows a secret.
    pub(super) fn see(&mut self, name: &ObjectName, managed: bool, tags: Option<Tags>) {
        if self.is_empty() || managed {
            return;
        }
        let wanted = &self.gathering.tags;
        let tags = tags.map(|mut tags| {
            tags.retain(|tag, _| wanted.contains(tag));
            tags
        });
        let tags = tags.filter(|tags| !tags.is_empty());
        self.gathering.names.insert(name.folded(), NamedSecret { name: name.clone(), tags });
    }

    /// The sweep came to its end. Returns those for whom that is news.
    pub(super) fn end(&mut self) -> Vec<ObjectKey> {
        if self.is_empty() {
            return Vec::new();
        }
        let new = std::mem::take(&mut self.gathering);
        let same = self.failed.take().is_none() && self.complete.as_ref() == Some(&new);
        self.complete = Some(new);
        let index = self.complete.as_ref();
        let mut known: HashMap<Arc<[Find]>, ToldNames> = HashMap::new();
        let news = self.users.iter_mut().filter_map(|(user, finder)| {
            if same && matches!(finder.told, ToldNames::These(_)) {
                return None;
            }
            let found = known
                .entry(Arc::clone(&finder.finds))
                .or_insert_with(|| index.map_or(ToldNames::Nothing, |index| index.find(&finder.finds)));
            let news = finder.told != *found || finder.failing;
            finder.told.clone_from(found);
            finder.failing = false;
            news.then(|| user.clone())
        });
        news.collect()
    }

    /// There is no list, for a while.
    pub(super) fn fail(&mut self, why: &Why) -> Vec<ObjectKey> {
        let same = self.failed.replace(why.clone()).as_ref() == Some(why);
        let told = self.users.iter_mut().filter_map(|(user, finder)| {
            let news = !(same && finder.failing);
            finder.failing = true;
            // What an earlier list showed stands.
            if !matches!(finder.told, ToldNames::These(_)) {
                finder.told = ToldNames::Failed(why.clone());
            }
            news.then(|| user.clone())
        });
        told.collect()
    }

    fn ask(&mut self, user: &ObjectKey, sought: Sought<'_>) -> Found {
        let Sought { finds, interval, known, .. } = sought;
        let index = self.complete.as_ref();
        let finder = self.users.entry(user.clone()).or_insert_with(|| Finder {
            finds: finds.into(),
            interval,
            told: ToldNames::Nothing,
            failing: false,
        });
        finder.interval = interval;
        if *finder.finds != *finds {
            (finder.finds, finder.told) = (finds.into(), ToldNames::Nothing);
        }
        if finder.told == ToldNames::Nothing {
            finder.told = index.map_or(ToldNames::Nothing, |index| index.find(finds));
        }
        finder.failing = self.failed.is_some();
        if let Some(why) = self.failed.as_ref().filter(|_| finder.told == ToldNames::Nothing) {
            finder.told = ToldNames::Failed(why.clone());
        }
        match &finder.told {
            ToldNames::Nothing => Found::Pending,
            ToldNames::Failed(why) => Found::Failed(why.clone()),
            ToldNames::These(names) => {
                let is_listed =
                    |name: &&ObjectName| index.is_some_and(|index| index.names.contains_key(&name.folded()));
                let absent = known.iter().filter(|name| !is_listed(name)).cloned().collect();
                Found::Names { names: Arc::clone(names), absent, failed: self.failed.clone() }
            }
        }
    }
}

impl NameList {
    /// The names for each of these, if the tags that are asked for were kept.
    fn find(&self, finds: &[Find]) -> ToldNames {
        let names = finds.iter().map(|find| self.names_for(find)).collect::<Option<Vec<_>>>();
        names.map_or(ToldNames::Nothing, |names| ToldNames::These(names.into()))
    }

    fn names_for(&self, find: &Find) -> Option<Vec<ObjectName>> {
        if !find.tags.keys().all(|tag| self.tags.contains(tag)) {
            return None;
        }
        let has = |tags: &Option<Tags>, (name, value): (&String, &String)| {
            tags.as_ref().and_then(|tags| tags.get(name)) == Some(value)
        };
        let prefix = find.name.prefix();
        // Names are sorted: those that begin so stand together.
        let begun =
            self.names.range(prefix.to_owned()..).take_while(|(folded, _)| folded.starts_with(prefix));
        let fitting = begun.filter(|(folded, named)| {
            find.name.fits(folded) && find.tags.iter().all(|tag| has(&named.tags, tag))
        });
        Some(fitting.take(MOST_FOUND).map(|(_, named)| named.name.clone()).collect())
    }
}

/// What is found of all that one user looks for, each connection asked once, by `find`.
pub(in crate::vault::plane) fn find_joined(
    sought: &[Sought<'_>],
    find: impl FnMut(Sought<'_>) -> Found,
) -> Vec<Found> {
    let mut joined = JoinedFinds::of(sought);
    let found: Vec<Found> = joined.iter().map(JoinedFinds::as_sought).map(find).collect();
    let part = |sought: &Sought<'_>| {
        let mut all = joined.iter_mut().zip(&found);
        all.find_map(|(joined, found)| joined.next_of(sought, found))
    };
    sought.iter().filter_map(part).collect()
}

/// What one user looks for in the list of one connection, though several of its own lead there.
#[derive(Debug)]
struct JoinedFinds<'a> {
    first: Sought<'a>,
    finds: Cow<'a, [Find]>,
    known: Cow<'a, [ObjectName]>,
    /// How many of the finds were given to those who looked for them.
    given: usize,
}

impl<'a> JoinedFinds<'a> {
    /// All of it, each connection once.
    fn of(sought: &[Sought<'a>]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::with_capacity(sought.len());
        for other in sought {
            match all.iter_mut().find(|joined| joined.first.connection == other.connection) {
                Some(joined) => {
                    joined.first.interval = joined.first.interval.min(other.interval);
                    joined.finds.to_mut().extend_from_slice(other.finds);
                    joined.known.to_mut().extend_from_slice(other.known);
                }
                None => all.push(Self {
                    first: *other,
                    finds: Cow::Borrowed(other.finds),
                    known: Cow::Borrowed(other.known),
                    given: 0,
                }),
            }
        }
        all
    }

    fn as_sought(&self) -> Sought<'_> {
        Sought { finds: &self.finds, known: &self.known, ..self.first }
    }

    /// Of what was found the part of `sought`, in the order in which they were joined.
    fn next_of(&mut self, sought: &Sought<'_>, found: &Found) -> Option<Found> {
        if self.first.connection != sought.connection {
            return None;
        }
        let Found::Names { names, absent, failed } = found else { return Some(found.clone()) };
        if names.len() == sought.finds.len() {
            return Some(found.clone());
        }
        let names = names.iter().skip(self.given).take(sought.finds.len()).cloned().collect();
        self.given += sought.finds.len();
        let absent = absent.iter().filter(|name| sought.known.contains(name)).cloned().collect();
        Some(Found::Names { names, absent, failed: failed.clone() })
    }
}

impl Host {
    /// What the list shows `user`, who goes on to be told what changes until it asks for values without looking for names.
    pub(in crate::vault::plane) fn find(
        &mut self,
        user: &ObjectKey,
        sought: Sought<'_>,
        now: Instant,
    ) -> Found {
        let Sought { connection, terms, .. } = sought;
        let id = self.open(connection, now);
        self.idle.remove(&id);
        let Some(handle) = self.handles.get_mut(&id) else { return Found::Pending };
        let found = handle.sweeps.finders.ask(user, sought);
        // Whoever looks for names is a user, though it reads nothing yet.
        let sources = handle.sources_of(user).cloned().collect();
        if handle.subscribe(user, terms, sources) {
            self.limit(id, now);
        }
        self.arm(id, sought.interval, now);
        if found == Found::Pending {
            self.hurry(id, now);
        }
        found
    }

    /// The user looks for no names, or for none any more.
    pub(in crate::vault::plane) fn find_none(&mut self, user: &ObjectKey, connection: &Connection) {
        if let Some(handle) = self.handle_of(connection) {
            handle.sweeps.finders.forget(user);
        }
    }

    /// Somebody waits for a list: the next sweep begins now, if the last one did not just begin.
    fn hurry(&mut self, id: HandleId, now: Instant) {
        let Some(handle) = self.handles.get(&id) else { return };
        if handle.sweeps.run.is_none() {
            let soonest = handle.sweeps.began().map_or(now, |began| (began + SOONEST).max(now));
            if self.sweeps.time_of(&id).is_none_or(|planned| planned > soonest) {
                self.sweeps.set(id, soonest);
            }
        }
    }
}
