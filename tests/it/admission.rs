//! Others who have a say in what is written: webhooks, policies and quotas of the cluster, and owner enforcement.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use keyvault_emulator::{LoggedRequest, Operation};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::scene::{OperatorScene, data, version};
use support::webhook::{WEBHOOK, Webhook};
use support::{Says as _, eventually};
use vaultsync::api::{Deletion, VaultSecretSync};

const REMARK: &str = "the value hunter2 is not allowed";

/// The object is not Ready for `reason`, names `who`, and repeats nothing of what that said.
async fn is_refused(scene: &OperatorScene, reason: &str, who: &str) {
    let message = scene.ready("shop", "False", reason).await.message().to_owned();
    assert!(message.contains(who), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_webhook_that_refuses_is_named_whatever_code_it_refuses_with() {
    let mut scene = OperatorScene::without_operator().await;
    let webhook = Webhook::install(&mut scene).await;
    scene.vault.set("a", "one");
    webhook.refuse(None, REMARK);
    scene.start().await;
    scene.sync("shop", data(&[("A", "a")])).await;
    is_refused(&scene, "AdmissionDenied", WEBHOOK).await;
    webhook.allow();
    scene.synced("shop").await;
    // Each of these codes means something else when it is the API server's own.
    for code in [409, 404, 422, 403, 413, 500] {
        webhook.refuse(Some(code), REMARK);
        scene.vault.set("a", &format!("two-{code}"));
        scene.ask("shop", &code.to_string()).await;
        is_refused(&scene, "AdmissionDenied", WEBHOOK).await;
        webhook.allow();
        scene.synced("shop").await;
        scene.secret_is("shop", &[("A", &format!("two-{code}"))]).await;
    }
}

#[tokio::test]
async fn a_webhook_that_is_down_is_named_and_all_heals_when_it_is_back() {
    let mut scene = OperatorScene::without_operator().await;
    let mut webhook = Webhook::install(&mut scene).await;
    scene.vault.set("a", "one");
    scene.start().await;
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    webhook.stop().await;
    scene.vault.set("a", "two");
    is_refused(&scene, "WriteFailed", WEBHOOK).await;
    let path = format!(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{}",
        scene.namespace.name
    );
    scene.admin().request_text(http::Request::delete(path).body(Vec::new()).unwrap()).await.unwrap();
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "two")]).await;
}

#[tokio::test]
async fn a_webhook_that_is_down_at_the_first_sync_is_told_and_costs_the_vault_nothing() {
    let mut scene = OperatorScene::without_operator().await;
    let mut webhook = Webhook::install(&mut scene).await;
    webhook.stop().await;
    // What was set just now would be read once more.
    scene.vault.set_ago("a", "one", 3600);
    scene.start().await;
    scene.sync("shop", data(&[("A", "a")])).await;
    is_refused(&scene, "WriteFailed", WEBHOOK).await;
    eventually("it is tried again", || async {
        let tries = scene.faults.count("create", "secrets");
        if tries >= 5 { Ok(()) } else { Err(format!("{tries} tries")) }
    })
    .await;
    let reads = |request: &LoggedRequest| {
        request.operation == Some(Operation::Get) && request.secret.as_deref() == Some("a")
    };
    assert_eq!(scene.vault.count_where(reads), 1);
}

#[tokio::test]
async fn a_webhook_that_hangs_for_longer_than_is_waited_for_is_told() {
    let mut scene = OperatorScene::without_operator().await;
    let webhook = Webhook::install(&mut scene).await;
    scene.vault.set("a", "one");
    webhook.hang();
    scene.start().await;
    scene.sync("shop", data(&[("A", "a")])).await;
    is_refused(&scene, "WriteFailed", "does not answer within 10s").await;
    webhook.allow();
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_webhook_that_stamps_every_update_costs_no_read_and_no_status() {
    let mut scene = OperatorScene::without_operator().await;
    let _webhook = Webhook::install_stamp(&mut scene).await;
    scene.vault.set_ago("a", "one", 3600);
    scene.start().await;
    let mut spec = data(&[("A", "a")]);
    spec["refreshInterval"] = json!("24h");
    scene.sync("shop", spec).await;
    let before = scene.synced("shop").await;
    scene.vault.clear_log();
    let looks = scene.faults.count("patch", "secrets");
    let stamped = version(&scene.secret_is("shop", &[("A", "one")]).await);
    eventually("it is looked at", || async {
        let now = scene.faults.count("patch", "secrets") - looks;
        if now >= 4 { Ok(()) } else { Err(format!("{now} looks")) }
    })
    .await;
    assert_ne!(version(&scene.secret_is("shop", &[("A", "one")]).await), stamped, "each look is a write");
    assert_eq!(scene.vault.count(Operation::Get), 0);
    assert_eq!(version(&scene.synced("shop").await), version(&before));
}

#[tokio::test]
async fn where_a_webhook_stamps_every_update_a_restarted_operator_writes_what_changed() {
    for drift_interval in [Duration::ZERO, Duration::from_secs(1)] {
        let mut scene = OperatorScene::without_operator().await;
        let _webhook = Webhook::install_stamp(&mut scene).await;
        scene.settings.drift_interval = drift_interval;
        scene.vault.set_ago("a", "one", 3600);
        scene.start().await;
        scene.sync("shop", data(&[("A", "a")])).await;
        scene.synced("shop").await;
        scene.stop().await;
        scene.vault.set_ago("a", "two", 60);
        scene.vault.clear_log();
        scene.start().await;
        scene.secret_is("shop", &[("A", "two")]).await;
        scene.synced("shop").await;
        // One for the news, one for what somebody may have done while no operator ran.
        let reads = scene.vault.count(Operation::Get);
        assert!(reads <= 4, "{reads} GETs");
    }
}

/// A policy of the cluster's own for some resources of the scene's namespace. It comes into force a moment later.
pub(crate) async fn deny(scene: &mut OperatorScene, name: &str, validation: &Value, resources: &Value) {
    let path = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "validations": [validation],
            "matchConstraints": {"resourceRules": [resources]},
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels":
                {"kubernetes.io/metadata.name": scene.namespace.name}}},
        },
    });
    scene.create_for_all(&format!("{path}/validatingadmissionpolicies"), &policy).await;
    scene.create_for_all(&format!("{path}/validatingadmissionpolicybindings"), &binding).await;
}

/// A policy of the cluster's own that lets no Secret of the scene's namespace have the key `A` with the value `two`.
async fn policy(scene: &mut OperatorScene, reason: Option<&str>) -> String {
    let name = format!("{}.no-two", scene.namespace.name);
    let mut validation = json!({
        "expression": "!('A' in object.data) || object.data['A'] != 'dHdv'", "message": REMARK,
    });
    if let Some(reason) = reason {
        validation["reason"] = json!(reason);
    }
    let resources = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
        "operations": ["CREATE", "UPDATE"]});
    deny(scene, &name, &validation, &resources).await;
    // Policies come into force a moment after they are there.
    let (secrets, name_of) = (scene.api::<Secret>(), name.clone());
    eventually("the policy is in force", || async {
        let probe = json!({"metadata": {"generateName": "two-"}, "data": {"A": "dHdv"}});
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match secrets.create(&params, &serde_json::from_value(probe).unwrap()).await {
            Err(kube::Error::Api(status)) if status.message.contains(&name_of) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "taken"))),
        }
    })
    .await;
    name
}

#[tokio::test]
async fn a_policy_of_the_clusters_own_is_named_and_its_secret_is_not_called_foreign() {
    for reason in [None, Some("Forbidden"), Some("RequestEntityTooLarge")] {
        let mut scene = OperatorScene::without_operator().await;
        let name = policy(&mut scene, reason).await;
        scene.vault.set("a", "one");
        scene.start().await;
        scene.sync("shop", data(&[("A", "a")])).await;
        scene.synced("shop").await;
        scene.vault.set("a", "two");
        scene.ask("shop", "two").await;
        is_refused(&scene, "AdmissionDenied", &name).await;
        scene.secret_is("shop", &[("A", "one")]).await;
        scene.vault.set("a", "three");
        scene.ask("shop", "three").await;
        scene.synced("shop").await;
        scene.secret_is("shop", &[("A", "three")]).await;
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_named_and_the_secret_comes_once_it_is_raised() {
    let mut scene = OperatorScene::without_operator().await;
    let quotas: Api<ResourceQuota> = scene.api();
    let quota = |hard: &str| json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": hard}}});
    let object = serde_json::from_value(quota("0")).unwrap();
    quotas.create(&PostParams::default(), &object).await.unwrap();
    // The controller that counts is not here.
    let count = async |hard: &str| {
        let status = json!({"status": {"hard": {"count/secrets": hard}, "used": {"count/secrets": "0"}}});
        quotas.patch("few", &PatchParams::default(), &Patch::Merge(&quota(hard))).await.unwrap();
        quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    };
    count("0").await;
    scene.vault.set("a", "one");
    scene.start().await;
    scene.sync("shop", data(&[("A", "a")])).await;
    is_refused(&scene, "QuotaExceeded", "ResourceQuota few").await;
    count("5").await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn where_owners_are_enforced_values_arrive_and_the_deletion_policy_in_force_is_told() {
    let mut scene = OperatorScene::without_operator().await;
    let cluster = scene.namespace.cluster();
    let flags = ["--enable-admission-plugins=OwnerReferencesPermissionEnforcement"];
    scene.server = Some(cluster.another_api_server(&flags, cluster.operator()).await.unwrap());
    scene.vault.set("a", "one");
    scene.start().await;
    scene.sync("shop", data(&[("A", "a")])).await;
    let first = scene.synced("shop").await;
    assert_eq!(first.status.unwrap().target.unwrap().deletion, Deletion::Delete, "creation needs no right");
    // As a backup tool restores it.
    let before = scene.edit_secret("shop", json!({"metadata": {"ownerReferences": Value::Null}})).await;
    let object = scene.ready("shop", "False", "OwnerReferenceRefused").await;
    assert!(object.message().contains("rbac.ownerReferences"), "{}", object.message());
    assert_eq!(object.status.unwrap().target.unwrap().deletion, Deletion::Retain);
    scene.vault.set("a", "two");
    let after = scene.secret_is("shop", &[("A", "two")]).await;
    assert_ne!(version(&before), version(&after));
    // Who wants it so has nothing to complain of.
    scene.edit("shop", json!({"spec": {"target": {"deletion": "Retain"}}})).await;
    let object: VaultSecretSync = scene.synced("shop").await;
    assert_eq!(object.status.unwrap().target.unwrap().deletion, Deletion::Retain);
}
