//! Notifications over all incidents.

use inquest_proto::query::v1::PlannedDelivery;
use inquest_shared::text::delivery_state;
use jiff::tz::TimeZone;

use super::{
    findings::time,
    incidents::Look,
    story,
    table::{Rows, cell},
};

/// One row for each notification. One that a newer aggregator words in an unknown way is shown as far as it is known.
pub(crate) fn table(planned: &[PlannedDelivery], look: Look, zone: &TimeZone) -> String {
    let header = [
        "PLANNED",
        "RECEIVER",
        "INCIDENT",
        "NAMESPACE",
        "WORKLOAD",
        "ABOUT",
        "STATE",
        "TRIES",
        "LAST ERROR",
    ];
    let mut rows = Rows::new(&header, look.paint);
    for row in planned {
        let wire = row.delivery.clone().unwrap_or_default();
        let known = story::delivery(&wire);
        let workload = row.workload.clone().unwrap_or_default();
        rows.add(vec![
            cell(&known.as_ref().map(|d| time(d.planned_at, zone)).unwrap_or_default()),
            cell(&wire.receiver),
            cell(&row.incident_id),
            cell(&workload.namespace),
            cell(&workload.name),
            cell(known.as_ref().map(|d| d.kind.code()).unwrap_or_default()),
            cell(
                known
                    .as_ref()
                    .map(|d| delivery_state(d.state, look.lang))
                    .unwrap_or_default(),
            ),
            cell(&wire.attempts.to_string()),
            cell(&wire.last_error),
        ]);
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use inquest_proto::query::v1::{Delivery, Workload};
    use inquest_shared::{
        model::{DeliveryState, TransitionKind},
        text::{Lang, Paint},
    };

    use super::*;
    use crate::output::sample;

    #[test]
    fn a_dead_letter_says_what_it_was_about_and_why_it_was_given_up() {
        let row = PlannedDelivery {
            delivery: Some(Delivery {
                receiver: "team".to_owned(),
                transition: 1,
                kind: TransitionKind::Opened.number(),
                state: DeliveryState::Dead.number(),
                attempts: 1,
                planned_at_ns: sample::AT.0,
                delivered_at_ns: 0,
                last_error: "http 400\u{1b}[31m".to_owned(),
            }),
            incident_id: "01J9ZK".to_owned(),
            cluster: "prod".to_owned(),
            workload: Some(Workload {
                namespace: "shop".to_owned(),
                name: "web".to_owned(),
                ..Workload::default()
            }),
        };
        let look = Look {
            wide: false,
            lang: Lang::En,
            paint: Paint::Plain,
            now: sample::AT,
        };
        let table = table(&[row], look, &TimeZone::UTC);
        for word in ["team", "01J9ZK", "shop", "web", "opened", "http 400"] {
            assert!(table.contains(word), "{word}: {table}");
        }
        assert!(!table.contains('\u{1b}'), "a receiver steers the terminal: {table}");
    }
}
