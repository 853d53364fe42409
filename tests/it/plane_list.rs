//! List mode against the emulator, over the wire: what a sweep costs, what it finds, and what stops it.

use std::time::Duration;

use keyvault_emulator::{Fault, FaultId, Operation, Permission, Vault};
use vaultsync::Reason;
use vaultsync::vault::{Answer, Ask, Attributes, Detect, Detection, Mode, Terms, Wake, Want, Why};

use support::plane::{CANARY, PlaneOnWire, connection, user, want};
use support::scene::CLIENT;

const LIST: Terms = Terms { detect: Detect::List, host_rate: None, handle_rate: None };
/// Two pages.
const SECRETS: usize = 30;

/// A stage with a vault whose secrets one user has, and has had for long.
struct Watched {
    stage: PlaneOnWire,
    vault: Vault,
    known: Vec<Want>,
}

impl Watched {
    async fn new() -> Self {
        let stage = PlaneOnWire::new().await;
        let vault = stage.emulator.vault("prod");
        vault.grant(CLIENT);
        let mut watched = Self { stage, vault, known: (0..SECRETS).map(|_| want("x")).collect() };
        for (index, known) in watched.known.iter_mut().enumerate() {
            *known = want(&format!("s{index}"));
        }
        for index in 0..SECRETS {
            watched.long_ago(60, |vault| vault.set(&format!("s{index}"), CANARY));
        }
        watched.read_all().await;
        watched
    }

    /// Does something to the vault as if so many seconds had passed since: nothing read now is read within its second.
    fn long_ago<T>(&self, seconds: i64, change: impl FnOnce(&Vault) -> T) -> T {
        self.stage.emulator.set_clock_offset(-seconds);
        let done = change(&self.vault);
        self.stage.emulator.set_clock_offset(0);
        done
    }

    fn ask(&self) -> vaultsync::vault::Reply {
        let ask = Ask { connection: &connection("prod"), terms: LIST, wants: &self.known };
        self.stage.plane.ask(&user("shop"), &[ask], false).remove(0)
    }

    /// Takes what is there until nothing is pending, and notes it as written.
    async fn read_all(&mut self) {
        loop {
            let reply = self.ask();
            for (want, answer) in self.known.iter_mut().zip(&reply.answers) {
                if let Answer::Read(reading) = answer {
                    want.known = Some(reading.attributes.clone());
                }
            }
            self.stage.plane.release(&user("shop"));
            if !reply.answers.iter().any(|answer| matches!(answer, Answer::Pending)) {
                let _ = self.ask();
                return;
            }
            self.woken().await;
        }
    }

    /// Waits until the user is woken.
    async fn woken(&mut self) {
        let never = Duration::from_secs(60);
        while tokio::time::timeout(never, self.stage.wakes.recv()).await.expect("a wake")
            != Some(Wake::User(user("shop")))
        {}
    }

    /// Waits until so many more pages were answered, from now on counted anew.
    async fn pages(&self, count: usize) {
        self.vault.clear_log();
        self.vault
            .requests_until(|requests| {
                let listed = |request: &&keyvault_emulator::LoggedRequest| {
                    request.operation == Some(Operation::List) && request.status == Some(200)
                };
                requests.iter().filter(listed).count() >= count
            })
            .await;
    }

    fn version(&self, index: usize) -> Option<&str> {
        self.known[index].known.as_ref().map(|known: &Attributes| known.version.as_str())
    }

    /// Waits until this is how changes are found.
    async fn detection(&mut self, mode: Mode, why: Why) {
        let wanted = Detection { mode, why };
        let never = Duration::from_secs(60);
        while self.ask().health.detection.as_ref() != Some(&wanted) {
            let wake = tokio::time::timeout(never, self.stage.wakes.recv()).await;
            assert!(wake.is_ok(), "still {:?}", self.ask().health);
        }
    }

    /// Waits until this source fails for this reason, or does not.
    async fn says(&mut self, index: usize, reason: Option<&str>) {
        loop {
            let said = match &self.ask().answers[index] {
                Answer::Failed(failure) => Some(failure.reason().as_str()),
                Answer::Pending => Some("Pending"),
                Answer::Read(_) | Answer::Unchanged => None,
            };
            if said == reason {
                return;
            }
            self.woken().await;
        }
    }

    fn fault_on_list(&self, fault: Fault) -> FaultId {
        self.vault.fault(fault.on(Operation::List))
    }

    /// A change arrives, however it is found.
    async fn follows(&mut self, index: usize) {
        let version = self.long_ago(30, |vault| vault.set(&format!("s{index}"), CANARY));
        while self.version(index) != Some(&version) {
            self.woken().await;
            self.read_all().await;
        }
    }
}

#[tokio::test]
async fn steady_state_costs_the_pages_of_the_list_and_no_read() {
    let mut watched = Watched::new().await;
    // What was read before the first sweep was over may be confirmed by it late, not by a read.
    watched.pages(4).await;
    while watched.stage.wakes.try_recv().is_ok() {}
    watched.pages(10).await;
    assert_eq!(watched.vault.count(Operation::Get), 0);
    watched.stage.nobody_was_woken();
    assert!(watched.ask().answers.iter().all(|answer| matches!(answer, Answer::Unchanged)));
    let seen = watched.stage.everything_seen();
    assert!(seen.contains("operation=\"ListSecrets\""), "{seen}");
    for family in [
        "vaultsync_vault_reads_saved_total{vault=\"prod.vault.azure.net\"}",
        "vaultsync_vault_sweep_age_seconds{vault=\"prod.vault.azure.net\"}",
        "vaultsync_vault_sweep_duration_seconds_count{vault=\"prod.vault.azure.net\"}",
        "vaultsync_vault_staleness_seconds{vault=\"prod.vault.azure.net\"}",
        "vaultsync_vault_budget_requests_per_second{vault=\"prod.vault.azure.net\"} 50",
        "vaultsync_vault_connections{vault=\"prod.vault.azure.net\"} 1",
        "vaultsync_vault_gates_closed{vault=\"prod.vault.azure.net\"} 0",
        "vaultsync_vault_waiting_requests{lane=\"periodic\",vault=\"prod.vault.azure.net\"}",
    ] {
        assert!(seen.contains(family), "{family}: {seen}");
    }
    assert!(!seen.contains(CANARY));
}

#[tokio::test]
async fn one_change_costs_one_read() {
    let mut watched = Watched::new().await;
    watched.pages(4).await;
    watched.vault.clear_log();
    watched.follows(7).await;
    watched.pages(6).await;
    let reads = watched.vault.count(Operation::Get);
    assert_eq!(reads, 0, "after the one that brought it");
}

#[tokio::test]
async fn empty_pages_are_not_the_end_and_nothing_vanishes_by_them() {
    let mut watched = Watched::new().await;
    watched.vault.set_sparse_pages(true);
    watched.pages(8).await;
    watched.pages(9).await;
    assert_eq!(watched.vault.count(Operation::Get), 0);
    watched.follows(SECRETS - 1).await;
}

#[tokio::test]
async fn a_link_to_another_host_is_not_followed_and_the_values_still_come() {
    let mut watched = Watched::new().await;
    watched.vault.set_foreign_links(Some("https://evil.test"));
    watched.detection(Mode::Get, Why::Unreadable(Reason::UntrustedVaultHost)).await;
    watched.follows(3).await;
    assert_eq!(watched.stage.emulator.refused(), Vec::<String>::new(), "nothing was sent there");
    watched.vault.set_foreign_links(None);
    watched.detection(Mode::List, Why::Asked).await;
}

#[tokio::test]
async fn a_fail_over_that_loses_the_last_write_is_followed_back() {
    let mut watched = Watched::new().await;
    let first = watched.version(5).map(ToOwned::to_owned);
    watched.follows(5).await;
    assert_ne!(watched.version(5).map(ToOwned::to_owned), first);
    watched.vault.rollback("s5");
    while watched.version(5).map(ToOwned::to_owned) != first {
        watched.woken().await;
        watched.read_all().await;
    }
}

#[tokio::test]
async fn two_versions_of_one_second_end_with_the_second() {
    let mut watched = Watched::new().await;
    watched.vault.set("s2", "one");
    watched.woken().await;
    watched.read_all().await;
    let last = watched.vault.set("s2", "two");
    while watched.version(2) != Some(&last) {
        watched.woken().await;
        watched.read_all().await;
    }
}

#[tokio::test]
async fn disabled_enabled_deleted_and_made_anew_are_each_told() {
    let mut watched = Watched::new().await;
    watched.long_ago(50, |vault| vault.disable("s4"));
    watched.says(4, Some("SecretDisabled")).await;
    watched.long_ago(40, |vault| vault.enable("s4"));
    watched.says(4, None).await;
    watched.vault.delete("s4");
    watched.says(4, Some("SecretNotFound")).await;
    watched.vault.purge("s4");
    let anew = watched.long_ago(30, |vault| vault.set("s4", CANARY));
    while watched.version(4) != Some(anew.as_str()) {
        watched.woken().await;
        watched.read_all().await;
    }
    watched.says(4, None).await;
}

#[tokio::test]
async fn an_identity_that_may_not_list_reads_each_secret_until_it_may() {
    let mut watched = Watched::new().await;
    watched.vault.grant_only(CLIENT, &[Permission::Get]);
    watched.detection(Mode::Get, Why::Forbidden).await;
    watched.follows(1).await;
    watched.vault.grant(CLIENT);
    watched.detection(Mode::List, Why::Asked).await;
    watched.follows(2).await;
}

#[tokio::test]
async fn a_list_of_garbage_or_without_measure_is_left_alone_until_it_is_one() {
    let mut watched = Watched::new().await;
    for (fault, reason) in
        [(Fault::garbage(), Reason::MalformedResponse), (Fault::oversized(2_000_000), Reason::TooLarge)]
    {
        let id = watched.fault_on_list(fault);
        watched.detection(Mode::Get, Why::Unreadable(reason)).await;
        watched.follows(6).await;
        watched.vault.clear_fault(id);
        watched.detection(Mode::List, Why::Asked).await;
    }
}

#[tokio::test]
async fn a_list_that_hangs_keeps_nobody_from_reading() {
    let mut watched = Watched::new().await;
    let hangs = watched.fault_on_list(Fault::stall());
    watched
        .vault
        .requests_until(|requests| {
            requests
                .iter()
                .any(|request| request.operation == Some(Operation::List) && request.status.is_none())
        })
        .await;
    watched.vault.set("new", CANARY);
    let value = watched.stage.value(&user("new"), &connection("prod"), &want("new")).await;
    assert_eq!(value, CANARY);
    watched.vault.clear_fault(hangs);
    watched.follows(8).await;
}

#[tokio::test]
async fn a_throttled_list_goes_on_where_it_stopped() {
    let mut watched = Watched::new().await;
    let _ = watched.fault_on_list(Fault::throttle(Some(0)).times(3));
    watched.follows(9).await;
    assert!(watched.stage.everything_seen().contains("vaultsync_vault_throttled_total"));
}
