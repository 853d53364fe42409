//! The HTTP CONNECT proxy: the door through which real host names lead here.
//!
//! Invariant: nothing ever leaves this process; a target that is not emulated is refused and recorded.

use std::{convert::Infallible, sync::Arc};

use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, http::uri::Authority, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    clock,
    gateway::{self, Host},
    journal::{Connect, ConnectOutcome},
    state::{Shared, State},
};

/// Accepts until the other end of `running` is dropped; so do the connections it accepted.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    mut running: watch::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = running.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // A connection that died in the backlog, or no file left: the next accept decides.
            tokio::task::yield_now().await;
            continue;
        };
        let (shared, acceptor, running) = (Arc::clone(&shared), acceptor.clone(), running.clone());
        tokio::spawn(connection(stream, shared, acceptor, running));
    }
}

/// Serves managed identities in plain HTTP until the other end of `running` is dropped.
pub(crate) async fn run_managed_identity(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut running: watch::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = running.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let (shared, mut running) = (Arc::clone(&shared), running.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = gateway::serve(shared, Host::ManagedIdentity, stream) => {}
                _ = running.changed() => {}
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    mut running: watch::Receiver<()>,
) {
    // Small answers, many round trips: waiting for a full segment only slows a test.
    let _ = stream.set_nodelay(true);
    let tunnel_running = running.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request, &shared, &acceptor, &tunnel_running);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        _ = served => {}
        _ = running.changed() => {}
    }
}

fn answer(
    mut request: Request<Incoming>,
    shared: &Arc<Shared>,
    acceptor: &TlsAcceptor,
    running: &watch::Receiver<()>,
) -> Response<String> {
    let authority = request.uri().authority().cloned();
    let target = authority.as_ref().map_or_else(|| request.uri().to_string(), ToString::to_string);
    let found = shared.change(|state| {
        let found = match (request.method(), authority.as_ref()) {
            (&Method::CONNECT, Some(authority)) => destination(state, authority),
            _ => Err(ConnectOutcome::Refused),
        };
        let outcome = found.as_ref().map_or_else(|outcome| *outcome, |_| ConnectOutcome::Tunnelled);
        state.journal.connects.push(Connect { time: clock::machine_time(), target: target.clone(), outcome });
        found
    });
    let (status, body) = match found {
        Ok(host) => {
            let upgrade = hyper::upgrade::on(&mut request);
            let (shared, acceptor, mut running) = (Arc::clone(shared), acceptor.clone(), running.clone());
            tokio::spawn(async move {
                let tunnel = async {
                    let Ok(upgraded) = upgrade.await else { return };
                    // A client that does not trust the CA ends here.
                    let Ok(stream) = acceptor.accept(TokioIo::new(upgraded)).await else { return };
                    gateway::serve(shared, host, stream).await;
                };
                tokio::select! {
                    () = tunnel => {}
                    _ = running.changed() => {}
                }
            });
            return Response::new(String::new());
        }
        Err(ConnectOutcome::UnknownVault) => {
            (StatusCode::BAD_GATEWAY, format!("The name of {target} does not resolve.\n"))
        }
        Err(_) => (StatusCode::FORBIDDEN, format!("A tunnel to {target} is not allowed.\n")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Where a CONNECT leads.
fn destination(state: &State, authority: &Authority) -> Result<Host, ConnectOutcome> {
    if authority.port_u16() != Some(443) {
        return Err(ConnectOutcome::Refused);
    }
    let host = authority.host().to_lowercase();
    if state.entra.is_authority(&host) {
        return Ok(Host::Login(host));
    }
    if let Some(vault) = state.vault_hosts.get(&host).filter(|vault| state.vaults.contains_key(*vault)) {
        return Ok(Host::Vault(vault.clone()));
    }
    match host.strip_suffix(".vault.azure.net") {
        Some(name) if state.vaults.contains_key(name) => Ok(Host::Vault(name.to_owned())),
        Some(name) if !name.contains('.') => Err(ConnectOutcome::UnknownVault),
        _ => Err(ConnectOutcome::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_emulated_hosts_on_443_are_reached() {
        let state = State::default();
        let login = || "login.microsoftonline.com".to_owned();
        let find = |target: &'static str| destination(&state, &Authority::from_static(target));
        assert_eq!(find("login.microsoftonline.com:443"), Ok(Host::Login(login())));
        assert_eq!(find("Login.MicrosoftOnline.com:443"), Ok(Host::Login(login())));
        assert_eq!(find("nobody.vault.azure.net:443"), Err(ConnectOutcome::UnknownVault));
        for refused in [
            "login.microsoftonline.com:8443",
            "login.microsoftonline.com.example.com:443",
            "a.b.vault.azure.net:443",
            "vault.azure.net:443",
            "example.com:443",
            "127.0.0.1:443",
        ] {
            assert_eq!(find(refused), Err(ConnectOutcome::Refused), "{refused}");
        }
    }
}
