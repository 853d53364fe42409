//! How much is measured, and for how long.

use std::time::Duration;

/// The number of objects whose figures are published.
pub(crate) const FULL: usize = 10_000;

/// The most that the default budget lets through in one second: a burst after a quiet time, and the rate.
pub(crate) const BUDGET: usize = 150;
pub(crate) const BUDGET_SAYS: &str = "the budget is 50 a second and 100 at once";

/// Seconds; what was set within the last five would be read twice.
pub(crate) const LONG_AGO: i64 = 3600;

/// Sizes and times of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Objects of the one large vault, each with a secret of its own.
    pub(crate) objects: usize,
    /// What these objects ask for.
    pub(crate) interval: Duration,
    /// How long nothing changes there.
    pub(crate) steady: Duration,
    /// What most of the many tenants ask for.
    pub(crate) tenants_interval: Duration,
    /// How long nothing changes for them, and how long their vaults are then in trouble.
    pub(crate) tenants: Duration,
    /// Secrets of the vault that five hundred identities read.
    pub(crate) crowded: usize,
}

impl Scale {
    /// All of it, or, for another number of objects, a short form.
    pub(crate) fn of(objects: usize) -> Self {
        let full = objects == FULL;
        let seconds = |long, short| Duration::from_secs(if full { long } else { short });
        Self {
            objects,
            interval: seconds(60, 20),
            steady: seconds(600, 60),
            tenants_interval: seconds(60, 30),
            tenants: seconds(120, 60),
            crowded: objects.max(1000),
        }
    }

    /// Whether this run's figures are published.
    pub(crate) fn is_full(&self) -> bool {
        self.objects == FULL
    }

    /// Pages of one LIST of so many secrets.
    pub(crate) fn pages(secrets: usize) -> usize {
        secrets.div_ceil(25)
    }
}
