//! What changed before a crash, in one line, and the share of pods that crashed.

use std::time::Duration;

use super::{
    Lang,
    figures::{duration, shown},
};
use crate::model::{EvidenceSet, Incident, RevisionShare, RolloutContext, TemplateChange, TemplateField};

/// Changes that are named; the others are counted.
const MAX_SHOWN: usize = 6;
/// Shown bytes of a name.
const MAX_NAME: usize = 128;
/// Shown bytes of what something was or is.
const MAX_VALUE: usize = 200;
/// The apiserver's times are whole seconds of another clock.
const CLOCKS: Duration = Duration::from_secs(2);

/// What changed before the incident began; `None` when nothing is known to have changed.
#[must_use]
pub fn changed(incident: &Incident, lang: Lang) -> Option<String> {
    let rollout = incident.latest.evidence.rollout()?;
    let container = &incident.latest.subject.container;
    let differences = differences(&rollout.changes, container, lang);
    let began = began(incident, rollout, lang).map(|began| format!("{began}{differences}"));
    let parts: Vec<String> = began.into_iter().chain(pods(rollout, lang)).collect();
    (!parts.is_empty()).then(|| parts.join(lang.semicolon()))
}

/// The share of the pods that crashed, where there is more than one pod.
pub(super) fn share(evidence: &EvidenceSet, lang: Lang) -> Option<String> {
    let (crashed, all) = evidence.rollout()?.share();
    if crashed == 0 || all < 2 {
        return None;
    }
    let percent = (u64::from(crashed) * 100 / u64::from(all)).max(1);
    Some(match lang {
        Lang::En => format!("{crashed} of {all} pods ({percent} %)"),
        Lang::Zh => format!("{all} 个 Pod 中 {crashed} 个（{percent}%）"),
    })
}

/// How the beginning lies to the revision.
fn began(incident: &Incident, rollout: &RolloutContext, lang: Lang) -> Option<String> {
    let revision = shown(&rollout.revision, MAX_NAME);
    let started = rollout.started_at?;
    let before = incident.first_seen.saturating_add(CLOCKS) < started;
    let passed = incident.first_seen.since(started).as_secs().max(1);
    let passed = duration(Duration::from_secs(passed), lang);
    Some(match (before, lang) {
        (true, Lang::En) => format!("started before revision {revision}"),
        (true, Lang::Zh) => format!("早于版本 {revision} 开始"),
        (false, Lang::En) => format!("started {passed} after revision {revision}"),
        (false, Lang::Zh) => format!("版本 {revision} 发布 {passed}后开始"),
    })
}

/// The changes as a remark; nothing when there are none.
fn differences(changes: &[TemplateChange], container: &str, lang: Lang) -> String {
    let mut words: Vec<String> = changes
        .iter()
        .take(MAX_SHOWN)
        .map(|change| difference(change, container, lang))
        .collect();
    let more = changes.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        words.push(match lang {
            Lang::En => format!("{more} more"),
            Lang::Zh => format!("另有 {more} 处"),
        });
    }
    if words.is_empty() {
        return String::new();
    }
    lang.parenthesis(&words.join(lang.comma()))
}

/// One change; the container is named unless it is the one that the incident is about.
fn difference(change: &TemplateChange, container: &str, lang: Lang) -> String {
    let of = shown(&change.container, MAX_NAME);
    let text = match change.what {
        TemplateField::ContainerAdded => return named(("container", "容器"), ("added", "新增"), &of, lang),
        TemplateField::ContainerRemoved => return named(("container", "容器"), ("removed", "移除"), &of, lang),
        TemplateField::EnvAdded => variable(("added", "新增"), change, lang),
        TemplateField::EnvRemoved => variable(("removed", "移除"), change, lang),
        TemplateField::EnvChanged => variable(("changed", "修改"), change, lang),
        TemplateField::Command => lang.pick("command changed", "命令已修改").to_owned(),
        TemplateField::Args => lang.pick("arguments changed", "参数已修改").to_owned(),
        TemplateField::Image => {
            let (before, after) = images(change.before.raw(), change.after.raw());
            from_to(lang.pick("image", "镜像"), before, after, lang)
        }
        what => from_to(part(what, lang), change.before.raw(), change.after.raw(), lang),
    };
    if change.container == container || of.is_empty() {
        return text;
    }
    format!("{of}{}{text}", lang.pick(": ", "："))
}

const fn part(what: TemplateField, lang: Lang) -> &'static str {
    match what {
        TemplateField::MemoryLimit => lang.pick("memory limit", "内存上限"),
        TemplateField::CpuLimit => lang.pick("CPU limit", "CPU 上限"),
        TemplateField::MemoryRequest => lang.pick("memory request", "内存请求"),
        TemplateField::CpuRequest => lang.pick("CPU request", "CPU 请求"),
        TemplateField::LivenessProbe => lang.pick("liveness probe", "存活探针"),
        TemplateField::ReadinessProbe => lang.pick("readiness probe", "就绪探针"),
        TemplateField::StartupProbe => lang.pick("startup probe", "启动探针"),
        _ => lang.pick("template", "模板"),
    }
}

fn variable(how: (&str, &str), change: &TemplateChange, lang: Lang) -> String {
    named(("env", "环境变量"), how, &shown(&change.name, MAX_NAME), lang)
}

fn named(what: (&str, &str), how: (&str, &str), name: &str, lang: Lang) -> String {
    match lang {
        Lang::En => format!("{} {name} {}", what.0, how.0),
        Lang::Zh => format!("{}{} {name}", how.1, what.1),
    }
}

fn from_to(what: &str, before: &str, after: &str, lang: Lang) -> String {
    let value = |text: &str| match text {
        "" => lang.pick("none", "无").to_owned(),
        text => shown(text, MAX_VALUE),
    };
    format!("{what} {} → {}", value(before), value(after))
}

/// Two images without the name that they share.
fn images<'a>(before: &'a str, after: &'a str) -> (&'a str, &'a str) {
    match (split(before), split(after)) {
        (Some((old, from)), Some((new, to))) if old == new && from != to => (from, to),
        _ => (before, after),
    }
}

/// Name and tag or digest. A port of a registry is followed by a slash.
fn split(image: &str) -> Option<(&str, &str)> {
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let mark = last + image.get(last..)?.find([':', '@'])?;
    Some((image.get(..mark)?, image.get(mark + 1..)?))
}

/// How new and old pods fare. Of one revision there is nothing to compare, so it is told only when it is new.
fn pods(rollout: &RolloutContext, lang: Lang) -> Option<String> {
    let (newest, older) = rollout.revisions.split_first()?;
    if older.is_empty() {
        rollout.started_at?;
        return fare("", newest, lang);
    }
    let old = older.iter().fold(RevisionShare::default(), |sum, share| RevisionShare {
        revision: String::new(),
        crashed: sum.crashed.saturating_add(share.crashed),
        healthy: sum.healthy.saturating_add(share.healthy),
        other: sum.other.saturating_add(share.other),
    });
    let new = fare(lang.pick("new ", "新 "), newest, lang);
    let old = fare(lang.pick("old ", "旧 "), &old, lang);
    let told: Vec<String> = new.into_iter().chain(old).collect();
    (!told.is_empty()).then(|| told.join(lang.comma()))
}

fn fare(which: &str, share: &RevisionShare, lang: Lang) -> Option<String> {
    let (crashed, healthy) = (share.crashed, share.healthy);
    let all = crashed.saturating_add(healthy).saturating_add(share.other);
    let (count, how) = match crashed {
        0 => (healthy, lang.pick("healthy", "正常")),
        _ => (crashed, lang.pick("crash", "崩溃")),
    };
    (all > 0).then(|| match lang {
        Lang::En => format!("{count} of {all} {which}pods {how}"),
        Lang::Zh => format!("{which}Pod {count}/{all} {how}"),
    })
}
