//! Certificates and keys, and what all kinds of objects have, as tests set them.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::Vault;
use crate::{
    call::ObjectKind,
    clock,
    material::{
        chain::{CertificateFormat, Chain},
        issue,
        keys::{Key, KeyKind, KeySpec},
        policy::Policy,
        pool,
        public_key::PublicKey,
    },
    objects::{NewCertificate, Objects},
    pending::Pending,
    refusal::Refusal,
    store::{Change, SecretOptions, VersionInfo, new_version_id},
};

/// A certificate to put into a vault: [`Vault::set_certificate`].
///
/// ```
/// use keyvault_emulator::{CertificateFormat, CertificateSpec, KeyKind};
/// let made_here = CertificateSpec::self_signed("shop.test", KeyKind::Rsa2048, CertificateFormat::Pem).tag("env", "test");
/// # let _ = made_here;
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// Becomes the value of the secret as it is, if the key is exportable.
    value: String,
    format: CertificateFormat,
    /// Whether the secret holds the private key.
    pub exportable: bool,
    /// Tags, and whether it is enabled; dates are those of the certificate unless they are given.
    pub options: SecretOptions,
}

impl fmt::Debug for CertificateSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertificateSpec").field("format", &self.format).finish_non_exhaustive()
    }
}

impl CertificateSpec {
    /// A PFX without password.
    #[must_use]
    pub fn pfx(bytes: &[u8]) -> Self {
        Self::new(BASE64_STANDARD.encode(bytes), CertificateFormat::Pfx)
    }

    /// A PEM text: certificates and a key in PKCS#8, in any order.
    #[must_use]
    pub fn pem(text: &str) -> Self {
        Self::new(text.to_owned(), CertificateFormat::Pem)
    }

    /// The value of a secret of that form.
    pub(crate) fn new(value: String, format: CertificateFormat) -> Self {
        Self { value, format, exportable: true, options: SecretOptions::default() }
    }

    /// A certificate for `host`, valid for a year, signed by its own key: a new one on a curve, the first of this
    /// crate's `keys` folder for RSA.
    ///
    /// # Panics
    /// For the curves P-521 and P-256K, which the emulator cannot sign with; and when `host` is no host name.
    #[must_use]
    #[track_caller]
    #[expect(clippy::panic, reason = "a wrong setup must fail the test that wrote it, where it wrote it")]
    pub fn self_signed(host: &str, kind: KeyKind, format: CertificateFormat) -> Self {
        match Self::made(host, kind, format, clock::machine_time().as_second()) {
            Ok(made) => made,
            Err(refusal) => panic!("a certificate for {host}: {}", refusal.message),
        }
    }

    pub(crate) fn made(
        host: &str,
        kind: KeyKind,
        format: CertificateFormat,
        now: i64,
    ) -> Result<Self, Refusal> {
        let key = pool::fresh(kind, 0)
            .ok_or_else(|| Refusal::bad_parameter("The emulator makes no certificates with such keys."))?;
        let chain = issue::self_signed(&policy_for(host, now)?, &key, now)?;
        Ok(Self::new(chain.value(format)?, format))
    }

    /// With this tag, besides others.
    #[must_use]
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.options.tags.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a private key that does not leave the vault: the secret holds certificates alone.
    #[must_use]
    pub fn not_exportable(self) -> Self {
        Self { exportable: false, ..self }
    }

    pub(crate) fn into_new(self, now: i64) -> Result<NewCertificate, Refusal> {
        let chain = Chain::parse(&self.value, self.format, "")?;
        let unsupported = || Refusal::bad_parameter("The type of the certificate's key is not supported.");
        let leaf = X509Certificate::from_der(chain.leaf()).map_err(|_| unsupported())?.1;
        let key = PublicKey::from_info(leaf.public_key().raw).ok_or_else(unsupported)?;
        let written = json!({
            "key_props": {"exportable": self.exportable},
            "secret_props": {"contentType": self.format.content_type()},
        });
        let policy = Policy::for_import(Some(&written), chain.leaf(), &key, now)?;
        Ok(NewCertificate { chain, value: Some(self.value), policy, options: self.options })
    }
}

fn policy_for(host: &str, now: i64) -> Result<Policy, Refusal> {
    let written = json!({
        "x509_props": {"subject": format!("CN={host}"), "sans": {"dns_names": [host]}},
        "key_props": {"kty": "EC", "crv": "P-256"},
        "issuer": {"name": "Unknown"},
    });
    Policy::for_creation(Some(&written), now)
}

impl Objects {
    /// Begins a version that stays pending until it is brought.
    pub(crate) fn begin(&mut self, name: &str, now: i64) -> Result<String, Refusal> {
        let pending = Pending::begin(policy_for(name, now)?, SecretOptions::default(), (0, 0), now)?;
        self.begin_certificate(name, pending, now)
    }

    /// Adds a version of a key and returns its id.
    pub(crate) fn set_key(&mut self, name: &str, spec: KeySpec, now: i64) -> Result<String, Refusal> {
        self.keys.writable(name, &spec.options)?;
        let turn = self.keys.peek(name).map_or(0, |key| key.versions.len());
        let key = Key::new(pool::public(spec.kind, turn), spec.hsm, spec.operations);
        let id = new_version_id();
        self.keys.put(name, &id, key, spec.options, now);
        Ok(id)
    }
}

impl Vault {
    /// Adds a version of a certificate, with its key and its secret, and returns the id of all three. Ends what was
    /// pending. Another call is a renewal.
    ///
    /// # Panics
    /// On a name or certificate the service refuses, and on a soft-deleted name.
    #[track_caller]
    pub fn set_certificate(&self, name: &str, certificate: CertificateSpec) -> String {
        self.must(name, |objects, now| objects.put_certificate(name, certificate.into_new(now)?, now))
    }

    /// Begins to make a version of a certificate, which stays pending until [`Self::set_certificate`] brings it, and
    /// returns its id. A new certificate shows a disabled version until then, another the version it has.
    ///
    /// # Panics
    /// When one is pending already, on a name that is no host name, and as [`Self::set_certificate`].
    #[track_caller]
    pub fn begin_certificate(&self, name: &str) -> String {
        self.must(name, |objects, now| objects.begin(name, now))
    }

    /// Adds a version of a key and returns its id. The first version has the first key of its kind in this crate's
    /// `keys` folder, the next one the second.
    ///
    /// # Panics
    /// On a name the service refuses, and on a soft-deleted name.
    #[track_caller]
    pub fn set_key(&self, name: &str, key: impl Into<KeySpec>) -> String {
        let spec = key.into();
        self.must(name, |objects, now| objects.set_key(name, spec, now))
    }

    /// Changes metadata of the current version; of a certificate that of its key and secret too.
    ///
    /// # Panics
    /// When there is no such object.
    #[track_caller]
    pub fn update(&self, kind: ObjectKind, name: &str, change: Change) {
        self.must(name, |objects, now| objects.update(kind, name, None, change, now));
    }

    /// Gives the current version these tags in place of those it has.
    ///
    /// # Panics
    /// When there is no such object.
    #[track_caller]
    pub fn set_tags(&self, kind: ObjectKind, name: &str, tags: &[(&str, &str)]) {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let tags: BTreeMap<_, _> = tags.collect();
        self.update(kind, name, Change { tags: Some(tags), ..Change::default() });
    }

    /// Soft-deletes an object, a certificate with its key and secret; that shows at once.
    ///
    /// # Panics
    /// When there is no such object.
    #[track_caller]
    pub fn delete_object(&self, kind: ObjectKind, name: &str) {
        self.must(name, |objects, now| objects.delete(kind, name, 0, now));
    }

    /// Undoes a soft delete; that shows at once.
    ///
    /// # Panics
    /// When there is no such deleted object.
    #[track_caller]
    pub fn recover_object(&self, kind: ObjectKind, name: &str) {
        self.must(name, |objects, _| objects.recover(kind, name, 0));
    }

    /// Deletes a soft-deleted object for good.
    ///
    /// # Panics
    /// When there is no such deleted object.
    #[track_caller]
    pub fn purge_object(&self, kind: ObjectKind, name: &str) {
        self.must(name, |objects, _| objects.purge(kind, name));
    }

    /// Loses the last write, as a fail-over may; returns the id that is current now.
    ///
    /// # Panics
    /// When there is no such object.
    #[track_caller]
    pub fn rollback_object(&self, kind: ObjectKind, name: &str) -> String {
        self.must(name, |objects, _| objects.rollback(kind, name))
    }

    /// The objects of this kind that are there, in the order LIST has.
    #[must_use]
    pub fn names_of(&self, kind: ObjectKind) -> Vec<String> {
        self.change(|vault| vault.objects.names(kind))
    }

    /// The versions of an object in the order they were made; none when there is no such object.
    #[must_use]
    pub fn versions_of(&self, kind: ObjectKind, name: &str) -> Vec<VersionInfo> {
        self.change(|vault| vault.objects.versions(kind, name))
    }
}
