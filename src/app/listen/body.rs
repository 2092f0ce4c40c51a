//! Request bodies with a deadline: a body that is announced and not sent, or that drips, ends in an error of
//! the kind [`io::ErrorKind::TimedOut`]. Streamed lines are left alone: their door has a deadline per read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// Slowest body on average, in bytes per second, once the first pause is used up.
const BYTES_PER_SECOND_MIN: u64 = 1024;

/// A body that has to keep coming.
pub(super) struct TimedBody {
    inner: Body,
    pause: Duration,
    /// Until the next bytes.
    progress: Pin<Box<Sleep>>,
    /// Until all of it, extended by what has come.
    whole: Pin<Box<Sleep>>,
}

impl TimedBody {
    /// No pause may be longer than `pause`.
    pub(super) fn new(inner: Body, pause: Duration) -> Self {
        Self { inner, pause, progress: Box::pin(sleep(pause)), whole: Box::pin(sleep(pause)) }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let more = Duration::from_millis(bytes.saturating_mul(1000) / BYTES_PER_SECOND_MIN);
                let whole = self.whole.deadline() + more;
                self.whole.as_mut().reset(whole);
                let pause = self.pause;
                self.progress.set(sleep(pause));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let late =
                    self.progress.as_mut().poll(cx).is_ready() | self.whole.as_mut().poll(cx).is_ready();
                if late {
                    let error = io::Error::new(io::ErrorKind::TimedOut, "the body is too slow");
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
