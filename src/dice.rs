//! Numbers that follow from a seed, for models that play random lives.

use std::time::Duration;

/// The numbers (`SplitMix64`).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `sides - 1`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }

    /// True once in `of`.
    pub(crate) fn once_in(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    /// So many milliseconds at most.
    pub(crate) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % (most + 1))
    }
}

/// What a person who looks for a fault asks of a model by an environment variable.
#[expect(
    clippy::disallowed_methods,
    reason = "no setting of the program's: which runs a person wants to see"
)]
pub(crate) fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays the run that somebody asks for, or so many as are asked for, `usual` of them if none are. Returns how many that were;
/// `None` of one run alone, which proves nothing of all.
pub(crate) fn play_all(usual: u64, mut play: impl FnMut(u64)) -> Option<u64> {
    if let Some(seed) = asked("VAULTSYNC_MODEL_SEED") {
        play(seed);
        return None;
    }
    let runs = asked("VAULTSYNC_MODEL_RUNS").unwrap_or(usual);
    let first = asked("VAULTSYNC_MODEL_FROM").unwrap_or(1);
    println!("VAULTSYNC_MODEL_SEED={first} and those after it");
    (first..first + runs).for_each(play);
    Some(runs)
}
