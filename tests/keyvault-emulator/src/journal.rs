//! What happened: requests to vaults, token requests, tunnels.
//!
//! Invariant: no value, token, secret or assertion is ever in it. An entry is written when the request arrives and
//! completed when it is answered, so a stalled request is seen too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::call::{ObjectKind, Operation};

/// A request to a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedRequest {
    /// When it arrived, by the machine's clock whatever the emulator's says.
    pub time: Timestamp,
    /// Name of the vault.
    pub vault: String,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What it asked for; `None` when the path means nothing.
    pub operation: Option<Operation>,
    /// The kind of object it asked for; `None` when the path means nothing.
    pub object: Option<ObjectKind>,
    /// The secret asked for, in lower case; `None` for lists, and for keys and certificates.
    pub secret: Option<String>,
    /// The object asked for, of whatever kind, in lower case; `None` for lists.
    pub name: Option<String>,
    /// The version asked for.
    pub version: Option<String>,
    /// The `api-version` parameter.
    pub api_version: Option<String>,
    /// Client id of the token; `None` without a valid one.
    pub client_id: Option<String>,
    /// The answer's status; `None` while unanswered (stalled) or for ever (reset).
    pub status: Option<u16>,
    /// `error.code` of the answer.
    pub code: Option<String>,
    /// `error.innererror.code` of the answer.
    pub inner_code: Option<String>,
}

/// Who was asked for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenEndpoint {
    /// Entra.
    #[default]
    Authority,
    /// The node's metadata service.
    Imds,
    /// The endpoint that App Service injects.
    AppService,
}

/// A request for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    /// When it arrived, by the machine's clock.
    pub time: Timestamp,
    /// Who was asked.
    pub endpoint: TokenEndpoint,
    /// From the path; of a managed identity its own, if it is known.
    pub tenant: String,
    /// As sent; of a managed identity any of its ids, empty for the node's own.
    pub client_id: String,
    /// As sent; the resource for a managed identity.
    pub scope: String,
    /// Issuer of the assertion, as presented.
    pub issuer: Option<String>,
    /// Subject of the assertion, as presented.
    pub subject: Option<String>,
    /// Audiences of the assertion, as presented.
    pub audiences: Vec<String>,
    /// The answer's status; `None` while unanswered (stalled) or for ever (reset).
    pub status: Option<u16>,
    /// The `AADSTS` number of a refusal.
    pub error: Option<u32>,
}

/// What became of a `CONNECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectOutcome {
    /// 200: it ended in the emulator.
    Tunnelled,
    /// 502: no such vault, as a proxy answers a name that does not resolve.
    UnknownVault,
    /// 403: a host that is not Azure's, or no `CONNECT` at all.
    Refused,
}

/// A request to the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// When it arrived, by the machine's clock.
    pub time: Timestamp,
    /// `host:port`.
    pub target: String,
    /// What became of it.
    pub outcome: ConnectOutcome,
}

/// Names an entry that is not complete yet; void once its log was cleared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    index: usize,
    epoch: u64,
}

/// Entries in order of arrival.
#[derive(Debug)]
pub(crate) struct Log<T> {
    entries: Vec<T>,
    /// How often it was cleared.
    epoch: u64,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), epoch: 0 }
    }
}

impl<T> Log<T> {
    pub(crate) fn push(&mut self, entry: T) -> Entry {
        self.entries.push(entry);
        Entry { index: self.entries.len() - 1, epoch: self.epoch }
    }

    pub(crate) fn complete(&mut self, entry: Entry) -> Option<&mut T> {
        self.entries.get_mut(entry.index).filter(|_| entry.epoch == self.epoch)
    }

    pub(crate) fn entries(&self) -> &[T] {
        &self.entries
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.epoch += 1;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// By vault: who waits for one looks at its requests again and again.
    requests: BTreeMap<String, Log<LoggedRequest>>,
    pub(crate) tokens: Log<TokenRequest>,
    pub(crate) connects: Log<Connect>,
}

impl Journal {
    /// The log of one vault.
    pub(crate) fn vault_mut(&mut self, vault: &str) -> &mut Log<LoggedRequest> {
        self.requests.entry(vault.to_owned()).or_default()
    }

    /// The requests to one vault, in order of arrival.
    pub(crate) fn of_vault(&self, vault: &str) -> &[LoggedRequest] {
        self.requests.get(vault).map(Log::entries).unwrap_or_default()
    }

    /// The requests to every vault, in order of arrival.
    pub(crate) fn all_requests(&self) -> Vec<LoggedRequest> {
        let mut all: Vec<_> = self.requests.values().flat_map(Log::entries).cloned().collect();
        all.sort_by_key(|request| request.time);
        all
    }

    pub(crate) fn clear(&mut self) {
        self.requests.values_mut().for_each(Log::clear);
        self.tokens.clear();
        self.connects.clear();
    }
}

/// The most requests within any one second, however the second is laid.
#[must_use]
pub fn peak_per_second(requests: &[LoggedRequest]) -> usize {
    let mut times: Vec<i128> = requests.iter().map(|request| request.time.as_nanosecond()).collect();
    times.sort_unstable();
    let end_of = |start: &i128| times.partition_point(|time| *time < start + 1_000_000_000);
    times.iter().enumerate().map(|(index, start)| end_of(start) - index).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> LoggedRequest {
        LoggedRequest {
            time: Timestamp::from_millisecond(milliseconds).unwrap(),
            vault: "shop".into(),
            method: "GET".into(),
            path: "/secrets/db".into(),
            operation: Some(Operation::Get),
            object: Some(ObjectKind::Secret),
            secret: Some("db".into()),
            name: Some("db".into()),
            version: None,
            api_version: None,
            client_id: None,
            status: None,
            code: None,
            inner_code: None,
        }
    }

    #[test]
    fn the_peak_is_found_across_the_edge_of_a_second() {
        let requests: Vec<_> = [900, 950, 1_000, 1_899, 1_900, 5_000].map(at).into();
        assert_eq!(peak_per_second(&requests), 4);
        assert_eq!(peak_per_second(&[]), 0);
    }

    #[test]
    fn an_answer_to_a_request_that_was_cleared_away_touches_nothing() {
        let mut log = Log::default();
        let entry = log.push(at(1));
        assert!(log.complete(entry).is_some());
        log.clear();
        log.push(at(2));
        assert!(log.complete(entry).is_none());
    }
}
