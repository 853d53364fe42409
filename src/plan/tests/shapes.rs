//! Certificates, keys, what is found by name, and templates: what a user gets of them.

use super::super::find::Listing;
use super::*;
use crate::api::{
    CertificatePart, CertificateRef, Chain, Characters, DataFrom, DataItem, Decode, Encryption, FindSpec,
    From, KeyFormat, KeyRef, PasswordRef, RenameStep, SecretRef, Store, TlsSpec,
};
use crate::vault::{ObjectName, Why};
use std::collections::HashSet;

const ROOT_FIRST: &str = include_str!("../../../tests/certificates/root-first.pem");
const LEAF_ALONE: &str = concat!(
    include_str!("../../../tests/certificates/leaf-key.pem"),
    include_str!("../../../tests/certificates/leaf.pem")
);
const NO_KEY: &str = concat!(
    include_str!("../../../tests/certificates/leaf.pem"),
    include_str!("../../../tests/certificates/intermediate.pem")
);
const OTHER: &str = include_str!("../../../tests/certificates/P-256.pem");

fn tls() -> Scene {
    let mut scene = Scene::new(Vec::new(), Vec::new());
    let (certificate, chain) = ("shop-tls".to_owned(), Chain::default());
    scene.object.spec.tls = Some(Box::new(TlsSpec { certificate, chain, ca_key: Some("ca.crt".to_owned()) }));
    scene.answers = vec![read("v1", ROOT_FIRST)];
    scene
}

fn of_certificate(key: &str, name: &str, part: CertificatePart, store: Option<Store>) -> DataItem {
    let certificate = CertificateRef { name: name.to_owned(), version: None, part, store };
    let from = From { certificate: Some(Box::new(certificate)), ..From::default() };
    DataItem { key: key.to_owned(), from, vault_ref: None, on_missing: OnMissing::Keep, publish: true }
}

fn created(scene: &mut Scene) -> BTreeMap<String, String> {
    match scene.step() {
        Step::Create(new) => {
            let text = |bytes: &KeyBytes| String::from_utf8_lossy(bytes.expose()).into_owned();
            new.data.iter().map(|(key, bytes)| (key.clone(), text(bytes))).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Ends a round in which nothing could be created.
fn held_up(scene: &mut Scene) -> (String, String) {
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    let (_, reason, message) = scene.ready();
    (reason, message)
}

/// Plays a change that the API server accepts, and ends the round.
fn accept(scene: &mut Scene, version: &str) -> Change {
    let change = match scene.step() {
        Step::Look => {
            let keys: Vec<String> = scene.keys().into_iter().map(str::to_owned).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let now = ours(scene, "1", &keys);
            scene.sees(Seen::Ours(now));
            scene.changes()
        }
        Step::Change(change) => change,
        other => panic!("{other:?}"),
    };
    let mut keys: Vec<String> = scene.keys().into_iter().map(str::to_owned).collect();
    keys.extend(change.set.keys().cloned());
    keys.retain(|key| !change.remove.contains(key));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let after = ours(scene, version, &keys);
    scene.sees(changed(after));
    scene.settle();
    change
}

#[test]
fn one_line_makes_a_tls_secret_with_the_chain_in_order_and_the_ca_beside_it() {
    let mut scene = tls();
    let data = created(&mut scene);
    assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    let (leaf, intermediate, root) = (
        include_str!("../../../tests/certificates/leaf.pem"),
        include_str!("../../../tests/certificates/intermediate.pem"),
        include_str!("../../../tests/certificates/root.pem"),
    );
    assert_eq!(data["tls.crt"], format!("{leaf}{intermediate}"));
    assert_eq!(
        (data["ca.crt"].as_str(), data["tls.key"].starts_with("-----BEGIN PRIVATE KEY-----\n")),
        (root, true)
    );
    scene.create();
    assert_eq!((scene.ready().0.as_str(), scene.states()), ("True", vec!["Synced"]));
    assert_eq!(*scene.object.spec.secret_type(), SecretType::Tls);
}

#[test]
fn a_renewed_certificate_changes_certificate_and_key_in_one_write() {
    let mut scene = tls();
    scene.object.spec.tls.as_mut().unwrap().ca_key = None;
    scene.create();
    scene.says_nothing_new();
    scene.answers = vec![read("v2", OTHER)];
    let change = accept(&mut scene, "2");
    assert_eq!(names(&change), ["tls.crt", "tls.key"]);
    scene.says_nothing_new();
}

#[test]
fn a_certificate_pointed_at_as_a_plain_secret_is_told_as_that_with_the_line_to_write() {
    for (crt, tls_key) in [(ROOT_FIRST, ROOT_FIRST), (ROOT_FIRST, "key"), ("crt", ROOT_FIRST)] {
        let mut scene = Scene::new(vec![key("tls.crt", "shop-tls"), key("tls.key", "other")], Vec::new());
        scene.object.spec.target.type_ = Some(SecretType::Tls);
        scene.answers = vec![read("v1", crt), read("v1", tls_key)];
        let (reason, message) = held_up(&mut scene);
        assert_eq!(reason, "MissingKey");
        assert!(message.contains("spec.tls: {certificate: "), "{message}");
    }
    // A plain certificate and its key, each in a secret of its own, are as they should be.
    let mut scene = Scene::new(vec![key("tls.crt", "crt"), key("tls.key", "key")], Vec::new());
    scene.object.spec.target.type_ = Some(SecretType::Tls);
    let pem = |name: &str| match name {
        "crt" => include_str!("../../../tests/certificates/leaf.pem"),
        _ => include_str!("../../../tests/certificates/leaf-key.pem"),
    };
    scene.answers = vec![read("v1", pem("crt")), read("v1", pem("key"))];
    assert_eq!(created(&mut scene).len(), 2);
}

#[test]
fn a_key_that_is_not_exportable_is_told_and_the_public_part_is_given() {
    let mut scene = tls();
    scene.answers = vec![read("v1", NO_KEY)];
    let (_, message) = held_up(&mut scene);
    assert!(
        message.contains("certificate shop-tls (key tls.crt and 2 more): the vault gives no private key"),
        "{message}"
    );
    let mut scene =
        Scene::new(vec![of_certificate("chain.pem", "shop-tls", CertificatePart::Full, None)], Vec::new());
    scene.answers = vec![read("v1", NO_KEY)];
    assert_eq!(created(&mut scene)["chain.pem"], NO_KEY);
}

#[test]
fn a_chain_without_its_issuer_is_published_with_a_warning_that_stands() {
    let mut scene = tls();
    scene.object.spec.tls.as_mut().unwrap().ca_key = None;
    scene.answers = vec![read("v1", LEAF_ALONE)];
    scene.create();
    assert_eq!((scene.ready().0.as_str(), scene.states()), ("True", vec!["IncompleteChain"]));
    scene.says_nothing_new();
    assert_eq!(scene.states(), ["IncompleteChain"]);
    scene.answers = vec![read("v2", ROOT_FIRST)];
    accept(&mut scene, "2");
    assert_eq!(scene.states(), ["Synced"]);
}

#[test]
fn a_key_store_is_made_anew_when_the_certificate_or_its_password_changes_and_only_then() {
    let store = |encryption| Store {
        password: PasswordRef { secret: "a-password".to_owned() },
        alias: None,
        encryption,
    };
    let mut scene = Scene::new(
        vec![
            of_certificate("store.p12", "shop-tls", CertificatePart::Pkcs12, Some(store(Encryption::Legacy))),
            of_certificate(
                "trust.p12",
                "shop-tls",
                CertificatePart::TrustStore,
                Some(store(Encryption::Legacy)),
            ),
        ],
        Vec::new(),
    );
    scene.answers = vec![read("v1", ROOT_FIRST), read("v1", "changeit")];
    let first = created(&mut scene);
    scene.create();
    scene.says_nothing_new();
    // Read once more, as every source is once a day: the same bytes.
    scene.answers = vec![read("v1", ROOT_FIRST), read("v1", "changeit")];
    let again = scene.changes();
    assert_eq!(
        (&text(&again, "store.p12"), &text(&again, "trust.p12")),
        (&first["store.p12"], &first["trust.p12"])
    );
    let after = ours(&scene, "1", &["store.p12", "trust.p12"]);
    scene.sees(changed(after));
    scene.settle();
    // Another password: the certificate is needed too.
    scene.answers = vec![Answer::Unchanged, read("v2", "another")];
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", ROOT_FIRST), read("v2", "another")];
    let change = accept(&mut scene, "2");
    assert_ne!(text(&change, "store.p12"), first["store.p12"]);
    scene.answers = vec![Answer::Unchanged, read("v3", "line break\n")];
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", ROOT_FIRST), read("v3", "line break\n")];
    scene.settle();
    assert_eq!(scene.ready().1, "InvalidPassword");
}

#[test]
fn the_public_part_of_a_key_comes_as_pem_or_as_jwk() {
    let jwk = r#"{"kty":"EC","kid":"https://shop.vault.azure.net/keys/k/1","crv":"P-256","x":"AA","y":"AQ"}"#;
    let of_key = |key: &str, format| {
        let key_ref = KeyRef { name: "shop-signing".to_owned(), version: None, format };
        let from = From { key: Some(Box::new(key_ref)), ..From::default() };
        DataItem { key: key.to_owned(), from, vault_ref: None, on_missing: OnMissing::Keep, publish: true }
    };
    let mut scene = Scene::new(
        vec![of_key("pub.pem", KeyFormat::Pem), of_key("pub.jwk", KeyFormat::Jwk), key("A", "shop-signing")],
        Vec::new(),
    );
    assert_eq!(scene.sources().len(), 2, "a key and a secret of one name are two sources");
    scene.answers = vec![read("v1", jwk), read("v1", "a")];
    let data = created(&mut scene);
    assert!(
        data["pub.pem"].starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAAAA"),
        "{data:?}"
    );
    assert_eq!(data["pub.jwk"], jwk);
    scene.create();
    let kinds: Vec<String> = scene.status().entries.iter().map(|entry| format!("{:?}", entry.kind)).collect();
    assert_eq!(kinds, ["Key", "Secret"]);
    scene.answers = vec![failed(Failure::KeyNotFound), Answer::Unchanged];
    scene.settle();
    assert!(
        scene.ready().2.contains("key shop-signing (key pub.pem and 1 more): The vault has no key"),
        "{:?}",
        scene.ready()
    );
}

fn find(name: &str) -> DataFrom {
    let find = FindSpec { name: Some(name.to_owned()), tags: BTreeMap::new() };
    let rename =
        RenameStep { match_: None, to: None, case: None, characters: Some(Characters::EnvironmentVariable) };
    DataFrom {
        secret: None,
        find: Some(Box::new(find)),
        vault_ref: None,
        rename: vec![rename],
        on_missing: OnMissing::Keep,
        publish: true,
    }
}

fn found(scene: &mut Scene, names: &[&str]) {
    let names = names.iter().map(|name| ObjectName::parse(name).unwrap()).collect();
    scene.found = vec![FoundNames { names: vec![names], listing: Listing::Whole, lost: HashSet::new() }];
}

fn finder() -> Scene {
    let mut scene = Scene::new(Vec::new(), vec![find("shop-*")]);
    found(&mut scene, &["shop-a", "shop-b"]);
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    assert_eq!(
        created(&mut scene),
        [("shop_a", "a"), ("shop_b", "b")].map(|(key, text)| (key.to_owned(), text.to_owned())).into()
    );
    scene.create();
    assert_eq!((scene.ready().0.as_str(), scene.status().matched), ("True", Some(2)));
    scene.says_nothing_new();
    scene
}

#[test]
fn a_secret_that_comes_is_read_by_itself_and_one_that_went_leaves_when_a_get_says_so() {
    let mut scene = finder();
    found(&mut scene, &["shop-a", "shop-b", "shop-c"]);
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, Answer::Pending];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
    scene.answers[2] = read("v1", "c");
    assert_eq!(names(&accept(&mut scene, "2")), ["shop_c"]);
    assert_eq!(scene.status().matched, Some(3));
    // It is not listed any more: that alone takes nothing away.
    scene.answers = vec![Answer::Unchanged, Answer::Pending, Answer::Unchanged];
    assert_eq!(scene.verdict().status, None);
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound), Answer::Unchanged];
    let change = accept(&mut scene, "3");
    assert_eq!(change.remove, ["shop_b".to_owned()].into());
    assert!(change.set.is_empty());
    assert_eq!(scene.ready().0, "True");
    // What the list has and `find` does not want any more leaves at once.
    found(&mut scene, &["shop-a"]);
    scene.answers = vec![Answer::Unchanged];
    assert_eq!(accept(&mut scene, "4").remove, ["shop_c".to_owned()].into());
}

#[test]
fn a_found_secret_that_fails_takes_nothing_with_it_and_is_told_by_name_if_it_was_delivered() {
    let mut scene = finder();
    found(&mut scene, &["shop-a", "shop-b", "shop-off", "shop-locked"]);
    scene.answers = vec![
        read("v2", "a2"),
        failed(Failure::SecretDisabled),
        failed(Failure::SecretDisabled),
        failed(Failure::MissingRole(Box::default())),
    ];
    let change = accept(&mut scene, "2");
    assert_eq!((names(&change), change.remove.len()), (vec!["shop_a"], 0));
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "SecretDisabled");
    assert!(message.contains("secret shop-b") && message.contains("secret shop-locked"), "{message}");
    assert!(!message.contains("shop-off"), "{message}");
    assert_eq!(scene.states(), ["Synced", "SecretDisabled", "SecretDisabled", "MissingRole"]);
    // A name that leaves meanwhile still leaves: of what fails the key is known.
    found(&mut scene, &["shop-b", "shop-off", "shop-locked"]);
    scene.answers = vec![
        failed(Failure::SecretDisabled),
        failed(Failure::SecretDisabled),
        failed(Failure::MissingRole(Box::default())),
    ];
    assert_eq!(accept(&mut scene, "3").remove, ["shop_a".to_owned()].into());
}

#[test]
fn a_restarted_process_waits_for_no_list_and_takes_nothing_away_without_one() {
    let mut scene = finder();
    scene.kept = Kept::default();
    let before = ["shop-a", "shop-b"].map(|name| ObjectName::parse(name).unwrap()).to_vec();
    scene.found =
        vec![FoundNames { names: vec![before.clone()], listing: Listing::Awaited, lost: HashSet::new() }];
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    scene.says_nothing_new();
    // No list to be had: said, and nothing goes.
    scene.found = vec![FoundNames {
        names: vec![before],
        listing: Listing::Failed(Why::Forbidden),
        lost: HashSet::new(),
    }];
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!((reason.as_str(), scene.keys().len()), ("ListFailed", 2), "{message}");
    assert!(message.contains("may not list"), "{message}");
}

#[test]
fn nothing_is_created_before_the_list_is_read_nor_where_nothing_is_found() {
    let mut scene = Scene::new(vec![key("A", "one")], vec![find("shop-*")]);
    scene.found =
        vec![FoundNames { names: vec![Vec::new()], listing: Listing::Awaited, lost: HashSet::new() }];
    scene.answers = vec![read("v1", "a")];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
    found(&mut scene, &[]);
    scene.answers = vec![read("v1", "a")];
    let (reason, message) = held_up(&mut scene);
    assert_eq!(reason, "NothingMatched");
    assert!(message.contains("spec.dataFrom[0].find finds no secret"), "{message}");
    let many: Vec<String> = (0..300).map(|index| format!("shop-{index}")).collect();
    found(&mut scene, &many.iter().map(String::as_str).collect::<Vec<_>>());
    scene.settle();
    assert_eq!(scene.ready().1, "TooManyMatches");
}

#[test]
fn an_edit_that_looks_for_names_is_not_called_done_before_the_list_is_read() {
    let mut scene = synced();
    scene.object.spec.data_from.push(find("shop-*"));
    scene.object.metadata.generation = Some(2);
    scene.found =
        vec![FoundNames { names: vec![Vec::new()], listing: Listing::Awaited, lost: HashSet::new() }];
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Waiting, None));
}

fn template(scene: &mut Scene, key: &str, text: &str) {
    scene.object.spec.target.template.insert(key.to_owned(), text.to_owned());
}

fn joined() -> Scene {
    let mut items = vec![key("user", "user"), key("password", "password"), key("other", "other")];
    items[0].publish = false;
    items[1].publish = false;
    let mut scene = Scene::new(items, Vec::new());
    template(&mut scene, "DATABASE_URL", "postgres://{{user|urlencode}}:{{password|urlencode}}@db/shop");
    scene.answers = vec![read("v1", "shop"), read("v1", "p?ss@w#rd%{}"), read("v1", "x")];
    let data = created(&mut scene);
    assert_eq!(data["DATABASE_URL"], "postgres://shop:p%3Fss%40w%23rd%25%7B%7D@db/shop");
    assert_eq!(data.len(), 2, "what is not published is not in the Secret");
    scene.create();
    assert_eq!((scene.ready().0.as_str(), scene.states()), ("True", vec!["Synced"; 3]));
    scene.says_nothing_new();
    scene
}

#[test]
fn a_template_is_rendered_anew_when_one_of_its_inputs_changes_and_asks_for_the_others() {
    let mut scene = joined();
    scene.answers = vec![Answer::Unchanged, read("v2", "new"), Answer::Unchanged];
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", "shop"), read("v2", "new"), Answer::Unchanged];
    let change = accept(&mut scene, "2");
    assert_eq!(
        (names(&change), text(&change, "DATABASE_URL")),
        (vec!["DATABASE_URL"], "postgres://shop:new@db/shop".to_owned())
    );
    // A value that no template uses renders none.
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, read("v2", "y")];
    assert_eq!(names(&accept(&mut scene, "3")), ["other"]);
    // Another text is another template.
    template(&mut scene, "DATABASE_URL", "{{user}}");
    scene.answers = vec![Answer::Unchanged; 3];
    assert_eq!(scene.demands(), [0]);
}

#[test]
fn a_missing_input_fails_its_template_which_keeps_its_value_while_the_others_are_written() {
    let mut scene = joined();
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound), read("v2", "y")];
    assert_eq!(names(&accept(&mut scene, "2")), ["other"]);
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SecretNotFound"));
    assert!(message.contains("secret password (key password)"), "{message}");
    assert!(scene.keys().contains(&"DATABASE_URL"));
    // An input that may be missing is one that the template has to do without.
    let mut scene = joined();
    scene.object.spec.data[1].on_missing = OnMissing::Remove;
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound), Answer::Unchanged];
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", "shop"), failed(Failure::SecretNotFound), Answer::Unchanged];
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "TemplateFailed");
    assert!(
        message.contains(
            "key DATABASE_URL of target.template cannot be rendered: Line 1: there is no value password."
        ),
        "{message}"
    );
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound), Answer::Unchanged];
    scene.says_nothing_new();
    template(&mut scene, "DATABASE_URL", "{{user}}:{{password|default(\"none\")}}");
    scene.answers = vec![read("v1", "shop"), failed(Failure::SecretNotFound), Answer::Unchanged];
    assert_eq!(text(&accept(&mut scene, "2"), "DATABASE_URL"), "shop:none");
}

#[test]
fn a_template_that_cannot_be_rendered_holds_up_the_creation_and_is_rendered_once() {
    let mut scene = Scene::new(vec![key("a", "one")], Vec::new());
    template(&mut scene, "out", "{{ a | b64decode }}");
    scene.answers = vec![read("v1", "not base64!")];
    let (reason, message) = held_up(&mut scene);
    assert_eq!(reason, "TemplateFailed");
    assert!(message.contains("key out of target.template") && !message.contains("not base64"), "{message}");
    scene.says_nothing_new();
}

#[test]
fn a_template_over_members_of_an_object_needs_all_of_them() {
    let mut scene = Scene::new(vec![key("a", "one")], vec![object_source("conf")]);
    scene.object.spec.data_from[0].publish = false;
    template(&mut scene, "out", "{{ a }}-{{ data[\"b.c\"] }}");
    scene.answers = vec![read("v1", "x"), read("v1", r#"{"b.c": "y", "a": "shadowed"}"#)];
    assert_eq!(
        created(&mut scene),
        [("a", "x"), ("out", "x-y")].map(|(key, text)| (key.to_owned(), text.to_owned())).into()
    );
    scene.create();
    scene.says_nothing_new();
    scene.answers = vec![read("v2", "z"), Answer::Unchanged];
    assert_eq!(scene.demands(), [1]);
    scene.answers = vec![read("v2", "z"), read("v1", r#"{"b.c": "y"}"#)];
    let change = accept(&mut scene, "2");
    assert_eq!((text(&change, "out"), text(&change, "a")), ("z-y".to_owned(), "z".to_owned()));
}

#[test]
fn a_key_that_is_published_no_longer_leaves_the_secret_without_its_value() {
    let mut scene = synced();
    scene.object.spec.data[1].publish = false;
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![Answer::Unchanged; 2];
    let change = accept(&mut scene, "2");
    assert_eq!(change.remove, ["B".to_owned()].into());
    assert!(change.set.is_empty());
    assert_eq!(scene.ready().0, "True");
    scene.says_nothing_new();
}

#[test]
fn a_slip_in_rename_takes_no_key_away() {
    let objects = vec![object_source("conf")];
    let mut scene = Scene::new(vec![key("OTHER", "one")], objects);
    scene.answers = vec![read("v1", "x"), read("v1", r#"{"db": "1", "url": "2"}"#)];
    scene.create();
    let step = |to: &str| RenameStep {
        match_: Some("^.*$".to_owned()),
        to: Some(to.to_owned()),
        case: None,
        characters: None,
    };
    for (to, reason) in [("a b", "InvalidKey"), ("same", "DuplicateKey")] {
        scene.object.spec.data_from[0].rename = vec![step(to)];
        scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
        assert_eq!(scene.demands(), [1]);
        scene.answers = vec![Answer::Unchanged, read("v1", r#"{"db": "1", "url": "2"}"#)];
        scene.settle();
        assert_eq!((scene.ready().1.as_str(), scene.keys()), (reason, vec!["OTHER", "db", "url"]));
    }
}

#[test]
fn members_of_json_that_cannot_be_keys_are_named_as_long_as_they_are_there() {
    let mut scene = Scene::new(Vec::new(), vec![object_source("conf")]);
    scene.answers = vec![read("v1", r#"{"ConnectionStrings:Default": "x", "OK": "1"}"#)];
    scene.create();
    let told = |scene: &Scene| scene.ready().2.contains(r#"["ConnectionStrings:Default"]"#);
    assert!(told(&scene), "{:?}", scene.ready());
    scene.says_nothing_new();
    assert!(told(&scene), "{:?}", scene.ready());
}

#[test]
fn a_value_in_the_wrong_format_is_told_with_its_line() {
    let mut scene = Scene::new(vec![key("A", "one")], vec![object_source("conf")]);
    scene.object.spec.data_from[0].secret.as_mut().unwrap().format = crate::api::Format::Dotenv;
    scene.answers = vec![read("v1", "a"), read("v1", "A=1\nB=2\nno variable\n")];
    let (reason, message) = held_up(&mut scene);
    assert_eq!(reason, "InvalidFormat");
    assert!(message.contains("from line 3 on"), "{message}");
    scene.says_nothing_new();
}

#[test]
fn two_uses_of_one_secret_in_both_kinds_are_one_source() {
    let secret =
        SecretRef { name: "SHOP-TLS".to_owned(), version: None, property: None, decode: Decode::None };
    let from = From { secret: Some(secret), ..From::default() };
    let plain = DataItem {
        key: "whole".to_owned(),
        from,
        vault_ref: None,
        on_missing: OnMissing::Keep,
        publish: true,
    };
    let mut scene =
        Scene::new(vec![plain, of_certificate("leaf", "shop-tls", CertificatePart::Leaf, None)], Vec::new());
    assert_eq!(scene.sources().len(), 1);
    scene.answers = vec![read("v1", ROOT_FIRST)];
    assert_eq!(created(&mut scene)["whole"], ROOT_FIRST);
}

#[test]
fn a_renewed_certificate_without_its_key_changes_neither_certificate_nor_key() {
    let mut scene = tls();
    scene.object.spec.tls.as_mut().unwrap().ca_key = None;
    scene.create();
    scene.answers = vec![read("v2", NO_KEY)];
    scene.settle();
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NoPrivateKey"), "{message}");
    scene.says_nothing_new();
    scene.answers = vec![read("v3", OTHER)];
    assert_eq!(names(&accept(&mut scene, "2")), ["tls.crt", "tls.key"]);
}

#[test]
fn what_data_names_beats_what_is_found_and_both_come_to_rest() {
    let mut scene = Scene::new(vec![key("shop_a", "other")], vec![find("shop-*")]);
    found(&mut scene, &["shop-a", "shop-b"]);
    scene.answers = vec![read("v1", "named"), read("v1", "a"), read("v1", "b")];
    let data = created(&mut scene);
    assert_eq!((data["shop_a"].as_str(), data["shop_b"].as_str()), ("named", "b"));
    scene.create();
    assert_eq!(scene.ready().0, "True");
    scene.says_nothing_new();
}

#[test]
fn a_certificate_that_is_named_is_not_found_by_its_name_after_a_restart() {
    let mut scene = finder();
    let finds = super::super::finds(&scene.object.spec, &scene.object.spec.vault_ref);
    let before = scene.found_before(&finds);
    assert_eq!(before.names[0].iter().map(ObjectName::as_str).collect::<Vec<_>>(), ["shop-a", "shop-b"]);
    // An entry that is only named, or that turned out to be a certificate, was not found.
    let status = scene.object.status.as_mut().unwrap();
    status.entries[0].found_by.clear();
    status.entries[1].managed = true;
    assert_eq!(scene.found_before(&finds).names, [vec![]]);
}

#[test]
fn two_found_names_that_come_to_one_key_leave_it_as_it_is() {
    let step = |match_: &str| RenameStep {
        match_: Some(match_.to_owned()),
        to: Some(String::new()),
        case: None,
        characters: None,
    };
    let mut scene = Scene::new(Vec::new(), vec![find("*")]);
    scene.object.spec.data_from[0].rename = vec![step("^(shop|web)-")];
    found(&mut scene, &["shop-db", "shop-x"]);
    scene.answers = vec![read("v1", "one"), read("v1", "x")];
    scene.create();
    found(&mut scene, &["shop-db", "shop-x", "web-db"]);
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, read("v1", "two")];
    scene.settle();
    assert_eq!((scene.ready().1.as_str(), scene.keys()), ("DuplicateKey", vec!["db", "x"]));
    scene.says_nothing_new();
    scene.says_nothing_new();
    // One that takes the place of a member of an object is seen beside it.
    let mut scene = Scene::new(Vec::new(), vec![object_source("conf"), find("shop-*")]);
    found(&mut scene, &["shop-a"]);
    scene.answers = vec![read("v1", r#"{"shop_b": "of the object"}"#), read("v1", "a")];
    scene.create();
    found(&mut scene, &["shop-a", "shop-b"]);
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, read("v1", "b")];
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", r#"{"shop_b": "of the object"}"#), Answer::Unchanged, read("v1", "b")];
    scene.settle();
    assert_eq!(scene.ready().1, "DuplicateKey");
}

#[test]
fn a_disabled_secret_that_was_never_read_is_none_that_a_template_needs() {
    let mut scene = Scene::new(Vec::new(), vec![find("shop-*")]);
    scene.object.spec.data_from[0].publish = false;
    template(&mut scene, "all", "{% for name in data %}{{ name }}={{ data[name] }};{% endfor %}");
    found(&mut scene, &["shop-a", "shop-off"]);
    scene.answers = vec![read("v1", "a"), failed(Failure::SecretDisabled)];
    assert_eq!(created(&mut scene)["all"], "shop_a=a;");
    scene.create();
    assert_eq!(scene.ready().0, "True", "{:?}", scene.ready());
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretDisabled)];
    scene.says_nothing_new();
    // One that was read keeps the template as it is, and is told.
    scene.answers = vec![failed(Failure::SecretDisabled), failed(Failure::SecretDisabled)];
    scene.settle();
    assert_eq!(scene.ready().1, "SecretDisabled");
    scene.answers = vec![failed(Failure::SecretDisabled), failed(Failure::SecretDisabled)];
    scene.says_nothing_new();
}

#[test]
fn a_template_whose_input_was_never_read_holds_up_the_creation() {
    let mut scene = Scene::new(vec![key("a", "one"), key("b", "two")], Vec::new());
    scene.object.spec.data[1].on_missing = OnMissing::Remove;
    template(&mut scene, "out", "{{ a }}{{ b }}");
    scene.answers = vec![read("v1", "x"), failed(Failure::MissingRole(Box::default()))];
    let (reason, message) = held_up(&mut scene);
    assert_eq!(reason, "TemplateFailed");
    assert!(message.contains("secret two (key b)"), "{message}");
}

#[test]
fn a_found_secret_that_fails_while_names_change_keeps_what_it_was() {
    let mut scene = finder();
    scene.object.spec.data_from[0].rename.clear();
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretDisabled)];
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", "a"), failed(Failure::SecretDisabled)];
    let change = accept(&mut scene, "2");
    assert_eq!((names(&change), change.remove.len()), (vec!["shop-a"], 0));
}

#[test]
fn what_is_found_and_published_no_longer_leaves_the_secret() {
    let mut scene = finder();
    scene.object.spec.data.push(key("A", "one"));
    scene.object.spec.data_from[0].publish = false;
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![read("v1", "x"), Answer::Unchanged, Answer::Unchanged];
    let change = accept(&mut scene, "2");
    assert_eq!(change.remove, ["shop_a".to_owned(), "shop_b".to_owned()].into());
    assert_eq!(scene.ready().0, "True", "{:?}", scene.ready());
    scene.says_nothing_new();
}

#[test]
fn an_edit_during_an_outage_is_not_called_done_though_the_first_answer_moved_on() {
    let mut scene = finder();
    scene.object.spec.data_from = vec![find("web-*")];
    scene.object.metadata.generation = Some(2);
    scene.found =
        vec![FoundNames { names: vec![Vec::new()], listing: Listing::Awaited, lost: HashSet::new() }];
    (scene.answers, scene.state) = (Vec::new(), outage());
    scene.settle();
    assert_eq!(scene.ready().0, "False");
    scene.state = HealthState::Working;
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, scene.ready().0.as_str()), (Outcome::Waiting, "False"));
}

#[test]
fn that_nothing_is_found_is_not_unsaid_by_a_restart() {
    let mut scene = Scene::new(vec![key("A", "one")], vec![find("shop-*")]);
    found(&mut scene, &["shop-a"]);
    scene.answers = vec![read("v1", "x"), read("v1", "a")];
    scene.create();
    found(&mut scene, &[]);
    scene.answers = vec![Answer::Unchanged];
    accept(&mut scene, "2");
    assert_eq!(scene.ready().1, "NothingMatched");
    scene.kept = Kept::default();
    scene.found =
        vec![FoundNames { names: vec![Vec::new()], listing: Listing::Awaited, lost: HashSet::new() }];
    scene.answers = vec![Answer::Unchanged];
    scene.settle();
    assert_eq!(scene.ready().1, "NothingMatched");
}

#[test]
fn a_template_of_which_every_input_is_missing_is_written_once() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    for item in &mut scene.object.spec.data {
        item.on_missing = OnMissing::Remove;
    }
    let text = "{{ A | default('none') }}|{{ B | default('none') }}".to_owned();
    scene.object.spec.target.template.insert("T".to_owned(), text);
    scene.answers = vec![failed(Failure::SecretNotFound), failed(Failure::SecretNotFound)];
    scene.create();
    scene.answers = vec![failed(Failure::SecretNotFound), failed(Failure::SecretNotFound)];
    scene.says_nothing_new();
}
