//! A vault or identity that fails as a whole: said once, at the connection; nothing is written, all heals by itself.

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use keyvault_emulator::{Fault, Forbidden, Unauthorized};
use std::time::Duration;
use support::Mark;
use support::scene::{CLIENT, OperatorScene, data, version};
use support::{Account, Says as _, eventually, until};
use vaultsync::api::{KeyVault, VaultSecretSync};

/// One way in which all reads fail, and what a user is told.
struct Outage {
    begin: fn(&OperatorScene),
    end: fn(&OperatorScene),
    reason: &'static str,
    remedy: &'static str,
    /// It is of the token or of the connection: an operator that has both notices only when it needs new ones.
    restart: bool,
}

fn of_vault(begin: fn(&OperatorScene), reason: &'static str, remedy: &'static str) -> Outage {
    Outage { begin, end: |scene| scene.vault.clear_faults(), reason, remedy, restart: false }
}

fn of_token(begin: fn(&OperatorScene), reason: &'static str, remedy: &'static str) -> Outage {
    Outage { begin, end: |scene| scene.emulator.clear_token_faults(), reason, remedy, restart: true }
}

/// How many writes of the status of this object the operator asked for.
fn status_writes(scene: &OperatorScene, mark: Mark, resource: &str, name: &str) -> usize {
    let writes = scene.namespace.cluster().operator_writes_since(mark, &scene.namespace.name);
    writes.iter().filter(|seen| seen.resource == format!("{resource}/status") && seen.name == name).count()
}

/// How many attempts at token or vault failed so far.
fn failures(scene: &OperatorScene) -> usize {
    let tokens = scene.emulator.token_requests();
    let tokens = tokens.iter().filter(|request| request.status.is_some_and(|status| status >= 400)).count();
    tokens + scene.vault.count_where(|request| request.status.is_none_or(|status| status >= 400))
}

/// Waits until three more attempts have failed.
async fn three_more_failures(scene: &OperatorScene) {
    let before = failures(scene);
    eventually("it is tried again and again", || async {
        let now = failures(scene);
        if now >= before + 3 { Ok(()) } else { Err(format!("{now} failures after {before}")) }
    })
    .await;
}

impl Outage {
    async fn is_said_once_and_heals(&self) {
        let mut scene = OperatorScene::new().await;
        scene.vault.set("db", "one");
        scene.sync("shop", data(&[("DB", "db")])).await;
        scene.sync("other", data(&[("DB", "db")])).await;
        let before = (scene.synced("shop").await, scene.synced("other").await);
        scene.vault_says("default", "True", "Connected").await;
        let secret = scene.secret_is("shop", &[("DB", "one")]).await;

        let mark = scene.namespace.cluster().mark();
        if self.restart {
            scene.stop().await;
        }
        scene.vault.set("db", "two");
        (self.begin)(&scene);
        if self.restart {
            scene.start().await;
        }
        scene.ask("shop", "in vain").await;
        let vault = scene.vault_says("default", "False", self.reason).await;
        assert!(vault.message().contains(self.remedy), "`{}` is not in: {}", self.remedy, vault.message());
        // Who was never synced is told at once, with the vault's reason and remedy.
        scene.sync("late", data(&[("DB", "db")])).await;
        let late = scene.ready("late", "False", self.reason).await;
        assert!(late.message().contains("KeyVault default"), "{}", late.message());
        assert!(late.message().contains(self.remedy), "{}", late.message());
        // A few more attempts say the same, and so nothing.
        if self.counts() {
            three_more_failures(&scene).await;
        }
        assert_eq!(status_writes(&scene, mark, "keyvaults", "default"), 1);
        assert_eq!(status_writes(&scene, mark, "vaultsecretsyncs", "late"), 1);
        for name in ["shop", "other"] {
            assert_eq!(status_writes(&scene, mark, "vaultsecretsyncs", name), 0, "{name}");
            scene.synced(name).await;
        }
        let other = scene.api::<VaultSecretSync>().get("other").await.unwrap();
        assert_eq!(version(&before.1), version(&other));
        let kept = scene.secret_is("shop", &[("DB", "one")]).await;
        assert_eq!(version(&secret), version(&kept));
        assert_eq!(scene.secret("late").await, None);

        (self.end)(&scene);
        scene.vault_says("default", "True", "Connected").await;
        for name in ["shop", "other", "late"] {
            scene.secret_is(name, &[("DB", "two")]).await;
            scene.synced(name).await;
        }
        assert_eq!(status_writes(&scene, mark, "keyvaults", "default"), 2);
    }

    /// Whether attempts fail fast enough to wait for some more, and leave a trace at the vault.
    fn counts(&self) -> bool {
        !matches!(self.reason, "ProxyFailed" | "ServiceAccountNotFound") && !self.remedy.contains("in time")
    }
}

#[tokio::test]
async fn a_vault_that_throttles_is_said_once_and_heals() {
    of_vault(|scene| _ = scene.vault.fault(Fault::throttle(None)), "Throttled", "raise the intervals")
        .is_said_once_and_heals()
        .await;
}

#[tokio::test]
async fn a_vault_that_says_when_to_come_back_is_said_once_and_heals() {
    of_vault(|scene| _ = scene.vault.fault(Fault::throttle(Some(1))), "Throttled", "HTTP 429")
        .is_said_once_and_heals()
        .await;
}

#[tokio::test]
async fn a_vault_that_fails_is_said_once_and_heals() {
    for status in [500, 503] {
        let begin: fn(&OperatorScene) = match status {
            500 => |scene| _ = scene.vault.fault(Fault::status(500)),
            _ => |scene| _ = scene.vault.fault(Fault::status(503)),
        };
        of_vault(begin, "ServiceUnavailable", "fails (HTTP ").is_said_once_and_heals().await;
    }
}

#[tokio::test]
async fn a_vault_that_does_not_answer_is_said_once_and_heals() {
    of_vault(|scene| _ = scene.vault.fault(Fault::stall()), "ServiceUnavailable", "did not answer in time")
        .is_said_once_and_heals()
        .await;
}

#[tokio::test]
async fn a_vault_that_breaks_connections_is_said_once_and_heals() {
    of_vault(|scene| _ = scene.vault.fault(Fault::reset()), "ServiceUnavailable", "broke the connection")
        .is_said_once_and_heals()
        .await;
}

#[tokio::test]
async fn a_token_of_another_tenant_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::unauthorized(Unauthorized::WrongTenant)),
        "WrongTenant",
        "Set tenantId to 72f988bf-0000-4000-8000-000000000001",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_token_for_another_audience_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::unauthorized(Unauthorized::WrongAudience)),
        "WrongAudience",
        "right cloud",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_fresh_token_that_is_rejected_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::unauthorized(Unauthorized::TokenExpired)),
        "TokenRejected",
        "conditional access policy",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_claims_challenge_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::unauthorized(Unauthorized::InsufficientClaims)),
        "ClaimsChallenge",
        "conditional access policies",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_vault_that_takes_only_bound_tokens_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::unauthorized(Unauthorized::MissingClientCertificate)),
        "TokenBindingRequired",
        "Set its token binding to `Enabled` or `Disabled`",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_firewall_that_refuses_us_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::forbidden(Forbidden::ByFirewall)),
        "Firewall",
        "service endpoint or private endpoint",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_vault_without_public_access_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::forbidden(Forbidden::ByConnection)),
        "PublicAccessDisabled",
        "private DNS zone",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn an_identity_that_may_read_nothing_is_said_once_and_heals() {
    Outage {
        begin: |scene| scene.vault.revoke(CLIENT),
        end: |scene| scene.vault.grant(CLIENT),
        reason: "MissingRole",
        remedy: "Key Vault Secrets User",
        restart: false,
    }
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn an_identity_without_an_access_policy_is_said_once_and_heals() {
    of_vault(
        |scene| _ = scene.vault.fault(Fault::forbidden(Forbidden::AccessDenied)),
        "MissingAccessPolicy",
        "--secret-permissions get",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_vault_that_is_not_there_is_said_once_and_heals() {
    Outage {
        begin: |scene| scene.emulator.remove_vault(scene.vault.name()),
        end: |scene| {
            scene.vault.grant(CLIENT);
            scene.vault.set("db", "two");
        },
        reason: "ProxyFailed",
        remedy: "The proxy does not connect to the vault",
        restart: true,
    }
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_token_service_that_fails_is_said_once_and_heals() {
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::status(503)),
        "ServiceUnavailable",
        "The token service fails (HTTP 503)",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_token_service_that_throttles_is_said_once_and_heals() {
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::throttle(Some(1))),
        "Throttled",
        "The token service throttles",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_federation_that_does_not_match_is_said_once_and_heals() {
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::aadsts(700_213)),
        "FederationMismatch",
        "AADSTS700213",
    )
    .is_said_once_and_heals()
    .await;
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::aadsts(70_021)),
        "FederationMismatch",
        "audience `api://AzureADTokenExchange`",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn an_identity_that_nobody_knows_is_said_once_and_heals() {
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::aadsts(700_016)),
        "InvalidIdentity",
        "(AADSTS700016). Correct clientId or tenantId",
    )
    .is_said_once_and_heals()
    .await;
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::aadsts(90_002)),
        "InvalidIdentity",
        "(AADSTS90002). Correct tenantId",
    )
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_token_that_is_refused_for_another_reason_is_said_once_and_heals() {
    of_token(
        |scene| _ = scene.emulator.token_fault(Fault::aadsts(53_003)),
        "TokenRefused",
        "(AADSTS53003). Look the number up",
    )
    .is_said_once_and_heals()
    .await;
}

fn shop(scene: &OperatorScene) -> Account {
    Account::new(&scene.namespace.name, "shop")
}

#[tokio::test]
async fn a_missing_federated_credential_is_spelled_out_and_heals() {
    Outage {
        // As if somebody had mistyped the subject.
        begin: |scene| {
            scene.federate(&Account::new("elsewhere", "shop"), CLIENT);
            scene.unfederate(&shop(scene), CLIENT);
        },
        end: |scene| scene.federate(&shop(scene), CLIENT),
        reason: "FederationMismatch",
        remedy: "subject `system:serviceaccount:",
        restart: true,
    }
    .is_said_once_and_heals()
    .await;
}

#[tokio::test]
async fn a_missing_service_account_is_said_and_heals() {
    let mut scene = OperatorScene::without_operator().await;
    scene.delete::<ServiceAccount>("shop").await;
    scene.vault.set("db", "one");
    scene.start().await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    let object = scene.ready("shop", "False", "ServiceAccountNotFound").await;
    assert!(object.message().contains("Create it, or correct serviceAccountName"));
    scene.vault_says("default", "False", "ServiceAccountNotFound").await;
    scene.namespace.account("shop").await;
    scene.synced("shop").await;
    scene.vault_says("default", "True", "Connected").await;
}

#[tokio::test]
async fn an_object_whose_vault_stays_silent_becomes_stale_and_recovers() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.stale_after = Some(Duration::from_secs(1));
    scene.start().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    let secret = scene.secret_is("shop", &[("DB", "one")]).await;
    scene.vault.fault(Fault::status(503));
    scene.ask("shop", "in vain").await;
    let object = scene.ready("shop", "False", "Stale").await;
    let message = object.message();
    assert!(message.contains("KeyVault default") && message.contains("keeps its last values"), "{message}");
    let kept = scene.secret_is("shop", &[("DB", "one")]).await;
    assert_eq!(version(&secret), version(&kept));
    // A restart in the midst of it says nothing else.
    let mark = scene.namespace.cluster().mark();
    scene.stop().await;
    scene.start().await;
    three_more_failures(&scene).await;
    scene.ask("shop", "in vain again").await;
    three_more_failures(&scene).await;
    assert_eq!(status_writes(&scene, mark, "vaultsecretsyncs", "shop"), 0);
    scene.ready("shop", "False", "Stale").await;

    scene.vault.set("db", "two");
    scene.vault.clear_faults();
    scene.synced("shop").await;
    scene.secret_is("shop", &[("DB", "two")]).await;
}

#[tokio::test]
async fn a_rotation_is_never_torn_in_half_by_an_outage() {
    let scene = OperatorScene::new().await;
    scene.vault.set("user", "one");
    scene.vault.set("password", "one");
    scene.sync("shop", data(&[("USER", "user"), ("PASSWORD", "password")])).await;
    scene.synced("shop").await;
    let before = scene.secret_is("shop", &[("PASSWORD", "one"), ("USER", "one")]).await;

    scene.vault.fault(Fault::stall().on_secret("password").times(1));
    scene.vault.set("user", "two");
    scene.vault.set("password", "two");
    let known = scene.vault.requests().len();
    scene.ask("shop", "in vain").await;
    // The one half was read, and of the other it is not known yet whether it ever is.
    scene
        .vault
        .requests_until(|requests| {
            let new = requests.get(known..).unwrap_or_default();
            let of = |secret: &str| {
                new.iter().filter(|request| request.secret.as_deref() == Some(secret)).collect::<Vec<_>>()
            };
            of("user").iter().any(|request| request.status == Some(200)) && !of("password").is_empty()
        })
        .await;
    let during = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(version(&before), version(&during));
    scene.secret_is("shop", &[("PASSWORD", "two"), ("USER", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn one_failed_request_is_said_by_nobody() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    scene.vault_says("default", "True", "Connected").await;
    let mark = scene.namespace.cluster().mark();
    let before = failures(&scene);
    scene.vault.fault(Fault::status(503).times(1));
    scene.vault.set("db", "two");
    scene.ask("shop", "please").await;
    scene.secret_is("shop", &[("DB", "two")]).await;
    scene.synced("shop").await;
    assert_eq!(failures(&scene), before + 1);
    assert_eq!(status_writes(&scene, mark, "keyvaults", "default"), 0);
}

#[tokio::test]
async fn a_secret_that_fails_while_others_are_read_is_told_by_its_own_users_alone() {
    let scene = OperatorScene::new().await;
    scene.vault.set("user", "one");
    scene.vault.set("password", "one");
    scene.sync("other", data(&[("USER", "user")])).await;
    scene.sync("shop", data(&[("USER", "user"), ("PASSWORD", "password")])).await;
    scene.synced("shop").await;
    scene.synced("other").await;
    scene.vault_says("default", "True", "Connected").await;
    let mark = scene.namespace.cluster().mark();
    scene.vault.fault(Fault::status(503).on_secret("password"));
    scene.vault.set("user", "two");
    scene.ask("shop", "in vain").await;
    let object = scene.ready("shop", "False", "ServiceUnavailable").await;
    assert!(object.message().contains("secret password"), "{}", object.message());
    scene.secret_is("shop", &[("PASSWORD", "one"), ("USER", "two")]).await;
    scene.secret_is("other", &[("USER", "two")]).await;
    assert_eq!(status_writes(&scene, mark, "keyvaults", "default"), 0);
    scene.vault.set("password", "two");
    scene.vault.clear_faults();
    scene.secret_is("shop", &[("PASSWORD", "two"), ("USER", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn thirty_objects_make_one_token_attempt_a_back_off() {
    let mut scene = OperatorScene::without_operator().await;
    scene.emulator.token_fault(Fault::aadsts(700_016));
    scene.vault.set("db", "one");
    for index in 0..30 {
        scene.sync(&format!("shop-{index}"), data(&[("DB", "db")])).await;
    }
    scene.start().await;
    for index in 0..30 {
        scene.ready(&format!("shop-{index}"), "False", "InvalidIdentity").await;
    }
    scene.vault_says("default", "False", "InvalidIdentity").await;
    let mark = scene.namespace.cluster().mark();
    let made = scene.emulator.token_requests().len();
    let attempts = scene.emulator.token_requests_until(|attempts| attempts.len() >= made + 3).await;
    let first = i64::try_from(scene.settings.limits.refused_retry.0.as_millis()).unwrap();
    for pair in attempts.windows(2) {
        let between = pair[1].time.as_millisecond() - pair[0].time.as_millisecond();
        assert!(between >= first, "two attempts within {between} ms");
    }
    assert_eq!(status_writes(&scene, mark, "keyvaults", "default"), 0);
    for index in 0..30 {
        assert_eq!(status_writes(&scene, mark, "vaultsecretsyncs", &format!("shop-{index}")), 0);
    }
    scene.emulator.clear_token_faults();
    for index in 0..30 {
        scene.synced(&format!("shop-{index}")).await;
    }
    scene.vault_says("default", "True", "Connected").await;
    // That it works, and, if that was not known yet, how changes are found.
    let writes = status_writes(&scene, mark, "keyvaults", "default");
    assert!((1..=2).contains(&writes), "{writes}");
}

#[tokio::test]
async fn an_object_of_a_connection_that_does_not_exist_keeps_its_secret_and_heals() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    let before = scene.secret_is("shop", &[("DB", "one")]).await;
    scene.delete::<KeyVault>("default").await;
    let object = scene.ready("shop", "False", "VaultNotFound").await;
    assert!(object.message().contains("no KeyVault default in this namespace"));
    let kept = scene.secret_is("shop", &[("DB", "one")]).await;
    assert_eq!(version(&before), version(&kept));
    scene.vault.set("db", "two");
    scene.create::<KeyVault>(&scene.key_vault("default", &scene.vault.url())).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("DB", "two")]).await;
    until(&scene.api(), "default", "the new connection is proven", |vault: Option<&KeyVault>| {
        vault.is_some_and(|vault| vault.status.as_ref().is_some_and(|status| !status.conditions.is_empty()))
    })
    .await;
}
