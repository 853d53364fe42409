//! What the command line takes, and what it says to the rest.

use super::*;
use clap::CommandFactory as _;

fn run(arguments: &[&str]) -> Result<RunArgs, String> {
    let all = ["vaultsync", "run"].iter().chain(arguments);
    match Cli::try_parse_from(all).map_err(|error| error.to_string())?.command {
        Command::Run(args) => Ok(*args),
        Command::Check(_) | Command::Convert(_) | Command::Crds => unreachable!(),
    }
}

#[test]
fn every_flag_has_the_environment_variable_of_its_name() {
    Cli::command().debug_assert();
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    for flag in run.get_arguments().filter(|flag| flag.get_id() != "help" && !flag.is_hide_set()) {
        let name = flag.get_id().as_str().to_uppercase();
        // What a pod knows of itself has the names that pods give it.
        let name = if name.starts_with("POD_") { name } else { format!("VAULTSYNC_{name}") };
        assert_eq!(flag.get_env().unwrap().to_str().unwrap(), name);
    }
}

#[test]
fn bad_values_get_a_sentence() {
    assert!(run(&["--drift-interval", "soon"]).unwrap_err().contains("30s, 5m or 1h30m"));
    assert!(run(&["--max-requests-per-second", "0"]).unwrap_err().contains("1..=10000"));
    assert!(run(&["--log-level", "loud"]).unwrap_err().contains("target=level"));
    assert!(run(&["--max-connections-per-namespace", "0"]).unwrap_err().contains("1..=10000"));
    assert!(run(&["--lease-name=A B"]).unwrap_err().contains("write the name of a Lease, as in vaultsync"));
    assert!(run(&["--namespace-selectors=maybe"]).unwrap_err().contains("true, false"));
    assert!(run(&["--namespace-selectors"]).unwrap().namespace_selectors);
    assert!(run(&["--rollouts-per-minute", "0"]).unwrap_err().contains("1..=1000"));
    assert_eq!(run(&["--drift-interval", "0s"]).unwrap().drift_interval, Duration::ZERO);
}

#[test]
fn a_lease_needs_a_namespace_and_no_two_processes_have_one_name_in_it() {
    let lease = |flags: &[&str]| run(flags).unwrap().lease(|| Timestamp::UNIX_EPOCH);
    assert!(lease(&[]).unwrap().is_none() && lease(&["--lease-name="]).unwrap().is_none());
    assert!(lease(&["--lease-name=x"]).unwrap_err().contains("set --pod-namespace (POD_NAMESPACE)"));
    let flags = ["--lease-name=x", "--pod-namespace=vaultsync-system", "--pod-name=vaultsync-0"];
    let [one, other] = [&flags, &flags].map(|flags| format!("{:?}", lease(flags).unwrap().unwrap()));
    assert!(one.contains("vaultsync-0_") && one != other, "{one}");
}

#[test]
fn workloads_are_restarted_only_where_that_is_switched_on() {
    let rollouts =
        |flags: &[&str]| run(flags).unwrap().settings(|| Timestamp::UNIX_EPOCH).unwrap().rollouts_per_minute;
    assert_eq!(rollouts(&["--rollouts-per-minute=20"]), None);
    assert_eq!(rollouts(&["--rollouts"]), Some(10));
    assert_eq!(rollouts(&["--rollouts=true", "--rollouts-per-minute=20"]), Some(20));
}

#[test]
fn a_namespace_that_is_named_twice_or_with_blanks_is_watched_once() {
    let namespaces = |list| run(&["--watch-namespaces", list]).unwrap().namespaces();
    assert_eq!(namespaces("b,a,a, b ,,"), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    assert!(namespaces("").is_empty() && namespaces(" , ").is_empty());
    for wrong in ["Shop", "shop;web", "shop web", "kube/shop"] {
        assert!(run(&["--watch-namespaces", wrong]).unwrap_err().contains("shop,web"), "{wrong}");
    }
}

#[test]
fn what_is_checked_is_named_as_kubectl_names_it() {
    for (text, kind) in [
        ("kv/prod", Kind::KeyVault),
        ("KeyVault/prod", Kind::KeyVault),
        ("ckv/prod", Kind::ClusterKeyVault),
        ("clusterkeyvaults/prod", Kind::ClusterKeyVault),
        ("vss/prod", Kind::VaultSecretSync),
    ] {
        assert_eq!(subject(text), Ok((kind, "prod".to_owned())), "{text}");
    }
    for text in ["prod", "secret/prod", "kv/", "kv/a/b", "kv/a,metadata.namespace=b"] {
        assert!(subject(text).unwrap_err().contains("kv/NAME"), "{text}");
    }
}

#[test]
fn what_is_converted_is_files_or_standard_input() {
    let convert = |arguments: &[&str]| {
        let all = ["vaultsync", "convert"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Convert(args) => args,
            _ => unreachable!(),
        }
    };
    assert_eq!((convert(&[]).files.len(), convert(&[]).adopt), (0, false));
    let args = convert(&["--adopt", "a.yaml", "-"]);
    assert_eq!((args.files, args.adopt), (vec![PathBuf::from("a.yaml"), PathBuf::from("-")], true));
}

#[test]
fn an_identity_counts_as_injected_only_when_all_of_it_is_there() {
    let all = [
        "--azure-client-id=c",
        "--azure-tenant-id=t",
        "--azure-federated-token-file=/token",
        "--azure-authority-host=https://login.microsoftonline.com/",
    ];
    let credentials =
        |arguments: &[&str]| run(arguments).unwrap().settings(Timestamp::default).unwrap().credentials;
    assert_eq!(credentials(&all).operator.unwrap().token_file, PathBuf::from("/token"));
    assert_eq!(credentials(&["--azure-client-id="]).operator, None);
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        assert_eq!(credentials(&some).operator, None, "{some:?}");
    }
}

#[test]
fn what_proves_the_pod_is_never_printed() {
    let injected = ["--identity-endpoint=http://127.0.0.1:1/token", "--identity-header=canary"];
    let args = run(&injected).unwrap();
    let settings = args.settings(Timestamp::default).unwrap();
    assert!(settings.credentials.identity_endpoint.is_some());
    assert!(!format!("{args:?} {settings:?}").contains("canary"));
    let broken = run(&["--identity-endpoint=ftp://x", "--identity-header=canary"]).unwrap();
    assert_eq!(
        broken.settings(Timestamp::default).unwrap_err(),
        "IDENTITY_ENDPOINT must be an http or https URL"
    );
}
