//! The operator, one micro-step at a time: what the controller does between two of them is nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    Dice, Model,
    cluster::Cluster,
    vaults::{Second, number_of},
};
use crate::{
    api::{VaultSecretSync, VaultSecretSyncSpec},
    object_key::ObjectKey,
    plan::{
        Change, Connected, FoundNames, Input, Kept, NewSecret, Permit, Problem, Refusal, Round, Seen,
        Snapshot, Sources, Step, UsedSource, Vault, Verdict, brake, sources, wants,
    },
    vault::{
        Answer, Ask, Connection, Detect, Failure, Found, Limits, Peer, Sought, Terms, Wake,
        failure::Refused,
        plane::{
            errand::{Errand, Fetch, Fetched, ReadStep},
            host::{Host, ask as ask_hosts},
            jitter::Jitter,
            sweep::finders::find_joined,
        },
    },
};

/// How often a source is read.
const INTERVAL: Duration = Duration::from_secs(60);

/// A request to the vault: not yet read there, or read and not yet answered.
#[derive(Debug)]
struct Flight {
    host: usize,
    fetch: Fetch,
    read: Option<Fetched>,
}

/// A request to the API server.
#[derive(Debug)]
enum Call {
    /// The version at which the Secret is expected.
    Look(Option<String>),
    Create(NewSecret),
    Change(Change),
}

/// Where a round stands.
#[derive(Debug)]
enum At {
    Decide,
    Ask,
    Refresh,
    Send(Call),
    /// The API server has done it, or not; `None`: nobody will hear.
    Receive(Option<Seen>),
    Say(Box<Verdict>),
    /// Whether the status was written, as far as anybody hears.
    Said(Box<Verdict>, bool),
}

#[derive(Debug)]
struct Work {
    stored: Arc<VaultSecretSync>,
    found: Vec<FoundNames>,
    round: Round,
    snapshot: Option<Snapshot>,
    at: At,
}

/// What the operator knows of one object.
#[derive(Debug, Default)]
struct Task {
    queued: bool,
    timer: Option<Instant>,
    probe: bool,
    kept: Kept,
    work: Option<Work>,
}

pub(super) struct Operator {
    /// Of each vault.
    hosts: [Host; 2],
    terms: Terms,
    flights: Vec<Flight>,
    tasks: Vec<Task>,
    /// The plane was asked something, or time passed.
    rung: bool,
    until: Option<Instant>,
    probe_at: Instant,
    /// While it lasts every request to a vault fails.
    pub(super) outage: [bool; 2],
    pub(super) gets: usize,
    pub(super) version_lists: usize,
}

/// One thing that can happen next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    Round(usize),
    Plane,
    Flight(usize),
}

fn user(index: usize) -> ObjectKey {
    ObjectKey::new("shop", format!("o{index}"))
}

impl Operator {
    pub(super) fn new(dice: &mut Dice, cluster: &Cluster, now: Instant) -> Self {
        // A role that was given counts within the time that a model waits in the end.
        let limits =
            Limits { refused_retry: (Duration::from_secs(5), Duration::from_secs(60)), ..Limits::default() };
        let detect = *dice.pick(&[Detect::Auto, Detect::List, Detect::Get]);
        let tasks =
            cluster.stored.iter().map(|_| Task { queued: true, ..Task::default() }).collect::<Vec<_>>();
        Self {
            hosts: [(); 2].map(|()| Host::new(limits.clone(), Jitter::seeded(dice.next()), now)),
            terms: Terms { detect, ..Terms::default() },
            flights: Vec::new(),
            tasks,
            rung: true,
            until: None,
            probe_at: now + Duration::from_secs(30),
            outage: [false; 2],
            gets: 0,
            version_lists: 0,
        }
    }

    pub(super) fn wake(&mut self, index: usize) {
        self.tasks[index].queued = true;
    }

    /// Whether the object's round is between a write of the Secret and its status.
    pub(super) fn is_telling(&self, index: usize) -> bool {
        self.tasks[index].work.as_ref().is_some_and(|work| {
            matches!(work.at, At::Receive(_) | At::Say(_) | At::Said(..))
                || matches!(work.at, At::Decide if work.round.is_sealed())
        })
    }

    /// Whether it is in the middle of something.
    pub(super) fn is_busy(&self) -> bool {
        let works = |task: &Task| task.queued || task.work.is_some();
        self.rung || !self.flights.is_empty() || self.tasks.iter().any(works)
    }

    /// The object as the operator knows it.
    pub(super) fn known(&self, index: usize, stored: &Arc<VaultSecretSync>) -> Arc<VaultSecretSync> {
        self.tasks[index].kept.known(stored)
    }

    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let timers = self.tasks.iter().filter_map(|task| task.timer);
        timers.chain(self.until).chain([self.probe_at]).filter(|at| *at > now).min()
    }
}

/// What can happen now.
pub(super) fn moves(model: &mut Model) -> Vec<Move> {
    let now = model.now;
    let operator = &mut model.operator;
    if operator.probe_at <= now {
        operator.probe_at = now + Duration::from_secs(30);
        for (index, task) in operator.tasks.iter_mut().enumerate() {
            let object = &model.cluster.stored[index].object;
            if object.status.as_ref().is_some_and(|status| status.target.is_some()) {
                (task.probe, task.queued) = (true, true);
            }
        }
    }
    let mut moves = Vec::new();
    for (index, task) in operator.tasks.iter_mut().enumerate() {
        if task.timer.is_some_and(|at| at <= now) {
            (task.timer, task.queued) = (None, true);
        }
        if task.work.is_some() || task.queued {
            moves.push(Move::Round(index));
        }
    }
    if operator.rung || operator.until.is_some_and(|until| until <= now) {
        moves.push(Move::Plane);
    }
    moves.extend((0..operator.flights.len()).map(Move::Flight));
    moves
}

pub(super) fn play(model: &mut Model, chosen: Move) {
    match chosen {
        Move::Plane => plane(model),
        Move::Flight(flight) => fly(model, flight),
        Move::Round(index) => round(model, index),
    }
}

fn plane(model: &mut Model) {
    model.operator.rung = false;
    model.operator.until = None;
    for host in 0..2 {
        let tick = model.operator.hosts[host].tick(model.now);
        model.operator.until = [model.operator.until, tick.until].into_iter().flatten().min();
        for fetch in tick.fetches {
            match &fetch.errand {
                Errand::Read { step: ReadStep::Source | ReadStep::Version(_), .. } => {
                    model.operator.gets += 1;
                }
                Errand::Read { step: ReadStep::Versions(_), .. } => model.operator.version_lists += 1,
                _ => {}
            }
            model.operator.flights.push(Flight { host, fetch, read: None });
        }
        deliver(model, tick.wakes);
    }
}

/// The host of a connection.
fn host_of(model: &Model, vault: usize) -> usize {
    usize::from(vault == 1 && model.vaults.second == Second::OtherVault)
}

/// The connections that an object names: their numbers, and what they lead to.
fn connections_of(model: &Model, spec: &VaultSecretSyncSpec) -> Vec<(usize, Connection)> {
    let numbers = spec.vault_refs().into_iter().map(|vault| number_of(Some(vault)));
    numbers.map(|number| (number, model.vaults.connection(number))).collect()
}

fn connected<'a>(model: &Model, spec: &'a VaultSecretSyncSpec) -> Vec<Connected<'a>> {
    let connected = spec.vault_refs().into_iter().map(|vault| Connected {
        vault,
        url: model.vaults.url_of(number_of(Some(vault))),
        interval: INTERVAL,
        stale_after: Duration::from_secs(900),
        removals_confirmed: model.confirmed,
    });
    connected.collect()
}

/// Does something with all hosts in the name of an object, of which each knows what it asked.
fn at_all_hosts(model: &mut Model, mut action: impl FnMut(&mut Host, &Connection)) {
    for vault in 0..2 {
        let connection = model.vaults.connection(vault);
        let host = host_of(model, vault);
        action(&mut model.operator.hosts[host], &connection);
    }
    model.operator.rung = true;
}

fn deliver(model: &mut Model, wakes: Vec<Wake>) {
    for wake in wakes {
        match wake {
            Wake::User(key) => {
                let index: usize = key.name[1..].parse().unwrap();
                model.operator.tasks[index].queued = true;
            }
            Wake::Outage(_) => model.operator.tasks.iter_mut().for_each(|task| task.queued = true),
            Wake::Connection(_) => {}
        }
    }
}

fn fly(model: &mut Model, flight: usize) {
    let second = model.second();
    let flight_of = &model.operator.flights[flight];
    if flight_of.read.is_none() {
        let fails = model.troubled && (model.operator.outage[flight_of.host] || model.dice.once_in(40));
        let outcome = if fails {
            let throttled = model.dice.once_in(2);
            let failure = if throttled {
                Failure::Throttled(Peer::Vault)
            } else {
                Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) }
            };
            let retry_after = throttled.then(|| model.dice.millis(9000));
            Fetched::Failed(Refused { failure, retry_after })
        } else {
            model.vaults.read(&mut model.dice, &flight_of.fetch, model.now, second)
        };
        model.operator.flights[flight].read = Some(outcome);
        return;
    }
    let Flight { host, fetch, read } = model.operator.flights.swap_remove(flight);
    let Some(outcome) = read else { return };
    let what = match &outcome {
        Fetched::Read(reading, _) => reading.attributes.version.trim_start_matches('0').to_owned(),
        Fetched::Failed(refused) => refused.failure.reason().to_string(),
        _ => "a page".to_owned(),
    };
    if let Errand::Read { source, step, .. } = &fetch.errand {
        let name = match step {
            ReadStep::Source => source.to_string(),
            step => format!("{source} ({step:?})"),
        };
        model.tell(|| format!("GET {name}: {what}"));
    } else {
        model.tell(|| format!("LIST: {what}"));
    }
    let wakes = model.operator.hosts[host].finish(&fetch, outcome, model.now);
    model.operator.rung = true;
    deliver(model, wakes);
}

fn round(model: &mut Model, index: usize) {
    let Some(work) = model.operator.tasks[index].work.take() else {
        let task = &mut model.operator.tasks[index];
        task.queued = false;
        task.timer = None;
        let stored = Arc::clone(&model.cluster.stored[index].object);
        let known = task.kept.known(&stored);
        let round = Round::begin(task.kept.clone(), &known, std::mem::take(&mut task.probe));
        let found = find(model, index, &known);
        model.operator.tasks[index].work =
            Some(Work { stored, found, round, snapshot: None, at: At::Decide });
        return;
    };
    let Work { stored, found, mut round, mut snapshot, at } = work;
    let known = model.operator.tasks[index].kept.known(&stored);
    let used = sources(&known.spec, &found);
    let at = match at {
        At::Decide => decide(model, index, &stored, &known, &mut round, &used, snapshot.as_ref()),
        At::Refresh => {
            let now = model.now;
            at_all_hosts(model, |host, connection| host.refresh(&user(index), connection, now));
            At::Ask
        }
        At::Ask => {
            snapshot = Some(ask(model, index, &known, &round, &used.as_ref().unwrap().used));
            At::Decide
        }
        At::Send(call) => At::Receive(send(model, index, &call)),
        At::Receive(Some(seen)) => {
            round.answered(seen);
            At::Decide
        }
        At::Receive(None) => return again(model, index),
        At::Say(verdict) => {
            let written = say(model, index, &stored, &verdict);
            At::Said(verdict, written)
        }
        At::Said(verdict, written) => {
            return said(
                model,
                index,
                &verdict,
                written,
                snapshot.as_ref(),
                used.as_ref().map_or(&[][..], |sources| &sources.used),
            );
        }
    };
    model.operator.tasks[index].work = Some(Work { stored, found, round, snapshot, at });
}

/// What the object finds by name, as a round begins.
fn find(model: &mut Model, index: usize, known: &VaultSecretSync) -> Vec<FoundNames> {
    if model.cluster.stored[index].vault_gone {
        at_all_hosts(model, |host, connection| host.find_none(&user(index), connection));
        return Vec::new();
    }
    let (terms, now) = (model.operator.terms, model.now);
    let connections = connections_of(model, &known.spec);
    let all = connected(model, &known.spec);
    let each = all.iter().enumerate().map(|(place, connected)| {
        let finds = crate::plan::finds(&known.spec, connected.vault);
        let before = crate::plan::found_before(known, &finds, (&all, place));
        let known = before.names.concat();
        (finds, before, known)
    });
    let each: Vec<_> = each.collect();
    let wanted = connections.iter().zip(&each).filter(|(_, (finds, ..))| !finds.is_empty());
    let sought: Vec<Sought<'_>> = wanted
        .map(|((_, connection), (finds, _, known))| Sought {
            connection,
            terms,
            finds,
            interval: Duration::from_secs(300),
            known,
        })
        .collect();
    at_all_hosts(model, |host, connection| {
        if !sought.iter().any(|sought| sought.connection == connection) {
            host.find_none(&user(index), connection);
        }
    });
    let found = find_joined(&sought, |sought| {
        let vault = usize::from(*sought.connection == model.vaults.connection(1));
        let host = host_of(model, vault);
        model.operator.hosts[host].find(&user(index), sought, now)
    });
    let mut found = found.into_iter();
    let names = each.iter().map(|(finds, before, known)| {
        let nothing = || Found::Names { names: Vec::new().into(), absent: known.clone(), failed: None };
        let found = if finds.is_empty() { None } else { found.next() };
        FoundNames::of(found.unwrap_or_else(nothing), before, |_| true)
    });
    names.collect()
}

fn decide(
    model: &mut Model,
    index: usize,
    stored: &VaultSecretSync,
    known: &VaultSecretSync,
    round: &mut Round,
    used: &Result<Sources, Problem>,
    snapshot: Option<&Snapshot>,
) -> At {
    let permits = vec![Permit::FULL; used.as_ref().map_or(0, |sources| sources.used.len())];
    let connections = connected(model, &known.spec);
    let vault = if model.cluster.stored[index].vault_gone {
        Vault::Unusable(vec![Problem::vault_not_found(&known.spec.vault_ref, "spec.vaultRef")])
    } else {
        Vault::Usable { connections: &connections, permits: &permits, snapshot }
    };
    let step = round.next(&Input {
        object: known,
        stored: stored.status.as_ref(),
        sources: used,
        ignored: false,
        rival: None,
        sharing: &[],
        vault,
        expiring_before: Duration::ZERO,
        now: Timestamp::from_second(model.second()).unwrap(),
    });
    model.tell(|| format!("o{index}: {}", told(&step)));
    match step {
        Step::Ask | Step::Demand(_) => At::Ask,
        Step::ReadAnew(_) => At::Refresh,
        Step::Look => At::Send(Call::Look(round.expected().map(str::to_owned))),
        Step::Create(new) => At::Send(Call::Create(new)),
        Step::Change(change) => At::Send(Call::Change(change)),
        Step::End(verdict) => {
            if snapshot.is_none() {
                let now = model.now;
                at_all_hosts(model, |host, connection| host.forget(&user(index), connection, now));
            }
            At::Say(verdict)
        }
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Create(new) => format!("creates {:?}", new.data.keys().collect::<Vec<_>>()),
        Step::Change(change) => format!(
            "changes {:?}, removes {:?}, labels {:?}, owner +{:?} -{:?} over {}",
            change.set.keys().collect::<Vec<_>>(),
            change.remove,
            change.labels,
            change.add_owner.is_some(),
            change.drop_owners,
            change.resource_version,
        ),
        Step::End(verdict) => {
            format!("ends {:?} {:?} next {:?}", verdict.outcome, verdict.reason, verdict.next)
        }
        other => format!("{other:?}"),
    }
}

fn ask(
    model: &mut Model,
    index: usize,
    known: &VaultSecretSync,
    round: &Round,
    used: &[UsedSource],
) -> Snapshot {
    let connected = connected(model, &known.spec);
    let wants = wants(known, &connected, used, round.demanded(), round.inherits_stale());
    let together = round.waits_for_all(known);
    let (terms, now) = (model.operator.terms, model.now);
    let connections = connections_of(model, &known.spec);
    at_all_hosts(model, |host, connection| {
        if !connections.iter().any(|(_, used)| used == connection) {
            host.forget(&user(index), connection, now);
        }
    });
    let asks: Vec<(usize, Ask<'_>)> = connections
        .iter()
        .zip(&wants)
        .map(|((number, connection), wants)| (host_of(model, *number), Ask { connection, terms, wants }))
        .collect();
    let mut hosts: Vec<&mut Host> = model.operator.hosts.iter_mut().collect();
    let replies = ask_hosts(&mut hosts, &user(index), &asks, together, now);
    let mut snapshot = Snapshot::of(used, replies);
    brake(known, &connected, used, &mut snapshot, |place, sources| {
        let (number, connection) = &connections[place];
        let host = usize::from(*number == 1 && model.vaults.second == Second::OtherVault);
        model.operator.hosts[host].losses(connection, sources, now)
    });
    let answers: Vec<String> = used
        .iter()
        .zip(&snapshot.answers)
        .map(|(used, answer)| {
            let answer = match answer {
                Answer::Read(reading) => reading.attributes.version.trim_start_matches('0').to_owned(),
                Answer::Failed(failure) => failure.reason().to_string(),
                other => format!("{other:?}"),
            };
            format!("{} {answer}", used.source.name)
        })
        .collect();
    model.tell(|| format!("o{index}: asks, together {together}: {}", answers.join(", ")));
    snapshot
}

/// The API server does it; what of that anybody hears.
fn send(model: &mut Model, index: usize, call: &Call) -> Option<Seen> {
    let fate = if model.troubled { model.dice.roll(30) } else { 30 };
    if fate == 0 {
        model.tell(|| format!("o{index}: a request is lost on its way"));
        return None;
    }
    if fate == 1 && !matches!(call, Call::Look(_)) {
        return Some(Seen::Refused(Refusal::Forbidden));
    }
    let second = model.second();
    super::invariants::before_write(model, index);
    let trespass = match call {
        Call::Change(change) => model.cluster.trespass(index, change),
        Call::Look(_) | Call::Create(_) => None,
    };
    let seen = match call {
        Call::Look(expected) => model.cluster.look(index, expected.as_ref(), second),
        Call::Create(new) => model.cluster.create(index, new, second),
        Call::Change(change) => model.cluster.change(index, change, second),
    };
    if let Some(trespass) = trespass.filter(|_| matches!(seen, Seen::Written(_))) {
        model.fail(&format!("o{index}: {trespass}"));
    }
    match call {
        Call::Create(new) => super::invariants::after_create(model, index, new, &seen),
        Call::Change(change) => super::invariants::after_change(model, index, change, &seen),
        Call::Look(_) => {}
    }
    if fate == 2 {
        if !matches!(call, Call::Look(_)) {
            model.cluster.stored[index].behind = true;
        }
        model.tell(|| format!("o{index}: an answer is lost on its way"));
        return None;
    }
    Some(seen)
}

fn again(model: &mut Model, index: usize) {
    model.operator.tasks[index].timer = Some(model.now + Duration::from_secs(1));
}

fn say(model: &mut Model, index: usize, stored: &VaultSecretSync, verdict: &Verdict) -> bool {
    let Some(status) = &verdict.status else { return true };
    let fate = if model.troubled { model.dice.roll(20) } else { 20 };
    if fate == 0 {
        return false;
    }
    let replaced = stored.metadata.resource_version.as_ref();
    let written = model.cluster.write_status(index, replaced, status.clone());
    model.tell(|| format!("o{index}: status is written: {}", written.is_ok()));
    written.is_ok() && fate != 1
}

fn said(
    model: &mut Model,
    index: usize,
    verdict: &Verdict,
    written: bool,
    snapshot: Option<&Snapshot>,
    used: &[UsedSource],
) {
    let task = &mut model.operator.tasks[index];
    task.kept = verdict.kept.clone();
    model.cluster.stored[index].touched = true;
    if !written {
        task.kept.not_said(verdict.status.as_ref(), verdict.outcome);
        return again(model, index);
    }
    task.timer = verdict.next.map(|wait| model.now + wait);
    let Some(snapshot) = snapshot.filter(|_| !verdict.waits) else { return };
    at_all_hosts(model, |host, connection| host.release(&user(index), connection));
    for (used, answer) in used.iter().zip(&snapshot.answers) {
        let handles = model.operator.hosts.iter().flat_map(|host| host.handles.values());
        let entries = handles.filter_map(|handle| handle.entries.get(&used.source));
        let all = entries.filter_map(|entry| entry.known_by(&user(index)));
        if let Answer::Read(given) = answer
            && !all.clone().any(|known| *known == given.attributes)
        {
            let known: Vec<_> = all.cloned().collect();
            model.fail(&format!("o{index} was given {:?} and is taken to know {known:?}", given.attributes));
        }
    }
}

/// The operator is killed, whatever it is doing, and another takes its place.
pub(super) fn restart(model: &mut Model) {
    for index in 0..model.operator.tasks.len() {
        if model.operator.is_telling(index) {
            model.cluster.stored[index].behind = true;
        }
        let Some(work) = model.operator.tasks[index].work.take() else { continue };
        if let At::Send(call) = work.at
            && model.dice.once_in(2)
        {
            send(model, index, &call);
            model.cluster.stored[index].behind = true;
        }
        if model.operator.tasks[index].kept.is_unsaid() {
            model.cluster.stored[index].behind = true;
        }
    }
    for index in 0..model.operator.tasks.len() {
        if model.operator.tasks[index].kept.is_unsaid() {
            model.cluster.stored[index].behind = true;
        }
    }
    let outage = model.operator.outage;
    let gets = model.operator.gets;
    model.operator = Operator::new(&mut model.dice, &model.cluster, model.now);
    (model.operator.outage, model.operator.gets) = (outage, gets);
}

/// Outages are over.
pub(super) fn mend(model: &mut Model) {
    model.operator.outage = [false; 2];
}

/// Every object is looked at.
pub(super) fn wake_all(model: &mut Model) {
    for task in &mut model.operator.tasks {
        task.queued = true;
    }
}
