//! The state of each vault host, measured when someone asks for metrics and never kept.

use std::sync::{Arc, OnceLock};

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::lanes::Waiting;

/// What a host looks like at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::vault) struct Measured {
    /// Requests a second.
    pub(super) budget: f64,
    /// Handles.
    pub(super) handles: usize,
    /// Handles whose gate is closed.
    pub(super) closed: usize,
    /// Seconds until a closed gate lets the next try through: the longest.
    pub(super) retry_in: Option<f64>,
    pub(super) waiting: Waiting,
    /// Seconds since the last sweep ended, over all handles that sweep: the longest.
    pub(super) sweep_age: Option<f64>,
    /// Seconds since the service last confirmed a source, over all that are not constant: the longest.
    pub(super) staleness: Option<f64>,
}

/// Looks at every host, by name.
type MeasureHosts = dyn Fn() -> Vec<(String, Measured)> + Send + Sync;

/// The gauges of all hosts of a plane.
#[derive(Clone)]
pub(in crate::vault) struct Gauges {
    /// Absent until there is a plane.
    hosts: Arc<OnceLock<Box<MeasureHosts>>>,
    descriptions: Vec<Desc>,
}

const LABELS: [&str; 1] = ["vault"];
const BUDGET: (&str, &str) = (
    "vaultsync_vault_budget_requests_per_second",
    "Requests a second that a vault host may be sent now: the limit, lowered by throttling.",
);
const CLOSED: (&str, &str) = (
    "vaultsync_vault_gates_closed",
    "Connections to a vault host that wait because the vault or their identity fails.",
);
const HANDLES: (&str, &str) = (
    "vaultsync_vault_connections",
    "Connections to a vault host that are in use: one for each vault, identity and api-version, each with its own client and token.",
);
const RETRY_IN: (&str, &str) = (
    "vaultsync_vault_retry_in_seconds",
    "Seconds until a failing connection to a vault host is tried again; the longest of several. Absent while none fails.",
);
const WAITING: (&str, &str) = (
    "vaultsync_vault_waiting_requests",
    "Requests to a vault host that wait for the budget or a gate, by lane (interactive: someone waits; confirmation: someone waits to know that nothing else changed; sweep: a page of a list for many namespaces; periodic: due).",
);
const SWEEP_AGE: (&str, &str) = (
    "vaultsync_vault_sweep_age_seconds",
    "Seconds since the last complete LIST of a vault; the longest of several connections.",
);
const STALENESS: (&str, &str) =
    ("vaultsync_vault_staleness_seconds", "Seconds since the oldest confirmation of a source by a vault.");

impl Gauges {
    pub(in crate::vault) fn new() -> Result<Self, prometheus::Error> {
        let families = Self::families()?;
        let descriptions = families.iter().flat_map(Collector::desc).cloned().collect();
        Ok(Self { hosts: Arc::default(), descriptions })
    }

    /// How the hosts are measured; the first one stays.
    pub(in crate::vault) fn measure_hosts(
        &self,
        hosts: impl Fn() -> Vec<(String, Measured)> + Send + Sync + 'static,
    ) {
        self.hosts.get_or_init(|| Box::new(hosts));
    }

    fn families() -> Result<[GaugeVec; 7], prometheus::Error> {
        let family =
            |(name, help): (&str, &str), labels: &[&str]| GaugeVec::new(Opts::new(name, help), labels);
        Ok([
            family(BUDGET, &LABELS)?,
            family(HANDLES, &LABELS)?,
            family(CLOSED, &LABELS)?,
            family(RETRY_IN, &LABELS)?,
            family(WAITING, &["vault", "lane"])?,
            family(SWEEP_AGE, &LABELS)?,
            family(STALENESS, &LABELS)?,
        ])
    }

    fn measure(&self) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let [budget, handles, closed, retry_in, waiting, sweep_age, staleness] = Self::families()?;
        let hosts = self.hosts.get().map(|hosts| hosts()).unwrap_or_default();
        for (host, measured) in &hosts {
            let host = host.as_str();
            budget.with_label_values(&[host]).set(measured.budget);
            handles.with_label_values(&[host]).set(count(measured.handles));
            closed.with_label_values(&[host]).set(count(measured.closed));
            if let Some(seconds) = measured.retry_in {
                retry_in.with_label_values(&[host]).set(seconds);
            }
            let Waiting { interactive, confirmation, sweep, periodic } = measured.waiting;
            for (lane, requests) in [
                ("interactive", interactive),
                ("confirmation", confirmation),
                ("sweep", sweep),
                ("periodic", periodic),
            ] {
                waiting.with_label_values(&[host, lane]).set(count(requests));
            }
            if let Some(seconds) = measured.sweep_age {
                sweep_age.with_label_values(&[host]).set(seconds);
            }
            if let Some(seconds) = measured.staleness {
                staleness.with_label_values(&[host]).set(seconds);
            }
        }
        let families = [budget, handles, closed, retry_in, waiting, sweep_age, staleness];
        let measured = families.iter().flat_map(Collector::collect);
        Ok(measured.filter(|family| !family.get_metric().is_empty()).collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn count(number: usize) -> f64 {
    number as f64
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.measure().unwrap_or_default()
    }
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauges")
    }
}
