//! What changed in a workload before a crash, and how its pods fare by revision.

use super::{Untrusted, coded::coded_enum};
use crate::clock::UnixNanos;

/// Most changes that are kept; those that explain least go first.
pub const MAX_CHANGES: usize = 16;
/// Most revisions whose pods are counted; the oldest go first.
pub const MAX_REVISIONS: usize = 4;
/// Longest text of a change, in bytes.
pub const MAX_CHANGE_TEXT: usize = 256;

coded_enum! {
    /// Part of a pod template. The order is the order of worth when there are too many changes.
    TemplateField, "template field" {
        /// Image of a container.
        Image = 1, "image";
        /// A container that was not there before.
        ContainerAdded = 14, "container_added";
        /// A container that is not there any more.
        ContainerRemoved = 15, "container_removed";
        /// Command.
        Command = 5, "command";
        /// Arguments.
        Args = 6, "args";
        /// An environment variable that is not there any more.
        EnvRemoved = 3, "env_removed";
        /// An environment variable that was not there before.
        EnvAdded = 2, "env_added";
        /// An environment variable with another value or another origin of its value.
        EnvChanged = 4, "env_changed";
        /// Memory limit.
        MemoryLimit = 7, "memory_limit";
        /// CPU limit.
        CpuLimit = 8, "cpu_limit";
        /// Memory request.
        MemoryRequest = 9, "memory_request";
        /// CPU request.
        CpuRequest = 10, "cpu_request";
        /// Liveness probe.
        LivenessProbe = 11, "liveness_probe";
        /// Readiness probe.
        ReadinessProbe = 12, "readiness_probe";
        /// Startup probe.
        StartupProbe = 13, "startup_probe";
    }
}

/// One difference between the templates of two revisions. Values of environment variables, commands and arguments are never
/// in it: they may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateChange {
    /// Which part.
    pub what: TemplateField,
    /// Name of the container.
    pub container: String,
    /// Name of the environment variable; empty for other parts.
    pub name: String,
    /// What it was; empty when it was not there, or is not told.
    pub before: Untrusted,
    /// What it is; empty when it is not there, or is not told.
    pub after: Untrusted,
}

/// Pods of one revision, counted when the crash was told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevisionShare {
    /// Number of the revision, or its hash where it has none.
    pub revision: String,
    /// Pods that failed, cannot start, or had a container that ended badly within ten minutes.
    pub crashed: u32,
    /// Pods that are ready and did not crash.
    pub healthy: u32,
    /// Pods that are neither, for example since they start.
    pub other: u32,
}

/// What changed before a crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutContext {
    /// The revision of the pod that crashed: its number, or its hash where it has none.
    pub revision: String,
    /// The revision before it; empty when the crash did not begin within an hour of a new one, or there was none before.
    pub previous: String,
    /// When the revision came, by the apiserver's clock; `None` when that was long ago or is not known.
    pub started_at: Option<UnixNanos>,
    /// Differences from the revision before, those that explain most first; at most [`MAX_CHANGES`].
    pub changes: Vec<TemplateChange>,
    /// The pods of the workload, by revision, the newest first; at most [`MAX_REVISIONS`].
    pub revisions: Vec<RevisionShare>,
}

impl RolloutContext {
    /// Pods that crashed, and all pods.
    #[must_use]
    pub fn share(&self) -> (u32, u32) {
        let add = |(crashed, all): (u32, u32), revision: &RevisionShare| {
            let pods = revision.crashed.saturating_add(revision.healthy);
            let all = all.saturating_add(pods).saturating_add(revision.other);
            (crashed.saturating_add(revision.crashed), all)
        };
        self.revisions.iter().fold((0, 0), add)
    }
}
