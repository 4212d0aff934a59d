//! Whether the server's certificate proves who it is, and if not, the one cause.
//!
//! rustls-webpki judges as browsers do, and says of several everyday faults only that something is wrong. Operators compare
//! with openssl, so two things are added: a certificate that is itself among those trusted is accepted even if it calls itself
//! an authority's (what `openssl req -x509` makes by default), and every refusal is told as a [`TlsFault`].

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use crate::protocol::TlsFault;

/// The bytes of a SubjectPublicKeyInfo with an RSA key of 2048 bits and the usual exponent (RFC 3279, section 2.3.1): the
/// shortest that `ring` verifies.
const RSA_2048_KEY_INFO: usize = 294;
/// The object identifier rsaEncryption, as DER (RFC 8017, appendix C).
const RSA_ENCRYPTION: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Trusts the authorities of a store.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// The certificates of the store that may also be a server's own.
    trusted: Vec<CertificateDer<'static>>,
}

/// A [`TlsFault`] on its way through rustls.
#[derive(Debug)]
pub(super) struct Refusal(pub TlsFault);

impl Verifier {
    /// One that trusts `roots`, and the `trusted` certificates themselves.
    pub(super) fn new(
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Self { webpki: webpki.expect("the store has a certificate, and no revocation lists are given"), trusted }
    }

    /// `certificate` calls itself an authority's; webpki has found its time and its form in order before it says so.
    fn accept_authority(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        if !self.trusted.iter().any(|trusted| trusted == certificate) {
            return Err(refusal(TlsFault::AuthorityCertificate));
        }
        let certificate = ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&certificate, name)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(error) = verified else { return verified };
        match webpki_error(&error) {
            Some(webpki::Error::CaUsedAsEndEntity) => self.accept_authority(end_entity, server_name),
            _ => Err(named(error, end_entity)),
        }
        .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature).map_err(|error| named(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature).map_err(|error| named(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// What rustls has no word of its own for.
fn webpki_error(error: &Error) -> Option<&webpki::Error> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.downcast_ref(),
        _ => None,
    }
}

/// `error` with its cause, where looking at the certificate tells more than the error does.
fn named(error: Error, certificate: &CertificateDer<'_>) -> Error {
    use webpki::Error as Webpki;
    let fault = match (&error, webpki_error(&error)) {
        (_, Some(Webpki::UnsupportedCertVersion)) => TlsFault::OldCertificate,
        (Error::InvalidCertificate(CertificateError::UnknownIssuer), _) if is_self_signed(certificate) => {
            TlsFault::SelfSigned
        }
        (Error::InvalidCertificate(CertificateError::BadSignature), _) if has_short_key(certificate) => {
            TlsFault::ShortKey
        }
        _ => return error,
    };
    refusal(fault)
}

fn refusal(fault: TlsFault) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal(fault)))))
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

fn has_short_key(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| {
        let key = certificate.subject_public_key_info();
        let is_rsa = key.windows(RSA_ENCRYPTION.len()).any(|window| window == RSA_ENCRYPTION);
        is_rsa && key.len() < RSA_2048_KEY_INFO
    })
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}
