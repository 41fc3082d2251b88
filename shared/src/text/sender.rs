//! Who sent a signal, in words.

use super::{
    Lang,
    figures::{duration, quoted, shown},
};
use crate::{
    cause::{
        exit_code::Signal,
        facts::Facts,
        sender::{Killer, Origin},
    },
    model::SignalSent,
};

/// Shown bytes of a process name.
const MAX_COMM: usize = 64;
/// Shown bytes of a container's name or of a cgroup.
const MAX_PLACE: usize = 256;

/// The signal that ended the container and who sent it, such as "SIGKILL by bash, pid 4711, container ops/debug".
pub(super) fn sender_line(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let killer = facts.killer()?;
    let signal = Signal::new(killer.sent.signal)?;
    match killer.origin() {
        Origin::Process => Some(match lang {
            Lang::En => format!("{signal} by {}", process(killer.sent, lang)),
            Lang::Zh => format!("{signal}，发送者：{}", process(killer.sent, lang)),
        }),
        Origin::Itself => Some(match lang {
            Lang::En => format!("{signal} that the process sent to itself"),
            Lang::Zh => format!("进程向自身发送 {signal}"),
        }),
        Origin::Runtime => Some(runtime_line(&killer, signal, lang)),
        Origin::Kernel => None,
    }
}

/// What the kernel did by itself: a SIGKILL without a record of memory, the reason of a fault.
pub(super) fn kernel_line(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let killer = facts.killer().filter(|killer| killer.origin() == Origin::Kernel)?;
    let signal = Signal::new(killer.sent.signal)?;
    let what = reason(killer.sent, lang)?;
    Some(match lang {
        Lang::En => format!("{signal} by the kernel: {what}"),
        Lang::Zh => format!("内核发送 {signal}：{what}"),
    })
}

/// Who sent it, in a word; `None` for the kernel.
pub(super) fn who(facts: &Facts<'_>, lang: Lang) -> Option<String> {
    let killer = facts.killer()?;
    match killer.origin() {
        Origin::Process => Some(name(killer.sent, lang)),
        Origin::Itself => Some(lang.pick("itself", "自身").to_owned()),
        Origin::Runtime => Some(lang.pick("the runtime on an order", "运行时（奉命）").to_owned()),
        Origin::Kernel => None,
    }
}

fn runtime_line(killer: &Killer<'_>, signal: Signal, lang: Lang) -> String {
    let by = name(killer.sent, lang);
    let mut text = match lang {
        Lang::En => format!("{signal} by the runtime ({by}) on somebody's order"),
        Lang::Zh => format!("运行时（{by}）奉命发送 {signal}"),
    };
    if let Some(asked) = killer.asked {
        let grace = duration(asked.grace, lang);
        text.push_str(&match lang {
            Lang::En => format!(" after {grace} of grace"),
            Lang::Zh => format!("，宽限期 {grace} 之后"),
        });
        if asked.ignored {
            text.push_str(lang.semicolon());
            text.push_str(lang.pick("the process ignores SIGTERM", "进程忽略 SIGTERM"));
        }
    }
    text
}

fn process(sent: &SignalSent, lang: Lang) -> String {
    let mut parts = vec![name(sent, lang), format!("pid {}", sent.sender_pid)];
    parts.extend(sent.sender_uid.filter(|uid| *uid != 0).map(|uid| format!("uid {uid}")));
    let place = |what: &str, place: &str| format!("{what} {}", shown(place, MAX_PLACE));
    if !sent.sender_container.is_empty() {
        parts.push(place(lang.pick("container", "容器"), &sent.sender_container));
    } else if !sent.sender_cgroup.is_empty() {
        parts.push(place("cgroup", &sent.sender_cgroup));
    }
    parts.join(lang.comma())
}

/// A name in quotes, unless it cannot be mistaken for a part of the sentence.
fn name(sent: &SignalSent, lang: Lang) -> String {
    let comm = sent.sender_comm.raw();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    match comm {
        "" => lang.pick("a process", "某进程").to_owned(),
        _ if comm.chars().all(plain) => shown(comm, MAX_COMM),
        _ => quoted(comm, MAX_COMM),
    }
}

/// `si_code` of a signal from the kernel, see sigaction(2).
fn reason(sent: &SignalSent, lang: Lang) -> Option<&'static str> {
    Some(match (sent.signal, sent.code) {
        (11, 1) => lang.pick("address not mapped (SEGV_MAPERR)", "访问了未映射的地址（SEGV_MAPERR）"),
        (11, 2) => lang.pick("access not allowed (SEGV_ACCERR)", "访问权限不足（SEGV_ACCERR）"),
        (7, 1) => lang.pick("unaligned address (BUS_ADRALN)", "地址未对齐（BUS_ADRALN）"),
        (7, 2) => lang.pick(
            "address behind the end of a file (BUS_ADRERR)",
            "访问了文件末尾之后的地址（BUS_ADRERR）",
        ),
        (8, 1) => lang.pick("integer divided by zero (FPE_INTDIV)", "整数除以零（FPE_INTDIV）"),
        (4, 1 | 2) => lang.pick("instruction not known to this processor", "处理器不支持的指令"),
        (31, 1) => lang.pick(
            "system call refused by seccomp (SYS_SECCOMP)",
            "系统调用被 seccomp 拒绝（SYS_SECCOMP）",
        ),
        (9, _) => lang.pick("not for memory, as far as the node knows", "据节点所知与内存无关"),
        _ => return None,
    })
}
