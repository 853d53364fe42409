//! The CustomResourceDefinitions as they are applied, made from the Rust types.

use super::{ClusterKeyVault, KeyVault, VaultSecretSync};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;
use serde_json::json;
use std::collections::BTreeMap;

/// Every CustomResourceDefinition of the product.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [VaultSecretSync::crd(), KeyVault::crd(), ClusterKeyVault::crd()]
        .map(without_defaults)
        .map(with_unknown_generation)
        .into()
}

/// The file name and the YAML of every CustomResourceDefinition, as they stand in `crds/`.
///
/// # Errors
/// When a definition cannot be written as YAML, which a test rules out for those we ship.
pub fn crd_files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    crds()
        .iter()
        .map(|crd| {
            let file = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            // Through JSON, so that absent fields stay absent.
            let value = serde_json::to_value(crd).unwrap_or_default();
            Ok((
                file,
                format!("# Generated from src/api by `make crds`.\n{}", serde_saphyr::to_string(&value)?),
            ))
        })
        .collect()
}

/// Defaults live in code, not in stored objects: what was applied reads back unchanged, and a later release may move one.
fn without_defaults(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            drop_defaults(root);
        }
    }
    crd
}

fn drop_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        drop_defaults(property);
    }
    // A structural schema has one for all items.
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_defaults(items);
    }
}

/// kstatus calls an object without status current; a default generation of -1 makes a fresh one "in progress", so
/// that `helm --wait` and Flux wait for the first sync.
fn with_unknown_generation(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|root| root.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
        }
    }
    crd
}
