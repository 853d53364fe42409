//! Whose a Secret is that exists: an object's by its mark, or one that its holder lets the object take over or add to.

use super::{Change, Observed, Refusal, Seen};
use crate::api::{
    CONSENT_ANNOTATION, Creation, OWNER_ANNOTATION, OWNER_NAMESPACE_ANNOTATION, field_manager,
    is_field_manager,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::BTreeSet;

impl Observed {
    /// The object whose mark the Secret carries.
    #[must_use]
    pub fn mark(&self) -> Option<&str> {
        self.said(OWNER_ANNOTATION)
    }

    /// An annotation that says something.
    fn said(&self, annotation: &str) -> Option<&str> {
        self.annotations.get(annotation).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What the Secret is to the object of this name and namespace, which says so of its target.
    #[must_use]
    pub fn claimed_by(self, object: &str, namespace: &str, creation: Creation) -> Seen {
        if let Some(other) = self.said(OWNER_NAMESPACE_ANNOTATION).filter(|other| *other != namespace) {
            return Seen::Refused(Refusal::CopiedFrom(Some(other.to_owned())));
        }
        // What is only added to needs its consent, whoever had it before.
        let mark = self.mark().filter(|mark| creation != Creation::Merge || *mark != object);
        match (mark, creation) {
            (Some(mark), _) if mark == object => Seen::Ours(self),
            (Some(mark), _) => Seen::Refused(Refusal::OwnedBy(mark.to_owned())),
            (None, Creation::Create) => Seen::Refused(Refusal::NotOwned),
            (None, Creation::Adopt | Creation::Merge) if !self.consents_to(object) => {
                Seen::Refused(Refusal::NotConsented)
            }
            (None, Creation::Adopt) if let Some(controller) = self.controller(object) => {
                Seen::Refused(Refusal::Controlled(format!("{} {}", controller.kind, controller.name)))
            }
            (None, Creation::Adopt | Creation::Merge) => Seen::Ours(self),
        }
    }

    /// Which of `others`, objects that add keys too, has this key, if it is not that of `manager`.
    pub(in crate::plan) fn holder<'a>(
        &self,
        key: &str,
        manager: &str,
        others: &'a [String],
    ) -> Option<&'a str> {
        let managers = self.keys.get(key).filter(|managers| !managers.contains(manager))?;
        others.iter().find(|object| managers.contains(&field_manager(object))).map(String::as_str)
    }

    /// The change that takes the keys of an object out of the Secret once the object is gone, if there are any: those that
    /// `manager` wrote, and of those `recorded` the ones that another object wrote, or nobody is said to have written. What
    /// `others` want stays.
    #[must_use]
    pub fn without(&self, manager: &str, recorded: &[String], others: &BTreeSet<String>) -> Option<Change> {
        // Who wrote a key last is the one who has it: whoever made the Secret may have set it too. What an object that is
        // gone wrote went over to the one that recorded it.
        let of_objects = |key: &String| {
            self.keys.get(key).is_some_and(|managers| managers.iter().all(|name| is_field_manager(name)))
        };
        let recorded = recorded.iter().filter(|key| self.is_untracked() || of_objects(key)).cloned();
        let keys = self.keys_of(manager).into_iter().chain(recorded);
        let remove: BTreeSet<String> = keys.filter(|key| !others.contains(key)).collect();
        let (uid, resource_version) = (self.uid.clone(), self.resource_version.clone());
        (!remove.is_empty()).then(|| Change { uid, resource_version, remove, ..Change::default() })
    }

    /// Whether whoever may edit the Secret lets this object have it.
    fn consents_to(&self, object: &str) -> bool {
        let consent = self.annotations.get(CONSENT_ANNOTATION).map(String::as_str).unwrap_or_default();
        consent.split(',').any(|name| name.trim() == object)
    }

    /// Whatever other than this object says that it is the one to write the Secret.
    fn controller(&self, object: &str) -> Option<&OwnerReference> {
        let own = |owner: &&OwnerReference| is_ours(owner) && owner.name == object;
        self.owners.iter().find(|owner| owner.controller == Some(true) && !own(owner))
    }
}

/// The uids of the owner references of our kind: with any of them the Secret goes with its object.
pub(in crate::plan) fn our_owners(observed: &Observed) -> impl Iterator<Item = &str> {
    observed.owners.iter().filter(|owner| is_ours(owner)).map(|owner| owner.uid.as_str())
}

fn is_ours(owner: &OwnerReference) -> bool {
    owner.kind == "VaultSecretSync" && owner.api_version.starts_with("vaultsync.dev/")
}
