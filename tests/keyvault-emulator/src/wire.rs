//! The whole emulator over its own sockets, by an HTTP client that knows only the proxy and the CA.

use reqwest::{Certificate, Client, Proxy, StatusCode, Version};
use serde_json::{Value, json};

use crate::{
    CertificateFormat, CertificateSpec, Change, Config, ConnectOutcome, Emulator, Fault, Forbidden, KeyKind,
    KeySpec, ObjectKind, Operation, SecretOptions, Vault, jws::Signer,
};

const APP: &str = "11111111-2222-3333-4444-555555555555";
const ISSUER: &str = "https://kubernetes.default.svc";

struct Bench {
    emulator: Emulator,
    vault: Vault,
    client: Client,
    cluster: Signer,
}

async fn start() -> Bench {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let emulator = Emulator::start(Config::default()).await.unwrap();
    let cluster = Signer::generate().unwrap();
    emulator.trust_issuer(ISSUER, &cluster.jwks()).unwrap();
    emulator.federate_account(ISSUER, "system:serviceaccount:shop:shop", APP);
    let vault = emulator.vault("shop");
    vault.grant(APP);
    let client = Client::builder()
        .proxy(Proxy::https(emulator.proxy_url()).unwrap())
        .tls_certs_only([Certificate::from_pem(emulator.ca_pem().as_bytes()).unwrap()])
        .build()
        .unwrap();
    Bench { emulator, vault, client, cluster }
}

impl Bench {
    fn assertion(&self, subject: &str) -> String {
        let now = crate::clock::machine_time().as_second();
        let claims =
            json!({"iss": ISSUER, "sub": subject, "aud": ["api://AzureADTokenExchange"], "exp": now + 600});
        self.cluster.sign(&claims).unwrap()
    }

    async fn exchange(&self, subject: &str) -> reqwest::Result<(StatusCode, Value)> {
        let url = format!("https://login.microsoftonline.com/{}/oauth2/v2.0/token", self.emulator.tenant());
        let assertion = self.assertion(subject);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", APP),
            ("scope", "https://vault.azure.net/.default"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ];
        let answer = self.client.post(url).form(&form).send().await?;
        Ok((answer.status(), answer.json().await?))
    }

    async fn token(&self) -> String {
        let (status, body) = self.exchange("system:serviceaccount:shop:shop").await.unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Status and body of a GET.
    async fn read(&self, token: &str, path: &str) -> (u16, Value) {
        let answer = self.get(token, path).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    fn get(&self, token: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}?api-version=2025-07-01", self.vault.url());
        self.client.get(url).bearer_auth(token)
    }
}

#[tokio::test]
async fn a_service_account_token_buys_a_value_over_http_2() {
    let bench = start().await;
    let id = bench.vault.set("db", "hunter2");
    let token = bench.token().await;
    let answer = bench.get(&token, "/secrets/db").send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert!(answer.headers().contains_key("date"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["value"], "hunter2");
    assert_eq!(body["id"], format!("https://shop.vault.azure.net/secrets/db/{id}"));
    let logged = bench.vault.requests();
    assert_eq!((logged.len(), logged[0].status, logged[0].client_id.as_deref()), (1, Some(200), Some(APP)));
    assert!(bench.emulator.refused().is_empty());
}

#[tokio::test]
async fn a_subject_nobody_federated_is_refused_by_number() {
    let bench = start().await;
    let (status, body) = bench.exchange("system:serviceaccount:shop:other").await.unwrap();
    assert_eq!((status, &body["error_codes"]), (StatusCode::UNAUTHORIZED, &json!([700_213])));
    let logged = bench.emulator.token_requests();
    assert_eq!((logged[0].error, logged[0].status), (Some(700_213), Some(401)));
    assert_eq!(logged[0].subject.as_deref(), Some("system:serviceaccount:shop:other"));
}

#[tokio::test]
async fn a_stalled_request_goes_on_when_the_fault_is_cleared() {
    let bench = start().await;
    bench.vault.set("db", "one");
    let token = bench.token().await;
    bench.vault.fault(Fault::stall().times(1));
    let stalled = tokio::spawn(bench.get(&token, "/secrets/db").send());
    bench.vault.requests_until(|requests| requests.len() == 1).await;
    assert_eq!(bench.get(&token, "/secrets/db").send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(bench.vault.requests()[0].status, None, "still waiting");
    bench.vault.clear_faults();
    assert_eq!(stalled.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(bench.vault.requests()[0].status, Some(200));
}

#[tokio::test]
async fn a_reset_leaves_the_request_without_an_answer() {
    let bench = start().await;
    bench.vault.set("db", "one");
    let token = bench.token().await;
    bench.vault.fault(Fault::reset().times(1));
    // Over HTTP/1.1: an HTTP/2 client may repeat by itself what was cut off.
    let plain = Client::builder()
        .http1_only()
        .proxy(Proxy::https(bench.emulator.proxy_url()).unwrap())
        .tls_certs_only([Certificate::from_pem(bench.emulator.ca_pem().as_bytes()).unwrap()])
        .build()
        .unwrap();
    let url = format!("{}/secrets/db?api-version=7.4", bench.vault.url());
    let error = plain.get(&url).bearer_auth(&token).send().await.unwrap_err();
    assert!(error.is_request(), "{error:?}");
    assert_eq!(bench.vault.requests()[0].status, None);
    assert_eq!(plain.get(&url).bearer_auth(&token).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn faults_and_grants_decide_what_a_client_reads() {
    let bench = start().await;
    bench.vault.set_with("db", "one", SecretOptions { enabled: false, ..SecretOptions::default() });
    let token = bench.token().await;
    let inner = async |expected: &str| {
        let answer = bench.get(&token, "/secrets/db").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["innererror"]["code"], expected);
        assert_eq!(bench.vault.requests().last().unwrap().inner_code.as_deref(), Some(expected));
    };
    inner("SecretDisabled").await;
    bench.vault.enable("db");
    let firewall = bench.vault.fault(Fault::forbidden(Forbidden::ByFirewall).on(Operation::Get));
    inner("ForbiddenByFirewall").await;
    bench.vault.clear_fault(firewall);
    bench.vault.deny(APP, "db");
    inner("ForbiddenByRbac").await;
    bench.vault.fault(Fault::throttle(Some(7)));
    let answer = bench.get(&token, "/secrets/db").send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"7".parse().unwrap())
    );
    bench.vault.clear_faults();
    bench.vault.fault(Fault::oversized(3_000_000));
    let answer = bench.get(&token, "/secrets/db").send().await.unwrap();
    assert!(answer.bytes().await.unwrap().len() > 3_000_000);
    assert_eq!(bench.vault.count(Operation::Get), 5);
}

#[tokio::test]
async fn a_moved_clock_ends_tokens_and_stamps_versions() {
    let bench = start().await;
    bench.vault.set("db", "one");
    let token = bench.token().await;
    bench.emulator.set_clock_offset(4_000);
    let answer = bench.get(&token, "/secrets/db").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    bench.vault.set("db", "two");
    let versions = bench.vault.versions("db");
    assert!(versions[1].created - versions[0].created >= 4_000);
}

#[tokio::test]
async fn foreign_hosts_and_unknown_vaults_are_not_reached() {
    let bench = start().await;
    for url in ["https://example.com/", "https://nobody.vault.azure.net/secrets"] {
        assert!(bench.client.get(url).send().await.unwrap_err().is_connect(), "{url}");
    }
    let outcomes: Vec<_> = bench.emulator.connects().into_iter().map(|connect| connect.outcome).collect();
    assert_eq!(outcomes, [ConnectOutcome::Refused, ConnectOutcome::UnknownVault]);
    assert_eq!(bench.emulator.refused(), ["example.com:443"]);
}

#[tokio::test]
async fn stopping_ends_open_connections_and_frees_the_ports() {
    let bench = start().await;
    let token = bench.token().await;
    bench.vault.fault(Fault::stall());
    let stalled = tokio::spawn(bench.get(&token, "/secrets/db").send());
    bench.vault.requests_until(|requests| !requests.is_empty()).await;
    let port = bench.emulator.proxy_url().rsplit(':').next().unwrap().parse().unwrap();
    bench.emulator.stop().await;
    assert!(stalled.await.unwrap().is_err());
    Emulator::start(Config { proxy_port: port, ..Config::default() }).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_changed_and_deleted_with_its_secret() {
    let bench = start().await;
    let (vault, kind) = (&bench.vault, ObjectKind::Certificate);
    let token = bench.token().await;
    let made =
        |kind| CertificateSpec::self_signed("shop.test", kind, CertificateFormat::Pem).tag("env", "test");
    let first = vault.set_certificate("tls", made(KeyKind::Rsa2048));
    let (_, secret) = bench.read(&token, "/secrets/tls").await;
    assert_eq!(secret["kid"], format!("https://shop.vault.azure.net/keys/tls/{first}"));
    assert_eq!((&secret["managed"], &secret["tags"]["env"]), (&json!(true), &json!("test")));
    assert_eq!(secret["contentType"], "application/x-pem-file");
    let second = vault.set_certificate("tls", made(KeyKind::P384).not_exportable());
    let (_, secret) = bench.read(&token, "/secrets/tls").await;
    assert!(!secret["value"].as_str().unwrap().contains("PRIVATE KEY"));
    let (_, certificate) = bench.read(&token, "/certificates/tls").await;
    assert_eq!(certificate["sid"], format!("https://shop.vault.azure.net/secrets/tls/{second}"));
    assert_eq!(certificate["policy"]["key_props"]["crv"], "P-384");

    vault.set_tags(kind, "tls", &[("env", "prod")]);
    vault.update(kind, "tls", Change { expires: Some(2_000_000_000), ..Change::default() });
    let (_, list) = bench.read(&token, "/secrets").await;
    assert_eq!((&list["value"][0]["tags"]["env"]), &json!("prod"));
    assert_eq!(list["value"][0]["attributes"]["exp"], 2_000_000_000);
    vault.begin_certificate("tls");
    assert_eq!(bench.read(&token, "/certificates/tls/pending").await.1["status"], "inProgress");
    vault.delete_object(kind, "tls");
    assert_eq!(bench.read(&token, "/secrets/tls").await.0, 404);
    vault.recover_object(kind, "tls");
    assert_eq!(bench.read(&token, "/secrets/tls").await.0, 200);
    assert_eq!(vault.versions_of(kind, "tls").len(), 2);
}

#[tokio::test]
async fn a_public_key_is_read_and_listed_without_a_right_on_secrets() {
    let bench = start().await;
    let vault = &bench.vault;
    let token = bench.token().await;
    let first = vault.set_key("sign", KeyKind::P521);
    vault.set_key("sign", KeySpec { hsm: true, ..KeyKind::P521.into() });
    vault.grant_only(APP, &[]);
    vault.grant_on(APP, ObjectKind::Key, &[crate::Permission::Get, crate::Permission::List]);
    let (_, new) = bench.read(&token, "/keys/sign").await;
    let (_, old) = bench.read(&token, &format!("/keys/sign/{first}")).await;
    assert_eq!((&old["key"]["kty"], &new["key"]["kty"]), (&json!("EC"), &json!("EC-HSM")));
    assert_ne!(old["key"]["x"], new["key"]["x"]);
    let (_, list) = bench.read(&token, "/keys").await;
    assert_eq!(list["value"][0]["kid"], "https://shop.vault.azure.net/keys/sign");
    assert_eq!(bench.read(&token, "/secrets").await.0, 403);
    vault.deny_on(APP, ObjectKind::Key, "sign");
    assert_eq!(bench.read(&token, "/keys/sign").await.0, 403);
    let of_keys = |kind| vault.count_where(|request| request.object == Some(kind));
    assert_eq!((of_keys(ObjectKind::Key), of_keys(ObjectKind::Secret)), (4, 1));
}

#[tokio::test]
async fn no_log_holds_a_value_a_token_or_an_assertion() {
    let bench = start().await;
    bench.vault.set("db", "canary-value");
    let token = bench.token().await;
    bench.get(&token, "/secrets/db").send().await.unwrap();
    let logs = format!(
        "{:?}{:?}{:?}{:?}{:?}",
        bench.emulator.requests(),
        bench.emulator.token_requests(),
        bench.emulator.connects(),
        bench.emulator,
        bench.vault
    );
    assert!(!logs.contains("canary-value") && !logs.contains(&token));
    assert!(!logs.contains("eyJ"), "every JWT begins so");
    assert!(logs.contains("/secrets/db"));
}
