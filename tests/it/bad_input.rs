//! Bad input is refused at apply, by a sentence that names the field and says what to write instead.

use kube::core::DynamicObject;
use serde_json::{Value, json};
use support::Namespace;

/// The API server, asked as a user with `kubectl apply` asks it.
struct Desk {
    namespace: Namespace,
}

impl Desk {
    async fn new() -> Self {
        Self { namespace: Namespace::new().await }
    }

    /// What the API server says to an object: nothing if it takes it.
    async fn says(&self, object: &Value) -> Option<String> {
        match self.create(object).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => {
                assert!(status.code == 422 || status.code == 400, "{status:?}");
                Some(status.message.clone())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// How the API server would store an object.
    async fn stores(&self, object: &Value) -> Value {
        self.create(object).await.unwrap().data
    }

    async fn create(&self, object: &Value) -> kube::Result<DynamicObject> {
        let plural = match object["kind"].as_str() {
            Some("KeyVault") => "keyvaults",
            _ => "vaultsecretsyncs",
        };
        let path = format!("/apis/vaultsync.dev/v1alpha1/namespaces/{}/{plural}", self.namespace.name);
        // Nothing stays: each object is judged alone, as `kubectl apply --dry-run=server` does.
        let request = http::Request::post(format!("{path}?fieldValidation=Strict&dryRun=All"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        self.namespace.cluster().admin().request(request).await
    }

    /// Each object is refused, and the answer has each of its parts.
    async fn refuses(&self, cases: Vec<(Value, Vec<&str>)>) {
        for (object, parts) in cases {
            let Some(message) = self.says(&object).await else { panic!("taken: {object}") };
            for part in parts {
                assert!(message.contains(part), "`{part}` is not in `{message}` for {object}");
            }
        }
    }

    async fn takes(&self, objects: Vec<Value>) {
        for object in objects {
            assert_eq!(self.says(&object).await, None, "{object}");
        }
    }
}

const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

/// A good `KeyVault` with these fields of its spec set (or removed, by null).
fn vault(fields: &Value) -> Value {
    let mut spec = json!({
        "url": "https://prod.vault.azure.net",
        "identity": {"workloadIdentity": {"serviceAccountName": "shop", "clientId": CLIENT}},
    });
    merge(&mut spec, fields);
    json!({"apiVersion": "vaultsync.dev/v1alpha1", "kind": "KeyVault", "metadata": {"name": "prod"}, "spec": spec})
}

/// A good `VaultSecretSync` with these fields of its spec set (or removed, by null).
fn sync(fields: &Value) -> Value {
    let mut spec = json!({"data": [{"key": "DB", "from": {"secret": {"name": "db"}}}]});
    merge(&mut spec, fields);
    json!({"apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync", "metadata": {"name": "shop"}, "spec": spec})
}

fn merge(into: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap() {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

fn url(url: &str) -> Value {
    vault(&json!({"url": url}))
}

fn from(secret: &Value) -> Value {
    sync(&json!({"data": [{"key": "DB", "from": {"secret": secret}}]}))
}

#[tokio::test]
async fn a_url_that_is_no_vault_of_azure_is_refused_with_the_form_it_must_have() {
    let desk = Desk::new().await;
    let https = "url must start with https://, as in https://prod.vault.azure.net";
    let alone = "url must be scheme and host alone, without user, port, path or query";
    let known = "url must name a vault (3 to 24 letters, digits and hyphens) of a known cloud";
    let long = format!("https://{}.vault.azure.net", "a".repeat(25));
    let endless = format!("https://{}.vault.azure.net", "a".repeat(80));
    desk.refuses(vec![
        (url("http://prod.vault.azure.net"), vec!["spec.url", https]),
        (url("prod.vault.azure.net"), vec!["spec.url", https]),
        (url(""), vec!["spec.url", https]),
        (url("HTTPS://prod.vault.azure.net"), vec!["spec.url", https]),
        (url("https://user:pass@prod.vault.azure.net"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net@evil.test"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net:443"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net:8443"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net/secrets"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net//"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net?a=b"), vec!["spec.url", alone]),
        (url("https://prod.vault.azure.net#a"), vec!["spec.url", alone]),
        (url("https://evil.test"), vec!["spec.url", known]),
        (url("https://prod.vault.azure.net.evil.test"), vec!["spec.url", known]),
        (url("https://prodvault.azure.net"), vec!["spec.url", known]),
        (url("https://a.prod.vault.azure.net"), vec!["spec.url", known]),
        (url("https://prod.vault.azure.net."), vec!["spec.url", known]),
        (url("https://pröd.vault.azure.net"), vec!["spec.url", known]),
        (url("https://рrod.vault.azure.net"), vec!["spec.url", known]),
        (url("https://prod。vault.azure.net"), vec!["spec.url", known]),
        (url("https://169.254.169.254"), vec!["spec.url", known]),
        (url("https://[fd00::1]"), vec!["spec.url"]),
        (url("https://ab.vault.azure.net"), vec!["spec.url", known]),
        (url(&long), vec!["spec.url", known]),
        (url(&endless), vec!["spec.url", "64"]),
        (url("https://-ab.vault.azure.net"), vec!["spec.url", known]),
        (url("https://ab-.vault.azure.net"), vec!["spec.url", known]),
        (url("https://pr_od.vault.azure.net"), vec!["spec.url", known]),
        (url("https://prod .vault.azure.net"), vec!["spec.url", known]),
        (url(" https://prod.vault.azure.net"), vec!["spec.url", https]),
        (url("https://prod.vault.azure.net\n"), vec!["spec.url", known]),
        (url("https://prod\\.vault.azure.net"), vec!["spec.url", known]),
        (url("https://pr%6fd.vault.azure.net"), vec!["spec.url", known]),
        (vault(&json!({"url": null})), vec!["spec.url", "Required"]),
    ])
    .await;
}

#[tokio::test]
async fn a_punycode_name_reaches_no_vault_that_another_alphabet_imitates() {
    // Letters, digits and hyphens: it is a name like any other, and no browser's rendering is in play.
    let desk = Desk::new().await;
    desk.takes(vec![url("https://xn--prd-sna.vault.azure.net")]).await;
    let known = "of a known cloud";
    desk.refuses(vec![(url("https://prod.vault.xn--azure-9jd.net"), vec![known])]).await;
}

#[tokio::test]
async fn an_identity_that_cannot_be_one_is_refused_with_what_it_needs() {
    let desk = Desk::new().await;
    let workload = |fields: &Value| {
        let mut workload = json!({"serviceAccountName": "shop", "clientId": CLIENT});
        merge(&mut workload, fields);
        vault(&json!({"identity": {"workloadIdentity": workload}}))
    };
    let guid = "clientId must be a GUID, as `az identity show --query clientId` prints it";
    let tenant = "tenantId must be a GUID, as `az account show --query tenantId` prints it";
    let account = "serviceAccountName must be the name of a ServiceAccount, without a namespace";
    desk.refuses(vec![
        (vault(&json!({"identity": null})), vec!["spec.identity", "Required"]),
        (vault(&json!({"identity": {}})), vec!["identity needs workloadIdentity with serviceAccountName and clientId"]),
        (workload(&json!({"clientId": null})), vec!["clientId", "Required"]),
        (workload(&json!({"serviceAccountName": null})), vec!["serviceAccountName", "Required"]),
        (workload(&json!({"clientId": "shop"})), vec![guid]),
        (workload(&json!({"clientId": ""})), vec![guid]),
        (workload(&json!({"clientId": CLIENT.replace('-', "")})), vec![guid]),
        (workload(&json!({"clientId": format!("{CLIENT}5")})), vec!["clientId"]),
        (workload(&json!({"tenantId": "contoso.onmicrosoft.com"})), vec![tenant]),
        (workload(&json!({"tenantId": ""})), vec![tenant]),
        (workload(&json!({"tenantId": "../common"})), vec![tenant]),
        (workload(&json!({"serviceAccountName": "Shop"})), vec![account]),
        (workload(&json!({"serviceAccountName": "other/shop"})), vec![account]),
        (workload(&json!({"secretName": "shop"})), vec!["unknown field", "secretName"]),
        (vault(&json!({"identity": {"managedIdentity": {}}})), vec!["unknown field", "managedIdentity"]),
        (
            vault(&json!({"identity": {
                "workloadIdentity": {"serviceAccountName": "shop", "clientId": CLIENT}, "servicePrincipal": {},
            }})),
            vec!["unknown field", "servicePrincipal"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn versions_and_times_of_a_connection_that_do_not_exist_are_refused() {
    let desk = Desk::new().await;
    let interval = |text: &str| vault(&json!({"minRefreshInterval": text}));
    let sentence = "minRefreshInterval must be a duration from 10s to 24h, as in 30s or 5m";
    desk.refuses(vec![
        (vault(&json!({"serviceVersion": "7.3"})), vec!["spec.serviceVersion", "2025-07-01"]),
        (vault(&json!({"serviceVersion": 7.4})), vec!["spec.serviceVersion", "string"]),
        (interval("9s"), vec![sentence]),
        (interval("0s"), vec![sentence]),
        (interval("25h"), vec![sentence]),
        (interval("soon"), vec![sentence]),
        (interval("30"), vec![sentence]),
        (interval(""), vec![sentence]),
        (interval("-30s"), vec![sentence]),
        (interval("1d"), vec![sentence]),
        (vault(&json!({"limits": {"requestsPerSecond": 0}})), vec!["spec.limits.requestsPerSecond"]),
        (vault(&json!({"limits": {"burst": 801}})), vec!["spec.limits.burst"]),
        (vault(&json!({"detect": "Both"})), vec!["spec.detect", "Auto", "List", "Get"]),
        (vault(&json!({"cloud": {}})), vec!["unknown field", "spec.cloud"]),
    ])
    .await;
}

#[tokio::test]
async fn an_object_without_entries_or_with_doubled_ones_is_refused() {
    let desk = Desk::new().await;
    let needs = "spec needs at least one entry in data or dataFrom";
    let item = |key: &str| json!({"key": key, "from": {"secret": {"name": "db"}}});
    let keys: Vec<Value> = (0..129).map(|index| item(&format!("KEY{index}"))).collect();
    let objects: Vec<Value> =
        (0..17).map(|index| json!({"secret": {"name": format!("config-{index}")}})).collect();
    desk.refuses(vec![
        (sync(&json!({"data": null})), vec![needs]),
        (sync(&json!({"data": []})), vec![needs]),
        (sync(&json!({"data": [], "dataFrom": []})), vec![needs]),
        (sync(&json!({"data": [item("DB"), item("DB")]})), vec!["spec.data[1]", "Duplicate value", "DB"]),
        (sync(&json!({"data": keys})), vec!["spec.data", "128"]),
        (sync(&json!({"dataFrom": objects})), vec!["spec.dataFrom", "16"]),
        (sync(&json!({"data": [{"from": {"secret": {"name": "db"}}}]})), vec!["key", "Required"]),
        (sync(&json!({"data": [{"key": "DB"}]})), vec!["from", "Required"]),
        (
            sync(&json!({"data": [{"key": "DB", "from": {}}]})),
            vec!["from must have exactly one of secret, certificate and key"],
        ),
        (sync(&json!({"secrets": []})), vec!["unknown field", "spec.secrets"]),
        (
            sync(
                &json!({"data": [{"key": "DB", "from": {"secret": {"name": "db"}}, "onMissing": "Delete"}]}),
            ),
            vec!["onMissing", "\"Keep\", \"Remove\""],
        ),
        (
            sync(&json!({"vaultRef": {"kind": "Vault"}})),
            vec!["spec.vaultRef.kind", "\"KeyVault\"", "\"ClusterKeyVault\""],
        ),
        (sync(&json!({"vaultRef": {"name": ""}})), vec!["spec.vaultRef.name"]),
        (
            sync(&json!({"data": [{"key": "DB", "from": {"secret": {"name": "db"}}, "vaultRef": "team"}]})),
            vec!["spec.data[0].vaultRef", "object"],
        ),
        (sync(&json!({"suspend": "yes"})), vec!["spec.suspend", "boolean"]),
    ])
    .await;
}

#[tokio::test]
async fn keys_names_versions_and_properties_that_cannot_be_are_refused() {
    let desk = Desk::new().await;
    let item = |key: &str| sync(&json!({"data": [{"key": key, "from": {"secret": {"name": "db"}}}]}));
    let key = "key must consist of letters, digits, '-', '_' and '.', and neither be '.' nor begin with '..'";
    let name = "name must be the name of a secret in the vault: letters, digits and '-', as in shop-db-url";
    let version = "version must be the 32 hexadecimal digits that end the secret's id, or Previous";
    let property = "property must be a singular JSONPath of names and indexes";
    let path = |text: &str| from(&json!({"name": "db", "property": text}));
    let long = "k".repeat(254);
    let object = |secret: Value| sync(&json!({"dataFrom": [{"secret": secret}]}));
    let mut cases = vec![
        (item("A B"), vec!["spec.data[0].key", key]),
        (item("ä"), vec![key]),
        (item("a/b"), vec![key]),
        (item("."), vec![key]),
        (item(".."), vec![key]),
        (item("..data"), vec![key]),
        (item(""), vec!["spec.data[0].key"]),
        (item(&long), vec!["spec.data[0].key", "253"]),
        (from(&json!({"name": "shop_db"})), vec!["spec.data[0].from.secret.name", name]),
        (from(&json!({"name": "shop.db"})), vec![name]),
        (from(&json!({"name": "../keys/a"})), vec![name]),
        (from(&json!({"name": "db/7f3c"})), vec![name]),
        (from(&json!({"name": "db?api-version=1"})), vec![name]),
        (from(&json!({"name": "db%2f"})), vec![name]),
        (from(&json!({"name": ""})), vec!["spec.data[0].from.secret.name"]),
        (from(&json!({"name": "d".repeat(128)})), vec!["spec.data[0].from.secret.name", "127"]),
        (
            from(&json!({"name": "db", "version": "latest"})),
            vec![version, "leave it out for the current version"],
        ),
        (from(&json!({"name": "db", "version": ""})), vec![version]),
        (from(&json!({"name": "db", "version": "A".repeat(32)})), vec![version]),
        (from(&json!({"name": "db", "version": "a".repeat(33)})), vec!["version"]),
        (from(&json!({"name": "db", "decode": "base64"})), vec!["decode", "\"Base64\""]),
        (from(&json!({"name": "db", "tags": {}})), vec!["unknown field", "tags"]),
        (object(json!({"name": "shop_config"})), vec!["name must be the name of a secret in the vault"]),
        (object(json!({"name": "config", "version": "1"})), vec![version]),
        (object(json!({"name": "config", "property": "$.a"})), vec!["unknown field", "property"]),
        (object(json!({"name": "config", "format": "yaml"})), vec!["format", "\"Yaml\""]),
        (from(&json!({"name": "db", "format": "Yaml"})), vec!["unknown field", "format"]),
    ];
    let step = |step: Value| sync(&json!({"dataFrom": [{"secret": {"name": "config"}, "rename": [step]}]}));
    let one_of = "a step of rename must have either match and to, or case, or characters";
    for wrong in [
        json!({}),
        json!({"match": "a"}),
        json!({"to": "a"}),
        json!({"match": "a", "to": "b", "case": "Upper"}),
        json!({"case": "Upper", "characters": "Key"}),
        json!({"to": "a", "characters": "Key"}),
    ] {
        cases.push((step(wrong), vec!["spec.dataFrom[0].rename[0]", one_of]));
    }
    cases.push((step(json!({"case": "upper"})), vec!["case", "\"Upper\""]));
    cases.push((step(json!({"match": "a".repeat(257), "to": ""})), vec!["match", "256"]));
    for bad in [
        "$.a[*]",
        "$.*",
        "$[*]",
        "$..a",
        "$.a[?(@.b == 1)]",
        "$.a[?@.b]",
        "$.a[0:2]",
        "$.a[0,1]",
        "$['a','b']",
        "token",
        ".token",
        "$",
        "",
        "$.",
        "$.a b",
        "$.a.",
        "$['a]",
        "$[a]",
        "$.a-b",
        "$['']",
    ] {
        cases.push((path(bad), vec!["spec.data[0].from.secret.property", property]));
    }
    desk.refuses(cases).await;
}

#[tokio::test]
async fn a_target_that_may_not_be_is_refused() {
    let desk = Desk::new().await;
    let target = |fields: Value| sync(&json!({"target": fields}));
    let name = "target.name must be a name for a Secret: lower-case letters, digits, '-' and '.'";
    let labels = "target.labels must be valid labels, as in app.kubernetes.io/part-of: shop";
    let ours = "target.labels cannot set vaultsync.dev/* or app.kubernetes.io/managed-by";
    let annotations = "target.annotations must have valid keys";
    let marks = "target.annotations cannot set vaultsync.dev/*, which vaultsync sets itself";
    let many: serde_json::Map<String, Value> =
        (0..33).map(|index| (format!("l{index}"), json!("v"))).collect();
    desk.refuses(vec![
        (target(json!({"name": "Shop"})), vec!["spec.target.name", name]),
        (target(json!({"name": "shop_db"})), vec![name]),
        (target(json!({"name": "-shop"})), vec![name]),
        (target(json!({"name": "a..b"})), vec![name]),
        (target(json!({"name": "../shop"})), vec![name]),
        (target(json!({"name": ""})), vec!["spec.target.name"]),
        (
            target(json!({"type": "kubernetes.io/service-account-token"})),
            vec!["spec.target.type", "kubernetes.io/tls"],
        ),
        (target(json!({"type": "bootstrap.kubernetes.io/token"})), vec!["spec.target.type", "Opaque"]),
        (target(json!({"type": "helm.sh/release.v1"})), vec!["spec.target.type", "Opaque"]),
        (target(json!({"labels": {"a b": "c"}})), vec!["spec.target.labels", labels]),
        (target(json!({"labels": {"a": "b c"}})), vec![labels]),
        (target(json!({"labels": {"a": "-b"}})), vec![labels]),
        (target(json!({"labels": {"a/b/c": "d"}})), vec![labels]),
        (target(json!({"labels": {"a": "v".repeat(64)}})), vec!["spec.target.labels", "63"]),
        (target(json!({"labels": {"k".repeat(64): "v"}})), vec![labels]),
        (target(json!({"labels": many})), vec!["spec.target.labels", "32"]),
        (target(json!({"labels": {"app.kubernetes.io/managed-by": "me"}})), vec![ours]),
        (target(json!({"labels": {"vaultsync.dev/class": "me"}})), vec![ours]),
        (target(json!({"annotations": {"a b": "c"}})), vec!["spec.target.annotations", annotations]),
        (target(json!({"annotations": {"vaultsync.dev/owner": "me"}})), vec![marks]),
        (target(json!({"annotations": {"vaultsync.dev/consent": "me"}})), vec![marks]),
        (
            target(json!({"type": "kubernetes.io/service-account-token"})),
            vec!["spec.target.type", "never written"],
        ),
        (target(json!({"type": "bootstrap.kubernetes.io/token"})), vec!["never written"]),
        (target(json!({"type": "helm.sh/release.v1"})), vec!["never written"]),
        (target(json!({"type": "a b"})), vec!["letters, digits and '-._/'"]),
        (target(json!({"type": "a".repeat(254)})), vec!["spec.target.type", "253"]),
        (target(json!({"deletion": "Orphan"})), vec!["spec.target.deletion", "\"Retain\""]),
        (target(json!({"creation": "Orphan"})), vec!["spec.target.creation", "\"Merge\""]),
    ])
    .await;
}

#[tokio::test]
async fn a_typed_target_without_the_keys_of_its_type_is_refused() {
    let desk = Desk::new().await;
    let typed = |type_: &str, keys: &[&str]| {
        let data: Vec<Value> =
            keys.iter().map(|key| json!({"key": key, "from": {"secret": {"name": "db"}}})).collect();
        sync(&json!({"data": data, "target": {"type": type_}}))
    };
    let tls = "a target of type kubernetes.io/tls needs spec.tls, or the keys tls.crt and tls.key in data";
    desk.refuses(vec![
        (typed("kubernetes.io/tls", &["tls.crt"]), vec![tls]),
        (typed("kubernetes.io/tls", &["tls.key"]), vec![tls]),
        (typed("kubernetes.io/tls", &["DB"]), vec![tls]),
        (
            typed("kubernetes.io/dockerconfigjson", &["DB"]),
            vec!["a target of type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson in data or target.template"],
        ),
        (
            typed("kubernetes.io/basic-auth", &["DB"]),
            vec!["a target of type kubernetes.io/basic-auth needs the key username or password in data or target.template"],
        ),
        (
            typed("kubernetes.io/ssh-auth", &["DB"]),
            vec!["a target of type kubernetes.io/ssh-auth needs the key ssh-privatekey in data or target.template"],
        ),
    ])
    .await;
    let mut from_object = typed("kubernetes.io/tls", &[]);
    from_object["spec"]["data"] = json!([]);
    from_object["spec"]["dataFrom"] = json!([{"secret": {"name": "pair"}}]);
    desk.takes(vec![
        typed("kubernetes.io/tls", &["tls.crt", "tls.key", "ca.crt"]),
        typed("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
        typed("kubernetes.io/basic-auth", &["password"]),
        typed("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
        from_object,
    ])
    .await;
}

#[tokio::test]
async fn intervals_out_of_range_are_refused() {
    let desk = Desk::new().await;
    let sentence = "refreshInterval must be a duration from 10s to 24h, as in 30s, 5m or 1h30m";
    for bad in ["9s", "0s", "", "24h1s", "99999h", "soon", "300", "5 m", "1d", "-5m", "5m-", "1.5h", "500ms"]
    {
        desk.refuses(vec![(sync(&json!({"refreshInterval": bad})), vec!["spec.refreshInterval", sentence])])
            .await;
    }
    // Go reads these, and the operator does not.
    for odd in ["10s10s", "30s1m", "1m1h", ""] {
        let (object, connection) =
            (sync(&json!({"refreshInterval": odd})), vault(&json!({"minRefreshInterval": odd})));
        desk.refuses(vec![(object, vec!["spec.refreshInterval", sentence])]).await;
        desk.refuses(vec![(connection, vec!["minRefreshInterval must be a duration"])]).await;
    }
    let wrong_type = sync(&json!({"refreshInterval": 300}));
    desk.refuses(vec![(wrong_type, vec!["spec.refreshInterval", "string"])]).await;
    for good in ["10s", "24h", "5m", "1h30m", "90s", "86400s"] {
        desk.takes(vec![sync(&json!({"refreshInterval": good}))]).await;
    }
}

#[tokio::test]
async fn workloads_that_cannot_be_named_so_are_refused() {
    let desk = Desk::new().await;
    let restart = |items: Value| sync(&json!({"rollout": {"restart": items}}));
    let one = |item: Value| restart(json!([item]));
    let either = "each item of restart needs a name or a selector, and not both";
    let selector = json!({"matchLabels": {"part-of": "shop"}});
    let many: Vec<Value> =
        (0..17).map(|n| json!({"kind": "Deployment", "name": format!("app-{n}")})).collect();
    desk.refuses(vec![
        (one(json!({"kind": "Deployment"})), vec!["spec.rollout.restart", either]),
        (one(json!({"kind": "Deployment", "name": "shop", "selector": selector})), vec![either]),
        (one(json!({"name": "shop"})), vec!["restart[0].kind"]),
        (one(json!({"kind": "Job", "name": "shop"})), vec!["restart[0].kind", "StatefulSet"]),
        (one(json!({"kind": "Deployment", "name": "Shop"})), vec!["name must be the name of a workload"]),
        (
            one(json!({"kind": "Deployment", "name": "../../secrets"})),
            vec!["name must be the name of a workload"],
        ),
        (one(json!({"kind": "Deployment", "name": ""})), vec!["restart[0].name"]),
        (one(json!({"kind": "Deployment", "name": "shop", "namespace": "other"})), vec!["namespace"]),
        (one(json!({"kind": "Deployment", "selector": {}})), vec!["matchLabels"]),
        (one(json!({"kind": "Deployment", "selector": {"matchLabels": {}}})), vec!["matchLabels"]),
        (
            one(json!({"kind": "Deployment", "selector": {"matchLabels": {"a": "b,c!=d"}}})),
            vec!["matchLabels must be valid labels"],
        ),
        (restart(json!([])), vec!["spec.rollout.restart"]),
        (restart(json!(many)), vec!["spec.rollout.restart", "16"]),
        (sync(&json!({"rollout": {}})), vec!["spec.rollout.restart"]),
    ])
    .await;
    desk.takes(vec![
        restart(json!(many[..16])),
        one(json!({"kind": "DaemonSet", "selector": selector})),
        restart(json!([{"kind": "StatefulSet", "name": "db.0"}, {"kind": "Deployment", "name": "shop"}])),
    ])
    .await;
}

#[tokio::test]
async fn what_was_applied_reads_back_unchanged() {
    let desk = Desk::new().await;
    let certificate = json!({"secret": {"name": "db", "property": "$.a"}});
    for object in [
        vault(&json!({})),
        vault(&json!({"limits": {"requestsPerSecond": 7}})),
        sync(&json!({})),
        sync(
            &json!({"data": [{"key": "A", "from": certificate}], "dataFrom": [{"secret": {"name": "all"}}]}),
        ),
        sync(&json!({"dataFrom": [{"secret": {"name": "all"}, "rename": [{"match": "a", "to": ""}]}]})),
        sync(&json!({"target": {"name": "other"}, "vaultRef": {"name": "prod"}})),
    ] {
        let stored = desk.stores(&object).await;
        assert_eq!(stored["spec"], object["spec"]);
    }
}

#[tokio::test]
async fn what_is_unusual_and_right_is_taken() {
    let desk = Desk::new().await;
    let guid = "ABCDEFAB-cdef-0123-4567-89abcdef0123";
    let mut objects = vec![
        url("https://abc.vault.azure.net"),
        url("https://a-1.vault.azure.net"),
        url(&format!("https://{}.vault.azure.net", "a".repeat(24))),
        url("https://Prod.vault.azure.net"),
        url("https://prod.vault.azure.net/"),
        url("https://prod.vault.usgovcloudapi.net"),
        url("https://prod.vault.azure.cn"),
        vault(&json!({"identity": {"workloadIdentity": {
            "serviceAccountName": "shop.v1", "clientId": guid, "tenantId": guid,
        }}})),
        vault(&json!({"minRefreshInterval": "10s"})),
        vault(&json!({"minRefreshInterval": "24h"})),
        sync(&json!({"data": null, "dataFrom": [{"secret": {"name": "config"}}]})),
        sync(&json!({"dataFrom": [{"secret": {"name": "config", "format": "Dotenv"}, "rename": [
            {"match": "^shop-(.*)$", "to": "$1"}, {"match": "-", "to": ""}, {"case": "Lower"},
            {"characters": "EnvironmentVariable"},
        ]}]})),
        sync(&json!({"target": {"name": "a.b-c.d1"}})),
        sync(&json!({"target": {"type": "fstab/cifs"}})),
        sync(&json!({"target": {"labels": {"app.kubernetes.io/part-of": "shop", "empty": ""}}})),
        sync(
            &json!({"target": {"annotations": {"reloader.stakater.com/match": "true", "text": "any text: at all"}}}),
        ),
        from(&json!({"name": "d".repeat(127)})),
        from(&json!({"name": "0", "version": "0123456789abcdef0123456789abcdef", "decode": "Auto"})),
    ];
    for version in ["7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"] {
        objects.push(vault(&json!({"serviceVersion": version})));
    }
    for path in
        ["$.a", "$.a.b[0]", "$[0]", "$[-1]", "$['user-name']", "$[\"user name\"].x", "$._a1", "$['ä']"]
    {
        objects.push(from(&json!({"name": "db", "property": path})));
    }
    for key in [".dockerconfigjson", "tls.crt", "A", "a-b_c.d", ".a..", "-"] {
        objects.push(sync(&json!({"data": [{"key": key, "from": {"secret": {"name": "db"}}}]})));
    }
    let item = |index: usize| json!({"key": format!("KEY{index}"), "from": {"secret": {"name": "db"}}});
    let steps = vec![json!({"match": "a".repeat(256), "to": "a".repeat(253)}); 8];
    let objects_from: Vec<Value> =
        (0..16).map(|index| json!({"secret": {"name": format!("c{index}")}, "rename": steps})).collect();
    objects.push(sync(&json!({
        "data": (0..128).map(item).collect::<Vec<_>>(), "dataFrom": objects_from,
    })));
    desk.takes(objects).await;
}

#[tokio::test]
async fn a_name_and_a_type_stay_what_they_were() {
    let desk = Desk::new().await;
    let path = format!("/apis/vaultsync.dev/v1alpha1/namespaces/{}/vaultsecretsyncs", desk.namespace.name);
    let admin = desk.namespace.cluster().admin();
    let send = |method: http::Method, path: String, kind: &'static str, body: Value| {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(body.to_string().into_bytes())
            .unwrap();
        admin.request::<DynamicObject>(request)
    };
    send(http::Method::POST, path.clone(), "application/json", sync(&json!({}))).await.unwrap();
    let edit = |spec: Value| {
        send(
            http::Method::PATCH,
            format!("{path}/shop"),
            "application/merge-patch+json",
            json!({"spec": spec}),
        )
    };
    let refused = |result: kube::Result<DynamicObject>| match result {
        Err(kube::Error::Api(status)) => status.message.clone(),
        other => panic!("{other:?}"),
    };
    let renamed = refused(edit(json!({"target": {"name": "another"}})).await);
    assert!(renamed.contains("spec.target.name cannot change: create a second VaultSecretSync"), "{renamed}");
    let retyped = refused(edit(json!({"target": {"type": "kubernetes.io/ssh-auth"}})).await);
    assert!(retyped.contains("spec.target.type cannot change"), "{retyped}");
    // The name it has by default may be written down.
    edit(json!({"target": {"name": "shop"}})).await.unwrap();
    edit(json!({"target": {"name": null}})).await.unwrap();
}
