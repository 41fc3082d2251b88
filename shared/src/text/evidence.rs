//! The proof in one line, and the last lines of the log.

use super::{
    Lang,
    exit::meaning_text,
    figures::{quoted, shown, size},
    hint::hint_text,
    pod::pod_line,
    report::report_line,
    sender::{kernel_line, sender_line},
    words::source_name,
};
use crate::{
    cause::{
        Hint,
        exit_code::{Signal, meaning},
        facts::{Facts, Kill, OOM_KILL},
        hints,
        sender::Origin,
    },
    model::{Cause, CounterStep, EvidenceSet, LimitLevel, LogOrigin, RequestKind, RuntimeRequest, Untrusted},
};

/// Shown bytes of a process name.
const MAX_COMM: usize = 64;
/// Shown bytes of the runtime's message.
const MAX_MESSAGE: usize = 300;
/// Shown bytes of a log line.
const MAX_LINE: usize = 240;

/// Why the cause is what it is. Only the evidence that carries the cause is quoted.
pub(super) fn why(cause: Cause, facts: &Facts<'_>, lang: Lang) -> String {
    if let Some(kill) = facts.kill {
        return kill_line(facts, kill, lang);
    }
    if let Some(report) = facts.report {
        return report_line(report, lang);
    }
    let said = match cause {
        Cause::OomLimit | Cause::OomNode | Cause::OomChild => counter_line(facts, lang),
        Cause::OomReported => Some(reported_line(facts, lang)),
        Cause::ExpectedExit if facts.end_was_provided_for() => pod_line(cause, facts, lang),
        Cause::PlannedStop | Cause::Evicted | Cause::ProbeKilled | Cause::CleanExitLoop if facts.pod.is_some() => {
            pod_line(cause, facts, lang)
        }
        Cause::KilledUnknown => Some(unknown_line(facts, lang)),
        Cause::KilledBy => sender_line(facts, lang)
            .filter(|_| !facts.died_of_request())
            .or_else(|| request_line(facts, lang)),
        Cause::PlannedStop => request_line(facts, lang),
        Cause::StoppedBy => sender_line(facts, lang),
        Cause::FaultSignal => telling_sign(facts)
            .map(|hint| hint_text(&hint, lang))
            .or_else(|| fault_line(facts, lang)),
        Cause::AppError => telling_sign(facts)
            .map(|hint| hint_text(&hint, lang))
            .or_else(|| last_words(facts, lang)),
        Cause::CannotStart => telling_sign(facts).map(|hint| hint_text(&hint, lang)),
        _ => None,
    };
    said.unwrap_or_else(|| plain_line(facts, lang))
}

fn unknown_line(facts: &Facts<'_>, lang: Lang) -> String {
    let traced = sender_line(facts, lang).or_else(|| kernel_line(facts, lang));
    let silent = lang.pick(
        "SIGKILL, and no witness on the node names its sender",
        "收到 SIGKILL，节点上没有证据表明发送者",
    );
    traced.unwrap_or_else(|| silent.to_owned())
}

/// The kernel's reason of a fault, or the process that sent its signal from outside.
fn fault_line(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let from_outside = facts.died_by(&[Origin::Process, Origin::Runtime]);
    let sent = from_outside.then(|| sender_line(facts, lang)).flatten();
    sent.or_else(|| kernel_line(facts, lang))
}

/// The log's own word on why a program ended by itself; it says more than the code does.
fn telling_sign(facts: &Facts<'_>) -> Option<Hint> {
    let said_by_runtime = facts.exit.is_some_and(|exit| !exit.record.message.is_empty());
    hints(facts.evidence)
        .into_iter()
        .find(|hint| matches!(hint, Hint::Log { .. }) && !said_by_runtime)
}

/// What a program that failed by itself said last: most say why there. The runtime's own message says more.
fn last_words(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    facts.exit.filter(|exit| exit.record.message.is_empty())?;
    let lines = facts.evidence.log()?.lines.iter().rev();
    let last = lines.map(Untrusted::raw).find(|line| !line.trim().is_empty())?;
    let (usual, last) = (plain_line(facts, lang), quoted(last, MAX_LINE));
    Some(match lang {
        Lang::En => format!("{usual}; its last line: {last}"),
        Lang::Zh => format!("{usual}；最后一行：{last}"),
    })
}

fn kill_line(facts: &Facts<'_>, kill: Kill<'_>, lang: Lang) -> String {
    let mut parts = vec![victim(kill, lang)];
    parts.extend(limit(facts, kill, lang));
    let child = lang.pick(
        "a child process, not the container's main one",
        "子进程，而非容器的主进程",
    );
    parts.extend(kill.main_process.map(|main| match main {
        true => lang.pick("the container's main process", "容器的主进程").to_owned(),
        false => child.to_owned(),
    }));
    let others = facts.killed_processes().saturating_sub(1);
    parts.extend((others > 0).then(|| match lang {
        Lang::En => format!("{others} more killed"),
        Lang::Zh => format!("另有 {others} 个进程被杀"),
    }));
    parts.join(lang.semicolon())
}

fn victim(kill: Kill<'_>, lang: Lang) -> String {
    let record = kill.record;
    let name = if record.comm.is_empty() {
        lang.pick("a process", "进程").to_owned()
    } else {
        quoted(record.comm.raw(), MAX_COMM)
    };
    let mut known = vec![format!("pid {}", record.pid)];
    if record.anon_bytes > 0 {
        known.push(format!("{} {}", lang.pick("anon", "匿名内存"), size(record.anon_bytes)));
    }
    let known = lang.parenthesis(&known.join(lang.comma()));
    match lang {
        Lang::En => format!("kernel killed {name}{known}"),
        Lang::Zh => format!("内核杀死了 {name}{known}"),
    }
}

fn limit(facts: &Facts<'_>, kill: Kill<'_>, lang: Lang) -> Option<String> {
    let what = match kill.level {
        Some(LimitLevel::Node) => return Some(lang.pick("the node was out of memory", "节点内存耗尽").to_owned()),
        Some(LimitLevel::Numa) => {
            return Some(
                lang.pick("its NUMA node was out of memory", "所在 NUMA 节点内存耗尽")
                    .to_owned(),
            );
        }
        Some(LimitLevel::Container) | None => lang.pick("limit", "上限"),
        Some(LimitLevel::Pod) => lang.pick("limit of the pod", "Pod 上限"),
        Some(LimitLevel::QosClass) => lang.pick("limit of the QoS class", "QoS 级别上限"),
        Some(LimitLevel::NodeAllocatable) => lang.pick("limit of all pods", "全部 Pod 的上限"),
        Some(LimitLevel::HostService) => lang.pick("limit of the host service", "主机服务上限"),
    };
    match facts.limit_bytes() {
        Some(bytes) => Some(format!("{what} {}", size(bytes))),
        None if kill.level.is_none() => Some(
            lang.pick("which limit was hit is not known", "触及的上限未知")
                .to_owned(),
        ),
        None => None,
    }
}

fn counter_line(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let step = facts.evidence.steps(OOM_KILL).max_by_key(|s| !s.cgroup.is_empty())?;
    let mut parts = vec![step_text(step, lang)];
    let went_on = lang.pick("the container went on", "容器继续运行");
    parts.extend(facts.survived_step().then(|| went_on.to_owned()));
    parts.extend(
        facts
            .limit_bytes()
            .map(|bytes| format!("{} {}", lang.pick("limit", "上限"), size(bytes))),
    );
    parts.push(
        lang.pick("the kernel's own record was not seen", "未见内核记录")
            .to_owned(),
    );
    let lost = facts.lost_records();
    parts.extend((lost > 0).then(|| match lang {
        Lang::En => format!("{lost} kernel records were lost"),
        Lang::Zh => format!("丢失了 {lost} 条内核记录"),
    }));
    Some(parts.join(lang.semicolon()))
}

fn step_text(step: &CounterStep, lang: Lang) -> String {
    let (from, to) = (step.before, step.after);
    let whose = if step.cgroup.is_empty() {
        lang.pick("the node's", "节点的")
    } else {
        lang.pick("the container's", "容器的")
    };
    match lang {
        Lang::En => format!("{whose} {OOM_KILL} counter rose from {from} to {to}"),
        Lang::Zh => format!("{whose} {OOM_KILL} 计数从 {from} 升至 {to}"),
    }
}

fn reported_line(facts: &Facts<'_>, lang: Lang) -> String {
    let by = facts.exit.map_or(lang.pick("the runtime", "运行时"), |exit| {
        source_name(exit.source, lang)
    });
    let word = match facts.exit.map(|exit| exit.record.reason.raw()) {
        Some("OOMKilled") => lang.pick("reports OOMKilled", "报告 OOMKilled"),
        _ => lang.pick("sent an out-of-memory notice", "发出了内存不足通知"),
    };
    let space = lang.pick(" ", "");
    let caveat = lang.pick("no kernel evidence was seen", "未见内核证据");
    format!("{by}{space}{word}{}{caveat}", lang.semicolon())
}

/// Which runtime was asked for the end. No runtime tells who asked.
fn request_line(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let of = |kind| move |request: &RuntimeRequest| request.kind == kind;
    let requests = || facts.evidence.requests();
    let stop = requests().find(of(RequestKind::Stop));
    let request = stop.or_else(|| requests().find(of(RequestKind::Kill)))?;
    let by = facts.exit.map(|exit| source_name(exit.source, lang))?;
    let what = match (request.kind, Signal::new(request.signal)) {
        (RequestKind::Stop, _) => lang.pick("stop it", "停止它").to_owned(),
        (_, Some(signal)) => match lang {
            Lang::En => format!("send {signal}"),
            Lang::Zh => format!("发送 {signal}"),
        },
        (_, None) => lang.pick("kill it", "杀死它").to_owned(),
    };
    let caveat = lang.pick("it does not say who asked", "未说明请求者");
    Some(match lang {
        Lang::En => format!("{by} was asked to {what}; {caveat}"),
        Lang::Zh => format!("{by} 被要求{what}；{caveat}"),
    })
}

/// The runtime's message, else what the code usually means, else that nothing is known.
fn plain_line(facts: &Facts<'_>, lang: Lang) -> String {
    let Some(exit) = facts.exit else {
        return lang.pick("nothing explains it yet", "尚无证据可解释").to_owned();
    };
    let usual = meaning_text(meaning(facts.code().unwrap_or(-1)).usual, lang);
    if exit.record.message.is_empty() {
        return usual.to_owned();
    }
    let by = source_name(exit.source, lang);
    format!(
        "{usual}{}{by}{}{}",
        lang.semicolon(),
        lang.pick(": ", "："),
        shown(exit.record.message.raw(), MAX_MESSAGE)
    )
}

/// The last lines of the log, oldest first, at most `most`, each escaped and bounded; the first one says when older
/// lines or secrets were left out.
#[must_use]
pub fn log_lines(evidence: &EvidenceSet, most: usize, lang: Lang) -> Vec<String> {
    let Some(log) = evidence.log() else { return Vec::new() };
    let origin = log.origin.map(|origin| origin_text(origin, lang).to_owned());
    if log.lines.is_empty() {
        return origin.map(|why| format!("[{why}]")).into_iter().collect();
    }
    let skipped = log.lines.len().saturating_sub(most);
    let mut notes = Vec::from_iter(origin);
    if skipped > 0 || log.truncated {
        notes.push(lang.pick("older lines left out", "省略了较早的行").to_owned());
    }
    if log.redactions > 0 {
        notes.push(match lang {
            Lang::En => format!("secrets taken out: {}", log.redactions),
            Lang::Zh => format!("已去除敏感信息 {} 处", log.redactions),
        });
    }
    let note = (!notes.is_empty()).then(|| format!("[{}]", notes.join(lang.comma())));
    let lines = log.lines.iter().skip(skipped).map(|line| shown(line.raw(), MAX_LINE));
    note.into_iter().chain(lines).collect()
}

const fn origin_text(origin: LogOrigin, lang: Lang) -> &'static str {
    match origin {
        LogOrigin::Apiserver => lang.pick("through the apiserver", "经由 apiserver"),
        LogOrigin::NextAttempt => lang.pick(
            "of the attempt that followed: the log of the run that ended is gone",
            "来自之后的一次运行：已结束的那次运行的日志已不存在",
        ),
        LogOrigin::Away => lang.pick(
            "log unavailable: the apiserver or the node's kubelet does not answer",
            "日志不可用：apiserver 或节点的 kubelet 没有响应",
        ),
        LogOrigin::Forbidden => lang.pick(
            "log unavailable: the aggregator may not read logs of pods",
            "日志不可用：聚合器无权读取 Pod 日志",
        ),
        LogOrigin::Gone => lang.pick("log unavailable: it is not kept any more", "日志不可用：已不再保留"),
    }
}
