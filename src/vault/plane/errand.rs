//! One request of the plane: what it is for, what comes of it, and who is to be woken then.

use std::{collections::BTreeSet, time::Instant};

use jiff::Timestamp;

use super::lanes::HandleId;
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Reading, Wake},
    connection::{Connection, Source},
    failure::{Failure, Refused},
    names::ObjectVersion,
    rest::{
        list::{Link, Page},
        versions::VersionPage,
    },
};

/// One request that begins now.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) handle: HandleId,
    pub(super) connection: Connection,
    pub(super) errand: Errand,
    pub(super) begun: Instant,
}

/// What a request is for.
#[derive(Clone, Debug)]
pub(in crate::vault) enum Errand {
    /// A source.
    Read {
        source: Source,
        /// Nothing says that it changed.
        recheck: bool,
        /// What of it is asked for.
        step: ReadStep,
    },
    /// A page of the list: the first, or where the link leads.
    List(Option<Link>),
    /// The permission to read or to list.
    Prove(Permission),
}

/// What a request for a source asks for. Of the version before the current one it takes several.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vault) enum ReadStep {
    /// The source as it is named.
    Source,
    /// Its current version, to learn which that is.
    Current,
    /// A page of the list of its versions.
    Versions(Option<Link>),
    /// This version of it.
    Version(ObjectVersion),
}

impl Fetch {
    /// Whether the answer only says which version is current: what else is asked of the source may fail all the same.
    pub(super) const fn is_first_step(&self) -> bool {
        matches!(&self.errand, Errand::Read { step: ReadStep::Current, .. })
    }

    /// Whether the answer is one on the way to what is asked for.
    pub(super) const fn is_step(&self) -> bool {
        matches!(&self.errand, Errand::Read { step: ReadStep::Current | ReadStep::Versions(_), .. })
    }

    /// The source that is read, if it is one.
    pub(super) const fn source(&self) -> Option<&Source> {
        match &self.errand {
            Errand::Read { source, .. } => Some(source),
            Errand::List(_) | Errand::Prove(_) => None,
        }
    }
}

/// A permission that is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::vault) enum Permission {
    /// GET of a secret.
    Read,
    /// LIST of the secrets.
    List,
}

/// What came of a [`Fetch`].
#[derive(Debug)]
pub(in crate::vault) enum Fetched {
    /// A value, and when the service says that it answered.
    Read(Reading, Option<Timestamp>),
    /// A page of the list, and when the service says that it answered.
    Listed(Page, Option<Timestamp>),
    /// A page of the list of a source's versions.
    Versions(VersionPage),
    /// The permission that was tried is there.
    Permitted,
    /// Only how to ask was learnt; ask again.
    Again,
    /// The vault rejected the token, which is given up.
    TokenRejected(Failure),
    /// A failure, of whatever scope.
    Failed(Refused),
}

/// Who is to be woken, each once.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    pub(super) users: BTreeSet<ObjectKey>,
    /// The whole handle began to fail, or fails for another reason now.
    pub(super) outage: bool,
    /// There is something new to say of the connection.
    pub(super) connection: bool,
}

impl Wakes {
    /// The same, of this connection.
    pub(super) fn of(self, connection: &Connection) -> impl Iterator<Item = Wake> {
        let of_handle = if self.outage {
            Some(Wake::Outage(connection.clone()))
        } else {
            self.connection.then(|| Wake::Connection(connection.clone()))
        };
        of_handle.into_iter().chain(self.users.into_iter().map(Wake::User))
    }
}
