//! Making something die: in a container, else in a memory cgroup, else a bare process.
//!
//! Owns the choice and the victims. Must not know who is told.

use inquest_shared::model::Incident;
use tokio::process::Command;

use super::{DemoError, stage::Stage};
use crate::{
    cli::TriggerKind,
    sandbox::{BareCgroup, ContainerSpec, Containerd, PodSpec},
};

/// Memory that the victim may take.
const LIMIT_BYTES: u64 = 20 << 20;
const NAMESPACE: &str = "demo";
const POD: &str = "checkout-5d8f7c9b6d-k4x2p";
const POD_HASH: &str = "5d8f7c9b6d";
const CONTAINER: &str = "app";

/// Lives for a second, says a secret, then takes memory until the kernel ends it.
const OOM_SCRIPT: &str =
    "echo 'listening on :8080'; echo 'connecting to db, user=checkout password=hunter2'; sleep 1; exec tail /dev/zero";
/// Lives for a second, then fails as programs do.
const CRASH_SCRIPT: &str = "echo 'starting'; sleep 1; echo 'config key \"DB_URL\" missing' >&2; exit 1";

/// The best that this host allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Means {
    /// Nothing shall die.
    Nothing,
    /// A pod in a container runtime of the demo's own.
    Container,
    /// A process in a memory cgroup.
    Cgroup {
        /// Why not a container.
        why: String,
    },
    /// A bare process, whose end nobody witnesses.
    Process {
        /// Why nothing better.
        why: String,
    },
}

impl Means {
    /// Chooses; what fails later is replaced by the next best.
    pub(super) fn best_for(kind: TriggerKind) -> Self {
        match (kind, Containerd::available()) {
            (TriggerKind::None, _) => Self::Nothing,
            (_, Ok(())) => Self::Container,
            (_, Err(missing)) => Self::Cgroup {
                why: format!("a private container runtime cannot run here: {missing}"),
            },
        }
    }

    /// What is about to happen.
    pub(super) fn announce(&self, kind: TriggerKind) -> String {
        let how = match kind {
            TriggerKind::Crash => "a program that fails",
            TriggerKind::Oom | TriggerKind::None => "a program that takes more than its 20 MiB of memory",
        };
        match self {
            Self::Nothing => String::new(),
            Self::Container => format!("running {how}, in a container of a private containerd"),
            Self::Cgroup { why } | Self::Process { why } => format!("no container: {why}\nrunning {how}"),
        }
    }

    /// Why the death cannot be seen.
    pub(super) fn why_not(&self) -> String {
        match self {
            Self::Process { why } | Self::Cgroup { why } => why.clone(),
            Self::Nothing | Self::Container => "nothing was asked to die".to_owned(),
        }
    }
}

/// Which incident is the demo's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Whichever comes first.
    Any,
    /// That of a container, by id.
    Container(String),
    /// That of a cgroup, by path.
    Cgroup(String),
}

impl Target {
    /// Whether an incident is about it. Before the runtime has spoken, only the kernel's cgroup names the container.
    pub(super) fn is_of(&self, incident: &Incident) -> bool {
        let (wanted, subject) = match self {
            Self::Any => return true,
            Self::Container(id) => (id, &incident.latest.subject),
            Self::Cgroup(path) => (path, &incident.latest.subject),
        };
        let mut kills = incident.latest.evidence.kills();
        subject.instance == *wanted
            || subject.cgroup.ends_with(wanted.as_str())
            || kills.any(|kill| kill.victim_cgroup.ends_with(wanted.as_str()))
    }
}

/// Makes something die. `None` when no witness can see it.
pub(super) async fn pull(kind: TriggerKind, stage: &mut Stage) -> Result<Option<Target>, DemoError> {
    if let Some(runtime) = &stage.runtime {
        let pod = runtime.cri().run_pod(&pod(kind)).await?;
        return Ok(pod
            .containers
            .into_iter()
            .next()
            .map(|container| Target::Container(container.id)));
    }
    let Means::Cgroup { why } = stage.means.clone() else {
        return Ok(None);
    };
    if kind == TriggerKind::Crash {
        run("exit 1").await?;
        let why = format!("{why}; the exit of a plain process leaves no trace that an agent could read");
        stage.means = Means::Process { why };
        return Ok(None);
    }
    match BareCgroup::new(LIMIT_BYTES) {
        Ok(cgroup) => kill_in(cgroup, stage).await.map(Some),
        Err(error) => {
            run("kill -9 $$").await?;
            let why = format!(
                "{why}; a memory cgroup cannot be made ({:#})",
                anyhow::Error::new(error)
            );
            stage.means = Means::Process { why };
            Ok(None)
        }
    }
}

async fn kill_in(cgroup: BareCgroup, stage: &mut Stage) -> Result<Target, DemoError> {
    let command = cgroup.oom_hog();
    let path = cgroup.path().to_owned();
    stage.cgroup = Some(cgroup);
    let ended = Command::from(command).kill_on_drop(true).status().await;
    ended.map_err(DemoError::io("run", "tail"))?;
    Ok(Target::Cgroup(path))
}

/// A process that dies, for hosts that allow no more.
async fn run(script: &str) -> Result<(), DemoError> {
    let ended = Command::new("/bin/sh")
        .args(["-c", script])
        .kill_on_drop(true)
        .status()
        .await;
    ended.map(|_| ()).map_err(DemoError::io("run", "/bin/sh"))
}

fn pod(kind: TriggerKind) -> PodSpec {
    let container = match kind {
        TriggerKind::Crash => ContainerSpec::shell(CONTAINER, CRASH_SCRIPT),
        TriggerKind::Oom | TriggerKind::None => ContainerSpec::shell(CONTAINER, OOM_SCRIPT).memory_limit(LIMIT_BYTES),
    };
    PodSpec::new(NAMESPACE, POD, 1)
        .label("app", "checkout")
        .label("pod-template-hash", POD_HASH)
        .container(container)
}

#[cfg(test)]
mod tests {
    use inquest_shared::model::{EvidenceSet, Subject};

    use super::*;
    use crate::output::sample;

    #[test]
    fn only_the_demos_own_victim_ends_the_demo() {
        let incident = sample::incident();
        assert!(Target::Any.is_of(&incident));
        assert!(Target::Container("c1".to_owned()).is_of(&incident));
        assert!(!Target::Container("c2".to_owned()).is_of(&incident));
        assert!(!Target::Cgroup("/inquest-bare-1-0".to_owned()).is_of(&incident));
    }

    #[test]
    fn a_victim_that_only_the_kernel_knows_is_recognised_by_its_cgroup() {
        let mut incident = sample::incident();
        incident.latest.evidence = EvidenceSet::default();
        incident.latest.subject = Subject {
            cgroup: "/inquest-bare-1-0".to_owned(),
            ..Subject::default()
        };
        assert!(Target::Cgroup("/inquest-bare-1-0".to_owned()).is_of(&incident));
    }

    #[test]
    fn the_victim_belongs_to_a_deployment_and_has_a_limit_only_for_memory() {
        let oom = pod(TriggerKind::Oom);
        let crash = pod(TriggerKind::Crash);
        assert!(oom.name.contains(&format!("-{POD_HASH}-")));
        assert_eq!(oom.containers.first().unwrap().memory_limit_bytes, Some(LIMIT_BYTES));
        assert_eq!(crash.containers.first().unwrap().memory_limit_bytes, None);
    }

    #[test]
    fn a_poorer_demo_says_why() {
        let means = Means::Cgroup {
            why: "a private container runtime cannot run here: needs root".to_owned(),
        };
        assert_eq!(
            means.announce(TriggerKind::Oom),
            "no container: a private container runtime cannot run here: needs root\nrunning a program that takes more than its 20 MiB of memory"
        );
    }
}
