//! Access tokens: issued by the Entra side, verified by the vault side.
//!
//! Invariant: a token is judged by signature, expiry, audience and tenant, in that order, and by nothing it merely
//! claims about itself.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde_json::json;
use uuid::Uuid;

use crate::{
    fault::Unauthorized,
    jws::{KeySet, Signer, Token},
    refusal::Refusal,
};

/// The resource every vault of the public cloud is.
pub(crate) const AUDIENCE: &str = "https://vault.azure.net";

/// What a vault's challenge names: its token service, and the resource that tokens are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Realm {
    pub(crate) authority_host: String,
    pub(crate) resource: String,
}

impl Default for Realm {
    /// Azure's public cloud, by the older name that vaults use.
    fn default() -> Self {
        Self { authority_host: "login.windows.net".to_owned(), resource: AUDIENCE.to_owned() }
    }
}

/// Whom a valid token stands for; displays as Key Vault's messages name a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) client_id: String,
    pub(crate) object_id: String,
    pub(crate) tenant: String,
}

impl fmt::Display for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client_id, object_id, tenant } = self;
        write!(out, "appid={client_id};oid={object_id};iss=https://sts.windows.net/{tenant}/")
    }
}

/// The object id of an application in a tenant: the same one each time.
pub(crate) fn object_id(tenant: &str, client: &str) -> String {
    let hash = digest(&SHA256, format!("{tenant}/{client}").to_lowercase().as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    Uuid::from_bytes(bytes).to_string()
}

/// The `WWW-Authenticate` header of a vault in this tenant.
fn challenge(tenant: &str, realm: &Realm) -> String {
    let Realm { authority_host, resource } = realm;
    format!(r#"Bearer authorization="https://{authority_host}/{tenant}", resource="{resource}""#)
}

pub(crate) struct Tokens {
    signer: Signer,
    keys: KeySet,
}

impl Tokens {
    pub(crate) fn new(signer: Signer) -> Self {
        let keys = signer.key_set();
        Self { signer, keys }
    }

    pub(crate) fn key_set(&self) -> &KeySet {
        &self.keys
    }

    /// A token for this application that ends after `lifetime` seconds.
    pub(crate) fn issue(
        &self,
        tenant: &str,
        client: &str,
        resource: &str,
        lifetime: u32,
        now: i64,
    ) -> Result<String, ring::error::Unspecified> {
        let object = object_id(tenant, client);
        self.signer.sign(&json!({
            "aud": resource,
            "iss": format!("https://sts.windows.net/{tenant}/"),
            "iat": now,
            "nbf": now,
            "exp": now + i64::from(lifetime),
            "appid": client,
            "appidacr": "2",
            "idtyp": "app",
            "oid": object,
            "sub": object,
            "tid": tenant,
            "uti": Uuid::new_v4().simple().to_string(),
            "ver": "1.0",
        }))
    }

    /// The caller that an `Authorization` header stands for, in a vault of this tenant.
    pub(crate) fn verify(
        &self,
        authorization: Option<&str>,
        tenant: &str,
        realm: &Realm,
        now: i64,
    ) -> Result<Caller, Refusal> {
        let refuse = |message: String| Refusal::unauthorized(message, challenge(tenant, realm));
        let text = authorization
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, text)| text.trim())
            .ok_or_else(|| refuse("AKV10000: Request is missing a Bearer or PoP token.".to_owned()))?;
        let token = Token::parse(text)
            .filter(|token| token.verified_by(&self.keys))
            .ok_or_else(|| refuse("AKV10046: Unable to validate the token's signature.".to_owned()))?;
        if token.seconds("exp").is_none_or(|end| end <= now) {
            return Err(scripted(Unauthorized::TokenExpired, tenant, realm));
        }
        if token.audiences() != [realm.resource.as_str()] {
            return Err(scripted(Unauthorized::WrongAudience, tenant, realm));
        }
        let text = |claim| token.text(claim).unwrap_or_default().to_owned();
        let caller = Caller { client_id: text("appid"), object_id: text("oid"), tenant: text("tid") };
        if !caller.tenant.eq_ignore_ascii_case(tenant) {
            return Err(refuse(format!(
                "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{tenant}/, found \
                 https://sts.windows.net/{}/.",
                caller.tenant
            )));
        }
        Ok(caller)
    }
}

/// A 401 of this kind, whatever the token.
pub(crate) fn scripted(kind: Unauthorized, tenant: &str, realm: &Realm) -> Refusal {
    let plain = challenge(tenant, realm);
    match kind {
        Unauthorized::WrongTenant => Refusal::unauthorized(
            format!(
                "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{tenant}/, found \
                 https://sts.windows.net/00000000-0000-0000-0000-00000000dead/."
            ),
            plain,
        ),
        Unauthorized::WrongAudience => Refusal::unauthorized(
            format!(
                "AKV10022: Invalid audience. Expected {}, found: https://management.core.windows.net/.",
                realm.resource
            ),
            plain,
        ),
        Unauthorized::TokenExpired => {
            Refusal::unauthorized("[TokenExpired] Error validating token: 'S2S12086'.", plain)
        }
        Unauthorized::MissingClientCertificate => Refusal {
            code: "MissingClientCertificate",
            ..Refusal::unauthorized(
                "The request must be made with the client certificate that the token is bound to.",
                plain,
            )
        },
        Unauthorized::InsufficientClaims => Refusal::unauthorized(
            "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: \
             TokenIssuedBeforeRevocationTimestamp",
            // {"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}
            format!(
                r#"{plain}, error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzAwMDAwMDAwIn19fQ==""#
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn refused(result: Result<Caller, Refusal>) -> String {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.status.as_u16(), 401);
        assert_eq!(
            refusal.challenge.unwrap(),
            r#"Bearer authorization="https://login.windows.net/t1", resource="https://vault.azure.net""#
        );
        refusal.message
    }

    #[test]
    fn a_token_is_good_in_its_own_tenant_until_it_ends() {
        let tokens = Tokens::new(Signer::generate().unwrap());
        let header = format!("Bearer {}", tokens.issue("t1", "app", AUDIENCE, 60, NOW).unwrap());
        let caller = tokens.verify(Some(&header), "T1", &Realm::default(), NOW + 59).unwrap();
        assert_eq!((caller.client_id.as_str(), caller.tenant.as_str()), ("app", "t1"));
        assert_eq!(caller.object_id, object_id("T1", "APP"));
        assert!(
            refused(tokens.verify(Some(&header), "t1", &Realm::default(), NOW + 60)).contains("TokenExpired")
        );
        let foreign = format!("bearer {}", tokens.issue("t2", "app", AUDIENCE, 60, NOW).unwrap());
        assert!(refused(tokens.verify(Some(&foreign), "t1", &Realm::default(), NOW)).starts_with("AKV10032"));
    }

    #[test]
    fn a_missing_or_foreign_token_is_challenged() {
        let tokens = Tokens::new(Signer::generate().unwrap());
        for header in [None, Some("Basic abc"), Some("Bearer")] {
            assert!(
                refused(tokens.verify(header, "t1", &Realm::default(), NOW)).starts_with("AKV10000"),
                "{header:?}"
            );
        }
        let other = Tokens::new(Signer::generate().unwrap());
        let header = format!("Bearer {}", other.issue("t1", "app", AUDIENCE, 60, NOW).unwrap());
        assert!(refused(tokens.verify(Some(&header), "t1", &Realm::default(), NOW)).starts_with("AKV10046"));
    }
}
