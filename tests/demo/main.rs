//! `make demo`: the main job on a real API server, told step by step to a newcomer.
//!
//! Everything is real but Azure, whose part an emulator plays under Azure's own host names. `--keep` leaves it running.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a demo talks, and ends at the first thing that is not as it should be"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use keyvault_emulator::{Emulator, Vault};
use kube::Api;
use support::samples::NAMESPACE;
use support::{Cluster, Result, samples, tools};

/// The demo's world.
struct Demo {
    cluster: Cluster,
    emulator: Emulator,
    vault: Vault,
    kubectl: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let start = Instant::now();
    println!(
        "vaultsync keeps Kubernetes Secrets equal to what is in Azure Key Vault. This shows it on a real API server;"
    );
    println!(
        "Azure's part is played by an emulator under Azure's own host names. Nothing leaves this machine."
    );
    heading("1. A cluster, a vault, and the operator under its own rights");
    let demo = Demo::start().await?;
    let story = demo.tell().await;
    if story.is_err() {
        println!("\nWhat vaultsync logged last:\n{}", demo.last_log_lines());
    }
    story?;
    if keep {
        demo.leave_running().await?;
    }
    println!("\nDone in {} s; all of it is stopped and removed.", start.elapsed().as_secs());
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}\n");
}

impl Demo {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start(|step| println!("   {step}"))?;
        println!("   trusting the cluster's ServiceAccount in the emulated Entra");
        let (emulator, vault) = samples::azure(&cluster).await?;
        let demo = Self { cluster, emulator, vault, kubectl: tools::tool("kubectl")? };
        demo.vault.set("shop-db-url", "postgres://shop:demo-only@db/shop");
        demo.vault.set("shop-api", r#"{"token": "first-token"}"#);
        demo.vault.set("shop-config", r#"{"LOG_LEVEL": "info", "FEATURES": "search,cart"}"#);
        println!("   starting vaultsync as the chart's Deployment says, with the chart's ServiceAccount");
        demo.start_operator().await?;
        Ok(demo)
    }

    async fn start_operator(&self) -> Result<()> {
        // Beside this program, where cargo put both.
        let here = std::env::current_exe()?;
        let binary = here.parent().and_then(Path::parent).ok_or("no build folder")?.join("vaultsync");
        let ca = self.cluster.processes.write("emulator-ca.pem", self.emulator.ca_pem())?;
        let log = File::create(self.log())?;
        let mut command = self.cluster.operator_command(&binary).await?;
        command
            .env("VAULTSYNC_LISTEN", "127.0.0.1:0")
            .env("VAULTSYNC_LOG_FORMAT", "text")
            .env("HTTPS_PROXY", self.emulator.proxy_url())
            .env("NO_PROXY", "127.0.0.1")
            .env("SSL_CERT_FILE", ca)
            .stdout(Stdio::null())
            .stderr(log);
        self.cluster.processes.spawn(&mut command)?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.cluster.processes.folder().join("vaultsync.log")
    }

    fn last_log_lines(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    async fn tell(&self) -> Result<()> {
        heading("2. The app team applies one KeyVault and one VaultSecretSync");
        self.run(&["apply", "-k", "config/samples"])?;
        self.run(&["wait", "--for=condition=Ready", "vss/shop", "-n", NAMESPACE, "--timeout=60s"])?;

        heading("3. The Secret is there (the values are this demo's own)");
        self.show_secret()?;
        self.run(&["get", "kv,vss", "-n", NAMESPACE])?;
        self.show_condition()?;

        heading("4. What the app's process sees, started as a kubelet would: envFrom and secretKeyRef");
        self.show_process().await?;

        heading("5. The value changes in the vault");
        println!("   (vault) shop-api is now {{\"token\": \"second-token\"}}");
        self.vault.set("shop-api", r#"{"token": "second-token"}"#);
        println!("   It would arrive within spec.refreshInterval (1m); an annotation has it read at once:");
        self.sync_now("change")?;
        self.show_secret()?;

        heading("6. Something breaks: shop-db-url is deleted in the vault");
        self.vault.delete("shop-db-url");
        self.sync_now("break")?;
        self.run(&["get", "vss", "-n", NAMESPACE])?;
        self.show_condition()?;
        println!("   Nothing is lost: the Secret keeps the last good value.");
        self.show_secret()?;

        heading("7. It is recovered, and all is well again");
        self.vault.recover("shop-db-url");
        self.sync_now("heal")?;
        self.run(&["wait", "--for=condition=Ready", "vss/shop", "-n", NAMESPACE, "--timeout=60s"])?;
        self.run(&["get", "events", "-n", NAMESPACE, "--sort-by=.metadata.creationTimestamp"])
    }

    fn sync_now(&self, request: &str) -> Result<()> {
        let annotation = format!("vaultsync.dev/sync-requested-at={request}");
        self.run(&["annotate", "vss", "shop", "-n", NAMESPACE, "--overwrite", &annotation])?;
        let handled = format!("--for=jsonpath={{.status.lastHandledSync}}={request}");
        self.run(&["wait", &handled, "vss/shop", "-n", NAMESPACE, "--timeout=60s"])
    }

    fn show_secret(&self) -> Result<()> {
        let template = r#"-o=go-template={{range $key, $value := .data}}{{$key}}={{$value | base64decode}}{{"\n"}}{{end}}"#;
        self.run(&["get", "secret", "shop", "-n", NAMESPACE, template])
    }

    fn show_condition(&self) -> Result<()> {
        let path = r#"-o=jsonpath={range .status.conditions[?(@.type=="Ready")]}{.type}={.status} {.reason}: {.message}{"\n"}{end}"#;
        self.run(&["get", "vss", "shop", "-n", NAMESPACE, path])
    }

    async fn show_process(&self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.cluster.admin(), NAMESPACE);
        let start = self.cluster.start_of(&deployments.get("shop").await?).await?;
        let mut command = start.command(Path::new("/bin/sh"));
        let mut child = self.cluster.processes.spawn(command.stdout(Stdio::piped()))?;
        let lines = BufReader::new(child.stdout.take().ok_or("the process has an output")?).lines();
        println!("   variable and length of its value:");
        for line in lines.map_while(|line| line.ok().filter(|line| line != "started")) {
            println!("   {line}");
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Runs kubectl as the admin, and shows what a user would type and read.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let shown: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        println!("$ kubectl {}", shown.join(" "));
        std::io::stdout().flush()?;
        let output = Command::new(&self.kubectl)
            .args(arguments)
            .current_dir(tools::project())
            .env("KUBECONFIG", self.cluster.kubeconfig_for_admin())
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        println!("{}\n", String::from_utf8_lossy(&text).trim_end());
        if output.status.success() { Ok(()) } else { Err("kubectl failed; its words are above".into()) }
    }

    async fn leave_running(&self) -> Result<()> {
        heading("All of it goes on running until Ctrl-C");
        let control = self.emulator.control_url();
        println!("export KUBECONFIG={}", self.cluster.kubeconfig_for_admin().display());
        println!("alias kubectl={}", self.kubectl.display());
        println!("\nkubectl get kv,vss -n {NAMESPACE} -w");
        println!("kubectl explain vss.spec");
        println!("kubectl delete secret shop -n {NAMESPACE}      # it comes back within 30 s");
        println!("kubectl edit vss shop -n {NAMESPACE}");
        println!(
            "curl -X PUT {control}/vaults/shop/secrets/shop-db-url --json '{{\"value\": \"mine\"}}'    # a new version in the vault"
        );
        println!(
            "curl {control}/vaults/shop/faults --json '{{\"kind\": \"throttle\"}}'             # the vault answers 429"
        );
        println!("curl -X DELETE {control}/vaults/shop/faults");
        println!("tail -f {}", self.log().display());
        tokio::signal::ctrl_c().await?;
        Ok(())
    }
}

/// As a shell would want it.
fn quoted(argument: &str) -> String {
    let plain = argument.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./:=,".contains(letter));
    if plain { argument.to_owned() } else { format!("'{argument}'") }
}
