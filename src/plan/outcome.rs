//! What became of a round, in a word.

use strum::IntoStaticStr;

/// What became of a round; the `result` label of `vaultsync_reconciles_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The Secret was created.
    Created,
    /// The Secret was changed.
    Updated,
    /// The Secret was brought back after somebody else's edit.
    Repaired,
    /// Nothing to do.
    Unchanged,
    /// A value is on its way.
    Waiting,
    /// The object is suspended.
    Suspended,
    /// The object, or its namespace, is being deleted.
    Deleting,
    /// Something is in the way; the reason says what.
    Failed,
}

impl Outcome {
    /// The word of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
