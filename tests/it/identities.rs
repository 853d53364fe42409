//! Every way to be someone for a vault, over the wire: what each reads with, that it can be replaced while the
//! operator runs, what each failure says, and that no token leaves for a host outside.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use keyvault_emulator::{
    Config, Emulator, Fault, FaultKind, Forbidden, LoggedRequest, ManagedIdentity, TokenEndpoint,
    TokenRequest, Unauthorized,
};
use reqwest::dns::{Name, Resolve, Resolving};
use vaultsync::run::clock;
use vaultsync::vault::{
    Ask, Connection, CredentialName, Credentials, CustomCloud, HealthState, Identity, IdentityEndpoint,
    Limits, ManagedIdentityId, OperatorIdentity, Plane, Reply, Terms, Transport, VaultMetrics, VaultUrl,
};

use support::Mounted;
use support::plane::{AUDIENCE, CANARY, ISSUER, PlaneOnWire, ServiceAccounts, connection, user, want};
use support::scene::CLIENT;

const OPERATOR: &str = "system:serviceaccount:vaultsync-system:vaultsync";
const RESOURCE: &str =
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop";

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/credentials").join(name)).unwrap()
}

fn certificate(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

fn with(identity: Identity) -> Connection {
    Connection { identity, ..connection("prod") }
}

fn principal(stage: &PlaneOnWire, file: &str) -> Connection {
    with(Identity::ServicePrincipal {
        tenant_id: stage.emulator.tenant().to_owned(),
        client_id: CLIENT.to_owned(),
        credential: CredentialName::parse(file).unwrap(),
    })
}

fn managed(id: Option<ManagedIdentityId>) -> Connection {
    with(Identity::ManagedIdentity { id })
}

async fn with_folder(folder: &Mounted) -> PlaneOnWire {
    let directory = folder.path().to_owned();
    PlaneOnWire::with(|_| Credentials { directory, ..Credentials::new(clock) }).await
}

async fn with_node() -> PlaneOnWire {
    PlaneOnWire::with(|emulator| {
        let (url, header) = (emulator.identity_endpoint(), emulator.identity_header().to_owned());
        let endpoint = IdentityEndpoint::new(&url, header).unwrap();
        Credentials { identity_endpoint: Some(endpoint), ..Credentials::new(clock) }
    })
    .await
}

fn fails_by(reason: &str) -> impl FnMut(&Reply) -> bool {
    move |reply| matches!(&reply.health.state, HealthState::Failing { failure, .. } if failure.reason().as_str() == reason)
}

/// What the connection says when it fails by this reason.
async fn sentence(stage: &mut PlaneOnWire, connection: &Connection, reason: &str) -> String {
    let reply = stage.until(&user("shop"), connection, &want("db"), fails_by(reason)).await;
    let HealthState::Failing { failure, .. } = reply.health.state else { unreachable!() };
    failure.to_string()
}

/// The vault no longer takes the token.
fn reject_token(stage: &PlaneOnWire) {
    let _ = stage.vault("prod").fault(Fault::unauthorized(Unauthorized::TokenExpired).times(1));
}

async fn reads(stage: &mut PlaneOnWire, connection: &Connection) {
    assert_eq!(stage.value(&user("shop"), connection, &want("db")).await, format!("{CANARY}-prod"));
}

/// The token is rejected, another is got, and the vault takes it.
async fn takes_another_token(stage: &PlaneOnWire) {
    let given = |asked: &[TokenRequest]| asked.iter().filter(|asked| asked.status == Some(200)).count();
    let (before, vault) = (given(&stage.emulator.token_requests()), stage.vault("prod"));
    reject_token(stage);
    stage.emulator.token_requests_until(|asked| given(asked) > before).await;
    let seen = vault.requests().len();
    vault.requests_until(|requests| requests[seen..].iter().any(|request| request.status == Some(200))).await;
}

async fn works_again(stage: &mut PlaneOnWire, connection: &Connection) {
    let works = |reply: &Reply| matches!(reply.health.state, HealthState::Working);
    stage.until(&user("shop"), connection, &want("db"), works).await;
}

#[tokio::test]
async fn a_client_secret_is_rotated_by_replacing_its_file() {
    let mut folder = Mounted::empty();
    let mut stage = with_folder(&folder).await;
    let tenant = stage.emulator.tenant().to_owned();
    stage.vault("prod");
    let connection = principal(&stage, "app");

    let absent = sentence(&mut stage, &connection, "CredentialNotFound").await;
    assert!(absent.contains("`app`") && absent.contains("--credentials-dir"), "{absent}");
    stage.emulator.register_secret(&tenant, CLIENT, "canary-7d1f-first");
    folder.put("app", "canary-7d1f-first\n");
    reads(&mut stage, &connection).await;

    stage.emulator.register_secret(&tenant, CLIENT, "canary-7d1f-second");
    reject_token(&stage);
    let wrong = sentence(&mut stage, &connection, "InvalidIdentity").await;
    assert!(wrong.contains("AADSTS7000215") && wrong.contains("not its id"), "{wrong}");
    folder.put("app", "canary-7d1f-second");
    works_again(&mut stage, &connection).await;

    stage.emulator.expire_secret(&tenant, CLIENT);
    reject_token(&stage);
    let expired = sentence(&mut stage, &connection, "CredentialExpired").await;
    assert!(expired.contains("AADSTS7000222") && expired.contains("no restart"), "{expired}");
    let seen = format!("{} {connection:?}", stage.everything_seen());
    assert!(!seen.contains(CANARY), "a secret is in what anyone can read");
}

#[tokio::test]
async fn a_certificate_is_rotated_by_replacing_its_file_whatever_its_form() {
    let mut folder = Mounted::empty();
    let mut stage = with_folder(&folder).await;
    let tenant = stage.emulator.tenant().to_owned();
    stage.vault("prod");
    let connection = principal(&stage, "app.pem");
    for (file, registered) in [
        ("first.pem", "first.crt"),
        ("second.pem", "second.crt"),
        ("first.pfx", "first.crt"),
        ("second.pem", "second.crt"),
        ("first-legacy.pfx", "first.crt"),
        ("second.pem", "second.crt"),
        ("first-pkcs1.pem", "first.crt"),
    ] {
        // The application knows the new one first; the old file is of no use until it is replaced.
        stage.emulator.register_certificates(&tenant, CLIENT, &certificate(registered));
        folder.put("app.pem", fixture(file));
        reads(&mut stage, &connection).await;
        takes_another_token(&stage).await;
    }
    stage.emulator.register_certificates(&tenant, CLIENT, &certificate("second.crt"));
    reject_token(&stage);
    let unknown = sentence(&mut stage, &connection, "InvalidIdentity").await;
    assert!(unknown.contains("AADSTS700027") && unknown.contains("az ad app credential reset"), "{unknown}");
    folder.put("app.pem", fixture("second.pem"));
    works_again(&mut stage, &connection).await;

    let seen = stage.everything_seen();
    for file in ["first.pem", "second.pem", "first-pkcs1.pem"] {
        for line in certificate(file).lines().filter(|line| line.len() == 64) {
            assert!(!seen.contains(line), "a line of {file} is in what anyone can read");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_credential_says_so_and_heals_when_it_is_one() {
    let mut folder = Mounted::empty();
    let mut stage = with_folder(&folder).await;
    let tenant = stage.emulator.tenant().to_owned();
    stage.vault("prod");
    stage.emulator.register_secret(&tenant, CLIENT, "right");
    for (file, says) in [("password.pfx", "password"), ("elliptic.pem", "RSA"), ("encrypted.pem", "password")]
    {
        let name = file.replace('.', "-");
        folder.put(&name, fixture(file));
        let connection = principal(&stage, &name);
        let text = sentence(&mut stage, &connection, "CredentialInvalid").await;
        assert!(text.contains(says) && text.contains(&name), "{text}");
        folder.put(&name, "right");
        works_again(&mut stage, &connection).await;
        stage.plane.forget(&user("shop"));
    }
    fs::create_dir(folder.path().join("folder")).unwrap();
    // To read a pipe is to wait for whoever writes into it.
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    for name in ["folder", "pipe"] {
        let connection = principal(&stage, name);
        let text = sentence(&mut stage, &connection, "CredentialInvalid").await;
        assert!(text.contains("cannot be read"), "{text}");
        stage.plane.forget(&user("shop"));
    }
}

#[tokio::test]
async fn a_certificate_is_not_used_outside_its_dates() {
    let mut folder = Mounted::empty();
    folder.put("app", fixture("first.pem"));
    let late: fn() -> Timestamp = || "2999-01-01T00:00:00Z".parse().unwrap();
    for (clock, reason, says) in [
        (late, "CredentialExpired", "expired at 21"),
        (Timestamp::default, "CredentialInvalid", "not valid yet"),
    ] {
        let directory = folder.path().to_owned();
        let mut stage = PlaneOnWire::with(|_| Credentials { directory, ..Credentials::new(clock) }).await;
        stage.vault("prod");
        let connection = principal(&stage, "app");
        let text = sentence(&mut stage, &connection, reason).await;
        assert!(text.contains(says), "{text}");
        assert!(stage.emulator.token_requests().is_empty(), "nothing is signed with it");
    }
}

#[tokio::test]
async fn the_operators_own_identity_follows_its_token_file() {
    let mut folder = Mounted::empty();
    let token_file = folder.path().join("token");
    let mut stage = PlaneOnWire::with(|emulator| {
        let operator = OperatorIdentity {
            client_id: CLIENT.to_owned(),
            tenant_id: emulator.tenant().to_owned(),
            token_file,
            authority: Some("https://login.microsoftonline.com/".to_owned()),
        };
        Credentials { operator: Some(operator), ..Credentials::new(clock) }
    })
    .await;
    stage.vault("prod");
    let connection = with(Identity::Operator);
    let text = sentence(&mut stage, &connection, "WorkloadIdentityNotInjected").await;
    assert!(text.contains("AZURE_FEDERATED_TOKEN_FILE"), "{text}");

    folder.put("token", stage.accounts.sign(OPERATOR, AUDIENCE));
    let text = sentence(&mut stage, &connection, "FederationMismatch").await;
    for part in [OPERATOR, AUDIENCE, ISSUER, CLIENT] {
        assert!(text.contains(part), "{part}: {text}");
    }
    stage.emulator.federate_account(ISSUER, OPERATOR, CLIENT);
    reads(&mut stage, &connection).await;

    // The cluster's key is another: only a token of the new one counts.
    let rotated = ServiceAccounts::default();
    rotated.trusted_by(&stage.emulator);
    reject_token(&stage);
    sentence(&mut stage, &connection, "InvalidIdentity").await;
    folder.put("token", rotated.sign(OPERATOR, AUDIENCE) + "\n");
    works_again(&mut stage, &connection).await;
    let signature = rotated.sign(OPERATOR, AUDIENCE);
    let header = signature.split('.').next().unwrap();
    assert!(!stage.everything_seen().contains(header), "an assertion is in what anyone can read");
}

#[tokio::test]
async fn an_operator_without_an_identity_says_how_to_give_it_one() {
    let mut stage = PlaneOnWire::with(|_| Credentials::new(clock)).await;
    stage.vault("prod");
    let text = sentence(&mut stage, &with(Identity::Operator), "WorkloadIdentityNotInjected").await;
    assert!(text.contains("azure.workload.identity/use") && text.contains("webhook"), "{text}");
    assert!(stage.emulator.connects().is_empty(), "nobody is asked without a token");
}

#[tokio::test]
async fn a_managed_identity_is_found_by_any_of_its_ids_and_never_through_a_proxy() {
    let mut stage = with_node().await;
    stage.vault("prod");
    let tenant = stage.emulator.tenant().to_owned();
    let identity = ManagedIdentity {
        tenant: tenant.clone(),
        client_id: CLIENT.to_owned(),
        resource_id: Some(RESOURCE.to_owned()),
    };
    let ids = [
        Some(ManagedIdentityId::ClientId(CLIENT.to_owned())),
        Some(ManagedIdentityId::ObjectId(identity.object_id())),
        Some(ManagedIdentityId::ResourceId(RESOURCE.to_owned())),
        None,
    ];
    let text = sentence(&mut stage, &managed(ids[0].clone()), "InvalidIdentity").await;
    assert!(text.contains(CLIENT) && text.contains("scale set"), "{text}");
    stage.emulator.assign_identity(identity);
    works_again(&mut stage, &managed(ids[0].clone())).await;
    for id in ids {
        let connection = managed(id);
        reads(&mut stage, &connection).await;
        takes_another_token(&stage).await;
        stage.plane.forget(&user("shop"));
    }
    let other = "bbbbbbbb-1111-4222-8333-444444444444".to_owned();
    let resource_id = Some(format!("{RESOURCE}-2"));
    stage.emulator.assign_identity(ManagedIdentity { tenant, client_id: other, resource_id });
    reject_token(&stage);
    let text = sentence(&mut stage, &managed(None), "InvalidIdentity").await;
    assert!(text.contains("several managed identities"), "{text}");

    assert!(stage.emulator.token_requests().iter().all(|asked| asked.endpoint == TokenEndpoint::AppService));
    let targets: Vec<_> = stage.emulator.connects().into_iter().map(|connect| connect.target).collect();
    assert!(targets.iter().all(|target| target == "prod.vault.azure.net:443"), "{targets:?}");
    let seen = stage.everything_seen();
    assert!(!seen.contains(CANARY) && !seen.contains(stage.emulator.identity_header()));
}

#[tokio::test]
async fn a_managed_identity_endpoint_that_fails_is_told_from_one_that_is_not_there() {
    let mut stage = with_node().await;
    stage.vault("prod");
    stage.emulator.assign_identity(ManagedIdentity {
        tenant: stage.emulator.tenant().to_owned(),
        client_id: CLIENT.to_owned(),
        resource_id: None,
    });
    reads(&mut stage, &managed(None)).await;
    for (fault, reason) in [
        (Fault::throttle(None), "Throttled"),
        (Fault::status(410), "ServiceUnavailable"),
        (Fault::status(503), "ServiceUnavailable"),
        (Fault::from(FaultKind::NotFound), "ManagedIdentityUnavailable"),
        (Fault::garbage(), "MalformedResponse"),
        (Fault::redirect("http://evil.test/"), "ManagedIdentityUnavailable"),
        (Fault::reset(), "ServiceUnavailable"),
    ] {
        stage.emulator.identity_fault(fault.clone());
        reject_token(&stage);
        let text = sentence(&mut stage, &managed(None), reason).await;
        assert!(text.to_lowercase().contains("managed identity endpoint"), "{fault:?}: {text}");
        stage.emulator.clear_identity_faults();
        works_again(&mut stage, &managed(None)).await;
        // The next fault meets a handle without a token.
        reject_token(&stage);
    }

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stage = PlaneOnWire::with(|_| {
        let endpoint =
            IdentityEndpoint::new(&format!("http://{nobody}/msi/token"), "proof".to_owned()).unwrap();
        Credentials { identity_endpoint: Some(endpoint), ..Credentials::new(clock) }
    })
    .await;
    stage.vault("prod");
    let text = sentence(&mut stage, &managed(None), "ManagedIdentityUnavailable").await;
    assert!(text.contains("169.254.169.254"), "{text}");
}

/// A cloud with a token service, vault and CA of its own.
fn stack(emulator: &Emulator, audience: &str, bundle: bool) -> CustomCloud {
    let bundle = bundle.then(|| emulator.private_ca_pem());
    CustomCloud::new("https://login.stack.test", audience, bundle).unwrap()
}

#[tokio::test]
async fn a_cloud_of_its_own_is_read_with_its_own_token_service_audience_and_ca() {
    let mut stage = PlaneOnWire::with(|_| Credentials::new(clock)).await;
    let vault = stage.vault("prod");
    stage.emulator.add_authority("login.stack.test", "https://vault.stack.test");
    vault.set_host("prod.vault.stack.test");
    vault.set_challenge("login.stack.test", "https://vault.stack.test");
    let at = |cloud| Connection {
        url: VaultUrl::parse_custom("https://prod.vault.stack.test", cloud).unwrap(),
        ..connection("prod")
    };
    let untrusted = at(stack(&stage.emulator, "https://vault.stack.test/.default", false));
    assert_eq!(stage.reason(&untrusted, &want("db")).await, "TlsFailure");
    let foreign = at(stack(&stage.emulator, "https://vault.azure.net/.default", true));
    assert_eq!(stage.reason(&foreign, &want("db")).await, "UntrustedVaultHost");
    assert!(stage.emulator.token_requests().is_empty(), "no token is asked for before the host is trusted");

    let right = at(stack(&stage.emulator, "https://vault.stack.test/.default", true));
    assert_eq!(stage.value(&user("shop"), &right, &want("db")).await, format!("{CANARY}-prod"));
    let asked = stage.emulator.token_requests();
    assert_eq!(
        asked.iter().map(|asked| asked.scope.as_str()).collect::<Vec<_>>(),
        ["https://vault.stack.test/.default"]
    );
    let targets: std::collections::BTreeSet<_> =
        stage.emulator.connects().into_iter().map(|connect| connect.target).collect();
    assert_eq!(
        targets.into_iter().collect::<Vec<_>>(),
        ["login.stack.test:443", "prod.vault.stack.test:443"]
    );

    // The bundle is that cloud's alone.
    let public = stage.vault("public");
    public.set_host("public.vault.azure.net");
    assert_eq!(stage.reason(&connection("public"), &want("db")).await, "TlsFailure");
}

#[tokio::test]
async fn no_token_leaves_for_a_host_that_a_vault_leads_to() {
    let mut stage = PlaneOnWire::with(|_| Credentials::new(clock)).await;
    let vault = stage.vault("prod");
    for (authority, resource) in [
        ("evil.test", "https://vault.azure.net"),
        ("login.microsoftonline.us", "https://vault.azure.net"),
        ("login.microsoftonline.com.evil.test", "https://vault.azure.net"),
        ("login.windows.net", "https://management.azure.com"),
    ] {
        vault.set_challenge(authority, resource);
        let text = sentence(&mut stage, &connection("prod"), "UntrustedVaultHost").await;
        assert!(!text.contains("evil"), "{text}");
        stage.plane.forget(&user("shop"));
    }
    assert!(stage.emulator.token_requests().is_empty());
    vault.set_challenge("login.windows.net", "https://vault.azure.net");
    works_again(&mut stage, &connection("prod")).await;

    for location in [
        "https://evil.test/secrets/db",
        "https://other.vault.azure.net/secrets/db",
        "http://prod.vault.azure.net/",
    ] {
        let fault = vault.fault(Fault::redirect(location));
        assert_eq!(
            stage.reason(&connection("prod"), &want("other")).await,
            "MalformedResponse",
            "{location}"
        );
        vault.clear_fault(fault);
    }
    let fault = stage.emulator.token_fault(Fault::redirect("https://evil.test/token"));
    let _ = vault.fault(Fault::unauthorized(Unauthorized::TokenExpired).times(1));
    stage
        .until(&user("shop"), &connection("prod"), &want("db"), |reply| {
            matches!(reply.health.state, HealthState::Failing { .. })
        })
        .await;
    stage.emulator.clear_token_fault(fault);
    works_again(&mut stage, &connection("prod")).await;

    assert_eq!(stage.emulator.refused(), Vec::<String>::new());
    let targets: std::collections::BTreeSet<_> =
        stage.emulator.connects().into_iter().map(|connect| connect.target).collect();
    let expected = ["login.microsoftonline.com:443", "prod.vault.azure.net:443"];
    assert_eq!(targets.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_claims_challenge_gets_one_new_token_and_then_its_own_reason() {
    let mut stage = PlaneOnWire::with(|_| Credentials::new(clock)).await;
    let vault = stage.vault("prod");
    stage.value(&user("shop"), &connection("prod"), &want("db")).await;
    let once = vault.fault(Fault::unauthorized(Unauthorized::InsufficientClaims).times(1));
    stage.emulator.token_requests_until(|asked| asked.len() == 2).await;
    vault.clear_fault(once);
    // The second answer was asked for only when the first had arrived.
    let seen = vault.requests().len();
    let read =
        |requests: &[LoggedRequest]| requests.iter().filter(|request| request.status == Some(200)).count();
    vault.requests_until(|requests| read(&requests[seen..]) >= 2).await;
    works_again(&mut stage, &connection("prod")).await;

    stage.emulator.clear_log();
    let lasting = vault.fault(Fault::unauthorized(Unauthorized::InsufficientClaims));
    let text = sentence(&mut stage, &connection("prod"), "ClaimsChallenge").await;
    assert!(text.contains("conditional access"), "{text}");
    let refused: Vec<_> = vault
        .requests()
        .iter()
        .filter(|request| request.status == Some(401))
        .map(|request| request.time)
        .collect();
    let between = |asked: &&TokenRequest| refused[0] <= asked.time && asked.time <= refused[1];
    assert_eq!(stage.emulator.token_requests().iter().filter(between).count(), 1, "one new token is tried");
    vault.clear_fault(lasting);
    works_again(&mut stage, &connection("prod")).await;
}

#[tokio::test]
async fn each_refusal_of_the_vault_carries_what_its_reader_needs() {
    let mut stage = PlaneOnWire::with(|_| Credentials::new(clock)).await;
    let tenant = stage.emulator.tenant().to_owned();
    let scope = "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/emulator/providers/microsoft.keyvault/vaults";
    let object = ManagedIdentity { tenant: tenant.clone(), client_id: CLIENT.to_owned(), resource_id: None }
        .object_id();
    let role = format!("--assignee-object-id {object} --scope {scope}/vault-0`");
    let policy =
        format!("az keyvault set-policy --name vault-1 --object-id {object} --secret-permissions get list");
    for (index, (fault, reason, parts)) in [
        (Fault::forbidden(Forbidden::ByRbac), "MissingRole", vec![role.as_str(), "Key Vault Secrets User"]),
        (Fault::forbidden(Forbidden::AccessDenied), "MissingAccessPolicy", vec![policy.as_str()]),
        (Fault::forbidden(Forbidden::ByFirewall), "Firewall", vec!["203.0.113.7"]),
        (Fault::forbidden(Forbidden::ByConnection), "PublicAccessDisabled", vec!["private DNS zone"]),
        (
            Fault::unauthorized(Unauthorized::WrongTenant),
            "WrongTenant",
            vec![tenant.as_str(), "00000000-0000-0000-0000-00000000dead"],
        ),
        (Fault::unauthorized(Unauthorized::WrongAudience), "WrongAudience", vec!["cloud"]),
        (
            Fault::unauthorized(Unauthorized::MissingClientCertificate),
            "TokenBindingRequired",
            vec!["`Enabled` or `Disabled`"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("vault-{index}");
        let vault = stage.vault(&name);
        let fault = vault.fault(fault);
        let text = sentence(&mut stage, &connection(&name), reason).await;
        for part in parts {
            assert!(text.contains(part), "{reason}: {part}: {text}");
        }
        vault.clear_fault(fault);
        works_again(&mut stage, &connection(&name)).await;
        stage.plane.forget(&user("shop"));
    }
    assert!(!stage.everything_seen().contains(CANARY));
}

/// A network in which no name resolves.
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Err(std::io::Error::other("no such name").into()) })
    }
}

#[tokio::test]
async fn a_network_that_leads_nowhere_is_named_for_what_it_is() {
    let stage = PlaneOnWire::with(|_| Credentials::new(clock)).await;
    stage.vault("prod");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (proxy, private) = (stage.emulator.proxy_url(), stage.emulator.private_ca_pem().to_owned());
    let builder = |ca: &str| {
        reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()])
    };
    let ca = stage.emulator.ca_pem().to_owned();
    let ca_too = ca.clone();
    let transports = [
        (
            Transport::new(Arc::new(move || builder(&ca).no_proxy().dns_resolver(Arc::new(NoNames))), false),
            "VaultHostNotFound",
        ),
        (
            Transport::new(
                Arc::new(move || {
                    builder(&ca_too).proxy(reqwest::Proxy::all(format!("http://{nobody}")).unwrap())
                }),
                true,
            ),
            "ProxyFailed",
        ),
        (
            Transport::new(
                Arc::new(move || builder(&private).proxy(reqwest::Proxy::all(&proxy).unwrap())),
                true,
            ),
            "TlsFailure",
        ),
    ];
    for (transport, reason) in transports {
        let metrics = VaultMetrics::new(&prometheus::Registry::new()).unwrap();
        let (limits, accounts) = (Limits::default(), Arc::new(ServiceAccounts::default()));
        let (plane, mut wakes) = Plane::new(limits, transport, accounts, Credentials::new(clock), metrics);
        loop {
            let ask = Ask { connection: &connection("prod"), terms: Terms::default(), wants: &[want("db")] };
            let reply = plane.ask(&user("shop"), &[ask], false).remove(0);
            if let HealthState::Failing { failure, .. } = reply.health.state {
                assert_eq!(failure.reason().as_str(), reason);
                break;
            }
            wakes.recv().await.unwrap();
        }
    }
}

/// Runs in a network that has IMDS at its own address, made by the test below.
#[tokio::test]
#[ignore = "needs a network of its own"]
async fn within_a_network_that_has_imds() {
    let config = Config { identity_address: "169.254.169.254:80".parse().unwrap(), ..Config::default() };
    let mut stage = PlaneOnWire::on(config, |_| Credentials::new(clock)).await;
    stage.vault("prod");
    stage.emulator.assign_identity(ManagedIdentity {
        tenant: stage.emulator.tenant().to_owned(),
        client_id: CLIENT.to_owned(),
        resource_id: Some(RESOURCE.to_owned()),
    });
    for id in [None, Some(ManagedIdentityId::ResourceId(RESOURCE.to_owned()))] {
        reads(&mut stage, &managed(id)).await;
        takes_another_token(&stage).await;
        stage.plane.forget(&user("shop"));
    }
    assert!(stage.emulator.token_requests().iter().all(|asked| asked.endpoint == TokenEndpoint::Imds));
    assert_eq!(stage.emulator.refused(), Vec::<String>::new(), "IMDS is not asked through the proxy");
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that this machine cannot run says so")]
fn imds_is_asked_at_its_own_address_and_not_through_the_proxy() {
    let within = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command
            .args(["--map-root-user", "--net", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap());
        command.output()
    };
    let network = "ip link set lo up && ip address add 169.254.169.254/32 dev lo";
    if !within(network).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine lets nobody make a network (unshare, ip)");
        return;
    }
    let inner = "exec \"$1\" --exact --ignored identities::within_a_network_that_has_imds";
    let output = within(&format!("{network} && {inner}")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
