//! A version of a certificate that is being made.
//!
//! One that the vault signs itself is done after some looks, counted in requests as the lag of soft delete is; one of an
//! unknown issuer waits until a certificate is brought.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    material::{chain::Chain, issue, keys::Key, policy::Policy, pool, public_key::PublicKey},
    objects::NewCertificate,
    refusal::Refusal,
    store::{SecretOptions, new_version_id},
};

/// The issuer of certificates that the vault signs itself.
const SELF: &str = "self";

/// The issuer of certificates that somebody else signs, nobody knows who.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// So many looks more.
    InProgress {
        looks: u32,
    },
    Cancelled,
    Completed,
}

pub(crate) struct Pending {
    version: String,
    request_id: String,
    request: String,
    key: KeyPair,
    public: PublicKey,
    policy: Policy,
    options: SecretOptions,
    status: Status,
}

impl fmt::Debug for Pending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pending").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Pending {
    /// Begins to make a version; `turn` chooses among ready keys.
    pub(crate) fn begin(
        policy: Policy,
        options: SecretOptions,
        (turn, looks): (usize, u32),
        now: i64,
    ) -> Result<Self, Refusal> {
        let issuer = policy.issuer().unwrap_or_default().to_lowercase();
        if issuer != SELF && issuer != UNKNOWN {
            return Err(Refusal::bad_parameter("The issuer of the certificate was not found."));
        }
        let unsupported = || Refusal::bad_parameter("The emulator makes no certificates with such keys.");
        let key = pool::fresh(policy.key_kind()?, turn).ok_or_else(unsupported)?;
        let public = PublicKey::from_info(&key.subject_public_key_info()).ok_or_else(unsupported)?;
        Ok(Self {
            version: new_version_id(),
            request_id: Uuid::new_v4().simple().to_string(),
            request: issue::request(&policy, &key, now)?,
            key,
            public,
            policy,
            options,
            status: Status::InProgress { looks },
        })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn options(&self) -> &SecretOptions {
        &self.options
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(self.public.clone(), self.policy.is_hsm(), None)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, Status::InProgress { .. })
    }

    /// Counts one look; returns the certificate when it is made.
    pub(crate) fn look(&mut self, now: i64) -> Result<Option<NewCertificate>, Refusal> {
        let Status::InProgress { looks } = self.status else { return Ok(None) };
        let is_own = self.policy.issuer().is_some_and(|issuer| issuer.eq_ignore_ascii_case(SELF));
        if !is_own {
            return Ok(None);
        }
        if looks > 0 {
            self.status = Status::InProgress { looks: looks - 1 };
            return Ok(None);
        }
        let chain: Chain = issue::self_signed(&self.policy, &self.key, now)?;
        let (policy, options) = (self.policy.clone(), self.options.clone());
        Ok(Some(NewCertificate { chain, value: None, policy, options }))
    }

    /// Ends it with a certificate; returns the version that is to be made, if it was not yet.
    pub(crate) fn complete(&mut self) -> Option<String> {
        let was_open = self.is_open();
        self.status = Status::Completed;
        was_open.then(|| self.version.clone())
    }

    pub(crate) fn cancel(&mut self) {
        if self.is_open() {
            self.status = Status::Cancelled;
        }
    }

    /// As the service shows it; `certificate` is the certificate's address.
    pub(crate) fn shown(&self, certificate: &str) -> Map<String, Value> {
        let (status, details) = match self.status {
            Status::InProgress { .. } => (
                "inProgress",
                "Pending certificate created. Certificate request is in progress. This may take some time based on \
                 the issuer provider. Please check again later.",
            ),
            Status::Cancelled => ("cancelled", "The creation of the certificate was cancelled."),
            Status::Completed => ("completed", ""),
        };
        let mut shown = Map::from_iter([
            ("id".to_owned(), format!("{certificate}/pending").into()),
            ("issuer".to_owned(), json!({"name": self.policy.issuer()})),
            ("csr".to_owned(), self.request.as_str().into()),
            ("cancellation_requested".to_owned(), (self.status == Status::Cancelled).into()),
            ("status".to_owned(), status.into()),
            ("request_id".to_owned(), self.request_id.as_str().into()),
        ]);
        if self.status == Status::Completed {
            shown.insert("target".to_owned(), certificate.into());
        } else {
            shown.insert("status_details".to_owned(), details.into());
        }
        shown
    }
}
