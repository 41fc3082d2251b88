//! What changed in a workload, and how its pods fare.

use inquest_proto::ingest::v1 as pb;

use super::{WireError, at_most};
use crate::{
    clock::UnixNanos,
    model::{
        MAX_CHANGE_TEXT, MAX_CHANGES, MAX_REVISIONS, RevisionShare, RolloutContext, TemplateChange, TemplateField,
        Untrusted, clean_name,
    },
};

impl From<&RolloutContext> for pb::RolloutContext {
    fn from(rollout: &RolloutContext) -> Self {
        Self {
            revision: rollout.revision.clone(),
            previous: rollout.previous.clone(),
            started_at_ns: rollout.started_at.map(|at| at.0),
            changes: rollout.changes.iter().map(Into::into).collect(),
            revisions: rollout.revisions.iter().map(Into::into).collect(),
        }
    }
}

impl From<&TemplateChange> for pb::TemplateChange {
    fn from(change: &TemplateChange) -> Self {
        Self {
            what: change.what.number(),
            container: change.container.clone(),
            name: change.name.clone(),
            before: change.before.raw().to_owned(),
            after: change.after.raw().to_owned(),
        }
    }
}

impl From<&RevisionShare> for pb::RevisionShare {
    fn from(share: &RevisionShare) -> Self {
        Self {
            revision: share.revision.clone(),
            crashed: share.crashed,
            healthy: share.healthy,
            other: share.other,
        }
    }
}

impl TryFrom<pb::RolloutContext> for RolloutContext {
    type Error = WireError;

    fn try_from(rollout: pb::RolloutContext) -> Result<Self, WireError> {
        at_most("rollout_context.changes", rollout.changes.len(), MAX_CHANGES)?;
        at_most("rollout_context.revisions", rollout.revisions.len(), MAX_REVISIONS)?;
        // A part of the template that a newer version names is left out; the rest is still true.
        let changes = rollout.changes.iter().filter_map(change).collect();
        let share = |share: &pb::RevisionShare| RevisionShare {
            revision: clean_name(&share.revision),
            crashed: share.crashed,
            healthy: share.healthy,
            other: share.other,
        };
        Ok(Self {
            revision: clean_name(&rollout.revision),
            previous: clean_name(&rollout.previous),
            started_at: rollout.started_at_ns.map(UnixNanos),
            changes,
            revisions: rollout.revisions.iter().map(share).collect(),
        })
    }
}

fn change(change: &pb::TemplateChange) -> Option<TemplateChange> {
    Some(TemplateChange {
        what: TemplateField::from_number(change.what)?,
        container: clean_name(&change.container),
        name: clean_name(&change.name),
        before: Untrusted::bounded(&change.before, MAX_CHANGE_TEXT),
        after: Untrusted::bounded(&change.after, MAX_CHANGE_TEXT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RolloutContext {
        let change = |what| TemplateChange {
            what,
            container: "app".into(),
            name: "DB_URL".into(),
            before: Untrusted::bounded("1.4.2", MAX_CHANGE_TEXT),
            after: Untrusted::bounded("1.5.0", MAX_CHANGE_TEXT),
        };
        RolloutContext {
            revision: "17".into(),
            previous: "16".into(),
            started_at: Some(UnixNanos(7)),
            changes: TemplateField::ALL.iter().map(|what| change(*what)).collect(),
            revisions: vec![RevisionShare {
                revision: "17".into(),
                crashed: 3,
                healthy: 2,
                other: 1,
            }],
        }
    }

    #[test]
    fn what_changed_survives_the_wire() {
        let sample = sample();
        assert_eq!(RolloutContext::try_from(pb::RolloutContext::from(&sample)), Ok(sample));
    }

    #[test]
    fn a_field_of_a_newer_version_costs_that_change_only_and_a_flood_is_refused() {
        let mut wire = pb::RolloutContext::from(&sample());
        wire.changes[0].what = 99;
        let read = RolloutContext::try_from(wire.clone()).unwrap();
        assert_eq!(read.changes.len(), TemplateField::ALL.len() - 1);
        wire.revisions = vec![pb::RevisionShare::default(); MAX_REVISIONS + 1];
        assert_eq!(
            RolloutContext::try_from(wire).map_err(|error| error.to_string()),
            Err("rollout_context.revisions is too large: 5, at most 4".to_owned())
        );
    }
}
