//! Enrolment by token through the real door.

use std::{sync::Arc, time::Duration};

use inquest_proto::ingest::v1::{EnrolRequest, EnrolResponse, enrol_request::Proof};
use inquest_shared::{
    clock::{Clock as _, SystemClock, UnixNanos},
    telemetry::Registry,
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tonic::{Code, Status};

use super::super::{
    enrol::tests::{apiserver::Apiserver, signer::Signer},
    *,
};
use super::world::{Pems, World};
use crate::pipeline::tests::sample::crash;

/// After every clock of this test.
const FAR: u64 = 4_000_000_000;

async fn world() -> (Apiserver, Arc<Tokens>, World) {
    let server = Apiserver::start(Signer::es256()).await;
    let rules = TokenRules {
        audience: "inquest-aggregator".to_owned(),
        namespace: "inquest".to_owned(),
        service_account: "inquest-agent".to_owned(),
        daemonset: Some("inquest-agent".to_owned()),
    };
    let reviewer = Arc::new(KubeReviewer(server.client()));
    let tokens = Arc::new(Tokens::new(rules, reviewer, None, &Registry::new("test", "0")));
    let world = World::with_tokens(Arc::clone(&tokens)).await;
    (server, tokens, world)
}

/// Asks for the name of another node and gives the key's certificate.
async fn enrol(world: &World, token: String) -> Result<(EnrolResponse, Pems), Status> {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let request = EnrolRequest {
        proof: Some(Proof::ServiceAccountToken(token)),
        certificate_request_pem: request.pem().unwrap(),
        node_name: "node2".to_owned(),
        host_id: "node2-uid".to_owned(),
        agent_version: "1".to_owned(),
    };
    let answer = world.client(None).await.unwrap().0.enrol(request).await?.into_inner();
    let pems = (answer.certificate_chain_pem.clone(), key.serialize_pem());
    Ok((answer, pems))
}

#[tokio::test]
async fn findings_are_stored_under_the_node_of_the_token_whatever_the_agent_calls_itself() {
    let (server, _tokens, world) = world().await;
    let token = server.token("agent-1", "inquest-aggregator");
    let (answer, pems) = enrol(&world, token).await.unwrap();
    assert_eq!(
        (
            answer.cluster.as_str(),
            answer.node_name.as_str(),
            answer.node_uid.as_str()
        ),
        ("c1", "node1", "node1-uid")
    );
    let mut talk = world.client(Some(&pems)).await.unwrap().talk(1).await;
    talk.send(1, &crash("web", 1)).await;
    talk.acked(1).await;
    let disk = world.memory().disk();
    let stored = &disk.occurrences.values().next().unwrap().node;
    assert_eq!((stored.name.as_str(), stored.uid.as_str()), ("node1", "node1-uid"));
}

#[tokio::test]
async fn a_certificate_given_without_the_apiserver_lives_ten_minutes() {
    let (mut server, tokens, world) = world().await;
    assert!(tokens.fetch_keys().await);
    let token = server.token_with("agent-1", |claims| claims["exp"] = json!(FAR));
    server.stop().await;
    let (answer, pems) = enrol(&world, token).await.unwrap();
    let life = UnixNanos(answer.not_after_ns).since(SystemClock.now());
    assert!(
        life <= Duration::from_secs(600) && life > Duration::from_secs(500),
        "{life:?}"
    );
    assert!(world.metric("inquest_enrolments_offline_total 1"));
    world.client(Some(&pems)).await.unwrap().talk(1).await;
}

#[tokio::test]
async fn refused_tokens_have_codes_and_counts_that_tell_them_apart() {
    let (server, _tokens, world) = world().await;
    server.run_pod("by-hand", "node1", "inquest-agent", None);
    let audience = "inquest-aggregator";
    let far = |pod: &str, aud: &str| server.token_with(pod, |c| (c["exp"], c["aud"]) = (json!(FAR), json!([aud])));
    let cases = [
        (far("agent-1", "other"), Code::Unauthenticated, "wrong_audience"),
        (far("by-hand", audience), Code::PermissionDenied, "hand_made_pod"),
        ("x".repeat(9_000), Code::InvalidArgument, ""),
    ];
    for (token, code, reason) in cases {
        let refused = enrol(&world, token).await.unwrap_err();
        assert_eq!(refused.code(), code, "{}", refused.message());
        let line = format!("inquest_enrolments_refused_total{{reason=\"{reason}\"}} 1");
        assert!(reason.is_empty() || world.metric(&line), "{line}");
    }
    server.cluster().overloaded = true;
    let refused = enrol(&world, far("agent-1", audience)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "worth another try");
    assert!(world.memory().disk().nodes.is_empty());
}

/// Whoever has no token must not make us press on the apiserver.
#[tokio::test]
async fn a_stranger_with_wrong_tokens_is_soon_not_reviewed_any_more() {
    let (server, _tokens, world) = world().await;
    let mut codes = Vec::new();
    for _ in 0..80 {
        codes.push(enrol(&world, "no.token.atall".to_owned()).await.unwrap_err().code());
    }
    assert_eq!(codes.first(), Some(&Code::Unauthenticated));
    assert_eq!(codes.last(), Some(&Code::ResourceExhausted));
    assert!(server.cluster().reviews < 80);
}
