//! What the plane counts. Labels are bounded: vaults, operations, statuses and reasons, never objects.

use prometheus::{IntCounterVec, Opts, Registry};

/// The plane's metric families.
#[derive(Clone, Debug)]
pub struct VaultMetrics {
    requests: IntCounterVec,
    throttled: IntCounterVec,
    tokens: IntCounterVec,
}

impl VaultMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of them is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        Ok(Self {
            requests: family(
                "vaultsync_vault_requests_total",
                "Requests sent to vaults, by vault host, operation and HTTP status (`none`: no answer).",
                &["vault", "operation", "code"],
            )?,
            throttled: family(
                "vaultsync_vault_throttled_total",
                "Requests that a vault answered with 429, by vault host.",
                &["vault"],
            )?,
            tokens: family(
                "vaultsync_token_requests_total",
                "Attempts to get a token, by result: `Success` or the failure's reason.",
                &["result"],
            )?,
        })
    }

    pub(super) fn request(&self, vault: &str, operation: &str, status: Option<u16>) {
        let code = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[vault, operation, &code]).inc();
        if status == Some(429) {
            self.throttled.with_label_values(&[vault]).inc();
        }
    }

    pub(super) fn token(&self, result: &'static str) {
        self.tokens.with_label_values(&[result]).inc();
    }
}
