//! Bodies and headers of a vault, as `make fuzz` tries them.

use reqwest::{
    StatusCode,
    header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};

use super::{
    challenge as challenges, client, key as keys,
    list::{self as lists, Next},
    refusal::{self as refusals, ServiceError},
    versions as version_lists,
};
use crate::fuzzing::fuzzed::Fuzzed;
use crate::vault::{
    answer::Reading,
    cloud::{Cloud, CloudRef},
    connection::{ObjectKind, Source},
    failure::Failure,
    names::ObjectName,
    url::VaultUrl,
};

/// The body of a secret.
pub(crate) fn secret(body: &[u8], found: &mut Fuzzed) {
    if let Some(source) = source(ObjectKind::Secret) {
        // Escapes are longer than what they stand for.
        reading(client::parse(body, &source), body.len(), found);
    }
}

/// The body of a key.
pub(crate) fn key(body: &[u8], found: &mut Fuzzed) {
    if let Some(source) = source(ObjectKind::Key) {
        // The name of a curve may become a longer one.
        reading(keys::parse(body, &source), body.len() + 16, found);
    }
}

/// What the inputs that are kept are the bodies of.
fn source(kind: ObjectKind) -> Option<Source> {
    Some(Source { kind, name: ObjectName::parse("shop-db").ok()?, version: None })
}

fn reading(reading: Result<Reading, Failure>, most: usize, found: &mut Fuzzed) {
    if let Ok(reading) = &reading {
        found.made(reading.value.expose().as_bytes(), most);
    }
    found.said(&reading);
    if let Err(failure) = reading {
        found.told(&failure.to_string());
    }
}

/// A page of the list.
pub(crate) fn list(body: &[u8], found: &mut Fuzzed) {
    let Ok(vault) = VaultUrl::parse("https://prod.vault.azure.net") else { return };
    match lists::parse(body, &vault) {
        Err(failure) => found.said(&failure),
        Ok(page) => {
            assert!(page.items.len() <= body.len() / 16, "more items than a body has room for");
            for item in &page.items {
                found.made(item.name.as_str().as_bytes(), 127);
                let tags = item.tags.iter().flat_map(|tags| tags.iter());
                found.made(
                    &tags
                        .flat_map(|(name, tag)| [name.as_bytes(), tag.as_bytes()])
                        .collect::<Vec<_>>()
                        .concat(),
                    body.len(),
                );
            }
            followed(page.next, &vault, lists::SECRETS, body, found);
        }
    }
}

/// A page of the list of a secret's versions, and the same of a key's.
pub(crate) fn versions(body: &[u8], found: &mut Fuzzed) {
    let Ok(vault) = VaultUrl::parse("https://prod.vault.azure.net") else { return };
    for source in [ObjectKind::Secret, ObjectKind::Key].into_iter().filter_map(source) {
        match version_lists::parse(body, &source, &vault) {
            Err(failure) => found.said(&failure),
            Ok(page) => {
                assert!(page.items.len() <= body.len() / 16, "more items than a body has room for");
                for item in &page.items {
                    found.made(item.version.as_str().as_bytes(), 32);
                }
                followed(page.next, &vault, &version_lists::path(&source), body, found);
            }
        }
    }
}

/// Where a page says that the next one is.
fn followed(next: Next, vault: &VaultUrl, path: &str, body: &[u8], found: &mut Fuzzed) {
    let Next::Link(link) = next else { return };
    let link = link.url(vault, path);
    // A letter may take three in a URL.
    found.made(link.as_bytes(), 3 * body.len() + 128);
    let url = ::url::Url::parse(&link);
    let own = url.is_ok_and(|url| {
        (url.scheme(), url.host_str(), url.port(), url.path()) == ("https", Some(vault.host()), None, path)
    });
    assert!(own, "a link that leads elsewhere");
}

/// What stands in each header in the first line, and the body of a refusal behind it.
pub(crate) fn refusal(input: &[u8], found: &mut Fuzzed) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (header, body) = input.split_at(end);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert(RETRY_AFTER, value.clone());
        headers.insert(DATE, value.clone());
        headers.insert("x-ms-keyvault-network-info", value);
    }
    found.said(&refusals::retry_after(&headers));
    found.said(&refusals::date(&headers));
    let said = ServiceError::parse(body);
    found.told(said.as_ref().map_or("", ServiceError::label));
    for status in [201, 302, 400, 401, 403, 404, 408, 409, 429, 500, 503] {
        let Ok(status) = StatusCode::from_u16(status) else { continue };
        for said in [said.as_ref(), None] {
            let failure = refusals::of_answer(status, &headers, said);
            found.said(&failure);
            found.told(&failure.to_string());
        }
    }
}

/// A challenge.
pub(crate) fn challenge(input: &[u8], found: &mut Fuzzed) {
    let Ok(challenge) = std::str::from_utf8(input) else { return };
    found.said(&challenges::asks_for_claims(challenge));
    for cloud in Cloud::ALL.map(CloudRef::Known) {
        match challenges::tenant(challenge, &cloud) {
            Err(failure) => found.said(&failure),
            Ok(tenant) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
                assert!(!tenant.is_empty() && tenant.bytes().all(plain), "a tenant that is no name");
                assert!(challenge.contains(&tenant), "a tenant that nobody named");
                found.made(tenant.as_bytes(), 255);
            }
        }
    }
}
