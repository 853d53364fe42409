//! Who goes next: four lanes by weight, round-robin by namespace within each, then by handle.
//!
//! Invariant: while anything that may go waits, something is taken; and no namespace with something that may go
//! is passed over twice in a row within its lane.

use std::collections::{HashMap, VecDeque, hash_map};

use crate::vault::connection::Namespace;

/// How urgent a read is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Lane {
    /// Nobody waits: the source is due again.
    Periodic,
    /// A page of a list that objects of many namespaces are told changes by.
    Sweep,
    /// A user has what is new of one source and waits to hear that another still holds.
    Confirmation,
    /// A user waits.
    Interactive,
}

/// Of six requests three go to those who lack an answer, and one to each of the other lanes, if all are full.
const TURNS: u32 = 6;

/// A number that names a handle within its host.
pub(super) type HandleId = u64;

/// How many wait in each lane, places that were given up included.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Waiting {
    pub(super) interactive: usize,
    pub(super) confirmation: usize,
    pub(super) sweep: usize,
    pub(super) periodic: usize,
}

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    interactive: Ring<T>,
    confirmation: Ring<T>,
    sweep: Ring<T>,
    periodic: Ring<T>,
    turn: u32,
    last_number: u64,
}

/// The namespaces of one lane, next one first, and what each has waiting by handle.
#[derive(Debug)]
struct Ring<T> {
    order: VecDeque<Namespace>,
    queues: HashMap<Namespace, Queues<T>>,
}

#[derive(Debug)]
struct Queues<T> {
    order: VecDeque<HandleId>,
    items: HashMap<HandleId, VecDeque<T>>,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self {
            interactive: Ring::new(),
            confirmation: Ring::new(),
            sweep: Ring::new(),
            periodic: Ring::new(),
            turn: 0,
            last_number: 0,
        }
    }

    /// A number for a place that no other has: an item that was given up is known by it.
    pub(super) const fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn push(&mut self, lane: Lane, namespace: &Namespace, handle: HandleId, item: T) {
        self.ring(lane).queue(namespace, handle).push_back(item);
    }

    /// As [`Self::push`], before all that the handle has waiting in the lane.
    pub(super) fn push_first(&mut self, lane: Lane, namespace: &Namespace, handle: HandleId, item: T) {
        self.ring(lane).queue(namespace, handle).push_front(item);
    }

    /// Takes the next item that `may_go`; of each handle only the first in a lane is looked at.
    pub(super) fn pop(&mut self, may_go: impl Fn(HandleId, &T) -> bool) -> Option<(HandleId, T)> {
        let mut lanes = [&mut self.interactive, &mut self.confirmation, &mut self.sweep, &mut self.periodic];
        // Whose turn it is goes first, the others by urgency.
        let first = match self.turn {
            3 => 1,
            4 => 2,
            5 => 3,
            _ => 0,
        };
        if let Some(before) = lanes.get_mut(..=first) {
            before.rotate_right(1);
        }
        let taken = lanes.into_iter().find_map(|lane| lane.pop(&may_go))?;
        self.turn = (self.turn + 1) % TURNS;
        Some(taken)
    }

    pub(super) fn waiting(&self) -> Waiting {
        Waiting {
            interactive: self.interactive.len(),
            confirmation: self.confirmation.len(),
            sweep: self.sweep.len(),
            periodic: self.periodic.len(),
        }
    }

    /// Whether anything waits that `may_go`.
    pub(super) fn has(&self, may_go: impl Fn(HandleId, &T) -> bool) -> bool {
        [&self.interactive, &self.confirmation, &self.sweep, &self.periodic]
            .into_iter()
            .any(|lane| lane.has(&may_go))
    }

    const fn ring(&mut self, lane: Lane) -> &mut Ring<T> {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Confirmation => &mut self.confirmation,
            Lane::Sweep => &mut self.sweep,
            Lane::Periodic => &mut self.periodic,
        }
    }
}

impl<T> Ring<T> {
    fn new() -> Self {
        Self { order: VecDeque::new(), queues: HashMap::new() }
    }

    /// What the handle has waiting, and is to have.
    fn queue(&mut self, namespace: &Namespace, handle: HandleId) -> &mut VecDeque<T> {
        let queues = match self.queues.entry(namespace.clone()) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => {
                self.order.push_back(namespace.clone());
                new.insert(Queues { order: VecDeque::new(), items: HashMap::new() })
            }
        };
        match queues.items.entry(handle) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => {
                queues.order.push_back(handle);
                new.insert(VecDeque::new())
            }
        }
    }

    fn pop(&mut self, may_go: &impl Fn(HandleId, &T) -> bool) -> Option<(HandleId, T)> {
        let (at, taken) = self.order.iter().enumerate().find_map(|(at, namespace)| {
            self.queues.get_mut(namespace).and_then(|queues| queues.pop(may_go)).map(|taken| (at, taken))
        })?;
        let namespace = self.order.remove(at)?;
        if self.queues.get(&namespace).is_some_and(|queues| queues.order.is_empty()) {
            self.queues.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        Some(taken)
    }

    fn len(&self) -> usize {
        self.queues.values().flat_map(|queues| queues.items.values()).map(VecDeque::len).sum()
    }

    fn has(&self, may_go: &impl Fn(HandleId, &T) -> bool) -> bool {
        self.queues.values().any(|queues| queues.next(may_go).is_some())
    }
}

impl<T> Queues<T> {
    /// The place of the first handle whose first item `may_go`.
    fn next(&self, may_go: &impl Fn(HandleId, &T) -> bool) -> Option<usize> {
        let first = |handle| self.items.get(handle).and_then(VecDeque::front);
        self.order.iter().position(|handle| first(handle).is_some_and(|item| may_go(*handle, item)))
    }

    fn pop(&mut self, may_go: &impl Fn(HandleId, &T) -> bool) -> Option<(HandleId, T)> {
        let at = self.next(may_go)?;
        let handle = self.order.remove(at)?;
        let items = self.items.get_mut(&handle)?;
        let item = items.pop_front()?;
        if items.is_empty() {
            self.items.remove(&handle);
        } else {
            self.order.push_back(handle);
        }
        Some((handle, item))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn namespace(index: u8) -> Namespace {
        format!("team-{index}").into()
    }

    #[test]
    fn who_is_waited_for_goes_first_and_what_is_due_still_goes() {
        let taken = |lanes_of: &[Lane]| {
            let mut lanes = Lanes::new();
            for lane in lanes_of.iter().cycle().take(20 * lanes_of.len()) {
                lanes.push(*lane, &namespace(0), 1, *lane);
            }
            let taken: Vec<_> = (0..12).map(|_| lanes.pop(|_, _| true).unwrap().1).collect();
            assert_eq!(Some(&taken[0]), lanes_of.iter().max());
            [Lane::Interactive, Lane::Confirmation, Lane::Sweep, Lane::Periodic]
                .map(|lane| taken.iter().filter(|other| **other == lane).count())
        };
        assert_eq!(taken(&[Lane::Periodic, Lane::Interactive]), [10, 0, 0, 2]);
        assert_eq!(taken(&[Lane::Periodic, Lane::Confirmation]), [0, 10, 0, 2]);
        assert_eq!(taken(&[Lane::Periodic, Lane::Sweep]), [0, 0, 10, 2]);
        assert_eq!(taken(&[Lane::Confirmation, Lane::Interactive]), [10, 2, 0, 0]);
        assert_eq!(taken(&[Lane::Sweep, Lane::Interactive]), [10, 0, 2, 0]);
        let all = [Lane::Periodic, Lane::Sweep, Lane::Confirmation, Lane::Interactive];
        assert_eq!(taken(&all), [6, 2, 2, 2]);
    }

    #[test]
    fn a_namespace_with_a_thousand_reads_does_not_hold_up_one_with_a_single_read() {
        let mut lanes = Lanes::new();
        for _ in 0..1000 {
            lanes.push(Lane::Interactive, &namespace(0), 1, 0);
        }
        lanes.push(Lane::Interactive, &namespace(1), 2, 1);
        let place = (0..=1000).position(|_| lanes.pop(|_, _| true).unwrap().1 == 1).unwrap();
        assert!(place <= 1, "{place}");
    }

    #[test]
    fn a_closed_handle_is_passed_over_and_keeps_its_place() {
        let mut lanes = Lanes::new();
        lanes.push(Lane::Interactive, &namespace(0), 1, "closed");
        lanes.push(Lane::Interactive, &namespace(0), 2, "open");
        assert_eq!(lanes.pop(|handle, _| handle == 2), Some((2, "open")));
        assert_eq!(lanes.pop(|handle, _| handle == 2), None);
        assert!(!lanes.has(|handle, _| handle == 2));
        assert_eq!(lanes.pop(|_, _| true), Some((1, "closed")));
        assert!(!lanes.has(|_, _| true));
    }

    #[test]
    fn what_is_put_first_goes_before_all_of_its_handle_and_holds_up_only_that() {
        let mut lanes = Lanes::new();
        for item in ["read", "another"] {
            lanes.push(Lane::Periodic, &namespace(0), 1, item);
        }
        lanes.push(Lane::Periodic, &namespace(0), 2, "other");
        lanes.push_first(Lane::Periodic, &namespace(0), 1, "probe");
        assert_eq!(lanes.pop(|_, item| *item != "probe"), Some((2, "other")));
        assert_eq!(lanes.pop(|_, item| *item != "probe"), None);
        let rest: Vec<_> = std::iter::from_fn(|| lanes.pop(|_, _| true)).map(|(_, item)| item).collect();
        assert_eq!(rest, ["probe", "read", "another"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_namespace_starves(
            pushes in prop::collection::vec((0_usize..4, 0_u8..6, 0_u64..4), 1..300),
            closed in 0_u64..5,
        ) {
            let mut lanes = Lanes::new();
            let all = [Lane::Periodic, Lane::Sweep, Lane::Confirmation, Lane::Interactive];
            for (index, (lane, team, handle)) in pushes.iter().enumerate() {
                lanes.push(all[*lane], &namespace(*team), *handle, (index, *lane, *team));
            }
            let mut taken = Vec::new();
            while let Some((handle, item)) = lanes.pop(|handle, _| handle != closed) {
                prop_assert_ne!(handle, closed);
                taken.push(item);
            }
            let may_go = |push: &&(usize, u8, u64)| push.2 != closed;
            prop_assert_eq!(taken.len(), pushes.iter().filter(may_go).count());
            // Within a lane, between two turns of one namespace no other has two.
            for lane in 0..all.len() {
                let teams: Vec<u8> = taken.iter().filter(|item| item.1 == lane).map(|item| item.2).collect();
                for (at, team) in teams.iter().enumerate() {
                    let Some(next) = teams[at + 1..].iter().position(|other| other == team) else { continue };
                    let between = &teams[at + 1..at + 1 + next];
                    let mut seen = std::collections::HashSet::new();
                    prop_assert!(between.iter().all(|other| seen.insert(*other)), "{:?}", teams);
                }
            }
            while let Some((_, item)) = lanes.pop(|_, _| true) {
                taken.push(item);
            }
            prop_assert_eq!(taken.len(), pushes.len());
        }
    }
}
