//! The inquest command line as a library, so that tests and benches use the same sandbox as the demo.

mod app;
mod cli;
mod client;
mod command;
mod demo;
mod error;
mod output;
pub mod sandbox;

pub use app::main;
