//! Harness of the suites: what a test needs to run the real programs and to look at what they say.
//!
//! Owns binaries, processes, folders, ports, waiting, and a webhook receiver that behaves like a strict real one. It
//! must not know what any single suite tests. Containers come from `inquest_cli::sandbox`.

pub mod bench;
pub mod binaries;
pub mod burst;
pub mod call_recorder;
pub mod cluster;
pub mod cri_server;
pub mod disk;
pub mod dockerd;
pub mod faketime;
pub mod folder;
pub mod forgetful;
pub mod http;
pub mod kernel_lines;
pub mod netns;
pub mod oracle;
pub mod peer;
pub mod process;
pub mod seed;
pub mod tls_receiver;
pub mod toxiproxy;
pub mod tracefs;
pub mod wait;
pub mod webhook;
pub mod world;

pub use binaries::bin;
pub use cluster::Cluster;
pub use dockerd::Dockerd;
pub use folder::TestDir;
pub use process::Process;
pub use tracefs::Tracefs;
pub use wait::{free_port, monotonic_nanos, wait_for};
pub use webhook::{Behaviour, Webhook};
