//! The emulator's clock: the machine's, moved by an offset.
//!
//! Everything that is stamped or judged by time (versions, tokens, assertions, the `Date` header) uses this one.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) offset: SignedDuration,
}

impl Clock {
    /// The present moment; an offset beyond the calendar stops at its end.
    pub(crate) fn now(self) -> Timestamp {
        machine_time().saturating_add(self.offset).unwrap_or(Timestamp::MAX)
    }

    /// Unix seconds, the only resolution Key Vault has.
    pub(crate) fn seconds(self) -> i64 {
        self.now().as_second()
    }
}

/// The machine's own time.
#[expect(clippy::disallowed_methods, reason = "the emulator's one look at the machine's clock")]
pub(crate) fn machine_time() -> Timestamp {
    Timestamp::now()
}

/// A moment as the `Date` header writes it; empty for a moment that HTTP cannot write.
pub(crate) fn http_date(moment: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).unwrap_or_default()
}
