//! The `vaultsync` binary.
fn main() {}
