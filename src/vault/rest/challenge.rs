//! The vault's own word about who issues its tokens: `WWW-Authenticate` of a 401.
//!
//! Believed only as far as the vault's cloud allows: a host that names another token service or resource is sent
//! no token.

use crate::vault::{cloud::CloudRef, failure::Failure};

/// Reads the tenant out of a challenge of a vault in `cloud`.
///
/// # Errors
/// [`Failure::UntrustedVaultHost`] if the challenge names no tenant of the cloud's own token service, or another
/// resource than the cloud's vaults.
pub(super) fn tenant(challenge: &str, cloud: &CloudRef) -> Result<String, Failure> {
    read(challenge, cloud).ok_or(Failure::UntrustedVaultHost)
}

fn read(challenge: &str, cloud: &CloudRef) -> Option<String> {
    let (scheme, parameters) = challenge.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let resource = parameter(parameters, "resource").or_else(|| parameter(parameters, "scope"))?;
    if resource.trim_end_matches("/.default").trim_end_matches('/') != cloud.resource() {
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

/// Whether the vault asks for claims that the token did not have.
pub(super) fn asks_for_claims(challenge: &str) -> bool {
    let parameters = challenge.trim().split_once(' ').map(|(_, parameters)| parameters).unwrap_or_default();
    parameter(parameters, "error") == Some("insufficient_claims")
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
    use crate::vault::{Cloud, CustomCloud};

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
            assert_eq!(tenant(&challenge, &CloudRef::Known(Cloud::Public)).as_deref(), Ok(TENANT));
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
            assert_eq!(
                tenant(&challenge, &CloudRef::Known(Cloud::Public)),
                Err(Failure::UntrustedVaultHost),
                "{challenge}"
            );
        }
        let public = format!(
            r#"Bearer authorization="https://login.windows.net/{TENANT}", resource="https://vault.azure.net""#
        );
        assert!(tenant(&public, &CloudRef::Known(Cloud::China)).is_err());
    }

    #[test]
    fn a_described_cloud_is_held_to_its_own_authority_and_audience() {
        let cloud =
            CustomCloud::new("https://login.stack.test", "https://vault.stack.test/.default", None).unwrap();
        let cloud = CloudRef::Custom(cloud.into());
        let challenge = |host: &str, resource: &str| {
            format!(r#"Bearer authorization="https://{host}/{TENANT}", resource="{resource}""#)
        };
        let own = challenge("login.stack.test", "https://vault.stack.test");
        assert_eq!(tenant(&own, &cloud).as_deref(), Ok(TENANT));
        for (host, resource) in [
            ("login.windows.net", "https://vault.stack.test"),
            ("login.stack.test.evil.test", "https://vault.stack.test"),
            ("login.stack.test", "https://vault.azure.net"),
        ] {
            assert!(tenant(&challenge(host, resource), &cloud).is_err(), "{host} {resource}");
        }
    }

    #[test]
    fn a_claims_challenge_is_known_by_its_error_alone() {
        let plain = format!(
            r#"Bearer authorization="https://login.windows.net/{TENANT}", resource="https://vault.azure.net""#
        );
        assert!(asks_for_claims(&format!(r#"{plain}, error="insufficient_claims", claims="e30=""#)));
        for other in [plain.clone(), format!(r#"{plain}, error="invalid_token""#), String::new()] {
            assert!(!asks_for_claims(&other), "{other}");
        }
    }
}
