//! Which server software answers like this, and which client speaks so.

mod client;

pub use client::{ClientGuess, likely_clients};

use super::explain::Explanation;
use super::wire::S0S1S2_SIZE;
use super::{DigestAt, HandshakeMode};

/// The servers known to answer as `explained` was answered, the best guess first; none if no known server does so. `segments` are the
/// sizes in which S0S1S2 (and what followed it) arrived; empty if unknown. They only rank and exclude: the network may
/// have joined what a server wrote in pieces.
///
/// The knowledge is from captures and measurements of November 2026; the versions are in the table below. It needs at
/// least S0S1, and tells most from a complex handshake.
pub fn likely_server(explained: &Explanation, segments: &[usize]) -> Vec<&'static str> {
    let arrived = cuts(segments);
    let answers_so: Vec<&Fingerprint> = FINGERPRINTS.iter().filter(|server| server.answers(explained)).collect();
    let mut likely: Vec<&Fingerprint> = answers_so
        .iter()
        .copied()
        .filter(|server| {
            let written = cuts(server.writes);
            arrived.iter().all(|cut| written.contains(cut))
        })
        .collect();
    if likely.is_empty() {
        likely = answers_so;
    }
    likely.sort_by_key(|server| segments.is_empty() || cuts(server.writes) != arrived);
    likely.iter().map(|server| server.name).collect()
}

/// Where the bytes of S0S1S2 were cut.
fn cuts(segments: &[usize]) -> Vec<usize> {
    let ends = segments.iter().scan(0usize, |end, &size| {
        *end = end.saturating_add(size);
        Some(*end)
    });
    ends.filter(|end| (1..S0S1S2_SIZE).contains(end)).collect()
}

struct Fingerprint {
    name: &'static str,
    writes: &'static [usize],
    signed: Option<SignedAnswer>,
    unsigned: UnsignedAnswer,
    /// What else is known of its S1, where others sign with the same version.
    s1: &'static [S1Trait],
}

enum S1Trait {
    /// Its time is always 0.
    ZeroTime,
    /// Its time is a clock's, which is 0 for a moment only.
    Clock,
    /// Around the digest there are only letters and digits.
    TextFiller,
    /// Around the digest there are bytes of any value.
    BinaryFiller,
}

impl S1Trait {
    fn fits(&self, explained: &Explanation) -> bool {
        match self {
            Self::ZeroTime => explained.s1_time == Some(0),
            Self::Clock => explained.s1_time != Some(0),
            Self::TextFiller => explained.s1_filler_is_text == Some(true),
            Self::BinaryFiller => explained.s1_filler_is_text == Some(false),
        }
    }
}

/// An S1 that holds its digest.
struct SignedAnswer {
    /// S1[4..8] in hexadecimal.
    version: &'static str,
    digest: Placement,
    /// Whether a simple client gets one too.
    to_simple_clients: bool,
}

enum Placement {
    Mirrors,
    Always(DigestAt),
}

/// What answers a C1 without a digest, and every C1 if the server cannot sign.
enum UnsignedAnswer {
    /// S1 is C1.
    CopyOfC1,
    /// S1[4..8] is C1's time.
    ClientTime,
    /// S1[4..8] is zero.
    ZeroVersion,
    /// S2 is C1 except for bytes 4..8; what its S1 looks like was not recorded.
    EchoWithTime,
    /// None.
    Never,
}

impl Fingerprint {
    fn answers(&self, explained: &Explanation) -> bool {
        let (Some(asked), Some(s1_is_c1)) = (explained.asked, explained.s1_is_c1) else {
            return false;
        };
        if !self.s1.iter().all(|known| known.fits(explained)) {
            return false;
        }
        let version = explained.s1_time_version.as_deref().map_or("", |s1| &s1[8..]);
        let client_time = explained.c1_time_version.as_deref().map_or("", |c1| &c1[..8]);
        match (explained.s1_digest_at, &self.signed) {
            (Some(at), Some(signed)) => {
                signed.version == version
                    && (asked == HandshakeMode::Complex || signed.to_simple_clients)
                    && match signed.digest {
                        Placement::Mirrors => explained.c1_digest_at == Some(at),
                        Placement::Always(always) => always == at,
                    }
            }
            (Some(_), None) => false,
            // A server that signs does so for every C1 that holds a digest.
            (None, Some(_)) if asked == HandshakeMode::Complex => false,
            (None, _) if s1_is_c1 => matches!(self.unsigned, UnsignedAnswer::CopyOfC1),
            (None, _) => match self.unsigned {
                UnsignedAnswer::ClientTime => version == client_time,
                UnsignedAnswer::ZeroVersion => version == "00000000",
                UnsignedAnswer::EchoWithTime => {
                    explained.s2_echoes_c1 == Some(false) && explained.s2_random_part_is_c1 == Some(true)
                }
                UnsignedAnswer::CopyOfC1 | UnsignedAnswer::Never => false,
            },
        }
    }
}

const ONE_WRITE: &[usize] = &[3073];
const S0S1_THEN_S2: &[usize] = &[1537, 1536];
const EACH_ALONE: &[usize] = &[1, 1536, 1536];

const FINGERPRINTS: &[Fingerprint] = &[
    // 1.2.2
    Fingerprint {
        name: "nginx-rtmp",
        writes: S0S1_THEN_S2,
        signed: always("0d0e0a0d", DigestAt::FirstHalf),
        unsigned: UnsignedAnswer::CopyOfC1,
        s1: &[],
    },
    // 7.0
    Fingerprint {
        name: "SRS",
        writes: ONE_WRITE,
        signed: mirrors("01000504"),
        unsigned: UnsignedAnswer::ClientTime,
        s1: &[],
    },
    // 4.4
    Fingerprint {
        name: "node-media-server",
        writes: ONE_WRITE,
        signed: mirrors("01020304"),
        unsigned: UnsignedAnswer::CopyOfC1,
        s1: &[],
    },
    // 0.37
    Fingerprint {
        name: "lal",
        writes: ONE_WRITE,
        signed: always("0d0e0a0d", DigestAt::FirstHalf),
        unsigned: UnsignedAnswer::ZeroVersion,
        s1: &[],
    },
    // 0.14
    Fingerprint {
        name: "xiu",
        writes: ONE_WRITE,
        signed: always("0d0e0a0d", DigestAt::SecondHalf),
        unsigned: UnsignedAnswer::ClientTime,
        s1: &[],
    },
    // commit 0efa1be5
    Fingerprint {
        name: "ZLMediaKit",
        writes: EACH_ALONE,
        signed: mirrors("04050001"),
        unsigned: UnsignedAnswer::ZeroVersion,
        s1: &[S1Trait::ZeroTime, S1Trait::TextFiller],
    },
    // 0.8; it sends S0S1 on the first byte of C0, so in one write only to a client that sends C0C1 in one.
    Fingerprint {
        name: "rml_rtmp",
        writes: ONE_WRITE,
        signed: Some(SignedAnswer {
            version: "80000702",
            digest: Placement::Always(DigestAt::SecondHalf),
            to_simple_clients: true,
        }),
        unsigned: UnsignedAnswer::Never,
        s1: &[],
    },
    // This program: what its `sink` answers. Its S1 says the version that two others say; their times and fillers differ.
    Fingerprint {
        name: "shakedown's sink",
        writes: ONE_WRITE,
        signed: mirrors("04050001"),
        unsigned: UnsignedAnswer::ZeroVersion,
        s1: &[S1Trait::ZeroTime, S1Trait::BinaryFiller],
    },
    // 0.2; the time is from its source, `current_time` in handshake/mod.rs.
    Fingerprint {
        name: "scuffle-rtmp",
        writes: ONE_WRITE,
        signed: mirrors("04050001"),
        unsigned: UnsignedAnswer::EchoWithTime,
        s1: &[S1Trait::Clock],
    },
    // The example server of librtmp 2.4; the simple answer is from its source, `SHandShake` in handshake.h.
    Fingerprint {
        name: "rtmpsrv",
        writes: S0S1_THEN_S2,
        signed: always("03050101", DigestAt::FirstHalf),
        unsigned: UnsignedAnswer::ZeroVersion,
        s1: &[],
    },
    // 5.1
    Fingerprint {
        name: "ffmpeg -listen",
        writes: EACH_ALONE,
        signed: None,
        unsigned: UnsignedAnswer::ZeroVersion,
        s1: &[],
    },
    // 0.3
    Fingerprint { name: "pyrtmp", writes: ONE_WRITE, signed: None, unsigned: UnsignedAnswer::ZeroVersion, s1: &[] },
];

const fn always(version: &'static str, at: DigestAt) -> Option<SignedAnswer> {
    Some(SignedAnswer { version, digest: Placement::Always(at), to_simple_clients: false })
}

const fn mirrors(version: &'static str) -> Option<SignedAnswer> {
    Some(SignedAnswer { version, digest: Placement::Mirrors, to_simple_clients: false })
}
