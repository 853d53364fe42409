//! A page of `LIST /secrets`: what it shows, and where the next one is.
//!
//! Invariant: a link leads to the same list on the vault's own origin, or it is none; whoever answers cannot
//! send our token elsewhere. A page may be empty and still have a next one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::body::{self, Times};
use crate::vault::{
    failure::{Failure, Peer},
    names::ObjectName,
    plane::sighting::Listed,
    url::VaultUrl,
};

/// A page has 25 items at most, each with up to 15 tags of 1 KiB, which JSON may make longer.
pub(super) const LARGEST_PAGE: usize = 1024 * 1024;
/// Where the list of secrets is.
pub(in crate::vault) const SECRETS: &str = "/secrets";
/// A skip token is a few hundred characters.
const LONGEST_LINK: usize = 8 * 1024;

/// One page.
#[derive(Clone, Debug)]
pub(in crate::vault) struct Page {
    pub(in crate::vault) items: Vec<ListedSecret>,
    pub(in crate::vault) next: Next,
}

/// The tags of a secret.
pub(in crate::vault) type Tags = Box<BTreeMap<String, String>>;

/// A secret as a page shows it.
#[derive(Clone, Debug)]
pub(in crate::vault) struct ListedSecret {
    pub(in crate::vault) name: ObjectName,
    pub(in crate::vault) listed: Listed,
    /// Whether it is the private side of a certificate.
    pub(in crate::vault) managed: bool,
    pub(in crate::vault) tags: Option<Tags>,
}

/// What follows a page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vault) enum Next {
    /// Nothing.
    End,
    /// Another page.
    Link(Link),
    /// A link that leaves the vault.
    Foreign,
}

/// The query of a page, as the vault gave it. It stands behind the vault's own origin and the list's path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vault) struct Link(String);

impl Link {
    /// The page's URL in `vault`, in the list at `path`.
    pub(in crate::vault) fn url(&self, vault: &VaultUrl, path: &str) -> String {
        format!("{vault}{path}?{}", self.0)
    }
}

impl Next {
    /// What `link` means in an answer of `vault`, of the list at `path`.
    pub(in crate::vault) fn parse(link: Option<&str>, vault: &VaultUrl, path: &str) -> Self {
        let Some(link) = link.filter(|link| !link.is_empty()) else { return Self::End };
        let own = |url: &::url::Url| {
            url.scheme() == "https"
                && url.host_str() == Some(vault.host())
                && url.port_or_known_default() == Some(443)
                && url.username().is_empty()
                && url.password().is_none()
                && url.path().strip_suffix('/').unwrap_or_else(|| url.path()).eq_ignore_ascii_case(path)
        };
        (link.len() <= LONGEST_LINK)
            .then(|| ::url::Url::parse(link).ok())
            .flatten()
            .filter(own)
            .and_then(|url| Some(Self::Link(Link(url.query()?.to_owned()))))
            .unwrap_or(Self::Foreign)
    }
}

/// The body of a page.
#[derive(Deserialize)]
pub(super) struct ListBody<T> {
    pub(super) value: Vec<T>,
    #[serde(rename = "nextLink")]
    pub(super) next_link: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    attributes: ItemAttributes,
    #[serde(default)]
    managed: Option<bool>,
    #[serde(default)]
    tags: Option<Tags>,
}

/// The attributes of an item of it.
#[derive(Deserialize)]
pub(super) struct ItemAttributes {
    pub(super) enabled: bool,
    #[serde(flatten)]
    pub(super) times: Times,
}

/// The page in a body of `vault`.
pub(super) fn parse(body: &[u8], vault: &VaultUrl) -> Result<Page, Failure> {
    let parsed: ListBody<Item> = body::json(body)?;
    let items = parsed.value.into_iter().map(item).collect::<Option<_>>();
    let items = items.ok_or(Failure::MalformedResponse { peer: Peer::Vault, at: None })?;
    Ok(Page { items, next: Next::parse(parsed.next_link.as_deref(), vault, SECRETS) })
}

fn item(item: Item) -> Option<ListedSecret> {
    let mut segments = item.id.trim_end_matches('/').rsplit('/');
    let name = ObjectName::parse(segments.next()?).ok().filter(|_| segments.next() == Some("secrets"))?;
    let ItemAttributes { enabled, times } = &item.attributes;
    let listed = Listed {
        enabled: *enabled,
        created: times.created(),
        updated: times.updated(),
        expires: times.expires(),
        not_before: times.not_before(),
    };
    Some(ListedSecret { name, listed, managed: item.managed.unwrap_or_default(), tags: item.tags })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use jiff::Timestamp;

    fn vault() -> VaultUrl {
        VaultUrl::parse("https://prod.vault.azure.net").unwrap()
    }

    fn next(link: &str) -> Next {
        Next::parse(Some(link), &vault(), SECRETS)
    }

    #[test]
    fn a_page_is_read_and_an_empty_one_with_a_link_is_not_the_end() {
        let body = r#"{"value":[{"id":"https://prod.vault.azure.net/secrets/Shop-DB","attributes":{"enabled":true,"created":1,"updated":2,"exp":3},"managed":true}],"nextLink":null}"#;
        let page = parse(body.as_bytes(), &vault()).unwrap();
        assert_eq!((page.items[0].name.folded().as_str(), &page.next), ("shop-db", &Next::End));
        assert_eq!(page.items[0].listed.updated, Timestamp::from_second(2).ok());
        assert!(page.items[0].listed.enabled && page.items[0].managed);
        let empty = br#"{"value":[],"nextLink":"https://prod.vault.azure.net:443/secrets?$skiptoken=x"}"#;
        let Next::Link(link) = parse(empty, &vault()).unwrap().next else { panic!() };
        assert_eq!(link.url(&vault(), SECRETS), "https://prod.vault.azure.net/secrets?$skiptoken=x");
        assert_eq!(parse(br#"{"value":[],"nextLink":""}"#, &vault()).unwrap().next, Next::End);
    }

    #[test]
    fn a_link_that_leaves_the_vault_is_never_followed() {
        for link in [
            "https://prod.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=abc",
            "https://PROD.vault.azure.net/secrets/?x=y",
        ] {
            assert!(matches!(next(link), Next::Link(_)), "{link}");
        }
        for link in [
            "https://evil.test/secrets?x=y",
            "http://prod.vault.azure.net/secrets?x=y",
            "https://prod.vault.azure.net:8443/secrets?x=y",
            "https://other.vault.azure.net/secrets?x=y",
            "https://prod.vault.azure.net.evil.test/secrets?x=y",
            "https://prod.vault.azure.net@evil.test/secrets?x=y",
            "https://me:pw@prod.vault.azure.net/secrets?x=y",
            "https://prod.vault.azure.net/secrets/db?x=y",
            "https://prod.vault.azure.net/secrets",
            "//evil.test/secrets?x=y",
            "/secrets?x=y",
            "nonsense",
        ] {
            assert_eq!(next(link), Next::Foreign, "{link}");
        }
        let long = format!("https://prod.vault.azure.net/secrets?{}", "x".repeat(LONGEST_LINK));
        assert_eq!(next(&long), Next::Foreign);
    }

    #[test]
    fn what_is_no_page_is_malformed_and_never_an_empty_vault() {
        for body in [
            "",
            "{}",
            r#"{"error":{}}"#,
            r#"{"value":null}"#,
            r#"{"value":[{"id":"https://prod.vault.azure.net/secrets/a_b","attributes":{"enabled":true}}]}"#,
            r#"{"value":[{"id":"https://prod.vault.azure.net/keys/a","attributes":{"enabled":true}}]}"#,
            r#"{"value":[{"id":"https://prod.vault.azure.net/secrets/a"}]}"#,
        ] {
            assert_eq!(
                parse(body.as_bytes(), &vault()).unwrap_err().reason().as_str(),
                "MalformedResponse",
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_followed_leads_to_the_list_of_this_vault(
            link in "(https?:)?/{0,2}([a-z.@:]{0,8})(prod\\.vault\\.azure\\.net)?(:[0-9]{1,4})?(/secrets)?[?#/@a-z=]{0,12}",
        ) {
            if let Next::Link(followed) = next(&link) {
                let url = ::url::Url::parse(&followed.url(&vault(), SECRETS)).unwrap();
                prop_assert_eq!(url.origin().ascii_serialization(), "https://prod.vault.azure.net");
                prop_assert_eq!(url.path(), "/secrets");
            }
        }
    }
}
