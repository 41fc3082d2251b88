//! From Docker's answers to the model's words. Pure.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HostConfig,
};
use inquest_shared::{
    cause::Signal,
    clock::UnixNanos,
    model::{Owner, Subject, Untrusted, clean_name, guess_owner},
};

use super::NAME;
use crate::observation::Container;

/// Longest message kept; the wire's bound for a runtime's message.
const MAX_MESSAGE: usize = 4096;
/// How long a container has to end by itself unless it says otherwise (`docker stop --help`).
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Grace beyond a day is a mistake; it must not make an old request explain a late end.
const MAX_GRACE_SECS: i64 = 86_400;

/// A container as one inspection shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// Container id.
    pub(super) id: String,
    /// Names, image, limit and pid. The instance is still empty: the table names it.
    pub(super) facts: Container,
    /// When it was made.
    pub(super) created: UnixNanos,
    /// Start of the last run; `None` before the first.
    pub(super) started: Option<UnixNanos>,
    /// Last end on record. While a container runs this is the end of the run before.
    pub(super) finished: Option<UnixNanos>,
    /// What it does now.
    pub(super) phase: Phase,
    /// What decides how its end is read.
    pub(super) settings: Settings,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Made, not started.
    Fresh,
    /// Could not be started.
    Refused(Ending),
    /// Runs or is paused.
    Running,
    /// Ended, perhaps to be started again in a moment.
    Ended(Ending),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) exit_code: i32,
    pub(super) reason: &'static str,
    pub(super) message: Untrusted,
}

/// Settings of a container that decide how its end is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// It removes itself at its end, so that its removal says nothing about a wish.
    pub(super) auto_remove: bool,
    /// The signal that asks it to end.
    pub(super) stop_signal: Signal,
    /// How long it then has.
    pub(super) grace: Duration,
    /// A kubelet looks after it. What that asks of Docker may be a failed probe as well as a planned stop.
    pub(super) kubernetes: bool,
}

/// Reads an inspection; `None` for one without an id and for the sandboxes of pods.
pub(super) fn look(answer: ContainerInspectResponse) -> Option<Look> {
    let id = answer.id?;
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    let empty = HashMap::new();
    let labels = config.labels.as_ref().unwrap_or(&empty);
    if label(labels, "io.kubernetes.docker.type") == "podsandbox" {
        return None;
    }
    let mut subject = subject(
        answer.name.as_deref().unwrap_or_default(),
        config.image.as_deref().unwrap_or_default(),
        labels,
    );
    let restarts = answer.restart_count.and_then(|n| u32::try_from(n).ok());
    let coming = u32::from(state.restarting.unwrap_or_default());
    subject.attempt = subject.attempt.max(restarts.unwrap_or_default().saturating_sub(coming));
    let started = time(state.started_at.as_deref());
    let whole = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    Some(Look {
        facts: Container {
            pid: whole(state.pid).and_then(|pid| u32::try_from(pid).ok()),
            log_path: log_file(answer.log_path, &host),
            memory_limit: whole(host.memory),
            started: None,
            subject,
        },
        created: time(answer.created.as_deref()).unwrap_or_default(),
        started,
        finished: time(state.finished_at.as_deref()),
        settings: settings(&config, &host, labels),
        phase: phase(&state, started.is_some()),
        id,
    })
}

fn settings(config: &ContainerConfig, host: &HostConfig, labels: &HashMap<String, String>) -> Settings {
    let seconds = config.stop_timeout.filter(|s| (0..MAX_GRACE_SECS).contains(s));
    Settings {
        auto_remove: host.auto_remove.unwrap_or_default(),
        stop_signal: config.stop_signal.as_deref().and_then(signal).unwrap_or(Signal::TERM),
        grace: seconds
            .and_then(|s| u64::try_from(s).ok())
            .map_or(DEFAULT_GRACE, Duration::from_secs),
        kubernetes: !label(labels, "io.kubernetes.pod.uid").is_empty(),
    }
}

/// The file of the log, for the one driver whose files can be read without Docker.
fn log_file(path: Option<String>, host: &HostConfig) -> Option<PathBuf> {
    let driver = host.log_config.as_ref()?.typ.as_deref()?;
    path.filter(|path| driver == "json-file" && !path.is_empty())
        .map(PathBuf::from)
}

/// A signal as an image may write it: `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`.
fn signal(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse() {
        return Signal::new(number);
    }
    let wanted = text.to_ascii_uppercase();
    let wanted = wanted.strip_prefix("SIG").unwrap_or(&wanted).to_owned();
    let mut all = (1..=64).filter_map(Signal::new);
    all.find(|s| s.name().strip_prefix("SIG") == Some(wanted.as_str()))
}

fn phase(state: &ContainerState, was_started: bool) -> Phase {
    use ContainerStateStatusEnum as Status;
    let failed = state.error.as_deref().is_some_and(|error| !error.is_empty());
    match state.status {
        Some(Status::RUNNING | Status::PAUSED) => Phase::Running,
        _ if was_started => Phase::Ended(ending(state)),
        _ if failed => Phase::Refused(ending(state)),
        _ => Phase::Fresh,
    }
}

/// An end before Docker has said anything of it: only what its code alone decides.
pub(super) fn early(exit_code: i32) -> Ending {
    let reason = match exit_code {
        0 => "Completed",
        1..=125 => "Error",
        _ => "",
    };
    Ending {
        exit_code,
        reason,
        message: Untrusted::default(),
    }
}

fn ending(state: &ContainerState) -> Ending {
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
    let message = Untrusted::bounded(state.error.as_deref().unwrap_or_default(), MAX_MESSAGE);
    let reason = match exit_code {
        _ if state.oom_killed == Some(true) => "OOMKilled",
        126..=128 if !message.is_empty() => "ContainerCannotRun",
        0 => "Completed",
        // Docker writes 255 also when it lost the status, so it is no statement of the program.
        255 => "",
        _ => "Error",
    };
    Ending {
        exit_code,
        reason,
        message,
    }
}

/// A time of Docker; its year 1 means never.
fn time(text: Option<&str>) -> Option<UnixNanos> {
    UnixNanos::parse(text?).filter(|at| *at > UnixNanos::EPOCH)
}

/// What is left of a container that is gone: the attributes of its events, which hold name, image and labels.
pub(super) fn from_attributes(attributes: &HashMap<String, String>) -> Container {
    Container {
        subject: subject(label(attributes, "name"), label(attributes, "image"), attributes),
        pid: None,
        log_path: None,
        memory_limit: None,
        started: None,
    }
}

/// Names from the labels of the kubelet, Compose or Swarm; else the container's own.
fn subject(name: &str, image: &str, labels: &HashMap<String, String>) -> Subject {
    let name = clean_name(name.strip_prefix('/').unwrap_or(name));
    let get = |key: &str| clean_name(label(labels, key));
    let base = Subject {
        image: clean_name(image),
        runtime: NAME.to_owned(),
        ..Subject::default()
    };
    let pod = get("io.kubernetes.pod.name");
    if !pod.is_empty() {
        let attempt = label(labels, "annotation.io.kubernetes.container.restartCount");
        return Subject {
            namespace: get("io.kubernetes.pod.namespace"),
            pod_uid: get("io.kubernetes.pod.uid"),
            container: get("io.kubernetes.container.name"),
            attempt: attempt.parse().unwrap_or_default(),
            owner: guess_owner(&pod, |key| labels.get(key).cloned()),
            pod,
            ..base
        };
    }
    let (project, service) = [
        ("com.docker.compose.project", "com.docker.compose.service"),
        ("com.docker.stack.namespace", "com.docker.swarm.service.name"),
    ]
    .map(|(project, service)| (get(project), get(service)))
    .into_iter()
    .find(|(_, service)| !service.is_empty())
    .unwrap_or_default();
    // Replicas of one service are one workload; which of them it was is the instance.
    let container = if service.is_empty() { name } else { service };
    Subject {
        namespace: project,
        owner: Owner {
            kind: "Container".to_owned(),
            name: container.clone(),
        },
        container,
        ..base
    }
}

fn label<'a>(labels: &'a HashMap<String, String>, key: &str) -> &'a str {
    labels.get(key).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Look {
        look(serde_json::from_value(json).unwrap()).unwrap()
    }

    fn ended(json: serde_json::Value) -> Ending {
        match read(json).phase {
            Phase::Ended(ending) | Phase::Refused(ending) => ending,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_container_that_could_not_start_says_why() {
        let state = json!({"Status": "created", "ExitCode": 127, "Error": "exec: \"/nope\": no such file",
            "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"});
        let look =
            read(json!({"Id": "a", "Name": "/bad", "Created": "2026-11-21T13:01:53.695068787Z", "State": state}));
        assert_eq!((look.started, look.finished), (None, None));
        assert!(matches!(&look.phase, Phase::Refused(e) if e.reason == "ContainerCannotRun" && e.exit_code == 127));
        assert_eq!(look.created, UnixNanos(1_795_266_113_695_068_787));
    }

    #[test]
    fn a_status_that_docker_lost_is_not_the_programs_word() {
        let state = json!({"Status": "exited", "ExitCode": 255, "StartedAt": "2026-11-21T13:00:00Z"});
        assert_eq!(ended(json!({"Id": "a", "State": state})).reason, "");
        let state = json!({"Status": "restarting", "ExitCode": 3, "StartedAt": "2026-11-21T13:00:00Z"});
        assert_eq!(ended(json!({"Id": "a", "State": state})).reason, "Error");
    }

    #[test]
    fn replicas_of_a_service_are_one_workload_and_forged_labels_lose_their_teeth() {
        let labels = json!({"com.docker.compose.project": "shop", "com.docker.compose.service": "we\u{1b}[31mb\n"});
        let look = read(json!({"Id": "a", "Name": "/shop-web-2", "Config": {"Labels": labels, "Image": "web:1"}}));
        let subject = look.facts.subject;
        assert_eq!(
            (subject.namespace.as_str(), subject.container.as_str()),
            ("shop", "we_[31mb_")
        );
        assert_eq!(
            (subject.owner.kind.as_str(), subject.owner.name.as_str()),
            ("Container", "we_[31mb_")
        );
    }

    #[test]
    fn a_pods_container_has_its_names_and_its_sandbox_is_left_out() {
        let labels = json!({"io.kubernetes.pod.name": "web-7d4b9c-abcde", "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.uid": "u", "io.kubernetes.container.name": "app", "pod-template-hash": "7d4b9c",
            "annotation.io.kubernetes.container.restartCount": "4"});
        let look = read(json!({"Id": "a", "Config": {"Labels": labels}}));
        assert!(look.settings.kubernetes);
        let subject = look.facts.subject;
        assert_eq!(
            (subject.owner.kind.as_str(), subject.owner.name.as_str()),
            ("Deployment", "web")
        );
        assert_eq!((subject.container.as_str(), subject.attempt), ("app", 4));
        let sandbox = json!({"Id": "a", "Config": {"Labels": {"io.kubernetes.docker.type": "podsandbox"}}});
        assert_eq!(super::look(serde_json::from_value(sandbox).unwrap()), None);
    }

    #[test]
    fn every_spelling_of_a_stop_signal_is_read() {
        for (text, number) in [
            ("15", 15),
            ("QUIT", 3),
            ("SIGQUIT", 3),
            ("sigusr1", 10),
            ("SIGRTMIN+3", 37),
        ] {
            assert_eq!(signal(text).map(Signal::number), Some(number), "{text}");
        }
        assert_eq!(signal("SIGNOTHING"), None);
    }
}
