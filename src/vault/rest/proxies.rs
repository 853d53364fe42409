//! Which hosts are reached through a proxy: `HTTPS_PROXY` and `NO_PROXY`, in either case, as Go programs and kubectl read
//! them (golang.org/x/net/http/httpproxy). What goes without TLS stays on the node and uses none.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use thiserror::Error;
use url::Url;

/// The proxy for https, and the hosts that are reached without it. Default: none.
#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<Url>,
    exceptions: Vec<Exception>,
}

/// Why a proxy variable is refused. It may hold a password, so nothing of it is said.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum InvalidProxy {
    /// No URL, or one with a path, a query or a fragment: most likely a password whose characters are not encoded.
    #[error(
        "HTTPS_PROXY is no URL of a proxy. Write http://host:port, or http://user:password@host:port with every special character of the password percent-encoded, as in %23 for #."
    )]
    Url,
    /// A scheme that is not spoken here.
    #[error(
        "HTTPS_PROXY names a kind of proxy that vaultsync does not support. Write the URL of an HTTP proxy, http://host:port or https://host:port."
    )]
    Scheme,
}

/// An item of `NO_PROXY`. A port, where there is one, must be the same.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Exception {
    All,
    Network(IpNet),
    Address(IpAddr, Option<String>),
    Domain {
        /// With a dot before it.
        suffix: String,
        /// Whether it stands for the domain itself too, not for the names below it alone.
        itself: bool,
        port: Option<String>,
    },
}

impl Proxies {
    /// As the values of the two variables say; empty is not set.
    ///
    /// # Errors
    /// [`InvalidProxy`] says what to write instead.
    pub fn new(https: &str, no_proxy: &str) -> Result<Self, InvalidProxy> {
        let https = Some(https.trim()).filter(|https| !https.is_empty()).map(parse).transpose()?;
        let items = no_proxy.split(',').map(|item| item.trim().to_ascii_lowercase());
        Ok(Self { https, exceptions: items.filter_map(|item| Exception::parse(&item)).collect() })
    }

    /// The proxy through which an https host is reached; `None`: without one.
    #[must_use]
    pub fn of(&self, host: &str, port: u16) -> Option<&Url> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let excepted = |exception: &Exception| exception.covers(&host, address, port);
        self.https.as_ref().filter(|_| !here && !self.exceptions.iter().any(excepted))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let https = self.https.as_ref().map(|https| (https.host_str(), https.port_or_known_default()));
        f.debug_struct("Proxies").field("https", &https).field("exceptions", &self.exceptions).finish()
    }
}

/// A URL, or a host and port without scheme, which is taken for http.
fn parse(text: &str) -> Result<Url, InvalidProxy> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|_| InvalidProxy::Url)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidProxy::Scheme);
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    // What HTTP clients cannot take as a URI they would drop without a word.
    let usable = url.as_str().parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some());
    if bare && usable { Ok(url) } else { Err(InvalidProxy::Url) }
}

impl Exception {
    /// What cannot be understood stands for nothing.
    fn parse(item: &str) -> Option<Self> {
        if item == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = item.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = with_port(item);
        let port = port.map(str::to_owned);
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let domain = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let itself = !domain.starts_with('.');
        let suffix = if itself { format!(".{domain}") } else { domain.to_owned() };
        (!domain.is_empty()).then_some(Self::Domain { suffix, itself, port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let same_port =
            |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| *wanted == port.to_string());
        match self {
            Self::All => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(own, wanted) => address == Some(*own) && same_port(wanted),
            Self::Domain { suffix, itself, port: wanted } => {
                let below = host.ends_with(suffix.as_str());
                let named = below || (*itself && suffix.strip_prefix('.') == Some(host));
                address.is_none() && named && same_port(wanted)
            }
        }
    }
}

/// A host and the port behind it, if there is one; an IPv6 address has brackets then.
fn with_port(item: &str) -> (&str, Option<&str>) {
    let bracketed = item.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match (bracketed, item.split_once(':')) {
        (Some((host, port)), _) if port.starts_with(':') => (host, port.strip_prefix(':')),
        (_, Some((host, port))) if !port.contains(':') => (host, Some(port)),
        _ => (item, None),
    };
    (host, port.filter(|port| !port.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://proxy.example.com:3128";

    /// What golang.org/x/net/http/httpproxy says of each; `tests/tools/no_proxy` prints it.
    #[test]
    fn no_proxy_means_what_it_means_to_go_programs() {
        let table = include_str!("../../../tests/golden/no_proxy.txt");
        let cases: Vec<[&str; 3]> =
            table.lines().map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect();
        assert!(cases.len() > 300, "{}", cases.len());
        for [no_proxy, url, proxied] in cases {
            let (proxies, url) = (Proxies::new(PROXY, no_proxy).unwrap(), Url::parse(url).unwrap());
            let port = url.port_or_known_default().unwrap();
            let proxy = proxies.of(url.host_str().unwrap(), port);
            assert_eq!(proxy.is_some(), proxied == "proxy", "{no_proxy} {url}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host_and_port_and_its_password_may_be_anything_once_encoded() {
        let proxy = |text: &str| {
            Proxies::new(text, "").map(|proxies| proxies.of("vault", 443).map(ToString::to_string))
        };
        let found = |url: &str| Ok(Some(url.to_owned()));
        assert_eq!(proxy(""), Ok(None));
        assert_eq!(proxy(PROXY), found("http://proxy.example.com:3128/"));
        assert_eq!(proxy("proxy.example.com:3128"), found("http://proxy.example.com:3128/"));
        assert_eq!(proxy("localhost:3128"), found("http://localhost:3128/"));
        assert_eq!(proxy(" https://proxy/ "), found("https://proxy/"));
        assert_eq!(proxy("http://u:p%23%40%2F@proxy:1"), found("http://u:p%23%40%2F@proxy:1/"));
        assert_eq!(proxy("http://u:p@ss@proxy:1"), found("http://u:p%40ss@proxy:1/"));
        for text in [
            "http://u:canary#1@proxy:3128",
            "http://u:12#canary@proxy:3128",
            "http://u:can/ary@proxy:3128",
            "http://u:12?canary@proxy:3128",
            "u:canary#1@proxy:3128",
            "http://",
            "http://proxy:canary",
            "://canary",
        ] {
            assert_eq!(proxy(text), Err(InvalidProxy::Url), "{text}");
        }
        assert_eq!(proxy("socks5://proxy:1080"), Err(InvalidProxy::Scheme));
    }

    #[test]
    fn no_password_is_printed() {
        let proxies = Proxies::new("http://user:canary@proxy:3128", ".example.com").unwrap();
        let printed = format!("{proxies:?}");
        assert!(printed.contains("proxy") && !printed.contains("canary"), "{printed}");
    }
}
