//! Why something died, how sure that is, and how much it matters.

use super::coded::coded_enum;

coded_enum! {
    /// Why a container died or cannot live; one list for every part of the product.
    Cause, "cause" {
        /// Somebody wanted it: deletion, rollout, drain, scale-down.
        PlannedStop = 1, "planned_stop";
        /// A restart rule or pod failure policy covers this exit.
        ExpectedExit = 2, "expected_exit";
        /// The kubelet evicted the pod.
        Evicted = 3, "evicted";
        /// The node rebooted or vanished.
        NodeLost = 4, "node_lost";
        /// Killed by the kernel at the limit of its own cgroup, pod or QoS class.
        OomLimit = 5, "oom_limit";
        /// Killed by the kernel since the node ran out of memory.
        OomNode = 6, "oom_node";
        /// The kernel killed a process that is not the container's first; the container may live on.
        OomChild = 7, "oom_child";
        /// The runtime says out of memory and no kernel evidence was seen.
        OomReported = 8, "oom_reported";
        /// A liveness or startup probe failed and the kubelet killed it.
        ProbeKilled = 9, "probe_killed";
        /// A lifecycle hook failed.
        HookFailed = 10, "hook_failed";
        /// The command could not be started: missing, not executable, wrong architecture.
        CannotStart = 11, "cannot_start";
        /// A referenced ConfigMap, Secret or key is missing.
        ConfigError = 12, "config_error";
        /// The image could not be pulled or unpacked.
        ImageError = 13, "image_error";
        /// No node fits.
        Unschedulable = 14, "unschedulable";
        /// A volume could not be mounted.
        MountFailed = 15, "mount_failed";
        /// Admission or quota refused the pod.
        CreationRefused = 16, "creation_refused";
        /// Died of a fault of its own: SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGTRAP.
        FaultSignal = 17, "fault_signal";
        /// A SIGKILL whose sender is named.
        KilledBy = 18, "killed_by";
        /// A SIGKILL that neither the kernel's memory management nor a known sender explains.
        KilledUnknown = 19, "killed_unknown";
        /// Asked to stop by SIGTERM or SIGINT.
        StoppedBy = 20, "stopped_by";
        /// Ends with status 0 again and again although it should run.
        CleanExitLoop = 21, "clean_exit_loop";
        /// Ended by itself with a failure status.
        AppError = 22, "app_error";
        /// A rollout does not progress.
        RolloutStuck = 23, "rollout_stuck";
        /// A Job gave up.
        JobFailed = 24, "job_failed";
        /// A node condition is bad.
        NodeCondition = 25, "node_condition";
        /// The kernel reported a problem that is not a kill.
        KernelProblem = 26, "kernel_problem";
        /// Nothing explains it.
        Unknown = 27, "unknown";
    }
}

coded_enum! {
    /// How much it matters; other tools' levels are mapped to this one.
    Severity, "severity" {
        /// Worth knowing.
        Info = 1, "info";
        /// Can wait for days.
        Low = 2, "low";
        /// Look at it today.
        Medium = 3, "medium";
        /// Look at it now.
        High = 4, "high";
        /// Wake somebody.
        Critical = 5, "critical";
    }
}

/// A cause with its certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub cause: Cause,
    /// How sure, 0 to 100.
    pub confidence_percent: u8,
    /// How much it matters.
    pub severity: Severity,
}
