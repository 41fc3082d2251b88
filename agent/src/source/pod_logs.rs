//! The links that the kubelet keeps in /var/log/containers, for nodes where no runtime may be asked: which container has which
//! id, and which one was started again. Owns the kubelet's names of log files; must not know findings.
//!
//! A link is called `<pod>_<namespace>_<container>-<id>.log` and leads to
//! `/var/log/pods/<namespace>_<pod>_<uid>/<container>/<attempt>.log` (`pkg/kubelet/kuberuntime/legacy.go` and `helpers.go`). The
//! link of a later attempt proves that the attempt before it ended. Code, signal, image and limit stay unknown.

mod links;

use std::{path::PathBuf, sync::Arc, time::Duration};

use inquest_shared::{
    clock::{Clock, UnixNanos},
    model::{EvidenceSource, RuntimeExit, Untrusted, clean_name},
    redact::Redactor,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    SourceHealth, SourceState, Statuses,
    containerd::{self, Outputs},
    cri, docker,
    kill_counter::{Announced, Running, announce},
    log_tail::{TailLimits, read_tail},
};
use crate::{
    host::{cgroup::mount::MemoryMount, paths::HostPaths},
    observation::{Container, Exit, Observation},
};
use links::{Ended, Links};

/// Name of the source in statuses and metrics.
pub const NAME: &str = "kubelet logs";
/// How often the folder is read.
const POLL: Duration = Duration::from_secs(1);
/// Other sources that tell of containers; while one of them is there, this one rests, so that no end is told twice.
const RUNTIMES: [&str; 3] = [containerd::NAME, cri::NAME, docker::NAME];

/// What the source needs.
#[derive(Clone)]
pub struct PodLogs {
    /// The kubelet's folder of links.
    pub folder: PathBuf,
    /// Where the host's files are.
    pub paths: HostPaths,
    /// How much of a log to read.
    pub tail: TailLimits,
    /// What to take out of logs.
    pub redactor: Arc<Redactor>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Who is told what is live, and where the runtimes' states are read.
    pub statuses: Statuses,
    /// Told which instances run, for the kill counters.
    pub running: watch::Sender<Announced>,
}

impl PodLogs {
    /// Reads the folder until the token ends. Overflow policy: a full queue delays the next look.
    pub async fn run(self, outputs: Outputs, token: CancellationToken) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut links = Links::default();
        let mut active = false;
        // The first tick comes at once; the runtimes get one period to be found.
        ticks.tick().await;
        while token.run_until_cancelled(ticks.tick()).await.is_some() {
            let needed = self.is_needed();
            if needed {
                active = self.look(&mut links, &outputs).await || active;
            } else if active {
                active = false;
                announce(&self.running, NAME, Running::new());
                self.statuses.set(
                    NAME,
                    SourceHealth::not(SourceState::Absent, "the runtime tells more", ""),
                );
            }
        }
    }

    /// Whether nobody else tells of containers. The containerd source always says how it stands.
    fn is_needed(&self) -> bool {
        let absent = |name| matches!(self.statuses.state(name), None | Some(SourceState::Absent));
        self.statuses.state(containerd::NAME).is_some() && RUNTIMES.into_iter().all(absent)
    }

    /// One look; false when there is no such folder, which is as it should be outside Kubernetes.
    async fn look(&self, links: &mut Links, outputs: &Outputs) -> bool {
        let Ok(found) = links::read(&self.folder) else {
            return false;
        };
        let health = SourceHealth::not(
            SourceState::Degraded,
            "names and restarts only: no exit code, signal, image and limit",
            "give the agent the runtime's socket; the standard profile does",
        );
        self.statuses.set(NAME, health);
        let changes = links.take(found);
        for mut container in changes.started {
            self.find_cgroup(&mut container);
            links.note_cgroup(&container);
            outputs.tell(Observation::Container(container)).await;
        }
        for ended in changes.ended {
            self.tell_end(ended, outputs).await;
        }
        for instance in changes.removed {
            outputs.tell(Observation::Removed(clean_name(&instance))).await;
        }
        if changes.any {
            announce(&self.running, NAME, links.running());
        }
        true
    }

    fn find_cgroup(&self, container: &mut Container) {
        let Ok(mount) = MemoryMount::find(&self.paths) else {
            return;
        };
        let id = &container.subject.instance;
        container.subject.cgroup = links::cgroup_of(&mount.root, id).unwrap_or_default();
    }

    async fn tell_end(&self, ended: Ended, outputs: &Outputs) {
        let Ended { container, at, live } = ended;
        let instance = container.subject.instance.clone();
        let tail = container.log_path.as_deref();
        let tail = tail.and_then(|path| read_tail(path, self.tail, &self.redactor).ok());
        if let Some(tail) = tail.filter(|tail| !tail.lines.is_empty()) {
            let excerpt = tail.excerpt();
            let log = Observation::Log {
                instance: instance.clone(),
                finished_at: at,
                excerpt,
            };
            outputs.tell(log).await;
            outputs.log(&instance, at, &tail, self.clock.now()).await;
        }
        outputs.tell(Observation::Exit(exit(instance, at, live))).await;
    }
}

/// An end of which only the time is known, and that only as the start of the next attempt.
fn exit(instance: String, at: UnixNanos, live: bool) -> Exit {
    Exit {
        instance,
        record: RuntimeExit {
            exit_code: UNKNOWN_CODE,
            started_at: None,
            finished_at: at,
            reason: Untrusted::default(),
            message: Untrusted::default(),
            memory_limit_bytes: None,
        },
        source: EvidenceSource::Log,
        live,
    }
}

/// The code of an end that nobody recorded.
const UNKNOWN_CODE: i32 = -1;
