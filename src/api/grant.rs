//! Who may read what through a `ClusterKeyVault`.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Some namespaces may read some names. What no grant names is refused.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The namespaces whose objects may read; exactly one of `names` and `selector`.
    #[x_kube(
        validation = (
            "!(has(self.names) && has(self.selector))",
            "namespaces must have names or selector, not both: add a second item to allow"
        ),
        validation = (
            "has(self.names) || has(self.selector)",
            "namespaces needs names, as in [shop], or a selector"
        )
    )]
    pub namespaces: GrantedNamespaces,
    /// Names of secrets; `*` stands for any characters, case does not count. Default: none. Example: `shop-*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(p, p.matches('^[0-9a-zA-Z*-]+$'))",
        "secrets must be names of secrets: letters, digits, '-' and '*' for any characters, as in shop-*"
    ))]
    pub secrets: Vec<String>,
    /// Names of certificates, written likewise. The secret that holds a certificate's private key is judged by this
    /// list alone, however it is read. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(p, p.matches('^[0-9a-zA-Z*-]+$'))",
        "certificates must be names of certificates: letters, digits, '-' and '*' for any characters, as in shop-*"
    ))]
    pub certificates: Vec<String>,
    /// Names of keys, of which the vault gives the public part alone, written likewise. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(p, p.matches('^[0-9a-zA-Z*-]+$'))",
        "keys must be names of keys: letters, digits, '-' and '*' for any characters, as in shop-*"
    ))]
    pub keys: Vec<String>,
}

/// Namespaces by name or by label; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedNamespaces {
    /// Their names. Prefer this to labels: who may label a namespace could grant with `selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub names: Option<Vec<String>>,
    /// Their labels. Needs an operator that may read namespaces (`--namespace-selectors`). `{}` is every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Labels that a namespace must have; all of it must hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(r, r.operator in ['In', 'NotIn'] ? has(r.values) && size(r.values) > 0 : !has(r.values) || size(r.values) == 0)",
        "matchExpressions with In or NotIn need values, those with Exists or DoesNotExist have none"
    ))]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelectorRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// What must hold of it: `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: SelectorOperator,
    /// Values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// What must hold of a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    #[default]
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl NamespaceSelector {
    /// Whether labels are as selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let labels_match = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        labels_match && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl SelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            SelectorOperator::In => value.is_some_and(|value| self.values.contains(value)),
            SelectorOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            SelectorOperator::Exists => value.is_some(),
            SelectorOperator::DoesNotExist => value.is_none(),
        }
    }
}
