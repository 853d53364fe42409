//! How changes in a vault are found: by one LIST for all, or by a GET for each source; and the cost that decides.
//!
//! A LIST costs as many requests as the vault has pages, however little of it is used; GETs cost one request for
//! each source that is used. Both are counted over one cycle, the smallest interval that anyone asks for.

use std::{borrow::Cow, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{reason::Reason, vault::failure::Failure};

/// How changes in a vault are to be found.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum Detect {
    /// Whatever costs the vault fewer requests.
    #[default]
    Auto,
    /// One paged LIST an interval for all secrets, and a GET for each that moved. Where the identity may not list: as
    /// `Get`.
    List,
    /// A GET for each secret that is used, once an interval.
    Get,
}

/// On what terms a vault is asked; they may differ among the connections that share a handle.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Terms {
    /// How changes are found. Of several, `Get` goes before `List`, and that before `Auto`.
    pub detect: Detect,
    /// The most that the vault's host is asked, over all identities; of several the smallest counts. Only a
    /// connection that its cluster's operators made may set it.
    pub host_rate: Option<Rate>,
    /// The most that is asked through the handle; of several the smallest counts.
    pub handle_rate: Option<Rate>,
}

impl Terms {
    /// Both, as one user asks on them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let smaller = |one: Option<Rate>, other| [one, other].into_iter().flatten().reduce(Rate::min);
        Self {
            detect: self.detect.max(other.detect),
            host_rate: smaller(self.host_rate, other.host_rate),
            handle_rate: smaller(self.handle_rate, other.handle_rate),
        }
    }
}

/// A limit of requests.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rate {
    /// Requests in a second.
    pub requests_per_second: u32,
    /// Requests at once after a quiet time.
    pub burst: u32,
}

impl Rate {
    /// The smaller in each respect.
    pub(super) fn min(self, other: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.min(other.requests_per_second),
            burst: self.burst.min(other.burst),
        }
    }
}

/// How changes are found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One LIST of the vault for all sources, and a GET for what moved.
    List,
    /// A GET for each source.
    Get,
}

impl Mode {
    /// The word of the mode.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "List",
            Self::Get => "Get",
        }
    }
}

/// Why a mode is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// The connection asks for it.
    Asked,
    /// It costs less.
    Cheaper,
    /// Somebody looks for secrets by name.
    Finds,
    /// The identity may not list.
    Forbidden,
    /// The list has more pages, or takes longer, than is waited for.
    Endless,
    /// The list cannot be read, for this reason.
    Unreadable(Reason),
}

impl Why {
    pub(super) fn unreadable(failure: &Failure) -> Self {
        Self::Unreadable(failure.reason())
    }

    /// Why there is no list, what to do, and when it is tried again: sentences without their full stop. `None`: there
    /// could be one.
    #[must_use]
    pub fn no_list(&self) -> Option<NoList> {
        let (cause, remedy): (Cow<'static, str>, _) = match self {
            Self::Asked | Self::Cheaper | Self::Finds => return None,
            Self::Forbidden => (
                "The identity may not list the vault's secrets".into(),
                "Grant it the role `Key Vault Secrets User`, or the secret permission `list`, without conditions",
            ),
            Self::Endless => (
                "The list of the vault's secrets is too long or too slow to read to its end".into(),
                "Split the vault",
            ),
            Self::Unreadable(Reason::Throttled) => (
                "The vault throttles the list of its secrets (429)".into(),
                "If that lasts, find out what else reads this vault, or split it",
            ),
            Self::Unreadable(Reason::ServiceUnavailable) => (
                "The vault fails to list its secrets (5xx, or no answer in time)".into(),
                "If that lasts, look at the vault's health in Azure",
            ),
            Self::Unreadable(reason) => (
                format!("The list of the vault's secrets cannot be read ({reason})").into(),
                "Check whether a proxy answers in the vault's place",
            ),
        };
        let again = if *self == Self::Endless { HOURLY } else { SOON };
        Some(NoList { cause, remedy, again })
    }
}

const HOURLY: &str = "Listing is tried again every hour";
/// What holds for every list but one without an end.
const SOON: &str = "Listing is tried again: after half a minute, later less and less often, every ten minutes or every interval at the end";

/// Why there is no list of a vault's secrets, in sentences without their full stop.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoList {
    /// What is wrong.
    pub cause: Cow<'static, str>,
    /// What to do.
    pub remedy: &'static str,
    /// When it is tried again.
    pub again: &'static str,
}

/// The mode in force, and why. `Display` is a sentence that stays the same as long as both do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Detection {
    /// The mode.
    pub mode: Mode,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Detection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(NoList { cause, remedy, again }) = self.why.no_list() {
            return write!(f, "{cause}, so each is read by itself. {remedy}. {again}.");
        }
        match (self.mode, &self.why) {
            (mode, Why::Asked) => write!(f, "spec.detect is {}.", mode.as_str()),
            (Mode::List, Why::Finds) => {
                f.write_str("An object finds secrets by name, which takes the list of the vault's secrets.")
            }
            (Mode::List, _) => f.write_str(
                "Listing the vault once per interval takes fewer requests than reading each secret that is used.",
            ),
            (Mode::Get, _) => f.write_str(
                "Reading each secret that is used takes fewer requests than listing the vault.",
            ),
        }
    }
}

/// So many GETs in a cycle are not worth a look at how long the list is.
const A_FEW: f64 = 4.0;
/// A mode that was chosen by cost stays while it costs at most this much more.
const INERTIA: f64 = 1.25;

/// What a cycle costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// The pages of the list, at least; `None`: never seen.
    pub(super) pages: Option<u32>,
    /// The GETs in one cycle.
    pub(super) gets: f64,
}

/// What cost and wishes say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    List,
    Get,
    /// The list's length is to be found out.
    Explore,
}

impl Cost {
    /// Whether a list of so many pages is more than the GETs that it saves, if `listing` is what is done now.
    pub(super) fn is_too_long(self, pages: u32, listing: bool) -> bool {
        let bound = if listing { self.gets * INERTIA } else { self.gets };
        f64::from(pages) >= bound
    }

    /// What to do, if listing is allowed.
    pub(super) fn choose(self, detect: Detect, in_force: Option<Mode>) -> Choice {
        match (detect, self.pages) {
            (Detect::List, _) => Choice::List,
            (Detect::Auto, None) if self.gets > A_FEW => Choice::Explore,
            (Detect::Auto, Some(pages)) if !self.is_too_long(pages, in_force == Some(Mode::List)) => {
                Choice::List
            }
            (Detect::Get | Detect::Auto, _) => Choice::Get,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(pages: Option<u32>, gets: f64, in_force: Option<Mode>) -> Choice {
        Cost { pages, gets }.choose(Detect::Auto, in_force)
    }

    #[test]
    fn the_cheaper_way_is_taken_and_left_only_when_it_is_clearly_dearer() {
        assert_eq!(auto(None, 1.0, None), Choice::Get);
        assert_eq!(auto(None, 5.0, None), Choice::Explore);
        assert_eq!(auto(Some(400), 10_000.0, None), Choice::List);
        assert_eq!(auto(Some(400), 400.0, Some(Mode::Get)), Choice::Get);
        assert_eq!(auto(Some(400), 400.0, Some(Mode::List)), Choice::List);
        assert_eq!(auto(Some(400), 300.0, Some(Mode::List)), Choice::Get);
    }

    #[test]
    fn what_is_asked_for_goes_before_cost() {
        let cost = Cost { pages: Some(1), gets: 1000.0 };
        assert_eq!(cost.choose(Detect::Get, Some(Mode::List)), Choice::Get);
        assert_eq!(Cost { pages: Some(400), gets: 1.0 }.choose(Detect::List, None), Choice::List);
    }

    #[test]
    fn of_several_wishes_the_most_cautious_counts() {
        assert_eq!([Detect::List, Detect::Get, Detect::Auto].into_iter().max(), Some(Detect::Get));
    }
}
