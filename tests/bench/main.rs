//! `make bench`: what the operator costs, each figure beside its floor or its counter in the same run.
//!
//! Seconds do not travel between machines; ratios and counts do. A run with the full number of objects rewrites
//! `docs/benchmarks.md` and `docs/benchmarks.json`; any other number is a short form, which writes beneath `target/`.
//! It ends with an error if a row misses what it must reach.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks, and ends at the first thing that is not as it should be"
)]

mod certificates;
mod cluster;
mod document;
mod fault_of_all;
mod first_sync;
mod floor;
mod machine;
mod metrics;
mod moves;
mod one_vault;
mod operator;
mod restart;
mod rows;
mod scale;
mod steady;
mod tenants;
mod tenants_trouble;
mod unruly;
mod wide;

use rows::Rows;
use scale::Scale;
use support::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let objects = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let scale = Scale::of(objects.unwrap_or(scale::FULL));
    let mut rows = Rows::default();
    one_vault::measure(&scale, &mut rows).await?;
    tenants::measure(&scale, &mut rows).await?;
    wide::measure(&mut rows).await?;
    certificates::measure(&scale, &mut rows).await?;
    unruly::measure(&scale, &mut rows).await?;
    rows.write(&scale)
}

/// What goes on, for whoever waits: the results alone go to standard output.
fn say(text: &str) {
    use std::io::Write as _;
    // Nobody may be listening; that changes no figure.
    writeln!(std::io::stderr(), "bench: {text}").ok();
}
