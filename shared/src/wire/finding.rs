//! Findings and subjects.

use std::collections::BTreeSet;

use inquest_proto::ingest::v1 as pb;
use prost::Message as _;

use super::{
    WireError, at_most,
    fact::{bounded_path, evidence_from_wire, evidence_to_wire},
};
use crate::{
    cause::judge,
    clock::UnixNanos,
    model::{Discovery, Finding, FindingKind, Key, Owner, Subject, clean_name},
};

/// Largest encoded finding that is accepted.
pub const MAX_FINDING_BYTES: usize = 64 * 1024;
/// Most kills that an exit may cite.
const MAX_CITES: usize = 32;
/// Longest image reference kept.
const MAX_IMAGE: usize = 512;

impl From<&Finding> for pb::Finding {
    fn from(finding: &Finding) -> Self {
        Self {
            key: finding.key.as_bytes().to_vec(),
            kind: finding.kind.number(),
            discovery: finding.discovery.number(),
            observed_at_ns: finding.observed_at.0,
            subject: Some((&finding.subject).into()),
            evidence: evidence_to_wire(&finding.evidence),
            verdict: Some((&judge(&finding.evidence)).into()),
            revision: finding.revision,
            cites: finding.cites.iter().map(|k| k.as_bytes().to_vec()).collect(),
        }
    }
}

impl TryFrom<pb::Finding> for Finding {
    type Error = WireError;

    fn try_from(finding: pb::Finding) -> Result<Self, WireError> {
        at_most("cites", finding.cites.len(), MAX_CITES)?;
        let kind = FindingKind::from_number(finding.kind).ok_or(WireError::Number {
            field: "kind",
            number: finding.kind,
        })?;
        let discovery = Discovery::from_number(finding.discovery).ok_or(WireError::Number {
            field: "discovery",
            number: finding.discovery,
        })?;
        Ok(Self {
            key: key("key", &finding.key)?,
            kind,
            discovery,
            observed_at: UnixNanos(finding.observed_at_ns),
            subject: finding.subject.ok_or(WireError::Missing("subject"))?.into(),
            evidence: evidence_from_wire(finding.evidence)?,
            cites: keys("cites", &finding.cites)?,
            revision: finding.revision,
        })
    }
}

/// Decodes one finding as stored or spooled.
///
/// # Errors
/// [`WireError`]; the same bytes fail again.
pub fn decode_finding(bytes: &[u8]) -> Result<Finding, WireError> {
    at_most("finding", bytes.len(), MAX_FINDING_BYTES)?;
    pb::Finding::decode(bytes)?.try_into()
}

impl From<&Subject> for pb::Subject {
    fn from(subject: &Subject) -> Self {
        Self {
            namespace: subject.namespace.clone(),
            pod: subject.pod.clone(),
            pod_uid: subject.pod_uid.clone(),
            container: subject.container.clone(),
            instance: subject.instance.clone(),
            image: subject.image.clone(),
            runtime: subject.runtime.clone(),
            attempt: subject.attempt,
            owner_kind: subject.owner.kind.clone(),
            owner_name: subject.owner.name.clone(),
            cgroup: subject.cgroup.clone(),
            owner_confirmed: subject.owner_confirmed,
        }
    }
}

impl From<pb::Subject> for Subject {
    fn from(subject: pb::Subject) -> Self {
        Self {
            namespace: clean_name(&subject.namespace),
            pod: clean_name(&subject.pod),
            pod_uid: clean_name(&subject.pod_uid),
            container: clean_name(&subject.container),
            instance: clean_name(&subject.instance),
            image: bounded_path(&subject.image).chars().take(MAX_IMAGE).collect(),
            runtime: clean_name(&subject.runtime),
            attempt: subject.attempt,
            owner: Owner {
                kind: clean_name(&subject.owner_kind),
                name: clean_name(&subject.owner_name),
            },
            cgroup: bounded_path(&subject.cgroup),
            owner_confirmed: subject.owner_confirmed,
        }
    }
}

/// One key.
pub(super) fn key(field: &'static str, bytes: &[u8]) -> Result<Key, WireError> {
    Key::try_from(bytes).map_err(|source| WireError::Key { field, source })
}

/// Several keys.
pub(super) fn keys(field: &'static str, list: &[Vec<u8>]) -> Result<BTreeSet<Key>, WireError> {
    list.iter().map(|bytes| key(field, bytes)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{Evidence, EvidenceSet, EvidenceSource, Fact, KernelKill, RuntimeExit, Untrusted},
        wire::WireError,
    };

    fn sample(comm: &str, code: i32) -> Finding {
        let mut evidence = EvidenceSet::default();
        let kill = KernelKill {
            pid: 7,
            comm: Untrusted::bounded(comm, 64),
            main_process: Some(true),
            ..KernelKill::default()
        };
        evidence.insert(
            EvidenceSource::Kmsg,
            "9",
            Evidence {
                at: UnixNanos(3),
                fact: Fact::KernelKill(kill),
            },
        );
        let exit = RuntimeExit {
            exit_code: code,
            finished_at: UnixNanos(4),
            ..RuntimeExit::default()
        };
        evidence.insert(
            EvidenceSource::Containerd,
            "i@4",
            Evidence {
                at: UnixNanos(4),
                fact: Fact::RuntimeExit(exit),
            },
        );
        Finding {
            key: Key::exit("i", UnixNanos(4)),
            kind: FindingKind::Exit,
            discovery: Discovery::Live,
            observed_at: UnixNanos(4),
            subject: Subject {
                container: "app".into(),
                instance: "i".into(),
                ..Subject::default()
            },
            evidence,
            cites: [Key::kill("b", "kmsg", "9")].into(),
            revision: 2,
        }
    }

    proptest! {
        /// What an agent observed must arrive as it was.
        #[test]
        fn a_finding_survives_the_wire(comm in "\\PC{0,12}", code in -1..256i32) {
            let finding = sample(&comm, code);
            let bytes = pb::Finding::from(&finding).encode_to_vec();
            prop_assert_eq!(decode_finding(&bytes), Ok(finding));
        }

        /// A hostile peer can at worst be refused.
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _refused_or_taken = decode_finding(&bytes);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let good = pb::Finding::from(&sample("x", 1));
        type Spoil = fn(&mut pb::Finding);
        let cases: [(&str, Spoil); 4] = [
            ("key: a finding key is 16 bytes (32 hexadecimal digits)", |f| {
                f.key.truncate(3)
            }),
            ("kind has no meaning: 99", |f| f.kind = 99),
            ("subject is missing", |f| f.subject = None),
            ("cites is too large: 33, at most 32", |f| {
                f.cites = vec![vec![0; 16]; 33]
            }),
        ];
        for (message, spoil) in cases {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert_eq!(
                Finding::try_from(bad).map_err(|e: WireError| e.to_string()),
                Err(message.to_owned())
            );
        }
    }
}
