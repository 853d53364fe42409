//! What is documented is what is there, in both directions.

use std::collections::BTreeSet;
use std::path::Path;

use strum::IntoEnumIterator as _;
use vaultsync::api::Reason;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_reason_has_its_section_and_no_section_speaks_of_another() {
    let text = read("docs/troubleshooting.md");
    let sections: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let reasons: BTreeSet<&str> = Reason::iter().map(Reason::as_str).collect();
    assert_eq!(sections, reasons);
}
