//! An admission webhook of somebody else, over real TLS, that looks at the Secrets of one namespace.

use std::sync::{Arc, Mutex, PoisonError};

use axum::serve::Listener;
use axum::{Json, Router, extract::State, routing::post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::certificates::Authority;
use crate::scene::OperatorScene;

/// Its name, as the API server repeats it.
pub const WEBHOOK: &str = "guard.policies.example.com";

/// A running webhook, asked about every Secret of its scene's namespace that is created or changed.
pub struct Webhook {
    answer: Arc<Mutex<Value>>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Starts it and has the API server ask it; it allows everything.
    pub async fn install(scene: &mut OperatorScene) -> Self {
        Self::start(scene, "Validating", json!({"allowed": true})).await
    }

    /// Starts one that puts another stamp on every Secret that is created or updated.
    pub async fn install_stamp(scene: &mut OperatorScene) -> Self {
        Self::start(scene, "Mutating", json!({"allowed": true, "patchType": "JSONPatch"})).await
    }

    async fn start(scene: &mut OperatorScene, kind: &str, answer: Value) -> Self {
        let authority = Authority::new().expect("an authority");
        let pair = authority.server(&["127.0.0.1"]).expect("a certificate");
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a TLS configuration")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let answer = Arc::new(Mutex::new(answer));
        let router = Router::new().route("/", post(judge)).with_state(Arc::clone(&answer));
        let task = tokio::spawn(async move {
            axum::serve(Tls { listener, acceptor }, router).await.ok();
        });
        let name = scene.namespace.name.clone();
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
            "metadata": {"name": name},
            "webhooks": [{
                "name": WEBHOOK, "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 30,
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://{address}/"), "caBundle": BASE64.encode(&authority.pem)},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
                           "operations": ["CREATE", "UPDATE"]}],
            }],
        });
        let plural = format!("{}webhookconfigurations", kind.to_lowercase());
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        scene.create_for_all(&path, &configuration).await;
        Self { answer, task }
    }

    /// From now on it refuses, with this code or none and this message.
    pub fn refuse(&self, code: Option<u16>, message: &str) {
        self.set(json!({"allowed": false, "status": {"code": code, "message": message}}));
    }

    /// From now on it allows everything.
    pub fn allow(&self) {
        self.set(json!({"allowed": true}));
    }

    /// From now on it takes every question and answers none.
    pub fn hang(&self) {
        self.set(Value::Null);
    }

    /// From now on nobody listens.
    pub async fn stop(&mut self) {
        self.task.abort();
        (&mut self.task).await.ok();
    }

    fn set(&self, answer: Value) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

async fn judge(State(answer): State<Arc<Mutex<Value>>>, Json(review): Json<Value>) -> Json<Value> {
    let mut response = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if response.is_null() {
        std::future::pending::<()>().await;
    }
    response["uid"] = review["request"]["uid"].clone();
    if !response["patchType"].is_null() {
        let stamp = json!([{
            "op": "add", "path": "/metadata/annotations/policies.example.com~1stamp", "value": response["uid"],
        }]);
        response["patch"] = json!(BASE64.encode(stamp.to_string()));
    }
    Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
