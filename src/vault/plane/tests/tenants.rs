//! What one namespace does to others that read the same vault: nothing.

use super::*;
use crate::vault::{Identity, Rate, plane::errand::Fetch};

fn of(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

fn rate(requests_per_second: u32, burst: u32) -> Rate {
    Rate { requests_per_second, burst }
}

fn terms() -> Terms {
    Terms { detect: Detect::Get, ..Terms::default() }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}{index:04}")).collect()
}

impl World {
    /// `names` are there, and the user wants them through the connection.
    fn wants(&mut self, user: &ObjectKey, through: u8, terms: Terms, names: &[String]) {
        let wants: Vec<Want> = names.iter().map(|name| want(name, None)).collect();
        for name in names {
            self.say(name, Said::Version(1));
        }
        let _ = self.host.ask(user, &connection(through), terms, &wants, false, self.now);
    }

    fn gets_like(&self, prefix: &str) -> usize {
        self.gets.iter().filter(|(_, name)| name.starts_with(prefix)).count()
    }
}

#[test]
fn the_smallest_limit_that_operators_set_for_a_host_counts_and_their_flag_above_all() {
    let mut world = World::new();
    let with = |host_rate| Terms { host_rate, ..terms() };
    world.wants(&user("modest"), 1, with(Some(rate(5, 10))), &[]);
    world.wants(&user("greedy"), 0, with(Some(rate(400, 800))), &names("s", 500));
    world.pass(10 * SECOND);
    assert!((58..=60).contains(&world.gets.len()), "{}", world.gets.len());
    world.host.forget(&user("modest"), &connection(1), world.now);
    world.gets.clear();
    world.pass(2 * SECOND);
    assert!((100..=205).contains(&world.gets.len()), "the operator's 50: {}", world.gets.len());
}

#[test]
fn a_limit_of_a_namespace_bounds_its_own_reads_and_nobody_elses() {
    let mut world = World::new();
    let modest = Terms { handle_rate: Some(rate(1, 2)), ..terms() };
    world.wants(&of("evil", "modest"), 1, modest, &names("m", 100));
    world.wants(&of("good", "app"), 0, terms(), &names("g", 300));
    world.pass(10 * SECOND);
    assert_eq!(world.gets_like("g"), 300);
    assert!((11..=12).contains(&world.gets_like("m")), "{}", world.gets_like("m"));
    // It goes with whoever set it, and of several the smallest counts.
    world.wants(
        &of("evil", "other"),
        1,
        Terms { handle_rate: Some(rate(5, 5)), ..terms() },
        &names("m", 100),
    );
    world.host.forget(&of("evil", "modest"), &connection(1), world.now);
    world.pass(10 * SECOND);
    assert!((56..=67).contains(&world.gets_like("m")), "{}", world.gets_like("m"));
}

#[test]
fn a_limit_of_a_namespace_whose_identity_is_bogus_bounds_nobody() {
    let mut world = World::new();
    world.bogus.push(connection(1));
    world.wants(&of("evil", "one"), 1, Terms { handle_rate: Some(rate(1, 1)), ..terms() }, &names("e", 1));
    world.wants(&of("good", "app"), 0, terms(), &names("g", 300));
    world.pass(6 * SECOND);
    assert_eq!(world.gets_like("g"), 300);
}

#[test]
fn many_failing_identities_of_one_namespace_do_not_hold_up_another() {
    let mut world = World::limited(Limits { requests_per_second: 10, burst: 10, ..Limits::default() });
    for number in 1..=200 {
        world.bogus.push(connection(number));
        world.wants(&of("evil", &format!("app-{number}")), number, terms(), &names("e", 1));
    }
    world.pass(MINUTE);
    world.wants(&of("good", "app"), 0, terms(), &names("g", 100));
    let mut seconds = 0;
    while world.gets_like("g") < 100 {
        world.pass(SECOND);
        seconds += 1;
        assert!(seconds < 60, "{} of 100", world.gets_like("g"));
    }
    // At least four of five requests: nobody else waits for a value.
    assert!(seconds <= 14, "{seconds}");
    assert!(world.gets_like("e") > 200, "they are tried still");
}

#[test]
fn a_flood_of_requests_for_a_sync_costs_one_get_of_each_source_in_three_seconds_and_is_answered() {
    let mut world = World::new();
    let wants = [want("db", Some(1))];
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &wants);
    world.pass(MINUTE);
    world.gets.clear();
    for _ in 0..1000 {
        world.host.refresh(&user("a"), &connection(0), world.now);
        world.now += Duration::from_millis(60);
        world.settle();
    }
    assert!((19..=22).contains(&world.gets_of("db")), "{}", world.gets_of("db"));
    // Whoever has nothing yet waits for no one, unless it asks by hand too.
    for (user_without, asks) in [("b", false), ("c", true)] {
        let _ = world.ask(user_without, &[want("db", None)]);
        if asks {
            world.host.refresh(&user(user_without), &connection(0), world.now);
        }
        let before = world.gets_of("db");
        world.settle();
        assert_eq!(world.gets_of("db"), before + usize::from(!asks));
        world.host.refresh(&user("a"), &connection(0), world.now);
    }
    world.pass(4 * SECOND);
    assert!(is_read(&world.ask("c", &[want("db", None)]).answers[0], 1));
    world.say("db", Said::Version(2));
    world.host.refresh(&user("a"), &connection(0), world.now);
    world.pass(4 * SECOND);
    assert!(is_read(&world.ask("a", &wants).answers[0], 2));
}

#[test]
fn a_flood_of_requests_is_as_slow_where_nothing_is_found_and_while_a_get_is_under_way() {
    // No such secret: nobody knows a value of it.
    let mut world = World::new();
    let _ = world.ask("a", &[want("absent", None)]);
    world.settle();
    world.gets.clear();
    for _ in 0..100 {
        world.host.refresh(&user("a"), &connection(0), world.now);
        world.now += Duration::from_millis(300);
        world.settle();
        let _ = world.ask("a", &[want("absent", None)]);
    }
    assert!((9..=11).contains(&world.gets_of("absent")), "{}", world.gets_of("absent"));

    // Each request comes while the GET of the one before is on its way.
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", Some(1))]);
    world.pass(MINUTE);
    let mut gets = 0;
    let mut flying: Vec<Fetch> = Vec::new();
    for _ in 0..100 {
        world.host.refresh(&user("a"), &connection(0), world.now);
        world.now += Duration::from_millis(300);
        for fetch in std::mem::take(&mut flying) {
            let outcome = world.answer(&fetch);
            world.host.finish(&fetch, outcome, world.now);
        }
        flying = world.host.tick(world.now).fetches;
        gets += flying.len();
    }
    assert!((9..=11).contains(&gets), "{gets}");
}

#[test]
fn a_list_that_serves_many_namespaces_does_not_stand_behind_the_reads_of_one_of_them() {
    let shared = Connection { identity: Identity::ManagedIdentity { id: None }, ..connection(0) };
    let mut world = World::limited(Limits { requests_per_second: 10, burst: 10, ..Limits::default() });
    let listing = Terms { detect: Detect::List, ..Terms::default() };
    let mut all = vec![(of("good", "app"), names("g", 100))];
    all.extend((0..20).map(|index| (of("evil", &format!("app-{index}")), names(&format!("e{index}-"), 50))));
    for (user, names) in &all {
        let known: Vec<Want> = names.iter().map(|name| want(name, Some(1))).collect();
        for name in names {
            world.say(name, Said::Version(1));
        }
        let _ = world.host.ask(user, &shared, listing, &known, false, world.now);
    }
    world.pass(2 * MINUTE);
    world.lists.clear();
    for version in 2..12 {
        // More than the budget has until the next.
        for name in all[1..].iter().flat_map(|(_, names)| names) {
            world.say(name, Said::Version(version));
        }
        world.pass(MINUTE / 2);
    }
    let pages = 1100 / 25;
    assert!(world.lists.len() >= 4 * pages, "{} of {}", world.lists.len(), 5 * pages);
}

#[test]
fn who_asks_for_syncs_all_the_time_holds_up_nobody_who_reads_the_same() {
    let mut world = World::unpaced();
    world.host.limits.refresh_apart = MINUTE;
    world.terms.detect = Detect::List;
    world.say("db", Said::Version(1));
    for name in ["flooder", "other"] {
        let _ = world.ask(name, &[want("db", Some(1))]);
    }
    world.pass(2 * MINUTE);
    world.host.refresh(&user("flooder"), &connection(0), world.now);
    world.settle();
    world.woken();
    // It asks again and waits for its time; meanwhile the list shows a change.
    let _ = world.ask("flooder", &[want("db", Some(1))]);
    world.host.refresh(&user("flooder"), &connection(0), world.now);
    world.say("db", Said::Version(2));
    world.host.limits.refresh_apart = 60 * MINUTE;
    let mut seconds = 0;
    while !world.woken().contains(&Wake::User(user("other"))) {
        world.pass(SECOND);
        seconds += 1;
        assert!(seconds < 120, "the list showed it");
    }
    assert!(is_read(&world.ask("other", &[want("db", Some(1))]).answers[0], 2));
}
