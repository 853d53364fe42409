//! The `vaultsync` binary: owns the process, hands everything else what it needs.

use anyhow::Context as _;
use clap::Parser as _;
use mimalloc::MiMalloc;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use vaultsync::cli::{CheckArgs, Cli, Command, ConvertArgs, Output, RunArgs};
use vaultsync::run::{clock, run};
use vaultsync::vault::Transport;
use vaultsync::{api, cli, controller, convert, telemetry};

// What is kept for an object is small and stays; the bodies that told of it are larger and go. An allocator that puts both
// side by side, as glibc's does, is left with holes of half its size after ten thousand first syncs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => on(Builder::new_multi_thread(), operate(&args)).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => on(Builder::new_current_thread(), check(&args)),
        Command::Crds => print_crds().map(|()| ExitCode::SUCCESS),
        Command::Convert(args) => print_converted(&args).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed; there is nowhere else to say it.
            writeln!(std::io::stderr(), "vaultsync: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` to its end.
fn on<T>(mut runtime: Builder, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime.enable_all().build().context("no runtime")?;
    let result = runtime.block_on(work);
    // Not to wait for a thread that reads a file of a folder that hangs.
    runtime.shutdown_background();
    result
}

async fn operate(args: &RunArgs) -> anyhow::Result<()> {
    telemetry::start(args.log_format, args.log_level.clone());
    let (client, transport) = ways_out().await?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
    };
    let namespaces = args.namespaces().into_iter().collect::<Vec<_>>().join(",");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %args.listen,
        namespaces = %if namespaces.is_empty() { "all" } else { &namespaces },
        "starting"
    );
    let settings = args.settings(clock).map_err(anyhow::Error::msg)?;
    let lease = args.lease(clock).map_err(anyhow::Error::msg)?;
    Ok(run(settings, lease, client, transport, listener, shutdown).await?)
}

/// How the API server is reached, and how all others are.
async fn ways_out() -> anyhow::Result<(kube::Client, Transport)> {
    // One crypto library for the API server and the vaults; Err: it is installed already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let proxies = cli::proxies()?;
    let config = controller::api_server(&proxies).await?;
    let client = controller::client(config).context("no client can be made for the API server")?;
    Ok((client, cli::transport(proxies)?))
}

async fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let credentials = args.credentials.credentials(clock).map_err(anyhow::Error::msg)?;
    let (client, transport) = ways_out().await?;
    let checked = controller::check(client, &transport, credentials, &args.subject()).await?;
    let report = checked.iter().flatten().map(|checked| match args.output {
        Output::Text => checked.to_string(),
        Output::Json => checked.to_json(),
    });
    let between = if args.output == Output::Text { "\n\n" } else { "\n" };
    let report = report.collect::<Vec<_>>().join(between);
    if !report.is_empty() {
        writeln!(std::io::stdout().lock(), "{report}")?;
    }
    let errors: Vec<String> =
        checked.iter().filter_map(|checked| Some(checked.as_ref().err()?.to_string())).collect();
    if !errors.is_empty() {
        anyhow::bail!(errors.join("\n"));
    }
    let usable = checked.iter().flatten().all(controller::Checked::is_usable);
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_crds() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (_, yaml) in api::crd_files()? {
        write!(out, "---\n{yaml}")?;
    }
    Ok(())
}

/// Prints what the objects of all files become, and after it what has no equal; nothing, if one of them cannot be read.
fn print_converted(args: &ConvertArgs) -> anyhow::Result<()> {
    let standard_input = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() { standard_input.as_slice() } else { args.files.as_slice() };
    let mut objects = Vec::new();
    for file in files {
        let (name, text) = if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            ("standard input".to_owned(), text)
        } else {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            (name, text)
        };
        objects.extend(convert::objects(&text).context(name)?);
    }
    let mut conversion = convert::convert(objects);
    if args.adopt {
        conversion = conversion.adopting();
    }
    write!(std::io::stdout().lock(), "{}", conversion.to_yaml()?)?;
    let mut said = std::io::stderr().lock();
    for note in &conversion.notes {
        writeln!(said, "{note}")?;
    }
    Ok(())
}
