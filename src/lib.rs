//! x
pub mod ops;
