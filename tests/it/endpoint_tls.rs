//! TLS as blocks `[[endpoint]]` set it: private authorities, certificates of the client, and the oldest version. What is
//! verified is verified whatever is set.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};
use serde_json::json;

use crate::world::authority::{authority, certificate, showing};
use crate::world::{Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// Listens for the life of the process; counts the requests that came through a handshake.
fn serve(config: Arc<ServerConfig>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let Ok(mut connection) = ServerConnection::new(config.clone()) else { continue };
            let mut stream = Stream::new(&mut connection, &mut socket);
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            }
        }
    });
    (addr, requests)
}

/// Shows `good` and asks for a certificate of the authority `clients`.
fn asking(dir: &Path) -> Arc<ServerConfig> {
    let read = |name: &str| CertificateDer::from_pem_file(dir.join(name)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(read("clients.pem")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("a verifier");
    let key = PrivateKeyDer::from_pem_file(dir.join("good.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_client_cert_verifier(verifier);
    Arc::new(config.with_single_cert(vec![read("good.pem")], key).expect("they fit"))
}

/// Shows `good` over TLS 1.2 alone.
fn old(dir: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_file(dir.join("good.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join("good.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    Arc::new(
        config
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("they fit"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_say_whom_is_trusted_what_is_shown_and_from_which_version_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for name in ["known", "private", "clients"] {
        authority(dir, name);
    }
    let here = "IP:127.0.0.1";
    for (name, subject, by) in
        [("good", here, "known"), ("inside", here, "private"), ("client", "DNS:client", "clients")]
    {
        certificate(dir, name, subject, 2, by);
    }
    let file = |name: &str| dir.join(name).display().to_string();
    let private = format!("{{ ca = {:?} }}", file("private.pem"));
    let shown = format!("{{ certificate = {:?}, key = {:?} }}", file("client.pem"), file("client.key"));
    // The server, what is set for it, and whether it is called.
    let cases = [
        (showing(dir, "inside"), Some(private.clone()), true),
        (showing(dir, "inside"), None, false),
        (showing(dir, "good"), None, true),
        // In place of the authorities of the system, and not beside them.
        (showing(dir, "good"), Some(private), false),
        (asking(dir), Some(shown), true),
        (asking(dir), None, false),
        (old(dir), None, true),
        (old(dir), Some("{ min_version = \"1.3\" }".to_owned()), false),
    ];
    let mut config =
        "[queue]\nunmatched = \"pass\"\n[retry]\nmin_delay_ms = 100\nmax_delay_ms = 100\n".to_owned();
    let mut endpoints = Vec::new();
    for (nth, (server, tls, is_called)) in cases.into_iter().enumerate() {
        let (addr, requests) = serve(server);
        if let Some(tls) = tls {
            config += &format!("[[endpoint]]\nname = \"e{nth}\"\nurl = \"https://{addr}/*\"\ntls = {tls}\n");
        }
        endpoints.push((addr, requests, is_called));
    }
    let mut world = Configured::new(Receiver::start().await);
    world.write(&config);
    world.options.wrapper = vec!["env".to_owned(), format!("SSL_CERT_FILE={}", file("known.pem"))];
    let server = Server::start(&world.options);
    let api = server.api();
    for (addr, ..) in &endpoints {
        let event = json!({"url": format!("https://{addr}/x")});
        let (status, answer) = api.json("POST", "/v1/events", &event).await;
        assert_eq!(status, 202, "{answer}");
    }
    let called = endpoints.iter().filter(|(.., is_called)| *is_called).count();
    eventually("all that may be called are", PATIENCE, async || {
        api.metric("tidegate_events_completed_total", "").await == called as f64
    })
    .await;
    eventually("the others are tried again and again", PATIENCE, async || {
        // A server that asks for a certificate may say so after the handshake, as a connection that ends.
        let failed = api.metric("tidegate_call_attempts_total", "result=\"tls\"").await;
        failed + api.metric("tidegate_call_attempts_total", "result=\"closed\"").await >= 12.0
    })
    .await;
    for (nth, (_, requests, is_called)) in endpoints.iter().enumerate() {
        assert_eq!(requests.load(Ordering::SeqCst), usize::from(*is_called), "{nth}");
    }
    assert_eq!(server.stop().code(), Some(0));
}
