use super::*;

fn rules() -> TokenRules {
    TokenRules {
        audience: "inquest-aggregator".to_owned(),
        namespace: "inquest".to_owned(),
        service_account: "inquest-agent".to_owned(),
        daemonset: Some("inquest-agent".to_owned()),
    }
}

fn bound(name: &str) -> Bound {
    Bound {
        name: name.to_owned(),
        uid: format!("{name}-uid"),
    }
}

fn review() -> Review {
    Review {
        authenticated: true,
        audiences: vec!["inquest-aggregator".to_owned()],
        username: "system:serviceaccount:inquest:inquest-agent".to_owned(),
        node: Some(bound("node1")),
        pod: Some(bound("agent-x")),
        error: String::new(),
    }
}

fn owner(kind: &str, name: &str) -> Option<Owner> {
    Some(Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
    })
}

fn pod(node: &str, namespace: &str, account: Option<&str>, owner: Option<Owner>) -> PodLookup {
    PodLookup::Present {
        node: node.to_owned(),
        namespace: namespace.to_owned(),
        service_account: account.map(str::to_owned),
        owner,
    }
}

fn ours() -> PodLookup {
    pod(
        "node1",
        "inquest",
        Some("inquest-agent"),
        owner("DaemonSet", "inquest-agent"),
    )
}

fn judge(rules: &TokenRules, review: &Review, pod: &PodLookup) -> Result<Place, Refusal> {
    rules.holder(review)?;
    rules.place(review, pod)
}

#[test]
fn the_token_of_our_pod_speaks_for_the_node_in_its_claims() {
    let place = judge(&rules(), &review(), &ours()).unwrap();
    assert_eq!(
        (place.node.as_str(), place.uid.as_deref()),
        ("node1", Some("node1-uid"))
    );
}

/// Clusters before 1.30 write no node into tokens; the pod says where it runs.
#[test]
fn without_a_node_claim_the_pod_says_the_node() {
    let older = Review { node: None, ..review() };
    let place = judge(&rules(), &older, &ours()).unwrap();
    assert_eq!((place.node.as_str(), place.uid), ("node1", None));
}

#[test]
fn every_token_that_is_not_of_our_pod_is_refused_for_its_own_reason() {
    let with = |change: fn(&mut Review)| {
        let mut review = review();
        change(&mut review);
        review
    };
    let account = Some("inquest-agent");
    let cases: [(Review, PodLookup, Refusal); 16] = [
        (with(|r| r.authenticated = false), ours(), Refusal::InvalidToken),
        (with(|r| r.audiences.clear()), ours(), Refusal::WrongAudience),
        (
            with(|r| r.audiences = vec!["other".into()]),
            ours(),
            Refusal::WrongAudience,
        ),
        (with(|r| r.username.push('2')), ours(), Refusal::OtherServiceAccount),
        (
            with(|r| r.username = "system:node:node1".into()),
            ours(),
            Refusal::OtherServiceAccount,
        ),
        (with(|r| r.pod = None), ours(), Refusal::NoPodClaim),
        (with(|r| (r.pod, r.node) = (None, None)), ours(), Refusal::NoNodeClaim),
        (
            with(|r| r.node = None),
            pod("", "inquest", account, owner("DaemonSet", "inquest-agent")),
            Refusal::NoNodeClaim,
        ),
        (review(), PodLookup::NotSynced, Refusal::ReviewUnavailable),
        (review(), PodLookup::Unknown, Refusal::UnknownPod),
        (
            review(),
            PodLookup::Deleted { node: "node1".into() },
            Refusal::DeletedPod,
        ),
        (
            review(),
            pod("node2", "inquest", account, owner("DaemonSet", "inquest-agent")),
            Refusal::ForeignNode,
        ),
        (
            review(),
            pod("node1", "elsewhere", account, owner("DaemonSet", "inquest-agent")),
            Refusal::OtherServiceAccount,
        ),
        (
            review(),
            pod("node1", "inquest", Some("default"), owner("DaemonSet", "inquest-agent")),
            Refusal::OtherServiceAccount,
        ),
        (review(), pod("node1", "inquest", account, None), Refusal::HandMadePod),
        (
            review(),
            pod("node1", "inquest", account, owner("ReplicaSet", "inquest-agent")),
            Refusal::HandMadePod,
        ),
    ];
    for (review, pod, refusal) in cases {
        assert_eq!(judge(&rules(), &review, &pod), Err(refusal), "{review:?} {pod:?}");
    }
}

#[test]
fn a_hand_made_pod_is_taken_only_where_the_owner_is_not_asked_for() {
    let open = TokenRules {
        daemonset: None,
        ..rules()
    };
    let hand_made = pod("node1", "inquest", None, None);
    assert!(judge(&open, &review(), &hand_made).is_ok());
    assert_eq!(judge(&rules(), &review(), &hand_made), Err(Refusal::HandMadePod));
}

#[test]
fn every_refusal_by_token_has_a_label_of_its_own() {
    let all = [
        Refusal::TokensNotConfigured,
        Refusal::ReviewUnavailable,
        Refusal::ReviewForbidden("x"),
        Refusal::InvalidToken,
        Refusal::ExpiredToken,
        Refusal::WrongAudience,
        Refusal::OtherServiceAccount,
        Refusal::NoNodeClaim,
        Refusal::NoPodClaim,
        Refusal::UnknownPod,
        Refusal::DeletedPod,
        Refusal::ForeignNode,
        Refusal::HandMadePod,
    ];
    let labels: std::collections::BTreeSet<_> = all.iter().map(|refusal| refusal.label()).collect();
    assert_eq!(labels.len(), all.len());
}

proptest::proptest! {
    /// Whatever an apiserver, an index or a forger says: who is admitted has our audience, our account, our owner, and a
    /// pod on the node that it is admitted for.
    #[test]
    fn nobody_is_admitted_for_a_node_that_its_pod_does_not_run_on(
        authenticated: bool,
        audience in "inquest-aggregator|other",
        username in "system:serviceaccount:inquest:(inquest-agent|other)",
        claimed in "node[12]",
        has_node: bool,
        has_pod: bool,
        runs_on in "(node[12])?",
        controller in "inquest-agent|other",
    ) {
        let review = Review {
            authenticated,
            audiences: vec![audience.clone()],
            username: username.clone(),
            node: has_node.then(|| bound(&claimed)),
            pod: has_pod.then(|| bound("agent-x")),
            error: String::new(),
        };
        let pod = pod(&runs_on, "inquest", None, owner("DaemonSet", &controller));
        if let Ok(place) = judge(&rules(), &review, &pod) {
            proptest::prop_assert!(authenticated && has_pod && audience == "inquest-aggregator");
            proptest::prop_assert!(username.ends_with(":inquest-agent") && controller == "inquest-agent");
            proptest::prop_assert_eq!(&place.node, &runs_on);
            proptest::prop_assert!(place.uid.is_none() != has_node && (!has_node || claimed == runs_on));
        }
    }
}
