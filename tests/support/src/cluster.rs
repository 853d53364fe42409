//! One real control plane: etcd, the API server and the controllers a behaviour needs, with CRDs and chart applied.
//!
//! Tests share one a run ([`cluster`]); the demo owns one ([`Cluster::start`]). It dies with the program.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use keyvault_emulator::{Config, Emulator};
use kube::api::DynamicObject;
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::clients::{Access, Account};
use crate::namespace::Janitor;
use crate::processes::Processes;
use crate::tools::tool;
use crate::wait::within;
use crate::{Result, certificates, keep, manifests};

/// A start takes 3 s; a minute is a machine under heavy load.
const READY: Duration = Duration::from_secs(60);

/// Whatever the test's controllers are not listed for (pods, nodes) has nobody to do it.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,\
                           root-ca-certificate-publisher-controller,serviceaccount-controller";

/// Every request once, when it is answered, without bodies: tests count writes and prove rights by it.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"], "rules": [{"level": "Metadata"}]}"#;

/// Who signs ServiceAccount tokens, for whoever verifies them as Entra does.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` of every token.
    pub url: String,
    /// The key set, as the API server publishes it.
    pub jwks: serde_json::Value,
}

/// A running control plane.
pub struct Cluster {
    pub(crate) access: Access,
    /// What runs it, with the folder of its state.
    pub processes: Processes,
    pub(crate) janitor: Janitor,
    operator: Account,
    rendered: Vec<DynamicObject>,
    issuer: Issuer,
    ports: Ports,
}

/// The control plane of this run of tests; the first call starts it, the end of the program ends it.
///
/// # Panics
/// It does not start; the message says why.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<std::result::Result<Cluster, String>> = OnceLock::new();
    match CLUSTER.get_or_init(|| Cluster::start(|_| ()).map_err(|error| error.to_string())) {
        Ok(cluster) => cluster,
        Err(error) => panic!("the control plane does not start: {error}"),
    }
}

impl Cluster {
    /// Starts a control plane and applies CRDs and chart; `progress` hears each step.
    ///
    /// # Errors
    /// A program is missing or ends, or something we ship is refused.
    pub fn start(progress: impl Fn(&str) + Send + Copy) -> Result<Self> {
        // A thread of its own: the caller may be inside a runtime.
        std::thread::scope(|scope| {
            let start = scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(Self::start_again(progress))
            });
            start.join().map_err(|_| "the start panicked")?
        })
    }

    /// A free port may be taken by another program before etcd or the API server binds it.
    async fn start_again(progress: impl Fn(&str)) -> Result<Self> {
        let mut last = None;
        for _ in 0..3 {
            match Self::start_once(&progress).await {
                Err(error) if error.to_string().contains("address already in use") => last = Some(error),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| "no attempt was made".into()))
    }

    async fn start_once(progress: impl Fn(&str)) -> Result<Self> {
        progress("rendering the chart");
        let crds = manifests::crds()?;
        let rendered = manifests::render(manifests::RELEASE, manifests::SYSTEM, &[])?;
        let operator = operator_account(&rendered)?;

        progress("starting etcd and the API server");
        let processes = Processes::new()?;
        let [etcd, peers, secure] = free_ports()?;
        let authority = certificates::Authority::new()?;
        let access = Access::new(secure, &authority)?;
        start_etcd(&processes, etcd, peers)?;
        start_api_server(&processes, &authority, &access, etcd, secure)?;
        let client = access.admin()?;
        until_answers(&processes, &client, "/readyz").await?;

        // Before the controllers: the garbage collector learns kinds that come later only in rounds of 30 s.
        progress("applying the CRDs");
        manifests::apply_crds(&client, &crds).await?;
        start_controllers(&processes, &access)?;

        progress("applying the chart");
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": manifests::SYSTEM}});
        manifests::apply(&client, "", &[serde_json::from_value(namespace)?]).await?;
        // The Deployment has no kubelet to run it: tests run the operator themselves.
        let ours = rendered.iter().filter(|object| manifests::kind(object) != "Deployment").cloned();
        manifests::apply(&client, manifests::SYSTEM, &ours.collect::<Vec<_>>()).await?;

        let keys = client.request_text(http::Request::get("/openid/v1/jwks").body(Vec::new())?).await?;
        let issuer = Issuer { url: access.url.clone(), jwks: serde_json::from_str(&keys)? };
        let janitor = Janitor::new(access.clone());
        let ports = Ports { etcd, peers, secure };
        let cluster = Self { access, processes, janitor, operator, rendered, issuer, ports };
        progress("waiting until the policies are in force");
        manifests::until_fenced(&cluster).await?;
        Ok(cluster)
    }

    /// The operator's ServiceAccount, as the chart renders it.
    pub fn operator(&self) -> &Account {
        &self.operator
    }

    /// What the chart renders with its defaults, the Deployment included.
    pub fn rendered(&self) -> &[DynamicObject] {
        &self.rendered
    }

    /// Who signs ServiceAccount tokens here.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// An emulator whose Entra knows who signs ServiceAccount tokens here.
    ///
    /// # Errors
    /// It does not start.
    pub async fn azure(&self, config: Config) -> Result<Emulator> {
        let emulator = keep::apart(Emulator::start(config)).await?;
        emulator.trust_issuer(&self.issuer.url, &self.issuer.jwks.to_string())?;
        Ok(emulator)
    }

    /// One more API server of this cluster, with these flags beside; a client of the current runtime for the account, of
    /// that one.
    ///
    /// # Errors
    /// It does not start.
    pub async fn another_api_server(&self, flags: &[&str], account: &Account) -> Result<Client> {
        let [port] = free_ports()?;
        let mut server = api_server(&self.processes, &self.access, self.ports.etcd, port)?;
        let audit = self.processes.folder().join(format!("audit-{port}.log"));
        server.arg(format!("--audit-log-path={}", audit.display())).args(flags);
        self.processes.start(&format!("kube-apiserver-{port}"), &mut server)?;
        let access = Access { url: format!("https://127.0.0.1:{port}"), ..self.access.clone() };
        until_answers(&self.processes, &access.admin()?, "/readyz").await?;
        access.with_token(self.token(account).await)
    }

    /// Kills etcd and the API server, has `between` do something to etcd's folder, and starts both again.
    ///
    /// # Errors
    /// They do not stop or start, or what `between` says.
    pub async fn while_stopped(&self, between: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
        let Ports { etcd, peers, secure } = self.ports;
        // Told to end, the API server waits a minute for its watches.
        self.processes.kill("kube-apiserver")?;
        self.processes.kill("etcd")?;
        between(&self.processes.folder().join("etcd"))?;
        start_etcd(&self.processes, etcd, peers)?;
        run_api_server(&self.processes, &self.access, etcd, secure)?;
        until_answers(&self.processes, &self.access.admin()?, "/readyz").await
    }

    /// The API server's address.
    pub fn url(&self) -> &str {
        &self.access.url
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.processes.folder().join("audit.log")
    }
}

/// Where the programs of a control plane listen.
struct Ports {
    etcd: u16,
    /// Etcd's for peers, of which it has none.
    peers: u16,
    /// The API server's.
    secure: u16,
}

fn operator_account(rendered: &[DynamicObject]) -> Result<Account> {
    let account = rendered.iter().find(|object| manifests::kind(object) == "ServiceAccount");
    let account = account.ok_or("the chart renders no ServiceAccount")?;
    let namespace = account.namespace().unwrap_or_else(|| manifests::SYSTEM.to_owned());
    Ok(Account::new(&namespace, &account.name_any()))
}

/// Ports nobody listens on; all are held until the last is found, so that they differ.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<Vec<_>>>()?;
    let ports =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
    ports.try_into().map_err(|_| "no free ports".into())
}

fn start_etcd(processes: &Processes, clients: u16, peers: u16) -> Result<()> {
    let clients = format!("http://127.0.0.1:{clients}");
    let peers = format!("http://127.0.0.1:{peers}");
    let mut etcd = Command::new(tool("etcd")?);
    etcd.arg(format!("--data-dir={}", processes.folder().join("etcd").display()))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=default={peers}"))
        // The state is thrown away with the run.
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    processes.start("etcd", &mut etcd)
}

fn start_api_server(
    processes: &Processes,
    authority: &certificates::Authority,
    access: &Access,
    etcd: u16,
    port: u16,
) -> Result<()> {
    let server = authority.server(&["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"])?;
    processes.write("ca.crt", &authority.pem)?;
    processes.write("apiserver.crt", &server.certificate)?;
    processes.write("apiserver.key", &server.key)?;
    processes.write("serviceaccounts.key", &certificates::rsa_key(processes.folder())?)?;
    processes.write("audit-policy.json", AUDIT_POLICY)?;
    processes.write("admin.kubeconfig", &access.kubeconfig("default", &access.admin_user()))?;
    run_api_server(processes, access, etcd, port)
}

/// Runs the API server on what [`start_api_server`] wrote.
fn run_api_server(processes: &Processes, access: &Access, etcd: u16, port: u16) -> Result<()> {
    let mut server = api_server(processes, access, etcd, port)?;
    server.arg(format!("--audit-log-path={}", processes.folder().join("audit.log").display()));
    processes.start("kube-apiserver", &mut server)
}

/// An API server that runs on what [`start_api_server`] wrote, without the path of its audit log.
fn api_server(processes: &Processes, access: &Access, etcd: u16, port: u16) -> Result<Command> {
    let file = |name: &str| processes.folder().join(name).display().to_string();
    let signer = file("serviceaccounts.key");
    let mut server = Command::new(tool("kube-apiserver")?);
    server
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg(format!("--secure-port={port}"))
        .args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged"])
        .args(["--authorization-mode=Node,RBAC", "--profiling=false", "--endpoint-reconciler-type=none"])
        .arg(format!("--cert-dir={}", processes.folder().display()))
        .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
        .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
        .arg(format!("--client-ca-file={}", file("ca.crt")))
        .arg(format!("--service-account-issuer={}", access.url))
        .arg(format!("--service-account-key-file={signer}"))
        .arg(format!("--service-account-signing-key-file={signer}"))
        .arg(format!("--audit-policy-file={}", file("audit-policy.json")))
        // Written by the call itself, not by a buffer later: a count right after an answer misses nothing.
        .arg("--audit-log-mode=blocking")
        // Never begun anew: marks are offsets. In MiB.
        .arg("--audit-log-maxsize=16384");
    Ok(server)
}

fn start_controllers(processes: &Processes, access: &Access) -> Result<()> {
    let folder = processes.folder();
    let mut manager = Command::new(tool("kube-controller-manager")?);
    manager
        .arg(format!("--kubeconfig={}", folder.join("admin.kubeconfig").display()))
        .arg(format!("--service-account-private-key-file={}", folder.join("serviceaccounts.key").display()))
        .arg(format!("--root-ca-file={}", folder.join("ca.crt").display()))
        .arg(format!("--master={}", access.url))
        .arg(format!("--controllers={CONTROLLERS}"))
        .args(["--leader-elect=false", "--secure-port=0", "--profiling=false"]);
    processes.start("kube-controller-manager", &mut manager)
}

/// Asks until the path answers 200, for a minute at most; a process that ended says so at once.
async fn until_answers(processes: &Processes, client: &Client, path: &str) -> Result<()> {
    let answered = within(READY, || async {
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        match (client.request_text(request).await, processes.ended()) {
            (Ok(_), _) => Ok(Ok(())),
            (Err(_), Some(ended)) => Ok(Err(ended)),
            (Err(error), None) => Err(error.to_string()),
        }
    });
    match answered.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ended)) => Err(ended.into()),
        Err(seen) => {
            let lines = processes.last_lines("kube-apiserver");
            Err(format!(
                "{path} did not answer within {READY:?}: {seen}; the API server's last lines:\n{lines}"
            )
            .into())
        }
    }
}
