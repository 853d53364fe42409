//! Which hosts may ever receive a token: vaults of a known cloud, by the shape of their name, and hosts that come
//! with a cloud of their own.
//!
//! The cloud is part of the URL, so a token cannot be asked for one place and sent to another, and a host outside
//! the known clouds cannot be written down without saying who issues its tokens.

use std::{fmt, sync::Arc};

use super::{
    cloud::{Cloud, CloudRef, CustomCloud},
    host_name::{InvalidUrl, SCHEME, host_of, is_dns_name},
};

/// The base URL of a vault, lower-cased and without a trailing slash, with the cloud that issues its tokens.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VaultUrl {
    text: Arc<str>,
    cloud: CloudRef,
}

impl VaultUrl {
    /// Parses the URL of a vault. One trailing slash is accepted.
    ///
    /// # Errors
    /// [`InvalidUrl`] for everything that is not exactly `https://<vault>.<suffix of a known cloud>`.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let host = host_of(url)?;
        let (name, suffix) = host.split_once('.').ok_or(InvalidUrl::ForeignHost)?;
        let cloud = Cloud::ALL.into_iter().find(|cloud| cloud.vault_suffix() == suffix);
        let cloud = cloud.ok_or(InvalidUrl::ForeignHost)?;
        if !is_vault_name(name) {
            return Err(InvalidUrl::VaultName);
        }
        Ok(Self { text: format!("{SCHEME}{host}").into(), cloud: CloudRef::Known(cloud) })
    }

    /// Parses the URL of a vault whose tokens `cloud` issues: any host with a DNS name.
    ///
    /// # Errors
    /// [`InvalidUrl`] for everything that is not exactly `https://<DNS name>`.
    pub fn parse_custom(url: &str, cloud: CustomCloud) -> Result<Self, InvalidUrl> {
        let host = host_of(url).map_err(|error| match error {
            InvalidUrl::ForeignHost => InvalidUrl::NoDnsName,
            other => other,
        })?;
        if !is_dns_name(&host) {
            return Err(InvalidUrl::NoDnsName);
        }
        Ok(Self { text: format!("{SCHEME}{host}").into(), cloud: CloudRef::Custom(Arc::new(cloud)) })
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
    pub const fn cloud(&self) -> &CloudRef {
        &self.cloud
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
            assert_eq!((url.host(), url.cloud()), (host, &CloudRef::Known(cloud)));
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
                let suffixed = |cloud: &Cloud| url.host().ends_with(cloud.vault_suffix());
                let known = Cloud::ALL.into_iter().find(suffixed).map(CloudRef::Known);
                prop_assert_eq!(Some(url.cloud()), known.as_ref());
                prop_assert_eq!((parsed.path(), parsed.port(), parsed.username()), ("/", None, ""));
            }
        }
    }

    fn stack() -> CustomCloud {
        CustomCloud::new("https://login.stack.test/", "https://vault.stack.test/.default", None).unwrap()
    }

    #[test]
    fn a_host_outside_the_known_clouds_needs_a_cloud_of_its_own() {
        for host in ["prod.vault.local.azurestack.external", "kv.corp", "a-1.b2.c"] {
            let written = format!("https://{}/", host.to_uppercase());
            assert_eq!(VaultUrl::parse(&written), Err(InvalidUrl::ForeignHost));
            let url = VaultUrl::parse_custom(&written, stack()).unwrap();
            assert_eq!(url.as_str(), format!("https://{host}"));
            assert_eq!(url.cloud().authority_host(), "login.stack.test");
            assert_eq!(url.cloud().scope(), "https://vault.stack.test/.default");
        }
    }

    #[test]
    fn a_cloud_of_its_own_makes_no_odd_url_good() {
        for (written, why) in [
            ("http://kv.corp", InvalidUrl::NotHttps),
            ("https://me:pw@kv.corp", InvalidUrl::UserInfo),
            ("https://kv.corp:8443", InvalidUrl::Port),
            ("https://kv.corp/secrets", InvalidUrl::Path),
            ("https://kv.corp?x", InvalidUrl::QueryOrFragment),
            ("https://kv.corp#x", InvalidUrl::QueryOrFragment),
            ("https://kv.corp.", InvalidUrl::TrailingDot),
            ("https://xn--kv-eka.corp", InvalidUrl::Characters),
            ("https://kv.c\u{f6}rp", InvalidUrl::Characters),
            ("https://169.254.169.254", InvalidUrl::NoDnsName),
            ("https://[::1]", InvalidUrl::NoDnsName),
            ("https://0x7f000001", InvalidUrl::NoDnsName),
            ("https://127.0.0.0x1", InvalidUrl::NoDnsName),
            ("https://localhost", InvalidUrl::NoDnsName),
            ("https://-kv.corp", InvalidUrl::NoDnsName),
            ("https://kv..corp", InvalidUrl::NoDnsName),
            ("https://kv_1.corp", InvalidUrl::NoDnsName),
            ("https://", InvalidUrl::NoDnsName),
        ] {
            assert_eq!(VaultUrl::parse_custom(written, stack()), Err(why), "{written}");
        }
    }
}
