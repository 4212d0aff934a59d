//! Why a TLS connection did not come to be, or broke: one cause each, whose failure that is, and the remedy.

use std::fmt;

/// What is wrong with TLS on a connection, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsFault {
    /// Nobody trusted has issued the server's certificate.
    UnknownIssuer,
    /// The server's certificate vouches for itself, and is not among those trusted.
    SelfSigned,
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// The certificate is for another name.
    WrongName,
    /// The certificate is an authority's (CA:TRUE), and is not itself among those trusted.
    AuthorityCertificate,
    /// The certificate may not be used by a server (extended key usage).
    WrongPurpose,
    /// The certificate is X.509 version 1 or 2, which has no subject alternative names.
    OldCertificate,
    /// An RSA key of less than 2048 bits.
    ShortKey,
    /// A key or signature of a kind that this program cannot verify.
    UnsupportedKey,
    /// The certificate, or the server's proof that it holds the key, is not signed as it claims.
    BadSignature,
    /// The certificate has been revoked.
    Revoked,
    /// The certificate cannot be read, or is unacceptable for a rarer reason.
    UnreadableCertificate,
    /// No version of TLS that both sides speak.
    NoCommonVersion,
    /// The same version, but no cipher suite, curve or kind of key that both sides know.
    NoCommonCipher,
    /// The server demands a certificate of its clients.
    ClientCertificateRequired,
    /// The server has no certificate for the name it was asked for.
    UnrecognisedName,
    /// The port does not speak TLS.
    OtherProtocol,
    /// The server breaks the rules of TLS.
    Violation,
    /// The server ended the connection by another alert (RFC 8446, section 6), of this number.
    Alert(u8),
}

/// The number of the first fault. The kernel's error numbers are all below it: the largest that it uses internally is 530
/// (include/linux/errno.h), and the largest that a system call could return is 4095.
const FIRST_NUMBER: i32 = 2000;
/// Alerts follow the other faults.
const FIRST_ALERT: i32 = FIRST_NUMBER + 100;

/// All but alerts, by number.
const NUMBERED: [TlsFault; 19] = [
    TlsFault::UnknownIssuer,
    TlsFault::SelfSigned,
    TlsFault::Expired,
    TlsFault::NotYetValid,
    TlsFault::WrongName,
    TlsFault::AuthorityCertificate,
    TlsFault::WrongPurpose,
    TlsFault::OldCertificate,
    TlsFault::ShortKey,
    TlsFault::UnsupportedKey,
    TlsFault::BadSignature,
    TlsFault::Revoked,
    TlsFault::UnreadableCertificate,
    TlsFault::NoCommonVersion,
    TlsFault::NoCommonCipher,
    TlsFault::ClientCertificateRequired,
    TlsFault::UnrecognisedName,
    TlsFault::OtherProtocol,
    TlsFault::Violation,
];

impl TlsFault {
    /// Every fault, with one alert for all of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NUMBERED.into_iter().chain([Self::Alert(80)])
    }

    /// An error number that no kernel returns: how a completion tells this fault.
    pub fn number(self) -> i32 {
        match self {
            Self::Alert(alert) => FIRST_ALERT + i32::from(alert),
            _ => {
                let index = NUMBERED.iter().position(|fault| *fault == self).expect("every fault has a number");
                FIRST_NUMBER + index as i32
            }
        }
    }

    /// The fault of this error number, if it is one of [`number`](Self::number)'s.
    pub fn from_number(number: i32) -> Option<Self> {
        let numbered = number.checked_sub(FIRST_NUMBER).and_then(|index| usize::try_from(index).ok());
        let alert = number.checked_sub(FIRST_ALERT).and_then(|alert| u8::try_from(alert).ok());
        numbered.and_then(|index| NUMBERED.get(index)).copied().or(alert.map(Self::Alert))
    }

    /// The server's certificate is at fault, not the handshake.
    pub const fn is_of_certificate(self) -> bool {
        use TlsFault as Fault;
        match self {
            Fault::UnknownIssuer
            | Fault::SelfSigned
            | Fault::Expired
            | Fault::NotYetValid
            | Fault::WrongName
            | Fault::AuthorityCertificate
            | Fault::WrongPurpose
            | Fault::OldCertificate
            | Fault::ShortKey
            | Fault::UnsupportedKey
            | Fault::BadSignature
            | Fault::Revoked
            | Fault::UnreadableCertificate => true,
            Fault::NoCommonVersion
            | Fault::NoCommonCipher
            | Fault::ClientCertificateRequired
            | Fault::UnrecognisedName
            | Fault::OtherProtocol
            | Fault::Violation
            | Fault::Alert(_) => false,
        }
    }

    /// Other clients may get along with this server: this one lacks an algorithm or a certificate of its own.
    pub const fn may_be_ours(self) -> bool {
        matches!(
            self,
            Self::OldCertificate
                | Self::ShortKey
                | Self::UnsupportedKey
                | Self::UnreadableCertificate
                | Self::NoCommonCipher
                | Self::ClientCertificateRequired
        )
    }

    /// What to do about it, one line.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::UnknownIssuer => {
                "give the issuer's certificate with --tls-ca, or let the server send its intermediates"
            }
            Self::SelfSigned => "give this very certificate with --tls-ca, or use --insecure in a test",
            Self::Expired => "renew the certificate (or mend this machine's clock), or use --insecure in a test",
            Self::NotYetValid => "compare the clocks of both machines; --insecure does without the check",
            Self::WrongName => "ask for a name that the certificate has (--tls-name), or use --insecure in a test",
            Self::AuthorityCertificate => "give this very certificate with --tls-ca, or issue one with CA:FALSE",
            Self::WrongPurpose => "issue a certificate with the extended key usage serverAuth, or use --insecure",
            Self::OldCertificate => {
                "issue the certificate as X.509 v3 with its names in subjectAltName, or use --insecure"
            }
            Self::ShortKey => "give the server an RSA key of 2048 bits or more, or an ECDSA key; or use --insecure",
            Self::UnsupportedKey => "use a key that is known here (RSA, ECDSA P-256 or P-384, Ed25519), or --insecure",
            Self::BadSignature => {
                "the certificate does not match the server's key or its issuer: install the right pair"
            }
            Self::Revoked => "replace the certificate: its authority has revoked it",
            Self::UnreadableCertificate => "look at it with `openssl x509 -text`, or use --insecure in a test",
            Self::NoCommonVersion => "enable TLS 1.2 or 1.3 on the server (older ones are deprecated by RFC 8996)",
            Self::NoCommonCipher => "enable an AES-GCM or ChaCha20 suite with ECDHE on X25519, P-256 or P-384",
            Self::ClientCertificateRequired => {
                "let the server do without client certificates: shakedown has none to show"
            }
            Self::UnrecognisedName => "ask for a name that the server serves: --tls-name",
            Self::OtherProtocol => "no TLS there: check that the port is the one for rtmps://",
            Self::Violation => "look for a bug in the server's TLS, or for a proxy in between",
            Self::Alert(_) => "the server's log names the reason for its alert",
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "the certificate's issuer is not trusted",
            Self::SelfSigned => "the certificate is self-signed and not trusted",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::WrongName => "the certificate is for another name",
            Self::AuthorityCertificate => "the certificate is an authority's (CA:TRUE), not a server's",
            Self::WrongPurpose => "the certificate is not for servers (extended key usage)",
            Self::OldCertificate => "the certificate is not X.509 v3",
            Self::ShortKey => "the certificate's RSA key is shorter than 2048 bits",
            Self::UnsupportedKey => "the certificate's key or signature is of a kind not supported here",
            Self::BadSignature => "a signature of the certificate or of the server does not verify",
            Self::Revoked => "the certificate is revoked",
            Self::UnreadableCertificate => "the certificate cannot be read",
            Self::NoCommonVersion => "the server speaks neither TLS 1.2 nor 1.3",
            Self::NoCommonCipher => "no cipher suite, curve or kind of key in common",
            Self::ClientCertificateRequired => "the server demands a client certificate",
            Self::UnrecognisedName => "the server does not know the name it was asked for",
            Self::OtherProtocol => "the port does not speak TLS",
            Self::Violation => "the server breaks the TLS protocol",
            Self::Alert(alert) => return write!(f, "the server ended TLS by alert {alert} ({})", alert_name(*alert)),
        })
    }
}

/// The name of an alert in RFC 8446, appendix B.2, and in RFC 5246 for those of TLS 1.2.
const fn alert_name(alert: u8) -> &'static str {
    match alert {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        120 => "no_application_protocol",
        _ => "unassigned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_keep_their_numbers_and_no_kernels_number_is_one() {
        let alerts = (0..=255).map(TlsFault::Alert);
        for fault in TlsFault::all().chain(alerts) {
            assert_eq!(TlsFault::from_number(fault.number()), Some(fault));
            assert!(fault.number() <= 4095, "{fault:?} fits an error number");
        }
        for number in
            [i32::MIN, -1, 0, 1, 110, 133, 530, FIRST_NUMBER - 1, FIRST_ALERT - 1, FIRST_ALERT + 256, i32::MAX]
        {
            assert_eq!(TlsFault::from_number(number), None, "{number}");
        }
    }

    #[test]
    fn each_fault_has_words_and_a_remedy_of_its_own() {
        let all: Vec<_> = TlsFault::all().collect();
        for (index, fault) in all.iter().enumerate() {
            assert!(fault.advice().len() <= 90, "{fault:?}: {} characters", fault.advice().len());
            for other in &all[..index] {
                assert_ne!(fault.to_string(), other.to_string());
            }
        }
        assert_eq!(TlsFault::Alert(48).to_string(), "the server ended TLS by alert 48 (unknown_ca)");
    }
}
