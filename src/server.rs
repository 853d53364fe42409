//! `/metrics`, `/livez` and `/readyz`.

use crate::controller::Readiness;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder as _, Registry, TextEncoder};

#[derive(Clone)]
struct Shown {
    registry: Registry,
    readiness: Readiness,
}

/// The router; tests drive it without a socket.
pub fn router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        // The process answers; that is all a restart could mend.
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shown { registry, readiness })
}

/// Ready: every watch has shown what there is. Vaults do not count: their failures are the objects' to tell.
async fn readyz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.readiness.is_ready() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the API server to show the objects")
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&shown.registry.gather(), &mut text) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, encoder.format_type().to_owned())], text),
        Err(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain".to_owned())], text)
        }
    }
}
