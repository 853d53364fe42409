//! What a vault and a token service may answer, as `make fuzz` tries it.

pub(crate) use super::rest::fuzzing::{challenge, key, list, refusal, secret, versions};
pub(crate) use super::token::fuzzing::{credential, token};
