//! What is wrong with a TLS connection, as an error number.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};

use super::verifier::Refusal;
use crate::io::Errno;
use crate::protocol::TlsFault;

/// The error number of an op that TLS fails: that of its [`TlsFault`]. What is no TLS at all means another protocol only
/// while the connection is not `established`.
pub(super) fn errno(error: &Error, established: bool) -> Errno {
    let fault = match error {
        Error::InvalidCertificate(fault) => of_certificate(fault),
        Error::NoCertificatesPresented => TlsFault::UnreadableCertificate,
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => TlsFault::NoCommonVersion,
        Error::PeerIncompatible(_) => TlsFault::NoCommonCipher,
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) if !established => TlsFault::OtherProtocol,
        _ => TlsFault::Violation,
    };
    Errno::from_raw_os_error(fault.number())
}

/// What `errno` means of a server that asked for a certificate and got none. Before TLS 1.3, which has an alert for it, such a
/// server ends the handshake by the alert for everything else (RFC 5246, section 7.4.6).
pub(super) fn without_certificate(errno: Errno) -> Errno {
    match TlsFault::from_number(errno.raw_os_error()) {
        Some(TlsFault::NoCommonCipher | TlsFault::Alert(BAD_CERTIFICATE | ACCESS_DENIED)) => {
            Errno::from_raw_os_error(TlsFault::ClientCertificateRequired.number())
        }
        _ => errno,
    }
}

/// Alerts (RFC 8446, section 6.2).
const BAD_CERTIFICATE: u8 = 42;
const ACCESS_DENIED: u8 = 49;

fn of_alert(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::ProtocolVersion => TlsFault::NoCommonVersion,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => TlsFault::NoCommonCipher,
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => TlsFault::ClientCertificateRequired,
        AlertDescription::UnrecognisedName => TlsFault::UnrecognisedName,
        other => TlsFault::Alert(other.into()),
    }
}

#[allow(deprecated, reason = "rustls still declares the older variants, so a match has to name them")]
fn of_certificate(fault: &CertificateError) -> TlsFault {
    match fault {
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFault::WrongName,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => TlsFault::WrongPurpose,
        CertificateError::BadSignature => TlsFault::BadSignature,
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => TlsFault::UnsupportedKey,
        CertificateError::Revoked => TlsFault::Revoked,
        CertificateError::Other(OtherError(other)) => {
            other.downcast_ref().map_or(TlsFault::UnreadableCertificate, |Refusal(fault)| *fault)
        }
        _ => TlsFault::UnreadableCertificate,
    }
}
