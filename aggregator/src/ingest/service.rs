//! The gRPC service of port 7440 and its server.
//!
//! Owns TLS, limits and who may call what: without a client certificate only enrolment.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::Stream;
use inquest_proto::ingest::v1::{
    EnrolRequest, EnrolResponse, ReportRequest, ReportResponse, SendLogsRequest, SendLogsResponse,
    enrol_request::Proof,
    ingest_service_server::{IngestService, IngestServiceServer},
};
use inquest_shared::{clock::Clock, config::KeepAlive};
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tower::layer::layer_fn;

use super::{
    Admitted, Authority, AuthorityError, Enrolment, IngestMetrics, Nodes, Peer, Refusal, ServerIdentity, TlsSetupError,
    guesses::Guesses,
    handshake, logs,
    metrics::Reason,
    report,
    visitor::{StrangersOnlyEnrol, Visitor, arrivals},
};
use crate::{
    correlate::Correlation,
    door::{Budget, Door, Limits, Source},
    pipeline::Intake,
    store::Store,
};

/// Largest message.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Time for an enrolment from its first byte to the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of the headers of a request; those of an agent are some 200.
const MAX_HEADERS: u32 = 8 * 1024;
/// Limits of the listener. Twice as many connections as one aggregator is meant for nodes. A thousand strangers of one
/// network at once let all agents behind one address translation come back together. A failure costs a handshake, some
/// half a millisecond of processor time; ten a second of one network is what probes of load balancers need.
pub const LIMITS: Limits = Limits {
    connections: 10_000,
    pending: 4_096,
    pending_per_source: 1_024,
    failures: Some(Budget {
        burst: 512,
        refill: Duration::from_millis(100),
    }),
    proof: Duration::from_secs(5),
    idle: None,
};
/// What a peer may send ahead on one stream and one connection before we read it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Streams at once on one connection; an agent needs two.
const MAX_STREAMS: u32 = 16;
/// Answers that wait for a slow peer.
const ANSWERS: usize = 4;
/// Log chunks that are written at once; findings share the writer of the store with them.
const LOG_WRITERS: usize = 2;
/// After the stop signal connections have this long to end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Everything that ingest works with.
pub struct Ingest {
    /// Signs certificates.
    pub authority: Authority,
    /// Rules of admission.
    pub enrolment: Enrolment,
    /// Marks, logs and nodes.
    pub store: Arc<dyn Store>,
    /// The writer.
    pub intake: Intake,
    /// Adds what Kubernetes knows.
    pub correlation: Correlation,
    /// Live view of nodes.
    pub nodes: Nodes,
    /// The aggregator's clock.
    pub clock: Arc<dyn Clock>,
    /// Name of this aggregator.
    pub server_id: String,
    /// Its numbers.
    pub metrics: IngestMetrics,
    /// When a silent connection is asked whether it still lives, and closed when it does not answer.
    pub keep_alive: KeepAlive,
}

/// Why the server could not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Key or certificate were not taken; the same ones fail again.
    #[error("the server certificate is not usable")]
    Tls(#[from] TlsSetupError),
    /// The listener failed; starting again may help.
    #[error("the ingest listener failed")]
    Listener(#[source] tonic::transport::Error),
}

/// What the handlers share.
pub(super) struct Shared {
    pub ingest: Ingest,
    pub stop: CancellationToken,
    pub log_writers: Semaphore,
    guesses: Mutex<Guesses>,
    wrong_tokens: Mutex<Guesses>,
}

struct Service {
    shared: Arc<Shared>,
    streams: TaskTracker,
}

/// Serves agents until `stop` is cancelled; then open streams end with a status that tells agents to come back.
///
/// # Errors
/// [`ServeError`]
pub async fn serve(
    door: Door,
    tls: &ServerIdentity,
    ingest: Ingest,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let tls = TlsAcceptor::from(Arc::new(handshake::config(tls, ingest.authority.cert_pem())?));
    let keep_alive = ingest.keep_alive;
    let shared = Arc::new(Shared {
        ingest,
        stop: stop.clone(),
        log_writers: Semaphore::new(LOG_WRITERS),
        guesses: Mutex::new(Guesses::of_secrets()),
        wrong_tokens: Mutex::new(Guesses::of_tokens()),
    });
    let streams = TaskTracker::new();
    let service = IngestServiceServer::new(Service {
        shared,
        streams: streams.clone(),
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let server = server(keep_alive)
        .layer(layer_fn(StrangersOnlyEnrol))
        .add_service(service);
    let incoming = arrivals(door, tls, stop.clone(), &streams);
    let serving = server.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let result = tokio::select! {
        result = serving => result.map_err(ServeError::Listener),
        () = async { stop.cancelled().await; tokio::time::sleep(STOP_PATIENCE).await } => Ok(()),
    };
    streams.close();
    if timeout(STOP_PATIENCE, streams.wait()).await.is_err() {
        tracing::warn!(streams = streams.len(), "streams did not end in time");
    }
    result
}

fn server(keep_alive: KeepAlive) -> Server {
    Server::builder()
        .timeout(PATIENCE)
        .http2_keepalive_interval(Some(keep_alive.interval.get()))
        .http2_keepalive_timeout(Some(keep_alive.timeout.get()))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl IngestService for Service {
    type ReportStream = Answers<ReportResponse>;
    type SendLogsStream = Answers<SendLogsResponse>;

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let Ingest {
            enrolment,
            store,
            clock,
            metrics,
            ..
        } = &self.shared.ingest;
        let visitor = visitor(&request)?;
        let request = request.into_inner();
        let admitted = self
            .admit(enrolment, &request, &visitor)
            .await
            .map_err(|refusal| refused(metrics, refusal))?;
        let node = &admitted.node;
        let seated = self.shared.ingest.nodes.admit(node, clock.now());
        seated.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        let answer = self.certify(&request, &admitted)?;
        if let Err(error) = store.put_node(node, clock.now()).await {
            tracing::warn!(node = node.name, %error, "an enrolment was not stored");
            return Err(Status::unavailable(
                "the store does not take the enrolment now: try again",
            ));
        }
        visitor.pass.prove();
        metrics.enrolled.inc();
        if admitted.offline {
            metrics.enrolled_offline.inc();
        }
        tracing::info!(node = node.name, uid = node.uid, "a node enrolled");
        Ok(Response::new(answer))
    }

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let (peer, visitor) = peer(&request)?;
        let (answers, answered) = mpsc::channel(ANSWERS);
        let shared = Arc::clone(&self.shared);
        self.streams
            .spawn(report::serve(shared, peer, visitor, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }

    async fn send_logs(
        &self,
        request: Request<Streaming<SendLogsRequest>>,
    ) -> Result<Response<Self::SendLogsStream>, Status> {
        let (peer, visitor) = peer(&request)?;
        let (answers, answered) = mpsc::channel(ANSWERS);
        let shared = Arc::clone(&self.shared);
        self.streams
            .spawn(logs::serve(shared, peer, visitor, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }
}

impl Service {
    /// The identity that the request has proved, unless too many wrong proofs came from there.
    async fn admit(
        &self,
        enrolment: &Enrolment,
        request: &EnrolRequest,
        visitor: &Visitor,
    ) -> Result<Admitted, Refusal> {
        let source = Source::of(visitor.address);
        let by_token = matches!(request.proof, Some(Proof::ServiceAccountToken(_)));
        let wrong = if by_token {
            &self.shared.wrong_tokens
        } else {
            &self.shared.guesses
        };
        let guesses = || wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !guesses().may_try(source, Instant::now()) {
            return Err(Refusal::TooManyWrong);
        }
        let admitted = enrolment.admit(request, self.shared.ingest.clock.now()).await;
        if admitted.as_ref().is_err_and(|refusal| refusal.is_guess()) {
            guesses().wrong(source, Instant::now());
        }
        admitted
    }

    fn certify(&self, request: &EnrolRequest, admitted: &Admitted) -> Result<EnrolResponse, Status> {
        let Admitted { node, ttl, .. } = admitted;
        let Ingest {
            authority,
            clock,
            server_id,
            metrics,
            ..
        } = &self.shared.ingest;
        let signed = authority.sign(&request.certificate_request_pem, node, clock.now(), *ttl);
        let signed = signed.map_err(|error| match error {
            AuthorityError::Request { .. } => refused(metrics, Refusal::CertificateRequest),
            error => {
                tracing::error!(node = node.name, %error, "no certificate was made");
                Status::internal("the aggregator cannot make a certificate: see its log")
            }
        })?;
        Ok(EnrolResponse {
            certificate_chain_pem: signed.chain_pem,
            not_after_ns: signed.not_after.0,
            cluster: node.cluster.clone(),
            node_name: node.name.clone(),
            node_uid: node.uid.clone(),
            server_id: server_id.clone(),
        })
    }
}

fn refused(metrics: &IngestMetrics, refusal: Refusal) -> Status {
    metrics
        .enrol_refused
        .get_or_create(&Reason {
            reason: refusal.label(),
        })
        .inc();
    tracing::warn!(reason = refusal.label(), "an enrolment was refused");
    Status::new(refusal.code(), refusal.to_string())
}

fn visitor<T>(request: &Request<T>) -> Result<Visitor, Status> {
    let visitor = request.extensions().get::<Visitor>();
    visitor
        .cloned()
        .ok_or_else(|| Status::internal("the connection is not known"))
}

/// The verified identity behind a request.
fn peer<T>(request: &Request<T>) -> Result<(Arc<Peer>, Visitor), Status> {
    let visitor = visitor(request)?;
    let peer = visitor.peer.clone();
    let peer = peer.ok_or_else(|| Status::unauthenticated("a client certificate is required: enrol first"))?;
    Ok((peer, visitor))
}
