//! The report of a check, for people and for programs.

use crate::vault::{CheckStep, StepResult};
use serde_json::json;
use std::fmt;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The connection, as a person calls it.
    pub connection: String,
    /// The vault's address.
    pub url: String,
    /// As whom it was read.
    pub identity: String,
    /// The steps, in order.
    pub steps: Vec<CheckStep>,
}

impl Checked {
    /// Whether nothing stands in the way.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.failed().is_none()
    }

    /// The report as one JSON object; of several connections there are several.
    #[must_use]
    pub fn to_json(&self) -> String {
        let steps: Vec<serde_json::Value> = self.steps.iter().map(step_as_json).collect();
        let report = json!({
            "connection": self.connection, "url": self.url, "identity": self.identity,
            "usable": self.is_usable(), "steps": steps,
        });
        format!("{report:#}")
    }

    fn failed(&self) -> Option<&CheckStep> {
        self.steps.iter().find(|step| matches!(step.result, StepResult::Failed(_)))
    }
}

fn step_as_json(step: &CheckStep) -> serde_json::Value {
    let reason = match step.result {
        StepResult::Failed(reason) => Some(reason.as_str()),
        _ => None,
    };
    let message = Some(&step.message).filter(|message| !message.is_empty());
    json!({
        "name": step.name.as_str(), "result": word(step.result), "reason": reason, "message": message,
    })
}

const fn word(result: StepResult) -> &'static str {
    match result {
        StepResult::Passed => "Passed",
        StepResult::Unproven => "Unproven",
        StepResult::Failed(_) => "Failed",
        StepResult::NotTried => "NotTried",
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, read as {}", self.connection, self.url, self.identity)?;
        writeln!(f)?;
        for step in &self.steps {
            let line = format!("{:<12} {:<9} ", step.name.as_str(), word(step.result));
            let line = match step.result {
                StepResult::Failed(reason) => format!("{line}{reason}: {}", step.message),
                _ => format!("{line}{}", step.message),
            };
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f)?;
        match self.failed() {
            Some(step) => write!(f, "The connection fails at {}.", step.name.as_str()),
            None if self.steps.iter().any(|step| step.result == StepResult::Unproven) => {
                f.write_str("The connection works, as far as it can be proved without reading a secret.")
            }
            None => f.write_str("The connection works."),
        }
    }
}
