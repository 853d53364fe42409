//! What the other tests rest on: the control plane, the operator's account in it, faults and the audit log.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use support::audit::whole;
use support::{Account, Fault, Faults, Gate, Namespace, cluster};

#[tokio::test]
async fn the_operator_speaks_as_the_charts_service_account_and_cannot_read_secrets() {
    let cluster = cluster();
    assert_eq!(*cluster.operator(), Account::new("vaultsync-system", "vaultsync"));
    let client = cluster.operator_client().await;
    let mark = cluster.mark();
    let secrets: Api<Secret> = Api::default_namespaced(client);
    assert!(matches!(secrets.get("any").await, Err(kube::Error::Api(status)) if status.code == 403));
    let user = cluster.operator().user();
    let seen = cluster.seen_since(mark, |seen| seen.user == user && seen.resource == "secrets");
    assert!(seen.iter().any(|seen| seen.verb == "get" && seen.name == "any" && seen.code == 403), "{seen:?}");
}

#[tokio::test]
async fn a_fault_hits_the_calls_it_was_planned_for_and_no_others() {
    let namespace = Namespace::new().await;
    let faults = Faults::new();
    let client = faults.wrap(namespace.cluster().admin());
    let maps: Api<ConfigMap> = namespace.api(&client);
    let create = async |name: &str| {
        let map = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        maps.create(&PostParams::default(), &map).await
    };

    faults.next(1, |call| call.is("create", "configmaps"), Fault::throttled(Some(7)));
    faults.next(1, |call| call.is("create", "configmaps"), Fault::LoseAnswer);
    assert!(matches!(create("a").await, Err(kube::Error::Api(status)) if status.code == 429));
    assert!(maps.get_opt("a").await.unwrap().is_none(), "a refused call never arrives");
    assert!(matches!(create("a").await, Err(kube::Error::Service(_))));
    assert!(maps.get_opt("a").await.unwrap().is_some(), "a lost answer is a call that was obeyed");
    create("b").await.unwrap();
    assert_eq!(faults.count("create", "configmaps"), 3);
    assert_eq!(faults.count("get", "configmaps"), 2);
}

#[tokio::test]
async fn a_gate_holds_a_call_until_it_is_released() {
    let namespace = Namespace::new().await;
    let faults = Faults::new();
    let client = faults.wrap(namespace.cluster().admin());
    let gate = Gate::default();
    faults.next(1, |call| call.is("delete", "configmaps"), Fault::Hold(gate.clone()));
    let maps: Api<ConfigMap> = namespace.api(&client);
    let map = serde_json::from_value(json!({"metadata": {"name": "held"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();

    let deletion = tokio::spawn({
        let maps = maps.clone();
        async move { maps.delete("held", &DeleteParams::default()).await.map(|_| ()) }
    });
    gate.reached().await;
    assert!(maps.get_opt("held").await.unwrap().is_some());
    gate.release();
    deletion.await.unwrap().unwrap();
    assert!(maps.get_opt("held").await.unwrap().is_none());
}

#[test]
fn tokens_are_signed_as_managed_clusters_sign_them() {
    let issuer = cluster().issuer();
    assert!(issuer.url.starts_with("https://127.0.0.1:"));
    assert_eq!(issuer.jwks.pointer("/keys/0/alg"), Some(&json!("RS256")));
}

#[tokio::test]
async fn a_container_starts_with_the_environment_its_secrets_give() {
    let namespace = Namespace::new().await;
    let cluster = namespace.cluster();
    let deployment = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": namespace.name},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{
            "name": "app", "command": ["/bin/sh", "-c"], "args": ["printf '%s %s %s' \"$ALL_A\" \"$ONE\" \"$POD\""],
            "envFrom": [{"prefix": "ALL_", "secretRef": {"name": "app"}}],
            "env": [
                {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "app", "key": "B"}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
        }]}}},
    }))
    .unwrap();
    let secrets: Api<Secret> = namespace.api(&cluster.admin());
    let secret =
        |data| serde_json::from_value(json!({"metadata": {"name": "app"}, "stringData": data})).unwrap();

    let missing = cluster.start_of(&deployment).await.err().unwrap().to_string();
    assert_eq!(missing, "secret \"app\" not found");
    secrets.create(&PostParams::default(), &secret(json!({"A": "a"}))).await.unwrap();
    let missing = cluster.start_of(&deployment).await.err().unwrap().to_string();
    assert_eq!(missing, format!("couldn't find key B in Secret {}/app", namespace.name));
    let whole = Patch::Merge(json!({"stringData": {"B": "b"}}));
    secrets.patch("app", &PatchParams::default(), &whole).await.unwrap();

    let start = cluster.start_of(&deployment).await.unwrap();
    let output = start.command("/nothing".as_ref()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b app-0");
}

#[tokio::test]
async fn the_operator_is_started_as_the_deployment_says() {
    let command = cluster().operator_command("/vaultsync".as_ref()).await.unwrap();
    assert_eq!(command.get_program(), "/vaultsync");
    assert_eq!(command.get_args().collect::<Vec<_>>(), ["run"]);
    let environment: BTreeMap<_, _> = command.get_envs().collect();
    assert_eq!(environment[OsStr::new("POD_NAMESPACE")], Some(OsStr::new("vaultsync-system")));
    assert!(environment[OsStr::new("KUBECONFIG")].is_some_and(|path| Path::new(path).is_file()));
}

#[test]
fn a_line_in_the_middle_of_being_written_is_not_yet_there() {
    assert_eq!(whole(b""), 0);
    assert_eq!(whole(b"{\"verb\":"), 0);
    assert_eq!(whole(b"{}\n{}\n"), 6);
    assert_eq!(whole(b"{}\n{}\n{\"verb\":"), 6);
}
