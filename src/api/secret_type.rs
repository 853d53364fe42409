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

    /// A type that is never written: the API server makes a token for it.
    pub const REFUSED: &str = "kubernetes.io/service-account-token";

    /// What types begin with that are never written: whoever writes one lets a node join, or says what Helm has installed.
    pub const REFUSED_PREFIXES: [&str; 2] = ["bootstrap.kubernetes.io/", "helm.sh/"];

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

    /// Whether it is a power rather than a container: the schema, the code and the policy of the chart refuse the same.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let word = self.as_str();
        word == Self::REFUSED || Self::REFUSED_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
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
            ("helm.sh/release.v1", true),
        ] {
            let read = SecretType::from(word.to_owned());
            assert_eq!((String::from(read.clone()).as_str(), read.is_refused()), (word, refused));
            assert_eq!(matches!(read, SecretType::Other(_)), word.contains("cifs") || refused, "{word}");
        }
    }
}
