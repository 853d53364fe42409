//! When to look at the lease, when to write it, and until when it is ours: a pure function of what the API server answered
//! and of this process's own monotonic clock.
//!
//! Invariants: no two electors may write at one moment; a lease is written with the resourceVersion that was seen, or
//! created; nobody's timestamps are compared with our clock.

use super::Lost;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::time::{Duration, Instant};

/// So long a lease must have stood still before another takes it; client-go's 15 s.
pub(super) const STANDS: Duration = Duration::from_secs(15);
/// So long after the beginning of its last good renewal a holder may begin to write; client-go's 10 s. What is left until
/// the lease may be another's is for answers that are on their way.
pub(super) const BEGINS: Duration = Duration::from_secs(10);
/// The time between two renewals: one of them may fail, or get no answer, before nothing is begun.
const RENEW: Duration = Duration::from_secs(5);
/// The time between two looks at another's lease, and before what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// So long after its last good renewal a holder ends that knows of no other: until then an outage is waited out.
const GIVES_UP: Duration = Duration::from_secs(60);
/// The longest duration that another's record is believed to mean.
pub(super) const MOST_STANDS: Duration = Duration::from_secs(60);

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LeaseStep {
    /// Nothing, until then.
    Wait(Instant),
    /// Read the lease.
    Look,
    /// Make it.
    Create(Box<Lease>),
    /// Put this in its place; it carries the resourceVersion that was seen.
    Replace(Box<Lease>),
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LeaseWritten {
    /// It is there, as this.
    Yes(Box<Lease>),
    /// It is not: somebody else was first.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Until when what is ours lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Nothing is begun from then on.
    pub(super) begins_until: Instant,
    /// No answer is waited for from then on: the lease may be another's.
    pub(super) ends: Instant,
}

/// What the API server last showed.
#[derive(Clone, Debug)]
struct LeaseSeen {
    /// `None`: there is no lease.
    lease: Option<Box<Lease>>,
    /// From when on it may be written over, if it stands still until then; `None`: at once.
    free_at: Option<Instant>,
}

/// A candidate, or the holder.
#[derive(Debug)]
pub(super) struct Elector {
    name: String,
    /// Of this process and no other, not even of the one before it in the same pod.
    identity: String,
    seen: Option<LeaseSeen>,
    /// What is seen may not be so any more.
    doubts: bool,
    /// When the last of our writes began that is known to have landed, while the lease is ours.
    held: Option<Instant>,
    /// Another had it, or may have had it, since it was ours.
    deposed: bool,
    /// The resourceVersion of the lease that was seen last, be it gone since.
    version: Option<u64>,
    /// While it was ours the API server showed an older one than before.
    put_back: bool,
    /// Before then nothing is asked.
    rests: Instant,
}

impl Elector {
    pub(super) const fn new(name: String, identity: String, now: Instant) -> Self {
        Self {
            name,
            identity,
            seen: None,
            doubts: true,
            held: None,
            deposed: false,
            version: None,
            put_back: false,
            rests: now,
        }
    }

    /// What to do now. `written_at` dates the record, for people and other tools.
    pub(super) fn step(&self, now: Instant, written_at: Timestamp) -> LeaseStep {
        if now < self.rests {
            return LeaseStep::Wait(self.rests);
        }
        let Some(seen) = self.seen.as_ref().filter(|_| !self.doubts) else { return LeaseStep::Look };
        if seen.free_at.is_some_and(|free_at| now < free_at) {
            return LeaseStep::Look;
        }
        let record = Box::new(self.record(seen.lease.as_deref(), written_at));
        if seen.lease.is_some() { LeaseStep::Replace(record) } else { LeaseStep::Create(record) }
    }

    /// A look that began at `sent` ended without an answer.
    pub(super) fn look_failed(&mut self, sent: Instant, now: Instant) {
        self.rests = now.max(sent + RETRY);
    }

    /// A look ended; `None`: there is no lease.
    pub(super) fn looked(&mut self, lease: Option<Lease>, now: Instant) {
        self.doubts = false;
        self.show(lease.map(Box::new), now);
        let free_at = self.seen.as_ref().and_then(|seen| seen.free_at);
        self.rests = free_at.map_or(now, |free_at| free_at.min(now + RETRY));
    }

    /// A write that began at `sent` ended.
    pub(super) fn wrote(&mut self, sent: Instant, written: LeaseWritten, now: Instant) {
        match written {
            LeaseWritten::Yes(lease) => {
                self.doubts = false;
                self.show(Some(lease), now);
                self.held = Some(sent).filter(|_| !self.put_back);
                self.rests = sent + RENEW;
            }
            LeaseWritten::Refused => {
                self.doubts = true;
                self.rests = now;
            }
            LeaseWritten::Unknown => {
                self.doubts = true;
                self.rests = now.max(sent + RETRY);
            }
        }
    }

    fn show(&mut self, lease: Option<Box<Lease>>, now: Instant) {
        self.compare_versions(lease.as_deref());
        let before = self.seen.take();
        // Where etcd was put back a resourceVersion comes a second time: it alone does not say that a lease stood still.
        if let Some(before) = before.as_ref().filter(|before| before.lease == lease) {
            self.seen = Some(LeaseSeen { lease, ..*before });
            return;
        }
        let holder = lease.as_deref().and_then(holder);
        let is_ours = holder == Some(self.identity.as_str());
        let vanished = lease.is_none() && before.is_some();
        // Nobody else can have had it as long as our term lasts.
        let vanished_from_us = vanished && self.term().is_some_and(|term| now < term.ends);
        let free_at = match (&lease, holder) {
            (Some(lease), Some(_)) if !is_ours => Some(now + stands(lease)),
            // Whoever held it may not know yet that it vanished.
            (None, _) if vanished && !vanished_from_us => Some(now + STANDS),
            _ => None,
        };
        if self.held.is_some() && !is_ours && !vanished_from_us {
            self.held = None;
            self.deposed = true;
        }
        self.seen = Some(LeaseSeen { lease, free_at });
    }

    /// Every write makes a greater resourceVersion. A lesser one is of a cluster whose etcd was put back: what this process
    /// knows of all other objects is of a time that is gone, and its watches wait for changes that have been.
    fn compare_versions(&mut self, lease: Option<&Lease>) {
        let version = lease.and_then(|lease| lease.metadata.resource_version.as_ref()?.parse().ok());
        if self.held.is_some() && version.zip(self.version).is_some_and(|(now, before)| now < before) {
            (self.put_back, self.held) = (true, None);
        }
        self.version = version.or(self.version);
    }

    /// Until when the lease is ours; `None`: it never was, or is another's.
    pub(super) fn term(&self) -> Option<Term> {
        self.held.map(|held| Term { begins_until: held + BEGINS, ends: held + STANDS })
    }

    /// Who holds it in our place, as far as this process knows; `None`: nobody.
    pub(super) fn other(&self) -> Option<&str> {
        let holder = self.seen.as_ref()?.lease.as_deref().and_then(holder);
        holder.filter(|holder| *holder != self.identity)
    }

    /// The resourceVersion of the lease that it was shown last.
    #[cfg(test)]
    pub(super) fn version(&self) -> Option<String> {
        self.version.map(|version| version.to_string())
    }

    /// Whether it was shown a lease last.
    #[cfg(test)]
    pub(super) fn knows_a_lease(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.lease.is_some())
    }

    /// Why this process has to end: what it keeps of the cluster is no longer its own to act on.
    pub(super) fn lost(&self, now: Instant) -> Option<Lost> {
        if self.put_back {
            return Some(Lost::PutBack);
        }
        if self.deposed {
            return Some(Lost::Taken);
        }
        self.held.filter(|held| now >= *held + GIVES_UP).map(|_| Lost::NotRenewed { within: GIVES_UP })
    }

    fn record(&self, old: Option<&Lease>, written_at: Timestamp) -> Lease {
        let mut lease = old.cloned().unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.managed_fields = None;
        let before = lease.spec.take().unwrap_or_default();
        let is_ours = before.holder_identity.as_deref() == Some(self.identity.as_str());
        let now = Some(MicroTime(written_at));
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(STANDS.as_secs()).ok(),
            acquire_time: if is_ours { before.acquire_time.clone() } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(match before.lease_transitions {
                Some(transitions) if is_ours => transitions,
                Some(transitions) => transitions.saturating_add(1),
                None => 0,
            }),
            ..before
        });
        lease
    }

    /// The lease as it is given back, if this is ours.
    pub(super) fn released(&self, lease: &Lease) -> Option<Lease> {
        holder(lease).filter(|holder| *holder == self.identity)?;
        let mut lease = lease.clone();
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        Some(lease)
    }
}

/// Who holds it; `None`: nobody.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// How long the holder counts on it.
fn stands(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).clamp(STANDS, MOST_STANDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lease in an API server that answers at once, or not at all, and a clock.
    struct Server {
        lease: Option<Lease>,
        version: u32,
        now: Instant,
        away: bool,
        /// So long an answer takes.
        slow: Duration,
        writes: u32,
    }

    impl Server {
        fn new() -> Self {
            let slow = Duration::ZERO;
            Self { lease: None, version: 0, now: Instant::now(), away: false, slow, writes: 0 }
        }

        fn candidate(&self, identity: &str) -> Elector {
            Elector::new("vaultsync".to_owned(), identity.to_owned(), self.now)
        }

        /// The elector does one thing, if it is time. `ahead`: how far its wall clock is wrong.
        fn turn(&mut self, elector: &mut Elector, ahead: i64) {
            if elector.lost(self.now).is_some() {
                // Its process has ended.
                return;
            }
            let date = Timestamp::from_second(1_750_000_000 + ahead).unwrap();
            let sent = self.now;
            let step = elector.step(sent, date);
            if !matches!(step, LeaseStep::Wait(_)) {
                self.now += self.slow;
            }
            match step {
                LeaseStep::Wait(_) => {}
                LeaseStep::Look if self.away => elector.look_failed(sent, self.now),
                LeaseStep::Look => elector.looked(self.lease.clone(), self.now),
                LeaseStep::Create(lease) | LeaseStep::Replace(lease) => {
                    self.writes += 1;
                    let written = if self.away { LeaseWritten::Unknown } else { self.write(*lease) };
                    elector.wrote(sent, written, self.now);
                }
            }
        }

        fn write(&mut self, mut lease: Lease) -> LeaseWritten {
            let stored = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if stored != lease.metadata.resource_version {
                return LeaseWritten::Refused;
            }
            self.version += 1;
            lease.metadata.resource_version = Some(self.version.to_string());
            self.lease = Some(lease.clone());
            LeaseWritten::Yes(Box::new(lease))
        }

        /// Lets time pass in which these do what they do; returns for how many seconds each might begin to write.
        fn pass<const N: usize>(
            &mut self,
            seconds: u32,
            electors: &mut [(&mut Elector, i64); N],
        ) -> [u32; N] {
            let mut begins = [0; N];
            let end = self.now + Duration::from_secs(seconds.into());
            while self.now < end {
                for (elector, ahead) in electors.iter_mut() {
                    self.turn(elector, *ahead);
                }
                for (begins, (elector, _)) in begins.iter_mut().zip(electors.iter()) {
                    *begins += u32::from(elector.term().is_some_and(|term| self.now < term.begins_until));
                }
                self.now += Duration::from_secs(1);
            }
            begins
        }
    }

    #[test]
    fn the_first_leads_at_once_and_writes_the_lease_once_in_five_seconds() {
        let mut server = Server::new();
        let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
        assert_eq!(server.pass(2, &mut [(&mut one, 0)]), [1], "a look, and then it leads");
        server.writes = 0;
        assert_eq!(server.pass(60, &mut [(&mut one, 0), (&mut other, 0)]), [60, 0]);
        assert!(server.writes <= 12, "{}", server.writes);
    }

    #[test]
    fn an_outage_of_twelve_seconds_or_forty_stops_the_writes_for_its_end_and_the_leader_stays() {
        for away in [12, 40] {
            let mut server = Server::new();
            let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
            server.pass(30, &mut [(&mut one, 0)]);
            server.away = true;
            let [begins, _] = server.pass(away, &mut [(&mut one, 0), (&mut other, 0)]);
            assert!((5..=10).contains(&begins), "{away}: {begins}");
            server.away = false;
            let [begins, none] = server.pass(30, &mut [(&mut one, 0), (&mut other, 0)]);
            assert!(begins >= 28 && none == 0, "{away}: {begins}");
            assert_eq!(one.lost(server.now), None);
        }
        let mut server = Server::new();
        let mut one = server.candidate("one");
        server.pass(30, &mut [(&mut one, 0)]);
        server.away = true;
        server.pass(66, &mut [(&mut one, 0)]);
        assert_eq!(
            one.lost(server.now),
            Some(Lost::NotRenewed { within: GIVES_UP }),
            "it does not read vaults for ever"
        );
    }

    #[test]
    fn a_renewal_that_lands_after_six_seconds_stops_the_writes_for_three_at_most() {
        let mut server = Server::new();
        let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
        server.pass(10, &mut [(&mut one, 0), (&mut other, 0)]);
        let sent = one.rests;
        let LeaseStep::Replace(slow) = one.step(sent, Timestamp::UNIX_EPOCH) else { panic!("a renewal") };
        server.now = sent + super::super::CALL;
        one.wrote(sent, LeaseWritten::Unknown, server.now);
        server.turn(&mut one, 0);
        server.now = sent + Duration::from_secs(6);
        server.write(*slow);
        let [begins, none] = server.pass(20, &mut [(&mut one, 0), (&mut other, 0)]);
        // A turn a second: refused, seen, written.
        assert!(begins >= 17 && none == 0, "{begins}");
    }

    #[test]
    fn a_killed_leader_is_followed_within_twenty_seconds_whatever_the_clocks_say() {
        for ahead in [-3600, -30, 0, 30, 3600] {
            let mut server = Server::new();
            let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
            server.pass(33, &mut [(&mut one, 0), (&mut other, ahead)]);
            let [begins] = server.pass(20, &mut [(&mut other, ahead)]);
            assert!((1..=10).contains(&begins), "{ahead}: {begins}");
            assert_eq!(server.lease.as_ref().unwrap().spec.as_ref().unwrap().lease_transitions, Some(1));
            // The first one thaws.
            server.pass(20, &mut [(&mut one, 0), (&mut other, ahead)]);
            assert_eq!((one.lost(server.now), one.term()), (Some(Lost::Taken), None));
        }
    }

    #[test]
    fn a_lease_that_is_given_back_is_taken_at_the_next_look() {
        let mut server = Server::new();
        let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
        server.pass(33, &mut [(&mut one, 0), (&mut other, 0)]);
        let lease = server.lease.clone().unwrap();
        assert_eq!(other.released(&lease), None, "it is another's");
        let released = one.released(&lease).unwrap();
        server.write(released);
        assert!(server.pass(5, &mut [(&mut other, 0)]) >= [2]);
    }

    #[test]
    fn who_was_followed_by_another_does_not_lead_again_though_the_lease_is_free() {
        for deleted in [false, true] {
            let mut server = Server::new();
            let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
            server.pass(33, &mut [(&mut one, 0), (&mut other, 0)]);
            server.pass(25, &mut [(&mut other, 0)]);
            let lease = server.lease.clone().unwrap();
            if deleted {
                server.lease = None;
            } else {
                let released = other.released(&lease).unwrap();
                server.write(released);
            }
            assert_eq!(server.pass(30, &mut [(&mut one, 0)]), [0], "deleted: {deleted}");
            assert_eq!(one.lost(server.now), Some(Lost::Taken));
        }
    }

    #[test]
    fn a_renewal_that_is_never_answered_costs_no_term() {
        let mut server = Server::new();
        let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
        server.pass(10, &mut [(&mut one, 0), (&mut other, 0)]);
        server.now = one.rests;
        (server.slow, server.away) = (super::super::CALL, true);
        server.turn(&mut one, 0);
        (server.slow, server.away) = (Duration::ZERO, false);
        let [begins, none] = server.pass(20, &mut [(&mut one, 0), (&mut other, 0)]);
        assert!(begins >= 19 && none == 0, "{begins}");
    }

    #[test]
    fn a_lease_that_is_deleted_is_made_again_by_who_holds_it() {
        let mut server = Server::new();
        let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
        server.pass(33, &mut [(&mut one, 0), (&mut other, 0)]);
        server.lease = None;
        assert_eq!(server.pass(20, &mut [(&mut other, 0), (&mut one, 0)]), [0, 20]);
    }

    #[test]
    fn who_holds_the_lease_ends_once_etcd_is_put_back_and_another_process_leads_soon() {
        for deleted in [false, true] {
            let mut server = Server::new();
            let mut one = server.candidate("one");
            let mut other = server.candidate("other");
            server.pass(10, &mut [(&mut one, 0)]);
            let backup = (server.lease.clone().filter(|_| !deleted), server.version);
            server.pass(33, &mut [(&mut one, 0), (&mut other, 0)]);
            (server.lease, server.version) = backup;
            server.pass(12, &mut [(&mut one, 0)]);
            assert_eq!((one.lost(server.now), one.term()), (Some(Lost::PutBack), None), "{deleted}");
            let [begins] = server.pass(30, &mut [(&mut other, 0)]);
            assert!(begins >= 8, "{deleted}: {begins}");
            assert_eq!(other.lost(server.now), None);
        }
    }

    #[test]
    fn a_version_that_comes_a_second_time_does_not_say_that_a_lease_stood_still() {
        let mut server = Server::new();
        let (mut one, mut other) = (server.candidate("one"), server.candidate("other"));
        server.pass(10, &mut [(&mut one, 0), (&mut other, 0)]);
        let backup = server.version;
        server.pass(8, &mut [(&mut other, 0)]);
        // Another process renews it, to the very version that was seen eight seconds ago.
        server.version = backup - 1;
        let mut lease = server.lease.clone().unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some("third".to_owned());
        server.write(lease);
        assert_eq!(server.version, backup);
        assert_eq!(server.pass(10, &mut [(&mut other, 0)]), [0]);
    }

    #[test]
    fn what_others_wrote_beside_the_spec_stays() {
        let mut server = Server::new();
        let mut one = server.candidate("one");
        server.pass(10, &mut [(&mut one, 0)]);
        let mut lease = server.lease.clone().unwrap();
        let acquired = lease.spec.as_ref().unwrap().acquire_time.clone();
        lease.metadata.labels = Some([("team".to_owned(), "platform".to_owned())].into());
        server.write(lease);
        server.pass(20, &mut [(&mut one, 5)]);
        let lease = server.lease.unwrap();
        assert_eq!(lease.metadata.labels.unwrap()["team"], "platform");
        let spec = lease.spec.unwrap();
        assert_eq!((spec.acquire_time, spec.lease_transitions), (acquired.clone(), Some(0)));
        assert_ne!(spec.renew_time, acquired);
    }
}
