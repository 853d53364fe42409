//! Runs the emulator until it is interrupted.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use clap::Parser;
use keyvault_emulator::{Config, Emulator};
use serde_json::json;

/// An Azure Key Vault and Entra ID on loopback, reached under their real names through an HTTP CONNECT proxy.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port of the CONNECT proxy; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    proxy_port: u16,
    /// Port of the control API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Where to write the certificate that clients must trust.
    #[arg(long)]
    ca_out: Option<PathBuf>,
    /// Where managed identities are served: IMDS is 169.254.169.254:80, a port 0 takes a free one.
    #[arg(long, default_value_t = Config::default().identity_address)]
    identity_address: SocketAddr,
    /// Seconds an access token lives.
    #[arg(long, default_value_t = Config::default().token_lifetime)]
    token_lifetime: u32,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "one line for the caller is what this program prints")]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let emulator = Emulator::start(Config {
        proxy_port: args.proxy_port,
        control_port: args.control_port,
        token_lifetime: args.token_lifetime,
        identity_address: args.identity_address,
        ..Config::default()
    })
    .await?;
    if let Some(path) = &args.ca_out {
        fs::write(path, emulator.ca_pem())?;
    }
    println!(
        "{}",
        json!({
            "proxy": emulator.proxy_url(),
            "control": emulator.control_url(),
            "tenant": emulator.tenant(),
            "identityEndpoint": emulator.identity_endpoint(),
            "identityHeader": emulator.identity_header(),
            "ca": args.ca_out,
        })
    );
    tokio::signal::ctrl_c().await?;
    emulator.stop().await;
    Ok(())
}
