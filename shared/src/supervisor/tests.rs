use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::clock::FakeClock;

const GRACE: Duration = Duration::from_secs(5);

fn supervisor() -> Supervisor {
    let millisecond = Duration::from_millis(1);
    let backoff = Backoff::new(millisecond, millisecond * 4, Duration::from_secs(60));
    Supervisor::with_backoff(Arc::new(FakeClock::default()), backoff)
}

async fn until(supervisor: &Supervisor, name: &'static str, wanted: impl Fn(&TaskStatus) -> bool) -> TaskStatus {
    let mut statuses = supervisor.statuses();
    let found = statuses
        .wait_for(|all| all.get(name).is_some_and(&wanted))
        .await
        .unwrap();
    found[name].clone()
}

#[tokio::test]
async fn a_task_that_panics_or_fails_is_started_again_and_counted() {
    let supervisor = supervisor();
    let stage = supervisor.stage("sources");
    let starts = Arc::new(AtomicU32::new(0));
    stage.spawn("kmsg", Restart::OnFailure, move |token| {
        let start = starts.fetch_add(1, Ordering::SeqCst);
        async move {
            match start {
                0 => panic!("bad record"),
                1 => anyhow::bail!("no such device"),
                _ => token.cancelled().await,
            }
            Ok(())
        }
    });
    let status = until(&supervisor, "kmsg", |status| status.restarts == 2).await;
    assert_eq!(status.state, TaskState::Running);
    assert_eq!(status.last_error.as_deref(), Some("no such device"));
    let count = |cause| supervisor.0.ends.get_or_create(&EndLabel { task: "kmsg", cause }).get();
    assert_eq!((count("panic"), count("error")), (1, 1));
    supervisor.stop(GRACE).await.unwrap();
    assert_eq!(supervisor.statuses().borrow()["kmsg"].state, TaskState::Done);
}

#[tokio::test]
async fn the_program_stops_with_the_name_of_a_task_that_must_not_end() {
    let supervisor = supervisor();
    let stage = supervisor.stage("core");
    stage.spawn("engine", Restart::Never, |_| async { Ok(()) });
    stage.spawn("store", Restart::Never, |token| async move {
        token.cancelled().await;
        Ok(())
    });
    let (_requests, receiver) = mpsc::channel(1);
    let error = supervisor
        .run(&mut Signals::from_channel(receiver), GRACE)
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("task engine ended"), "{error}");
    assert_eq!(supervisor.statuses().borrow()["store"].state, TaskState::Done);
}

#[tokio::test]
async fn a_signal_stops_the_stages_in_order() {
    let supervisor = supervisor();
    let (order, mut stopped) = mpsc::channel(4);
    for name in ["sources", "spool", "uplink"] {
        let order = order.clone();
        supervisor.stage(name).spawn(name, Restart::Never, move |token| {
            let order = order.clone();
            async move {
                token.cancelled().await;
                order.send(name).await?;
                Ok(())
            }
        });
    }
    let (requests, receiver) = mpsc::channel(1);
    requests.send(()).await.unwrap();
    supervisor
        .run(&mut Signals::from_channel(receiver), GRACE)
        .await
        .unwrap();
    let mut names = Vec::new();
    while let Ok(name) = stopped.try_recv() {
        names.push(name);
    }
    assert_eq!(names, ["sources", "spool", "uplink"]);
}

#[tokio::test]
async fn a_task_that_ignores_the_stop_is_aborted_and_named() {
    let supervisor = supervisor();
    supervisor
        .stage("uplink")
        .spawn("stuck", Restart::OnFailure, |_| std::future::pending());
    let error = supervisor.stop(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.to_string(), "tasks did not stop in time: stuck");
}

#[tokio::test]
async fn a_second_signal_ends_the_wait_at_once() {
    let supervisor = supervisor();
    supervisor
        .stage("uplink")
        .spawn("stuck", Restart::OnFailure, |_| std::future::pending());
    let (requests, receiver) = mpsc::channel(2);
    requests.send(()).await.unwrap();
    requests.send(()).await.unwrap();
    let forced = supervisor
        .run(&mut Signals::from_channel(receiver), Duration::from_secs(600))
        .await;
    assert!(matches!(forced, Err(StopError::Forced)), "{forced:?}");
}

#[tokio::test]
async fn a_task_that_waits_for_its_restart_stops_at_once() {
    let hour = Duration::from_secs(3600);
    let slow = Backoff::new(hour, hour, hour);
    let supervisor = Supervisor::with_backoff(Arc::new(FakeClock::default()), slow);
    supervisor
        .stage("sources")
        .spawn("cri", Restart::OnFailure, |_| async { anyhow::bail!("refused") });
    until(&supervisor, "cri", |status| status.state == TaskState::Waiting).await;
    supervisor.stop(GRACE).await.unwrap();
}
