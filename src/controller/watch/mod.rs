//! Watches that go on, whatever the API server stores and however it ends them.

mod guarded;
mod news;
mod replaced;
pub(super) mod secrets;
mod stream;

pub(super) use guarded::Guarded;
pub(super) use news::News;
pub(super) use replaced::Replaced;
pub(super) use stream::{refusal, watch, watch_labelled};

use kube::runtime::reflector::{Lookup, Store};
use std::future::Future;

/// Runs a controller until its end, which comes with the `shutdown`. One that is told to stop before the API server has
/// shown what there is has nothing under way, and would wait for it for ever.
pub(super) async fn until_told<K>(
    controller: impl Future<Output = ()>,
    shown: Store<K>,
    shutdown: impl Future<Output = ()>,
) where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    let stopped = async {
        tokio::select! {
            _ = shown.wait_until_ready() => std::future::pending().await,
            () = shutdown => {}
        }
    };
    tokio::select! {
        () = controller => {}
        () = stopped => {}
    }
}
