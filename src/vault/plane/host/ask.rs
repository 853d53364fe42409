//! One question of a user to all of its connections, which is answered as of one moment: what is new of one of them is used
//! together with what the others say.

use std::{borrow::Cow, collections::BTreeSet, time::Instant};

use super::Host;
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Answer, Ask, Reply, Want},
    connection::{Connection, Source},
    plane::{
        detect::Terms,
        entry::Entry,
        gathering::{Agreement, is_pending},
    },
};

/// Answers a user, in the order of `asks`; each says which of `hosts` is its connection's. `together`: what is new of any of
/// them waits for all.
pub(in crate::vault::plane) fn ask(
    hosts: &mut [&mut Host],
    user: &ObjectKey,
    asks: &[(usize, Ask<'_>)],
    together: bool,
    now: Instant,
) -> Vec<Reply> {
    let joined = Joined::of(asks);
    let each: Vec<(usize, Ask<'_>)> = joined.iter().map(|joined| (joined.place, joined.as_ask())).collect();
    let replies = ask_each(hosts, user, &each, together, now);
    if joined.len() == asks.len() {
        return replies;
    }
    let reply_to = |(_, ask): &(usize, Ask<'_>)| {
        let mut all = joined.iter().zip(&replies);
        all.find_map(|(joined, reply)| joined.reply_to(ask, reply))
    };
    asks.iter().filter_map(reply_to).collect()
}

/// The same for connections of which each is another.
fn ask_each(
    hosts: &mut [&mut Host],
    user: &ObjectKey,
    asks: &[(usize, Ask<'_>)],
    together: bool,
    now: Instant,
) -> Vec<Reply> {
    let mut answers = Vec::with_capacity(asks.len());
    for (place, ask) in asks {
        let host = hosts.get_mut(*place);
        answers.push(host.map(|host| host.begin_ask(user, ask, now)).unwrap_or_default());
    }
    let agreements = together.then(|| agreements(hosts, user, asks, &answers));
    // Those that fail first: while one of them keeps a user waiting, the others read nothing for it.
    let works = |(place, ask): &(usize, Ask<'_>)| {
        let handle = hosts.get(*place).and_then(|host| host.known_handle(ask.connection));
        handle.is_none_or(|handle| handle.gate.outage().is_none())
    };
    let mut turns: Vec<(bool, usize)> = asks.iter().map(works).zip(0..).collect();
    turns.sort_unstable();
    let mut replies: Vec<Option<Reply>> = asks.iter().map(|_| None).collect();
    let mut waits = vec![false; asks.len()];
    let mut silent = false;
    for &(works, index) in &turns {
        let (Some((place, ask)), Some(answers), Some(reply), Some(waits)) =
            (asks.get(index), answers.get_mut(index), replies.get_mut(index), waits.get_mut(index))
        else {
            continue;
        };
        let Some(host) = hosts.get_mut(*place) else { continue };
        let agreement = agreements.as_ref().and_then(|agreements| agreements.get(index));
        let told = host.end_ask(user, ask, std::mem::take(answers), agreement, works && silent, now);
        let handle = host.known_handle(ask.connection);
        *waits = told.as_ref().is_some_and(|told| is_pending(&told.answers))
            || handle.is_some_and(|handle| handle.sweeps.finders.keeps_waiting(user));
        silent |= !works && *waits;
        *reply = told;
    }
    for (works, index) in turns {
        let Some((place, ask)) = asks.get(index) else { continue };
        let handle = hosts.get_mut(*place).and_then(|host| host.handle_of(ask.connection));
        if let Some(subscriber) = handle.and_then(|handle| handle.users.get_mut(user)) {
            // Of one that is silent nobody knows how long it is.
            subscriber.waits_elsewhere = any_other(&waits, index) && !(works && silent);
        }
    }
    replies.into_iter().flatten().collect()
}

/// How late each of the connections is to be known, if they are to agree.
fn agreements(
    hosts: &[&mut Host],
    user: &ObjectKey,
    asks: &[(usize, Ask<'_>)],
    answers: &[Vec<Answer>],
) -> Vec<Agreement> {
    let handle = |(place, ask): &(usize, Ask<'_>)| hosts.get(*place)?.known_handle(ask.connection);
    let known = asks.iter().filter_map(|ask| Some(handle(ask)?.news(user, ask.1.wants)));
    let (news, seen): (Vec<_>, Vec<_>) = known.unzip();
    // What sweeps saw moving is news as soon as it is read: the rest is to be known as late as that.
    let settled = news.into_iter().flatten().max();
    let settled = settled.map(|news| seen.into_iter().flatten().fold(news, Instant::max));
    let stands_still = |ask: &(usize, Ask<'_>)| {
        let (handle, settled) = handle(ask).zip(settled)?;
        Some(handle.stands_still(user, ask.1.wants, settled))
    };
    let pending = answers.iter().any(|answers| is_pending(answers));
    let waits = asks.iter().zip(answers);
    let waits: Vec<bool> =
        waits.map(|(ask, answers)| is_pending(answers) || stands_still(ask).unwrap_or(false)).collect();
    (0..asks.len()).map(|index| Agreement { settled, pending, elsewhere: any_other(&waits, index) }).collect()
}

/// Whether it holds of another than this one.
fn any_other(holds: &[bool], this: usize) -> bool {
    holds.iter().enumerate().any(|(index, holds)| *holds && index != this)
}

/// Asks of one user that lead through one handle, as one.
#[derive(Debug)]
struct Joined<'a> {
    place: usize,
    connection: &'a Connection,
    terms: Terms,
    wants: Cow<'a, [Want]>,
}

impl<'a> Joined<'a> {
    /// The asks, each connection once. Of a source that several want, all is needed that one of them needs.
    fn of(asks: &[(usize, Ask<'a>)]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::with_capacity(asks.len());
        for (place, ask) in asks {
            let Some(joined) = all.iter_mut().find(|joined| joined.connection == ask.connection) else {
                let Ask { connection, terms, wants } = *ask;
                all.push(Self { place: *place, connection, terms, wants: Cow::Borrowed(wants) });
                continue;
            };
            let wants = joined.wants.to_mut();
            for want in ask.wants {
                match wants.iter_mut().find(|known| known.source == want.source) {
                    Some(known) => {
                        known.interval = known.interval.min(want.interval);
                        known.known.take_if(|told| want.known.as_ref() != Some(told));
                        known.stale |= want.stale;
                        known.stake = known.stake.max(want.stake);
                    }
                    None => wants.push(want.clone()),
                }
            }
        }
        all
    }

    fn as_ask(&self) -> Ask<'_> {
        Ask { connection: self.connection, terms: self.terms, wants: &self.wants }
    }

    /// Of what all of them are told what one asked for.
    fn reply_to(&self, ask: &Ask<'_>, reply: &Reply) -> Option<Reply> {
        if self.connection != ask.connection {
            return None;
        }
        let answer = |want: &Want| {
            let place = self.wants.iter().position(|other| other.source == want.source)?;
            reply.answers.get(place).cloned()
        };
        let answers = ask.wants.iter().map(|want| answer(want).unwrap_or(Answer::Pending)).collect();
        Some(Reply { answers, ..reply.clone() })
    }
}

impl Host {
    /// The answer to a user with one connection.
    #[cfg(test)]
    pub(in crate::vault::plane) fn ask(
        &mut self,
        user: &ObjectKey,
        connection: &Connection,
        terms: Terms,
        wants: &[Want],
        together: bool,
        now: Instant,
    ) -> Reply {
        ask(&mut [self], user, &[(0, Ask { connection, terms, wants })], together, now).remove(0)
    }

    /// Takes over what `user` wants of a connection; what each source says by itself.
    fn begin_ask(&mut self, user: &ObjectKey, ask: &Ask<'_>, now: Instant) -> Vec<Answer> {
        let id = self.open(ask.connection, now);
        let wanted: BTreeSet<Source> = ask.wants.iter().map(|want| want.source.clone()).collect();
        self.unsubscribe(id, user, |source| !wanted.contains(source), now);
        self.idle.remove(&id);
        let Some(handle) = self.handles.get_mut(&id) else { return Vec::new() };
        let mut answers = Vec::with_capacity(ask.wants.len());
        for want in ask.wants {
            if !handle.entries.contains_key(&want.source) {
                let entry = Entry::new(want.source.version.as_ref(), now);
                handle.entries.insert(want.source.clone(), Box::new(entry));
            }
            let answer = handle.with_entry(&want.source, |entry| entry.ask(user, want, now));
            answers.push(answer.unwrap_or(Answer::Pending));
        }
        if handle.subscribe(user, ask.terms, wanted) {
            self.limit(id, now);
        }
        answers
    }

    /// The answer to what `user` asks of a connection. `agreement`: its sources are to be known as late as this says;
    /// `holds_off`: another connection is silent.
    fn end_ask(
        &mut self,
        user: &ObjectKey,
        ask: &Ask<'_>,
        mut answers: Vec<Answer>,
        agreement: Option<&Agreement>,
        holds_off: bool,
        now: Instant,
    ) -> Option<Reply> {
        let id = *self.ids.get(ask.connection)?;
        let handle = self.handles.get_mut(&id)?;
        match agreement {
            Some(agreement) => handle.gather(user, ask.wants, &mut answers, *agreement, now),
            None => handle.end_gathering(user),
        }
        if holds_off {
            handle.hold_off(user);
        }
        handle.recount(user);
        let health = handle.health(now);
        let unconfirmed_for = handle.unconfirmed_for(user, ask.wants.iter().any(|want| want.stale), now);
        let swept = ask.wants.iter().filter(|want| want.source.is_listed());
        if let Some(interval) = swept.map(|want| want.interval).min() {
            self.arm(id, interval, now);
        }
        let holds = |answer: &Answer| matches!(answer, Answer::Read(_) | Answer::Pending);
        let key = (id, user.clone());
        if answers.iter().any(holds) && self.values.time_of(&key).is_none() {
            self.values.set(key, now + self.limits.value_life);
        }
        self.place_all(id, user, now);
        Some(Reply { answers, health, unconfirmed_for })
    }
}
