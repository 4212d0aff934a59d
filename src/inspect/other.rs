//! Connections that are no handshake: what they are instead, as far as their first bytes tell.

use serde::Serialize;

use super::{Endpoints, Side};
use crate::base::redact_bytes;
use crate::protocol::{C0C1_SIZE, RTMP_VERSION};

/// A TCP connection in a capture that is not explained as a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherConnection {
    /// Who spoke with whom.
    pub endpoints: Endpoints,
    /// What its first bytes look like.
    pub looks_like: Appearance,
    /// Who sent the first bytes that were captured; `None` if none were.
    pub first_from: Option<Side>,
    /// These bytes in hexadecimal, at most 16 of them. What may be text shows as `**`, unless it names the protocol.
    pub first_hex: String,
}

/// What the first bytes of a connection look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Appearance {
    /// Nobody sent a byte.
    Silent,
    /// Its first bytes are not in the capture.
    Uncaptured,
    /// A TLS record of a handshake (RFC 8446, section 5.1).
    Tls,
    /// An HTTP request.
    Http,
    /// An identification of SSH (RFC 4253, section 4.2).
    Ssh,
    /// The header of a load balancer, of version 1 or 2; what follows it is not looked at.
    ProxyHeader,
    /// A packet of RDP or H.323 (TPKT, RFC 2126, section 4.3).
    Tpkt,
    /// As long as C0C1 and in one piece, but of another version.
    OtherVersion,
    /// A version byte of RTMP, and then too little, or an answer that is none.
    BeginsLikeRtmp,
    /// The server speaks first, as that of mail or FTP does.
    ServerFirst,
    /// Something else.
    Unknown,
}

/// How requests of HTTP begin.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"PRI * "];

/// The first captured bytes of a connection.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    from: Side,
    bytes: Vec<u8>,
    /// How many came in one piece with these.
    size: usize,
}

impl Beginning {
    /// Bytes that are kept.
    const KEPT: usize = 16;

    /// Of what the client and the server sent; `None` if nothing of it is there.
    pub(super) fn of(client: &[u8], server: &[u8]) -> Option<Self> {
        let (from, bytes) = match (client, server) {
            ([], []) => return None,
            ([], server) => (Side::Server, server),
            (client, _) => (Side::Client, client),
        };
        Some(Self { from, bytes: bytes[..bytes.len().min(Self::KEPT)].to_vec(), size: bytes.len() })
    }

    /// What tells the protocol, and of the rest what is no text: that may be a key.
    fn shown(&self, looks_like: Appearance) -> String {
        let telling = match looks_like {
            Appearance::Http => {
                METHODS.into_iter().find(|method| self.bytes.starts_with(method)).map_or(0, <[u8]>::len)
            }
            Appearance::Tls | Appearance::Ssh | Appearance::ProxyHeader | Appearance::ServerFirst => self.bytes.len(),
            _ => 0,
        };
        let (telling, rest) = self.bytes.split_at(telling);
        telling.iter().map(|byte| format!("{byte:02x}")).chain(redact_bytes(rest)).collect()
    }

    fn appearance(&self) -> Appearance {
        let begins = |with: &[u8]| self.bytes.starts_with(with);
        match (&self.bytes[..], self.from) {
            _ if begins(b"SSH-") => Appearance::Ssh,
            (_, Side::Server) => Appearance::ServerFirst,
            ([0x16, 3, ..], _) => Appearance::Tls,
            _ if METHODS.into_iter().any(begins) => Appearance::Http,
            _ if begins(b"PROXY ") || begins(b"\r\n\r\n\0\r\nQUIT\n") => Appearance::ProxyHeader,
            ([RTMP_VERSION, 0, high, low, ..], _) if usize::from(u16::from_be_bytes([*high, *low])) == self.size => {
                Appearance::Tpkt
            }
            ([RTMP_VERSION | 6 | 8 | 9, ..], _) => Appearance::BeginsLikeRtmp,
            _ if self.size == C0C1_SIZE => Appearance::OtherVersion,
            _ => Appearance::Unknown,
        }
    }
}

impl OtherConnection {
    /// Of a connection that begins so; `uncaptured` if bytes came before those that were captured, `begins_late` if they may
    /// have.
    pub(super) fn new(
        endpoints: Endpoints,
        beginning: Option<&Beginning>,
        uncaptured: bool,
        begins_late: bool,
    ) -> Self {
        let looks_like = match beginning {
            _ if uncaptured => Appearance::Uncaptured,
            Some(beginning) => match beginning.appearance() {
                Appearance::Unknown if begins_late => Appearance::Uncaptured,
                appearance => appearance,
            },
            None => Appearance::Silent,
        };
        Self {
            endpoints,
            looks_like,
            first_from: beginning.map(|beginning| beginning.from),
            first_hex: beginning.map_or(String::new(), |beginning| beginning.shown(looks_like)),
        }
    }
}

impl Appearance {
    /// In words, to stand behind "looks like".
    pub fn text(self) -> &'static str {
        match self {
            Self::Silent => "nothing: nobody sent a byte",
            Self::Uncaptured => "nothing that is known: the capture misses its beginning",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Ssh => "SSH",
            Self::ProxyHeader => "a PROXY header; what follows it is not explained",
            Self::Tpkt => "RDP or H.323",
            Self::OtherVersion => "C0C1 of another version",
            Self::BeginsLikeRtmp => "RTMP in its first byte, but not in what follows",
            Self::ServerFirst => "a protocol in which the server speaks first",
            Self::Unknown => "no protocol that is known here",
        }
    }
}
