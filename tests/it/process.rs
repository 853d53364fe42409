//! The operator as a process: its end, its restart, what it says before it can work.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Fault;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;
use vaultsync::api::VaultSecretSync;

use crate::program::{Program, binary, operator};
use support::scene::{OperatorScene, data};
use support::{cluster, eventually};

const OBJECTS: usize = 30;

/// A vault with as many secrets as there are objects, and the objects.
async fn many() -> OperatorScene {
    let scene = OperatorScene::without_operator().await;
    for index in 0..OBJECTS {
        scene.vault.set(&format!("secret-{index}"), &format!("value-{index}"));
        scene.sync(&format!("object-{index}"), data(&[("KEY", &format!("secret-{index}"))])).await;
    }
    scene
}

async fn start(scene: &OperatorScene) -> Program {
    let cluster = scene.namespace.cluster();
    Program::start(cluster, &mut operator(cluster, &scene.emulator, &scene.namespace.name).await)
}

/// The Secrets that are ours, by name.
async fn secrets(scene: &OperatorScene) -> BTreeMap<String, Secret> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=vaultsync");
    let found = scene.api::<Secret>().list(&ours).await.expect("Secrets").items;
    found.into_iter().map(|secret| (secret.name_any(), secret)).collect()
}

/// The uid and resourceVersion that an object's status has of its Secret.
fn recorded(object: &VaultSecretSync) -> Option<(String, String)> {
    let target = object.status.as_ref()?.target.clone()?;
    Some((target.uid, target.resource_version))
}

fn actual(secret: &Secret) -> (String, String) {
    (secret.uid().unwrap(), secret.resource_version().unwrap())
}

/// Waits until so many Secrets are there.
async fn until_secrets(scene: &OperatorScene, least: usize) {
    eventually(&format!("{least} Secrets"), async || {
        let found = secrets(scene).await.len();
        if found >= least { Ok(()) } else { Err(format!("{found}")) }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_operator_finishes_what_it_has_begun_and_says_so() {
    let scene = many().await;
    let program = start(&scene).await;
    until_secrets(&scene, 1).await;
    let (status, printed) = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("shutting down"), "{printed}");
    let secrets = secrets(&scene).await;
    let objects = scene.api::<VaultSecretSync>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(objects.len(), OBJECTS);
    for object in objects {
        // The round that wrote a Secret went on to its status.
        assert_eq!(secrets.get(&object.name_any()).map(actual), recorded(&object), "{}", object.name_any());
    }
}

#[tokio::test]
async fn an_operator_that_never_saw_an_api_server_ends_when_it_is_told_to() {
    let cluster = cluster();
    let nowhere = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {}}]}"#;
    let kubeconfig = cluster.processes.write("nowhere.kubeconfig", nowhere).unwrap();
    let mut command = Command::new(binary());
    command.arg("run").env("VAULTSYNC_LISTEN", "127.0.0.1:0").env("KUBECONFIG", kubeconfig);
    let program = Program::start(cluster, &mut command);
    program.says("a watch failed").await;
    let (status, printed) = program.terminate().await;
    assert!(status.success(), "{printed}");
}

#[tokio::test]
async fn an_operator_killed_in_mid_work_ends_right_after_a_restart_and_repeats_nothing() {
    let scene = many().await;
    // Three never answer, so whenever the kill comes there is work left.
    for index in 0..3 {
        scene.vault.fault(Fault::stall().on_secret(&format!("secret-{index}")));
    }
    let mut program = start(&scene).await;
    until_secrets(&scene, 10).await;
    program.kill();
    drop(program);
    let before = secrets(&scene).await;
    assert!(before.len() <= OBJECTS - 3, "the kill came in mid-work");

    scene.vault.clear_faults();
    let program = start(&scene).await;
    for index in 0..OBJECTS {
        let name = format!("object-{index}");
        scene.synced(&name).await;
        let secret = scene.secret_is(&name, &[("KEY", &format!("value-{index}"))]).await;
        if let Some(old) = before.get(&name) {
            assert_eq!(actual(&secret), actual(old), "{name} was right already, so nothing moved it");
        }
    }
    assert_eq!(secrets(&scene).await.len(), OBJECTS);
    let (status, printed) = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
}

/// The program without anything of this machine: no kubeconfig, no home, no settings.
fn bare(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("a process")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_bad_value_stops_the_start_with_one_sentence_that_names_it() {
    let bad = [
        ("drift-interval", "soon", "write a duration, as in 30s, 5m or 1h30m"),
        ("drift-probes-per-second", "0", "0 is not in 1..=1000"),
        ("max-requests-per-second", "many", "invalid digit"),
        ("stale-after", "-5m", "write a duration"),
        ("log-format", "xml", "possible values: json, text"),
        ("log-level", "loud", "write error, warn, info, debug or trace"),
        ("listen", "8080", "invalid socket address"),
    ];
    for (flag, value, remedy) in bad {
        let variable = format!("VAULTSYNC_{}", flag.to_uppercase().replace('-', "_"));
        let by_flag = bare(&["run", &format!("--{flag}={value}")], &[]);
        let by_variable = bare(&["run"], &[(variable.as_str(), value)]);
        for output in [by_flag, by_variable] {
            assert_eq!(output.status.code(), Some(2), "--{flag}={value}");
            let said = text(&output.stderr);
            // What is wrong stands before the hint at --help.
            let sentence = said.split("\n\n").next().unwrap();
            assert!(sentence.starts_with(&format!("error: invalid value '{value}' for '--{flag}")), "{said}");
            assert!(said.contains(remedy), "{said}");
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn without_an_api_server_to_talk_to_one_sentence_says_what_to_set() {
    let output = bare(&["run", "--listen=127.0.0.1:0"], &[("HOME", "/nonexistent")]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("vaultsync: no API server: set KUBECONFIG, or run in a pod"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_printed_definitions_are_those_of_the_folder() {
    let output = bare(&["crds"], &[]);
    assert!(output.status.success());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut printed: Vec<&str> =
        text(&output.stdout).split("---\n").filter(|part| !part.is_empty()).collect();
    printed.sort_unstable();
    let mut expected: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    expected.sort_unstable();
    assert_eq!(printed, expected);
}

/// What an operator that syncs an object, and is then stopped, has logged.
async fn logged(format: &str) -> String {
    let scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "a");
    scene.sync("shop", data(&[("DB", "db"), ("GONE", "gone")])).await;
    let cluster = scene.namespace.cluster();
    let mut command = operator(cluster, &scene.emulator, &scene.namespace.name).await;
    let program = Program::start(
        cluster,
        command.env("VAULTSYNC_LOG_FORMAT", format).env("VAULTSYNC_LOG_LEVEL", "info,vaultsync=debug"),
    );
    program.says("starting").await;
    scene.ready("shop", "False", "SecretNotFound").await;
    let (_, printed) = program.terminate().await;
    assert!(printed.lines().count() >= 2, "{printed}");
    printed
}

#[tokio::test]
async fn every_json_line_is_an_object_with_time_level_target_and_message() {
    let printed = logged("json").await;
    let mut messages = Vec::new();
    for line in printed.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&entry["level"].as_str().unwrap()),
            "{line}"
        );
        assert!(entry["target"].is_string(), "{line}");
        messages.push(entry["message"].as_str().unwrap_or_else(|| panic!("no message: {line}")).to_owned());
    }
    assert_eq!(messages.first().map(String::as_str), Some("starting"), "{printed}");
    assert!(messages.iter().any(|message| message == "shutting down"), "{printed}");
}

#[tokio::test]
async fn every_text_line_is_time_level_target_and_message_without_colours_in_a_file() {
    let printed = logged("text").await;
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    for line in printed.lines() {
        let mut words = line.split_whitespace();
        assert!(words.next().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&words.next().unwrap()), "{line}");
        assert!(line.contains(" vaultsync") && words.count() >= 2, "target and message: {line}");
    }
    assert!(printed.contains("starting"), "{printed}");
}
