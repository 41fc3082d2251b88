//! Stands between an agent and a real runtime on a unix socket, passes every call on and keeps its name. What the agent asks
//! a runtime for is seen as the runtime sees it.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{ServiceExt as _, service_fn};

/// A running recorder; it ends when it is dropped.
#[derive(Debug)]
pub struct CallRecorder {
    calls: Arc<Mutex<BTreeSet<String>>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Passing {
    calls: Arc<Mutex<BTreeSet<String>>>,
    runtime: Channel,
}

impl CallRecorder {
    /// Listens on `socket` for `runtime`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path, runtime: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let target = runtime.to_owned();
        let connect = service_fn(move |_: Uri| {
            let target = target.clone();
            async move { UnixStream::connect(target).await.map(TokioIo::new) }
        });
        let calls = Arc::<Mutex<BTreeSet<String>>>::default();
        let passing = Passing {
            calls: Arc::clone(&calls),
            runtime: Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect),
        };
        let router = Router::new().fallback(pass).with_state(passing);
        let server = tokio::spawn(async move {
            // Ends only with the task.
            axum::serve(listener, router).await.unwrap_or_default();
        });
        Ok(Self { calls, server })
    }

    /// Names of all calls so far, for instance `/runtime.v1.RuntimeService/Version`.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for CallRecorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(passing): State<Passing>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    passing
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(path);
    match passing.runtime.oneshot(request.map(tonic::body::Body::new)).await {
        Ok(answer) => answer.map(axum::body::Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
