//! An apiserver that knows tokens, pods and nodes, and answers as Kubernetes 1.34 was seen to: reviews with audiences and
//! the objects that a token is bound to, JSON errors, published keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{super::token::Token, signer::Signer};

/// The apiserver's clock, in seconds.
pub(in crate::ingest) const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://kubernetes.default.svc";
/// Key of `extra`.
const EXTRA: &str = "authentication.kubernetes.io/";
/// The validator allows this long after a deletion.
const LEEWAY: i64 = 60;

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ingest) enum Right {
    Review,
    Pods,
    Nodes,
    Keys,
}

pub(in crate::ingest) struct Cluster {
    pub signer: Signer,
    /// Pods by namespace and name.
    pub pods: BTreeMap<(String, String), Value>,
    /// Uid of each node.
    pub nodes: BTreeMap<String, String>,
    pub withheld: BTreeSet<Right>,
    /// Whether tokens carry their node.
    pub node_claims: bool,
    /// Answers nothing.
    pub hangs: bool,
    /// Answers `503` to everything.
    pub overloaded: bool,
    pub reviews: usize,
}

type Shared = Arc<Mutex<Cluster>>;
type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

pub(in crate::ingest) struct Apiserver {
    cluster: Shared,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Apiserver {
    /// With two nodes and a pod of the agent on each: `agent-1` on `node1`, `agent-2` on `node2`.
    pub async fn start(signer: Signer) -> Self {
        let cluster = Cluster {
            signer,
            pods: BTreeMap::new(),
            nodes: ["node1", "node2"]
                .map(|name| (name.to_owned(), format!("{name}-uid")))
                .into(),
            withheld: BTreeSet::new(),
            node_claims: true,
            hangs: false,
            overloaded: false,
            reviews: 0,
        };
        let cluster = Arc::new(Mutex::new(cluster));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(Arc::clone(&cluster));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let server = Self {
            cluster,
            address,
            serving,
        };
        for n in [1, 2] {
            server.run_pod(
                &format!("agent-{n}"),
                &format!("node{n}"),
                "inquest-agent",
                Some("inquest-agent"),
            );
        }
        server
    }

    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    pub fn client(&self) -> Client {
        inquest_shared::tls::install_provider();
        let mut config = Config::new(format!("http://{}", self.address).parse().unwrap());
        config.default_namespace = "inquest".to_owned();
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// Ends it: connections are refused from now on.
    pub async fn stop(&mut self) {
        self.serving.abort();
        drop((&mut self.serving).await);
        // Connections that are open already are served by tasks of their own.
        self.cluster().overloaded = true;
    }

    pub fn run_pod(&self, name: &str, node: &str, account: &str, daemonset: Option<&str>) {
        let owners = daemonset.map(|name| {
            json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": "d", "controller": true}])
        });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "inquest", "uid": format!("{name}-uid"), "ownerReferences": owners},
            "spec": {"nodeName": node, "serviceAccountName": account, "containers": []},
        });
        self.cluster().pods.insert(key(name), pod);
    }

    /// The token that the kubelet of the pod's node asks for.
    pub fn token(&self, pod: &str, audience: &str) -> String {
        let cluster = self.cluster();
        let claims = cluster.claims(pod, audience);
        cluster.signer.sign("k1", &claims)
    }

    /// A token with changed claims, signed by the cluster all the same.
    pub fn token_with(&self, pod: &str, change: impl FnOnce(&mut Value)) -> String {
        let cluster = self.cluster();
        let mut claims = cluster.claims(pod, "inquest-aggregator");
        change(&mut claims);
        cluster.signer.sign("k1", &claims)
    }
}

pub(in crate::ingest) fn key(pod: &str) -> (String, String) {
    ("inquest".to_owned(), pod.to_owned())
}

impl Cluster {
    fn claims(&self, name: &str, audience: &str) -> Value {
        let pod = &self.pods[&key(name)];
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
        let mut bound = json!({
            "namespace": "inquest",
            "pod": {"name": name, "uid": pod["metadata"]["uid"]},
            "serviceaccount": {"name": account, "uid": "s"},
        });
        if self.node_claims {
            let node = pod["spec"]["nodeName"].as_str().unwrap();
            bound["node"] = json!({"name": node, "uid": self.nodes[node]});
        }
        json!({
            "iss": ISSUER, "aud": [audience], "iat": NOW, "nbf": NOW, "exp": NOW + 600, "jti": "j",
            "sub": format!("system:serviceaccount:inquest:{account}"), "kubernetes.io": bound,
        })
    }

    /// The checks of the validator, in its order and words.
    fn validate(&self, text: &str, audiences: &[Value]) -> Result<Value, String> {
        let invalid = |why: &str| format!("[invalid bearer token, {why}]");
        let token = Token::parse(text).ok_or("invalid bearer token")?;
        let claims: Value = claims_of(text);
        if !self.signer.verifies(token.signed, &token.signature) {
            return Err("invalid bearer token".to_owned());
        }
        if claims["exp"].as_i64().is_none_or(|exp| exp <= NOW) {
            return Err(invalid("service account token has expired"));
        }
        let own: Vec<Value> = claims["aud"].as_array().cloned().unwrap_or_default();
        let common: Vec<&Value> = own.iter().filter(|one| audiences.contains(one)).collect();
        if common.is_empty() {
            let words = format!(
                "token audiences {} is invalid for the target audiences {}",
                claims["aud"],
                json!(audiences)
            );
            return Err(invalid(&words));
        }
        let bound = &claims["kubernetes.io"];
        let mut extra = json!({format!("{EXTRA}credential-id"): ["JTI=j"]});
        if let Some(name) = bound["pod"]["name"].as_str() {
            let pod = self
                .pods
                .get(&key(name))
                .ok_or_else(|| invalid("service account token has been invalidated"))?;
            let deleted: Option<i64> = pod["metadata"]["deletedAt"].as_i64();
            if deleted.is_some_and(|at| at < NOW - LEEWAY) {
                return Err(invalid("service account token has been invalidated"));
            }
            if pod["metadata"]["uid"] != bound["pod"]["uid"] {
                return Err(invalid("pod UID (a) does not match service account pod ref claim (b)"));
            }
            extra[format!("{EXTRA}pod-name")] = json!([name]);
            extra[format!("{EXTRA}pod-uid")] = json!([bound["pod"]["uid"]]);
        }
        if let Some(name) = bound["node"]["name"].as_str() {
            extra[format!("{EXTRA}node-name")] = json!([name]);
            extra[format!("{EXTRA}node-uid")] = json!([bound["node"]["uid"]]);
        }
        Ok(json!({
            "authenticated": true,
            "audiences": common,
            "user": {"username": claims["sub"], "uid": "s", "groups": ["system:serviceaccounts"], "extra": extra},
        }))
    }
}

fn claims_of(text: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = text.split('.').nth(1).unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap_or_default()).unwrap_or_default()
}

fn router(cluster: Shared) -> Router {
    Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
        .route("/api/v1/namespaces/{namespace}/pods/{name}", get(pod))
        .route("/api/v1/nodes/{name}", get(node))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/openid/v1/jwks", get(jwks))
        .with_state(cluster)
}

fn status(code: StatusCode, reason: &str) -> (StatusCode, Json<Value>) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    (code, Json(body))
}

async fn enter(cluster: &Shared, right: Right) -> Result<(), (StatusCode, Json<Value>)> {
    let (hangs, overloaded, withheld) = {
        let cluster = cluster.lock().unwrap();
        (cluster.hangs, cluster.overloaded, cluster.withheld.contains(&right))
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    if overloaded {
        return Err(status(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"));
    }
    if withheld {
        return Err(status(StatusCode::FORBIDDEN, "Forbidden"));
    }
    Ok(())
}

async fn review(State(cluster): State<Shared>, Json(question): Json<Value>) -> Answer {
    enter(&cluster, Right::Review).await?;
    let mut cluster = cluster.lock().unwrap();
    cluster.reviews += 1;
    let text = question["spec"]["token"].as_str().unwrap_or_default();
    let audiences = question["spec"]["audiences"].as_array().cloned().unwrap_or_default();
    let status = cluster
        .validate(text, &audiences)
        .unwrap_or_else(|error| json!({"user": {}, "error": error}));
    Ok(Json(json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {"creationTimestamp": null},
        "spec": question["spec"], "status": status,
    })))
}

async fn pod(State(cluster): State<Shared>, Path(at): Path<(String, String)>) -> Answer {
    enter(&cluster, Right::Pods).await?;
    let found = cluster.lock().unwrap().pods.get(&at).cloned();
    let mut pod = found.ok_or_else(|| status(StatusCode::NOT_FOUND, "NotFound"))?;
    if pod["metadata"]["deletedAt"].as_i64().is_some() {
        pod["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:00Z");
    }
    Ok(Json(pod))
}

async fn node(State(cluster): State<Shared>, Path(name): Path<String>) -> Answer {
    enter(&cluster, Right::Nodes).await?;
    let uid = cluster.lock().unwrap().nodes.get(&name).cloned();
    let uid = uid.ok_or_else(|| status(StatusCode::NOT_FOUND, "NotFound"))?;
    Ok(Json(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": uid}}),
    ))
}

async fn discovery(State(cluster): State<Shared>) -> Answer {
    enter(&cluster, Right::Keys).await?;
    Ok(Json(
        json!({"issuer": ISSUER, "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks"}),
    ))
}

async fn jwks(State(cluster): State<Shared>) -> Answer {
    enter(&cluster, Right::Keys).await?;
    let key = cluster.lock().unwrap().signer.jwk("k1");
    Ok(Json(json!({"keys": [key]})))
}
