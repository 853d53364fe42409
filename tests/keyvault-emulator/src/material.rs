//! What certificates and keys are made of.

pub(crate) mod chain;
pub(crate) mod issue;
pub(crate) mod keys;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod public_key;
