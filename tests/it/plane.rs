//! The fetch plane against the emulator, over the wire: CONNECT, TLS, tokens, GETs.

use std::time::Duration;

use keyvault_emulator::{ConnectOutcome, Fault, FaultKind, Forbidden, Operation, Unauthorized};
use support::plane::{AUDIENCE, CANARY, ISSUER, PlaneOnWire, SUBJECT, connection, user, want};
use vaultsync::vault::{Answer, Ask, AssertionError, Detect, HealthState, Terms, Wake, Want};

#[tokio::test]
async fn a_value_arrives_with_one_token_and_one_get_for_all_who_want_it() {
    let mut stage = PlaneOnWire::new().await;
    let vault = stage.vault("prod");
    let slow = Want { interval: Duration::from_secs(3600), ..want("db") };
    for index in 0..100 {
        let _ = stage.ask(&user(&format!("user-{index}")), &connection("prod"), std::slice::from_ref(&slow));
    }
    for index in 0..100 {
        let value = stage.value(&user(&format!("user-{index}")), &connection("prod"), &slow).await;
        assert_eq!(value, format!("{CANARY}-prod"));
    }
    let statuses: Vec<_> = vault.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(401), Some(200)], "the challenge names the tenant, then one GET");
    assert_eq!(stage.emulator.token_requests().len(), 1);
    let hosts: std::collections::BTreeSet<_> =
        stage.emulator.connects().into_iter().map(|connect| connect.target).collect();
    assert_eq!(
        hosts.into_iter().collect::<Vec<_>>(),
        ["login.microsoftonline.com:443", "prod.vault.azure.net:443"]
    );
}

#[tokio::test]
async fn a_change_in_the_vault_wakes_its_user_and_nothing_else_does() {
    let mut stage = PlaneOnWire::new().await;
    // Long enough ago that nothing else can have followed.
    stage.emulator.set_clock_offset(-60);
    let vault = stage.vault("prod");
    stage.emulator.set_clock_offset(0);
    let (user, connection) = (user("shop"), connection("prod"));
    stage.value(&user, &connection, &want("db")).await;
    let reply = stage.ask(&user, &connection, &[want("db")]);
    let Answer::Read(first) = &reply.answers[0] else { panic!("{reply:?}") };
    let known = Want { known: Some(first.attributes.clone()), ..want("db") };
    stage.plane.release(&user);
    assert!(matches!(
        stage.ask(&user, &connection, std::slice::from_ref(&known)).answers[0],
        Answer::Unchanged
    ));
    while stage.wakes.try_recv().is_ok() {}
    let reads = vault.count(Operation::Get);
    vault
        .requests_until(|requests| {
            requests.iter().filter(|request| request.status == Some(200)).count() >= reads + 3
        })
        .await;
    stage.nobody_was_woken();
    let version = vault.set("db", &format!("{CANARY}-second"));
    assert_eq!(stage.wakes.recv().await, Some(Wake::User(user.clone())));
    let reply = stage.ask(&user, &connection, &[known]);
    let Answer::Read(second) = &reply.answers[0] else { panic!("{reply:?}") };
    assert_eq!(
        (second.value.expose(), &second.attributes.version),
        (format!("{CANARY}-second").as_str(), &version)
    );
}

#[tokio::test]
async fn every_failure_has_its_own_reason_heals_by_itself_and_shows_no_value() {
    let mut stage = PlaneOnWire::new().await;
    let faults: [(FaultKind, &str); 13] = [
        (FaultKind::Throttle { retry_after: None }, "Throttled"),
        (FaultKind::Throttle { retry_after: Some(0) }, "Throttled"),
        (FaultKind::Forbidden { code: Forbidden::ByRbac }, "MissingRole"),
        (FaultKind::Forbidden { code: Forbidden::AccessDenied }, "MissingAccessPolicy"),
        (FaultKind::Forbidden { code: Forbidden::ByFirewall }, "Firewall"),
        (FaultKind::Forbidden { code: Forbidden::ByConnection }, "PublicAccessDisabled"),
        (FaultKind::Forbidden { code: Forbidden::SecretDisabled }, "SecretDisabled"),
        (FaultKind::NotFound, "SecretNotFound"),
        (FaultKind::Unauthorized { code: Unauthorized::WrongTenant }, "WrongTenant"),
        (FaultKind::Unauthorized { code: Unauthorized::WrongAudience }, "WrongAudience"),
        (FaultKind::Status { status: 503 }, "ServiceUnavailable"),
        (FaultKind::Garbage, "MalformedResponse"),
        (FaultKind::Oversized { bytes: 400_000 }, "TooLarge"),
    ];
    for (index, (kind, reason)) in faults.into_iter().enumerate() {
        let name = format!("vault-{index}");
        let vault = stage.vault(&name);
        let fault = vault.fault(Fault::from(kind.clone()));
        assert_eq!(stage.reason(&connection(&name), &want("db")).await, reason, "{kind:?}");
        vault.clear_fault(fault);
        let value = stage.value(&user("heals"), &connection(&name), &want("db")).await;
        assert_eq!(value, format!("{CANARY}-{name}"), "{kind:?}");
        stage.plane.forget(&user("heals"));
    }
    let seen = stage.everything_seen();
    assert!(!seen.contains(CANARY), "a value is in what anyone can read");
    assert!(seen.contains("vaultsync_vault_throttled_total{vault=\"vault-0.vault.azure.net\"}"), "{seen}");
    assert_eq!(stage.emulator.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reset_connection_and_a_vault_that_is_not_there_are_told_apart() {
    let mut stage = PlaneOnWire::new().await;
    let vault = stage.vault("resets");
    let fault = vault.fault(Fault::reset());
    assert_eq!(stage.reason(&connection("resets"), &want("db")).await, "ServiceUnavailable");
    vault.clear_fault(fault);
    assert_eq!(stage.reason(&connection("nowhere"), &want("db")).await, "ProxyFailed");
    assert!(stage.emulator.connects().iter().any(|connect| connect.outcome == ConnectOutcome::UnknownVault));
}

#[tokio::test]
async fn what_the_token_service_refuses_says_what_to_put_right_and_heals() {
    let mut stage = PlaneOnWire::new().await;
    let in_words_with_escapes = |numbers: &str| {
        let words = r#""error_description":"AADSTS: \"app\"\r\nwas \u006eot found \\""#;
        Fault::answer(401, &format!(r#"{{"error":"x",{words},"error_codes":[{numbers}]}}"#))
    };
    for (index, (fault, reason)) in [
        (Fault::aadsts(700_213), "FederationMismatch"),
        (Fault::aadsts(700_016), "InvalidIdentity"),
        (Fault::aadsts(90_002), "InvalidIdentity"),
        (Fault::aadsts(53_003), "TokenRefused"),
        (in_words_with_escapes("700211"), "FederationMismatch"),
        (in_words_with_escapes("50000,7000215"), "InvalidIdentity"),
        (in_words_with_escapes("53003"), "TokenRefused"),
        (in_words_with_escapes(""), "TokenRefused"),
        (Fault::answer(400, "<html>700016</html>"), "MalformedResponse"),
        (Fault::answer(401, ""), "MalformedResponse"),
        (Fault::answer(200, r#"{"access_token":"","expires_in":3599}"#), "MalformedResponse"),
    ]
    .into_iter()
    .enumerate()
    {
        // A handle of its own each: one that has a token asks for no other.
        let name = format!("vault-{index}");
        stage.vault(&name);
        let what = format!("{fault:?}");
        let fault = stage.emulator.token_fault(fault);
        assert_eq!(stage.reason(&connection(&name), &want("db")).await, reason, "{what}");
        stage.emulator.clear_token_fault(fault);
        stage.value(&user("heals"), &connection(&name), &want("db")).await;
        stage.plane.forget(&user("heals"));
    }
    let seen = stage.everything_seen();
    for part in [ISSUER, SUBJECT, AUDIENCE] {
        assert!(seen.contains(part), "{part}");
    }
    assert!(!seen.contains(CANARY));
}

#[tokio::test]
async fn a_token_that_the_vault_no_longer_takes_is_replaced_and_nobody_notices() {
    let mut stage = PlaneOnWire::new().await;
    let vault = stage.vault("prod");
    stage.value(&user("first"), &connection("prod"), &want("db")).await;
    while stage.wakes.try_recv().is_ok() {}
    let before = vault.requests().len();
    let _ = vault.fault(Fault::unauthorized(Unauthorized::TokenExpired).times(1));
    let rejected_then_read = vault
        .requests_until(|requests| {
            let mut later = requests.iter().skip(before).skip_while(|request| request.status != Some(401));
            later.any(|request| request.status == Some(200))
        })
        .await;
    let refused = rejected_then_read.iter().skip(before).filter(|request| request.status == Some(401));
    assert_eq!(refused.count(), 1);
    assert_eq!(stage.emulator.token_requests().len(), 2);
    stage.nobody_was_woken();
    let health = stage.plane.health(&connection("prod")).unwrap();
    assert!(matches!(health.state, HealthState::Working), "{health:?}");
}

#[tokio::test]
async fn a_service_account_that_is_not_there_costs_no_call_to_the_token_service() {
    let mut stage = PlaneOnWire::new().await;
    stage.vault("prod");
    stage.accounts.refuse(AssertionError::ServiceAccountNotFound);
    assert_eq!(stage.reason(&connection("prod"), &want("db")).await, "ServiceAccountNotFound");
    assert!(stage.emulator.token_requests().is_empty());
}

#[tokio::test]
async fn a_vault_that_hangs_holds_up_only_its_own_users() {
    let mut stage = PlaneOnWire::new().await;
    let hangs = stage.vault("hangs");
    stage.vault("works");
    let _ = hangs.fault(Fault::stall());
    let _ = stage.ask(&user("waits"), &connection("hangs"), &[want("db")]);
    hangs.requests_until(|requests| requests.iter().any(|request| request.client_id.is_some())).await;
    let value = stage.value(&user("reads"), &connection("works"), &want("db")).await;
    assert_eq!(value, format!("{CANARY}-works"));
    let reply = stage.ask(&user("waits"), &connection("hangs"), &[want("db")]);
    assert!(matches!(reply.answers[0], Answer::Pending), "{reply:?}");
}

#[tokio::test]
async fn a_vault_is_read_over_one_connection() {
    let mut stage = PlaneOnWire::new().await;
    let vault = stage.vault("prod");
    stage.value(&user("shop"), &connection("prod"), &want("db")).await;
    vault.requests_until(|requests| requests.len() > 10).await;
    let tunnels =
        stage.emulator.connects().iter().filter(|connect| connect.target.starts_with("prod.")).count();
    assert_eq!(tunnels, 1);
}

#[tokio::test]
async fn whoever_asks_for_nothing_and_left_one_of_its_connections_is_served_on_through_the_other() {
    let stage = PlaneOnWire::new().await;
    let (_vault, _other) = (stage.vault("prod"), stage.vault("test"));
    let (user, prod, test) = (user("shop"), connection("prod"), connection("test"));
    let wants = [want("db")];
    let asks = [&prod, &test].map(|connection| Ask { connection, terms: Terms::default(), wants: &wants });
    assert_eq!(stage.plane.ask(&user, &asks, false).len(), 2);
    stage.plane.keep(&user, &[(&test, Terms::default())]);
    let users = |connection| stage.plane.health(connection).map(|health| health.users);
    assert_eq!((users(&prod), users(&test)), (Some(0), Some(1)));
    stage.plane.forget(&user);
    assert_eq!(users(&test), Some(0));
}

#[tokio::test]
async fn whoever_asks_for_nothing_for_a_while_is_served_on_unless_its_connection_is_another() {
    let mut stage = PlaneOnWire::new().await;
    let (vault, _other) = (stage.vault("prod"), stage.vault("test"));
    let (user, prod) = (user("shop"), connection("prod"));
    let users = |stage: &PlaneOnWire| stage.plane.health(&prod).map(|health| health.users);
    let listing = Terms { detect: Detect::List, ..Terms::default() };
    for (through, terms, left) in [
        (&prod, Terms::default(), Some(1)),
        (&prod, listing, Some(0)),
        (&connection("test"), Terms::default(), Some(0)),
    ] {
        stage.value(&user, &prod, &want("db")).await;
        stage.plane.keep(&user, &[(through, terms)]);
        assert_eq!(users(&stage), left, "{terms:?}");
    }
    assert!(vault.count(Operation::Get) >= 1);
}
