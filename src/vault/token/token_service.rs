//! What the token service answers, read by ourselves before the library sees it.
//!
//! `azure_identity` takes an error whose description holds an escape for a broken answer, and ends the program over a
//! token that lives beyond its calendar. So it is shown tokens only: of a refusal the numbers are kept, and nothing else.

use std::{
    error::Error as _,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::{
    error::ErrorKind,
    http::{AsyncRawResponse, HttpClient, Request, headers, headers::Headers, response::AsyncResponseBody},
};
use futures::StreamExt as _;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::vault::{
    failure::{Failure, Peer},
    rest::{client::wiped, refusal},
};

/// Larger than any token, with room for what stands beside it.
const LARGEST_BODY: usize = 64 * 1024;

/// Why there is no token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum NoToken {
    /// The token service refuses, by its `AADSTS` numbers.
    Refused(Vec<u32>),
    /// It cannot be reached, fails, or it is no token service that answers.
    Failed {
        failure: Failure,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl From<Failure> for NoToken {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, retry_after: None }
    }
}

const MALFORMED: Failure = Failure::MalformedResponse { peer: Peer::Authority, at: None };

/// A token as OAuth 2 has it (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Issued {
    #[serde(deserialize_with = "wiped")]
    access_token: Zeroizing<String>,
    #[serde(rename = "expires_in")]
    _expires_in: u32,
}

fn is_token(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|issued: Issued| !issued.access_token.is_empty())
}

/// An error as OAuth 2 has it (RFC 6749, 5.2), with the numbers that Entra adds.
#[derive(Deserialize)]
struct RefusedBody {
    #[serde(rename = "error")]
    _error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

/// What an answer without a token means.
fn of_answer(status: u16, retry_after: Option<Duration>, body: &[u8]) -> NoToken {
    let failed = |failure| NoToken::Failed { failure, retry_after };
    match status {
        429 => failed(Failure::Throttled(Peer::Authority)),
        408 | 500..=599 => {
            failed(Failure::ServiceUnavailable { peer: Peer::Authority, status: Some(status) })
        }
        400..=499 => serde_json::from_slice(body).map_or_else(
            |_| failed(MALFORMED),
            |RefusedBody { error_codes, .. }| NoToken::Refused(error_codes),
        ),
        _ => failed(MALFORMED),
    }
}

/// What it means that there is no answer, or only the beginning of one.
fn of_transport(error: &azure_core::Error) -> NoToken {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<reqwest::Error>());
    let silent = Failure::ServiceUnavailable { peer: Peer::Authority, status: None };
    cause.map_or(silent, |cause| refusal::of_transport(cause, Peer::Authority)).into()
}

fn retry_after(headers: &Headers) -> Option<Duration> {
    let seconds: u32 = headers.get_optional_str(&headers::RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// The whole body, if it is not too large.
async fn collect(mut stream: AsyncResponseBody) -> Result<Zeroizing<Vec<u8>>, NoToken> {
    let mut body = Zeroizing::new(Vec::with_capacity(LARGEST_BODY));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| of_transport(&error))?;
        if body.len().saturating_add(chunk.len()) > LARGEST_BODY {
            return Err(MALFORMED.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The way to the token service, which lets through nothing but tokens.
pub(super) struct TokenService {
    http: reqwest::Client,
    said: Mutex<Option<NoToken>>,
}

impl TokenService {
    pub(super) fn new(http: reqwest::Client) -> Arc<Self> {
        Arc::new(Self { http, said: Mutex::default() })
    }

    /// Why there is no token.
    pub(super) fn no_token(&self) -> NoToken {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        said.unwrap_or_else(|| MALFORMED.into())
    }

    async fn ask(&self, request: &Request) -> Result<AsyncRawResponse, NoToken> {
        let answer = self.http.execute_request(request).await.map_err(|error| of_transport(&error))?;
        let (status, headers, stream) = answer.deconstruct();
        let body = collect(stream).await?;
        match u16::from(status) {
            200 if is_token(&body) => Ok(AsyncRawResponse::from_bytes(status, headers, body.to_vec())),
            status => Err(of_answer(status, retry_after(&headers), &body)),
        }
    }
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService").finish_non_exhaustive()
    }
}

impl HttpClient for TokenService {
    fn execute_request<'life0, 'life1, 'async_trait>(
        &'life0 self,
        request: &'life1 Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            self.ask(request).await.map_err(|no_token| {
                *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(no_token);
                azure_core::Error::with_message(ErrorKind::Credential, "no token")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_refusal_are_read_whatever_stands_beside_them() {
        for (description, codes) in [
            ("", vec![700_016]),
            (r#","error_description":"AADSTS700016: 'app' was not found.""#, vec![700_016]),
            (r#","error_description":"a \"quoted\" name,\r\n\u00e4 and \/""#, vec![700_016]),
            (r#","error_description":null,"timestamp":7,"claims":{"a":["\""]}"#, vec![700_016]),
        ] {
            let body = format!(r#"{{"error":"unauthorized_client","error_codes":[700016]{description}}}"#);
            assert_eq!(of_answer(400, None, body.as_bytes()), NoToken::Refused(codes), "{body}");
        }
        let body = br#"{"error":"invalid_client","error_codes":[7000215,50000]}"#;
        assert_eq!(of_answer(401, None, body), NoToken::Refused(vec![7_000_215, 50_000]));
        assert_eq!(of_answer(401, None, br#"{"error":"invalid_client"}"#), NoToken::Refused(Vec::new()));
    }

    #[test]
    fn what_is_no_refusal_of_a_token_service_is_not_taken_for_one() {
        for body in [
            &b""[..],
            b"<html>error_codes: [700016]</html>",
            b"[700016]",
            br#"{"message":"blocked by the proxy"}"#,
            br#"{"error":"x","error_codes":"700016"}"#,
            br#"{"error":"x","error_codes":[700016]"#,
            b"{\"error\":\"\xff\",\"error_codes\":[-1]}",
        ] {
            assert_eq!(of_answer(400, None, body), MALFORMED.into(), "{:?}", String::from_utf8_lossy(body));
        }
        for status in [200, 302] {
            assert_eq!(of_answer(status, None, br#"{"error":"x"}"#), MALFORMED.into(), "{status}");
        }
    }

    #[test]
    fn a_token_without_text_or_with_an_odd_life_is_none() {
        assert!(is_token(br#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#));
        for body in [
            "",
            "{}",
            r#"{"expires_in":3599,"access_token":""}"#,
            r#"{"access_token":"t"}"#,
            r#"{"expires_in":-1,"access_token":"t"}"#,
            r#"{"expires_in":9223372036854775807,"access_token":"t"}"#,
            r#"{"expires_in":3599,"access_token":7}"#,
        ] {
            assert!(!is_token(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_busy_or_broken_token_service_is_told_by_its_status_alone() {
        let wait = Some(Duration::from_secs(7));
        let numbers = br#"{"error":"x","error_codes":[700016]}"#;
        for (status, reason) in [
            (408, "ServiceUnavailable"),
            (429, "Throttled"),
            (500, "ServiceUnavailable"),
            (503, "ServiceUnavailable"),
        ] {
            let NoToken::Failed { failure, retry_after } = of_answer(status, wait, numbers) else {
                panic!("{status} is a refusal")
            };
            assert_eq!((failure.reason(), retry_after), (reason, wait), "{status}");
        }
    }
}
