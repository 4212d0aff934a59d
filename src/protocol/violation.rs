//! What a peer can do wrong in a handshake, and how it is told to people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::wire::RTMP_VERSION;

/// How a peer broke the handshake. It is data about the target, not an error of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// The first byte is not 3 and belongs to no other protocol that is recognised.
    #[error("version byte {}: {}, not RTMP version 3", ByteText(*.byte), version_class(*.byte))]
    BadVersion {
        /// The byte in the place of S0 or C0.
        byte: u8,
    },
    /// The first byte is how another protocol begins.
    #[error("version byte {}: the peer speaks {looks_like}, not RTMP", ByteText(*.first))]
    NotRtmp {
        /// The byte in the place of S0 or C0.
        first: u8,
        /// The protocol that begins with it.
        looks_like: OtherProtocol,
    },
    /// A simple handshake whose S2 differs from C1 in bytes 8..1536.
    #[error("S2 does not echo C1")]
    BadEcho,
    /// A complex handshake was asked; S1 holds no digest that verifies, and S2 is no echo of C1 either.
    #[error("S1 holds no valid digest, and S2 does not echo C1")]
    BadS1Digest,
    /// S1 is signed; S2 is neither signed with C1's digest nor an echo of C1.
    #[error("S1 is signed, but S2 neither holds a valid digest nor echoes C1")]
    BadS2Digest,
}

/// A protocol that is not RTMP, recognised by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherProtocol {
    /// A status line ("HTTP/1.1 ...") from a server, a method ("GET", "POST" ...) from a client.
    Http,
    /// A TLS record of type alert (0x15) or handshake (0x16).
    Tls,
    /// Any other printable ASCII.
    Text,
}

impl fmt::Display for OtherProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Text => "a text protocol",
        })
    }
}

/// Accepts S0. Judges by this one byte, so that the verdict cannot depend on how the bytes were split.
pub(super) fn check_s0(byte: u8) -> Result<(), Violation> {
    check_version(byte, b"H")
}

/// Accepts C0. The letters are those that HTTP methods begin with: CONNECT, DELETE, GET, HEAD, OPTIONS, P..., TRACE.
pub(super) fn check_c0(byte: u8) -> Result<(), Violation> {
    check_version(byte, b"CDGHOPT")
}

fn check_version(byte: u8, http_initials: &[u8]) -> Result<(), Violation> {
    let looks_like = match byte {
        RTMP_VERSION => return Ok(()),
        _ if http_initials.contains(&byte) => OtherProtocol::Http,
        0x15 | 0x16 => OtherProtocol::Tls,
        b' '..=b'~' => OtherProtocol::Text,
        _ => return Err(Violation::BadVersion { byte }),
    };
    Err(Violation::NotRtmp { first: byte, looks_like })
}

/// The classes of Adobe's RTMP specification 1.0, section 5.2.2; 6, 8 and 9 are the encrypted variants in use.
fn version_class(byte: u8) -> &'static str {
    match byte {
        0..=2 => "an obsolete protocol",
        3 => "RTMP",
        6 | 8 | 9 => "encrypted RTMP (RTMPE)",
        4..=31 => "a reserved version",
        32.. => "a forbidden version",
    }
}

/// A byte as people look it up: hexadecimal, and the character it is.
struct ByteText(u8);

impl fmt::Display for ByteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)?;
        if self.0.is_ascii_graphic() { write!(f, " '{}'", char::from(self.0)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_names_the_protocol() {
        use OtherProtocol::{Http, Text, Tls};
        let other = |first, looks_like| Err(Violation::NotRtmp { first, looks_like });
        assert_eq!(check_s0(3), Ok(()));
        assert_eq!(check_s0(b'H'), other(b'H', Http));
        assert_eq!(check_s0(b'G'), other(b'G', Text), "a server answers a status line, not a method");
        assert_eq!(check_s0(b' '), other(b' ', Text));
        assert_eq!(check_s0(b'~'), other(b'~', Text));
        assert_eq!(check_s0(0x15), other(0x15, Tls));
        assert_eq!(check_s0(0x16), other(0x16, Tls));
        for byte in [0, 2, 4, 6, 0x14, 0x17, 31, 127, 128, 255] {
            assert_eq!(check_s0(byte), Err(Violation::BadVersion { byte }));
            assert_eq!(check_c0(byte), Err(Violation::BadVersion { byte }));
        }
        for method in ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"] {
            let first = method.as_bytes()[0];
            assert_eq!(check_c0(first), other(first, Http));
        }
        assert_eq!(check_c0(b'S'), other(b'S', Text), "SSH-2.0");
        assert_eq!(check_c0(0x16), other(0x16, Tls));
    }

    #[test]
    fn texts_say_what_the_peer_speaks() {
        let text = |byte| check_s0(byte).unwrap_err().to_string();
        assert_eq!(text(b'H'), "version byte 0x48 'H': the peer speaks HTTP, not RTMP");
        assert_eq!(text(0x16), "version byte 0x16: the peer speaks TLS, not RTMP");
        assert_eq!(text(b'+'), "version byte 0x2b '+': the peer speaks a text protocol, not RTMP");
        assert_eq!(text(6), "version byte 0x06: encrypted RTMP (RTMPE), not RTMP version 3");
        assert_eq!(text(0), "version byte 0x00: an obsolete protocol, not RTMP version 3");
        assert_eq!(text(7), "version byte 0x07: a reserved version, not RTMP version 3");
        assert_eq!(text(200), "version byte 0xc8: a forbidden version, not RTMP version 3");
    }
}
