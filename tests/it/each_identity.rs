//! Each way to be someone for a vault, from the object to the Secret, under the operator's own rights; and how what
//! it proves itself with is replaced while the operator runs.

use std::fs;

use keyvault_emulator::{ManagedIdentity, TokenEndpoint};
use serde_json::{Value, json};

use k8s_openapi::api::core::v1::ServiceAccount;

use support::scene::{CLIENT, OperatorScene};
use support::shared::Shared;
use support::tools::project;
use support::{Account, Mounted};

const SECOND: &str = "bbbbbbbb-1111-4222-8333-444444444444";
/// No token is kept that lives so shortly: each read proves the identity anew, and notices at once what was revoked.
const TOKEN_SECONDS: u32 = 20;
/// The shortest life of a ServiceAccount's token.
const ASSERTION_SECONDS: i64 = 600;

/// A Secret that is synced through a `ClusterKeyVault`.
struct Synced {
    scene: OperatorScene,
    shared: Shared,
}

impl Synced {
    /// All of it, the operator running.
    async fn by(mut scene: OperatorScene, identity: Value) -> Self {
        scene.emulator.set_token_lifetime(TOKEN_SECONDS);
        scene.vault.set("db", "one");
        let shared = scene.share_as(identity).await;
        scene.start().await;
        scene.sync("shop", shared.spec(&[("DB", "db")])).await;
        Self { scene, shared }
    }

    /// The vault's value arrives.
    async fn delivers(&self, value: &str) {
        self.scene.secret_is("shop", &[("DB", value)]).await;
        self.scene.synced("shop").await;
        self.shared.says("True", "Connected").await;
    }

    /// The connection says why nothing arrives; what was delivered stays.
    async fn fails(&self, reason: &str, parts: &[&str]) {
        let message = self.shared.says("False", reason).await;
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    /// The value changes, and what proves the identity does not count any more.
    async fn is_revoked(&self, reason: &str, parts: &[&str]) {
        self.scene.vault.set("db", "two");
        self.scene.ask("shop", "in vain").await;
        self.fails(reason, parts).await;
        self.scene.secret_is("shop", &[("DB", "one")]).await;
    }
}

#[tokio::test]
async fn a_workload_identity_is_replaced_by_another_application_and_survives_its_service_account() {
    let scene = OperatorScene::of_shared_vaults().await;
    let identity = |client: &str| {
        json!({"workloadIdentity": {
            "serviceAccountName": "shop", "clientId": client, "tenantId": scene.emulator.tenant(),
        }})
    };
    let (first, second) = (identity(CLIENT), identity(SECOND));
    let synced = Synced::by(scene, first).await;
    synced.delivers("one").await;

    let Synced { scene, shared } = &synced;
    scene.unfederate(&Account::new(&scene.namespace.name, "shop"), CLIENT);
    scene.federate(&Account::new(&scene.namespace.name, "shop"), SECOND);
    scene.vault.grant(SECOND);
    synced.is_revoked("InvalidIdentity", &["AADSTS700016", CLIENT]).await;
    shared.edit(json!({"identity": second})).await;
    synced.delivers("two").await;

    scene.delete::<ServiceAccount>("shop").await;
    scene.vault.set("db", "three");
    scene.ask("shop", "in vain again").await;
    let missing = format!("ServiceAccount shop does not exist in namespace {}", scene.namespace.name);
    synced.fails("ServiceAccountNotFound", &[&missing, "Create it"]).await;
    scene.namespace.account("shop").await;
    synced.delivers("three").await;
}

#[tokio::test]
async fn the_operators_own_identity_follows_its_projected_token() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let cluster = scene.namespace.cluster();
    let mut projected = Mounted::empty();
    scene.give(&[
        format!("--azure-client-id={SECOND}"),
        format!("--azure-tenant-id={}", scene.emulator.tenant()),
        format!("--azure-federated-token-file={}", projected.path().join("azure-identity-token").display()),
        "--azure-authority-host=https://login.microsoftonline.com/".to_owned(),
    ]);
    scene.federate(cluster.operator(), SECOND);
    scene.vault.grant(SECOND);
    let synced = Synced::by(scene, json!({"operatorIdentity": {}})).await;
    synced.fails("WorkloadIdentityNotInjected", &["AZURE_FEDERATED_TOKEN_FILE"]).await;
    projected.put("azure-identity-token", cluster.assertion(cluster.operator(), ASSERTION_SECONDS).await);
    synced.delivers("one").await;

    // Past the end of the first token, and far from that of the second.
    synced.scene.emulator.set_clock_offset(2 * ASSERTION_SECONDS);
    synced.is_revoked("InvalidIdentity", &["AADSTS700024", "the kubelet renews"]).await;
    let renewed = cluster.assertion(cluster.operator(), 24 * ASSERTION_SECONDS).await;
    projected.put("azure-identity-token", renewed);
    synced.delivers("two").await;
    let subject = Some(cluster.operator().user());
    assert!(synced.scene.emulator.token_requests().iter().all(|asked| asked.subject == subject));
}

#[tokio::test]
async fn a_managed_identity_of_the_node_is_exchanged_for_another() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    scene.give(&[
        format!("--identity-endpoint={}", scene.emulator.identity_endpoint()),
        format!("--identity-header={}", scene.emulator.identity_header()),
    ]);
    let identity = |client: &str| ManagedIdentity {
        tenant: scene.emulator.tenant().to_owned(),
        client_id: client.to_owned(),
        resource_id: None,
    };
    let (first, second) = (identity(CLIENT), identity(SECOND));
    scene.emulator.assign_identity(first);
    let synced = Synced::by(scene, json!({"managedIdentity": {}})).await;
    synced.delivers("one").await;

    let scene = &synced.scene;
    scene.emulator.unassign_identity(CLIENT);
    scene.vault.revoke(CLIENT);
    synced.is_revoked("InvalidIdentity", &["no managed identity", "scale set"]).await;
    scene.vault.grant(SECOND);
    scene.emulator.assign_identity(second);
    synced.delivers("two").await;
    let asked = scene.emulator.token_requests();
    assert!(asked.iter().all(|asked| asked.endpoint == TokenEndpoint::AppService), "{asked:?}");
    let targets = scene.emulator.connects().into_iter().map(|connect| connect.target);
    let vault = format!("{}.vault.azure.net:443", scene.vault.name());
    assert_eq!(targets.filter(|target| *target != vault).collect::<Vec<_>>(), [""; 0]);
}

/// What an application proves itself with, and how Entra learns of it.
struct Credential {
    file: Vec<u8>,
    register: fn(&OperatorScene),
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(project().join("tests/credentials").join(name)).expect("a fixture")
}

fn register_certificate(scene: &OperatorScene, name: &str) {
    let pem = String::from_utf8(fixture(name)).expect("PEM");
    scene.emulator.register_certificates(scene.emulator.tenant(), SECOND, &pem);
}

/// The file arrives late, is revoked, and is replaced by another.
async fn a_replaced_file_counts(first: Credential, second: Credential, number: &str) {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let mut mounted = Mounted::empty();
    scene.give(&[format!("--credentials-dir={}", mounted.path().display())]);
    (first.register)(&scene);
    scene.vault.grant(SECOND);
    let identity = json!({"servicePrincipal": {
        "tenantId": scene.emulator.tenant(), "clientId": SECOND, "credentialFile": "shop",
    }});
    let synced = Synced::by(scene, identity).await;
    synced.fails("CredentialNotFound", &["`shop`", "--credentials-dir"]).await;
    mounted.put("shop", first.file);
    synced.delivers("one").await;

    (second.register)(&synced.scene);
    synced.is_revoked("InvalidIdentity", &[number, SECOND]).await;
    mounted.put("shop", second.file);
    synced.delivers("two").await;
}

#[tokio::test]
async fn a_service_principals_secret_is_rotated_by_its_mounted_file() {
    a_replaced_file_counts(
        Credential {
            file: b"first\n".to_vec(),
            register: |scene| scene.emulator.register_secret(scene.emulator.tenant(), SECOND, "first"),
        },
        Credential {
            file: b"second".to_vec(),
            register: |scene| scene.emulator.register_secret(scene.emulator.tenant(), SECOND, "second"),
        },
        "AADSTS7000215",
    )
    .await;
}

#[tokio::test]
async fn a_service_principals_certificate_in_pem_is_rotated_by_its_mounted_file() {
    a_replaced_file_counts(
        Credential { file: fixture("first.pem"), register: |scene| register_certificate(scene, "first.crt") },
        Credential {
            file: fixture("second.pem"),
            register: |scene| register_certificate(scene, "second.crt"),
        },
        "AADSTS700027",
    )
    .await;
}

#[tokio::test]
async fn a_service_principals_certificate_in_pfx_is_rotated_by_its_mounted_file() {
    a_replaced_file_counts(
        Credential { file: fixture("first.pfx"), register: |scene| register_certificate(scene, "first.crt") },
        Credential {
            file: fixture("second.pfx"),
            register: |scene| register_certificate(scene, "second.crt"),
        },
        "AADSTS700027",
    )
    .await;
}
