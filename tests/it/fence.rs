//! The fence: what the operator's own account, with the chart's rights and policies, cannot do to Secrets, tokens and
//! workloads.

use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vaultsync::api::VaultSecretSync;

use support::wire::{Answer, Secrets, answer};
use support::workloads::{self, workload};
use support::{Namespace, cluster, eventually, manifests};

/// `one`, `two` in Base64.
const ONE: &str = "b25l";
const TWO: &str = "dHdv";

/// A namespace, with the operator and a person at work in it.
struct Fence {
    namespace: Namespace,
    operator: Secrets,
    human: Secrets,
}

async fn fence() -> Fence {
    let namespace = Namespace::new().await;
    let cluster = namespace.cluster();
    let operator = Secrets::new(&cluster.operator_client().await, &namespace.name, "vaultsync:shop");
    let human = Secrets::new(&cluster.admin(), &namespace.name, "human");
    Fence { namespace, operator, human }
}

fn secret(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "shop", "annotations": annotations}, "data": {"a": ONE},
    })
}

fn marked(name: &str) -> Value {
    secret(&json!({"vaultsync.dev/owner": name}))
}

fn consenting(names: &str) -> Value {
    secret(&json!({"vaultsync.dev/consent": names}))
}

fn marking(name: &str) -> Value {
    json!({"metadata": {"annotations": {"vaultsync.dev/owner": name}}, "data": {"a": TWO}})
}

/// An owner that does not exist: for what is refused, or the garbage collector would take the Secret.
fn owner(kind: &str, version: &str, name: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": name, "uid": "00000000-0000-4000-8000-000000000000",
           "controller": true, "blockOwnerDeletion": false})
}

/// A policy of ours refused it: 403, and unlike RBAC's refusal it has a cause, which names the policy.
#[track_caller]
fn assert_fenced(answer: &Answer) {
    assert_eq!((answer.code, answer.at("/reason")), (403, &json!("Forbidden")), "{}", answer.body);
    let causes = answer.cause_messages();
    assert_eq!(causes.len(), 1, "{}", answer.body);
    assert!(causes[0].starts_with("ValidatingAdmissionPolicy 'vaultsync-"), "{}", causes[0]);
    assert!(!answer.body.to_string().contains(ONE), "a refusal shows no value");
}

/// RBAC refused it: 403 without a cause.
#[track_caller]
fn assert_unauthorised(answer: &Answer) {
    assert_eq!((answer.code, answer.at("/reason")), (403, &json!("Forbidden")), "{}", answer.body);
    assert!(answer.at("/details/causes").is_null(), "{}", answer.body);
}

#[track_caller]
fn assert_done(answer: &Answer) {
    assert!(matches!(answer.code, 200 | 201), "{}", answer.body);
}

impl Fence {
    /// A VaultSecretSync `shop`, as the owner of a Secret.
    async fn shop(&self) -> Value {
        let shop = json!({
            "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync", "metadata": {"name": "shop"},
            "spec": {"data": [{"key": "a", "from": {"secret": {"name": "shop-a"}}}]},
        });
        let objects: Api<VaultSecretSync> = self.namespace.api(&self.namespace.cluster().admin());
        let shop = serde_json::from_value(shop).unwrap();
        let shop = objects.create(&PostParams::default(), &shop).await.unwrap();
        let mut owner = owner("VaultSecretSync", "vaultsync.dev/v1alpha1", "shop");
        owner["uid"] = shop.metadata.uid.into();
        owner
    }

    /// The Secret is still what the person made.
    async fn assert_untouched(&self, made: &Answer) {
        assert_eq!(self.human.get("shop").await.version(), made.version());
    }

    /// A person makes a Secret, the operator patches it and is refused.
    async fn assert_patch_refused(&self, made: &Value, patch: &Value) {
        let made = self.human.create(made).await;
        assert_done(&made);
        assert_fenced(&self.operator.patch("shop", patch).await);
        assert_fenced(&self.operator.dry_run().patch("shop", patch).await);
        self.assert_untouched(&made).await;
    }
}

#[tokio::test]
async fn a_secret_with_our_mark_and_owner_is_created_and_changed() {
    let fence = fence().await;
    let mut made = marked("shop");
    made["metadata"]["ownerReferences"] = json!([fence.shop().await]);
    assert_done(&fence.operator.create(&made).await);
    let changed = fence.operator.patch("shop", &json!({"data": {"a": TWO, "b": ONE}})).await;
    assert_done(&changed);
    assert_eq!(changed.body["data"], json!({"a": TWO, "b": ONE}));
    assert_eq!(fence.operator.probe("shop").await.code, 200);
}

#[tokio::test]
async fn a_secret_without_our_mark_is_not_created() {
    let fence = fence().await;
    assert_fenced(&fence.operator.create(&secret(&json!({}))).await);
    assert_fenced(&fence.operator.create(&marked("")).await);
    assert_fenced(&fence.operator.apply("shop", &secret(&json!({}))).await);
    assert_eq!(fence.human.get("shop").await.code, 404);
}

#[tokio::test]
async fn a_foreign_secret_is_not_changed() {
    let fence = fence().await;
    fence.assert_patch_refused(&secret(&json!({})), &json!({"data": {"a": TWO}})).await;
}

#[tokio::test]
async fn a_foreign_secret_is_not_read_by_an_empty_patch() {
    let fence = fence().await;
    fence.human.create(&secret(&json!({}))).await;
    for fenced in [
        fence.operator.probe("shop").await,
        fence.operator.empty_patch("shop").await,
        fence.operator.dry_run().empty_patch("shop").await,
    ] {
        assert_fenced(&fenced);
    }
}

#[tokio::test]
async fn no_secret_is_deleted_neither_ours_nor_foreign() {
    let fence = fence().await;
    assert_done(&fence.operator.create(&marked("shop")).await);
    // RBAC has no delete to begin with. Where somebody grants it, the policy still refuses.
    assert_unauthorised(&fence.operator.delete("shop").await);
    grant_delete(&fence).await;
    assert_fenced(&fence.operator.delete("shop").await);
    assert_eq!(fence.human.get("shop").await.code, 200);
}

/// A role beside the chart's, as a cluster with `OwnerReferencesPermissionEnforcement` needs it.
async fn grant_delete(fence: &Fence) {
    let account = fence.namespace.cluster().operator();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "delete"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "delete"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "delete"},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
    });
    let objects = [role, binding].map(|object| serde_json::from_value(object).unwrap());
    let admin = fence.namespace.cluster().admin();
    manifests::apply(&admin, &fence.namespace.name, &objects).await.unwrap();
    eventually("the right to delete is there", || async {
        let answer = fence.operator.delete("nothing").await;
        if answer.code == 404 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_mark_is_not_stolen() {
    let fence = fence().await;
    fence.assert_patch_refused(&marked("other"), &marking("shop")).await;
}

#[tokio::test]
async fn a_mark_is_not_stolen_with_a_consent_either() {
    let fence = fence().await;
    let made = secret(&json!({"vaultsync.dev/owner": "other", "vaultsync.dev/consent": "shop"}));
    fence.assert_patch_refused(&made, &marking("shop")).await;
}

#[tokio::test]
async fn a_mark_is_not_dropped() {
    let fence = fence().await;
    let drop = json!({"metadata": {"annotations": {"vaultsync.dev/owner": null}}});
    fence.assert_patch_refused(&marked("shop"), &drop).await;
}

#[tokio::test]
async fn a_copy_of_a_secret_from_another_namespace_is_looked_at_and_not_changed() {
    let fence = fence().await;
    let marks =
        |namespace: &str| json!({"vaultsync.dev/owner": "shop", "vaultsync.dev/owner-namespace": namespace});
    let made = fence.human.create(&secret(&marks("team-a"))).await;
    assert_done(&fence.operator.probe("shop").await);
    let here = json!({"metadata": {"annotations": marks(&fence.namespace.name)}});
    for patch in [
        json!({"data": {"a": TWO}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"metadata": {"ownerReferences": [fence.shop().await]}}),
        json!({"metadata": {"finalizers": ["example.org/stays"]}}),
        json!({"immutable": true}),
        here.clone(),
    ] {
        assert_fenced(&fence.operator.patch("shop", &patch).await);
    }
    fence.assert_untouched(&made).await;
    assert_done(&fence.human.patch("shop", &here).await);
    assert_done(&fence.operator.patch("shop", &json!({"data": {"a": TWO}})).await);
    for other in [marks("team-a"), json!({"vaultsync.dev/owner-namespace": null})] {
        let patch = json!({"metadata": {"annotations": other}});
        assert_fenced(&fence.operator.patch("shop", &patch).await);
    }
    assert_done(&fence.human.delete("shop").await);
    assert_fenced(&fence.operator.create(&secret(&marks("team-a"))).await);
    // A mark of before this was told is completed.
    assert_done(&fence.operator.create(&marked("shop")).await);
    assert_done(&fence.operator.patch("shop", &here).await);
}

#[tokio::test]
async fn a_secret_is_not_adopted_without_consent() {
    let fence = fence().await;
    fence.assert_patch_refused(&secret(&json!({})), &marking("shop")).await;
}

#[tokio::test]
async fn a_secret_is_not_adopted_with_the_consent_for_another() {
    let fence = fence().await;
    fence.assert_patch_refused(&consenting("other,third"), &marking("shop")).await;
}

#[tokio::test]
async fn an_empty_consent_is_none() {
    let fence = fence().await;
    fence.assert_patch_refused(&consenting(" , "), &json!({"data": {"a": TWO}})).await;
}

#[tokio::test]
async fn the_operator_does_not_consent_to_itself() {
    let fence = fence().await;
    let consent = json!({"metadata": {"annotations": {"vaultsync.dev/consent": "shop"}}});
    fence.assert_patch_refused(&secret(&json!({})), &consent).await;
    assert_done(&fence.human.delete("shop").await);
    fence.assert_patch_refused(&marked("shop"), &consent).await;
    assert_done(&fence.human.delete("shop").await);
    let withdraw = json!({"metadata": {"annotations": {"vaultsync.dev/consent": null}}});
    fence.assert_patch_refused(&consenting("shop"), &withdraw).await;
    assert_done(&fence.human.delete("shop").await);
    let made = secret(&json!({"vaultsync.dev/owner": "shop", "vaultsync.dev/consent": "shop"}));
    assert_fenced(&fence.operator.create(&made).await);
}

#[tokio::test]
async fn a_secret_is_adopted_with_consent() {
    let fence = fence().await;
    assert_done(&fence.human.create(&consenting("other, shop")).await);
    let mut adopt = marking("shop");
    adopt["metadata"]["ownerReferences"] = json!([fence.shop().await]);
    let adopted = fence.operator.patch("shop", &adopt).await;
    assert_done(&adopted);
    assert_eq!(adopted.at("/metadata/annotations/vaultsync.dev~1owner"), "shop");
    assert_eq!(adopted.at("/metadata/ownerReferences/0/name"), "shop");
}

#[tokio::test]
async fn a_secret_is_merged_into_with_consent_and_stays_its_owners() {
    let fence = fence().await;
    assert_done(&fence.human.create(&consenting("shop")).await);
    assert_eq!(fence.operator.probe("shop").await.code, 200);
    let merged = fence.operator.patch("shop", &json!({"data": {"b": TWO}})).await;
    assert_done(&merged);
    assert_eq!(merged.body["data"], json!({"a": ONE, "b": TWO}));
    let mut owned = json!({"data": {"b": ONE}});
    owned["metadata"]["ownerReferences"] = json!([fence.shop().await]);
    assert_fenced(&fence.operator.patch("shop", &owned).await);
}

#[tokio::test]
async fn an_owner_that_the_mark_does_not_name_is_not_added() {
    let fence = fence().await;
    let made = fence.human.create(&marked("shop")).await;
    for foreign in [
        owner("ConfigMap", "v1", "shop"),
        owner("VaultSecretSync", "example.com/v1", "shop"),
        owner("VaultSecretSync", "vaultsync.dev.example.com/v1", "shop"),
        owner("KeyVault", "vaultsync.dev/v1alpha1", "shop"),
        owner("VaultSecretSync", "vaultsync.dev/v1alpha1", "other"),
    ] {
        let patch = json!({"metadata": {"ownerReferences": [foreign.clone()]}});
        assert_fenced(&fence.operator.patch("shop", &patch).await);
        let mut create = marked("shop");
        create["metadata"]["name"] = "second".into();
        create["metadata"]["ownerReferences"] = json!([foreign]);
        assert_fenced(&fence.operator.create(&create).await);
    }
    fence.assert_untouched(&made).await;
}

#[tokio::test]
async fn a_foreign_owner_that_is_there_already_stays_beside_ours() {
    let fence = fence().await;
    // A live owner, or the garbage collector would take the Secret.
    let admin = fence.namespace.cluster().admin();
    let maps: Api<ConfigMap> = fence.namespace.api(&admin);
    let map = serde_json::from_value(json!({"metadata": {"name": "app"}})).unwrap();
    let map = maps.create(&PostParams::default(), &map).await.unwrap();
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "app", "uid": map.metadata.uid});
    let mut made = consenting("shop");
    made["metadata"]["ownerReferences"] = json!([theirs]);
    assert_done(&fence.human.create(&made).await);

    let adopted = fence.operator.patch("shop", &marking("shop")).await;
    assert_done(&adopted);
    assert_eq!(adopted.at("/metadata/ownerReferences/0/name"), "app");
}

#[tokio::test]
async fn retain_to_delete_and_back_adds_and_drops_our_owner() {
    let fence = fence().await;
    assert_done(&fence.operator.create(&marked("shop")).await);
    let shop = fence.shop().await;
    let added = fence.operator.patch("shop", &json!({"metadata": {"ownerReferences": [shop.clone()]}})).await;
    assert_done(&added);
    assert_eq!(added.at("/metadata/ownerReferences/0/controller"), true);
    let drop = json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": shop["uid"]}]}});
    let dropped = fence.operator.patch("shop", &drop).await;
    assert_done(&dropped);
    assert!(dropped.at("/metadata/ownerReferences").is_null());
}

#[tokio::test]
async fn a_secret_that_carries_a_token_is_not_created_nor_written_to() {
    let fence = fence().await;
    let mut token = marked("shop");
    token["type"] = "kubernetes.io/service-account-token".into();
    token["metadata"]["annotations"]["kubernetes.io/service-account.name"] = "default".into();
    assert_fenced(&fence.operator.create(&token).await);
    for refused in [
        "bootstrap.kubernetes.io/token",
        "kubernetes.io/dockercfg",
        "helm.sh/release.v1",
        "rke.cattle.io/machine-plan",
    ] {
        token["type"] = refused.into();
        if refused == "kubernetes.io/dockercfg" {
            // The API server looks at what the type needs before it asks the policy.
            token["data"] = json!({".dockercfg": "e30="});
        }
        assert_fenced(&fence.operator.create(&token).await);
    }

    token["type"] = "kubernetes.io/service-account-token".into();
    assert_done(&fence.human.create(&token).await);
    assert_fenced(&fence.operator.patch("shop", &json!({"data": {"a": TWO}})).await);
    assert_fenced(&fence.operator.empty_patch("shop").await);
}

#[tokio::test]
async fn every_type_the_product_offers_is_created() {
    let fence = fence().await;
    for (name, kind, data) in [
        ("tls", "kubernetes.io/tls", json!({"tls.crt": ONE, "tls.key": ONE})),
        ("docker", "kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "e30="})),
        ("basic", "kubernetes.io/basic-auth", json!({"username": ONE, "password": ONE})),
        ("ssh", "kubernetes.io/ssh-auth", json!({"ssh-privatekey": ONE})),
        ("opaque", "Opaque", json!({"a": ONE})),
        ("cifs", "fstab/cifs", json!({"username": ONE, "password": ONE})),
    ] {
        let mut made = marked("shop");
        made["metadata"]["name"] = name.into();
        made["type"] = kind.into();
        made["data"] = data;
        assert_done(&fence.operator.create(&made).await);
    }
}

#[tokio::test]
async fn the_fence_stands_in_nobody_elses_way() {
    let fence = fence().await;
    assert_done(&fence.human.create(&marked("shop")).await);
    let drop = json!({"metadata": {"annotations": {"vaultsync.dev/owner": null}}});
    assert_done(&fence.human.patch("shop", &drop).await);
    assert_done(&fence.human.delete("shop").await);
}

#[tokio::test]
async fn rbac_refuses_without_a_cause_and_the_fence_with_one() {
    let fence = fence().await;
    fence.human.create(&secret(&json!({}))).await;
    assert_unauthorised(&fence.operator.get("shop").await);
    assert_unauthorised(&fence.operator.delete("shop").await);
    assert_fenced(&fence.operator.patch("shop", &json!({"data": {"a": TWO}})).await);

    // The same refusals as the client library hands them to the operator.
    let secrets: Api<Secret> = fence.namespace.api(&fence.namespace.cluster().operator_client().await);
    let causes = |answer: kube::Result<Secret>| match answer {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            status.details.as_ref().map_or(0, |details| details.causes.len())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(causes(secrets.get("shop").await), 0);
    let patch = Patch::Strategic(json!({"data": {"a": TWO}}));
    assert_eq!(causes(secrets.patch("shop", &PatchParams::default(), &patch).await), 1);
}

/// Asks for a token of the namespace's `default` account, as the operator.
async fn token(namespace: &Namespace, spec: &Value) -> Answer {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let uri = format!("/api/v1/namespaces/{}/serviceaccounts/default/token", namespace.name);
    let request = Request::post(uri).header("content-type", "application/json");
    let request = request.body(body.to_string().into_bytes()).unwrap();
    answer(&namespace.cluster().operator_client().await, request).await
}

#[tokio::test]
async fn a_token_is_given_for_the_exchange_with_entra() {
    let namespace = Namespace::new().await;
    for audience in
        ["api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov", "api://AzureADTokenExchangeChina"]
    {
        let given = token(&namespace, &json!({"audiences": [audience], "expirationSeconds": 3600})).await;
        assert_eq!(given.code, 201, "{audience}: {}", given.at("/message"));
    }
}

#[tokio::test]
async fn a_token_for_anything_else_or_for_long_is_refused() {
    let namespace = Namespace::new().await;
    let ours = "api://AzureADTokenExchange";
    for spec in [
        json!({"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}),
        json!({"audiences": [cluster().url()], "expirationSeconds": 3600}),
        json!({"audiences": [], "expirationSeconds": 3600}),
        json!({"expirationSeconds": 3600}),
        json!({"audiences": [ours, "other"], "expirationSeconds": 3600}),
        json!({"audiences": [ours, ours], "expirationSeconds": 3600}),
        json!({"audiences": [ours], "expirationSeconds": 3601}),
        json!({"audiences": [ours], "expirationSeconds": 86400}),
    ] {
        let refused = token(&namespace, &spec).await;
        assert_fenced(&refused);
        assert!(refused.at("/status/token").is_null());
    }
}

#[tokio::test]
async fn a_token_without_a_life_span_gets_an_hour() {
    let namespace = Namespace::new().await;
    // The API server fills in 3600 before the policy looks.
    let given = token(&namespace, &json!({"audiences": ["api://AzureADTokenExchange"]})).await;
    assert_eq!((given.code, given.at("/spec/expirationSeconds")), (201, &json!(3600)));
}

/// The three kinds of workload, with their plurals.
const WORKLOADS: [(&str, &str); 3] =
    [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")];

/// A namespace in which the operator may restart workloads, with one `app` of each kind.
async fn workshop() -> Namespace {
    let namespace = Namespace::new().await;
    workloads::let_restart(&namespace, namespace.cluster().operator()).await;
    for (kind, _) in WORKLOADS {
        let api = workloads::workloads(&namespace.cluster().admin(), &namespace, kind);
        let object = serde_json::from_value(workload(kind, "app")).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    namespace
}

/// A request of the operator on workloads.
async fn on_workloads(namespace: &Namespace, method: &str, path: &str, kind: &str, body: &Value) -> Answer {
    let uri = format!("/apis/apps/v1/namespaces/{}/{path}", namespace.name);
    let request = Request::builder().method(method).uri(uri).header("content-type", kind);
    let request = request.body(body.to_string().into_bytes()).unwrap();
    answer(&namespace.cluster().operator_client().await, request).await
}

const MERGE: &str = "application/merge-patch+json";

fn restart(annotations: &Value) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})
}

#[tokio::test]
async fn of_a_workload_the_annotation_of_its_pods_is_changed_and_nothing_else() {
    let namespace = workshop().await;
    let digest = json!({"vaultsync.dev/secret-shop": "0123456789abcdef"});
    for (kind, plural) in WORKLOADS {
        let path = format!("{plural}/app");
        for annotations in [&digest, &digest, &json!({"vaultsync.dev/secret-shop": "fedcba9876543210"})] {
            assert_done(&on_workloads(&namespace, "PATCH", &path, MERGE, &restart(annotations)).await);
        }
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "example.com/evil:1"}]}}}});
        let sidecar = json!({"spec": {"template": {"spec": {"initContainers": [{"name": "b", "image": "example.com/evil:1"}]}}}});
        let refused = [
            image,
            sidecar,
            json!({"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}}),
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
            json!({"spec": {"template": {"metadata": {"labels": {"more": "one"}}}}}),
            json!({"spec": {"revisionHistoryLimit": 0}}),
            json!({"spec": {"minReadySeconds": 7}}),
            json!({"metadata": {"labels": {"part-of": "other"}}}),
            json!({"metadata": {"labels": null}}),
            json!({"metadata": {"annotations": {"example.com/team": "other"}}}),
            json!({"metadata": {"annotations": {"example.com/team": null}}}),
            json!({"metadata": {"annotations": {"vaultsync.dev/secret-shop": "0123456789abcdef"}}}),
            json!({"metadata": {"finalizers": ["example.com/stay"]}}),
            json!({"metadata": {"ownerReferences": [owner("ConfigMap", "v1", "gone")]}}),
            restart(&json!({"example.com/team": "other"})),
            restart(&json!({"example.com/team": null})),
            restart(&json!({"example.com/more": "one"})),
            restart(&json!({"vaultsync.dev/secret-shop": "anything that is to be told"})),
            restart(&json!({"vaultsync.dev/secret-shop": null})),
            restart(&json!({"vaultsync.dev/owner": "0123456789abcdef"})),
            restart(&Value::Null),
        ];
        for patch in &refused {
            let answer = on_workloads(&namespace, "PATCH", &path, MERGE, patch).await;
            assert_eq!(answer.code, 403, "{kind}: {patch} {}", answer.body);
            assert_fenced(&answer);
        }
        let both = json!({"spec": {"replicas": 0, "template": {"metadata": {"annotations": digest}}}});
        let count =
            json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "told"}}});
        if kind != "DaemonSet" {
            for patch in [both, count] {
                assert_fenced(&on_workloads(&namespace, "PATCH", &path, MERGE, &patch).await);
            }
        }
    }
}

#[tokio::test]
async fn no_workload_is_created_replaced_deleted_or_read_one_by_one() {
    let namespace = workshop().await;
    for (kind, plural) in WORKLOADS {
        let (one, json_) = (format!("{plural}/app"), "application/json");
        let object = workload(kind, "new");
        assert_unauthorised(&on_workloads(&namespace, "POST", plural, json_, &object).await);
        assert_unauthorised(&on_workloads(&namespace, "PUT", &one, json_, &workload(kind, "app")).await);
        assert_unauthorised(&on_workloads(&namespace, "DELETE", &one, json_, &json!({})).await);
        assert_unauthorised(&on_workloads(&namespace, "GET", &one, json_, &json!({})).await);
        let scale = json!({"spec": {"replicas": 0}});
        assert_unauthorised(&on_workloads(&namespace, "PATCH", &format!("{one}/scale"), MERGE, &scale).await);
        let new = format!("{plural}/new?fieldManager=vaultsync&force=true");
        let apply = on_workloads(&namespace, "PATCH", &new, "application/apply-patch+yaml", &object).await;
        assert_eq!(apply.code, 403, "{}", apply.body);
    }
}

#[tokio::test]
async fn without_the_switch_of_the_chart_no_workload_is_touched() {
    let namespace = Namespace::new().await;
    for (kind, plural) in WORKLOADS {
        let api = workloads::workloads(&namespace.cluster().admin(), &namespace, kind);
        let object = serde_json::from_value(workload(kind, "app")).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        let digest = restart(&json!({"vaultsync.dev/secret-shop": "0123456789abcdef"}));
        let path = format!("{plural}/app");
        assert_unauthorised(&on_workloads(&namespace, "PATCH", &path, MERGE, &digest).await);
        assert_unauthorised(&on_workloads(&namespace, "GET", plural, MERGE, &json!({})).await);
    }
}

#[tokio::test]
async fn the_fence_of_workloads_stands_in_nobody_elses_way() {
    let namespace = workshop().await;
    let deployments = workloads::workloads(&namespace.cluster().admin(), &namespace, "Deployment");
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments.patch("app", &PatchParams::default(), &patch).await.unwrap();
}
