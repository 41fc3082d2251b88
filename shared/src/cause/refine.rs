//! Which cause says strictly more than another.

use crate::model::Cause;

/// Causes that name who or what ended a process that SIGKILL or SIGTERM hit.
const SENDERS: &[Cause] = &[
    Cause::PlannedStop,
    Cause::Evicted,
    Cause::NodeLost,
    Cause::ProbeKilled,
    Cause::HookFailed,
    Cause::KilledBy,
];
/// Causes of a container that explain why its workload as a whole does not get on.
const OF_CONTAINERS: &[Cause] = &[
    Cause::AppError,
    Cause::CannotStart,
    Cause::ConfigError,
    Cause::FaultSignal,
    Cause::HookFailed,
    Cause::ImageError,
    Cause::MountFailed,
    Cause::OomChild,
    Cause::OomLimit,
    Cause::OomNode,
    Cause::OomReported,
    Cause::ProbeKilled,
    Cause::Unschedulable,
];
/// Causes that prove what [`Cause::OomReported`] only says.
const KERNEL_OOM: &[Cause] = &[Cause::OomLimit, Cause::OomNode, Cause::OomChild];

/// Whether `new` says strictly more than `old`, so that an incident of `old` is told again under `new`.
///
/// Only a cause that confesses ignorance can be refined: unknown by anything; a SIGKILL or SIGTERM without a sender by
/// whatever names one; the runtime's word about memory by the kernel's; a killed child, whose container may live on, by
/// the container's own end at the limit; a failure status by "could not start"; a rollout or job that does not get on by
/// what keeps its containers from it. Two causes that each name a culprit are
/// different things, whichever came first: an incident of application errors keeps its name when later a worker is
/// killed for memory. The order is strict and transitive, so reclassification ends.
#[must_use]
pub fn more_specific(new: Cause, old: Cause) -> bool {
    match old {
        Cause::Unknown => new != Cause::Unknown,
        Cause::KilledUnknown => new == Cause::OomReported || KERNEL_OOM.contains(&new) || SENDERS.contains(&new),
        Cause::StoppedBy => SENDERS.contains(&new),
        Cause::KilledBy => new == Cause::PlannedStop,
        Cause::OomReported => KERNEL_OOM.contains(&new),
        Cause::OomChild => new == Cause::OomLimit,
        Cause::AppError => new == Cause::CannotStart,
        Cause::RolloutStuck | Cause::JobFailed => OF_CONTAINERS.contains(&new),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reclassification_always_ends() {
        for a in Cause::ALL {
            assert!(!more_specific(*a, *a));
            for b in Cause::ALL {
                assert!(!(more_specific(*a, *b) && more_specific(*b, *a)), "{a} and {b}");
                for c in Cause::ALL {
                    assert!(
                        !(more_specific(*a, *b) && more_specific(*b, *c)) || more_specific(*a, *c),
                        "{a} {b} {c}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_named_culprit_is_never_renamed() {
        assert!(more_specific(Cause::OomLimit, Cause::KilledUnknown));
        assert!(more_specific(Cause::PlannedStop, Cause::StoppedBy));
        assert!(!more_specific(Cause::OomChild, Cause::AppError));
        assert!(more_specific(Cause::OomLimit, Cause::OomChild));
        assert!(!more_specific(Cause::OomChild, Cause::OomLimit));
        assert!(!more_specific(Cause::AppError, Cause::KilledUnknown));
    }
}
