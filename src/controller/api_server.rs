//! Our share of the API server: a bounded number of calls at once, each bounded in time, no retry behind our back.

use super::SecretAccess;
use super::error::{Error, Unanswered};
use crate::api::MANAGER;
use crate::lease::Tenure;
use crate::vault::Proxies;
use anyhow::Context as _;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode, Uri};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many calls may be under way: enough to fill the connection, few enough that ours are never the many.
const IN_FLIGHT: usize = 16;

/// The API server as this operator uses it. Cheap to clone.
#[derive(Clone)]
pub(super) struct ApiServer {
    client: Client,
    permits: Arc<Semaphore>,
    tenure: Tenure,
    /// The policy that fences what we may do to Secrets.
    secrets_policy: Option<Arc<str>>,
    secret_access: SecretAccess,
}

impl Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("free", &self.permits.available_permits()).finish_non_exhaustive()
    }
}

/// Where the API server is, as kubectl finds it: by a kubeconfig, through its proxy or that of the environment; in a pod
/// by its ServiceAccount, and directly.
///
/// # Errors
/// A sentence: neither is there, or one of them is broken. With a kubeconfig kube takes no odd items in `NO_PROXY`.
pub async fn api_server(proxies: &Proxies) -> anyhow::Result<Config> {
    let kubeconfig = match Kubeconfig::read() {
        Ok(kubeconfig) => kubeconfig,
        // The error would quote the line, which may hold a token.
        Err(KubeconfigError::Parse(_)) => anyhow::bail!("the kubeconfig is no valid YAML of its kind."),
        Err(_) => return Config::infer().await.context("no API server: set KUBECONFIG, or run in a pod"),
    };
    let own = own_proxy(&kubeconfig).map(str::to_owned);
    if let Some(own) = &own {
        let good = own.parse::<Uri>().is_ok_and(|uri| {
            uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https" | "socks5"))
        });
        // It may hold a password, so nothing of it is said.
        anyhow::ensure!(good, "proxy-url in the kubeconfig is no URL of a proxy. Write http://host:port.");
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| match error {
        KubeconfigError::ParseNoProxy(error) => anyhow::anyhow!(
            "NO_PROXY: {error}. Beside a kubeconfig each item must be a host, an address or a network."
        ),
        error => error.into(),
    })?;
    // kube compares NO_PROXY with the host of the proxy, be that its own or the environment's.
    let host = config.cluster_url.host().filter(|_| config.cluster_url.scheme_str() == Some("https"));
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let of_environment = || host.and_then(|host| proxies.of(host, port)).map(ToString::to_string);
    let proxy = own.or_else(of_environment);
    config.proxy_url = proxy.map(|proxy| proxy.parse()).transpose()?;
    Ok(config)
}

/// The proxy that the cluster of the current context names.
fn own_proxy(kubeconfig: &Kubeconfig) -> Option<&str> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?;
    cluster.cluster.as_ref()?.proxy_url.as_deref().filter(|proxy| !proxy.is_empty())
}

/// A client as [`run`](super::run) wants it: without kube's own retry, which would hide the API server's 429 from
/// us and hold a call for minutes.
///
/// # Errors
/// A configuration with which no client can be made.
pub fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config)
}

/// A busy API server says in a header, beside a body of plain text, when it wants to be asked again; kube's error
/// has the body alone. This puts what the header says into the body.
fn heeding_retry_after(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let response = client.send(request).await?;
            let seconds =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Ok::<_, kube::Error>(match seconds {
                Some(seconds) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                    response.map(|_| Body::from(throttled(seconds)))
                }
                _ => response,
            })
        }
    });
    Client::new(service, namespace)
}

/// The answer of a busy API server, with the time in it.
fn throttled(seconds: u32) -> Vec<u8> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429,
        "reason": "TooManyRequests", "message": "", "details": { "retryAfterSeconds": seconds },
    });
    status.to_string().into_bytes()
}

impl ApiServer {
    /// The longest a single call may take.
    pub(super) const CALL: Duration = Duration::from_secs(10);

    pub(super) fn new(
        client: Client,
        secrets_policy: Option<String>,
        secret_access: SecretAccess,
        tenure: Tenure,
    ) -> Self {
        Self {
            client: heeding_retry_after(client),
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            tenure,
            secrets_policy: secrets_policy.map(Into::into),
            secret_access,
        }
    }

    /// Whether this policy is the one that fences what we may do to Secrets.
    pub(super) fn is_fence(&self, policy: &str) -> bool {
        self.secrets_policy.as_deref() == Some(policy)
    }

    /// Whether Secrets may be created by a request that names them, and by no other.
    pub(super) fn names_secrets(&self) -> bool {
        self.secret_access == SecretAccess::Named
    }

    /// Whether as many calls are under way as may be.
    pub(super) fn is_busy(&self) -> bool {
        self.permits.available_permits() == 0
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The call's output. Waiting for a permit does not count. Without the lease none begins: what was decided is decided
    /// anew when it is ours again.
    pub(super) async fn call<T>(&self, call: impl Future<Output = T>) -> Result<T, Unanswered> {
        let _permit = self.permits.acquire().await.map_err(|_| Unanswered::NotLeading)?;
        let left = self.tenure.left().ok_or(Unanswered::NotLeading)?.min(Self::CALL);
        tokio::time::timeout(left, call).await.map_err(|_| Unanswered::Within(left))
    }

    /// The call's output.
    pub(super) async fn send<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match self.call(call).await {
            Err(unanswered) => Err(unanswered.of(verb)),
            Ok(answer) => answer.map_err(|error| Error::of(verb, &error)),
        }
    }

    /// Writes the status of an object, guarded by its resourceVersion: what differs from `old`, or all of it where there is
    /// none that is understood, so that nothing of what stands there is left. Returns the object after it.
    pub(super) async fn write_status<K, S>(
        &self,
        metadata: &ObjectMeta,
        old: Option<&S>,
        new: &S,
    ) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
        S: Serialize,
    {
        let request = kube::core::Request::new(K::url_path(&(), metadata.namespace.as_deref()));
        let version = &metadata.resource_version;
        let (patch, kind) = if let Some(old) = old {
            let status = difference(&json!(old), &json!(new));
            let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
            (patch, "application/merge-patch+json")
        } else {
            let patch = json!([
                { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
                { "op": "add", "path": "/status", "value": new },
            ]);
            (patch, "application/json-patch+json")
        };
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let name = metadata.name.as_deref().unwrap_or_default();
        let request = request.patch_subresource("status", name, &params, &Patch::Merge(&patch));
        let call = async {
            let mut request = request.map_err(kube::Error::BuildRequest)?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            self.client.request(request).await
        };
        self.send("write status", call).await
    }

    /// Creates an event.
    pub(super) async fn create_event(&self, namespace: &str, event: &Event) -> Result<(), Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.send("create event", api.create(&params, event)).await.map(|_| ())
    }
}

/// The merge patch (RFC 7386) that makes `new` of `old`.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for (name, value) in after {
        match before.get(name) {
            Some(same) if same == value => {}
            Some(other) => {
                patch.insert(name.clone(), difference(other, value));
            }
            None => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_patch_names_what_changed_and_removes_what_left() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1], "f": 1});
        let new = json!({"a": 1, "b": {"c": 1, "d": 3}, "e": [1, 2]});
        assert_eq!(difference(&old, &new), json!({"b": {"d": 3}, "e": [1, 2], "f": null}));
        assert_eq!(difference(&Value::Null, &new), new);
    }
}
