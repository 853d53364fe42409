//! A key in the body of an answer: its public part, as a JSON Web Key with what RFC 7517 knows alone.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::body::{self, Times};
use crate::vault::{
    answer::Reading,
    connection::Source,
    failure::{Failure, Peer},
    value::SecretValue,
};

#[derive(Deserialize)]
struct KeyBundle {
    key: JsonWebKey,
    #[serde(default)]
    attributes: Option<KeyAttributes>,
}

#[derive(Deserialize)]
struct KeyAttributes {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(flatten)]
    times: Times,
}

/// The public part of a key, in the order in which RFC 7517 and 7518 name its members.
#[derive(Deserialize, Serialize)]
struct JsonWebKey {
    kty: String,
    kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

/// The key in a body, if it is the one that was asked for.
pub(super) fn parse(body: &[u8], source: &Source) -> Result<Reading, Failure> {
    let KeyBundle { mut key, attributes } = body::json(body)?;
    let version = body::version_of(&key.kid, source)?;
    if attributes.as_ref().is_some_and(|attributes| attributes.enabled == Some(false)) {
        return Err(Failure::KeyDisabled);
    }
    // Where a key is kept is nothing that its reader can use, and JOSE has a name of its own for this curve.
    key.kty = key.kty.trim_end_matches("-HSM").to_owned();
    if let Some(curve) = key.crv.as_mut().filter(|curve| matches!(curve.as_str(), "P-256K" | "SECP256K1")) {
        "secp256k1".clone_into(curve);
    }
    let text = serde_json::to_string(&key)
        .map_err(|_| Failure::MalformedResponse { peer: Peer::Vault, at: None })?;
    let times = attributes.map(|attributes| attributes.times).unwrap_or_default();
    // What permits to read a key is the list of keys alone.
    Ok(Reading {
        attributes: times.attributes(&version, false),
        value: SecretValue::new(Zeroizing::new(text)),
    })
}
