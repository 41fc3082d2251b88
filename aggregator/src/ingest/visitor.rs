//! A connection that came through the door and the handshake.
//!
//! Owns who is behind it, and the rule of what a stranger may ask for. Nothing of a connection that is refused here
//! reaches a service.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use axum::http;
use futures::Stream;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    time::timeout_at,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, body::Body, transport::server::Connected};
use tower::Service;

use super::{Peer, Refusal, enrol::MAX_ENROL_BYTES, handshake, peer_of};
use crate::door::{Door, Guarded, Pass};

/// Connections that finished their handshake and wait for the server's loop, which takes them at once.
const HANDED_OVER: usize = 16;
/// Connections of one node at once: one to enrol, one to report, and what is left of one that broke.
const PER_NODE: usize = 4;
/// Room beside an enrolment for the frame of gRPC. Source: gRPC over HTTP2, "Length-Prefixed-Message".
const GRPC_PREFIX: usize = 5;
/// The one call that needs no certificate.
const ENROL: &str = "/inquest.ingest.v1.IngestService/Enrol";

/// Who is on the other side of a connection; in the extensions of its requests.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub address: IpAddr,
    /// `None` without a certificate.
    pub peer: Option<Arc<Peer>>,
    pub pass: Arc<Pass>,
}

/// Nodes remembered before those without a connection are looked for.
const SWEEP_FROM: usize = 1_024;

/// Connections by node, oldest first. Memory follows the open connections: the list is swept when it has doubled.
#[derive(Default)]
struct Seats(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    by_node: HashMap<String, VecDeque<Weak<Pass>>>,
    after_sweep: usize,
}

impl Seats {
    /// The newest connections of a node stay, older ones are closed: a node that lost its connection must not wait for
    /// the old one to be noticed.
    fn sit_down(&self, peer: &Peer, pass: &Arc<Pass>) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.by_node.len() >= SWEEP_FROM.max(2 * taken.after_sweep) {
            taken
                .by_node
                .retain(|_, passes| passes.iter().any(|pass| pass.strong_count() > 0));
            taken.after_sweep = taken.by_node.len();
        }
        let key = format!("{}/{}", peer.node.cluster, peer.node.uid);
        let passes = taken.by_node.entry(key).or_default();
        passes.retain(|pass| pass.strong_count() > 0);
        passes.push_back(Arc::downgrade(pass));
        while passes.len() > PER_NODE {
            if let Some(oldest) = passes.pop_front().and_then(|pass| pass.upgrade()) {
                oldest.close("node_connections");
            }
        }
    }
}

/// Connections as they become ready, until `stop`. Handshakes run side by side; the door bounds how many.
pub(super) fn arrivals(
    door: Door,
    tls: TlsAcceptor,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> impl Stream<Item = io::Result<Arrival>> + use<> {
    let (ready, arrivals) = mpsc::channel(HANDED_OVER);
    let seats = Arc::new(Seats::default());
    let handshakes = tasks.clone();
    tasks.spawn(async move {
        while let Some((stream, address, pass)) = stop.run_until_cancelled(door.admit()).await {
            let (tls, ready, seats, stop) = (tls.clone(), ready.clone(), Arc::clone(&seats), stop.clone());
            handshakes.spawn(async move {
                let greeted = stop.run_until_cancelled(greet(stream, address.ip(), pass, &tls, &seats));
                if let Some(Some(arrival)) = greeted.await {
                    // The server has stopped; the connection is closed.
                    drop(ready.send(Ok(arrival)).await);
                }
            });
        }
    });
    ReceiverStream::new(arrivals)
}

/// The handshake; `None` with a count when it failed.
async fn greet(
    stream: TcpStream,
    address: IpAddr,
    pass: Arc<Pass>,
    tls: &TlsAcceptor,
    seats: &Seats,
) -> Option<Arrival> {
    let stream = match timeout_at(pass.deadline(), tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a handshake failed");
            pass.refuse(handshake::reason_of(&error));
            return None;
        }
        Err(_) => {
            pass.refuse("handshake_late");
            return None;
        }
    };
    let cert = stream.get_ref().1.peer_certificates().and_then(|certs| certs.first());
    let peer = match cert.map(|cert| peer_of(cert)).transpose() {
        Ok(peer) => peer.map(Arc::new),
        Err(error) => {
            tracing::debug!(%address, %error, "a certificate names nobody");
            pass.refuse("certificate_identity");
            return None;
        }
    };
    if let Some(peer) = &peer {
        seats.sit_down(peer, &pass);
    }
    let visitor = Visitor {
        address,
        peer,
        pass: Arc::clone(&pass),
    };
    Some(Arrival {
        io: Guarded::new(stream, pass),
        visitor,
    })
}

/// A connection for the gRPC server.
pub(super) struct Arrival {
    io: Guarded<TlsStream<TcpStream>>,
    visitor: Visitor,
}

impl Connected for Arrival {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.visitor.clone()
    }
}

impl AsyncRead for Arrival {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Arrival {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Lets strangers only enrol, and reads no more of them than an enrolment has.
#[derive(Clone)]
pub(super) struct StrangersOnlyEnrol<S>(pub S);

impl<S> Service<http::Request<Body>> for StrangersOnlyEnrol<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let visitor = request.extensions().get::<Visitor>();
        let known = visitor.is_some_and(|visitor| visitor.peer.is_some());
        let enrols = request.uri().path() == ENROL;
        if !known && !enrols {
            if let Some(visitor) = visitor {
                visitor.pass.refuse("certificate_missing");
            }
            let refused = Status::unauthenticated("a client certificate is required: enrol first").into_http();
            return Box::pin(async { Ok(refused) });
        }
        let pass = visitor.map(|visitor| Arc::clone(&visitor.pass));
        let request = if enrols {
            request.map(|body| short(body, pass))
        } else {
            request
        };
        Box::pin(self.0.call(request))
    }
}

/// A body that ends with a refusal when it is longer than an enrolment may be.
fn short(body: Body, pass: Option<Arc<Pass>>) -> Body {
    let limited = Limited::new(body, MAX_ENROL_BYTES + GRPC_PREFIX);
    Body::new(limited.map_err(move |error| {
        if !error.is::<LengthLimitError>() {
            return Status::from_error(error);
        }
        if let Some(pass) = &pass {
            pass.refuse("enrolment_too_large");
        }
        Status::new(Refusal::TooLarge.code(), Refusal::TooLarge.to_string())
    }))
}
