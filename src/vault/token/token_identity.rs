//! As whom a token speaks: what a person needs to assign a role, or to find the federated credential.
//!
//! Read from tokens without verifying them: it is shown, and decides nothing. Microsoft calls its tokens opaque, so
//! each claim may be missing; what is no id is not shown.

use super::assertion::{Claims, payload, plain};
use crate::vault::rest::refusal::guid;

/// As whom a token speaks. Nothing of it is secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenIdentity {
    /// The client (application) id.
    pub client_id: Option<String>,
    /// The object (principal) id, to which roles are assigned.
    pub object_id: Option<String>,
    /// The tenant that issued the token.
    pub tenant_id: Option<String>,
    /// The issuer of the assertion that was exchanged for it.
    pub issuer: Option<String>,
    /// The subject of the assertion that was exchanged for it.
    pub subject: Option<String>,
}

impl TokenIdentity {
    /// What `token`, exchanged for an assertion with these claims, says of its bearer.
    pub(super) fn read(token: &str, assertion: Claims) -> Self {
        let claims = payload(token).unwrap_or_default();
        let id = |claim: &str| claims.get(claim)?.as_str().and_then(guid);
        Self {
            client_id: id("appid").or_else(|| id("azp")),
            object_id: id("oid"),
            tenant_id: id("tid"),
            issuer: assertion.issuer.filter(|issuer| plain(issuer).is_some()),
            subject: assertion.subject.filter(|subject| plain(subject).is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.canary", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_tells_its_ids_and_what_is_no_id_is_not_shown() {
        let (client, object) =
            ("AAAAAAAA-1111-4222-8333-444444444444", "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e");
        let read = |claims: &str| TokenIdentity::read(&token(claims), Claims::default());
        let known = read(&format!(r#"{{"appid":"{client}","oid":"{object}","tid":"common"}}"#));
        assert_eq!(known.client_id, Some(client.to_ascii_lowercase()));
        assert_eq!(known.object_id.as_deref(), Some(object));
        assert_eq!(known.tenant_id, None);
        assert_eq!(read(&format!(r#"{{"azp":"{client}"}}"#)).client_id, known.client_id);
        for opaque in ["", "canary", "a.b.c", &token(r#"{"oid":7,"appid":"canary"}"#)] {
            assert_eq!(TokenIdentity::read(opaque, Claims::default()), TokenIdentity::default(), "{opaque}");
        }
    }

    #[test]
    fn the_assertion_that_was_exchanged_is_named() {
        let assertion = Claims {
            issuer: Some("https://issuer".to_owned()),
            subject: Some("system:serviceaccount:shop:shop".to_owned()),
            audience: None,
        };
        let known = TokenIdentity::read("", assertion);
        assert_eq!(known.subject.as_deref(), Some("system:serviceaccount:shop:shop"));
        assert_eq!(known.issuer.as_deref(), Some("https://issuer"));
    }
}
