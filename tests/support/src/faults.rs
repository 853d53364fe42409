//! Faults between a client and the real API server: a layer that fails, delays or holds chosen calls and counts all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::Error;

/// A call as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
    /// The plural, with the subresource behind a `/`; the path for what is no resource.
    pub resource: String,
    /// `None` for what has no namespace, and for all namespaces.
    pub namespace: Option<String>,
    /// `None` for a whole collection.
    pub name: Option<String>,
    /// The keys of `data` that its body names, sorted; no values.
    pub keys: Vec<String>,
}

impl Call {
    /// Whether it is this verb on this resource (`secrets`, `vaultsecretsyncs/status`).
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource == resource
    }

    fn of(request: &Parts, body: &[u8]) -> Self {
        let path = request.uri.path();
        let mut rest = path.trim_matches('/').split('/');
        let known = match rest.next() {
            Some("api") => rest.next().is_some(),
            Some("apis") => rest.next().is_some() && rest.next().is_some(),
            _ => false,
        };
        let mut parts: Vec<&str> = rest.collect();
        if !known || parts.is_empty() {
            return Self {
                verb: verb(request, true),
                resource: path.to_owned(),
                namespace: None,
                name: None,
                keys: Vec::new(),
            };
        }
        let mut namespace = None;
        // `namespaces/x` alone is the Namespace x.
        if parts.len() > 2 && parts[0] == "namespaces" && !matches!(parts[2], "status" | "finalize") {
            namespace = Some(parts[1].to_owned());
            parts.drain(..2);
        }
        let name = parts.get(1).map(ToString::to_string);
        let resource =
            parts.get(2).map_or_else(|| parts[0].to_owned(), |part| format!("{}/{part}", parts[0]));
        Self { verb: verb(request, name.is_some()), resource, namespace, name, keys: keys(body) }
    }
}

fn keys(body: &[u8]) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let data = body.get("data").and_then(serde_json::Value::as_object);
    let mut keys: Vec<String> = data.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    keys
}

fn verb(request: &Parts, one: bool) -> &'static str {
    let query = request.uri.query().unwrap_or_default();
    let watch = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    match (&request.method, one) {
        (&Method::GET, _) if watch => "watch",
        (&Method::GET, true) => "get",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => "other",
    }
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The API server is not asked; the answer is this status.
    Answer {
        /// The status code.
        code: u16,
        /// The reason of the `Status` in the body.
        reason: &'static str,
        /// The seconds of a `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// The connection breaks before the API server hears of the call.
    Refuse,
    /// The API server does it, and the connection breaks before its answer arrives.
    LoseAnswer,
    /// It comes later.
    Delay(Duration),
    /// It waits at the gate until a test lets it through.
    Hold(Gate),
}

impl Fault {
    /// 409, as for a stale resourceVersion.
    pub fn conflict() -> Self {
        Self::Answer { code: 409, reason: "Conflict", retry_after: None }
    }

    /// 429, with the seconds of `Retry-After`.
    pub fn throttled(retry_after: Option<u32>) -> Self {
        Self::Answer { code: 429, reason: "TooManyRequests", retry_after }
    }

    /// 500.
    pub fn internal() -> Self {
        Self::Answer { code: 500, reason: "InternalError", retry_after: None }
    }
}

/// Where held calls wait. Tests order two parties by it instead of by time.
#[derive(Clone, Debug)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Default for Gate {
    /// A closed one.
    fn default() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), released: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// Returns when a call has come to the gate; one return for each call.
    pub async fn reached(&self) {
        self.arrived.acquire().await.expect("an open semaphore").forget();
    }

    /// Lets one call through, now or when it comes.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        self.released.acquire().await.expect("an open semaphore").forget();
    }
}

type Predicate = Box<dyn Fn(&Call) -> bool + Send>;

#[derive(Default)]
struct State {
    planned: Vec<(usize, Predicate, Fault)>,
    calls: Vec<Call>,
}

/// The handle of a test on the faults of one client.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

impl Faults {
    /// No faults yet; every call is counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the next `times` calls that match this fault. Of several that match, the one planned first is used up
    /// first.
    pub fn next(&self, times: usize, matches: impl Fn(&Call) -> bool + Send + 'static, fault: Fault) {
        self.state().planned.push((times, Box::new(matches), fault));
    }

    /// Gives all calls that match this fault until [`Self::clear`].
    pub fn always(&self, matches: impl Fn(&Call) -> bool + Send + 'static, fault: Fault) {
        self.next(usize::MAX, matches, fault);
    }

    /// Ends all faults; calls held at a gate stay there.
    pub fn clear(&self) {
        self.state().planned.clear();
    }

    /// How many calls of this verb and resource were made, failed ones included.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        self.state().calls.iter().filter(|call| call.is(verb, resource)).count()
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The client with these faults on its way.
    pub fn wrap(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let faults = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (faults, client) = (faults.clone(), client.clone());
            async move { faults.pass(request, &client).await }
        });
        Client::new(service, namespace)
    }

    async fn pass(&self, request: Request<Body>, client: &Client) -> Result<Response<Body>, Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let call = Call::of(&parts, &body);
        let request = Request::from_parts(parts, Body::from(body));
        match self.take(call) {
            None => {}
            Some(Fault::Answer { code, reason, retry_after }) => return answer(code, reason, retry_after),
            Some(Fault::Refuse) => return Err("connection refused by a fault".into()),
            Some(Fault::LoseAnswer) => {
                client.send(request).await?;
                return Err("connection reset by a fault".into());
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Hold(gate)) => gate.pass().await,
        }
        Ok(client.send(request).await?)
    }

    fn take(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        let planned = state.planned.iter_mut().find(|(times, matches, _)| *times > 0 && matches(&call));
        let fault = planned.map(|(times, _, fault)| {
            *times = times.saturating_sub(1);
            fault.clone()
        });
        state.calls.push(call);
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(code: u16, reason: &str, retry_after: Option<u32>) -> Result<Response<Body>, Error> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason} by a fault"), "reason": reason, "code": code,
    });
    let mut response = Response::builder().status(StatusCode::from_u16(code)?);
    response = response.header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    Ok(response.body(Body::from(status.to_string().into_bytes()))?)
}
