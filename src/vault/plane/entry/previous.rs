//! The version before the current one: a GET tells which is current; where that is news, the list of all versions tells
//! which was before it; then that one is read by its name.
//!
//! The list is in the order of random ids, and has thousands of versions where somebody rotates every hour, so what it says
//! is believed while the current version is the same, for a time that grows with its length: an older version may be enabled
//! again meanwhile.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Entry;
use crate::vault::{
    answer::Attributes,
    connection::ObjectKind,
    failure::{Failure, Peer},
    names::ObjectVersion,
    plane::errand::ReadStep,
    rest::{
        list::{Link, Next},
        versions::{ListedVersion, VersionPage},
    },
};

/// To list more takes minutes.
const MOST_VERSIONS: usize = 10_000;

/// Pages may have fewer items than they could, or none.
const MOST_PAGES: u32 = 1_000;

/// For how long a list is believed, for each of its pages and at the least.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));

/// How far the search is.
#[derive(Debug, Default)]
pub(super) struct PreviousSearch {
    stage: Stage,
    /// When it began: what is found is as of then.
    begun: Option<Instant>,
    /// What the last list said.
    known: Option<LastList>,
    /// When its last step began.
    stepped: Option<Instant>,
    /// The list was read in this search, so that to read it again would tell nothing.
    listed: bool,
    /// When somebody last asked by hand: no list that began before is believed afterwards.
    asked_anew: Option<Instant>,
}

/// What a list said.
#[derive(Debug)]
struct LastList {
    /// The current version then; `None`: a GET did not tell it, for it is disabled.
    current: Option<String>,
    previous: Previous,
    /// Until when it is believed.
    until: Instant,
}

/// The version before the current one.
#[derive(Clone, Debug)]
enum Previous {
    Is(ObjectVersion),
    None,
    /// There are too many to look through.
    Unknown,
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
    seen: usize,
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
        self.seen += 1;
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

    /// The version before the current one.
    fn previous(&self) -> Option<&ObjectVersion> {
        let told = self.current.as_ref().map(|(_, version)| version.as_str());
        let current = told.or_else(|| self.newest.as_ref().map(|(_, version)| version.as_str()))?;
        self.enabled.iter().map(|(_, version)| version).find(|version| version.as_str() != current)
    }
}

impl PreviousSearch {
    /// This is current; goes on with what is known of it, if that is still believed, or else with the list.
    fn go_on(&mut self, current: Option<&Attributes>, kind: ObjectKind) -> NextStep {
        let version = current.map(|current| current.version.as_str());
        let is_believed =
            |known: &&LastList| known.current.as_deref() == version && self.begun < Some(known.until);
        if let Some(known) = self.known.as_ref().filter(is_believed) {
            let previous = known.previous.clone();
            return self.go_to(previous, kind);
        }
        let current = current.map(|current| (current.created, current.version.clone()));
        self.stage = Stage::Versions(Candidates { current, ..Candidates::default() });
        NextStep::Step
    }

    fn go_to(&mut self, previous: Previous, kind: ObjectKind) -> NextStep {
        match previous {
            Previous::Is(version) => {
                self.stage = Stage::Version(version);
                NextStep::Step
            }
            Previous::None => NextStep::Failed(Failure::NoPreviousVersion(kind)),
            Previous::Unknown => NextStep::Failed(Failure::TooManyVersions(kind)),
        }
    }

    /// The list came to its end, or is too long.
    fn end_list(&mut self, too_long: bool, kind: ObjectKind) -> NextStep {
        let Stage::Versions(candidates) = std::mem::take(&mut self.stage) else { return NextStep::Step };
        let previous = match candidates.previous() {
            _ if too_long => Previous::Unknown,
            Some(version) => Previous::Is(version.clone()),
            None => Previous::None,
        };
        self.listed = true;
        let believed = BELIEVED.1.max(BELIEVED.0 * candidates.pages);
        let begun = self.begun.filter(|_| self.begun >= self.asked_anew);
        let begun = begun.filter(|_| candidates.has_current || too_long);
        let current = candidates.current.map(|(_, version)| version);
        self.known =
            begun.map(|begun| LastList { current, previous: previous.clone(), until: begun + believed });
        self.go_to(previous, kind)
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
        search.stepped = Some(now);
        first
    }

    /// When the last request for it began.
    pub(in crate::vault::plane) fn asked_at(&self) -> Option<Instant> {
        self.previous.as_deref().and_then(|search| search.stepped).or(self.tried_at)
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

    /// Whether what is looked for takes more steps, so that whoever waits for it goes on waiting.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.previous.as_deref().is_some_and(|search| search.begun.is_some())
    }

    /// Whether this connection has answered a step of the search already: what fails now is the source's own.
    pub(in crate::vault::plane) fn is_past_first_step(&self) -> bool {
        let search = self.previous.as_deref();
        search.is_some_and(|search| !matches!(search.stage, Stage::Current))
    }

    /// Whether a request was for the step that comes next: not where it was sent for another user, long gone.
    pub(in crate::vault::plane) fn is_at(&self, step: &ReadStep) -> bool {
        self.previous.is_none() || self.step() == *step
    }

    /// What a list said is believed no longer: somebody asks by hand.
    pub(super) fn list_anew(&mut self, now: Instant) {
        if let Some(search) = self.previous.as_deref_mut() {
            (search.known, search.asked_anew) = (None, Some(now));
        }
    }

    /// This version is the current one.
    pub(in crate::vault::plane) fn current_is(&mut self, current: &Attributes, kind: ObjectKind) -> NextStep {
        // Where the search has ended meanwhile it begins anew: nothing says as of when this answer would count.
        let search = self.previous.as_deref_mut().filter(|search| search.begun.is_some());
        search.map_or(NextStep::Step, |search| search.go_on(Some(current), kind))
    }

    /// A step was refused, though not what is looked for: the current version is disabled, or the one before it was, since it
    /// was found. Returns what follows, if anything does.
    pub(in crate::vault::plane) fn step_failed(
        &mut self,
        failure: &Failure,
        kind: ObjectKind,
    ) -> Option<NextStep> {
        let disabled = matches!(failure, Failure::SecretDisabled | Failure::KeyDisabled);
        let search = self.previous.as_deref_mut()?;
        match search.stage {
            Stage::Current if disabled => Some(search.go_on(None, kind)),
            Stage::Version(_) if failure.is_gone() && !search.listed => {
                (search.known, search.stage) = (None, Stage::Current);
                Some(NextStep::Step)
            }
            _ => None,
        }
    }

    /// A page of the list of versions.
    pub(in crate::vault::plane) fn versions(&mut self, page: VersionPage, kind: ObjectKind) -> NextStep {
        if !self.fails_alone() && !matches!(page.next, Next::Foreign) {
            // Of a long list each page may stumble.
            self.alone = 0;
        }
        let Some(search) = self.previous.as_deref_mut() else { return NextStep::Step };
        let Stage::Versions(candidates) = &mut search.stage else { return NextStep::Step };
        for listed in page.items {
            candidates.see(listed);
        }
        candidates.pages += 1;
        let too_long = candidates.pages >= MOST_PAGES || candidates.seen >= MOST_VERSIONS;
        match page.next {
            Next::Link(link) if !too_long => {
                candidates.next = Some(link);
                NextStep::Step
            }
            Next::Link(_) => search.end_list(true, kind),
            Next::End => search.end_list(false, kind),
            Next::Foreign => NextStep::Failed(Failure::MalformedResponse { peer: Peer::Vault, at: None }),
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
            prop_assert_eq!(candidates.previous().cloned(), expected);
        }
    }
}
