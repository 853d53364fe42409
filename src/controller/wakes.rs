//! Carries the plane's wake-ups to the queues.

use super::Context;
use crate::vault::{Connection, Identity, Wake};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

/// Delivers every wake-up, for ever.
pub(super) async fn deliver(context: Arc<Context>, mut wakes: UnboundedReceiver<Wake>) {
    while let Some(wake) = wakes.recv().await {
        match wake {
            Wake::User(key) => context.triggers.object(&key),
            Wake::Outage(connection) => wake_connection(&context, &connection, true),
            Wake::Connection(connection) => wake_connection(&context, &connection, false),
        }
    }
    // The plane lives as long as the context does.
    std::future::pending::<()>().await;
}

/// The connection says how it fares; its objects, where it matters to them, set their clock for staleness.
fn wake_connection(context: &Context, connection: &Connection, objects: bool) {
    // Where each namespace reads as itself, it concerns nobody else.
    let reader = match &connection.identity {
        Identity::WorkloadIdentity { namespace, .. } => Some(namespace.as_str()),
        _ => None,
    };
    for key in context.connections.describing(connection) {
        context.triggers.connection(&key);
        let users = if objects { context.index.users(&key) } else { Vec::new() };
        for user in users.iter().filter(|user| reader.is_none_or(|reader| *user.namespace == *reader)) {
            context.triggers.object(user);
        }
    }
}
