//! A check: what preflight tries, step by step and at once, for a person who waits for the answer.
//!
//! Nothing of it is kept, and neither budget nor gate is asked: it is at most four requests to the vault.

use std::{fmt, sync::Arc};

use prometheus::Registry;
use strum::{IntoStaticStr, VariantArray};

use super::{
    connection::Connection,
    evidence::Network,
    failure::{Failure, Peer, Refused, Scope},
    metrics::VaultMetrics,
    plane::{
        errand::{Errand, Fetched, Permission},
        jitter::Jitter,
    },
    rest::{reader::Reader, transport::Transport},
    token::{assertion::Assertions, credentials::Credentials, token_identity::TokenIdentity},
};
use crate::reason::Reason;

/// What is checked, in order: each takes what comes before it.
#[derive(Clone, Copy, Debug, Eq, IntoStaticStr, Ord, PartialEq, PartialOrd, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum StepName {
    /// The vault's name leads to an address.
    Name,
    /// What answers there has a trusted certificate for the name.
    Tls,
    /// It is a vault.
    Vault,
    /// The identity gets a token.
    Token,
    /// The vault takes it, from here.
    Access,
    /// The vault speaks the `serviceVersion` that is set.
    ApiVersion,
    /// The identity may read secrets.
    Read,
    /// The identity may list secrets.
    List,
}

impl StepName {
    /// The word of the step.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// At which step a failure shows; `None`: at whichever is under way.
    const fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::VaultHostNotFound => Some(Self::Name),
            Failure::TlsFailure(Peer::Vault)
            | Failure::NetworkUnreachable(Peer::Vault)
            | Failure::ProxyFailed { peer: Peer::Vault, .. } => Some(Self::Tls),
            Failure::UntrustedVaultHost | Failure::MalformedResponse { peer: Peer::Vault, .. } => {
                Some(Self::Vault)
            }
            Failure::WrongTenant { .. }
            | Failure::WrongAudience
            | Failure::TokenRejected
            | Failure::ClaimsChallenge
            | Failure::TokenBindingRequired
            | Failure::Firewall(_)
            | Failure::PublicAccessDisabled(_) => Some(Self::Access),
            Failure::RequestRejected | Failure::InvalidName => Some(Self::ApiVersion),
            _ => None,
        }
    }
}

/// How a step went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StepResult {
    /// As it should.
    Passed,
    /// It could not be shown, and need not matter.
    Unproven,
    /// It stands in the way, for this reason.
    Failed(Reason),
    /// A step before it stands in the way.
    NotTried,
}

/// One step of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckStep {
    /// What was checked.
    pub name: StepName,
    /// How it went.
    pub result: StepResult,
    /// What was found, and what to do about it.
    pub message: String,
}

/// Checks a connection, to its end or to the first step that fails.
pub async fn check(
    connection: Connection,
    transport: &Transport,
    assertions: Arc<dyn Assertions>,
    credentials: Credentials,
) -> Vec<CheckStep> {
    let mut report = Report::default();
    if let Err(failure) = walk(connection, transport, assertions, credentials, &mut report).await {
        report.fail(&failure);
    }
    report.end()
}

async fn walk(
    connection: Connection,
    transport: &Transport,
    assertions: Arc<dyn Assertions>,
    credentials: Credentials,
    report: &mut Report,
) -> Result<(), Failure> {
    let (host, version) = (connection.url.host().to_owned(), connection.service_version);
    report.pass(StepName::Name, resolve(transport, &host).await?);
    // Nobody looks at what is counted here.
    let metrics = VaultMetrics::new(&Registry::new()).map_err(|_| Failure::TlsFailure(Peer::Vault))?;
    let credentials = Arc::new(credentials);
    let reader = Reader::new(connection, transport, assertions, credentials, Jitter::random(), metrics);
    let tenant = reader.challenge().await?;
    report.pass(StepName::Tls, "The certificate is trusted and matches this name.".to_owned());
    report.pass(
        StepName::Vault,
        match &tenant {
            Some(tenant) => format!("A Key Vault answers, and trusts the tenant {tenant}."),
            None => "A Key Vault answers.".to_owned(),
        },
    );
    reader.token().await?;
    report.pass(StepName::Token, reader.evidence().identity.map_or_else(String::new, |who| who.to_string()));
    let read = tried(&reader, Permission::Read).await;
    if let Err(failure) = &read
        && (failure.scope() == Scope::Handle || StepName::of(failure).is_some())
    {
        return Err(failure.clone());
    }
    report.pass(StepName::Access, "The vault accepts the token.".to_owned());
    report.pass(StepName::ApiVersion, format!("The vault supports api-version {version}."));
    match read {
        Ok(()) => report.pass(
            StepName::Read,
            "The identity may read secrets: a GET of a name that does not exist is answered with 404, not refused.".to_owned(),
        ),
        Err(failure) => report.unproven(
            StepName::Read,
            format!(
                "A GET of a name that does not exist is refused ({}). That is expected if the identity may read only some secrets. If it should read all: {failure}",
                failure.reason()
            ),
        ),
    }
    match tried(&reader, Permission::List).await {
        Ok(()) => report.pass(StepName::List, "The identity may list secrets.".to_owned()),
        Err(failure) => report.unproven(
            StepName::List,
            format!(
                "The secrets cannot be listed ({}), so each is read by itself (mode Get), which costs more requests.",
                failure.reason()
            ),
        ),
    }
    Ok(())
}

/// Where the name leads, said as a person wants to read it.
async fn resolve(transport: &Transport, host: &str) -> Result<String, Failure> {
    if transport.is_proxied(host) {
        return Ok(format!("A proxy is used, and it resolves {host}; the name was not resolved here."));
    }
    let found = tokio::net::lookup_host((host, 443)).await.map_err(|_| Failure::VaultHostNotFound)?;
    let address = found.map(|found| found.ip()).next().ok_or(Failure::VaultHostNotFound)?;
    let kind = match Network::of(address) {
        Network::Private => "private",
        Network::Public | Network::Proxy => "public",
    };
    Ok(format!("{host} resolves to the {kind} address {address}."))
}

/// Whether the permission is there. A token that was just got may be rejected once.
async fn tried(reader: &Reader, permission: Permission) -> Result<(), Failure> {
    let errand = Errand::Prove(permission);
    let outcome = match reader.send(&errand).await {
        Fetched::TokenRejected(_) | Fetched::Again => reader.send(&errand).await,
        outcome => outcome,
    };
    match outcome {
        Fetched::Failed(Refused { failure: Failure::SecretNotFound | Failure::SecretDisabled, .. })
            if permission == Permission::Read =>
        {
            Ok(())
        }
        Fetched::Failed(Refused { failure, .. }) | Fetched::TokenRejected(failure) => Err(failure),
        Fetched::Permitted
        | Fetched::Read(..)
        | Fetched::Listed(..)
        | Fetched::Versions(_)
        | Fetched::Again => Ok(()),
    }
}

/// The steps so far, in order.
#[derive(Default)]
struct Report(Vec<CheckStep>);

impl Report {
    fn push(&mut self, name: StepName, result: StepResult, message: String) {
        self.0.push(CheckStep { name, result, message });
    }

    fn pass(&mut self, name: StepName, message: String) {
        self.push(name, StepResult::Passed, message);
    }

    fn unproven(&mut self, name: StepName, message: String) {
        self.push(name, StepResult::Unproven, message);
    }

    /// The first step without a result.
    fn under_way(&self) -> Option<StepName> {
        StepName::VARIANTS.get(self.0.len()).copied()
    }

    /// The failure stands at its own step, or at the one under way if it shows later; what is between has passed.
    fn fail(&mut self, failure: &Failure) {
        let Some(under_way) = self.under_way() else { return };
        let at = StepName::of(failure).unwrap_or(under_way).max(under_way);
        while let Some(passed) = self.under_way().filter(|step| *step < at) {
            self.pass(passed, String::new());
        }
        self.push(at, StepResult::Failed(failure.reason()), failure.to_string());
    }

    fn end(mut self) -> Vec<CheckStep> {
        while let Some(step) = self.under_way() {
            self.push(step, StepResult::NotTried, String::new());
        }
        self.0
    }
}

impl fmt::Display for TokenIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |id: &Option<String>| id.clone().unwrap_or_else(|| "(unknown)".to_owned());
        write!(
            f,
            "A token for the client {}, object id {}, of the tenant {}.",
            known(&self.client_id),
            known(&self.object_id),
            known(&self.tenant_id),
        )?;
        if let (Some(issuer), Some(subject)) = (&self.issuer, &self.subject) {
            write!(f, " It was exchanged for an assertion of issuer {issuer}, subject {subject}.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(failure: &Failure, passed: usize) -> Vec<StepResult> {
        let mut report = Report::default();
        for step in &StepName::VARIANTS[..passed] {
            report.pass(*step, String::new());
        }
        report.fail(failure);
        report.end().into_iter().map(|step| step.result).collect()
    }

    #[test]
    fn a_failure_stands_at_its_step_and_nothing_after_it_was_tried() {
        use StepResult::{Failed, NotTried, Passed};
        let results = results(&Failure::RequestRejected, 4);
        assert_eq!(results[..5], [Passed; 5]);
        assert_eq!(results[5..], [Failed(Reason::RequestRejected), NotTried, NotTried]);
    }

    #[test]
    fn a_failure_that_shows_late_stands_where_it_showed() {
        for (failure, passed) in [
            (Failure::VaultHostNotFound, 4),
            (Failure::Throttled(Peer::Vault), 6),
            (Failure::TokenRequestFailed(crate::vault::ServiceAccount::default()), 3),
        ] {
            let results = results(&failure, passed);
            assert_eq!(results[passed], StepResult::Failed(failure.reason()));
            assert!(results[..passed].iter().all(|result| *result == StepResult::Passed));
        }
    }
}
