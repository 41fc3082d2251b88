//! Whatever happens to the connection, the index ends where a fresh list ends.

use proptest::prelude::*;

use super::{
    bed::Bed,
    fake::{Fake, Streams},
    sample::{self, pod, uid},
};
use crate::cluster::Kind;

/// What happens in the cluster or to the connection.
#[derive(Debug, Clone)]
enum Step {
    Add(u32),
    Crash(u32, u32),
    Finish(u32),
    Delete(u32),
    Node(bool),
    Set(u32),
    DropSet,
    Cut(bool),
    Forget,
    Mute(bool),
    Refuse(bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let pod = 0..6_u32;
    prop_oneof![
        4 => pod.clone().prop_map(Step::Add),
        4 => (pod.clone(), 1..5_u32).prop_map(|(pod, restarts)| Step::Crash(pod, restarts)),
        1 => pod.clone().prop_map(Step::Finish),
        3 => pod.prop_map(Step::Delete),
        1 => any::<bool>().prop_map(Step::Node),
        1 => (1..9_u32).prop_map(Step::Set),
        1 => Just(Step::DropSet),
        2 => any::<bool>().prop_map(Step::Cut),
        2 => Just(Step::Forget),
        1 => any::<bool>().prop_map(Step::Mute),
        1 => any::<bool>().prop_map(Step::Refuse),
        3 => (0..400_u64).prop_map(Step::Wait),
    ]
}

impl Step {
    async fn take(&self, fake: &Fake) {
        match self {
            Self::Add(number) => fake.put("pods", pod(*number)),
            Self::Crash(number, restarts) => fake.put("pods", sample::crashed(*number, *restarts)),
            Self::Finish(number) => {
                let mut done = pod(*number);
                done["status"]["phase"] = "Succeeded".into();
                fake.put("pods", done);
            }
            Self::Delete(number) => fake.delete("pods", "shop", &format!("api-{number}")),
            Self::Node(ready) => fake.put("nodes", sample::node("node1", if *ready { "True" } else { "Unknown" })),
            Self::Set(revision) => fake.put(
                "replicasets",
                sample::replica_set("api-6f7", 9_001, Some(8_001), *revision),
            ),
            Self::DropSet => fake.delete("replicasets", "shop", "api-6f7"),
            Self::Cut(broken) => fake.cut(*broken),
            Self::Forget => fake.forget(),
            Self::Mute(mute) => fake.mute(*mute),
            Self::Refuse(refuse) => fake.with(|world| match refuse {
                true => drop(world.refusals.insert("pods".to_owned(), 503)),
                false => world.refusals.clear(),
            }),
            Self::Wait(secs) => tokio::time::sleep(std::time::Duration::from_secs(*secs)).await,
        }
    }
}

async fn converges(steps: Vec<Step>, streams: Streams) {
    let fake = Fake::new();
    fake.with(|world| world.streams = streams);
    let bed = Bed::new(&fake, &[]);
    for step in &steps {
        step.take(&fake).await;
    }
    fake.mute(false);
    fake.with(|world| world.refusals.clear());
    bed.until_live().await;
    bed.until("the index agrees with a fresh list", |bed| {
        bed.dump() == Bed::fresh(&bed.fake)
    })
    .await;
    let keys = bed.index.read(|state| state.pods.keys());
    assert!(keys <= 6 * 7, "keys of earlier states are left: {keys}");
    for number in 0..6 {
        let there = Bed::fresh(&fake).contains_key(&format!("pod {}", uid(number)));
        if let Some(pod) = bed.index.pod(&uid(number)) {
            assert_eq!(pod.gone.is_none(), there);
        }
    }
    assert!(bed.index.synced(Kind::Pods));
    bed.stop().await;
}

/// The stream showed it, and the pages that were read instead did not.
#[tokio::test(start_paused = true)]
async fn a_pod_that_finished_during_a_stream_without_an_end_is_not_left_over() {
    converges(vec![Step::Wait(1), Step::Add(1), Step::Finish(1)], Streams::Ignored).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_and_disconnects_ends_like_a_fresh_list(
        steps in proptest::collection::vec(step(), 0..40),
        streams in prop_oneof![Just(Streams::Given), Just(Streams::Refused), Just(Streams::Ignored)],
    ) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(converges(steps, streams));
    }
}
