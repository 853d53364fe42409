//! What a user of another tool gets for what they have.

use super::*;
use crate::api::{Deletion, OnMissing, SecretType, VaultKind};
use serde_json::json;

/// What is made of the specs of objects of one kind, in namespace `shop`, with the notes.
fn converted(api_version: &str, kind: &str, specs: &[Value]) -> (Conversion, String) {
    let object = |(index, spec): (usize, &Value)| {
        json!({
            "apiVersion": api_version, "kind": kind, "spec": spec,
            "metadata": {"name": format!("o{index}"), "namespace": "shop", "uid": "1", "labels": {"team": "web"}},
            "status": {"conditions": []},
        })
    };
    let all = convert(specs.iter().enumerate().map(object).collect());
    let notes: Vec<String> = all.notes.iter().map(ToString::to_string).collect();
    (all, notes.join("\n"))
}

fn external(spec: Value) -> (Conversion, String) {
    converted("external-secrets.io/v1", "ExternalSecret", &[spec])
}

fn spec_of(all: &Conversion) -> Value {
    let text = all.syncs.iter().map(printed::document).next().unwrap().unwrap();
    serde_saphyr::from_str::<Value>(&text).unwrap()["spec"].take()
}

#[test]
fn an_external_secret_becomes_an_object_of_its_name_with_the_same_keys() {
    let (all, notes) = external(json!({
        "secretStoreRef": {"kind": "SecretStore", "name": "shop"},
        "target": {"name": "shop-secret", "creationPolicy": "Owner", "deletionPolicy": "Retain"},
        "data": [
            {"secretKey": "URL", "remoteRef": {"key": "db-url", "conversionStrategy": "Default", "metadataPolicy": "None"}},
            {"secretKey": "T", "remoteRef": {"key": "secret/api", "property": "token", "decodingStrategy": "Base64"}},
        ],
        "dataFrom": [{"extract": {"key": "config", "conversionStrategy": "Default", "decodingStrategy": "None"}}],
    }));
    assert_eq!(notes, "");
    assert_eq!(
        spec_of(&all),
        json!({
            "vaultRef": {"kind": "KeyVault", "name": "shop"}, "refreshInterval": "1h",
            "data": [
                {"key": "URL", "from": {"secret": {"name": "db-url"}}},
                {"key": "T", "from": {"secret": {"name": "api", "property": "$.token", "decode": "Base64"}}},
            ],
            "dataFrom": [{"secret": {"name": "config"}, "rename": [{"characters": "Key"}]}],
            "target": {"name": "shop-secret", "labels": {"team": "web"}},
        })
    );
}

#[test]
fn what_has_no_equal_is_named_with_its_field_and_what_to_do() {
    for (spec, field, word) in [
        (json!({"refreshPolicy": "OnChange"}), "spec.refreshPolicy", "spec.suspend: true"),
        (json!({"refreshInterval": "0"}), "spec.refreshInterval", "became 1h"),
        (json!({"refreshInterval": "1s"}), "spec.refreshInterval", "became 10s"),
        (json!({"target": {"immutable": true}}), "spec.target.immutable", "make it anew"),
        (
            json!({"target": {"creationPolicy": "Merge"}}),
            "spec.target.creationPolicy",
            "vaultsync.dev/consent",
        ),
        (json!({"target": {"deletionPolicy": "Delete"}}), "spec.target.deletionPolicy", "the Secret stays"),
        (json!({"syncWindows": {"kind": "allow"}}), "spec.syncWindows", "left out"),
        (
            json!({"target": {"template": {"templateFrom": [{"literal": "x"}]}}}),
            "templateFrom[0]",
            "spec.target.template",
        ),
    ] {
        let mut whole = json!({"data": [{"secretKey": "A", "remoteRef": {"key": "a"}}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let (all, notes) = external(whole);
        assert_eq!(all.syncs.len(), 1, "{spec}");
        assert!(
            notes.contains(&format!("ExternalSecret shop/o0: {field}")) || notes.contains(field),
            "{notes}"
        );
        assert!(notes.contains(word), "{notes}");
    }
}

#[test]
fn an_entry_without_an_equal_is_left_out_and_told() {
    for (entry, word) in [
        (json!({"remoteRef": {"key": "a", "metadataPolicy": "Fetch"}}), "tags"),
        (json!({"remoteRef": {"key": "a", "property": "a.#.b"}}), "fromjson"),
        (json!({"remoteRef": {"key": "file/a"}}), "neither a secret"),
        (
            json!({"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}, "remoteRef": {"key": "a"}}),
            "makes a value",
        ),
    ] {
        let mut entry = entry;
        entry["secretKey"] = json!("A");
        let (all, notes) = external(json!({"data": [entry, {"secretKey": "B", "remoteRef": {"key": "b"}}]}));
        let keys: Vec<&str> = all.syncs[0].spec.data.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys, ["B"], "{notes}");
        assert!(notes.contains("spec.data[0]") && notes.contains(word), "{notes}");
    }
    let (all, notes) = external(json!({"target": {"creationPolicy": "None"}, "data": [{"secretKey": "A"}]}));
    assert!(all.syncs.is_empty() && notes.contains("nothing to convert"), "{notes}");
}

#[test]
fn what_happens_to_a_secret_without_its_object_or_its_source_stays_as_it_was() {
    let target = |target: Value| {
        let entry = json!([{"secretKey": "A", "remoteRef": {"key": "a"}}]);
        external(json!({"target": target, "data": entry})).0.syncs.remove(0).spec
    };
    let plain = target(json!({}));
    assert_eq!((plain.target.deletion, plain.target.creation), (Deletion::Delete, Creation::Create));
    assert_eq!(target(json!({"creationPolicy": "Orphan"})).target.deletion, Deletion::Retain);
    assert_eq!(target(json!({"creationPolicy": "Merge"})).target.creation, Creation::Merge);
    assert_eq!(target(json!({"deletionPolicy": "Retain"})).data[0].on_missing, OnMissing::Keep);
    assert_eq!(target(json!({"deletionPolicy": "Merge"})).data[0].on_missing, OnMissing::Remove);
}

#[test]
fn templates_are_ours_and_feed_on_values_that_are_not_published() {
    let (all, notes) = external(json!({
        "target": {"template": {"data": {
            "user": "{{ .user }}", "password": "{{ .password | trim }}", "url": "{{ .user }}:{{ .password }}@db",
            "bad": "\n{{ range . }}",
        }}},
        "data": [
            {"secretKey": "user", "remoteRef": {"key": "u"}}, {"secretKey": "password", "remoteRef": {"key": "p"}},
        ],
    }));
    assert!(notes.contains("spec.target.template.data.bad: line 2: {{ range . }}"), "{notes}");
    let spec = spec_of(&all);
    assert_eq!(
        spec["target"]["template"],
        json!({"password": "{{ data[\"password-input\"] | trim }}", "url": "{{ user }}:{{ data[\"password-input\"] }}@db"})
    );
    assert_eq!(spec["data"][0], json!({"key": "user", "from": {"secret": {"name": "u"}}}));
    assert_eq!(
        spec["data"][1],
        json!({"key": "password-input", "from": {"secret": {"name": "p"}}, "publish": false})
    );
}

#[test]
fn a_tls_secret_out_of_a_pfx_is_one_line() {
    let (all, notes) = external(json!({
        "target": {"template": {"type": "kubernetes.io/tls", "data": {
            "tls.crt": "{{ .pfx | b64dec | pkcs12cert }}\n", "tls.key": "{{ .pfx | b64dec | pkcs12key }}",
        }}},
        "data": [{"secretKey": "pfx", "remoteRef": {"key": "shop-tls"}}],
    }));
    assert_eq!(notes, "");
    let spec = spec_of(&all);
    assert_eq!((&spec["tls"], &spec["data"]), (&json!({"certificate": "shop-tls"}), &Value::Null), "{spec}");
}

#[test]
fn a_shared_store_allows_each_namespace_what_it_reads() {
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "shared"},
        "spec": {"provider": {"azurekv": {"authType": "WorkloadIdentity", "vaultUrl": "https://shared.vault.azure.net"}}},
    });
    let object = |namespace: &str, key: &str| {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "o", "namespace": namespace},
            "spec": {
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": "shared"},
                "data": [{"secretKey": "A", "remoteRef": {"key": key}}],
            },
        })
    };
    let all = convert(vec![object("web", "web-a"), store, object("shop", "cert/shop-b")]);
    let text = printed::document(&all.cluster_vaults[0]).unwrap();
    let spec = serde_saphyr::from_str::<Value>(&text).unwrap()["spec"].take();
    assert_eq!(
        spec,
        json!({
            "url": "https://shared.vault.azure.net", "identity": {"operatorIdentity": {}},
            "allow": [
                {"namespaces": {"names": ["shop"]}, "certificates": ["shop-b"]},
                {"namespaces": {"names": ["web"]}, "secrets": ["web-a"]},
            ],
        })
    );
}

#[test]
fn a_store_that_no_service_account_reads_is_told() {
    let (all, notes) = converted(
        "external-secrets.io/v1",
        "SecretStore",
        &[
            json!({"provider": {"azurekv": {"authType": "ManagedIdentity", "vaultUrl": "https://a.vault.azure.net"}}}),
        ],
    );
    assert!(all.vaults.is_empty() && notes.contains("ClusterKeyVault"), "{notes}");
    let (_, notes) = converted("external-secrets.io/v1", "SecretStore", &[json!({"provider": {"aws": {}}})]);
    assert!(notes.contains("not Azure Key Vault"), "{notes}");
}

#[test]
fn an_object_of_akv2k8s_becomes_one_of_its_name() {
    let vault = |kind: &str| json!({"name": "Shop", "object": {"name": "thing", "type": kind}});
    let (all, notes) = converted(
        "spv.no/v2beta1",
        "AzureKeyVaultSecret",
        &[
            json!({"vault": vault("secret"), "output": {"secret": {"name": "a", "dataKey": "KEY"}}}),
            json!({"vault": vault("certificate"), "output": {"secret": {"name": "b", "type": "kubernetes.io/tls"}}}),
            json!({"vault": vault("secret"), "output": {"transform": ["trim", "base64encode"], "secret": {"name": "c", "dataKey": "KEY"}}}),
            json!({"vault": vault("secret")}),
        ],
    );
    assert_eq!(all.syncs.len(), 3, "{notes}");
    assert_eq!(all.cluster_vaults.len(), 1);
    assert_eq!(all.cluster_vaults[0].spec.url, "https://shop.vault.azure.net");
    assert_eq!(all.cluster_vaults[0].spec.allow.len(), 1);
    assert_eq!(all.syncs[0].spec.vault_ref.kind, VaultKind::ClusterKeyVault);
    assert_eq!((all.syncs[0].target_name(), all.syncs[0].spec.data[0].key.as_str()), ("a", "KEY"));
    assert_eq!(all.syncs[1].spec.tls.as_ref().unwrap().certificate, "thing");
    assert_eq!(all.syncs[2].spec.target.template["KEY"], "{{ input | trim | b64encode }}");
    assert!(notes.contains("o3") && notes.contains("injector"), "{notes}");
}

#[test]
fn each_secret_of_a_provider_class_becomes_an_object() {
    let objects = "array:\n- |\n  objectName: a\n  objectType: secret\n- |\n  objectName: tls\n  objectType: secret\n- |\n  objectName: mounted\n  objectType: key\n  objectNote: x\n";
    let (all, notes) = converted(
        "secrets-store.csi.x-k8s.io/v1",
        "SecretProviderClass",
        &[json!({
            "provider": "azure",
            "parameters": {"keyvaultName": "shop", "clientID": "6f1d2c3b-4a59-4e8f-9b70-1c2d3e4f5a6b", "objects": objects, "usePodIdentity": "false"},
            "secretObjects": [
                {"secretName": "plain", "type": "Opaque", "data": [{"objectName": "a", "key": "A"}, {"objectName": "gone", "key": "B"}]},
                {"secretName": "pair", "type": "kubernetes.io/tls", "data": [{"objectName": "tls", "key": "tls.crt"}, {"objectName": "tls", "key": "tls.key"}]},
            ],
        })],
    );
    let names: Vec<&str> = all.syncs.iter().map(VaultSecretSync::target_name).collect();
    assert_eq!(names, ["plain", "pair"], "{notes}");
    assert_eq!(all.syncs[1].spec.secret_type(), &SecretType::Tls);
    assert_eq!(all.vaults[0].spec.url, "https://shop.vault.azure.net");
    for word in [
        "key mounted is only mounted",
        "gone is none of the objects",
        "objects.array[2].objectNote",
        "serviceAccountName",
    ] {
        assert!(notes.contains(word), "{word}: {notes}");
    }
}

#[test]
fn what_convert_does_not_know_is_named() {
    let (all, notes) = converted("v1", "Secret", &[json!({}), json!({"type": "Opaque"})]);
    assert!(all.syncs.is_empty());
    assert_eq!(notes.lines().count(), 2, "{notes}");
    let all = convert(vec![json!("text"), json!({"kind": "ExternalSecret"})]);
    assert_eq!(all.notes.len(), 2);
}

#[test]
fn two_objects_for_one_secret_are_told() {
    let spec = json!({"target": {"name": "same"}, "data": [{"secretKey": "A", "remoteRef": {"key": "a"}}]});
    let (_, notes) = converted("external-secrets.io/v1", "ExternalSecret", &[spec.clone(), spec]);
    assert!(notes.contains("Secret same is that of VaultSecretSync o0 too"), "{notes}");
}

#[test]
fn an_object_takes_over_where_that_is_asked() {
    let merge = json!({"target": {"creationPolicy": "Merge"}, "data": [{"secretKey": "A", "remoteRef": {"key": "a"}}]});
    let own = json!({"data": [{"secretKey": "A", "remoteRef": {"key": "a"}}]});
    let (all, _) = converted("external-secrets.io/v1", "ExternalSecret", &[own, merge]);
    let creation: Vec<Creation> = all.adopting().syncs.iter().map(|sync| sync.spec.target.creation).collect();
    assert_eq!(creation, [Creation::Adopt, Creation::Merge]);
}

#[test]
fn the_examples_of_the_peers_are_converted_whole() {
    for (text, syncs, vaults, shared) in [
        (include_str!("../../tests/golden/convert/external-secrets.yaml"), 4, 1, 1),
        (include_str!("../../tests/golden/convert/akv2k8s.yaml"), 4, 0, 1),
        (include_str!("../../tests/golden/convert/csi-driver.yaml"), 2, 1, 0),
    ] {
        let all = convert(objects(text).unwrap());
        assert_eq!((all.syncs.len(), all.vaults.len(), all.cluster_vaults.len()), (syncs, vaults, shared));
        let printed = all.to_yaml().unwrap();
        assert_eq!(objects(&printed).unwrap().len(), syncs + vaults + shared, "{printed}");
        // All notes stand on one line each and end as sentences do.
        for note in &all.notes {
            let text = note.to_string();
            assert!(!text.contains('\n') && text.ends_with('.'), "{text}");
        }
    }
}
