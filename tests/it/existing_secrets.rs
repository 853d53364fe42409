//! Secrets that exist already: taken over, or added to, with the consent of whoever may edit them, and nothing of them lost.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vaultsync::api::VaultSecretSync;

use support::scene::{OperatorScene, data, version};
use support::{History, Says as _};

const CONSENT: &str = "vaultsync.dev/consent";

/// A Secret that a Helm chart makes, or makes again.
async fn chart(scene: &OperatorScene, name: &str, consent: &str, values: Value) -> Secret {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "annotations": {CONSENT: consent}}, "stringData": values,
    });
    let params = PatchParams::apply("helm");
    scene.api::<Secret>().patch(name, &params, &Patch::Apply(&secret)).await.unwrap()
}

async fn consent(scene: &OperatorScene, name: &str, consent: Value) {
    scene.edit_secret(name, json!({"metadata": {"annotations": {CONSENT: consent}}})).await;
}

fn with(creation: &str, target: &str, pairs: &[(&str, &str)]) -> Value {
    let mut spec = data(pairs);
    spec["target"] = json!({"name": target, "creation": creation});
    spec
}

#[tokio::test]
async fn a_secret_is_taken_over_with_consent_and_never_without_a_key() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "same");
    scene.vault.set("b", "new");
    let history = History::of(&scene.namespace).await;
    let theirs =
        json!({"metadata": {"name": "shop"}, "stringData": {"A": "same", "B": "old", "THEIRS": "kept"}});
    let theirs: Secret = scene.create(&theirs).await;
    scene.sync("shop", with("Adopt", "shop", &[("A", "a"), ("B", "b")])).await;
    let object = scene.ready("shop", "False", "ConsentMissing").await;
    assert!(object.message().contains("kubectl annotate secret shop vaultsync.dev/consent=shop"));
    assert_eq!(version(&scene.api::<Secret>().get("shop").await.unwrap()), version(&theirs));
    consent(&scene, "shop", json!("other, shop")).await;
    let object = scene.synced("shop").await;
    let all = [("A", "same"), ("B", "new"), ("THEIRS", "kept")];
    let secret = scene.secret_is("shop", &all).await;
    assert_eq!(secret.metadata.uid, theirs.metadata.uid, "it is the same Secret");
    assert_eq!(secret.metadata.annotations.unwrap()["vaultsync.dev/owner"], "shop");
    // Ready says that all of the spec holds: the Secret goes with its object too.
    let owners = secret.metadata.owner_references.unwrap();
    assert_eq!((owners.len(), Some(&owners[0].uid)), (1, object.metadata.uid.as_ref()));
    let states = history.until("shop", &all.map(|(key, value)| (key.into(), value.into())).into()).await;
    assert!(states.iter().all(|state| state.len() == 3), "{states:?}");

    // The mark alone is taken off: it is put back.
    scene.edit_secret("shop", json!({"metadata": {"annotations": {"vaultsync.dev/owner": null}}})).await;
    scene
        .secret_where("shop", "the Secret has its mark", |secret| {
            let annotations = secret.metadata.annotations.iter().flatten();
            annotations.clone().any(|(name, value)| name == "vaultsync.dev/owner" && value == "shop")
        })
        .await;
    scene.synced("shop").await;

    // From now on it is ours, without a consent too; what was never ours stays.
    consent(&scene, "shop", Value::Null).await;
    scene.vault.set("b", "newer");
    scene.secret_is("shop", &[("A", "same"), ("B", "newer"), ("THEIRS", "kept")]).await;
    scene.edit("shop", json!({"spec": data(&[("A", "a")])})).await;
    scene.secret_is("shop", &[("A", "same"), ("THEIRS", "kept")]).await;
    scene.delete::<VaultSecretSync>("shop").await;
    scene.gone::<Secret>("shop").await;
}

#[tokio::test]
async fn a_secret_of_another_controller_is_not_taken_over_and_keys_can_be_added() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let owner = scene.foreign_secret("owner", "X", "x").await;
    let theirs = json!({
        "metadata": {
            "name": "shop", "annotations": {CONSENT: "takes,adds"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner.metadata.uid, "controller": true}],
        },
        "stringData": {"THEIRS": "kept"},
    });
    let theirs: Secret = scene.create(&theirs).await;
    scene.sync("takes", with("Adopt", "shop", &[("A", "a")])).await;
    let object = scene.ready("takes", "False", "TargetControlled").await;
    assert!(object.message().contains("written by Secret owner"), "{}", object.message());
    assert_eq!(version(&scene.api::<Secret>().get("shop").await.unwrap()), version(&theirs));
    scene.delete::<VaultSecretSync>("takes").await;
    scene.sync("adds", with("Merge", "shop", &[("A", "a")])).await;
    scene.synced("adds").await;
    scene.secret_is("shop", &[("A", "one"), ("THEIRS", "kept")]).await;
}

#[tokio::test]
async fn a_secret_of_another_type_or_one_that_is_immutable_is_not_taken_over() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    for (name, extra, reason) in [
        (
            "typed",
            json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": "kept"}}),
            "TypeMismatch",
        ),
        ("frozen", json!({"immutable": true, "stringData": {"A": "kept"}}), "TargetImmutable"),
    ] {
        let mut theirs = json!({"metadata": {"name": name, "annotations": {CONSENT: name}}});
        for (key, value) in extra.as_object().unwrap() {
            theirs[key] = value.clone();
        }
        let theirs: Secret = scene.create(&theirs).await;
        scene.sync(name, with("Adopt", name, &[("A", "a")])).await;
        scene.ready(name, "False", reason).await;
        assert_eq!(version(&scene.api::<Secret>().get(name).await.unwrap()), version(&theirs));
    }
}

#[tokio::test]
async fn several_objects_add_keys_to_a_secret_of_a_chart_and_each_takes_its_own_away() {
    let mut scene = OperatorScene::new().await;
    let mark = scene.namespace.cluster().mark();
    for (name, value) in [("a", "one"), ("b", "two"), ("c", "three")] {
        scene.vault.set(name, value);
    }
    let values = json!({"admin.password": "theirs"});
    chart(&scene, "argocd-secret", "webhook, sso", values.clone()).await;
    scene
        .sync("webhook", with("Merge", "argocd-secret", &[("webhook.github.secret", "a"), ("extra", "b")]))
        .await;
    scene.sync("sso", with("Merge", "argocd-secret", &[("oidc.clientSecret", "c")])).await;
    for name in ["webhook", "sso"] {
        let object = scene.synced(name).await;
        assert_eq!(object.status.unwrap().target.unwrap().name, "argocd-secret");
    }
    let all = [
        ("admin.password", "theirs"),
        ("webhook.github.secret", "one"),
        ("extra", "two"),
        ("oidc.clientSecret", "three"),
    ];
    let secret = scene.secret_is("argocd-secret", &all).await;
    assert_eq!((&secret.metadata.owner_references, &secret.metadata.labels), (&None, &None));
    assert_eq!(secret.metadata.annotations.unwrap().len(), 1, "the consent alone");

    // An upgrade of the chart strips nothing, and is stripped of nothing.
    chart(&scene, "argocd-secret", "webhook, sso", json!({"admin.password": "changed"})).await;
    scene.vault.set("a", "four");
    let now = [
        ("admin.password", "changed"),
        ("webhook.github.secret", "four"),
        ("extra", "two"),
        ("oidc.clientSecret", "three"),
    ];
    scene.secret_is("argocd-secret", &now).await;
    // What somebody takes out is put back.
    scene.edit_secret("argocd-secret", json!({"data": {"oidc.clientSecret": null}})).await;
    scene.secret_is("argocd-secret", &now).await;
    for name in ["webhook", "sso"] {
        scene.synced(name).await;
    }
    // A restart writes nothing.
    let before = version(&scene.api::<Secret>().get("argocd-secret").await.unwrap());
    scene.stop().await;
    scene.start().await;
    scene.looks_again(2).await;
    assert_eq!(version(&scene.api::<Secret>().get("argocd-secret").await.unwrap()), before);
    // An entry that goes takes its key with it, an object that goes its keys.
    let mut one = with("Merge", "argocd-secret", &[("webhook.github.secret", "a")]);
    one["target"]["deletion"] = json!("Retain");
    scene.edit("webhook", json!({"spec": one})).await;
    let left =
        [("admin.password", "changed"), ("webhook.github.secret", "four"), ("oidc.clientSecret", "three")];
    scene.secret_is("argocd-secret", &left).await;
    scene.delete::<VaultSecretSync>("sso").await;
    scene.secret_is("argocd-secret", &left[..2]).await;
    // Unless it says that they stay.
    scene.delete::<VaultSecretSync>("webhook").await;
    scene.gone::<VaultSecretSync>("webhook").await;
    scene.secret_is("argocd-secret", &left[..2]).await;
    let operator = scene.namespace.cluster().operator().user();
    let namespace = scene.namespace.name.clone();
    let deletes = scene.namespace.cluster().seen_since(mark, |seen| {
        seen.user == operator && seen.namespace == namespace && seen.verb.starts_with("delete")
    });
    assert_eq!(deletes, []);
}

#[tokio::test]
async fn a_consent_that_is_withdrawn_stops_the_writes_and_takes_no_key() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    chart(&scene, "shared", "shop", json!({"THEIRS": "kept"})).await;
    scene.sync("shop", with("Merge", "shared", &[("A", "a")])).await;
    scene.synced("shop").await;
    chart(&scene, "shared", "", json!({"THEIRS": "kept"})).await;
    scene.ready("shop", "False", "ConsentMissing").await;
    let before = version(&scene.api::<Secret>().get("shared").await.unwrap());
    let told = scene.event_reasons("shop").await;
    scene.vault.set("a", "two");
    scene.looks_again(3).await;
    assert_eq!(version(&scene.api::<Secret>().get("shared").await.unwrap()), before);
    assert_eq!(scene.event_reasons("shop").await, told, "it is told once");
    scene.secret_is("shared", &[("A", "one"), ("THEIRS", "kept")]).await;
    chart(&scene, "shared", "shop", json!({"THEIRS": "kept"})).await;
    scene.secret_is("shared", &[("A", "two"), ("THEIRS", "kept")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_secret_to_add_to_is_waited_for_and_never_made() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", with("Merge", "shared", &[("A", "a")])).await;
    let object = scene.ready("shop", "False", "TargetNotFound").await;
    assert!(object.message().contains("vaultsync.dev/consent: shop"), "{}", object.message());
    assert!(
        scene.vault.requests().iter().all(|request| request.secret.as_deref() != Some("a")),
        "nothing is read"
    );
    for _ in 0..2 {
        chart(&scene, "shared", "shop", json!({"THEIRS": "kept"})).await;
        scene.secret_is("shared", &[("A", "one"), ("THEIRS", "kept")]).await;
        scene.synced("shop").await;
        scene.delete::<Secret>("shared").await;
        let object = scene.ready("shop", "False", "TargetNotFound").await;
        assert_eq!(object.status.unwrap().target, None);
    }
}

#[tokio::test]
async fn of_two_objects_that_add_one_key_the_first_keeps_it() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    chart(&scene, "shared", "first,second,third", json!({"THEIRS": "kept"})).await;
    scene.sync("first", with("Merge", "shared", &[("A", "a")])).await;
    scene.synced("first").await;
    scene.sync("second", with("Merge", "shared", &[("A", "b"), ("B", "b")])).await;
    let object = scene.ready("second", "False", "TargetConflict").await;
    assert!(object.message().contains("Key A of Secret shared is that of VaultSecretSync first"));
    scene.secret_is("shared", &[("A", "one"), ("THEIRS", "kept")]).await;
    scene.delete::<VaultSecretSync>("first").await;
    scene.secret_is("shared", &[("A", "two"), ("B", "two"), ("THEIRS", "kept")]).await;
    scene.synced("second").await;
    // Or gives the key up.
    scene.sync("third", with("Merge", "shared", &[("B", "a"), ("C", "a")])).await;
    scene.ready("third", "False", "TargetConflict").await;
    scene.edit("second", json!({"spec": data(&[("A", "b")])})).await;
    scene.synced("third").await;
    let all = [("A", "two"), ("B", "one"), ("C", "one"), ("THEIRS", "kept")];
    scene.secret_is("shared", &all).await;
}

#[tokio::test]
async fn a_secret_of_a_type_that_gives_power_is_not_added_to_and_told_as_that() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let theirs: Secret = scene
        .create(&json!({
            "metadata": {"name": "shop", "annotations": {CONSENT: "shop"}},
            "type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{}"},
        }))
        .await;
    scene.sync("shop", with("Merge", "shop", &[("A", "a")])).await;
    let object = scene.ready("shop", "False", "TypeMismatch").await;
    assert!(object.message().contains("a type that vaultsync never writes"), "{}", object.message());
    assert_eq!(version(&scene.api::<Secret>().get("shop").await.unwrap()), version(&theirs));
}

#[tokio::test]
async fn an_object_that_takes_over_from_another_never_loses_their_key() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    chart(&scene, "shared", "old,new,newest", json!({"THEIRS": "kept"})).await;
    scene.sync("old", with("Merge", "shared", &[("A", "a"), ("B", "b")])).await;
    scene.synced("old").await;
    let history = History::of(&scene.namespace).await;
    // As a chart does that calls it otherwise from now on.
    scene.delete::<VaultSecretSync>("old").await;
    scene.gone::<VaultSecretSync>("old").await;
    scene.sync("new", with("Merge", "shared", &[("A", "a")])).await;
    scene.synced("new").await;
    let last = [("A", "one"), ("THEIRS", "kept")].map(|(key, value)| (key.into(), value.into()));
    let states = history.until("shared", &last.into()).await;
    assert!(states.iter().all(|state| state.contains_key("A")), "{states:?}");
    scene.vault.set("a", "three");
    scene.secret_is("shared", &[("A", "three"), ("THEIRS", "kept")]).await;
    scene.synced("new").await;
    // What it took over without a write goes with it.
    scene.delete::<VaultSecretSync>("new").await;
    scene.gone::<VaultSecretSync>("new").await;
    scene.sync("newest", with("Merge", "shared", &[("A", "a")])).await;
    scene.synced("newest").await;
    scene.delete::<VaultSecretSync>("newest").await;
    scene.secret_is("shared", &[("THEIRS", "kept")]).await;
}

#[tokio::test]
async fn a_secret_is_not_taken_over_by_an_object_that_lacks_a_value() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let theirs = chart(&scene, "shop", "shop", json!({"A": "theirs", "B": "theirs"})).await;
    scene.sync("shop", with("Adopt", "shop", &[("A", "a"), ("B", "mistyped")])).await;
    let object = scene.ready("shop", "False", "SecretNotFound").await;
    let message = object.message();
    assert!(
        message.contains("Secret shop is not taken over yet") && message.contains("mistyped"),
        "{message}"
    );
    assert_eq!(version(&scene.api::<Secret>().get("shop").await.unwrap()), version(&theirs));
    // The mistake costs nothing.
    scene.delete::<VaultSecretSync>("shop").await;
    scene.gone::<VaultSecretSync>("shop").await;
    assert_eq!(version(&scene.api::<Secret>().get("shop").await.unwrap()), version(&theirs));
    scene.vault.set("b", "two");
    scene.sync("shop", with("Adopt", "shop", &[("A", "a"), ("B", "b")])).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_object_that_is_replaced_keeps_its_keys_in_a_shared_secret() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    chart(&scene, "shared", "shop", json!({"THEIRS": "kept"})).await;
    scene.sync("shop", with("Merge", "shared", &[("A", "a")])).await;
    scene.synced("shop").await;
    let history = History::of(&scene.namespace).await;
    // As `kubectl replace --force` does.
    scene.delete::<VaultSecretSync>("shop").await;
    scene.gone::<VaultSecretSync>("shop").await;
    scene.vault.set("a", "two");
    scene.sync("shop", with("Merge", "shared", &[("A", "a")])).await;
    scene.synced("shop").await;
    let last = [("A", "two"), ("THEIRS", "kept")].map(|(key, value)| (key.into(), value.into()));
    let states = history.until("shared", &last.into()).await;
    assert!(states.iter().all(|state| state.len() == 2), "{states:?}");
}

#[tokio::test]
async fn what_cannot_be_said_of_a_secret_of_others_is_refused_with_what_to_write() {
    let scene = OperatorScene::without_operator().await;
    for (target, extra) in [
        (json!({"type": "Opaque"}), json!({})),
        (json!({"labels": {"a": "b"}}), json!({})),
        (json!({"annotations": {"a": "b"}}), json!({})),
        (json!({}), json!({"tls": {"certificate": "shop-tls"}})),
    ] {
        let mut spec = with("Merge", "shared", &[("A", "a")]);
        for (from, into) in [(&target, "target"), (&extra, "")] {
            for (key, value) in from.as_object().unwrap() {
                let place = if into.is_empty() { &mut spec } else { &mut spec[into] };
                place[key] = value.clone();
            }
        }
        let refused =
            scene.try_create::<VaultSecretSync>(&support::scene::sync("shop", &spec)).await.unwrap_err();
        assert!(refused.to_string().contains("adds keys to a Secret that somebody else makes"), "{refused}");
    }
    for (from, to) in [("Merge", "Create"), ("Merge", "Adopt"), ("Create", "Merge"), ("Adopt", "Merge")] {
        let name = format!("{from}-{to}").to_lowercase();
        scene.sync(&name, with(from, &name, &[("A", "a")])).await;
        let refused = scene.try_edit(&name, json!({"spec": {"target": {"creation": to}}})).await.unwrap_err();
        assert!(refused.to_string().contains("cannot change to or from Merge"), "{refused}");
    }
    scene.sync("free", with("Create", "free", &[("A", "a")])).await;
    scene.edit("free", json!({"spec": {"target": {"creation": "Adopt"}}})).await;
}
