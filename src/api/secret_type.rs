//! The types of Secret, and those that are never written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The type of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum SecretType {
    /// Any keys.
    #[default]
    Opaque,
    /// `tls.crt` and `tls.key`.
    Tls,
    /// `.dockerconfigjson`, for `imagePullSecrets`.
    DockerConfigJson,
    /// `username` and `password`.
    BasicAuth,
    /// `ssh-privatekey`.
    SshAuth,
    /// What somebody made up; any keys.
    Other(String),
}

impl SecretType {
    /// The types that Kubernetes knows and anybody may write.
    const KNOWN: [Self; 5] =
        [Self::Opaque, Self::Tls, Self::DockerConfigJson, Self::BasicAuth, Self::SshAuth];

    /// What the domain of a type ends with that only the types above may have: the API server, a kubelet or a controller of
    /// Kubernetes trusts whoever writes one.
    pub const REFUSED_DOMAIN: &str = "kubernetes.io";

    /// What types begin with that are never written either: whoever writes one says what Helm has installed, runs commands
    /// on nodes, makes clusters, or speaks for a mesh.
    pub const REFUSED_PREFIXES: [&str; 4] =
        ["helm.sh/", "rke.cattle.io/", "addons.cluster.x-k8s.io/", "cluster.x-k8s.io/"];

    /// The word of the API.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Opaque => "Opaque",
            Self::Tls => "kubernetes.io/tls",
            Self::DockerConfigJson => "kubernetes.io/dockerconfigjson",
            Self::BasicAuth => "kubernetes.io/basic-auth",
            Self::SshAuth => "kubernetes.io/ssh-auth",
            Self::Other(word) => word,
        }
    }

    /// Whether it is a power rather than a container, or a misspelt `Opaque`: the schema, the code and the policy of the
    /// chart refuse the same.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let Self::Other(word) = self else { return false };
        let domain = word.split_once('/').map_or("", |(domain, _)| domain);
        let of_kubernetes = domain
            .strip_suffix(Self::REFUSED_DOMAIN)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'));
        of_kubernetes
            || Self::REFUSED_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
            || word.eq_ignore_ascii_case("Opaque")
    }

    /// The keys without which the API server refuses a Secret of this type.
    #[must_use]
    pub const fn required_keys(&self) -> &'static [&'static str] {
        match self {
            Self::Opaque | Self::BasicAuth | Self::Other(_) => &[],
            Self::Tls => &["tls.crt", "tls.key"],
            Self::DockerConfigJson => &[".dockerconfigjson"],
            Self::SshAuth => &["ssh-privatekey"],
        }
    }
}

impl From<String> for SecretType {
    fn from(word: String) -> Self {
        Self::KNOWN.into_iter().find(|known| known.as_str() == word).unwrap_or(Self::Other(word))
    }
}

impl From<SecretType> for String {
    fn from(of: SecretType) -> Self {
        of.as_str().to_owned()
    }
}

impl JsonSchema for SecretType {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SecretType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": 253})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_as_it_was_written_and_powers_are_refused() {
        for (word, refused) in [
            ("Opaque", false),
            ("kubernetes.io/tls", false),
            ("kubernetes.io/dockerconfigjson", false),
            ("kubernetes.io/basic-auth", false),
            ("kubernetes.io/ssh-auth", false),
            ("fstab/cifs", false),
            ("kubernetes.io/service-account-token", true),
            ("bootstrap.kubernetes.io/token", true),
            ("kubernetes.io/dockercfg", true),
            ("kubernetes.io/TLS", true),
            ("mykubernetes.io/own", false),
            ("rke.cattle.io/machine-plan", true),
            ("opaque", true),
            ("helm.sh/release.v1", true),
        ] {
            let read = SecretType::from(word.to_owned());
            assert_eq!((String::from(read.clone()).as_str(), read.is_refused()), (word, refused));
            let known = SecretType::KNOWN.iter().any(|known| known.as_str() == word);
            assert_eq!(matches!(read, SecretType::Other(_)), !known, "{word}");
        }
    }
}
