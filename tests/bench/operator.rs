//! The operator as a process of its own: the release build, started as the chart's Deployment starts it.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use vaultsync::run::clock;

use crate::cluster::BenchCluster;
use crate::metrics::Metrics;
use support::Result;
use support::wait::within;

/// Whatever takes longer than this will not come.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);

/// A running operator; it ends with the control plane at the latest.
pub(crate) struct Operator {
    child: Child,
    /// By the clock of the emulator's logs.
    pub(crate) started: Timestamp,
    address: String,
    http: reqwest::Client,
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

impl Operator {
    /// Starts it with the defaults of the chart, or with another budget for each vault.
    pub(crate) async fn start(bench: &BenchCluster, requests_per_second: Option<u32>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let ca = bench.cluster.processes.write("emulator-ca.pem", bench.emulator.ca_pem())?;
        let mut command = bench.cluster.operator_command(&bench.binary).await?;
        command
            .env("VAULTSYNC_LISTEN", &address)
            // The one before it was killed: its Lease would be waited for.
            .env("VAULTSYNC_LEASE_NAME", "")
            .env("VAULTSYNC_CREDENTIALS_DIR", bench.credentials())
            .env("HTTPS_PROXY", bench.emulator.proxy_url())
            .env("NO_PROXY", "127.0.0.1")
            .env("SSL_CERT_FILE", ca)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(rate) = requests_per_second {
            command.env("VAULTSYNC_MAX_REQUESTS_PER_SECOND", rate.to_string());
        }
        let started = clock();
        let child = bench.cluster.processes.spawn(&mut command)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { child, started, address, http })
    }

    /// What it serves now.
    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        let answer = self.http.get(format!("http://{}/metrics", self.address)).send().await?;
        Ok(Metrics::new(answer.error_for_status()?.text().await?))
    }

    /// Waits until its metrics show something.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let shown = within(LIMIT, || async {
            let metrics = self.metrics().await.map_err(|error| error.to_string())?;
            if holds(&metrics) { Ok(metrics) } else { Err("not yet".to_owned()) }
        });
        shown.await.map_err(|seen| format!("{what}: not within {LIMIT:?} ({seen})").into())
    }

    /// Waits until the next sweep of a vault has come to its end.
    pub(crate) async fn next_sweep(&self, host: &str) -> Result<Metrics> {
        let before = self.metrics().await?.sweeps(host);
        self.until("the end of a sweep", |metrics| metrics.sweeps(host) > before).await
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
            Ok(line.ok_or("no such line")?.parse::<f64>()? / 1024.0)
        };
        Ok(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// CPU seconds that it has used.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(") ").ok_or("no name")?.1.split(' ').collect();
        // Of a hundredth of a second each, on every Linux there is.
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
    }

    /// Ends it as the loss of its node does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
