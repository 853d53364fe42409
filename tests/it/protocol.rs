//! What the write protocol rests on: how the API server answers an identity that may only create and patch Secrets.
//!
//! Each test pins one fact. If a Kubernetes release changes it, this is where it shows first.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};

use support::wire::{Answer, Secrets};
use support::{Account, Namespace, eventually, manifests, until};

/// `one`, `two` in Base64.
const ONE: &str = "b25l";
const TWO: &str = "dHdv";

/// A namespace with a ServiceAccount that holds `create` and `patch` on Secrets and nothing else.
struct Writer {
    namespace: Namespace,
    account: Account,
    /// The writer's requests.
    ours: Secrets,
    /// A person who may do everything.
    human: Secrets,
}

async fn writer() -> Writer {
    writer_with(json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"]}])).await
}

async fn writer_with(rules: Value) -> Writer {
    let namespace = Namespace::new().await;
    let account = namespace.account("writer").await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "writer"}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "writer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer"},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
    });
    let cluster = namespace.cluster();
    let admin = cluster.admin();
    for object in [role, binding] {
        let object = serde_json::from_value(object).unwrap();
        manifests::apply(&admin, &namespace.name, &[object]).await.unwrap();
    }
    let client = cluster.client_as(&account).await;
    let ours = Secrets::new(&client, &namespace.name, "vaultsync:shop");
    let human = Secrets::new(&admin, &namespace.name, "human");
    // A patch of what does not exist: 404 as soon as the rights are there, 403 before.
    eventually("the rights are there", || async {
        let answer = ours.probe("shop").await;
        if answer.code == 404 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
    Writer { namespace, account, ours, human }
}

fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data})
}

/// A patch that names what it means to change: this Secret, in this state.
fn guarded(seen: &Answer, data: &Value) -> Value {
    json!({"metadata": {"uid": seen.uid(), "resourceVersion": seen.version()}, "data": data})
}

#[tokio::test]
async fn an_apply_at_resource_version_one_creates_and_never_overwrites() {
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"],
                        "resourceNames": ["shop"]}]);
    let writer = writer_with(rules).await;
    let body = secret("shop", &json!({"a": ONE}));

    assert_eq!(writer.ours.create(&body).await.code, 403, "RBAC cannot allow a POST by name");
    let mut at_one = body;
    at_one["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(writer.ours.apply("shop", &at_one).await.code, 201);
    at_one["data"] = json!({"a": TWO});
    assert_eq!(writer.ours.apply("shop", &at_one).await.code, 409);
    assert_eq!(writer.human.get("shop").await.at("/data/a"), ONE);
}

#[tokio::test]
async fn a_null_in_a_patch_removes_that_key_and_nothing_else() {
    let writer = writer().await;
    let seen = writer.ours.create(&secret("shop", &json!({"a": ONE, "b": ONE, "c": ONE}))).await;
    assert_eq!(seen.code, 201);
    let seen = writer.ours.patch("shop", &guarded(&seen, &json!({"a": TWO}))).await;
    assert_eq!(seen.code, 200);
    let seen = writer.ours.patch("shop", &guarded(&seen, &json!({"b": null}))).await;

    assert_eq!(seen.code, 200);
    assert_eq!(seen.body["data"], json!({"a": TWO, "c": ONE}));
    assert_eq!(seen.managers(), [("vaultsync:shop", "Update", vec!["a", "c"])]);
}

#[tokio::test]
async fn a_patch_never_hits_a_secret_that_took_the_place_of_another() {
    let writer = writer().await;
    let old = writer.ours.create(&secret("shop", &json!({"a": ONE}))).await;
    assert_eq!(writer.human.delete("shop").await.code, 200);

    let gone = writer.ours.patch("shop", &guarded(&old, &json!({"a": TWO}))).await;
    assert_eq!(gone.code, 404);

    writer.human.create(&secret("shop", &json!({"a": "aHVtYW4="}))).await;
    let by_uid =
        writer.ours.patch("shop", &json!({"metadata": {"uid": old.uid()}, "data": {"a": TWO}})).await;
    // The API server names the field twice: who reads causes looks for any.
    assert_eq!((by_uid.code, by_uid.causes()), (422, vec!["metadata.uid", "metadata.uid"]));
    let by_both = writer.ours.patch("shop", &guarded(&old, &json!({"a": TWO}))).await;
    assert_eq!(by_both.code, 409);
    assert_eq!(writer.human.get("shop").await.at("/data/a"), "aHVtYW4=");
}

#[tokio::test]
async fn only_the_resource_version_stops_a_stale_writer() {
    let writer = writer().await;
    let stale = writer.ours.create(&secret("shop", &json!({"a": "b2xk"}))).await;
    let fresh = writer.ours.patch("shop", &guarded(&stale, &json!({"a": TWO}))).await;
    assert_eq!(fresh.code, 200);

    assert_eq!(writer.ours.patch("shop", &guarded(&stale, &json!({"a": "b2xk"}))).await.code, 409);
    assert_eq!(writer.human.get("shop").await.at("/data/a"), TWO);

    let by_uid = json!({"metadata": {"uid": stale.uid()}, "data": {"a": "b2xk"}});
    assert_eq!(writer.ours.patch("shop", &by_uid).await.code, 200, "the uid alone does not");
    assert_eq!(writer.human.get("shop").await.at("/data/a"), "b2xk");
}

#[tokio::test]
async fn a_probe_moves_nothing_shows_no_value_and_tells_who_wrote_which_key() {
    let writer = writer().await;
    let seen = writer.ours.create(&secret("shop", &json!({"a": ONE, "b": ONE}))).await;

    let probed = writer.ours.probe("shop").await;
    assert_eq!((probed.code, probed.at("/kind")), (200, &json!("PartialObjectMetadata")));
    assert_eq!((probed.version(), probed.uid()), (seen.version(), seen.uid()));
    assert!(!probed.body.to_string().contains(ONE) && probed.at("/data").is_null());
    assert_eq!(probed.managers(), [("vaultsync:shop", "Update", vec!["a", "b"])]);

    assert_eq!(writer.human.patch("shop", &json!({"data": {"a": "aHVtYW4="}})).await.code, 200);
    let probed = writer.ours.probe("shop").await;
    assert_ne!(probed.version(), seen.version());
    let mut managers = probed.managers();
    managers.sort_unstable();
    assert_eq!(managers, [("human", "Update", vec!["a"]), ("vaultsync:shop", "Update", vec!["b"])]);
}

#[tokio::test]
async fn without_its_header_a_probe_would_read_every_value_of_any_secret() {
    let writer = writer().await;
    writer.human.create(&secret("foreign", &json!({"a": ONE}))).await;
    assert_eq!(writer.ours.get("foreign").await.code, 403);
    assert_eq!(writer.ours.empty_patch("foreign").await.at("/data/a"), ONE);
}

#[tokio::test]
async fn an_owner_that_does_not_exist_makes_a_patch_a_delete() {
    let writer = writer().await;
    writer.human.create(&secret("foreign", &json!({"a": ONE}))).await;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody",
                        "uid": "00000000-0000-4000-8000-000000000000"}]);
    assert_eq!(
        writer.ours.patch("foreign", &json!({"metadata": {"ownerReferences": owner}})).await.code,
        200
    );
    let secrets: Api<Secret> = writer.namespace.api(&writer.namespace.cluster().admin());
    until(&secrets, "foreign", "the garbage collector deletes it", |found: Option<&Secret>| found.is_none())
        .await;
}

#[tokio::test]
async fn the_fence_denies_the_operator_even_an_empty_patch_of_a_foreign_secret() {
    let namespace = Namespace::new().await;
    let cluster = namespace.cluster();
    let human = Secrets::new(&cluster.admin(), &namespace.name, "human");
    human.create(&secret("foreign", &json!({"a": ONE}))).await;
    let operator = Secrets::new(&cluster.operator_client().await, &namespace.name, "vaultsync:shop");

    for answer in [
        operator.probe("foreign").await,
        operator.dry_run().probe("foreign").await,
        operator.empty_patch("foreign").await,
        operator.dry_run().empty_patch("foreign").await,
    ] {
        assert_eq!(answer.code, 403, "{:?}", answer.body);
        assert!(!answer.body.to_string().contains(ONE));
    }
}

#[tokio::test]
async fn a_policy_denies_with_422_unless_it_says_forbidden() {
    let writer = writer().await;
    let name = format!("{}-denials", writer.namespace.name);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
                                                    "operations": ["CREATE"]}]},
            "matchConditions": [{"name": "mine", "expression":
                format!("request.userInfo.username == '{}'", writer.account.user())}],
            "validations": [
                {"expression": "object.metadata.name != 'plain'", "message": "no plain"},
                {"expression": "object.metadata.name != 'forbidden'", "message": "no forbidden", "reason": "Forbidden"},
            ],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let admin = writer.namespace.cluster().admin();
    let objects = [policy, binding].map(|object| serde_json::from_value(object).unwrap());
    manifests::apply(&admin, "", &objects).await.unwrap();

    let plain = secret("plain", &json!({"a": ONE}));
    let denied = eventually("the policy is in force", || async {
        let answer = writer.ours.dry_run().create(&plain).await;
        if answer.code == 201 { Err("allowed".to_owned()) } else { Ok(answer) }
    })
    .await;
    assert_eq!((denied.code, denied.at("/reason")), (422, &json!("Invalid")));
    let denied = writer.ours.create(&secret("forbidden", &json!({"a": ONE}))).await;
    assert_eq!((denied.code, denied.at("/reason")), (403, &json!("Forbidden")));
    assert_eq!(writer.ours.create(&secret("other", &json!({"a": ONE}))).await.code, 201);
}

#[tokio::test]
async fn data_null_empties_a_secret_and_empty_data_does_nothing() {
    let writer = writer().await;
    let seen = writer.ours.create(&secret("shop", &json!({"a": ONE, "b": ONE}))).await;
    let same = writer.ours.patch("shop", &guarded(&seen, &json!({}))).await;
    assert_eq!((same.code, same.keys(), same.version()), (200, vec!["a", "b"], seen.version()));
    let emptied = writer.ours.patch("shop", &guarded(&same, &Value::Null)).await;
    assert_eq!((emptied.code, emptied.keys()), (200, vec![]));
}

#[tokio::test]
async fn a_changed_type_and_an_immutable_secret_are_refused_by_named_causes() {
    let writer = writer().await;
    let seen = writer.ours.create(&secret("shop", &json!({"a": ONE}))).await;
    let mut typed = guarded(&seen, &json!({"a": TWO}));
    typed["type"] = "kubernetes.io/basic-auth".into();
    let refused = writer.ours.patch("shop", &typed).await;
    // What the new type would need is named beside it: who reads causes looks for `type` first.
    assert_eq!((refused.code, refused.causes()), (422, vec!["type", "data[username]", "data[password]"]));

    let mut frozen = secret("frozen", &json!({"a": ONE}));
    frozen["immutable"] = true.into();
    let seen = writer.ours.create(&frozen).await;
    let refused = writer.ours.patch("frozen", &guarded(&seen, &json!({"a": TWO}))).await;
    assert_eq!((refused.code, refused.causes()), (422, vec!["data"]));
    let mut thawed = guarded(&seen, &json!({}));
    thawed["immutable"] = false.into();
    let refused = writer.ours.patch("frozen", &thawed).await;
    assert_eq!((refused.code, refused.causes()), (422, vec!["immutable"]));
}

#[tokio::test]
async fn an_adopted_key_that_was_right_already_never_becomes_ours_in_managed_fields() {
    let writer = writer().await;
    let seen = writer.human.create(&secret("shop", &json!({"x": ONE, "y": ONE}))).await;
    let patch = json!({
        "metadata": {"uid": seen.uid(), "resourceVersion": seen.version(),
                     "annotations": {"vaultsync.dev/owner": "shop"}},
        "data": {"x": ONE, "y": TWO},
    });
    let adopted = writer.ours.patch("shop", &patch).await;
    let again = writer.ours.patch("shop", &json!({"data": {"x": ONE}})).await;
    for answer in [adopted, again] {
        assert_eq!(answer.code, 200);
        let mut managers = answer.managers();
        managers.sort_unstable();
        assert_eq!(managers, [("human", "Update", vec!["x"]), ("vaultsync:shop", "Update", vec!["y"])]);
    }
}
