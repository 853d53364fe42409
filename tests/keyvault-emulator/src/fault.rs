//! Failures on demand.
//!
//! Invariant: a fault hits only requests in its scope, and a counted one never more often than it says. Faults are
//! tried oldest first; a request that carries no valid token is challenged before any fault sees it, so a count is one
//! of real attempts.

use serde::Deserialize;

use crate::call::{Call, ObjectKind, Operation};

/// Names a fault so that it can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub(crate) u64);

/// Which 403 a vault answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Forbidden {
    /// `ForbiddenByRbac`: no role.
    #[serde(rename = "ForbiddenByRbac")]
    ByRbac,
    /// `AccessDenied`: no access policy.
    AccessDenied,
    /// `ForbiddenByFirewall`: the client's address.
    #[serde(rename = "ForbiddenByFirewall")]
    ByFirewall,
    /// `ForbiddenByConnection`: public network access is off.
    #[serde(rename = "ForbiddenByConnection")]
    ByConnection,
    /// `ForbiddenByPolicy`: Azure Policy.
    #[serde(rename = "ForbiddenByPolicy")]
    ByPolicy,
    /// `SecretDisabled`; on a key or certificate `KeyDisabled` or `CertificateDisabled`.
    SecretDisabled,
}

/// Which 401 a vault answers although the token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Unauthorized {
    /// `AKV10032`: a token of another tenant.
    #[serde(rename = "AKV10032")]
    WrongTenant,
    /// `AKV10022`: a token for another audience.
    #[serde(rename = "AKV10022")]
    WrongAudience,
    /// `[TokenExpired]`.
    TokenExpired,
    /// A claims challenge of continuous access evaluation.
    #[serde(rename = "insufficient_claims")]
    InsufficientClaims,
    /// `MissingClientCertificate`: only tokens bound to a client certificate.
    MissingClientCertificate,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FaultKind {
    /// 429, with or without `Retry-After`.
    #[serde(rename_all = "camelCase")]
    Throttle {
        /// Seconds in `Retry-After`; `None` leaves the header out, as Key Vault does.
        retry_after: Option<u32>,
    },
    /// 403; at the token endpoint plain.
    Forbidden {
        /// Which.
        code: Forbidden,
    },
    /// 404 `SecretNotFound`, `KeyNotFound` or `CertificateNotFound`.
    NotFound,
    /// 401 with a challenge.
    Unauthorized {
        /// Which.
        code: Unauthorized,
    },
    /// A server error.
    Status {
        /// 500 to 599; at the managed identity endpoint also others, as 410.
        status: u16,
    },
    /// 302.
    Redirect {
        /// Where to.
        location: String,
    },
    /// No answer until the fault is cleared (then the request goes on) or the connection closes.
    Stall,
    /// The connection drops after the request, without an answer.
    Reset,
    /// An answer of the test's own making: what a proxy, or a service that quotes too much, may say.
    Answer {
        /// The status.
        status: u16,
        /// The body, sent as JSON whatever it is.
        body: String,
    },
    /// 200 with a body that is no JSON.
    Garbage,
    /// 200 with a value of this many bytes.
    Oversized {
        /// Length of the value.
        bytes: usize,
    },
    /// An `AADSTS` error; for the token endpoint.
    Aadsts {
        /// The number, for example 700213.
        number: u32,
    },
}

/// A failure and what it hits.
///
/// ```
/// use keyvault_emulator::{Fault, Operation};
/// let twice_on_one_secret = Fault::throttle(None).on_secret("db").times(2);
/// let no_listing = Fault::forbidden(keyvault_emulator::Forbidden::ByRbac).on(Operation::List);
/// # let _ = (twice_on_one_secret, no_listing);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests for this secret; at the token endpoint, of this client id. At the managed identity endpoint: of
    /// the id that was asked for.
    #[serde(default)]
    pub secret: Option<String>,
    /// Only requests for this key.
    #[serde(default)]
    pub key: Option<String>,
    /// Only requests for this certificate.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Only requests for objects of this kind.
    #[serde(default)]
    pub object: Option<ObjectKind>,
    /// Only this operation.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// The next so many requests; `None` is until cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, secret: None, key: None, certificate: None, object: None, operation: None, times: None }
    }
}

impl Fault {
    /// 429, with `Retry-After` of so many seconds or without.
    #[must_use]
    pub fn throttle(retry_after: Option<u32>) -> Self {
        FaultKind::Throttle { retry_after }.into()
    }

    /// 403 with this inner code.
    #[must_use]
    pub fn forbidden(code: Forbidden) -> Self {
        FaultKind::Forbidden { code }.into()
    }

    /// 404 `SecretNotFound`.
    #[must_use]
    pub fn not_found() -> Self {
        FaultKind::NotFound.into()
    }

    /// 401 with a challenge.
    #[must_use]
    pub fn unauthorized(code: Unauthorized) -> Self {
        FaultKind::Unauthorized { code }.into()
    }

    /// A server error with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        FaultKind::Status { status }.into()
    }

    /// A redirect to another URL.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        FaultKind::Redirect { location: location.to_owned() }.into()
    }

    /// No answer until cleared.
    #[must_use]
    pub fn stall() -> Self {
        FaultKind::Stall.into()
    }

    /// The connection drops after the request.
    #[must_use]
    pub fn reset() -> Self {
        FaultKind::Reset.into()
    }

    /// This status with this body.
    #[must_use]
    pub fn answer(status: u16, body: &str) -> Self {
        FaultKind::Answer { status, body: body.to_owned() }.into()
    }

    /// 200 with a body that is no JSON.
    #[must_use]
    pub fn garbage() -> Self {
        FaultKind::Garbage.into()
    }

    /// 200 with a value of this many bytes.
    #[must_use]
    pub fn oversized(bytes: usize) -> Self {
        FaultKind::Oversized { bytes }.into()
    }

    /// An `AADSTS` error of the token endpoint.
    #[must_use]
    pub fn aadsts(number: u32) -> Self {
        FaultKind::Aadsts { number }.into()
    }

    /// Hits only requests for this secret (at the token endpoint: of this client id).
    #[must_use]
    pub fn on_secret(self, name: &str) -> Self {
        Self { secret: Some(name.to_owned()), ..self }
    }

    /// Hits only requests for this key.
    #[must_use]
    pub fn on_key(self, name: &str) -> Self {
        Self { key: Some(name.to_owned()), ..self }
    }

    /// Hits only requests for this certificate; its secret and key are objects of their own.
    #[must_use]
    pub fn on_certificate(self, name: &str) -> Self {
        Self { certificate: Some(name.to_owned()), ..self }
    }

    /// Hits only requests for objects of this kind, lists too.
    #[must_use]
    pub fn on_objects(self, kind: ObjectKind) -> Self {
        Self { object: Some(kind), ..self }
    }

    /// Hits only this operation.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Hits only the next `count` requests.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { times: Some(count), ..self }
    }

    fn covers(&self, call: &Call) -> bool {
        let named = match call.kind {
            ObjectKind::Secret => &self.secret,
            ObjectKind::Key => &self.key,
            ObjectKind::Certificate => &self.certificate,
        };
        let names_none = [&self.secret, &self.key, &self.certificate].iter().all(|name| name.is_none());
        (names_none || named.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&call.name)))
            && self.object.is_none_or(|wanted| wanted == call.kind)
            && self.operation.is_none_or(|wanted| wanted == call.operation)
    }
}

#[derive(Debug)]
struct Standing {
    id: FaultId,
    fault: Fault,
    left: Option<u32>,
}

/// The faults in force at one place.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    standing: Vec<Standing>,
    made: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> FaultId {
        self.made += 1;
        let id = FaultId(self.made);
        self.standing.push(Standing { id, left: fault.times, fault });
        id
    }

    pub(crate) fn clear(&mut self, id: FaultId) {
        self.standing.retain(|standing| standing.id != id);
    }

    pub(crate) fn clear_all(&mut self) {
        self.standing.clear();
    }

    /// False once cleared; a spent fault still stands, for what it stalled waits for the clearing.
    pub(crate) fn stands(&self, id: FaultId) -> bool {
        self.standing.iter().any(|standing| standing.id == id)
    }

    /// The fault that hits this call to a vault.
    pub(crate) fn hit_call(&mut self, call: &Call) -> Option<(FaultId, FaultKind)> {
        self.hit(|fault| fault.covers(call))
    }

    /// The fault that hits a token request of this client or managed identity.
    pub(crate) fn hit_client(&mut self, client: &str) -> Option<(FaultId, FaultKind)> {
        self.hit(|fault| {
            fault.operation.is_none()
                && fault.secret.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(client))
        })
    }

    fn hit(&mut self, covers: impl Fn(&Fault) -> bool) -> Option<(FaultId, FaultKind)> {
        let mut standing = self.standing.iter_mut();
        let standing = standing.find(|standing| standing.left != Some(0) && covers(&standing.fault))?;
        standing.left = standing.left.map(|left| left - 1);
        Some((standing.id, standing.fault.kind.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(name: &str) -> Call {
        Call { kind: ObjectKind::Secret, operation: Operation::Get, name: name.into(), version: None }
    }

    #[test]
    fn a_counted_fault_hits_so_many_requests_and_no_more() {
        let mut faults = Faults::default();
        faults.add(Fault::throttle(None).times(2));
        let hits: Vec<bool> = (0..4).map(|_| faults.hit_call(&get("db")).is_some()).collect();
        assert_eq!(hits, [true, true, false, false]);
    }

    #[test]
    fn a_fault_spares_what_is_out_of_its_scope() {
        let mut faults = Faults::default();
        faults.add(Fault::not_found().on_secret("DB").on(Operation::Get));
        let list =
            Call { kind: ObjectKind::Secret, operation: Operation::List, name: String::new(), version: None };
        assert!(faults.hit_call(&get("db")).is_some());
        assert!(faults.hit_call(&get("other")).is_none());
        assert!(faults.hit_call(&list).is_none());
    }

    #[test]
    fn a_fault_on_a_certificate_spares_its_secret() {
        let mut faults = Faults::default();
        faults.add(Fault::reset().on_certificate("tls"));
        assert!(faults.hit_call(&get("tls")).is_none());
        assert!(faults.hit_call(&Call { kind: ObjectKind::Certificate, ..get("TLS") }).is_some());
        faults.clear_all();
        faults.add(Fault::reset().on_objects(ObjectKind::Key));
        assert!(faults.hit_call(&get("tls")).is_none());
        assert!(faults.hit_call(&Call { kind: ObjectKind::Key, ..get("any") }).is_some());
    }

    #[test]
    fn the_oldest_fault_wins_until_it_is_cleared_or_spent() {
        let mut faults = Faults::default();
        let first = faults.add(Fault::not_found());
        faults.add(Fault::reset());
        assert_eq!(faults.hit_call(&get("db")).unwrap().1, FaultKind::NotFound);
        faults.clear(first);
        assert_eq!(faults.hit_call(&get("db")).unwrap().1, FaultKind::Reset);
        faults.clear_all();
        assert!(faults.hit_call(&get("db")).is_none());
    }

    #[test]
    fn a_spent_stall_still_stands_until_cleared() {
        let mut faults = Faults::default();
        let id = faults.add(Fault::stall().times(1));
        assert!(faults.hit_call(&get("db")).is_some());
        assert!(faults.hit_call(&get("db")).is_none());
        assert!(faults.stands(id));
        faults.clear(id);
        assert!(!faults.stands(id));
    }
}
