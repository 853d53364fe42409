//! The version before the current one: what it costs to find it, and what happens when there is none.

use super::*;
use crate::vault::{ObjectVersion, VersionPin, plane::gathering::CONFIRMATIONS};

fn version(number: u32) -> ObjectVersion {
    ObjectVersion::parse(&format!("{number:032x}")).unwrap()
}

fn previous(name: &str, known: Option<u32>) -> Want {
    Want { source: Source { version: Some(VersionPin::previous()), ..source(name) }, ..want(name, known) }
}

impl World {
    /// The secret has these versions, the last of them current, each a second after the one before.
    fn rotate(&mut self, name: &str, versions: &[(u32, bool)]) {
        let listed = versions.iter().map(|(number, enabled)| ListedVersion {
            version: version(*number),
            created: Timestamp::from_second(i64::from(*number)).ok(),
            enabled: *enabled,
        });
        self.versions.insert(name.to_owned(), listed.rev().collect());
        let (number, enabled) = *versions.last().unwrap();
        self.say(name, if enabled { Said::Version(number) } else { Said::Fails(Failure::SecretDisabled) });
    }

    /// What the user is told in the end of one source.
    fn told(&mut self, wants: &[Want]) -> Answer {
        for _ in 0..20 {
            let reply = self.ask("shop", wants);
            if !matches!(reply.answers[0], Answer::Pending) {
                return reply.answers[0].clone();
            }
            self.pass(SECOND);
        }
        panic!("no answer");
    }

    fn requests(&self) -> (usize, usize) {
        (self.gets_of("db"), self.version_lists.len())
    }
}

fn is(answer: &Answer, number: u32) -> bool {
    matches!(answer, Answer::Read(reading) if reading.attributes.version == version(number).as_str())
}

#[test]
fn the_newest_enabled_version_before_the_current_is_read_and_found_again_without_a_list() {
    let mut world = World::new();
    world.rotate("db", &[(1, true), (2, true), (3, false), (4, true)]);
    assert!(is(&world.told(&[previous("db", None)]), 2));
    assert_eq!(world.requests(), (2, 1), "the current, its versions, the one before");
    world.host.release(&user("shop"), &connection(0));
    world.pass(30 * MINUTE);
    let (gets, lists) = world.requests();
    assert!((58..=66).contains(&gets), "two an interval: {gets}");
    assert!((5..=7).contains(&lists), "one in five minutes: {lists}");
}

#[test]
fn a_rotation_moves_it_and_a_version_that_is_disabled_gives_way_to_the_one_before() {
    let mut world = World::new();
    world.rotate("db", &[(1, true), (2, true)]);
    assert!(is(&world.told(&[previous("db", None)]), 1));
    world.host.release(&user("shop"), &connection(0));
    world.rotate("db", &[(1, true), (2, true), (3, true)]);
    world.pass(2 * MINUTE);
    assert!(world.woken().contains(&Wake::User(user("shop"))));
    assert!(is(&world.told(&[previous("db", Some(1))]), 2));
    world.host.release(&user("shop"), &connection(0));
    world.rotate("db", &[(1, true), (2, false), (3, true)]);
    world.pass(2 * MINUTE);
    assert!(is(&world.told(&[previous("db", Some(2))]), 1));
    assert_eq!(world.version_lists.len(), 3);
}

#[test]
fn without_a_version_before_the_current_it_is_not_there_and_no_list_is_read_each_time_for_it() {
    let mut world = World::new();
    for versions in [&[(1, true)][..], &[(1, false), (2, true)]] {
        world.rotate("db", versions);
        world.version_lists.clear();
        world.host.refresh(&user("shop"), &connection(0), world.now);
        let told = world.told(&[previous("db", None)]);
        let Answer::Failed(failure) = told else { panic!("{told:?}") };
        assert_eq!((failure.reason(), failure.is_gone()), (Reason::SecretNotFound, true));
        assert!(failure.to_string().contains("no enabled version of this secret before the current one"));
        world.pass(4 * MINUTE);
        assert_eq!(world.version_lists.len(), 1);
    }
    // The first rotation brings one.
    world.rotate("db", &[(1, false), (2, true), (3, true)]);
    world.pass(2 * MINUTE);
    assert!(is(&world.told(&[previous("db", None)]), 2));
}

#[test]
fn a_current_version_that_is_disabled_hides_nothing_and_a_secret_that_is_gone_has_none() {
    let mut world = World::new();
    world.rotate("db", &[(1, true), (2, true), (3, false)]);
    assert!(is(&world.told(&[previous("db", None)]), 2));
    world.say("db", Said::Fails(Failure::SecretNotFound));
    world.pass(2 * MINUTE);
    let told = world.told(&[previous("db", Some(2))]);
    assert!(matches!(&told, Answer::Failed(failure) if **failure == Failure::SecretNotFound), "{told:?}");
}

#[test]
fn the_current_and_the_one_before_arrive_together_though_nobody_waits_for_confirmations_any_more() {
    for spent in [false, true] {
        let mut world = World::new();
        world.rotate("db", &[(1, true), (2, true)]);
        // Its own turn is far.
        let both = [want("db", Some(2)), Want { interval: 60 * MINUTE, ..previous("db", Some(1)) }];
        let ask = |world: &mut World| {
            let (terms, now) = (world.terms, world.now);
            for handle in world.host.handles.values_mut().filter(|_| spent) {
                if let Some(subscriber) = handle.users.get_mut(&user("shop")) {
                    subscriber.gathering.get_or_insert_default().spent = Some((now, CONFIRMATIONS));
                }
            }
            world.host.ask(&user("shop"), &connection(0), terms, &both, true, now).answers
        };
        let _ = ask(&mut world);
        world.pass(2 * MINUTE);
        let _ = world.woken();
        world.rotate("db", &[(1, true), (2, true), (3, true)]);
        world.say("db", Said::Written(3, world.clock()));
        let mut done = false;
        for _ in 0..150 {
            world.pass(SECOND);
            if world.woken().is_empty() {
                continue;
            }
            let answers = ask(&mut world);
            let read = answers.iter().filter(|answer| matches!(answer, Answer::Read(_))).count();
            let waits = answers.iter().any(|answer| matches!(answer, Answer::Pending));
            assert!(waits || read != 1, "half of it: {answers:?}");
            done |= !waits && is(&answers[0], 3) && is(&answers[1], 2);
        }
        assert!(done, "spent: {spent}");
    }
}

#[test]
fn a_list_of_versions_that_always_fails_or_leads_elsewhere_is_told_of_this_source_alone() {
    let unavailable = Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(500) };
    let elsewhere = "https://elsewhere.test/secrets/db/versions";
    for (fails, more, reason) in [
        (Some(unavailable), None, Reason::ServiceUnavailable),
        (None, Some(elsewhere), Reason::MalformedResponse),
    ] {
        let mut world = World::new();
        world.rotate("db", &[(1, true), (2, true)]);
        world.say("other", Said::Version(1));
        (world.no_versions, world.more_versions) = (fails, more);
        let wants = [previous("db", None), want("other", None)];
        let mut told = None;
        for _ in 0..600 {
            let answers = world.ask("shop", &wants).answers;
            if let Answer::Failed(failure) = &answers[0] {
                told = Some(failure.reason());
                break;
            }
            world.pass(SECOND);
        }
        assert_eq!(told, Some(reason));
        let health = world.host.health(&connection(0), world.now).unwrap();
        assert!(matches!(health.state, HealthState::Working), "{:?}", health.state);
        (world.no_versions, world.more_versions) = (None, None);
        world.pass(10 * MINUTE);
        assert!(is(&world.told(&wants), 1));
    }
}

#[test]
fn a_version_that_is_enabled_again_is_found_in_time_and_at_once_by_who_asks_by_hand() {
    let mut world = World::unpaced();
    world.rotate("db", &[(1, true), (2, false), (3, true)]);
    assert!(is(&world.told(&[previous("db", None)]), 1));
    world.host.release(&user("shop"), &connection(0));
    world.rotate("db", &[(1, true), (2, true), (3, true)]);
    world.pass(7 * MINUTE);
    assert!(is(&world.told(&[previous("db", Some(1))]), 2));
    world.host.release(&user("shop"), &connection(0));
    world.rotate("db", &[(1, true), (2, false), (3, true)]);
    world.pass(2 * MINUTE);
    assert!(is(&world.told(&[previous("db", Some(2))]), 1));
    world.host.release(&user("shop"), &connection(0));
    world.rotate("db", &[(1, true), (2, true), (3, true)]);
    world.host.refresh(&user("shop"), &connection(0), world.now);
    assert!(is(&world.told(&[previous("db", Some(1))]), 2));
}

#[test]
fn a_disabled_current_version_makes_no_list_each_time() {
    let mut world = World::new();
    world.rotate("db", &[(1, true), (2, true), (3, false)]);
    assert!(is(&world.told(&[previous("db", None)]), 2));
    world.pass(30 * MINUTE);
    assert!(world.version_lists.len() <= 8, "{}", world.version_lists.len());
}

#[test]
fn a_list_that_is_refused_though_the_rest_is_read_is_asked_for_as_rarely_as_any_source_that_is_refused() {
    for failure in [
        Failure::MissingAccessPolicy(Box::default()),
        Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(500) },
    ] {
        let mut world = World::new();
        world.rotate("db", &[(1, true), (2, true)]);
        world.no_versions = Some(failure.clone());
        let wants = [previous("db", None)];
        let mut told = None;
        for _ in 0..3600 {
            if let Answer::Failed(failure) = &world.ask("shop", &wants).answers[0] {
                told = Some(failure.reason());
            }
            world.pass(SECOND);
        }
        assert_eq!(told, Some(failure.reason()));
        assert!(world.version_lists.len() < 130, "{failure:?}: {} in an hour", world.version_lists.len());
        let state = world.host.health(&connection(0), world.now).unwrap().state;
        assert!(!matches!(state, HealthState::Failing { .. }), "{state:?}");
    }
}

#[test]
fn a_list_too_long_to_look_through_is_told_and_not_read_each_time() {
    let mut world = World::new();
    let many: Vec<(u32, bool)> = (1..=10_001).map(|number| (number, true)).collect();
    world.rotate("db", &many);
    world.more_versions = Some("https://prod.vault.azure.net/secrets/db/versions?more");
    let told = world.told(&[previous("db", None)]);
    assert!(matches!(&told, Answer::Failed(failure) if failure.reason() == Reason::TooLarge), "{told:?}");
    let before = world.version_lists.len();
    world.pass(4 * MINUTE);
    assert_eq!(world.version_lists.len(), before);
}

#[test]
fn a_list_that_always_fails_is_no_outage_though_another_source_stumbles_once() {
    let mut world = World::new();
    world.rotate("db", &[(1, true), (2, true)]);
    world.say("other", Said::Version(1));
    world.no_versions = Some(Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(500) });
    world.trips.insert("other".to_owned(), 1);
    let wants = [previous("db", None), want("other", None)];
    for _ in 0..120 {
        let _ = world.ask("shop", &wants);
        world.pass(SECOND);
        let state = world.host.health(&connection(0), world.now).unwrap().state;
        assert!(!matches!(state, HealthState::Failing { .. }), "{state:?}");
    }
    assert!(is_read(&world.ask("shop", &wants).answers[1], 1));
}

#[test]
fn a_vault_that_is_unreachable_during_a_list_is_no_failure_of_the_source() {
    let mut world = World::new();
    world.rotate("db", &[(1, true), (2, true)]);
    world.no_versions = Some(Failure::NetworkUnreachable(Peer::Vault));
    for _ in 0..4 {
        let answers = world.ask("shop", &[previous("db", None)]).answers;
        assert!(matches!(answers[0], Answer::Pending), "{answers:?}");
        world.pass(SECOND);
    }
    world.no_versions = None;
    world.pass(MINUTE);
    assert!(is(&world.told(&[previous("db", None)]), 1));
}
