//! What the operator serves at `/metrics`, at one moment.

/// One answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// Of the text that was served.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of a family's series that carry all of these labels; 0 where there is none.
    pub(crate) fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(family, labels).sum()
    }

    /// The same of a counter.
    pub(crate) fn count(&self, family: &str, labels: &[(&str, &str)]) -> usize {
        self.sum(family, labels) as usize
    }

    /// The value of a series, if there is one.
    pub(crate) fn value(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.values(family, labels).next()
    }

    fn values(&self, family: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        self.0.lines().filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, of) = series.split_once('{').unwrap_or((series, ""));
            let carries = wanted.iter().all(|label| of.contains(label.as_str()));
            if name == family && carries { value.parse().ok() } else { None }
        })
    }

    /// Requests to a vault for this operation (`GetSecret`, `ListSecrets`, `Recheck`...), whatever was answered.
    pub(crate) fn requests(&self, host: &str, operation: &str) -> usize {
        self.count("vaultsync_vault_requests_total", &[("vault", host), ("operation", operation)])
    }

    /// Sweeps of a vault that came to their end.
    pub(crate) fn sweeps(&self, host: &str) -> usize {
        self.count("vaultsync_vault_sweep_duration_seconds_count", &[("vault", host)])
    }

    /// Seconds since a vault confirmed the source that it confirmed longest ago.
    pub(crate) fn staleness(&self, host: &str) -> Option<f64> {
        self.value("vaultsync_vault_staleness_seconds", &[("vault", host)])
    }

    /// Rounds that ended so, over all objects.
    pub(crate) fn rounds(&self, labels: &[(&str, &str)]) -> usize {
        self.count("vaultsync_reconciles_total", labels)
    }
}
