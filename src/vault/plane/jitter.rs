//! Randomness as an argument: what spreads load must not make tests differ from run to run.

use std::hash::{BuildHasher, Hash, RandomState};

/// A small generator (`SplitMix64`) for back-off, and a salt for slots. Not for secrets.
#[derive(Clone, Debug)]
pub(in crate::vault) struct Jitter {
    state: u64,
    salt: u64,
}

impl Jitter {
    pub(in crate::vault) const fn seeded(seed: u64) -> Self {
        Self { state: seed, salt: seed.rotate_left(32) }
    }

    /// Seeded by the operating system, so that many operators on one vault do not keep step.
    pub(in crate::vault) fn random() -> Self {
        Self::seeded(RandomState::new().hash_one(0_u8))
    }

    /// The next number in `0.0..1.0`.
    pub(in crate::vault) const fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        unit(mix(self.state))
    }

    /// A number in `0.0..1.0` that belongs to `key` for the life of the process.
    pub(super) fn slot(&self, key: &impl Hash) -> f64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.salt.hash(&mut hasher);
        key.hash(&mut hasher);
        unit(mix(std::hash::Hasher::finish(&hasher)))
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "32 bits fit into the 52 of a double")]
const fn unit(z: u64) -> f64 {
    (z >> 32) as f64 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_spread_evenly_and_stay_where_they_are() {
        let jitter = Jitter::seeded(7);
        let mut tenths = [0_u32; 10];
        for key in 0..10_000 {
            let slot = jitter.slot(&key);
            assert!((slot - jitter.slot(&key)).abs() < f64::EPSILON);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.0..10.0")]
            let tenth = (slot * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn two_processes_use_different_slots() {
        let (one, other) = (Jitter::seeded(1), Jitter::seeded(2));
        assert!((0..100).filter(|key| (one.slot(key) - other.slot(key)).abs() > 0.01).count() > 80);
    }
}
