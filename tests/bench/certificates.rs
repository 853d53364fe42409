//! Rows: one object in ten is a certificate, and one finds its secrets by name.

use keyvault_emulator::{CertificateFormat, CertificateSpec, KeyKind};
use serde_json::json;
use vaultsync::api::VaultSecretSync;

use crate::cluster::{BenchCluster, create, create_object, each};
use crate::operator::Operator;
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::{LONG_AGO, Scale};
use support::Result;

const VAULT: &str = "shapes";
const HOST: &str = "shapes.vault.azure.net";
const NAMESPACE: &str = "shapes";
/// One object in so many.
const CERTIFICATES: usize = 10;
/// Secrets that one object finds by name.
const FOUND: usize = 20;
const LIFTED: u32 = 10_000;
const MOST_MEMORY: f64 = 72.0;
/// So many sweeps in which nothing changes.
const SWEEPS: u32 = 3;
/// A page that had to be asked for again, or lies at the edge of the time that is looked at.
const MORE_REQUESTS: f64 = 1.02;

pub(crate) async fn measure(scale: &Scale, rows: &mut Rows) -> Result<()> {
    let certificates = scale.objects / CERTIFICATES;
    say(&format!(
        "starting a control plane with {} objects, {certificates} of them certificates",
        scale.objects
    ));
    let bench = BenchCluster::start().await?;
    let vault = bench.emulator.vault(VAULT);
    for index in 0..scale.objects - certificates {
        vault.set_ago(&format!("secret-{index}"), &"x".repeat(1024), LONG_AGO);
    }
    for index in 0..FOUND {
        vault.set_ago(&format!("found-{index}"), "x", LONG_AGO);
    }
    for index in 0..certificates {
        let made = CertificateSpec::self_signed("shop.test", KeyKind::P256, CertificateFormat::Pfx);
        vault.set_certificate(&format!("certificate-{index}"), made);
    }
    let client = bench.cluster.admin();
    bench.namespace(&client, NAMESPACE).await?;
    bench.cluster_key_vault(&client, &vault, vec![NAMESPACE.to_owned()], "Auto").await?;
    let interval = format!("{}s", scale.interval.as_secs());
    let reference = json!({"kind": "ClusterKeyVault", "name": VAULT});
    let of_certificate = |name: String, certificate: String| {
        json!({"metadata": {"name": name}, "spec": {
            "vaultRef": reference, "refreshInterval": interval, "tls": {"certificate": certificate},
        }})
    };
    each(scale.objects, |index| {
        let (client, interval, reference, of_certificate) = (&client, &interval, &reference, &of_certificate);
        async move {
            let name = format!("object-{index}");
            match index.checked_sub(scale.objects - certificates) {
                None => {
                    let secret = format!("secret-{index}");
                    create_object(client, NAMESPACE, &name, &secret, reference.clone(), interval).await
                }
                Some(place) => {
                    let object = of_certificate(name, format!("certificate-{place}"));
                    create::<VaultSecretSync>(client, NAMESPACE, object).await
                }
            }
        }
    })
    .await?;
    let finder = json!({"metadata": {"name": "finder"}, "spec": {
        "vaultRef": reference, "refreshInterval": interval, "dataFrom": [{"find": {"name": "found-*"}}],
    }});
    create::<VaultSecretSync>(&client, NAMESPACE, finder).await?;

    say("first sync of certificates among others");
    let operator = Operator::start(&bench, Some(LIFTED)).await?;
    let created = [("result", "created"), ("reason", "Synced")];
    operator.until("all are synced", |metrics| metrics.rounds(&created) > scale.objects).await?;
    let first = operator.memory()?;
    // What was made just now is read once more when it has settled.
    operator.next_sweep(HOST).await?;
    operator.next_sweep(HOST).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let before = operator.metrics().await?;
    let time = scale.interval * SWEEPS;
    tokio::time::sleep(time).await;
    let after = operator.metrics().await?;
    let steady = operator.memory()?;
    let requests = |operation: &str| after.requests(HOST, operation) - before.requests(HOST, operation);
    let (lists, gets) = (requests("ListSecrets"), requests("GetSecret"));
    let pages = Scale::pages(scale.objects + FOUND) * SWEEPS as usize;
    let most = first.now.max(steady.now);
    rows.add(Row {
        what: format!("resident memory with {} objects, {certificates} of them certificates as TLS Secrets", scale.objects),
        must: format!("under {MOST_MEMORY} MiB"),
        measured: format!("{:.1} MiB after the first sync, {:.1} MiB in steady state", first.now, steady.now),
        beside: format!("at most {:.1} MiB at any time", steady.peak.max(first.peak)),
        reached: most < MOST_MEMORY,
        figures: json!({"residentMiB": most, "peakMiB": steady.peak.max(first.peak), "certificates": certificates}),
    });
    rows.add(Row {
        what: format!(
            "an object that finds {FOUND} secrets by name in a vault of {}, for {}",
            scale.objects + FOUND,
            seconds(time)
        ),
        must: "vault requests = pages of one LIST an interval, +2 %; no value read".to_owned(),
        measured: format!("{lists} pages, {gets} value reads"),
        beside: format!("{pages} pages = {SWEEPS} sweeps, which are made anyway"),
        reached: lists as f64 <= pages as f64 * MORE_REQUESTS + 1.0 && gets == 0,
        figures: json!({"pages": lists, "expectedPages": pages, "valueReads": gets}),
    });
    operator.kill()
}
