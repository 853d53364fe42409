//! When a failure is one of the whole, of one source or of the list, and who is told when.

use super::*;
use crate::vault::{Detection, Mode, Rate, Why};

pub(super) fn unavailable() -> Failure {
    Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) }
}

impl World {
    /// So many sources, each known to a user of its own.
    fn knowing(sources: usize) -> Self {
        let mut world = Self::new();
        world.all_know(sources);
        world.pass(2 * MINUTE);
        world.woken();
        world.gets.clear();
        world
    }

    pub(super) fn all_know(&mut self, sources: usize) {
        for index in 0..sources {
            self.say(&format!("s{index}"), Said::Version(1));
        }
        self.all_ask(sources);
    }

    fn all_ask(&mut self, sources: usize) {
        for index in 0..sources {
            let name = format!("s{index}");
            let _ = self.ask(&name, &[want(&name, Some(1))]);
        }
    }

    fn state(&self) -> HealthState {
        self.host.health(&connection(0), self.now).unwrap().state
    }

    fn outages(&mut self) -> usize {
        self.woken().iter().filter(|wake| matches!(wake, Wake::Outage(_))).count()
    }
}

#[test]
fn one_failed_request_among_many_is_no_outage_and_nobody_is_woken() {
    let mut world = World::knowing(100);
    while world.gets.is_empty() {
        world.down = Some((unavailable(), None));
        world.pass(SECOND / 10);
    }
    assert!(matches!(world.state(), HealthState::Doubtful(_)));
    world.down = None;
    world.pass(10 * MINUTE);
    assert_eq!(world.woken(), []);
    assert!(matches!(world.state(), HealthState::Working));
}

#[test]
fn a_vault_that_is_rarely_asked_is_tried_soon_after_a_failure_and_its_outage_is_said_within_seconds() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let hourly = Want { interval: 60 * MINUTE, ..want("db", Some(1)) };
    let _ = world.ask("a", std::slice::from_ref(&hourly));
    world.pass(61 * MINUTE);
    world.gets.clear();
    world.down = Some((unavailable(), None));
    while world.gets.is_empty() {
        world.pass(SECOND);
    }
    assert!(matches!(world.state(), HealthState::Doubtful(_)));
    world.pass(15 * SECOND);
    assert!(matches!(world.state(), HealthState::Failing { .. }));
    assert_eq!(world.outages(), 1);
}

#[test]
fn who_has_nothing_yet_is_told_at_once_and_who_has_something_when_it_is_certain() {
    let mut world = World::knowing(1);
    world.say("new", Said::Version(1));
    world.down = Some((unavailable(), None));
    let _ = world.ask("newcomer", &[want("new", None)]);
    let _ = world.ask("s0", &[want("s0", Some(1))]);
    world.host.refresh(&user("s0"), &connection(0), world.now);
    world.settle();
    assert_eq!(world.woken(), [Wake::User(user("newcomer"))]);
    assert!(matches!(world.ask("newcomer", &[want("new", None)]).health.state, HealthState::Doubtful(_)));
    world.pass(15 * SECOND);
    let told = world.woken();
    for wake in [Wake::Outage(connection(0)), Wake::User(user("newcomer")), Wake::User(user("s0"))] {
        assert!(told.contains(&wake), "{told:?}");
    }
}

#[test]
fn an_outage_ends_in_word_when_all_is_quiet_and_values_flow_before() {
    let mut world = World::knowing(3);
    world.say("new", Said::Version(1));
    world.down = Some((unavailable(), None));
    let _ = world.ask("newcomer", &[want("new", None)]);
    world.pass(MINUTE);
    world.wakes.clear();
    world.down = None;
    while !world.wakes.contains(&Wake::User(user("newcomer"))) {
        world.pass(SECOND / 10);
    }
    let reply = world.ask("newcomer", &[want("new", None)]);
    assert!(is_read(&reply.answers[0], 1));
    assert!(matches!(reply.health.state, HealthState::Failing { .. }));
    assert!(!world.wakes.contains(&Wake::Connection(connection(0))));
    world.pass(6 * SECOND);
    assert!(matches!(world.state(), HealthState::Working));
    assert!(world.wakes.contains(&Wake::Connection(connection(0))));
}

#[test]
fn each_try_of_an_outage_is_of_another_source() {
    let mut world = World::knowing(20);
    world.down = Some((unavailable(), None));
    world.pass(10 * MINUTE);
    let tried: Vec<&String> = world.gets.iter().map(|(_, name)| name).collect();
    assert!(tried.len() >= 20, "{}", tried.len());
    for tries in tried.windows(10) {
        assert_eq!(tries.iter().collect::<BTreeSet<_>>().len(), 10, "{tries:?}");
    }
}

#[test]
fn a_source_that_fails_by_itself_holds_nobody_else_and_is_told_to_its_own_users() {
    let mut world = World::knowing(100);
    world.say("bad", Said::Fails(unavailable()));
    let _ = world.ask("owner", &[want("bad", None)]);
    world.pass(30 * SECOND);
    assert!(world.wakes.contains(&Wake::User(user("owner"))));
    let reply = world.ask("owner", &[want("bad", None)]);
    assert!(matches!(&reply.answers[0], Answer::Failed(failure) if **failure == unavailable()));
    assert!(matches!(reply.health.state, HealthState::Working));
    world.gets.clear();
    world.pass(10 * MINUTE);
    assert_eq!(world.outages(), 0);
    for index in 0..100 {
        assert!(world.gets_of(&format!("s{index}")) >= 9);
    }
    assert!((5..=30).contains(&world.gets_of("bad")), "{}", world.gets_of("bad"));
    world.say("bad", Said::Version(3));
    world.pass(MINUTE + SECOND);
    assert!(is_read(&world.ask("owner", &[want("bad", None)]).answers[0], 3));
}

#[test]
fn an_outage_ends_though_one_source_goes_on_failing() {
    let mut world = World::new();
    world.say("bad", Said::Fails(unavailable()));
    let _ = world.ask("owner", &[want("bad", None)]);
    world.pass(MINUTE);
    assert_eq!(world.outages(), 1, "as far as anybody can tell all fails");
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None)]);
    world.pass(2 * MINUTE);
    assert!(is_read(&world.ask("a", &[want("db", None)]).answers[0], 1));
    assert!(matches!(world.state(), HealthState::Working));
    assert!(matches!(world.ask("owner", &[want("bad", None)]).answers[0], Answer::Failed(_)));
    assert_eq!(world.outages(), 0);
}

#[test]
fn the_only_source_that_is_left_is_tried_though_it_failed_by_itself_before() {
    let mut world = World::knowing(1);
    world.say("bad", Said::Fails(unavailable()));
    let _ = world.ask("owner", &[want("bad", None)]);
    world.pass(2 * MINUTE);
    assert!(matches!(world.state(), HealthState::Working));
    world.host.forget(&user("s0"), &connection(0), world.now);
    world.pass(2 * MINUTE);
    assert!(matches!(world.state(), HealthState::Failing { .. }), "nobody succeeds any more");
    world.gets.clear();
    world.pass(10 * MINUTE);
    assert!(world.gets_of("bad") >= 10);
    world.say("bad", Said::Version(1));
    world.pass(2 * MINUTE);
    assert!(matches!(world.state(), HealthState::Working));
}

#[test]
fn a_list_that_fails_while_sources_are_read_gives_way_to_gets_whatever_the_failure() {
    for failure in [unavailable(), Failure::Throttled(Peer::Vault), Failure::Firewall(None)] {
        let mut world = World::new();
        world.terms.detect = Detect::List;
        world.all_know(20);
        world.pass(3 * MINUTE);
        world.wakes.clear();
        world.gets.clear();
        world.lists.clear();
        let reason = failure.reason();
        world.no_list = Some(failure);
        while world.lists.len() < 3 {
            world.pass(SECOND);
        }
        world.pass(5 * SECOND);
        assert!(
            world.gets.iter().any(|(at, _)| *at > world.lists[0] && *at <= world.lists[1]),
            "a GET between"
        );
        let detection = world.host.health(&connection(0), world.now).unwrap().detection;
        assert_eq!(detection, Some(Detection { mode: Mode::Get, why: Why::Unreadable(reason) }));
        world.gets.clear();
        world.pass(10 * MINUTE);
        for index in 0..20 {
            assert!(world.gets_of(&format!("s{index}")) >= 9);
        }
        assert_eq!(world.outages(), 0);
        assert_eq!(world.lists.len(), 3 + 4, "after 30 seconds, and then 1, 2 and 4 minutes");
    }
}

#[test]
fn another_word_on_how_changes_are_found_counts_at_once_even_while_the_list_fails() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    world.all_know(20);
    world.pass(3 * MINUTE);
    let why = |world: &World| world.host.health(&connection(0), world.now).unwrap().detection.unwrap();
    world.no_list = Some(unavailable());
    world.lists.clear();
    while world.lists.is_empty() {
        world.pass(SECOND);
    }
    world.terms.detect = Detect::Get;
    world.all_ask(20);
    world.pass(SECOND);
    assert_eq!(why(&world), Detection { mode: Mode::Get, why: Why::Asked });

    // And back: what kept the list from being read is looked at again.
    world.terms.detect = Detect::List;
    world.all_ask(20);
    world.pass(2 * MINUTE);
    assert_eq!(why(&world).why, Why::Unreadable(Reason::ServiceUnavailable));
    world.no_list = None;
    for detect in [Detect::Auto, Detect::List] {
        world.terms.detect = detect;
        world.all_ask(20);
    }
    world.pass(2 * MINUTE);
    assert_eq!(why(&world), Detection { mode: Mode::List, why: Why::Asked });
}

#[test]
fn a_list_that_fails_as_a_trial_is_tried_three_times_and_the_connection_works() {
    let mut world = World::new();
    world.no_list = Some(unavailable());
    world.host.prove(&connection(0), &"shop".into(), Detect::Auto, world.now);
    world.pass(10 * SECOND);
    assert!(matches!(world.state(), HealthState::Working));
    assert_eq!(world.trials.iter().filter(|trial| **trial == Permission::List).count(), 3);
    assert_eq!(world.outages(), 0);
}

#[test]
fn of_a_failure_that_nobody_looks_into_any_more_no_outage_is_made() {
    let mut world = World::knowing(1);
    world.down = Some((unavailable(), None));
    while world.gets.is_empty() {
        world.pass(SECOND / 10);
    }
    world.host.forget(&user("s0"), &connection(0), world.now);
    world.pass(100 * SECOND);
    assert!(matches!(world.state(), HealthState::Doubtful(_)));
    assert_eq!(world.outages(), 0);
}

#[test]
fn a_token_that_is_not_given_is_an_outage_at_once() {
    let mut world = World::knowing(1);
    world.down = Some((Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()), None));
    while world.gets.is_empty() {
        world.pass(SECOND / 10);
    }
    assert!(matches!(world.state(), HealthState::Failing { .. }));
    assert_eq!(world.outages(), 1);
}

#[test]
fn who_is_to_come_back_in_ages_hears_within_a_minute_that_the_vault_fails() {
    let mut world = World::knowing(1);
    world.down = Some((Failure::Throttled(Peer::Vault), Some(300 * SECOND)));
    while world.gets.is_empty() {
        world.pass(SECOND / 10);
    }
    world.pass(59 * SECOND);
    assert!(matches!(world.state(), HealthState::Doubtful(_)));
    world.pass(SECOND);
    assert!(matches!(world.state(), HealthState::Failing { .. }));
    assert_eq!((world.outages(), world.gets.len()), (1, 1));
}

#[test]
fn a_source_that_fails_by_itself_is_what_an_outage_is_tried_with_at_its_own_pace_alone() {
    let mut world = World::knowing(3);
    world.say("bad", Said::Fails(unavailable()));
    let _ = world.ask("owner", &[want("bad", None)]);
    world.pass(2 * MINUTE);
    world.down = Some((unavailable(), None));
    world.pass(MINUTE);
    world.gets.clear();
    world.pass(10 * MINUTE);
    let bad = world.gets_of("bad");
    // Its users ask for it once a minute.
    assert!((5..=10).contains(&bad) && world.gets.len() >= 20, "{bad} of {}", world.gets.len());
}

#[test]
fn a_source_that_failed_by_itself_and_is_well_again_is_read_though_the_only_other_fails_now() {
    let mut world = World::knowing(1);
    world.say("bad", Said::Fails(unavailable()));
    let _ = world.ask("owner", &[want("bad", None)]);
    world.pass(2 * MINUTE);
    world.say("s0", Said::Fails(unavailable()));
    world.pass(2 * MINUTE);
    assert!(matches!(world.state(), HealthState::Failing { .. }), "nothing succeeds any more");
    world.say("bad", Said::Version(1));
    world.pass(2 * MINUTE);
    assert!(is_read(&world.ask("owner", &[want("bad", None)]).answers[0], 1));
    assert!(matches!(world.state(), HealthState::Working), "s0 is what fails by itself now");
}

#[test]
fn who_waits_is_served_at_once_when_an_outage_ends_whatever_it_was_tried_with() {
    let mut world = World::knowing(1);
    let wants: Vec<Want> = ["a", "b", "c"].map(|name| want(name, None)).into();
    for name in ["a", "b", "c"] {
        world.say(name, Said::Version(1));
    }
    world.down = Some((unavailable(), None));
    let _ = world.ask("newcomer", &wants);
    world.pass(2 * MINUTE);
    world.down = None;
    world.gets.clear();
    while world.gets.is_empty() {
        world.pass(SECOND / 10);
    }
    for name in ["a", "b", "c"] {
        assert_eq!(world.gets_of(name), 1, "{name}");
    }
}

#[test]
fn where_only_the_list_tells_of_a_vault_its_failure_is_noticed_and_its_return_too() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    world.say("db", Said::Version(1));
    world.say("bad", Said::Fails(unavailable()));
    let _ = world.ask("a", &[want("db", Some(1))]);
    let _ = world.ask("owner", &[want("bad", None)]);
    world.pass(3 * MINUTE);
    world.host.forget(&user("a"), &connection(0), world.now);
    world.pass(3 * MINUTE);
    assert!(matches!(world.state(), HealthState::Working), "its one source fails, but the list is read");
    world.down = Some((unavailable(), None));
    world.pass(3 * MINUTE);
    assert!(matches!(world.state(), HealthState::Failing { .. }));
    world.down = None;
    world.say("bad", Said::Version(1));
    world.pass(2 * MINUTE);
    assert!(matches!(world.state(), HealthState::Working));
}

#[test]
fn a_refused_source_that_is_tried_before_its_time_does_not_wait_longer_for_that() {
    let mut world = World::knowing(1);
    world.say("locked", Said::Fails(Failure::MissingRole(Box::default())));
    let _ = world.ask("owner", &[want("locked", None)]);
    world.settle();
    for _ in 0..10 {
        world.pass(3 * SECOND);
        world.host.refresh(&user("owner"), &connection(0), world.now);
        world.pass(SECOND);
    }
    assert_eq!(world.gets_of("locked"), 11);
    world.say("locked", Said::Version(1));
    world.pass(MINUTE);
    assert!(is_read(&world.ask("owner", &[want("locked", None)]).answers[0], 1));
}

#[test]
fn an_odd_answer_to_every_source_is_an_outage_said_once_and_to_one_is_its_own() {
    let odd = || Failure::MalformedResponse { peer: Peer::Vault, at: None };
    let mut world = World::knowing(20);
    world.down = Some((odd(), None));
    world.pass(3 * MINUTE);
    assert_eq!(world.woken(), [Wake::Outage(connection(0))]);
    world.down = None;
    world.pass(5 * MINUTE);
    world.woken();
    assert!(matches!(world.state(), HealthState::Working));
    world.say("s7", Said::Fails(odd()));
    world.pass(5 * MINUTE);
    assert_eq!(world.woken(), [Wake::User(user("s7"))]);
    assert!(matches!(world.state(), HealthState::Working));
}

#[test]
fn one_page_that_fails_when_a_list_is_tried_again_is_asked_for_again() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    world.page = 5;
    world.all_know(20);
    world.pass(3 * MINUTE);
    let detection = |world: &World| world.host.health(&connection(0), world.now).unwrap().detection.unwrap();
    world.no_list = Some(unavailable());
    while detection(&world).mode == Mode::List {
        world.pass(SECOND);
    }
    (world.no_list, world.no_page) = (None, Some("s12"));
    world.pass(45 * SECOND);
    assert_eq!((world.no_page, detection(&world).mode), (None, Mode::List));
}

#[test]
fn a_list_that_is_tried_again_does_not_stand_behind_the_reads_that_it_is_to_end() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    world.terms.handle_rate = Some(Rate { requests_per_second: 5, burst: 5 });
    world.all_know(400);
    world.pass(5 * MINUTE);
    let detection = |world: &World| world.host.health(&connection(0), world.now).unwrap().detection.unwrap();
    assert_eq!(detection(&world).mode, Mode::List);
    world.no_list = Some(unavailable());
    while detection(&world).mode == Mode::List {
        world.pass(SECOND);
    }
    // More reads are due than it may send.
    world.pass(20 * MINUTE);
    world.no_list = None;
    world.pass(13 * MINUTE);
    assert_eq!(detection(&world).mode, Mode::List);
}

#[test]
fn a_list_that_cannot_be_read_is_tried_less_often_than_it_would_be_read() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    world.say("db", Said::Version(1));
    let daily = Want { interval: 24 * 60 * MINUTE, ..want("db", Some(1)) };
    world.no_list = Some(Failure::MissingRole(Box::default()));
    let _ = world.ask("app", &[daily]);
    world.pass(5 * 24 * 60 * MINUTE);
    assert!(world.lists.len() <= 18, "{}", world.lists.len());
}
