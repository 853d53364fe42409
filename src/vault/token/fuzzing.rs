//! Bodies of token services, and files of credentials, as `make fuzz` tries them.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;

use super::{
    Token,
    assertion::{Assertion, Claims},
    credential_file,
    credentials::Credentials,
    exchange::{self, Application, Issued, NoToken},
    managed_identity,
    token_identity::TokenIdentity,
};
use crate::fuzzing::fuzzed::Fuzzed;

/// The body of an answer of the token service, and of the endpoint for managed identities.
pub(crate) fn token(body: &[u8], found: &mut Fuzzed) {
    for status in [200, 400, 401, 429, 503] {
        match exchange::of_answer(status, None, body) {
            Ok(Issued { access_token: secret, expires_in }) => {
                let lifetime = Duration::from_secs(expires_in.into());
                issued(&Token { secret, lifetime, assertion: Claims::default() }, body, found);
            }
            Err(NoToken::Failed(refused)) => found.said(&refused),
            Err(NoToken::Refused(codes)) => {
                let (authority_host, scope, tenant, client_id) = ("host", "scope", "tenant", "id");
                let application = Application { authority_host, scope, tenant, client_id };
                let failure = exchange::of_codes(&codes, &application, Claims::default());
                found.said(&failure);
                found.told(&failure.to_string());
            }
        }
        if let Ok(status) = StatusCode::from_u16(status) {
            found.said(&managed_identity::refused(status, body, None));
        }
    }
    if let Some(token) = managed_identity::parse(body, &Credentials::new(|| Timestamp::UNIX_EPOCH)) {
        issued(&token, body, found);
    }
}

/// The file of a credential.
pub(crate) fn credential(file: &[u8], found: &mut Fuzzed) {
    if file.len() <= credential_file::LARGEST {
        found.said(&credential_file::parse(file));
    }
}

fn issued(token: &Token, body: &[u8], found: &mut Fuzzed) {
    assert!(token.lifetime.as_secs() <= u32::MAX.into(), "a token that lives longer than a clock");
    found.said(token);
    found.made(token.secret.as_bytes(), body.len());
    let claims = Assertion::new(token.secret.clone()).claims();
    let claimed = [&claims.issuer, &claims.subject, &claims.audience];
    claimed.into_iter().flatten().for_each(|claim| found.made(claim.as_bytes(), 256));
    found.said(&TokenIdentity::read(&token.secret, Claims::default()));
}
