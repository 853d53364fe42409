//! What is wrong with one source, or with its value.

use super::Problem;
use crate::api::VaultRef;
use crate::plan::sources::UsedSource;
use crate::reason::Reason;
use crate::vault::Failure;

impl Problem {
    /// A source whose name is permitted, but not as the kind of thing that it is.
    pub(in crate::plan) fn kind_not_allowed(vault: &VaultRef, about: SourceKeys<'_>, managed: bool) -> Self {
        let (source, keys, name) = (about.source(), about.keys(), &about.used.source.name);
        let (what, list) = if managed {
            ("it is the private side of a certificate", "certificates")
        } else {
            ("it is not the secret of a certificate", "secrets")
        };
        Self::new(
            Reason::NotAllowed,
            format!(
                "{source} ({keys}): {what}, and {vault} does not allow this namespace to read it as such. {} Ask its administrator for {list} [{name}] in spec.allow.",
                about.meanwhile()
            ),
        )
    }

    /// A problem of one source. `failure` is there where the plane told of it in this process; `line`: where the value is
    /// wrong; `unfit`: members that cannot be keys, where they may be named.
    pub(in crate::plan) fn of_source(
        about: SourceKeys<'_>,
        reason: Reason,
        failure: Option<&Failure>,
        (line, unfit): (Option<usize>, &[String]),
    ) -> Self {
        let (source, keys, name) = (about.source(), about.keys(), &about.used.source.name);
        let remedy = match (reason, failure) {
            (_, Some(failure)) => failure.to_string(),
            (Reason::PropertyNotFound, _) => "a property that the spec names is not in the value. Correct the property, or the value in the vault.".to_owned(),
            (Reason::InvalidJson, _) => "the value is not JSON (for dataFrom: not a JSON object). JSON inside of a JSON string, or with escaped quotes, is none: store the object itself. Correct the value in the vault, or remove the property from the spec.".to_owned(),
            (Reason::InvalidFormat, _) => {
                let at = line.map(|line| format!(", from line {line} on")).unwrap_or_default();
                format!("the value is not in the format that dataFrom names: a mapping for Yaml, lines of NAME=value for Dotenv{at}. Correct format, or the value in the vault.")
            }
            (Reason::DecodeFailed, _) => "the value is not in the encoding that decode names. Correct decode, or the value in the vault.".to_owned(),
            (Reason::DuplicateKey, _) => "another dataFrom source, or another member of this one, provides one of the same keys. Rename one of them in the vault or by rename, or name the key in data.".to_owned(),
            (Reason::InvalidKey, _) => {
                let which = match unfit {
                    [] => "a member has a name that cannot be a key of a Secret.".to_owned(),
                    names => format!("members have names that cannot be keys of a Secret, {names:?} among them."),
                };
                format!("{which} Rename them in the vault, or by rename: letters, digits, '-', '_' and '.'.")
            }
            (Reason::InvalidPattern, _) => "rename takes too much to run over the names of this value. Write its patterns simpler, or rename fewer names.".to_owned(),
            (Reason::InvalidCertificate, _) => "the value is no certificate that can be read: PEM, or Base64 of a PFX without a password. Import the certificate into the vault, or correct the value.".to_owned(),
            (Reason::KeyMismatch, _) => "the private key in the value belongs to none of the certificates in it. Put the certificate and its own key into one version.".to_owned(),
            (Reason::CertificateTooCostly, _) => "the value is larger, or takes more rounds to decrypt, than vaultsync spends on a certificate. Export the PFX with its defaults, or import the certificate into the vault as PEM.".to_owned(),
            (Reason::NotPfx, _) => "the vault keeps this certificate as PEM, so there is no PFX to pass on. Take part: Combined, or part: Pkcs12 with a password.".to_owned(),
            (Reason::InvalidPassword, _) => "the password of the PKCS#12 file has characters that Java and others do not take, as a line break at its end. Use printable ASCII characters.".to_owned(),
            (Reason::NoPrivateKey, _) => "the vault gives no private key with this certificate, as it is when the certificate's key is not exportable. Make a version whose key is exportable, or take part: Leaf, Chain, Full or Ca in data.".to_owned(),
            (Reason::NoIssuer, _) => "the value holds no issuer of the certificate. Import the certificate with its chain, or leave out the part that needs it.".to_owned(),
            (Reason::WholeCertificate, _) => format!(
                "the value is a certificate together with its private key, which a Secret of type kubernetes.io/tls takes apart. Write spec.tls: {{certificate: {name}}} in place of the keys tls.crt and tls.key in data."
            ),
            (Reason::InvalidKeyType, _) => "the key is neither RSA nor EC, so it has no public part. Correct the name, or use another key.".to_owned(),
            (Reason::RemovalHeld, _) => "the vault does not have it any more, or find does not find it any more, and many others may be gone with it. If they are, the condition MassRemoval of the connection says so: recover them in the vault, or confirm there that they are to go. If they are not, its keys go within the longest refresh interval of those who read the vault.".to_owned(),
            (Reason::SecretNotFound, _) => Failure::SecretNotFound.to_string(),
            (Reason::SecretDisabled, _) => Failure::SecretDisabled.to_string(),
            (Reason::KeyNotFound, _) => Failure::KeyNotFound.to_string(),
            (Reason::KeyDisabled, _) => Failure::KeyDisabled.to_string(),
            _ => "the vault does not provide it.".to_owned(),
        };
        Self::new(reason, format!("{source} ({keys}): {remedy} {}", about.meanwhile()))
    }
}

/// A source with what it gives.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct SourceKeys<'a> {
    pub(in crate::plan) used: &'a UsedSource,
    /// Its connection, where the object has several.
    pub(in crate::plan) vault: Option<&'a VaultRef>,
    /// The keys that it gives, as the spec names them.
    pub(in crate::plan) keys: &'a [&'a str],
    /// Whether one of them is in the Secret.
    pub(in crate::plan) delivered: bool,
}

impl SourceKeys<'_> {
    /// What becomes of its keys until its problem is solved.
    const fn meanwhile(&self) -> &'static str {
        if self.delivered { "Its keys keep their last value." } else { "Its keys are not in the Secret yet." }
    }

    /// The source as it is called, and where it is.
    fn source(&self) -> String {
        let vault = self.vault.map(|vault| format!(" of {vault}"));
        format!("{}{}", self.used.display(), vault.unwrap_or_default())
    }

    fn keys(&self) -> String {
        match (self.keys, self.used.data_from.is_empty()) {
            ([], _) => "dataFrom".to_owned(),
            ([key], true) => format!("key {key}"),
            ([key, rest @ ..], true) => format!("key {key} and {} more", rest.len()),
            ([key, ..], false) => format!("key {key} and dataFrom"),
        }
    }
}
