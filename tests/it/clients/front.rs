//! A front for clients that speak TLS alone, or call fixed hosts. It shows a certificate of the test's own authority and hands
//! the bytes within on to where the test serves a host. Clients reach it as the proxy that their environment names, or at the
//! door of one host.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::world::authority::{authority, certificate, showing};

/// How long one side of a connection is listened to before the other one has its turn.
const TURN: Duration = Duration::from_millis(2);

/// Runs for the life of the process.
pub(crate) struct Front {
    dir: tempfile::TempDir,
    tls: Arc<ServerConfig>,
    proxy: SocketAddr,
}

impl Front {
    /// Serves each of these hosts from the address beside it, which speaks plain HTTP.
    pub(crate) fn start(hosts: &[(&'static str, SocketAddr)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        authority(dir.path(), "authority");
        let mut names: Vec<String> = hosts.iter().map(|(host, _)| format!("DNS:{host}")).collect();
        names.push("IP:127.0.0.1".to_owned());
        certificate(dir.path(), "front", &names.join(","), 2, "authority");
        let (tls, hosts) = (showing(dir.path(), "front"), hosts.to_vec());
        let of_proxy = tls.clone();
        let proxy = listen(move |mut socket| {
            let Some(to) = asked(&mut socket, &hosts)? else { return Ok(()) };
            hand_on(socket, of_proxy.clone(), to)
        });
        Self { dir, tls, proxy }
    }

    /// Where the host at this address is reached by TLS without a proxy.
    pub(crate) fn door(&self, to: SocketAddr) -> SocketAddr {
        let tls = self.tls.clone();
        listen(move |socket| hand_on(socket, tls.clone(), to))
    }

    /// Lets a program find its hosts here, and trust them.
    pub(crate) fn leads(&self, program: &mut Command) {
        let proxy = format!("http://{}", self.proxy);
        for name in ["HTTPS_PROXY", "https_proxy"] {
            program.env(name, &proxy);
        }
        for name in ["NO_PROXY", "no_proxy"] {
            program.env_remove(name);
        }
        program.env("REQUESTS_CA_BUNDLE", self.authority());
    }

    /// The certificate that is to be trusted.
    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }
}

/// A thread for each connection. A client that goes away ends its own connection alone.
fn listen(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(socket?));
        }
    });
    addr
}

/// Where the host is served that a client asks the proxy for; `None` of one that is not known here.
fn asked(
    socket: &mut TcpStream,
    hosts: &[(&'static str, SocketAddr)],
) -> std::io::Result<Option<SocketAddr>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let host = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let to = hosts.iter().find(|(known, _)| *known == host).map(|(_, to)| *to);
    socket.write_all(match to {
        Some(_) => b"HTTP/1.1 200 Connection established\r\n\r\n",
        None => b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
    })?;
    Ok(to)
}

/// Ends the TLS of a connection; what comes within goes on, both ways.
fn hand_on(socket: TcpStream, tls: Arc<ServerConfig>, to: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(TURN))?;
    server.set_read_timeout(Some(TURN))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(connection, socket);
    while pass(&mut client, &mut server)? && pass(&mut server, &mut client)? {}
    Ok(())
}

/// Hands on what has come within a turn; `false` at the end.
fn pass(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<bool> {
    let mut bytes = [0; 16 * 1024];
    match from.read(&mut bytes) {
        Ok(0) => Ok(false),
        Ok(read) => to.write_all(&bytes[..read]).and_then(|()| to.flush()).map(|()| true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
        Err(error) => Err(error),
    }
}
