//! Hints in words.

use super::{
    Lang,
    figures::{duration, quoted, shown, size},
};
use crate::cause::{Hint, hint::LogSign};

/// Shown bytes of a quoted log line.
const MAX_LINE: usize = 200;
/// Shown bytes of a process name; the kernel keeps 15, escapes may lengthen it.
const MAX_COMM: usize = 64;

/// One hint in one line.
#[must_use]
pub fn hint_text(hint: &Hint, lang: Lang) -> String {
    match (hint, lang) {
        (Hint::Log { sign, line }, _) => {
            let colon = lang.pick(": ", "：");
            format!("{}{colon}{}", log_sign(*sign, lang), shown(line.raw(), MAX_LINE))
        }
        (Hint::SharedMemory { bytes, .. }, Lang::En) => {
            format!(
                "{} is shared memory: tmpfs, memory-backed volumes, /dev/shm",
                size(*bytes)
            )
        }
        (Hint::SharedMemory { bytes, .. }, Lang::Zh) => {
            format!("其中 {} 为共享内存：tmpfs、内存卷或 /dev/shm", size(*bytes))
        }
        (Hint::ClusterUnknown, _) => lang
            .pick(
                "cluster context not available: the apiserver could not be asked",
                "无集群上下文：无法询问 apiserver",
            )
            .to_owned(),
        (Hint::WholeGroup, _) => lang
            .pick(
                "the kernel killed the whole cgroup (memory.oom.group)",
                "内核终止了整个 cgroup（memory.oom.group）",
            )
            .to_owned(),
        (Hint::Collateral { consumer }, _) => {
            let (name, bytes) = (quoted(consumer.comm.raw(), MAX_COMM), size(consumer.bytes));
            match lang {
                Lang::En => format!(
                    "the largest process was {name} (pid {}, {bytes}), not the victim",
                    consumer.pid
                ),
                Lang::Zh => format!("占用最大的是 {name}（pid {}，{bytes}），并非被杀进程", consumer.pid),
            }
        }
        (Hint::OomAtStart { ran }, Lang::En) => {
            format!(
                "it ran for {} only: the limit may be below what it needs to start",
                duration(*ran, lang)
            )
        }
        (Hint::OomAtStart { ran }, Lang::Zh) => format!("仅运行 {}：上限可能低于启动所需", duration(*ran, lang)),
    }
}

const fn log_sign(sign: LogSign, lang: Lang) -> &'static str {
    match sign {
        LogSign::ExecFormat => lang.pick(
            "wrong CPU architecture, or a script without #!",
            "CPU 架构不符，或脚本缺少 #!",
        ),
        LogSign::MissingModule => lang.pick("missing in the image", "镜像中缺失"),
        LogSign::JvmOutOfMemory => lang.pick("the JVM's own out-of-memory error", "JVM 自身的内存不足错误"),
        LogSign::JvmCrash => lang.pick("the JVM crashed", "JVM 崩溃"),
        LogSign::NodeHeap => lang.pick("V8's heap limit, not the container's", "V8 堆上限，而非容器上限"),
        LogSign::GoOutOfMemory => lang.pick("Go was refused memory", "Go 申请内存被拒绝"),
        LogSign::GoPanic => "Go",
        LogSign::RustPanic => "Rust",
        LogSign::PythonMemory => lang.pick("Python was refused memory", "Python 申请内存被拒绝"),
        LogSign::PythonException => "Python",
        LogSign::PhpMemory => lang.pick("PHP's own memory limit", "PHP 自身的内存上限"),
        LogSign::NodeRejection => lang.pick("unhandled rejection in Node.js", "Node.js 未处理的 rejection"),
        LogSign::DotnetException => lang.pick("unhandled .NET exception", ".NET 未处理异常"),
        LogSign::WorkerKilled => lang.pick("a worker was killed", "有工作进程被杀"),
        LogSign::NoSpace => lang.pick("no space, inodes or watches left", "磁盘空间、inode 或 watch 用尽"),
        LogSign::TooManyFiles => lang.pick("out of file descriptors", "文件描述符用尽"),
        LogSign::NoProcesses => lang.pick("out of process ids", "进程号用尽"),
    }
}
