//! Who looks for names: what the list shows, what that costs, and what happens when there is none.

use super::*;
use crate::dice::Dice;
use crate::vault::{Find, Found, NamePattern, Sought, Why};

fn sought(name: &str, tags: &[(&str, &str)]) -> Find {
    let tags = tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect();
    Find { name: NamePattern::new(name), tags }
}

impl World {
    fn find(&mut self, user_name: &str, finds: &[Find], known: &[&str]) -> Found {
        let known: Vec<ObjectName> = known.iter().map(|name| ObjectName::parse(name).unwrap()).collect();
        let (connection, terms) = (&connection(0), self.terms);
        let sought = Sought { connection, terms, finds, interval: MINUTE, known: &known };
        self.host.find(&user(user_name), sought, self.now)
    }

    /// The names of the only find.
    fn finds(&mut self, user_name: &str, find: &Find) -> Vec<String> {
        match self.find(user_name, std::slice::from_ref(find), &[]) {
            Found::Names { names, .. } => names[0].iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn tag(&mut self, name: &str, tag: &str, value: &str) {
        self.tags.entry(name.to_owned()).or_default().insert(tag.to_owned(), value.to_owned());
    }
}

fn shop() -> World {
    let mut world = World::new();
    for name in ["Shop-DB", "shop-api", "shop-tls", "other"] {
        world.say(name, Said::Version(1));
    }
    world.tag("shop-tls", "certificate", "");
    world.tag("shop-api", "env", "prod");
    world
}

#[test]
fn names_are_found_by_pattern_and_tag_within_seconds_and_certificates_are_left_out() {
    let mut world = shop();
    let (by_name, by_tag) = (sought("SHOP-*", &[]), sought("*", &[("env", "prod")]));
    assert_eq!(world.find("a", &[by_name.clone(), by_tag.clone()], &[]), Found::Pending);
    world.pass(SECOND);
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
    let Found::Names { names, absent, .. } =
        world.find("a", &[by_name.clone(), by_tag], &["shop-api", "gone"])
    else {
        panic!()
    };
    let shown: Vec<Vec<String>> =
        names.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(shown, [vec!["shop-api".to_owned(), "Shop-DB".to_owned()], vec!["shop-api".to_owned()]]);
    assert_eq!(
        absent.iter().map(ObjectName::as_str).collect::<Vec<_>>(),
        ["gone"],
        "listed or not, whatever fits"
    );
    // Who comes later is served at once, and tags that were kept serve it too.
    assert_eq!(world.finds("b", &by_name), ["shop-api", "Shop-DB"]);
    assert_eq!(world.lists.len(), 1);
}

#[test]
fn only_those_hear_of_a_change_whose_names_changed() {
    let mut world = shop();
    let (shop, other) = (sought("shop-*", &[]), sought("other*", &[]));
    for (name, find) in [("a", &shop), ("b", &other)] {
        let _ = world.find(name, std::slice::from_ref(find), &[]);
    }
    world.pass(2 * MINUTE);
    world.woken();
    world.write("shop-new", 1);
    world.pass(MINUTE + SECOND);
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
    assert!(world.finds("a", &shop).contains(&"shop-new".to_owned()));
    // Another version of what is there is no news of names.
    world.write("shop-new", 2);
    world.pass(2 * MINUTE);
    assert_eq!(world.woken(), []);
    world.vault.remove("shop-new");
    world.pass(MINUTE + SECOND);
    assert_eq!(world.woken(), [Wake::User(user("a"))]);
}

#[test]
fn who_finds_what_it_reads_costs_the_pages_of_the_list_and_no_get() {
    let mut world = World::new();
    let names: Vec<String> = (0..250).map(|index| format!("s{index:04}")).collect();
    for name in &names {
        world.say(name, Said::Version(1));
    }
    let find = sought("s*", &[]);
    let _ = world.find("a", std::slice::from_ref(&find), &[]);
    world.pass(SECOND);
    assert_eq!(world.finds("a", &find).len(), 250);
    let wants: Vec<Want> = names.iter().map(|name| want(name, Some(1))).collect();
    let _ = world.ask("a", &wants);
    world.pass(2 * MINUTE);
    (world.lists, world.gets) = (Vec::new(), Vec::new());
    world.pass(10 * MINUTE);
    assert!((95..=105).contains(&world.lists.len()), "ten pages a minute: {}", world.lists.len());
    assert_eq!(world.gets, []);
}

#[test]
fn who_comes_and_goes_makes_no_sweep_sooner_than_half_a_minute_after_the_last() {
    let mut world = shop();
    let find = sought("shop-*", &[]);
    for round in 0..60 {
        let name = format!("user-{round}");
        let _ = world.find(&name, std::slice::from_ref(&find), &[]);
        world.pass(SECOND);
        world.host.forget(&user(&name), &connection(0), world.now);
    }
    assert!(world.lists.len() <= 3, "{}", world.lists.len());
}

#[test]
fn a_list_that_may_not_be_read_is_told_once_and_what_was_found_stands() {
    let mut world = shop();
    let find = sought("shop-*", &[]);
    world.no_list = Some(Failure::MissingRole(Box::default()));
    assert_eq!(world.find("a", std::slice::from_ref(&find), &[]), Found::Pending);
    world.pass(MINUTE);
    let told = world.woken().into_iter().filter(|wake| matches!(wake, Wake::User(_))).count();
    assert_eq!(told, 1);
    assert_eq!(world.find("a", std::slice::from_ref(&find), &[]), Found::Failed(Why::Forbidden));
    world.pass(30 * MINUTE);
    assert!(!world.woken().contains(&Wake::User(user("a"))));
    world.no_list = None;
    world.pass(11 * MINUTE);
    assert!(world.woken().contains(&Wake::User(user("a"))));
    assert_eq!(world.finds("a", &find).len(), 2);
    world.woken();
    world.no_list = Some(Failure::MissingRole(Box::default()));
    world.pass(10 * MINUTE);
    assert_eq!(world.finds("a", &find).len(), 2);
    // That the right went meanwhile is told all the same.
    assert!(world.woken().contains(&Wake::User(user("a"))));
    let Found::Names { failed, .. } = world.find("a", std::slice::from_ref(&find), &[]) else { panic!() };
    assert_eq!(failed, Some(Why::Forbidden));
}

#[test]
fn whoever_comes_while_a_list_cannot_be_read_is_told_at_once() {
    let mut world = shop();
    let find = sought("shop-*", &[]);
    world.no_list = Some(Failure::MissingRole(Box::default()));
    assert_eq!(world.find("a", std::slice::from_ref(&find), &[]), Found::Pending);
    world.pass(MINUTE);
    assert_eq!(world.find("b", std::slice::from_ref(&find), &[]), Found::Failed(Why::Forbidden));
    let other = sought("other-*", &[]);
    assert_eq!(world.find("a", std::slice::from_ref(&other), &[]), Found::Failed(Why::Forbidden));
    world.no_list = None;
    world.woken();
    world.pass(11 * MINUTE);
    let woken = world.woken();
    assert!(["a", "b"].iter().all(|name| woken.contains(&Wake::User(user(name)))), "{woken:?}");
    assert_eq!(world.finds("b", &find).len(), 2);
}

#[test]
fn a_list_that_is_throttled_for_a_while_is_told_as_that_and_read_soon_after() {
    for failure in
        [Failure::Throttled(Peer::Vault), outage::unavailable(), Failure::MissingRole(Box::default())]
    {
        let mut world = shop();
        world.all_know(3);
        world.pass(MINUTE);
        let find = sought("shop-*", &[]);
        world.no_list = Some(failure.clone());
        let _ = world.find("a", std::slice::from_ref(&find), &[]);
        world.pass(20 * SECOND);
        let Found::Failed(why) = world.find("a", std::slice::from_ref(&find), &[]) else { panic!() };
        assert!(!why.no_list().unwrap().remedy.contains("proxy"), "{failure:?}: {why:?}");
        world.no_list = None;
        world.pass(MINUTE);
        assert_eq!(world.finds("a", &find).len(), 2, "{failure:?}");
    }
}

#[test]
fn an_outage_takes_no_name_away_and_half_a_list_is_none() {
    let mut world = World::new();
    world.page = 2;
    for index in 0..20 {
        world.say(&format!("s{index:02}"), Said::Version(1));
    }
    let find = sought("s*", &[]);
    let _ = world.find("a", std::slice::from_ref(&find), &[]);
    world.pass(MINUTE);
    assert_eq!(world.finds("a", &find).len(), 20);
    world.woken();
    world.latency = (SECOND, SECOND);
    world.pass(MINUTE + 3 * SECOND);
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    world.pass(10 * MINUTE);
    assert_eq!(world.finds("a", &find).len(), 20);
    assert!(!world.woken().contains(&Wake::User(user("a"))));
}

/// Random users look for random names in a vault that changes, fails and forbids the list; at rest everybody knows what is
/// there, and nobody was told of less than there was but for what went.
#[test]
fn whatever_happens_everybody_ends_up_with_the_names_that_there_are() {
    for seed in 0..60_u64 {
        let mut dice = Dice(seed);
        let mut pick = |below: usize| dice.roll(below);
        let mut world = World::new();
        world.page = 1 + pick(4);
        let patterns = ["*", "a*", "*1", "b*2", "c*"];
        let users = ["u0", "u1", "u2"];
        let mut wanted: BTreeMap<&str, Find> = BTreeMap::new();
        for _ in 0..120 {
            let name = format!("{}{}", ["a", "b", "c"][pick(3)], pick(4));
            match pick(9) {
                0 | 1 => world.write(&name, 1),
                2 => {
                    world.vault.remove(&name);
                }
                3 => world.tag(&name, "env", ["prod", "test"][pick(2)]),
                4 => {
                    let tags: &[(&str, &str)] = [&[][..], &[("env", "prod")][..]][pick(2)];
                    wanted.insert(users[pick(3)], sought(patterns[pick(5)], tags));
                }
                5 => {
                    let name = users[pick(3)];
                    wanted.remove(name);
                    world.host.forget(&user(name), &connection(0), world.now);
                }
                6 => world.down = [None, Some((Failure::Throttled(Peer::Vault), None))][pick(2)].clone(),
                7 => world.no_list = [None, Some(Failure::MissingRole(Box::default()))][pick(2)].clone(),
                _ => {}
            }
            for (name, find) in wanted.clone() {
                let _ = world.find(name, &[find], &[]);
            }
            world.pass(SECOND * u32::try_from(pick(40)).unwrap());
        }
        (world.down, world.no_list) = (None, None);
        for (name, find) in &wanted {
            let _ = world.find(name, std::slice::from_ref(find), &[]);
        }
        world.pass(2 * 3600 * SECOND);
        for (name, find) in wanted {
            let has = |secret: &str| {
                find.tags
                    .iter()
                    .all(|(tag, value)| world.tags.get(secret).and_then(|tags| tags.get(tag)) == Some(value))
            };
            let expected: Vec<String> =
                world.vault.keys().filter(|secret| find.name.fits(secret) && has(secret)).cloned().collect();
            assert_eq!(world.finds(name, &find), expected, "seed {seed}");
        }
    }
}
