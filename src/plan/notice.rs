//! What is worth an event and a line of the log.

/// What is to be told of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is not as it should be.
    pub warning: bool,
    /// The event's reason.
    pub reason: String,
    /// What happened.
    pub note: String,
}
