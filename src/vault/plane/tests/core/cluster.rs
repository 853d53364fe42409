//! An API server with bytes: objects, their status, and Secrets with who wrote which key.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::{
    Dice, Model, Profile, operator,
    vaults::{NAMES, Second, Vaults, number_of},
};
use crate::{
    api::{
        CONSENT_ANNOTATION, Creation, DataFrom, DataItem, Deletion, Fingerprint, OWNER_ANNOTATION,
        ObjectSecretRef, OnMissing, SecretRef, SecretType, VaultRef, VaultSecretSync, VaultSecretSyncSpec,
        VaultSecretSyncStatus,
    },
    plan::{
        Change, NewSecret, Observed, Refusal, Seen, Written, fingerprints_of, found_fingerprints, manager_of,
        template_fingerprint,
    },
    vault::NamePattern,
};

/// A Secret.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) uid: String,
    version: u64,
    /// The version that the last change gave it, apart from stamps.
    changed_at: u64,
    pub(super) data: BTreeMap<String, Vec<u8>>,
    pub(super) managers: BTreeMap<String, BTreeSet<String>>,
    moved_at: BTreeMap<String, i64>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    pub(super) owners: Vec<OwnerReference>,
    our_labels: BTreeSet<String>,
    /// Keys that somebody else touched after our last write of them.
    pub(super) foreign: BTreeSet<String>,
}

impl Secret {
    pub(super) fn is_marked(&self) -> bool {
        self.annotations.contains_key(OWNER_ANNOTATION)
    }
}

/// An object with its Secret.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) object: Arc<VaultSecretSync>,
    pub(super) secret: Option<Secret>,
    /// Statuses that were stored once.
    older: Vec<VaultSecretSyncStatus>,
    /// Every spec it ever had.
    specs: Vec<VaultSecretSyncSpec>,
    /// What stands in status may be older than the Secret: a crash, or a restored status.
    pub(super) behind: bool,
    /// Secret or status changed since this was last checked.
    pub(super) touched: bool,
    pub(super) vault_gone: bool,
}

/// What happened to Secrets and status, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) writes: usize,
    pub(super) moves: usize,
    pub(super) statuses: usize,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) stored: Vec<Stored>,
    pub(super) counts: Counts,
    /// A webhook stamps whatever is written, and each look is a write.
    pub(super) stamps: bool,
    serial: u64,
    /// What each fingerprint stands for: the bytes of a key.
    pub(super) bytes: HashMap<(Fingerprint, String), Vec<u8>>,
    /// The keys that a fingerprint of a `dataFrom` source stands for.
    pub(super) members: HashMap<Fingerprint, Vec<String>>,
    learned: BTreeMap<(usize, usize, String), usize>,
    /// What versions make of each entry.
    of_key: BTreeMap<String, BTreeSet<Fingerprint>>,
    /// How many of them each template's inputs were joined.
    joined: BTreeMap<(String, String, String), (usize, usize)>,
}

/// The key of each object that is a template of two others.
pub(super) const TEMPLATE: &str = "T";

/// What follows the inputs of the template.
pub(super) fn dots(text: &str) -> &str {
    text.rsplit_once('}').map_or("", |(_, dots)| dots)
}

/// The inputs of the template, if there is one.
pub(super) fn inputs_of(spec: &VaultSecretSyncSpec) -> Option<[&DataItem; 2]> {
    let text = spec.target.template.get(TEMPLATE)?;
    let mut inputs = text.split('"').filter_map(|part| spec.data.iter().find(|item| item.key == part));
    // In the order of the spec, as recipes stand.
    Some([inputs.next()?, inputs.next()?])
}

/// Entries of one word make the same of the same versions.
fn item_word(item: &DataItem) -> String {
    let secret = secret_of(item);
    format!("{} {} {:?} {:?}", item.key, secret.name, secret.version, secret.property)
}

/// A key of those Secrets that somebody else makes.
const THEIRS: &str = "theirs";

/// What the API server takes as the data of a Secret.
const MOST_BYTES: usize = 1024 * 1024;

impl Cluster {
    pub(super) fn new(dice: &mut Dice, vaults: &Vaults, profile: Profile) -> Self {
        let mut cluster = Self {
            stored: Vec::new(),
            counts: Counts::default(),
            stamps: profile == Profile::Wild && dice.once_in(6),
            serial: 1,
            bytes: HashMap::new(),
            members: HashMap::new(),
            learned: BTreeMap::new(),
            of_key: BTreeMap::new(),
            joined: BTreeMap::new(),
        };
        let names: Vec<&String> = vaults.secrets.keys().collect();
        let objects = if names.len() > 20 { 1 } else { 1 + dice.roll(4) };
        for index in 0..objects {
            let mut data: Vec<Value> = Vec::new();
            let mut data_from: Vec<Value> = Vec::new();
            let all = names.len() > 20;
            for name in &names {
                if !all && dice.once_in(3) && profile == Profile::Wild {
                    continue;
                }
                if name.starts_with('j') {
                    if data_from.len() < 16 {
                        let vault = NAMES[vaults.vault_of(name)];
                        data_from.push(json!({
                            "secret": {"name": name}, "vaultRef": {"name": vault},
                            "onMissing": on_missing(dice, profile),
                        }));
                    }
                } else if data.len() < 128 {
                    data.push(item(dice, vaults, &format!("K{}", data.len()), name, profile));
                }
            }
            if data.is_empty() {
                data.push(item(dice, vaults, "K0", names[names.len() - 1], profile));
            }
            if profile == Profile::Wild && dice.once_in(2) && data_from.len() < 16 {
                let name = *dice.pick(&["s*", "*1", "s2", "*"]);
                let vault = if vaults.second == Second::None { NAMES[0] } else { *dice.pick(&NAMES) };
                data_from.push(json!({"find": {"name": name}, "vaultRef": {"name": vault}}));
            }
            let spec = json!({"data": data, "dataFrom": data_from, "refreshInterval": "60s"});
            let mut spec: VaultSecretSyncSpec = serde_json::from_value(spec).unwrap();
            if profile == Profile::Wild && dice.once_in(3) {
                spec.target.creation = *dice.pick(&[Creation::Adopt, Creation::Merge]);
            }
            let required = SecretType::Tls.required_keys();
            if dice.once_in(4) && spec.data.len() >= required.len() && !spec.target.merges() {
                spec.target.type_ = Some(SecretType::Tls);
                for (item, key) in spec.data.iter_mut().zip(required) {
                    item.key = (*key).to_owned();
                }
            }
            if profile == Profile::Wild && spec.data.len() > 1 && dice.once_in(2) {
                let input = |item: &DataItem| format!("{{{{ data[\"{}\"] | default(\"none\") }}}}", item.key);
                let text = format!("{}|{}", input(&spec.data[0]), input(&spec.data[1]));
                spec.target.template.insert(TEMPLATE.to_owned(), text);
            }
            let mut object = VaultSecretSync::new(&format!("o{index}"), spec.clone());
            object.metadata.namespace = Some("shop".to_owned());
            object.metadata.uid = Some(format!("uid-{index}"));
            object.metadata.generation = Some(1);
            object.metadata.resource_version = Some("1".to_owned());
            cluster.stored.push(Stored {
                object: Arc::new(object),
                secret: None,
                older: Vec::new(),
                specs: vec![spec],
                behind: false,
                touched: true,
                vault_gone: false,
            });
            if dice.once_in(2) {
                cluster.make_theirs(index, dice.once_in(2), 1_749_999_999);
            }
        }
        cluster.learn(vaults);
        cluster
    }

    fn version(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Takes in what new versions and new specs would make.
    pub(super) fn learn(&mut self, vaults: &Vaults) {
        for (index, stored) in self.stored.iter().enumerate() {
            for (number, spec) in stored.specs.iter().enumerate() {
                for (name, secret) in &vaults.secrets {
                    let known = self.learned.entry((index, number, name.clone())).or_default();
                    for version in &secret.versions[*known..] {
                        let url = vaults.url_of(vaults.vault_of(name));
                        let (keys, object) = fingerprints_of(url, name, &version.id, spec);
                        for (place, of) in keys {
                            let item = &spec.data[place];
                            if let Some(bytes) = rendered(&version.value, secret_of(item).property.as_deref())
                            {
                                self.bytes.entry((of, item.key.clone())).or_insert(bytes);
                                self.of_key.entry(item_word(item)).or_default().insert(of);
                            }
                        }
                        let looks_into = |item: &DataFrom| {
                            let vault = number_of(item.vault_ref.as_deref());
                            vaults.shows(vault, name).then(|| vaults.url_of(vault))
                        };
                        for of in found_fingerprints(looks_into, name, &version.id, spec) {
                            self.bytes.insert((of, name.clone()), version.value.clone().into_bytes());
                        }
                        let Some(of) = object else { continue };
                        if self.members.contains_key(&of) {
                            continue;
                        }
                        let given = members(&version.value);
                        self.members.insert(of, given.iter().map(|(member, _)| member.clone()).collect());
                        self.bytes.extend(given.into_iter().map(|(member, bytes)| ((of, member), bytes)));
                    }
                    *known = secret.versions.len();
                }
            }
        }
        self.learn_templates();
    }

    /// Takes in what the templates would make of any versions of their inputs, or of none.
    fn learn_templates(&mut self) {
        for stored in &self.stored {
            for spec in &stored.specs {
                let (Some(text), Some(inputs)) = (spec.target.template.get(TEMPLATE), inputs_of(spec)) else {
                    continue;
                };
                let made = |item: &DataItem| -> Vec<(Option<Fingerprint>, String)> {
                    let known = self.of_key.get(&item_word(item)).into_iter().flatten();
                    let text = |of: &Fingerprint| self.bytes[&(*of, item.key.clone())].clone();
                    let known = known.map(|of| (Some(*of), String::from_utf8(text(of)).unwrap()));
                    known.chain([(None, "none".to_owned())]).collect()
                };
                let (first, second) = (made(inputs[0]), made(inputs[1]));
                let done =
                    self.joined.get(&(text.clone(), item_word(inputs[0]), item_word(inputs[1]))).copied();
                if done == Some((first.len(), second.len())) {
                    continue;
                }
                self.joined.insert(
                    (text.clone(), item_word(inputs[0]), item_word(inputs[1])),
                    (first.len(), second.len()),
                );
                for (one, left) in &first {
                    for (other, right) in &second {
                        let of =
                            template_fingerprint(text, &[(&inputs[0].key, *one), (&inputs[1].key, *other)]);
                        self.bytes
                            .entry((of, TEMPLATE.to_owned()))
                            .or_insert_with(|| format!("{left}|{right}{}", dots(text)).into_bytes());
                    }
                }
            }
        }
    }

    /// Replaces an object, as any write of it does.
    fn replace(&mut self, index: usize, change: impl FnOnce(&mut VaultSecretSync)) {
        let version = self.version().to_string();
        let object = Arc::make_mut(&mut self.stored[index].object);
        change(object);
        object.metadata.resource_version = Some(version);
        self.stored[index].touched = true;
    }

    /// Writes a status over the one of this resourceVersion; returns the object after it.
    pub(super) fn write_status(
        &mut self,
        index: usize,
        replaced: Option<&String>,
        status: VaultSecretSyncStatus,
    ) -> Result<(), ()> {
        if self.stored[index].object.metadata.resource_version.as_ref() != replaced {
            return Err(());
        }
        self.counts.statuses += 1;
        // A status that was made before the last write makes the record no truer.
        let changed_at = self.stored[index].secret.as_ref().map(|secret| secret.changed_at);
        let told = status.target.as_ref().and_then(|target| target.resource_version.parse().ok());
        if changed_at <= told && told.is_some() == changed_at.is_some() {
            self.stored[index].behind = false;
        }
        self.stored[index].older.push(status.clone());
        self.replace(index, |object| object.status = Some(status));
        Ok(())
    }

    fn observed(&self, index: usize) -> Option<Observed> {
        let secret = self.stored[index].secret.as_ref()?;
        let time = |second: &i64| Timestamp::from_second(*second).unwrap();
        Some(Observed {
            uid: secret.uid.clone(),
            resource_version: secret.version.to_string(),
            labels: secret.labels.clone(),
            annotations: secret.annotations.clone(),
            owners: secret.owners.clone(),
            keys: secret.managers.clone(),
            moved_at: secret.moved_at.iter().map(|(name, at)| (name.clone(), time(at))).collect(),
            our_labels: secret.our_labels.clone(),
            our_annotations: BTreeSet::new(),
            unmoved: false,
        })
    }

    /// Somebody else makes the Secret of an object that takes it over or adds to it, unless there is one.
    fn make_theirs(&mut self, index: usize, consents: bool, second: i64) {
        let creation = self.stored[index].object.spec.target.creation;
        if creation == Creation::Create || self.stored[index].secret.is_some() {
            return;
        }
        let version = self.version();
        let mut keys = vec![THEIRS.to_owned()];
        if creation == Creation::Adopt {
            keys.extend(self.stored[index].object.spec.data.iter().take(1).map(|item| item.key.clone()));
        }
        self.stored[index].secret = Some(Secret {
            uid: format!("secret-{version}"),
            version,
            changed_at: version,
            data: keys.iter().map(|key| (key.clone(), b"made by them".to_vec())).collect(),
            managers: keys.iter().map(|key| (key.clone(), ["helm".to_owned()].into())).collect(),
            moved_at: [("helm".to_owned(), second)].into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owners: Vec::new(),
            our_labels: BTreeSet::new(),
            foreign: keys.into_iter().collect(),
        });
        self.stored[index].touched = true;
        if consents {
            self.consent(index, true, second);
        }
    }

    /// Whoever may edit the Secret consents, or does not any more.
    fn consent(&mut self, index: usize, consents: bool, second: i64) {
        self.edit(index, second, |secret| {
            if consents {
                secret.annotations.insert(CONSENT_ANNOTATION.to_owned(), format!("o{index}"));
            } else {
                secret.annotations.remove(CONSENT_ANNOTATION);
            }
        });
    }

    /// What of a change would be wrong, were it taken: the Secret is not the object's, or more is changed than is its.
    pub(super) fn trespass(&self, index: usize, change: &Change) -> Option<String> {
        let (target, secret) = (&self.stored[index].object.spec.target, self.stored[index].secret.as_ref()?);
        let name = format!("o{index}");
        let lets = |annotation| secret.annotations.get(annotation) == Some(&name);
        if !lets(OWNER_ANNOTATION) && (target.creation == Creation::Create || !lets(CONSENT_ANNOTATION)) {
            return Some("a Secret is changed that neither carries the mark nor consents".to_owned());
        }
        if change.set.contains_key(THEIRS) || change.remove.contains(THEIRS) {
            return Some("a key of somebody else's is changed".to_owned());
        }
        let keys_alone = Change { set: BTreeMap::new(), remove: BTreeSet::new(), ..change.clone() };
        (target.merges() && !keys_alone.is_empty())
            .then(|| format!("more than keys is changed of a Secret of somebody else's: {keys_alone:?}"))
    }

    /// A look, which expects the Secret at a version.
    pub(super) fn look(&mut self, index: usize, expected: Option<&String>, second: i64) -> Seen {
        let version = self.stored[index].secret.as_ref().map(|secret| secret.version.to_string());
        self.stamp(index, second);
        let creation = self.stored[index].object.spec.target.creation;
        let Some(observed) = self.observed(index) else { return Seen::Absent };
        let unmoved = expected.is_some() && expected == version.as_ref();
        match observed.claimed_by(&format!("o{index}"), "shop", creation) {
            Seen::Ours(observed) => Seen::Ours(Observed { unmoved, ..observed }),
            seen => seen,
        }
    }

    /// The webhook has its way.
    fn stamp(&mut self, index: usize, second: i64) {
        let (version, manager) = (self.serial + 1, manager_of(&self.stored[index].object));
        if self.stamps
            && let Some(secret) = &mut self.stored[index].secret
        {
            secret.version = version;
            secret.moved_at.insert(manager, second);
            self.serial = version;
        }
    }

    pub(super) fn create(&mut self, index: usize, new: &NewSecret, second: i64) -> Seen {
        self.counts.writes += 1;
        if self.stored[index].secret.is_some() {
            return Seen::Changed;
        }
        if new.data.values().map(|bytes| bytes.expose().len()).sum::<usize>() > MOST_BYTES {
            return Seen::Refused(Refusal::TooLarge);
        }
        let version = self.version();
        let manager = manager_of(&self.stored[index].object);
        let ours = BTreeSet::from([manager.clone()]);
        self.stored[index].secret = Some(Secret {
            uid: format!("secret-{version}"),
            version,
            changed_at: version,
            data: new.data.iter().map(|(key, bytes)| (key.clone(), bytes.expose().to_vec())).collect(),
            managers: new.data.keys().map(|key| (key.clone(), ours.clone())).collect(),
            moved_at: [(manager, second)].into(),
            labels: new.labels.clone(),
            annotations: new.annotations.clone(),
            owners: new.owner.iter().cloned().collect(),
            our_labels: new.labels.keys().cloned().collect(),
            foreign: BTreeSet::new(),
        });
        self.counts.moves += 1;
        self.stored[index].touched = true;
        let after = self.observed(index).unwrap();
        Seen::Written(Written { after, created: true, moved: true })
    }

    pub(super) fn change(&mut self, index: usize, change: &Change, second: i64) -> Seen {
        self.counts.writes += 1;
        let manager = manager_of(&self.stored[index].object);
        let next = self.serial + 1;
        let Some(secret) = &mut self.stored[index].secret else { return Seen::Absent };
        if secret.uid != change.uid || secret.version.to_string() != change.resource_version {
            return Seen::Changed;
        }
        let before = secret.clone();
        let stay = secret.data.iter().filter(|(key, _)| !change.remove.contains(*key));
        let stay = stay.filter(|(key, _)| !change.set.contains_key(*key)).map(|(_, bytes)| bytes.len());
        if stay.chain(change.set.values().map(|bytes| bytes.expose().len())).sum::<usize>() > MOST_BYTES {
            return Seen::Refused(Refusal::TooLarge);
        }
        for key in &change.remove {
            secret.data.remove(key);
            secret.managers.remove(key);
            secret.foreign.remove(key);
        }
        for (key, bytes) in &change.set {
            secret.foreign.remove(key);
            secret.data.insert(key.clone(), bytes.expose().to_vec());
            // A value that is set to what it is changes hands as little as it changes.
            if before.data.get(key).map(Vec::as_slice) != Some(bytes.expose()) {
                secret.managers.insert(key.clone(), [manager.clone()].into());
            }
        }
        for (label, value) in &change.labels {
            match value {
                Some(value) => secret.labels.insert(label.clone(), value.clone()),
                None => secret.labels.remove(label),
            };
            secret.our_labels.insert(label.clone());
        }
        for (annotation, value) in &change.annotations {
            match value {
                Some(value) => secret.annotations.insert(annotation.clone(), value.clone()),
                None => secret.annotations.remove(annotation),
            };
        }
        secret.owners.retain(|owner| !change.drop_owners.contains(&owner.uid));
        secret.owners.extend(change.add_owner.clone());
        let metadata =
            |secret: &Secret| (secret.labels.clone(), secret.annotations.clone(), secret.owners.clone());
        let moved = before.data != secret.data || metadata(&before) != metadata(secret);
        if moved {
            (secret.version, secret.changed_at) = (next, next);
            secret.moved_at.insert(manager, second);
            self.serial = next;
            self.counts.moves += 1;
        } else {
            self.stamp(index, second);
        }
        self.stored[index].touched = true;
        let moved = moved || self.stamps;
        let after = self.observed(index).unwrap();
        Seen::Written(Written { after, created: false, moved })
    }

    /// Somebody else edits the Secret.
    fn edit(&mut self, index: usize, second: i64, edit: impl FnOnce(&mut Secret)) {
        let version = self.version();
        let Some(secret) = &mut self.stored[index].secret else { return };
        edit(secret);
        (secret.version, secret.changed_at) = (version, version);
        secret.moved_at.insert("kubectl-edit".to_owned(), second);
        self.stored[index].touched = true;
    }
}

fn on_missing(dice: &mut Dice, profile: Profile) -> &'static str {
    if profile == Profile::Wild && dice.once_in(3) { "Remove" } else { "Keep" }
}

fn item(dice: &mut Dice, vaults: &Vaults, key: &str, name: &str, profile: Profile) -> Value {
    let mut secret = json!({"name": name});
    if let Some(property) = dice.pick(&[None, Some("$.a"), Some("$.b")]).filter(|_| profile == Profile::Wild)
    {
        secret["property"] = json!(property);
    }
    if dice.once_in(if profile == Profile::Scripts { 2 } else { 5 }) {
        secret["version"] = json!("Previous");
    }
    let vault = NAMES[vaults.vault_of(name)];
    let on_missing = on_missing(dice, profile);
    json!({"key": key, "from": {"secret": secret}, "vaultRef": {"name": vault}, "onMissing": on_missing})
}

/// What a value makes of a key, by the words of the documentation.
pub(super) fn rendered(value: &str, property: Option<&str>) -> Option<Vec<u8>> {
    let Some(property) = property else { return Some(value.as_bytes().to_vec()) };
    let parsed: Value = serde_json::from_str(value).ok()?;
    parsed[property.trim_start_matches("$.")].as_str().map(|text| text.as_bytes().to_vec())
}

/// What a value makes of a `dataFrom` source.
pub(super) fn members(value: &str) -> Vec<(String, Vec<u8>)> {
    let parsed: Value = serde_json::from_str(value).unwrap_or_default();
    let members = parsed.as_object().into_iter().flatten();
    members
        .map(|(name, member)| {
            let text = member.as_str().map_or_else(|| member.to_string(), str::to_owned);
            (name.clone(), text.into_bytes())
        })
        .collect()
}

pub(super) fn learn(model: &mut Model) {
    model.cluster.learn(&model.vaults);
}

/// Changes the spec of an object.
fn respec(model: &mut Model, index: usize, change: impl FnOnce(&mut VaultSecretSyncSpec)) {
    model.cluster.replace(index, |object| {
        change(&mut object.spec);
        object.metadata.generation = object.metadata.generation.map(|generation| generation + 1);
    });
    let spec = model.cluster.stored[index].object.spec.clone();
    model.cluster.stored[index].specs.push(spec);
    model.cluster.learn(&model.vaults);
    model.operator.wake(index);
}

/// Somebody else does something in the cluster.
#[expect(clippy::too_many_lines, reason = "one line or two for each thing that can be done")]
pub(super) fn interfere(model: &mut Model) -> String {
    let index = model.dice.roll(model.cluster.stored.len());
    let second = model.second();
    let key = {
        let secret = model.cluster.stored[index].secret.as_ref();
        let keys: Vec<String> =
            secret.map(|secret| secret.data.keys().cloned().collect()).unwrap_or_default();
        if keys.is_empty() { None } else { Some(model.dice.pick(&keys).clone()) }
    };
    let place = model.dice.roll(model.cluster.stored[index].object.spec.data.len());
    let required = model.cluster.stored[index].object.spec.secret_type().required_keys();
    let merges = model.cluster.stored[index].object.spec.target.merges();
    let what = match (model.dice.roll(22), key) {
        (0 | 1, Some(key)) => {
            model.cluster.edit(index, second, |secret| {
                secret.data.insert(key.clone(), b"edited".to_vec());
                secret.managers.insert(key.clone(), ["kubectl-edit".to_owned()].into());
                secret.foreign.insert(key.clone());
            });
            format!("key {key} is edited by hand")
        }
        // Of a key that the type requires the API server would not take it.
        (2, Some(key)) if !required.contains(&key.as_str()) => {
            model.cluster.edit(index, second, |secret| {
                secret.data.remove(&key);
                secret.managers.remove(&key);
                secret.foreign.insert(key.clone());
            });
            format!("key {key} is removed by hand")
        }
        (3, Some(_)) => {
            model.cluster.stored[index].secret = None;
            "the Secret is deleted".to_owned()
        }
        (4, Some(_)) => {
            model.cluster.edit(index, second, |secret| secret.labels.clear());
            "the labels are removed by hand".to_owned()
        }
        (5, _) => {
            let name = model.cluster.stored[index].object.spec.data[place]
                .from
                .secret
                .as_ref()
                .unwrap()
                .name
                .clone();
            let key = format!("N{}", model.cluster.serial);
            let added = item(&mut model.dice, &model.vaults, &key, &name, Profile::Wild);
            respec(model, index, |spec| {
                if spec.data.len() < 12 {
                    spec.data.push(serde_json::from_value(added).unwrap());
                }
            });
            format!("the spec has {key} of {name} too")
        }
        (6, _) => {
            respec(model, index, |spec| {
                let feeds = inputs_of(spec)
                    .is_some_and(|inputs| inputs.iter().any(|item| item.key == spec.data[place].key));
                let last = !spec.data.iter().enumerate().any(|(other, item)| other != place && item.publish);
                if spec.data.len() > 1
                    && !feeds
                    && !last
                    && !required.contains(&spec.data[place].key.as_str())
                {
                    spec.data.remove(place);
                }
            });
            "an entry leaves the spec".to_owned()
        }
        (7, _) => {
            let property = model.dice.pick(&[None, Some("$.a"), Some("$.b")]).map(str::to_owned);
            let what = format!("entry {place} takes {property:?}");
            respec(model, index, |spec| spec.data[place].from.secret.as_mut().unwrap().property = property);
            what
        }
        (8, _) if !merges => {
            let label = model.cluster.serial.to_string();
            respec(model, index, |spec| {
                spec.target.labels = [("chart".to_owned(), label)].into();
            });
            "a label of the spec changes".to_owned()
        }
        (9, _) => {
            respec(model, index, |spec| {
                spec.target.deletion = if spec.target.deletion == Deletion::Retain {
                    Deletion::Delete
                } else {
                    Deletion::Retain
                };
            });
            "the deletion policy changes".to_owned()
        }
        (10, _) => {
            respec(model, index, |spec| spec.suspend = !spec.suspend);
            "suspend is toggled".to_owned()
        }
        (11, _) => {
            let remove = model.dice.once_in(2);
            respec(model, index, |spec| {
                spec.data[place].on_missing = if remove { OnMissing::Remove } else { OnMissing::Keep };
            });
            format!("entry {place} is removed when missing: {remove}")
        }
        (16, _) => {
            respec(model, index, |spec| {
                let published = spec.data.iter().filter(|item| item.publish).count();
                if !required.contains(&spec.data[place].key.as_str()) && published > 1 {
                    spec.data[place].publish = !spec.data[place].publish;
                }
            });
            format!("entry {place} is published or not")
        }
        (17, _) => {
            respec(model, index, |spec| {
                if let Some(text) = spec.target.template.get_mut(TEMPLATE) {
                    text.push('.');
                }
            });
            "the template has another text".to_owned()
        }
        (18, _) if !matches!(model.vaults.second, Second::None | Second::OtherVault) => {
            respec(model, index, |spec| {
                let vault = &mut spec.data[place].vault_ref;
                let other = NAMES[1 - number_of(vault.as_deref())].to_owned();
                *vault = Some(Box::new(VaultRef { name: other, ..VaultRef::default() }));
            });
            format!("entry {place} is read through the other connection")
        }
        (19, _) => {
            respec(model, index, |spec| {
                let version = &mut spec.data[place].from.secret.as_mut().unwrap().version;
                *version = if version.is_none() { Some("Previous".to_owned()) } else { None };
            });
            format!("entry {place} takes the version before, or the current one again")
        }
        (20, _)
            if model.cluster.stored[index].object.spec.target.creation == Creation::Adopt
                && model.dice.once_in(3) =>
        {
            model.cluster.edit(index, second, |secret| {
                secret.annotations.remove(OWNER_ANNOTATION);
            });
            "the mark is taken off".to_owned()
        }
        (20, _) => {
            let consents = model.dice.once_in(2);
            model.cluster.consent(index, consents, second);
            format!("the Secret consents: {consents}")
        }
        (21, _) => {
            let consents = model.dice.once_in(2);
            model.cluster.make_theirs(index, consents, second);
            "somebody makes the Secret, unless there is one".to_owned()
        }
        (12, _) => {
            let request = model.cluster.serial.to_string();
            model.cluster.replace(index, |object| {
                let annotations = object.metadata.annotations.get_or_insert_default();
                annotations.insert("vaultsync.dev/sync-requested-at".to_owned(), request);
            });
            model.operator.wake(index);
            "a sync is asked for".to_owned()
        }
        (13, _) => {
            wipe(model, index);
            "the status is wiped".to_owned()
        }
        (14, _) if !model.vaults.went_back => {
            let older = model.cluster.stored[index].older.clone();
            if !older.is_empty() {
                let status = model.dice.pick(&older).clone();
                model.cluster.stored[index].behind = true;
                model.cluster.replace(index, |object| object.status = Some(status));
            }
            "an older status is restored".to_owned()
        }
        _ => {
            let gone = !model.cluster.stored[index].vault_gone;
            model.cluster.stored[index].vault_gone = gone;
            model.operator.wake(index);
            format!("the KeyVault is gone: {gone}")
        }
    };
    format!("o{index}: {what}")
}

/// Somebody takes the status away.
pub(super) fn wipe(model: &mut Model, index: usize) {
    model.cluster.stored[index].behind = true;
    model.cluster.replace(index, |object| object.status = None);
    model.operator.wake(index);
}

/// Every object can do its work.
pub(super) fn heal(model: &mut Model) {
    for index in 0..model.cluster.stored.len() {
        model.cluster.stored[index].vault_gone = false;
        if model.cluster.stored[index].object.spec.suspend {
            respec(model, index, |spec| spec.suspend = false);
        }
        let asks_too_much =
            |item: &DataItem| secret_of(item).name.starts_with('j') && secret_of(item).property.is_some();
        if model.cluster.stored[index].object.spec.data.iter().any(asks_too_much) {
            // These have no member that a property names.
            respec(model, index, |spec| {
                for item in spec.data.iter_mut().filter(|item| secret_of(item).name.starts_with('j')) {
                    item.from.secret.as_mut().unwrap().property = None;
                }
            });
        }
        let second = model.second();
        if model.cluster.stored[index].object.spec.target.merges() {
            model.cluster.make_theirs(index, true, second);
        }
        model.cluster.consent(index, true, second);
        model.operator.wake(index);
    }
    learn(model);
    operator::mend(model);
}

/// The secret that a key of the model is made of.
pub(super) fn secret_of(item: &DataItem) -> &SecretRef {
    item.from.secret.as_ref().unwrap()
}

/// The secrets that an object of the model takes apart.
pub(super) fn objects_of(spec: &VaultSecretSyncSpec) -> impl Iterator<Item = (&DataFrom, &ObjectSecretRef)> {
    spec.data_from.iter().filter_map(|item| Some((item, item.secret.as_ref()?)))
}

/// A `find` of a spec, and through which connection it looks.
pub(super) struct Finding {
    vault: usize,
    pattern: NamePattern,
}

impl Finding {
    pub(super) fn finds(&self, vaults: &Vaults, name: &str) -> bool {
        vaults.shows(self.vault, name) && self.pattern.fits(name)
    }
}

pub(super) fn finds_of(spec: &VaultSecretSyncSpec) -> Vec<Finding> {
    let finds = spec.data_from.iter().filter_map(|item| Some((item, item.find.as_deref()?)));
    let finding = finds.map(|(item, find)| Finding {
        vault: number_of(item.vault_ref.as_deref()),
        pattern: NamePattern::new(find.name.as_deref().unwrap()),
    });
    finding.collect()
}

/// Whether any object says that removals are held.
pub(super) fn holds_removals(model: &Model) -> bool {
    let statuses = model.cluster.stored.iter().filter_map(|stored| stored.object.status.as_ref());
    statuses.flat_map(|status| &status.entries).any(|entry| entry.held_since.is_some())
}
