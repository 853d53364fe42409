//! What the API server was asked, by whom and how it answered: its audit log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use jiff::Timestamp;
use vaultsync::run::clock;

use crate::cluster::Cluster;

/// A moment, and where the audit log ended then; later events are those of what a test does next. The log has a request
/// a little after its answer, or what a watch shows of it: one that was received before the moment is not counted.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    offset: u64,
    at: Timestamp,
}

/// More than any line of the log has.
const LONGEST_LINE: u64 = 1 << 20;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who asked.
    pub user: String,
    /// As RBAC has it: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// The plural, with the subresource behind a `/`; empty for what is no resource.
    pub resource: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Empty for a whole collection.
    pub name: String,
    /// How it was answered.
    pub code: u64,
}

impl Seen {
    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Cluster {
    /// Now.
    pub fn mark(&self) -> Mark {
        let at = clock();
        let length = self.audit_log().metadata().expect("the audit log").len();
        let tail = length.saturating_sub(LONGEST_LINE);
        Mark { offset: tail + whole(&self.audit_bytes(tail)) as u64, at }
    }

    /// Every request received since the mark, and answered, that `wanted` picks, in the order of the answers.
    ///
    /// # Panics
    /// A line of the log that is no audit event.
    pub fn seen_since(&self, mark: Mark, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let bytes = self.audit_bytes(mark.offset);
        let lines = bytes[..whole(&bytes)].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(event).filter(|(received, _)| *received >= mark.at);
        events.map(|(_, seen)| seen).filter(wanted).collect()
    }

    /// The writes the operator asked for in a namespace since the mark.
    pub fn operator_writes_since(&self, mark: Mark, namespace: &str) -> Vec<Seen> {
        let user = self.operator().user();
        self.seen_since(mark, |seen| seen.user == user && seen.is_write() && seen.namespace == namespace)
    }

    /// The whole log as text, to hunt for what must not be in it.
    pub fn audit_text(&self) -> String {
        String::from_utf8_lossy(&self.audit_bytes(0)).into_owned()
    }

    /// What stands behind an offset: the log of a benchmark is too long to be read whole each time.
    fn audit_bytes(&self, from: u64) -> Vec<u8> {
        let mut log = File::open(self.audit_log()).expect("the audit log");
        log.seek(SeekFrom::Start(from)).expect("an offset in the audit log");
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).expect("the audit log");
        bytes
    }
}

/// Where the last whole line ends. The line being written right now belongs to a request that is not answered yet, so
/// it is neither before a mark nor part of what was seen.
pub fn whole(log: &[u8]) -> usize {
    log.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// When a request was received, and what it was.
fn event(line: &[u8]) -> (Timestamp, Seen) {
    let event: serde_json::Value = serde_json::from_slice(line).expect("an audit event");
    let text = |pointer: &str| {
        event.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let (plural, part) = (text("/objectRef/resource"), text("/objectRef/subresource"));
    let received = text("/requestReceivedTimestamp").parse().expect("when it was received");
    let seen = Seen {
        user: text("/user/username"),
        verb: text("/verb"),
        resource: if part.is_empty() { plural } else { format!("{plural}/{part}") },
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(serde_json::Value::as_u64).unwrap_or_default(),
    };
    (received, seen)
}
