//! Connections that prove themselves before an object needs them.

use super::*;
use crate::vault::Health;

impl World {
    fn prove(&mut self, detect: Detect) {
        self.host.prove(&connection(0), &"shop".into(), detect, self.now);
    }

    fn health(&self) -> Health {
        self.host.health(&connection(0), self.now).unwrap()
    }

    fn tried(&mut self) -> Vec<Permission> {
        std::mem::take(&mut self.trials)
    }
}

fn missing_role() -> Failure {
    Failure::MissingRole(Box::default())
}

#[test]
fn a_connection_proves_that_it_may_read_and_list_before_any_object_asks() {
    let mut world = World::new();
    world.prove(Detect::Auto);
    assert!(world.health().proving);
    world.settle();
    assert_eq!(world.tried(), [Permission::Read, Permission::List]);
    assert!(matches!(world.health().state, HealthState::Working));
    assert!(!world.health().proving);
    assert!(world.wakes.contains(&Wake::Connection(connection(0))));
}

#[test]
fn nothing_is_tried_twice_nor_periodically() {
    let mut world = World::new();
    world.prove(Detect::Auto);
    world.settle();
    world.prove(Detect::Auto);
    world.pass(60 * MINUTE);
    assert_eq!(world.trials.len(), 2);
}

#[test]
fn where_changes_are_found_by_get_nothing_is_listed_as_a_trial() {
    let mut world = World::new();
    world.prove(Detect::Get);
    world.settle();
    assert_eq!(world.tried(), [Permission::Read]);
}

#[test]
fn what_objects_read_proves_the_same() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    world.prove(Detect::Auto);
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    assert_eq!(world.tried(), []);
    assert!(matches!(world.health().state, HealthState::Working));
    assert!(!world.health().proving);
}

#[test]
fn a_refused_trial_leaves_the_permission_open_until_objects_read() {
    let mut world = World::new();
    world.no_read = Some(missing_role());
    world.prove(Detect::Auto);
    world.settle();
    assert!(
        matches!(&world.health().state, HealthState::PermissionUnproven(failure) if **failure == missing_role())
    );
    assert_eq!(world.tried(), [Permission::Read, Permission::List]);
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    assert!(matches!(world.health().state, HealthState::Working), "one secret may be read");

    let mut world = World::new();
    world.no_read = Some(missing_role());
    world.prove(Detect::Auto);
    world.settle();
    world.say("db", Said::Fails(missing_role()));
    let _ = world.ask("a", &[want("db", None)]);
    world.pass(2 * SECOND);
    assert!(matches!(world.health().state, HealthState::Failing { .. }), "none may be read");
    world.tried();
    world.prove(Detect::Auto);
    world.pass(10 * MINUTE);
    assert_eq!(world.tried(), [], "objects decide, and no trial contradicts them");
}

#[test]
fn an_identity_that_may_not_list_is_found_out_by_one_list_and_not_by_a_sweep() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    world.no_list = Some(missing_role());
    world.prove(Detect::List);
    world.settle();
    for index in 0..20 {
        let name = format!("s{index}");
        world.say(&name, Said::Version(1));
        let _ = world.ask(&name, &[want(&name, None)]);
    }
    world.pass(25 * SECOND);
    assert_eq!(world.tried(), [Permission::Read, Permission::List]);
    assert_eq!(world.lists.len(), 0);
    assert_eq!(world.health().detection.unwrap().mode.as_str(), "Get");
}

#[test]
fn a_failing_connection_is_tried_again_when_its_gate_opens_as_long_as_someone_asks() {
    let mut world = World::new();
    world.down = Some((Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()), None));
    world.prove(Detect::Auto);
    world.settle();
    let HealthState::Failing { retry_in, .. } = world.health().state else { panic!("{:?}", world.health()) };
    assert_eq!(world.tried().len(), 1);
    world.pass(retry_in + SECOND);
    assert_eq!(world.tried().len(), 0, "nobody asked again");
    world.prove(Detect::Auto);
    world.settle();
    assert_eq!(world.tried().len(), 1);
    world.prove(Detect::Auto);
    assert!(world.health().proving, "it waits for the gate");
    world.down = None;
    world.pass(100 * SECOND);
    assert!(matches!(world.health().state, HealthState::Working));
}

#[test]
fn a_handle_that_only_proved_itself_ends_when_it_is_idle_but_not_while_its_gate_is_closed() {
    let limits = Limits::default();
    let mut world = World::new();
    world.prove(Detect::Auto);
    world.pass(limits.idle + SECOND);
    assert!(world.host.is_empty());

    world.down = Some((
        Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()),
        Some(limits.idle * 2),
    ));
    world.prove(Detect::Auto);
    world.settle();
    world.pass(limits.idle + SECOND);
    assert!(!world.host.is_empty(), "who asks again waits as before");
    world.pass(limits.idle * 2 + SECOND);
    assert!(world.host.is_empty());
}

#[test]
fn what_no_vault_answers_to_a_read_is_a_failure_of_the_connection() {
    let mut world = World::new();
    world.no_read = Some(Failure::RequestRejected);
    world.prove(Detect::Auto);
    world.pass(2 * SECOND);
    let HealthState::Failing { failure, .. } = world.health().state else { panic!("{:?}", world.health()) };
    assert_eq!(*failure, Failure::RequestRejected);
}

#[test]
fn an_odd_answer_to_everybody_is_no_outage_that_comes_and_goes() {
    let mut world = World::new();
    world.no_read = Some(Failure::RequestRejected);
    world.prove(Detect::Auto);
    world.pass(2 * SECOND);
    assert_eq!(world.woken(), [Wake::Outage(connection(0))]);
    world.tried();
    for index in 0..20 {
        let name = format!("s{index}");
        world.say(&name, Said::Fails(Failure::RequestRejected));
        let _ = world.ask(&name, &[want(&name, None)]);
    }
    for _ in 0..60 {
        world.pass(MINUTE);
        // Whoever reports the connection asks each time, for it is not Ready.
        world.prove(Detect::Auto);
    }
    assert!(!world.woken().contains(&Wake::Outage(connection(0))));
    assert_eq!(world.tried(), [], "what objects are told decides");
    assert!(matches!(world.health().state, HealthState::Undecided));
}

#[test]
fn a_connection_that_its_last_object_leaves_in_an_outage_is_tried_by_itself() {
    let mut world = World::new();
    world.say("db", Said::Version(1));
    let _ = world.ask("a", &[want("db", None)]);
    world.settle();
    world.down = Some((Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()), None));
    world.pass(2 * MINUTE);
    assert!(matches!(world.health().state, HealthState::Failing { .. }));
    world.host.forget(&user("a"), &connection(0), world.now);
    world.prove(Detect::Auto);
    world.pass(2 * MINUTE);
    assert_eq!(world.tried(), [Permission::Read], "though it once was proved");

    // Nobody asks any more: whoever reports it hears that it is given up, and may ask again.
    world.wakes.clear();
    world.pass(10 * MINUTE);
    assert!(world.host.is_empty());
    assert!(world.wakes.contains(&Wake::Connection(connection(0))));
}

#[test]
fn a_trial_whose_token_is_rejected_is_not_repeated_for_nobody() {
    let mut world = World::new();
    world.prove(Detect::Auto);
    let mut sent = 0;
    for _ in 0..40 {
        let tick = world.host.tick(world.now);
        for fetch in tick.fetches {
            sent += 1;
            world.host.finish(&fetch, Fetched::TokenRejected(Failure::WrongAudience), world.now);
        }
        world.now += MINUTE;
    }
    assert_eq!(sent, 3, "once more with a new token, and once more to be certain");
    assert!(world.host.is_empty());
}

#[test]
fn a_role_that_comes_after_the_trials_brings_the_list_too() {
    let mut world = World::new();
    world.terms.detect = Detect::List;
    (world.no_read, world.no_list) = (Some(missing_role()), Some(missing_role()));
    world.prove(Detect::List);
    world.settle();
    (world.no_read, world.no_list) = (None, None);
    for index in 0..20 {
        let name = format!("s{index}");
        world.say(&name, Said::Version(1));
        let _ = world.ask(&name, &[want(&name, None)]);
    }
    world.pass(2 * MINUTE);
    assert_eq!(world.health().detection.unwrap().mode.as_str(), "List");
}
