//! `/metrics`, `/livez` and `/readyz`, for whoever can reach the port: what one client does takes nothing from another.
//!
//! Invariants: there are never more than `MOST_CONNECTIONS`; a new one is always taken, in the place of the oldest of
//! whoever has most; none lives much longer than `CONNECTION_LIFE`.

use crate::controller::Readiness;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Encoder as _, Registry, TextEncoder};
use std::cmp::Reverse;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// A kubelet, two Prometheus servers and a few people, and what they hold must fit into the pod's memory.
const MOST_CONNECTIONS: usize = 32;
/// So long may a client take for the head of a request, or send none.
const HEAD: Duration = Duration::from_secs(10);
/// So long a connection is kept open; the answer under way then has time to end.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// When no connection can be taken, as without a free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Serves whoever connects, until it is dropped.
pub async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let mut connections = JoinSet::new();
    let mut oldest_first: Vec<(IpAddr, AbortHandle)> = Vec::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        oldest_first.retain(|(_, connection)| !connection.is_finished());
        if oldest_first.len() >= MOST_CONNECTIONS
            && let Some(place) =
                first_of_most(&oldest_first.iter().map(|(peer, _)| *peer).collect::<Vec<_>>())
        {
            oldest_first.remove(place).1.abort();
        }
        oldest_first.push((peer.ip(), connections.spawn(connection(stream, router.clone()))));
    }
}

/// The place of the first element that there are most of.
fn first_of_most(peers: &[IpAddr]) -> Option<usize> {
    let count = |peer| peers.iter().filter(|other| *other == peer).count();
    let most = peers.iter().enumerate().max_by_key(|(place, peer)| (count(*peer), Reverse(*place)));
    most.map(|(place, _)| place)
}

/// One connection, from its first request to its end, however it ends.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let serve = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serve = pin!(serve);
    // A client that goes away or speaks nonsense is its own trouble.
    if tokio::time::timeout(CONNECTION_LIFE, serve.as_mut()).await.is_err() {
        serve.as_mut().graceful_shutdown();
        let _: Result<Result<(), _>, _> = tokio::time::timeout(LAST_ANSWER, serve).await;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

    fn any_router() -> Router {
        router(Registry::new(), Readiness::default())
    }

    #[tokio::test]
    async fn a_thousand_idle_connections_keep_nobody_from_being_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, any_router()));
        let mut idle = Vec::new();
        for _ in 0..1000 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(LIVEZ).await.unwrap();
        let mut answer = [0; 15];
        probe.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // All but the newest were closed: their clients read the end.
        for stream in &mut idle[..1000 - MOST_CONNECTIONS] {
            assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
        }
        server.abort();
    }

    #[test]
    fn whoever_has_most_connections_makes_room() {
        let peers = |last_bytes: &[u8]| -> Vec<IpAddr> {
            last_bytes.iter().map(|byte| IpAddr::from([10, 0, 0, *byte])).collect()
        };
        for (last_bytes, place) in
            [(&[1, 2, 3, 2][..], Some(1)), (&[7], Some(0)), (&[2, 1], Some(0)), (&[], None)]
        {
            assert_eq!(first_of_most(&peers(last_bytes)), place, "{last_bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_request_or_half_of_one_is_let_go() {
        for sent in [&b""[..], b"GET /livez HTTP/1.1\r\nhost:", LIVEZ] {
            let (mut client, server) = tokio::io::duplex(4096);
            let end = tokio::spawn(connection(server, any_router()));
            client.write_all(sent).await.unwrap();
            // Time passes by itself as long as nobody has anything else to do.
            end.await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer.starts_with(b"HTTP/1.1 200 OK"), sent == LIVEZ);
        }
    }
}
