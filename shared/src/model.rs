//! The words of the product as types. Pure: no input or output, no clock, no async.

pub(crate) mod coded;
mod evidence;
mod finding;
mod incident;
mod key;
mod pod_context;
mod report;
mod rollout_context;
mod subject;
mod untrusted;
mod verdict;

pub use coded::UnknownCode;
pub use evidence::{
    CounterStep, Evidence, EvidenceSet, EvidenceSource, Fact, KernelKill, LimitLevel, LogExcerpt, LogOrigin,
    MAX_EVIDENCE, MemoryConsumer, RequestKind, RuntimeExit, RuntimeRequest, SignalResult, SignalSent,
};
pub use finding::{Discovery, Finding, FindingKind};
pub use incident::{
    CountedKey, Delivery, DeliveryState, Incident, IncidentState, MAX_COUNTED, MAX_GAPS, MAX_NAMES, MAX_STANDING,
    MAX_UNCERTAIN, Names, Occurrence, TransitionKind, Uncertain, Workload,
};
pub use key::{BadKey, Key};
pub use pod_context::{MAX_EVENTS, PodContext, PodEvent, ProbeFailure, ProbeKind, Provision, Reruns};
pub use report::{Report, ReportKind};
pub use rollout_context::{
    MAX_CHANGE_TEXT, MAX_CHANGES, MAX_REVISIONS, RevisionShare, RolloutContext, TemplateChange, TemplateField,
};
pub use subject::{MAX_NAME_BYTES, Owner, Subject, clean_name, guess_owner};
pub use untrusted::Untrusted;
pub use verdict::{Cause, Severity, Verdict};
