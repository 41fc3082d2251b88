//! The whole story of an incident as a block of lines, for terminals and logs.

use jiff::tz::TimeZone;

use super::{
    Lang, Paint, Style, changed,
    evidence::log_lines,
    exit::{exit_line, next_check},
    figures::{date_time, duration, near_time, shown},
    headline,
    hint::hint_text,
    pod::event_lines,
    why,
    words::{delivery_state, severity, transition},
};
use crate::{
    cause::{
        Signal,
        exit_code::{NextCheck, meaning},
        facts::Facts,
        hints,
    },
    model::{Cause, Delivery, DeliveryState, FindingKind, Incident, IncidentState, Occurrence, TransitionKind},
};

/// Log lines on a card.
const LOG_LINES: usize = 5;
/// Notifications on a card.
const MAX_DELIVERIES: usize = 6;
/// Shown bytes of a name.
const MAX_NAME: usize = 512;
/// Columns of a label; Chinese characters take two.
const LABEL_COLUMNS: usize = 9;

/// A title line and one line per known aspect: why, hints, what changed, when, exit, log, state, notifications, id. No
/// line feed at the end. An aspect without evidence is left out, except that an unconfirmed exit is said to be so.
#[must_use]
pub fn card(incident: &Incident, deliveries: &[Delivery], lang: Lang, zone: &TimeZone, paint: Paint) -> String {
    let latest = &incident.latest;
    let mut lines = vec![title_line(incident, lang, paint)];
    let mut add = |label: &str, texts: Vec<String>| lines.extend(aspect(label, &texts, paint));
    add(lang.pick("why", "依据"), vec![why(latest, lang)]);
    add(lang.pick("hint", "提示"), hint_lines(latest, lang));
    let changed = changed(incident, lang).into_iter().collect();
    add(lang.pick("changed", "变更"), changed);
    add(lang.pick("when", "时间"), vec![when(incident, lang, zone)]);
    if matches!(latest.kind, FindingKind::Exit | FindingKind::Kill) {
        add(lang.pick("exit", "退出"), vec![exit_line(latest, lang)]);
    }
    add(lang.pick("log", "日志"), log_lines(&latest.evidence, LOG_LINES, lang));
    let events = latest.evidence.pod().map_or(&[][..], |pod| &pod.events);
    add(lang.pick("events", "事件"), event_lines(events, lang));
    if incident.transition_kind != TransitionKind::Opened {
        add(lang.pick("state", "状态"), vec![transition(incident, lang)]);
    }
    add(lang.pick("told", "通知"), told(incident, deliveries, lang, zone));
    add(lang.pick("id", "编号"), vec![identity(incident, lang)]);
    lines.join("\n")
}

fn title_line(incident: &Incident, lang: Lang, paint: Paint) -> String {
    let style = match incident.state {
        IncidentState::Open => Style::of(incident.severity),
        IncidentState::Resolved => Style::Good,
    };
    let head = paint.apply(style, &headline(incident, lang));
    let subject = subject(&incident.latest, lang);
    let signal = signal(&incident.latest).map(|s| format!("    {s}")).unwrap_or_default();
    format!("{head}   {subject}{signal}")
}

/// Which container, pod and node, as far as known.
fn subject(event: &Occurrence, lang: Lang) -> String {
    let s = &event.subject;
    let pod = match s.namespace.as_str() {
        "" => s.pod.clone(),
        namespace => format!("{namespace}/{}", s.pod),
    };
    let container = format!("\"{}\"", s.container);
    let workload = [&*s.owner.kind, " ", &*s.namespace, "/", &*s.owner.name].concat();
    let (whole, node) = (s.container.is_empty() && s.pod.is_empty(), s.owner.kind == "Node");
    let parts = [
        (
            lang.pick("container", "容器"),
            container.as_str(),
            !s.container.is_empty(),
        ),
        (lang.pick("image", "镜像"), s.image.as_str(), !s.image.is_empty()),
        ("", workload.as_str(), whole && !node && !s.owner.name.is_empty()),
        ("pod", pod.as_str(), !s.pod.is_empty()),
        (
            "cgroup",
            s.cgroup.as_str(),
            s.container.is_empty() && !s.cgroup.is_empty(),
        ),
        (
            lang.pick("node", "节点"),
            event.node_name.as_str(),
            !event.node_name.is_empty(),
        ),
    ];
    let known = parts.iter().filter(|(_, _, known)| *known);
    known
        .map(|(what, name, _)| format!("{what} {}", shown(name, MAX_NAME)).trim_start().to_owned())
        .collect::<Vec<_>>()
        .join(lang.comma())
}

fn signal(event: &Occurrence) -> Option<Signal> {
    let facts = Facts::of(&event.evidence);
    facts.signal().or_else(|| facts.kill.map(|_| Signal::KILL))
}

/// Hints that the line above does not already quote; without any, where to look next.
fn hint_lines(event: &Occurrence, lang: Lang) -> Vec<String> {
    let told = why(event, lang);
    let mut found: Vec<String> = hints(&event.evidence)
        .iter()
        .map(|hint| hint_text(hint, lang))
        .collect();
    if !found.is_empty() {
        found.retain(|hint| *hint != told);
        return found;
    }
    let facts = Facts::of(&event.evidence);
    // Who knows the sender need not look for it.
    let known = event.verdict.cause == Cause::KilledBy;
    let exit = facts.exit.filter(|_| !facts.proves_oom() && !known);
    let next = exit.map(|exit| (meaning(exit.record.exit_code).next, !exit.record.message.is_empty()));
    match next {
        // What is on the card already needs no pointer to it.
        Some((NextCheck::RuntimeMessage, true)) | None => Vec::new(),
        Some((NextCheck::Log, _)) if event.evidence.log().is_some_and(|log| !log.lines.is_empty()) => Vec::new(),
        Some((next, _)) => vec![next_check(next, lang).to_owned()],
    }
}

fn when(incident: &Incident, lang: Lang, zone: &TimeZone) -> String {
    let at = date_time(incident.latest.began(), zone);
    if incident.occurrences < 2 {
        return at;
    }
    let since = near_time(incident.first_seen, incident.latest.began(), zone);
    let remark = match lang {
        Lang::En => format!("{} times since {since}", incident.occurrences),
        Lang::Zh => format!("自 {since} 起共 {} 次", incident.occurrences),
    };
    format!("{at}{}", lang.parenthesis(&remark))
}

fn told(incident: &Incident, deliveries: &[Delivery], lang: Lang, zone: &TimeZone) -> Vec<String> {
    let current = deliveries.iter().filter(|d| d.state != DeliveryState::Superseded);
    let newest_last = deliveries.len().saturating_sub(MAX_DELIVERIES);
    current
        .skip(newest_last)
        .map(|delivery| delivery_line(incident, delivery, lang, zone))
        .collect()
}

fn delivery_line(incident: &Incident, delivery: &Delivery, lang: Lang, zone: &TimeZone) -> String {
    let (name, state) = (
        shown(&delivery.receiver, MAX_NAME),
        delivery_state(delivery.state, lang),
    );
    let remark = match delivery.delivered_at {
        Some(at) => {
            // Only the notice that told of this very event says how fast it was.
            let first = incident.occurrences == 1 && delivery.transition == 1;
            let after = Some(at.since(incident.latest.at)).filter(|span| first && !span.is_zero());
            match (after.map(|span| duration(span, lang)), lang) {
                (Some(span), Lang::En) => format!(" {span} after the event"),
                (Some(span), Lang::Zh) => format!("，事件发生后 {span}"),
                (None, Lang::En) => format!(" {}", near_time(at, incident.latest.at, zone)),
                (None, Lang::Zh) => format!("，{}", near_time(at, incident.latest.at, zone)),
            }
        }
        None if delivery.last_error.is_empty() => String::new(),
        None => {
            let (tries, error) = (delivery.attempts, shown(&delivery.last_error, MAX_NAME));
            match lang {
                Lang::En => lang.parenthesis(&format!("tries: {tries}, {error}")),
                Lang::Zh => lang.parenthesis(&format!("已尝试 {tries} 次，{error}")),
            }
        }
    };
    format!("{name} {state}{remark}")
}

fn identity(incident: &Incident, lang: Lang) -> String {
    let (id, cluster) = (incident.id, shown(&incident.cluster, MAX_NAME));
    let (level, sure) = (severity(incident.severity, lang), incident.confidence_percent);
    let remark = match lang {
        Lang::En => format!("cluster {cluster}, severity {level}, {sure} % sure"),
        Lang::Zh => format!("集群 {cluster}，级别 {level}，把握 {sure}%"),
    };
    format!("{id}{}", lang.parenthesis(&remark))
}

/// "  label    text", further texts below the first.
fn aspect(label: &str, texts: &[String], paint: Paint) -> Vec<String> {
    let columns: usize = label.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let gap = " ".repeat(LABEL_COLUMNS.saturating_sub(columns));
    let first = format!("{}{gap}", paint.apply(Style::Faint, label));
    let blank = " ".repeat(LABEL_COLUMNS);
    let lead = std::iter::once(first).chain(std::iter::repeat(blank));
    texts
        .iter()
        .zip(lead)
        .map(|(text, lead)| format!("  {lead}{text}"))
        .collect()
}
