//! What users ask of the plane and what they get.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::object_key::ObjectKey;

use super::{
    connection::{Connection, Source},
    evidence::Evidence,
    failure::Failure,
    names::{NamePattern, ObjectName},
    plane::detect::{Detection, Terms, Why},
    value::SecretValue,
};

/// What the vault says about a version of a secret. Any inequality is a change, an older time too: after a
/// fail-over of the region a version may go backwards. A version that had to be used so shortly after it came that
/// another may have followed is handed out without `updated`: nothing in the vault agrees with that, so it is read
/// again, by another process too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attributes {
    /// The version.
    pub version: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it or its attributes last changed.
    pub updated: Option<Timestamp>,
    /// When it expires; the value is delivered all the same.
    pub expires: Option<Timestamp>,
    /// From when on it is meant to be used; the value is delivered all the same.
    pub not_before: Option<Timestamp>,
    /// Whether it is the private side of a certificate: the service manages it, or it names a key.
    pub managed: bool,
}

/// One answer of the vault: a version and its value.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the vault says about the version.
    pub attributes: Attributes,
    /// The value.
    pub value: SecretValue,
}

/// One source that a user wants, and what it has of it already.
#[derive(Clone, Debug)]
pub struct Want {
    /// What to read.
    pub source: Source,
    /// How stale it may be.
    pub interval: Duration,
    /// What the user has written; `None`: nothing, or its value is needed whatever was written.
    pub known: Option<Attributes>,
    /// Whether it was said that what is known is confirmed no longer: that stands until this process has it confirmed.
    pub stale: bool,
    /// What the user would lose if the source were gone.
    pub stake: Stake,
}

/// What a user has of a source in its Secret.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stake {
    /// Nothing, or it was told already that the source is gone.
    #[default]
    None,
    /// Keys.
    Keys,
    /// Keys, and the source is gone with [many](Losses::Many): they stay until somebody confirms that.
    Held,
}

/// How many names of a vault are gone together, among those of which any user has keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Losses {
    /// Few, whatever is read next.
    Few,
    /// At least ten, and more than a quarter; or removals are held already.
    Many,
    /// It may be many: others are still to be read.
    Undecided,
}

impl Losses {
    /// Whether it is many if so many are lost `of` all that are used: at least ten, and more than a quarter.
    #[must_use]
    pub const fn are_many(lost: usize, of: usize) -> bool {
        lost >= 10 && lost.saturating_mul(4) > of
    }
}

/// What a user asks of one of its connections.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// On what terms it is asked; the same in all of a user's asks of one connection.
    pub terms: Terms,
    /// What the user wants of it; nothing else from now on.
    pub wants: &'a [Want],
}

/// What a user looks for in the list of secrets: all of it must fit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Find {
    /// How the name is.
    pub name: NamePattern,
    /// Tags, with these values.
    pub tags: BTreeMap<String, String>,
}

/// What a user looks for in the list of one of its connections, how fresh it is to be, and what it found before.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// On what terms it is asked.
    pub terms: Terms,
    /// What it looks for.
    pub finds: &'a [Find],
    /// How stale the list may be.
    pub interval: Duration,
    /// Names that it found before.
    pub known: &'a [ObjectName],
}

/// What the list of secrets shows who looks for names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// It is not read yet; [`Wake::User`] follows.
    Pending,
    /// What is listed.
    Names {
        /// The names for each [`Find`], in their order. Secrets that back certificates are left out.
        names: Arc<[Vec<ObjectName>]>,
        /// Of the names that were known those that are not listed at all: a hint, which a GET has to confirm.
        absent: Vec<ObjectName>,
        /// Why the list cannot be read any more, so that there may be others by now.
        failed: Option<Why>,
    },
    /// It cannot be read, for this reason; it is tried again within the hour.
    Failed(Why),
}

/// What is to be said about one [`Want`] now.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As far as we know the vault still has what is known.
    Unchanged,
    /// The vault has this, and it is needed.
    Read(Arc<Reading>),
    /// The vault does not give this source; the reason is its own.
    Failed(Arc<Failure>),
    /// A read is on its way, or waits for the vault to answer again; [`Wake::User`] follows.
    Pending,
}

/// How a handle fares.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the vault answers through it.
    pub state: HealthState,
    /// How many users it has.
    pub users: usize,
    /// How changes are found; `None` until that is decided.
    pub detection: Option<Detection>,
    /// A [preflight](super::Plane::prove) is under way; [`Wake::Connection`] follows.
    pub proving: bool,
    /// What its requests have shown of the identity and the way to the vault.
    pub evidence: Evidence,
}

/// Whether the vault answers.
#[derive(Clone, Debug)]
pub enum HealthState {
    /// Nothing was read yet, and nothing failed.
    Unproven,
    /// The vault answers, but gave or named no source yet: each user has a reason of its own.
    Undecided,
    /// The vault answers.
    Working,
    /// The vault takes the identity, but did not let it read a name that no secret has. It may yet read others.
    PermissionUnproven(Arc<Failure>),
    /// The last requests failed as if the whole vault, or the identity, did; that it does is not said yet. Only who has
    /// nothing that stands is told.
    Doubtful(Arc<Failure>),
    /// The whole vault, or the identity, fails.
    Failing {
        /// Why.
        failure: Arc<Failure>,
        /// For how long already.
        lasting: Duration,
        /// When the next try is allowed; zero if one is under way.
        retry_in: Duration,
    },
}

/// The answer to one [`Ask`].
#[derive(Clone, Debug)]
pub struct Reply {
    /// One answer a want, in the order of the wants.
    pub answers: Vec<Answer>,
    /// How the handle fares.
    pub health: Health,
    /// The longest time since one of these sources was last confirmed by the service (a value, or a failure of
    /// its own such as a 404), counted from the first ask if it never was. `None` while the handle works and
    /// every source was confirmed within one and a half of its intervals.
    pub unconfirmed_for: Option<Duration>,
}

/// Who should ask again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wake {
    /// One of the user's answers changed.
    User(ObjectKey),
    /// The whole vault or identity began to fail, or fails for another reason now: that is news for all who read through
    /// the connection. Of its end each hears when what it reads is confirmed.
    Outage(Connection),
    /// There is something new to say of the connection; that is nothing to its users.
    Connection(Connection),
}
