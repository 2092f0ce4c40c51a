//! The HTTP listener: an accept loop of our own with caps on connections, deadlines for heads, bodies and answers, and
//! a check for request shapes that two parsers could read differently.
//!
//! ```text
//! accept -> connections (table: caps, who is closed) -> serve (one connection)
//!   `--> no descriptor or memory for it: idle connections are closed, then it is tried again
//!                                                 io (deadlines, shapes) -> hyper -> slashes -> guard -> routes
//! ```
//!
//! Must not know: what the routes do.

mod body;
mod connections;
mod counted;
mod guard;
mod inherited;
mod io;
mod pace;
mod serve;
mod shape;
mod slashes;
mod table;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::telemetry::DescriptorShortage;

pub(crate) use guard::{AllowedHosts, guarded};

use connections::Connections;
use serve::DoorServer;
use table::{Caps, ConnectionRefusal};

/// Bounds of the listener and of each of its connections.
#[derive(Debug, Clone)]
pub(crate) struct ListenOptions {
    /// Most connections at once that serve every request.
    pub max_connections: usize,
    /// Most connections beyond those, for everything but events.
    pub reserved_connections: usize,
    /// Most connections of one peer other than this machine's loopback.
    pub max_connections_per_peer: usize,
    /// Time for a request head, from its first byte.
    pub head_timeout: Duration,
    /// Time that a connection may stand idle between requests.
    pub idle_timeout: Duration,
    /// Longest pause within an ordinary request body.
    pub body_pause: Duration,
    /// Slowest pace of an ordinary request body, and of a client that takes an answer.
    pub min_bytes_per_second: u64,
    /// How far either may fall behind that pace.
    pub pace_allowance: Duration,
    /// Names other than the loopback ones that the Host header may carry.
    pub hosts: Vec<String>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            reserved_connections: 64,
            max_connections_per_peer: 64,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            body_pause: Duration::from_secs(10),
            min_bytes_per_second: 1024,
            pace_allowance: Duration::from_secs(30),
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
    /// The sockets that the service manager has handed over are not one TCP socket that listens.
    #[error("cannot listen on the socket of the service manager: {0}")]
    Inherited(std::io::Error),
    /// The system refuses to bind the address.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The reason that the system gives.
        reason: std::io::Error,
    },
}

/// A bound address, not yet served.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1024;
/// Bytes of answers that the system holds for each connection. Its default of megabytes would hide for minutes that a
/// client takes nothing.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;
/// Pause after an accept that failed for lack of descriptors or memory, when no connection could be closed for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The same pause when connections are being closed, which takes only moments.
const CLOSING_PAUSE: Duration = Duration::from_millis(20);
/// How often it is logged that connections cannot be accepted, at most.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// How many idle connections are closed at a time: those who wait before a probe want one each.
const CLOSED_AT_ONCE: usize = 16;

impl Listener {
    /// The socket that the service manager has handed over (`LISTEN_FDS`), which stays open over restarts; without one,
    /// `address` is bound.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(crate) fn open(address: SocketAddr) -> Result<Self, ListenError> {
        match inherited::socket()? {
            Some(socket) => Self::over(socket),
            None => Self::bind(address),
        }
    }

    fn over(socket: std::net::TcpListener) -> Result<Self, ListenError> {
        let address = socket.local_addr().map_err(ListenError::Inherited)?;
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        let socket = TcpListener::from_std(socket).map_err(ListenError::Inherited)?;
        info!(%address, "listening on the socket of the service manager");
        Ok(Self { socket, address })
    }

    /// Binds a loopback address; port 0 takes any free port.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        let bind = |reason| ListenError::Bind { address, reason };
        let socket = listening(address).map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self { socket, address })
    }

    /// The bound address, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `closing` is cancelled, then stops accepting, lets every request under way end
    /// and returns. The caller bounds that wait.
    pub(crate) async fn serve(self, router: Router, options: ListenOptions, closing: CancellationToken) {
        let connections = Connections::new(Caps {
            ordinary: options.max_connections,
            reserved: options.reserved_connections,
            per_peer: options.max_connections_per_peer,
        });
        let router = guarded(router, AllowedHosts::new(self.address, &options.hosts));
        let server = Arc::new(DoorServer { router, options, closing: closing.clone() });
        let tasks = TaskTracker::new();
        let mut warned_at: Option<Instant> = None;
        while let Some(accepted) = closing.run_until_cancelled(self.socket.accept()).await {
            match accepted {
                Ok((stream, peer)) => match connections.admit(peer.ip(), Instant::now()) {
                    Ok(connection) => {
                        tasks.spawn(server.clone().serve(stream, connection));
                    }
                    Err(refusal) => refuse(stream, refusal),
                },
                // It is over before it was accepted, and has left the system's queue.
                Err(error) if is_of_one_connection(&error) => debug!(%error, "a connection was lost at once"),
                Err(error) => {
                    DescriptorShortage { at: "accept" }.emit();
                    let closed = connections.make_room(CLOSED_AT_ONCE);
                    if warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                        warned_at = Some(Instant::now());
                        warn!(%error, closed, "cannot accept connections; idle ones are closed, then it is tried again");
                    }
                    let pause = if closed == 0 { ACCEPT_PAUSE } else { CLOSING_PAUSE };
                    closing.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
        // Before the wait: a client that comes now is refused by the system. The socket of a service manager stays open
        // there and keeps it waiting for the next daemon.
        drop(self.socket);
        tasks.close();
        tasks.wait().await;
    }
}

/// Whether a failed accept concerns nothing but the connection that it would have returned.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::TimedOut
    )
}

/// Accepted connections take over the options of the socket that listens.
fn listening(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port of a process that has just ended may be taken again.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers a connection for which there is no room without waiting for its request, and closes it.
fn refuse(stream: TcpStream, refusal: ConnectionRefusal) {
    // A fresh connection has room for the answer, so the write does not block.
    let told = stream.into_std().and_then(|mut stream| {
        stream.write_all(&serve::refusal_bytes(refusal))?;
        stream.shutdown(Shutdown::Write)
    });
    if let Err(error) = told {
        debug!(%error, "a refused connection was lost at once");
    }
}
