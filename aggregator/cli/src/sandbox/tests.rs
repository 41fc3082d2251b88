//! The sandbox against the real containerd. Needs root, containerd and `INQUEST_TEST_RUNTIME=1`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use inquest_proto::containerd::events::{TaskExit, TaskOom};
use inquest_proto::containerd::services::events::v1::events_client::EventsClient;
use inquest_proto::containerd::services::events::v1::{Envelope, SubscribeRequest};
use prost::Message as _;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const LIMIT: u64 = 20 << 20;

/// Says why nothing was tested, unless everything needed is there.
fn wanted() -> bool {
    if std::env::var_os("INQUEST_TEST_RUNTIME").is_none_or(|value| value != "1") {
        println!("skipped: INQUEST_TEST_RUNTIME is not 1");
        return false;
    }
    match Containerd::available() {
        Ok(()) => true,
        Err(missing) => {
            println!("skipped: {missing}");
            false
        }
    }
}

async fn started() -> (tempfile::TempDir, Containerd) {
    let dir = tempfile::tempdir().unwrap();
    let containerd = Containerd::start(dir.path()).await.unwrap();
    (dir, containerd)
}

/// Collects exits and OOM events until each topic was seen. containerd answers a subscription only with its first event,
/// so this must run beside what causes them; with cgroup v1 it may tell one kill several times.
fn events(socket: PathBuf, topics: &'static [&'static str]) -> tokio::task::JoinHandle<Vec<Envelope>> {
    tokio::spawn(async move {
        let connect = tower::service_fn(move |_: tonic::transport::Uri| {
            let socket = socket.clone();
            async move {
                tokio::net::UnixStream::connect(socket)
                    .await
                    .map(hyper_util::rt::TokioIo::new)
            }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
        let mut client = EventsClient::new(endpoint.connect_with_connector(connect).await.unwrap());
        let filters = [r#"topic=="/tasks/exit""#, r#"topic=="/tasks/oom""#]
            .map(str::to_owned)
            .to_vec();
        let mut stream = client
            .subscribe(SubscribeRequest { filters })
            .await
            .unwrap()
            .into_inner();
        let mut events = Vec::new();
        while !topics
            .iter()
            .all(|topic| events.iter().any(|event: &Envelope| event.topic == *topic))
        {
            events.push(stream.message().await.unwrap().unwrap());
        }
        events
    })
}

async fn within<T>(task: tokio::task::JoinHandle<T>) -> T {
    tokio::time::timeout(LONG, task)
        .await
        .expect("the events come")
        .unwrap()
}

#[tokio::test]
async fn a_crash_has_its_code_and_its_last_line() {
    if !wanted() {
        return;
    }
    let (dir, containerd) = started().await;
    let events = events(containerd.socket(), &["/tasks/exit"]);
    let spec = PodSpec::new("shop", "checkout-7d9f-x2k", 1).label("pod-template-hash", "7d9f");
    let spec = spec.container(ContainerSpec::shell("app", "echo no database; exit 1"));
    let pod = containerd.cri().run_pod(&spec).await.unwrap();
    let status = containerd.cri().wait_exit(&pod.containers[0], LONG).await.unwrap();
    assert_eq!((status.exit_code, status.reason.as_str()), (1, "Error"));
    assert_eq!(status.labels["io.kubernetes.pod.name"], "checkout-7d9f-x2k");
    assert_eq!(Path::new(&status.log_path), pod.containers[0].log_path);
    let log = std::fs::read_to_string(&pod.containers[0].log_path).unwrap();
    assert!(log.ends_with(" stdout F no database\n"), "{log}");

    let event = within(events).await.remove(0);
    assert_eq!(
        (event.namespace.as_str(), event.topic.as_str()),
        ("k8s.io", "/tasks/exit")
    );
    let exit = TaskExit::decode(event.event.unwrap().value.as_slice()).unwrap();
    assert_eq!(
        (exit.container_id.as_str(), exit.exit_status),
        (pod.containers[0].id.as_str(), 1)
    );
    assert_eq!(exit.id, exit.container_id);
    let at = exit.exited_at.unwrap();
    assert_eq!(at.seconds * 1_000_000_000 + i64::from(at.nanos), status.finished_at);

    containerd.stop().await.unwrap();
    assert_eq!(leftovers(dir.path()).unwrap(), Leftovers::default());
}

#[tokio::test]
async fn a_hog_is_ended_by_the_kernel_and_said_to_be_so() {
    if !wanted() {
        return;
    }
    let (dir, containerd) = started().await;
    let events = events(containerd.socket(), &["/tasks/exit", "/tasks/oom"]);
    let spec = PodSpec::new("shop", "hog", 2).container(ContainerSpec::memory_hog("app", LIMIT));
    let pod = containerd.cri().run_pod(&spec).await.unwrap();
    let status = containerd.cri().wait_exit(&pod.containers[0], LONG).await.unwrap();
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    for event in within(events).await {
        let bytes = event.event.unwrap().value;
        let id = match event.topic.as_str() {
            "/tasks/oom" => TaskOom::decode(bytes.as_slice()).unwrap().container_id,
            _ => TaskExit::decode(bytes.as_slice()).unwrap().container_id,
        };
        assert_eq!(id, pod.containers[0].id);
    }
    containerd.stop().await.unwrap();
    assert_eq!(leftovers(dir.path()).unwrap(), Leftovers::default());
}

#[tokio::test]
async fn pods_outlive_a_killed_runtime_and_two_sandboxes_do_not_meet() {
    if !wanted() {
        return;
    }
    let (first_dir, mut first) = started().await;
    let (second_dir, second) = started().await;
    first.add_image("img.local/shop/checkout:2.0").await.unwrap();
    let app = ContainerSpec::command("app", &["/bin/sleep", "1000"]).image("img.local/shop/checkout:2.0");
    let spec = PodSpec::new("shop", "sleeper", 3).container(app.memory_limit(LIMIT));
    let pod = first.cri().run_pod(&spec).await.unwrap();
    assert!(second.cri().pods().await.unwrap().is_empty());

    first.kill9().await.unwrap();
    assert!(first.cri().version().await.is_err());
    first.restart().await.unwrap();
    let said = first
        .cri()
        .exec(&pod.containers[0], &["/bin/echo", "alive"], LONG)
        .await
        .unwrap();
    assert_eq!((said.exit_code, said.stdout.as_slice()), (0, b"alive\n".as_slice()));

    second.stop().await.unwrap();
    assert_eq!(leftovers(second_dir.path()).unwrap(), Leftovers::default());
    let again = first
        .cri()
        .create(&pod, &ContainerSpec::shell("app", "exit 3").restarted(1))
        .await
        .unwrap();
    first.cri().start(&again).await.unwrap();
    assert_eq!(first.cri().wait_exit(&again, LONG).await.unwrap().exit_code, 3);
    first.cri().remove(&again).await.unwrap();
    first.cri().stop(&pod.containers[0], Duration::ZERO).await.unwrap();
    assert_eq!(
        first.cri().wait_exit(&pod.containers[0], LONG).await.unwrap().exit_code,
        137
    );
    first.stop().await.unwrap();
    assert_eq!(leftovers(first_dir.path()).unwrap(), Leftovers::default());
}

#[tokio::test]
async fn a_dropped_sandbox_takes_its_running_pods_with_it() {
    if !wanted() {
        return;
    }
    let (dir, containerd) = started().await;
    let spec = PodSpec::new("shop", "sleeper", 4).container(ContainerSpec::command("app", &["/bin/sleep", "1000"]));
    containerd.cri().run_pod(&spec).await.unwrap();
    assert!(!leftovers(dir.path()).unwrap().is_empty());
    drop(containerd);
    assert_eq!(leftovers(dir.path()).unwrap(), Leftovers::default());
}

#[test]
fn a_hog_in_a_bare_cgroup_dies_at_its_limit_and_nothing_stays() {
    if !wanted() {
        return;
    }
    use std::os::unix::process::ExitStatusExt;
    let cgroup = BareCgroup::new(LIMIT).unwrap();
    let folder = cgroup.folder().to_owned();
    let status = cgroup.oom_hog().status().unwrap();
    assert_eq!(status.signal(), Some(9));
    let mut sleeper = cgroup.command(&["sleep", "1000"]).spawn().unwrap();
    while std::fs::read_to_string(folder.join("cgroup.procs")).unwrap().is_empty() {
        std::thread::yield_now();
    }
    cgroup.remove().unwrap();
    assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    assert!(!folder.exists());
}
