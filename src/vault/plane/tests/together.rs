//! What is new of one object arrives together: objects that do as they should, in front of a vault that answers late.

use super::*;
use crate::vault::{Ask, Find, NamePattern, Sought, plane::host::ask};

const HOUR: Duration = Duration::from_secs(3600);

/// An object: it asks when it is woken and writes when everything it asked for was answered.
struct Object {
    key: ObjectKey,
    names: Vec<String>,
    interval: Duration,
    /// What stands in its status.
    known: BTreeMap<String, Attributes>,
    /// Whether it has a Secret.
    made: bool,
    /// What was in the Secret, by name, and since when.
    writes: Vec<(Instant, BTreeMap<String, u32>)>,
    /// The last answers.
    told: Vec<Answer>,
    rounds: usize,
}

impl Object {
    fn new(namespace: &str, name: &str, names: Vec<String>, interval: Duration) -> Self {
        Self {
            key: ObjectKey::new(namespace, name),
            names,
            interval,
            known: BTreeMap::new(),
            made: false,
            writes: Vec::new(),
            told: Vec::new(),
            rounds: 0,
        }
    }

    /// One that has had version 1 of everything for long.
    fn synced(name: &str, names: &[&str], interval: Duration) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let known = names.iter().map(|name| (name.clone(), attributes(1))).collect();
        Self { known, made: true, ..Self::new("shop", name, names, interval) }
    }

    fn round(&mut self, world: &mut World) {
        self.rounds += 1;
        let wants: Vec<Want> = (self.names.iter())
            .map(|name| Want {
                interval: self.interval,
                known: self.known.get(name).cloned(),
                ..want(name, None)
            })
            .collect();
        let reply = world.host.ask(&self.key, &connection(0), world.terms, &wants, self.made, world.now);
        self.told = reply.answers;
        if self.told.iter().any(|answer| matches!(answer, Answer::Pending)) {
            return;
        }
        let mut secret = self.writes.last().map(|(_, secret)| secret.clone()).unwrap_or_default();
        let mut moved = !self.made;
        for (name, answer) in self.names.iter().zip(&self.told) {
            match answer {
                Answer::Read(reading) => {
                    let known = self.known.insert(name.clone(), reading.attributes.clone());
                    moved |= known.is_none_or(|known| known.version != reading.attributes.version);
                    let version = u32::from_str_radix(&reading.attributes.version, 16).unwrap();
                    secret.insert(name.clone(), version);
                }
                Answer::Failed(_) => moved |= self.known.remove(name).is_some(),
                Answer::Unchanged | Answer::Pending => {}
            }
        }
        if moved {
            self.made = true;
            self.writes.push((world.now, secret));
        }
        world.host.release(&self.key, &connection(0));
    }

    /// Which version of `name` is in the Secret, if it was ever written here.
    fn has(&self, name: &str) -> Option<u32> {
        self.writes.last()?.1.get(name).copied()
    }

    fn written_at(&self) -> Instant {
        self.writes.last().unwrap().0
    }
}

impl World {
    /// Everybody who is woken has its round, now.
    fn serve(&mut self, objects: &mut [Object]) {
        loop {
            self.settle();
            let woken = self.woken();
            if woken.is_empty() {
                return;
            }
            for wake in woken {
                for object in &mut *objects {
                    let concerns = match &wake {
                        Wake::User(key) => *key == object.key,
                        Wake::Outage(_) => true,
                        Wake::Connection(_) => false,
                    };
                    if concerns {
                        object.round(self);
                    }
                }
            }
        }
    }

    /// Time passes for everybody.
    fn live(&mut self, span: Duration, objects: &mut [Object]) {
        let end = self.now + span;
        loop {
            self.serve(objects);
            match self.next() {
                Some(next) if next <= end => self.now = next.max(self.now + Duration::from_micros(1)),
                _ => break,
            }
        }
        self.now = end;
        self.serve(objects);
    }

    /// All of these objects look for the first time.
    fn begin(&mut self, objects: &mut [Object]) {
        for object in &mut *objects {
            object.round(self);
        }
        self.serve(objects);
    }

    /// Time passes until a second before the source is read again by its turn.
    fn before_the_turn_of(&mut self, name: &str, objects: &mut [Object]) {
        let start = self.now;
        while self.gets_since(name, start) == 0 {
            self.live(SECOND, objects);
        }
        let (last, _) = *self.gets.iter().rfind(|(_, got)| got == name).unwrap();
        self.live((last + 59 * SECOND).duration_since(self.now), objects);
    }

    fn gets_since(&self, name: &str, since: Instant) -> usize {
        self.gets.iter().filter(|(at, got)| got == name && *at >= since).count()
    }
}

/// A vault with these at version 1, and an object that has had them for longer than an interval.
fn pair(detect: Detect) -> (World, Vec<Object>) {
    with_object(detect, &["user", "password"])
}

fn with_object(detect: Detect, names: &[&str]) -> (World, Vec<Object>) {
    let mut world = World::new();
    world.terms.detect = detect;
    world.latency = (Duration::from_millis(20), Duration::from_millis(80));
    for name in names {
        world.say(name, Said::Version(1));
    }
    let mut objects = vec![Object::synced("app", names, MINUTE)];
    world.begin(&mut objects);
    world.live(3 * MINUTE, &mut objects);
    assert!(objects[0].writes.is_empty());
    (world, objects)
}

const BOTH: [Detect; 2] = [Detect::Get, Detect::List];

// --- T2: progress ---

/// Everybody in these namespaces begins at once; returns how long the last waited.
fn first_sync(namespaces: usize, sources: usize, rate: u32, burst: u32) -> (World, Duration) {
    let limits = Limits { requests_per_second: rate, burst, ..Limits::default() };
    let mut world = World::limited(limits);
    world.latency = (Duration::ZERO, Duration::from_millis(50));
    let mut objects: Vec<Object> = (0..namespaces)
        .map(|space| {
            let names = (0..sources).map(|index| format!("s-{space}-{index}")).collect();
            Object::new(&format!("team-{space}"), "app", names, 24 * HOUR)
        })
        .collect();
    for name in objects.iter().flat_map(|object| &object.names) {
        world.vault.insert(name.clone(), Said::Version(1));
    }
    world.begin(&mut objects);
    let start = world.now;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let needed = Duration::from_secs_f64((namespaces * sources) as f64 / f64::from(rate));
    world.live(needed.mul_f64(1.5) + 5 * SECOND, &mut objects);
    for object in &objects {
        assert_eq!(object.writes.len(), 1, "{} of {namespaces} x {sources} at {rate}/s", object.key);
        assert_eq!(object.writes[0].1.len(), sources, "whole");
        assert!(object.rounds <= 2, "it is woken when all of it is there, not {} times", object.rounds - 1);
    }
    let took = objects.iter().map(|object| object.written_at().duration_since(start)).max().unwrap();
    (world, took)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn everybody_is_served_whole_in_the_time_that_the_budget_takes_and_each_source_is_read_once(
        namespaces in 1_usize..40, sources in 1_usize..24, rate in 1_u32..50, burst in 1_u32..100,
    ) {
        let (world, _) = first_sync(namespaces, sources, rate, burst);
        prop_assert_eq!(world.gets.len(), namespaces * sources);
    }
}

#[test]
fn many_namespaces_with_objects_of_many_sources_are_all_served_though_the_first_values_wait_longer_than_a_minute()
 {
    let (world, took) = first_sync(250, 16, 50, 100);
    assert_eq!(world.gets.len(), 250 * 16);
    assert!(took > MINUTE, "{took:?}");
}

#[test]
fn one_object_of_many_sources_is_made_though_its_vault_may_be_asked_once_a_second() {
    let (world, _) = first_sync(1, 100, 1, 1);
    assert_eq!(world.gets.len(), 100);
}

// --- T3: confirmations ---

/// One source that all share, with so many of each one's own beside it.
fn sharing(detect: Detect, users: usize, siblings: usize) -> (World, Vec<Object>) {
    let mut world = World::new();
    world.terms.detect = detect;
    world.latency = (Duration::from_millis(20), Duration::from_millis(80));
    world.say("shared", Said::Version(1));
    let mut objects = Vec::new();
    for user in 0..users {
        let own: Vec<String> = (0..siblings).map(|index| format!("own-{user:04}-{index}")).collect();
        for name in &own {
            world.say(name, Said::Version(1));
        }
        let names: Vec<&str> = own.iter().map(String::as_str).chain(["shared"]).collect();
        objects.push(Object::synced(&format!("app-{user:04}"), &names, HOUR));
    }
    world.history.clear();
    world.begin(&mut objects);
    world.live(2 * HOUR, &mut objects);
    (world, objects)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_shared_secret_that_changes_costs_at_most_one_get_of_each_other_and_holds_up_nobody_new(
        detect in prop::sample::select(BOTH.to_vec()), users in 1_usize..120, siblings in 0_usize..6,
    ) {
        let (mut world, mut objects) = sharing(detect, users, siblings);
        world.write("shared", 2);
        // Until somebody has noticed.
        let noticed = |world: &World, since| world.gets_since("shared", since) > 0;
        let before = world.now;
        while !(noticed(&world, before) && objects.iter().any(|object| object.has("shared") == Some(2) || object.told.iter().any(|answer| matches!(answer, Answer::Pending)))) {
            world.live(SECOND, &mut objects);
            prop_assert!(world.now < before + HOUR + MINUTE, "nobody noticed");
        }
        let noticed_at = world.now.checked_sub(SECOND).unwrap();
        for name in ["new-0", "new-1", "new-2"] {
            world.say(name, Said::Version(1));
        }
        world.live(6 * SECOND, &mut objects);
        let asked = world.now;
        let names = (0..3).map(|index| format!("new-{index}")).collect();
        objects.push(Object::new("shop", "new", names, HOUR));
        objects.last_mut().unwrap().round(&mut world);
        world.live(2 * SECOND + 200 * Duration::from_millis(1), &mut objects);
        let newcomer = objects.pop().unwrap();
        prop_assert_eq!(newcomer.writes.len(), 1, "it waits behind confirmations since {:?}", asked);
        world.live(20 * SECOND, &mut objects);
        for object in &objects {
            prop_assert_eq!(object.has("shared"), Some(2), "{}", object.key);
            prop_assert_eq!(object.writes.len(), 1);
        }
        let own: Vec<String> = objects.iter().flat_map(|object| &object.names).filter(|name| *name != "shared").cloned().collect();
        let all: usize = own.iter().map(|name| world.gets_since(name, noticed_at)).sum();
        for name in &own {
            // One more where its own turn comes just then.
            prop_assert!(world.gets_since(name, noticed_at) <= 2, "{}", name);
        }
        prop_assert!(all <= own.len() + own.len() / 50 + 2, "{} of {}", all, own.len());
        // What was read together is not due together.
        let from = world.now + SECOND;
        world.live(HOUR + MINUTE, &mut objects);
        if own.len() >= 100 && detect == Detect::Get {
            let mut seconds: HashMap<u64, usize> = HashMap::new();
            for (at, _) in world.gets.iter().filter(|(at, _)| *at >= from) {
                *seconds.entry(at.duration_since(from).as_secs()).or_default() += 1;
            }
            let most = seconds.values().max().copied().unwrap_or_default();
            prop_assert!(most * 20 <= own.len().max(120), "{} of {} in one second", most, own.len());
        }
        if detect == Detect::List {
            prop_assert!(own.iter().all(|name| world.gets_since(name, from) == 0));
        }
    }
}

#[test]
fn a_thousand_users_of_one_secret_go_on_after_their_wait_and_no_get_is_made_for_nothing_then() {
    let (mut world, mut objects) = sharing(Detect::Get, 1000, 5);
    world.write("shared", 2);
    let noticed = world.now;
    while world.gets_since("shared", noticed) == 0 {
        world.live(SECOND, &mut objects);
    }
    let noticed = world.now;
    world.live(25 * SECOND, &mut objects);
    assert!(objects.iter().all(|object| object.has("shared") == Some(2)));
    let asked = world.gets.iter().filter(|(at, _)| *at >= noticed).count();
    assert!(asked < 1000, "{asked} in 25 s: what nobody waits for any more is not asked for");
}

// --- What a user gets ---

/// The moments between the first change of a script and the last write that it caused.
fn follow(world: &mut World, objects: &mut [Object], version: u32) -> Duration {
    let start = world.now;
    let done = |object: &Object| object.names.iter().all(|name| object.has(name) == Some(version));
    while !objects.iter().all(done) {
        world.live(SECOND, objects);
        assert!(world.now < start + 10 * MINUTE, "{:?}", objects[0].told);
    }
    objects.iter().map(|object| object.written_at().duration_since(start)).max().unwrap()
}

#[test]
fn user_and_password_that_change_within_four_seconds_are_written_together() {
    for detect in BOTH {
        for gap in [0, 1, 2, 4] {
            // Wherever the script falls within an interval.
            for offset in (0..60).step_by(7) {
                let (mut world, mut objects) = pair(detect);
                world.live(offset * SECOND, &mut objects);
                world.write("user", 2);
                world.live(gap * SECOND, &mut objects);
                world.write("password", 2);
                let took = follow(&mut world, &mut objects, 2);
                assert_eq!(objects[0].writes.len(), 1, "{detect:?} {gap} {offset}");
                assert!(took <= MINUTE + 12 * SECOND, "{took:?}");
            }
        }
    }
}

#[test]
fn fifty_secrets_of_one_object_that_change_over_three_seconds_cost_one_write_and_two_gets_each() {
    let names: Vec<String> = (0..50).map(|index| format!("s{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for detect in BOTH {
        for offset in [0, 13, 29, 41, 55] {
            let (mut world, mut objects) = with_object(detect, &names);
            world.live(offset * SECOND, &mut objects);
            let start = world.now;
            for name in &names {
                world.write(name, 2);
                world.live(Duration::from_millis(60), &mut objects);
            }
            follow(&mut world, &mut objects, 2);
            assert_eq!(objects[0].writes.len(), 1, "{detect:?} {offset}");
            for name in &names {
                let gets = world.gets_since(name, start);
                // Whose turn comes during the script has noticed.
                assert!(gets <= 3, "{detect:?} {offset} {name}: {gets}");
            }
            let all: usize = names.iter().map(|name| world.gets_since(name, start)).sum();
            assert!(all <= 2 * 50 + 10, "{detect:?} {offset}: {all}");
        }
    }
}

/// The sweep sees some of them, or nearly all, as they change.
#[test]
fn fifty_secrets_that_change_while_their_vault_is_listed_cost_one_write_wherever_the_list_falls() {
    let names: Vec<String> = (0..50).map(|index| format!("s{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for before in (0..36).map(|tenths| Duration::from_millis(100 * tenths)) {
        let (mut world, mut objects) = with_object(Detect::List, &names);
        world.live(MINUTE, &mut objects);
        let sweep = *world.lists.last().unwrap() + MINUTE;
        let script = sweep.checked_sub(before).unwrap();
        world.live(script.duration_since(world.now), &mut objects);
        for _ in 0..2 {
            let version = objects[0].has("s00").map_or(2, |version| version + 1);
            let start = world.now;
            for name in &names {
                world.write(name, version);
                world.live(Duration::from_millis(60), &mut objects);
            }
            follow(&mut world, &mut objects, version);
            assert_eq!(objects[0].writes.len(), usize::try_from(version).unwrap() - 1, "{before:?}");
            let all: usize = names.iter().map(|name| world.gets_since(name, start)).sum();
            assert!(all <= 3 * 50, "{before:?}: {all}");
        }
    }
}

#[test]
fn one_secret_that_changes_alone_is_written_five_seconds_after_it_changed_and_its_siblings_are_read_once() {
    for detect in BOTH {
        let (mut world, mut objects) = pair(detect);
        let start = world.now;
        world.write("user", 2);
        world.live(MINUTE + 10 * SECOND, &mut objects);
        assert_eq!(objects[0].writes.len(), 1);
        assert_eq!(objects[0].has("user"), Some(2));
        let gets = (world.gets_since("user", start), world.gets_since("password", start));
        match detect {
            Detect::List => assert!(gets.0 <= 1 && gets.1 <= 1, "{gets:?}"),
            // And one turn of its own, or two.
            _ => assert!(gets.0 <= 4 && gets.1 <= 3, "{gets:?}"),
        }
        assert!(objects[0].rounds <= 1 + 3, "{}", objects[0].rounds);
    }
}

#[test]
fn a_page_that_shows_the_others_unchanged_spares_their_gets() {
    let (mut world, mut objects) = pair(Detect::List);
    // Long enough before the next sweep to have settled by then.
    let lists = world.lists.len();
    while world.lists.len() == lists {
        world.live(SECOND, &mut objects);
    }
    let start = world.now;
    world.live(40 * SECOND, &mut objects);
    world.write("user", 2);
    let took = follow_one(&mut world, &mut objects, "user", 2);
    assert!(took <= 21 * SECOND, "{took:?}");
    assert_eq!((world.gets_since("user", start), world.gets_since("password", start)), (1, 0));
}

/// How long it takes until the first object has this.
fn follow_one(world: &mut World, objects: &mut [Object], name: &str, version: u32) -> Duration {
    let start = world.now;
    while objects[0].has(name) != Some(version) {
        world.live(SECOND, objects);
        assert!(world.now < start + 10 * MINUTE, "{:?}", objects[0].told);
    }
    objects[0].written_at().duration_since(start)
}

#[test]
fn a_tag_or_an_expiry_date_holds_nobody_up() {
    let (mut world, mut objects) = pair(Detect::Get);
    let start = world.now;
    let touched = world.clock();
    world.say("user", Said::Written(1, touched));
    world.live(MINUTE, &mut objects);
    assert!(objects[0].writes.is_empty(), "the value is the same");
    let updated = Timestamp::from_second(touched.as_second()).ok();
    assert_eq!(objects[0].known["user"].updated, updated, "and status says when it was touched");
    assert!(world.gets_since("password", start) <= 1, "by its own turn");
}

#[test]
fn what_is_known_to_have_moved_is_waited_for_though_all_patience_is_over() {
    let (mut world, mut objects) = pair(Detect::List);
    world.write("user", 2);
    world.write("password", 2);
    world.stuck.insert("password".to_owned());
    world.live(2 * MINUTE, &mut objects);
    assert!(objects[0].writes.is_empty(), "half of a pair: {:?}", objects[0].writes);
    world.stuck.clear();
    world.live(2 * SECOND, &mut objects);
    assert_eq!(objects[0].writes.len(), 1);
    assert_eq!((objects[0].has("user"), objects[0].has("password")), (Some(2), Some(2)));
}

#[test]
fn a_pair_that_changes_around_an_outage_is_written_together_when_that_is_over() {
    let failure = Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) };
    for detect in BOTH {
        for noticed in [false, true] {
            for late in [false, true] {
                let (mut world, mut objects) = pair(detect);
                if noticed && detect == Detect::Get {
                    world.before_the_turn_of("user", &mut objects);
                }
                world.write("user", 2);
                if noticed {
                    // The user is read, and the object waits.
                    world.live(2 * SECOND, &mut objects);
                }
                world.down = Some((failure.clone(), None));
                if late {
                    world.live(30 * MINUTE, &mut objects);
                }
                world.write("password", 2);
                world.live(30 * MINUTE, &mut objects);
                assert!(objects[0].writes.is_empty());
                world.down = None;
                follow(&mut world, &mut objects, 2);
                assert_eq!(objects[0].writes.len(), 1, "{detect:?} {noticed} {late}");
            }
        }
    }
}

#[test]
fn a_complete_picture_is_used_though_the_vault_fails_before_the_object_has_its_round() {
    let (mut world, mut objects) = pair(Detect::Get);
    world.before_the_turn_of("user", &mut objects);
    world.write("user", 2);
    world.live(2 * SECOND, &mut objects);
    assert!(objects[0].told.iter().any(|answer| matches!(answer, Answer::Pending)));
    let mut woken = Vec::new();
    while woken.is_empty() {
        world.pass(SECOND);
        woken = world.woken();
    }
    world.down = Some((Failure::Throttled(Peer::Vault), None));
    let newcomer = &mut [Object::new("shop", "new", vec!["other".to_owned()], HOUR)];
    world.begin(newcomer);
    objects[0].round(&mut world);
    assert_eq!(objects[0].has("user"), Some(2), "{:?}", objects[0].told);
}

#[test]
fn an_object_whose_others_cannot_be_confirmed_in_time_goes_on_after_fifteen_seconds() {
    let names: Vec<String> = (0..60).map(|index| format!("s{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::limited(Limits { requests_per_second: 1, burst: 1, ..Limits::default() });
    for name in &names {
        world.say(name, Said::Version(1));
    }
    let mut objects = vec![Object::synced("app", &names, HOUR)];
    world.begin(&mut objects);
    world.live(2 * HOUR, &mut objects);
    world.write("s07", 2);
    let start = world.now;
    while world.gets_since("s07", start) == 0 {
        world.live(SECOND, &mut objects);
    }
    let noticed = world.now;
    world.live(40 * SECOND, &mut objects);
    assert_eq!(objects[0].has("s07"), Some(2));
    let waited = objects[0].written_at().duration_since(noticed);
    assert!((13..=16).contains(&waited.as_secs()), "{waited:?}");
    let gets = world.gets.iter().filter(|(at, _)| *at > objects[0].written_at() + SECOND).count();
    assert!(gets <= 3, "what was asked to confirm it is not asked for any more: {gets}");
}

#[test]
fn an_object_that_comes_late_waits_from_when_it_met_the_news() {
    let (mut world, mut objects) = pair(Detect::Get);
    world.write("user", 2);
    let mut woken = Vec::new();
    while woken.is_empty() {
        world.pass(SECOND);
        woken = world.woken();
    }
    // Ten thousand others come first.
    world.pass(20 * SECOND);
    world.write("password", 2);
    objects[0].round(&mut world);
    world.live(6 * SECOND, &mut objects);
    assert_eq!(objects[0].writes.len(), 1);
    assert_eq!(objects[0].has("user"), Some(2));
    if objects[0].has("password").is_none() {
        world.live(2 * MINUTE, &mut objects);
    }
    assert_eq!(objects[0].has("password"), Some(2));
}

#[test]
fn a_source_that_changes_all_the_time_has_the_others_read_once_a_second_at_most() {
    let names: Vec<String> = (0..20).map(|index| format!("s{index:02}")).chain(["busy".to_owned()]).collect();
    let mut world = World::new();
    for name in &names {
        world.say(name, Said::Version(1));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut objects =
        vec![Object::synced("app", &names, 24 * HOUR), Object::synced("quick", &["busy"], SECOND)];
    world.begin(&mut objects);
    world.live(MINUTE, &mut objects);
    let start = world.now;
    for version in 2..602 {
        world.write("busy", version);
        world.live(SECOND, &mut objects);
    }
    let others = world.gets.iter().filter(|(at, name)| *at > start && name != "busy").count();
    assert!(others <= 4 * 21 + 10 * 60, "{others} in ten minutes");
    let behind = 601 - objects[0].has("busy").unwrap();
    assert!(behind <= 20, "{behind} seconds");
}

#[test]
fn a_source_that_is_refused_holds_up_none_of_the_others_and_is_not_asked_more_often_for_them() {
    let (mut world, mut objects) = with_object(Detect::Get, &["user", "password", "refused"]);
    world.say("refused", Said::Fails(Failure::MissingRole(Box::default())));
    world.live(40 * MINUTE, &mut objects);
    let start = world.now;
    let asked = |world: &World| world.gets_since("refused", start);
    for version in 2..8 {
        world.write("user", version);
        let took = follow_one(&mut world, &mut objects, "user", version);
        assert!(took <= MINUTE + 8 * SECOND, "{took:?}");
    }
    assert!(asked(&world) <= 2, "{}: at its own back-off", asked(&world));
}

#[test]
fn a_confirmation_that_fails_is_made_again_before_anything_is_used() {
    for detect in BOTH {
        let (mut world, mut objects) = pair(detect);
        if detect == Detect::Get {
            world.before_the_turn_of("user", &mut objects);
        }
        world.write("user", 2);
        world.live(2 * SECOND, &mut objects);
        world.write("password", 2);
        world.trips.insert("password".to_owned(), 2);
        follow(&mut world, &mut objects, 2);
        assert_eq!(objects[0].writes.len(), 1, "{detect:?}: {:?}", objects[0].writes);
    }
}

#[test]
fn a_secret_set_a_moment_ago_makes_its_object_at_once_and_is_read_once_more() {
    for detect in BOTH {
        let mut world = World::new();
        world.terms.detect = detect;
        world.write("db", 1);
        let mut objects = vec![Object::new("shop", "app", vec!["db".to_owned()], MINUTE)];
        world.begin(&mut objects);
        assert_eq!(objects[0].writes.len(), 1, "it waits for nobody");
        assert_eq!(objects[0].known["db"].updated, None);
        world.live(3 * MINUTE, &mut objects);
        assert!(objects[0].known["db"].updated.is_some(), "{detect:?}");
        assert_eq!(objects[0].writes.len(), 1);
        if detect == Detect::List {
            assert_eq!(world.gets_of("db"), 2);
        }
    }
}

#[test]
fn of_two_versions_of_one_second_the_second_arrives_a_restart_in_between_or_not() {
    for detect in BOTH {
        for restart in [false, true] {
            for made in [false, true] {
                let mut world = World::new();
                world.terms.detect = detect;
                world.say("db", Said::Version(1));
                let mut objects = vec![if made {
                    Object::synced("app", &["db"], MINUTE)
                } else {
                    Object::new("shop", "app", vec!["db".to_owned()], MINUTE)
                }];
                if made {
                    world.begin(&mut objects);
                    world.live(3 * MINUTE, &mut objects);
                }
                world.write("db", 2);
                world.begin(&mut objects);
                world.say("db", Said::Written(3, world.clock()));
                if restart {
                    let host = Host::new(Limits::default(), Jitter::seeded(3), world.now);
                    world.host = host;
                    world.begin(&mut objects);
                }
                world.live(3 * MINUTE, &mut objects);
                assert_eq!(objects[0].has("db"), Some(3), "{detect:?} {restart} {made}");
            }
        }
    }
}

#[test]
fn whoever_asks_for_a_sync_has_what_there_is_at_once_for_one_get_each() {
    for detect in BOTH {
        let (mut world, mut objects) = pair(detect);
        let start = world.now;
        world.write("user", 2);
        world.write("password", 2);
        world.host.refresh(&objects[0].key, &connection(0), world.now);
        world.begin(&mut objects);
        world.live(SECOND, &mut objects);
        assert_eq!(objects[0].writes.len(), 1);
        assert_eq!(objects[0].has("password"), Some(2));
        assert_eq!(world.gets.iter().filter(|(at, _)| *at >= start).count(), 2);
        assert_eq!(objects[0].known["user"].updated, None, "it was used before it had settled");
        world.live(2 * MINUTE, &mut objects);
        assert!(objects[0].known["user"].updated.is_some());
        assert_eq!(objects[0].writes.len(), 1);
    }
}

#[test]
fn a_secret_that_is_not_there_for_a_moment_keeps_its_key() {
    for detect in BOTH {
        for returns in [true, false] {
            let (mut world, mut objects) = pair(detect);
            let start = world.now;
            world.history.push((world.now, "user".to_owned(), world.vault.get("user").cloned()));
            let said = world.vault.remove("user").unwrap();
            while world.gets_since("user", start) == 0 {
                world.live(SECOND, &mut objects);
            }
            if returns {
                world.say("user", said);
            }
            world.live(30 * SECOND, &mut objects);
            assert_eq!(objects[0].known.contains_key("user"), returns, "{detect:?}");
            assert!(world.gets_since("user", start) >= 2, "one 404 removes nothing");
            assert_eq!(objects[0].writes.len(), usize::from(!returns));
        }
    }
}

#[test]
fn a_fail_over_that_takes_versions_back_takes_them_back_together() {
    for detect in BOTH {
        let (mut world, mut objects) = pair(detect);
        world.write("user", 2);
        world.write("password", 2);
        follow(&mut world, &mut objects, 2);
        world.live(3 * MINUTE, &mut objects);
        world.say("user", Said::Version(1));
        world.live(3 * SECOND, &mut objects);
        world.say("password", Said::Version(1));
        follow(&mut world, &mut objects, 1);
        assert_eq!(objects[0].writes.len(), 2, "{detect:?}");
    }
}

#[test]
fn a_service_that_tells_no_time_or_a_wrong_one_costs_five_seconds_and_tears_nothing() {
    for detect in BOTH {
        for skew in [None, Some(-300_000), Some(-2_000)] {
            let (mut world, mut objects) = pair(detect);
            world.skew = skew;
            world.write("user", 2);
            world.live(2 * SECOND, &mut objects);
            world.write("password", 2);
            let took = follow(&mut world, &mut objects, 2);
            assert_eq!(objects[0].writes.len(), 1, "{detect:?} {skew:?}");
            assert!(took <= MINUTE + 14 * SECOND, "{took:?}");
        }
    }
}

#[test]
fn a_get_from_a_replica_that_is_behind_does_not_hide_what_the_list_shows() {
    let (mut world, mut objects) = pair(Detect::List);
    world.write("user", 2);
    let stale = world.lists.len();
    while world.lists.len() == stale {
        world.live(SECOND, &mut objects);
    }
    // The GETs that follow are answered as of before, for longer than two sweeps.
    let changed = world.history.pop().unwrap();
    world.history.push((world.now + 150 * SECOND, changed.1, changed.2));
    world.live(5 * MINUTE, &mut objects);
    assert_eq!(objects[0].has("user"), Some(2));
}

#[test]
fn once_a_day_each_value_is_offered_again_and_only_once() {
    for detect in BOTH {
        let mut world = World::new();
        world.terms.detect = detect;
        for name in ["user", "password"] {
            world.say(name, Said::Version(1));
        }
        let mut objects = vec![Object::synced("app", &["user", "password"], HOUR)];
        world.begin(&mut objects);
        let mut offered: BTreeMap<String, usize> = BTreeMap::new();
        let mut rounds = objects[0].rounds;
        for _ in 0..3 * 24 * 60 {
            world.live(MINUTE, &mut objects);
            if objects[0].rounds > rounds {
                rounds = objects[0].rounds;
                for (name, answer) in objects[0].names.iter().zip(&objects[0].told) {
                    if is_read(answer, 1) {
                        *offered.entry(name.clone()).or_default() += 1;
                    }
                }
            }
        }
        assert_eq!(offered.values().copied().collect::<Vec<_>>(), [3, 3], "{detect:?}");
        assert!(objects[0].writes.is_empty());
    }
}

#[test]
fn what_arrives_while_a_round_writes_is_not_taken_for_written() {
    let mut world = World::unpaced();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    assert!(is_read(&world.ask("a", &[want("db", None)]).answers[0], 1));
    // While it is written somebody else has the source read, and it has changed.
    world.say("db", Said::Version(2));
    let _ = world.ask("b", &[want("db", Some(7))]);
    world.host.refresh(&user("b"), &connection(0), world.now);
    world.settle();
    assert!(world.woken().contains(&Wake::User(user("a"))));
    world.host.release(&user("a"), &connection(0));
    assert!(is_read(&world.ask("a", &[want("db", Some(1))]).answers[0], 2));
    world.host.release(&user("a"), &connection(0));
    assert!(matches!(world.ask("a", &[want("db", Some(2))]).answers[0], Answer::Unchanged));
}

impl World {
    /// What an object is told of what it wants through each of these connections.
    fn ask_through(&mut self, name: &str, through: &[(u8, &[Want])], together: bool) -> Vec<Answer> {
        let connections: Vec<Connection> = through.iter().map(|(number, _)| connection(*number)).collect();
        let terms = self.terms;
        let asks = connections.iter().zip(through);
        let asks: Vec<(usize, Ask<'_>)> =
            asks.map(|(connection, (_, wants))| (0, Ask { connection, terms, wants })).collect();
        let replies = ask(&mut [&mut self.host], &user(name), &asks, together, self.now);
        replies.into_iter().flat_map(|reply| reply.answers).collect()
    }
}

/// An object that reads `a` through one connection and `b` through another.
fn ask_both(world: &mut World, through: [u8; 2], known: [u32; 2]) -> Vec<Answer> {
    let [a, b] = [[want("a", Some(known[0]))], [want("b", Some(known[1]))]];
    world.ask_through("shop", &[(through[0], &a), (through[1], &b)], true)
}

/// Whether both are read in the end by who asks when it is woken; one without the other is a failure.
fn both_arrive(world: &mut World, through: [u8; 2]) -> bool {
    let mut together = false;
    for _ in 0..150 {
        world.pass(SECOND);
        if world.woken().is_empty() {
            continue;
        }
        let answers = ask_both(world, through, [1, 1]);
        let read = answers.iter().filter(|answer| matches!(answer, Answer::Read(_))).count();
        let waits = answers.iter().any(|answer| matches!(answer, Answer::Pending));
        assert!(waits || read != 1, "half of it: {answers:?}");
        together |= !waits && read == 2;
    }
    together
}

#[test]
fn news_of_one_connection_waits_until_those_of_the_others_are_known_as_late() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.say(name, Said::Version(1));
    }
    let _ = ask_both(&mut world, [0, 1], [1, 1]);
    world.pass(MINUTE);
    world.write("a", 2);
    world.pass(2 * SECOND);
    world.write("b", 2);
    assert!(both_arrive(&mut world, [0, 1]));
}

#[test]
fn whoever_asks_for_a_sync_of_two_vaults_has_what_there_is_at_once() {
    let mut world = World::unpaced();
    for name in ["a", "b"] {
        world.say(name, Said::Version(1));
    }
    let _ = ask_both(&mut world, [0, 1], [1, 1]);
    world.pass(2 * MINUTE);
    let _ = world.woken();
    world.write("a", 2);
    for through in [0, 1] {
        world.host.refresh(&user("shop"), &connection(through), world.now);
    }
    let mut answers = ask_both(&mut world, [0, 1], [1, 1]);
    let start = world.now;
    while answers.iter().any(|answer| matches!(answer, Answer::Pending)) && world.now < start + 3 * SECOND {
        world.pass(SECOND / 10);
        answers = ask_both(&mut world, [0, 1], [1, 1]);
    }
    assert!(is_version(&answers[0], 2) && matches!(answers[1], Answer::Unchanged), "{answers:?}");
}

#[test]
fn two_connections_that_are_one_are_asked_as_one() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.say(name, Said::Version(2));
    }
    let _ = ask_both(&mut world, [0, 0], [1, 1]);
    assert!(both_arrive(&mut world, [0, 0]));
    // The same secret for two entries, of which one has it already.
    let [one, other] = [[want("a", Some(2))], [want("a", None)]];
    let asked = |world: &mut World| world.ask_through("other", &[(0, &one), (0, &other)], true);
    let _ = asked(&mut world);
    world.pass(20 * SECOND);
    assert!(asked(&mut world).iter().all(|answer| is_read(answer, 2)));
}

/// Asks for `a` and `b` through one connection and `c` through another; what is known is version 1 of all.
fn ask_three(world: &mut World) -> Vec<Answer> {
    let slow = Want { interval: HOUR, ..want("b", Some(1)) };
    world.ask_through("shop", &[(0, &[want("a", Some(1)), slow]), (1, &[want("c", Some(1))])], true)
}

#[test]
fn who_waits_for_a_silent_vault_is_not_given_half_a_rotation_of_another_when_it_returns() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.say(name, Said::Version(1));
    }
    let _ = ask_three(&mut world);
    world.pass(2 * MINUTE);
    world.bogus.push(connection(1));
    // In vain: what hurries waits for the silent one.
    for through in [0, 1] {
        world.host.refresh(&user("shop"), &connection(through), world.now);
    }
    for _ in 0..180 {
        world.pass(SECOND);
        if !world.woken().is_empty() {
            let _ = ask_three(&mut world);
        }
    }
    world.before_turn_of("a");
    for name in ["a", "b"] {
        world.write(name, 2);
    }
    world.pass(12 * SECOND);
    world.bogus.clear();
    let mut whole = false;
    for _ in 0..1200 {
        world.pass(SECOND);
        if world.woken().is_empty() {
            continue;
        }
        let answers = ask_three(&mut world);
        if answers.iter().any(|answer| matches!(answer, Answer::Pending)) {
            continue;
        }
        let read = answers[..2].iter().filter(|answer| is_version(answer, 2)).count();
        assert!(read != 1, "half of it: {answers:?}");
        whole |= read == 2;
    }
    assert!(whole);
}

#[test]
fn who_has_waited_long_enough_waits_again_for_what_changes_while_another_connection_is_tried() {
    let mut world = World::new();
    let often = |name, known| Want { interval: 10 * SECOND, ..want(name, Some(known)) };
    let round = |world: &mut World| {
        let here = [often("a", 1), Want { interval: HOUR, ..want("b", Some(1)) }];
        let _ = world.woken();
        world.ask_through("shop", &[(0, &here), (1, &[often("c", 1)])], true)
    };
    for name in ["a", "b", "c"] {
        world.say(name, Said::Version(1));
    }
    let _ = round(&mut world);
    world.pass(MINUTE);
    // One request fails, the next is not answered for long: the connection is neither open nor said to fail.
    world.trips.insert("c".to_owned(), 1);
    while world.trips["c"] > 0 {
        world.pass(SECOND);
    }
    let failed_at = world.now;
    world.stuck.extend(["b".to_owned(), "c".to_owned()]);
    world.write("a", 2);
    let live = |world: &mut World, until: Duration| {
        let mut used = None;
        while world.now < failed_at + until {
            world.pass(SECOND);
            if world.wakes.iter().any(|wake| matches!(wake, Wake::User(_))) {
                let answers = round(world);
                let waits = answers.iter().any(|answer| matches!(answer, Answer::Pending));
                used = Some(answers).filter(|_| !waits).or(used);
            }
        }
        used
    };
    assert!(live(&mut world, 32 * SECOND).is_none());
    world.stuck.remove("b");
    assert!(live(&mut world, 36 * SECOND).is_none());
    for name in ["a", "b"] {
        world.write(name, 3);
    }
    assert!(live(&mut world, 55 * SECOND).is_none());
    world.stuck.clear();
    let used = live(&mut world, 90 * SECOND).expect("all agree");
    assert!(used[..2].iter().all(|answer| is_version(answer, 3)), "half of it: {used:?}");
}

#[test]
fn a_value_is_kept_for_who_waits_for_another_vault_and_read_once() {
    let mut world = World::new();
    let rare = |name| Want { interval: HOUR, ..want(name, None) };
    let round = |world: &mut World| world.ask_through("new", &[(0, &[rare("a")]), (1, &[rare("b")])], false);
    for name in ["a", "b"] {
        world.say(name, Said::Version(1));
    }
    world.stuck.insert("b".to_owned());
    let _ = round(&mut world);
    for _ in 0..300 {
        world.pass(SECOND);
        if !world.woken().is_empty() {
            let _ = round(&mut world);
        }
    }
    world.stuck.clear();
    world.pass(5 * SECOND);
    assert!(!world.woken().is_empty());
    assert!(round(&mut world).iter().all(|answer| is_read(answer, 1)));
    assert_eq!(world.gets_of("a"), 1);
}

#[test]
fn while_one_vault_is_silent_the_values_of_another_are_not_read_again_and_again() {
    let finds = [Find { name: NamePattern::new("c*"), tags: BTreeMap::new() }];
    for is_searched in [false, true] {
        let mut world = World::new();
        let wants: Vec<Want> = ["a", "b"].map(|name| Want { interval: HOUR, ..want(name, None) }).into();
        for name in ["a", "b", "c"] {
            world.say(name, Said::Version(1));
        }
        world.bogus.push(connection(1));
        let named = [Want { interval: HOUR, ..want("c", None) }];
        let silent = if is_searched { &[] } else { &named[..] };
        let round = |world: &mut World| {
            if is_searched {
                let (connection, terms) = (&connection(1), world.terms);
                let sought = Sought { connection, terms, finds: &finds, interval: HOUR, known: &[] };
                world.host.find(&user("new"), sought, world.now);
            }
            world.ask_through("new", &[(0, &wants), (1, silent)], false)
        };
        // As a round does that looks again every half minute.
        for _ in 0..120 {
            let _ = round(&mut world);
            world.pass(30 * SECOND);
        }
        assert!(world.gets_of("a") <= 4, "{} in an hour", world.gets_of("a"));
        world.bogus.clear();
        let mut done = false;
        for _ in 0..1200 {
            world.pass(SECOND);
            if !world.woken().is_empty() {
                done |= round(&mut world).iter().all(|answer| is_read(answer, 1));
            }
        }
        assert!(done, "whoever waited is woken by the one that was silent");
    }
}

fn is_version(answer: &Answer, version: u32) -> bool {
    matches!(answer, Answer::Read(reading) if reading.attributes.version == format!("{version:032x}"))
}

impl World {
    /// Time passes until just after a source was read by its turn.
    fn before_turn_of(&mut self, name: &str) {
        let before = self.gets_of(name);
        while self.gets_of(name) == before {
            self.pass(SECOND);
        }
        self.pass(50 * SECOND);
    }
}
