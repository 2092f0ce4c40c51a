//! The HTTP listener: an accept loop of our own with deadlines for heads, bodies and answers, a cap on
//! connections, and an ear for request shapes that two parsers could read differently.
//!
//! Must not know: what the routes do.

mod body;
mod guard;
mod io;
mod shape;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

pub use guard::{Hosts, guarded};

use guard::{closing, malformed};
use io::{GuardedIo, Taint};

/// Bounds of the listener.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Most connections at once; more wait in the system's queue.
    pub max_connections: usize,
    /// Time for a request head, from its first byte.
    pub head_timeout: Duration,
    /// Time that a connection may stand idle between requests.
    pub idle_timeout: Duration,
    /// Time that an answer may wait to be taken.
    pub write_timeout: Duration,
    /// Longest pause within an ordinary request body.
    pub body_pause: Duration,
    /// Names other than the loopback ones that the Host header may carry.
    pub hosts: Vec<String>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            body_pause: Duration::from_secs(10),
            hosts: Vec::new(),
        }
    }
}

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Callers need no token, so only this machine may call.
    #[error("{0} is not a loopback address: callers need no token, so listen on 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// The system refuses the address.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
}

/// A bound address, not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Read buffer of a connection; also the largest piece of a body.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// After a failed accept, for lack of descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

impl Listener {
    /// Binds a loopback address; port 0 takes any free port.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        let bind = |reason| ListenError::Bind { address, reason };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self { socket, address })
    }

    /// Where it listens in fact.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `closing` is cancelled, then stops accepting, lets every request under way end
    /// and returns. The caller bounds that wait.
    pub async fn serve(self, router: Router, options: ListenOptions, closing: CancellationToken) {
        let hosts = Hosts::new(self.address, &options.hosts);
        let router = guarded(router, hosts, options.body_pause);
        let room = Arc::new(Semaphore::new(options.max_connections));
        let tasks = TaskTracker::new();
        let mut failing = false;
        loop {
            let next = async {
                // Never closed: `ok` is always there.
                let permit = room.clone().acquire_owned().await.ok();
                (permit, self.socket.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    let connection = connection(stream, router.clone(), options.clone(), closing.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "cannot accept connections; trying again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        tasks.close();
        tasks.wait().await;
    }
}

async fn connection(stream: TcpStream, router: Router, options: ListenOptions, stop: CancellationToken) {
    // Answers are small and waited for; without it they would linger.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "connection lost at once");
        return;
    }
    let taint = Taint::default();
    let io = GuardedIo::new(stream, options.head_timeout, options.write_timeout, taint.clone());
    let service =
        service_fn(move |request: Request<Incoming>| answer(router.clone(), taint.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.idle_timeout)
        .max_headers(MAX_HEADERS)
        .max_header_size(shape::MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

fn answer(
    router: Router,
    taint: Taint,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> {
    // After a chunked body nobody follows the bytes any more: its request is the last one.
    let last = request.headers().contains_key(header::TRANSFER_ENCODING);
    async move {
        if let Some(rule) = taint.get() {
            return Ok(closing(malformed(rule).into_response()));
        }
        let mut response = router.oneshot(request.map(Body::new)).await?;
        if last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
