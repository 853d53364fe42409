//! How many names are gone together: that many are is never taken for few, whatever comes between.

use super::*;
use crate::dice::{Dice, play_all};
use crate::vault::Losses;

/// What one user reads, through which connection, how often, and what it has of it.
struct Reader {
    name: String,
    client: u8,
    interval: Duration,
    stake: Stake,
}

/// A world in which each name has a user, which removes its key once it is told that few are gone.
struct Readers {
    world: World,
    all: Vec<Reader>,
    /// How many have asked since the process began.
    asked: usize,
}

impl Readers {
    fn new(world: World, all: Vec<Reader>) -> Self {
        let mut readers = Self { world, all, asked: 0 };
        for index in 0..readers.all.len() {
            let name = readers.all[index].name.clone();
            readers.world.say(&name, Said::Version(1));
        }
        readers
    }

    /// So many names, each known to a user that reads them every minute.
    fn alike(detect: Detect, names: usize) -> Self {
        let mut world = World::new();
        world.terms.detect = detect;
        let reader =
            |index| Reader { name: format!("s{index}"), client: 0, interval: MINUTE, stake: Stake::Keys };
        let mut readers = Self::new(world, (0..names).map(reader).collect());
        readers.look(3 * MINUTE, 6);
        readers
    }

    fn goes(&mut self, names: std::ops::Range<usize>) {
        for index in names {
            let name = &self.all[index].name;
            let before = self.world.vault.remove(name);
            self.world.history.push((self.world.now, name.clone(), before));
        }
    }

    /// What the user of this name is told of it, if it is told that it is gone.
    fn asks(&mut self, index: usize) -> Option<Losses> {
        let Reader { name, client, interval, stake } = &self.all[index];
        let known = (*stake == Stake::Keys).then_some(1);
        let want = Want { interval: *interval, stake: *stake, ..want(name, known) };
        let (now, terms) = (self.world.now, self.world.terms);
        let (connection, source) = (connection(*client), want.source.clone());
        let reply = self.world.host.ask(&user(name), &connection, terms, &[want], false, now);
        let gone = matches!(&reply.answers[0], Answer::Failed(failure) if failure.is_missing());
        let has_keys = self.all[index].stake != Stake::None;
        if !gone || !has_keys {
            if matches!(reply.answers[0], Answer::Read(_)) {
                self.all[index].stake = Stake::Keys;
            }
            return None;
        }
        if self.asked < self.all.len() {
            return Some(Losses::Undecided);
        }
        let losses = self.world.host.losses(&connection, &[&source], now);
        match losses {
            Losses::Few => self.all[index].stake = Stake::None,
            Losses::Many => self.all[index].stake = Stake::Held,
            Losses::Undecided => {}
        }
        Some(losses)
    }

    /// All ask, from one on.
    fn all_ask(&mut self, first: usize) -> Vec<(usize, Losses)> {
        let all = self.all.len();
        let mut told = Vec::new();
        for index in (first..all).chain(0..first) {
            told.extend(self.asks(index).map(|losses| (index, losses)));
            self.asked = (self.asked + 1).min(all);
        }
        told
    }

    /// Time passes in so many parts, and after each all ask.
    fn look(&mut self, time: Duration, parts: u32) -> Vec<(usize, Losses)> {
        let mut told = Vec::new();
        for _ in 0..parts {
            self.world.pass(time / parts);
            told.extend(self.all_ask(0));
        }
        told
    }

    fn restart(&mut self, seed: u64) {
        self.world.host = Host::new(Limits::default(), Jitter::seeded(seed), self.world.now);
        self.world.flights.clear();
        self.asked = 0;
    }

    fn stakes(&self, stake: Stake) -> usize {
        self.all.iter().filter(|reader| reader.stake == stake).count()
    }
}

#[test]
fn many_names_that_go_at_once_are_held_and_so_is_the_next_that_goes_by_itself() {
    for detect in [Detect::Get, Detect::List] {
        let mut readers = Readers::alike(detect, 30);
        readers.goes(0..12);
        let told = readers.look(5 * MINUTE, 30);
        assert!(told.iter().all(|(_, losses)| *losses != Losses::Few), "{detect:?} {told:?}");
        assert_eq!(readers.stakes(Stake::Held), 12, "{detect:?}");
        readers.goes(20..21);
        readers.look(60 * MINUTE, 60);
        assert_eq!((readers.stakes(Stake::Held), readers.stakes(Stake::None)), (13, 0), "{detect:?}");
    }
}

#[test]
fn a_few_names_that_go_are_told_as_that_within_two_intervals() {
    for (detect, names, gone) in [
        (Detect::Get, 40, 9),
        (Detect::List, 40, 9),
        (Detect::Get, 100, 25),
        (Detect::List, 100, 25),
        (Detect::Get, 9, 9),
    ] {
        let mut readers = Readers::alike(detect, names);
        readers.goes(0..gone);
        readers.look(2 * MINUTE + 15 * SECOND, 18);
        assert_eq!(readers.stakes(Stake::None), gone, "{detect:?} {names}");
        assert_eq!(readers.stakes(Stake::Held), 0);
    }
}

#[test]
fn one_name_that_goes_waits_until_the_others_were_read_unless_they_are_too_few_to_matter() {
    let mut readers = Readers::alike(Detect::Get, 30);
    readers.goes(0..1);
    let told = readers.look(3 * MINUTE, 180);
    assert_eq!(told.first(), Some(&(0, Losses::Undecided)));
    assert_eq!(told.last(), Some(&(0, Losses::Few)));
    let mut readers = Readers::alike(Detect::Get, 9);
    readers.goes(0..1);
    assert_eq!(readers.look(2 * MINUTE, 120), [(0, Losses::Few)]);
}

#[test]
fn names_that_come_back_are_held_no_more() {
    for detect in [Detect::Get, Detect::List] {
        let mut readers = Readers::alike(detect, 30);
        readers.goes(0..12);
        readers.look(5 * MINUTE, 20);
        for index in 0..12 {
            readers.world.say(&format!("s{index}"), Said::Version(1));
        }
        readers.look(5 * MINUTE, 20);
        assert_eq!(readers.stakes(Stake::Keys), 30, "{detect:?}");
        readers.goes(3..4);
        readers.look(5 * MINUTE, 20);
        assert_eq!(readers.stakes(Stake::None), 1, "{detect:?}");
    }
}

#[test]
fn names_are_counted_over_all_who_read_the_vault_and_each_once() {
    // Forty namespaces with one name each, and all of them with one name.
    for (shared, expected) in [(false, Losses::Many), (true, Losses::Few)] {
        let reader = |index: u8| Reader {
            name: if shared { "shared".to_owned() } else { format!("s{index}") },
            client: index,
            interval: MINUTE,
            stake: Stake::Keys,
        };
        let mut readers = Readers::new(World::new(), (0..40).map(reader).collect());
        readers.look(3 * MINUTE, 6);
        readers.goes(0..if shared { 1 } else { 20 });
        let told = readers.look(5 * MINUTE, 20);
        assert_eq!(told.last().map(|(_, losses)| *losses), Some(expected), "{shared}");
        assert!(told.iter().all(|(_, losses)| [Losses::Undecided, expected].contains(losses)));
    }
}

/// A world of several connections, intervals and ways to find changes.
fn random(dice: &mut Dice) -> Readers {
    let mut world = World::new();
    world.terms.detect = if dice.once_in(2) { Detect::Get } else { Detect::List };
    world.page = 1 + dice.roll(30);
    world.latency = (Duration::ZERO, dice.millis(2_000));
    let intervals = [MINUTE, 2 * MINUTE, 10 * MINUTE];
    let clients = 1 + dice.roll(3);
    let names = 12 + dice.roll(60);
    let reader = |index| Reader {
        name: format!("s{index:02}"),
        client: u8::try_from(dice.roll(clients)).unwrap(),
        interval: intervals[dice.roll(intervals.len())],
        stake: Stake::Keys,
    };
    let mut readers = Readers::new(world, (0..names).map(reader).collect());
    readers.look(dice.millis(1_200_000), 1 + u32::try_from(dice.roll(8)).unwrap());
    readers
}

/// Time passes, the process starts anew, the vault is silent, in any order; returns what was told.
fn disturb(readers: &mut Readers, dice: &mut Dice, seed: u64) -> Vec<(usize, Losses)> {
    let mut told = Vec::new();
    for _ in 0..16 {
        readers.world.pass(dice.millis(90_000));
        if dice.once_in(6) {
            readers.restart(seed);
        }
        if dice.once_in(8) {
            let unavailable = Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) };
            let down = readers.world.down.is_some();
            readers.world.down = (!down).then_some((unavailable, None));
        }
        let first = dice.roll(readers.all.len());
        told.extend(readers.all_ask(first));
    }
    readers.world.down = None;
    told.extend(readers.look(40 * MINUTE, 80));
    told
}

#[test]
fn whatever_comes_between_many_names_that_go_at_once_are_never_told_as_few() {
    play_all(40, |seed| {
        let mut dice = Dice(seed);
        let mut readers = random(&mut dice);
        let names = readers.all.len();
        let least = 10.max(names / 4 + 1);
        let gone = least + dice.roll(names - least + 1);
        readers.goes(0..gone);
        let told = disturb(&mut readers, &mut dice, seed);
        assert!(told.iter().all(|(_, losses)| *losses != Losses::Few), "seed {seed}");
        assert_eq!(readers.stakes(Stake::Held), gone, "seed {seed}");
    });
}

#[test]
fn whatever_comes_between_a_few_names_that_go_are_told_as_few_in_the_end() {
    play_all(40, |seed| {
        let mut dice = Dice(seed);
        let mut readers = random(&mut dice);
        let names = readers.all.len();
        let gone = 1 + dice.roll(9.max(names / 4));
        readers.goes(0..gone);
        let told = disturb(&mut readers, &mut dice, seed);
        assert!(told.iter().all(|(_, losses)| *losses != Losses::Many), "seed {seed}");
        assert_eq!(readers.stakes(Stake::None), gone, "seed {seed}");
    });
}
