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
    /// A name holds something else than the service accepts.
    #[error("a name in Key Vault is 1 to 127 letters, digits and hyphens, as Key Vault shows it")]
    Name,
    /// The version is not one that the service makes.
    #[error(
        "a version is the 32 hexadecimal digits that Key Vault gave it, for example 7f3c0a4b5d6e4f708192a3b4c5d6e7f8, or Previous"
    )]
    Version,
}

/// The name of a secret, certificate or key: 1 to 127 ASCII letters, digits and hyphens.
///
/// Key Vault compares names without regard to case, so do `Eq`, `Hash` and `Ord`; what was written is kept for
/// URLs and messages.
#[derive(Clone)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName::Name`] if it is not `^[0-9a-zA-Z-]{1,127}$`.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.len() > 127 || !name.bytes().all(allowed) {
            return Err(InvalidName::Name);
        }
        Ok(Self(name.into()))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lower-cased name, equal for all spellings of one name.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The same, without room for it: names are compared far more often than they are made.
    fn folding(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ObjectName {}

impl Hash for ObjectName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // No byte of a name is zero: it ends one.
        self.folding().chain([0]).for_each(|byte| state.write_u8(byte));
    }
}

impl PartialOrd for ObjectName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folding().cmp(other.folding())
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern of names: `*` stands for any characters, anything else for itself, in either case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Takes the pattern as it is written.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_ascii_lowercase())
    }

    /// What every name that fits begins with.
    pub(super) fn prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// Whether a [lower-cased](ObjectName::folded) name is so.
    #[must_use]
    pub fn fits(&self, folded: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = folded.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        // The earliest place of each piece leaves the most for those behind it.
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

/// The version of a secret, certificate or key: the 32 hexadecimal digits that the service made, lower-cased.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectVersion(Arc<str>);

impl ObjectVersion {
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

impl fmt::Debug for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which version of a source is read, where that is not the current one: the newest enabled one before it, or one that is
/// named. As small as one, for there is room for it in every source.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VersionPin(ObjectVersion);

impl VersionPin {
    /// As a spec says that it reads the one before the current.
    const PREVIOUS: &'static str = "Previous";

    /// Parses what a spec says.
    ///
    /// # Errors
    /// [`InvalidName::Version`] if it is neither `Previous` nor 32 hexadecimal digits.
    pub fn parse(version: &str) -> Result<Self, InvalidName> {
        if version == Self::PREVIOUS { Ok(Self::previous()) } else { ObjectVersion::parse(version).map(Self) }
    }

    /// The one before the current.
    #[must_use]
    pub fn previous() -> Self {
        Self(ObjectVersion(Self::PREVIOUS.into()))
    }

    /// This one.
    #[must_use]
    pub const fn of(version: ObjectVersion) -> Self {
        Self(version)
    }

    /// As a spec says it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The version, where that is known without asking.
    #[must_use]
    pub fn exact(&self) -> Option<&ObjectVersion> {
        Some(&self.0).filter(|version| version.as_str() != Self::PREVIOUS)
    }
}

impl fmt::Debug for VersionPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for VersionPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
            assert_eq!(ObjectName::parse(name), Err(InvalidName::Name), "{name:?}");
        }
        assert!(ObjectName::parse(&"a".repeat(127)).is_ok());
    }

    #[test]
    fn two_spellings_are_one_secret_and_each_keeps_its_own() {
        let (upper, lower) = (ObjectName::parse("Shop-DB").unwrap(), ObjectName::parse("shop-db").unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), std::cmp::Ordering::Equal);
        let state = RandomState::new();
        let hash = |name: &ObjectName| state.hash_one(name);
        assert_eq!(hash(&upper), hash(&lower));
        assert_eq!(upper.to_string(), "Shop-DB");
    }

    #[test]
    fn a_version_is_thirty_two_hexadecimal_digits() {
        assert_eq!(ObjectVersion::parse(&"A".repeat(32)).unwrap().as_str(), "a".repeat(32));
        for version in ["", "latest", &"a".repeat(31), &"a".repeat(33), &"g".repeat(32), &"ä".repeat(16)] {
            assert_eq!(ObjectVersion::parse(version), Err(InvalidName::Version), "{version:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_a_single_plain_path_segment(name in ".*") {
            if let Ok(name) = ObjectName::parse(&name) {
                let url = ::url::Url::parse(&format!("https://v.vault.azure.net/secrets/{name}")).unwrap();
                prop_assert_eq!(url.path(), format!("/secrets/{}", name));
            }
        }
    }

    /// The definition, one character after the other.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                by_definition(rest, name) || (!name.is_empty() && by_definition(pattern, &name[1..]))
            }
            ([one, rest @ ..], [other, others @ ..]) => one == other && by_definition(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_star_stands_for_any_characters_and_nothing_else_does(
            pattern in "[abAB*-]{1,8}",
            name in "[abAB-]{1,10}",
        ) {
            let expected = by_definition(
                pattern.to_ascii_lowercase().as_bytes(),
                name.to_ascii_lowercase().as_bytes(),
            );
            prop_assert_eq!(NamePattern::new(&pattern).fits(&name.to_ascii_lowercase()), expected);
        }
    }
}
