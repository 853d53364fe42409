//! From what a vault, or the way to it, answers instead of a value, to a [`Failure`].
//!
//! The service's message is searched for codes, ids and addresses; nothing else of it is kept.

use std::{borrow::Cow, error::Error, net::IpAddr, time::Duration};

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;

use crate::vault::{
    connection::ObjectKind,
    failure::{Failure, Peer, Principal, ProxyProblem},
};

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: ServiceError<'a>,
}

/// What the service says is wrong. Its message goes no further than this module.
#[derive(Default, Deserialize)]
pub(super) struct ServiceError<'a> {
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    innererror: Option<InnerError<'a>>,
}

#[derive(Default, Deserialize)]
struct InnerError<'a> {
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
}

/// Codes that say more than the status; anything else is no label.
const LABELS: [&str; 12] = [
    "AccessDenied",
    "ForbiddenByConnection",
    "ForbiddenByFirewall",
    "ForbiddenByPolicy",
    "ForbiddenByRbac",
    "KeyDisabled",
    "KeyNotFound",
    "KeyOperationForbidden",
    "MissingClientCertificate",
    "SecretDisabled",
    "SecretNotFound",
    "VaultRequestTypeLimitReached",
];

impl<'a> ServiceError<'a> {
    /// What a body says, if it is an error of Key Vault.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).map(|ErrorBody { error }| error).ok()
    }

    /// Its inner code, or its code, if that is a known one; else nothing.
    pub(super) fn label(&self) -> &'static str {
        let code = self.inner().or(self.code.as_deref()).unwrap_or_default();
        LABELS.into_iter().find(|known| *known == code).unwrap_or_default()
    }

    fn inner(&self) -> Option<&str> {
        self.innererror.as_ref()?.code.as_deref()
    }
}

/// What an answer other than 200 means, with what its body says.
pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, said: Option<&ServiceError<'_>>) -> Failure {
    let code = said.and_then(|error| error.code.as_deref()).unwrap_or_default();
    let message = said.and_then(|error| error.message.as_deref()).unwrap_or_default();
    let inner = said.and_then(ServiceError::inner).unwrap_or_default();
    if code == "MissingClientCertificate" || inner == "MissingClientCertificate" {
        return Failure::TokenBindingRequired;
    }
    match status.as_u16() {
        400 if code == "BadParameter" => Failure::InvalidName,
        401 if message.contains("AKV10032") => Failure::WrongTenant {
            vault: guid_after(message, "Expected one of https://sts.windows.net/"),
            token: guid_after(message, "found https://sts.windows.net/"),
        },
        401 if message.contains("AKV10022") => Failure::WrongAudience,
        401 => Failure::TokenRejected,
        403 if said.is_some() => forbidden(inner, message, headers),
        // A proxy's own 404 must never count as an absent secret.
        404 if code == "SecretNotFound" => Failure::SecretNotFound,
        404 if code == "KeyNotFound" => Failure::KeyNotFound,
        429 => Failure::Throttled(Peer::Vault),
        408 | 500..=599 => Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(status.as_u16()) },
        400..=499 if said.is_some() && status != StatusCode::NOT_FOUND => Failure::RequestRejected,
        _ => Failure::MalformedResponse { peer: Peer::Vault, at: None },
    }
}

fn forbidden(inner: &str, message: &str, headers: &HeaderMap) -> Failure {
    match inner {
        "ForbiddenByRbac" => Failure::MissingRole(Box::new(principal(message))),
        "AccessDenied" => Failure::MissingAccessPolicy(Box::new(principal(message))),
        "ForbiddenByFirewall" => Failure::Firewall(address(headers)),
        "ForbiddenByConnection" => Failure::PublicAccessDisabled(None),
        "SecretDisabled" => Failure::SecretDisabled,
        "KeyDisabled" => Failure::KeyDisabled,
        _ => Failure::Forbidden,
    }
}

fn principal(message: &str) -> Principal {
    Principal {
        object_id: guid_after(message, "oid="),
        application_id: guid_after(message, "appid="),
        scope: scope(message),
        vault: vault(message),
        refused: ObjectKind::Secret,
    }
}

/// The vault's resource id, of the resource that was refused: `Resource: '/subscriptions/…/vaults/prod/secrets/db'`.
fn scope(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("Resource: '")?;
    let (resource, _) = rest.split_once('\'')?;
    let segments: Vec<&str> = resource.strip_prefix('/')?.split('/').take(8).collect();
    let [subscriptions, _, groups, _, providers, provider, vaults, _] = segments.as_slice() else {
        return None;
    };
    let words = [
        (subscriptions, "subscriptions"),
        (groups, "resourcegroups"),
        (providers, "providers"),
        (provider, "microsoft.keyvault"),
        (vaults, "vaults"),
    ];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'(' | b')');
    let named =
        segments.iter().all(|segment| (1..=90).contains(&segment.len()) && segment.bytes().all(plain));
    let shaped = words.iter().all(|(segment, word)| segment.eq_ignore_ascii_case(word));
    (named && shaped).then(|| format!("/{}", segments.join("/")))
}

/// The vault's name: `on key vault 'prod;location=…'`.
fn vault(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("on key vault '")?;
    let name: String = rest.chars().take_while(|next| next.is_ascii_alphanumeric() || *next == '-').collect();
    (3..=24).contains(&name.len()).then_some(name)
}

/// The GUID that follows `key`, if it is one.
fn guid_after(message: &str, key: &str) -> Option<String> {
    let at = message.find(key)?.checked_add(key.len())?;
    guid(message.get(at..at.checked_add(36)?)?)
}

/// The text, lower-cased, if it is a GUID.
pub(in crate::vault) fn guid(text: &str) -> Option<String> {
    let shaped = text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (shaped && text.len() == 36).then(|| text.to_ascii_lowercase())
}

/// The address that the vault's firewall judged: `conn_type=Ipv4;addr=203.0.113.7;…`.
fn address(headers: &HeaderMap) -> Option<IpAddr> {
    let info = headers.get("x-ms-keyvault-network-info")?.to_str().ok()?;
    info.split(';').find_map(|part| part.trim().strip_prefix("addr=")?.parse().ok())
}

/// How long the service asks to be left alone, in whole seconds; a date is not honoured.
pub(in crate::vault) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// When the service says that it answered.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(reqwest::header::DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// What it means that a request brought no answer.
pub(in crate::vault) fn of_transport(error: &reqwest::Error, peer: Peer) -> Failure {
    if let Some(problem) = of_proxy(error) {
        return Failure::ProxyFailed { peer, problem };
    }
    if is_tls(error) {
        return Failure::TlsFailure(peer);
    }
    if error.is_dns() && peer == Peer::Vault {
        return Failure::VaultHostNotFound;
    }
    if error.is_connect() || error.is_dns() {
        return Failure::NetworkUnreachable(peer);
    }
    Failure::ServiceUnavailable { peer, status: None }
}

/// What went wrong before the proxy had led anywhere. The error of hyper-util that says so has no public type, but words
/// of its own.
fn of_proxy(error: &reqwest::Error) -> Option<ProxyProblem> {
    let text = causes(error).map(ToString::to_string).find(|text| text.starts_with("tunnel error: "))?;
    Some(match text.as_str() {
        "tunnel error: failed to create underlying connection" => {
            if is_tls(error) {
                ProxyProblem::Untrusted
            } else if error.is_dns() {
                ProxyProblem::HostNotFound
            } else {
                ProxyProblem::Unreachable
            }
        }
        "tunnel error: proxy authorization required" => ProxyProblem::CredentialsRequired,
        _ => ProxyProblem::Refused,
    })
}

/// A TLS error stands somewhere below.
fn is_tls(error: &reqwest::Error) -> bool {
    causes(error).any(<dyn Error>::is::<rustls::Error>)
}

/// What caused an error, one below the other. An I/O error hides what it wraps from `source`.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e";

    fn answer(status: u16, code: &str, inner: &str, message: &str) -> Failure {
        let inner = if inner.is_empty() { "null".to_owned() } else { format!(r#"{{"code":"{inner}"}}"#) };
        let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}","innererror":{inner}}}}}"#);
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=203.0.113.7;".parse().unwrap());
        of_answer(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            ServiceError::parse(body.as_bytes()).as_ref(),
        )
    }

    #[test]
    fn each_answer_of_the_service_has_its_own_reason() {
        for (status, code, inner, message, reason) in [
            (400, "BadParameter", "", "", "InvalidName"),
            (400, "BadApiVersion", "", "", "RequestRejected"),
            (401, "Unauthorized", "", "AKV10032: Invalid issuer.", "WrongTenant"),
            (401, "Unauthorized", "", "AKV10022: Invalid audience.", "WrongAudience"),
            (401, "Unauthorized", "TokenExpired", "", "TokenRejected"),
            (401, "MissingClientCertificate", "", "", "TokenBindingRequired"),
            (403, "Forbidden", "ForbiddenByRbac", "", "MissingRole"),
            (403, "Forbidden", "AccessDenied", "", "MissingAccessPolicy"),
            (403, "Forbidden", "ForbiddenByFirewall", "", "Firewall"),
            (403, "Forbidden", "ForbiddenByConnection", "", "PublicAccessDisabled"),
            (403, "Forbidden", "SecretDisabled", "", "SecretDisabled"),
            (403, "Forbidden", "ForbiddenByPolicy", "", "Forbidden"),
            (403, "Forbidden", "", "", "Forbidden"),
            (404, "SecretNotFound", "", "", "SecretNotFound"),
            (404, "NotFound", "", "", "MalformedResponse"),
            (408, "", "", "", "ServiceUnavailable"),
            (429, "Throttled", "", "", "Throttled"),
            (503, "ServiceUnavailable", "", "", "ServiceUnavailable"),
            (302, "", "", "", "MalformedResponse"),
        ] {
            assert_eq!(
                answer(status, code, inner, message).reason().as_str(),
                reason,
                "{status} {code} {inner}"
            );
        }
    }

    #[test]
    fn a_proxys_own_page_is_never_taken_for_the_vaults_word() {
        for page in [
            "<html>SecretNotFound ForbiddenByRbac</html>",
            r#"{"message":"SecretNotFound ForbiddenByRbac"}"#,
            r#"{"error":"SecretNotFound"}"#,
            "[]",
        ] {
            for status in [400_u16, 403, 404] {
                let status = StatusCode::from_u16(status).unwrap();
                let said = ServiceError::parse(page.as_bytes());
                let failure = of_answer(status, &HeaderMap::new(), said.as_ref());
                assert_eq!(failure.reason().as_str(), "MalformedResponse", "{status} {page}");
            }
        }
    }

    #[test]
    fn only_ids_and_addresses_are_taken_from_the_message() {
        let message =
            format!("canary Caller: appid=canary;oid={};iss=https://canary/", OBJECT.to_uppercase());
        let failure = answer(403, "Forbidden", "ForbiddenByRbac", &message);
        let Failure::MissingRole(principal) = &failure else { panic!("{failure:?}") };
        assert_eq!((principal.object_id.as_deref(), &principal.application_id), (Some(OBJECT), &None));
        assert!(!format!("{failure:?} {failure}").contains("canary"));
        assert_eq!(
            answer(403, "Forbidden", "ForbiddenByFirewall", "canary"),
            Failure::Firewall(Some([203, 0, 113, 7].into()))
        );
    }

    #[test]
    fn the_label_of_a_refusal_is_a_known_word_or_nothing() {
        let label = |body: &str| ServiceError::parse(body.as_bytes()).map_or("", |error| error.label());
        let body = r#"{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByRbac"}}}"#;
        assert_eq!(label(body), "ForbiddenByRbac");
        assert_eq!(label(r#"{"error":{"code":"SecretNotFound"}}"#), "SecretNotFound");
        assert_eq!(label(r#"{"error":{"code":"Forbidden","innererror":{"code":"canary"}}}"#), "");
        assert_eq!(label("<html>ForbiddenByRbac</html>"), "");
    }

    #[test]
    fn the_services_clock_is_read_from_its_date() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(date(&headers), Timestamp::from_second(784_111_777).ok());
        headers.insert("date", "soon".parse().unwrap());
        assert_eq!(date(&headers), None);
    }

    #[test]
    fn a_retry_after_that_is_no_number_is_not_there() {
        let parse = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        for text in ["-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
