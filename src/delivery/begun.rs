//! Whether a request has begun to be written: a body that notes the first question about what it holds.
//!
//! A connection asks that question when it takes a request over to write it, over HTTP/1 and HTTP/2 alike, and before the
//! first byte of the head. Whoever resolves, connects or waits for a connection or a free stream asks for the length at
//! most. So a request whose body was not asked has not begun, whatever became of it; one whose body was asked may have been
//! written.
//!
//! Must not know: what follows from it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

/// Shared between a request and the attempt that waits for its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    /// Whether a byte of the request may have been written.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The body of a request; may be empty.
pub(super) struct NotedBody {
    body: Full<Bytes>,
    begun: Begun,
}

impl NotedBody {
    pub(super) fn new(body: Bytes, begun: Begun) -> Self {
        Self { body: Full::new(body), begun }
    }
}

impl Body for NotedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begun.set();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.begun.set();
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // No sign of a beginning: the length is asked for while the call still waits for a connection.
        self.body.size_hint()
    }
}
