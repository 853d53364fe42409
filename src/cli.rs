//! The command line: flags and environment, checked once and handed on as settings that cannot be wrong.

use crate::api::parse_duration;
use crate::controller::{Kind, SecretAccess, Settings, Subject};
use crate::lease::LeaseSettings;
use crate::telemetry::{LogFormat, filter};
use crate::vault::{
    Credentials, IdentityEndpoint, InvalidCertificates, InvalidProxy, Limits, OperatorIdentity, Proxies,
    Transport,
};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fmt};
use tracing_subscriber::filter::Targets;

/// A right or kind that was missing is looked for again at this pace.
const SHARED_RETRY: Duration = Duration::from_secs(60);

/// Keeps native Kubernetes Secrets equal to what is in Azure Key Vault.
#[derive(Debug, Parser)]
#[command(name = "vaultsync", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Check a connection to a vault step by step, and say what is wrong.
    Check(Box<CheckArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Convert objects of External Secrets Operator, akv2k8s and the CSI driver: ours to standard output, what has no equal
    /// to standard error.
    Convert(ConvertArgs),
}

/// The proxies that the environment names to every program (`HTTPS_PROXY`, `NO_PROXY`).
///
/// # Errors
/// [`InvalidProxy`] says what to write instead.
pub fn proxies() -> Result<Proxies, InvalidProxy> {
    // What is no text is no URL either, and told as that.
    let value = |names| variable(names).unwrap_or_default().to_string_lossy().into_owned();
    Proxies::new(&value(&["HTTPS_PROXY", "https_proxy"]), &value(&["NO_PROXY", "no_proxy"]))
}

/// How vaults and token services are reached: through `proxies`, with the certificates that the environment names to every
/// program (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
///
/// # Errors
/// [`InvalidCertificates`] says what to write instead.
pub fn transport(proxies: Proxies) -> Result<Transport, InvalidCertificates> {
    let folders = variable(&["SSL_CERT_DIR"]).unwrap_or_default();
    let folders = env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty());
    Transport::through(proxies, variable(&["SSL_CERT_FILE"]).map(PathBuf::from), folders.collect())
}

/// The first of these variables that is set and not empty.
fn variable(names: &[&str]) -> Option<OsString> {
    names.iter().find_map(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

/// The flags of `vaultsync check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// What to check: kv/NAME (a connection of a namespace), ckv/NAME (a cluster-wide connection), or vss/NAME (each
    /// connection of an object that syncs, and whether it may read there).
    #[arg(value_name = "KIND/NAME", value_parser = subject)]
    pub subject: (Kind, String),
    /// The namespace of what is checked; for a cluster-wide connection, the namespace that reads [default: default, for
    /// kv and vss].
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The format of the report.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
    /// What identities that are not ServiceAccounts' prove themselves with.
    #[command(flatten)]
    pub credentials: CredentialArgs,
}

impl CheckArgs {
    /// What to check.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let (kind, name) = self.subject.clone();
        Subject { kind, name, namespace: self.namespace.clone() }
    }
}

/// The flags of `vaultsync convert`.
#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// Files of YAML or JSON, with any number of objects and lists each; none or - is standard input. Objects that belong
    /// together, as a store and what reads through it, belong into one call. The exit code is 0 if all of it could be
    /// read, whatever has no equal, and 1 if not.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Have each object take over the Secret that is there, which needs its consent (spec.target.creation: Adopt).
    #[arg(long)]
    pub adopt: bool,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: one line for each step.
    Text,
    /// One JSON object.
    Json,
}

/// The flags of `vaultsync run`; each has an environment variable.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "VAULTSYNC_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The format of log lines.
    #[arg(long, env = "VAULTSYNC_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// What to log: a level, or target=level pairs separated by commas.
    #[arg(long, env = "VAULTSYNC_LOG_LEVEL", default_value = "info", value_parser = filter)]
    pub log_level: Targets,
    /// The namespaces to work in, separated by commas; empty for all.
    #[arg(long, env = "VAULTSYNC_WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub watch_namespaces: Vec<String>,
    /// What the operator may do to Secrets, as its RBAC has it; the chart sets it by rbac.secrets.
    #[arg(long, env = "VAULTSYNC_SECRET_ACCESS", value_enum, default_value = "write")]
    pub secret_access: SecretAccess,
    /// How often each Secret is checked for edits by others; 0s for never. Longer if there are so many that the checks
    /// would exceed --drift-probes-per-second.
    #[arg(long, env = "VAULTSYNC_DRIFT_INTERVAL", default_value = "30s", value_parser = duration)]
    pub drift_interval: Duration,
    /// The most Secrets that are checked for edits in a second.
    #[arg(long, env = "VAULTSYNC_DRIFT_PROBES_PER_SECOND", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub drift_probes_per_second: u32,
    /// How long the vault may confirm nothing before an object is no longer Ready; never less than one and a half of its
    /// refresh intervals [default: three refresh intervals, at least 15m].
    #[arg(long, env = "VAULTSYNC_STALE_AFTER", value_parser = duration)]
    pub stale_after: Option<Duration>,
    /// How long before a secret, certificate or key expires in the vault its object says so, by an event and a metric; 0s for
    /// never.
    #[arg(long, env = "VAULTSYNC_EXPIRING_BEFORE", default_value = "720h", value_parser = duration)]
    pub expiring_before: Duration,
    /// Whether the metric of expiry has a series for every object with a source that ends, rather than for those alone that
    /// expire within --expiring-before.
    #[arg(long, env = "VAULTSYNC_EXPIRY_METRICS", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub expiry_metrics: bool,
    /// The most requests that one vault host gets in a second, from all identities together; the burst is twice that. Key
    /// Vault allows 400 a second for all clients of a vault together.
    #[arg(long, env = "VAULTSYNC_MAX_REQUESTS_PER_SECOND", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_requests_per_second: u32,
    /// The shortest refresh interval; shorter ones are raised to it.
    #[arg(long, env = "VAULTSYNC_MIN_REFRESH_INTERVAL", default_value = "10s", value_parser = duration)]
    pub min_refresh_interval: Duration,
    /// Whether a cluster-wide connection may select namespaces by their labels; needs the right to read namespaces.
    #[arg(long, env = "VAULTSYNC_NAMESPACE_SELECTORS", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub namespace_selectors: bool,
    /// The most connections of their own that the objects of one namespace may use at once.
    #[arg(long, env = "VAULTSYNC_MAX_CONNECTIONS_PER_NAMESPACE", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_connections_per_namespace: u32,
    /// Whether workloads may be restarted when their Secret has changed (spec.rollout); needs the right to patch and list
    /// them. The chart sets it with that right.
    #[arg(long, env = "VAULTSYNC_ROLLOUTS", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rollouts: bool,
    /// The most workloads that are restarted in a minute, over all namespaces; namespaces take turns.
    #[arg(long, env = "VAULTSYNC_ROLLOUTS_PER_MINUTE", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rollouts_per_minute: u32,
    /// The admission policy that fences what the operator may do to Secrets: what it refuses is a Secret that is
    /// not managed by vaultsync. The chart sets it. Without it such a Secret is told as refused by a policy.
    #[arg(long, env = "VAULTSYNC_SECRETS_POLICY")]
    pub secrets_policy: Option<String>,
    /// The Lease, in the operator's own namespace, by which replicas agree which of them works; needs --pod-namespace. The
    /// chart sets it. Without it there is no election: run one process only.
    #[arg(long, env = "VAULTSYNC_LEASE_NAME", value_parser = lease_name)]
    pub lease_name: Option<String>,
    /// The name of the pod, by which the Lease names its holder.
    #[arg(long, env = "POD_NAME", default_value = "vaultsync")]
    pub pod_name: String,
    /// The operator's own namespace; it writes no Secrets there.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
    /// What identities that are not ServiceAccounts' prove themselves with.
    #[command(flatten)]
    pub credentials: CredentialArgs,
}

/// What identities that are not ServiceAccounts' prove themselves with.
#[derive(Clone, Debug, Args)]
pub struct CredentialArgs {
    /// The folder with the client secrets and certificates (PEM, PFX) that cluster-wide connections name by file. A file is
    /// read again for each token.
    #[arg(long, env = "VAULTSYNC_CREDENTIALS_DIR", default_value = "/var/run/vaultsync/credentials")]
    pub credentials_dir: PathBuf,
    /// What Azure injects into the pod.
    #[command(flatten)]
    pub injected: Injected,
}

impl CredentialArgs {
    /// What identities prove themselves with.
    ///
    /// # Errors
    /// A sentence, if the environment that Azure injects cannot be used.
    pub fn credentials(&self, clock: fn() -> Timestamp) -> Result<Credentials, &'static str> {
        Ok(Credentials {
            clock,
            operator: self.injected.operator(),
            identity_endpoint: self.injected.identity_endpoint()?,
            directory: self.credentials_dir.clone(),
        })
    }
}

/// The environment that Azure injects into a pod with an identity; set by its webhook, not by people.
#[derive(Clone, Args)]
pub struct Injected {
    /// The client id of the pod's own federated identity.
    #[arg(long, env = "AZURE_CLIENT_ID", hide = true)]
    pub azure_client_id: Option<String>,
    /// Its tenant.
    #[arg(long, env = "AZURE_TENANT_ID", hide = true)]
    pub azure_tenant_id: Option<String>,
    /// The file with its assertion.
    #[arg(long, env = "AZURE_FEDERATED_TOKEN_FILE", hide = true)]
    pub azure_federated_token_file: Option<PathBuf>,
    /// The URL of its token service.
    #[arg(long, env = "AZURE_AUTHORITY_HOST", hide = true)]
    pub azure_authority_host: Option<String>,
    /// Where managed identities are asked for in place of IMDS.
    #[arg(long, env = "IDENTITY_ENDPOINT", hide = true)]
    pub identity_endpoint: Option<String>,
    /// What proves the pod there.
    #[arg(long, env = "IDENTITY_HEADER", hide = true, hide_env_values = true)]
    pub identity_header: Option<String>,
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injected")
            .field("azure_client_id", &self.azure_client_id)
            .field("azure_tenant_id", &self.azure_tenant_id)
            .field("azure_federated_token_file", &self.azure_federated_token_file)
            .field("azure_authority_host", &self.azure_authority_host)
            .field("identity_endpoint", &self.identity_endpoint)
            .field("identity_header", &self.identity_header.is_some())
            .finish()
    }
}

impl Injected {
    /// The pod's own federated identity, if all of it was injected.
    fn operator(&self) -> Option<OperatorIdentity> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        Some(OperatorIdentity {
            client_id: set(&self.azure_client_id)?,
            tenant_id: set(&self.azure_tenant_id)?,
            token_file: self
                .azure_federated_token_file
                .clone()
                .filter(|file| !file.as_os_str().is_empty())?,
            authority: set(&self.azure_authority_host),
        })
    }

    /// The endpoint for managed identities, if one was injected.
    fn identity_endpoint(&self) -> Result<Option<IdentityEndpoint>, &'static str> {
        match (self.identity_endpoint.as_deref(), &self.identity_header) {
            (Some(url), Some(header)) if !url.is_empty() => {
                IdentityEndpoint::new(url, header.clone()).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl RunArgs {
    /// The namespaces to work in, each once; none: all.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<String> {
        self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect()
    }

    /// The lease that replicas agree by; `None`: there is one process only.
    ///
    /// # Errors
    /// A sentence: there is no namespace for it, or no random number for the name in it.
    pub fn lease(&self, clock: fn() -> Timestamp) -> Result<Option<LeaseSettings>, String> {
        let Some(name) = self.lease_name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        let namespace = self.pod_namespace.as_deref().filter(|name| !name.is_empty());
        let namespace = namespace.ok_or(
            "--lease-name is set and the operator's own namespace is not known: set --pod-namespace (POD_NAMESPACE), or leave --lease-name out for a single process",
        )?;
        let lease = LeaseSettings::new(namespace, name, &self.pod_name, clock);
        lease.map(Some).map_err(|error| error.to_string())
    }

    /// The controllers' settings.
    ///
    /// # Errors
    /// A sentence, if the environment that Azure injects cannot be used.
    pub fn settings(&self, clock: fn() -> Timestamp) -> Result<Settings, &'static str> {
        let per_second = self.max_requests_per_second;
        Ok(Settings {
            namespaces: self.namespaces(),
            own_namespace: self.pod_namespace.clone(),
            secrets_policy: self.secrets_policy.clone().filter(|name| !name.is_empty()),
            secret_access: self.secret_access,
            drift_interval: self.drift_interval,
            drift_probes_per_second: self.drift_probes_per_second,
            stale_after: self.stale_after,
            expiring_before: self.expiring_before,
            expiry_metrics: self.expiry_metrics,
            min_refresh_interval: self.min_refresh_interval,
            namespace_selectors: self.namespace_selectors,
            max_connections_per_namespace: usize::try_from(self.max_connections_per_namespace)
                .unwrap_or(usize::MAX),
            rollouts_per_minute: self.rollouts.then_some(self.rollouts_per_minute),
            shared_retry: SHARED_RETRY,
            limits: Limits { requests_per_second: per_second, burst: per_second * 2, ..Limits::default() },
            credentials: self.credentials.credentials(clock)?,
            clock,
        })
    }
}

fn subject(text: &str) -> Result<(Kind, String), String> {
    let wrong = || "write kv/NAME, ckv/NAME or vss/NAME, as in kv/prod".to_owned();
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    let kind = match kind.to_ascii_lowercase().as_str() {
        "kv" | "keyvault" | "keyvaults" => Kind::KeyVault,
        "ckv" | "clusterkeyvault" | "clusterkeyvaults" => Kind::ClusterKeyVault,
        "vss" | "vaultsecretsync" | "vaultsecretsyncs" => Kind::VaultSecretSync,
        _ => return Err(wrong()),
    };
    if name.is_empty() || !is_name(name, b"-.") {
        return Err(wrong());
    }
    Ok((kind, name.to_owned()))
}

fn namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    let wrong = || "write names of namespaces separated by commas, as in shop,web".to_owned();
    is_name(name, b"-").then(|| name.to_owned()).ok_or_else(wrong)
}

fn lease_name(text: &str) -> Result<String, String> {
    let wrong = || "write the name of a Lease, as in vaultsync".to_owned();
    is_name(text, b"-.").then(|| text.to_owned()).ok_or_else(wrong)
}

/// Whether the text has the characters that Kubernetes takes in a name, with these of all signs.
fn is_name(text: &str, signs: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || signs.contains(&byte))
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a duration, as in 30s, 5m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests;
