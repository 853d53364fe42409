//! Sources of a `VaultSecretSync` that give many keys.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use super::vault_ref::VaultRef;
use super::vaultsecretsync::OnMissing;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A source that gives many keys.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "has(self.secret) != has(self.find)",
        "an entry of dataFrom must have either secret or find, as in {secret: {name: shop-config}} or {find: {name: \"shop-*\"}}"
    ),
    validation = (
        "!has(self.find) || !has(self.onMissing)",
        "onMissing belongs to secret: what find no longer finds leaves the Secret"
    )
)]
pub struct DataFrom {
    /// A secret whose value has members: each becomes a key. A string is taken raw, a number as it is written, anything
    /// else as compact JSON; `null` counts as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectSecretRef>,
    /// All secrets of the vault with such a name and such tags: each becomes a key of its name. Secrets that back
    /// certificates are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Box<FindSpec>>,
    /// The connection that reads it, where that is another than `spec.vaultRef`. Default: `spec.vaultRef`. Example:
    /// `{kind: ClusterKeyVault, name: shared}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_ref: Option<Box<VaultRef>>,
    /// How members are called as keys: each step takes the name that the one before it gave. Two members that come to one
    /// name are `DuplicateKey`. Default: as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub rename: Vec<RenameStep>,
    /// What happens to its keys while the secret does not exist: `Keep` (default) or `Remove`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_missing: OnMissing,
    /// `false` keeps its keys out of the Secret: they only feed `target.template`. Default: `true`.
    #[serde(default = "super::vaultsecretsync::published")]
    pub publish: bool,
}

/// A rule refuses the word beside `find`, so that it is written where it says something.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_default(on_missing: &OnMissing) -> bool {
    *on_missing == OnMissing::default()
}

/// Which secrets of the vault are meant; all of it must fit.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.name) || (has(self.tags) && size(self.tags) > 0)",
    "find must have a name, as in shop-*, or tags"
))]
pub struct FindSpec {
    /// How their names are: `*` stands for any characters, case does not count. Default: any name. Example: `shop-*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        "self.matches('^[0-9a-zA-Z-]*([*][0-9a-zA-Z-]*){0,4}$')",
        "find.name must be letters, digits, '-' and up to four '*' for any characters, as in shop-*"
    ))]
    pub name: Option<String>,
    /// Tags that they have, with these values; case counts. Default: any. Example: `{env: prod}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 15, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    #[x_kube(validation = ("self.all(tag, tag.size() <= 256)", "the name of a tag has at most 256 characters"))]
    pub tags: BTreeMap<String, String>,
}

/// A secret of the vault whose value has members.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSecretRef {
    /// The name of the secret in the vault. Example: `shop-config`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        "self.matches('^[0-9a-zA-Z-]+$')",
        "name must be the name of a secret in the vault: letters, digits and '-', as in shop-config"
    ))]
    pub name: String,
    /// Another version than the current one: its 32 hexadecimal digits (it is read once), or `Previous`, the newest enabled one
    /// before the current one, which follows it. Default: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.matches('^([0-9a-f]{32}|Previous)$')",
        "version must be the 32 hexadecimal digits that end the secret's id, or Previous; leave it out for the current version"
    ))]
    pub version: Option<String>,
    /// How the value is written: `Json` (default), an object; `Yaml`, a mapping; `Dotenv`, lines of `NAME=value` with
    /// comments and quotes, in which `$` means nothing.
    #[serde(default)]
    pub format: Format,
}

/// How a value with members is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// A JSON object.
    #[default]
    Json,
    /// Lines of `NAME=value`.
    Dotenv,
    /// A YAML mapping.
    Yaml,
}

/// One step from the name of a member to a key: `match` with `to`, or `case`, or `characters`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.match) == has(self.to) && [has(self.match), has(self.case), has(self.characters)].filter(is, is).size() == 1",
    "a step of rename must have either match and to, or case, or characters, as in {match: \"^shop-\", to: \"\"}"
))]
pub struct RenameStep {
    /// A regular expression, of which every match in the name is replaced by `to`. Example: `^shop-(.*)$`.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub match_: Option<String>,
    /// What takes the place of a match; `$1` or `${name}` stands for what a group matched. Example: `$1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub to: Option<String>,
    /// What becomes of letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<Case>,
    /// What characters are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characters: Option<Characters>,
}

/// All letters as `Upper` or `Lower` case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Case {
    /// As in `DB_URL`.
    Upper,
    /// As in `db_url`.
    Lower,
}

/// `_` for every character that the name of an `EnvironmentVariable` cannot have, and before a first digit; or that a `Key`
/// of a Secret cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Characters {
    /// ASCII letters, digits, `-`, `_` and `.`.
    Key,
    /// ASCII letters, digits and `_`; no digit first.
    EnvironmentVariable,
}
