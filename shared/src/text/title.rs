//! A cause in a few words.

use super::{Lang, sender::who};
use crate::{
    cause::{exit_code::meaning, facts::Facts, sender::Origin},
    model::{Cause, LimitLevel},
};

/// The title of a cause; `facts` of an event with that cause make it more exact.
pub(super) fn title(cause: Cause, facts: Option<&Facts<'_>>, lang: Lang) -> String {
    let exact = facts.and_then(|facts| match cause {
        Cause::OomLimit => Some(oom_limit(facts, lang).to_owned()),
        Cause::OomNode => facts.kill.and_then(|k| oom_node(k.level, lang)).map(str::to_owned),
        Cause::AppError => Some(app_error(facts.code()?, lang)),
        Cause::FaultSignal => match (facts.signal()?, lang) {
            (signal, Lang::En) => Some(format!("Crashes with {signal}")),
            (signal, Lang::Zh) => Some(format!("因 {signal} 崩溃")),
        },
        Cause::KilledBy => match (who(facts, lang)?, lang) {
            (who, Lang::En) => Some(format!("Killed by {who} (SIGKILL)")),
            (who, Lang::Zh) => Some(format!("被 {who} 终止（SIGKILL）")),
        },
        Cause::KilledUnknown if facts.died_by(&[Origin::Runtime]) => Some(
            lang.pick(
                "Killed by the runtime, on an unknown order (SIGKILL)",
                "被运行时终止，下令者未知（SIGKILL）",
            )
            .to_owned(),
        ),
        Cause::StoppedBy if who(facts, lang).is_some() => match (facts.signal()?, who(facts, lang)?, lang) {
            (signal, who, Lang::En) => Some(format!("Stopped by {signal} from {who}")),
            (signal, who, Lang::Zh) => Some(format!("被 {who} 以 {signal} 终止")),
        },
        Cause::StoppedBy => match (facts.signal()?, lang) {
            (signal, Lang::En) => Some(format!("Stopped by {signal}, sender unknown")),
            (signal, Lang::Zh) => Some(format!("被 {signal} 终止，发送者未知")),
        },
        _ => None,
    });
    exact.unwrap_or_else(|| plain(cause, lang).to_owned())
}

fn app_error(code: i32, lang: Lang) -> String {
    let signal = meaning(code)
        .signal
        .map(|s| lang.parenthesis(&s.name()))
        .unwrap_or_default();
    match lang {
        Lang::En => format!("Exits with {code}{signal}"),
        Lang::Zh => format!("以状态码 {code}{signal} 退出"),
    }
}

fn oom_limit(facts: &Facts<'_>, lang: Lang) -> &'static str {
    match facts.kill.map(|kill| kill.level) {
        Some(Some(LimitLevel::Container)) => lang.pick("OOM at container limit", "容器内存超限（OOM）"),
        Some(Some(LimitLevel::Pod)) => lang.pick("OOM at pod limit", "Pod 内存超限（OOM）"),
        Some(Some(LimitLevel::QosClass)) => lang.pick("OOM at the limit of the QoS class", "QoS 级别内存超限（OOM）"),
        Some(Some(LimitLevel::HostService)) => {
            lang.pick("OOM at the limit of a host service", "主机服务内存超限（OOM）")
        }
        None if !facts.cgroup_step => lang.pick("OOM kill that no record explains", "无记录可解释的 OOM 终止"),
        _ => plain(Cause::OomLimit, lang),
    }
}

const fn oom_node(level: Option<LimitLevel>, lang: Lang) -> Option<&'static str> {
    match level {
        Some(LimitLevel::NodeAllocatable) => Some(lang.pick(
            "OOM at the limit of all pods of the node",
            "节点全部 Pod 内存超限（OOM）",
        )),
        Some(LimitLevel::Numa) => Some(lang.pick("OOM of a NUMA node", "NUMA 节点内存耗尽（OOM）")),
        _ => None,
    }
}

const fn plain(cause: Cause, lang: Lang) -> &'static str {
    match cause {
        Cause::PlannedStop => lang.pick("Stopped as planned", "按计划停止"),
        Cause::ExpectedExit => lang.pick("Ended as expected", "正常结束"),
        Cause::Evicted => lang.pick("Evicted by the kubelet", "被 kubelet 驱逐"),
        Cause::NodeLost => lang.pick("Node lost", "节点失联"),
        Cause::OomLimit => lang.pick("OOM at a memory limit", "内存超限（OOM）"),
        Cause::OomNode => lang.pick("OOM of the node", "节点内存耗尽（OOM）"),
        Cause::OomChild => lang.pick("OOM killed a child process", "子进程被 OOM 终止"),
        Cause::OomReported => lang.pick("OOM reported by the runtime", "运行时报告 OOM"),
        Cause::ProbeKilled => lang.pick("Killed after failed probes", "探针失败后被终止"),
        Cause::HookFailed => lang.pick("Lifecycle hook failed", "生命周期钩子失败"),
        Cause::CannotStart => lang.pick("Cannot start", "无法启动"),
        Cause::ConfigError => lang.pick("Referenced configuration is missing", "引用的配置缺失"),
        Cause::ImageError => lang.pick("Image cannot be pulled", "镜像无法拉取"),
        Cause::Unschedulable => lang.pick("No node fits", "没有可调度的节点"),
        Cause::MountFailed => lang.pick("Volume cannot be mounted", "卷无法挂载"),
        Cause::CreationRefused => lang.pick("Pod creation refused", "Pod 创建被拒绝"),
        Cause::FaultSignal => lang.pick("Crashes with a fault signal", "因故障信号崩溃"),
        Cause::KilledBy => lang.pick("Killed by a known sender (SIGKILL)", "被已知发送者终止（SIGKILL）"),
        Cause::KilledUnknown => lang.pick("Killed by an unknown sender (SIGKILL)", "被未知发送者终止（SIGKILL）"),
        Cause::StoppedBy => lang.pick("Stopped, sender unknown", "被终止，发送者未知"),
        Cause::CleanExitLoop => lang.pick("Ends with status 0 again and again", "反复以状态码 0 结束"),
        Cause::AppError => lang.pick("Exits with a failure status", "以失败状态退出"),
        Cause::RolloutStuck => lang.pick("Rollout does not progress", "发布停滞"),
        Cause::JobFailed => lang.pick("Job failed", "Job 失败"),
        Cause::NodeCondition => lang.pick("Node condition is bad", "节点状态异常"),
        Cause::KernelProblem => lang.pick("Kernel reported a problem", "内核报告问题"),
        Cause::Unknown => lang.pick("Ended, cause unknown", "已结束，原因未知"),
    }
}
