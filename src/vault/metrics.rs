//! What the plane counts and measures. Labels are bounded: vaults, operations, statuses and reasons, never objects.
//!
//! Invariant: a vault host that nobody uses any more has no series.

use std::{collections::HashMap, time::Duration};

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    core::{Collector, Metric, MetricVec, MetricVecBuilder},
};

use super::plane::gauges::{Gauges, Measured};

/// From a vault in the same region to the request timeout.
const REQUEST_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From one page to the longest list that is followed.
const SWEEP_BUCKETS: [f64; 10] = [0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// What happened at a host since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Sources that a sweep confirmed, each of which would have cost a GET.
    pub(super) saved: u64,
    /// Sources that a sweep found changed, gone or back.
    pub(super) changes: u64,
    /// How long each sweep took that came to its end.
    pub(super) sweeps: Vec<Duration>,
}

/// The plane's metric families.
#[derive(Clone, Debug)]
pub struct VaultMetrics {
    requests: IntCounterVec,
    times: HistogramVec,
    throttled: IntCounterVec,
    sweeps: HistogramVec,
    changes: IntCounterVec,
    saved: IntCounterVec,
    tokens: IntCounterVec,
    gauges: Gauges,
}

impl VaultMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let family = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let gauges = Gauges::new()?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(Self {
            requests: counter(
                "vaultsync_vault_requests_total",
                "Requests sent to vaults, by vault host, operation (GetSecret, GetKey; ListSecrets, ListSecretVersions, ListKeyVersions: one page; Recheck: the read of each source once a day; Preflight: a trial of the permission to read or list; Challenge: to learn the tenant), HTTP status (`none`: no answer) and the service's inner code where it is a known one.",
                &["vault", "operation", "code", "inner_code"],
            )?,
            times: histogram(
                "vaultsync_vault_request_duration_seconds",
                "Seconds from sending a request to the end of its answer, by vault host and operation.",
                &["vault", "operation"],
                &REQUEST_BUCKETS,
            )?,
            throttled: counter(
                "vaultsync_vault_throttled_total",
                "Requests that a vault answered with 429, by vault host.",
                &["vault"],
            )?,
            sweeps: histogram(
                "vaultsync_vault_sweep_duration_seconds",
                "Seconds that a complete LIST of a vault took, by vault host.",
                &["vault"],
                &SWEEP_BUCKETS,
            )?,
            changes: counter(
                "vaultsync_vault_sweep_changes_total",
                "Sources in use that a LIST found changed, missing or back again, by vault host.",
                &["vault"],
            )?,
            saved: counter(
                "vaultsync_vault_reads_saved_total",
                "Sources in use that a LIST confirmed, each of which saved a GET, by vault host.",
                &["vault"],
            )?,
            tokens: counter(
                "vaultsync_token_requests_total",
                "Attempts to get a token, by result: `Success` or the failure's reason.",
                &["result"],
            )?,
            gauges,
        })
    }

    /// How the hosts are measured when someone asks for it; the first one stays.
    pub(super) fn measure_hosts(&self, hosts: impl Fn() -> Vec<(String, Measured)> + Send + Sync + 'static) {
        self.gauges.measure_hosts(hosts);
    }

    pub(super) fn request(
        &self,
        vault: &str,
        operation: &str,
        status: Option<u16>,
        inner: &str,
        took: Duration,
    ) {
        let code = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[vault, operation, &code, inner]).inc();
        self.times.with_label_values(&[vault, operation]).observe(took.as_secs_f64());
        if status == Some(429) {
            self.throttled.with_label_values(&[vault]).inc();
        }
    }

    pub(super) fn tally(&self, vault: &str, tally: &Tally) {
        if tally.saved > 0 {
            self.saved.with_label_values(&[vault]).inc_by(tally.saved);
        }
        if tally.changes > 0 {
            self.changes.with_label_values(&[vault]).inc_by(tally.changes);
        }
        for took in &tally.sweeps {
            self.sweeps.with_label_values(&[vault]).observe(took.as_secs_f64());
        }
    }

    pub(super) fn token(&self, result: &'static str) {
        self.tokens.with_label_values(&[result]).inc();
    }

    /// The host ended: so do its series.
    pub(super) fn forget(&self, vault: &str) {
        for counter in [&self.requests, &self.throttled, &self.changes, &self.saved] {
            remove(counter, vault);
        }
        for histogram in [&self.times, &self.sweeps] {
            remove(histogram, vault);
        }
    }
}

/// Removes every series of a vault from a family.
fn remove<B: MetricVecBuilder>(family: &MetricVec<B>, vault: &str)
where
    B::M: Metric,
    MetricVec<B>: Collector,
{
    for found in family.collect() {
        for metric in found.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if labels.get("vault") == Some(&vault) {
                // It was just there; if it is not any more, the better.
                let _ = family.remove(&labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_ended_leaves_no_series_and_takes_no_others_along() {
        let registry = Registry::new();
        let metrics = VaultMetrics::new(&registry).unwrap();
        let tally = Tally { saved: 7, changes: 1, sweeps: vec![Duration::from_secs(1)] };
        for vault in ["one", "other"] {
            metrics.request(vault, "ListSecrets", Some(403), "ForbiddenByRbac", Duration::from_secs(1));
            metrics.request(vault, "GetSecret", Some(429), "", Duration::from_secs(1));
            metrics.tally(vault, &tally);
        }
        metrics.forget("one");
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(!text.contains("vault=\"one\""), "{text}");
        assert!(text.contains("vaultsync_vault_reads_saved_total{vault=\"other\"} 7"), "{text}");
        assert!(text.contains("inner_code=\"ForbiddenByRbac\""), "{text}");
    }
}
