//! Everything one vault holds, and what ties it together: a certificate is a certificate, a key and a secret of one name
//! and version, which are made, changed and deleted together.
//!
//! Invariant: a version of a certificate has a key and a secret of the same id, both `managed`.

use std::collections::BTreeMap;

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    call::{ObjectKind, Operation},
    material::{chain::Chain, keys::Key, policy::Policy, public_key::PublicKey},
    pending::Pending,
    refusal::Refusal,
    secrets::{Secrets, within_limit},
    store::{Change, Found, Object, SecretOptions, Store, Version, VersionInfo, new_version_id},
};

/// What a version of a certificate is besides its key and secret: the certificate (DER), once it is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
}

/// A version of a certificate that is to be.
pub(crate) struct NewCertificate {
    pub(crate) chain: Chain,
    /// The value of the secret where it is not to be written anew.
    pub(crate) value: Option<String>,
    pub(crate) policy: Policy,
    pub(crate) options: SecretOptions,
}

#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) secrets: Secrets,
    pub(crate) keys: Store<Key>,
    pub(crate) certificates: Store<Certificate>,
    /// By upper-cased name, as the stores have them.
    policies: BTreeMap<String, Policy>,
    pub(crate) pending: BTreeMap<String, Pending>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            secrets: Secrets::new(ObjectKind::Secret),
            keys: Store::new(ObjectKind::Key),
            certificates: Store::new(ObjectKind::Certificate),
            policies: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }
}

impl Objects {
    /// Deletions and recoveries show at once: what in-process setters want.
    pub(crate) fn settle(&mut self, name: &str) {
        self.settle_backing(name);
        self.certificates.settle(name);
    }

    fn settle_backing(&mut self, name: &str) {
        self.secrets.settle(name);
        self.keys.settle(name);
    }

    /// Refuses to change a secret or key behind the back of its certificate.
    pub(crate) fn refuse_managed(
        &self,
        kind: ObjectKind,
        name: &str,
        operation: Operation,
    ) -> Result<(), Refusal> {
        let managed = match kind {
            ObjectKind::Secret => is_managed(&self.secrets, name),
            ObjectKind::Key => is_managed(&self.keys, name),
            ObjectKind::Certificate => false,
        };
        if managed { Err(Refusal::managed(kind, operation)) } else { Ok(()) }
    }

    /// Adds a version of a certificate, or makes the one that is pending; returns its id.
    pub(crate) fn put_certificate(
        &mut self,
        name: &str,
        new: NewCertificate,
        now: i64,
    ) -> Result<String, Refusal> {
        self.certificate_writable(name, &new.options)?;
        let format = new.policy.format()?;
        let parsed = X509Certificate::from_der(new.chain.leaf());
        let (_, leaf) = parsed.map_err(|_| Refusal::bad_parameter("The certificate can not be read."))?;
        let public = PublicKey::from_info(leaf.public_key().raw)
            .ok_or_else(|| Refusal::bad_parameter("The type of the certificate's key is not supported."))?;
        let value = match new.value {
            Some(value) if new.policy.is_exportable() => value,
            _ if new.policy.is_exportable() => new.chain.value(format)?,
            _ => new.chain.without_key().value(format)?,
        };
        within_limit(&value)?;
        let validity = leaf.validity();
        let options = SecretOptions {
            not_before: new.options.not_before.or_else(|| Some(validity.not_before.timestamp())),
            expires: new.options.expires.or_else(|| Some(validity.not_after.timestamp())),
            content_type: None,
            managed: false,
            ..new.options
        };
        let id = self.pending.get_mut(&name.to_uppercase()).and_then(Pending::complete);
        let id = id.unwrap_or_else(new_version_id);
        let key = Key::new(public, new.policy.is_hsm(), None);
        let certificate = Certificate { der: new.chain.leaf().to_vec() };
        let content_type = format.content_type();
        self.put_all(name, &id, (certificate, key, value, content_type), options, now);
        self.policies.insert(name.to_uppercase(), new.policy);
        Ok(id)
    }

    /// Whether name, key and secret of a new version are free.
    pub(crate) fn certificate_writable(
        &mut self,
        name: &str,
        options: &SecretOptions,
    ) -> Result<(), Refusal> {
        self.certificates.writable(name, options)?;
        self.secrets.writable(name, options)?;
        self.keys.writable(name, options)
    }

    fn put_all(
        &mut self,
        name: &str,
        id: &str,
        (certificate, key, value, content_type): (Certificate, Key, String, &str),
        options: SecretOptions,
        now: i64,
    ) {
        let managed = SecretOptions { managed: true, ..options.clone() };
        let of_secret = SecretOptions { content_type: Some(content_type.to_owned()), ..managed.clone() };
        self.secrets.put(name, id, value, of_secret, now);
        self.keys.put(name, id, key, managed, now);
        self.certificates.put(name, id, certificate, options, now);
    }

    /// Begins the making of a version. A certificate without any shows a disabled one until it is made; another goes on
    /// showing the version it has.
    pub(crate) fn begin_certificate(
        &mut self,
        name: &str,
        pending: Pending,
        now: i64,
    ) -> Result<String, Refusal> {
        self.refuse_pending(name)?;
        self.certificate_writable(name, pending.options())?;
        let id = pending.version().to_owned();
        if self.is_unmade(name) {
            self.remove_certificate(name);
        }
        if self.certificates.peek(name).is_none() {
            let options = SecretOptions { enabled: false, ..pending.options().clone() };
            let content_type = pending.policy().format()?.content_type();
            let held = (Certificate::default(), pending.key(), String::new(), content_type);
            self.put_all(name, &id, held, options, now);
            self.policies.insert(name.to_uppercase(), pending.policy().clone());
        }
        self.pending.insert(name.to_uppercase(), pending);
        Ok(id)
    }

    /// Refuses another version while one is being made.
    pub(crate) fn refuse_pending(&self, name: &str) -> Result<(), Refusal> {
        let pending = self.pending.get(&name.to_uppercase());
        if pending.is_some_and(Pending::is_open) { Err(Refusal::still_pending()) } else { Ok(()) }
    }

    /// The pending operation, one look nearer to its end.
    pub(crate) fn look_pending(&mut self, name: &str, now: i64) -> Result<&Pending, Refusal> {
        let missing = || Refusal::pending_not_found(name);
        self.certificates.find(name).map_err(|_| missing())?;
        let pending = self.pending.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if let Some(made) = pending.look(now)? {
            self.put_certificate(name, made, now)?;
        }
        self.pending(name).ok_or_else(missing)
    }

    /// The pending operation, begun or done.
    pub(crate) fn pending(&self, name: &str) -> Option<&Pending> {
        self.pending.get(&name.to_uppercase())
    }

    /// Forgets the pending operation, and the certificate if it has no version that was made.
    pub(crate) fn drop_pending(&mut self, name: &str) -> Result<Pending, Refusal> {
        let dropped = self.pending.remove(&name.to_uppercase());
        let dropped = dropped.ok_or_else(|| Refusal::pending_not_found(name))?;
        if self.is_unmade(name) {
            self.remove_certificate(name);
        }
        Ok(dropped)
    }

    /// Whether it is there, and no version of it was made.
    fn is_unmade(&self, name: &str) -> bool {
        let made = |version: &Version<Certificate>| !version.held.der.is_empty();
        self.certificates.peek(name).is_some_and(|found| !found.versions.iter().any(made))
    }

    fn remove_certificate(&mut self, name: &str) {
        self.certificates.remove(name);
        self.secrets.remove(name);
        self.keys.remove(name);
        self.policies.remove(&name.to_uppercase());
        self.pending.remove(&name.to_uppercase());
    }

    pub(crate) fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.get(&name.to_uppercase())
    }

    /// The policy of a certificate that is there.
    pub(crate) fn policy_mut(&mut self, name: &str) -> Result<&mut Policy, Refusal> {
        self.certificates.find(name)?;
        let policy = self.policies.get_mut(&name.to_uppercase());
        policy.ok_or_else(|| Refusal::not_found(ObjectKind::Certificate, name))
    }

    /// Changes metadata; of a certificate that of its key and secret too.
    pub(crate) fn update(
        &mut self,
        kind: ObjectKind,
        name: &str,
        version: Option<&str>,
        change: Change,
        now: i64,
    ) -> Result<(), Refusal> {
        match kind {
            ObjectKind::Secret => self.secrets.update(name, version, change, now).map(|_| ()),
            ObjectKind::Key => self.keys.update(name, version, change, now).map(|_| ()),
            ObjectKind::Certificate => {
                let change = Change { content_type: None, ..change };
                let (_, found) = self.certificates.update(name, version, change.clone(), now)?;
                let id = found.id.clone();
                self.settle_backing(name);
                // Whoever changed them by the control API may have taken them away.
                let _ = self.secrets.update(name, Some(&id), change.clone(), now);
                let _ = self.keys.update(name, Some(&id), change, now);
                Ok(())
            }
        }
    }

    /// Soft-deletes; a certificate with its key and secret.
    pub(crate) fn delete(
        &mut self,
        kind: ObjectKind,
        name: &str,
        looks: u32,
        now: i64,
    ) -> Result<(), Refusal> {
        match kind {
            ObjectKind::Secret => self.secrets.delete(name, looks, now).map(|_| ()),
            ObjectKind::Key => self.keys.delete(name, looks, now).map(|_| ()),
            ObjectKind::Certificate => {
                self.certificates.delete(name, looks, now)?;
                self.settle_backing(name);
                let _ = self.secrets.delete(name, looks, now);
                let _ = self.keys.delete(name, looks, now);
                Ok(())
            }
        }
    }

    /// Undoes a soft delete.
    pub(crate) fn recover(&mut self, kind: ObjectKind, name: &str, looks: u32) -> Result<(), Refusal> {
        match kind {
            ObjectKind::Secret => self.secrets.recover(name, looks).map(|_| ()),
            ObjectKind::Key => self.keys.recover(name, looks).map(|_| ()),
            ObjectKind::Certificate => {
                self.certificates.recover(name, looks)?;
                self.settle_backing(name);
                let _ = self.secrets.recover(name, looks);
                let _ = self.keys.recover(name, looks);
                Ok(())
            }
        }
    }

    /// Deletes for good what is soft-deleted.
    pub(crate) fn purge(&mut self, kind: ObjectKind, name: &str) -> Result<(), Refusal> {
        match kind {
            ObjectKind::Secret => self.secrets.purge(name),
            ObjectKind::Key => self.keys.purge(name),
            ObjectKind::Certificate => {
                self.certificates.purge(name)?;
                self.remove_certificate(name);
                Ok(())
            }
        }
    }

    /// Drops the current version, as a fail-over that lost the last write does; returns the version current now.
    pub(crate) fn rollback(&mut self, kind: ObjectKind, name: &str) -> Result<String, Refusal> {
        match kind {
            ObjectKind::Secret => self.secrets.rollback(name),
            ObjectKind::Key => self.keys.rollback(name),
            ObjectKind::Certificate => {
                let _ = self.secrets.rollback(name);
                let _ = self.keys.rollback(name);
                self.certificates.rollback(name)
            }
        }
    }

    /// The names that are there, in the order LIST has.
    pub(crate) fn names(&self, kind: ObjectKind) -> Vec<String> {
        fn of<P>(store: &Store<P>) -> Vec<String> {
            store.present(None).map(|(_, object)| object.name.clone()).collect()
        }
        match kind {
            ObjectKind::Secret => of(&self.secrets),
            ObjectKind::Key => of(&self.keys),
            ObjectKind::Certificate => of(&self.certificates),
        }
    }

    /// The versions in the order they were made; none when there is no such object.
    pub(crate) fn versions(&self, kind: ObjectKind, name: &str) -> Vec<VersionInfo> {
        fn of<P>(store: &Store<P>, name: &str) -> Vec<VersionInfo> {
            let found = store.peek(name).filter(|object| object.deletion.is_none());
            found.into_iter().flat_map(|object| &object.versions).map(Version::info).collect()
        }
        match kind {
            ObjectKind::Secret => of(&self.secrets, name),
            ObjectKind::Key => of(&self.keys, name),
            ObjectKind::Certificate => of(&self.certificates, name),
        }
    }

    /// A version of a certificate, disabled or not.
    pub(crate) fn certificate(
        &mut self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Found<'_, Certificate>, Refusal> {
        self.certificates.version(name, version)
    }
}

fn is_managed<P>(store: &Store<P>, name: &str) -> bool {
    let current = store.peek(name).and_then(Object::current);
    current.is_some_and(|version| version.options.managed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CertificateFormat, CertificateSpec, KeyKind};

    fn put(objects: &mut Objects, host: &str) -> String {
        let spec = CertificateSpec::made(host, KeyKind::P256, CertificateFormat::Pem, 0).unwrap();
        objects.put_certificate("tls", spec.into_new(0).unwrap(), 1).unwrap()
    }

    #[test]
    fn a_certificate_its_key_and_its_secret_have_one_version() {
        let mut objects = Objects::default();
        let first = put(&mut objects, "shop.test");
        let second = put(&mut objects, "shop.test");
        for kind in ObjectKind::ALL {
            let versions: Vec<_> =
                objects.versions(kind, "TLS").into_iter().map(|info| info.version).collect();
            assert_eq!(versions, [first.as_str(), &second], "{kind:?}");
        }
        assert_eq!(objects.rollback(ObjectKind::Certificate, "tls").unwrap(), first);
        assert_eq!(objects.secrets.read("tls", None).unwrap().1.id, first);
    }

    #[test]
    fn a_first_version_in_the_making_is_disabled_and_a_later_one_is_not_seen() {
        let mut objects = Objects::default();
        let pending = objects.begin("tls", 1).unwrap();
        assert_eq!(objects.secrets.read("tls", None).unwrap_err().inner, Some("SecretDisabled"));
        assert_eq!(objects.begin("tls", 2).unwrap_err().status.as_u16(), 409);
        assert_eq!(put(&mut objects, "shop.test"), pending);
        let next = objects.begin("tls", 3).unwrap();
        assert_eq!(objects.secrets.read("tls", None).unwrap().1.id, pending);
        assert_eq!(put(&mut objects, "shop.test"), next);
    }

    #[test]
    fn a_making_that_was_forgotten_leaves_a_certificate_that_was_there() {
        let mut objects = Objects::default();
        objects.begin("tls", 1).unwrap();
        objects.drop_pending("tls").unwrap();
        assert!(objects.names(ObjectKind::Secret).is_empty());
        let version = put(&mut objects, "shop.test");
        objects.begin("tls", 2).unwrap();
        objects.drop_pending("tls").unwrap();
        assert_eq!(objects.secrets.read("tls", None).unwrap().1.id, version);
    }

    #[test]
    fn a_deletion_reaches_a_secret_that_has_not_settled() {
        let mut objects = Objects::default();
        put(&mut objects, "shop.test");
        objects.delete(ObjectKind::Certificate, "tls", 0, 2).unwrap();
        objects.recover(ObjectKind::Certificate, "tls", 1).unwrap();
        objects.certificates.settle("tls");
        objects.delete(ObjectKind::Certificate, "tls", 0, 3).unwrap();
        for kind in ObjectKind::ALL {
            assert!(objects.versions(kind, "tls").is_empty(), "{kind:?}");
        }
        objects.purge(ObjectKind::Certificate, "tls").unwrap();
        put(&mut objects, "shop.test");
    }

    #[test]
    fn a_plain_secret_of_that_name_becomes_the_certificates() {
        let mut objects = Objects::default();
        objects.secrets.set("tls", "one".into(), SecretOptions::default(), 0).unwrap();
        let refuses = |objects: &Objects| {
            objects.refuse_managed(ObjectKind::Secret, "tls", Operation::Set).err().and_then(|no| no.inner)
        };
        assert_eq!(refuses(&objects), None);
        put(&mut objects, "shop.test");
        assert_eq!(refuses(&objects), Some("SecretManagedByKeyVault"));
    }

    #[test]
    fn debug_of_what_a_vault_holds_hides_private_keys() {
        let mut objects = Objects::default();
        let spec = CertificateSpec::made("shop.test", KeyKind::P256, CertificateFormat::Pem, 0).unwrap();
        let shown = format!("{spec:?}");
        put(&mut objects, "shop.test");
        objects.begin("tls", 1).unwrap();
        let shown = format!("{shown}{objects:?}{:?}", objects.pending("tls"));
        assert!(!shown.contains("PRIVATE KEY") && !shown.contains("MIG"), "{shown}");
    }
}
