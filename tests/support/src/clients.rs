//! Who speaks to the API server: the admin, the operator's own ServiceAccount, or any other by a real token.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::{Client, Config};
use serde_json::json;

use crate::cluster::Cluster;
use crate::{Result, certificates};

/// How long a token of a ServiceAccount lives: longer than any run of tests or demo.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A ServiceAccount by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Where it is.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl Account {
    /// The account `name` of a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The user name that RBAC, policies and the audit log see.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

/// Where the API server is and what the admin shows it.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) url: String,
    pub(crate) authority_pem: String,
    pub(crate) authority_der: Vec<u8>,
    pub(crate) admin_certificate: String,
    pub(crate) admin_key: String,
}

impl Access {
    pub(crate) fn new(port: u16, authority: &certificates::Authority) -> Result<Self> {
        let admin = authority.client("admin", "system:masters")?;
        Ok(Self {
            url: format!("https://127.0.0.1:{port}"),
            authority_pem: authority.pem.clone(),
            authority_der: authority.der.clone(),
            admin_certificate: admin.certificate,
            admin_key: admin.key,
        })
    }

    /// A client of the current runtime for the admin.
    pub(crate) fn admin(&self) -> Result<Client> {
        let mut config = self.config()?;
        config.auth_info.client_certificate_data = Some(BASE64.encode(&self.admin_certificate));
        config.auth_info.client_key_data = Some(BASE64.encode(&self.admin_key).into());
        Ok(Client::try_from(config)?)
    }

    /// A client of the current runtime that shows a token.
    pub(crate) fn with_token(&self, token: String) -> Result<Client> {
        let mut config = self.config()?;
        config.auth_info.token = Some(token.into());
        Ok(Client::try_from(config)?)
    }

    /// No retries of kube's own: a test sees each answer. Timeouts: a hanging server is a failure with a name.
    fn config(&self) -> Result<Config> {
        // Whichever test is first installs it, and the others find the same one.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut config = Config::new(self.url.parse()?);
        config.root_cert = Some(vec![self.authority_der.clone()]);
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        Ok(config)
    }

    /// A kubeconfig for `kubectl` and spawned programs; `user` is the `user` block of the format.
    pub(crate) fn kubeconfig(&self, namespace: &str, user: &serde_json::Value) -> String {
        let authority = BASE64.encode(&self.authority_pem);
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "users": [{"name": "test", "user": user}],
        });
        config.to_string()
    }

    /// The `user` block of the admin.
    pub(crate) fn admin_user(&self) -> serde_json::Value {
        json!({
            "client-certificate-data": BASE64.encode(&self.admin_certificate),
            "client-key-data": BASE64.encode(&self.admin_key),
        })
    }
}

impl Cluster {
    /// A client of the current runtime for the admin: for what users and other controllers do in a test, never
    /// for the operator.
    pub fn admin(&self) -> Client {
        self.access.admin().expect("a client for the admin")
    }

    /// A token of a ServiceAccount, from the API server's TokenRequest.
    pub async fn token(&self, account: &Account) -> String {
        let spec =
            TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        self.token_of(account, spec).await
    }

    async fn token_of(&self, account: &Account, spec: TokenRequestSpec) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), &account.namespace);
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(&account.name, &PostParams::default(), &request).await;
        answer.expect("a token").status.expect("an answered TokenRequest").token.expect("a token")
    }

    /// What a projected volume holds for a ServiceAccount: a token for the exchange with Entra, good for so long.
    pub async fn assertion(&self, account: &Account, seconds: i64) -> String {
        let spec = TokenRequestSpec {
            audiences: Some(vec!["api://AzureADTokenExchange".to_owned()]),
            expiration_seconds: Some(seconds),
            ..TokenRequestSpec::default()
        };
        self.token_of(account, spec).await
    }

    /// A client of the current runtime that acts as a ServiceAccount, by a real token.
    pub async fn client_as(&self, account: &Account) -> Client {
        let token = self.token(account).await;
        self.access.with_token(token).expect("a client with a token")
    }

    /// A client of the current runtime with the operator's own account and nothing more.
    pub async fn operator_client(&self) -> Client {
        self.client_as(self.operator()).await
    }

    /// The path of a kubeconfig with the operator's own account, for a spawned operator.
    pub async fn kubeconfig_for_operator(&self) -> PathBuf {
        self.kubeconfig_for(self.operator()).await
    }

    /// The path of a kubeconfig with a token of this account.
    pub async fn kubeconfig_for(&self, account: &Account) -> PathBuf {
        // A file a call: another process may be reading the last one.
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let user = json!({"token": self.token(account).await});
        let content = self.access.kubeconfig(&account.namespace, &user);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{}.{number}.kubeconfig", account.namespace, account.name);
        self.processes.write(&name, &content).expect("a kubeconfig")
    }

    /// The path of the admin's kubeconfig, for `kubectl` and `helm`.
    pub fn kubeconfig_for_admin(&self) -> PathBuf {
        self.processes.folder().join("admin.kubeconfig")
    }
}
