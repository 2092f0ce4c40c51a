//! What TLS is spoken with: whose certificates are trusted, what is shown, and which versions. Certificates are always
//! verified; nothing here can switch that off.
//!
//! Must not know: where the files are, connections.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use rustls_platform_verifier::Verifier;

use super::DeliveryError;

/// The versions where TLS 1.2 is refused.
static ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// How TLS is spoken to one endpoint, where the operator has set it. Checked when it is made.
pub struct TlsOptions {
    /// As they were given, by which two are compared.
    given: TlsFiles,
    /// In place of the authorities of the system.
    authorities: Option<Arc<dyn ServerCertVerifier>>,
    identity: Option<Identity>,
}

/// A certificate with those that lead to its authority, and its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What is set for one endpoint, in PEM form.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct TlsFiles {
    /// Authorities that are trusted in place of those of the system.
    pub ca: Option<Vec<u8>>,
    /// What is shown to an endpoint that asks for it, with the certificates that lead to its authority.
    pub certificate: Option<Vec<u8>>,
    /// The key of that certificate.
    pub key: Option<Vec<u8>>,
    /// Whether TLS 1.2 is refused.
    pub only_1_3: bool,
}

/// Why TLS cannot be spoken with what is set; names the member and never what a key is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsProblem {
    /// No certificate can be read.
    #[error("holds no certificate in PEM form that can be trusted")]
    Ca,
    /// No certificate can be read.
    #[error("holds no certificate in PEM form")]
    Certificate,
    /// No key can be read.
    #[error("holds no private key in PEM form (PKCS #8, PKCS #1 or SEC 1), or one with a passphrase")]
    Key,
    /// One without the other.
    #[error("needs both certificate and key, or neither")]
    Half,
    /// The key is of another certificate, or of a kind that is not supported.
    #[error("does not belong to the certificate, or is of a kind that is not supported")]
    Mismatch,
}

impl TlsProblem {
    /// The member that it is about.
    pub(crate) const fn member(&self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Certificate => "certificate",
            Self::Key | Self::Half | Self::Mismatch => "key",
        }
    }
}

impl TlsOptions {
    /// Reads and checks what was given.
    ///
    /// # Errors
    /// [`TlsProblem`] names what is wrong.
    pub(crate) fn new(given: TlsFiles) -> Result<Self, TlsProblem> {
        let authorities = given.ca.as_deref().map(authorities).transpose()?;
        let identity = match (&given.certificate, &given.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Identity {
                chain: certificates(certificate).ok_or(TlsProblem::Certificate)?,
                key: PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsProblem::Key)?,
            }),
            _ => return Err(TlsProblem::Half),
        };
        let made = Self { given, authorities, identity };
        // Whether key and certificate fit shows when both are used; whom they trust does not matter for that.
        if let Some(Identity { chain, key }) = &made.identity {
            let any = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(made.versions())
                .map_err(|_| TlsProblem::Mismatch)?
                .with_root_certificates(RootCertStore::empty());
            any.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|_| TlsProblem::Mismatch)?;
        }
        Ok(made)
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        if self.given.only_1_3 { ONLY_1_3 } else { rustls::DEFAULT_VERSIONS }
    }

    /// The settings of the TLS library; `system` verifies certificates where no authority is set.
    pub(super) fn config(&self, system: &Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, DeliveryError> {
        let verifier = Arc::clone(self.authorities.as_ref().unwrap_or(system));
        config(verifier, self.versions(), self.identity.as_ref())
    }
}

impl PartialEq for TlsOptions {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Eq for TlsOptions {}

/// Without what the files hold.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsFiles { ca, certificate, only_1_3, .. } = &self.given;
        f.debug_struct("TlsOptions")
            .field("ca", &ca.is_some())
            .field("certificate", &certificate.is_some())
            .field("only_1_3", only_1_3)
            .finish()
    }
}

/// Who verifies certificates by the authorities of the system, and by extra ones in PEM form. Reads files.
///
/// # Errors
/// [`DeliveryError`] when certificates cannot be loaded.
pub(super) fn system(extra_ca_pem: Option<&[u8]>) -> Result<Arc<dyn ServerCertVerifier>, DeliveryError> {
    let extra: Vec<CertificateDer<'static>> = match extra_ca_pem {
        Some(pem) => {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            found.map_err(|error| DeliveryError::ExtraCa(Box::new(error)))?
        }
        None => Vec::new(),
    };
    let verifier = Verifier::new_with_extra_roots(extra, provider());
    Ok(Arc::new(verifier.map_err(|error| DeliveryError::Client(Box::new(error)))?))
}

/// The settings for endpoints for which nothing is set.
pub(super) fn usual(system: &Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, DeliveryError> {
    config(Arc::clone(system), rustls::DEFAULT_VERSIONS, None)
}

fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    versions: &'static [&'static SupportedProtocolVersion],
    identity: Option<&Identity>,
) -> Result<ClientConfig, DeliveryError> {
    let failed = |error: rustls::Error| DeliveryError::Client(Box::new(error));
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(failed)?
        // Those of the platform and of the library: nothing is left out by them.
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match identity {
        None => Ok(config.with_no_client_auth()),
        Some(Identity { chain, key }) => {
            config.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(failed)
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    let installed = CryptoProvider::get_default().cloned();
    installed.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

fn authorities(pem: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).ok_or(TlsProblem::Ca)? {
        roots.add(certificate).map_err(|_| TlsProblem::Ca)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let verifier: Arc<dyn ServerCertVerifier> = verifier.map_err(|_| TlsProblem::Ca)?;
    Ok(verifier)
}

/// All of them, at least one.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty())
}
