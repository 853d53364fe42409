//! The page of figures: prose from a template, the table from what was measured. `tests/it/docs.rs` holds the page to both.

use serde_json::Value;

/// The page.
pub(crate) fn render(template: &str, report: &Value) -> String {
    let text = |field: &str| report[field].as_str().unwrap_or_default();
    template
        .replace("{{date}}", text("date"))
        .replace("{{machine}}", text("machine"))
        .replace("{{version}}", text("version"))
        .replace("{{objects}}", &report["objects"].to_string())
        .replace("{{table}}", &table(report))
}

/// The table alone.
pub(crate) fn table(report: &Value) -> String {
    let mut lines = vec![
        "| what | must | measured | beside it, in the same run | reached |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for row in report["rows"].as_array().into_iter().flatten() {
        let cell = |field: &str| row[field].as_str().unwrap_or_default();
        let reached = if row["reached"] == true { "yes" } else { "**no**" };
        lines.push(format!(
            "| {} | {} | {} | {} | {reached} |",
            cell("what"),
            cell("must"),
            cell("measured"),
            cell("beside")
        ));
    }
    lines.join("\n")
}
