//! What a namespace may read through a shared connection. Deny by default: only what an item names is permitted.
//!
//! Whether a secret is that of a certificate is known only once it was read. Before that a name is worth a read if
//! either list has it; a value is rendered only if the list of its own kind does.

use super::{Problem, UsedSource};
use crate::api::{Grant, VaultRef};
use crate::vault::{NamePattern, ObjectKind, ObjectName, Source};
use std::collections::BTreeMap;

/// As what a source may be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// As a secret of its own.
    pub secret: bool,
    /// As the private side of a certificate.
    pub certificate: bool,
}

impl Permit {
    /// Everything: what a connection of the object's own namespace gives.
    pub const FULL: Self = Self { secret: true, certificate: true };

    /// Whether a value may be used that is, or is not, that of a certificate.
    #[must_use]
    pub const fn covers(self, managed: bool) -> bool {
        if managed { self.certificate } else { self.secret }
    }
}

/// A namespace as grants see it.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    /// Its name.
    pub namespace: &'a str,
    /// Its labels; `None` where they may not be read, which no selector matches.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// What `reader` may read of each source of a connection, in their order.
///
/// # Errors
/// The problem of an object that names a source which nothing permits: then none of them is asked for.
pub fn permits(
    vault: &VaultRef,
    allow: &[Grant],
    reader: Tenant<'_>,
    sources: &[&UsedSource],
) -> Result<Vec<Permit>, Problem> {
    let grants: Vec<&Grant> = allow.iter().filter(|grant| concerns(grant, reader)).collect();
    let permits: Vec<Permit> = sources.iter().map(|used| permit(&grants, &used.source)).collect();
    let refused: Vec<&UsedSource> = sources
        .iter()
        .zip(&permits)
        .filter(|(_, permit)| **permit == Permit::default())
        .map(|(used, _)| *used)
        .collect();
    if refused.is_empty() {
        return Ok(permits);
    }
    let selectors = reader.labels.is_none() && allow.iter().any(has_selector);
    Err(Problem::not_allowed(vault, reader.namespace, &refused, selectors))
}

/// Whether `reader` may read this name as a secret.
#[must_use]
pub fn may_read_secret(allow: &[Grant], reader: Tenant<'_>, name: &ObjectName) -> bool {
    let folded = name.folded();
    let listed = |grant: &Grant| grant.secrets.iter().any(|pattern| NamePattern::new(pattern).fits(&folded));
    allow.iter().any(|grant| concerns(grant, reader) && listed(grant))
}

/// Whether `reader` may read any secret.
#[must_use]
pub fn reads_secrets(allow: &[Grant], reader: Tenant<'_>) -> bool {
    allow.iter().any(|grant| !grant.secrets.is_empty() && concerns(grant, reader))
}

/// Whether a grant selects namespaces by their labels.
#[must_use]
pub fn has_selector(grant: &Grant) -> bool {
    grant.namespaces.selector.is_some()
}

fn concerns(grant: &Grant, reader: Tenant<'_>) -> bool {
    match (&grant.namespaces.names, &grant.namespaces.selector) {
        (Some(names), None) => names.iter().any(|name| name == reader.namespace),
        (None, Some(selector)) => reader.labels.is_some_and(|labels| selector.matches(labels)),
        // The schema refuses both and neither; what was stored before a rule came grants nothing.
        (None, None) | (Some(_), Some(_)) => false,
    }
}

fn permit(grants: &[&Grant], source: &Source) -> Permit {
    let folded = source.name.folded();
    let listed = |list: fn(&Grant) -> &Vec<String>| {
        grants.iter().any(|grant| list(grant).iter().any(|pattern| NamePattern::new(pattern).fits(&folded)))
    };
    match source.kind {
        ObjectKind::Secret => Permit {
            secret: listed(|grant| &grant.secrets),
            certificate: listed(|grant| &grant.certificates),
        },
        // Of a key there is the public part alone, whosever key it is.
        ObjectKind::Key if listed(|grant| &grant.keys) => Permit::FULL,
        ObjectKind::Key => Permit::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{GrantedNamespaces, NamespaceSelector, SelectorOperator, SelectorRequirement};
    use crate::plan::fixtures::{Scene, key};
    use crate::plan::sources;

    fn grant(names: &[&str], secrets: &[&str], certificates: &[&str]) -> Grant {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        Grant {
            namespaces: GrantedNamespaces { names: Some(texts(names)), selector: None },
            secrets: texts(secrets),
            certificates: texts(certificates),
            keys: Vec::new(),
        }
    }

    fn judge(allow: &[Grant], namespace: &str, secrets: &[&str]) -> Result<Vec<Permit>, String> {
        judge_labelled(allow, Tenant { namespace, labels: None }, secrets)
    }

    fn judge_labelled(allow: &[Grant], reader: Tenant<'_>, secrets: &[&str]) -> Result<Vec<Permit>, String> {
        let data = secrets.iter().map(|secret| key(&secret.to_uppercase(), secret)).collect();
        let used = sources(&Scene::new(data, Vec::new()).object.spec, &[]).unwrap();
        let used: Vec<&UsedSource> = used.used.iter().collect();
        let vault = VaultRef { kind: crate::api::VaultKind::ClusterKeyVault, name: "prod".to_owned() };
        permits(&vault, allow, reader, &used).map_err(|problem| problem.message)
    }

    const SECRET: Permit = Permit { secret: true, certificate: false };

    #[test]
    fn nothing_is_allowed_that_no_item_names() {
        assert!(judge(&[], "shop", &["db"]).is_err());
        assert!(judge(&[grant(&["shop"], &[], &[])], "shop", &["db"]).is_err());
        assert!(judge(&[grant(&["billing"], &["*"], &["*"])], "shop", &["db"]).is_err());
        assert!(
            judge(&[Grant { secrets: vec!["*".to_owned()], ..Grant::default() }], "shop", &["db"]).is_err()
        );
    }

    #[test]
    fn items_are_ored_each_with_its_own_namespaces() {
        let allow = [grant(&["shop"], &["shop-*"], &[]), grant(&["shop", "billing"], &["shared"], &["tls"])];
        assert_eq!(judge(&allow, "shop", &["shop-db", "Shared"]), Ok(vec![SECRET, SECRET]));
        assert_eq!(judge(&allow, "billing", &["tls"]), Ok(vec![Permit { secret: false, certificate: true }]));
        assert!(judge(&allow, "billing", &["shop-db"]).is_err());
    }

    #[test]
    fn one_refused_name_refuses_the_object_and_is_named() {
        let allow = [grant(&["shop"], &["shop-*"], &[])];
        let message = judge(&allow, "shop", &["shop-db", "other"]).unwrap_err();
        assert!(message.contains("secret other") && !message.contains("shop-db"), "{message}");
        assert!(message.contains("ClusterKeyVault prod") && message.contains("names: [shop]"), "{message}");
    }

    #[test]
    fn labels_select_only_where_they_may_be_read() {
        let requirement = |key: &str, operator, values: &[&str]| SelectorRequirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let selector = NamespaceSelector {
            match_labels: [("team".to_owned(), "shop".to_owned())].into(),
            match_expressions: vec![
                requirement("env", SelectorOperator::In, &["prod", "test"]),
                requirement("legacy", SelectorOperator::DoesNotExist, &[]),
                requirement("tier", SelectorOperator::NotIn, &["dev"]),
            ],
        };
        let mut allow = [grant(&[], &["*"], &[])];
        allow[0].namespaces = GrantedNamespaces { names: None, selector: Some(selector) };
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let judge = |labels: Option<&BTreeMap<String, String>>| {
            judge_labelled(&allow, Tenant { namespace: "shop", labels }, &["db"]).is_ok()
        };
        assert!(judge(Some(&labels(&[("team", "shop"), ("env", "prod")]))));
        for bad in [
            &[("team", "shop")][..],
            &[("team", "other"), ("env", "prod")],
            &[("team", "shop"), ("env", "prod"), ("legacy", "")],
            &[("team", "shop"), ("env", "prod"), ("tier", "dev")],
        ] {
            assert!(!judge(Some(&labels(bad))), "{bad:?}");
        }
        assert!(!judge(None));
        let message =
            judge_labelled(&allow, Tenant { namespace: "shop", labels: None }, &["db"]).unwrap_err();
        assert!(message.contains("--namespace-selectors"), "{message}");
    }
}
