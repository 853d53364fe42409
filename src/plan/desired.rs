//! The metadata that an object wants on its Secret, and the change that brings it there.

use super::target::{Change, Observed, our_owners};
use crate::api::{
    GROUP, MANAGED_BY_LABEL, MANAGER, OWNER_ANNOTATION, OWNER_NAMESPACE_ANNOTATION, VERSION, VaultSecretSync,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::{BTreeMap, BTreeSet};

/// The metadata that an object wants on its Secret.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations, with the mark.
    pub annotations: BTreeMap<String, String>,
    /// The ownerReference, with `deletion: Delete`.
    pub owner: Option<OwnerReference>,
    /// Nothing: the Secret is another's.
    pub none: bool,
}

impl Desired {
    /// What the spec asks for.
    #[must_use]
    pub(super) fn of(object: &VaultSecretSync) -> Self {
        let name = object.metadata.name.clone().unwrap_or_default();
        let target = &object.spec.target;
        if target.merges() {
            return Self { labels: BTreeMap::new(), annotations: BTreeMap::new(), owner: None, none: true };
        }
        let mut labels = target.labels.clone();
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
        let mut annotations = target.annotations.clone();
        annotations.insert(OWNER_ANNOTATION.to_owned(), name.clone());
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        annotations.insert(OWNER_NAMESPACE_ANNOTATION.to_owned(), namespace);
        let owner = target.goes_with_object().then(|| OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "VaultSecretSync".to_owned(),
            name,
            uid: object.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        });
        Self { labels, annotations, owner, none: false }
    }

    /// The change that brings the metadata of `observed` here; touches only what is ours to touch.
    #[must_use]
    pub(super) fn change(&self, observed: &Observed) -> Change {
        let (uid, resource_version) = (observed.uid.clone(), observed.resource_version.clone());
        if self.none {
            return Change { uid, resource_version, ..Change::default() };
        }
        let differing =
            |wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>, ours: &BTreeSet<String>| {
                let set = wanted
                    .iter()
                    .filter(|(key, value)| found.get(*key) != Some(*value))
                    .map(|(key, value)| (key.clone(), Some(value.clone())));
                let unset = ours
                    .iter()
                    .filter(|key| !wanted.contains_key(*key) && found.contains_key(*key))
                    .map(|key| (key.clone(), None));
                set.chain(unset).collect::<BTreeMap<_, _>>()
            };
        // References of our kind that are not the wanted one: an owner that was replaced, or `Retain`.
        let drop_owners = our_owners(observed)
            .filter(|uid| self.owner.as_ref().is_none_or(|wanted| wanted.uid != *uid))
            .map(str::to_owned)
            .collect();
        let add_owner =
            self.owner.clone().filter(|wanted| !observed.owners.iter().any(|owner| owner.uid == wanted.uid));
        Change {
            uid,
            resource_version,
            set: BTreeMap::new(),
            remove: BTreeSet::new(),
            labels: differing(&self.labels, &observed.labels, &observed.our_labels),
            annotations: differing(&self.annotations, &observed.annotations, &observed.our_annotations),
            add_owner,
            drop_owners,
        }
    }
}
