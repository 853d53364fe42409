//! What the controllers count. Labels are bounded words, but for objects that are not Ready, which are few.

use crate::api::{EntryState, VaultSecretSyncStatus, WorkloadKind};
use crate::object_key::ObjectKey;
use crate::plan::{Outcome, RestartFailure, Verdict};
use crate::reason::Reason;
use kube::Resource;
use prometheus::{
    Histogram, HistogramOpts, HistogramTimer, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The controllers' metric families.
#[derive(Debug)]
pub(super) struct ObjectMetrics {
    reconciles: IntCounterVec,
    duration: Histogram,
    not_ready: IntGaugeVec,
    /// Events that were not published.
    pub(super) events_dropped: IntCounter,
    undecodable: IntGaugeVec,
    rollouts: IntCounterVec,
    expires: IntGaugeVec,
    /// Whether every source that ends is shown, rather than those that end soon.
    all_expiries: bool,
    /// The reason under which an object is shown as not Ready.
    shown: Mutex<HashMap<ObjectKey, Reason>>,
}

impl ObjectMetrics {
    /// Registers the families.
    pub(super) fn new(registry: &Registry, all_expiries: bool) -> Result<Self, prometheus::Error> {
        let reconciles = IntCounterVec::new(
            Opts::new(
                "vaultsync_reconciles_total",
                "Rounds of VaultSecretSync objects, by result and by the reason of Ready (or of the API server's failure).",
            ),
            &["result", "reason"],
        )?;
        // From a round that only asks the plane (tens of microseconds) to one that waits for a slow API server.
        let buckets = vec![0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "vaultsync_reconcile_duration_seconds",
                "Seconds that a round of an object takes.",
            )
            .buckets(buckets),
        )?;
        let not_ready = IntGaugeVec::new(
            Opts::new(
                "vaultsync_object_not_ready",
                "1 for each VaultSecretSync that is not Ready, with the reason; Ready objects have no series.",
            ),
            &["object_namespace", "object_name", "reason"],
        )?;
        let events_dropped = IntCounter::new(
            "vaultsync_events_dropped_total",
            "Events that were not published, because the queue was full or the API server refused them. Conditions say the same.",
        )?;
        let undecodable = IntGaugeVec::new(
            Opts::new(
                "vaultsync_undecodable_objects",
                "Objects that this vaultsync cannot decode and ignores, by kind; the log names them.",
            ),
            &["kind"],
        )?;
        let rollouts = IntCounterVec::new(
            Opts::new(
                "vaultsync_rollouts_total",
                "Workloads that were to be restarted for a changed Secret, by kind and by what became of it: restarted, not_found, forbidden, denied or failed.",
            ),
            &["kind", "result"],
        )?;
        registry.register(Box::new(rollouts.clone()))?;
        let expires = IntGaugeVec::new(
            Opts::new(
                "vaultsync_object_expires_timestamp_seconds",
                "When the first source of a VaultSecretSync expires in the vault, as a Unix time. Only objects that are within --expiring-before of it have a series, or all that have a source which ends with --expiry-metrics.",
            ),
            &["object_namespace", "object_name"],
        )?;
        registry.register(Box::new(expires.clone()))?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(not_ready.clone()))?;
        registry.register(Box::new(events_dropped.clone()))?;
        registry.register(Box::new(undecodable.clone()))?;
        let shown = Mutex::default();
        Ok(Self {
            reconciles,
            duration,
            not_ready,
            events_dropped,
            undecodable,
            rollouts,
            expires,
            all_expiries,
            shown,
        })
    }

    /// How many objects of a kind are not understood.
    pub(super) fn undecodable<K: Resource<DynamicType = ()>>(&self) -> IntGauge {
        self.undecodable.with_label_values(&[&*K::kind(&())])
    }

    /// Counts a workload that was to be restarted.
    pub(super) fn restarted(&self, kind: WorkloadKind, found: &Result<bool, RestartFailure>) {
        let result = match found {
            Ok(true) => "restarted",
            Ok(false) => "not_found",
            Err(RestartFailure::Forbidden) => "forbidden",
            Err(RestartFailure::DeniedByWebhook(_) | RestartFailure::DeniedByPolicy(_)) => "denied",
            Err(RestartFailure::WebhookFailed(_) | RestartFailure::Failed(_)) => "failed",
        };
        self.rollouts.with_label_values(&[kind.as_str(), result]).inc();
    }

    /// Times a round.
    pub(super) fn start(&self) -> HistogramTimer {
        self.duration.start_timer()
    }

    /// Counts a round that settled.
    pub(super) fn settled(&self, key: &ObjectKey, verdict: &Verdict) {
        let reason = verdict.reason.map_or("", Reason::as_str);
        self.reconciles.with_label_values(&[verdict.outcome.as_str(), reason]).inc();
        match verdict.outcome {
            // Nothing was said; what was shown stands.
            Outcome::Waiting | Outcome::Suspended => {}
            Outcome::Deleting => self.forget(key),
            _ => self.show(key, verdict.reason.filter(|reason| *reason != Reason::Synced)),
        }
    }

    /// Counts a round that the API server failed.
    pub(super) fn failed(&self, reason: &'static str) {
        self.reconciles.with_label_values(&["error", reason]).inc();
    }

    /// Drops the series of an object that is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.show(key, None);
        self.expires.remove_label_values(&[&key.namespace, &key.name]).ok();
    }

    /// Shows when the first of an object's sources expires, as its status says.
    pub(super) fn expires(&self, key: &ObjectKey, status: &VaultSecretSyncStatus) {
        let soon = |state| matches!(state, EntryState::Expiring | EntryState::Expired);
        let ending = status.entries.iter().filter(|entry| self.all_expiries || soon(entry.state));
        let labels = [&*key.namespace, &*key.name];
        match ending.filter_map(|entry| entry.expires.as_ref()).map(|time| time.0).min() {
            Some(first) => self.expires.with_label_values(&labels).set(first.as_second()),
            None => self.expires.remove_label_values(&labels).unwrap_or_default(),
        }
    }

    fn show(&self, key: &ObjectKey, reason: Option<Reason>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match reason {
            Some(reason) => shown.insert(key.clone(), reason),
            None => shown.remove(key),
        };
        if before == reason {
            return;
        }
        if let Some(before) = before {
            self.not_ready.remove_label_values(&[&key.namespace, &key.name, before.as_str()]).ok();
        }
        if let Some(reason) = reason {
            self.not_ready.with_label_values(&[&key.namespace, &key.name, reason.as_str()]).set(1);
        }
    }
}
