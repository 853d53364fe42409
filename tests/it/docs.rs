//! What is documented is what is there, in both directions.

#[path = "../bench/document.rs"]
mod document;

use std::collections::BTreeSet;
use std::path::Path;

use strum::IntoEnumIterator as _;
use support::tools::project;
use vaultsync::api::Reason;

fn read(file: &str) -> String {
    let path = project().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_reason_has_its_section_and_no_section_speaks_of_another() {
    let text = read("docs/troubleshooting.md");
    let sections: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let reasons: BTreeSet<&str> = Reason::iter().map(Reason::as_str).collect();
    assert_eq!(sections, reasons);
}

#[test]
fn every_command_for_contributors_is_there() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let text = read(".github/CONTRIBUTING.md") + &read("README.md");
    let commands = text.split(['`', '\n']).filter_map(|piece| piece.strip_prefix("make "));
    let named: BTreeSet<&str> = commands.filter_map(|command| command.split(' ').next()).collect();
    assert!(named.len() > 3 && named.is_subset(&targets), "{:?}", named.difference(&targets));
}

#[test]
fn every_file_that_a_page_names_is_there() {
    for page in [".github/CONTRIBUTING.md", "README.md", "docs/architecture.md"] {
        let text = read(page);
        let code = text.split('`').filter_map(|piece| piece.split_whitespace().next());
        let is_path =
            |piece: &&str| ["tests/", "src/", "docs/"].iter().any(|folder| piece.starts_with(folder));
        let gone: Vec<&str> = code.filter(is_path).filter(|file| !project().join(file).exists()).collect();
        assert!(gone.is_empty(), "{page} names {gone:?}");
    }
}

#[test]
fn the_chart_is_of_the_crates_version() {
    let chart = read("charts/vaultsync/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("\nversion: {version}\n")), "{chart}");
    assert!(chart.contains(&format!("\nappVersion: \"{version}\"\n")), "{chart}");
    assert!(read("CHANGELOG.md").contains("\n## Unreleased\n"), "where the next change is noted");
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    fn functions(folder: &Path, found: &mut BTreeSet<String>) {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                functions(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let tests = text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1));
                let names = tests.filter_map(|test| test.split_once("fn ")?.1.split_once('('));
                found.extend(names.map(|(name, _)| name.to_owned()));
            }
        }
    }
    let root = project();
    let mut tests = BTreeSet::new();
    functions(&root.join("src"), &mut tests);
    functions(&root.join("tests/it"), &mut tests);
    tests
}

#[test]
fn every_case_of_a_secret_names_tests_that_exist() {
    let tests = tests();
    let text = read("docs/what-happens-when.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| case |"));
    let mut cases = 0;
    for row in rows {
        let [_, case, outcome, proof, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        assert!(!case.trim().is_empty() && !outcome.trim().is_empty(), "{row}");
        let names: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(tests.contains(name), "{name} is no test");
        }
        cases += 1;
    }
    assert!(cases > 40, "{cases}");
}

#[test]
fn every_threat_names_tests_that_exist() {
    let tests = tests();
    let text = read("docs/security/threat-model.md");
    let threats: Vec<&str> = text.split("\n### ").skip(1).collect();
    for (number, threat) in threats.iter().enumerate() {
        assert!(threat.starts_with(&format!("T{:02}: ", number + 1)), "{threat}");
        let proof = threat.lines().find_map(|line| line.strip_prefix("- **Proof:** ")).expect(threat);
        for name in proof.split('`').skip(1).step_by(2) {
            assert!(tests.contains(name), "{name} is no test");
        }
        assert!(proof.contains('`') && threat.contains("**What remains:**"), "{threat}");
    }
    assert!(!threats.is_empty());
    let (_, who) = text.split_once("\n## Who can hurt whom\n").unwrap();
    // Names of tests have many words; what else is quoted there has few.
    for name in who.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 4) {
        assert!(tests.contains(name), "{name} is no test");
    }
}

#[test]
fn the_page_of_figures_is_what_the_benchmark_wrote() {
    let report = serde_json::from_str(&read("docs/benchmarks.json")).unwrap();
    let page = document::render(&read("tests/bench/benchmarks.md"), &report);
    assert_eq!(
        read("docs/benchmarks.md"),
        page,
        "written by `make bench`; prose is changed in tests/bench/benchmarks.md"
    );
}
