//! One connection from its first byte to its end: hyper over the guarded byte stream, and why it ended.
//!
//! A client may end its side after the request (half-close): it gets its answer all the same.
//!
//! Must not know: what the routes do, how many connections there are.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

use crate::app::listen::ListenOptions;
use crate::app::listen::body::{AnswerBody, TimedBody};
use crate::app::listen::connections::{CloseCause, Connection};
use crate::app::listen::guard::{closing, malformed};
use crate::app::listen::io::{GuardedIo, Taint};
use crate::app::listen::pace::PeerPace;
use crate::app::listen::shape::MAX_HEAD_BYTES;
use crate::app::listen::slashes;
use crate::app::listen::table::ConnectionRefusal;
use crate::ingest::{is_for_events, is_stream};
use crate::problem::{Problem, codes};
use crate::telemetry::defect;

/// Most headers that a request may have.
const MAX_HEADERS: usize = 64;
/// Read buffer of a connection; also the largest piece of a body.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// When a client that found no room may come again.
const RETRY_SECONDS: u64 = 1;

/// While the doors close, a connection that was just accepted gets this time to send its first request.
const FIRST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// What all connections of a listener share.
pub(super) struct DoorServer {
    pub(super) router: Router,
    pub(super) options: ListenOptions,
    /// Cancelled when no more requests are taken.
    pub(super) closing: CancellationToken,
}

impl DoorServer {
    /// Serves a connection to its end.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, connection: Arc<Connection>) {
        // Answers are small and waited for; without it they would linger.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "connection lost at once");
            return connection.ends_because(CloseCause::Broken);
        }
        let taint = Taint::default();
        let io =
            GuardedIo::new(stream, self.options.head_timeout, self.pace(), taint.clone(), connection.clone());
        let service = service_fn(|request| self.answer(taint.clone(), connection.clone(), request));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper's time includes the pause before a head; the shorter time for the head itself is kept by
            // `GuardedIo`.
            .header_read_timeout(self.options.idle_timeout)
            .half_close(true)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_BUFFER_BYTES)
            .serve_connection(TokioIo::new(io), service);
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = self.closing.cancelled() => {
                connection.ends_because(CloseCause::Stopping);
                // A graceful end closes a connection on which nothing was read yet, with its first request on the way.
                let wait = if connection.has_served() { Duration::ZERO } else { FIRST_REQUEST_WAIT };
                match tokio::time::timeout(wait, serving.as_mut()).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        serving.as_mut().graceful_shutdown();
                        serving.await
                    }
                }
            }
            () = connection.evicted() => {
                connection.ends_because(CloseCause::Evicted);
                if !connection.has_served() {
                    // Nothing is owed, and a graceful end would wait for a first request.
                    return;
                }
                // Ends at once, but for what is left of the last answer.
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            connection.ends_because(if error.is_timeout() { CloseCause::Idle } else { CloseCause::Broken });
            debug!(%error, cause = ?connection.cause(), "connection ended early");
        }
    }

    fn answer(
        &self,
        taint: Taint,
        connection: Arc<Connection>,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        // Before anything looks at the path: routes, guards and counters then agree on it.
        slashes::single(request.uri_mut());
        // Behind a chunked body the follower does not know where the next head begins: this request is the last one.
        let last = request.headers().contains_key(header::TRANSFER_ENCODING);
        let is_streamed = is_stream(&request);
        let (router, pause, pace) = (self.router.clone(), self.options.body_pause, self.pace());
        async move {
            let busy = match connection.request_started(is_for_events(request.method(), request.uri())) {
                Ok(busy) => busy,
                // The answer is its last: a connection without a place must not wait for one.
                Err(refusal) => return Ok(closing(no_room(refusal).into_response())),
            };
            let response = match taint.get() {
                Some(rule) => closing(malformed(rule).into_response()),
                None if is_streamed => router.oneshot(request.map(Body::new)).await?,
                None => {
                    let timed =
                        |body| Body::new(TimedBody::new(Body::new(body), pause, pace, connection.clone()));
                    router.oneshot(request.map(timed)).await?
                }
            };
            let response = response.map(|inner| Body::new(AnswerBody { inner, _busy: busy }));
            // What is left of a body that was cut off must not be read as the next request.
            let is_cut = connection.cause() == Some(CloseCause::SlowBody);
            Ok(if last || is_cut { closing(response) } else { response })
        }
    }

    fn pace(&self) -> PeerPace {
        PeerPace::new(self.options.min_bytes_per_second, self.options.pace_allowance)
    }
}

fn no_room(refusal: ConnectionRefusal) -> Problem {
    let detail = match refusal {
        ConnectionRefusal::Peer => {
            "this address has as many connections as it may, and all are busy; use fewer"
        }
        ConnectionRefusal::Full => "all connections are busy; come again, or use fewer",
        ConnectionRefusal::Reserved => "all connections for events are busy; come again, or use fewer",
        ConnectionRefusal::Evicted => {
            "the connection was being closed for another one; nothing was kept; send it again"
        }
    };
    Problem::of(codes::TOO_MANY_CONNECTIONS, detail).retry_after(RETRY_SECONDS)
}

/// A whole answer to a connection that is not served.
pub(super) fn refusal_bytes(refusal: ConnectionRefusal) -> Vec<u8> {
    let problem = no_room(refusal);
    // A struct of text and numbers always serialises.
    let body = serde_json::to_vec(&problem);
    defect!(unless body.is_ok(), "the refusal of a connection that does not serialise");
    let body = body.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: {RETRY_SECONDS}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
