//! What is wrong with a TLS connection, as an error number.

use rustls::{AlertDescription, CertificateError, Error};

use crate::io::Errno;

/// The error number of an op that TLS fails; [`Op::Secure`](crate::io::Op::Secure) lists them.
pub(super) fn errno(error: &Error) -> Errno {
    match error {
        Error::InvalidCertificate(fault) => of_certificate(fault),
        Error::NoCertificatesPresented => Errno::KEYREJECTED,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Errno::PROTONOSUPPORT,
        Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol,
        ) => Errno::PROTONOSUPPORT,
        Error::AlertReceived(_) => Errno::CONNABORTED,
        Error::InvalidMessage(_) => Errno::BADMSG,
        _ => Errno::PROTO,
    }
}

fn of_certificate(fault: &CertificateError) -> Errno {
    match fault {
        CertificateError::UnknownIssuer => Errno::NOKEY,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Errno::KEYEXPIRED,
        _ => Errno::KEYREJECTED,
    }
}
