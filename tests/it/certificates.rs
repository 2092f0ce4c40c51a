//! HTTPS endpoints with certificates that do not hold, and with none: no call reaches them. The program trusts an authority
//! of the test's own, which it reads where it reads those of the system.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::json;

use crate::world::authority::{authority, certificate, showing};
use crate::world::{Configured, Receiver, Server, eventually};

const LONG: Duration = Duration::from_secs(60);
/// Listens for the life of the process; counts the requests that came through a handshake.
fn serve(config: Arc<ServerConfig>) -> (SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let addr = listen(move |socket| {
        let config = config.clone();
        let Ok(mut connection) = ServerConnection::new(config) else { return };
        let mut stream = Stream::new(&mut connection, socket);
        let mut request = [0; 4096];
        if stream.read(&mut request).is_ok_and(|read| read > 0) {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        }
    });
    (addr, requests)
}

fn listen(answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            answer(&mut socket.expect("a connection"));
        }
    });
    addr
}

fn with_certificate(dir: &Path, name: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    serve(showing(dir, name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_hold_gets_no_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    authority(dir, "known");
    authority(dir, "foreign");
    let here = "IP:127.0.0.1";
    for (name, subject, days, by) in [
        ("good", here, 2, "known"),
        ("expired", here, -1, "known"),
        ("misnamed", "DNS:other.example", 2, "known"),
        ("untrusted", here, 2, "foreign"),
    ] {
        certificate(dir, name, subject, days, by);
    }
    let names = ["good", "expired", "misnamed", "untrusted"];
    let endpoints: Vec<_> = names.iter().map(|name| (*name, with_certificate(dir, name))).collect();
    // A fatal alert (handshake_failure), and an answer without TLS.
    let alert = listen(|socket| drop(socket.write_all(b"\x15\x03\x03\x00\x02\x02\x28")));
    let plain = listen(|socket| drop(socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")));

    let mut world = Configured::new(Receiver::start().await);
    world.write(
        "[queue]\nunmatched = \"pass\"\n[retry]\nmin_delay_ms = 100\nmax_delay_ms = 100\nmax_attempts = 1000\n",
    );
    let trusted = format!("SSL_CERT_FILE={}", dir.join("known.pem").display());
    world.options.wrapper = vec!["env".to_owned(), trusted];
    let server = Server::start(&world.options);
    let api = server.api();
    let addresses = endpoints.iter().map(|(_, (addr, _))| *addr).chain([alert, plain]);
    for addr in addresses {
        let (status, answer) =
            api.json("POST", "/v1/events", &json!({"url": format!("https://{addr}/x")})).await;
        assert_eq!(status, 202, "{answer}");
    }
    let completed = async |label: &str| api.metric("tidegate_events_completed_total", label).await;
    eventually("the others are tried again and again", LONG, async || {
        api.metric("tidegate_call_attempts_total", "result=\"tls\"").await >= 25.0
    })
    .await;
    eventually("the control: the good one is called", LONG, async || completed("").await == 1.0).await;
    assert_eq!(completed("outcome=\"delivered\"").await, 1.0, "and no other");
    for (name, (_, requests)) in &endpoints {
        let expected = usize::from(*name == "good");
        assert_eq!(requests.load(Ordering::SeqCst), expected, "{name}");
    }
    assert_eq!(server.stop().code(), Some(0));
}
