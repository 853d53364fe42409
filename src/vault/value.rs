//! The type of everything that must never be seen.
//!
//! A [`SecretValue`] cannot be printed, compared by derive, serialised or copied by accident, and its memory is
//! wiped when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A value read from a vault: wiped when dropped, `[redacted]` in `Debug`, without `Display`.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// Takes the value over.
    #[must_use]
    pub const fn new(value: Zeroizing<String>) -> Self {
        Self(value)
    }

    /// The value. What is copied out of it is no longer wiped.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
