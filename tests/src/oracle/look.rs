//! What the programs kept and told, as an outsider can see it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use inquest_proto::{
    ingest::v1::{Finding, FindingKind, evidence::Fact},
    query::v1::{DeliveryState, Incident, StoredFinding},
};

use super::{Law, Seen, SeenAlert, SeenFinding, SeenIncident};
use crate::world::{Program, World};

/// Reads store, receiver and counters.
///
/// # Errors
/// While a program is down.
pub async fn look(world: &World) -> Result<Seen> {
    let mut seen = Seen::default();
    for stored in world.findings("").await? {
        seen.findings.push(finding(world, stored).await?);
    }
    for incident in world.incidents().await? {
        seen.incidents.push(kept(&world.incident(&incident.id).await?));
    }
    let accepted = world.webhook.accepted().into_iter();
    seen.alerts = accepted
        .map(|alert| SeenAlert {
            key: alert.header("idempotency-key").to_owned(),
            kind: alert.body["type"].as_str().unwrap_or_default().to_owned(),
        })
        .collect();
    seen.laws = laws(&world.status_page(Program::Aggregator, "/metrics")?.1)?;
    Ok(seen)
}

async fn finding(world: &World, stored: StoredFinding) -> Result<SeenFinding> {
    let finding = stored.finding.context("a stored finding is empty")?;
    let key: String = finding.key.iter().map(|byte| format!("{byte:02x}")).collect();
    let log = match stored.has_log {
        true => world.log(&key).await?,
        false => String::new(),
    };
    Ok(SeenFinding {
        cgroups: cgroups(&finding),
        is_exit: finding.kind() == FindingKind::Exit,
        pod: finding.subject.map(|subject| subject.pod).unwrap_or_default(),
        key,
        log,
    })
}

fn cgroups(finding: &Finding) -> BTreeSet<String> {
    let named = finding.evidence.iter().filter_map(|evidence| match &evidence.fact {
        Some(Fact::KernelKill(kill)) => Some([kill.victim_cgroup.clone(), kill.limit_cgroup.clone()]),
        Some(Fact::CounterStep(step)) => Some([step.cgroup.clone(), String::new()]),
        _ => None,
    });
    named.flatten().filter(|path| !path.is_empty()).collect()
}

fn kept(incident: &Incident) -> SeenIncident {
    let in_state = |wanted: &[DeliveryState]| {
        let deliveries = incident.deliveries.iter();
        let chosen = deliveries.filter(|delivery| wanted.contains(&delivery.state()));
        chosen.map(|delivery| delivery.transition).collect()
    };
    SeenIncident {
        id: incident.id.clone(),
        occurrences: incident.occurrences,
        delivered: in_state(&[DeliveryState::Delivered]),
        undelivered: in_state(&[DeliveryState::Pending, DeliveryState::Dead]),
    }
}

/// The sums of the aggregator since its start.
fn laws(metrics: &str) -> Result<Vec<Law>> {
    let law = |name: &str, left: &str, right: &[&str]| -> Result<Law> {
        Ok(Law {
            name: name.to_owned(),
            left: sum(metrics, left)?,
            right: right.iter().map(|metric| sum(metrics, metric)).sum::<Result<u64>>()?,
        })
    };
    Ok(vec![
        law(
            "findings received",
            "findings_received_total",
            &[
                "findings_stored_total",
                "findings_repeated_total",
                "findings_unusable_total",
                "ingest_waiting_findings",
            ],
        )?,
        law(
            "notifications planned",
            "notifications_planned_total",
            &["notifications_settled_total", "notifications_pending"],
        )?,
    ])
}

/// The sum of a metric over all its labels; 0 when it has none yet.
fn sum(metrics: &str, name: &str) -> Result<u64> {
    let samples = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("inquest_")?.strip_prefix(name));
    let values = samples.filter_map(|rest| match rest.split_once('}') {
        Some((labels, value)) => labels.starts_with('{').then_some(value),
        None => rest.starts_with(' ').then_some(rest),
    });
    values
        .map(|value| {
            value
                .trim()
                .parse::<u64>()
                .with_context(|| format!("{name} is {value:?}"))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let page = "# HELP inquest_x_total X\ninquest_x_total{a=\"1\"} 2\ninquest_x_total{a=\"2\"} 3\ninquest_x_total_y 9\ninquest_z 4\n";
        assert_eq!(sum(page, "x_total").unwrap(), 5);
        assert_eq!(sum(page, "z").unwrap(), 4);
        assert_eq!(sum(page, "none").unwrap(), 0);
    }
}
