//! The fetch plane in front of an emulator, over the wire, with all that anyone could read of it.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use keyvault_emulator::{Config, Emulator, Signer, Vault};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use vaultsync::ObjectKey;
use vaultsync::run::clock;
use vaultsync::vault::{
    Answer, Ask, Assertion, AssertionError, Assertions, Connection, Credentials, HealthState, Identity,
    Limits, ObjectKind, ObjectName, Plane, Reply, ServiceVersion, Source, Stake, Terms, Transport,
    VaultMetrics, VaultUrl, Wake, Want,
};

use crate::scene::CLIENT;

/// Who signs the tokens of its ServiceAccounts.
pub const ISSUER: &str = "https://cluster.test";
/// Whom the vault's identity trusts.
pub const SUBJECT: &str = "system:serviceaccount:shop:shop";
/// What the tokens are for.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";
/// In every value, and nowhere else.
pub const CANARY: &str = "canary-7d1f";
/// Only a plane that never answers needs it: a test that waits for nothing must end.
const NEVER: Duration = Duration::from_secs(60);

/// The ServiceAccounts of a cluster: they have tokens for whoever asks.
#[derive(Debug)]
pub struct ServiceAccounts {
    signer: Signer,
    refuses: OnceLock<AssertionError>,
}

impl Default for ServiceAccounts {
    /// With a key of their own.
    fn default() -> Self {
        Self { signer: Signer::generate().expect("a key"), refuses: OnceLock::new() }
    }
}

impl ServiceAccounts {
    /// A token of one of them.
    pub fn sign(&self, subject: &str, audience: &str) -> String {
        // Far ahead of any clock: expiry is not what these tests are about.
        let claims = json!({"iss": ISSUER, "sub": subject, "aud": [audience], "iat": 0, "nbf": 0, "exp": 9_999_999_999_u64});
        self.signer.sign(&claims).expect("a signature")
    }

    /// From now on nobody gets a token.
    pub fn refuse(&self, error: AssertionError) {
        self.refuses.set(error).expect("refused once");
    }

    /// Has Entra trust their key, and no other of this issuer.
    pub fn trusted_by(&self, emulator: &Emulator) {
        emulator.trust_issuer(ISSUER, &self.signer.jwks()).expect("a key set");
    }
}

impl Assertions for ServiceAccounts {
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
pub struct PlaneOnWire {
    /// Azure, as far as this test goes.
    pub emulator: Emulator,
    /// As whom the vault is read.
    pub accounts: Arc<ServiceAccounts>,
    /// What is tested.
    pub plane: Plane,
    /// What it wakes.
    pub wakes: UnboundedReceiver<Wake>,
    registry: prometheus::Registry,
    seen: String,
}

impl PlaneOnWire {
    /// On an emulator of the usual kind; the operator itself was given nothing.
    pub async fn new() -> Self {
        Self::with(|_| Credentials::new(clock)).await
    }

    /// With what the operator itself was given.
    pub async fn with(credentials: impl FnOnce(&Emulator) -> Credentials) -> Self {
        Self::on(Config::default(), credentials).await
    }

    /// On an emulator of this kind.
    pub async fn on(config: Config, credentials: impl FnOnce(&Emulator) -> Credentials) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let emulator = Emulator::start(config).await.unwrap();
        let credentials = credentials(&emulator);
        let accounts = Arc::new(ServiceAccounts::default());
        accounts.trusted_by(&emulator);
        emulator.federate_account(ISSUER, SUBJECT, CLIENT);
        let transport = transport(emulator.proxy_url(), emulator.ca_pem());
        // Only the waits are shorter than in life.
        let short = (Duration::from_millis(20), Duration::from_millis(200));
        let list_retry = Duration::from_millis(300);
        let (doubt, calm) =
            ((Duration::from_millis(50), Duration::from_millis(500)), Duration::from_millis(50));
        let limits =
            Limits { retry: short, refused_retry: short, doubt, calm, list_retry, ..Limits::default() };
        let registry = prometheus::Registry::new();
        let metrics = VaultMetrics::new(&registry).unwrap();
        let assertions: Arc<dyn Assertions> = Arc::<ServiceAccounts>::clone(&accounts);
        let (plane, wakes) = Plane::new(limits, transport, assertions, credentials, metrics);
        Self { emulator, accounts, plane, wakes, registry, seen: String::new() }
    }

    /// A vault that the identity may read, with one secret.
    pub fn vault(&self, name: &str) -> Vault {
        let vault = self.emulator.vault(name);
        vault.grant(CLIENT);
        vault.set("db", &format!("{CANARY}-{name}"));
        vault
    }

    /// Asks one connection once.
    pub fn ask(&self, user: &ObjectKey, connection: &Connection, wants: &[Want]) -> Reply {
        let ask = Ask { connection, terms: Terms::default(), wants };
        self.plane.ask(user, &[ask], false).remove(0)
    }

    /// Asks as `user` until the reply is the one that is waited for, whenever there is something new.
    pub async fn until(
        &mut self,
        user: &ObjectKey,
        connection: &Connection,
        want: &Want,
        mut done: impl FnMut(&Reply) -> bool,
    ) -> Reply {
        loop {
            let reply = self.ask(user, connection, std::slice::from_ref(want));
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
    pub fn nobody_was_woken(&mut self) {
        while let Ok(wake) = self.wakes.try_recv() {
            assert!(matches!(wake, Wake::Connection(_)), "{wake:?}");
        }
    }

    /// The value that `user` is given in the end.
    pub async fn value(&mut self, user: &ObjectKey, connection: &Connection, want: &Want) -> String {
        let reply =
            self.until(user, connection, want, |reply| matches!(reply.answers[0], Answer::Read(_))).await;
        let Answer::Read(reading) = &reply.answers[0] else { unreachable!() };
        reading.value.expose().to_owned()
    }

    /// The reason of the first failure, of the source or of the handle.
    pub async fn reason(&mut self, connection: &Connection, want: &Want) -> &'static str {
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
    pub fn everything_seen(&self) -> String {
        let metrics = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        format!("{} {:?} {metrics}", self.seen, self.plane)
    }
}

/// Through the proxy, with one certificate to trust.
pub fn transport(proxy: String, ca: &str) -> Transport {
    let ca = ca.to_owned();
    let make = move || {
        reqwest::Client::builder()
            .proxy(reqwest::Proxy::https(&proxy).unwrap())
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()])
    };
    Transport::new(Arc::new(make), true)
}

/// An object that asks.
pub fn user(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// A vault, read as the ServiceAccount that is trusted.
pub fn connection(vault: &str) -> Connection {
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

/// The current version of a secret, as fresh as a test needs it.
pub fn want(name: &str) -> Want {
    let source = Source { kind: ObjectKind::Secret, name: ObjectName::parse(name).unwrap(), version: None };
    Want { source, interval: Duration::from_millis(100), known: None, stale: false, stake: Stake::None }
}
