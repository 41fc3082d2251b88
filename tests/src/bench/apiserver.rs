//! The apiserver of a large cluster that was made up, in a process of its own.
//!
//! Owns how it answers: pods and nodes as the beginning of a watch (KEP-3157, as every apiserver since 1.34 does), all other
//! collections empty, and then silence. It sends as fast as the other side reads, and remembers when the last byte went.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use inquest_shared::testkit::Crowd;
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt as _;

use super::helper::{self, Helper};
use crate::monotonic_nanos;

/// Objects that are written at once.
const AT_ONCE: usize = 32;
/// What ends a list that is a stream.
const MARK: &str = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"100","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
const NOTHING: &str = r#"{"metadata":{"resourceVersion":"100"},"items":[]}"#;

/// What was sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Complete lists of pods or nodes.
    pub(super) lists: u64,
    /// When the last of them ended, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) last: u64,
    pub(super) bytes: u64,
}

/// What the cluster has, and the counters behind [`Sent`].
struct World {
    crowd: Crowd,
    pods: usize,
    nodes: usize,
    lists: AtomicU64,
    last: AtomicU64,
    bytes: AtomicU64,
}

impl World {
    fn sent(&self) -> Sent {
        Sent {
            lists: self.lists.load(Ordering::Acquire),
            last: self.last.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Objects of a collection, as lines of a watch.
    fn lines(&self, pods: bool, from: usize) -> Bytes {
        let (all, object): (usize, &dyn Fn(usize) -> String) = match pods {
            true => (self.pods, &|number| self.crowd.pod(number)),
            false => (self.nodes, &|number| self.crowd.node(number)),
        };
        let mut lines = String::new();
        for number in (from..all).take(AT_ONCE) {
            lines += r#"{"type":"ADDED","object":"#;
            lines += &object(number);
            lines += "}\n";
        }
        self.bytes
            .fetch_add(u64::try_from(lines.len()).unwrap_or(0), Ordering::Relaxed);
        lines.into()
    }

    /// The end of a list.
    fn mark(&self, counts: bool) -> Bytes {
        if counts {
            self.last.store(monotonic_nanos(), Ordering::Relaxed);
            self.lists.fetch_add(1, Ordering::Release);
        }
        format!("{MARK}\n").into()
    }
}

/// The child: serves until the bench is gone.
///
/// # Errors
/// When it cannot listen, or the pipe breaks.
pub(super) fn serve(pods: usize, nodes: usize) -> Result<()> {
    let world = Arc::new(World {
        crowd: Crowd::new(nodes),
        pods,
        nodes,
        lists: AtomicU64::new(0),
        last: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let app = Router::new().fallback(answer).with_state(Arc::clone(&world));
    runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await });
    helper::answer(&port.to_string(), || Ok(vec![serde_json::to_string(&world.sent())?]))
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    if !query.contains("watch=true") {
        return Response::new(Body::from(NOTHING));
    }
    if !query.contains("sendInitialEvents") {
        return Response::new(Body::from_stream(tokio_stream::pending::<Result<Bytes, Infallible>>()));
    }
    let path = request.uri().path();
    let pods = path.ends_with("/pods");
    let count = match (pods, path.ends_with("/nodes")) {
        (true, _) => world.pods,
        (_, true) => world.nodes,
        _ => 0,
    };
    let ours = Arc::clone(&world);
    let objects = tokio_stream::iter((0..count).step_by(AT_ONCE)).map(move |from| ours.lines(pods, from));
    let end = tokio_stream::iter(std::iter::once(())).map(move |()| world.mark(count > 0));
    let all = objects.chain(end).chain(tokio_stream::pending());
    Response::new(Body::from_stream(all.map(Ok::<_, Infallible>)))
}

/// The bench's end. The child ends with it.
pub(super) struct Apiserver {
    port: String,
    helper: Helper,
}

impl Apiserver {
    /// Starts one with so many pods and nodes.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn start(pods: usize, nodes: usize) -> Result<Self> {
        let (helper, port) = Helper::start(&["apiserver", &pods.to_string(), &nodes.to_string()])?;
        Ok(Self { port, helper })
    }

    /// How to reach it, as a kubeconfig.
    pub(super) fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{}\"}}}}]\n\
             users: [{{name: u, user: {{}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
            self.port
        )
    }

    /// What it has sent.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn sent(&mut self) -> Result<Sent> {
        let lines = self.helper.ask()?;
        let line = lines.first().context("the apiserver does not answer")?;
        serde_json::from_str(line).context("the apiserver talks nonsense")
    }
}
