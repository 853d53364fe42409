//! The body of an answer: capped, wiped, and what several kinds of it have in common.

use jiff::Timestamp;
use reqwest::Response;
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize as _, Zeroizing};

use super::refusal;
use crate::vault::failure::{Failure, Peer};

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

/// The times of a secret, in seconds.
#[derive(Default, Deserialize)]
pub(super) struct Times {
    nbf: Option<i64>,
    exp: Option<i64>,
    created: Option<i64>,
    updated: Option<i64>,
}

impl Times {
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
