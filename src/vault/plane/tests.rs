//! The plane without its wires: a host, a clock that is told the time, and a vault in a map.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    errand::{Errand, Fetch, Fetched, Permission, ReadStep},
    host::Host,
    jitter::Jitter,
    sighting::Listed,
};
use crate::object_key::ObjectKey;
use crate::reason::Reason;
use crate::vault::{
    Answer, Attributes, Connection, Detect, Failure, HealthState, Identity, Limits, ObjectKind, ObjectName,
    Peer, Reading, Reply, SecretValue, ServiceVersion, Source, Stake, Terms, VaultUrl, Wake, Want,
    failure::{Refused, ServiceAccount},
    rest::{
        list::{Link, ListedSecret, Next, Page, SECRETS},
        versions::{ListedVersion, VersionPage},
    },
};

mod core;
mod find;
mod list;
mod losses;
mod outage;
mod preflight;
mod previous;
mod tenants;
mod together;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn connection(client: u8) -> Connection {
    Connection {
        url: VaultUrl::parse("https://prod.vault.azure.net").unwrap(),
        identity: Identity::WorkloadIdentity {
            namespace: "shop".to_owned(),
            service_account: "shop".to_owned(),
            client_id: format!("client-{client}"),
            tenant_id: None,
        },
        service_version: ServiceVersion::default(),
    }
}

fn user(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn source(name: &str) -> Source {
    Source { kind: ObjectKind::Secret, name: ObjectName::parse(name).unwrap(), version: None }
}

fn attributes(version: u32) -> Attributes {
    Attributes {
        version: format!("{version:032x}"),
        created: None,
        updated: Timestamp::from_second(version.into()).ok(),
        expires: None,
        not_before: None,
        managed: false,
    }
}

/// The page, of at most `size`, of what a vault lists by name that begins after the name in `link`.
fn page_after<'a>(
    link: Option<&Link>,
    size: usize,
    listed: impl Iterator<Item = (&'a String, Listed)>,
) -> Page {
    let url = link.map(|link| link.url(&connection(0).url, SECRETS)).unwrap_or_default();
    let after = url.split_once("after=").map_or("", |(_, after)| after);
    let mut rest = listed.filter(|(name, _)| name.as_str() > after).peekable();
    let shown = |(name, listed): (&String, Listed)| ListedSecret {
        name: ObjectName::parse(name).unwrap(),
        listed,
        managed: false,
        tags: None,
    };
    let items: Vec<_> = rest.by_ref().take(size).map(shown).collect();
    let next = match (rest.peek(), items.last()) {
        (Some(_), Some(last)) => {
            let link = format!("https://prod.vault.azure.net/secrets?after={}", last.name);
            Next::parse(Some(&link), &connection(0).url, SECRETS)
        }
        _ => Next::End,
    };
    Page { items, next }
}

fn want(name: &str, known: Option<u32>) -> Want {
    let stake = if known.is_some() { Stake::Keys } else { Stake::None };
    Want { source: source(name), interval: MINUTE, known: known.map(attributes), stale: false, stake }
}

/// What the vault says of one secret.
#[derive(Clone, Debug)]
enum Said {
    /// Long ago.
    Version(u32),
    /// At this time.
    Written(u32, Timestamp),
    Fails(Failure),
}

impl Said {
    fn attributes(&self) -> Option<Attributes> {
        match self {
            Self::Version(version) => Some(attributes(*version)),
            Self::Written(version, at) => {
                let updated = Timestamp::from_second(at.as_second()).ok();
                Some(Attributes { updated, ..attributes(*version) })
            }
            Self::Fails(_) => None,
        }
    }
}

/// A request that is under way.
struct Flight {
    fetch: Fetch,
    /// When the vault looks.
    looks_at: Instant,
    /// What it saw, once it has looked.
    outcome: Option<Fetched>,
    lands_at: Instant,
}

/// A host, its vault and the clock.
struct World {
    host: Host,
    now: Instant,
    vault: BTreeMap<String, Said>,
    terms: Terms,
    /// If set, every read fails so.
    down: Option<(Failure, Option<Duration>)>,
    /// Every read through one of these finds no token.
    bogus: Vec<Connection>,
    gets: Vec<(Instant, String)>,
    rechecks: Vec<(Instant, String)>,
    lists: Vec<Instant>,
    version_lists: Vec<(Instant, String)>,
    /// The versions that are listed of a secret.
    versions: BTreeMap<String, Vec<ListedVersion>>,
    /// Whether another page of them always follows.
    more_versions: Option<&'static str>,
    /// If set, these lists fail so.
    no_versions: Option<Failure>,
    /// If set, the list fails so.
    no_list: Option<Failure>,
    /// The page that begins after this name fails once, as if the vault did.
    no_page: Option<&'static str>,
    /// If set, a name that no secret has fails so, instead of as not there.
    no_read: Option<Failure>,
    trials: Vec<Permission>,
    /// The list shows every secret as it was at version 1.
    unlisted: bool,
    /// The tags that the list shows; a secret with the tag `certificate` backs one.
    tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Items on a page.
    page: usize,
    /// How far the clock of those who answer is ahead of the vault's, in milliseconds; `None`: they do not tell the time.
    skew: Option<i64>,
    /// How long an answer takes, at the least and at the most.
    latency: (Duration, Duration),
    /// How far behind the vault those are who answer a GET, at the most.
    lag: Duration,
    flights: Vec<Flight>,
    /// Reads of these are not answered.
    stuck: BTreeSet<String>,
    /// So many reads of these fail as if the vault did.
    trips: BTreeMap<String, u32>,
    /// What was said before, and until when.
    history: Vec<(Instant, String, Option<Said>)>,
    chance: Jitter,
    start: Instant,
    wakes: Vec<Wake>,
}

impl World {
    fn new() -> Self {
        Self::limited(Limits::default())
    }

    /// A world in which whoever asks for a sync has it at once, whatever was read just before.
    fn unpaced() -> Self {
        Self::limited(Limits { refresh_apart: Duration::ZERO, ..Limits::default() })
    }

    fn limited(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            host: Host::new(limits, Jitter::seeded(7), now),
            now,
            vault: BTreeMap::new(),
            terms: Terms { detect: Detect::Get, ..Terms::default() },
            down: None,
            bogus: Vec::new(),
            gets: Vec::new(),
            rechecks: Vec::new(),
            lists: Vec::new(),
            version_lists: Vec::new(),
            versions: BTreeMap::new(),
            more_versions: None,
            no_versions: None,
            no_list: None,
            no_page: None,
            no_read: None,
            trials: Vec::new(),
            unlisted: false,
            tags: BTreeMap::new(),
            page: 25,
            skew: Some(0),
            latency: (Duration::ZERO, Duration::ZERO),
            lag: Duration::ZERO,
            flights: Vec::new(),
            stuck: BTreeSet::new(),
            trips: BTreeMap::new(),
            history: Vec::new(),
            chance: Jitter::seeded(11),
            start: now,
            wakes: Vec::new(),
        }
    }

    fn say(&mut self, name: &str, said: Said) {
        let before = self.vault.insert(name.to_owned(), said);
        self.history.push((self.now, name.to_owned(), before));
    }

    /// Someone sets the secret now.
    fn write(&mut self, name: &str, version: u32) {
        self.say(name, Said::Written(version, self.clock()));
    }

    /// The vault's clock.
    fn clock(&self) -> Timestamp {
        Timestamp::from_second(1_750_000_000).unwrap() + self.now.duration_since(self.start)
    }

    /// What whoever answers says that the time is.
    fn date(&self) -> Option<Timestamp> {
        let date = self.clock() + jiff::SignedDuration::from_millis(self.skew?);
        Timestamp::from_second(date.as_second()).ok()
    }

    /// What the vault said of a secret at a time.
    fn said(&self, name: &str, at: Instant) -> Option<&Said> {
        let later = self.history.iter().find(|(until, other, _)| *until > at && other == name);
        later.map_or_else(|| self.vault.get(name), |(_, _, before)| before.as_ref())
    }

    fn ask(&mut self, name: &str, wants: &[Want]) -> Reply {
        self.host.ask(&user(name), &connection(0), self.terms, wants, false, self.now)
    }

    fn answer(&mut self, fetch: &Fetch) -> Fetched {
        let behind = self.lag.mul_f64(self.chance.fraction());
        let failed = |failure: &Failure, retry_after| {
            Fetched::Failed(Refused { failure: failure.clone(), retry_after })
        };
        if let Some((failure, retry_after)) = &self.down {
            return failed(failure, *retry_after);
        }
        if self.bogus.contains(&fetch.connection) {
            return failed(&Failure::ServiceAccountNotFound(ServiceAccount::default()), None);
        }
        let (source, step) = match &fetch.errand {
            Errand::Read { source, step, .. } => (source, step),
            Errand::Prove(Permission::Read) => {
                return failed(self.no_read.as_ref().unwrap_or(&Failure::SecretNotFound), None);
            }
            Errand::Prove(Permission::List) => {
                return self.no_list.as_ref().map_or(Fetched::Permitted, |failure| failed(failure, None));
            }
            Errand::List(link) => {
                let url = link.as_ref().map(|link| link.url(&connection(0).url, SECRETS)).unwrap_or_default();
                if self.no_page.take_if(|name| url.ends_with(&format!("after={name}"))).is_some() {
                    let unavailable = Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) };
                    return failed(&unavailable, None);
                }
                return match &self.no_list {
                    Some(failure) => failed(failure, None),
                    None => Fetched::Listed(self.list(link.as_ref()), self.date()),
                };
            }
        };
        if let Some(trips) = self.trips.get_mut(source.name.as_str()).filter(|trips| **trips > 0) {
            *trips -= 1;
            return failed(&Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) }, None);
        }
        let looks_at = self.now.checked_sub(behind).unwrap_or(self.now);
        match step {
            ReadStep::Versions(_) => {
                if let Some(failure) = &self.no_versions {
                    return failed(failure, None);
                }
                let versions = self.versions.get(source.name.as_str()).cloned().unwrap_or_default();
                let next = Next::parse(self.more_versions, &connection(0).url, "/secrets/db/versions");
                return Fetched::Versions(VersionPage { items: versions, next });
            }
            ReadStep::Version(version) => {
                let number = u32::from_str_radix(version.as_str(), 16).unwrap();
                let listed = self.versions.get(source.name.as_str()).into_iter().flatten();
                let listed = listed.clone().find(|listed| listed.version == *version);
                return match listed {
                    Some(listed) if listed.enabled => {
                        let value = SecretValue::new(format!("value-{number}").into());
                        Fetched::Read(Reading { attributes: attributes(number), value }, self.date())
                    }
                    Some(_) => failed(&Failure::SecretDisabled, None),
                    None => failed(&Failure::SecretNotFound, None),
                };
            }
            ReadStep::Source | ReadStep::Current => {}
        }
        match self.said(source.name.as_str(), looks_at) {
            Some(Said::Fails(failure)) => failed(failure, None),
            None => failed(&Failure::SecretNotFound, None),
            Some(said) => {
                let attributes = said.attributes().unwrap();
                let version = u32::from_str_radix(&attributes.version, 16).unwrap();
                let value = SecretValue::new(format!("value-{version}").into());
                Fetched::Read(Reading { attributes, value }, self.date())
            }
        }
    }

    /// The page of the vault's list that begins after the name in `link`.
    fn list(&self, link: Option<&Link>) -> Page {
        let listed = |said: &Said| {
            let enabled = self.unlisted || !matches!(said, Said::Fails(Failure::SecretDisabled));
            let shown = if self.unlisted { Some(attributes(1)) } else { said.attributes() };
            let Attributes { created, updated, expires, not_before, .. } =
                shown.unwrap_or_else(|| attributes(0));
            Listed { enabled, created, updated, expires, not_before }
        };
        let mut page =
            page_after(link, self.page, self.vault.iter().map(|(name, said)| (name, listed(said))));
        for item in &mut page.items {
            item.tags = self.tags.get(item.name.as_str()).cloned().map(Box::new);
            item.managed = item.tags.as_ref().is_some_and(|tags| tags.contains_key("certificate"));
        }
        page
    }

    fn sent(&mut self, fetch: &Fetch) {
        match &fetch.errand {
            Errand::Read { source, step: ReadStep::Versions(_), .. } => {
                self.version_lists.push((self.now, source.name.to_string()));
            }
            Errand::Read { source, recheck: false, .. } => {
                self.gets.push((self.now, source.name.to_string()));
            }
            Errand::Read { source, .. } => self.rechecks.push((self.now, source.name.to_string())),
            Errand::List(_) => self.lists.push(self.now),
            Errand::Prove(permission) => self.trials.push(*permission),
        }
    }

    /// Everything that can happen now happens.
    fn settle(&mut self) {
        loop {
            let tick = self.host.tick(self.now);
            self.wakes.extend(tick.wakes);
            let begun = !tick.fetches.is_empty();
            for fetch in tick.fetches {
                self.sent(&fetch);
                let (least, most) = self.latency;
                let takes = least + most.saturating_sub(least).mul_f64(self.chance.fraction());
                let looks_at = self.now + takes.mul_f64(self.chance.fraction());
                self.flights.push(Flight { fetch, looks_at, outcome: None, lands_at: self.now + takes });
            }
            let landed = self.land();
            if !begun && !landed {
                return;
            }
        }
    }

    /// The vault looks, and answers what is due. Returns whether anything was answered.
    fn land(&mut self) -> bool {
        let mut flights = std::mem::take(&mut self.flights);
        for flight in &mut flights {
            if flight.fetch.source().is_some_and(|source| self.stuck.contains(source.name.as_str())) {
                (flight.looks_at, flight.lands_at) = (self.now + SECOND, self.now + SECOND);
            }
            if flight.outcome.is_none() && flight.looks_at <= self.now {
                flight.outcome = Some(self.answer(&flight.fetch));
            }
        }
        let (landed, under_way): (Vec<_>, Vec<_>) =
            flights.into_iter().partition(|flight| flight.lands_at <= self.now);
        self.flights = under_way;
        let answered = !landed.is_empty();
        for Flight { fetch, outcome, .. } in landed {
            self.wakes.extend(self.host.finish(&fetch, outcome.unwrap(), self.now));
        }
        answered
    }

    /// When the next thing happens.
    fn next(&mut self) -> Option<Instant> {
        let tick = self.host.tick(self.now);
        assert!(tick.fetches.is_empty());
        self.wakes.extend(tick.wakes);
        let flights = self
            .flights
            .iter()
            .filter_map(|flight| [flight.looks_at, flight.lands_at].into_iter().find(|at| *at > self.now));
        flights.chain(tick.until).min()
    }

    /// Time passes, from one thing that is due to the next.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            match self.next() {
                Some(next) if next <= end => self.now = next.max(self.now + Duration::from_micros(1)),
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Who has to look again: users. That there is something to say of the connection is no news for them.
    fn woken(&mut self) -> Vec<Wake> {
        let mut woken = std::mem::take(&mut self.wakes);
        woken.retain(|wake| !matches!(wake, Wake::Connection(_)));
        woken
    }

    fn gets_of(&self, name: &str) -> usize {
        self.gets.iter().filter(|(_, got)| got == name).count()
    }
}

fn is_read(answer: &Answer, version: u32) -> bool {
    matches!(answer, Answer::Read(reading) if reading.attributes == attributes(version))
}

/// Whether the answer is this version, used so early that another may have followed.
fn is_read_unsettled(answer: &Answer, version: u32) -> bool {
    let unsettled = Attributes { updated: None, ..attributes(version) };
    matches!(answer, Answer::Read(reading) if reading.attributes == unsettled)
}

#[test]
fn a_first_ask_is_read_at_once_and_a_thousand_users_cost_one_get() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    for index in 0..1000 {
        let reply = world.ask(&format!("user-{index}"), &[want("db", None)]);
        assert!(matches!(reply.answers[..], [Answer::Pending]));
    }
    world.settle();
    assert_eq!(world.gets_of("db"), 1);
    assert!(world.wakes.contains(&Wake::Connection(connection(0))));
    assert_eq!(world.woken().len(), 1000, "each once");
    assert!(is_read(&world.ask("user-7", &[want("db", None)]).answers[0], 1));
}

#[test]
fn a_restart_with_everything_known_costs_no_get_until_its_slot_comes() {
    let mut world = World::new();
    for index in 0..200 {
        let name = format!("s{index}");
        world.say(&name, Said::Version(1));
        let reply = world.ask(&name, &[want(&name, Some(1))]);
        assert!(matches!(reply.answers[..], [Answer::Unchanged]));
    }
    world.settle();
    assert_eq!(world.gets.len(), 0);
    world.pass(MINUTE);
    assert_eq!(world.gets.len(), 200, "each once within the interval");
    let users = world.woken().into_iter().filter(|wake| matches!(wake, Wake::User(_))).count();
    assert_eq!(users, 0, "nothing changed, nobody is woken");
}

#[test]
fn what_was_said_to_be_stale_before_a_restart_is_so_until_it_is_confirmed_and_then_its_user_is_woken() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    let stale = [Want { stale: true, ..want("db", Some(1)) }];
    let reply = world.ask("a", &stale);
    assert!(matches!(reply.answers[..], [Answer::Unchanged]));
    assert!(reply.unconfirmed_for.unwrap() > 24 * 60 * MINUTE);
    world.pass(5 * MINUTE);
    world.woken();
    world.down = None;
    world.pass(2 * MINUTE);
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
    assert_eq!(world.ask("a", &stale).unconfirmed_for, None);
}

#[test]
fn a_change_wakes_its_users_once_and_the_value_is_kept_only_until_they_have_used_it() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", Some(1))]);
    let _ = world.ask("b", &[want("db", Some(1))]);
    world.pass(MINUTE);
    world.woken();
    world.say("db", Said::Version(2));
    world.pass(MINUTE);
    assert_eq!(world.woken(), [Wake::User(user("a")), Wake::User(user("b"))]);
    assert!(is_read(&world.ask("a", &[want("db", Some(1))]).answers[0], 2));
    world.host.release(&user("a"), &connection(0));
    assert!(is_read(&world.ask("b", &[want("db", Some(1))]).answers[0], 2));
    world.host.release(&user("b"), &connection(0));
    let before = world.gets.len();
    assert!(matches!(world.ask("a", &[want("db", Some(2))]).answers[0], Answer::Unchanged));
    assert!(matches!(world.ask("c", &[want("db", None)]).answers[0], Answer::Pending), "the value is gone");
    world.settle();
    assert_eq!(world.gets.len(), before + 1);
    assert_eq!(world.woken(), [Wake::User(user("c"))]);
}

#[test]
fn a_version_that_goes_backwards_is_a_change_too() {
    let mut world = World::new();
    world.say("db", Said::Version(5));
    let _ = world.ask("a", &[want("db", Some(5))]);
    world.pass(MINUTE);
    world.woken();
    world.say("db", Said::Version(4));
    world.pass(MINUTE);
    assert!(is_read_unsettled(&world.ask("a", &[want("db", Some(5))]).answers[0], 4));
}

#[test]
fn a_value_nobody_comes_for_is_dropped_after_its_time_and_read_again_when_asked_for() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[Want { interval: 60 * MINUTE, ..want("db", None) }]);
    world.settle();
    world.pass(59 * SECOND);
    assert!(is_read(&world.ask("a", &[Want { interval: 60 * MINUTE, ..want("db", None) }]).answers[0], 1));
    world.pass(2 * SECOND);
    let reply = world.ask("a", &[Want { interval: 60 * MINUTE, ..want("db", None) }]);
    assert!(matches!(reply.answers[0], Answer::Pending));
    world.settle();
    assert_eq!(world.gets.len(), 2);
}

#[test]
fn a_missing_secret_is_said_once_and_its_return_is_too() {
    let mut world = World::new();
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    assert!(world.woken().contains(&Wake::User(user("a"))));
    assert!(matches!(&world.ask("a", &[want("db", None)]).answers[0],
        Answer::Failed(failure) if **failure == Failure::SecretNotFound));
    world.pass(10 * MINUTE);
    assert_eq!(world.woken(), []);
    assert!((10..=11).contains(&world.gets.len()), "at the interval: {}", world.gets.len());
    world.say("db", Said::Version(1));
    world.pass(MINUTE);
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
}

#[test]
fn someone_new_does_not_get_an_old_failure() {
    let mut world = World::new();
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    world.pass(20 * SECOND);
    world.say("db", Said::Version(1));
    assert!(matches!(world.ask("b", &[want("db", None)]).answers[0], Answer::Pending));
    world.settle();
    assert!(is_read_unsettled(&world.ask("b", &[want("db", None)]).answers[0], 1));
}

#[test]
fn an_outage_is_said_once_and_costs_one_request_per_try() {
    let mut world = World::new();
    for index in 0..100 {
        let name = format!("s{index}");
        world.say(&name, Said::Version(1));
        let _ = world.ask(&name, &[want(&name, Some(1))]);
    }
    world.pass(MINUTE);
    world.woken();
    let before = world.gets.len();
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    world.pass(10 * MINUTE);
    assert_eq!(world.woken(), [Wake::Outage(connection(0))]);
    let tries = world.gets.len() - before;
    assert!((10..60).contains(&tries), "{tries}");
    let reply = world.ask("s1", &[want("s1", Some(1))]);
    assert!(matches!(reply.answers[0], Answer::Unchanged));
    assert!(matches!(reply.health.state, HealthState::Failing { .. }));
    assert!(reply.unconfirmed_for.unwrap() > 9 * MINUTE);
    world.down = None;
    world.pass(3 * MINUTE);
    assert!(world.wakes.contains(&Wake::Connection(connection(0))));
    let reply = world.ask("s1", &[want("s1", Some(1))]);
    assert!(matches!(reply.health.state, HealthState::Working));
    assert_eq!(reply.unconfirmed_for, None);
}

#[test]
fn after_an_outage_each_user_looks_again_when_its_own_source_is_confirmed_and_not_all_at_once() {
    const USERS: usize = 200;
    let mut world = World::limited(Limits { requests_per_second: 5, burst: 5, ..Limits::default() });
    let names: Vec<String> = (0..USERS).map(|index| format!("s{index}")).collect();
    let ask_all = |world: &mut World| {
        for name in &names {
            let _ = world.ask(name, &[want(name, Some(1))]);
        }
    };
    for name in &names {
        world.say(name, Said::Version(1));
    }
    ask_all(&mut world);
    world.pass(2 * MINUTE);
    world.woken();
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    world.pass(MINUTE);
    assert_eq!(world.woken(), [Wake::Outage(connection(0))]);
    // All look, and are told that the vault is silent.
    ask_all(&mut world);
    world.down = None;
    let mut woken = Vec::new();
    for _ in 0..240 {
        world.pass(SECOND);
        woken.push(world.woken());
    }
    assert!(woken.iter().all(|wakes| wakes.len() <= 10), "{woken:?}");
    let wakes: Vec<String> = woken.into_iter().flatten().map(|wake| format!("{wake:?}")).collect();
    let distinct: std::collections::BTreeSet<&String> = wakes.iter().collect();
    assert_eq!(distinct.len(), USERS, "each");
    // Who did not ask since may be told of the next read too.
    assert!(wakes.len() <= USERS + USERS / 20, "{}", wakes.len());
}

#[test]
fn who_waits_when_an_outage_begins_is_told_and_served_when_it_ends() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    world.down = Some((Failure::Throttled(Peer::Vault), Some(17 * SECOND)));
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
    let reply = world.ask("a", &[want("db", None)]);
    assert!(matches!(reply.answers[0], Answer::Pending));
    assert!(
        matches!(&reply.health.state, HealthState::Doubtful(failure) if failure.reason() == Reason::Throttled)
    );
    world.down = None;
    world.pass(16 * SECOND);
    assert_eq!(world.woken(), []);
    world.pass(2 * SECOND);
    assert!(world.woken().contains(&Wake::User(user("a"))));
}

#[test]
fn one_forbidden_secret_is_its_own_failure_and_all_forbidden_is_the_identitys() {
    let refused = || Said::Fails(Failure::MissingRole(Box::default()));
    let mut world = World::new();
    world.say("a", refused());
    world.say("b", Said::Version(1));
    let wants = [want("a", None), want("b", None)];
    let _ = world.ask("one", &wants);
    world.settle();
    let reply = world.ask("one", &wants);
    assert!(matches!(&reply.answers[0], Answer::Failed(failure) if failure.reason() == Reason::MissingRole));
    assert!(is_read(&reply.answers[1], 1));
    assert!(matches!(reply.health.state, HealthState::Working));

    let mut world = World::new();
    let names = ["a", "b", "c", "d", "e"];
    let wants: Vec<Want> = names.iter().map(|name| want(name, None)).collect();
    for name in names {
        world.say(name, refused());
    }
    let _ = world.ask("one", &wants);
    world.pass(60 * MINUTE);
    assert!(world.gets.len() <= 5 + 12, "one probe a try: {}", world.gets.len());
    let reply = world.ask("one", &wants);
    assert!(reply.answers.iter().all(|answer| matches!(answer, Answer::Pending)), "{:?}", reply.answers);
    assert!(
        matches!(&reply.health.state, HealthState::Failing { failure, .. } if failure.reason() == Reason::MissingRole)
    );
    assert!(reply.unconfirmed_for.unwrap() > 50 * MINUTE, "a refusal of all confirms nothing");
    for name in names {
        world.say(name, Said::Version(1));
    }
    world.pass(11 * MINUTE);
    let reply = world.ask("one", &wants);
    assert!(matches!(reply.health.state, HealthState::Working));
    world.settle();
    assert!(world.ask("one", &wants).answers.iter().all(|answer| is_read(answer, 1)));
}

#[test]
fn a_refresh_is_answered_only_by_a_get_that_began_after_it() {
    let mut world = World::unpaced();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", Some(1))]);
    world.pass(MINUTE);
    world.woken();
    // A GET is under way when the refresh comes.
    let mut fetches = Vec::new();
    while fetches.is_empty() {
        world.now += SECOND;
        fetches = world.host.tick(world.now).fetches;
    }
    world.now += SECOND;
    world.host.refresh(&user("a"), &connection(0), world.now);
    let outcome = world.answer(&fetches[0]);
    assert_eq!(world.host.finish(&fetches[0], outcome, world.now), []);
    assert!(matches!(world.ask("a", &[want("db", Some(1))]).answers[0], Answer::Pending));
    world.settle();
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
    assert!(matches!(world.ask("a", &[want("db", Some(1))]).answers[0], Answer::Unchanged));
}

#[test]
fn a_rejected_token_is_replaced_once_before_it_is_an_outage() {
    let mut world = World::new();
    let _ = world.ask("a", &[want("db", None)]);
    let told = |wake| vec![wake, Wake::User(user("a"))];
    let (doubt, outage) = (Wake::Connection(connection(0)), Wake::Outage(connection(0)));
    for expected in [Vec::new(), told(doubt), told(outage)] {
        let fetches = world.host.tick(world.now).fetches;
        assert_eq!(fetches.len(), 1);
        let wakes = world.host.finish(&fetches[0], Fetched::TokenRejected(Failure::TokenRejected), world.now);
        assert_eq!(wakes, expected);
        world.now += SECOND;
    }
    assert!(world.host.tick(world.now).fetches.is_empty());
}

#[test]
fn learning_the_tenant_is_no_outage_and_nobody_is_woken() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None), want("other", None)]);
    let fetches = world.host.tick(world.now).fetches;
    assert_eq!(fetches.len(), 1, "a new handle sends one request alone");
    assert_eq!(world.host.finish(&fetches[0], Fetched::Again, world.now), []);
    world.settle();
    assert_eq!(world.gets.len(), 2);
}

#[test]
fn a_hanging_handle_leaves_the_others_of_its_host_alone() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let wants: Vec<Want> = (0..50).map(|index| want(&format!("s{index}"), None)).collect();
    let _ = world.host.ask(&user("slow"), &connection(1), world.terms, &wants, false, world.now);
    let probe = world.host.tick(world.now).fetches.remove(0);
    world.host.finish(&probe, Fetched::Failed(Failure::SecretNotFound.into()), world.now);
    assert_eq!(world.host.tick(world.now).fetches.len(), 8, "so many are under way and never come back");
    let _ = world.ask("quick", &[want("db", None)]);
    world.settle();
    assert!(is_read(&world.ask("quick", &[want("db", None)]).answers[0], 1));
}

#[test]
fn a_handle_without_users_ends_after_a_while_and_returns_when_asked() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    world.host.forget(&user("a"), &connection(0), world.now);
    world.now += Limits::default().idle;
    assert_eq!(world.host.tick(world.now).ended.len(), 1);
    assert!(world.host.is_empty() && world.host.health(&connection(0), world.now).is_none());
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    assert!(is_read(&world.ask("a", &[want("db", None)]).answers[0], 1));
}

#[test]
fn a_longer_interval_takes_effect_when_the_impatient_user_leaves() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let patient = Want { interval: 60 * MINUTE, ..want("db", Some(1)) };
    let _ = world.ask("patient", &[patient]);
    let _ = world.ask("quick", &[Want { interval: 10 * SECOND, ..want("db", Some(1)) }]);
    world.pass(MINUTE);
    assert!((5..=7).contains(&world.gets.len()), "{}", world.gets.len());
    let _ = world.ask("quick", &[]);
    let before = world.gets.len();
    world.pass(50 * MINUTE);
    assert_eq!(world.gets.len(), before);
}

#[test]
fn a_value_that_nobody_lacks_is_not_kept() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", Some(1))]);
    world.pass(MINUTE);
    assert_eq!(world.gets.len(), 1);
    let repair = want("db", None);
    assert!(matches!(world.ask("a", std::slice::from_ref(&repair)).answers[0], Answer::Pending));
    world.settle();
    assert!(is_read(&world.ask("a", &[repair]).answers[0], 1));
}

#[test]
fn who_was_woken_and_has_not_come_yet_is_not_woken_again_for_the_same_value() {
    let mut world = World::unpaced();
    world.say("db", Said::Version(1));
    let _ = world.ask("slow", &[want("db", None)]);
    world.settle();
    world.woken();
    let _ = world.ask("new", &[want("db", None)]);
    world.host.refresh(&user("new"), &connection(0), world.now);
    world.settle();
    assert_eq!(world.gets.len(), 2);
    assert_eq!(world.woken(), [Wake::User(user("new"))]);
}

#[test]
fn many_forbidden_secrets_are_still_their_own_failures_while_another_is_read() {
    let mut world = World::new();
    world.say("open", Said::Version(1));
    let _ = world.ask("one", &[want("open", Some(1))]);
    world.pass(MINUTE);
    let names = ["a", "b", "c", "d"];
    for name in names {
        world.say(name, Said::Fails(Failure::MissingRole(Box::default())));
    }
    let wants: Vec<Want> = names.iter().map(|name| want(name, None)).collect();
    let _ = world.ask("two", &wants);
    world.settle();
    let reply = world.ask("two", &wants);
    assert!(reply.answers.iter().all(|answer| matches!(answer, Answer::Failed(_))));
    assert!(matches!(reply.health.state, HealthState::Working));
}

#[test]
fn an_outage_ends_even_if_who_met_it_has_gone() {
    let mut world = World::new();
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    let _ = world.ask("met-it", &[want("db", None)]);
    let patient = Want { interval: 600 * MINUTE, ..want("other", Some(1)) };
    let _ = world.ask("patient", &[patient]);
    world.settle();
    world.host.forget(&user("met-it"), &connection(0), world.now);
    world.down = None;
    world.pass(2 * MINUTE);
    let health = world.host.health(&connection(0), world.now).unwrap();
    assert!(matches!(health.state, HealthState::Working), "{health:?}");
}

#[test]
fn no_value_is_in_the_debug_of_anything() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    let reply = world.ask("a", &[want("db", None)]);
    assert!(is_read(&reply.answers[0], 1));
    let Answer::Read(reading) = &reply.answers[0] else { panic!("{reply:?}") };
    assert_eq!(reading.value.expose(), "value-1");
    let reading = Reading { attributes: attributes(1), value: SecretValue::new("value-1".to_owned().into()) };
    let outcome = Fetched::Read(reading, None);
    let text = format!("{:?} {reply:?} {outcome:?} {:?}", world.host, world.wakes);
    assert!(!text.contains("value-1"), "{text}");
}

/// One thing that happens in the life of a plane.
#[derive(Clone, Debug)]
enum Event {
    Ask {
        user: u8,
        secrets: Vec<u8>,
        interval: u64,
    },
    Release(u8),
    Refresh(u8),
    Forget(u8),
    Change(u8, Option<u32>),
    /// The secret cannot be read, as if the vault failed.
    Break(u8),
    Down(bool),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u8..8, prop::collection::vec(0_u8..12, 0..5), 10_u64..120)
            .prop_map(|(user, secrets, interval)| Event::Ask { user, secrets, interval }),
        2 => (0_u8..8).prop_map(Event::Release),
        1 => (0_u8..8).prop_map(Event::Refresh),
        1 => (0_u8..8).prop_map(Event::Forget),
        3 => (0_u8..12, prop::option::weighted(0.8, 0_u32..4)).prop_map(|(secret, version)| Event::Change(secret, version)),
        1 => (0_u8..12).prop_map(Event::Break),
        1 => any::<bool>().prop_map(Event::Down),
        4 => (0_u64..90).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Users that do as they should: ask when woken, note what they read, release it.
    #[test]
    fn whatever_happens_every_user_ends_up_with_what_the_vault_has_within_the_budget(
        events in prop::collection::vec(event(), 1..60),
        detect in prop::sample::select(vec![Detect::Get, Detect::List, Detect::Auto]),
        page in 1_usize..6,
    ) {
        let limits = Limits { requests_per_second: 5, burst: 10, ..Limits::default() };
        let mut world = World::limited(limits);
        world.terms.detect = detect;
        world.page = page;
        // By user: what it wants and what it has.
        let mut wanted: HashMap<u8, (BTreeSet<u8>, u64)> = HashMap::new();
        let has: RefCell<HashMap<(u8, u8), Option<u32>>> = RefCell::default();
        let asks = |world: &mut World, wanted: &HashMap<u8, (BTreeSet<u8>, u64)>, number: u8| {
            let Some((secrets, interval)) = wanted.get(&number) else { return };
            let wants: Vec<Want> = secrets.iter().map(|secret| Want {
                interval: Duration::from_secs(*interval),
                ..want(&format!("s{secret}"), has.borrow().get(&(number, *secret)).copied().flatten())
            }).collect();
            let reply = world.ask(&number.to_string(), &wants);
            for (secret, answer) in secrets.iter().zip(reply.answers) {
                if let Answer::Read(reading) = answer {
                    let version = u32::from_str_radix(&reading.attributes.version, 16).unwrap();
                    has.borrow_mut().insert((number, *secret), Some(version));
                }
            }
            world.host.release(&user(&number.to_string()), &connection(0));
        };
        let serve = |world: &mut World, wanted: &HashMap<u8, (BTreeSet<u8>, u64)>| {
            loop {
                world.settle();
                let woken = world.woken();
                if woken.is_empty() { break }
                for wake in woken {
                    if let Wake::User(user) = wake {
                        asks(world, wanted, user.name.parse().unwrap());
                    }
                }
            }
        };
        let failure = Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) };
        for event in events {
            match event {
                Event::Ask { user: number, secrets, interval } => {
                    wanted.insert(number, (secrets.into_iter().collect(), interval));
                    world.wakes.push(Wake::User(user(&number.to_string())));
                }
                Event::Release(number) => world.host.release(&user(&number.to_string()), &connection(0)),
                Event::Refresh(number) => world.host.refresh(&user(&number.to_string()), &connection(0), world.now),
                Event::Forget(number) => {
                    wanted.remove(&number);
                    world.host.forget(&user(&number.to_string()), &connection(0), world.now);
                }
                Event::Change(secret, version) => {
                    let said = version.map_or(Said::Fails(Failure::SecretDisabled), Said::Version);
                    world.say(&format!("s{secret}"), said);
                }
                Event::Break(secret) => world.say(&format!("s{secret}"), Said::Fails(failure.clone())),
                Event::Down(down) => {
                    let failure = failure.clone();
                    world.down = down.then_some((failure, None));
                }
                Event::Pass(seconds) => for _ in 0..seconds {
                    world.pass(SECOND);
                    serve(&mut world, &wanted);
                    // Whatever fails, it is tried again within the longest wait.
                    let health = world.host.health(&connection(0), world.now);
                    let fails = |health: &crate::vault::Health| {
                        matches!(health.state, HealthState::Failing { .. } | HealthState::Doubtful(_))
                    };
                    if wanted.values().any(|(secrets, _)| !secrets.is_empty()) && health.is_some_and(|health| fails(&health)) {
                        let gets = [world.gets.last(), world.rechecks.last()].into_iter().flatten().map(|(at, _)| *at);
                        let last = gets.chain(world.lists.last().copied()).max();
                        prop_assert!(last.is_some_and(|last| world.now <= last + 31 * SECOND));
                    }
                },
            }
            serve(&mut world, &wanted);
        }
        // The vault is well again: within the longest wait and the longest interval all is told. Each try of an outage is
        // of another source, and some fail by themselves.
        world.down = None;
        let broken = world.vault.values().filter(|said| matches!(said, Said::Fails(said) if *said == failure)).count();
        let heard = 31 * (2 + u32::try_from(broken).unwrap());
        let from = world.now + heard * SECOND;
        for _ in 0..heard + 130 {
            world.pass(SECOND);
            serve(&mut world, &wanted);
        }
        for (number, (secrets, interval)) in &wanted {
            for secret in secrets {
                let name = format!("s{secret}");
                if let Some(Said::Version(version)) = world.vault.get(&name) {
                    prop_assert_eq!(has.borrow().get(&(*number, *secret)).copied().flatten(), Some(*version), "{}", name);
                }
                // What fails by itself has a pace of its own.
                if detect != Detect::Get || matches!(world.vault.get(&name), Some(Said::Fails(said)) if *said == failure) {
                    continue;
                }
                // Every source was read within its interval (and the second that a full lane may take).
                let mut last = from;
                let limit = Duration::from_secs(*interval + 5);
                for (at, _) in world.gets.iter().filter(|(at, got)| *got == name && *at > from) {
                    prop_assert!(at.duration_since(last) <= limit);
                    last = *at;
                }
                prop_assert!(world.now.duration_since(last) <= limit);
            }
        }
        // A change is seen within the interval (and the seconds that full lanes may take).
        let longest = wanted.values().map(|(_, interval)| *interval).max().unwrap_or_default().max(30);
        for secret in 0_u8..12 {
            world.say(&format!("s{secret}"), Said::Version(7));
        }
        for _ in 0..longest + 8 {
            world.pass(SECOND);
            serve(&mut world, &wanted);
        }
        for (number, (secrets, _)) in &wanted {
            for secret in secrets {
                prop_assert_eq!(has.borrow().get(&(*number, *secret)).copied().flatten(), Some(7), "s{}", secret);
            }
        }
        // And at no time more than the budget allows.
        let mut sent: Vec<Instant> = [&world.gets, &world.rechecks].into_iter().flatten().map(|(at, _)| *at).chain(world.lists.iter().copied()).collect();
        sent.sort();
        for (index, start) in sent.iter().enumerate() {
            for (count, end) in sent[index..].iter().enumerate() {
                let allowed = 10.0 + 5.0 * end.duration_since(*start).as_secs_f64() + 0.01;
                prop_assert!(f64::from(u32::try_from(count + 1).unwrap()) <= allowed);
            }
        }
    }
}
