//! Why no node takes a pod: the scheduler's counted reasons in words.

use super::super::{Lang, figures::shown};

/// Shown bytes of a reason that has no words here.
const MAX_REASON: usize = 120;
/// Most reasons that are told.
const MAX_REASONS: usize = 6;

/// How the scheduler begins a reason, and what it means. Source: kubernetes `pkg/scheduler/framework/plugins`.
const REASONS: &[(&str, &str, &str)] = &[
    ("Insufficient cpu", "too little CPU left", "CPU 不足"),
    ("Insufficient memory", "too little memory left", "内存不足"),
    ("Insufficient ephemeral-storage", "too little disk left", "临时存储不足"),
    ("Too many pods", "no room for one more pod", "Pod 数量已满"),
    (
        "node(s) had untolerated taint",
        "a taint that the pod does not tolerate",
        "有 Pod 不容忍的污点",
    ),
    ("node(s) were unschedulable", "cordoned", "已被隔离（cordon）"),
    (
        "node(s) didn't match Pod's node affinity/selector",
        "labels that the pod does not ask for",
        "标签不符合节点选择",
    ),
    (
        "node(s) didn't match pod affinity rules",
        "none of the pods that it must be near",
        "不满足 Pod 亲和性",
    ),
    (
        "node(s) didn't match pod anti-affinity rules",
        "a pod that it must be away from",
        "违反 Pod 反亲和性",
    ),
    (
        "node(s) didn't match pod topology spread constraints",
        "more pods of this kind than the spread allows",
        "违反拓扑分布约束",
    ),
    ("node(s) didn't have free ports", "its port in use", "端口已被占用"),
    (
        "node(s) had volume node affinity conflict",
        "no access to its volume",
        "无法访问其卷",
    ),
];

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: …` in words; `None`
/// when the message is none of these.
pub(super) fn in_words(message: &str, lang: Lang) -> Option<String> {
    let (nodes, rest) = message.strip_prefix("0/")?.split_once(" nodes are available: ")?;
    let nodes: u32 = nodes.parse().ok()?;
    let reasons = rest.split(". ").next()?.trim_end_matches('.');
    let told: Vec<String> = reasons
        .split(", ")
        .take(MAX_REASONS)
        .map(|reason| told(reason, lang))
        .collect();
    let told = told.join(lang.comma());
    Some(match lang {
        Lang::En if nodes == 1 => format!("the only node does not fit: {told}"),
        Lang::En => format!("none of {nodes} nodes fits: {told}"),
        Lang::Zh => format!("{nodes} 个节点均不合适：{told}"),
    })
}

/// One counted reason; one without words of ours is quoted.
fn told(reason: &str, lang: Lang) -> String {
    let counted = reason.split_once(' ').filter(|(count, _)| count.parse::<u32>().is_ok());
    let Some((count, reason)) = counted else {
        return shown(reason, MAX_REASON);
    };
    let known = REASONS.iter().find(|(begin, ..)| reason.starts_with(begin));
    let taint = reason.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let name = taint
        .map(|(name, _)| lang.parenthesis(&shown(name, MAX_REASON)))
        .unwrap_or_default();
    match (known, lang) {
        (Some((_, words, _)), Lang::En) => format!("{count} × {words}{name}"),
        (Some((_, _, words)), Lang::Zh) => format!("{count} 个{words}{name}"),
        (None, _) => format!("{count} × {}", shown(reason, MAX_REASON)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_reasons_are_told_in_words() {
        let said = "0/4 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {gpu: only}, 1 odd thing. \
                    preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod.";
        assert_eq!(
            in_words(said, Lang::En).as_deref(),
            Some(
                "none of 4 nodes fits: 1 × too little CPU left, 2 × a taint that the pod does not tolerate (gpu: only), \
                 1 × odd thing"
            )
        );
        assert_eq!(
            in_words("0/1 nodes are available: 1 Insufficient memory.", Lang::Zh).as_deref(),
            Some("1 个节点均不合适：1 个内存不足")
        );
    }

    #[test]
    fn a_message_of_another_form_is_left_alone() {
        for message in [
            "",
            "0/x nodes are available: 1 a",
            "persistentvolumeclaim \"data\" not found",
        ] {
            assert_eq!(in_words(message, Lang::En), None, "{message}");
        }
    }
}
