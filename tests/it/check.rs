//! `vaultsync check`: the preflight from a terminal, a line a step, with an exit code; and its page in the docs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use keyvault_emulator::{Fault, Forbidden};
use kube::Resource as _;
use serde_json::{Value, json};
use vaultsync::api::KeyVault;

use crate::program::{authority, binary};
use support::scene::{CLIENT, OperatorScene};
use support::shared::grant;

/// Runs it as the cluster's admin, with the emulator's way to the vaults.
async fn check(scene: &OperatorScene, arguments: &[&str]) -> (Option<i32>, String) {
    let cluster = scene.namespace.cluster();
    let mut command = Command::new(binary());
    command
        .arg("check")
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig_for_admin())
        .env("HTTPS_PROXY", scene.emulator.proxy_url())
        .env("NO_PROXY", "127.0.0.1")
        .env("SSL_CERT_FILE", authority(cluster, &scene.emulator));
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("a process");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("text"))
}

async fn check_default(scene: &OperatorScene) -> (Option<i32>, String) {
    check(scene, &["kv/default", "-n", &scene.namespace.name]).await
}

/// The line of a step.
fn step<'a>(report: &'a str, name: &str) -> &'a str {
    let is_of = |line: &&str| line.split_whitespace().next() == Some(name);
    report.lines().find(is_of).unwrap_or_else(|| panic!("no step {name}: {report}"))
}

#[tokio::test]
async fn a_connection_that_works_is_said_to_step_by_step_without_reading_a_value() {
    let scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "canary");
    let (code, report) = check_default(&scene).await;
    assert_eq!(code, Some(0), "{report}");
    for name in ["name", "tls", "vault", "token", "access", "api-version", "read", "list"] {
        assert!(step(&report, name).contains(" Passed "), "{report}");
    }
    assert!(report.ends_with("The connection works.\n"), "{report}");
    assert!(step(&report, "token").contains(CLIENT), "{report}");
    assert_eq!(scene.vault.count_where(|request| request.secret.as_deref() == Some("db")), 0);
    assert!(!report.contains("canary"));
}

#[tokio::test]
async fn the_first_step_that_fails_carries_reason_and_remedy_and_the_exit_code_says_so() {
    let scene = OperatorScene::without_operator().await;
    scene.vault.fault(Fault::forbidden(Forbidden::ByFirewall));
    let (code, report) = check_default(&scene).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(step(&report, "access").contains("Failed    Firewall: "), "{report}");
    assert!(step(&report, "read").ends_with("NotTried"), "{report}");
    assert!(report.ends_with("The connection fails at access.\n"), "{report}");

    scene.vault.clear_faults();
    scene.emulator.token_fault(Fault::aadsts(700_016));
    let (code, report) = check_default(&scene).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(step(&report, "vault").contains(" Passed "), "{report}");
    assert!(step(&report, "token").contains("InvalidIdentity: "), "{report}");
}

#[tokio::test]
async fn what_cannot_be_proved_is_no_failure() {
    let scene = OperatorScene::without_operator().await;
    scene.vault.revoke(CLIENT);
    let (code, report) = check_default(&scene).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(step(&report, "read").contains(" Unproven ") && report.contains("MissingRole"), "{report}");
    assert!(step(&report, "list").contains("mode Get"), "{report}");
    assert!(report.contains("as far as it can be proved"), "{report}");
}

#[tokio::test]
async fn a_program_reads_the_same_as_json() {
    let scene = OperatorScene::without_operator().await;
    scene.vault.fault(Fault::forbidden(Forbidden::ByConnection));
    let (code, report) = check(&scene, &["kv/default", "-n", &scene.namespace.name, "-o", "json"]).await;
    assert_eq!(code, Some(1), "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["usable"], &report["url"]), (&json!(false), &json!(scene.vault.url())));
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 8);
    assert_eq!((&steps[4]["name"], &steps[4]["reason"]), (&json!("access"), &json!("PublicAccessDisabled")));
    assert_eq!((&steps[0]["result"], &steps[7]["result"]), (&json!("Passed"), &json!("NotTried")));
}

#[tokio::test]
async fn an_object_is_checked_by_its_connection_and_by_what_it_is_granted() {
    let scene = OperatorScene::of_shared_vaults().await;
    let namespace = scene.namespace.name.clone();
    let shared = scene.share(json!([grant(&[&namespace], &["db"])])).await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.sync("other", shared.spec(&[("DB", "other")])).await;
    let (code, report) = check(&scene, &["vss/shop", "-n", &namespace]).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(
        report.starts_with(&format!("ClusterKeyVault {} for namespace {namespace}", shared.name)),
        "{report}"
    );
    let (code, report) = check(&scene, &["vss/other", "-n", &namespace]).await;
    assert_eq!(code, Some(1));
    assert!(report.starts_with("vaultsync: NotAllowed: ") && report.contains("secret other"), "{report}");

    let (code, report) = check(&scene, &[&format!("ckv/{}", shared.name)]).await;
    assert_eq!(code, Some(1));
    assert!(report.contains("say which one by --namespace"), "{report}");
    let (code, report) = check(&scene, &[&format!("ckv/{}", shared.name), "-n", &namespace]).await;
    assert_eq!(code, Some(0), "{report}");
}

#[tokio::test]
async fn a_connection_is_checked_though_its_status_is_not_understood_and_of_a_newer_one_that_is_said() {
    let scene = OperatorScene::without_operator().await;
    // The API server takes it: dates are a pattern there.
    let never = "9999-12-31T23:59:59Z";
    let path = format!("{}/default", KeyVault::url_path(&(), Some(&scene.namespace.name)));
    let write = async |path: String, body: Value| {
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        scene.admin().request_text(request.body(body.to_string().into_bytes()).unwrap()).await
    };
    let ready = json!({"type": "Ready", "status": "False", "reason": "Odd", "message": "", "lastTransitionTime": never});
    let answer = write(format!("{path}/status"), json!({"status": {"conditions": [ready]}})).await.unwrap();
    assert!(answer.contains(never), "{answer}");
    let (code, report) = check_default(&scene).await;
    assert_eq!(code, Some(0), "{report}");
    let manager = json!({
        "manager": "tests", "operation": "Update", "apiVersion": "vaultsync.dev/v1alpha1",
        "time": never, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:url": {}}},
    });
    let answer = write(path, json!({"metadata": {"managedFields": [manager]}})).await.unwrap();
    assert!(answer.contains(never), "{answer}");
    let (code, report) = check_default(&scene).await;
    assert!(code != Some(0) && report.contains("KeyVault default"), "{report}");
    assert!(report.contains("has what this release does not know"), "{report}");
}

#[tokio::test]
async fn what_is_not_there_or_not_said_right_gets_a_sentence() {
    let scene = OperatorScene::without_operator().await;
    for (arguments, code, sentence) in [
        (&["kv/none", "-n", "default"][..], 1, "vaultsync: there is no KeyVault none in namespace default\n"),
        (&["ckv/none"], 1, "vaultsync: there is no ClusterKeyVault none\n"),
        (&["vss/none"], 1, "vaultsync: there is no VaultSecretSync none in namespace default\n"),
        (&["secret/shop"], 2, "write kv/NAME, ckv/NAME or vss/NAME, as in kv/prod"),
    ] {
        let (found, report) = check(&scene, arguments).await;
        assert_eq!(found, Some(code), "{report}");
        assert!(report.contains(sentence), "{report}");
    }
}

/// The page shows a real run; what differs from run to run is what a reader's own would be.
#[tokio::test]
async fn the_page_on_checks_shows_a_real_run() {
    let scene = OperatorScene::without_operator().await;
    let namespace = scene.namespace.name.clone();
    let (_, works) = check_default(&scene).await;
    scene.delete::<KeyVault>("default").await;
    let mut vault = scene.key_vault("default", &scene.vault.url());
    scene.namespace.account("cart").await;
    vault["spec"]["identity"]["workloadIdentity"]["serviceAccountName"] = json!("cart");
    scene.create::<KeyVault>(&vault).await;
    let (_, fails) = check_default(&scene).await;
    let shown = |report: &str| {
        let issuer = &scene.namespace.cluster().issuer().url;
        let report =
            report.replace(issuer, "https://oidc.prod-aks.azure.com/0a1b2c3d/").replace(&namespace, "shop");
        let report = report.replace(CLIENT, "6f1d2c3b-4a59-4e8f-9b70-1c2d3e4f5a6b");
        let report = report.replace(scene.emulator.tenant(), "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d");
        let (head, tail) = report.split_once("object id ").unwrap_or((&report, ""));
        match tail.split_at_checked(36) {
            Some((_, tail)) => format!("{head}object id 5d4c3b2a-1f0e-4d9c-8b7a-6f5e4d3c2b1a{tail}"),
            None => report,
        }
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut parts: Vec<String> = page.split("```console\n").map(str::to_owned).collect();
    for (part, report) in parts[1..].iter_mut().zip([works, fails]) {
        let (_, rest) = part.split_once("```").unwrap();
        *part = format!("$ vaultsync check kv/default -n shop\n{}```{rest}", shown(&report));
    }
    let fresh = parts.join("```console\n");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, fresh).unwrap();
    } else {
        assert_eq!(page, fresh, "BLESS=1 cargo test --test it check:: writes it anew");
    }
}

#[tokio::test]
async fn of_an_object_each_connection_is_checked() {
    let scene = OperatorScene::without_operator().await;
    let other = scene.emulator.vault("check-other-vault");
    other.fault(Fault::status(503));
    scene.create::<KeyVault>(&scene.key_vault("other", &other.url())).await;
    let data = json!([
        {"key": "A", "from": {"secret": {"name": "a"}}},
        {"key": "B", "from": {"secret": {"name": "b"}}, "vaultRef": {"name": "other"}},
        {"key": "C", "from": {"secret": {"name": "c"}}, "vaultRef": {"name": "absent"}},
    ]);
    scene.sync("shop", json!({"data": data})).await;
    let (code, report) = check(&scene, &["vss/shop", "-n", &scene.namespace.name]).await;
    assert_eq!(code, Some(1), "{report}");
    let (first, second) =
        report.split_once("\n\nKeyVault other in namespace").unwrap_or_else(|| panic!("{report}"));
    assert!(first.ends_with("The connection works."), "{report}");
    assert!(second.contains("The connection fails at "), "{report}");
    assert!(second.contains("there is no KeyVault absent in namespace"), "{report}");
}
