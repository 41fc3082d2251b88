//! Everything about one incident.

use inquest_proto::query::v1 as pb;
use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, Incident, TransitionKind},
    text::{Paint, Style, clock_time, delivery_state, source_name},
};
use jiff::tz::TimeZone;

use super::{
    fact,
    findings::time,
    incidents::Look,
    table::{Rows, cell, one_line},
};

/// Shown bytes of a log line.
const MAX_LINE: usize = 4096;

/// A notification that can be read. Fields that a newer aggregator may add mean nothing here.
pub(crate) fn delivery(wire: &pb::Delivery) -> Option<Delivery> {
    Some(Delivery {
        receiver: wire.receiver.clone(),
        transition: wire.transition,
        kind: TransitionKind::from_number(wire.kind)?,
        state: DeliveryState::from_number(wire.state)?,
        attempts: wire.attempts,
        planned_at: UnixNanos(wire.planned_at_ns),
        delivered_at: (wire.delivered_at_ns != 0).then_some(UnixNanos(wire.delivered_at_ns)),
        last_error: wire.last_error.clone(),
    })
}

/// The facts with source, position and time, in the order in which they happened.
pub(crate) fn evidence(incident: &Incident, look: Look, zone: &TimeZone) -> String {
    let mut rows = Rows::new(&["TIME", "SOURCE", "FACT", "POSITION"], look.paint);
    let mut facts: Vec<_> = incident.latest.evidence.iter().collect();
    facts.sort_by_key(|(_, _, evidence)| evidence.at);
    for (source, position, evidence) in facts {
        let source = source_name(source, look.lang);
        rows.add(vec![
            cell(&clock_time(evidence.at, zone)),
            cell(source),
            cell(&fact::describe(&evidence.fact)),
            cell(position),
        ]);
    }
    section("evidence", &rows.finish(), look.paint)
}

/// Who was told what.
pub(crate) fn deliveries(deliveries: &[Delivery], look: Look, zone: &TimeZone) -> String {
    let mut rows = Rows::new(
        &[
            "PLANNED",
            "RECEIVER",
            "ABOUT",
            "STATE",
            "TRIES",
            "DELIVERED",
            "LAST ERROR",
        ],
        look.paint,
    );
    for delivery in deliveries {
        rows.add(vec![
            cell(&time(delivery.planned_at, zone)),
            cell(&delivery.receiver),
            cell(delivery.kind.code()),
            cell(delivery_state(delivery.state, look.lang)),
            cell(&delivery.attempts.to_string()),
            cell(&delivery.delivered_at.map(|at| clock_time(at, zone)).unwrap_or_default()),
            cell(&delivery.last_error),
        ]);
    }
    section("notifications", &rows.finish(), look.paint)
}

/// The log tail as it was captured.
pub(crate) fn log(log: &pb::GetLogResponse, paint: Paint) -> String {
    let older = if log.truncated { ", older lines left out" } else { "" };
    let title = format!("log, last lines (secrets taken out: {}{older})", log.redactions);
    let lines: Vec<String> = log.text.lines().map(|line| one_line(line, MAX_LINE)).collect();
    section(&title, &lines.join("\n"), paint)
}

fn section(title: &str, body: &str, paint: Paint) -> String {
    let title = paint.apply(Style::Faint, title);
    let body = body.lines().map(|line| format!("  {line}")).collect::<Vec<_>>();
    format!("\n{title}\n{}", body.join("\n"))
}

/// Key of the finding whose log is shown, as the API wants it.
pub(crate) fn log_key(incident: &Incident) -> String {
    incident.latest.key.to_string()
}

#[cfg(test)]
mod tests {
    use inquest_shared::text::Lang;

    use super::*;
    use crate::output::sample;

    fn look() -> Look {
        Look {
            wide: false,
            lang: Lang::En,
            paint: Paint::Plain,
            now: sample::AT,
        }
    }

    #[test]
    fn every_fact_is_listed_with_its_source_and_position() {
        insta::assert_snapshot!(evidence(&sample::incident(), look(), &TimeZone::UTC), @r#"

        evidence
          TIME           SOURCE                FACT                                                                                                                                   POSITION
          12:01:07.183   kernel log            kernel_kill pid=11219 comm="tail" anon=19.5 MiB limit=20.0 MiB level=container main_process=true cgroup=/kubepods/burstable/podu1/c1   4711
          12:01:07.184   node counters         counter_step oom_kill 4 to 5 cgroup=node                                                                                               5
          12:01:07.186   containerd            runtime_exit code=137 finished=2026-03-01T12:01:07.186Z reason="OOMKilled" limit=20.0 MiB                                              c1@2026-03-01T12:01:07.186Z
          12:01:07.187   the container's log   log_excerpt lines=2 redactions=1 truncated=false                                                                                       c1
        "#);
    }

    #[test]
    fn a_notification_that_failed_says_why() {
        let wire = pb::Delivery {
            receiver: "team".to_owned(),
            transition: 1,
            kind: TransitionKind::Opened.number(),
            state: DeliveryState::Dead.number(),
            attempts: 9,
            planned_at_ns: sample::AT.0,
            delivered_at_ns: 0,
            last_error: "410\u{1b}[31m".to_owned(),
        };
        let known = delivery(&wire).unwrap();
        insta::assert_snapshot!(deliveries(&[known], look(), &TimeZone::UTC), @r#"

        notifications
          PLANNED                   RECEIVER   ABOUT    STATE      TRIES   DELIVERED   LAST ERROR
          2026-03-01 12:01:07.183   team       opened   given up   9       -           410\u{1b}[31m
        "#);
        assert_eq!(delivery(&pb::Delivery { state: 99, ..wire }), None);
    }

    #[test]
    fn a_log_cannot_steer_the_terminal() {
        let answer = pb::GetLogResponse {
            text: "ready\n\u{1b}]0;evil\u{7}\r\nbye\n".to_owned(),
            captured_at_ns: 1,
            redactions: 2,
            truncated: true,
        };
        insta::assert_snapshot!(log(&answer, Paint::Plain), @r#"

        log, last lines (secrets taken out: 2, older lines left out)
          ready
          \u{1b}]0;evil\u{7}
          bye
        "#);
    }
}
