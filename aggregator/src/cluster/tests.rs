//! Tests of the cluster index: records, watches against a server that keeps the rules of the API, and what they come to.

pub(crate) mod objects;

mod bed;
mod changes;
mod connecting;
mod fake;
mod model;
mod records;
mod sample;
mod watching;
