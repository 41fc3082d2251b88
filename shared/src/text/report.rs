//! A state that the apiserver reports, as a reason.

use super::{
    Lang,
    figures::{quoted, shown},
};
use crate::model::{Report, ReportKind};

mod schedule;

/// Shown bytes of what was said.
const MAX_MESSAGE: usize = 300;

/// What the state is, in the reporter's words where they say more than ours.
pub(super) fn report_line(report: &Report, lang: Lang) -> String {
    let message = report.message.raw();
    let said = match report.kind {
        ReportKind::Unscheduled => schedule::in_words(message, lang),
        _ => None,
    };
    let mut text = lead(report, lang);
    match said {
        Some(words) => text = words,
        None if message.is_empty() => {}
        None => text.push_str(&format!("{}{}", lang.pick(": ", "："), quoted(message, MAX_MESSAGE))),
    }
    if !report.reason.is_empty() && report.kind != ReportKind::NodeCondition {
        text.push_str(&lang.parenthesis(&shown(report.reason.raw(), MAX_MESSAGE)));
    }
    text + &affected(report, lang)
}

fn lead(report: &Report, lang: Lang) -> String {
    let condition = shown(report.reason.raw(), MAX_MESSAGE);
    match report.kind {
        ReportKind::Image => lang.pick("the kubelet cannot get the image", "kubelet 无法获取镜像"),
        ReportKind::Config => lang.pick(
            "something that the container refers to is missing",
            "容器引用的对象缺失",
        ),
        ReportKind::Start => lang.pick("the runtime does not start the container", "运行时无法启动容器"),
        ReportKind::Hook => lang.pick("a hook of the container failed", "容器的钩子失败"),
        ReportKind::Unscheduled => lang.pick("no node takes the pod", "没有节点接受该 Pod"),
        ReportKind::Mount => lang.pick("a volume cannot be attached or mounted", "卷无法挂接或挂载"),
        ReportKind::Creation => lang.pick("the apiserver refuses the pods", "apiserver 拒绝创建 Pod"),
        ReportKind::Rollout => lang.pick("no progress within the deadline", "在期限内没有进展"),
        ReportKind::Job => lang.pick("the job gave up", "Job 已放弃"),
        ReportKind::Eviction => lang.pick("the kubelet took the pod off the node", "kubelet 将 Pod 移出了节点"),
        ReportKind::NodeSilent => lang.pick("the node does not report any more", "节点不再上报"),
        ReportKind::NodeReboot => lang.pick("the node was started anew", "节点已重新启动"),
        ReportKind::AgentSilent => lang.pick(
            "the agent says nothing, but its node is well",
            "代理没有消息，但节点正常",
        ),
        ReportKind::NodeCondition => {
            return match lang {
                Lang::En => format!("the node reports {condition}"),
                Lang::Zh => format!("节点报告 {condition}"),
            };
        }
    }
    .to_owned()
}

/// How many other objects suffer.
fn affected(report: &Report, lang: Lang) -> String {
    match (report.affected, report.kind, lang) {
        (0, ..) => String::new(),
        (1, ReportKind::Rollout, Lang::En) => "; 1 pod is missing".to_owned(),
        (count, ReportKind::Rollout, Lang::En) => format!("; {count} pods are missing"),
        (count, ReportKind::Rollout, Lang::Zh) => format!("；缺少 {count} 个 Pod"),
        (count, ReportKind::Image | ReportKind::Config, Lang::En) => format!("; {count} workloads wait for it"),
        (count, ReportKind::Image | ReportKind::Config, Lang::Zh) => format!("；{count} 个工作负载在等待它"),
        (1, _, Lang::En) => "; 1 pod runs on it".to_owned(),
        (count, _, Lang::En) => format!("; {count} pods run on it"),
        (count, _, Lang::Zh) => format!("；其上有 {count} 个 Pod"),
    }
}
