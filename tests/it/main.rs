//! Behaviour tests.

mod crds;
