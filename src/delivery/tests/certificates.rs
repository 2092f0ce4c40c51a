//! Endpoints that ask for a certificate of the client: a refusal comes after the handshake has ended on this side, and still
//! proves that nothing was processed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

use super::{OK, call, deliverer, retry, unprocessed};
use crate::delivery::{Call, CallOptions, Deliver, TlsFiles, TlsOptions};
use crate::event::Cause;

/// Longer than all that the client sends in its handshake.
const BODY_BYTES: usize = 32 * 1024;

/// A certificate `NAME.pem` that is trusted where it is itself an authority.
fn certificate(dir: &Path, name: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let more = "-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1";
    let arguments =
        format!("req -x509 {key} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2 {more}");
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    let output = output.expect("this test needs openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks for the certificate `known` over TLS 1.3, and answers with `answer` where it is shown.
fn asking(dir: &Path, answer: &'static [u8]) -> SocketAddr {
    let read = |name: &str| CertificateDer::from_pem_file(dir.join(name)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(read("known.pem")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_client_cert_verifier(verifier.build().expect("a verifier"));
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).expect("a key");
    let config = Arc::new(config.with_single_cert(vec![read("server.pem")], key).expect("they fit"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            while !connection.wants_write() {
                connection.read_tls(&mut socket).expect("the hello of the client");
                connection.process_new_packets().expect("a hello");
            }
            while connection.wants_write() {
                connection.write_tls(&mut socket).expect("the hello of the server");
            }
            // The certificate is judged when the request has been written behind it.
            let mut seen = [0; BODY_BYTES / 2];
            while socket.peek(&mut seen).is_ok_and(|came| 0 < came && came < seen.len()) {
                std::thread::yield_now();
            }
            let mut stream = Stream::new(&mut connection, &mut socket);
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(answer);
            }
            // Everything that was sent is read: an end with unread bytes would overtake what was said.
            let _ = socket.shutdown(Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_of_the_client_that_is_refused_costs_no_attempt() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for name in ["server", "known", "stranger"] {
        certificate(dir, name);
    }
    let read = |name: String| Some(std::fs::read(dir.join(name)).expect("written"));
    let client = deliverer(&["127.0.0.0/8"]);
    let attempt = async |address: SocketAddr, shown: Option<&str>| {
        let tls = TlsOptions::new(TlsFiles {
            ca: read("server.pem".to_owned()),
            certificate: shown.and_then(|name| read(format!("{name}.pem"))),
            key: shown.and_then(|name| read(format!("{name}.key"))),
            only_1_3: true,
        });
        let tls = Some(Arc::new(tls.expect("they fit")));
        let options = Some(Arc::new(CallOptions { tls, ..CallOptions::default() }));
        let body = Bytes::from(vec![b'x'; BODY_BYTES]);
        client.attempt(Call { options, body, ..call(&format!("https://{address}/")) }).await
    };
    let fine = asking(dir, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    for shown in [Some("stranger"), None] {
        assert_eq!(attempt(fine, shown).await, unprocessed(Cause::Tls), "{shown:?}");
    }
    assert_eq!(attempt(fine, Some("known")).await, OK, "the control: this one is known");
    let silent = asking(dir, b"");
    assert_eq!(
        attempt(silent, Some("known")).await,
        retry(Cause::Closed),
        "the control: it has read the request"
    );
}
