//! Who issues the tokens of a vault: one of Azure's clouds, or one that is described.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use thiserror::Error;

use super::authorities::{self, InvalidAuthorities};
use super::host_name::{InvalidUrl, host_of, is_dns_name};

/// A cloud that vaults live in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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

/// Why a described cloud is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidCloud {
    /// The authority's URL.
    #[error("authority: {0}")]
    Authority(AuthorityFault),
    /// The audience.
    #[error(
        "audience: write the resource of the vaults' tokens, as in https://vault.azure.net/.default, of at most 256 characters"
    )]
    Audience,
    /// The CA bundle.
    #[error("caBundle: {0}")]
    CaBundle(InvalidAuthorities),
}

/// What is wrong with an authority's URL.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "write https:// and the host of the token service, as in https://login.microsoftonline.com, and nothing else"
)]
pub struct AuthorityFault;

impl From<InvalidUrl> for AuthorityFault {
    fn from(_: InvalidUrl) -> Self {
        Self
    }
}

/// A cloud that is described: Azure Stack, or hosts with names of their own.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct CustomCloud {
    authority_host: String,
    /// Without `/.default`.
    resource: String,
    ca_bundle: Option<Arc<str>>,
}

impl CustomCloud {
    /// A cloud whose token service is at `authority` (`https://<host>`), whose vaults take tokens for `audience`
    /// (`https://vault.azure.net/.default`, with or without its end), and whose hosts may have certificates of the
    /// authorities in `ca_bundle` (PEM) beside the usual ones.
    ///
    /// # Errors
    /// [`InvalidCloud`] names what is wrong.
    pub fn new(authority: &str, audience: &str, ca_bundle: Option<&str>) -> Result<Self, InvalidCloud> {
        let host = host_of(authority).map_err(|error| InvalidCloud::Authority(error.into()))?;
        if !is_dns_name(&host) {
            return Err(InvalidCloud::Authority(AuthorityFault));
        }
        let resource = audience.strip_suffix("/.default").unwrap_or(audience).trim_end_matches('/');
        let named = ["https://", "api://"].iter().any(|scheme| {
            resource.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        if !named || audience.len() > 256 || !resource.bytes().all(is_plain) {
            return Err(InvalidCloud::Audience);
        }
        if let Some(bundle) = ca_bundle {
            authorities::check(bundle.as_bytes()).map_err(InvalidCloud::CaBundle)?;
        }
        Ok(Self { authority_host: host, resource: resource.to_owned(), ca_bundle: ca_bundle.map(Into::into) })
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b':' | b'_')
}

/// A bundle of certificates is long and looked up with each question of an object: equality alone looks at it.
impl Hash for CustomCloud {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.authority_host, &self.resource).hash(state);
    }
}

impl fmt::Debug for CustomCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomCloud")
            .field("authority", &self.authority_host)
            .field("resource", &self.resource)
            .field("ca_bundle", &self.ca_bundle.is_some())
            .finish()
    }
}

/// The cloud of a vault.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CloudRef {
    /// One of Azure's own, known by the host's suffix.
    Known(Cloud),
    /// One that is described.
    Custom(Arc<CustomCloud>),
}

impl CloudRef {
    /// The host of the token service.
    #[must_use]
    pub fn authority_host(&self) -> &str {
        match self {
            Self::Known(cloud) => cloud.authority_host(),
            Self::Custom(cloud) => &cloud.authority_host,
        }
    }

    /// Whether a vault of this cloud may name `host` as its token service.
    #[must_use]
    pub fn trusts_authority(&self, host: &str) -> bool {
        match self {
            Self::Known(cloud) => cloud.trusts_authority(host),
            // Vaults at other names may well stand in one of Azure's clouds, and use any name of its token service.
            Self::Custom(cloud) => {
                let authority = cloud.authority_host.as_str();
                host == authority
                    || known_by_authority(authority).is_some_and(|known| known.trusts_authority(host))
            }
        }
    }

    /// The resource that a token for the vaults of this cloud is for; what a vault calls it in its challenge.
    #[must_use]
    pub fn resource(&self) -> &str {
        match self {
            Self::Known(cloud) => cloud.scope().trim_end_matches("/.default"),
            Self::Custom(cloud) => &cloud.resource,
        }
    }

    /// The scope of a token for the vaults of this cloud.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("{}/.default", self.resource())
    }

    /// The audience of an assertion that this cloud's token service exchanges for a token.
    #[must_use]
    pub fn exchange_audience(&self) -> &'static str {
        let known = match self {
            Self::Known(cloud) => Some(*cloud),
            Self::Custom(cloud) => known_by_authority(&cloud.authority_host),
        };
        known.unwrap_or(Cloud::Public).exchange_audience()
    }

    /// Certificates (PEM) to trust beside the usual ones.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Custom(cloud) => cloud.ca_bundle.as_deref(),
        }
    }
}

/// The cloud whose token service is at `host`.
fn known_by_authority(host: &str) -> Option<Cloud> {
    Cloud::ALL.into_iter().find(|cloud| cloud.trusts_authority(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIENCE: &str = "https://vault.stack.test/.default";

    #[test]
    fn a_described_cloud_is_taken_only_as_host_resource_and_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(vec!["ca.test".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem();
        let cloud = |authority: &str, audience: &str, bundle: Option<&str>| {
            CustomCloud::new(authority, audience, bundle)
        };
        let good = cloud("https://login.stack.test", AUDIENCE, Some(&format!("{pem}{pem}"))).unwrap();
        let good = CloudRef::Custom(good.into());
        assert_eq!((good.resource(), good.scope().as_str()), ("https://vault.stack.test", AUDIENCE));
        assert!(good.ca_bundle().is_some());

        let authority = Err(InvalidCloud::Authority(AuthorityFault));
        for wrong in [
            "login.stack.test",
            "http://login.stack.test",
            "https://login.stack.test/tenant",
            "https://10.0.0.1",
            "https://a:b@c.test",
        ] {
            assert_eq!(cloud(wrong, AUDIENCE, None), authority, "{wrong}");
        }
        for wrong in [
            "",
            "vault.stack.test",
            "https://",
            "https:///.default",
            "https://a b",
            "https://a\nb",
            "https://a?b",
        ] {
            assert_eq!(
                cloud("https://login.stack.test", wrong, None),
                Err(InvalidCloud::Audience),
                "{wrong}"
            );
        }
        let cut = pem.replace("-----END", "-----NED");
        let forged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for wrong in ["", "canary", cut.as_str(), forged] {
            assert_eq!(
                cloud("https://login.stack.test", AUDIENCE, Some(wrong)),
                Err(InvalidCloud::CaBundle(InvalidAuthorities::NotPem)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_described_cloud_at_a_known_token_service_shares_its_names_and_exchange() {
        let of = |authority| CloudRef::Custom(CustomCloud::new(authority, AUDIENCE, None).unwrap().into());
        let china = of("https://login.partner.microsoftonline.cn");
        assert!(china.trusts_authority("login.chinacloudapi.cn"));
        assert!(!china.trusts_authority("login.microsoftonline.com"));
        assert_eq!(china.exchange_audience(), "api://AzureADTokenExchangeChina");
        let own = of("https://login.stack.test");
        assert!(own.trusts_authority("login.stack.test"));
        assert!(!own.trusts_authority("login.microsoftonline.com"));
        assert_eq!(own.exchange_audience(), "api://AzureADTokenExchange");
    }
}
