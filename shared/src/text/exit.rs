//! Exit codes in words.

use super::{Lang, figures::duration};
use crate::{
    cause::{
        exit_code::{NextCheck, Usual, meaning},
        facts::Facts,
    },
    model::{Cause, Occurrence},
    text::words::source_name,
};

/// The end as the runtime recorded it, such as "137 (SIGKILL), confirmed by containerd 4 ms later"; says so when no
/// runtime confirmed one.
#[must_use]
pub fn exit_line(occurrence: &Occurrence, lang: Lang) -> String {
    let facts = Facts::of(&occurrence.evidence);
    let Some(exit) = facts.exit else {
        if occurrence.verdict.cause == Cause::OomChild {
            return lang
                .pick("none seen, the container may live on", "尚未见到，容器可能仍在运行")
                .to_owned();
        }
        return lang
            .pick("not yet confirmed by the runtime", "运行时尚未确认")
            .to_owned();
    };
    let by = source_name(exit.source, lang);
    let Some(code) = exit.code() else {
        return match lang {
            Lang::En => format!("{by} lost the status"),
            Lang::Zh => format!("{by} 丢失了状态码"),
        };
    };
    let signal = meaning(code)
        .signal
        .map(|s| lang.parenthesis(&s.name()))
        .unwrap_or_default();
    let later = facts
        .kill
        .map(|kill| exit.at.since(kill.at))
        .filter(|span| !span.is_zero());
    let later = later.map(|span| duration(span, lang));
    let ran = exit
        .record
        .started_at
        .map(|start| duration(exit.record.finished_at.since(start), lang));
    match lang {
        Lang::En => {
            let later = later.map(|span| format!(" {span} later")).unwrap_or_default();
            let ran = ran.map(|span| format!("; ran {span}")).unwrap_or_default();
            format!("{code}{signal}, confirmed by {by}{later}{ran}")
        }
        Lang::Zh => {
            let later = later.map(|span| format!("{span}后")).unwrap_or_default();
            let ran = ran.map(|span| format!("；运行了 {span}")).unwrap_or_default();
            format!("{code}{signal}，{by} {later}确认{ran}")
        }
    }
}

/// What a code usually means.
#[must_use]
pub const fn meaning_text(usual: Usual, lang: Lang) -> &'static str {
    match usual {
        Usual::Finished => lang.pick("ended with success", "成功结束"),
        Usual::Failed => lang.pick("the program reported a failure", "程序报告失败"),
        Usual::MisuseOrPanic => lang.pick("wrong usage, or a Go panic", "用法错误，或 Go panic"),
        Usual::ProgramDefined => lang.pick("a code that the program defines", "程序自定义的状态码"),
        Usual::BadUsage => lang.pick("wrong command line", "命令行用法错误"),
        Usual::BadInput => lang.pick("wrong or missing input", "输入错误或缺失"),
        Usual::UnknownPeer => lang.pick("unknown user or host", "未知用户或主机"),
        Usual::ServiceUnavailable => lang.pick("a service was not available", "依赖的服务不可用"),
        Usual::InternalError => lang.pick("internal or protocol error", "内部错误或协议错误"),
        Usual::SystemError => lang.pick("operating system or file error", "操作系统或文件错误"),
        Usual::NoPermission => lang.pick("permission refused", "权限不足"),
        Usual::BadConfiguration => lang.pick("wrong configuration", "配置错误"),
        Usual::RustPanic => lang.pick("a Rust panic", "Rust panic"),
        Usual::ToolFailed => lang.pick("the container tool itself failed", "容器工具自身失败"),
        Usual::NotExecutable => lang.pick("the command was found but cannot be executed", "命令存在但无法执行"),
        Usual::NotFound => lang.pick("command, interpreter or loader not found", "找不到命令、解释器或加载器"),
        Usual::StartFailed => lang.pick("the runtime could not start it", "运行时无法启动"),
        Usual::Fault => lang.pick("a fault of the program itself", "程序自身故障"),
        Usual::Killed => lang.pick(
            "SIGKILL; the code does not tell who sent it",
            "SIGKILL；状态码不说明发送者",
        ),
        Usual::AskedToStop => lang.pick(
            "asked to stop; the code does not tell by whom",
            "被要求停止；状态码不说明发送者",
        ),
        Usual::OtherSignal => lang.pick("ended by a signal that it does not handle", "被未处理的信号终止"),
        Usual::StatusLost => lang.pick("the runtime lost the status", "运行时丢失了状态码"),
        Usual::MinusOne => lang.pick(
            "exit(-1), or the runtime lost the status",
            "exit(-1)，或运行时丢失了状态码",
        ),
    }
}

/// Where to look next.
#[must_use]
pub const fn next_check(next: NextCheck, lang: Lang) -> &'static str {
    match next {
        NextCheck::ShouldItRun => lang.pick("should it have gone on running?", "它是否应当继续运行"),
        NextCheck::Log => lang.pick("see the last lines of the log", "查看日志末尾"),
        NextCheck::Command => lang.pick(
            "check command, arguments, file mode and interpreter of the image",
            "检查镜像中的命令、参数、文件权限和解释器",
        ),
        NextCheck::RuntimeMessage => lang.pick("see the runtime's message", "查看运行时的消息"),
        NextCheck::Platform => lang.pick(
            "compare the image's platform with the features of the CPU",
            "比较镜像平台与 CPU 特性",
        ),
        NextCheck::MappedFiles => lang.pick(
            "check the size of /dev/shm, truncated mapped files, hardware errors",
            "检查 /dev/shm 大小、被截断的映射文件、硬件错误",
        ),
        NextCheck::NativeCode => lang.pick(
            "see the kernel's segfault line and native libraries",
            "查看内核 segfault 记录和本地库",
        ),
        NextCheck::Seccomp => lang.pick(
            "check the seccomp profile for the refused system call",
            "检查 seccomp 配置中被拒绝的系统调用",
        ),
        NextCheck::Sender => lang.pick(
            "find the sender: probes, operators, supervisors, people",
            "查找发送者：探针、控制器、守护进程或人工操作",
        ),
        NextCheck::RuntimeRestart => lang.pick(
            "did the runtime or the node restart at that time?",
            "当时运行时或节点是否重启",
        ),
    }
}
