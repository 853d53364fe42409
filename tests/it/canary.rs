//! A value of the vault is in the Secret and nowhere else: a marker is hunted through everything that anyone can read,
//! in success and in every failure, at every level of the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use keyvault_emulator::{Fault, Forbidden, Unauthorized};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};
use support::scene::{OperatorScene, data};
use support::{Account, Fault as ApiFault, eventually};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use vaultsync::api::{KeyVault, SecretType, VaultSecretSync};
use vaultsync::plan::{Change, KeyBytes, NewSecret, Observed, Seen, Step, Written};
use vaultsync::vault::{
    Answer, Assertion, Attributes, Evidence, Health, HealthState, ObjectKind, ObjectName, Reading, Reply,
    SecretValue, Source, Stake, Want,
};

/// A text that is nowhere in the world but where a test puts it, and every disguise in which a log could show it.
struct Hunter {
    marker: String,
    disguises: Vec<(&'static str, String)>,
}

impl Hunter {
    fn new() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        let core = format!("{:016x}{:016x}", random(), random());
        let mut disguises = vec![
            // Cut off at either end too: a piece of a value is a leak.
            ("its beginning", core[..12].to_owned()),
            ("its middle", core[10..22].to_owned()),
            ("its end", core[20..].to_owned()),
            ("bytes in decimal", numbers(&core.as_bytes()[..8], ToString::to_string, ", ")),
            ("bytes in hexadecimal", numbers(&core.as_bytes()[..8], |byte| format!("{byte:02x}"), "")),
        ];
        for offset in 0..3 {
            // Whatever stands before it shifts the letters; those at the ends depend on the neighbours.
            let encoded = STANDARD.encode(format!("{}{core}", "x".repeat(offset)));
            disguises.push(("Base64", encoded[4..20].to_owned()));
        }
        // Quotes, line ends and letters beyond ASCII: what makes printing escape, and parsers quote.
        Self { marker: format!("cn\"{core}\"é\n"), disguises }
    }

    /// Which disguise is in the text, and where.
    fn find(&self, text: &str) -> Option<String> {
        let (disguise, at, length) = self
            .disguises
            .iter()
            .find_map(|(name, disguise)| text.find(disguise.as_str()).map(|at| (name, at, disguise.len())))?;
        let from = (0..=at.saturating_sub(200)).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0);
        Some(format!("{disguise}, in: {}", &text[from..at + length]))
    }

    /// Nothing of it is here; neither is a token, whose header is always the same.
    #[track_caller]
    fn clear(&self, place: &str, text: &str) {
        if let Some(found) = self.find(text) {
            panic!("a value is in {place}: {found}");
        }
        assert!(!text.contains("eyJhbGciOi") && !text.contains("eyJ0eXAiOi"), "a token is in {place}");
    }
}

fn numbers(bytes: &[u8], one: impl Fn(&u8) -> String, between: &str) -> String {
    bytes.iter().map(one).collect::<Vec<_>>().join(between)
}

#[test]
fn the_hunter_finds_a_marker_in_every_disguise() {
    let hunter = Hunter::new();
    let marker = hunter.marker.clone();
    let json = json!({"error": {"message": format!("cannot take {marker}")}}).to_string();
    let mut planted = vec![
        marker.clone(),
        format!("value={marker} reason=x"),
        format!("{marker:?}"),
        format!("{:?}", json),
        json,
        format!("{:?}", marker.as_bytes()),
        marker.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        }),
        marker[..20].to_owned(),
        marker[16..].to_owned(),
    ];
    for before in ["", "a", "ab", "abc"] {
        planted.push(STANDARD.encode(format!("{before}{marker}")));
        planted.push(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{before}{marker}")));
    }
    for text in &planted {
        assert!(hunter.find(text).is_some(), "missed in {text}");
    }
    assert_eq!(hunter.find(&Hunter::new().marker), None);
    hunter.clear("an empty place", "");
}

#[test]
fn no_public_type_prints_a_value() {
    let hunter = Hunter::new();
    let value = || SecretValue::new(hunter.marker.clone().into());
    let bytes = || KeyBytes::new(hunter.marker.clone().into_bytes());
    let data = BTreeMap::from([("KEY".to_owned(), bytes())]);
    let attributes = Attributes {
        version: "v1".to_owned(),
        created: None,
        updated: None,
        expires: None,
        not_before: None,
        managed: false,
    };
    let reading = Arc::new(Reading { attributes: attributes.clone(), value: value() });
    let new = NewSecret {
        type_: SecretType::Opaque,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        owner: None,
        data: data.clone(),
    };
    let change = Change {
        uid: "uid".to_owned(),
        resource_version: "1".to_owned(),
        set: data,
        remove: BTreeSet::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        add_owner: None,
        drop_owners: Vec::new(),
    };
    let reply = Reply {
        answers: vec![Answer::Read(Arc::clone(&reading))],
        health: Health {
            state: HealthState::Working,
            users: 1,
            detection: None,
            proving: false,
            evidence: Evidence::default(),
        },
        unconfirmed_for: None,
    };
    let want = Want {
        source: Source { kind: ObjectKind::Secret, name: ObjectName::parse("db").unwrap(), version: None },
        interval: std::time::Duration::from_secs(10),
        known: Some(attributes),
        stale: false,
        stake: Stake::Keys,
    };
    let written = Seen::Written(Written { after: Observed::default(), created: true, moved: true });
    let assertion = Assertion::new(zeroize::Zeroizing::new(format!("eyJhbGciOi{}", hunter.marker)));
    let all = [
        format!("{:?} {:#?}", value(), value()),
        format!("{:?} {:#?}", bytes(), bytes()),
        format!("{reading:?} {reading:#?}"),
        format!("{reply:?} {reply:#?}"),
        format!("{want:?} {written:?}"),
        format!("{new:?} {new:#?}"),
        format!("{change:?} {change:#?}"),
        format!("{:?} {:#?}", Step::Create(new.clone()), Step::Create(new)),
        format!("{:?} {:#?}", Step::Change(change.clone()), Step::Change(change)),
        format!("{assertion:?} {assertion:#?}"),
    ];
    for text in &all {
        hunter.clear("the Debug of a public type", text);
    }
    assert!(all.iter().all(|text| !text.is_empty()));
    assert!(all[0].contains("[redacted]") && all[9].contains("[redacted]"));
}

/// The built operator, as a process of its own.
struct Operator {
    process: Child,
    address: String,
    log: PathBuf,
}

impl Operator {
    async fn start(scene: &OperatorScene, format: &str) -> Self {
        let cluster = scene.namespace.cluster();
        let folder = cluster.processes.folder();
        let name = format!("canary-{}", scene.namespace.name);
        let log = folder.join(format!("{name}.log"));
        let authority = cluster.processes.write(&format!("{name}.pem"), scene.emulator.ca_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let file = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultsync"));
        command
            .arg("run")
            .env_clear()
            .env("RUST_BACKTRACE", "full")
            .env("KUBECONFIG", cluster.kubeconfig_for_operator().await)
            .env("HTTPS_PROXY", scene.emulator.proxy_url())
            .env("NO_PROXY", "127.0.0.1")
            .env("SSL_CERT_FILE", authority)
            .env("VAULTSYNC_WATCH_NAMESPACES", &scene.namespace.name)
            .env("VAULTSYNC_LISTEN", &address)
            .env("VAULTSYNC_LOG_LEVEL", "trace")
            .env("VAULTSYNC_LOG_FORMAT", format)
            .env("VAULTSYNC_SECRETS_POLICY", "vaultsync-secrets")
            .env("VAULTSYNC_DRIFT_INTERVAL", "1s")
            .env("VAULTSYNC_MAX_CONNECTIONS_PER_NAMESPACE", "100")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let process = cluster.processes.spawn(&mut command).unwrap();
        Self { process, address, log }
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    async fn metrics(&self) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("http://{}/metrics", self.address)).send().await.unwrap();
        answer.text().await.unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Objects with what a template or a certificate cannot be made of.
async fn templates(scene: &OperatorScene, marker: &str) {
    scene.vault.set("in-template", marker);
    let in_template = |text: &str| {
        json!({
            "refreshInterval": "10s",
            "data": [{"key": "x", "from": {"secret": {"name": "in-template"}}, "publish": false}],
            "target": {"template": {"out": text}},
        })
    };
    for (name, text) in [
        ("template-base64", "{{ x | b64decode }}"),
        ("template-sum", "{{ x + 1 }}"),
        ("template-json", "{{ (x | fromjson).a }}"),
    ] {
        scene.sync(name, in_template(text)).await;
    }
    scene
        .sync("no-certificate", json!({"refreshInterval": "10s", "tls": {"certificate": "in-template"}}))
        .await;
}

/// Every failure of one entry, of the whole object and of the API server, with the marker in each value.
async fn objects(scene: &OperatorScene, marker: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let vault = &scene.vault;
    let one = |fields: &Value| {
        let mut secret = json!({"name": "value"});
        secret.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"refreshInterval": "10s", "data": [{"key": "KEY", "from": {"secret": secret}}]})
    };
    vault.set("value", marker);
    vault.set(
        "good",
        &json!({"token": marker, "KEY2": STANDARD.encode(marker), "list": [marker]}).to_string(),
    );
    scene
        .sync("good", json!({"refreshInterval": "10s",
            "data": [
                {"key": "RAW", "from": {"secret": {"name": "value"}}},
                {"key": "TOKEN", "from": {"secret": {"name": "good", "property": "$.token"}}},
                {"key": "DECODED", "from": {"secret": {"name": "good", "property": "$.KEY2", "decode": "Base64"}}},
            ],
            "dataFrom": [{"secret": {"name": "good"}}],
        }))
        .await;
    scene.sync("no-json", one(&json!({"property": "$.token"}))).await;
    vault.set("half-json", &format!("{{\"token\": \"{marker}"));
    scene.sync("half-json", one(&json!({"name": "half-json", "property": "$.token"}))).await;
    scene.sync("no-property", one(&json!({"name": "good", "property": "$.other"}))).await;
    scene.sync("no-base64", one(&json!({"decode": "Base64"}))).await;
    let whole = |name: &str| json!({"refreshInterval": "10s", "dataFrom": [{"secret": {"name": name}}]});
    scene.sync("no-object", whole("value")).await;
    vault.set("list", &json!([marker]).to_string());
    scene.sync("a-list", whole("list")).await;
    let of_format = |format: &str| {
        let source = json!({"secret": {"name": "value", "format": format}});
        json!({"refreshInterval": "10s", "dataFrom": [source]})
    };
    scene.sync("no-yaml", of_format("Yaml")).await;
    scene.sync("no-dotenv", of_format("Dotenv")).await;
    // Of JSON it is told what a member is called; of other formats a line that is misread could be a piece of a value.
    vault.set("bad-member", &json!({"bad member": marker, "GOOD": marker}).to_string());
    scene.sync("bad-member", whole("bad-member")).await;
    let quoted = |text: &str| json!(text).to_string();
    let bad_member = format!("{}: {}\nGOOD: x\n", quoted(&format!("{marker} x")), quoted(marker));
    vault.set("bad-yaml-member", &bad_member);
    let mut yaml = whole("bad-yaml-member");
    yaml["dataFrom"][0]["secret"]["format"] = json!("Yaml");
    scene.sync("bad-yaml-member", yaml).await;
    templates(scene, marker).await;
    vault.set("more", &json!({"token": marker}).to_string());
    let two = json!([{"secret": {"name": "good"}}, {"secret": {"name": "more"}}]);
    scene.sync("doubled", json!({"refreshInterval": "10s", "dataFrom": two})).await;
    let mut pull = one(&json!({}));
    pull["data"][0]["key"] = json!(".dockerconfigjson");
    pull["target"] = json!({"type": "kubernetes.io/dockerconfigjson"});
    scene.sync("rejected", pull).await;
    let mut tls = data(&[("tls.crt", "value"), ("tls.key", "nowhere")]);
    tls["target"] = json!({"type": "kubernetes.io/tls"});
    scene.sync("no-key", tls).await;
    let large = format!("{marker}{}", "x".repeat(24 * 1024));
    let names: Vec<(String, String)> = (0..45).map(|n| (format!("K{n}"), format!("large-{n}"))).collect();
    for (_, name) in &names {
        vault.set(name, &large);
    }
    let names: Vec<(&str, &str)> = names.iter().map(|(key, name)| (key.as_str(), name.as_str())).collect();
    scene.sync("too-large", data(&names)).await;
    scene.foreign_secret("foreign", "THEIRS", marker).await;
    scene.sync("foreign", one(&json!({}))).await;
    vec![
        ("good", "True", "Synced"),
        ("no-json", "False", "InvalidJson"),
        ("half-json", "False", "InvalidJson"),
        ("no-property", "False", "PropertyNotFound"),
        ("no-base64", "False", "DecodeFailed"),
        ("no-object", "False", "InvalidJson"),
        ("a-list", "False", "InvalidJson"),
        ("no-yaml", "False", "InvalidFormat"),
        ("no-dotenv", "False", "InvalidFormat"),
        ("bad-member", "False", "InvalidKey"),
        ("bad-yaml-member", "False", "InvalidKey"),
        ("template-base64", "False", "TemplateFailed"),
        ("template-sum", "False", "TemplateFailed"),
        ("template-json", "False", "TemplateFailed"),
        ("no-certificate", "False", "MissingKey"),
        ("doubled", "False", "DuplicateKey"),
        ("rejected", "False", "SecretRejected"),
        ("no-key", "False", "MissingKey"),
        ("too-large", "False", "TooLarge"),
        ("foreign", "False", "TargetNotOwned"),
    ]
}

/// Every failure of a whole vault, each at a vault of its own, with the marker in whatever the vault says.
async fn outages(scene: &OperatorScene, client: &str, marker: &str) -> Vec<(String, &'static str)> {
    let quoted = json!({"error": {
        "code": marker, "message": format!("AKV10032 oid={marker};appid={marker} {marker}"), "innererror": {"code": marker},
    }})
    .to_string();
    let value = json!({"value": marker, "id": marker, "attributes": {"enabled": marker}}).to_string();
    let faults = [
        (Fault::throttle(Some(1)), "Throttled"),
        (Fault::status(500), "ServiceUnavailable"),
        (Fault::answer(500, &quoted), "ServiceUnavailable"),
        (Fault::answer(502, marker), "ServiceUnavailable"),
        (Fault::answer(401, &quoted), "WrongTenant"),
        (Fault::answer(401, marker), "TokenRejected"),
        (Fault::answer(403, &quoted), "Forbidden"),
        (Fault::answer(403, marker), "MalformedResponse"),
        (Fault::answer(404, &quoted), "MalformedResponse"),
        (Fault::answer(400, &quoted), "RequestRejected"),
        (Fault::answer(200, marker), "MalformedResponse"),
        (Fault::answer(200, &value), "MalformedResponse"),
        (Fault::answer(200, &format!("{{\"value\": \"{marker}")), "MalformedResponse"),
        (Fault::answer(302, marker), "MalformedResponse"),
        (Fault::answer(429, &quoted), "Throttled"),
        (Fault::reset(), "ServiceUnavailable"),
        (Fault::oversized(400_000), "TooLarge"),
        (Fault::forbidden(Forbidden::ByFirewall), "Firewall"),
        (Fault::forbidden(Forbidden::ByConnection), "PublicAccessDisabled"),
        (Fault::forbidden(Forbidden::ByRbac), "MissingRole"),
        (Fault::forbidden(Forbidden::SecretDisabled), "SecretDisabled"),
        (Fault::unauthorized(Unauthorized::InsufficientClaims), "ClaimsChallenge"),
    ];
    let mut expected = Vec::new();
    for (index, (fault, reason)) in faults.into_iter().enumerate() {
        let vault = scene.emulator.vault(&format!("{}-v{index}", scene.namespace.name));
        vault.grant(client);
        vault.set("db", marker);
        vault.fault(fault);
        expected.push((through(scene, &scene.key_vault(&format!("v{index}"), &vault.url())).await, reason));
    }
    expected
}

/// Every refusal of the token service, each for an identity of its own.
async fn refusals(scene: &OperatorScene, marker: &str) -> Vec<(String, &'static str)> {
    let quoted = |text: &str| {
        let description = format!("AADSTS700016: {text}");
        json!({"error": text, "error_description": description, "error_codes": [700_016]}).to_string()
    };
    let endless = json!({"access_token": marker, "expires_in": i64::MAX}).to_string();
    let faults = [
        (Fault::aadsts(700_213), "FederationMismatch"),
        (Fault::aadsts(53_003), "TokenRefused"),
        (Fault::status(503), "ServiceUnavailable"),
        (Fault::answer(401, &quoted(marker)), "InvalidIdentity"),
        (Fault::answer(403, &json!({"message": marker}).to_string()), "MalformedResponse"),
        (Fault::answer(400, marker), "MalformedResponse"),
        (Fault::answer(500, marker), "ServiceUnavailable"),
        (Fault::answer(200, marker), "MalformedResponse"),
        (Fault::answer(200, &format!("{{\"access_token\": \"{marker}")), "MalformedResponse"),
        (Fault::answer(200, &endless), "MalformedResponse"),
        (Fault::oversized(100_000), "MalformedResponse"),
        (Fault::garbage(), "MalformedResponse"),
        (Fault::reset(), "ServiceUnavailable"),
    ];
    let mut expected = Vec::new();
    for (index, (fault, reason)) in faults.into_iter().enumerate() {
        let client = format!("bbbbbbbb-1111-4222-8333-{index:012}");
        scene.federate(&Account::new(&scene.namespace.name, "shop"), &client);
        scene.emulator.token_fault(fault.on_secret(&client));
        let mut connection = scene.key_vault(&format!("t{index}"), &scene.vault.url());
        connection["spec"]["identity"]["workloadIdentity"]["clientId"] = json!(client);
        expected.push((through(scene, &connection).await, reason));
    }
    expected
}

/// An object that reads through this connection.
async fn through(scene: &OperatorScene, connection: &Value) -> String {
    let vault: KeyVault = scene.create(connection).await;
    let name = vault.name_any();
    let mut spec = data(&[("DB", "db")]);
    spec["vaultRef"] = json!({"name": name});
    scene.sync(&name, spec).await;
    name
}

/// All that can be read in the namespace but the Secrets.
async fn hunt_cluster(scene: &OperatorScene, hunter: &Hunter) {
    let all = ListParams::default();
    let objects = scene.api::<VaultSecretSync>().list(&all).await.unwrap();
    let vaults = scene.api::<KeyVault>().list(&all).await.unwrap();
    let events = scene.api::<Event>().list(&all).await.unwrap();
    assert!(events.items.len() > 3);
    hunter.clear("the objects", &serde_json::to_string(&objects.items).unwrap());
    hunter.clear("the connections", &serde_json::to_string(&vaults.items).unwrap());
    hunter.clear("the events", &serde_json::to_string(&events.items).unwrap());
    hunter.clear(
        "the ServiceAccounts",
        &serde_json::to_string(&scene.api::<ServiceAccount>().list(&all).await.unwrap().items).unwrap(),
    );
    // Values are under `data`, and nowhere else of a Secret.
    for mut secret in scene.api::<Secret>().list(&all).await.unwrap().items {
        secret.data = None;
        hunter.clear("a Secret's metadata", &serde_json::to_string(&secret).unwrap());
    }
    hunter.clear("the audit log", &scene.namespace.cluster().audit_text());
    hunter.clear(
        "the request log",
        &format!("{:?} {:?}", scene.emulator.requests(), scene.emulator.token_requests()),
    );
}

async fn hunt(format: &str, level: &str) {
    let scene = OperatorScene::without_operator().await;
    let hunter = Hunter::new();
    let operator = Operator::start(&scene, format).await;
    let expected = objects(&scene, &hunter.marker).await;
    let mut failing = outages(&scene, support::scene::CLIENT, &hunter.marker).await;
    failing.extend(refusals(&scene, &hunter.marker).await);
    for (name, status, reason) in &expected {
        scene.ready(name, status, reason).await;
    }
    for (name, reason) in &failing {
        scene.ready(name, "False", reason).await;
    }
    // The value has been all the way: it is where it belongs.
    let secret = scene.secret("good").await.unwrap();
    for key in ["RAW", "TOKEN", "DECODED", "token"] {
        assert_eq!(secret[key], hunter.marker, "{key}");
    }
    // A rotation, an edit by somebody, and a Secret that refuses to change.
    scene.edit_secret("good", json!({"stringData": {"RAW": "edited"}})).await;
    eventually("the edit is undone", || async {
        let raw = scene.secret("good").await.and_then(|secret| secret.get("RAW").cloned());
        if raw.as_ref() == Some(&hunter.marker) { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    scene.edit_secret("good", json!({"immutable": true})).await;
    scene.vault.set("value", &format!("{}again", hunter.marker));
    scene.ready("good", "False", "TargetImmutable").await;

    hunt_cluster(&scene, &hunter).await;
    hunter.clear("the metrics", &operator.metrics().await);
    let log = operator.log();
    assert!(
        log.contains(level),
        "nothing was logged at that level:\n{}",
        log.lines().take(5).collect::<Vec<_>>().join("\n")
    );
    assert!(log.contains("InvalidJson") && log.contains("SecretRejected"), "the failures were not logged");
    hunter.clear("the log", &log);
}

#[tokio::test]
async fn a_value_is_in_no_json_log_at_any_level_nor_anywhere_else() {
    hunt("json", "\"level\":\"TRACE\"").await;
}

#[tokio::test]
async fn a_value_is_in_no_text_log_at_any_level_nor_anywhere_else() {
    hunt("text", "TRACE").await;
}

thread_local! {
    /// What the operators of this thread's runtime say, while a test listens.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Listens at every level to what this thread logs, and to nothing of the other tests.
struct Listening;

impl Listening {
    fn start() -> Self {
        static GLOBAL: Once = Once::new();
        // One subscriber for the whole program: what a call site once learnt of a test's own one, it keeps for all.
        GLOBAL.call_once(|| {
            let wanted = vaultsync::telemetry::filter("trace").expect("a filter");
            let heard = dynamic_filter_fn(move |metadata, _| {
                let listens = HEARD.try_with(|heard| heard.borrow().is_some()).unwrap_or(false);
                listens && wanted.would_enable(metadata.target(), metadata.level())
            });
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Ear);
            let subscriber = tracing_subscriber::registry().with(layer.with_filter(heard));
            tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
        });
        HEARD.set(Some(Vec::new()));
        Self
    }

    /// What was heard so far.
    fn text() -> String {
        HEARD.with_borrow(|heard| String::from_utf8_lossy(heard.as_deref().unwrap_or_default()).into_owned())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

/// Where the lines of this thread go.
struct Ear;

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HEARD.with_borrow_mut(|heard| heard.get_or_insert_default().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_value_is_in_no_log_when_the_api_server_fails() {
    // This test's runtime is this thread: all that its operator says comes here, and nothing of other tests.
    let _listening = Listening::start();
    let mut scene = OperatorScene::without_operator().await;
    let hunter = Hunter::new();
    scene.vault.set("db", &hunter.marker);
    for fault in [ApiFault::internal(), ApiFault::throttled(Some(1)), ApiFault::LoseAnswer] {
        scene.faults.next(1, |call| call.is("create", "secrets"), fault);
    }
    scene.faults.next(1, |call| call.is("patch", "vaultsecretsyncs/status"), ApiFault::internal());
    scene.faults.next(1, |call| call.is("create", "serviceaccounts/token"), ApiFault::internal());
    scene.faults.next(1, |call| call.is("create", "events"), ApiFault::internal());
    scene.start().await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    for fault in [ApiFault::Refuse, ApiFault::conflict(), ApiFault::LoseAnswer] {
        scene.faults.next(1, |call| call.is("patch", "secrets"), fault);
    }
    let second = format!("{}second", hunter.marker);
    scene.vault.set("db", &second);
    scene.force("shop", "1").await;
    eventually("the second value is there", || async {
        let found = scene.secret("shop").await.and_then(|secret| secret.get("DB").cloned());
        if found.as_ref() == Some(&second) { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    scene.synced("shop").await;
    assert!(scene.faults.count("create", "secrets") >= 3);
    let (_, metrics) = scene.http("/metrics").await;
    assert!(metrics.contains("reason=\"ApiError\""), "the faults were met:\n{metrics}");
    hunter.clear("the metrics", &metrics);
    let log = Listening::text();
    assert!(log.contains("TRACE") && log.contains("ApiError"), "{log}");
    hunter.clear("the log", &log);
    let all = ListParams::default();
    let events = scene.api::<Event>().list(&all).await.unwrap();
    hunter.clear("the events", &serde_json::to_string(&events.items).unwrap());
}
