//! The socket that a service manager has opened and hands over (`LISTEN_FDS` and `LISTEN_PID`, as in sd_listen_fds(3)):
//! connections wait in it while no daemon runs.
//!
//! Must not know: what is served on it.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::{ListenError, SEND_BUFFER_BYTES};

/// The socket, set up as one of our own; `None` when none was handed over.
///
/// # Errors
/// [`ListenError::Inherited`] when there are several, or the one is no TCP socket.
pub(super) fn socket() -> Result<Option<TcpListener>, ListenError> {
    let mut handed_over = ListenFd::from_env();
    if handed_over.len() > 1 {
        let several = format!("{} sockets were handed over, one is expected", handed_over.len());
        return Err(ListenError::Inherited(io::Error::new(io::ErrorKind::InvalidInput, several)));
    }
    if handed_over.len() == 0 {
        return Ok(None);
    }
    let socket = handed_over.take_tcp_listener(0).map_err(ListenError::Inherited)?;
    socket.map(|socket| prepare(&socket).map(|()| socket).map_err(ListenError::Inherited)).transpose()
}

fn prepare(socket: &TcpListener) -> io::Result<()> {
    // The runtime takes only sockets that do not block.
    socket.set_nonblocking(true)?;
    // Accepted connections take it over.
    Ok(sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER_BYTES as usize)?)
}
