//! What the requests through a connection have shown, beside their answers: who asked, and by which way.

use std::{net::IpAddr, sync::Arc};

use super::token::token_identity::TokenIdentity;

/// The way to the vault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Network {
    /// Its name leads here to a public address.
    Public,
    /// Its name leads here to a private address, as a private endpoint has it.
    Private,
    /// A proxy stands between, which resolves the name: here nobody did.
    Proxy,
}

impl Network {
    /// The word of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Private => "Private",
            Self::Proxy => "Proxy",
        }
    }

    /// What an address that was reached without a proxy says.
    pub(super) fn of(address: IpAddr) -> Self {
        let private = match address.to_canonical() {
            // 100.64.0.0/10 is shared address space (RFC 6598), which clouds use like private ones.
            IpAddr::V4(v4) => {
                let [first, second, ..] = v4.octets();
                let shared = first == 100 && (64..128).contains(&second);
                v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
            }
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
        };
        if private { Self::Private } else { Self::Public }
    }
}

/// What the requests through a handle have shown, beside their answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Evidence {
    /// As whom its tokens speak; `None` before there was one.
    pub identity: Option<Arc<TokenIdentity>>,
    /// The way to the vault; `None` before it answered.
    pub network: Option<Network>,
}
