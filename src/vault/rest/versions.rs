//! A page of the list of a source's versions. It is in the order of their ids, which are random.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    body,
    list::{ItemAttributes, ListBody, Next},
};
use crate::vault::{
    connection::{ObjectKind, Source},
    failure::{Failure, Peer},
    names::ObjectVersion,
    url::VaultUrl,
};

/// One page.
#[derive(Clone, Debug)]
pub(in crate::vault) struct VersionPage {
    pub(in crate::vault) items: Vec<ListedVersion>,
    pub(in crate::vault) next: Next,
}

/// A version as a page shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vault) struct ListedVersion {
    pub(in crate::vault) version: ObjectVersion,
    pub(in crate::vault) created: Option<Timestamp>,
    pub(in crate::vault) enabled: bool,
}

#[derive(Deserialize)]
struct VersionItem {
    /// Of a secret.
    #[serde(default)]
    id: Option<String>,
    /// Of a key.
    #[serde(default)]
    kid: Option<String>,
    attributes: ItemAttributes,
}

/// The path of the list.
pub(super) fn path(source: &Source) -> String {
    format!("/{}/{}/versions", source.kind.folder(), source.name)
}

/// The page in a body of `vault`, if it is of versions of this source.
pub(super) fn parse(body: &[u8], source: &Source, vault: &VaultUrl) -> Result<VersionPage, Failure> {
    let parsed: ListBody<VersionItem> = body::json(body)?;
    let items = parsed.value.into_iter().map(|item| {
        let id = match source.kind {
            ObjectKind::Secret => item.id,
            ObjectKind::Key => item.kid,
        };
        let id = id.ok_or(Failure::MalformedResponse { peer: Peer::Vault, at: None })?;
        let version = body::version_of(&id, source)?;
        let ItemAttributes { enabled, times } = item.attributes;
        Ok(ListedVersion { version, created: times.created(), enabled })
    });
    let items = items.collect::<Result<_, Failure>>()?;
    Ok(VersionPage { items, next: Next::parse(parsed.next_link.as_deref(), vault, &path(source)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{ObjectName, VersionPin};

    fn vault() -> VaultUrl {
        VaultUrl::parse("https://prod.vault.azure.net").unwrap()
    }

    fn source(kind: ObjectKind) -> Source {
        Source { kind, name: ObjectName::parse("shop-db").unwrap(), version: Some(VersionPin::previous()) }
    }

    #[test]
    fn a_page_of_secrets_and_one_of_keys_name_their_versions() {
        let version = "7f3c0a4b5d6e4f708192a3b4c5d6e7f8";
        let next = "https://prod.vault.azure.net:443/secrets/Shop-DB/versions?$skiptoken=x";
        let body = format!(
            r#"{{"value":[{{"id":"https://prod.vault.azure.net/secrets/Shop-DB/{version}","attributes":{{"enabled":false,"created":7}}}}],"nextLink":"{next}"}}"#
        );
        let page = parse(body.as_bytes(), &source(ObjectKind::Secret), &vault()).unwrap();
        let listed = &page.items[0];
        assert_eq!((listed.version.as_str(), listed.enabled), (version, false));
        assert_eq!(listed.created, Timestamp::from_second(7).ok());
        let Next::Link(link) = page.next else { panic!() };
        let path = path(&source(ObjectKind::Secret));
        assert_eq!(
            link.url(&vault(), &path),
            "https://prod.vault.azure.net/secrets/shop-db/versions?$skiptoken=x"
        );
        let body = format!(
            r#"{{"value":[{{"kid":"https://v/keys/shop-db/{version}","attributes":{{"enabled":true}}}}],"nextLink":null}}"#
        );
        let page = parse(body.as_bytes(), &source(ObjectKind::Key), &vault()).unwrap();
        assert_eq!((page.items.len(), page.next), (1, Next::End));
    }

    #[test]
    fn versions_of_another_source_are_no_answer_and_no_link_leads_to_its_list() {
        let version = "7f3c0a4b5d6e4f708192a3b4c5d6e7f8";
        for item in [
            format!(r#"{{"id":"https://v/secrets/other/{version}","attributes":{{"enabled":true}}}}"#),
            r#"{"id":"https://v/secrets/shop-db","attributes":{"enabled":true}}"#.to_owned(),
            format!(r#"{{"kid":"https://v/secrets/shop-db/{version}","attributes":{{"enabled":true}}}}"#),
            format!(r#"{{"id":"https://v/secrets/shop-db/{version}"}}"#),
        ] {
            let body = format!(r#"{{"value":[{item}],"nextLink":null}}"#);
            let parsed = parse(body.as_bytes(), &source(ObjectKind::Secret), &vault());
            assert_eq!(parsed.unwrap_err().reason().as_str(), "MalformedResponse", "{item}");
        }
        for path in ["/secrets/other/versions", "/secrets", "/secrets/shop-db", "/keys/shop-db/versions"] {
            let link = format!("https://prod.vault.azure.net{path}?x=y");
            let body = format!(r#"{{"value":[],"nextLink":"{link}"}}"#);
            let page = parse(body.as_bytes(), &source(ObjectKind::Secret), &vault()).unwrap();
            assert_eq!(page.next, Next::Foreign, "{path}");
        }
    }
}
