//! Containers that containerd runs outside the CRI: `ctr`, nerdctl, other people's clients. They may be gone before anybody
//! could ask about them, so all that is known of one comes from its events. Owns their identities; must not know findings.

use std::collections::{HashMap, VecDeque};

use inquest_shared::{
    clock::UnixNanos,
    model::{EvidenceSource, Owner, RuntimeExit, Subject, Untrusted, clean_name},
};

use super::events::{BareEvent, BareKind};
use crate::{
    observation::{Container, Exit, Observation},
    source::{
        cri::Runtime,
        kill_counter::{Running, Watched},
    },
};

/// Most containers remembered; the oldest is forgotten first, and its end is then told without image and start.
const MAX_BARE: usize = 4096;

/// Containers by namespace and id.
#[derive(Debug, Default)]
pub(super) struct Bare {
    known: HashMap<(String, String), Container>,
    order: VecDeque<(String, String)>,
}

impl Bare {
    /// Takes an event; gives what it tells. `cgroup` looks up the memory cgroup of a process.
    pub(super) fn on_event(&mut self, event: BareEvent, cgroup: impl Fn(u32) -> Option<String>) -> Vec<Observation> {
        let BareEvent {
            namespace,
            id,
            at,
            kind,
        } = event;
        let key = (namespace, id);
        match kind {
            BareKind::Created { image } => {
                self.insert(key.clone(), identity(&key, Some(at), &image));
                Vec::new()
            }
            BareKind::Started { pid } => {
                let container = self.entry(&key);
                (container.pid, container.started) = (Some(pid), Some(at));
                if let Some(path) = cgroup(pid) {
                    container.subject.cgroup = path;
                }
                vec![Observation::Container(container.clone())]
            }
            BareKind::Exited { exit_code, at } => {
                let container = self.entry(&key).clone();
                self.known.remove(&key);
                let instance = container.subject.instance.clone();
                let exit = Observation::Exit(exit(instance.clone(), exit_code, at));
                vec![Observation::Container(container), exit, Observation::Removed(instance)]
            }
            BareKind::Oom => vec![Observation::RuntimeOom {
                instance: self.entry(&key).subject.instance.clone(),
                at,
                source: EvidenceSource::Containerd,
            }],
        }
    }

    /// Those that run, with their cgroup.
    pub(super) fn running(&self) -> Running {
        self.known.values().filter_map(Watched::of).collect()
    }

    /// A container, made without image and creation when its events were not seen.
    fn entry(&mut self, key: &(String, String)) -> &mut Container {
        if !self.known.contains_key(key) {
            self.insert(key.clone(), identity(key, None, ""));
        }
        self.known.entry(key.clone()).or_insert_with(|| identity(key, None, ""))
    }

    fn insert(&mut self, key: (String, String), container: Container) {
        self.order.push_back(key.clone());
        self.known.insert(key, container);
        while self.order.len() > MAX_BARE {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// An id can be used again once its container is gone, so the time of creation is part of the instance.
fn identity((namespace, id): &(String, String), created: Option<UnixNanos>, image: &str) -> Container {
    let (namespace, id) = (clean_name(namespace), clean_name(id));
    let created = created.map_or(String::new(), |at| format!("/{}", at.0));
    Container {
        subject: Subject {
            instance: format!("{namespace}/{id}{created}"),
            image: clean_name(image),
            runtime: Runtime::Containerd.name().to_owned(),
            owner: Owner {
                kind: "Container".to_owned(),
                name: id.clone(),
            },
            container: id,
            ..Subject::default()
        },
        pid: None,
        log_path: None,
        memory_limit: None,
        started: None,
    }
}

fn exit(instance: String, exit_code: i32, at: UnixNanos) -> Exit {
    Exit {
        instance,
        record: RuntimeExit {
            exit_code,
            started_at: None,
            finished_at: at,
            reason: Untrusted::default(),
            message: Untrusted::default(),
            memory_limit_bytes: None,
        },
        source: EvidenceSource::Containerd,
        live: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, at: i64, kind: BareKind) -> BareEvent {
        BareEvent {
            namespace: "default".into(),
            id: id.into(),
            at: UnixNanos(at),
            kind,
        }
    }

    fn told(observations: &[Observation]) -> Option<(&Subject, &RuntimeExit)> {
        let subject = observations.iter().find_map(|o| match o {
            Observation::Container(c) => Some(&c.subject),
            _ => None,
        })?;
        let exit = observations.iter().find_map(|o| match o {
            Observation::Exit(e) if e.instance == subject.instance => Some(&e.record),
            _ => None,
        })?;
        Some((subject, exit))
    }

    #[test]
    fn a_job_that_is_gone_at_once_is_told_with_image_and_code() {
        let mut bare = Bare::default();
        let image = "img.local/job:1".to_owned();
        bare.on_event(event("job", 5, BareKind::Created { image }), |_| None);
        bare.on_event(event("job", 6, BareKind::Started { pid: 9 }), |_| {
            Some("/jobs/job".to_owned())
        });
        let running: Vec<_> = bare.running().into_values().collect();
        assert_eq!((running.len(), running[0].cgroup.as_str()), (1, "/jobs/job"));
        assert_eq!(running[0].started, Some(UnixNanos(6)));
        let exited = BareKind::Exited {
            exit_code: 3,
            at: UnixNanos(7),
        };
        let out = bare.on_event(event("job", 8, exited), |_| None);
        let (subject, exit) = told(&out).unwrap();
        assert_eq!(
            (subject.image.as_str(), subject.container.as_str()),
            ("img.local/job:1", "job")
        );
        assert_eq!((exit.exit_code, exit.finished_at), (3, UnixNanos(7)));
        assert!(bare.running().is_empty());
    }

    #[test]
    fn two_runs_under_one_id_are_two_instances() {
        let mut bare = Bare::default();
        let mut run = |created: i64| {
            bare.on_event(
                event("job", created, BareKind::Created { image: String::new() }),
                |_| None,
            );
            let at = UnixNanos(created + 1);
            let out = bare.on_event(event("job", created + 2, BareKind::Exited { exit_code: 0, at }), |_| {
                None
            });
            told(&out).unwrap().0.instance.clone()
        };
        assert_ne!(run(5), run(50));
    }

    #[test]
    fn a_flood_of_containers_stays_bounded() {
        let mut bare = Bare::default();
        for n in 0..(MAX_BARE + 10) {
            let created = BareKind::Created { image: String::new() };
            bare.on_event(event(&n.to_string(), 1, created), |_| None);
        }
        assert!(bare.known.len() <= MAX_BARE && bare.order.len() <= MAX_BARE);
    }
}
