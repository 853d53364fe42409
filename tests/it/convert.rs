//! Coming from another tool: what `vaultsync convert` prints of its objects is what the API server takes, and a Secret that
//! the tool has made is taken over, key by key, without a moment in which one is missing.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use support::manifests::{apply, kind, parse};
use support::scene::OperatorScene;
use support::tools::project;
use support::{History, Namespace, Says as _};
use vaultsync::api::{ClusterKeyVault, VaultSecretSync};

use crate::program::binary;

/// Exit code, standard output and standard error of `vaultsync convert` with this on standard input.
async fn convert(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.arg("convert").args(arguments).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn()?;
        child.stdin.take().expect("standard input").write_all(input.as_bytes())?;
        child.wait_with_output()
    };
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(run).await.expect("no panic").expect("a process");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// An example of what a peer's user has, in this namespace.
fn example(peer: &str, namespace: &str) -> String {
    let path = project().join(format!("tests/golden/convert/{peer}.yaml"));
    std::fs::read_to_string(path).expect("an example").replace("NAMESPACE", namespace)
}

#[tokio::test]
async fn what_is_converted_is_what_the_api_server_takes() {
    let namespace = Namespace::new().await;
    let admin = namespace.cluster().admin();
    let syncs: Api<VaultSecretSync> = namespace.api(&admin);
    let peers: [(&str, &[&str], &[&str]); 3] = [
        (
            "external-secrets",
            &["shop-db", "shop-files", "shop-found", "shop-tls"],
            &[
                "ExternalSecret NAMESPACE/shop-files: spec.refreshPolicy: CreatedOnce",
                "ExternalSecret NAMESPACE/shop-files: spec.target.template.data.broken: line 1: {{ range",
                "SecretStore NAMESPACE/shop-vault: spec.provider.azurekv.serviceAccountRef:",
                "PushSecret NAMESPACE/shop-push: has no equal",
            ],
        ),
        (
            "akv2k8s",
            &["shop-config", "shop-db", "shop-login", "shop-tls"],
            &[
                "AzureKeyVaultSecret NAMESPACE/shop-login: spec.output.configMap: has no equal",
                "AzureKeyVaultSecret NAMESPACE/shop-injected: spec: writes no Secret",
            ],
        ),
        (
            "csi-driver",
            &["shop-mounted", "shop-mounted-tls"],
            &["secret shop-file is only mounted", "filePermission"],
        ),
    ];
    for (peer, names, told) in peers {
        let (code, printed, notes) = convert(&[], &example(peer, &namespace.name)).await;
        assert_eq!(code, Some(0), "{peer}: {notes}");
        let objects = parse(&printed).unwrap();
        apply(&admin, &namespace.name, &objects).await.unwrap_or_else(|error| panic!("{peer}: {error}"));
        for note in told {
            assert!(notes.contains(&note.replace("NAMESPACE", &namespace.name)), "{note}: {notes}");
        }
        let found = syncs.list(&ListParams::default()).await.unwrap().items;
        let mut found: Vec<String> = found.into_iter().filter_map(|sync| sync.metadata.name).collect();
        found.sort();
        assert_eq!(found, names, "{peer}");
        syncs.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }
    // The platform's connections allow what was converted with them, and nothing else.
    let vaults: Api<ClusterKeyVault> = Api::all(admin);
    let shared = vaults.get("converted-shared").await.unwrap().spec.allow;
    assert_eq!(shared.len(), 1);
    assert_eq!(shared[0].namespaces.names, Some(vec![namespace.name.clone()]));
    assert_eq!(shared[0].secrets, ["shared-token", "shop-*"]);
    for name in ["converted-shared", "converted-akv"] {
        vaults.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn input_that_cannot_be_read_is_told_by_document_and_line_and_nothing_is_printed() {
    let (code, printed, said) = convert(&["-"], "kind: A\n---\nkind: B\nspec: [a\n").await;
    assert_eq!((code, printed.as_str()), (Some(1), ""), "{said}");
    assert!(said.starts_with("vaultsync: standard input: document 2, line "), "{said}");
    let (code, _, said) = convert(&["/nowhere.yaml"], "").await;
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot read /nowhere.yaml"), "{said}");
    let (code, printed, said) = convert(&[], "").await;
    assert_eq!((code, printed.as_str(), said.as_str()), (Some(0), "", ""), "nothing in, nothing out");
}

/// A Secret with these keys, as the tool makes it that writes as `manager`.
async fn made_by(scene: &OperatorScene, manager: &str, metadata: Value) -> Secret {
    let mut secret =
        json!({"metadata": metadata, "stringData": {"DATABASE_URL": "postgres://db", "TOKEN": "t-1"}});
    secret["metadata"]["name"] = json!("shop");
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let secret = serde_json::from_value(secret).expect("a Secret");
    scene.api::<Secret>().create(&params, &secret).await.expect("a created Secret")
}

/// What the vault and the Secret have.
const KEYS: [(&str, &str); 2] = [("DATABASE_URL", "postgres://db"), ("TOKEN", "t-1")];

/// Converts the object of a tool and creates what writes its Secret, reading through the KeyVault `default`.
async fn takes_over(scene: &OperatorScene, object: &Value) {
    scene.vault.set("shop-db-url", "postgres://db");
    scene.vault.set("shop-api-token", "t-1");
    let (code, printed, said) = convert(&["--adopt"], &object.to_string()).await;
    assert_eq!(code, Some(0), "{said}");
    let objects = parse(&printed).unwrap();
    let sync = objects.iter().find(|object| kind(object) == "VaultSecretSync").expect("an object");
    let mut sync = serde_json::to_value(sync).unwrap();
    sync["metadata"] = json!({"name": "shop"});
    sync["spec"]["vaultRef"] = json!({"kind": "KeyVault", "name": "default"});
    scene.create::<VaultSecretSync>(&sync).await;
}

async fn consents(scene: &OperatorScene) {
    scene.edit_secret("shop", json!({"metadata": {"annotations": {"vaultsync.dev/consent": "shop"}}})).await;
}

/// The Secret is ours, the same as before, and never was without a key.
async fn is_ours(scene: &OperatorScene, theirs: &Secret, history: &History) -> VaultSecretSync {
    let object = scene.synced("shop").await;
    let secret = scene.secret_is("shop", &KEYS).await;
    assert_eq!(secret.metadata.uid, theirs.metadata.uid);
    assert_eq!(secret.metadata.annotations.unwrap()["vaultsync.dev/owner"], "shop");
    let keys = |state: &support::history::Values| state.keys().cloned().collect::<Vec<_>>();
    for state in &history.states()["shop"] {
        assert_eq!(keys(state), ["DATABASE_URL", "TOKEN"]);
    }
    object
}

/// The owner reference that a tool sets, of an object whose kind this cluster does not know.
fn owner(api_version: &str, kind: &str) -> Value {
    json!([{
        "apiVersion": api_version, "kind": kind, "name": "shop", "uid": "5a1f4b0e-6f5c-4a51-9b6f-0d6f6c1b7a11",
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// What `kubectl delete --cascade=orphan` leaves of it: the garbage collector takes the reference off.
async fn orphaned(scene: &OperatorScene) {
    scene.edit_secret("shop", json!({"metadata": {"ownerReferences": null}})).await;
}

#[tokio::test]
async fn a_secret_of_external_secrets_operator_is_taken_over_with_its_marks_and_without_them() {
    let scene = OperatorScene::new().await;
    let history = History::of(&scene.namespace).await;
    let marks = json!({
        "labels": {
            "reconcile.external-secrets.io/managed": "true",
            "reconcile.external-secrets.io/created-by": "c0ffee0123456789",
        },
        "annotations": {"reconcile.external-secrets.io/data-hash": "0123456789abcdef"},
        "ownerReferences": owner("external-secrets.io/v1", "ExternalSecret"),
    });
    let theirs = made_by(&scene, "externalsecrets.external-secrets.io/shop", marks).await;
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "shop"},
        "spec": {
            "refreshInterval": "1m",
            "secretStoreRef": {"kind": "SecretStore", "name": "default"},
            "data": [
                {"secretKey": "DATABASE_URL", "remoteRef": {"key": "shop-db-url"}},
                {"secretKey": "TOKEN", "remoteRef": {"key": "secret/shop-api-token"}},
            ],
        },
    });
    takes_over(&scene, &object).await;
    scene.ready("shop", "False", "ConsentMissing").await;
    consents(&scene).await;
    let refused = scene.ready("shop", "False", "TargetControlled").await;
    assert!(refused.message().contains("ExternalSecret shop"), "{}", refused.message());
    orphaned(&scene).await;
    let object = is_ours(&scene, &theirs, &history).await;
    scene.is_owned(&object).await;

    let none = json!({
        "labels": {
            "reconcile.external-secrets.io/managed": null, "reconcile.external-secrets.io/created-by": null,
        },
        "annotations": {"reconcile.external-secrets.io/data-hash": null, "vaultsync.dev/consent": null},
    });
    scene.edit_secret("shop", json!({"metadata": none})).await;
    scene.looks_again(2).await;
    is_ours(&scene, &theirs, &history).await;
    scene.vault.set("shop-api-token", "t-2");
    scene.ask("shop", "now").await;
    scene.secret_is("shop", &[KEYS[0], ("TOKEN", "t-2")]).await;
}

#[tokio::test]
async fn a_secret_of_akv2k8s_is_taken_over_with_its_labels() {
    let scene = OperatorScene::new().await;
    let history = History::of(&scene.namespace).await;
    let marks = json!({
        "labels": {"team": "shop"},
        "ownerReferences": owner("spv.no/v2beta1", "AzureKeyVaultSecret"),
    });
    let theirs = made_by(&scene, "azure-keyvault-controller", marks).await;
    let object = json!({
        "apiVersion": "spv.no/v2beta1", "kind": "AzureKeyVaultSecret",
        "metadata": {"name": "shop", "labels": {"team": "shop"}},
        "spec": {
            "vault": {"name": "shop", "object": {"name": "shop-db-url", "type": "secret"}},
            "output": {"secret": {"name": "shop", "dataKey": "DATABASE_URL"}},
        },
    });
    takes_over(&scene, &object).await;
    consents(&scene).await;
    scene.ready("shop", "False", "TargetControlled").await;
    orphaned(&scene).await;
    // The other key was of a second object there, and is nobody's now: it stays.
    let object = is_ours(&scene, &theirs, &history).await;
    scene.is_owned(&object).await;
    let secret = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(secret.metadata.labels.unwrap()["team"], "shop");
}

#[tokio::test]
async fn a_secret_of_the_csi_driver_outlives_the_workload_that_owned_it() {
    let scene = OperatorScene::new().await;
    let history = History::of(&scene.namespace).await;
    let labels = json!({"app": "shop"});
    let container = json!({"name": "shop", "image": "shop"});
    let workload: ReplicaSet = scene
        .create(&json!({
            "metadata": {"name": "shop-5d8f7c9b6d"},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }))
        .await;
    // It sets the owners of the pod without saying that one of them controls the Secret.
    let marks = json!({
        "labels": {"secrets-store.csi.k8s.io/managed": "true"},
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-5d8f7c9b6d", "uid": workload.metadata.uid,
        }],
    });
    let theirs = made_by(&scene, "secrets-store-csi-driver", marks).await;
    let objects = "array:\n- |\n  objectName: shop-db-url\n  objectType: secret\n- |\n  objectName: shop-api-token\n  objectType: secret\n";
    let object = json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "default"},
        "spec": {
            "provider": "azure",
            "parameters": {"keyvaultName": "shop", "objects": objects},
            "secretObjects": [{
                "secretName": "shop", "type": "Opaque",
                "data": [
                    {"objectName": "shop-db-url", "key": "DATABASE_URL"},
                    {"objectName": "shop-api-token", "key": "TOKEN"},
                ],
            }],
        },
    });
    takes_over(&scene, &object).await;
    scene.ready("shop", "False", "ConsentMissing").await;
    consents(&scene).await;
    let object = is_ours(&scene, &theirs, &history).await;
    let owned = |secret: &Secret| secret.metadata.owner_references.as_ref().map(Vec::len) == Some(2);
    scene.secret_where("shop", "both own the Secret", owned).await;

    scene.delete::<ReplicaSet>("shop-5d8f7c9b6d").await;
    scene.gone::<ReplicaSet>("shop-5d8f7c9b6d").await;
    scene.is_owned(&object).await;
    is_ours(&scene, &theirs, &history).await;
}
