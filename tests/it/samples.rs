//! `config/samples`, applied as they are: what they promise happens, and what the README shows of them is what they say.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keyvault_emulator::{CertificateFormat, CertificateSpec, Emulator, KeyKind, SecretOptions};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::Value;
use tokio::process::Command;

use crate::program::{Program, operator};
use support::tools::{project, tool};
use support::{Cluster, cluster, samples};
use vaultsync::api::VaultSecretSync;

/// `kubectl` as the admin; a failure is a panic with its words. Without blocking: the emulator lives in this thread.
async fn kubectl(cluster: &Cluster, arguments: &[&str]) {
    let mut command = Command::new(tool("kubectl").expect("kubectl"));
    let output = command
        .args(arguments)
        .current_dir(project())
        .env("KUBECONFIG", cluster.kubeconfig_for_admin())
        .output()
        .await
        .expect("kubectl starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The emulated Azure as the comments of the samples ask for it.
async fn azure(cluster: &Cluster) -> Emulator {
    let (emulator, vault) = samples::azure(cluster).await.unwrap();
    vault.set("shop-db-url", "postgres://shop");
    vault.set("shop-api", r#"{"token": "t0k3n", "expires": "2030-01-01"}"#);
    vault.set("shop-config", r#"{"LOG_LEVEL": "info", "FEATURES": "search,cart"}"#);
    let certificate = CertificateSpec::self_signed("shop.example", KeyKind::P256, CertificateFormat::Pfx);
    vault.set_certificate("shop-tls", certificate);
    vault.set("shop-store-password", "changeit");
    vault.set_key("shop-signing", KeyKind::P256);
    let tags = [("env".to_owned(), "prod".to_owned())].into();
    vault.set_with("shop-smtp-url", "smtp://mail", SecretOptions { tags, ..SecretOptions::default() });
    vault.set("shop-registry", r#"{"user": "shop", "password": "p"}"#);
    vault.set("shop-registry-host", "r.example");
    vault.set("shop-env", "USER=shop\nMODE=fast\n");
    vault.set("shop-files", r#"{"logo": "iVBORw=="}"#);
    emulator
}

/// What the samples of `shapes` make: each Secret with its type and its keys.
const SHAPES: [(&str, &str, &[&str]); 9] = [
    ("shop-tls", "kubernetes.io/tls", &["ca.crt", "tls.crt", "tls.key"]),
    ("shop-java", "Opaque", &["keystore.p12", "password", "truststore.p12"]),
    ("shop-signing", "Opaque", &["current.pem"]),
    ("shop-environment", "Opaque", &["SMTP_URL"]),
    ("shop-pull", "kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("shop-members", "Opaque", &["MODE", "USER", "logo.png"]),
    ("shop-versions", "Opaque", &["url"]),
    ("shop-admin", "Opaque", &["admin.password", "webhook.token"]),
    ("shop-several-vaults", "Opaque", &["API_TOKEN", "DATABASE_URL", "FEATURES", "LOG_LEVEL"]),
];

async fn each_shape_is_made(cluster: &Cluster) {
    kubectl(cluster, &["apply", "-k", "config/samples/shapes"]).await;
    kubectl(cluster, &["wait", "--for=condition=Ready", "vss", "--all", "-n", "shop", "--timeout=120s"])
        .await;
    let secrets: Api<Secret> = Api::namespaced(cluster.admin(), "shop");
    for (name, type_, keys) in SHAPES {
        let secret = secrets.get(name).await.unwrap();
        let found: Vec<&str> = secret.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
        assert_eq!((secret.type_.as_deref(), found.as_slice()), (Some(type_), keys), "{name}");
    }
}

/// A program that reads an object by its Rust type and writes it again says nothing that a rule refuses.
async fn each_is_accepted_as_its_rust_type_writes_it(cluster: &Cluster) {
    let objects: Api<VaultSecretSync> = Api::namespaced(cluster.admin(), "shop");
    let parameters = PatchParams { dry_run: true, ..PatchParams::apply("program").force() };
    let mut accepted = 0;
    for folder in folders() {
        for file in files(&folder) {
            let value: Value =
                serde_saphyr::from_str(&fs::read_to_string(folder.join(&file)).unwrap()).unwrap();
            if value["kind"] != "VaultSecretSync" {
                continue;
            }
            let mut object: VaultSecretSync = serde_json::from_value(value).unwrap();
            object.metadata.namespace = Some("shop".to_owned());
            let name = format!("typed-{accepted}");
            object.metadata.name = Some(name.clone());
            let written = objects.patch(&name, &parameters, &Patch::Apply(&object)).await;
            assert!(written.is_ok(), "{file}: {written:?}");
            accepted += 1;
        }
    }
    assert!(accepted >= SHAPES.len(), "{accepted}");
}

#[tokio::test]
async fn the_samples_give_an_app_its_environment_from_the_vault() {
    let cluster = cluster();
    let emulator = azure(cluster).await;
    let program = Program::start(cluster, &mut operator(cluster, &emulator, "shop").await);
    kubectl(cluster, &["apply", "-k", "config/samples"]).await;
    // What a pipeline does straight after apply, and trusts.
    kubectl(cluster, &["wait", "--for=condition=Ready", "vss/shop", "-n", "shop", "--timeout=120s"]).await;

    let secrets: Api<Secret> = Api::namespaced(cluster.admin(), "shop");
    let data = secrets.get("shop").await.unwrap().data.unwrap();
    let pairs: Vec<_> = data.iter().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect();
    let expected: [(&str, &[u8]); 4] = [
        ("API_TOKEN", b"t0k3n"),
        ("DATABASE_URL", b"postgres://shop"),
        ("FEATURES", b"search,cart"),
        ("LOG_LEVEL", b"info"),
    ];
    assert_eq!(pairs, expected);

    let deployments: Api<Deployment> = Api::namespaced(cluster.admin(), "shop");
    let start = cluster.start_of(&deployments.get("shop").await.unwrap()).await.unwrap();
    let mut command = start.command("/nothing".as_ref());
    let mut app = cluster.processes.spawn(command.stdout(Stdio::piped())).unwrap();
    let lines = BufReader::new(app.stdout.take().unwrap()).lines().map(Result::unwrap);
    let seen: BTreeSet<String> = lines.take_while(|line| line != "started").collect();
    app.kill().unwrap();
    app.wait().unwrap();
    // A name and the length of its value each; the shell has a few of its own.
    for line in ["API_TOKEN 5", "DATABASE_URL 15", "FEATURES 11", "LOG_LEVEL 4", "SHOP_API_TOKEN 5"] {
        assert!(seen.contains(line), "{seen:?}");
    }
    assert!(!seen.iter().any(|line| line.contains("t0k3n") || line.contains("postgres")), "{seen:?}");

    each_shape_is_made(cluster).await;
    each_is_accepted_as_its_rust_type_writes_it(cluster).await;
    // An operator of one namespace reads through none of these; what the API server thinks of them is to be known.
    kubectl(cluster, &["apply", "--dry-run=server", "-k", "config/samples/cluster"]).await;

    let (status, printed) = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
    let namespaces: Api<Namespace> = Api::all(cluster.admin());
    namespaces.delete("shop", &DeleteParams::background()).await.unwrap();
}

/// The samples, and those that are applied by themselves.
fn folders() -> [PathBuf; 3] {
    ["", "shapes", "cluster"].map(|folder| samples::folder().join(folder))
}

/// The files of a folder, but its kustomization.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file()).map(|path| path.file_name().unwrap().to_owned());
    let mut files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
    assert!(files.remove("kustomization.yaml"));
    files
}

#[test]
fn every_sample_is_applied_by_the_kustomization_of_its_folder() {
    for folder in folders() {
        let text = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        let listed: BTreeSet<String> =
            text.lines().filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect();
        assert_eq!(listed, files(&folder));
    }
    let entries = fs::read_dir(samples::folder()).unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    assert_eq!(there, folders().into_iter().skip(1).collect(), "a folder that nothing applies");
}

/// The paths of the fields that a schema has.
fn fields_of(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let schema = if schema["items"].is_object() { &schema["items"] } else { schema };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields_of(field, &path, found);
        found.insert(path);
    }
}

/// The paths of the fields that an object sets.
fn set_in(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for item in value.as_array().into_iter().flatten() {
        set_in(item, path, found);
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        set_in(field, &path, found);
        found.insert(path);
    }
}

#[test]
fn every_field_of_every_kind_is_in_a_sample() {
    let (mut wanted, mut shown, mut alternatives) = (BTreeSet::new(), BTreeSet::new(), String::new());
    for crd in vaultsync::api::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
        fields_of(spec, &crd.spec.names.kind, &mut wanted);
    }
    for folder in folders() {
        for file in files(&folder) {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            let object: Value = serde_saphyr::from_str(&text).unwrap();
            set_in(&object["spec"], object["kind"].as_str().unwrap(), &mut shown);
            alternatives.push_str(&text);
        }
    }
    // Of fields that exclude each other the samples say the others in comments.
    let said = |path: &&String| {
        let name = path.rsplit('.').next().unwrap_or_default();
        alternatives.contains(&format!("# Or {name}: "))
    };
    let missing: Vec<&String> = wanted.difference(&shown).filter(|path| !said(path)).collect();
    assert!(wanted.len() > 80 && missing.is_empty(), "of {}: {missing:#?}", wanted.len());
}

/// The (file, block) pairs of a text: `<!-- config/samples/x.yaml -->` and the fenced YAML right below it.
fn shown(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let name = line.trim().strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(name) = name.filter(|name| name.starts_with("config/samples/")) else { continue };
        let fence = lines.find(|line| !line.trim().is_empty());
        assert_eq!(fence, Some("```yaml"), "{name} is followed by its YAML");
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push((name.to_owned(), block.join("\n") + "\n"));
    }
    found
}

/// The README and every page of `docs/`.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(project().join("docs")).expect("docs/");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(project().join("README.md"));
    pages
}

#[test]
fn what_the_documentation_shows_of_a_sample_is_what_the_sample_says() {
    let mut found = BTreeSet::new();
    for page in pages() {
        for (name, block) in shown(&fs::read_to_string(&page).unwrap()) {
            // The page says around it what the sample says in comments.
            let sample = fs::read_to_string(project().join(&name)).unwrap();
            let lines = sample.split_inclusive('\n').filter(|line| !line.trim_start().starts_with('#'));
            assert_eq!(block, lines.collect::<String>(), "{name} in {}", page.display());
            found.insert((page.clone(), name));
        }
    }
    assert!(
        found.contains(&(project().join("README.md"), "config/samples/vaultsecretsync.yaml".to_owned())),
        "the README shows the sample below <!-- config/samples/vaultsecretsync.yaml -->"
    );
}
