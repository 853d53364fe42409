//! Which of several replicas works: the one that holds a `Lease`. The others wait.
//!
//! A lease is no fence: every write is safe by itself, by uid and resourceVersion. It keeps two replicas from doing
//! everything twice. Whoever calls the API server asks the [`Tenure`] first: a replica that cannot renew its lease begins
//! nothing. If it renews it in time it goes on where it was; once another may have led, or after a minute, it ends.

mod elector;
#[cfg(test)]
mod model;

use crate::api::MANAGER;
use elector::{Elector, LeaseStep, LeaseWritten, Term};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, PostParams};
use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use ring::rand::{SystemRandom, generate};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The longest a call may take: one renewal without an answer leaves time for another before the term ends.
const CALL: Duration = Duration::from_secs(5);
/// How long the end of the process may be held up by giving the lease back.
const RELEASE: Duration = Duration::from_secs(3);

/// The lease by which replicas agree, and what this process is called in it.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    namespace: String,
    name: String,
    identity: String,
    clock: fn() -> Timestamp,
}

impl LeaseSettings {
    /// The lease of this name, with an identity that no process had before: a pod that starts anew does not know what its
    /// last process had begun.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(
        namespace: &str,
        name: &str,
        pod: &str,
        clock: fn() -> Timestamp,
    ) -> Result<Self, NoRandomNumbers> {
        let random: [u8; 8] = generate(&SystemRandom::new()).map_err(|_| NoRandomNumbers)?.expose();
        let identity = format!("{pod}_{:016x}", u64::from_be_bytes(random));
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), identity, clock })
    }
}

/// Without them two processes could take each other for one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the system has no random numbers, of which the name in the Lease needs one")]
pub struct NoRandomNumbers;

/// Whether this process may begin to write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tenure(Option<Arc<Mutex<Option<Term>>>>);

impl Tenure {
    /// Of a process that has no rival.
    #[must_use]
    pub const fn endless() -> Self {
        Self(None)
    }

    /// How long the answer may be waited for of a call that begins now; `None`: none may begin, for the lease is not ours,
    /// or not surely.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let Some(term) = &self.0 else { return Some(Duration::MAX) };
        let now = Instant::now();
        let term = (*lock(term)).filter(|term| now < term.begins_until)?;
        Some(term.ends - now)
    }

    /// The metric that tells it.
    ///
    /// # Errors
    /// Never: the name is a good one.
    pub fn metric(&self) -> Result<impl Collector + 'static, prometheus::Error> {
        let help = "1 while this replica works, 0 while it waits for the Lease or cannot renew it.";
        Ok(Leads { tenure: self.clone(), gauge: IntGauge::new("vaultsync_leader", help)? })
    }
}

fn lock(term: &Mutex<Option<Term>>) -> MutexGuard<'_, Option<Term>> {
    // Nothing under this lock can panic.
    term.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Judged when it is asked for: a term ends without a word.
struct Leads {
    tenure: Tenure,
    gauge: IntGauge,
}

impl Collector for Leads {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.tenure.left().is_some().into());
        self.gauge.collect()
    }
}

/// Why a process that held the lease has to end.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Lost {
    /// Another replica holds it now, or may have held it meanwhile.
    #[error("another replica has taken the Lease; this one ends, and starts anew as one that waits")]
    Taken,
    /// The API server shows what was before what it showed.
    #[error(
        "the cluster was put back to an earlier time, as by a restore of etcd: the Lease has an older resourceVersion than before; this replica ends, and starts anew with what is there"
    )]
    PutBack,
    /// It could not be renewed for so long.
    #[error(
        "the Lease could not be renewed for {}s; this replica ends, and starts anew as one that waits",
        .within.as_secs()
    )]
    NotRenewed {
        /// How long it was tried.
        within: Duration,
    },
}

/// This process among those that want the lease.
#[derive(Debug)]
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    elector: Elector,
    term: Arc<Mutex<Option<Term>>>,
    clock: fn() -> Timestamp,
    said: Option<Standing>,
    failure: Option<String>,
}

/// What the log was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Waits { holder: String },
    Holds,
    CannotRenew,
}

impl Candidate {
    /// A candidate, and what tells others whether it leads.
    #[must_use]
    pub fn new(client: Client, settings: LeaseSettings) -> (Self, Tenure) {
        let LeaseSettings { namespace, name, identity, clock } = settings;
        let term = Arc::new(Mutex::new(None));
        let tenure = Tenure(Some(Arc::clone(&term)));
        let elector = Elector::new(name.clone(), identity, Instant::now());
        let leases = Api::namespaced(client, &namespace);
        let candidate = Self { leases, name, elector, term, clock, said: None, failure: None };
        (candidate, tenure)
    }

    /// Waits until the lease is ours; says whenever another holds it.
    pub async fn elected(&mut self, mut waits: impl FnMut()) {
        while self.elector.term().is_none() {
            self.step().await;
            if self.elector.other().is_some() {
                waits();
            }
        }
    }

    /// Keeps the lease for as long as that can be done.
    pub async fn lost(&mut self) -> Lost {
        loop {
            if let Some(lost) = self.elector.lost(Instant::now()) {
                return lost;
            }
            self.step().await;
        }
    }

    /// Gives the lease back, so that another need not wait for its end. Only once nothing is written any more.
    pub async fn release(&mut self) {
        *lock(&self.term) = None;
        let released = tokio::time::timeout(RELEASE, async {
            loop {
                match self.try_release().await {
                    // A renewal that was under way came between.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    ended => return ended,
                }
            }
        });
        match released.await {
            Ok(Ok(true)) => tracing::info!(lease = self.name, "The Lease is given back."),
            Ok(Ok(false)) => {}
            Ok(Err(_)) | Err(_) if self.elector.term().is_none() => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    lease = self.name,
                    "The Lease could not be given back. Another replica waits for its end."
                );
            }
        }
    }

    /// Returns whether it was ours.
    async fn try_release(&self) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let Some(released) = lease.and_then(|lease| self.elector.released(&lease)) else { return Ok(false) };
        self.leases.replace(&self.name, &written_by_us(), &released).await?;
        Ok(true)
    }

    async fn step(&mut self) {
        let (sent, by_us) = (Instant::now(), written_by_us());
        match self.elector.step(sent, (self.clock)()) {
            LeaseStep::Wait(until) => tokio::time::sleep_until(until.into()).await,
            LeaseStep::Look => {
                let answer = tokio::time::timeout(CALL, self.leases.get_opt(&self.name)).await;
                match self.answer("get", answer.ok()) {
                    Ok(lease) => self.elector.looked(lease, Instant::now()),
                    Err(_) => self.elector.look_failed(sent, Instant::now()),
                }
            }
            LeaseStep::Create(lease) => {
                let answer = tokio::time::timeout(CALL, self.leases.create(&by_us, &lease)).await;
                self.wrote("create", sent, answer.ok());
            }
            LeaseStep::Replace(lease) => {
                let replace = self.leases.replace(&self.name, &by_us, &lease);
                let answer = tokio::time::timeout(CALL, replace).await;
                self.wrote("update", sent, answer.ok());
            }
        }
        *lock(&self.term) = self.elector.term();
        self.tell();
    }

    fn wrote(&mut self, verb: &'static str, sent: Instant, answer: Option<Result<Lease, kube::Error>>) {
        let written = match self.answer(verb, answer) {
            Ok(lease) => LeaseWritten::Yes(Box::new(lease)),
            // It changed, was made or vanished since it was seen.
            Err(Some(404 | 409)) => LeaseWritten::Refused,
            Err(_) => LeaseWritten::Unknown,
        };
        self.elector.wrote(sent, written, Instant::now());
    }

    /// The answer, or the code with which the API server refused; what fails is told once.
    fn answer<T>(
        &mut self,
        verb: &'static str,
        answer: Option<Result<T, kube::Error>>,
    ) -> Result<T, Option<u16>> {
        let (failure, code) = match answer {
            Some(Ok(answer)) => {
                self.failure = None;
                return Ok(answer);
            }
            Some(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                return Err(Some(status.code));
            }
            Some(Err(kube::Error::Api(status))) => {
                (format!("the API server answered {} {}", status.code, status.reason), Some(status.code))
            }
            Some(Err(_)) => ("the API server cannot be reached or understood".to_owned(), None),
            None => (format!("no answer from the API server within {}s", CALL.as_secs()), None),
        };
        if self.failure.as_ref() != Some(&failure) {
            let remedy = if code == Some(403) { " Grant get, create and update on leases." } else { "" };
            tracing::warn!(lease = self.name, verb, "The Lease cannot be used: {failure}.{remedy}");
        }
        self.failure = Some(failure);
        Err(code)
    }

    fn tell(&mut self) {
        let standing = match (self.elector.term(), self.elector.other()) {
            (Some(term), _) if Instant::now() < term.begins_until => Standing::Holds,
            (Some(_), _) => Standing::CannotRenew,
            (None, Some(holder)) => Standing::Waits { holder: holder.to_owned() },
            (None, None) => return,
        };
        if self.said.as_ref() == Some(&standing) {
            return;
        }
        let lease = &self.name;
        match &standing {
            Standing::Waits { holder } => {
                tracing::info!(lease, holder, "Another replica holds the Lease. This one waits.");
            }
            Standing::Holds => tracing::info!(lease, "This replica holds the Lease and works."),
            Standing::CannotRenew => {
                tracing::warn!(lease, "The Lease could not be renewed. Nothing is written until it is.");
            }
        }
        self.said = Some(standing);
    }
}

fn written_by_us() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_within_the_term_and_waits_no_longer_than_it_and_the_metric_says_so() {
        let hour = Duration::from_secs(3600);
        let term = Arc::new(Mutex::new(None));
        let tenure = Tenure(Some(Arc::clone(&term)));
        let metric = tenure.metric().unwrap();
        let leads = || metric.collect()[0].get_metric()[0].get_gauge().get_value() > 0.0;
        assert_eq!((tenure.left(), leads()), (None, false), "it never was ours");
        let now = Instant::now();
        *lock(&term) = Some(Term { begins_until: now, ends: now + hour });
        assert_eq!((tenure.left(), leads()), (None, false), "too late to begin");
        *lock(&term) = Some(Term { begins_until: now + hour, ends: now + hour });
        assert!(tenure.left().is_some_and(|left| left <= hour) && leads());
        assert_eq!(Tenure::endless().left(), Some(Duration::MAX));
    }
}
