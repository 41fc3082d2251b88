//! The suites that need the real thing: one binary, one module for each suite. `tests/run` chooses by module name.

mod cluster;
mod contract;
mod docker;
mod faults;
mod foreign;
mod helm;
mod host;
mod process;
mod requirements;
mod runtime;
mod security;
