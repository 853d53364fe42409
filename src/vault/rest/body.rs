//! The body of an answer: capped, wiped, and what several kinds of it have in common.

use jiff::Timestamp;
use reqwest::Response;
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize as _, Zeroizing};

use super::refusal;
use crate::vault::{
    answer::Attributes,
    connection::Source,
    failure::{Failure, Peer},
    names::{ObjectName, ObjectVersion},
};

/// Most bodies fit, so that most buffers never grow.
const USUAL: usize = 8 * 1024;

/// The whole body, in one wiped buffer, if it is not too large.
pub(in crate::vault) async fn read(
    mut response: Response,
    peer: Peer,
    largest: usize,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut body = Zeroizing::new(Vec::with_capacity(USUAL.min(largest)));
    loop {
        let chunk = response.chunk().await.map_err(|error| refusal::of_transport(&error, peer))?;
        let Some(chunk) = chunk else { return Ok(body) };
        let length = body.len().saturating_add(chunk.len());
        if length > largest {
            return Err(match peer {
                Peer::Vault => Failure::TooLarge,
                _ => Failure::MalformedResponse { peer, at: None },
            });
        }
        if length > body.capacity() {
            // A vector that grows by itself would leave its old bytes behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(length.saturating_mul(2).min(largest)));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&chunk);
        if let Ok(mut unshared) = chunk.try_into_mut() {
            unshared.as_mut().zeroize();
        }
    }
}

/// Wiped even if what follows in the body is broken.
pub(in crate::vault) fn wiped<'de, D: Deserializer<'de>>(value: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(value).map(Zeroizing::new)
}

/// What a body says, as JSON.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    // serde_json's own message may quote the value it dislikes.
    serde_json::from_slice(body).map_err(|error| Failure::MalformedResponse {
        peer: Peer::Vault,
        at: Some((error.line(), error.column())),
    })
}

/// The version that ends an id, if it is the id of this source.
pub(super) fn version_of(id: &str, source: &Source) -> Result<ObjectVersion, Failure> {
    let mut segments = id.rsplit('/');
    let version = segments.next().and_then(|segment| ObjectVersion::parse(segment).ok());
    let name = segments.next().and_then(|segment| ObjectName::parse(segment).ok());
    let asked = |version: &ObjectVersion| source.exact().is_none_or(|asked| asked == version);
    version
        .filter(|version| name.is_some_and(|name| name == source.name) && asked(version))
        .ok_or(Failure::MalformedResponse { peer: Peer::Vault, at: None })
}

/// The times of a secret or key, in seconds.
#[derive(Default, Deserialize)]
pub(super) struct Times {
    nbf: Option<i64>,
    exp: Option<i64>,
    created: Option<i64>,
    updated: Option<i64>,
}

impl Times {
    /// With the rest that is known of a version.
    pub(super) fn attributes(&self, version: &ObjectVersion, managed: bool) -> Attributes {
        Attributes {
            version: version.as_str().to_owned(),
            created: self.created(),
            updated: self.updated(),
            expires: self.expires(),
            not_before: self.not_before(),
            managed,
        }
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        time(self.created)
    }

    pub(super) fn updated(&self) -> Option<Timestamp> {
        time(self.updated)
    }

    pub(super) fn expires(&self) -> Option<Timestamp> {
        time(self.exp)
    }

    pub(super) fn not_before(&self) -> Option<Timestamp> {
        time(self.nbf)
    }
}

/// Zero is how some implementations say that there is none.
fn time(seconds: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_second(seconds.filter(|seconds| *seconds != 0)?).ok()
}
