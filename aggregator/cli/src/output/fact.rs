//! Quoted facts in codes and figures: the same words in every language.

use inquest_shared::{
    model::{
        CounterStep, Fact, KernelKill, PodContext, Report, RolloutContext, RuntimeExit, SignalSent, TemplateChange,
        Untrusted,
    },
    text::size,
};

/// Shown bytes of a text inside a fact.
const MAX_TEXT: usize = 200;

/// A fact on one line.
pub(crate) fn describe(fact: &Fact) -> String {
    match fact {
        Fact::KernelKill(kill) => kernel_kill(kill),
        Fact::CounterStep(step) => counter_step(step),
        Fact::RuntimeExit(exit) => runtime_exit(exit),
        Fact::RuntimeOom => "runtime_oom".to_owned(),
        Fact::LogExcerpt(log) => {
            format!(
                "log_excerpt lines={} redactions={} truncated={}",
                log.lines.len(),
                log.redactions,
                log.truncated
            )
        }
        Fact::KernelLoss(records) => format!("kernel_loss records={records}"),
        Fact::RuntimeRequest(request) => format!("runtime_request kind={} signal={}", request.kind, request.signal),
        Fact::SignalSent(sent) => signal_sent(sent),
        Fact::PodContext(pod) => pod_context(pod),
        Fact::Report(report) => reported(report),
        Fact::RolloutContext(rollout) => rollout_context(rollout),
    }
}

/// A fact with its figures, each as `name=value`.
struct Line(String);

impl Line {
    /// Adds a figure that is known.
    fn add(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0.push_str(&format!(" {name}={value}"));
        }
    }
}

fn kernel_kill(kill: &KernelKill) -> String {
    let mut line = Line(format!("kernel_kill pid={} comm={}", kill.pid, quoted(&kill.comm)));
    line.add("anon", Some(kill.anon_bytes).filter(|bytes| *bytes > 0).map(size));
    line.add("usage", kill.usage_bytes.map(size));
    line.add("limit", kill.limit_bytes.map(size));
    line.add("level", kill.level.map(|level| level.code().to_owned()));
    line.add("main_process", kill.main_process.map(|main| main.to_string()));
    line.add("cgroup", named(&kill.limit_cgroup));
    line.add("partial", kill.partial.then(|| "true".to_owned()));
    line.0
}

fn signal_sent(sent: &SignalSent) -> String {
    let mut line = Line(format!(
        "signal_sent signal={} code={} result={} target={} sender={} comm={}",
        sent.signal,
        sent.code,
        sent.result,
        sent.target_pid,
        sent.sender_pid,
        quoted(&sent.sender_comm)
    ));
    line.add("uid", sent.sender_uid.map(|uid| uid.to_string()));
    line.add("container", named(&sent.sender_container));
    line.add("cgroup", named(&sent.sender_cgroup));
    line.add("main_process", sent.main_process.map(|main| main.to_string()));
    line.0
}

fn pod_context(pod: &PodContext) -> String {
    let mut line = Line("pod_context".to_owned());
    line.add("current", Some(pod.current.to_string()));
    line.add("deletion_requested", pod.deletion_requested_at.map(|at| at.to_string()));
    line.add("disruption", said(&pod.disruption));
    line.add("reason", said(&pod.reason));
    line.add("message", said(&pod.message));
    if let Some(probe) = &pod.probe {
        line.add("probe", Some(probe.kind.code().to_owned()));
        line.add("failures", Some(probe.count.to_string()));
        line.add("last", Some(probe.last_at.to_string()));
        line.add("said", Some(quoted(&probe.message)));
    }
    if let Some(reruns) = &pod.reruns {
        line.add("always", Some(reruns.always.to_string()));
        line.add("restarts", Some(reruns.restarts.to_string()));
        line.add("previous_end", reruns.previous_end.map(|at| at.to_string()));
    }
    for event in &pod.events {
        let said = format!("{}×{}", event.count, quoted(&event.reason));
        line.add("event", Some(said));
    }
    line.0
}

fn reported(report: &Report) -> String {
    let mut line = Line(format!("report kind={}", report.kind));
    line.add("reason", said(&report.reason));
    line.add("message", said(&report.message));
    line.add("since", report.since.map(|at| at.to_string()));
    line.add(
        "affected",
        Some(report.affected).filter(|n| *n > 0).map(|n| n.to_string()),
    );
    line.0
}

fn rollout_context(rollout: &RolloutContext) -> String {
    let mut line = Line("rollout_context".to_owned());
    line.add("revision", named(&rollout.revision));
    line.add("previous", named(&rollout.previous));
    line.add("started", rollout.started_at.map(|at| at.to_string()));
    for share in &rollout.revisions {
        let (crashed, healthy, other) = (share.crashed, share.healthy, share.other);
        let name = named(&share.revision).unwrap_or_else(|| "unknown".to_owned());
        line.add("pods", Some(format!("{name}:{crashed}/{healthy}/{other}")));
    }
    for change in &rollout.changes {
        line.add("change", Some(template_change(change)));
    }
    line.0
}

/// `field:container[:variable]`, and what it was and is where that is told.
fn template_change(change: &TemplateChange) -> String {
    let place = [change.container.as_str(), change.name.as_str()];
    let place = place.into_iter().filter_map(named);
    let mut words = vec![change.what.code().to_owned()];
    words.extend(place);
    let place = words.join(":");
    if change.before.is_empty() && change.after.is_empty() {
        return place;
    }
    format!("{place}({}->{})", quoted(&change.before), quoted(&change.after))
}

fn counter_step(step: &CounterStep) -> String {
    let whose = named(&step.cgroup).unwrap_or_else(|| "node".to_owned());
    let counter = Untrusted::bounded(&step.counter, MAX_TEXT).escaped();
    let survived = if step.survived { " survived" } else { "" };
    format!(
        "counter_step {counter} {} to {} cgroup={whose}{survived}",
        step.before, step.after
    )
}

fn runtime_exit(exit: &RuntimeExit) -> String {
    let mut line = Line(format!(
        "runtime_exit code={} finished={}",
        exit.exit_code, exit.finished_at
    ));
    line.add("reason", said(&exit.reason));
    line.add("message", said(&exit.message));
    line.add("limit", exit.memory_limit_bytes.map(size));
    line.0
}

fn said(text: &Untrusted) -> Option<String> {
    (!text.is_empty()).then(|| quoted(text))
}

fn named(path: &str) -> Option<String> {
    (!path.is_empty()).then(|| Untrusted::bounded(path, MAX_TEXT).escaped())
}

fn quoted(text: &Untrusted) -> String {
    format!("\"{}\"", Untrusted::bounded(text.raw(), MAX_TEXT).escaped())
}

#[cfg(test)]
mod tests {
    use inquest_shared::{
        clock::UnixNanos,
        model::{RevisionShare, TemplateField},
    };

    use super::*;
    use crate::output::sample;

    #[test]
    fn every_fact_of_an_oom_kill_is_told_in_figures() {
        let incident = sample::incident();
        let facts: Vec<String> = incident
            .latest
            .evidence
            .iter()
            .map(|(_, _, e)| describe(&e.fact))
            .collect();
        insta::assert_snapshot!(facts.join("\n"), @r#"
        runtime_exit code=137 finished=2026-03-01T12:01:07.186Z reason="OOMKilled" limit=20.0 MiB
        log_excerpt lines=2 redactions=1 truncated=false
        kernel_kill pid=11219 comm="tail" anon=19.5 MiB limit=20.0 MiB level=container main_process=true cgroup=/kubepods/burstable/podu1/c1
        counter_step oom_kill 4 to 5 cgroup=node
        "#);
    }

    #[test]
    fn what_changed_is_told_in_figures() {
        let change = |what, name: &str, before: &str, after: &str| TemplateChange {
            what,
            container: "app".into(),
            name: name.into(),
            before: Untrusted::bounded(before, 256),
            after: Untrusted::bounded(after, 256),
        };
        let rollout = RolloutContext {
            revision: "17".into(),
            previous: "16".into(),
            started_at: Some(UnixNanos::from_secs(1_772_366_467)),
            changes: vec![
                change(TemplateField::Image, "", "img/app:1.4.2", "img/app:1.5\n0"),
                change(TemplateField::EnvRemoved, "DB_URL", "", ""),
            ],
            revisions: vec![RevisionShare {
                revision: "17".into(),
                crashed: 3,
                healthy: 0,
                other: 1,
            }],
        };
        insta::assert_snapshot!(describe(&Fact::RolloutContext(rollout)), @r#"rollout_context revision=17 previous=16 started=2026-03-01T12:01:07Z pods=17:3/0/1 change=image:app("img/app:1.4.2"->"img/app:1.5\u{a}0") change=env_removed:app:DB_URL"#);
    }

    #[test]
    fn a_process_name_cannot_forge_a_line() {
        let kill = KernelKill {
            comm: Untrusted::bounded("a\n\u{1b}[31m", 64),
            ..KernelKill::default()
        };
        assert_eq!(
            describe(&Fact::KernelKill(kill)),
            "kernel_kill pid=0 comm=\"a\\u{a}\\u{1b}[31m\""
        );
    }
}
