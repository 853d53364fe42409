//! `ClusterKeyVault`: what its schema refuses, whose identity it uses, and how the operator lives without it.

use serde_json::{Value, json};
use support::scene::{CLIENT, OperatorScene, data, sync};
use support::shared::{cluster_key_vault, grant, try_cluster_key_vault};
use support::{Fault, Namespace, Says as _};
use vaultsync::api::{KeyVault, VaultSecretSync};

async fn refusal(fields: Value) -> String {
    match try_cluster_key_vault(&cluster_key_vault("refused", &fields)).await {
        Err(kube::Error::Api(status)) => status.message.clone(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("taken: {fields}"),
    }
}

#[tokio::test]
async fn each_identity_and_a_cloud_of_its_own_are_taken() {
    for identity in [
        json!({"operatorIdentity": {}}),
        json!({"managedIdentity": {}}),
        json!({"managedIdentity": {"objectId": CLIENT}}),
        json!({"managedIdentity": {"resourceId": "/subscriptions/x/resourceGroups/y/providers/z"}}),
        json!({"servicePrincipal": {"tenantId": CLIENT, "clientId": CLIENT, "credentialFile": "shop.pem"}}),
    ] {
        let object = cluster_key_vault("taken", &json!({"identity": identity}));
        try_cluster_key_vault(&object).await.unwrap_or_else(|error| panic!("{identity}: {error}"));
    }
    let cloud =
        json!({"authority": "https://login.local.azurestack.external", "audience": "https://vault.local"});
    let fields = json!({"url": "https://shop.vault.local.azurestack.external", "cloud": cloud});
    try_cluster_key_vault(&cluster_key_vault("taken", &fields)).await.unwrap();
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_apply_with_a_sentence() {
    let principal = json!({"tenantId": CLIENT, "clientId": CLIENT, "credentialFile": "../shop.pem"});
    let both = json!({"names": ["shop"], "selector": {}});
    for (fields, sentence) in [
        (json!({"identity": {}}), "identity needs one of workloadIdentity"),
        (json!({"identity": {"operatorIdentity": {}, "managedIdentity": {}}}), "not two of them"),
        (
            json!({"identity": {"managedIdentity": {"clientId": CLIENT, "objectId": CLIENT}}}),
            "at most one of clientId, objectId and resourceId",
        ),
        (json!({"identity": {"servicePrincipal": principal}}), "credentialFile must be the name of a file"),
        (json!({"url": "https://keyvault.example.com"}), "another host needs cloud"),
        (json!({"url": "https://prod.vault.azure.net:443"}), "without user, port, path or query"),
        (json!({"cloud": {"authority": "http://x", "audience": "a"}}), "authority must be https://"),
        (json!({"allow": [{"namespaces": {}}]}), "namespaces needs names"),
        (json!({"allow": [{"namespaces": both}]}), "names or selector, not both"),
        (json!({"allow": [{"namespaces": {"names": ["a"]}, "secrets": ["a?"]}]}), "secrets must be names"),
        (
            json!({"allow": [{"namespaces": {"names": ["a"]}, "certificates": ["a.b"]}]}),
            "certificates must be names",
        ),
        (json!({"allow": [{"secrets": ["*"]}]}), "namespaces"),
    ] {
        let message = refusal(fields.clone()).await;
        assert!(message.contains(sentence), "{fields}: {message}");
    }
}

#[tokio::test]
async fn a_url_that_could_lead_elsewhere_is_refused_though_the_cloud_is_its_own() {
    let cloud =
        json!({"authority": "https://login.local.azurestack.external", "audience": "https://vault.local"});
    let (alone, https) = ("url must be scheme and host alone", "url must start with https://");
    for (url, sentence) in [
        ("https://user:pass@prod.vault.azure.net", alone),
        ("https://prod.vault.azure.net@evil.test", alone),
        ("https://prod.vault.azure.net:443", alone),
        ("https://prod.vault.azure.net:8443", alone),
        ("https://[fd00::1]", alone),
        ("https://[::ffff:169.254.169.254]", alone),
        ("https://prod.vault.azure.net/secrets", alone),
        ("https://prod.vault.azure.net?a=b", alone),
        ("https://prod.vault.azure.net#a", alone),
        ("http://prod.vault.azure.net", https),
        ("HTTPS://prod.vault.azure.net", https),
    ] {
        for fields in [json!({"url": url}), json!({"url": url, "cloud": cloud})] {
            let message = refusal(fields.clone()).await;
            assert!(message.contains(sentence), "{fields}: {message}");
        }
    }
    for url in [
        "https://prod.vault.azure.net.",
        "https://prod.vault.azure.net.evil.test",
        "https://a.prod.vault.azure.net",
        "https://169.254.169.254",
        "https://prod.vault.xn--azure-9jd.net",
        "https://pröd.vault.azure.net",
    ] {
        let message = refusal(json!({"url": url})).await;
        assert!(message.contains("another host needs cloud"), "{url}: {message}");
    }
    for authority in
        ["https://user@login.evil.test", "https://login.evil.test:8443", "https://[fd00::1]", "http://x"]
    {
        let cloud = json!({"authority": authority, "audience": "https://vault.local"});
        let message = refusal(json!({"url": "https://vault.local", "cloud": cloud})).await;
        assert!(message.contains("authority must be https://"), "{authority}: {message}");
    }
}

#[tokio::test]
async fn what_only_the_platform_may_set_is_unknown_to_a_key_vault() {
    let scene = OperatorScene::without_operator().await;
    for (pointer, value) in [
        ("allow", json!([])),
        ("cloud", json!({"authority": "https://evil.example.com", "audience": "https://vault.azure.net"})),
    ] {
        let mut object = scene.key_vault("other", &scene.vault.url());
        object["spec"][pointer] = value;
        let refused = scene.try_create::<KeyVault>(&object).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("unknown field \"spec.{pointer}\"")), "{refused}");
    }
    for identity in ["operatorIdentity", "managedIdentity"] {
        let mut object = scene.key_vault("other", &scene.vault.url());
        object["spec"]["identity"] = json!({identity: {}});
        let refused = scene.try_create::<KeyVault>(&object).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("unknown field \"spec.identity.{identity}\"")), "{refused}");
    }
    let mut object = scene.key_vault("other", &scene.vault.url());
    object["spec"]["identity"]["workloadIdentity"]["serviceAccountName"] = json!("other/shop");
    let refused = scene.try_create::<KeyVault>(&object).await.unwrap_err().to_string();
    assert!(refused.contains("without a namespace"), "{refused}");
}

#[tokio::test]
async fn each_namespace_reads_as_its_own_service_account_and_shares_nothing() {
    let mut scene = OperatorScene::without_operator().await;
    let other = Namespace::new().await;
    scene.settings.namespaces.insert(other.name.clone());
    scene.identity_in(&other, "shop", CLIENT).await;
    scene.vault.set("db", "one");
    let shared = scene.share(json!([grant(&[&scene.namespace.name, &other.name], &["db"])])).await;
    scene.start().await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.create_in(&other, "vaultsecretsyncs", &sync("shop", &shared.spec(&[("DB", "db")]))).await;
    scene.synced("shop").await;
    other.says::<VaultSecretSync>("shop", "True", "Synced").await;
    shared.says("True", "Connected").await;
    let subject = |namespace: &Namespace| Some(format!("system:serviceaccount:{}:shop", namespace.name));
    let tokens = scene.emulator.token_requests();
    for namespace in [&scene.namespace, &other] {
        let own = tokens.iter().filter(|token| token.subject == subject(namespace)).count();
        assert_eq!(own, 1, "one token a namespace: {tokens:?}");
    }
    assert!(scene.vault.count_where(|request| request.status == Some(200)) >= 2, "each has read for itself");
}

#[tokio::test]
async fn the_service_account_of_another_namespace_is_never_used() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let other = Namespace::new().await;
    scene.settings.namespaces.insert(other.name.clone());
    scene.vault.set("db", "one");
    let shared = scene.share(json!([grant(&[&other.name], &["db"])])).await;
    scene.start().await;
    // The scene's own namespace has a ServiceAccount `shop` that could read; this one has none.
    scene.create_in(&other, "vaultsecretsyncs", &sync("shop", &shared.spec(&[("DB", "db")]))).await;
    other.says::<VaultSecretSync>("shop", "False", "ServiceAccountNotFound").await;
    let message = shared.says("False", "ServiceAccountNotFound").await;
    let missing = format!("ServiceAccount shop does not exist in namespace {}", other.name);
    assert!(message.contains(&missing), "{message}");
    assert!(scene.emulator.token_requests().is_empty());
}

#[tokio::test]
async fn an_operator_without_the_right_serves_its_namespace_and_notices_when_it_gets_it() {
    let mut scene = OperatorScene::without_operator().await;
    let limited = format!("settings.watchNamespaces={{{}}}", scene.namespace.name);
    scene.operate_with(&[&limited]).await;
    scene.vault.set("db", "one");
    let shared = scene.share(json!([grant(&[&scene.namespace.name], &["db"])])).await;
    scene.start().await;
    scene.sync("own", data(&[("DB", "db")])).await;
    scene.sync("shared", shared.spec(&[("DB", "db")])).await;
    scene.synced("own").await;
    let object = scene.ready("shared", "False", "VaultNotFound").await;
    assert!(object.message().contains("may not read ClusterKeyVaults"), "{}", object.message());
    scene.operate_with(&[]).await;
    scene.synced("shared").await;
}

#[tokio::test]
async fn a_cluster_without_the_kind_disturbs_nothing_else() {
    let mut scene = OperatorScene::without_operator().await;
    let missing = Fault::Answer { code: 404, reason: "NotFound", retry_after: None };
    scene.faults.always(|call| call.resource == "clusterkeyvaults", missing);
    scene.vault.set("db", "one");
    let shared = scene.share(json!([grant(&[&scene.namespace.name], &["db"])])).await;
    scene.start().await;
    scene.sync("own", data(&[("DB", "db")])).await;
    scene.sync("shared", shared.spec(&[("DB", "db")])).await;
    scene.synced("own").await;
    let object = scene.ready("shared", "False", "VaultNotFound").await;
    assert!(object.message().contains("is not installed"), "{}", object.message());
    assert_eq!(scene.http("/readyz").await.0, 200);
    scene.faults.clear();
    scene.synced("shared").await;
}

#[tokio::test]
async fn an_edit_wakes_the_objects_of_all_namespaces() {
    let mut scene = OperatorScene::without_operator().await;
    let other = Namespace::new().await;
    scene.settings.namespaces.insert(other.name.clone());
    scene.identity_in(&other, "shop", CLIENT).await;
    scene.vault.set("db", "one");
    let shared = scene.share(json!([])).await;
    scene.start().await;
    let mut spec = shared.spec(&[("DB", "db")]);
    // So that nothing but the edit can be what wakes it.
    spec["refreshInterval"] = json!("24h");
    scene.sync("shop", spec.clone()).await;
    scene.create_in(&other, "vaultsecretsyncs", &sync("shop", &spec)).await;
    scene.ready("shop", "False", "NotAllowed").await;
    other.says::<VaultSecretSync>("shop", "False", "NotAllowed").await;
    shared.allow(json!([grant(&[&scene.namespace.name, &other.name], &["*"])])).await;
    scene.synced("shop").await;
    other.says::<VaultSecretSync>("shop", "True", "Synced").await;
}
