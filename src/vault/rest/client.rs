//! Key Vault's REST interface, as much as is used of it: GET of a secret, of a page of their list, or of the list of one's
//! versions; and the first two again as a trial of the permission to.
//!
//! Names are validated types before they come here, bodies are capped, and the buffers that hold a value are
//! wiped. Nothing of a body that cannot be parsed is kept but where it went wrong.

use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;
use reqwest::{Client, StatusCode, header};
use serde::{Deserialize, de::IgnoredAny};
use zeroize::Zeroizing;

use super::{
    body::{self, Times},
    key,
    list::{self, LARGEST_PAGE, Link, Page, SECRETS},
    refusal::{self, ServiceError},
    versions::{self, VersionPage},
};
use crate::vault::{
    answer::Reading,
    connection::{Connection, ObjectKind, Source},
    failure::{Failure, Peer, Refused},
    metrics::VaultMetrics,
    plane::errand::Permission,
    value::SecretValue,
};

/// A value has at most 25 KiB, of which JSON may make six times as much (`\u0000`), and 15 tags of 1 KiB likewise.
const LARGEST_BODY: usize = 256 * 1024;

/// As many as the service puts on a page.
const PAGE: u32 = 25;

/// Why the vault gave no answer that was asked for.
#[derive(Debug)]
pub(super) enum Stop {
    /// 401, with the vault's challenge.
    Unauthorized { challenge: Option<String>, failure: Failure },
    /// Anything else.
    Failed(Refused),
}

impl Stop {
    /// The same, told of this kind of object.
    fn of(self, kind: ObjectKind) -> Self {
        match self {
            Self::Failed(refused) => Self::Failed(Refused { failure: refused.failure.of(kind), ..refused }),
            unauthorized @ Self::Unauthorized { .. } => unauthorized,
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

/// How a vault is asked.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) http: &'a Client,
    pub(super) connection: &'a Connection,
    /// `None` only to be challenged.
    pub(super) token: Option<&'a str>,
    pub(super) metrics: &'a VaultMetrics,
    /// Told who answered; behind a proxy that is the proxy.
    pub(super) reached: &'a (dyn Fn(IpAddr) + Sync),
}

/// Reads one source, and when the service says that it answered; `recheck`: not because anything says that it changed.
pub(super) async fn get(
    asking: Asking<'_>,
    source: &Source,
    recheck: bool,
) -> Result<(Reading, Option<Timestamp>), Stop> {
    let connection = asking.connection;
    let version = source.exact().map(|version| format!("/{version}")).unwrap_or_default();
    let operation = match source.kind {
        ObjectKind::Secret => "GetSecret",
        ObjectKind::Key => "GetKey",
    };
    let url = format!(
        "{}/{}/{}{version}?api-version={}",
        connection.url,
        source.kind.folder(),
        source.name,
        connection.service_version
    );
    let operation = if recheck { "Recheck" } else { operation };
    let parse = |body: &[u8]| match source.kind {
        ObjectKind::Secret => parse(body, source),
        ObjectKind::Key => key::parse(body, source),
    };
    asking.send(url, operation, LARGEST_BODY, parse).await.map_err(|stop| stop.of(source.kind))
}

/// Reads one page of the list of a source's versions, the first, or where `link` leads; and when the service says that it
/// answered.
pub(super) async fn versions(
    asking: Asking<'_>,
    source: &Source,
    link: Option<&Link>,
) -> Result<(VersionPage, Option<Timestamp>), Stop> {
    let vault = &asking.connection.url;
    let url = page_url(asking.connection, &versions::path(source), link);
    let operation = match source.kind {
        ObjectKind::Secret => "ListSecretVersions",
        ObjectKind::Key => "ListKeyVersions",
    };
    let parse = |body: &[u8]| versions::parse(body, source, vault);
    asking.send(url, operation, LARGEST_PAGE, parse).await.map_err(|stop| stop.of(source.kind))
}

/// Where a page of the list at `path` is: the first, or where `link` leads.
fn page_url(connection: &Connection, path: &str, link: Option<&Link>) -> String {
    let Connection { url: vault, service_version, .. } = connection;
    link.map_or_else(
        || format!("{vault}{path}?api-version={service_version}&maxresults={PAGE}"),
        |link| link.url(vault, path),
    )
}

/// Reads one page of the list of secrets, the first, or where `link` leads; and when the service says that it answered.
pub(super) async fn list(asking: Asking<'_>, link: Option<&Link>) -> Result<(Page, Option<Timestamp>), Stop> {
    let vault = &asking.connection.url;
    let url = page_url(asking.connection, SECRETS, link);
    asking.send(url, "ListSecrets", LARGEST_PAGE, |body| list::parse(body, vault)).await
}

/// Asks for a permission by the least that takes it. A name that nobody gave is asked for, so no value can come; if
/// one does all the same, it is wiped unread.
pub(super) async fn prove(asking: Asking<'_>, permission: Permission) -> Result<(), Stop> {
    let (vault, version) = (&asking.connection.url, asking.connection.service_version);
    let url = match permission {
        Permission::Read => format!("{vault}/secrets/{}?api-version={version}", unused_name()),
        Permission::List => format!("{vault}/secrets?api-version={version}&maxresults=1"),
    };
    asking.send(url, "Preflight", LARGEST_PAGE, |_| Ok(())).await.map(|((), _)| ())
}

/// A valid name that no secret has: 128 bits of it are random.
fn unused_name() -> String {
    use ring::rand::{SecureRandom as _, SystemRandom};
    let mut random = [0_u8; 16];
    // Without randomness the name is still one that nobody gives.
    let _ = SystemRandom::new().fill(&mut random);
    format!("vaultsync-preflight-{:032x}", u128::from_ne_bytes(random))
}

impl Asking<'_> {
    async fn send<T>(
        self,
        url: String,
        operation: &str,
        largest: usize,
        parse: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<(T, Option<Timestamp>), Stop> {
        let request = self.http.get(url).header(header::ACCEPT, "application/json");
        let (request, operation) = match self.token {
            Some(token) => (request.bearer_auth(token), operation),
            None => (request, "Challenge"),
        };
        let vault = self.connection.url.host();
        let begun = Instant::now();
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                self.metrics.request(vault, operation, None, "", begun.elapsed());
                return Err(refusal::of_transport(&error, Peer::Vault).into());
            }
        };
        if let Some(address) = response.remote_addr() {
            (self.reached)(address.ip());
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body::read(response, Peer::Vault, largest).await;
        // The status alone says what a 401, 429 or 5xx is, whatever becomes of its body.
        let refusal = body.as_ref().ok().filter(|_| status != StatusCode::OK);
        let said = refusal.and_then(|body| ServiceError::parse(body));
        let inner = said.as_ref().map_or("", ServiceError::label);
        self.metrics.request(vault, operation, Some(status.as_u16()), inner, begun.elapsed());
        if status == StatusCode::OK {
            return Ok((parse(&body?)?, refusal::date(&headers)));
        }
        let failure = refusal::of_answer(status, &headers, said.as_ref());
        if status == StatusCode::UNAUTHORIZED && failure != Failure::TokenBindingRequired {
            let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            return Err(Stop::Unauthorized { challenge: challenge.map(ToOwned::to_owned), failure });
        }
        Err(Stop::Failed(Refused { failure, retry_after: refusal::retry_after(&headers) }))
    }
}

#[derive(Deserialize)]
struct Bundle {
    id: String,
    #[serde(deserialize_with = "body::wiped")]
    value: Zeroizing<String>,
    // Some implementations say by `null` that there is none.
    #[serde(default)]
    attributes: Option<Times>,
    /// A certificate's secret says so by either of these; old ones have the key's id alone.
    #[serde(default)]
    managed: Option<bool>,
    #[serde(default)]
    kid: Option<IgnoredAny>,
}

/// The secret in a body, if it is the one that was asked for.
pub(super) fn parse(body: &[u8], source: &Source) -> Result<Reading, Failure> {
    let bundle: Bundle = body::json(body)?;
    let version = body::version_of(&bundle.id, source)?;
    let managed = bundle.managed.unwrap_or_default() || bundle.kid.is_some();
    let attributes = bundle.attributes.unwrap_or_default().attributes(&version, managed);
    Ok(Reading { attributes, value: SecretValue::new(bundle.value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::vault::{ObjectName, ObjectVersion, VersionPin};

    const VERSION: &str = "7f3c0a4b5d6e4f708192a3b4c5d6e7f8";

    fn source(version: Option<VersionPin>) -> Source {
        Source { kind: ObjectKind::Secret, name: ObjectName::parse("shop-db").unwrap(), version }
    }

    fn read(body: &str) -> Result<Reading, Failure> {
        parse(body.as_bytes(), &source(None))
    }

    #[test]
    fn a_secret_is_read_with_its_version_and_times() {
        let id = format!("https://prod.vault.azure.net/secrets/Shop-DB/{VERSION}");
        let body =
            format!(r#"{{"value":"a\nb","id":"{id}","attributes":{{"created":7,"updated":8,"exp":9}}}}"#);
        let reading = read(&body).unwrap();
        assert_eq!(reading.value.expose(), "a\nb");
        assert_eq!(reading.attributes.version, VERSION);
        assert_eq!(reading.attributes.updated, Timestamp::from_second(8).ok());
        assert_eq!(reading.attributes.not_before, None);
    }

    #[test]
    fn a_member_that_is_null_is_not_there_and_a_time_of_zero_is_none() {
        let id = format!("https://prod.vault.azure.net/secrets/shop-db/{VERSION}");
        for more in [
            r#","managed":null,"kid":null,"attributes":null,"contentType":null,"tags":null"#,
            r#","attributes":{"exp":0,"nbf":0,"created":0,"updated":null,"enabled":null}"#,
        ] {
            let attributes = read(&format!(r#"{{"value":"a","id":"{id}"{more}}}"#)).unwrap().attributes;
            assert!(!attributes.managed);
            let times = [attributes.created, attributes.updated, attributes.expires, attributes.not_before];
            assert_eq!(times, [None; 4], "{more}");
        }
    }

    #[test]
    fn another_secret_or_version_than_asked_for_is_no_answer() {
        let body = |name: &str, version: &str| {
            format!(r#"{{"value":"x","id":"https://v/secrets/{name}/{version}"}}"#)
        };
        assert!(read(&body("shop-db", VERSION)).is_ok());
        for id in [body("other", VERSION), body("shop-db", "latest"), body("shop-db", ""), body("", VERSION)]
        {
            assert_eq!(read(&id).unwrap_err().reason(), Reason::MalformedResponse, "{id}");
        }
        let pinned = ObjectVersion::parse(&"a".repeat(32)).unwrap();
        assert!(parse(body("shop-db", VERSION).as_bytes(), &source(Some(VersionPin::of(pinned)))).is_err());
    }

    #[test]
    fn the_secret_of_a_certificate_is_known_by_either_of_its_signs() {
        let body =
            |more: &str| format!(r#"{{"value":"x","id":"https://v/secrets/shop-db/{VERSION}"{more}}}"#);
        let managed = |more: &str| read(&body(more)).unwrap().attributes.managed;
        assert!(managed(r#","managed":true"#));
        assert!(managed(r#","kid":"https://v/keys/shop-db/1""#));
        assert!(!managed(r#","managed":false,"kid":null"#));
        assert!(!managed(""));
    }

    #[test]
    fn no_piece_of_a_broken_body_is_in_the_failure() {
        for body in [
            r#"{"value":{"canary":1},"id":"x"}"#,
            r#"{"value":null,"id":"canary"}"#,
            r#"{"value":"canary"#,
            r#"{"id":"canary","value":"canary"}"#,
            r#""canary""#,
            r#"{"value":"canary","id":"x","attributes":"canary"}"#,
            r#"{"value":"canary","id":"x","attributes":{"created":"canary"}}"#,
        ] {
            let failure = read(body).unwrap_err();
            assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure:?}");
        }
    }
}
