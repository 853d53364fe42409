//! A reply before it is put on the wire, with what the log says about it.

use hyper::StatusCode;
use serde_json::Value;

/// Status, headers and body of a reply.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// `error.code` of a refusal.
    pub(crate) code: Option<String>,
    /// `error.innererror.code` of a refusal.
    pub(crate) inner: Option<String>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::bytes(status, "application/json; charset=utf-8", body.to_string().into_bytes())
    }

    pub(crate) fn bytes(status: StatusCode, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body,
            code: None,
            inner: None,
        }
    }

    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// A redirect.
    pub(crate) fn redirect(location: &str) -> Self {
        Self::bytes(StatusCode::FOUND, "text/html", Vec::new()).header("location", location)
    }

    pub(crate) fn no_content() -> Self {
        Self { headers: Vec::new(), ..Self::bytes(StatusCode::NO_CONTENT, "", Vec::new()) }
    }

    /// What a test makes up.
    pub(crate) fn made_up(status: u16, body: String) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::bytes(status, "application/json; charset=utf-8", body.into_bytes())
    }

    /// A success whose body no JSON parser takes: what a broken middlebox sends.
    pub(crate) fn garbage() -> Self {
        Self::bytes(StatusCode::OK, "application/json; charset=utf-8", b"<html>\xff\xfe not JSON".to_vec())
    }

    /// A well-formed success whose value alone has this many bytes.
    pub(crate) fn oversized(bytes: usize) -> Self {
        let mut body = Vec::with_capacity(bytes + 16);
        body.extend_from_slice(b"{\"value\":\"");
        body.resize(body.len() + bytes, b'a');
        body.extend_from_slice(b"\"}");
        Self::bytes(StatusCode::OK, "application/json; charset=utf-8", body)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
