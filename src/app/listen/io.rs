//! The byte stream of one connection with its deadlines: a request head has to come within its time, and
//! answers have to be taken. Feeds the [`Follower`] with what is read.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::app::listen::shape::{Follower, Place};

/// Set once a connection showed a shape that is not served.
pub(super) type Taint = Arc<OnceLock<&'static str>>;

/// A guarded byte stream.
pub(super) struct GuardedIo<S> {
    inner: S,
    follower: Follower,
    taint: Taint,
    head: Deadline,
    write: Deadline,
}

/// A time that runs while something is waited for.
struct Deadline {
    after: Duration,
    running: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn start(&mut self) {
        let after = self.after;
        self.running.get_or_insert_with(|| Box::pin(sleep(after)));
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// Pending until the time is over; for ever when it does not run.
    fn poll(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Error> {
        match &mut self.running {
            Some(running) => {
                ready!(running.as_mut().poll(cx));
                Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, what))
            }
            None => Poll::Pending,
        }
    }
}

impl<S> GuardedIo<S> {
    /// The first head has to come within `head` from now, every later one within `head` from its first byte.
    pub(super) fn new(inner: S, head: Duration, write: Duration, taint: Taint) -> Self {
        let mut head = Deadline { after: head, running: None };
        head.start();
        let write = Deadline { after: write, running: None };
        Self { inner, follower: Follower::default(), taint, head, write }
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.follower.feed(bytes);
        if let Some(why) = self.follower.tainted() {
            // Set before: it stays as it was.
            let _ = self.taint.set(why);
        }
        match self.follower.place() {
            Place::Head => self.head.start(),
            Place::Idle | Place::Body => self.head.stop(),
        }
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_pending() {
            self.write.start();
            return self.write.poll(cx, "the answer is not taken").map(Err);
        }
        self.write.stop();
        wrote
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                self.saw(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.head.poll(cx, "the request head is too slow").map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.wrote(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
