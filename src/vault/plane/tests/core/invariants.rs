//! What holds after every micro-step, and what holds once all is quiet.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Model, Profile, cluster};
use crate::{
    api::{DataItem, Fingerprint, OnMissing, READY, VaultSecretSyncSpec, condition},
    plan::{Change, NewSecret, Seen},
};

/// For each key with a record the Secret's bytes are those of that record, or somebody else's edit was not looked at yet.
pub(super) fn always(model: &mut Model) {
    for index in 0..model.cluster.stored.len() {
        if !model.cluster.stored[index].touched || model.operator.is_telling(index) {
            continue;
        }
        model.cluster.stored[index].touched = false;
        if model.cluster.stored[index].behind {
            continue;
        }
        let stored = &model.cluster.stored[index];
        let known = model.operator.known(index, &stored.object);
        let (Some(target), Some(secret)) =
            (known.status.as_ref().and_then(|status| status.target.as_ref()), &stored.secret)
        else {
            continue;
        };
        if target.uid != secret.uid {
            continue;
        }
        let recorded = target.keys.iter().filter_map(|key| Some((key.of?, key.name.as_str())));
        let members = |of: &Fingerprint| model.cluster.members.get(of).into_iter().flatten();
        let of_objects =
            target.data_from.iter().flat_map(|of| members(of).map(|member| (*of, member.as_str())));
        for (of, key) in recorded.chain(of_objects).filter(|(_, key)| !secret.foreign.contains(*key)) {
            let Some(expected) = model.cluster.bytes.get(&(of, key.to_owned())) else {
                model.fail(&format!("o{index}: nobody knows what {of} stands for, of key {key}"));
            };
            if secret.data.get(key) != Some(expected) {
                let told = |bytes: &[u8]| format!("{:.80}", String::from_utf8_lossy(bytes));
                let found = secret.data.get(key).map(|bytes| told(bytes));
                let expected = told(expected);
                model.fail(&format!(
                    "o{index}: status says that key {key} is {expected}, and the Secret has {found:?}"
                ));
            }
        }
    }
}

/// The Secret before a request.
pub(super) fn before_write(model: &mut Model, index: usize) {
    model.cluster.stored[index].touched = true;
}

/// A first creation has every key that its entries do not call dispensable.
pub(super) fn after_create(model: &mut Model, index: usize, new: &NewSecret, seen: &Seen) {
    if !matches!(seen, Seen::Written(_)) {
        return;
    }
    if model.cluster.stored[index].object.spec.target.merges() {
        model.fail(&format!("o{index}: a Secret is created that somebody else is to make"));
    }
    if new.data.is_empty() {
        model.fail(&format!("o{index}: an empty Secret is created"));
    }
    // The spec may have been edited since the round began: then the round's own is meant.
    let object = &model.cluster.stored[index].object;
    let required = object.spec.secret_type().required_keys();
    if let Some(key) = required.iter().find(|key| !new.data.contains_key(**key)) {
        model.fail(&format!("o{index}: a Secret is created without the key {key}, which its type requires"));
    }
    let latest = object.metadata.generation == Some(1);
    let wanted = |item: &&DataItem| latest && item.publish && item.on_missing == OnMissing::Keep;
    for item in object.spec.data.iter().filter(wanted) {
        if !new.data.contains_key(&item.key) {
            model.fail(&format!("o{index}: a Secret is created without the key {}", item.key));
        }
    }
}

/// No change empties a Secret or takes a key that its entry says to keep; none mixes two runs of a script.
pub(super) fn after_change(model: &mut Model, index: usize, change: &Change, seen: &Seen) {
    let Seen::Written(written) = seen else { return };
    let stored = &model.cluster.stored[index];
    let secret = stored.secret.as_ref().unwrap();
    let required = stored.object.spec.secret_type().required_keys();
    if let Some(key) = required.iter().find(|key| change.remove.contains(**key)) {
        model.fail(&format!("o{index}: the key {key} is removed, which the type requires"));
    }
    if !change.remove.is_empty() && secret.data.is_empty() {
        model.fail(&format!("o{index}: the Secret is emptied"));
    }
    if model.profile == Profile::Scripts {
        if change.remove.iter().any(|key| !key.starts_with('j')) {
            model.fail(&format!("o{index}: {:?} are removed, though nothing is missing", change.remove));
        }
        if written.moved && !model.healed {
            no_half(model, index);
        }
    }
}

/// The Secret holds what one moment between two scripts had. Bytes are compared: two versions can have the same.
fn no_half(model: &Model, index: usize) {
    let stored = &model.cluster.stored[index];
    let data = &stored.secret.as_ref().unwrap().data;
    let moments = model.vaults.moments();
    let fits = |moment: &BTreeMap<String, usize>| {
        stored.object.spec.data.iter().all(|item| {
            let name = &cluster::secret_of(item).name;
            let version = model.vaults.secrets[name]
                .at_moment(moment[name], cluster::secret_of(item).version.is_some());
            let bytes = cluster::rendered(&version.value, cluster::secret_of(item).property.as_deref());
            bytes.as_ref() == data.get(&item.key)
        })
    };
    if !moments.iter().any(fits) {
        model.fail(&format!(
            "o{index}: two runs of a script are mixed: {:?}; there were {moments:?}",
            text(data)
        ));
    }
}

fn text(data: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    data.iter().map(|(key, bytes)| (key.clone(), String::from_utf8_lossy(bytes).into_owned())).collect()
}

/// What the Secret of an object is to be once all is quiet, and whether that of its template is not known: it keeps what it
/// was made of last.
fn expected_of(
    model: &Model,
    spec: &VaultSecretSyncSpec,
    gone: &BTreeSet<String>,
    given: impl Fn(&str) -> bool,
) -> (BTreeMap<String, Vec<u8>>, bool) {
    let goes = |name: &str, on_missing| gone.contains(name) && on_missing == OnMissing::Remove;
    let required = |key: &str| spec.secret_type().required_keys().contains(&key);
    let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let finds = cluster::finds_of(spec);
    for (name, secret) in model.vaults.secrets.iter().filter(|(name, _)| !gone.contains(*name)) {
        if finds.iter().any(|find| find.finds(&model.vaults, name)) {
            expected.insert(name.clone(), secret.last().value.clone().into_bytes());
        }
    }
    for (_, secret) in cluster::objects_of(spec).filter(|(_, secret)| given(&secret.name)) {
        expected.extend(cluster::members(&model.vaults.secrets[&secret.name].last().value));
    }
    for item in &spec.data {
        let name = &cluster::secret_of(item).name;
        let value = &model.vaults.secrets[name].named(cluster::secret_of(item)).value;
        let bytes = cluster::rendered(value, cluster::secret_of(item).property.as_deref());
        let there = item.publish && (required(&item.key) || !goes(name, item.on_missing));
        match bytes.filter(|_| there) {
            Some(bytes) => expected.insert(item.key.clone(), bytes),
            None => expected.remove(&item.key),
        };
    }
    let mut unknown = false;
    if let Some(inputs) = cluster::inputs_of(spec) {
        let made = |item: &DataItem| -> Option<Vec<u8>> {
            let secret = cluster::secret_of(item);
            match gone.contains(&secret.name) {
                true if item.on_missing == OnMissing::Remove && !required(&item.key) => {
                    Some(b"none".to_vec())
                }
                // It keeps what it was made of last.
                true => None,
                false => cluster::rendered(
                    &model.vaults.secrets[&secret.name].named(secret).value,
                    secret.property.as_deref(),
                ),
            }
        };
        match (made(inputs[0]), made(inputs[1])) {
            (Some(left), Some(right)) => {
                let end = cluster::dots(&spec.target.template[cluster::TEMPLATE]).as_bytes();
                expected.insert(cluster::TEMPLATE.to_owned(), [&left, &b"|"[..], &right, end].concat());
            }
            _ => unknown = true,
        }
    }
    (expected, unknown)
}

/// Once all is quiet each Secret is what the vault says, status says so, and nothing moves any more.
pub(super) fn at_rest(model: &mut Model, gone: &BTreeSet<String>) {
    for index in 0..model.cluster.stored.len() {
        let stored = &model.cluster.stored[index];
        let object = &stored.object;
        let spec = &object.spec;
        let goes = |name: &str, on_missing| gone.contains(name) && on_missing == OnMissing::Remove;
        let required = |key: &str| spec.secret_type().required_keys().contains(&key);
        // Of a source that stands twice in dataFrom, one use decides.
        let all_go = |name: &str| {
            cluster::objects_of(spec).any(|(item, secret)| secret.name == name && goes(name, item.on_missing))
        };
        // What left cannot be told from what a source that is gone may still give.
        let whole =
            cluster::objects_of(spec).all(|(_, secret)| !gone.contains(&secret.name) || all_go(&secret.name));
        let (expected, unknown) = expected_of(model, spec, gone, |name| !(whole && all_go(name)));
        let expected = text(&expected);
        let mut found = stored.secret.as_ref().map(|secret| text(&secret.data)).unwrap_or_default();
        // What somebody else made of a key that is no longer ours is theirs.
        let foreign = stored.secret.as_ref().map(|secret| secret.foreign.clone()).unwrap_or_default();
        found.retain(|key, _| expected.contains_key(key) || !foreign.contains(key));
        if unknown {
            found.remove(cluster::TEMPLATE);
        }
        // A Secret is created, or taken over, once every find finds something: what it gives might be keys that pods wait for.
        let finds = cluster::finds_of(spec);
        let names = || model.vaults.secrets.keys().filter(|name| !gone.contains(*name));
        let unmatched = finds.iter().any(|find| !names().any(|name| find.finds(&model.vaults, name)));
        let ready = object.status.as_ref().and_then(|status| condition(&status.conditions, READY));
        let has_none =
            stored.secret.as_ref().is_none_or(|secret| !secret.is_marked() && !spec.target.merges());
        if has_none && unmatched && ready.is_some_and(|ready| ready.status == "False") {
            continue;
        }
        // The last key stays: a Secret is never emptied.
        let emptied = expected.is_empty() && !unknown;
        if found != expected && !emptied {
            let differ: Vec<String> = expected
                .keys()
                .chain(found.keys())
                .filter(|key| expected.get(*key) != found.get(*key))
                .map(|key| format!("{key}: {:?} for {:?}", found.get(key), expected.get(key)))
                .collect();
            let managers = stored.secret.as_ref().map(|secret| &secret.managers);
            let target = object.status.as_ref().and_then(|status| status.target.as_ref());
            model.fail(&format!(
                "o{index} is not what the vault says: {}; written by {managers:?}; recorded {target:?}; {:?}",
                differ.join("; "),
                object.status.as_ref().map(|status| &status.conditions)
            ));
        }
        let stays = !spec.target.goes_with_object();
        if stored.secret.as_ref().is_some_and(|secret| secret.owners.is_empty() != stays) {
            model.fail(&format!("o{index}: the Secret stays: {}, and the spec says {stays}", !stays));
        }
        let Some(status) = &object.status else { model.fail(&format!("o{index} has no status")) };
        if status.target.is_none() && !emptied {
            model.fail(&format!("o{index} has a Secret, and status does not say so"));
        }
        let ready = ready.map(|ready| ready.status.as_str());
        let lacks = |item: &DataItem| {
            let stays = item.on_missing == OnMissing::Keep || required(&item.key);
            stays && gone.contains(&cluster::secret_of(item).name)
        };
        // Of a Secret of somebody else's every key may go, as long as others stay.
        let others =
            stored.secret.iter().flat_map(|secret| &secret.data).any(|(key, _)| foreign.contains(key));
        let keeps = (emptied && !(spec.target.merges() && others))
            || unmatched
            || !whole
            || spec.data.iter().any(lacks);
        if ready != Some(if keeps { "False" } else { "True" }) {
            model.fail(&format!("o{index} is Ready: {:?}", condition(&status.conditions, READY)));
        }
        for entry in status.entries.iter().filter(|entry| !gone.contains(&entry.name)) {
            let secret = &model.vaults.secrets[&entry.name];
            let version = secret.value().map(|_| secret.named_by(entry.pin.is_some()).id.as_str());
            if entry.version.as_deref() != version {
                model.fail(&format!(
                    "o{index}: entry {} says {:?}, not {version:?}",
                    entry.name, entry.version
                ));
            }
        }
        if status.observed_generation != object.metadata.generation {
            model.fail(&format!("o{index}: the last edit was not observed"));
        }
    }
    let (before, gets, lists) = (model.cluster.counts, model.operator.gets, model.operator.version_lists);
    model.rest(Duration::from_secs(130));
    let after = model.cluster.counts;
    // Each source, the current version and the one before, at most three times by its interval, once for its day, and once for
    // a confirmation.
    if model.operator.gets > gets + 5 * 2 * model.vaults.secrets.len() {
        model.fail(&format!("though nothing happens, {} GETs are made", model.operator.gets - gets));
    }
    // A list is believed for five minutes.
    if model.operator.version_lists > lists + 2 * model.vaults.secrets.len() {
        model.fail("though nothing happens, versions are listed again and again");
    }
    // A source whose time of the day it is has its keys sent once more: equal bytes move nothing, but for the stamp that
    // a webhook puts on whatever is written.
    let most = model.cluster.stored.len() * model.vaults.secrets.len();
    let said = if model.cluster.stamps { most } else { 0 };
    if after.moves != before.moves
        || after.statuses > before.statuses + said
        || after.writes > before.writes + most
    {
        model.fail(&format!("though nothing happens, {before:?} became {after:?}"));
    }
}
