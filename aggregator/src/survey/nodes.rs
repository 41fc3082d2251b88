//! Nodes that are unwell or silent, and agents that are silent on nodes that are well.

use std::{sync::Arc, time::Duration};

use inquest_shared::model::{Owner, ReportKind, Subject, clean_name};

use super::{
    Detector, View,
    sight::{Sight, place, report},
};
use crate::cluster::{Condition, Kind, Node, Warning};

pub(super) const UNWELL: Detector = Detector {
    needs: &[Kind::Nodes],
    look,
};

/// After an apiserver was away, nodes look silent until their kubelets have reported again. Source: the kubelet renews its
/// lease each 10 s, and the controller looks at them each 5 s; both may take a while to get through.
const AFTER_OUTAGE: Duration = Duration::from_secs(120);
/// Warnings of the kubelet about its node. What it says of memory (`SystemOOM`) the kernel tells better.
/// Source: kubernetes `pkg/kubelet/events/event.go`.
const WARNINGS: &[&str] = &[
    "ContainerGCFailed",
    "EvictionThresholdMet",
    "FreeDiskSpaceFailed",
    "ImageGCFailed",
    "InvalidDiskCapacity",
    "KubeletSetupFailed",
];
/// The kubelet tries each of these again within five minutes, and says so.
const TRIES: Duration = Duration::from_secs(600);
/// Conditions of Kubernetes itself; those that others add say what holds, not whether it is bad.
/// Source: kubernetes.io, "Node Status".
const PRESSURES: &[&str] = &["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];

pub(super) const RESTARTED: Detector = Detector {
    needs: &[Kind::Nodes],
    look: |view| Some(view.restarted.iter().filter_map(|node| restarted(node)).collect()),
};

pub(super) const WARNED: Detector = Detector {
    needs: &[Kind::Nodes, Kind::Events],
    look: warned,
};

fn look(view: &View<'_>) -> Option<Vec<Sight>> {
    if just_reached(view) {
        return None;
    }
    let nodes = view.index.nodes();
    let unwell = nodes.iter().flat_map(|node| unwell(view, node));
    let silent = nodes.iter().filter_map(|node| agent_silent(view, node));
    Some(unwell.chain(silent).collect())
}

/// Whoever cordoned the node meant to start it anew.
fn restarted(node: &Node) -> Option<Sight> {
    (!node.unschedulable).then(|| Sight {
        episode: format!("{}/boot/{}", node.uid, node.boot_id),
        subject: of_node(node),
        node: Some(place(node)),
        report: report(ReportKind::NodeReboot, "", "", None),
    })
}

/// Whether the watch of nodes was opened only a moment ago.
fn just_reached(view: &View<'_>) -> bool {
    let watches = view.index.status();
    let mut of_nodes = watches.iter().filter(|watch| watch.kind == Kind::Nodes);
    of_nodes.any(|watch| view.now.since(watch.since) < AFTER_OUTAGE)
}

fn unwell(view: &View<'_>, node: &Arc<Node>) -> Vec<Sight> {
    let ready = node.condition("Ready").filter(|ready| !ready.holds());
    let ready = ready.map(|ready| {
        if &*ready.status == "Unknown" {
            sight(view, node, ReportKind::NodeSilent, (&ready.reason, ready))
        } else {
            sight(view, node, ReportKind::NodeCondition, ("NotReady", ready))
        }
    });
    let pressures = node
        .conditions
        .iter()
        .filter(|c| PRESSURES.contains(&&*c.name) && c.holds());
    let pressures = pressures.map(|c| sight(view, node, ReportKind::NodeCondition, (&c.name, c)));
    ready.into_iter().chain(pressures).collect()
}

/// What the kubelet complains of. It names its node by name where others give a uid.
fn warned(view: &View<'_>) -> Option<Vec<Sight>> {
    let warned = |event: &Warning| {
        let recent = event.last.is_some_and(|last| view.now.since(last) < TRIES);
        &*event.kind == "Node" && recent && WARNINGS.contains(&&*event.reason)
    };
    let warnings = view.index.warnings_that(warned);
    let sights = warnings.iter().filter_map(|warning| {
        let node = view.index.node(&warning.name)?;
        Some(Sight {
            episode: format!("{}/{}", node.uid, warning.reason),
            subject: of_node(&node),
            node: Some(place(&node)),
            report: report(
                ReportKind::NodeCondition,
                &warning.reason,
                &warning.message,
                warning.first,
            ),
        })
    });
    Some(sights.collect())
}

fn sight(view: &View<'_>, node: &Node, kind: ReportKind, (reason, condition): (&str, &Condition)) -> Sight {
    let since = condition.since.map_or(0, |at| at.0);
    let mut report = report(kind, reason, &condition.message, condition.since);
    report.affected = u32::try_from(view.index.pods_on(&node.name).len()).unwrap_or(u32::MAX);
    Sight {
        episode: format!("{}/{}/{since}", node.uid, condition.name),
        subject: of_node(node),
        node: Some(place(node)),
        report,
    }
}

/// The lease of a node that is well is renewed by its kubelet, so only the agent is missing.
fn agent_silent(view: &View<'_>, node: &Node) -> Option<Sight> {
    let uid = node.uid.to_string();
    let agent = view.silent.iter().find(|agent| agent.node.uid == uid)?;
    node.ready().then(|| Sight {
        episode: format!("{uid}/agent/{}", agent.last_seen.0),
        subject: of_node(node),
        node: Some(place(node)),
        report: report(ReportKind::AgentSilent, "AgentSilent", "", Some(agent.last_seen)),
    })
}

fn of_node(node: &Node) -> Subject {
    Subject {
        owner: Owner {
            kind: "Node".to_owned(),
            name: clean_name(&node.name),
        },
        owner_confirmed: true,
        ..Subject::default()
    }
}
