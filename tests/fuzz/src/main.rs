//! The driver: one program for all targets, for each would link the whole product again.

#![no_main]

use std::sync::LazyLock;
use vaultsync::fuzzing::{FuzzTarget, TARGETS};

static TARGET: LazyLock<FuzzTarget> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.into_iter().find(|(name, _)| *name == wanted);
    target.map(|(_, target)| target).unwrap_or_else(|| panic!("FUZZ_TARGET={wanted} is no target"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.run(input));
