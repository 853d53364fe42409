//! What makes a handle, and what is read through it.

use std::{fmt, sync::Arc};

use thiserror::Error;

use super::{
    identity::Identity,
    names::{ObjectName, ObjectVersion, VersionPin},
    url::VaultUrl,
};

/// A version of Key Vault's REST interface that has all we need.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ServiceVersion {
    /// 7.4, the oldest.
    V7_4,
    /// 7.5.
    V7_5,
    /// 7.6.
    V7_6,
    /// 2025-07-01, the default.
    #[default]
    V2025_07_01,
    /// 2026-04-01.
    V2026_04_01,
}

impl ServiceVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 5] = [Self::V7_4, Self::V7_5, Self::V7_6, Self::V2025_07_01, Self::V2026_04_01];

    /// The version as it stands in a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V7_4 => "7.4",
            Self::V7_5 => "7.5",
            Self::V7_6 => "7.6",
            Self::V2025_07_01 => "2025-07-01",
            Self::V2026_04_01 => "2026-04-01",
        }
    }

    /// Parses what [`Self::as_str`] prints.
    ///
    /// # Errors
    /// [`UnknownServiceVersion`] for anything else.
    pub fn parse(version: &str) -> Result<Self, UnknownServiceVersion> {
        Self::ALL.into_iter().find(|known| known.as_str() == version).ok_or(UnknownServiceVersion)
    }
}

impl fmt::Display for ServiceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version is none that we know.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the service version must be one of 7.4, 7.5, 7.6, 2025-07-01 and 2026-04-01")]
pub struct UnknownServiceVersion;

/// Where and as whom: what makes a handle. Two users share a client, a token and values only if all of it is
/// equal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Connection {
    /// The vault.
    pub url: VaultUrl,
    /// As whom it is read.
    pub identity: Identity,
    /// In which version of its interface.
    pub service_version: ServiceVersion,
}

/// The kinds of object in a vault, as its interface tells them apart. The private side of a certificate is a secret.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ObjectKind {
    /// A secret.
    #[default]
    Secret,
    /// A key, of which only the public part is given.
    Key,
}

impl ObjectKind {
    /// The first segment of its paths.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Key => "keys",
        }
    }
}

/// One thing that is read through a [`Connection`].
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Source {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: ObjectName,
    /// Which version; the current one if absent.
    pub version: Option<VersionPin>,
}

impl Source {
    /// The version that is meant, if that is known without asking.
    pub(super) fn exact(&self) -> Option<&ObjectVersion> {
        self.version.as_ref().and_then(VersionPin::exact)
    }

    /// Another version of it, or the current one.
    pub(super) fn at(&self, version: Option<ObjectVersion>) -> Self {
        Self { version: version.map(VersionPin::of), ..self.clone() }
    }

    /// Whether a LIST of secrets tells of it: of the current version of a secret.
    pub(super) const fn is_listed(&self) -> bool {
        matches!(self.kind, ObjectKind::Secret) && self.version.is_none()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => fmt::Display::fmt(&self.name, f),
        }
    }
}

/// A cheap, shared name of a namespace.
pub(super) type Namespace = Arc<str>;
