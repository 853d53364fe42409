//! The plane in List mode: what a sweep tells, what it costs, and what happens when there is none.

use super::*;
use crate::vault::{Detection, Mode, ObjectVersion, VersionPin, Why};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("s{index:04}")).collect()
}

impl World {
    fn listing(detect: Detect) -> Self {
        let mut world = Self::new();
        world.terms.detect = detect;
        world
    }

    /// A vault with these names at version 1, which one user has all of.
    fn synced(detect: Detect, count: usize) -> (Self, Vec<Want>) {
        let mut world = Self::listing(detect);
        for name in names(count) {
            world.say(&name, Said::Version(1));
        }
        let wants: Vec<Want> = names(count).iter().map(|name| want(name, Some(1))).collect();
        let _ = world.ask("all", &wants);
        (world, wants)
    }

    fn detection(&self) -> Option<Detection> {
        self.host.health(&connection(0), self.now).unwrap().detection
    }

    fn mode(&self) -> Option<Mode> {
        self.detection().map(|detection| detection.mode)
    }

    fn forget_costs(&mut self) {
        self.gets.clear();
        self.lists.clear();
    }
}

#[test]
fn a_restart_and_every_interval_after_it_cost_the_pages_of_one_list_and_no_get() {
    for detect in [Detect::List, Detect::Auto] {
        let (mut world, wants) = World::synced(detect, 100);
        world.pass(10 * MINUTE);
        assert_eq!(world.gets, []);
        assert!((40..=44).contains(&world.lists.len()), "{}", world.lists.len());
        let users = world.woken().into_iter().filter(|wake| matches!(wake, Wake::User(_))).count();
        assert_eq!(users, 0);
        let reply = world.ask("all", &wants);
        assert_eq!(reply.unconfirmed_for, None);
        assert!(reply.answers.iter().all(|answer| matches!(answer, Answer::Unchanged)));
        assert!(matches!(reply.health.state, HealthState::Working));
        assert_eq!(world.mode(), Some(Mode::List));
        assert!(world.host.tally.saved >= 1000);
    }
}

#[test]
fn one_change_costs_one_get_within_the_interval_and_a_step_back_is_a_change() {
    let (mut world, _) = World::synced(Detect::List, 100);
    world.pass(2 * MINUTE);
    for version in [7, 3] {
        world.woken();
        world.forget_costs();
        world.say("s0042", Said::Version(version));
        world.pass(MINUTE + SECOND);
        assert_eq!(world.woken(), [Wake::User(user("all"))]);
        assert_eq!(world.gets_of("s0042"), 1);
        let reply = world.ask("all", &[want("s0042", Some(1))]);
        assert!(is_read(&reply.answers[0], version));
        world.host.release(&user("all"), &connection(0));
        let _ = world.ask("all", &[want("s0042", Some(version))]);
        world.pass(10 * MINUTE);
        assert_eq!(world.gets.len(), 1, "it is read once");
    }
}

#[test]
fn what_changed_while_the_operator_was_down_is_found_by_the_first_sweep() {
    let mut world = World::listing(Detect::Auto);
    let mut wants = Vec::new();
    for name in names(50) {
        world.say(&name, Said::Version(1));
        wants.push(want(&name, Some(1)));
    }
    world.say("s0007", Said::Version(2));
    let _ = world.ask("all", &wants);
    world.pass(MINUTE);
    assert_eq!(world.gets.len(), 1);
    assert!(is_read(&world.ask("all", &wants).answers[7], 2));
}

#[test]
fn a_name_that_is_not_listed_is_read_and_only_the_get_is_believed() {
    let (mut world, wants) = World::synced(Detect::List, 10);
    world.pass(2 * MINUTE);
    world.woken();
    world.vault.remove("s0003");
    world.pass(MINUTE + SECOND);
    assert_eq!(world.woken(), [Wake::User(user("all"))]);
    let reply = world.ask("all", &wants);
    assert!(matches!(&reply.answers[3], Answer::Failed(failure) if **failure == Failure::SecretNotFound));
    world.pass(10 * MINUTE);
    assert_eq!(world.gets_of("s0003"), 1, "as long as it is not listed it is still missing");
    assert_eq!(world.ask("all", &wants).unconfirmed_for, None);
    world.say("s0003", Said::Version(2));
    world.pass(MINUTE + SECOND);
    assert!(is_read(&world.ask("all", &wants).answers[3], 2));
    assert_eq!(world.gets.len(), 2);
}

#[test]
fn objects_that_move_between_pages_cost_a_get_and_change_nothing() {
    let (mut world, wants) = World::synced(Detect::List, 60);
    world.pass(2 * MINUTE);
    world.woken();
    world.forget_costs();
    // A page that one sweep does not see at all: what was on it moved to one that had been read.
    let mut missed = false;
    for _ in 0..200 {
        let tick = world.host.tick(world.now);
        for fetch in tick.fetches {
            world.sent(&fetch);
            let mut outcome = world.answer(&fetch);
            if let (Fetched::Listed(page, _), false) = (&mut outcome, missed) {
                page.items.clear();
                missed = true;
            }
            world.wakes.extend(world.host.finish(&fetch, outcome, world.now));
        }
        world.now += SECOND;
    }
    assert!(missed);
    assert_eq!(world.gets.len(), 25, "each that was not seen is read once");
    assert_eq!(world.woken(), []);
    assert!(world.ask("all", &wants).answers.iter().all(|answer| matches!(answer, Answer::Unchanged)));
}

#[test]
fn a_disabled_secret_is_told_once_and_its_return_too() {
    let (mut world, wants) = World::synced(Detect::List, 5);
    world.pass(2 * MINUTE);
    world.say("s0001", Said::Fails(Failure::SecretDisabled));
    world.pass(10 * MINUTE);
    assert_eq!(world.gets.len(), 1);
    assert!(matches!(&world.ask("all", &wants).answers[1],
        Answer::Failed(failure) if **failure == Failure::SecretDisabled));
    world.say("s0001", Said::Version(1));
    world.pass(10 * MINUTE);
    assert_eq!(world.gets.len(), 2);
    assert!(matches!(world.ask("all", &wants).answers[1], Answer::Unchanged));
}

#[test]
fn a_value_read_within_its_second_is_read_once_more_and_a_restart_does_so_too() {
    let mut world = World::listing(Detect::List);
    world.say("db", Said::Version(1));
    world.skew = None;
    let reply = world.ask("a", &[want("db", None)]);
    assert!(matches!(reply.answers[0], Answer::Pending));
    world.settle();
    let reply = world.ask("a", &[want("db", None)]);
    let Answer::Read(given) = &reply.answers[0] else { panic!("{reply:?}") };
    assert_eq!((given.attributes.version.clone(), given.attributes.updated), (attributes(1).version, None));
    world.host.release(&user("a"), &connection(0));
    let unsettled = Want { known: Some(given.attributes.clone()), ..want("db", None) };
    assert!(matches!(world.ask("a", std::slice::from_ref(&unsettled)).answers[0], Answer::Unchanged));
    world.skew = Some(0);
    world.woken();
    world.pass(10 * MINUTE);
    assert_eq!(world.gets.len(), 2);
    assert_eq!(world.woken(), [Wake::User(user("a"))], "to note it as settled");

    let mut world = World::listing(Detect::List);
    world.say("db", Said::Version(1));
    assert!(matches!(world.ask("a", std::slice::from_ref(&unsettled)).answers[0], Answer::Unchanged));
    world.pass(10 * MINUTE);
    assert_eq!(world.gets.len(), 1);
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
}

#[test]
fn a_service_without_a_clock_has_each_value_read_once_more_and_not_for_ever() {
    let mut world = World::listing(Detect::List);
    world.say("s0001", Said::Version(1));
    world.skew = None;
    let _ = world.ask("a", &[want("s0001", None)]);
    world.pass(10 * MINUTE);
    assert_eq!(world.gets_of("s0001"), 2);
}

#[test]
fn few_sources_are_read_and_a_vault_far_larger_than_its_use_is_not_listed_to_its_end() {
    let mut world = World::listing(Detect::Auto);
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", Some(1))]);
    world.pass(HOUR);
    assert!(world.lists.is_empty(), "one GET an interval is never more than one page");
    assert!((59..=61).contains(&world.gets.len()), "{}", world.gets.len());
    assert_eq!(world.detection(), Some(Detection { mode: Mode::Get, why: Why::Cheaper }));

    let (mut world, _) = World::synced(Detect::Auto, 1000);
    let few: Vec<Want> = names(10).iter().map(|name| want(name, Some(1))).collect();
    let _ = world.ask("all", &few);
    world.pass(10 * MINUTE);
    assert_eq!(world.mode(), Some(Mode::Get));
    assert!(world.lists.len() <= 12, "{}", world.lists.len());
    assert!((90..=110).contains(&world.gets.len()), "{}", world.gets.len());
    // More of it comes into use: now the list costs less.
    let all: Vec<Want> = names(1000).iter().map(|name| want(name, Some(1))).collect();
    let _ = world.ask("all", &all);
    world.pass(2 * MINUTE);
    world.forget_costs();
    world.pass(10 * MINUTE);
    assert_eq!((world.mode(), world.gets.len()), (Some(Mode::List), 0));
    assert!((400..=440).contains(&world.lists.len()), "{}", world.lists.len());
}

#[test]
fn sweeps_keep_the_shortest_interval_asked_for_and_never_more() {
    let (mut world, _) = World::synced(Detect::List, 20);
    let of = |interval| Want { interval, ..want("s0001", Some(1)) };
    let _ = world.ask("quick", &[of(10 * SECOND)]);
    let _ = world.ask("slow", &[of(HOUR)]);
    world.pass(MINUTE);
    world.forget_costs();
    world.pass(10 * MINUTE);
    assert!((59..=61).contains(&world.lists.len()), "{}", world.lists.len());
    let _ = world.ask("quick", &[]);
    world.pass(2 * MINUTE);
    world.forget_costs();
    world.pass(10 * MINUTE);
    assert!((9..=11).contains(&world.lists.len()), "{}", world.lists.len());
}

#[test]
fn an_identity_that_may_not_list_reads_by_get_says_so_and_tries_again_ever_more_rarely() {
    let (mut world, _) = World::synced(Detect::Auto, 50);
    world.no_list = Some(Failure::MissingRole(Box::default()));
    world.pass(HOUR);
    assert!((10..=11).contains(&world.lists.len()), "{}", world.lists.len());
    assert_eq!(world.detection(), Some(Detection { mode: Mode::Get, why: Why::Forbidden }));
    assert!(matches!(world.host.health(&connection(0), world.now).unwrap().state, HealthState::Working));
    world.forget_costs();
    world.pass(10 * MINUTE);
    assert!((490..=510).contains(&world.gets.len()), "{}", world.gets.len());
    let news = world.wakes.iter().filter(|wake| matches!(wake, Wake::Connection(_))).count();
    assert_eq!(news, 3, "that it lists, that it may not, and that it reads; each once");
    world.lists.clear();
    world.pass(HOUR);
    assert_eq!(world.lists.len(), 6, "every ten minutes");
    world.no_list = None;
    world.pass(11 * MINUTE);
    assert_eq!(world.mode(), Some(Mode::List));
    world.forget_costs();
    world.pass(10 * MINUTE);
    assert_eq!(world.gets.len(), 0);
}

#[test]
fn a_list_that_cannot_be_read_is_tried_again_soon_and_then_left_alone() {
    let (mut world, _) = World::synced(Detect::List, 50);
    world.pass(2 * MINUTE);
    world.forget_costs();
    let malformed = Failure::MalformedResponse { peer: Peer::Vault, at: None };
    world.no_list = Some(malformed);
    while world.lists.len() < 3 {
        world.pass(SECOND);
    }
    world.pass(25 * SECOND);
    assert_eq!(world.lists.len(), 3);
    assert_eq!(
        world.detection(),
        Some(Detection { mode: Mode::Get, why: Why::Unreadable(Reason::MalformedResponse) })
    );
    world.pass(2 * MINUTE);
    assert!(world.gets.len() >= 100, "every source within its interval all the same: {}", world.gets.len());
}

#[test]
fn a_list_without_an_end_is_given_up() {
    let mut world = World::limited(Limits { list_pages: 3, ..Limits::default() });
    world.terms.detect = Detect::List;
    for name in names(100) {
        world.say(&name, Said::Version(1));
    }
    let _ = world.ask("a", &[want("s0001", Some(1))]);
    world.pass(2 * MINUTE);
    assert_eq!(world.lists.len(), 3);
    assert_eq!(world.detection(), Some(Detection { mode: Mode::Get, why: Why::Endless }));
    assert!(!world.gets.is_empty());
}

#[test]
fn an_identity_that_may_list_but_not_read_is_refused_and_stays_so() {
    let mut world = World::listing(Detect::List);
    let mut wants = Vec::new();
    for name in names(10) {
        world.say(&name, Said::Fails(Failure::MissingRole(Box::default())));
        wants.push(want(&name, None));
    }
    let _ = world.ask("all", &wants);
    world.pass(HOUR);
    let health = world.host.health(&connection(0), world.now).unwrap();
    assert!(
        matches!(&health.state, HealthState::Failing { failure, lasting, .. }
            if failure.reason() == Reason::MissingRole && *lasting > HOUR / 2),
        "{health:?}"
    );
    for name in names(10) {
        world.say(&name, Said::Version(1));
    }
    world.pass(11 * MINUTE);
    let _ = world.ask("all", &wants);
    world.settle();
    assert!(world.ask("all", &wants).answers.iter().all(|answer| is_read(answer, 1)));
}

#[test]
fn an_outage_holds_sweeps_up_and_costs_one_request_a_try() {
    let (mut world, _) = World::synced(Detect::List, 1000);
    world.pass(2 * MINUTE);
    world.woken();
    world.forget_costs();
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    world.pass(10 * MINUTE);
    assert!(world.lists.len() + world.gets.len() < 60);
    assert_eq!(world.woken(), [Wake::Outage(connection(0))]);
    world.down = None;
    world.say("s0500", Said::Version(2));
    world.pass(2 * MINUTE + 10 * SECOND);
    assert_eq!(world.gets_of("s0500"), 1);
    let _ = world.ask("all", &[want("s0500", Some(1))]);
    world.settle();
    let reply = world.ask("all", &[want("s0500", Some(1))]);
    assert!(is_read(&reply.answers[0], 2));
    assert!(matches!(reply.health.state, HealthState::Working));
}

#[test]
fn a_pinned_version_is_read_once_and_is_never_stale() {
    for detect in [Detect::List, Detect::Get] {
        let mut world = World::listing(detect);
        world.say("db", Said::Version(1));
        let version = ObjectVersion::parse(&attributes(1).version).ok();
        let pinned = |known| Want {
            source: Source { version: version.clone().map(VersionPin::of), ..source("db") },
            ..want("db", known)
        };
        let _ = world.ask("a", &[pinned(None)]);
        world.settle();
        world.host.release(&user("a"), &connection(0));
        let _ = world.ask("a", &[pinned(Some(1))]);
        let _ = world.ask("b", &[pinned(Some(1))]);
        world.pass(HOUR);
        assert_eq!((world.gets.len(), world.lists.len()), (1, 0));
        assert_eq!(world.ask("b", &[pinned(Some(1))]).unconfirmed_for, None);
    }
}

#[test]
fn every_source_is_read_once_a_day_spread_over_it_whatever_the_list_says() {
    let (mut world, _) = World::synced(Detect::List, 48);
    world.pass(2 * DAY);
    assert!(world.gets.is_empty());
    for name in names(48) {
        assert_eq!(world.rechecks.iter().filter(|(_, got)| *got == name).count(), 2, "{name}");
    }
    let start = world.rechecks[0].0;
    let in_first_half = world.rechecks.iter().filter(|(at, _)| at.duration_since(start) < DAY / 2).count();
    assert!((10..=38).contains(&in_first_half), "{in_first_half}");
}

#[test]
fn a_change_that_no_list_shows_is_found_within_a_day() {
    let (mut world, _) = World::synced(Detect::List, 5);
    world.pass(2 * MINUTE);
    world.unlisted = true;
    world.say("s0003", Said::Version(9));
    world.pass(DAY);
    assert_eq!(world.rechecks.len(), 5);
    assert_eq!(
        world.gets_of("s0003"),
        3,
        "list and value differ: it is read after three sweeps, and not after each"
    );
    assert!(world.woken().contains(&Wake::User(user("all"))));
}
