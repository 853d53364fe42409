//! The command line: flags and environment, checked once and handed on as settings that cannot be wrong.

use crate::api::parse_duration;
use crate::controller::Settings;
use crate::telemetry::{LogFormat, filter};
use crate::vault::Limits;
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;
use tracing_subscriber::filter::Targets;

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
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
}

/// The flags of `vaultsync run`; each has an environment variable.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "VAULTSYNC_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How log lines look.
    #[arg(long, env = "VAULTSYNC_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// What is logged: a level, or target=level pairs parted by commas.
    #[arg(long, env = "VAULTSYNC_LOG_LEVEL", default_value = "info", value_parser = filter)]
    pub log_level: Targets,
    /// The namespaces to work in, parted by commas; empty for all.
    #[arg(long, env = "VAULTSYNC_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// How often each Secret is looked at for edits by others; 0s for never. Stretched so that all looks together
    /// stay under --drift-probes-per-second.
    #[arg(long, env = "VAULTSYNC_DRIFT_INTERVAL", default_value = "30s", value_parser = duration)]
    pub drift_interval: Duration,
    /// How many Secrets are looked at in a second at most.
    #[arg(long, env = "VAULTSYNC_DRIFT_PROBES_PER_SECOND", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub drift_probes_per_second: u32,
    /// How long the vault may confirm nothing before an object is no longer Ready [default: three times its refresh
    /// interval, at least 15m].
    #[arg(long, env = "VAULTSYNC_STALE_AFTER", value_parser = duration)]
    pub stale_after: Option<Duration>,
    /// How many requests one vault host gets in a second at most, over all identities; the burst is twice that. Key
    /// Vault documents 400 a second for all clients of a vault together.
    #[arg(long, env = "VAULTSYNC_MAX_REQUESTS_PER_SECOND", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_requests_per_second: u32,
    /// The floor of every refresh interval.
    #[arg(long, env = "VAULTSYNC_MIN_REFRESH_INTERVAL", default_value = "10s", value_parser = duration)]
    pub min_refresh_interval: Duration,
    /// The operator's own namespace, in which it writes no Secrets.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
}

impl RunArgs {
    /// The controllers' settings.
    #[must_use]
    pub fn settings(&self, clock: fn() -> Timestamp) -> Settings {
        let per_second = self.max_requests_per_second;
        Settings {
            namespaces: self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect(),
            own_namespace: self.pod_namespace.clone(),
            drift_interval: self.drift_interval,
            drift_probes_per_second: self.drift_probes_per_second,
            stale_after: self.stale_after,
            min_refresh_interval: self.min_refresh_interval,
            limits: Limits { requests_per_second: per_second, burst: per_second * 2, ..Limits::default() },
            clock,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a duration, as in 30s, 5m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn run(arguments: &[&str]) -> Result<RunArgs, String> {
        let all = ["vaultsync", "run"].iter().chain(arguments);
        match Cli::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Command::Run(args) => Ok(args),
            Command::Crds => unreachable!(),
        }
    }

    #[test]
    fn every_flag_has_the_environment_variable_of_its_name() {
        Cli::command().debug_assert();
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for flag in
            run.get_arguments().filter(|flag| flag.get_id() != "help" && flag.get_id() != "pod_namespace")
        {
            let name = flag.get_id().as_str().to_uppercase();
            assert_eq!(flag.get_env().unwrap().to_str().unwrap(), format!("VAULTSYNC_{name}"));
        }
    }

    #[test]
    fn bad_values_get_a_sentence() {
        assert!(run(&["--drift-interval", "soon"]).unwrap_err().contains("30s, 5m or 1h30m"));
        assert!(run(&["--max-requests-per-second", "0"]).unwrap_err().contains("1..=10000"));
        assert!(run(&["--log-level", "loud"]).unwrap_err().contains("target=level"));
        assert_eq!(run(&["--drift-interval", "0s"]).unwrap().drift_interval, Duration::ZERO);
    }
}
