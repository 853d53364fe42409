//! What a user reads of a failure that is of the identity, the way or the host: the connection says it with the
//! remedy, an object that was never synced says it too, and both heal. Outages that come later are in `outage.rs`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyvault_emulator::{Fault, FaultKind, ManagedIdentity, Operation, Permission};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;
use vaultsync::Reason;
use vaultsync::api::{KeyVault, READY, condition};
use vaultsync::vault::{Credentials, Transport};

use support::scene::{CLIENT, OperatorScene, data};
use support::shared::Shared;
use support::tools::project;
use support::{Fault as ApiFault, Mounted, Says as _, until};

#[test]
fn every_reason_is_read_by_a_test_where_a_user_reads_it() {
    // Those that drive the plane alone read no condition.
    let of_the_plane = ["identities.rs", "plane.rs", "plane_list.rs", "chart.rs"];
    let files = fs::read_dir(project().join("tests/it")).unwrap().map(|entry| entry.unwrap().path());
    let tests: String = files
        .filter(|path| path.is_file() && !of_the_plane.iter().any(|name| path.ends_with(name)))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // No object has a name that a vault would not take, or a spec that the schema refuses; that a write is forbidden
    // or its namespace ends is shown to `plan` alone; and the emulated vault has keys of the two types alone that have a
    // public part.
    let unread = [
        Reason::InvalidName,
        Reason::InvalidSpec,
        Reason::WriteForbidden,
        Reason::NamespaceTerminating,
        Reason::InvalidKeyType,
    ];
    let missing: Vec<_> = Reason::iter()
        .filter(|reason| !unread.contains(reason) && !tests.contains(&format!("\"{reason}\"")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The object `shop` waits for the connection `default`; both say why.
pub(crate) async fn both_say(scene: &OperatorScene, reason: &str, parts: &[&str]) {
    let vault = scene.vault_says("default", "False", reason).await;
    let said = vault.condition(READY).unwrap().message.clone();
    let object = scene.ready("shop", "False", reason).await;
    let object = object.message();
    assert!(object.contains("KeyVault default"), "{object}");
    for part in parts {
        assert!(said.contains(part) && object.contains(part), "`{part}` is not in: {said} / {object}");
    }
    assert_eq!(scene.secret("shop").await, None);
}

/// The same of an object that waits for a shared connection.
async fn shared_says(scene: &OperatorScene, shared: &Shared, reason: &str, parts: &[&str]) {
    let said = shared.says("False", reason).await;
    let object = scene.ready("shop", "False", reason).await;
    let object = object.message();
    assert!(object.contains(&format!("ClusterKeyVault {}", shared.name)), "{object}");
    for part in parts {
        assert!(said.contains(part) && object.contains(part), "`{part}` is not in: {said} / {object}");
    }
}

pub(crate) async fn both_heal(scene: &OperatorScene) {
    scene.synced("shop").await;
    scene.vault_says("default", "True", "Connected").await;
}

/// A scene with one secret and an object that reads it, without an operator.
pub(crate) async fn waiting() -> OperatorScene {
    let scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A network in which no name resolves.
pub(crate) struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Err(std::io::Error::other("no such name").into()) })
    }
}

/// A network in which every name leads here, where nobody listens.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Ok(Box::new([SocketAddr::from((Ipv4Addr::LOCALHOST, 0))].into_iter()) as Addrs) })
    }
}

/// Leads through the emulator's proxy, but for the vaults' hosts: these are sought by name in `names` until the way is
/// `mended`.
fn broken(scene: &OperatorScene, names: impl Resolve + 'static, mended: &Arc<AtomicBool>) -> Transport {
    let (good, ca, mended) =
        (scene.emulator.proxy_url(), scene.emulator.ca_pem().to_owned(), Arc::clone(mended));
    let names = Arc::new(names);
    Transport::new(
        Arc::new(move || {
            let (good, mended) = (good.clone(), Arc::clone(&mended));
            let way = reqwest::Proxy::custom(move |url| {
                let is_vault = url.host_str().is_some_and(|host| host.ends_with(".vault.azure.net"));
                (!is_vault || mended.load(Ordering::SeqCst)).then(|| good.clone())
            });
            let root = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
            reqwest::Client::builder().proxy(way).dns_resolver(Arc::clone(&names)).tls_certs_only([root])
        }),
        false,
    )
}

#[tokio::test]
async fn a_vault_whose_name_does_not_resolve_is_told_so_and_heals() {
    let mut scene = waiting().await;
    let mended = Arc::new(AtomicBool::new(false));
    scene.network = Some(broken(&scene, NoNames, &mended));
    scene.start().await;
    both_say(&scene, "VaultHostNotFound", &["typo", "private DNS zone"]).await;
    mended.store(true, Ordering::SeqCst);
    both_heal(&scene).await;
}

#[tokio::test]
async fn a_vault_to_which_no_way_leads_is_told_so_and_heals() {
    let mut scene = waiting().await;
    let mended = Arc::new(AtomicBool::new(false));
    scene.network = Some(broken(&scene, Loopback, &mended));
    scene.start().await;
    both_say(&scene, "NetworkUnreachable", &["No connection to the vault", "port 443"]).await;
    mended.store(true, Ordering::SeqCst);
    both_heal(&scene).await;
}

#[tokio::test]
async fn a_proxy_that_intercepts_tls_is_named_until_its_authority_is_trusted() {
    let mut scene = waiting().await;
    // From now on the vault shows a certificate of an authority that the operator does not know.
    scene.vault.set_host(&format!("{}.vault.azure.net", scene.vault.name()));
    scene.start().await;
    both_say(&scene, "TlsFailure", &["No TLS session with the vault", "add its CA"]).await;
    scene.stop().await;
    let (proxy, both) = (
        scene.emulator.proxy_url(),
        [scene.emulator.ca_pem(), scene.emulator.private_ca_pem()].map(str::to_owned),
    );
    scene.network = Some(Transport::new(
        Arc::new(move || {
            let roots = both.iter().map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
            let proxy = reqwest::Proxy::https(&proxy).unwrap();
            reqwest::Client::builder().proxy(proxy).tls_certs_only(roots)
        }),
        true,
    ));
    scene.start().await;
    both_heal(&scene).await;
}

#[tokio::test]
async fn a_host_that_names_a_foreign_token_service_is_not_trusted_and_gets_no_token() {
    let mut scene = waiting().await;
    // Without a tenant it is the vault that names it.
    let tenant = json!({"spec": {"identity": {"workloadIdentity": {"tenantId": null}}}});
    scene.edit_vault("default", tenant).await;
    scene.vault.set_challenge("login.evil.test", "https://vault.azure.net");
    scene.start().await;
    both_say(&scene, "UntrustedVaultHost", &["sends it no token"]).await;
    assert!(scene.emulator.token_requests().is_empty());
    assert!(scene.vault.requests().iter().all(|request| request.client_id.is_none()));
    scene.vault.set_challenge("login.windows.net", "https://vault.azure.net");
    both_heal(&scene).await;
    assert_eq!(scene.emulator.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_tenant_that_is_not_the_vaults_is_told_with_the_right_one() {
    let mut scene = waiting().await;
    let other = "72f988bf-0000-4000-8000-00000000beef";
    scene.vault.set_tenant(other);
    scene.start().await;
    both_say(&scene, "WrongTenant", &[&format!("Set tenantId to {other}")]).await;
    scene.vault.set_tenant(scene.emulator.tenant());
    both_heal(&scene).await;
}

#[tokio::test]
async fn a_service_account_that_the_operator_may_not_use_is_told_with_the_right_to_grant() {
    let mut scene = waiting().await;
    // Tokens of `shop` alone.
    scene.operate_with(&[]).await;
    scene.identity("other", CLIENT).await;
    let account =
        |name: &str| json!({"spec": {"identity": {"workloadIdentity": {"serviceAccountName": name}}}});
    scene.edit_vault("default", account("other")).await;
    scene.start().await;
    both_say(&scene, "TokenRequestForbidden", &["`create` on `serviceaccounts/token`"]).await;
    scene.edit_vault("default", account("shop")).await;
    both_heal(&scene).await;
}

#[tokio::test]
async fn an_api_server_that_makes_no_token_is_named_and_tried_again() {
    let mut scene = waiting().await;
    scene.faults.always(|call| call.is("create", "serviceaccounts/token"), ApiFault::internal());
    scene.start().await;
    both_say(&scene, "TokenRequestFailed", &["The API server made no token"]).await;
    scene.faults.clear();
    both_heal(&scene).await;
}

#[tokio::test]
async fn a_federation_refused_in_words_that_need_escapes_is_still_one() {
    let mut scene = waiting().await;
    let refusal = json!({
        "error": "invalid_client", "error_codes": [700_213],
        "error_description": "AADSTS700213: \"shop\"\r\nis not \\ known",
    });
    scene.emulator.token_fault(Fault::answer(401, &refusal.to_string()));
    scene.start().await;
    let subject = format!("subject `system:serviceaccount:{}:shop`", scene.namespace.name);
    both_say(&scene, "FederationMismatch", &["AADSTS700213", &subject]).await;
    scene.emulator.clear_token_faults();
    both_heal(&scene).await;
}

#[tokio::test]
async fn an_answer_that_is_no_token_services_is_told_from_a_refusal() {
    let mut scene = waiting().await;
    scene.emulator.token_fault(Fault::answer(403, "<html>blocked: error_codes [700016]</html>"));
    scene.start().await;
    both_say(&scene, "MalformedResponse", &["The answer of the token service", "proxy"]).await;
    scene.emulator.clear_token_faults();
    both_heal(&scene).await;
}

#[tokio::test]
async fn an_identity_that_may_not_list_reads_by_get_and_the_connection_says_why() {
    let mut scene = waiting().await;
    scene.vault.grant_only(CLIENT, &[Permission::Get]);
    scene.edit_vault("default", json!({"spec": {"detect": "List"}})).await;
    scene.start().await;
    scene.synced("shop").await;
    let says = |vault: Option<&KeyVault>| {
        let status = vault.and_then(|vault| vault.status.as_ref());
        status.and_then(|status| status.mode_reason.as_ref()).is_some_and(|why| why.contains("may not list"))
    };
    let vault = until(&scene.api(), "default", "it says that it may not list", says).await;
    let status = vault.unwrap().status.unwrap();
    assert_eq!(status.mode.as_deref(), Some("Get"));
    assert_eq!(condition(&status.conditions, READY).unwrap().status, "True");
    assert!(scene.vault.count(Operation::List) > 0);
}

/// An object that waits for a shared connection of this identity.
async fn waiting_as(scene: &OperatorScene, identity: Value) -> Shared {
    scene.vault.set("db", "one");
    let shared = scene.share_as(identity).await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    shared
}

#[tokio::test]
async fn an_operator_without_an_identity_of_its_own_is_told_how_to_get_one() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let shared = waiting_as(&scene, json!({"operatorIdentity": {}})).await;
    scene.start().await;
    let parts = ["azure.workload.identity/use", "azure.workload.identity/client-id", "restart the pod"];
    shared_says(&scene, &shared, "WorkloadIdentityNotInjected", &parts).await;

    scene.stop().await;
    let (cluster, mut projected) = (scene.namespace.cluster(), Mounted::empty());
    projected.put("token", cluster.assertion(cluster.operator(), 3600).await);
    scene.federate(cluster.operator(), CLIENT);
    scene.give(&[
        format!("--azure-client-id={CLIENT}"),
        format!("--azure-tenant-id={}", scene.emulator.tenant()),
        format!("--azure-federated-token-file={}", projected.path().join("token").display()),
    ]);
    scene.start().await;
    scene.synced("shop").await;
    shared.says("True", "Connected").await;
}

#[tokio::test]
async fn a_node_without_managed_identities_is_told_so() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    assign(&scene);
    let header = format!("--identity-header={}", scene.emulator.identity_header());
    scene.give(&[format!("--identity-endpoint=http://{}/msi/token", nobody()), header.clone()]);
    let shared = waiting_as(&scene, json!({"managedIdentity": {"clientId": CLIENT}})).await;
    scene.start().await;
    let parts = ["Nothing answers", "169.254.169.254", "Azure node"];
    shared_says(&scene, &shared, "ManagedIdentityUnavailable", &parts).await;

    scene.stop().await;
    scene.give(&[format!("--identity-endpoint={}", scene.emulator.identity_endpoint()), header]);
    scene.start().await;
    scene.synced("shop").await;
    shared.says("True", "Connected").await;
}

#[tokio::test]
async fn what_answers_in_place_of_managed_identities_is_told_by_its_status_and_heals() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    assign(&scene);
    scene.emulator.identity_fault(FaultKind::NotFound.into());
    scene.give(&[
        format!("--identity-endpoint={}", scene.emulator.identity_endpoint()),
        format!("--identity-header={}", scene.emulator.identity_header()),
    ]);
    let shared = waiting_as(&scene, json!({"managedIdentity": {"clientId": CLIENT}})).await;
    scene.start().await;
    shared_says(&scene, &shared, "ManagedIdentityUnavailable", &["HTTP 404", "nothing else answers"]).await;
    scene.emulator.clear_identity_faults();
    scene.synced("shop").await;
    shared.says("True", "Connected").await;
}

fn assign(scene: &OperatorScene) {
    scene.emulator.assign_identity(ManagedIdentity {
        tenant: scene.emulator.tenant().to_owned(),
        client_id: CLIENT.to_owned(),
        resource_id: None,
    });
}

fn principal(scene: &OperatorScene) -> Value {
    json!({"servicePrincipal": {
        "tenantId": scene.emulator.tenant(), "clientId": CLIENT, "credentialFile": "shop",
    }})
}

#[tokio::test]
async fn each_state_of_a_credential_file_has_its_own_reason_and_a_good_one_heals() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let mut mounted = Mounted::empty();
    scene.give(&[format!("--credentials-dir={}", mounted.path().display())]);
    let tenant = scene.emulator.tenant().to_owned();
    let shared = waiting_as(&scene, principal(&scene)).await;
    scene.start().await;
    shared_says(&scene, &shared, "CredentialNotFound", &["`shop`", "credentialFile"]).await;
    mounted.put("shop", "two\nlines");
    shared_says(&scene, &shared, "CredentialInvalid", &["`shop`", "not a client secret"]).await;
    mounted.put("shop", "canary-secret");
    scene.emulator.register_secret(&tenant, CLIENT, "another");
    shared_says(&scene, &shared, "InvalidIdentity", &["AADSTS7000215", "not its id"]).await;
    scene.emulator.register_secret(&tenant, CLIENT, "canary-secret");
    scene.emulator.expire_secret(&tenant, CLIENT);
    shared_says(&scene, &shared, "CredentialExpired", &["AADSTS7000222", "no restart is needed"]).await;
    scene.emulator.register_secret(&tenant, CLIENT, "canary-secret");
    scene.synced("shop").await;
    shared.says("True", "Connected").await;
}

#[tokio::test]
async fn a_certificate_that_expired_is_told_with_its_end_and_is_signed_with_no_more() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let mut mounted = Mounted::empty();
    let file = project().join("tests/credentials/first.pem");
    mounted.put("shop", fs::read(file).unwrap());
    let late = || "2999-01-01T00:00:00Z".parse().unwrap();
    scene.settings.credentials =
        Credentials { directory: mounted.path().to_owned(), ..Credentials::new(late) };
    let shared = waiting_as(&scene, principal(&scene)).await;
    scene.start().await;
    shared_says(&scene, &shared, "CredentialExpired", &["`shop`", "expired at 21"]).await;
    assert!(scene.emulator.token_requests().is_empty());
}
