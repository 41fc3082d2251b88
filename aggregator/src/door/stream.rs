//! A connection with its limits: whoever reads from it meets the end that the limits set.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Pass, meter::Meter};

/// Bytes in both directions under a [`Pass`].
pub struct Guarded<IO> {
    io: IO,
    pass: Arc<Pass>,
    meter: Meter,
    alarm: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    last: Instant,
    alarm_is_due: bool,
}

impl<IO> Guarded<IO> {
    /// Puts the connection under the limits of its pass.
    #[must_use]
    pub fn new(io: IO, pass: Arc<Pass>) -> Self {
        let now = Instant::now();
        Self {
            io,
            meter: Meter::new(now),
            alarm: Box::pin(sleep_until(pass.deadline())),
            closing: Box::pin(pass.closing().clone().cancelled_owned()),
            last: now,
            alarm_is_due: true,
            pass,
        }
    }

    /// The pass.
    #[must_use]
    pub const fn pass(&self) -> &Arc<Pass> {
        &self.pass
    }

    /// Ready with the reason when the connection has to end now.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        if self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready("closed");
        }
        while self.alarm_is_due {
            ready!(self.alarm.as_mut().poll(cx));
            if !self.pass.is_proved() {
                return Poll::Ready("first_message_late");
            }
            let Some(idle) = self.pass.limits().idle else {
                self.alarm_is_due = false;
                break;
            };
            let due = self.last + idle;
            if due <= Instant::now() {
                return Poll::Ready("idle");
            }
            self.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(reason) = this.poll_end(cx) {
            this.pass.refuse(reason);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let now = Instant::now();
        this.last = now;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if this.meter.take(fresh, now).is_err() {
            // A reader that returns an error must not have filled the buffer.
            buf.set_filled(before);
            this.pass.refuse("control_flood");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "control_flood")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.last = Instant::now();
        Poll::Ready(Ok(written))
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
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        this.last = Instant::now();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
