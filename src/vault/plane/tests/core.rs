//! The whole core as one model: rounds of `plan`, the real plane, a vault and an API server with bytes, and one clock.
//!
//! Between any two micro-steps (a question to the plane, a request sent, its answer received, a page, a GET's read, a
//! status written) anything may happen: bursts and scripts in the vault, failures, sources that come back at the
//! version they had, edits of specs and Secrets, conflicts, requests that were applied though nobody heard, restarts,
//! lost and older status. What holds after each step, and once all is quiet, is in [`invariants`].
//!
//! Each run follows from its seed, which a failure prints. `VAULTSYNC_MODEL_SEED=7` plays one run with its story;
//! `VAULTSYNC_MODEL_SECONDS=600` plays for longer, `VAULTSYNC_MODEL_FROM=1000000` other runs than everybody's.

mod cluster;
mod invariants;
mod operator;
mod vaults;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cluster::Cluster;
use jiff::Timestamp;
use operator::Operator;
use vaults::Vaults;

use crate::dice::{Dice, asked};

/// What may happen in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    /// Everything.
    Wild,
    /// No failure, no throttling, no hand edits: scripts in the vault alone.
    Scripts,
}

/// Everything there is, at one moment.
struct Model {
    seed: u64,
    dice: Dice,
    profile: Profile,
    now: Instant,
    start: Instant,
    vaults: Vaults,
    cluster: Cluster,
    operator: Operator,
    /// Failures of the vault and of the API server happen.
    troubled: bool,
    /// The vault was mended, by whatever changes that took.
    healed: bool,
    /// Up to when somebody has confirmed that what is gone is to go.
    confirmed: Option<Timestamp>,
    story: Vec<String>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let profile = if dice.once_in(4) { Profile::Scripts } else { Profile::Wild };
        let start = Instant::now();
        let vaults = Vaults::new(&mut dice, start, profile);
        let cluster = Cluster::new(&mut dice, &vaults, profile);
        let operator = Operator::new(&mut dice, &cluster, start);
        let troubled = profile == Profile::Wild;
        Self {
            seed,
            dice,
            profile,
            now: start,
            start,
            vaults,
            cluster,
            operator,
            troubled,
            healed: false,
            confirmed: None,
            story: Vec::new(),
        }
    }

    /// The second of the vault's and the API server's clock.
    fn second(&self) -> i64 {
        1_750_000_000 + i64::try_from(self.now.duration_since(self.start).as_secs()).unwrap()
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        let at = self.now.duration_since(self.start).as_millis();
        self.story.push(format!("{at:>8} ms  {}", what()));
    }

    fn fail(&self, what: &str) -> ! {
        let told = if asked("VAULTSYNC_MODEL_SEED").is_some() { 4000 } else { 60 };
        let from = self.story.len().saturating_sub(told);
        panic!("VAULTSYNC_MODEL_SEED={}: {what}\n{}", self.seed, self.story[from..].join("\n"));
    }

    /// One micro-step of the operator, or time passes. Returns whether only time can go on.
    fn step(&mut self) -> bool {
        let moves = operator::moves(self);
        if moves.is_empty() {
            return true;
        }
        let chosen = moves[self.dice.roll(moves.len())];
        operator::play(self, chosen);
        invariants::always(self);
        false
    }

    /// Time passes: to what is due next, but not beyond `most`.
    fn pass(&mut self, most: Duration) {
        let due = self.operator.next_due(self.now).unwrap_or(self.now + most);
        self.now = due.clamp(self.now + Duration::from_millis(1), self.now + most);
    }

    /// Everything that can happen, in any order, for `steps` micro-steps.
    fn play(&mut self, steps: usize) {
        for _ in 0..steps {
            for _ in 0..self.dice.roll(3) {
                if self.dice.once_in(6) {
                    self.interfere();
                    invariants::always(self);
                }
            }
            let idle = self.step();
            if idle || self.dice.once_in(8) {
                let most = match self.dice.roll(10) {
                    // Where nothing is to fail nothing takes seconds, and no script pauses for longer than it says.
                    _ if self.profile == Profile::Scripts
                        && (self.operator.is_busy() || self.vaults.runs_a_script()) =>
                    {
                        200
                    }
                    0 => 40_000,
                    _ => 900,
                };
                let span = self.dice.millis(most);
                self.pass(span.max(Duration::from_millis(1)));
                let (now, second) = (self.now, self.second());
                self.vaults.go_on(now, second);
                cluster::learn(self);
            }
        }
    }

    /// Something outside of the operator happens.
    fn interfere(&mut self) {
        let outside = self.profile == Profile::Wild && self.dice.once_in(2);
        if outside {
            let what = cluster::interfere(self);
            self.tell(|| what);
        } else if self.profile == Profile::Wild && self.dice.once_in(60) {
            self.tell(|| "the operator is killed and starts again".to_owned());
            operator::restart(self);
        } else if self.profile == Profile::Wild && self.dice.once_in(40) {
            let vault = self.dice.roll(2);
            let outage = &mut self.operator.outage[vault];
            *outage = !*outage;
            let is_out = *outage;
            self.tell(|| format!("vault {vault} is out: {is_out}"));
        } else {
            let (now, second) = (self.now, self.second());
            let what = self.vaults.interfere(&mut self.dice, now, second, self.profile);
            cluster::learn(self);
            self.tell(|| what);
        }
    }

    /// Nothing happens any more, for this long.
    fn rest(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            let mut steps = 0;
            while !self.step() {
                steps += 1;
                if steps > 20_000 {
                    self.fail("one moment does not come to its end");
                }
            }
            self.pass(end.saturating_duration_since(self.now).max(Duration::from_millis(1)));
            let (now, second) = (self.now, self.second());
            self.vaults.go_on(now, second);
        }
    }

    fn run(mut self) -> usize {
        let steps = 200 + self.dice.roll(1200);
        self.play(steps);
        self.tell(|| "all is well and quiet from here on".to_owned());
        (self.troubled, self.healed) = (false, true);
        let (now, second) = (self.now, self.second());
        self.vaults.heal(now, second);
        cluster::heal(&mut self);
        // The longest wait after a write that was refused is ten minutes.
        self.rest(Duration::from_secs(700));
        invariants::at_rest(&mut self, &BTreeSet::new());
        let gone = self.vaults.lose(&mut self.dice, self.now);
        self.tell(|| format!("{gone:?} are deleted for good"));
        if self.dice.once_in(4) {
            self.tell(|| "the operator is killed and starts again".to_owned());
            operator::restart(&mut self);
        }
        for index in 0..self.cluster.stored.len() {
            if self.dice.once_in(4) {
                cluster::wipe(&mut self, index);
                self.tell(|| format!("o{index}: the status is wiped"));
            }
        }
        self.rest(Duration::from_secs(400));
        if cluster::holds_removals(&self) {
            self.tell(|| "somebody confirms that what is gone is to go".to_owned());
            self.confirmed = Timestamp::from_second(self.second()).ok();
            operator::wake_all(&mut self);
            self.rest(Duration::from_secs(200));
        }
        invariants::at_rest(&mut self, &gone);
        steps
    }
}

#[test]
fn whatever_happens_a_secret_is_what_its_record_says_and_in_the_end_what_the_vault_says() {
    if let Some(seed) = asked("VAULTSYNC_MODEL_SEED") {
        let model = Model::new(seed);
        eprintln!("{:?}", model.profile);
        Model::run(model);
        return;
    }
    let end = Instant::now() + Duration::from_secs(asked("VAULTSYNC_MODEL_SECONDS").unwrap_or(60));
    // The same runs everywhere, so that whoever changes nothing meets no failure; others by VAULTSYNC_MODEL_FROM.
    let first = asked("VAULTSYNC_MODEL_FROM").unwrap_or(1);
    eprintln!("VAULTSYNC_MODEL_SEED={first} and those after it");
    let (mut runs, mut steps) = (0, 0);
    while runs == 0 || Instant::now() < end {
        steps += Model::new(first + runs).run();
        runs += 1;
    }
    eprintln!("{runs} runs, {steps} micro-steps");
}
