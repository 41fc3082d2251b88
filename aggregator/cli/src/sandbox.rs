//! A private container runtime, for the demo, the tests and the benches.
//!
//! Owns one containerd with folders, socket, images and cgroups of its own, the pods that are made in it, and bare
//! memory cgroups for hosts without containerd. It never touches a runtime that was already there, and several may run
//! side by side. It must not know what is done with the deaths that happen in it.
//!
//! Everything needs root. [`Containerd::available`] says what else is missing.

mod cgroup;
mod containerd;
mod cri;
mod error;
mod image;
mod pod;
mod requirements;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;

pub use cgroup::BareCgroup;
pub use containerd::Containerd;
pub use cri::{Cri, ExecOutput};
pub use error::SandboxError;
pub use pod::{Container, ContainerSpec, Pod, PodSpec};
pub use requirements::Missing;
pub use settings::{APP_IMAGE, PAUSE_IMAGE};
pub use sweep::{Leftovers, clean_up, leftovers};
