//! Whom to trust, and who to be: the files and choices behind a TLS configuration, read once at the start.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};

use super::verifier::Verifier;
use crate::base::input;

/// The longest PEM file that is read; all the world's authorities take a quarter of a megabyte.
const LONGEST_PEM: u64 = 16 << 20;

/// TLS of one target, as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsClientPlan {
    /// The name that the certificate must be for, a DNS name or an IP address. A DNS name is also sent to the server
    /// (SNI, RFC 6066, section 3).
    pub server_name: String,
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// Resume earlier sessions where the server gave a ticket; else every handshake is a full one.
    pub resume: bool,
}

/// Whose certificates a client accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trust {
    /// Those issued by the authorities that this host trusts: `/etc/ssl` and its like, or `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`.
    System,
    /// Those issued by the authorities in this PEM file.
    Authorities(PathBuf),
    /// Any: neither the certificate nor the server's proof that it holds the key is looked at.
    Anybody,
}

/// A server's certificate and key, as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServerPlan {
    /// PEM file with the certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// TLS of one target, ready for use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
    pub(super) certificate_requests: Arc<CertificateRequests>,
    /// Certificates are looked at.
    pub(super) checks: bool,
    resume: bool,
}

/// TLS of a server, ready for use. Cheap to clone; all workers of a server share it, so that a client can resume with
/// any of them.
#[derive(Clone, Debug)]
pub struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
}

/// TLS cannot be had as planned. Every message ends in the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not a DNS name and not an IP address.
    #[error("`{name}` cannot be the name in a certificate: give a DNS name or an IP address")]
    ServerName {
        /// What was asked for.
        name: String,
    },
    /// The host trusts nobody.
    #[error(
        "this host has no certificates of authorities{cause}: install its package ca-certificates, name the file of \
         the target's own authority, or accept any certificate"
    )]
    NoSystemRoots {
        /// Why, with punctuation; empty if there is simply none.
        cause: String,
    },
    /// A file cannot be read, or holds no PEM.
    #[error("cannot read {what} from {}: {}; it must be a readable PEM file", path.display(), cause(source))]
    File {
        /// What was to be read.
        what: &'static str,
        /// Where from.
        path: PathBuf,
        /// The reader's answer.
        source: pem::Error,
    },
    /// A PEM file without a certificate in it.
    #[error("{} holds no certificate: it must be a PEM file with `-----BEGIN CERTIFICATE-----`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that cannot be an authority's.
    #[error("a certificate in {} cannot be used as an authority's: {source}; is it an X.509 certificate?", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("cannot serve {} with {}: {source}; give a certificate and the key it was made for", certificate.display(), key.display())]
    Identity {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

impl TlsClient {
    /// Makes ready what is planned for each target; `None` stays a target without TLS. Each store of authorities is
    /// read once.
    ///
    /// # Errors
    /// When a name cannot be in a certificate, or the authorities cannot be read.
    pub fn load(plans: &[Option<TlsClientPlan>]) -> Result<Vec<Option<Self>>, TlsError> {
        let mut configs: HashMap<&Trust, Arc<ClientConfig>> = HashMap::new();
        let mut clients = Vec::with_capacity(plans.len());
        for plan in plans {
            let Some(TlsClientPlan { server_name, trust, resume }) = plan else {
                clients.push(None);
                continue;
            };
            let config = match configs.entry(trust) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(unknown) => unknown.insert(Arc::new(client_config(trust)?)).clone(),
            };
            let server_name = ServerName::try_from(server_name.clone())
                .map_err(|_| TlsError::ServerName { name: server_name.clone() })?;
            let checks = *trust != Trust::Anybody;
            let certificate_requests = Arc::default();
            clients.push(Some(Self { config, server_name, certificate_requests, checks, resume: *resume }));
        }
        Ok(clients)
    }

    /// The same, but any certificate is accepted: to look at one that is refused.
    pub fn accepting_any(&self) -> Self {
        let config = client_config(&Trust::Anybody).expect("nothing is read to accept anybody");
        Self { config: Arc::new(config), checks: false, ..self.clone() }
    }

    /// The same for one worker: with sessions of its own, so that workers share no lock, and a note of its own of what servers
    /// ask for.
    pub(super) fn of_worker(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption =
            if self.resume { Resumption::store(Arc::new(Sessions::default())) } else { Resumption::disabled() };
        let certificate_requests: Arc<CertificateRequests> = Arc::default();
        config.client_auth_cert_resolver = certificate_requests.clone();
        Self { config: Arc::new(config), certificate_requests, ..self.clone() }
    }
}

impl TlsServer {
    /// Reads certificate and key. Sessions are resumed by tickets that the server need not remember (RFC 5077; RFC 8446,
    /// section 4.6.1), so their number has no limit.
    ///
    /// # Errors
    /// When a file cannot be read, or the two do not go together.
    pub fn load(plan: &TlsServerPlan) -> Result<Self, TlsError> {
        let chain = certificates(&plan.certificate, "the certificate")?;
        let unreadable = |source| TlsError::File { what: "the private key", path: plan.key.clone(), source };
        let key = pem(&plan.key).and_then(|text| PrivateKeyDer::from_pem_slice(&text)).map_err(unreadable)?;
        let refused =
            |source| TlsError::Identity { certificate: plan.certificate.clone(), key: plan.key.clone(), source };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(refused)?;
        config.ticketer = ring::Ticketer::new().map_err(refused)?;
        Ok(Self { config: Arc::new(config) })
    }
}

/// In words: rustls shows the bytes of what is missing, and says "I/O error: " before the system's words.
fn cause(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("`-----END {}-----` is missing, so it is cut off", String::from_utf8_lossy(end_marker).trim_end())
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("`{}` begins nothing", String::from_utf8_lossy(line).trim_end())
        }
        error => error.to_string(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3");
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anybody => Arc::new(AcceptsAnybody(provider)),
        Trust::System => {
            let (roots, certificates) = system_roots()?;
            Arc::new(Verifier::new(roots, certificates, provider))
        }
        Trust::Authorities(path) => {
            let (roots, certificates) = authorities(path)?;
            Arc::new(Verifier::new(roots, certificates, provider))
        }
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Authorities, and their certificates as they were read.
type Roots = (RootCertStore, Vec<CertificateDer<'static>>);

fn system_roots() -> Result<Roots, TlsError> {
    // The library reads what this names to its end, and it may have none.
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from)
        && let Err(source) = input::read(&path, LONGEST_PEM)
        && source.kind() == std::io::ErrorKind::FileTooLarge
    {
        let what = "the certificates of authorities that SSL_CERT_FILE names";
        return Err(TlsError::File { what, path, source: pem::Error::Io(source) });
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A store may hold a few certificates that this library cannot read; the others serve.
    roots.add_parsable_certificates(found.certs.iter().cloned());
    if roots.is_empty() {
        let cause = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(TlsError::NoSystemRoots { cause });
    }
    Ok((roots, found.certs))
}

fn authorities(path: &Path) -> Result<Roots, TlsError> {
    let mut roots = RootCertStore::empty();
    let certificates = certificates(path, "the certificates of authorities")?;
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok((roots, certificates))
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = pem(path)
        .and_then(|text| CertificateDer::pem_slice_iter(&text).collect())
        .map_err(|source| TlsError::File { what, path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The text of a PEM file.
fn pem(path: &Path) -> Result<Vec<u8>, pem::Error> {
    input::read(path, LONGEST_PEM).map_err(pem::Error::Io)
}

/// Accepts every certificate, even one that cannot be read, and every signature.
#[derive(Debug)]
struct AcceptsAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptsAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Has no certificate to show, and notes that a server asked for one. A worker's connections advance one at a time, so the
/// note is of the one that has just advanced.
#[derive(Debug, Default)]
pub(super) struct CertificateRequests(AtomicBool);

impl CertificateRequests {
    /// Whether a server has asked since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl ResolvesClientCert for CertificateRequests {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// One worker's sessions with one target.
///
/// A ticket of TLS 1.3 is used once (RFC 8446, appendix C.4), and a worker begins many connections before the first of
/// them brings new tickets: the eight that rustls keeps by itself would make most of a burst full handshakes.
#[derive(Debug, Default)]
struct Sessions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

/// Tickets of one worker for one target; beyond that the oldest goes.
const MOST_TICKETS: usize = 1024;

impl Sessions {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.kept().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let tickets = &mut self.kept().tickets;
        if tickets.len() == MOST_TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().tickets.pop_back()
    }
}
