//! The fetch plane against the emulator, over the wire: CONNECT, TLS, tokens, GETs.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::BoxFuture;
use keyvault_emulator::{
    Config, ConnectOutcome, Emulator, Fault, FaultKind, FederatedCredential, Forbidden, Operation,
    Unauthorized, Vault,
};
use rcgen::{KeyPair, SigningKey as _};
use tokio::sync::mpsc::UnboundedReceiver;
use vaultsync::ObjectKey;
use vaultsync::run::clock;
use vaultsync::vault::{
    Answer, Assertion, AssertionError, Assertions, Connection, Credentials, HealthState, Identity, Limits,
    Plane, Reply, SecretName, ServiceVersion, Source, Terms, Transport, VaultMetrics, VaultUrl, Wake, Want,
};

const ISSUER: &str = "https://cluster.test";
const SUBJECT: &str = "system:serviceaccount:shop:shop";
const AUDIENCE: &str = "api://AzureADTokenExchange";
pub(crate) const CLIENT: &str = "aaaaaaaa-1111-4222-8333-444444444444";
/// In every value, and nowhere else.
pub(crate) const CANARY: &str = "canary-7d1f";
/// Only a plane that never answers needs it: a test that waits for nothing must end.
const NEVER: Duration = Duration::from_secs(60);

/// Signs what a cluster signs.
pub(crate) struct Cluster {
    key: KeyPair,
    refuses: OnceLock<AssertionError>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { key: KeyPair::generate().unwrap(), refuses: OnceLock::new() }
    }

    pub(crate) fn jwks(&self) -> String {
        let point = self.key.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"one","alg":"ES256","use":"sig","x":"{x}","y":"{y}"}}]}}"#
        )
    }

    pub(crate) fn sign(&self, subject: &str, audience: &str) -> String {
        // Far ahead of any clock: expiry is not what these tests are about.
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{subject}","aud":["{audience}"],"iat":0,"nbf":0,"exp":9999999999}}"#
        );
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"one"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = raw_signature(&self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The two numbers of a DER signature, 32 bytes each, as JSON web tokens have them.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let length = usize::from(der[at + 1]);
        (&der[at + 2..at + 2 + length], at + 2 + length)
    };
    let (r, next) = number(2);
    let (s, _) = number(next);
    let fixed = |number: &[u8]| {
        let digits = &number[number.len().saturating_sub(32)..];
        let mut fixed = vec![0; 32 - digits.len()];
        fixed.extend_from_slice(digits);
        fixed
    };
    [fixed(r), fixed(s)].concat()
}

impl Assertions for Cluster {
    fn assertion(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
    ) -> BoxFuture<'static, Result<Assertion, AssertionError>> {
        let subject = format!("system:serviceaccount:{namespace}:{service_account}");
        let answer = match self.refuses.get() {
            Some(error) => Err(*error),
            None => Ok(Assertion::new(self.sign(&subject, audience).into())),
        };
        Box::pin(async move { answer })
    }
}

/// An emulator, a plane in front of it, and all that anyone could read of it.
pub(crate) struct Stage {
    pub(crate) emulator: Emulator,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) plane: Plane,
    pub(crate) wakes: UnboundedReceiver<Wake>,
    registry: prometheus::Registry,
    seen: String,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| Credentials::new(clock)).await
    }

    /// With what the operator itself was given.
    pub(crate) async fn with(credentials: impl FnOnce(&Emulator) -> Credentials) -> Self {
        Self::on(Config::default(), credentials).await
    }

    /// On an emulator of this kind.
    pub(crate) async fn on(config: Config, credentials: impl FnOnce(&Emulator) -> Credentials) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let emulator = Emulator::start(config).await.unwrap();
        let credentials = credentials(&emulator);
        let cluster = Arc::new(Cluster::new());
        emulator.trust_issuer(ISSUER, &cluster.jwks()).unwrap();
        emulator.federate(FederatedCredential {
            tenant: emulator.tenant().to_owned(),
            client_id: CLIENT.to_owned(),
            issuer: ISSUER.to_owned(),
            subject: SUBJECT.to_owned(),
            audience: AUDIENCE.to_owned(),
        });
        let transport = transport(emulator.proxy_url(), emulator.ca_pem());
        // Only the waits are shorter than in life.
        let short = (Duration::from_millis(20), Duration::from_millis(200));
        let list_retry = Duration::from_millis(300);
        let limits = Limits { retry: short, refused_retry: short, list_retry, ..Limits::default() };
        let registry = prometheus::Registry::new();
        let metrics = VaultMetrics::new(&registry).unwrap();
        let assertions: Arc<dyn Assertions> = Arc::<Cluster>::clone(&cluster);
        let (plane, wakes) = Plane::new(limits, transport, assertions, credentials, metrics);
        Self { emulator, cluster, plane, wakes, registry, seen: String::new() }
    }

    /// A vault that the identity may read, with one secret.
    pub(crate) fn vault(&self, name: &str) -> Vault {
        let vault = self.emulator.vault(name);
        vault.grant(CLIENT);
        vault.set("db", &format!("{CANARY}-{name}"));
        vault
    }

    /// Asks as `user` until the reply is the one that is waited for, whenever there is something new.
    pub(crate) async fn until(
        &mut self,
        user: &ObjectKey,
        connection: &Connection,
        want: &Want,
        mut done: impl FnMut(&Reply) -> bool,
    ) -> Reply {
        loop {
            let reply = self.plane.ask(user, connection, Terms::default(), std::slice::from_ref(want), false);
            write!(self.seen, "{reply:?}").unwrap();
            for answer in &reply.answers {
                if let Answer::Failed(failure) = answer {
                    write!(self.seen, "{failure}").unwrap();
                }
            }
            if let HealthState::Failing { failure, .. } = &reply.health.state {
                write!(self.seen, "{failure}").unwrap();
            }
            if done(&reply) {
                return reply;
            }
            let wake = tokio::time::timeout(NEVER, self.wakes.recv()).await;
            write!(self.seen, "{wake:?}").unwrap();
            assert!(wake.is_ok(), "nothing happened after {reply:?}");
        }
    }

    /// Nothing happened that matters to a user.
    #[track_caller]
    pub(crate) fn nobody_was_woken(&mut self) {
        while let Ok(wake) = self.wakes.try_recv() {
            assert!(matches!(wake, Wake::Connection(_)), "{wake:?}");
        }
    }

    pub(crate) async fn value(&mut self, user: &ObjectKey, connection: &Connection, want: &Want) -> String {
        let reply =
            self.until(user, connection, want, |reply| matches!(reply.answers[0], Answer::Read(_))).await;
        let Answer::Read(reading) = &reply.answers[0] else { unreachable!() };
        reading.value.expose().to_owned()
    }

    /// The reason of the first failure, of the source or of the handle.
    pub(crate) async fn reason(&mut self, connection: &Connection, want: &Want) -> &'static str {
        let user = user("reason");
        let mut reason = None;
        self.until(&user, connection, want, |reply| {
            reason = match (&reply.answers[0], &reply.health.state) {
                (Answer::Failed(failure), _) | (_, HealthState::Failing { failure, .. }) => {
                    Some(failure.reason())
                }
                _ => None,
            };
            reason.is_some()
        })
        .await;
        self.plane.forget(&user);
        reason.unwrap().as_str()
    }

    /// All that was seen, with the metrics and the plane itself.
    pub(crate) fn everything_seen(&self) -> String {
        let metrics = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        format!("{} {:?} {metrics}", self.seen, self.plane)
    }
}

/// Through the proxy, with one certificate to trust.
pub(crate) fn transport(proxy: String, ca: &str) -> Transport {
    let ca = ca.to_owned();
    let make = move || {
        reqwest::Client::builder()
            .proxy(reqwest::Proxy::all(&proxy).unwrap())
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()])
    };
    Transport::new(Arc::new(make), true)
}

pub(crate) fn user(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

pub(crate) fn connection(vault: &str) -> Connection {
    Connection {
        url: VaultUrl::parse(&format!("https://{vault}.vault.azure.net")).unwrap(),
        identity: Identity::WorkloadIdentity {
            namespace: "shop".to_owned(),
            service_account: "shop".to_owned(),
            client_id: CLIENT.to_owned(),
            tenant_id: None,
        },
        service_version: ServiceVersion::default(),
    }
}

pub(crate) fn want(name: &str) -> Want {
    let source = Source { name: SecretName::parse(name).unwrap(), version: None };
    Want { source, interval: Duration::from_millis(100), known: None }
}

#[tokio::test]
async fn a_value_arrives_with_one_token_and_one_get_for_all_who_want_it() {
    let mut stage = Stage::new().await;
    let vault = stage.vault("prod");
    let slow = Want { interval: Duration::from_secs(3600), ..want("db") };
    for index in 0..100 {
        let _ = stage.plane.ask(
            &user(&format!("user-{index}")),
            &connection("prod"),
            Terms::default(),
            std::slice::from_ref(&slow),
            false,
        );
    }
    for index in 0..100 {
        let value = stage.value(&user(&format!("user-{index}")), &connection("prod"), &slow).await;
        assert_eq!(value, format!("{CANARY}-prod"));
    }
    let statuses: Vec<_> = vault.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(401), Some(200)], "the challenge names the tenant, then one GET");
    assert_eq!(stage.emulator.token_requests().len(), 1);
    let hosts: std::collections::BTreeSet<_> =
        stage.emulator.connects().into_iter().map(|connect| connect.target).collect();
    assert_eq!(
        hosts.into_iter().collect::<Vec<_>>(),
        ["login.microsoftonline.com:443", "prod.vault.azure.net:443"]
    );
}

#[tokio::test]
async fn a_change_in_the_vault_wakes_its_user_and_nothing_else_does() {
    let mut stage = Stage::new().await;
    let vault = stage.vault("prod");
    let (user, connection) = (user("shop"), connection("prod"));
    stage.value(&user, &connection, &want("db")).await;
    let reply = stage.plane.ask(&user, &connection, Terms::default(), &[want("db")], false);
    let Answer::Read(first) = &reply.answers[0] else { panic!("{reply:?}") };
    let known = Want { known: Some(first.attributes.clone()), ..want("db") };
    stage.plane.release(&user);
    assert!(matches!(
        stage.plane.ask(&user, &connection, Terms::default(), std::slice::from_ref(&known), false).answers[0],
        Answer::Unchanged
    ));
    while stage.wakes.try_recv().is_ok() {}
    let reads = vault.count(Operation::Get);
    vault
        .requests_until(|requests| {
            requests.iter().filter(|request| request.status == Some(200)).count() >= reads + 3
        })
        .await;
    stage.nobody_was_woken();
    let version = vault.set("db", &format!("{CANARY}-second"));
    assert_eq!(stage.wakes.recv().await, Some(Wake::User(user.clone())));
    let reply = stage.plane.ask(&user, &connection, Terms::default(), &[known], false);
    let Answer::Read(second) = &reply.answers[0] else { panic!("{reply:?}") };
    assert_eq!(
        (second.value.expose(), &second.attributes.version),
        (format!("{CANARY}-second").as_str(), &version)
    );
}

#[tokio::test]
async fn every_failure_has_its_own_reason_heals_by_itself_and_shows_no_value() {
    let mut stage = Stage::new().await;
    let faults: [(FaultKind, &str); 13] = [
        (FaultKind::Throttle { retry_after: None }, "Throttled"),
        (FaultKind::Throttle { retry_after: Some(0) }, "Throttled"),
        (FaultKind::Forbidden { code: Forbidden::ByRbac }, "MissingRole"),
        (FaultKind::Forbidden { code: Forbidden::AccessDenied }, "MissingAccessPolicy"),
        (FaultKind::Forbidden { code: Forbidden::ByFirewall }, "Firewall"),
        (FaultKind::Forbidden { code: Forbidden::ByConnection }, "PublicAccessDisabled"),
        (FaultKind::Forbidden { code: Forbidden::SecretDisabled }, "SecretDisabled"),
        (FaultKind::NotFound, "SecretNotFound"),
        (FaultKind::Unauthorized { code: Unauthorized::WrongTenant }, "WrongTenant"),
        (FaultKind::Unauthorized { code: Unauthorized::WrongAudience }, "WrongAudience"),
        (FaultKind::Status { status: 503 }, "ServiceUnavailable"),
        (FaultKind::Garbage, "MalformedResponse"),
        (FaultKind::Oversized { bytes: 400_000 }, "TooLarge"),
    ];
    for (index, (kind, reason)) in faults.into_iter().enumerate() {
        let name = format!("vault-{index}");
        let vault = stage.vault(&name);
        let fault = vault.fault(Fault::from(kind.clone()));
        assert_eq!(stage.reason(&connection(&name), &want("db")).await, reason, "{kind:?}");
        vault.clear_fault(fault);
        let value = stage.value(&user("heals"), &connection(&name), &want("db")).await;
        assert_eq!(value, format!("{CANARY}-{name}"), "{kind:?}");
        stage.plane.forget(&user("heals"));
    }
    let seen = stage.everything_seen();
    assert!(!seen.contains(CANARY), "a value is in what anyone can read");
    assert!(seen.contains("vaultsync_vault_throttled_total{vault=\"vault-0.vault.azure.net\"}"), "{seen}");
    assert_eq!(stage.emulator.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reset_connection_and_a_vault_that_is_not_there_are_told_apart() {
    let mut stage = Stage::new().await;
    let vault = stage.vault("resets");
    let fault = vault.fault(Fault::reset());
    assert_eq!(stage.reason(&connection("resets"), &want("db")).await, "ServiceUnavailable");
    vault.clear_fault(fault);
    assert_eq!(stage.reason(&connection("nowhere"), &want("db")).await, "NetworkUnreachable");
    assert!(stage.emulator.connects().iter().any(|connect| connect.outcome == ConnectOutcome::UnknownVault));
}

#[tokio::test]
async fn what_the_token_service_refuses_says_what_to_put_right_and_heals() {
    let mut stage = Stage::new().await;
    let in_words_with_escapes = |numbers: &str| {
        let words = r#""error_description":"AADSTS: \"app\"\r\nwas \u006eot found \\""#;
        Fault::answer(401, &format!(r#"{{"error":"x",{words},"error_codes":[{numbers}]}}"#))
    };
    for (index, (fault, reason)) in [
        (Fault::aadsts(700_213), "FederationMismatch"),
        (Fault::aadsts(700_016), "InvalidIdentity"),
        (Fault::aadsts(90_002), "InvalidIdentity"),
        (Fault::aadsts(53_003), "TokenRefused"),
        (in_words_with_escapes("700211"), "FederationMismatch"),
        (in_words_with_escapes("50000,7000215"), "InvalidIdentity"),
        (in_words_with_escapes("53003"), "TokenRefused"),
        (in_words_with_escapes(""), "TokenRefused"),
        (Fault::answer(400, "<html>700016</html>"), "MalformedResponse"),
        (Fault::answer(401, ""), "MalformedResponse"),
        (Fault::answer(200, r#"{"access_token":"","expires_in":3599}"#), "MalformedResponse"),
    ]
    .into_iter()
    .enumerate()
    {
        // A handle of its own each: one that has a token asks for no other.
        let name = format!("vault-{index}");
        stage.vault(&name);
        let what = format!("{fault:?}");
        let fault = stage.emulator.token_fault(fault);
        assert_eq!(stage.reason(&connection(&name), &want("db")).await, reason, "{what}");
        stage.emulator.clear_token_fault(fault);
        stage.value(&user("heals"), &connection(&name), &want("db")).await;
        stage.plane.forget(&user("heals"));
    }
    let seen = stage.everything_seen();
    for part in [ISSUER, SUBJECT, AUDIENCE] {
        assert!(seen.contains(part), "{part}");
    }
    assert!(!seen.contains(CANARY));
}

#[tokio::test]
async fn a_token_that_the_vault_no_longer_takes_is_replaced_and_nobody_notices() {
    let mut stage = Stage::new().await;
    let vault = stage.vault("prod");
    stage.value(&user("first"), &connection("prod"), &want("db")).await;
    while stage.wakes.try_recv().is_ok() {}
    let before = vault.requests().len();
    let _ = vault.fault(Fault::unauthorized(Unauthorized::TokenExpired).times(1));
    let rejected_then_read = vault
        .requests_until(|requests| {
            let mut later = requests.iter().skip(before).skip_while(|request| request.status != Some(401));
            later.any(|request| request.status == Some(200))
        })
        .await;
    let refused = rejected_then_read.iter().skip(before).filter(|request| request.status == Some(401));
    assert_eq!(refused.count(), 1);
    assert_eq!(stage.emulator.token_requests().len(), 2);
    stage.nobody_was_woken();
    let health = stage.plane.health(&connection("prod")).unwrap();
    assert!(matches!(health.state, HealthState::Working), "{health:?}");
}

#[tokio::test]
async fn a_service_account_that_is_not_there_costs_no_call_to_the_token_service() {
    let mut stage = Stage::new().await;
    stage.vault("prod");
    stage.cluster.refuses.set(AssertionError::ServiceAccountNotFound).unwrap();
    assert_eq!(stage.reason(&connection("prod"), &want("db")).await, "ServiceAccountNotFound");
    assert!(stage.emulator.token_requests().is_empty());
}

#[tokio::test]
async fn a_vault_that_hangs_holds_up_only_its_own_users() {
    let mut stage = Stage::new().await;
    let hangs = stage.vault("hangs");
    stage.vault("works");
    let _ = hangs.fault(Fault::stall());
    let _ = stage.plane.ask(&user("waits"), &connection("hangs"), Terms::default(), &[want("db")], false);
    hangs.requests_until(|requests| requests.iter().any(|request| request.client_id.is_some())).await;
    let value = stage.value(&user("reads"), &connection("works"), &want("db")).await;
    assert_eq!(value, format!("{CANARY}-works"));
    let reply = stage.plane.ask(&user("waits"), &connection("hangs"), Terms::default(), &[want("db")], false);
    assert!(matches!(reply.answers[0], Answer::Pending), "{reply:?}");
}

#[tokio::test]
async fn a_vault_is_read_over_one_connection() {
    let mut stage = Stage::new().await;
    let vault = stage.vault("prod");
    stage.value(&user("shop"), &connection("prod"), &want("db")).await;
    vault.requests_until(|requests| requests.len() > 10).await;
    let tunnels =
        stage.emulator.connects().iter().filter(|connect| connect.target.starts_with("prod.")).count();
    assert_eq!(tunnels, 1);
}
