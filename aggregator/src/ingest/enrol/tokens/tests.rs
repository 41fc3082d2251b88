use serde_json::json;

use super::{
    super::{
        KubeReviewer,
        review::Owner,
        tests::{
            apiserver::{Apiserver, NOW, Right, key},
            signer::Signer,
        },
    },
    *,
};

const AUDIENCE: &str = "inquest-aggregator";
const AT: UnixNanos = UnixNanos::from_secs(NOW);

fn tokens(server: &Apiserver, pods: Option<Arc<dyn PodIndex>>) -> Tokens {
    let rules = TokenRules {
        audience: AUDIENCE.to_owned(),
        namespace: "inquest".to_owned(),
        service_account: "inquest-agent".to_owned(),
        daemonset: Some("inquest-agent".to_owned()),
    };
    let reviewer = Arc::new(KubeReviewer(server.client()));
    Tokens::new(rules, reviewer, pods, &Registry::new("test", "0"))
}

async fn world() -> (Apiserver, Tokens) {
    let server = Apiserver::start(Signer::es256()).await;
    let tokens = tokens(&server, None);
    (server, tokens)
}

fn node(n: u8, offline: bool) -> Result<Proved, Refusal> {
    Ok(Proved {
        name: format!("node{n}"),
        uid: format!("node{n}-uid"),
        offline,
    })
}

#[tokio::test]
async fn the_agent_of_each_node_gets_the_name_and_uid_of_that_node() {
    let (server, tokens) = world().await;
    for n in [1, 2] {
        let token = server.token(&format!("agent-{n}"), AUDIENCE);
        assert_eq!(tokens.admit(&token, AT).await, node(n, false));
    }
}

#[tokio::test]
async fn each_foreign_token_is_refused_for_its_own_reason() {
    let (server, tokens) = world().await;
    server.run_pod("other", "node1", "default", Some("inquest-agent"));
    server.run_pod("by-hand", "node1", "inquest-agent", None);
    server.run_pod("leaving", "node1", "inquest-agent", Some("inquest-agent"));
    server.run_pod("moved", "node1", "inquest-agent", Some("inquest-agent"));
    server.run_pod("gone", "node1", "inquest-agent", Some("inquest-agent"));
    let [leaving, moved, gone] = ["leaving", "moved", "gone"].map(|pod| server.token(pod, AUDIENCE));
    {
        let pods = &mut server.cluster().pods;
        pods.get_mut(&key("leaving")).unwrap()["metadata"]["deletedAt"] = json!(NOW - 5);
        pods.get_mut(&key("moved")).unwrap()["spec"]["nodeName"] = json!("node2");
        pods.remove(&key("gone"));
    }
    let unbound = |objects: &'static [&'static str]| {
        server.token_with("agent-1", |claims| {
            for object in objects {
                claims["kubernetes.io"][object].take();
            }
        })
    };
    let cases = [
        (
            server.token("agent-1", "https://kubernetes.default.svc"),
            Refusal::WrongAudience,
        ),
        (server.token("other", AUDIENCE), Refusal::OtherServiceAccount),
        (
            server.token_with("agent-1", |claims| claims["exp"] = json!(NOW)),
            Refusal::ExpiredToken,
        ),
        (
            Signer::es256().sign("k1", &json!({"aud": AUDIENCE, "exp": NOW + 9})),
            Refusal::InvalidToken,
        ),
        ("no token".to_owned(), Refusal::InvalidToken),
        (unbound(&["pod"]), Refusal::NoPodClaim),
        (unbound(&["pod", "node"]), Refusal::NoNodeClaim),
        (server.token("by-hand", AUDIENCE), Refusal::HandMadePod),
        (leaving, Refusal::DeletedPod),
        (moved, Refusal::ForeignNode),
        (gone, Refusal::DeletedPod),
    ];
    for (token, refusal) in cases {
        assert_eq!(tokens.admit(&token, AT).await, Err(refusal));
    }
}

/// Two of the same name: the token is of the one before.
#[tokio::test]
async fn the_token_of_a_pod_that_was_replaced_is_refused() {
    let (server, tokens) = world().await;
    let before = server.token("agent-1", AUDIENCE);
    server.cluster().pods.get_mut(&key("agent-1")).unwrap()["metadata"]["uid"] = json!("another");
    assert_eq!(tokens.admit(&before, AT).await, Err(Refusal::DeletedPod));
}

#[tokio::test]
async fn on_a_cluster_without_node_claims_the_pod_leads_to_the_node() {
    let (server, tokens) = world().await;
    server.cluster().node_claims = false;
    let token = server.token("agent-2", AUDIENCE);
    assert_eq!(tokens.admit(&token, AT).await, node(2, false));
    server.cluster().nodes.remove("node2");
    assert_eq!(tokens.admit(&token, AT).await, Err(Refusal::NoNodeClaim));
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let cases = [
        (
            Right::Review,
            "create tokenreviews in the API group authentication.k8s.io",
        ),
        (Right::Pods, "get pods in the agents' namespace"),
        (Right::Nodes, "get nodes"),
    ];
    for (right, rule) in cases {
        let (server, tokens) = world().await;
        tokens.fetch_keys().await;
        server.cluster().node_claims = false;
        server.cluster().withheld.insert(right);
        let refused = tokens.admit(&server.token("agent-1", AUDIENCE), AT).await.unwrap_err();
        assert_eq!(
            refused,
            Refusal::ReviewForbidden(rule),
            "the cached keys do not stand in for a right"
        );
        assert!(refused.to_string().contains(rule), "{refused}");
    }
}

#[tokio::test]
async fn with_the_apiserver_away_cached_keys_admit_and_without_them_nobody_is() {
    for signer in [Signer::es256(), Signer::rs256()] {
        let mut server = Apiserver::start(signer).await;
        let (cached, empty) = (tokens(&server, None), tokens(&server, None));
        assert!(cached.fetch_keys().await);
        let token = server.token("agent-1", AUDIENCE);
        let foreign = server.token("agent-1", "other");
        let nodeless = server.token_with("agent-1", |claims| drop(claims["kubernetes.io"]["node"].take()));
        server.stop().await;
        assert_eq!(cached.admit(&token, AT).await, node(1, true));
        assert_eq!(empty.admit(&token, AT).await, Err(Refusal::ReviewUnavailable));
        assert_eq!(cached.admit(&foreign, AT).await, Err(Refusal::WrongAudience));
        assert_eq!(cached.admit(&nodeless, AT).await, Err(Refusal::NoNodeClaim));
        let later = UnixNanos::from_secs(NOW + 600);
        assert_eq!(cached.admit(&token, later).await, Err(Refusal::ExpiredToken));
        assert!(!cached.fetch_keys().await, "what is cached stays");
        assert_eq!(cached.admit(&token, AT).await, node(1, true));
    }
}

#[tokio::test]
async fn an_overloaded_apiserver_counts_as_away() {
    let (server, tokens) = world().await;
    tokens.fetch_keys().await;
    server.cluster().overloaded = true;
    let token = server.token("agent-1", AUDIENCE);
    assert_eq!(tokens.admit(&token, AT).await, node(1, true));
}

/// An enrolment has five seconds in all; an answer after that helps nobody.
#[tokio::test(start_paused = true)]
async fn an_apiserver_that_says_nothing_is_given_up_within_the_time_of_an_enrolment() {
    let (server, tokens) = world().await;
    server.cluster().hangs = true;
    let begun = tokio::time::Instant::now();
    let refused = tokens.admit(&server.token("agent-1", AUDIENCE), AT).await;
    assert_eq!(refused, Err(Refusal::ReviewUnavailable));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// What a watch knows; the apiserver is then not asked for the pod.
struct Index(PodLookup);

impl PodIndex for Index {
    fn pod(&self, _uid: &str) -> PodLookup {
        self.0.clone()
    }
}

fn indexed(node: &str) -> PodLookup {
    PodLookup::Present {
        node: node.to_owned(),
        namespace: "inquest".to_owned(),
        service_account: Some("inquest-agent".to_owned()),
        owner: Some(Owner {
            kind: "DaemonSet".to_owned(),
            name: "inquest-agent".to_owned(),
        }),
    }
}

#[tokio::test]
async fn the_index_answers_for_pods_and_the_apiserver_for_those_that_it_does_not_know_yet() {
    let server = Apiserver::start(Signer::es256()).await;
    let token = server.token("agent-1", AUDIENCE);
    let with = |lookup| tokens(&server, Some(Arc::new(Index(lookup))));
    for behind in [PodLookup::NotSynced, PodLookup::Unknown] {
        assert_eq!(with(behind).admit(&token, AT).await, node(1, false));
    }
    server.cluster().withheld.insert(Right::Pods);
    assert_eq!(with(indexed("node1")).admit(&token, AT).await, node(1, false));
    assert_eq!(
        with(indexed("node2")).admit(&token, AT).await,
        Err(Refusal::ForeignNode)
    );
    let deleted = PodLookup::Deleted {
        node: "node1".to_owned(),
    };
    assert_eq!(with(deleted).admit(&token, AT).await, Err(Refusal::DeletedPod));
}

/// The signature says what was true when the token was made, the index what is true since.
#[tokio::test]
async fn without_an_apiserver_the_index_still_refuses_a_pod_that_it_knows_better() {
    let mut server = Apiserver::start(Signer::es256()).await;
    let token = server.token("agent-1", AUDIENCE);
    let mut all = Vec::new();
    for lookup in [
        indexed("node1"),
        indexed("node2"),
        PodLookup::Unknown,
        PodLookup::NotSynced,
    ] {
        let tokens = tokens(&server, Some(Arc::new(Index(lookup))));
        assert!(tokens.fetch_keys().await);
        all.push(tokens);
    }
    server.stop().await;
    let mut seen = Vec::new();
    for tokens in all {
        seen.push(tokens.admit(&token, AT).await);
    }
    let expected = [
        node(1, true),
        Err(Refusal::ForeignNode),
        Err(Refusal::UnknownPod),
        node(1, true),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn many_tokens_at_once_are_all_reviewed() {
    let (server, tokens) = world().await;
    let token = server.token("agent-1", AUDIENCE);
    let all = futures::future::join_all((0..200).map(|_| tokens.admit(&token, AT))).await;
    assert!(all.iter().all(|one| *one == node(1, false)));
    assert_eq!(server.cluster().reviews, 200);
    assert_eq!(tokens.places.available_permits(), REVIEWS_AT_ONCE);
}
