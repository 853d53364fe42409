//! The built `vaultsync` as a process of its own: what it is started with, what it prints, how it ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use keyvault_emulator::Emulator;

use support::{Cluster, eventually};

/// The binary that cargo built for these tests.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vaultsync"))
}

/// The operator as the chart's Deployment starts it, on a port of its own, in one namespace, with the emulator's way
/// to the vaults.
pub(crate) async fn operator(cluster: &Cluster, emulator: &Emulator, namespace: &str) -> Command {
    let mut command = cluster.operator_command(binary()).await.expect("the chart's Deployment");
    command
        .env("VAULTSYNC_LISTEN", "127.0.0.1:0")
        .env("VAULTSYNC_WATCH_NAMESPACES", namespace)
        // Many operators run at once, each in its namespace; the chart's one Lease is for tests of the lease alone.
        .env("VAULTSYNC_LEASE_NAME", "")
        .env("HTTPS_PROXY", emulator.proxy_url())
        .env("NO_PROXY", "127.0.0.1")
        .env("SSL_CERT_FILE", authority(cluster, emulator));
    command
}

/// A file with the certificate authority of an emulator.
pub(crate) fn authority(cluster: &Cluster, emulator: &Emulator) -> PathBuf {
    cluster.processes.write(&format!("{}.pem", number()), emulator.ca_pem()).expect("a file")
}

/// A number that no other file of this run has.
fn number() -> usize {
    static NUMBERS: AtomicUsize = AtomicUsize::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// A running process; killed when dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it prints goes to a file, as in a pod.
    pub(crate) fn start(cluster: &Cluster, command: &mut Command) -> Self {
        let log = cluster.processes.folder().join(format!("vaultsync.{}.log", number()));
        let file = File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("the same file")).stderr(file);
        Self { child: cluster.processes.spawn(command).expect("a process"), log }
    }

    /// All it has printed.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(&self.log).expect("a log of text")
    }

    /// Waits until it has printed this.
    pub(crate) async fn says(&self, text: &str) {
        let what = format!("the operator prints {text:?}");
        eventually(&what, async || {
            let printed = self.printed();
            if printed.contains(text) { Ok(()) } else { Err(printed) }
        })
        .await;
    }

    /// Asks it to end, as a kubelet does, and waits until it has.
    pub(crate) async fn terminate(self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.ends().await
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        // The standard library sends SIGKILL only; every shell can do this.
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a process of ours").is_none()
    }

    /// Waits until it ends.
    pub(crate) async fn ends(mut self) -> (ExitStatus, String) {
        let log = self.log.clone();
        let status = eventually("the operator ends", || {
            let ended = self.child.try_wait().expect("a process of ours");
            std::future::ready(ended.ok_or_else(|| fs::read_to_string(&log).unwrap_or_default()))
        });
        (status.await, self.printed())
    }

    /// SIGKILL: it ends in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
