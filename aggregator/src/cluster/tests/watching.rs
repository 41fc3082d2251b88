//! Lists and watches against a server that misbehaves in the ways that servers do.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    bed::Bed,
    fake::{Fake, Streams},
    sample::{self, pod, uid},
};
use crate::cluster::{Found, Kind, WatchState};

fn cluster(pods: u32) -> Fake {
    let fake = Fake::new();
    (0..pods).for_each(|number| fake.put("pods", pod(number)));
    fake.put("nodes", sample::node("node1", "True"));
    fake
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_known_after_one_streamed_list_of_each_kind() {
    let fake = cluster(3);
    let bed = Bed::new(&fake, &[]);
    assert!(!bed.index.synced(Kind::Pods));
    bed.until_live().await;
    assert!(Kind::ALL.iter().all(|kind| bed.index.synced(*kind)));
    assert_eq!(bed.dump(), Bed::fresh(&fake));
    assert_eq!((fake.count("/pods?"), fake.count("sendInitialEvents")), (1, 9));
    assert_eq!(bed.index.complaint(), None);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streams_is_listed_in_pages_of_five_hundred() {
    for streams in [Streams::Refused, Streams::Ignored, Streams::Stuck] {
        let fake = cluster(1_201);
        fake.with(|world| world.streams = streams);
        let started = Instant::now();
        let bed = Bed::new(&fake, &[]);
        bed.until_live().await;
        assert_eq!(bed.dump(), Bed::fresh(&fake), "{streams:?}");
        assert_eq!(
            fake.count("pods?fieldSelector=status.phase%21%3DSucceeded&limit=500"),
            3,
            "{streams:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(12 * 60),
            "{streams:?}: {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_arrives_without_another_list() {
    let fake = cluster(2);
    let bed = Bed::new(&fake, &[]);
    bed.until_live().await;
    fake.put("pods", sample::crashed(1, 1));
    fake.put("pods", pod(7));
    fake.delete("pods", "shop", "api-0");
    bed.until("the index agrees", |bed| bed.dump() == Bed::fresh(&bed.fake))
        .await;
    let gone = bed.index.pod(&uid(0)).unwrap();
    assert!(gone.gone.is_some() && gone.name.as_ref() == "api-0");
    assert_eq!(fake.count("/pods?"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_goes_on_from_its_version() {
    let fake = cluster(2);
    let bed = Bed::new(&fake, &[]);
    bed.until_live().await;
    for broken in [true, false] {
        fake.cut(broken);
        fake.put("pods", sample::crashed(1, u32::from(broken)));
        bed.until("the index agrees", |bed| bed.dump() == Bed::fresh(&bed.fake))
            .await;
        bed.until_live().await;
    }
    assert_eq!(fake.count("sendInitialEvents"), 9);
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_while_the_watch_was_down_is_found_missing_by_the_next_list() {
    let fake = cluster(3);
    let bed = Bed::new(&fake, &[]);
    bed.until_live().await;
    bed.index.listen();
    bed.index.changes(100).await;
    fake.cut(true);
    fake.delete("pods", "shop", "api-1");
    fake.forget();
    bed.until("the pod is gone", |bed| bed.index.pod(&uid(1)).unwrap().gone.is_some())
        .await;
    bed.until_live().await;
    assert_eq!(bed.dump(), Bed::fresh(&fake));
    let batch = bed.index.changes(100).await;
    assert_eq!(
        batch.changes.iter().map(|change| change.found).collect::<Vec<_>>(),
        [Found::Relist]
    );
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_forgotten_again_and_again_do_not_become_a_storm_of_lists() {
    let fake = cluster(2);
    let bed = Bed::new(&fake, &[]);
    bed.until_live().await;
    let before = fake.count("/pods?");
    for _ in 0..300 {
        fake.forget();
        fake.cut(false);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Five minutes: one follow and one list for each pause of at least ten seconds.
    let lists = fake.with(|world| {
        let asked = world.requests.iter().filter(|request| request.contains("/pods?"));
        asked.filter(|request| request.contains("sendInitialEvents")).count()
    });
    assert!((2..=30).contains(&(lists - before)), "{lists}");
    bed.until_live().await;
    assert_eq!(bed.dump(), Bed::fresh(&fake));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_dies_without_a_word_is_noticed_within_minutes() {
    let fake = cluster(2);
    let bed = Bed::new(&fake, &[]);
    bed.until_live().await;
    fake.mute(true);
    fake.put("pods", sample::crashed(1, 1));
    let started = Instant::now();
    bed.until("the watch is not trusted", |bed| {
        bed.state(Kind::Pods).0 == WatchState::Degraded
    })
    .await;
    assert!(
        started.elapsed() < Duration::from_secs(4 * 60),
        "{:?}",
        started.elapsed()
    );
    assert!(bed.index.synced(Kind::Pods));
    fake.mute(false);
    bed.until("the index agrees", |bed| bed.dump() == Bed::fresh(&bed.fake))
        .await;
    bed.until_live().await;
}

#[tokio::test(start_paused = true)]
async fn missing_rights_and_missing_apis_blind_one_kind_and_heal_by_themselves() {
    let fake = cluster(2);
    fake.with(|world| {
        world
            .refusals
            .extend([("nodes".to_owned(), 403), ("jobs".to_owned(), 404)])
    });
    let bed = Bed::new(&fake, &[]);
    bed.until("the others are live", |bed| {
        bed.state(Kind::Events).0 == WatchState::Live
    })
    .await;
    assert_eq!(
        bed.state(Kind::Nodes),
        (WatchState::Blind, "not allowed: as the test says".to_owned())
    );
    assert!(bed.state(Kind::Jobs).1.starts_with("not offered by the server"));
    assert!(!bed.index.synced(Kind::Nodes) && bed.index.synced(Kind::Pods));
    assert!(bed.index.complaint().unwrap().contains("nodes blind: not allowed"));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(
        fake.count("/nodes?") < 30,
        "asked {} times in an hour",
        fake.count("/nodes?")
    );
    fake.with(|world| world.refusals.clear());
    bed.until_live().await;
    assert!(bed.index.node("node1").unwrap().ready());
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let fake = cluster(2);
    fake.with(|world| world.busy = Some(90));
    let bed = Bed::new(&fake, &[]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fake.count("/pods?") <= 7, "{}", fake.count("/pods?"));
    assert!(bed.state(Kind::Pods).1.contains("busy"));
    fake.with(|world| world.busy = None);
    bed.until_live().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_at_the_start_is_found_when_it_comes() {
    let fake = cluster(2);
    fake.with(|world| {
        world
            .refusals
            .extend(Kind::ALL.map(|kind| (kind.name().to_owned(), 503)))
    });
    let bed = Bed::new(&fake, &[]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(Kind::ALL.iter().all(|kind| !bed.index.synced(*kind)));
    fake.with(|world| world.refusals.clear());
    let started = Instant::now();
    bed.until_live().await;
    assert!(started.elapsed() < Duration::from_secs(90), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn only_the_namespaces_that_are_named_are_asked_for() {
    let fake = cluster(2);
    let mut other = pod(50);
    other["metadata"]["namespace"] = "other".into();
    fake.put("pods", other);
    let bed = Bed::new(&fake, &["shop"]);
    bed.until_live().await;
    assert!(bed.index.pod(&uid(0)).is_some() && bed.index.pod(&uid(50)).is_none());
    assert!(bed.index.node("node1").is_some());
    assert_eq!(fake.count("/api/v1/pods?"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_one_namespace_does_not_bury_the_pods_of_another() {
    let fake = cluster(1);
    let mut other = pod(50);
    other["metadata"]["namespace"] = "other".into();
    fake.put("pods", other);
    let bed = Bed::new(&fake, &["shop", "other"]);
    bed.until_live().await;
    fake.forget();
    fake.cut(true);
    bed.until_live().await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(bed.index.pod(&uid(0)).unwrap().gone.is_none() && bed.index.pod(&uid(50)).unwrap().gone.is_none());
    bed.stop().await;
}
