//! Names as Key Vault takes them: nothing else ever reaches a URL.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use thiserror::Error;

/// Why a name or version is refused. Its text says what is allowed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidName {
    /// The name of a secret holds something else than the service accepts.
    #[error("a secret's name is 1 to 127 letters, digits and hyphens, as Key Vault shows it")]
    Secret,
    /// The version is not one that the service makes.
    #[error(
        "a version is the 32 hexadecimal digits that Key Vault gave it, for example 7f3c0a4b5d6e4f708192a3b4c5d6e7f8"
    )]
    Version,
}

/// The name of a secret: 1 to 127 ASCII letters, digits and hyphens.
///
/// Key Vault compares names without regard to case, so do `Eq`, `Hash` and `Ord`; what was written is kept for
/// URLs and messages.
#[derive(Clone)]
pub struct SecretName(Arc<str>);

impl SecretName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName::Secret`] if it is not `^[0-9a-zA-Z-]{1,127}$`.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.len() > 127 || !name.bytes().all(allowed) {
            return Err(InvalidName::Secret);
        }
        Ok(Self(name.into()))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lower-cased name, equal for all spellings of one secret.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The same, without room for it: names are compared far more often than they are made.
    fn folding(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for SecretName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for SecretName {}

impl Hash for SecretName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // No byte of a name is zero: it ends one.
        self.folding().chain([0]).for_each(|byte| state.write_u8(byte));
    }
}

impl PartialOrd for SecretName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SecretName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folding().cmp(other.folding())
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a secret: the 32 hexadecimal digits that the service made, lower-cased.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SecretVersion(Arc<str>);

impl SecretVersion {
    /// Parses a version.
    ///
    /// # Errors
    /// [`InvalidName::Version`] if it is not 32 hexadecimal digits.
    pub fn parse(version: &str) -> Result<Self, InvalidName> {
        if version.len() != 32 || !version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidName::Version);
        }
        Ok(Self(version.to_ascii_lowercase().into()))
    }

    /// The version, lower-cased.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_could_leave_its_place_in_the_url_is_refused() {
        for name in
            ["", "a/b", "..", "../keys/k", "a b", "a%2fb", "a?x", "a#x", "a_b", "ä", "a\n", &"a".repeat(128)]
        {
            assert_eq!(SecretName::parse(name), Err(InvalidName::Secret), "{name:?}");
        }
        assert!(SecretName::parse(&"a".repeat(127)).is_ok());
    }

    #[test]
    fn two_spellings_are_one_secret_and_each_keeps_its_own() {
        let (upper, lower) = (SecretName::parse("Shop-DB").unwrap(), SecretName::parse("shop-db").unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), std::cmp::Ordering::Equal);
        let state = RandomState::new();
        let hash = |name: &SecretName| state.hash_one(name);
        assert_eq!(hash(&upper), hash(&lower));
        assert_eq!(upper.to_string(), "Shop-DB");
    }

    #[test]
    fn a_version_is_thirty_two_hexadecimal_digits() {
        assert_eq!(SecretVersion::parse(&"A".repeat(32)).unwrap().as_str(), "a".repeat(32));
        for version in ["", "latest", &"a".repeat(31), &"a".repeat(33), &"g".repeat(32), &"ä".repeat(16)] {
            assert_eq!(SecretVersion::parse(version), Err(InvalidName::Version), "{version:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_a_single_plain_path_segment(name in ".*") {
            if let Ok(name) = SecretName::parse(&name) {
                let url = ::url::Url::parse(&format!("https://v.vault.azure.net/secrets/{name}")).unwrap();
                prop_assert_eq!(url.path(), format!("/secrets/{}", name));
            }
        }
    }
}
