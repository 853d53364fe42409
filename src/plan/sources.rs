//! What an object reads: its spec as a list of sources, each once, and what to ask the plane for.

mod brake;
mod snapshot;

pub use brake::brake;
pub(super) use brake::{Hold, is_confirmed};
pub use snapshot::{Connected, Fares, Snapshot};
pub(super) use snapshot::{entries_named, entries_of, entry};

use super::Problem;
use super::find::{FoundNames, Listing};
use super::recipe::{Made, Recipe, SpecField, recipes};
use super::value::{Inputs, Template, check_steps};
use crate::api::{
    EntryKind, EntryState, EntryStatus, OnMissing, READY, VaultRef, VaultSecretSync, VaultSecretSyncSpec,
    condition, parse_duration,
};
use crate::reason::Reason;
use crate::vault::{Attributes, ObjectKind, ObjectName, Source, VersionPin, Want, Why};
use std::collections::BTreeSet;
use std::time::Duration;

/// One source, with the places of the spec that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct UsedSource {
    /// What is read.
    pub source: Source,
    /// Through which of the spec's [connections](VaultSecretSyncSpec::vault_refs).
    pub vault: usize,
    /// The recipes that it goes into, by index.
    pub(super) recipes: Vec<usize>,
    /// Indexes into `spec.dataFrom`.
    pub(super) data_from: Vec<usize>,
    /// Whether it is named as a certificate anywhere.
    pub(super) certificate: bool,
    /// Whether the spec names it, rather than finds it.
    pub(super) named: bool,
    /// Whether any of its keys may go once it is gone.
    pub(super) may_go: bool,
    /// `find` does not find it any more, with many others: its keys stay until somebody confirms that.
    pub(super) lost: bool,
}

impl UsedSource {
    /// The list of a grant that would permit it, as far as the spec tells what it is.
    pub(super) const fn grant(&self) -> &'static str {
        match self.source.kind {
            ObjectKind::Secret if self.certificate => "certificates",
            ObjectKind::Secret => "secrets",
            ObjectKind::Key => "keys",
        }
    }

    /// As it is called in messages: the kind and name, and the version where one is pinned.
    #[must_use]
    pub fn display(&self) -> String {
        let kind = match self.source.kind {
            ObjectKind::Secret if self.certificate => "certificate",
            ObjectKind::Secret => "secret",
            ObjectKind::Key => "key",
        };
        let version = self.source.version.as_ref().map(|version| format!(" version {version}"));
        format!("{kind} {}{}", self.source.name, version.unwrap_or_default())
    }
}

/// What a spec reads, and its templates, ready to be rendered.
#[derive(Debug, Default)]
pub struct Sources {
    /// The sources, each once, in the order of their first use.
    pub used: Vec<UsedSource>,
    /// The templates, in the order of their keys.
    pub(super) templates: Vec<TemplateUse>,
    /// The connections of which the list is not known yet, so that what `find` found before is among them.
    pub(super) awaited: Vec<usize>,
    /// The connection of which the list cannot be read, and why.
    pub(super) unlisted: Option<(usize, Why)>,
    /// How many `find` has found; `None`: the spec looks for nothing.
    pub(super) matched: Option<u16>,
    /// The places in `spec.dataFrom` of a `find` that found nothing, each with its connection.
    pub(super) unmatched: Vec<(usize, usize)>,
}

impl Sources {
    /// Whether all that `find` looks for is among them.
    pub(super) fn is_listed(&self) -> bool {
        self.awaited.is_empty() && self.unlisted.is_none()
    }

    /// Whether the values take more than a moment to render, if somebody wants that: certificates, patterns and templates.
    #[must_use]
    pub fn take_work(&self, spec: &VaultSecretSyncSpec) -> bool {
        !self.templates.is_empty()
            || self.used.iter().any(|used| used.certificate)
            || spec.data_from.iter().any(|item| !item.rename.is_empty())
    }
}

/// A template with what it is made of.
#[derive(Debug)]
pub(super) struct TemplateUse {
    pub(super) template: Template,
    /// The recipes whose values it uses, by index.
    pub(super) recipes: Vec<usize>,
    /// Whether it uses what no recipe gives, so that `dataFrom` has to.
    pub(super) objects: bool,
}

/// The most sources that one object has, as many as status names.
const MOST_SOURCES: usize = 256;

/// Reads a spec, with what its `find`s found through each of its connections.
///
/// # Errors
/// What no schema can judge of the spec, and that there are more sources than status has room for.
pub fn sources(spec: &VaultSecretSyncSpec, found: &[FoundNames]) -> Result<Sources, Problem> {
    let mut sources = read(spec).map_err(|sentence| Problem::invalid_spec(&sentence))?;
    let vaults = spec.vault_refs();
    let mut of_vaults: Vec<_> = found.iter().map(|found| found.names.iter()).collect();
    let mut matched: Option<usize> = None;
    for (index, item) in spec.data_from.iter().enumerate().filter(|(_, item)| item.find.is_some()) {
        let vault = place_of(&vaults, spec.vault_of(item));
        let Some(names) = of_vaults.get_mut(vault).and_then(Iterator::next) else { continue };
        if names.is_empty() {
            sources.unmatched.push((index, vault));
        }
        *matched.get_or_insert_default() += names.len();
        for name in names {
            let source = Source { kind: ObjectKind::Secret, name: name.clone(), version: None };
            let used = add(&mut sources.used, vault, source);
            used.data_from.push(index);
            used.may_go = true;
            used.lost |= found.get(vault).is_some_and(|found| found.lost.contains(name));
            // To look further would only take time: a vault may have tens of thousands of names.
            if sources.used.len() > MOST_SOURCES {
                return Err(Problem::too_many_matches(MOST_SOURCES));
            }
        }
    }
    let awaited = found.iter().enumerate().filter(|(_, found)| found.listing == Listing::Awaited);
    sources.awaited = awaited.map(|(place, _)| place).collect();
    sources.unlisted = found.iter().enumerate().find_map(|(place, found)| match &found.listing {
        Listing::Failed(why) => Some((place, why.clone())),
        Listing::Whole | Listing::Awaited => None,
    });
    sources.matched = matched.and_then(|matched| u16::try_from(matched).ok());
    Ok(sources)
}

/// Reads a spec.
///
/// # Errors
/// A sentence that names the field, for a spec that the schema would refuse (one stored before a rule came), and for what
/// no schema can judge.
fn read(spec: &VaultSecretSyncSpec) -> Result<Sources, String> {
    let type_ = spec.secret_type();
    if type_.is_refused() {
        return Err(format!(
            "spec.target.type: a Secret of type {} is never written, for whoever has one has more than a value. Create a new object with another type.",
            type_.as_str()
        ));
    }
    let recipes = recipes(spec).map_err(|index| {
        format!(
            "spec.data[{index}].from must have exactly one of secret, certificate and key, and store with part: Pkcs12 or TrustStore alone."
        )
    })?;
    let vaults = spec.vault_refs();
    let mut used: Vec<UsedSource> = Vec::new();
    for (index, recipe) in recipes.iter().enumerate() {
        let vault = place_of(&vaults, recipe.vault);
        for named in recipe.sources() {
            let entry = match recipe.field {
                SpecField::Data(index) => format!("spec.data[{index}]"),
                SpecField::Tls | SpecField::Template => "spec.tls".to_owned(),
            };
            let field = format!("{entry}.{}", named.field);
            let source = parse(named.kind, &field, named.name_field, (named.name, named.version))?;
            let found = add(&mut used, vault, source);
            found.recipes.push(index);
            found.certificate |= named.is_certificate();
            found.may_go |= recipe.on_missing == OnMissing::Remove;
            found.named = true;
        }
    }
    for (index, item) in spec.data_from.iter().enumerate() {
        check_steps(&item.rename).map_err(|sentence| format!("spec.dataFrom[{index}].rename{sentence}"))?;
        match (&item.secret, &item.find) {
            (Some(secret), None) => {
                let field = format!("spec.dataFrom[{index}].secret");
                let named = (secret.name.as_str(), secret.version.as_deref());
                let source = parse(ObjectKind::Secret, &field, ".name", named)?;
                let found = add(&mut used, place_of(&vaults, spec.vault_of(item)), source);
                found.data_from.push(index);
                found.may_go |= item.on_missing == OnMissing::Remove;
                found.named = true;
            }
            (None, Some(_)) => {}
            _ => return Err(format!("spec.dataFrom[{index}] must have either secret or find.")),
        }
    }
    if !recipes.iter().any(|recipe| recipe.publish) && !spec.data_from.iter().any(|item| item.publish) {
        return Err("spec publishes nothing: every entry says publish: false, and there is no target.template. Remove publish: false from an entry, or add a template.".to_owned());
    }
    let templates = spec.target.template.iter().map(|(key, text)| {
        let template =
            Template::parse(text).map_err(|fault| format!("spec.target.template, key {key}: {fault}"))?;
        Ok(TemplateUse::of(template, &recipes))
    });
    let templates = templates.collect::<Result<_, String>>()?;
    Ok(Sources { used, templates, ..Sources::default() })
}

impl TemplateUse {
    fn of(template: Template, recipes: &[Recipe<'_>]) -> Self {
        let made = |recipe: &Recipe<'_>| matches!(recipe.made, Made::Template(_));
        let sources = recipes.iter().enumerate().filter(|(_, recipe)| !made(recipe));
        let inputs = template.inputs();
        let uses = |key: &str| match &inputs {
            Inputs::All => true,
            Inputs::Some(names) => names.contains(key),
        };
        let own: Vec<usize> =
            sources.clone().filter(|(_, recipe)| uses(recipe.key)).map(|(index, _)| index).collect();
        let given = |name: &String| sources.clone().any(|(_, recipe)| recipe.key == name);
        let objects = match &inputs {
            Inputs::All => true,
            Inputs::Some(names) => !names.iter().all(given),
        };
        Self { template, recipes: own, objects }
    }
}

fn parse(
    kind: ObjectKind,
    field: &str,
    name_field: &str,
    (name, version): (&str, Option<&str>),
) -> Result<Source, String> {
    let name = ObjectName::parse(name).map_err(|error| format!("{field}{name_field}: {error}"))?;
    let version =
        version.map(VersionPin::parse).transpose().map_err(|error| format!("{field}.version: {error}"))?;
    Ok(Source { kind, name, version })
}

/// Which of the connections it is.
fn place_of(vaults: &[&VaultRef], vault: &VaultRef) -> usize {
    vaults.iter().position(|other| *other == vault).unwrap_or_default()
}

fn add(used: &mut Vec<UsedSource>, vault: usize, source: Source) -> &mut UsedSource {
    let same = |used: &UsedSource| used.vault == vault && used.source == source;
    let index = used.iter().position(same).unwrap_or_else(|| {
        let (recipes, data_from) = (Vec::new(), Vec::new());
        used.push(UsedSource {
            source,
            vault,
            recipes,
            data_from,
            certificate: false,
            named: false,
            may_go: false,
            lost: false,
        });
        used.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the index is of an element that was just found or pushed")]
    &mut used[index]
}

/// The kind of a source, as status calls it.
pub(super) const fn kind_of(source: &Source) -> EntryKind {
    match source.kind {
        ObjectKind::Secret => EntryKind::Secret,
        ObjectKind::Key => EntryKind::Key,
    }
}

/// What to ask the plane for, by connection: known is what status says that the vault told, but of the `demanded` sources
/// nothing, for their value is needed; `stale`: it was said that it is confirmed no longer.
#[must_use]
pub fn wants(
    object: &VaultSecretSync,
    connections: &[Connected<'_>],
    sources: &[UsedSource],
    demanded: &BTreeSet<usize>,
    stale: bool,
) -> Vec<Vec<Want>> {
    let mut wants = vec![Vec::new(); connections.len()];
    for (index, used) in sources.iter().enumerate() {
        let (Some(connection), Some(wants)) = (connections.get(used.vault), wants.get_mut(used.vault)) else {
            continue;
        };
        let told = told_of(object, connections, used);
        let known = told.filter(|_| !demanded.contains(&index));
        wants.push(Want {
            source: used.source.clone(),
            interval: connection.interval,
            known: known.and_then(|entry| attributes(entry, used)),
            stale: stale && says_stale(object, connection.vault),
            stake: brake::stake(object, connections, used, told),
        });
    }
    wants
}

/// What status says of a source.
fn told_of<'a>(
    object: &'a VaultSecretSync,
    connections: &[Connected<'a>],
    used: &UsedSource,
) -> Option<&'a EntryStatus> {
    entry(entries_of(object.status.as_ref()?, connections, used.vault), &used.source)
}

/// Whether it was this connection that was said to confirm nothing any more.
fn says_stale(object: &VaultSecretSync, vault: &VaultRef) -> bool {
    let ready = object.status.as_ref().and_then(|status| condition(&status.conditions, READY));
    ready.is_some_and(|ready| Problem::speaks_of(&ready.message, &Problem::is_stale(vault)))
}

/// What is known of a source. A source that could not be read is not known: whether it still cannot is to be found
/// out.
fn attributes(entry: &EntryStatus, used: &UsedSource) -> Option<Attributes> {
    match entry.state {
        // It is only found no more.
        EntryState::Because(Reason::RemovalHeld) if used.lost => {}
        EntryState::Because(reason) if !of_value(reason) => return None,
        EntryState::Unknown => return None,
        _ => {}
    }
    Some(Attributes {
        version: entry.version.clone()?,
        created: entry.created.as_ref().map(|time| time.0),
        updated: entry.updated.as_ref().map(|time| time.0),
        expires: entry.expires.as_ref().map(|time| time.0),
        not_before: entry.not_before.as_ref().map(|time| time.0),
        managed: entry.managed,
    })
}

/// Whether a reason speaks of a value that was read, so that it stands until another version is.
const fn of_value(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PropertyNotFound
            | Reason::InvalidJson
            | Reason::InvalidCertificate
            | Reason::KeyMismatch
            | Reason::CertificateTooCostly
            | Reason::NotPfx
            | Reason::InvalidPassword
            | Reason::InvalidKeyType
            | Reason::InvalidPattern
            | Reason::NoPrivateKey
            | Reason::NoIssuer
            | Reason::WholeCertificate
            | Reason::InvalidFormat
            | Reason::DecodeFailed
            | Reason::DuplicateKey
            | Reason::InvalidKey
            | Reason::NotAllowed
    )
}

/// The longest interval that the schema takes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The interval at which an object's sources are read: what it asks for, not below the connection's and the
/// operator's floor. Unreadable durations (stored before a rule came) count as the default.
#[must_use]
pub fn interval(object: &VaultSecretSync, connection_floor: &str, operator_floor: Duration) -> Duration {
    asked_interval(object)
        .max(parse_duration(connection_floor).unwrap_or(Duration::from_secs(30)).min(LONGEST))
        .max(operator_floor)
}

/// How long values may go unconfirmed that are read at this interval: as set, though never less than one and a half of the
/// interval, for a healthy source is that old between two reads; or three intervals and at least 15 minutes.
#[must_use]
pub fn stale_after(set: Option<Duration>, interval: Duration) -> Duration {
    const LEAST: Duration = Duration::from_secs(15 * 60);
    set.map_or_else(|| (interval * 3).max(LEAST), |set| set.max(interval * 3 / 2))
}

pub(super) fn asked_interval(object: &VaultSecretSync) -> Duration {
    parse_duration(&object.spec.refresh_interval).unwrap_or(Duration::from_secs(300)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_from_before_the_rules_is_held_within_them() {
        let mut object = crate::plan::fixtures::Scene::new(Vec::new(), Vec::new()).object;
        object.spec.refresh_interval = "2000000000000000h".to_owned();
        assert_eq!(interval(&object, "2000000000000000h", Duration::ZERO), LONGEST);
    }

    #[test]
    fn a_healthy_source_with_a_long_interval_is_not_stale_between_two_reads_whatever_is_set() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(stale_after(Some(minutes(30)), hours(24)), hours(36));
        assert_eq!(stale_after(Some(minutes(30)), minutes(5)), minutes(30));
        assert_eq!(stale_after(None, minutes(1)), minutes(15));
        assert_eq!(stale_after(None, hours(1)), hours(3));
    }
}
