//! The vault's own word about who issues its tokens: `WWW-Authenticate` of a 401.
//!
//! Believed only as far as the vault's cloud allows: a host that names another token service or resource is sent
//! no token.

use super::{failure::Failure, url::Cloud};

/// Reads the tenant out of a challenge of a vault in `cloud`.
///
/// # Errors
/// [`Failure::UntrustedVaultHost`] if the challenge names no tenant of the cloud's own token service, or another
/// resource than the cloud's vaults.
pub(super) fn tenant(challenge: &str, cloud: Cloud) -> Result<String, Failure> {
    read(challenge, cloud).ok_or(Failure::UntrustedVaultHost)
}

fn read(challenge: &str, cloud: Cloud) -> Option<String> {
    let (scheme, parameters) = challenge.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let resource = parameter(parameters, "resource").or_else(|| parameter(parameters, "scope"))?;
    let audience = cloud.scope().trim_end_matches("/.default");
    if resource.trim_end_matches("/.default").trim_end_matches('/') != audience {
        return None;
    }
    let issuer =
        parameter(parameters, "authorization").or_else(|| parameter(parameters, "authorization_uri"))?;
    let (host, path) = issuer.strip_prefix("https://")?.split_once('/')?;
    let tenant = path.split('/').next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let named = (1..=255).contains(&tenant.len()) && tenant.bytes().all(plain) && !tenant.starts_with('.');
    (cloud.trusts_authority(host) && named).then(|| tenant.to_owned())
}

/// The value of `name="value"` (or `name=value`) in a comma separated list.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(',').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn the_tenant_is_read_from_either_form_of_the_challenge() {
        for challenge in [
            format!(
                r#"Bearer authorization="https://login.windows.net/{TENANT}", resource="https://vault.azure.net""#
            ),
            format!(
                r#"bearer authorization="https://login.microsoftonline.com/{TENANT}", scope="https://vault.azure.net/.default""#
            ),
        ] {
            assert_eq!(tenant(&challenge, Cloud::Public).as_deref(), Ok(TENANT));
        }
    }

    #[test]
    fn a_challenge_that_leads_elsewhere_is_not_followed() {
        for challenge in [
            String::new(),
            "Basic realm=x".to_owned(),
            format!(
                r#"Bearer authorization="https://evil.test/{TENANT}", resource="https://vault.azure.net""#
            ),
            format!(
                r#"Bearer authorization="http://login.windows.net/{TENANT}", resource="https://vault.azure.net""#
            ),
            format!(
                r#"Bearer authorization="https://login.windows.net@evil.test/{TENANT}", resource="https://vault.azure.net""#
            ),
            format!(
                r#"Bearer authorization="https://login.windows.net/{TENANT}", resource="https://graph.microsoft.com""#
            ),
            format!(r#"Bearer authorization="https://login.windows.net/{TENANT}""#),
            r#"Bearer authorization="https://login.windows.net/../x", resource="https://vault.azure.net""#
                .to_owned(),
            r#"Bearer authorization="https://login.windows.net/", resource="https://vault.azure.net""#
                .to_owned(),
        ] {
            assert_eq!(tenant(&challenge, Cloud::Public), Err(Failure::UntrustedVaultHost), "{challenge}");
        }
        let public = format!(
            r#"Bearer authorization="https://login.windows.net/{TENANT}", resource="https://vault.azure.net""#
        );
        assert!(tenant(&public, Cloud::China).is_err());
    }
}
