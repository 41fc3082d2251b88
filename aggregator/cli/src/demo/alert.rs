//! The alert about the victim: waiting for it, timing it, showing it.

use std::time::Duration;

use inquest_proto::query::v1 as pb;
use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, Fact, Incident},
    text::{Lang, delivery_state, duration, headline},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    LOOK, say,
    stage::{POLL, Stage},
    trigger::Target,
};
use crate::{
    app::Context,
    client::{Changes, Client},
    command::watch::change_text,
    error::CliError,
    output::{print, story},
};

/// How long the runtime's word and the log may come after the alert.
const COMPLETE_WITHIN: Duration = Duration::from_secs(3);

/// What was shown.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// The incident.
    pub(super) id: String,
    /// Its transition then.
    pub(super) transition: u32,
}

/// Waits for the target's first delivered alert, says how fast it was, and shows the incident once it is complete.
pub(super) async fn first(
    context: &Context,
    stage: &mut Stage,
    client: &Client,
    changes: &mut Changes,
    target: &Target,
) -> Result<Told, CliError> {
    let id = opened(stage, changes, target).await?;
    let delivered = delivered(stage, client, id).await?;
    say(context, &alert_line(&delivered, stage.alerts(), context.lang))?;
    let mut shown = complete(stage, client, delivered, target).await?;
    if context.form.is_text() {
        // Said above, and more exactly: measured from the kernel's record, not from the runtime's later one.
        shown.deliveries.clear();
    }
    show(context, &shown)?;
    Ok(Told {
        id: shown.id,
        transition: shown.transition,
    })
}

/// Prints an incident, apart from what was printed before.
pub(super) fn show(context: &Context, incident: &pb::Incident) -> Result<(), CliError> {
    let gap = if context.form.is_text() { "\n" } else { "" };
    print(&format!("{gap}{}", change_text(context, incident)?))?;
    Ok(())
}

/// Id of the target's incident.
async fn opened(stage: &mut Stage, changes: &mut Changes, target: &Target) -> Result<String, CliError> {
    loop {
        let Ok(change) = timeout(LOOK, changes.next()).await else {
            stage.check()?;
            continue;
        };
        let Some(incident) = change?.incident else { continue };
        let id = incident.id.clone();
        if Incident::try_from(incident).is_ok_and(|incident| target.is_of(&incident)) {
            return Ok(id);
        }
    }
}

/// The incident as soon as somebody was told. A younger incident that another one took over is followed there.
async fn delivered(stage: &mut Stage, client: &Client, mut id: String) -> Result<pb::Incident, CliError> {
    loop {
        let incident = client.incident(&id).await?;
        if first_delivery(&incident).is_some() {
            return Ok(incident);
        }
        stage.progress.incident = Some(pending(&incident));
        if !incident.merged_into.is_empty() {
            id = incident.merged_into;
        }
        stage.check()?;
        sleep(POLL).await;
    }
}

fn pending(incident: &pb::Incident) -> String {
    let deliveries = incident.deliveries.iter().filter_map(story::delivery);
    let states: Vec<String> = deliveries
        .map(|d| {
            format!(
                "{} {} {}",
                d.receiver.escape_debug(),
                delivery_state(d.state, Lang::En),
                d.last_error.escape_debug()
            )
        })
        .collect();
    let states = if states.is_empty() {
        "none planned".to_owned()
    } else {
        states.join(", ")
    };
    format!(
        "incident {} is open, but not delivered (notifications: {states})",
        incident.id
    )
}

/// Waits for exit and log, which a container's end always has.
async fn complete(
    stage: &mut Stage,
    client: &Client,
    mut incident: pb::Incident,
    target: &Target,
) -> Result<pb::Incident, CliError> {
    if !matches!(target, Target::Container(_)) {
        return Ok(incident);
    }
    let end = Instant::now() + COMPLETE_WITHIN;
    while !has_exit_and_log(&incident) && Instant::now() < end {
        stage.check()?;
        sleep(POLL).await;
        incident = client.incident(&incident.id).await?;
    }
    Ok(incident)
}

fn has_exit_and_log(incident: &pb::Incident) -> bool {
    let read = Incident::try_from(incident.clone());
    read.is_ok_and(|incident| incident.latest.evidence.exit().is_some() && incident.latest.evidence.log().is_some())
}

fn first_delivery(incident: &pb::Incident) -> Option<Delivery> {
    let deliveries = incident.deliveries.iter().filter_map(story::delivery);
    deliveries
        .filter(|d| d.state == DeliveryState::Delivered)
        .min_by_key(|d| d.delivered_at)
}

/// What the alert was measured from.
fn death(incident: &Incident) -> (UnixNanos, &'static str) {
    let facts = || incident.latest.evidence.iter().map(|(_, _, evidence)| evidence);
    let kill = facts()
        .filter(|evidence| matches!(evidence.fact, Fact::KernelKill(_)))
        .map(|evidence| evidence.at)
        .min();
    match kill {
        Some(at) => (at, "kill"),
        None => (
            incident
                .latest
                .evidence
                .exit()
                .map_or(incident.latest.at, |exit| exit.finished_at),
            "exit",
        ),
    }
}

/// "alert delivered 4 ms after the kill: OOM at container limit".
fn alert_line(incident: &pb::Incident, requests: u64, lang: Lang) -> String {
    let delivered_at = first_delivery(incident).and_then(|delivery| delivery.delivered_at);
    match (Incident::try_from(incident.clone()), delivered_at) {
        (Ok(incident), Some(delivered_at)) => {
            let (at, moment) = death(&incident);
            let span = duration(delivered_at.since(at), Lang::En);
            let what = headline(&incident, lang);
            format!("alert delivered {span} after the {moment}: {what} (received by webhook: {requests})")
        }
        _ => format!("alert delivered (received by webhook: {requests})"),
    }
}

#[cfg(test)]
mod tests {
    use inquest_shared::{model::TransitionKind, wire::delivery_to_wire};

    use super::*;
    use crate::output::sample;

    fn told(state: DeliveryState, delivered_at: Option<UnixNanos>) -> pb::Incident {
        let delivery = Delivery {
            receiver: "demo".to_owned(),
            transition: 1,
            kind: TransitionKind::Opened,
            state,
            attempts: 1,
            planned_at: sample::after(2),
            delivered_at,
            last_error: String::new(),
        };
        pb::Incident {
            deliveries: vec![delivery_to_wire(&delivery)],
            ..pb::Incident::from(&sample::incident())
        }
    }

    #[test]
    fn the_alert_is_timed_from_the_kernels_record() {
        let incident = told(DeliveryState::Delivered, Some(sample::after(4)));
        assert_eq!(
            alert_line(&incident, 1, Lang::En),
            "alert delivered 4 ms after the kill: OOM at container limit (received by webhook: 1)"
        );
    }

    #[test]
    fn a_planned_alert_is_not_a_delivered_one() {
        let waiting = told(DeliveryState::Pending, None);
        assert!(first_delivery(&waiting).is_none());
        assert!(pending(&waiting).contains("demo pending"), "{}", pending(&waiting));
    }

    #[test]
    fn an_incident_is_complete_with_exit_and_log() {
        assert!(has_exit_and_log(&told(DeliveryState::Delivered, None)));
        let mut early = sample::incident();
        early.latest.evidence = inquest_shared::model::EvidenceSet::default();
        assert!(!has_exit_and_log(&pb::Incident::from(&early)));
    }
}
