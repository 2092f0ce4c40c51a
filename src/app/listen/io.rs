//! The byte stream of one connection with its deadlines: a request head has to come within its time, and
//! answers have to be taken at a pace. Feeds the [`RequestFollower`] with what is read.
//!
//! Must not know: requests, answers.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::app::listen::connections::{CloseCause, Connection};
use crate::app::listen::pace::PeerPace;
use crate::app::listen::shape::{RequestFollower, RequestPhase};

/// Set once a connection showed a shape that is not served.
pub(super) type Taint = Arc<OnceLock<&'static str>>;

/// The byte stream of one connection, guarded by deadlines.
pub(super) struct GuardedIo<S> {
    inner: S,
    follower: RequestFollower,
    taint: Taint,
    /// Time within which a request head has to be complete.
    head_time: Duration,
    head: Deadline,
    taking: PeerPace,
    write: Deadline,
    connection: Arc<Connection>,
}

/// A time that runs while something is waited for.
#[derive(Default)]
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    fn start(&mut self, end: impl FnOnce() -> Instant) {
        self.0.get_or_insert_with(|| Box::pin(sleep_until(end())));
    }

    fn stop(&mut self) {
        self.0 = None;
    }

    /// Pending until the time is over; for ever when it does not run.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(running) => running.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<S> GuardedIo<S> {
    /// The first head has to come within `head_time` from now, every later one within `head_time` from its first byte;
    /// answers have to be taken at the pace `taking`.
    pub(super) fn new(
        inner: S,
        head_time: Duration,
        taking: PeerPace,
        taint: Taint,
        connection: Arc<Connection>,
    ) -> Self {
        let mut head = Deadline::default();
        head.start(|| Instant::now() + head_time);
        let (follower, write) = (RequestFollower::default(), Deadline::default());
        Self { inner, follower, taint, head_time, head, taking, write, connection }
    }

    fn saw(&mut self, bytes: &[u8]) {
        let before = self.follower.place();
        self.follower.feed(bytes);
        if let Some(why) = self.follower.tainted() {
            // Set before: it stays as it was.
            let _ = self.taint.set(why);
        }
        match self.follower.place() {
            RequestPhase::Head => {
                let now = Instant::now();
                if before != RequestPhase::Head {
                    self.connection.head_started(now);
                }
                let head_time = self.head_time;
                self.head.start(|| now + head_time);
            }
            // A body has a deadline of its own, and the time between requests is counted by hyper.
            RequestPhase::Idle | RequestPhase::Body => self.head.stop(),
        }
    }

    /// `wrote` is how many bytes the system has taken.
    fn wrote(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(result) = wrote else {
            let taking = &mut self.taking;
            self.write.start(|| taking.waits(Instant::now()));
            ready!(self.write.poll(cx));
            return Poll::Ready(Err(self.too_slow(CloseCause::SlowReader, "the answer is not taken")));
        };
        self.write.stop();
        self.taking.moved(result.as_ref().map_or(0, |bytes| *bytes), Instant::now());
        Poll::Ready(result)
    }

    fn too_slow(&self, cause: CloseCause, what: &'static str) -> io::Error {
        self.connection.ends_because(cause);
        io::Error::new(io::ErrorKind::TimedOut, what)
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
            Poll::Pending => {
                // Only where nothing has come: bytes that are there are read first, however late they are.
                ready!(self.head.poll(cx));
                Poll::Ready(Err(self.too_slow(CloseCause::SlowHead, "the request head is too slow")))
            }
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
        // Without a deadline: a socket has nothing to flush, what it takes is watched in `poll_write`.
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
