//! Connections that can be reset from within a request.
//!
//! Owns the socket below HTTP. A reset is a `RST` on the wire, as from a crashed peer or a firewall, and not the orderly
//! end that dropping a connection would be.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Tells a connection to reset itself instead of answering.
#[derive(Debug, Clone, Default)]
pub(super) struct Fuse(Arc<AtomicBool>);

impl Fuse {
    pub(super) fn blow(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_blown(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Accepts connections with a fuse.
#[derive(Debug)]
pub(super) struct Fused(pub(super) TcpListener);

impl Listener for Fused {
    type Io = Connection;
    type Addr = (SocketAddr, Fuse);

    async fn accept(&mut self) -> (Connection, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let fuse = Fuse::default();
        (
            Connection {
                stream,
                fuse: fuse.clone(),
            },
            (address, fuse),
        )
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok((self.0.local_addr()?, Fuse::default()))
    }
}

impl Connected<IncomingStream<'_, Fused>> for Fuse {
    fn connect_info(stream: IncomingStream<'_, Fused>) -> Self {
        stream.remote_addr().1.clone()
    }
}

/// A socket with a fuse.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    fuse: Fuse,
}

impl Connection {
    /// With a linger time of zero the kernel sends `RST` when the socket closes (socket(7), `SO_LINGER`).
    fn intact(&self) -> io::Result<()> {
        if self.fuse.is_blown() {
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.intact()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
