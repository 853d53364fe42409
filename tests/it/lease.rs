//! Two replicas and one Lease: who works, who waits, and that no Secret notices the change.
//!
//! All of them are processes that the chart's Deployment starts, with the Lease that its Role lets them have: one test at a time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex as Locked};
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use vaultsync::api::VaultSecretSync;

use crate::program::{Program, operator};
use support::scene::{OperatorScene, data};
use support::{Cluster, Namespace, cluster};

const NAMESPACE: &str = "vaultsync-system";
const LEASE: &str = "vaultsync";
const WORKS: &str = "This replica holds the Lease and works.";
const WAITS: &str = "Another replica holds the Lease. This one waits.";
const STOPS: &str = "Nothing is written until it is.";

/// A scene that has the Lease for itself.
struct Replicas {
    scene: OperatorScene,
    _alone: MutexGuard<'static, ()>,
}

impl Replicas {
    async fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let scene = OperatorScene::without_operator().await;
        leases().delete(LEASE, &DeleteParams::default()).await.ok();
        scene.vault.set("db", "one");
        scene.sync("shop", data(&[("DB", "db")])).await;
        Self { scene, _alone: alone }
    }

    async fn command(&self) -> Command {
        let cluster = cluster();
        let mut command = operator(cluster, &self.scene.emulator, &self.scene.namespace.name).await;
        command.env("VAULTSYNC_LEASE_NAME", LEASE);
        command
    }

    async fn start(&self) -> Program {
        Program::start(cluster(), &mut self.command().await)
    }

    /// One that reaches the API server by way of this relay.
    async fn start_behind(&self, relay: &Relay) -> Program {
        let kubeconfig = std::fs::read_to_string(cluster().kubeconfig_for_operator().await).unwrap();
        let kubeconfig = kubeconfig.replace(cluster().url(), &format!("https://{}", relay.address));
        let file =
            cluster().processes.write(&format!("relay-{}.kubeconfig", relay.address.port()), &kubeconfig);
        Program::start(cluster(), self.command().await.env("KUBECONFIG", file.unwrap()))
    }

    async fn becomes(&self, value: &str) {
        self.scene.vault.set("db", value);
        self.scene.force("shop", value).await;
        self.scene.secret_is("shop", &[("DB", value)]).await;
        self.scene.synced("shop").await;
    }
}

fn leases() -> Api<Lease> {
    Api::namespaced(cluster().admin(), NAMESPACE)
}

async fn holder() -> String {
    leases().get(LEASE).await.unwrap().spec.unwrap().holder_identity.unwrap_or_default()
}

/// A way to the API server that can be cut.
struct Relay {
    address: SocketAddr,
    cut: Arc<Locked<Option<JoinSet<()>>>>,
    accepts: tokio::task::JoinHandle<()>,
}

impl Relay {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = cluster().url().strip_prefix("https://").unwrap().to_owned();
        let cut = Arc::new(Locked::new(Some(JoinSet::new())));
        let ways = Arc::clone(&cut);
        let accepts = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                if let Some(ways) = &mut *ways.lock().unwrap() {
                    ways.spawn(async move {
                        let Ok(mut far) = TcpStream::connect(server).await else { return };
                        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                    });
                }
            }
        });
        Self { address, cut, accepts }
    }

    fn cut(&self) {
        *self.cut.lock().unwrap() = None;
    }

    fn mend(&self) {
        *self.cut.lock().unwrap() = Some(JoinSet::new());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

#[tokio::test]
async fn of_two_replicas_one_works_and_the_other_takes_over_as_soon_as_it_ends() {
    let replicas = Replicas::new().await;
    let mark = cluster().mark();
    let first = replicas.start().await;
    first.says(WORKS).await;
    replicas.scene.secret_is("shop", &[("DB", "one")]).await;
    let second = replicas.start().await;
    second.says(WAITS).await;
    assert!(!second.printed().contains(WORKS));
    let (old, ended) = (holder().await, Instant::now());
    let (status, printed) = first.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("The Lease is given back."), "{printed}");
    second.says(WORKS).await;
    println!("takeover after SIGTERM: {:.1} s", ended.elapsed().as_secs_f64());
    assert_ne!(holder().await, old);
    replicas.becomes("two").await;
    let (status, printed) = second.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert_eq!(holder().await, "", "given back");
    let operator = cluster().operator().user();
    let of_lease = cluster().seen_since(mark, |seen| seen.user == operator && seen.resource == "leases");
    let verbs: BTreeSet<&str> = of_lease.iter().map(|seen| seen.verb.as_str()).collect();
    assert_eq!(verbs, ["create", "get", "update"].into(), "what the Role grants");
}

#[tokio::test]
async fn a_killed_replica_is_followed_by_the_one_that_waits() {
    let replicas = Replicas::new().await;
    let mut first = replicas.start().await;
    first.says(WORKS).await;
    let second = replicas.start().await;
    second.says(WAITS).await;
    replicas.scene.synced("shop").await;
    let killed = Instant::now();
    first.kill();
    second.says(WORKS).await;
    println!("takeover after SIGKILL: {:.1} s", killed.elapsed().as_secs_f64());
    replicas.becomes("two").await;
}

#[tokio::test]
async fn a_replica_that_stood_still_finds_itself_deposed_and_moves_no_secret() {
    let replicas = Replicas::new().await;
    let scene = &replicas.scene;
    for index in 0..30 {
        scene.vault.set(&format!("secret-{index}"), "one");
        scene.sync(&format!("object-{index}"), data(&[("KEY", &format!("secret-{index}"))])).await;
    }
    let first = replicas.start().await;
    let second = replicas.start().await;
    // Whichever came first: it stands still in the middle of its work.
    let (works, follows) = tokio::select! {
        () = first.says(WORKS) => (first, second),
        () = second.says(WORKS) => (second, first),
    };
    follows.says(WAITS).await;
    works.signal("STOP");
    let stopped = Instant::now();
    follows.says(WORKS).await;
    println!("takeover after SIGSTOP: {:.1} s", stopped.elapsed().as_secs_f64());
    for index in 0..30 {
        scene.synced(&format!("object-{index}")).await;
    }
    replicas.becomes("two").await;
    let before = versions(scene).await;
    works.signal("CONT");
    let (status, printed) = works.ends().await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("another replica has taken the Lease; this one ends"), "{printed}");
    assert_eq!(versions(scene).await, before, "nothing moved");
}

/// The resourceVersions of all objects; each has that of its Secret in its status.
async fn versions(scene: &OperatorScene) -> Vec<(String, Option<String>, Option<String>)> {
    let objects = scene.api::<VaultSecretSync>().list(&ListParams::default()).await.unwrap();
    let mut versions = Vec::new();
    for object in objects {
        let secret = scene.api::<Secret>().get_metadata(&object.name_any()).await;
        versions.push((object.name_any(), object.resource_version(), secret.unwrap().resource_version()));
    }
    versions
}

#[tokio::test]
async fn a_replica_that_cannot_renew_its_lease_writes_nothing_and_goes_on_where_it_was() {
    let replicas = Replicas::new().await;
    let scene = &replicas.scene;
    let mut replica = replicas.start().await;
    replica.says(WORKS).await;
    scene.synced("shop").await;
    let old = holder().await;
    let bindings: Api<RoleBinding> = Api::namespaced(cluster().admin(), NAMESPACE);
    let mut binding = bindings.get("vaultsync-lease").await.unwrap();
    bindings.delete("vaultsync-lease", &DeleteParams::default()).await.unwrap();
    replica.says(STOPS).await;
    let mark = cluster().mark();
    scene.vault.set("db", "two");
    scene.sync("another", data(&[("DB", "db")])).await;
    replica.says("not asked, for the Lease could not be renewed").await;
    let writes = cluster().operator_writes_since(mark, &scene.namespace.name);
    assert!(writes.is_empty(), "{writes:?}");
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    replicas.becomes("three").await;
    scene.secret_is("another", &[("DB", "three")]).await;
    assert!(replica.is_running());
    assert_eq!(holder().await, old, "the same process");
}

#[tokio::test]
async fn a_replica_that_was_cut_off_ends_once_it_sees_who_follows_it() {
    let replicas = Replicas::new().await;
    let relay = Relay::new().await;
    let cut_off = replicas.start_behind(&relay).await;
    cut_off.says(WORKS).await;
    let second = replicas.start().await;
    second.says(WAITS).await;
    relay.cut();
    second.says(WORKS).await;
    assert!(cut_off.printed().contains(STOPS), "before another may write: {}", cut_off.printed());
    replicas.becomes("two").await;
    relay.mend();
    let (status, printed) = cut_off.ends().await;
    assert_eq!(status.code(), Some(1), "{printed}");
    replicas.scene.secret_is("shop", &[("DB", "two")]).await;
}

#[tokio::test]
async fn where_etcd_is_put_back_the_operator_starts_anew_with_what_is_there() {
    // Nothing else may live on it.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(|_| ()).unwrap()));
    let scene = OperatorScene::in_namespace(Namespace::on(cluster).await).await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    let mut command = operator(cluster, &scene.emulator, &scene.namespace.name).await;
    command.env("VAULTSYNC_LEASE_NAME", LEASE);
    let first = Program::start(cluster, &mut command);
    scene.synced("shop").await;
    let backup = cluster.processes.folder().join("backup");
    cluster.while_stopped(|etcd| copy(etcd, &backup)).await.unwrap();
    scene.vault.set("db", "two");
    scene.force("shop", "now").await;
    scene.secret_is("shop", &[("DB", "two")]).await;
    scene.synced("shop").await;
    scene.sync("later", data(&[("DB", "db")])).await;
    scene.synced("later").await;
    let put_back = |etcd: &Path| std::fs::remove_dir_all(etcd).and_then(|()| copy(&backup, etcd));
    cluster.while_stopped(put_back).await.unwrap();
    let (status, printed) = first.ends().await;
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("the cluster was put back to an earlier time"), "{printed}");
    // As the kubelet does.
    let _second = Program::start(cluster, &mut command);
    scene.secret_is("shop", &[("DB", "two")]).await;
    scene.synced("shop").await;
    // The vault remembers; who deleted the object since must say so again, and who made one.
    assert_eq!(scene.secret("later").await, None);
    scene.sync("later", data(&[("DB", "db")])).await;
    scene.secret_is("later", &[("DB", "two")]).await;
    cluster.processes.end();
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    if copied.success() { Ok(()) } else { Err(std::io::Error::other("cp failed")) }
}

#[tokio::test]
async fn a_lease_that_may_not_be_written_is_told_with_what_to_grant() {
    let replicas = Replicas::new().await;
    let replica = Program::start(cluster(), replicas.command().await.env("VAULTSYNC_LEASE_NAME", "not-ours"));
    replica.says("Grant get, create and update on leases.").await;
    let (status, printed) = replica.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
}
