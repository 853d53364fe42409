//! The rows of the table, as they are measured, and where they are written.

use std::fs;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use vaultsync::run::clock;

use crate::operator::Memory;
use crate::scale::Scale;
use crate::{document, machine, say};
use support::{Result, tools};

/// One row: what was done, what must hold, what was seen, and what that is to be compared with.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) must: String,
    pub(crate) measured: String,
    /// The floor, or the count that was to be reached, of the same run.
    pub(crate) beside: String,
    pub(crate) reached: bool,
    /// The same as numbers.
    pub(crate) figures: Value,
}

/// All of them, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    /// What the operator of the large vault took, at different times.
    pub(crate) memory: Vec<(&'static str, Memory)>,
}

const MOST_MEMORY: f64 = 64.0;

impl Rows {
    /// Takes a row, and shows it.
    pub(crate) fn add(&mut self, row: Row) {
        say(&format!("{}: {}: {}", if row.reached { "reached" } else { "MISSED" }, row.what, row.measured));
        self.rows.push(row);
    }

    /// The row of the memory, once all that counts has been looked at.
    pub(crate) fn add_memory(&mut self, objects: usize) {
        let seen: Vec<String> =
            self.memory.iter().map(|(when, memory)| format!("{:.1} MiB {when}", memory.now)).collect();
        let most = self.memory.iter().map(|(_, memory)| memory.now).fold(0.0, f64::max);
        let peak = self.memory.iter().map(|(_, memory)| memory.peak).fold(0.0, f64::max);
        self.add(Row {
            what: format!("resident memory with {objects} objects of 1 KiB"),
            must: format!("under {MOST_MEMORY} MiB"),
            measured: seen.join(", "),
            beside: format!("at most {peak:.1} MiB at any time"),
            reached: most < MOST_MEMORY,
            figures: json!({"residentMiB": most, "peakMiB": peak}),
        });
    }

    /// Writes table and figures, and fails if a row missed.
    pub(crate) fn write(self, scale: &Scale) -> Result<()> {
        let project = tools::project();
        let report = json!({
            "date": clock().strftime("%Y-%m-%d").to_string(),
            "machine": machine::shape()?,
            "version": env!("CARGO_PKG_VERSION"),
            "objects": scale.objects,
            "rows": self.rows,
        });
        let template = fs::read_to_string(project.join("tests/bench/benchmarks.md"))?;
        let page = document::render(&template, &report);
        let folder = project.join(if scale.is_full() { "docs" } else { "target/bench" });
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("benchmarks.md"), &page)?;
        fs::write(folder.join("benchmarks.json"), serde_json::to_string_pretty(&report)? + "\n")?;
        println!("{}", document::table(&report));
        say(&format!("written to {}", folder.display()));
        let missed: Vec<&str> =
            self.rows.iter().filter(|row| !row.reached).map(|row| row.what.as_str()).collect();
        if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join("; ")).into()) }
    }
}

/// A time as people say it.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_secs() {
        whole if whole >= 60 && time.subsec_nanos() == 0 && whole % 60 == 0 => format!("{} min", whole / 60),
        _ if time.subsec_nanos() == 0 => format!("{seconds:.0} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// A part of a whole.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    format!("{:.1} %", part / whole * 100.0)
}
