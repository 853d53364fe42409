//! What vaultsync says of itself is true: conditions, columns, events, metrics, health.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use keyvault_emulator::{Fault, Operation};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use support::scene::{OperatorScene, data, sync};
use support::{Call, Fault as ApiFault, Gate, Says as _, eventually, manifests, tools, until};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use vaultsync::api::{KeyVault, READY, STALLED, VaultSecretSync, condition};

/// The real `kubectl`, as a user of this scene's namespace.
fn kubectl(scene: &OperatorScene, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::tool("kubectl").expect("kubectl"));
    command
        .args(["--namespace", &scene.namespace.name])
        .args(arguments)
        .env("KUBECONFIG", scene.namespace.cluster().kubeconfig_for_admin())
        .env("HOME", scene.namespace.cluster().processes.folder())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> String {
    let output = command.output().await.expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn apply(scene: &OperatorScene, object: &Value) {
    let mut child = kubectl(scene, &["apply", "-f", "-"]).stdin(Stdio::piped()).spawn().expect("kubectl");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(object.to_string().as_bytes()).await.expect("a manifest");
    drop(stdin);
    let output = child.wait_with_output().await.expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn wait_for_ready(scene: &OperatorScene) -> Child {
    let arguments = ["wait", "--for=condition=Ready", "vaultsecretsync/shop", "--timeout=100s"];
    kubectl(scene, &arguments).spawn().expect("kubectl")
}

/// Waits until the vault holds back an answer.
async fn stalled(scene: &OperatorScene, secret: &str) {
    let waits = |requests: &[keyvault_emulator::LoggedRequest]| {
        requests.iter().any(|request| request.secret.as_deref() == Some(secret) && request.status.is_none())
    };
    scene.vault.requests_until(waits).await;
}

#[tokio::test]
async fn kubectl_wait_straight_after_apply_returns_when_the_secret_is_there() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.vault.set("other", "one");
    let held = scene.vault.fault(Fault::stall().on_secret("db"));
    apply(&scene, &sync("shop", &data(&[("DB", "db")]))).await;
    let mut wait = wait_for_ready(&scene);
    stalled(&scene, "db").await;
    assert_eq!(wait.try_wait().expect("a process"), None, "nothing is there to be ready");
    assert_eq!(scene.secret("shop").await, None);
    scene.vault.clear_fault(held);
    let output = wait.wait_with_output().await.expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // At once, without waiting for anything.
    let secret = scene.secret("shop").await.expect("the Secret");
    assert_eq!(secret, BTreeMap::from([("DB".to_owned(), "one".to_owned())]));

    // A new spec is not ready because the old one was.
    let held = scene.vault.fault(Fault::stall().on_secret("other"));
    apply(&scene, &sync("shop", &data(&[("DB", "db"), ("OTHER", "other")]))).await;
    let mut wait = wait_for_ready(&scene);
    stalled(&scene, "other").await;
    assert_eq!(wait.try_wait().expect("a process"), None, "the new key is not there");
    scene.vault.clear_fault(held);
    let output = wait.wait_with_output().await.expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scene.secret("shop").await.expect("the Secret").get("OTHER").map(String::as_str), Some("one"));
}

#[tokio::test]
async fn a_fresh_object_is_never_taken_for_a_current_one() {
    let scene = OperatorScene::without_operator().await;
    let object = scene.sync("shop", data(&[("DB", "db")])).await;
    assert_eq!(object.status.and_then(|status| status.observed_generation), Some(-1));
    let vault = scene.api::<KeyVault>().get("default").await.unwrap();
    assert_eq!(vault.status.and_then(|status| status.observed_generation), Some(-1));
}

/// The cells of a table, by the names of their columns. Two spaces part columns.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let header = lines.next().expect("a header");
    let mut starts: Vec<(usize, &str)> = Vec::new();
    for name in header.split("  ").map(str::trim).filter(|name| !name.is_empty()) {
        let from = starts.last().map_or(0, |(start, last)| start + last.len());
        starts.push((from + header[from..].find(name).expect("the name"), name));
    }
    let row = |line: &str| {
        let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([line.len()]);
        let cells = starts.iter().zip(ends).map(|((start, name), end)| {
            let cell = line.get(*start..end.min(line.len())).unwrap_or_default().trim();
            ((*name).to_owned(), cell.to_owned())
        });
        cells.collect()
    };
    lines.map(row).collect()
}

#[tokio::test]
async fn kubectl_get_shows_in_columns_what_a_user_wants_to_know() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.sync("broken", data(&[("DB", "missing")])).await;
    scene.synced("shop").await;
    scene.ready("broken", "False", "SecretNotFound").await;
    scene.vault_says("default", "True", "Connected").await;

    let rows = table(&output(kubectl(&scene, &["get", "vss"])).await);
    let columns = ["AGE", "LAST CHANGE", "NAME", "READY", "REASON", "SECRET", "VAULT"];
    assert_eq!(rows[0].keys().map(String::as_str).collect::<Vec<_>>(), columns);
    let cell = |row: usize, name: &str| rows[row][name].clone();
    assert_eq!(
        (cell(0, "NAME"), cell(0, "READY"), cell(0, "REASON")),
        ("broken".into(), "False".into(), "SecretNotFound".into())
    );
    assert_eq!(
        (cell(1, "NAME"), cell(1, "READY"), cell(1, "REASON")),
        ("shop".into(), "True".into(), "Synced".into())
    );
    assert_eq!((cell(1, "VAULT"), cell(1, "SECRET")), (scene.vault.url(), "shop".into()));
    assert!(!cell(1, "LAST CHANGE").is_empty(), "{rows:?}");

    let wide = table(&output(kubectl(&scene, &["get", "vss", "-o", "wide"])).await);
    assert!(wide[0]["MESSAGE"].contains("secret missing (key DB)"), "{wide:?}");

    let vaults = table(&output(kubectl(&scene, &["get", "kv"])).await);
    assert_eq!(
        vaults[0].keys().map(String::as_str).collect::<Vec<_>>(),
        ["AGE", "MODE", "NAME", "READY", "REASON", "SINCE", "URL"]
    );
    assert_eq!((vaults[0]["READY"].as_str(), vaults[0]["REASON"].as_str()), ("True", "Connected"));
    assert_eq!(vaults[0]["URL"], scene.vault.url());
    assert!(["List", "Get"].contains(&vaults[0]["MODE"].as_str()), "{vaults:?}");

    let all = output(kubectl(&scene, &["get", "vaultsync", "-o", "name"])).await;
    // ClusterKeyVaults have no namespace: those of other tests are there too.
    let mut names: Vec<&str> = all.lines().filter(|name| !name.starts_with("clusterkeyvault.")).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "keyvault.vaultsync.dev/default",
            "vaultsecretsync.vaultsync.dev/broken",
            "vaultsecretsync.vaultsync.dev/shop"
        ]
    );
    let selected = output(kubectl(
        &scene,
        &["get", "vss", "-o", "name", "--field-selector", "spec.vaultRef.name=another"],
    ))
    .await;
    assert_eq!(selected, "");
}

/// The events about an object: type and reason, in the order they came.
async fn events(scene: &OperatorScene, kind: &str, name: &str) -> Vec<(String, String)> {
    let mut events = scene.api::<Event>().list(&ListParams::default()).await.expect("events").items;
    events.retain(|event| {
        let about = event.regarding.as_ref();
        about.is_some_and(|about| about.kind.as_deref() == Some(kind) && about.name.as_deref() == Some(name))
    });
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    events
        .into_iter()
        .map(|event| (event.type_.unwrap_or_default(), event.reason.unwrap_or_default()))
        .collect()
}

/// Waits until the events are these.
async fn events_are(scene: &OperatorScene, kind: &str, name: &str, expected: &[(&str, &str)]) {
    eventually(&format!("the events of {name} are {expected:?}"), || async {
        let seen = events(scene, kind, name).await;
        let same = seen.len() == expected.len()
            && seen.iter().zip(expected).all(|(seen, wanted)| (seen.0.as_str(), seen.1.as_str()) == *wanted);
        if same { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test]
async fn events_tell_of_changes_and_never_of_polls() {
    let scene = OperatorScene::new().await;
    let kind = "VaultSecretSync";
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    let mut expected = vec![("Normal", "SecretCreated")];
    events_are(&scene, kind, "shop", &expected).await;
    for poll in ["1", "2", "3"] {
        scene.force("shop", poll).await;
    }
    scene.vault.set("db", "two");
    scene.force("shop", "4").await;
    scene.secret_is("shop", &[("DB", "two")]).await;
    expected.push(("Normal", "SecretUpdated"));
    events_are(&scene, kind, "shop", &expected).await;

    scene.vault.delete("db");
    for poll in ["5", "6", "7"] {
        scene.force("shop", poll).await;
    }
    expected.push(("Warning", "SecretNotFound"));
    events_are(&scene, kind, "shop", &expected).await;
    scene.vault.recover("db");
    scene.vault.disable("db");
    for poll in ["8", "9"] {
        scene.force("shop", poll).await;
    }
    expected.push(("Warning", "SecretDisabled"));
    events_are(&scene, kind, "shop", &expected).await;
    scene.vault.enable("db");
    for poll in ["10", "11"] {
        scene.force("shop", poll).await;
    }
    expected.push(("Normal", "Synced"));
    events_are(&scene, kind, "shop", &expected).await;
}

#[tokio::test]
async fn an_outage_is_one_event_of_the_connection_and_its_end_another() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    events_are(&scene, "KeyVault", "default", &[("Normal", "Connected")]).await;
    scene.vault.fault(Fault::status(503));
    let asked = json!({"metadata": {"annotations": {"vaultsync.dev/sync-requested-at": "in vain"}}});
    scene.edit("shop", asked).await;
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    let failed = |requests: &[keyvault_emulator::LoggedRequest]| {
        requests.iter().filter(|request| request.status == Some(503)).count() >= 4
    };
    scene.vault.requests_until(failed).await;
    scene.vault.clear_faults();
    scene.vault_says("default", "True", "Connected").await;
    let expected = [("Normal", "Connected"), ("Warning", "ServiceUnavailable"), ("Normal", "Connected")];
    events_are(&scene, "KeyVault", "default", &expected).await;
    events_are(&scene, "VaultSecretSync", "shop", &[("Normal", "SecretCreated")]).await;
}

/// The value of a series, named as the text format names it.
fn series(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn metrics_count_what_happened_under_names_that_last() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.sync("broken", data(&[("DB", "missing")])).await;
    scene.synced("shop").await;
    scene.ready("broken", "False", "SecretNotFound").await;
    scene.vault.fault(Fault::throttle(None).times(2));
    let asked = json!({"metadata": {"annotations": {"vaultsync.dev/sync-requested-at": "1"}}});
    scene.edit("shop", asked).await;
    scene.force("shop", "2").await;

    let host = format!("{}.vault.azure.net", scene.vault.name());
    let namespace = &scene.namespace.name;
    let not_ready = |name: &str, reason: &str| {
        format!(
            "vaultsync_object_not_ready{{object_name=\"{name}\",object_namespace=\"{namespace}\",reason=\"{reason}\"}}"
        )
    };
    let requests = |code: &str, inner: &str| {
        format!(
            "vaultsync_vault_requests_total{{code=\"{code}\",inner_code=\"{inner}\",operation=\"GetSecret\",vault=\"{host}\"}}"
        )
    };
    let wanted = [
        format!("vaultsync_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
        "vaultsync_reconciles_total{reason=\"Synced\",result=\"created\"}".to_owned(),
        "vaultsync_reconciles_total{reason=\"SecretNotFound\",result=\"failed\"}".to_owned(),
        requests("200", ""),
        requests("404", "SecretNotFound"),
        requests("429", ""),
        format!("vaultsync_vault_throttled_total{{vault=\"{host}\"}}"),
        "vaultsync_token_requests_total{result=\"Success\"}".to_owned(),
        not_ready("broken", "SecretNotFound"),
    ];
    let text = eventually("every series is there", || async {
        let (code, text) = scene.http("/metrics").await;
        assert_eq!(code, 200);
        let missing = wanted.iter().find(|name| series(&text, name).is_none());
        missing.map_or_else(|| Ok(text.clone()), |name| Err(format!("no {name} in\n{text}")))
    })
    .await;
    assert_eq!(series(&text, &wanted[0]), Some(1.0));
    assert_eq!(series(&text, &wanted[1]), Some(1.0));
    assert_eq!(series(&text, &wanted[6]), Some(2.0));
    assert!(!text.contains("object_name=\"shop\""), "an object that is Ready has no series:\n{text}");
    let answered = u32::try_from(scene.vault.count(Operation::Get)).unwrap();
    let counted: f64 = [("200", ""), ("404", "SecretNotFound"), ("429", "")]
        .iter()
        .filter_map(|(code, inner)| series(&text, &requests(code, inner)))
        .sum();
    assert!(counted <= f64::from(answered) && counted >= 4.0, "{counted} of {answered}");

    scene.vault.set("missing", "found");
    scene.force("broken", "3").await;
    eventually("an object that became Ready has no series any more", || async {
        let (_, text) = scene.http("/metrics").await;
        if text.contains("vaultsync_object_not_ready{") { Err(text) } else { Ok(()) }
    })
    .await;
    well_named(&scene.http("/metrics").await.1);
}

/// The rules of Prometheus for names: a prefix of the application, base units, `_total` on counters and on nothing
/// else, a help text on each, labels in snake case.
fn well_named(text: &str) {
    let mut families = BTreeMap::new();
    let mut helped = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(families.insert(name.to_owned(), kind.to_owned()), None, "{name} is there twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(help.ends_with('.') && help.len() > 10, "{line}");
            helped.push(name.to_owned());
        }
    }
    assert!(families.len() >= 6, "{families:?}");
    let snake = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    for (name, kind) in &families {
        assert!(name.starts_with("vaultsync_") && snake(name) && !name.contains("__"), "{name}");
        assert!(helped.contains(name), "{name} has no help");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(
            kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_bytes"),
            "{name} has no unit"
        );
        for wrong in ["_ms", "_milliseconds", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(wrong), "{name}");
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(families.contains_key(name) || families.contains_key(family), "{line} is of no family");
        for label in line
            .split_once('{')
            .map_or("", |(_, rest)| rest)
            .split("\",")
            .filter_map(|pair| pair.split_once("=\""))
        {
            assert!(snake(label.0), "{line}");
        }
    }
}

#[tokio::test]
async fn the_operator_is_ready_when_it_has_seen_what_there_is() {
    for resource in ["vaultsecretsyncs", "keyvaults"] {
        let mut scene = OperatorScene::without_operator().await;
        let gate = Gate::default();
        scene.faults.next(1, move |call: &Call| call.is("list", resource), ApiFault::Hold(gate.clone()));
        scene.start().await;
        gate.reached().await;
        assert_eq!(scene.http("/livez").await, (200, "ok".to_owned()));
        assert_eq!(scene.http("/readyz").await.0, 503, "{resource} were not listed");
        gate.release();
        eventually("the operator is ready", || async {
            let (code, text) = scene.http("/readyz").await;
            if code == 200 { Ok(()) } else { Err(text) }
        })
        .await;
        assert_eq!(scene.http("/livez").await.0, 200);
    }
}

#[tokio::test]
async fn an_outage_of_a_vault_makes_no_pod_unready() {
    let scene = OperatorScene::new().await;
    scene.vault.fault(Fault::status(503));
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    assert_eq!((scene.http("/livez").await.0, scene.http("/readyz").await.0), (200, 200));
}

#[tokio::test]
async fn namespaces_of_the_system_are_left_alone() {
    for namespace in ["kube-system", manifests::SYSTEM] {
        let mut scene = OperatorScene::without_operator().await;
        scene.settings.namespaces = [namespace.to_owned()].into();
        scene.settings.own_namespace = Some(manifests::SYSTEM.to_owned());
        scene.start().await;
        let objects: Api<VaultSecretSync> = Api::namespaced(scene.admin(), namespace);
        // Another run's object of this name would be another test's.
        let name = scene.namespace.name.clone();
        let mark = scene.namespace.cluster().mark();
        let object = serde_json::from_value(sync(&name, &data(&[("DB", "db")]))).unwrap();
        objects.create(&PostParams::default(), &object).await.unwrap();
        let says = |type_: &'static str, status: &'static str| {
            move |object: Option<&VaultSecretSync>| {
                let found = object.and_then(|object| condition(&object.status.as_ref()?.conditions, type_));
                found.is_some_and(|found| found.status == status && found.reason == "NamespaceIgnored")
            }
        };
        let object = until(&objects, &name, "it is ignored", says(READY, "False")).await.unwrap();
        assert!(object.message().contains("Create this object in the namespace of the application"));
        until(&objects, &name, "nothing but an edit helps", says(STALLED, "True")).await;
        let secrets: Api<Secret> = Api::namespaced(scene.admin(), namespace);
        assert!(secrets.get_opt(&name).await.unwrap().is_none());
        let writes = scene.namespace.cluster().operator_writes_since(mark, namespace);
        assert!(!writes.iter().any(|seen| seen.resource == "secrets" && seen.name == name), "{writes:?}");
        assert_eq!(scene.vault.requests(), []);
        objects.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}
