//! A vault with a history: what a GET or a LIST says depends on when, and by which replica, it is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Dice, Profile};
use crate::api::{SecretRef, VaultRef};
use crate::vault::{
    Attributes, Connection, Failure, ObjectVersion, Reading, SecretValue, VaultUrl,
    failure::Refused,
    plane::{
        errand::{Errand, Fetch, Fetched, Permission, ReadStep},
        sighting::Listed,
        tests::{connection, page_after},
    },
    rest::{
        list::{Link, Next, Page},
        versions::{ListedVersion, VersionPage},
    },
};

/// One version of a secret.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) value: String,
    /// The second in which it was made.
    made: i64,
}

/// A secret at one moment.
#[derive(Clone, Copy, Debug)]
struct State {
    version: usize,
    updated: i64,
    enabled: bool,
    deleted: bool,
    denied: bool,
}

#[derive(Debug)]
pub(super) struct Secret {
    pub(super) versions: Vec<Version>,
    history: Vec<(Instant, State)>,
}

/// A script that sets several secrets, one after the other.
#[derive(Debug)]
struct Script {
    left: Vec<String>,
    gap: Duration,
    next: Instant,
}

/// What the second connection of a spec leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    /// There is none.
    None,
    /// A vault of its own.
    OtherVault,
    /// The same vault, with another identity.
    OtherIdentity,
    /// The same as the first.
    Same,
}

/// The vaults of the connections.
pub(super) const URLS: [&str; 2] = ["https://prod.vault.azure.net", "https://team.vault.azure.net"];

/// The connections as a spec names them.
pub(super) const NAMES: [&str; 2] = ["default", "other"];

/// Which of them a spec names.
pub(super) fn number_of(vault: Option<&VaultRef>) -> usize {
    usize::from(vault.is_some_and(|vault| vault.name == NAMES[1]))
}

#[derive(Debug)]
pub(super) struct Vaults {
    pub(super) second: Second,
    pub(super) secrets: BTreeMap<String, Secret>,
    scripts: Vec<Script>,
    /// How far the service's clock is off, and whether it tells the time at all.
    skew: Option<i64>,
    /// How late a replica may be.
    lag: Duration,
    serial: u64,
    moments: Vec<BTreeMap<String, usize>>,
    /// Secrets that went back to an older version: writing that is right.
    pub(super) went_back: bool,
    /// How many more values may be so large that a Secret takes one and no two.
    large: usize,
}

impl Secret {
    fn now(&self) -> State {
        self.history.last().unwrap().1
    }

    fn at(&self, when: Instant) -> State {
        let seen = self.history.iter().rev().find(|(at, _)| *at <= when);
        seen.unwrap_or(&self.history[0]).1
    }

    /// Where a fail-over takes it: to a version that was there before, with the time it had then. To none that shares its
    /// second with another version: a LIST could not tell them apart.
    fn before(&self) -> Option<State> {
        let now = self.now();
        let alone = |state: &State| {
            let mut others = self.history.iter().map(|(_, other)| other);
            !others.any(|other| other.version != state.version && other.updated == state.updated)
        };
        let older =
            |state: &State| state.version < now.version && state.updated < now.updated && alone(state);
        self.history.iter().rev().map(|(_, state)| *state).find(older)
    }

    fn set(&mut self, when: Instant, state: State) {
        self.history.push((when, state));
    }

    /// Its value, if it can be read.
    pub(super) fn value(&self) -> Option<&Version> {
        let state = self.now();
        (state.enabled && !state.deleted && !state.denied).then(|| &self.versions[state.version])
    }

    /// The value that it has, or had when it was deleted.
    pub(super) fn last(&self) -> &Version {
        &self.versions[self.now().version]
    }

    /// The versions that there are, in no order.
    fn listed(&self, state: State) -> VersionPage {
        let there = if state.deleted { &[] } else { &self.versions[..=state.version] };
        let items = there.iter().enumerate().map(|(index, version)| ListedVersion {
            version: ObjectVersion::parse(&version.id).unwrap(),
            created: Timestamp::from_second(version.made).ok(),
            enabled: state.enabled || index != state.version,
        });
        VersionPage { items: items.collect(), next: Next::End }
    }

    /// A version before the current one.
    fn older(&self, state: State, version: &ObjectVersion) -> Option<Reading> {
        let version = self.versions[..state.version].iter().find(|older| older.id == version.as_str())?;
        let time = Timestamp::from_second(version.made).ok();
        let attributes = Attributes {
            version: version.id.clone(),
            created: time,
            updated: time,
            expires: None,
            not_before: None,
            managed: false,
        };
        Some(Reading { attributes, value: SecretValue::new(version.value.clone().into()) })
    }

    /// The version that an entry names, of those that it has, or had when it was deleted.
    pub(super) fn named(&self, entry: &SecretRef) -> &Version {
        self.named_by(entry.version.is_some())
    }

    /// The current one, or the one before.
    pub(super) fn named_by(&self, previous: bool) -> &Version {
        self.at_moment(self.now().version, previous)
    }

    /// The same while this one was current.
    pub(super) fn at_moment(&self, current: usize, previous: bool) -> &Version {
        &self.versions[current - usize::from(previous)]
    }

    fn attributes(&self, state: State) -> Attributes {
        let time = |second| Timestamp::from_second(second).ok();
        Attributes {
            version: self.versions[state.version].id.clone(),
            created: time(self.versions[state.version].made),
            updated: time(state.updated),
            expires: None,
            not_before: None,
            managed: false,
        }
    }
}

const SECOND: i64 = 1_750_000_000;

/// More than half of what a Secret takes.
const LARGE: usize = 560 * 1024;

impl Vaults {
    pub(super) fn new(dice: &mut Dice, now: Instant, profile: Profile) -> Self {
        let skew = match dice.roll(4) {
            0 => None,
            1 => Some(i64::try_from(dice.roll(11)).unwrap() - 5),
            _ => Some(0),
        };
        let wild = profile == Profile::Wild;
        let lag = match dice.roll(6) {
            0 | 1 if wild => dice.millis(3000),
            // So late that what a LIST showed is not there yet when it is read.
            2 | 3 if wild => dice.millis(9000),
            _ => Duration::ZERO,
        };
        // A clock that is ahead makes a change look older: by more than a script's pauses leave it is out of reach.
        let skew = if wild { skew } else { skew.filter(|_| dice.once_in(2)).map(|skew| skew.min(2)) };
        let second = *dice.pick(&[
            Second::None,
            Second::None,
            Second::OtherVault,
            Second::OtherVault,
            Second::OtherVault,
            Second::OtherIdentity,
            Second::Same,
        ]);
        let mut vaults = Self {
            second,
            secrets: BTreeMap::new(),
            scripts: Vec::new(),
            skew,
            lag,
            serial: 0,
            moments: Vec::new(),
            went_back: false,
            large: if wild && dice.once_in(4) { 16 } else { 0 },
        };
        // More than can be read within a wait are not waited for.
        let names = if dice.once_in(20) && wild { 128 } else { 2 + dice.roll(8) };
        for index in 0..names {
            let kind = if index % 5 == 4 { "j" } else { "s" };
            let name = format!("{kind}{index}");
            let versions =
                vec![vaults.version(dice, &name, SECOND - 200), vaults.version(dice, &name, SECOND - 100)];
            let state =
                State { version: 1, updated: SECOND - 100, enabled: true, deleted: false, denied: false };
            let secret = Secret { versions, history: vec![(now, state)] };
            vaults.secrets.insert(name, secret);
        }
        vaults.note_moment();
        vaults
    }

    /// The connection through which a new entry reads a secret.
    pub(super) fn vault_of(&self, name: &str) -> usize {
        usize::from(self.second != Second::None && name.ends_with(['1', '4', '7']))
    }

    /// The vault of a connection.
    pub(super) fn url_of(&self, vault: usize) -> &'static str {
        if self.second == Second::OtherVault { URLS[vault] } else { URLS[0] }
    }

    /// Whether a connection shows a secret.
    pub(super) fn shows(&self, vault: usize, name: &str) -> bool {
        self.second != Second::OtherVault || self.vault_of(name) == vault
    }

    /// The second connection.
    pub(super) fn connection(&self, vault: usize) -> Connection {
        let url = VaultUrl::parse(self.url_of(vault)).unwrap();
        let client = u8::from(vault == 1 && self.second == Second::OtherIdentity);
        Connection { url, ..connection(client) }
    }

    /// A new version: JSON, of which plain entries take the whole text.
    fn version(&mut self, dice: &mut Dice, name: &str, made: i64) -> Version {
        self.serial += 1;
        let large = self.large > 0 && dice.once_in(2);
        self.large -= usize::from(large);
        let filling = "x".repeat(if large { LARGE } else { 0 });
        let mut members = Map::new();
        members.insert("a".to_owned(), json!(format!("{name}-a-{}{filling}", self.serial)));
        if !dice.once_in(4) {
            members.insert("b".to_owned(), json!(format!("{name}-b-{}", self.serial)));
        }
        if name.starts_with('j') {
            // Names of its own, so that no two sources give one key.
            members = (0..dice.roll(4)).map(|key| (format!("{name}_{key}"), json!(self.serial))).collect();
            members.insert(format!("{name}_always"), json!(format!("{}{filling}", self.serial)));
        }
        let value = if dice.once_in(30) { "no JSON".to_owned() } else { Value::Object(members).to_string() };
        Version { id: format!("{:032x}", self.serial), value, made }
    }

    fn put(&mut self, dice: &mut Dice, name: &str, now: Instant, second: i64) {
        let version = self.version(dice, name, second);
        let Some(secret) = self.secrets.get_mut(name) else { return };
        secret.versions.push(version);
        let version = secret.versions.len() - 1;
        let state = State { version, updated: second, enabled: true, deleted: false, ..secret.now() };
        secret.set(now, state);
    }

    /// Something happens in the vault.
    pub(super) fn interfere(
        &mut self,
        dice: &mut Dice,
        now: Instant,
        second: i64,
        profile: Profile,
    ) -> String {
        let names: Vec<String> = self.secrets.keys().cloned().collect();
        let name = dice.pick(&names).clone();
        if profile == Profile::Scripts {
            // A wait is bounded: who changes everything again while it lasts can be seen half.
            if !self.scripts.is_empty()
                || self.secrets.values().any(|secret| {
                    now.duration_since(secret.history.last().unwrap().0) < Duration::from_secs(90)
                        && secret.versions.len() > 2
                })
            {
                return "nothing, for a script ran just now".to_owned();
            }
            let gap = dice.millis(1900);
            let most =
                usize::try_from(6000 / (gap.as_millis() + 1)).unwrap_or(usize::MAX).clamp(1, names.len());
            let left: Vec<String> = names[..most.min(names.len())].to_vec();
            self.scripts.push(Script { left, gap, next: now });
            return format!("a script sets {most} secrets, each {} ms after the one before", gap.as_millis());
        }
        let state = self.secrets[&name].now();
        let (what, state) = match dice.roll(12) {
            0 => ("is deleted", State { deleted: true, ..state }),
            1 => ("is there again", State { deleted: false, ..state }),
            2 => ("is disabled", State { enabled: false, updated: second, ..state }),
            3 => ("is enabled", State { enabled: true, updated: second, ..state }),
            4 => ("may not be read", State { denied: true, ..state }),
            5 => ("may be read", State { denied: false, ..state }),
            6 => ("gets a tag", State { updated: second, ..state }),
            7 => match self.secrets[&name].before() {
                Some(older) => {
                    self.went_back = true;
                    let State { version, updated, .. } = older;
                    ("goes back to an older version", State { version, updated, ..state })
                }
                None => ("has no older version to go back to", state),
            },
            8 => {
                let many = 1 + dice.roll(names.len());
                for name in &names[..many] {
                    self.put(dice, name, now, second);
                }
                return format!("{many} secrets change at once");
            }
            9 => {
                self.put(dice, &name, now, second);
                self.put(dice, &name, now, second);
                return format!("{name} changes twice within a moment");
            }
            _ => {
                self.put(dice, &name, now, second);
                return format!("{name} changes to {}", self.secrets[&name].versions.last().unwrap().id);
            }
        };
        self.secrets.get_mut(&name).unwrap().set(now, state);
        format!("{name} {what}")
    }

    /// Whether a script is half-way.
    pub(super) fn runs_a_script(&self) -> bool {
        !self.scripts.is_empty()
    }

    /// Scripts go on.
    pub(super) fn go_on(&mut self, now: Instant, second: i64) {
        let mut dice = Dice(self.serial);
        let mut scripts = std::mem::take(&mut self.scripts);
        for script in &mut scripts {
            while script.next <= now && !script.left.is_empty() {
                let name = script.left.remove(0);
                self.put(&mut dice, &name, now, second);
                script.next += script.gap;
            }
        }
        let running = scripts.len();
        scripts.retain(|script| !script.left.is_empty());
        if scripts.len() < running {
            self.note_moment();
        }
        self.scripts = scripts;
    }

    /// The numbers of versions as they stood between scripts.
    pub(super) fn moments(&self) -> &[BTreeMap<String, usize>] {
        &self.moments
    }

    fn note_moment(&mut self) {
        let numbers = self.secrets.iter().map(|(name, secret)| (name.clone(), secret.now().version));
        let moment = numbers.collect();
        self.moments.push(moment);
    }

    /// Every secret can be read again and can be rendered.
    pub(super) fn heal(&mut self, now: Instant, second: i64) {
        let names: Vec<String> = self.secrets.keys().cloned().collect();
        self.scripts.clear();
        for name in names {
            let secret = &self.secrets[&name];
            let broken = |version: &Version| {
                let value = &version.value;
                let lacks = name.starts_with('s') && !value.contains("-b-");
                value == "no JSON" || value.len() > LARGE || lacks
            };
            let current = secret.now().version;
            let broken = current == 0 || secret.versions[current - 1..=current].iter().any(broken);
            for _ in 0..if broken { 2 } else { 0 } {
                self.serial += 1;
                let serial = self.serial;
                let value = if name.starts_with('j') {
                    json!({format!("{name}_always"): serial}).to_string()
                } else {
                    json!({"a": format!("{name}-a-{serial}"), "b": format!("{name}-b-{serial}")}).to_string()
                };
                let secret = self.secrets.get_mut(&name).unwrap();
                secret.versions.push(Version { id: format!("{:032x}", self.serial), value, made: second });
            }
            let secret = self.secrets.get_mut(&name).unwrap();
            let version = if broken { secret.versions.len() - 1 } else { secret.now().version };
            let updated = if broken { second } else { secret.now().updated };
            secret.set(now, State { version, updated, enabled: true, deleted: false, denied: false });
        }
    }

    /// Some secrets go and do not come back; which.
    pub(super) fn lose(&mut self, dice: &mut Dice, now: Instant) -> BTreeSet<String> {
        let mut gone = BTreeSet::new();
        for (name, secret) in &mut self.secrets {
            if dice.once_in(3) {
                secret.set(now, State { deleted: true, ..secret.now() });
                gone.insert(name.clone());
            }
        }
        gone
    }

    /// What a request that is read at `now` is answered.
    pub(super) fn read(&self, dice: &mut Dice, fetch: &Fetch, now: Instant, second: i64) -> Fetched {
        let failed = |failure| Fetched::Failed(Refused { failure, retry_after: None });
        let lag = if self.lag.is_zero() {
            self.lag
        } else {
            dice.millis(u64::try_from(self.lag.as_millis()).unwrap())
        };
        let when = now.checked_sub(lag).unwrap_or(now);
        let date = self.skew.and_then(|skew| Timestamp::from_second(second + skew).ok());
        let vault = usize::from(fetch.connection == self.connection(1) && self.second == Second::OtherVault);
        match &fetch.errand {
            Errand::Prove(Permission::Read) => failed(Failure::SecretNotFound),
            Errand::Prove(Permission::List) => Fetched::Permitted,
            Errand::List(link) => Fetched::Listed(self.page(vault, link.as_ref(), when), date),
            Errand::Read { source, step, .. } => {
                let shown = |_: &&Secret| self.shows(vault, source.name.as_str());
                let Some(secret) = self.secrets.get(source.name.as_str()).filter(shown) else {
                    return failed(Failure::SecretNotFound);
                };
                let state = secret.at(when);
                if let ReadStep::Versions(_) = step {
                    if state.denied {
                        return failed(Failure::MissingRole(Box::default()));
                    }
                    return Fetched::Versions(secret.listed(state));
                }
                if let ReadStep::Version(version) = step
                    && !state.deleted
                    && !state.denied
                    && version.as_str() != secret.versions[state.version].id
                {
                    return match secret.older(state, version) {
                        Some(reading) => Fetched::Read(reading, date),
                        None => failed(Failure::SecretNotFound),
                    };
                }
                if state.denied {
                    return failed(Failure::MissingRole(Box::default()));
                } else if state.deleted {
                    return failed(Failure::SecretNotFound);
                } else if !state.enabled {
                    return failed(Failure::SecretDisabled);
                }
                let value = SecretValue::new(secret.versions[state.version].value.clone().into());
                Fetched::Read(Reading { attributes: secret.attributes(state), value }, date)
            }
        }
    }

    /// The page that begins after the name in `link`.
    fn page(&self, vault: usize, link: Option<&Link>, when: Instant) -> Page {
        let there = self.secrets.iter().filter(|(name, _)| self.shows(vault, name));
        let there = there.map(|(name, secret)| (name, secret, secret.at(when)));
        let listed = there.filter(|(_, _, state)| !state.deleted).map(|(name, secret, state)| {
            let Attributes { created, updated, expires, not_before, .. } = secret.attributes(state);
            (name, Listed { enabled: state.enabled, created, updated, expires, not_before })
        });
        page_after(link, 5, listed)
    }
}
