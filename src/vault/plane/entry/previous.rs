//! The version before the current one: a GET tells which is current; where that is news, the list of all versions tells
//! which was before it; then that one is read by its name.
//!
//! The list is in the order of random ids, and has thousands of versions where somebody rotates every hour, so it is read
//! only when the current version is another one, or the one before it cannot be read any more.

use std::time::Instant;

use jiff::Timestamp;

use super::Entry;
use crate::vault::{
    answer::Attributes,
    connection::ObjectKind,
    failure::Failure,
    names::ObjectVersion,
    plane::errand::ReadStep,
    rest::{
        list::{Link, Next},
        versions::{ListedVersion, VersionPage},
    },
};

/// 10,000 versions: to list more takes minutes.
const MOST_PAGES: u32 = 400;

/// How far the search is.
#[derive(Debug, Default)]
pub(super) struct PreviousSearch {
    stage: Stage,
    /// When it began: what is found is as of then.
    begun: Option<Instant>,
    /// The current version of which the one before is known, and that one, if there is any.
    known: Option<(String, Option<ObjectVersion>)>,
    /// The list was read in this search, so that to read it again would tell nothing.
    listed: bool,
}

#[derive(Debug, Default)]
enum Stage {
    /// Which version is current?
    #[default]
    Current,
    /// Which one was before it?
    Versions(Candidates),
    /// What is its value?
    Version(ObjectVersion),
}

/// A version with the time when it was made; the newer is the greater. Of two within one second the id decides, as it does
/// nowhere else: nobody can tell.
type Made = (Option<Timestamp>, ObjectVersion);

/// What the pages have shown so far.
#[derive(Debug, Default)]
struct Candidates {
    /// `None` where the current version is disabled, so that no GET tells which it is: it is the newest then.
    current: Option<(Option<Timestamp>, String)>,
    newest: Option<Made>,
    /// The current version is among them: a list that lacks it is older than it, and may lack others.
    has_current: bool,
    /// The newest two that are enabled, those aside that came after the current one: of two the other is before it.
    enabled: Vec<Made>,
    next: Option<Link>,
    pages: u32,
}

/// What comes of a step.
#[derive(Debug)]
pub(in crate::vault::plane) enum NextStep {
    /// Another step follows.
    Step,
    /// The source has no such version, or it cannot be found out.
    Failed(Failure),
}

impl Candidates {
    fn see(&mut self, listed: ListedVersion) {
        let made = (listed.created, listed.version);
        if self.newest.as_ref().is_none_or(|newest| *newest < made) {
            self.newest = Some(made.clone());
        }
        self.has_current |= self.current.as_ref().is_none_or(|(_, version)| *version == *made.1.as_str());
        let made_by = self.current.as_ref().and_then(|(created, _)| *created);
        let before = made_by.is_none_or(|created| made.0 <= Some(created));
        if listed.enabled && before {
            self.enabled.push(made);
            self.enabled.sort_by(|one, other| other.cmp(one));
            self.enabled.truncate(2);
        }
    }

    /// The current version, and the one before it.
    fn end(self) -> Option<(String, Option<ObjectVersion>)> {
        let Self { current, newest, enabled, .. } = self;
        let current = current.map(|(_, version)| version);
        let current = current.or_else(|| newest.map(|(_, version)| version.as_str().to_owned()))?;
        let previous = enabled.into_iter().map(|(_, version)| version);
        let previous = previous.into_iter().find(|version| version.as_str() != current);
        Some((current, previous))
    }
}

impl PreviousSearch {
    fn go_to(&mut self, version: Option<ObjectVersion>, kind: ObjectKind) -> NextStep {
        match version {
            Some(version) => {
                self.stage = Stage::Version(version);
                NextStep::Step
            }
            None => NextStep::Failed(Failure::NoPreviousVersion(kind)),
        }
    }
}

impl Entry {
    /// What the next request asks for.
    pub(in crate::vault::plane) fn step(&self) -> ReadStep {
        match self.previous.as_deref().map(|search| &search.stage) {
            None => ReadStep::Source,
            Some(Stage::Current) => ReadStep::Current,
            Some(Stage::Versions(candidates)) => ReadStep::Versions(candidates.next.clone()),
            Some(Stage::Version(version)) => ReadStep::Version(version.clone()),
        }
    }

    /// A request begins; returns whether it is the first of its search.
    pub(super) fn begin_step(&mut self, now: Instant) -> bool {
        let Some(search) = self.previous.as_deref_mut() else { return true };
        let first = search.begun.is_none();
        search.begun.get_or_insert(now);
        first
    }

    /// As of when the answer counts to a request that began at `begun`.
    pub(in crate::vault::plane) fn as_of(&self, begun: Instant) -> Instant {
        self.previous.as_deref().and_then(|search| search.begun).unwrap_or(begun)
    }

    /// The search is over, or begins anew.
    pub(in crate::vault::plane) fn end_search(&mut self) {
        if let Some(search) = self.previous.as_deref_mut() {
            (search.stage, search.begun, search.listed) = (Stage::Current, None, false);
        }
    }

    /// This version is the current one.
    pub(in crate::vault::plane) fn current_is(&mut self, current: &Attributes, kind: ObjectKind) -> NextStep {
        let Some(search) = self.previous.as_deref_mut() else { return NextStep::Step };
        match &search.known {
            Some((known, previous)) if *known == current.version => search.go_to(previous.clone(), kind),
            _ => {
                let current = Some((current.created, current.version.clone()));
                search.stage = Stage::Versions(Candidates { current, ..Candidates::default() });
                NextStep::Step
            }
        }
    }

    /// A step was refused, though not what is looked for: the current version is disabled, or the one before it was, since it
    /// was found. Returns whether another step follows.
    pub(in crate::vault::plane) fn step_failed(&mut self, failure: &Failure) -> bool {
        let disabled = matches!(failure, Failure::SecretDisabled | Failure::KeyDisabled);
        let Some(search) = self.previous.as_deref_mut() else { return false };
        match search.stage {
            Stage::Current if disabled => search.stage = Stage::Versions(Candidates::default()),
            Stage::Version(_) if failure.is_gone() && !search.listed => {
                (search.known, search.stage) = (None, Stage::Current);
            }
            _ => return false,
        }
        true
    }

    /// A page of the list of versions.
    pub(in crate::vault::plane) fn versions(&mut self, page: VersionPage, kind: ObjectKind) -> NextStep {
        let Some(search) = self.previous.as_deref_mut() else { return NextStep::Step };
        let Stage::Versions(candidates) = &mut search.stage else { return NextStep::Step };
        for listed in page.items {
            candidates.see(listed);
        }
        candidates.pages += 1;
        match page.next {
            Next::Link(_) if candidates.pages >= MOST_PAGES => {
                NextStep::Failed(Failure::TooManyVersions(kind))
            }
            Next::Link(link) => {
                candidates.next = Some(link);
                NextStep::Step
            }
            Next::Foreign => NextStep::Failed(Failure::MalformedResponse {
                peer: crate::vault::failure::Peer::Vault,
                at: None,
            }),
            Next::End => {
                search.listed = true;
                let candidates = std::mem::take(candidates);
                let whole = candidates.has_current;
                let found = candidates.end();
                let previous = found.as_ref().and_then(|(_, previous)| previous.clone());
                search.known = found.filter(|_| whole);
                search.go_to(previous, kind)
            }
        }
    }

    /// Whether a version that was read was there before, as the one before the current always was: how old it is says
    /// nothing of when it took that place.
    pub(super) fn took_the_place(&self, read: &Attributes) -> bool {
        let same = |known: &Attributes| known.version == read.version;
        let known = self.attributes.as_deref().map_or_else(|| self.known().any(same), same);
        self.previous.is_some() && !known
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(number: u8) -> ObjectVersion {
        ObjectVersion::parse(&format!("{number:032x}")).unwrap()
    }

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    proptest! {
        #[test]
        fn it_is_the_newest_enabled_one_before_the_current_in_whatever_order_pages_come(
            made in prop::collection::vec((0_i64..6, any::<bool>()), 1..8),
            current in any::<prop::sample::Index>(),
            told: bool,
            order in any::<u64>(),
        ) {
            let mut all: Vec<ListedVersion> = made.iter().zip(1..).map(|((second, enabled), number)| ListedVersion {
                version: version(number),
                created: at(*second),
                enabled: *enabled,
            }).collect();
            let newest = all.iter().map(|listed| (listed.created, listed.version.clone())).max().unwrap();
            let current = if told {
                let chosen = current.get(&all);
                (chosen.created, chosen.version.clone())
            } else {
                newest
            };
            let before = |listed: &&ListedVersion| listed.version != current.1 && listed.created <= current.0;
            let expected = all.iter().filter(before).filter(|listed| listed.enabled)
                .map(|listed| (listed.created, listed.version.clone())).max().map(|(_, version)| version);
            let length = all.len();
            all.rotate_left(usize::try_from(order).unwrap_or(0) % length);
            let known = told.then(|| (current.0, current.1.as_str().to_owned()));
            let mut candidates = Candidates { current: known, ..Candidates::default() };
            for listed in all {
                candidates.see(listed);
            }
            prop_assert_eq!(candidates.end(), Some((current.1.as_str().to_owned(), expected)));
        }
    }
}
