//! Every shape a workload needs, end to end: certificates, keys, what is found by name, templates; and who may have them.

use keyvault_emulator::{
    CertificateFormat, CertificateSpec, Change, KeyKind, KeySpec, LoggedRequest, ObjectKind, SecretOptions,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use support::scene::{OperatorScene, data};
use support::shared::grant;
use support::{History, Says as _, eventually};
use vaultsync::api::VaultSecretSync;

/// A root, an intermediate and a leaf for `shop.test`, as PEM in an order that no server takes: key, root, intermediate,
/// leaf.
fn chain() -> (String, String) {
    let authority = |name: &str| {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
    };
    let root = CertifiedIssuer::self_signed(authority("Shop Root"), KeyPair::generate().unwrap()).unwrap();
    let intermediate =
        CertifiedIssuer::signed_by(authority("Shop Intermediate"), KeyPair::generate().unwrap(), &root)
            .unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["shop.test".to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "shop.test");
    let leaf = parameters.signed_by(&key, &intermediate).unwrap();
    let pem = format!("{}{}{}{}", key.serialize_pem(), root.pem(), intermediate.pem(), leaf.pem());
    (pem, root.pem())
}

/// Serves one connection with the certificate and key of a Secret.
fn serve(crt: &str, key: &str) -> std::net::SocketAddr {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(crt.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut stream);
        stream.write_all(b"served").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    address
}

/// What a client hears that trusts this root alone.
fn hear(address: std::net::SocketAddr, root: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("shop.test").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut heard = String::new();
    rustls::Stream::new(&mut connection, &mut stream).read_to_string(&mut heard).unwrap();
    heard
}

#[tokio::test]
async fn a_server_serves_with_a_synced_tls_secret_and_a_client_verifies_its_chain() {
    let scene = OperatorScene::new().await;
    let (pem, root) = chain();
    scene.vault.set_certificate("shop-tls", CertificateSpec::pem(&pem));
    let spec = json!({"refreshInterval": "10s", "tls": {"certificate": "shop-tls", "caKey": "ca.crt"}});
    scene.sync("shop", spec).await;
    let object = scene.synced("shop").await;
    let secret = scene.secret("shop").await.unwrap();
    assert_eq!(secret.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(secret["ca.crt"], root);
    assert_eq!(hear(serve(&secret["tls.crt"], &secret["tls.key"]), &root), "served");
    let status = object.status.unwrap();
    assert_eq!((status.entries[0].state.to_string().as_str(), status.entries[0].managed), ("Synced", true));
    assert!(status.entries[0].expires.is_some(), "the vault says when a certificate ends");
}

#[tokio::test]
async fn a_certificate_kept_as_pfx_is_renewed_with_its_key_in_one_write() {
    let scene = OperatorScene::new().await;
    let made = || CertificateSpec::self_signed("shop.test", KeyKind::P256, CertificateFormat::Pfx);
    scene.vault.set_certificate("shop-tls", made());
    scene.sync("shop", json!({"refreshInterval": "10s", "tls": {"certificate": "shop-tls"}})).await;
    scene.synced("shop").await;
    let first = scene.secret("shop").await.unwrap();
    assert_eq!(hear(serve(&first["tls.crt"], &first["tls.key"]), &first["tls.crt"]), "served");
    let history = History::of(&scene.namespace).await;
    scene.vault.set_certificate("shop-tls", made());
    eventually("the renewed certificate", || async {
        let now = scene.secret("shop").await.unwrap();
        if now["tls.crt"] == first["tls.crt"] { Err("as before".to_owned()) } else { Ok(()) }
    })
    .await;
    scene.synced("shop").await;
    // Certificate and key were never of two versions.
    for secret in &history.states()["shop"] {
        assert_eq!(secret["tls.crt"] == first["tls.crt"], secret["tls.key"] == first["tls.key"]);
    }
    let renewed = scene.secret("shop").await.unwrap();
    assert_eq!(hear(serve(&renewed["tls.crt"], &renewed["tls.key"]), &renewed["tls.crt"]), "served");
}

#[tokio::test]
async fn a_certificate_whose_key_stays_in_the_vault_is_told_and_gives_its_public_part() {
    let scene = OperatorScene::new().await;
    let made =
        CertificateSpec::self_signed("shop.test", KeyKind::P256, CertificateFormat::Pem).not_exportable();
    scene.vault.set_certificate("shop-tls", made);
    scene.sync("tls", json!({"refreshInterval": "10s", "tls": {"certificate": "shop-tls"}})).await;
    let object = scene.ready("tls", "False", "MissingKey").await;
    for part in ["certificate shop-tls (key tls.crt and 1 more)", "no private key", "exportable"] {
        assert!(object.message().contains(part), "{}", object.message());
    }
    assert_eq!(scene.secret("tls").await, None);
    let leaf = json!({"refreshInterval": "10s", "data": [
        {"key": "leaf.pem", "from": {"certificate": {"name": "shop-tls", "part": "Leaf"}}},
    ]});
    scene.sync("leaf", leaf).await;
    scene.synced("leaf").await;
    let secret = scene.secret("leaf").await.unwrap();
    assert!(secret["leaf.pem"].starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[tokio::test]
async fn a_certificate_pointed_at_as_a_plain_secret_is_told_with_the_line_to_write_and_never_published() {
    let scene = OperatorScene::new().await;
    scene.vault.set_certificate("shop-tls", CertificateSpec::pem(&chain().0));
    let plain = |key: &str| json!({"key": key, "from": {"secret": {"name": "shop-tls"}}});
    let spec = json!({"refreshInterval": "10s", "data": [plain("tls.crt"), plain("tls.key")], "target": {"type": "kubernetes.io/tls"}});
    scene.sync("shop", spec).await;
    let object = scene.ready("shop", "False", "MissingKey").await;
    assert!(object.message().contains("spec.tls: {certificate: shop-tls}"), "{}", object.message());
    assert_eq!(scene.secret("shop").await, None);
    // The line that it names is all it takes.
    let patch =
        json!({"data": null, "tls": {"certificate": "shop-tls"}, "target": {"type": "kubernetes.io/tls"}});
    scene.edit("shop", json!({"spec": patch})).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn the_public_part_of_every_kind_of_key_is_what_the_azure_cli_downloads() {
    let scene = OperatorScene::new().await;
    let kinds = [
        ("rsa-2048", KeyKind::Rsa2048),
        ("rsa-3072", KeyKind::Rsa3072),
        ("ec-p256", KeyKind::P256),
        ("ec-p384", KeyKind::P384),
        ("ec-p521", KeyKind::P521),
        ("ec-p256k", KeyKind::P256K),
    ];
    let mut data = Vec::new();
    for (name, kind) in kinds {
        scene.vault.set_key(name, kind);
        scene.vault.set_key(&format!("{name}-hsm"), KeySpec { hsm: true, ..KeySpec::from(kind) });
        for name in [name.to_owned(), format!("{name}-hsm")] {
            data.push(json!({"key": format!("{name}.pem"), "from": {"key": {"name": name}}}));
            data.push(
                json!({"key": format!("{name}.jwk"), "from": {"key": {"name": name, "format": "Jwk"}}}),
            );
        }
    }
    scene.sync("shop", json!({"refreshInterval": "10s", "data": data})).await;
    scene.synced("shop").await;
    let secret = scene.secret("shop").await.unwrap();
    for (name, _) in kinds {
        let golden = |end: &str| {
            let path = support::tools::project().join(format!("tests/golden/keys/{name}.{end}"));
            std::fs::read_to_string(path).unwrap()
        };
        assert_eq!(secret[&format!("{name}.pem")], golden("pem"), "{name}");
        assert_eq!(secret[&format!("{name}-hsm.pem")], golden("pem"), "{name} in an HSM");
        let jwk: Value = serde_json::from_str(&secret[&format!("{name}.jwk")]).unwrap();
        let golden: Value = serde_json::from_str(&golden("json")).unwrap();
        for member in ["n", "e", "x", "y"] {
            assert_eq!(jwk.get(member), golden.get(member), "{name} {member}");
        }
        let names: BTreeSet<&str> = jwk.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(names.is_subset(&["kty", "kid", "crv", "x", "y", "n", "e"].into()), "{names:?}");
    }
}

#[tokio::test]
async fn a_rotated_key_is_written_and_one_that_is_deleted_or_not_permitted_is_told_of_as_a_key() {
    let scene = OperatorScene::new().await;
    scene.vault.set_key("signing", KeyKind::P256);
    scene.vault.set("plain", "x");
    let spec = json!({"refreshInterval": "10s", "data": [
        {"key": "pub", "from": {"key": {"name": "signing"}}},
        {"key": "plain", "from": {"secret": {"name": "plain"}}},
    ]});
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    let first = scene.secret("shop").await.unwrap();
    scene.vault.set_key("signing", KeyKind::P384);
    eventually("the rotated key", || async {
        let now = scene.secret("shop").await.unwrap();
        if now["pub"] == first["pub"] { Err("as before".to_owned()) } else { Ok(()) }
    })
    .await;
    scene.vault.deny_on(support::scene::CLIENT, ObjectKind::Key, "signing");
    let object = scene.ready("shop", "False", "MissingRole").await;
    for part in ["key signing (key pub)", "may not read keys", "Key Vault Crypto User"] {
        assert!(object.message().contains(part), "{}", object.message());
    }
}

fn found(find: &Value) -> Value {
    json!({"refreshInterval": "10s", "dataFrom": [
        {"find": find, "rename": [{"match": "^[Ss]hop-", "to": ""}, {"characters": "EnvironmentVariable"}, {"case": "Upper"}]},
    ]})
}

#[tokio::test]
async fn secrets_are_found_by_name_and_come_and_go_with_the_vault() {
    let scene = OperatorScene::new().await;
    for (name, value) in [("shop-db-url", "one"), ("Shop-api", "two"), ("other", "x")] {
        scene.vault.set(name, value);
    }
    scene.vault.set_certificate("shop-tls", CertificateSpec::pem(&chain().0));
    scene.sync("shop", found(&json!({"name": "shop-*"}))).await;
    let object = scene.synced("shop").await;
    scene.secret_is("shop", &[("API", "two"), ("DB_URL", "one")]).await;
    assert_eq!(object.status.unwrap().matched, Some(2));
    scene.vault.set("shop-new", "three");
    scene.secret_is("shop", &[("API", "two"), ("DB_URL", "one"), ("NEW", "three")]).await;
    scene.vault.delete("Shop-api");
    scene.secret_is("shop", &[("DB_URL", "one"), ("NEW", "three")]).await;
    // A disabled one that was delivered keeps its key and is told of; one that never was is not.
    scene.vault.set_with("shop-off", "x", SecretOptions { enabled: false, ..SecretOptions::default() });
    scene.vault.update(ObjectKind::Secret, "shop-new", Change { enabled: Some(false), ..Change::default() });
    let object = scene.ready("shop", "False", "SecretDisabled").await;
    assert!(
        object.message().contains("secret shop-new") && !object.message().contains("shop-off"),
        "{}",
        object.message()
    );
    scene.secret_is("shop", &[("DB_URL", "one"), ("NEW", "three")]).await;
}

#[tokio::test]
async fn secrets_are_found_by_tag() {
    let scene = OperatorScene::new().await;
    for name in ["a", "b", "c"] {
        scene.vault.set(name, name);
    }
    scene.vault.set_tags(ObjectKind::Secret, "a", &[("env", "prod"), ("team", "shop")]);
    scene.vault.set_tags(ObjectKind::Secret, "b", &[("env", "test")]);
    scene.sync("shop", found(&json!({"tags": {"env": "prod"}}))).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "a")]).await;
    scene.vault.set_tags(ObjectKind::Secret, "b", &[("env", "prod")]);
    scene.secret_is("shop", &[("A", "a"), ("B", "b")]).await;
    // It is still there, and no longer wanted.
    scene.vault.set_tags(ObjectKind::Secret, "a", &[("env", "test")]);
    scene.secret_is("shop", &[("B", "b")]).await;
    scene.edit("shop", json!({"spec": found(&json!({"tags": {"env": "nowhere"}}))})).await;
    scene.ready("shop", "False", "NothingMatched").await;
    scene.secret_is("shop", &[("B", "b")]).await;
}

#[tokio::test]
async fn who_may_not_list_is_told_and_loses_nothing() {
    let scene = OperatorScene::new().await;
    scene.vault.set("shop-a", "a");
    scene.sync("shop", found(&json!({"name": "shop-*"}))).await;
    scene.synced("shop").await;
    let mut scene = scene;
    scene.stop().await;
    scene.vault.grant_only(support::scene::CLIENT, &[keyvault_emulator::Permission::Get]);
    scene.start().await;
    let object = scene.ready("shop", "False", "ListFailed").await;
    assert!(object.message().contains("may not list"), "{}", object.message());
    // What was found is kept up to date all the same.
    scene.vault.set("shop-a", "b");
    scene.secret_is("shop", &[("A", "b")]).await;
}

fn asked(scene: &OperatorScene, kind: ObjectKind) -> BTreeSet<String> {
    let requests = scene.vault.requests();
    let of_kind = requests.iter().filter(|request: &&LoggedRequest| request.object == Some(kind));
    of_kind.filter_map(|request| request.name.clone()).collect()
}

#[tokio::test]
async fn find_shows_a_namespace_only_the_names_that_it_was_granted_as_secrets() {
    let scene = OperatorScene::of_shared_vaults().await;
    for name in ["shop-a", "shop-b", "billing-a"] {
        scene.vault.set(name, name);
    }
    scene.vault.set_certificate("shop-tls", CertificateSpec::pem(&chain().0));
    let shared = scene.share(json!([])).await;
    let mut scene = scene;
    scene.start().await;
    let mut spec = found(&json!({"name": "*"}));
    spec["vaultRef"] = shared.spec(&[])["vaultRef"].clone();
    scene.sync("shop", spec).await;
    // Nothing granted: not even the list is read.
    scene.ready("shop", "False", "NothingMatched").await;
    assert!(scene.vault.requests().is_empty());
    shared.allow(json!([grant(&[&scene.namespace.name], &["shop-*"])])).await;
    scene.secret_is("shop", &[("A", "shop-a"), ("B", "shop-b")]).await;
    assert_eq!(asked(&scene, ObjectKind::Secret), ["shop-a".to_owned(), "shop-b".to_owned()].into());
    // A grant that is withdrawn is told, and takes no key away.
    shared.allow(json!([grant(&[&scene.namespace.name], &["shop-a"])])).await;
    let object = scene.ready("shop", "False", "NotAllowed").await;
    assert!(object.message().contains("secret shop-b"), "{}", object.message());
    scene.secret_is("shop", &[("A", "shop-a"), ("B", "shop-b")]).await;
}

#[tokio::test]
async fn a_grant_that_is_withdrawn_while_too_many_names_are_found_stops_every_read() {
    let scene = OperatorScene::new().await;
    for name in ["named", "shop-a", "clock"] {
        scene.vault.set(name, name);
    }
    let granted = json!([grant(&[&scene.namespace.name], &["*"])]);
    let shared = scene.share(granted).await;
    let mut spec = shared.spec(&[("NAMED", "named")]);
    spec["dataFrom"] = found(&json!({"name": "shop-*"}))["dataFrom"].clone();
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    for index in 0..256 {
        scene.vault.set(&format!("shop-{index}"), "x");
    }
    scene.ready("shop", "False", "TooManyMatches").await;
    let read = async |name: &str, times: usize| {
        eventually("it is read", || async {
            let reads = scene.reads(name);
            if reads >= times { Ok(()) } else { Err(format!("{reads} reads")) }
        })
        .await;
    };
    // What is new of it is not to be missed meanwhile.
    scene.vault.clear_log();
    scene.vault.set("named", "new");
    read("named", 1).await;
    // Through a connection of its own, to tell that time goes on.
    scene.sync("clock", data(&[("CLOCK", "clock")])).await;
    let numbers: Vec<String> = (0..10).map(|digit| format!("shop-{digit}*")).collect();
    for (withdrawn, still) in [("named", "shop-a"), ("shop-a", "named")] {
        let allowed: Vec<&str> = numbers.iter().map(String::as_str).chain([still]).collect();
        shared.allow(json!([grant(&[&scene.namespace.name], &allowed)])).await;
        let told = eventually("it is told", || async {
            let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
            let message = object.message();
            if message.contains(&format!("secret {withdrawn}.")) { Ok(()) } else { Err(message.to_owned()) }
        });
        told.await;
        scene.vault.clear_log();
        for name in ["named", "shop-a"] {
            scene.vault.set(name, withdrawn);
        }
        read("clock", 2).await;
        assert_eq!((scene.reads("named"), scene.reads("shop-a")), (0, 0));
    }
    scene.secret_is("shop", &[("NAMED", "named"), ("A", "shop-a")]).await;
}

#[tokio::test]
async fn keys_and_certificates_are_granted_by_lists_of_their_own() {
    let scene = OperatorScene::of_shared_vaults().await;
    scene.vault.set_key("signing", KeyKind::P256);
    scene.vault.set_certificate("shop-tls", CertificateSpec::pem(&chain().0));
    let namespace = scene.namespace.name.clone();
    let shared = scene.share(json!([grant(&[&namespace], &["*"])])).await;
    let mut scene = scene;
    scene.start().await;
    let with = |data: Value| json!({"refreshInterval": "10s", "vaultRef": shared.spec(&[])["vaultRef"], "data": data});
    let key = json!([{"key": "pub", "from": {"key": {"name": "signing"}}}]);
    scene.sync("key", with(key)).await;
    let object = scene.ready("key", "False", "NotAllowed").await;
    for part in ["key signing", "keys [signing]"] {
        assert!(object.message().contains(part), "{}", object.message());
    }
    assert_eq!(asked(&scene, ObjectKind::Key), BTreeSet::new());
    // The grant of its name as a secret gives no part of a certificate, however it is asked for.
    for (name, from) in [
        ("part", json!({"certificate": {"name": "shop-tls", "part": "Key"}})),
        ("plain", json!({"secret": {"name": "shop-tls"}})),
    ] {
        scene.sync(name, with(json!([{"key": "x", "from": from}]))).await;
        let object = scene.ready(name, "False", "NotAllowed").await;
        assert!(object.message().contains("certificates [shop-tls]"), "{}", object.message());
        assert_eq!(scene.secret(name).await, None);
    }
    let mut both = grant(&[&namespace], &[]);
    both["keys"] = json!(["sign*"]);
    both["certificates"] = json!(["shop-*"]);
    shared.allow(json!([both])).await;
    for name in ["key", "part", "plain"] {
        scene.synced(name).await;
    }
}

#[tokio::test]
async fn a_template_joins_what_is_not_published_and_follows_each_of_its_inputs() {
    let scene = OperatorScene::new().await;
    scene.vault.set("user", "shop");
    scene.vault.set("password", "p?ss@w#rd%{}");
    scene.vault.set("config", r#"{"registry": "shop.azurecr.io"}"#);
    let input = |name: &str| json!({"key": name, "from": {"secret": {"name": name}}, "publish": false});
    let spec = json!({
        "refreshInterval": "10s",
        "data": [input("user"), input("password")],
        "dataFrom": [{"secret": {"name": "config"}, "publish": false}],
        "target": {"type": "kubernetes.io/dockerconfigjson", "template": {
            ".dockerconfigjson": "{{ docker_config(registry, user, password) }}",
            "url": "postgres://{{ user | urlencode }}:{{ password | urlencode }}@db/shop",
        }},
    });
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    let secret = scene.secret("shop").await.unwrap();
    assert_eq!(secret.len(), 2);
    assert_eq!(secret["url"], "postgres://shop:p%3Fss%40w%23rd%25%7B%7D@db/shop");
    let config = secret[".dockerconfigjson"].as_bytes();
    match docker_credential::get_credential_from_reader(config, "shop.azurecr.io").unwrap() {
        docker_credential::DockerCredential::UsernamePassword(user, password) => {
            assert_eq!((user.as_str(), password.as_str()), ("shop", "p?ss@w#rd%{}"));
        }
        docker_credential::DockerCredential::IdentityToken(_) => panic!("no token"),
    }
    scene.vault.set("user", "web");
    eventually("both templates follow", || async {
        let now = scene.secret("shop").await.unwrap();
        let follows = now["url"].starts_with("postgres://web:") && now[".dockerconfigjson"].contains("web");
        if follows { Ok(()) } else { Err(now["url"].clone()) }
    })
    .await;
    // What one of them cannot be made of takes the other nothing.
    let bad = json!({"spec": {"target": {"template": {"url": "{{ nobody }}"}}}});
    scene.edit("shop", bad).await;
    let object = scene.ready("shop", "False", "TemplateFailed").await;
    assert!(object.message().contains("key url of target.template"), "{}", object.message());
    assert!(scene.secret("shop").await.unwrap()["url"].starts_with("postgres://web:"));
}

#[tokio::test]
async fn what_expires_soon_is_told_once_and_stands_in_status_and_in_a_metric() {
    let scene = OperatorScene::new().await;
    let day = 24 * 3600;
    let now = vaultsync::run::clock().as_second();
    let soon = SecretOptions { expires: Some(now + 10 * day), ..SecretOptions::default() };
    scene.vault.set_with("soon", "one", soon);
    let later = SecretOptions { expires: Some(now + 100 * day), ..SecretOptions::default() };
    scene.vault.set_with("later", "two", later);
    scene.sync("shop", support::scene::data(&[("SOON", "soon"), ("LATER", "later")])).await;
    let object = scene.synced("shop").await;
    let states: Vec<String> =
        object.status.unwrap().entries.iter().map(|entry| entry.state.to_string()).collect();
    assert_eq!(states, ["Expiring", "Synced"]);
    scene.told("shop", "Expiring").await;
    let series = format!(
        "vaultsync_object_expires_timestamp_seconds{{object_name=\"shop\",object_namespace=\"{}\"}}",
        scene.namespace.name
    );
    let shown = scene.metric(&series).await.unwrap();
    assert_eq!(shown.to_string(), (now + 10 * day).to_string());
    let mut scene = scene;
    scene.stop().await;
    scene.start().await;
    scene.force("shop", "again").await;
    let notes = scene.event_notes("shop").await;
    assert_eq!(notes.iter().filter(|(reason, _)| reason == "Expiring").count(), 1, "{notes:?}");
    scene.vault.set("soon", "renewed");
    scene.secret_is("shop", &[("LATER", "two"), ("SOON", "renewed")]).await;
    eventually("the series goes", || async {
        match scene.metric(&series).await {
            None => Ok(()),
            Some(at) => Err(at.to_string()),
        }
    })
    .await;
}

/// A value that gives no key, and what a user reads of it.
struct Flawed {
    name: &'static str,
    value: String,
    from: Value,
    reason: &'static str,
    remedy: &'static str,
}

#[tokio::test]
async fn what_a_value_cannot_be_made_of_is_told_with_what_to_do() {
    let scene = OperatorScene::new().await;
    let file =
        |name: &str| std::fs::read(support::tools::project().join("tests/certificates").join(name)).unwrap();
    let pem = |name: &str| String::from_utf8(file(name)).unwrap();
    let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let part = |part: &str| json!({"certificate": {"name": "", "part": part}});
    let store =
        json!({"certificate": {"name": "", "part": "Pkcs12", "store": {"password": {"secret": "password"}}}});
    // 100,000 rounds, made 8,388,607.
    let mut costly = file("triple-des-100000.pfx");
    let rounds = [0x02, 0x03, 0x01, 0x86, 0xa0];
    let at = costly.windows(5).rposition(|window| window == rounds).expect("the rounds of the MAC");
    costly[at + 2..at + 5].copy_from_slice(&[0x7f, 0xff, 0xff]);
    let other_key = pem("P-256.pem");
    let other_key = other_key.split("-----BEGIN CERTIFICATE").next().unwrap().to_owned();
    scene.vault.set("password", "line break\n");
    let rows = [
        Flawed {
            name: "no-pem",
            value: "x".to_owned(),
            from: part("Leaf"),
            reason: "InvalidCertificate",
            remedy: "Import the certificate",
        },
        Flawed {
            name: "locked",
            value: base64(&file("password.pfx")),
            from: part("Leaf"),
            reason: "InvalidCertificate",
            remedy: "without a password",
        },
        Flawed {
            name: "two",
            value: other_key + &pem("leaf.pem"),
            from: part("Leaf"),
            reason: "KeyMismatch",
            remedy: "its own key",
        },
        Flawed {
            name: "hostile",
            value: base64(&costly),
            from: part("Leaf"),
            reason: "CertificateTooCostly",
            remedy: "with its defaults",
        },
        Flawed {
            name: "is-pem",
            value: pem("root-first.pem"),
            from: part("Pfx"),
            reason: "NotPfx",
            remedy: "part: Combined",
        },
        Flawed {
            name: "breaks",
            value: pem("root-first.pem"),
            from: store,
            reason: "InvalidPassword",
            remedy: "printable ASCII",
        },
        Flawed {
            name: "public",
            value: pem("leaf.pem"),
            from: part("Key"),
            reason: "NoPrivateKey",
            remedy: "exportable",
        },
        Flawed {
            name: "alone",
            value: pem("leaf.pem"),
            from: part("Chain"),
            reason: "NoIssuer",
            remedy: "with its chain",
        },
    ];
    for row in &rows {
        scene.vault.set(row.name, &row.value);
        let mut from = row.from.clone();
        from["certificate"]["name"] = json!(row.name);
        scene.sync(row.name, json!({"refreshInterval": "10s", "data": [{"key": "x", "from": from}]})).await;
    }
    for row in &rows {
        let object = scene.ready(row.name, "False", row.reason).await;
        assert!(object.message().contains(row.remedy), "{}: {}", row.name, object.message());
        assert_eq!(scene.secret(row.name).await, None);
    }
    // Pointed at as a plain secret by a Secret of type kubernetes.io/tls.
    let plain = |key: &str| json!({"key": key, "from": {"secret": {"name": "is-pem"}}});
    let spec = json!({"refreshInterval": "10s", "data": [plain("tls.crt"), plain("tls.key")], "target": {"type": "kubernetes.io/tls"}});
    scene.sync("whole", spec).await;
    let object = scene.ready("whole", "False", "MissingKey").await;
    assert_eq!(object.status.unwrap().entries[0].state.to_string(), "WholeCertificate");
}

#[tokio::test]
async fn keys_that_are_not_there_and_groups_that_are_too_large_are_told_with_what_to_do() {
    let scene = OperatorScene::new().await;
    let of_key = |name: &str| json!({"refreshInterval": "10s", "data": [{"key": "pub", "from": {"key": {"name": name}}}]});
    scene.sync("gone", of_key("nobody")).await;
    let object = scene.ready("gone", "False", "KeyNotFound").await;
    assert!(object.message().contains("az keyvault key recover"), "{}", object.message());
    scene.vault.set_key("off", KeyKind::P256);
    scene.vault.update(ObjectKind::Key, "off", Change { enabled: Some(false), ..Change::default() });
    scene.sync("off", of_key("off")).await;
    scene.ready("off", "False", "KeyDisabled").await;
    for index in 0..257 {
        scene.vault.set(&format!("many-{index}"), "x");
    }
    scene.sync("many", found(&json!({"name": "many-*"}))).await;
    let object = scene.ready("many", "False", "TooManyMatches").await;
    assert!(object.message().contains("more than 256 sources"), "{}", object.message());
    // Names of which a pattern takes too long.
    let names: serde_json::Map<String, Value> =
        (0..50).map(|index| (format!("{index}{}", "a".repeat(400)), json!("x"))).collect();
    scene.vault.set("long", &Value::Object(names).to_string());
    let step = json!({"match": "a{0,150}z", "to": ""});
    let spec = json!({"refreshInterval": "10s", "dataFrom": [{"secret": {"name": "long"}, "rename": vec![step; 8]}]});
    scene.sync("long", spec).await;
    let object = scene.ready("long", "False", "InvalidPattern").await;
    assert!(object.message().contains("too much to run"), "{}", object.message());
}

/// A secret that was rotated long ago.
fn rotated(scene: &OperatorScene, name: &str, values: &[&str]) {
    for (value, turns) in values.iter().rev().zip(1..).collect::<Vec<_>>().into_iter().rev() {
        scene.vault.set_ago(name, value, 3600 * turns);
    }
}

fn both_versions(kind: &str, name: &str) -> Value {
    let of = |version: Option<&str>| {
        let mut source = json!({"name": name});
        if let Some(version) = version {
            source["version"] = json!(version);
        }
        json!({kind: source})
    };
    json!({"refreshInterval": "10s", "data": [
        {"key": "current", "from": of(None)},
        {"key": "previous", "from": of(Some("Previous")), "onMissing": "Remove"},
    ]})
}

#[tokio::test]
async fn the_version_before_the_current_follows_a_rotation_in_the_same_change() {
    let scene = OperatorScene::new().await;
    rotated(&scene, "token", &["one", "two", "three"]);
    scene.sync("shop", both_versions("secret", "token")).await;
    let object = scene.synced("shop").await;
    scene.secret_is("shop", &[("current", "three"), ("previous", "two")]).await;
    let status = serde_json::to_value(object.status.unwrap()).unwrap();
    let versions = scene.vault.versions("token");
    assert_eq!(status["entries"][1]["pin"], "Previous");
    assert_eq!(status["entries"][1]["version"], json!(versions[1].version));
    let history = History::of(&scene.namespace).await;
    scene.vault.set("token", "four");
    let state = |current: &str, previous: &str| {
        [("current", current), ("previous", previous)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    };
    let seen = history.until("shop", &state("four", "three")).await;
    let whole = |seen: &_| *seen == state("three", "two") || *seen == state("four", "three");
    assert!(seen.iter().all(whole), "{seen:?}");
    scene.synced("shop").await;
    // What is asked for each time, and what only when there is a new version.
    let lists = |scene: &OperatorScene| scene.vault.count(keyvault_emulator::Operation::ListVersions);
    let (before, requests) = (lists(&scene), scene.vault.requests().len());
    scene.vault.requests_until(|all| all.len() > requests + 8).await;
    assert_eq!(lists(&scene), before);
}

#[tokio::test]
async fn before_the_first_rotation_there_is_no_version_before_and_one_that_is_disabled_is_none() {
    let scene = OperatorScene::new().await;
    rotated(&scene, "token", &["one"]);
    scene.sync("shop", both_versions("secret", "token")).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("current", "one")]).await;
    let mut keeps = both_versions("secret", "token");
    keeps["data"][1]["onMissing"] = json!("Keep");
    scene.sync("keeps", keeps).await;
    let object = scene.ready("keeps", "False", "SecretNotFound").await;
    for part in [
        "secret token version Previous (key previous)",
        "no enabled version of this secret before the current one",
    ] {
        assert!(object.message().contains(part), "{}", object.message());
    }
    // Disabled as it is when it is replaced: there is still none.
    scene.vault.disable("token");
    scene.vault.set("token", "two");
    scene.secret_is("shop", &[("current", "two")]).await;
    scene.vault.set("token", "three");
    scene.secret_is("shop", &[("current", "three"), ("previous", "two")]).await;
    scene.synced("keeps").await;
}

#[tokio::test]
async fn keys_and_certificates_have_a_version_before_too() {
    let scene = OperatorScene::new().await;
    scene.emulator.set_clock_offset(-3600);
    scene.vault.set_key("signing", KeyKind::P256);
    scene.vault.set_certificate("tls", CertificateSpec::pem(&chain().0));
    scene.emulator.set_clock_offset(0);
    scene.sync("key", both_versions("key", "signing")).await;
    let mut certificate = both_versions("certificate", "tls");
    for item in certificate["data"].as_array_mut().unwrap() {
        item["from"]["certificate"]["part"] = json!("Leaf");
    }
    scene.sync("certificate", certificate).await;
    for name in ["key", "certificate"] {
        scene.synced(name).await;
        assert_eq!(scene.secret(name).await.unwrap().keys().collect::<Vec<_>>(), ["current"]);
    }
    let old = [scene.secret("key").await.unwrap(), scene.secret("certificate").await.unwrap()];
    scene.vault.set_key("signing", KeyKind::P384);
    scene.vault.set_certificate("tls", CertificateSpec::pem(&chain().0));
    for (name, old) in ["key", "certificate"].iter().zip(&old) {
        eventually(&format!("both versions of {name}"), || async {
            let now = scene.secret(name).await.unwrap();
            let both = now.get("previous") == Some(&old["current"]) && now["current"] != old["current"];
            if both { Ok(()) } else { Err(format!("{:?}", now.keys())) }
        })
        .await;
        scene.synced(name).await;
    }
}

#[tokio::test]
async fn an_identity_that_may_not_list_is_told_so_of_the_version_before_alone() {
    let scene = OperatorScene::new().await;
    rotated(&scene, "token", &["one", "two"]);
    scene.vault.grant_only(support::scene::CLIENT, &[keyvault_emulator::Permission::Get]);
    scene.sync("shop", both_versions("secret", "token")).await;
    let object = scene.ready("shop", "False", "MissingRole").await;
    assert!(
        object.message().contains("secret token version Previous (key previous)"),
        "{}",
        object.message()
    );
    scene.secret_is("shop", &[("current", "two")]).await;
    scene.vault.grant(support::scene::CLIENT);
    scene.secret_is("shop", &[("current", "two"), ("previous", "one")]).await;
}
