//! Bodies on their way: a request body that has to keep coming, and an answer that shows when it is complete.
//!
//! A request body that stops, or that comes too slowly on average, ends in an error of the kind
//! [`io::ErrorKind::TimedOut`]. Streamed lines are left alone: their door has a deadline per read.
//!
//! Must not know: what the bodies hold.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::app::listen::connections::{Busy, CloseCause, Connection};
use crate::app::listen::pace::PeerPace;

/// A request body that has to keep coming.
pub(super) struct TimedBody {
    inner: Body,
    /// The longest time between two pieces.
    pause: Duration,
    pace: PeerPace,
    /// Runs while the client is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
}

impl TimedBody {
    pub(super) fn new(inner: Body, pause: Duration, pace: PeerPace, connection: Arc<Connection>) -> Self {
        Self { inner, pause, pace, deadline: None, connection }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let (pause, pace) = (self.pause, &mut self.pace);
        let deadline = self.deadline.get_or_insert_with(|| {
            let now = Instant::now();
            Box::pin(sleep_until(pace.waits(now).min(now + pause)))
        });
        deadline.as_mut().poll(cx).is_ready()
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
                // What was waited for has come; the next wait begins its own time.
                self.deadline = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.pace.moved(bytes, Instant::now());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            // The time runs only while the client is waited for, not while tidegate works.
            Poll::Pending if self.is_late(cx) => {
                self.connection.ends_because(CloseCause::SlowBody);
                let error = io::Error::new(io::ErrorKind::TimedOut, "the body is too slow");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer: its connection is busy until all of it was handed over.
pub(super) struct AnswerBody {
    pub(super) inner: Body,
    pub(super) _busy: Busy,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
