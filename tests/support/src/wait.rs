//! Waiting for something to become true: by a watch where the API server can tell, else by asking again.
//! Either way a generous limit ends it, with what was seen last.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::Api;
use kube::api::Resource;
use kube::runtime::wait::{Condition, await_condition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// No wait of a healthy run comes near this, on a busy machine either.
const LIMIT: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(50);

/// Asks until `probe` gives `Ok`, and returns that; its `Err` says what it saw instead.
///
/// # Panics
/// Nothing became true within two minutes; the message has `what` and the last sight.
pub async fn eventually<T, F, Fut>(what: &str, probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    match within(LIMIT, probe).await {
        Ok(value) => value,
        Err(seen) => panic!("{what}: not within {LIMIT:?}; seen last: {seen}"),
    }
}

/// Asks until `probe` gives `Ok` or the limit is reached, and then returns its last `Err`.
pub async fn within<T, F, Fut>(limit: Duration, mut probe: F) -> Result<T, String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= end => return Err(seen),
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Watches one object until a condition holds, and returns it (`None`: it holds because the object is gone).
///
/// # Panics
/// It did not hold within two minutes; the message has `what` and the object, without its data.
pub async fn until<K>(api: &Api<K>, name: &str, what: &str, condition: impl Condition<K>) -> Option<K>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + Serialize + 'static,
{
    let Ok(watched) = tokio::time::timeout(LIMIT, await_condition(api.clone(), name, condition)).await else {
        panic!("{what}: not within {LIMIT:?}; seen last: {}", describe(api, name).await)
    };
    watched.unwrap_or_else(|error| panic!("{what}: the watch of {name} failed: {error}"))
}

async fn describe<K>(api: &Api<K>, name: &str) -> String
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    match api.get_opt(name).await {
        Ok(None) => format!("no {name}"),
        Ok(Some(object)) => redacted(serde_json::to_value(&object).unwrap_or_default()).to_string(),
        Err(error) => error.to_string(),
    }
}

/// Keys stay, values go: a failed test's output is read by everybody.
fn redacted(mut object: serde_json::Value) -> serde_json::Value {
    for field in ["data", "stringData"] {
        if let Some(data) = object.get_mut(field).and_then(serde_json::Value::as_object_mut) {
            data.values_mut().for_each(|value| *value = "(hidden)".into());
        }
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}
