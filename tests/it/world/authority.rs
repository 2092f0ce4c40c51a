//! Certificates of the test's own authorities, made by `openssl`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    let output = output.expect("this test needs openssl");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority whose certificate is `NAME.pem`.
pub(crate) fn authority(dir: &Path, name: &str) {
    let files = format!("-keyout {name}.key -out {name}.pem");
    let more = format!("-subj /CN={name} -days 2 -addext basicConstraints=critical,CA:TRUE");
    openssl(dir, &format!("req -x509 {NEW_KEY} {files} {more}"));
}

/// A certificate `NAME.pem` for this subject, for so many days from now, signed by an authority.
pub(crate) fn certificate(dir: &Path, name: &str, subject: &str, days: i32, by: &str) {
    std::fs::write(dir.join("names"), format!("subjectAltName={subject}\n")).expect("written");
    openssl(dir, &format!("req {NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    let signed = format!("-CA {by}.pem -CAkey {by}.key -CAcreateserial -extfile names -days {days}");
    openssl(dir, &format!("x509 -req -in {name}.csr {signed} -out {name}.pem"));
}

/// What a server needs that shows the certificate `NAME.pem`.
pub(crate) fn showing(dir: &Path, name: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![chain], key);
    Arc::new(config.expect("they fit"))
}
