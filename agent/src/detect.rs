//! Pure detection: observations in, findings out. Knows the model only: no tokio, no files, no clock of its own.

pub mod fusion;
pub mod oom;

pub use fusion::{Fusion, Moment};
