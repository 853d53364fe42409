//! The host in a URL that is scheme and host and nothing else, as vaults and token services have it.

use thiserror::Error;

/// Why a vault's URL is refused: a sentence that names what is wrong and what to write instead.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidUrl {
    /// Another scheme, or none.
    #[error("the vault's URL must start with https://, as in https://prod.vault.azure.net")]
    NotHttps,
    /// A user name or password stands before the host.
    #[error(
        "the vault's URL holds a user name or password: leave out everything up to the @; the identity is set beside it"
    )]
    UserInfo,
    /// A port, even the usual one.
    #[error("the vault's URL names a port: leave it out, Key Vault answers on 443 only")]
    Port,
    /// A path behind the host.
    #[error(
        "the vault's URL holds a path: end it after the host, as in https://prod.vault.azure.net, and name the secret in the VaultSecretSync"
    )]
    Path,
    /// A query or fragment.
    #[error(
        "the vault's URL holds a query or fragment: end it after the host, as in https://prod.vault.azure.net"
    )]
    QueryOrFragment,
    /// White space, control characters or letters outside ASCII, plain or as punycode.
    #[error(
        "the vault's URL holds characters that no vault's name has: write letters, digits and hyphens, as in https://prod.vault.azure.net"
    )]
    Characters,
    /// A dot ends the host.
    #[error("the vault's host ends with a dot: leave it out")]
    TrailingDot,
    /// The host is not in a known cloud.
    #[error(
        "the host is no Azure Key Vault: it must be <vault>.vault.azure.net, <vault>.vault.usgovcloudapi.net or <vault>.vault.azure.cn"
    )]
    ForeignHost,
    /// The host is in a known cloud, but its first part cannot be a vault's name.
    #[error(
        "the vault's name, the part before the first dot, must be 3 to 24 letters, digits and single hyphens, begin with a letter and not end with a hyphen"
    )]
    VaultName,
    /// The host is an address or no DNS name.
    #[error(
        "the host must be a DNS name of letters, digits, hyphens and dots, as in https://prod.vault.local.azurestack.external; no address"
    )]
    NoDnsName,
}

pub(super) const SCHEME: &str = "https://";

/// The lower-cased host of a URL that is scheme and host and nothing else. One trailing slash is accepted.
pub(super) fn host_of(url: &str) -> Result<String, InvalidUrl> {
    if url.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return Err(InvalidUrl::Characters);
    }
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix(SCHEME).ok_or(InvalidUrl::NotHttps)?;
    if rest.contains('@') {
        return Err(InvalidUrl::UserInfo);
    }
    if rest.contains(['?', '#']) {
        return Err(InvalidUrl::QueryOrFragment);
    }
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.contains('/') {
        return Err(InvalidUrl::Path);
    }
    if host.starts_with('[') {
        return Err(InvalidUrl::ForeignHost);
    }
    if host.contains(':') {
        return Err(InvalidUrl::Port);
    }
    if host.contains('%') || host.split('.').any(|label| label.starts_with("xn--")) {
        return Err(InvalidUrl::Characters);
    }
    if host.ends_with('.') {
        return Err(InvalidUrl::TrailingDot);
    }
    Ok(host.to_owned())
}

/// At least two labels, the last of which no address can have.
pub(super) fn is_dns_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253
        && host.contains('.')
        && host.split('.').all(label)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()))
}
