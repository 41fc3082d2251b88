//! Control groups: what a path says about its owner, and what the memory controller counted. Knows nothing of findings.
pub mod counters;
pub mod mount;
pub mod notice;
pub mod path;
