//! Objects of External Secrets Operator, as its versions v1 and v1beta1 of `external-secrets.io` have them.

mod entries;
mod find;
mod go_template;
mod property;
mod store;
mod template;

pub(super) use store::{cluster_secret_store, secret_store};

use super::fields::Fields;
use super::words::{Heading, bare_spec, secret_type, shorten_tls};
use crate::api::{
    Creation, Deletion, OnMissing, Target, VaultKind, VaultRef, VaultSecretSync, VaultSecretSyncSpec,
    format_duration, parse_duration,
};
use std::time::Duration;

/// The shortest and the longest `refreshInterval` of ours.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));

/// What External Secrets Operator takes where no interval is set.
const INTERVAL: &str = "1h";

/// The object that writes the Secret of an `ExternalSecret`; none, with a note, where that writes none.
pub(super) fn external_secret(heading: &Heading, spec: &mut Fields<'_>) -> Option<VaultSecretSync> {
    let refresh_interval = refresh_interval(spec);
    let vault_ref = spec.fields("secretStoreRef").map(|mut store| vault_ref(&mut store)).unwrap_or_default();
    let mut target = spec.fields("target");
    let Some((mut aim, on_missing)) = target_of(target.as_mut()) else {
        target.iter_mut().for_each(Fields::leave);
        spec.leave();
        return None;
    };
    let data: Vec<_> = spec
        .items("data")
        .into_iter()
        .filter_map(|entry| entries::one(entry, &vault_ref, on_missing))
        .collect();
    let data_from: Vec<_> = spec
        .items("dataFrom")
        .into_iter()
        .filter_map(|entry| entries::many(entry, &vault_ref, on_missing))
        .collect();
    if data.is_empty() && data_from.is_empty() {
        spec.note_all("has no entry that could be converted, so there is no object for it.");
        target.iter_mut().for_each(Fields::leave);
        spec.leave();
        return None;
    }
    let mut shape = target.as_mut().and_then(|target| target.fields("template"));
    if let Some(shape) = &mut shape {
        let Ok(type_) = secret_type(shape, "type") else {
            shape.leave();
            return None;
        };
        aim.type_ = type_;
    } else {
        // Without a template it copies its own.
        aim.labels.clone_from(&heading.labels);
        aim.annotations.clone_from(&heading.annotations);
    }
    let mut written = VaultSecretSyncSpec { refresh_interval, data, data_from, ..bare_spec(vault_ref, aim) };
    if let Some(shape) = &mut shape {
        template::apply(shape, &mut written);
    }
    Some(named(heading, written, target.as_ref()))
}

/// The whole object; what a Secret of somebody else's cannot have is left out.
fn named(heading: &Heading, mut spec: VaultSecretSyncSpec, target: Option<&Fields<'_>>) -> VaultSecretSync {
    spec.target.name = spec.target.name.filter(|name| *name != heading.name);
    if spec.target.merges() {
        let Target { type_, labels, annotations, .. } = &mut spec.target;
        if type_.take().is_some() || !labels.is_empty() || !annotations.is_empty() {
            labels.clear();
            annotations.clear();
            if let Some(target) = target {
                target.note("creationPolicy", "Merge adds keys to a Secret of somebody else's, who says its type, labels and annotations: these were left out.");
            }
        }
    } else {
        shorten_tls(&mut spec);
    }
    let mut object = VaultSecretSync::new(&heading.name, spec);
    object.metadata = heading.metadata(&heading.name);
    object
}

/// The connection that stands for a store.
fn vault_ref(store: &mut Fields<'_>) -> VaultRef {
    let kind = store.text("kind");
    let name = store.text("name").unwrap_or_else(|| VaultRef::default().name);
    let is_shared = kind.as_deref() == Some("ClusterSecretStore");
    VaultRef { kind: if is_shared { VaultKind::ClusterKeyVault } else { VaultKind::KeyVault }, name }
}

fn refresh_interval(spec: &mut Fields<'_>) -> String {
    let policy = spec.text("refreshPolicy");
    if let Some(policy @ ("CreatedOnce" | "OnChange")) = policy.as_deref() {
        spec.note("refreshPolicy", format!("{policy} has no equal: vaultsync follows what changes in the vault. To stop that, set spec.suspend: true once the object is Ready, or read a version for good."));
    }
    let text = spec.text("refreshInterval").unwrap_or_else(|| INTERVAL.to_owned());
    let wanted = if text == "0" { Some(Duration::ZERO) } else { parse_duration(&text) };
    let Some(wanted) = wanted else {
        spec.note("refreshInterval", format!("{text} is no duration, so it became {INTERVAL}."));
        return INTERVAL.to_owned();
    };
    if wanted.is_zero() {
        spec.note("refreshInterval", format!("0 reads the vault once, which has no equal, so it became {INTERVAL}. To stop after the first sync, set spec.suspend: true once the object is Ready."));
        return INTERVAL.to_owned();
    }
    let (shortest, longest) = INTERVALS;
    let taken = format_duration(wanted.clamp(shortest, longest));
    if !(shortest..=longest).contains(&wanted) {
        spec.note("refreshInterval", format!("{text} became {taken}: it must be from 10s to 24h."));
    }
    taken
}

/// What a target says of the Secret but its template, and what becomes of keys whose source is missing; none, with a note,
/// where no Secret is written.
fn target_of(target: Option<&mut Fields<'_>>) -> Option<(Target, OnMissing)> {
    let mut aim = Target::default();
    let Some(target) = target else { return Some((aim, OnMissing::Keep)) };
    aim.name = target.text("name");
    if target.has("manifest") {
        target.note(
            "manifest",
            "writes another kind than Secret, which has no equal, so the object was not converted.",
        );
        return None;
    }
    match target.text("creationPolicy").as_deref() {
        Some("None") => {
            target.note("creationPolicy", "None writes no Secret, so there is nothing to convert.");
            return None;
        }
        Some("Merge") => {
            aim.creation = Creation::Merge;
            target.note("creationPolicy", "Merge became creation: Merge: the Secret must carry the annotation vaultsync.dev/consent with the name of this object, and the keys go with the object unless deletion is Retain.");
        }
        Some("CreateOrMerge") => {
            (aim.creation, aim.deletion) = (Creation::Adopt, Deletion::Retain);
            target.note("creationPolicy", "CreateOrMerge became creation: Adopt, which takes over a Secret that exists, with its consent, and leaves keys of others alone. Where somebody else writes the Secret, use creation: Merge instead.");
        }
        Some("Orphan") => aim.deletion = Deletion::Retain,
        _ => {}
    }
    let on_missing = match target.text("deletionPolicy").as_deref() {
        Some("Delete") => {
            target.note("deletionPolicy", "Delete became onMissing: Remove: keys whose secret is deleted in the vault go, but the last of them never does, and the Secret stays.");
            OnMissing::Remove
        }
        Some("Merge") => OnMissing::Remove,
        _ => OnMissing::Keep,
    };
    if target.flag("immutable") {
        target.note("immutable", "has no equal: vaultsync follows what changes in the vault. A Secret that is immutable cannot be taken over either: make it anew, or give spec.target another name.");
    }
    Some((aim, on_missing))
}
