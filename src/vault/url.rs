//! Which hosts may ever receive a token: vaults of a known cloud, by the shape of their name.
//!
//! The audience follows from the host's suffix, so a token cannot be asked for one place and sent to another.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// A cloud that vaults live in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cloud {
    /// Azure's public cloud.
    Public,
    /// Azure US Government.
    UsGovernment,
    /// Azure in China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// All known clouds.
    pub const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// What the host of a vault ends with.
    #[must_use]
    pub const fn vault_suffix(self) -> &'static str {
        match self {
            Self::Public => "vault.azure.net",
            Self::UsGovernment => "vault.usgovcloudapi.net",
            Self::China => "vault.azure.cn",
        }
    }

    /// The host of the token service.
    #[must_use]
    pub const fn authority_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.chinacloudapi.cn",
        }
    }

    /// Whether a vault of this cloud may name `host` as its token service. A vault may use older or newer names
    /// of it; tokens are asked of [`Self::authority_host`] whatever it says.
    #[must_use]
    pub fn trusts_authority(self, host: &str) -> bool {
        let also: &[&str] = match self {
            Self::Public => &["login.windows.net", "sts.windows.net", "login.microsoft.com"],
            Self::UsGovernment => &[],
            Self::China => &["login.partner.microsoftonline.cn"],
        };
        host == self.authority_host() || also.contains(&host)
    }

    /// The scope of a token for the vaults of this cloud.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Public => "https://vault.azure.net/.default",
            Self::UsGovernment => "https://vault.usgovcloudapi.net/.default",
            Self::China => "https://vault.azure.cn/.default",
        }
    }

    /// The audience of an assertion that this cloud's token service exchanges for a token.
    #[must_use]
    pub const fn exchange_audience(self) -> &'static str {
        match self {
            Self::Public => "api://AzureADTokenExchange",
            Self::UsGovernment => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }
}

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
}

/// The base URL of a vault in a known cloud, lower-cased and without a trailing slash.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VaultUrl {
    text: Arc<str>,
}

const SCHEME: &str = "https://";

impl VaultUrl {
    /// Parses the URL of a vault. One trailing slash is accepted.
    ///
    /// # Errors
    /// [`InvalidUrl`] for everything that is not exactly `https://<vault>.<suffix of a known cloud>`.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
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
        let (name, suffix) = host.split_once('.').ok_or(InvalidUrl::ForeignHost)?;
        if !Cloud::ALL.iter().any(|cloud| cloud.vault_suffix() == suffix) {
            return Err(InvalidUrl::ForeignHost);
        }
        if !is_vault_name(name) {
            return Err(InvalidUrl::VaultName);
        }
        Ok(Self { text: format!("{SCHEME}{host}").into() })
    }

    /// The URL, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.strip_prefix(SCHEME).unwrap_or(&self.text)
    }

    /// The cloud that the vault lives in.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        let host = self.host();
        Cloud::ALL.into_iter().find(|cloud| host.ends_with(cloud.vault_suffix())).unwrap_or(Cloud::Public)
    }
}

/// Key Vault's own rule for names: 3 to 24 characters, a letter first, no hyphen last, none doubled.
fn is_vault_name(name: &str) -> bool {
    (3..=24).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !name.ends_with('-')
        && !name.contains("--")
}

impl fmt::Debug for VaultUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for VaultUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vault_of_each_cloud_is_accepted_in_any_case_and_with_one_slash() {
        for (written, host, cloud) in [
            ("https://prod.vault.azure.net", "prod.vault.azure.net", Cloud::Public),
            ("https://PROD.Vault.Azure.Net/", "prod.vault.azure.net", Cloud::Public),
            ("HTTPS://a-1.vault.usgovcloudapi.net", "a-1.vault.usgovcloudapi.net", Cloud::UsGovernment),
            ("https://abc.vault.azure.cn", "abc.vault.azure.cn", Cloud::China),
        ] {
            let url = VaultUrl::parse(written).unwrap();
            assert_eq!((url.host(), url.cloud()), (host, cloud));
            assert_eq!(url.as_str(), format!("https://{host}"));
        }
    }

    #[test]
    fn everything_odd_is_refused_by_its_own_sentence() {
        for (written, why) in [
            ("http://prod.vault.azure.net", InvalidUrl::NotHttps),
            ("prod.vault.azure.net", InvalidUrl::NotHttps),
            ("", InvalidUrl::NotHttps),
            ("https://me:pw@prod.vault.azure.net", InvalidUrl::UserInfo),
            ("https://prod.vault.azure.net@evil.test", InvalidUrl::UserInfo),
            ("https://prod.vault.azure.net:443", InvalidUrl::Port),
            ("https://prod.vault.azure.net/secrets/x", InvalidUrl::Path),
            ("https://prod.vault.azure.net//", InvalidUrl::Path),
            ("https://prod.vault.azure.net?x", InvalidUrl::QueryOrFragment),
            ("https://prod.vault.azure.net/#x", InvalidUrl::QueryOrFragment),
            ("https://prød.vault.azure.net", InvalidUrl::Characters),
            ("https://xn--prd-0na.vault.azure.net", InvalidUrl::Characters),
            ("https://prod%2e.vault.azure.net", InvalidUrl::Characters),
            ("https://evil.test\\.vault.azure.net", InvalidUrl::Characters),
            (" https://prod.vault.azure.net", InvalidUrl::Characters),
            ("https://prod.vault.azure.net\n", InvalidUrl::Characters),
            ("https://prod.vault.azure.net.", InvalidUrl::TrailingDot),
            ("https://prod.vault.azure.net.evil.test", InvalidUrl::ForeignHost),
            ("https://prodvault.azure.net", InvalidUrl::ForeignHost),
            ("https://a.prod.vault.azure.net", InvalidUrl::ForeignHost),
            ("https://prod.managedhsm.azure.net", InvalidUrl::ForeignHost),
            ("https://169.254.169.254", InvalidUrl::ForeignHost),
            ("https://[::1]", InvalidUrl::ForeignHost),
            ("https://localhost", InvalidUrl::ForeignHost),
            ("https://.vault.azure.net", InvalidUrl::VaultName),
            ("https://ab.vault.azure.net", InvalidUrl::VaultName),
            ("https://a--b.vault.azure.net", InvalidUrl::VaultName),
            ("https://abc-.vault.azure.net", InvalidUrl::VaultName),
            ("https://1abc.vault.azure.net", InvalidUrl::VaultName),
            ("https://abcdefghijklmnopqrstuvwxy.vault.azure.net", InvalidUrl::VaultName),
        ] {
            assert_eq!(VaultUrl::parse(written), Err(why), "{written:?}");
        }
    }

    #[test]
    fn a_vault_may_name_only_its_own_clouds_token_service() {
        assert!(Cloud::Public.trusts_authority("login.windows.net"));
        assert!(!Cloud::Public.trusts_authority("login.microsoftonline.us"));
        assert!(!Cloud::UsGovernment.trusts_authority("login.windows.net"));
        assert!(!Cloud::Public.trusts_authority("login.microsoftonline.com.evil.test"));
    }

    proptest! {
        #[test]
        fn whatever_parses_leads_only_to_a_vault(text in "(https://)?[a-z0-9.:/@%#?\\\\-]{0,20}(\\.vault\\.azure\\.(net|cn))?.{0,3}") {
            if let Ok(url) = VaultUrl::parse(&text) {
                let parsed = ::url::Url::parse(url.as_str()).unwrap();
                prop_assert_eq!(parsed.host_str(), Some(url.host()));
                prop_assert!(url.host().ends_with(url.cloud().vault_suffix()));
                prop_assert_eq!((parsed.path(), parsed.port(), parsed.username()), ("/", None, ""));
            }
        }
    }
}
