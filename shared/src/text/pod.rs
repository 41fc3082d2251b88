//! The apiserver's word on the pod, as a reason.

use super::{
    Lang,
    figures::{duration, quoted, shown},
};
use crate::{
    cause::facts::{Exit, Facts},
    model::{Cause, PodContext, PodEvent, ProbeFailure, ProbeKind, Provision, Reruns, Untrusted},
};

/// Shown bytes of what the kubelet says.
const MAX_MESSAGE: usize = 200;

/// Why, when the apiserver's word on the pod carries the cause.
pub(super) fn pod_line(cause: Cause, facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let (pod, exit) = (facts.pod?, facts.exit?);
    match cause {
        Cause::CleanExitLoop => facts.clean_loop().map(|reruns| loop_line(reruns, exit, lang)),
        Cause::ExpectedExit => pod.provided.map(|by| provided_line(by, lang).to_owned()),
        Cause::ProbeKilled => facts.deadly_probe().map(|probe| probe_line(probe, exit, lang)),
        Cause::Evicted => {
            let announced = facts.announced_eviction().filter(|_| pod.message.is_empty());
            Some(with_message(
                lang.pick("the kubelet took the pod off the node", "kubelet 将 Pod 移出了节点"),
                announced.map_or(&pod.message, |event| &event.message),
                lang,
            ))
        }
        _ if facts.pod_was_deleted() => Some(deletion(pod, exit, lang)),
        _ if facts.node_was_shut_down() => Some(with_message(
            lang.pick("the node was shut down", "节点正常关机"),
            &pod.message,
            lang,
        )),
        _ => None,
    }
}

const fn provided_line(by: Provision, lang: Lang) -> &'static str {
    match by {
        Provision::FailurePolicy => lang.pick(
            "the pod failure policy of its job ignores this end",
            "其 Job 的 Pod 失败策略忽略此次结束",
        ),
        Provision::RestartRule => lang.pick(
            "a restart rule of the container provides for this exit code",
            "容器的重启规则已涵盖此退出码",
        ),
    }
}

fn with_message(what: &str, message: &Untrusted, lang: Lang) -> String {
    if message.is_empty() {
        return what.to_owned();
    }
    format!(
        "{what}{}{}",
        lang.pick(": ", "："),
        shown(message.raw().trim_end(), MAX_MESSAGE)
    )
}

fn deletion(pod: &PodContext, exit: Exit<'_>, lang: Lang) -> String {
    let mut text = match pod.disruption.raw() {
        "EvictionByEvictionAPI" => lang.pick(
            "the pod was evicted through the API, as a drain does",
            "Pod 通过 API 被驱逐（如 drain）",
        ),
        "PreemptionByScheduler" => lang.pick(
            "the scheduler gave the pod's place to a more important one",
            "调度器将位置让给了更高优先级的 Pod",
        ),
        "DeletionByTaintManager" => lang.pick("the pod was deleted for a taint of its node", "Pod 因节点污点被删除"),
        _ => lang.pick("the pod was deleted", "Pod 被删除"),
    }
    .to_owned();
    if let Some(asked) = pod.deletion_requested_at {
        let before = duration(exit.record.finished_at.since(asked), lang);
        text.push_str(&match lang {
            Lang::En => format!(", {before} before the end"),
            Lang::Zh => format!("，早于结束 {before}"),
        });
    }
    text
}

fn loop_line(reruns: Reruns, exit: Exit<'_>, lang: Lang) -> String {
    let ends = reruns.restarts.saturating_add(1);
    let since = reruns.previous_end.unwrap_or(exit.record.finished_at);
    let after = duration(exit.record.finished_at.since(since), lang);
    match lang {
        Lang::En => {
            format!("ended with 0 for time {ends}, {after} after the time before; its pod starts it again always")
        }
        Lang::Zh => format!("第 {ends} 次以 0 结束，距上次 {after}；其 Pod 总会重新启动它"),
    }
}

/// The last warnings about the pod, one on each line.
pub(super) fn event_lines(events: &[PodEvent], lang: Lang) -> Vec<String> {
    let line = |event: &PodEvent| {
        let times = match event.count {
            0 | 1 => String::new(),
            count => format!(" ×{count}"),
        };
        let reason = shown(event.reason.raw(), MAX_MESSAGE);
        format!(
            "{reason}{times}{}{}",
            lang.pick(": ", "："),
            shown(event.message.raw(), MAX_MESSAGE)
        )
    };
    events.iter().map(line).collect()
}

fn probe_line(probe: &ProbeFailure, exit: Exit<'_>, lang: Lang) -> String {
    let kind = match probe.kind {
        ProbeKind::Liveness => lang.pick("liveness probe", "存活探针"),
        ProbeKind::Startup => lang.pick("startup probe", "启动探针"),
        ProbeKind::Readiness => lang.pick("readiness probe", "就绪探针"),
    };
    let before = duration(exit.record.finished_at.since(probe.last_at), lang);
    let count = probe.count.max(1);
    let said = quoted(probe.message.raw(), MAX_MESSAGE);
    match lang {
        Lang::En => {
            let times = if count == 1 {
                "once".to_owned()
            } else {
                format!("{count} times")
            };
            format!("{kind} failed {times}, the last time {before} before the end: {said}")
        }
        Lang::Zh => format!("{kind}失败 {count} 次，最后一次早于结束 {before}：{said}"),
    }
}
