//! Single words: states, severities, transitions, witnesses.

use std::time::Duration;

use inquest_proto::{ingest::v1::SourceState, query::v1::VersionSkew};

use super::{Lang, figures::duration};
use crate::model::{DeliveryState, EvidenceSource, Incident, IncidentState, Severity, TransitionKind};

/// A witness.
#[must_use]
pub const fn source_name(source: EvidenceSource, lang: Lang) -> &'static str {
    match source {
        EvidenceSource::Containerd => "containerd",
        EvidenceSource::Docker => "Docker",
        EvidenceSource::Crio => "CRI-O",
        EvidenceSource::Log => lang.pick("the container's log", "容器日志"),
        EvidenceSource::Kmsg => lang.pick("kernel log", "内核日志"),
        EvidenceSource::Trace => lang.pick("kernel trace events", "内核跟踪事件"),
        EvidenceSource::Cgroup => lang.pick("cgroup counters", "cgroup 计数器"),
        EvidenceSource::Kubernetes => "Kubernetes",
        EvidenceSource::Procfs => lang.pick("node counters", "节点计数器"),
    }
}

/// How well a witness sees.
#[must_use]
pub const fn source_state(state: SourceState, lang: Lang) -> &'static str {
    match state {
        SourceState::Unspecified => lang.pick("unknown", "未知"),
        SourceState::Live => lang.pick("live", "正常"),
        SourceState::Degraded => lang.pick("degraded", "受限"),
        SourceState::Blind => lang.pick("blind", "不可见"),
        SourceState::Absent => lang.pick("absent", "不存在"),
    }
}

/// How an agent's version stands to the aggregator's; empty when there is nothing to say.
#[must_use]
pub const fn version_skew(skew: VersionSkew, lang: Lang) -> &'static str {
    match skew {
        VersionSkew::Unspecified | VersionSkew::Same => "",
        VersionSkew::Older => lang.pick("older than the aggregator", "比聚合器旧"),
        VersionSkew::Newer => lang.pick("newer than the aggregator", "比聚合器新"),
    }
}

/// How much it matters.
#[must_use]
pub const fn severity(severity: Severity, lang: Lang) -> &'static str {
    match severity {
        Severity::Info => lang.pick("info", "提示"),
        Severity::Low => lang.pick("low", "低"),
        Severity::Medium => lang.pick("medium", "中"),
        Severity::High => lang.pick("high", "高"),
        Severity::Critical => lang.pick("critical", "严重"),
    }
}

/// Life of an incident.
#[must_use]
pub const fn incident_state(state: IncidentState, lang: Lang) -> &'static str {
    match state {
        IncidentState::Open => lang.pick("open", "进行中"),
        IncidentState::Resolved => lang.pick("resolved", "已恢复"),
    }
}

/// Fate of a notification.
#[must_use]
pub const fn delivery_state(state: DeliveryState, lang: Lang) -> &'static str {
    match state {
        DeliveryState::Pending => lang.pick("pending", "待发送"),
        DeliveryState::Delivered => lang.pick("delivered", "已送达"),
        DeliveryState::Dead => lang.pick("given up", "已放弃"),
        DeliveryState::Superseded => lang.pick("superseded", "已被取代"),
    }
}

/// What people are told of now, such as "opened" or "resolved after 12 min".
#[must_use]
pub fn transition(incident: &Incident, lang: Lang) -> String {
    let lasted = incident
        .resolved_at
        .map_or(Duration::ZERO, |end| end.since(incident.opened_at));
    let (lasted, times) = (duration(lasted, lang), incident.occurrences);
    let level = severity(incident.severity, lang);
    match (incident.transition_kind, lang) {
        (TransitionKind::Opened, _) => lang.pick("opened", "新发生").to_owned(),
        (TransitionKind::Reopened, Lang::En) => format!("again after it was resolved (return {})", incident.reopened),
        (TransitionKind::Reopened, Lang::Zh) => format!("恢复后再次发生（第 {} 次）", incident.reopened),
        (TransitionKind::Milestone, Lang::En) => format!("still going on, {times} times so far"),
        (TransitionKind::Milestone, Lang::Zh) => format!("仍在持续，已发生 {times} 次"),
        (TransitionKind::SeverityRaised, Lang::En) => format!("severity raised to {level}"),
        (TransitionKind::SeverityRaised, Lang::Zh) => format!("级别升为{level}"),
        (TransitionKind::Reclassified, _) => lang
            .pick("a more specific cause was found", "已找到更具体的原因")
            .to_owned(),
        (TransitionKind::Resolved, Lang::En) => format!("resolved after {lasted}"),
        (TransitionKind::Resolved, Lang::Zh) => format!("已恢复，历时 {lasted}"),
    }
}
