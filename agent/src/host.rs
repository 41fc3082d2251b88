//! Thin readers of the node itself: kernel log, cgroup files, procfs. Owns paths, file descriptors and text formats; knows
//! nothing of findings, causes or the wire.
pub mod cgroup;
pub mod file;
pub mod kmsg;
pub mod machine;
pub mod paths;
pub mod procfs;
pub mod tracefs;
