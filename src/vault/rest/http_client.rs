//! The HTTP client of a handle, made anew when the certificates that it trusts were replaced on disk.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::Client;

use super::transport::{Stamp, Transport};
use crate::vault::{cloud::CloudRef, failure::Failure};

/// How often it is looked whether certificates were replaced, beside whenever TLS fails.
const LOOK: Duration = Duration::from_secs(60);

/// See the module.
pub(in crate::vault) struct HttpClient {
    transport: Transport,
    cloud: CloudRef,
    /// `None` before the first use.
    current: Mutex<Option<Current>>,
}

struct Current {
    client: Client,
    /// The certificates with which it was made.
    stamp: Stamp,
    /// When to look again whether they are still the same.
    look_at: Instant,
}

impl HttpClient {
    /// A client for the hosts of a cloud.
    pub(in crate::vault) fn new(transport: Transport, cloud: CloudRef) -> Self {
        Self { transport, cloud, current: Mutex::default() }
    }

    /// The client as it is now.
    ///
    /// # Errors
    /// As [`Transport::client`].
    pub(in crate::vault) async fn get(&self) -> Result<Client, Failure> {
        if let Some(current) = &mut *self.current() {
            let now = Instant::now();
            if now < current.look_at {
                return Ok(current.client.clone());
            }
            // One looks; whoever comes meanwhile takes what there is.
            current.look_at = now + LOOK;
        }
        let stamp = self.transport.stamp().await;
        if let Some(known) = &*self.current()
            && stamp.as_ref().is_none_or(|stamp| *stamp == known.stamp)
        {
            return Ok(known.client.clone());
        }
        let made = self.transport.client(self.cloud.ca_bundle().map(str::to_owned)).await;
        let mut current = self.current();
        match (made, &*current) {
            (Ok(client), _) => {
                let (stamp, look_at) = (stamp.unwrap_or_default(), Instant::now() + LOOK);
                *current = Some(Current { client: client.clone(), stamp, look_at });
                Ok(client)
            }
            // A file that is half written is read again at the next look.
            (Err(_), Some(known)) => Ok(known.client.clone()),
            (Err(failure), None) => Err(failure),
        }
    }

    /// Whether calls to this https host leave through a proxy.
    pub(in crate::vault) fn is_proxied(&self, host: &str) -> bool {
        self.transport.is_proxied(host)
    }

    /// TLS failed: the certificates may be others by now.
    pub(in crate::vault) fn doubt(&self) {
        if let Some(current) = &mut *self.current() {
            current.look_at = Instant::now();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}
