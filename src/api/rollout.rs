//! Which workloads take up a Secret that has changed, and what is recorded of it.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use super::fingerprint::Fingerprint;
use super::fnv1a;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The annotation of a pod template that restarts its pods begins so; the Secret's name follows.
pub const SECRET_ANNOTATION_PREFIX: &str = "vaultsync.dev/secret-";

/// The name of an annotation, behind its prefix, has at most so many characters.
const MOST_NAME: usize = 63;

/// What is restarted when the Secret has changed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Workloads of this namespace. Their pods are replaced, as by `kubectl rollout restart`, once for each change of the
    /// Secret. Example: `[{kind: Deployment, name: shop}]`.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(r, has(r.name) != has(r.selector))",
        "each item of restart needs a name or a selector, and not both, as in {kind: Deployment, name: shop}"
    ))]
    pub restart: Vec<RestartItem>,
}

/// Workloads of one kind: one by its name, or all that have these labels.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartItem {
    /// `Deployment`, `StatefulSet` or `DaemonSet`.
    pub kind: WorkloadKind,
    /// The name of one workload. Either this or `selector`. Example: `shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "name must be the name of a workload: lower-case letters, digits, '-' and '.', as in shop"
    ))]
    pub name: Option<String>,
    /// Labels of the workloads themselves (not of their pods); all that have them, a hundred at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
}

/// Labels that a workload must have.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels with these values; all of them, and at least one. Example: `{app.kubernetes.io/part-of: shop}`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = (
        "self.all(k, k.size() <= 253 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
        "matchLabels must be valid labels, as in app.kubernetes.io/part-of: shop"
    ))]
    pub match_labels: BTreeMap<String, String>,
}

impl WorkloadSelector {
    /// As the API server takes it.
    #[must_use]
    pub fn query(&self) -> String {
        let pairs: Vec<String> =
            self.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }
}

/// The kinds of workload that can be restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    #[default]
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// The kind, as `kubectl` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The kind, as it stands in a path and in a rule of RBAC.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What workloads were last restarted for. A lost record restarts nobody: what is there then is taken as known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What is in the Secret, as the workloads have it: a digest over the names and fingerprints of `target.keys`, never over
    /// a value.
    pub hash: Fingerprint,
    /// What is in the Secret now, where workloads are still to be restarted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Fingerprint>,
    /// When the last restart was done. Absent while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// The annotation of a pod template that speaks of this Secret: its name, cut with a hash of the whole where it is too
/// long, so that each Secret has one of its own.
#[must_use]
pub fn secret_annotation(secret: &str) -> String {
    let taken = SECRET_ANNOTATION_PREFIX.rsplit('/').next().map_or(0, str::len);
    let room = MOST_NAME - taken;
    if secret.len() <= room {
        return format!("{SECRET_ANNOTATION_PREFIX}{secret}");
    }
    let hash = format!("-{:016x}", fnv1a(secret.as_bytes()));
    let kept: String = secret.chars().take(room - hash.len()).collect();
    format!("{SECRET_ANNOTATION_PREFIX}{kept}{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_has_an_annotation_of_its_own_that_kubernetes_takes() {
        assert_eq!(secret_annotation("shop"), "vaultsync.dev/secret-shop");
        let (one, other) = ("a.b-".repeat(40) + "1", "a.b-".repeat(40) + "2");
        assert_ne!(secret_annotation(&one), secret_annotation(&other));
        let pattern = regex::Regex::new("^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$").unwrap();
        for length in 1..=253 {
            let secret = secret_annotation(&"x".repeat(length));
            let (prefix, name) = secret.split_once('/').unwrap();
            assert!(prefix == "vaultsync.dev" && pattern.is_match(name), "{secret}");
        }
        assert!(pattern.is_match(secret_annotation(&one).rsplit('/').next().unwrap()));
    }

    #[test]
    fn labels_are_asked_for_as_the_api_server_takes_them() {
        let labels = [("a", "1"), ("b/c", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(WorkloadSelector { match_labels: labels.into() }.query(), "a=1,b/c=");
    }
}
