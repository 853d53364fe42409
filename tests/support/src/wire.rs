//! Requests on Secrets as they go over the wire, with the answer as it comes: code, causes, body.

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

/// What the API server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body, whatever it is.
    pub body: Value,
}

impl Answer {
    /// A field of the answer; `Null` if it is not there.
    pub fn at(&self, pointer: &str) -> &Value {
        self.body.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The fields a refusal names as its causes; a cause without a field counts as empty.
    pub fn causes(&self) -> Vec<&str> {
        let causes = self.at("/details/causes").as_array().map(Vec::as_slice).unwrap_or_default();
        causes.iter().map(|cause| cause["field"].as_str().unwrap_or_default()).collect()
    }

    /// The messages of a refusal's causes.
    pub fn cause_messages(&self) -> Vec<&str> {
        let causes = self.at("/details/causes").as_array().map(Vec::as_slice).unwrap_or_default();
        causes.iter().filter_map(|cause| cause["message"].as_str()).collect()
    }

    /// The Secret's resourceVersion.
    pub fn version(&self) -> &str {
        self.at("/metadata/resourceVersion").as_str().unwrap_or_default()
    }

    /// The Secret's uid.
    pub fn uid(&self) -> &str {
        self.at("/metadata/uid").as_str().unwrap_or_default()
    }

    /// The keys of the Secret's data.
    pub fn keys(&self) -> Vec<&str> {
        let data = self.at("/data").as_object();
        data.map(|data| data.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// The entries of managedFields as (manager, operation, keys of `f:data`).
    pub fn managers(&self) -> Vec<(&str, &str, Vec<&str>)> {
        let entries = self.at("/metadata/managedFields").as_array().map(Vec::as_slice).unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap_or_default();
                let data = entry.pointer("/fieldsV1/f:data").and_then(Value::as_object);
                let keys = data.map(|data| data.keys().filter_map(|key| key.strip_prefix("f:")).collect());
                (text("manager"), text("operation"), keys.unwrap_or_default())
            })
            .collect()
    }
}

/// The Secrets of a namespace, written by one field manager.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    namespace: String,
    query: String,
}

impl Secrets {
    /// Through this client, as this field manager.
    pub fn new(client: &Client, namespace: &str, manager: &str) -> Self {
        let query = format!("fieldManager={manager}");
        Self { client: client.clone(), namespace: namespace.to_owned(), query }
    }

    /// The same requests as dry runs.
    pub fn dry_run(&self) -> Self {
        Self { query: format!("{}&dryRun=All", self.query), ..self.clone() }
    }

    /// POST.
    pub async fn create(&self, secret: &Value) -> Answer {
        self.send(Method::POST, "", "application/json", false, Some(secret)).await
    }

    /// A strategic-merge PATCH.
    pub async fn patch(&self, name: &str, patch: &Value) -> Answer {
        self.send(Method::PATCH, name, "application/strategic-merge-patch+json", false, Some(patch)).await
    }

    /// The probe of the write protocol: a merge PATCH `{}` that asks for the metadata only.
    pub async fn probe(&self, name: &str) -> Answer {
        self.send(Method::PATCH, name, "application/merge-patch+json", true, Some(&json!({}))).await
    }

    /// The same without the header that hides the values.
    pub async fn empty_patch(&self, name: &str) -> Answer {
        self.send(Method::PATCH, name, "application/merge-patch+json", false, Some(&json!({}))).await
    }

    /// A server-side apply, without force.
    pub async fn apply(&self, name: &str, secret: &Value) -> Answer {
        self.send(Method::PATCH, name, "application/apply-patch+yaml", false, Some(secret)).await
    }

    /// GET.
    pub async fn get(&self, name: &str) -> Answer {
        self.send(Method::GET, name, "application/json", false, None).await
    }

    /// DELETE.
    pub async fn delete(&self, name: &str) -> Answer {
        self.send(Method::DELETE, name, "application/json", false, None).await
    }

    async fn send(
        &self,
        method: Method,
        name: &str,
        content: &str,
        metadata: bool,
        body: Option<&Value>,
    ) -> Answer {
        let collection = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let path = if name.is_empty() { collection } else { format!("{collection}/{name}") };
        let uri = if method == Method::GET { path } else { format!("{path}?{}", self.query) };
        let accept = if metadata {
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        } else {
            "application/json"
        };
        let request = Request::builder().method(method).uri(uri).header("content-type", content);
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        answer(&self.client, request.header("accept", accept).body(bytes).expect("a request")).await
    }
}

/// Sends any request and reads the answer, whatever its code.
pub async fn answer(client: &Client, request: Request<Vec<u8>>) -> Answer {
    let response = client.send(request.map(Into::into)).await.expect("an answer of the API server");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await.expect("a whole answer");
    Answer { code, body: serde_json::from_slice(&bytes).expect("a JSON answer") }
}
