//! The chart, by the real Helm: what it installs works, what it grants is what is needed, what it refuses has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::{CommandFactory as _, Parser as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, RoleBinding};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, CustomResourceExt as _, ResourceExt as _};
use serde_json::json;
use vaultsync::api::{SECRET_ANNOTATION_PREFIX, SecretType, VaultSecretSync};
use vaultsync::cli::Cli;

use crate::program::{Program, authority, binary};
use support::scene::{OperatorScene, data};
use support::shared::grant;
use support::tools::{project, tool};
use support::{Account, Mounted, Namespace, Seen, cluster, eventually, kubelet, manifests};

fn folder() -> PathBuf {
    project().join("charts/vaultsync")
}

/// Helm with these arguments, as the admin of the run's cluster.
fn helm(arguments: &[&str]) -> Output {
    let mut command = Command::new(tool("helm").expect("helm"));
    command.args(arguments).env("KUBECONFIG", cluster().kubeconfig_for_admin()).current_dir(project());
    command.output().expect("helm starts")
}

/// Its output; a failure is a panic with its words.
#[track_caller]
fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn example_values() -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(folder().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(!found.is_empty() && found.iter().all(|path| path.to_string_lossy().ends_with("-values.yaml")));
    found
}

fn rendered_with(values: &Path) -> Vec<DynamicObject> {
    let values = values.to_str().unwrap();
    let text =
        done(helm(&["template", "vaultsync", "charts/vaultsync", "-n", "vaultsync-system", "-f", values]));
    manifests::parse(&text).unwrap()
}

fn of_kind<'a>(objects: &'a [DynamicObject], kind: &str) -> &'a DynamicObject {
    let mut found = objects.iter().filter(|object| manifests::kind(object) == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}

/// The container's environment as it stands in a rendered Deployment.
fn environment(objects: &[DynamicObject]) -> BTreeMap<String, String> {
    let deployment = kubelet::typed(of_kind(objects, "Deployment")).unwrap();
    let container = &deployment.spec.unwrap().template.spec.unwrap().containers[0];
    let variables = container.env.clone().unwrap();
    variables.into_iter().map(|variable| (variable.name, variable.value.unwrap_or_default())).collect()
}

#[tokio::test]
async fn what_helm_installs_syncs_secrets_and_its_uninstall_leaves_them() {
    let scene = OperatorScene::without_operator().await;
    let cluster = scene.namespace.cluster();
    let system = Namespace::new().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let values = json!({
        // Cluster-wide, and there already.
        "crds": {"enabled": false},
        "settings": {"watchNamespaces": [scene.namespace.name], "listen": format!("127.0.0.1:{port}")},
        "proxy": {"https": scene.emulator.proxy_url(), "noProxy": "127.0.0.1"},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": authority(cluster, &scene.emulator)}],
    });
    let file = cluster.processes.write(&format!("{}-values.json", system.name), &values.to_string()).unwrap();
    let release = format!("second-{}", system.name);
    let install = ["install", &release, "charts/vaultsync", "-n", &system.name, "-f", file.to_str().unwrap()];
    let notes = done(helm(&install));
    assert!(notes.contains("STATUS: deployed"), "{notes}");

    // As the kubelet would: from the Deployment that the API server has, under its ServiceAccount.
    let deployments: Api<Deployment> = system.api(&cluster.admin());
    let deployment = deployments.list(&ListParams::default()).await.unwrap().items.pop().unwrap();
    let pod = deployment.spec.clone().unwrap().template.spec.unwrap();
    let account = Account::new(&system.name, pod.service_account_name.as_deref().unwrap());
    let mut command = cluster.start_of(&deployment).await.unwrap().command(binary());
    assert_eq!(command.get_args().collect::<Vec<_>>(), ["run"]);
    command.env("KUBECONFIG", cluster.kubeconfig_for(&account).await);
    let program = Program::start(cluster, &mut command);

    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("DB", "one")]).await;
    scene.vault.set("db", "two");
    scene.secret_is("shop", &[("DB", "two")]).await;

    // The kubelet's probes find what they ask for.
    let container = &pod.containers[0];
    let probed = container.ports.as_ref().unwrap()[0].container_port;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for probe in [&container.liveness_probe, &container.readiness_probe] {
        let path = probe.as_ref().unwrap().http_get.as_ref().unwrap().path.clone().unwrap();
        let answer = http.get(format!("http://127.0.0.1:{probed}{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
    }

    // Its own policies fence it too, not only those of the run's first release.
    let client = cluster.client_as(&account).await;
    let unmarked: Secret = serde_json::from_value(json!({"metadata": {"name": "unmarked"}})).unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the second release's policy is in force", async || {
        match scene.namespace.api::<Secret>(&client).create(&dry_run, &unmarked).await {
            Err(kube::Error::Api(status)) if status.message.contains(&release) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "allowed"))),
        }
    })
    .await;
    // Rights end with the list of namespaces.
    let elsewhere: Api<VaultSecretSync> = system.api(&client);
    let refused = elsewhere.list(&ListParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));

    let (status, printed) = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
    done(helm(&["uninstall", &release, "-n", &system.name]));
    assert!(deployments.list(&ListParams::default()).await.unwrap().items.is_empty());
    let bindings: Api<RoleBinding> = scene.api();
    assert!(bindings.list(&ListParams::default()).await.unwrap().items.is_empty());
    scene.synced("shop").await;
    scene.secret_is("shop", &[("DB", "two")]).await;
}

/// A server-side dry run of each object, the namespaced ones in a namespace that is there.
async fn accepted(client: &Client, namespace: &str, objects: Vec<DynamicObject>) {
    for mut object in objects {
        let types = object.types.clone().unwrap();
        let gvk = GroupVersionKind::try_from(&types).unwrap();
        let (resource, capabilities) = pinned_kind(client, &gvk).await.unwrap();
        let api: Api<DynamicObject> = if matches!(capabilities.scope, Scope::Namespaced) {
            object.metadata.namespace = Some(namespace.to_owned());
            Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        };
        let params = PatchParams { dry_run: true, ..PatchParams::apply("helm").force().validation_strict() };
        let name = object.name_any();
        let answer = api.patch(&name, &params, &Patch::Apply(&object)).await;
        answer.unwrap_or_else(|error| panic!("{} {name}: {error}", types.kind));
    }
}

#[tokio::test]
async fn every_example_of_values_is_clean_and_accepted_by_the_api_server() {
    let namespace = Namespace::new().await;
    let client = namespace.cluster().admin();
    done(helm(&["lint", "--strict", "charts/vaultsync"]));
    for values in example_values() {
        done(helm(&["lint", "--strict", "charts/vaultsync", "-f", values.to_str().unwrap()]));
        let objects = rendered_with(&values);
        let kinds: BTreeSet<&str> = objects.iter().map(manifests::kind).collect();
        assert!(kinds.contains("Deployment") && kinds.contains("ClusterRole"), "{kinds:?}");
        accepted(&client, &namespace.name, objects).await;
    }
}

#[test]
fn every_flag_is_a_value_of_the_chart_and_every_variable_a_flag() {
    let command = Cli::command();
    let flags: BTreeMap<String, _> = command
        .find_subcommand("run")
        .unwrap()
        .get_arguments()
        .filter_map(|flag| Some((flag.get_env()?.to_str()?.to_owned(), flag)))
        .collect();
    let ours = |name: &String| name.starts_with("VAULTSYNC_");
    let settings: BTreeSet<&String> = flags.keys().filter(|name| ours(name)).collect();

    let all = environment(&rendered_with(&folder().join("ci/all-values.yaml")));
    assert_eq!(all.keys().filter(|name| ours(name)).collect::<BTreeSet<_>>(), settings);
    // The rest of the environment belongs to libraries.
    for name in ["POD_NAMESPACE", "POD_NAME"] {
        assert!(all.contains_key(name) && flags.contains_key(name), "{name}");
    }
    let documented = fs::read_to_string(folder().join("values.yaml")).unwrap();
    let documented: BTreeSet<&str> = documented
        .lines()
        .filter_map(|line| line.trim().strip_prefix("# ")?.split_once(':').map(|(name, _)| name))
        .filter(|name| name.starts_with("VAULTSYNC_"))
        .collect();
    assert_eq!(documented, settings.iter().map(|name| name.as_str()).collect());

    // An example moves every value away from its default: a variable that stays belongs to no value.
    let plain = environment(cluster().rendered());
    let examples: Vec<_> =
        example_values().iter().map(|values| environment(&rendered_with(values))).collect();
    for name in settings {
        assert!(examples.iter().any(|all| all.get(name) != plain.get(name)), "{name} is set by a value");
    }
    // What the chart sets by itself is what the flag would be without it.
    // The policy and the Lease bear the name of the release.
    let by_itself = |name: &String| {
        ours(name) && !["VAULTSYNC_SECRETS_POLICY", "VAULTSYNC_LEASE_NAME"].contains(&name.as_str())
    };
    for (name, value) in plain.iter().filter(|(name, _)| by_itself(name)) {
        let default: Vec<_> = flags[name].get_default_values().iter().map(|value| value.to_str()).collect();
        assert_eq!(default, [Some(value.as_str())], "{name}");
    }
}

#[test]
fn every_value_the_chart_can_hand_over_is_one_the_operator_takes() {
    for values in example_values() {
        let environment = environment(&rendered_with(&values));
        let command = Cli::command();
        let flags = command.find_subcommand("run").unwrap().get_arguments();
        let given = flags.filter_map(|flag| {
            let value = environment.get(flag.get_env()?.to_str()?).filter(|value| !value.is_empty())?;
            Some(format!("--{}={value}", flag.get_long()?))
        });
        let arguments: Vec<String> =
            ["vaultsync", "run"].map(str::to_owned).into_iter().chain(given).collect();
        assert!(arguments.len() > 5, "{arguments:?}");
        Cli::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{}: {error}", values.display()));
    }
}

#[test]
fn the_fence_refuses_the_types_that_the_code_refuses_and_so_does_the_schema() {
    let policies = cluster().rendered().iter();
    let expressions: Vec<String> = policies
        .filter(|object| manifests::kind(object) == "ValidatingAdmissionPolicy")
        .flat_map(|object| object.data["spec"]["validations"].as_array().unwrap().clone())
        .map(|validation| validation["expression"].as_str().unwrap().to_owned())
        .filter(|expression| expression.contains("object.type"))
        .collect();
    let [of_types] = &expressions[..] else { panic!("one rule of types: {expressions:#?}") };
    let schema = serde_json::to_string(&VaultSecretSync::crd()).unwrap();
    let known = [SecretType::Tls, SecretType::DockerConfigJson, SecretType::BasicAuth, SecretType::SshAuth];
    let known: Vec<&str> = known.iter().map(SecretType::as_str).collect();
    let domain = SecretType::REFUSED_DOMAIN.replace('.', "[.]");
    let of_domain = format!("matches('^([^/]*[.])?{domain}/')");
    let list = |words: &[&str]| words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    for part in [of_domain, list(&known), list(&SecretType::REFUSED_PREFIXES)] {
        assert!(of_types.contains(&part) && schema.contains(&part), "{part}: {of_types}");
    }
}

fn pairs(rules: &[PolicyRule]) -> BTreeSet<(String, String)> {
    let mut pairs = BTreeSet::new();
    for rule in rules {
        for resource in rule.resources.iter().flatten() {
            pairs.extend(rule.verbs.iter().map(|verb| (verb.clone(), resource.clone())));
        }
    }
    pairs
}

#[tokio::test]
async fn the_role_grants_what_the_operator_uses_and_nothing_else() {
    let cluster = cluster();
    let mark = cluster.mark();
    let mut scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    // Everything there is to do: create, change, lose an entry, fail, recover, be repaired.
    scene.sync("shop", data(&[("DB", "db"), ("GONE", "gone")])).await;
    scene.ready("shop", "False", "SecretNotFound").await;
    scene.vault.set("gone", "here");
    scene.force("shop", "found").await;
    scene.synced("shop").await;
    scene.vault.set("db", "two");
    scene.force("shop", "changed").await;
    scene.secret_is("shop", &[("DB", "two"), ("GONE", "here")]).await;
    scene.edit_secret("shop", json!({"stringData": {"DB": "edited"}})).await;
    scene.secret_is("shop", &[("DB", "two"), ("GONE", "here")]).await;
    scene.vault_says("default", "True", "Connected").await;
    let shared = scene.share(json!([grant(&[&scene.namespace.name], &["db"])])).await;
    scene.sync("shared", shared.spec(&[("DB", "db")])).await;
    scene.synced("shared").await;
    shared.says("True", "Connected").await;
    eventually("events about shop", async || {
        let reasons = scene.event_reasons("shop").await;
        if reasons.len() > 1 { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;

    // A watch is in the log when it has ended.
    scene.stop().await;
    let operator = cluster.operator().user();
    // What has no namespace may also be of the operator of another test, which has the same rights.
    let concerned =
        |seen: &Seen| seen.namespace == scene.namespace.name || seen.resource.starts_with("clusterkeyvaults");
    let ours = || cluster.seen_since(mark, |seen| seen.user == operator && concerned(seen));
    eventually("all watches have ended", async || {
        let watches: BTreeSet<String> =
            ours().into_iter().filter(|seen| seen.verb == "watch").map(|seen| seen.resource).collect();
        if watches.len() == 3 { Ok(()) } else { Err(format!("{watches:?}")) }
    })
    .await;
    let (refused, answered): (Vec<_>, Vec<_>) = ours().into_iter().partition(|seen| seen.code == 403);
    assert!(refused.is_empty(), "{refused:?}");
    let used: BTreeSet<_> = answered.into_iter().map(|seen| (seen.verb, seen.resource)).collect();
    let role = serde_json::to_value(of_kind(cluster.rendered(), "ClusterRole")).unwrap();
    let role: ClusterRole = serde_json::from_value(role).unwrap();
    let granted = pairs(&role.rules.unwrap());
    assert_eq!(used, granted);
    let secrets: Vec<&str> =
        granted.iter().filter(|(_, resource)| resource == "secrets").map(|(verb, _)| verb.as_str()).collect();
    assert_eq!(secrets, ["create", "patch"]);
}

#[test]
fn the_role_has_no_wildcard_and_nothing_is_granted_beside_it() {
    let rendered = cluster().rendered();
    let kinds: Vec<&str> =
        rendered.iter().map(manifests::kind).filter(|kind| kind.contains("Role")).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    // Of the Lease, and used by the tests of it.
    let leases = of_kind(rendered, "Role");
    assert_eq!(leases.namespace().as_deref(), Some("vaultsync-system"));
    assert_eq!(
        leases.data["rules"],
        json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["vaultsync"], "verbs": ["get", "update"]},
        ])
    );
    let role = serde_json::to_string(of_kind(rendered, "ClusterRole")).unwrap();
    assert!(!role.contains('*'), "{role}");
}

#[test]
fn replicas_are_spread_and_evicted_one_at_a_time_and_a_single_one_may_be_evicted() {
    let constraints = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let rendered = rendered(&settings);
        let deployment = of_kind(&rendered, "Deployment");
        let constraints = deployment.data["spec"]["template"]["spec"]["topologySpreadConstraints"].clone();
        (constraints, rendered.iter().any(|object| manifests::kind(object) == "PodDisruptionBudget"))
    };
    let (by_itself, budget) = constraints(&[]);
    let ours = json!({"matchLabels": {
        "app.kubernetes.io/instance": "vaultsync", "app.kubernetes.io/name": "vaultsync",
    }});
    assert_eq!((&by_itself[0]["labelSelector"], budget), (&ours, true));
    let own = "topologySpreadConstraints[0].labelSelector.matchLabels.team=platform";
    let (constraints_of_own, budget) = constraints(&[own, "replicas=1"]);
    assert_eq!(constraints_of_own[0]["labelSelector"], json!({"matchLabels": {"team": "platform"}}));
    assert!(!budget);
}

const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

/// The settings that give the operator an identity of its own.
fn own_identity(client: &str) -> [String; 2] {
    ["enabled=true".to_owned(), format!("clientId={client}")]
        .map(|setting| format!("azure.workloadIdentity.{setting}"))
}

fn rendered(settings: &[String]) -> Vec<DynamicObject> {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    manifests::render("vaultsync", "vaultsync-system", &settings).unwrap()
}

#[test]
fn a_network_policy_lets_in_whom_it_names_and_without_names_nobody() {
    let count = |objects: &[DynamicObject]| {
        objects.iter().filter(|object| manifests::kind(object) == "NetworkPolicy").count()
    };
    assert_eq!(count(&rendered(&[])), 0);
    let on = "networkPolicy.enabled=true".to_owned();
    let nobody = rendered(std::slice::from_ref(&on));
    let policy = of_kind(&nobody, "NetworkPolicy");
    assert_eq!(policy.data["spec"]["ingress"], json!([]));
    assert_eq!(policy.data["spec"]["policyTypes"], json!(["Ingress"]));
    let pods = &of_kind(&nobody, "Deployment").data["spec"]["template"]["metadata"]["labels"];
    for (label, value) in policy.data["spec"]["podSelector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&pods[label], value, "it selects the operator");
    }
    let peer = "networkPolicy.from[0].namespaceSelector.matchLabels.team=monitoring".to_owned();
    let some = rendered(&[on, peer]);
    let ingress = &of_kind(&some, "NetworkPolicy").data["spec"]["ingress"];
    assert_eq!(ingress[0]["from"][0]["namespaceSelector"]["matchLabels"]["team"], "monitoring");
    assert_eq!(ingress[0]["ports"], json!([{"port": "http", "protocol": "TCP"}]));
}

#[test]
fn the_operators_own_identity_is_asked_for_where_the_webhook_looks_and_nowhere_else() {
    let use_ = "azure.workload.identity/use";
    let template = |objects: &[DynamicObject]| {
        let deployment = kubelet::typed(of_kind(objects, "Deployment")).unwrap().spec.unwrap();
        assert!(!deployment.selector.match_labels.unwrap().contains_key(use_));
        deployment.template.metadata.unwrap()
    };
    let plain = cluster().rendered();
    assert!(!template(plain).labels.unwrap().contains_key(use_));
    assert_eq!(template(plain).annotations, None);
    assert!(of_kind(plain, "ServiceAccount").annotations().is_empty());

    let tenant = "azure.workloadIdentity.tenantId=72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned();
    let own = rendered(&own_identity(CLIENT));
    let elsewhere = rendered(&[own_identity(CLIENT).as_slice(), &[tenant]].concat());
    assert_eq!(template(&own).labels.unwrap()[use_], "true");
    assert_eq!(
        of_kind(&elsewhere, "ServiceAccount").annotations(),
        &BTreeMap::from([
            ("azure.workload.identity/client-id".to_owned(), CLIENT.to_owned()),
            (
                "azure.workload.identity/tenant-id".to_owned(),
                "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned()
            ),
        ])
    );
    // Whatever changes there makes another pod.
    let other = rendered(&own_identity("22222222-2222-3333-4444-555555555555"));
    let pods: BTreeSet<_> =
        [&own, &elsewhere, &other].map(|objects| template(objects).annotations.unwrap()).into();
    assert_eq!(pods.len(), 3);
    assert_eq!(template(&own).annotations, template(&rendered(&own_identity(CLIENT))).annotations);

    let refused = |settings: &[String]| {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        manifests::render("vaultsync", "vaultsync-system", &settings).unwrap_err().to_string()
    };
    let missing = refused(&["azure.workloadIdentity.enabled=true".to_owned()]);
    assert!(missing.contains("azure.workloadIdentity.clientId is needed"), "{missing}");
    let injected = ["extraEnv[0].name=AZURE_CLIENT_ID".to_owned(), format!("extraEnv[0].value={CLIENT}")];
    let twice = refused(&[own_identity(CLIENT).as_slice(), &injected].concat());
    assert!(twice.contains("AZURE_CLIENT_ID is set twice"), "{twice}");
    let both = ["proxy.https=http://proxy:3128", "proxy.secret=proxy-url"].map(str::to_owned);
    assert!(refused(&both).contains("proxy.https and proxy.secret both name the proxy"));
    for name in ["HTTPS_PROXY", "http_proxy", "NO_PROXY"] {
        let proxy = [format!("extraEnv[0].name={name}"), "extraEnv[0].value=x".to_owned()];
        assert!(refused(&proxy).contains("is for proxy.https"), "{name}");
    }
    let unfenced = ["rbac.ownerReferences=true", "policies.enabled=false"].map(str::to_owned);
    assert!(refused(&unfenced).contains("rbac.ownerReferences needs policies.enabled"));
    rendered(&injected);
}

#[test]
fn the_right_to_restart_workloads_comes_by_its_switch_and_with_its_fence_alone() {
    let of_apps = |objects: &[DynamicObject]| -> BTreeSet<(String, String)> {
        let role = serde_json::to_value(of_kind(objects, "ClusterRole")).unwrap();
        let role: ClusterRole = serde_json::from_value(role).unwrap();
        let mut rules = role.rules.unwrap();
        rules.retain(|rule| rule.api_groups.iter().flatten().any(|group| group == "apps"));
        pairs(&rules)
    };
    let policies = |objects: &[DynamicObject]| {
        let named = |object: &&DynamicObject| object.name_any() == "vaultsync-workloads";
        objects.iter().filter(named).map(|object| manifests::kind(object).to_owned()).collect::<Vec<_>>()
    };
    let plain = cluster().rendered();
    assert!(of_apps(plain).is_empty() && policies(plain).is_empty());
    assert_eq!(environment(plain)["VAULTSYNC_ROLLOUTS"], "false");

    let on = "rollouts.enabled=true".to_owned();
    let all = rendered(std::slice::from_ref(&on));
    let expected = ["deployments", "statefulsets", "daemonsets"]
        .into_iter()
        .flat_map(|resource| ["list", "patch"].map(|verb| (verb.to_owned(), resource.to_owned())));
    assert_eq!(of_apps(&all), expected.collect());
    assert_eq!(policies(&all), ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]);
    assert_eq!(environment(&all)["VAULTSYNC_ROLLOUTS"], "true");
    let policy = all.iter().find(|object| object.name_any() == "vaultsync-workloads").unwrap();
    let prefix = format!("name.startsWith('{SECRET_ANNOTATION_PREFIX}')");
    assert!(policy.data["spec"].to_string().contains(&prefix), "the annotation that the code writes");

    // Limited to namespaces, the rules are bound there alone.
    let narrow = rendered(&[on, "settings.watchNamespaces={shop}".to_owned()]);
    let bindings: Vec<_> =
        narrow.iter().filter(|object| manifests::kind(object).contains("Binding")).collect();
    assert!(bindings.iter().all(|object| manifests::kind(object) != "ClusterRoleBinding"));
    assert!(!of_apps(&narrow).is_empty() && policies(&narrow).len() == 2);

    let settings = ["rollouts.enabled=true", "policies.enabled=false"];
    let unfenced = manifests::render("vaultsync", "vaultsync-system", &settings).unwrap_err().to_string();
    assert!(unfenced.contains("rollouts.enabled needs policies.enabled"), "{unfenced}");
}

#[tokio::test]
async fn the_operator_of_the_chart_reads_as_the_identity_that_the_webhook_injects() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let cluster = scene.namespace.cluster();
    let settings = own_identity(CLIENT);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    scene.operate_with(&settings).await;
    let objects = manifests::render(&scene.namespace.name, &scene.namespace.name, &settings).unwrap();
    let deployment = kubelet::typed(of_kind(&objects, "Deployment")).unwrap();
    let account = scene.account.clone().unwrap();
    scene.federate(&account, CLIENT);
    scene.vault.grant(CLIENT);

    // What the webhook does for a pod with the label, from the annotations of its ServiceAccount.
    let pod = deployment.spec.as_ref().unwrap().template.metadata.clone().unwrap();
    assert_eq!(pod.labels.unwrap()["azure.workload.identity/use"], "true");
    let accounts: Api<ServiceAccount> = scene.api();
    let annotations = accounts.get(&account.name).await.unwrap().metadata.annotations.unwrap();
    let mut projected = Mounted::empty();
    projected.put("azure-identity-token", cluster.assertion(&account, 3600).await);
    let mut command = cluster.start_of(&deployment).await.unwrap().command(binary());
    command
        .env("AZURE_CLIENT_ID", &annotations["azure.workload.identity/client-id"])
        .env("AZURE_TENANT_ID", scene.emulator.tenant())
        .env("AZURE_FEDERATED_TOKEN_FILE", projected.path().join("azure-identity-token"))
        .env("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/");

    command
        // In its own namespace, which is the object's here, it would write nothing; nor is its Lease there.
        .env_remove("POD_NAMESPACE")
        .env_remove("VAULTSYNC_LEASE_NAME")
        .env("KUBECONFIG", cluster.kubeconfig_for(&account).await)
        .env("VAULTSYNC_LISTEN", "127.0.0.1:0")
        .env("VAULTSYNC_WATCH_NAMESPACES", &scene.namespace.name)
        .env("HTTPS_PROXY", scene.emulator.proxy_url())
        .env("NO_PROXY", "127.0.0.1")
        .env("SSL_CERT_FILE", authority(cluster, &scene.emulator));
    scene.vault.set("db", "one");
    let shared = scene.share_as(json!({"operatorIdentity": {}})).await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    let program = Program::start(cluster, &mut command);
    scene.secret_is("shop", &[("DB", "one")]).await;
    scene.synced("shop").await;
    assert!(scene.emulator.token_requests().iter().all(|asked| asked.subject == Some(account.user())));
    let (status, printed) = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{printed}");
}

#[test]
fn a_bad_value_is_refused_by_its_name() {
    let bad = [
        ("azure.workloadIdentity.clientId=vaultsync", "/azure/workloadIdentity/clientId"),
        ("azure.workloadIdentity.tenantId=contoso.com", "/azure/workloadIdentity/tenantId"),
        ("azure.clientId=x", "clientId"),
        ("settings.listen=0.0.0.0:99999", "/settings/listen"),
        ("settings.listen=0.0.0.0:65536", "/settings/listen"),
        ("settings.logFormat=xml", "/settings/logFormat"),
        ("settings.driftInterval=soon", "/settings/driftInterval"),
        ("settings.maxRequestsPerSecond=0", "/settings/maxRequestsPerSecond"),
        ("settings.watchNamespaces={Shop}", "/settings/watchNamespaces/0"),
        ("settings.interval=5m", "interval"),
        ("image.digest=latest", "/image/digest"),
        ("policies.enabled=maybe", "/policies/enabled"),
        ("rbac.ownerReferences=maybe", "/rbac/ownerReferences"),
        ("rollouts.enabled=maybe", "/rollouts/enabled"),
        ("settings.rolloutsPerMinute=0", "/settings/rolloutsPerMinute"),
        ("replicas=0", "/replicas"),
        ("networkPolicy.from[0].namespace=monitoring", "/networkPolicy/from/0"),
        // They stand in expressions of the policies.
        ("tokenRequests.extraAudiences={a'b}", "/tokenRequests/extraAudiences/0"),
        ("serviceAccount.name=a'b", "/serviceAccount/name"),
    ];
    for (setting, key) in bad {
        let output = helm(&["template", "vaultsync", "charts/vaultsync", "--set", setting]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{setting} is accepted");
        assert!(said.contains(key), "{setting}: {said}");
    }
}
