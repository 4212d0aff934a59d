//! What clients send: real ones, and hostile or odd ones.

mod conduct;
mod filler;
mod hostile;
mod session;
mod url;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use conduct::{Afterwards, Opening, Pacing};
pub use filler::Filler;
pub use url::UrlRule;

use super::wire::RTMP_VERSION;
use super::{C1Spec, DigestAt, HandshakeMode};
use crate::base::Nanos;

/// A client: first those whose handshake is imitated, then those that break the rules ([`Self::is_hostile`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientProfile {
    /// This program: random bytes in every C1, and a C2 by the book.
    Shakedown,
    /// ffmpeg, publishing.
    Ffmpeg,
    /// ffmpeg, playing.
    FfmpegPlay,
    /// mpv, which plays through ffmpeg's library.
    Mpv,
    /// VLC, which plays through ffmpeg's library.
    Vlc,
    /// OBS Studio, whose librtmp is vendored.
    Obs,
    /// librtmp (rtmpdump, gstreamer's rtmpsink).
    Librtmp,
    /// librtmp with SWF verification.
    LibrtmpSwf,
    /// gstreamer's rtmp2sink.
    Gstreamer,
    /// The relay of nginx-rtmp.
    NginxRtmp,
    /// SRS as a client of another server.
    Srs,
    /// ZLMediaKit as a client of another server.
    Zlmediakit,
    /// srs-bench.
    SrsBench,

    /// Hostile: C0 is 0, an obsolete version.
    #[serde(rename = "version-0x00")]
    Version0x00,
    /// Hostile: C0 is 1, an obsolete version.
    #[serde(rename = "version-0x01")]
    Version0x01,
    /// Hostile: C0 is 6, that of RTMPE, before the C1 of plain RTMP.
    #[serde(rename = "version-0x06")]
    Version0x06,
    /// Hostile: C0 is 0x20, the first of the values that are not allowed.
    #[serde(rename = "version-0x20")]
    Version0x20,
    /// Hostile: one bit of C1's digest is wrong.
    WrongDigest,
    /// Hostile: C1 is signed, and all its filler is zero.
    ZeroFiller,
    /// Hostile: C0 and half of C1, then silence.
    HalfC1,
    /// Hostile: C0C1 at one byte a second.
    Drip,
    /// Hostile: no C2.
    NoC2,
    /// Hostile: a wrong C2.
    WrongC2,
    /// Hostile: it connects and says nothing.
    Silent,
    /// Hostile: it closes as soon as C0C1 is out.
    CloseAfterC1,
    /// Odd: an HTTP request.
    Http,
    /// Odd: a TLS ClientHello.
    Tls,
    /// Odd: C0C1 is cut after 1536 bytes.
    #[serde(rename = "split-1536")]
    Split1536,
    /// Hostile: C2 leaves with C0C1.
    EarlyC2,
}

/// How a profile is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It is this program's own.
    Own,
    /// It is this program's own, made to break the rules.
    Hostile,
    /// Recorded: the folders of `tests/vectors` that hold it.
    Captured(&'static [&'static str]),
    /// The client uses the library of a client that was recorded.
    SameLibrary(ClientProfile),
    /// Read in the client's source; not recorded.
    Source,
}

/// Everything that distinguishes a client's side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSpec {
    /// What it sends first.
    pub opening: Opening,
    /// How the opening is cut into sends.
    pub pacing: Pacing,
    /// What it does then.
    pub afterwards: Afterwards,
    /// The version byte.
    pub c0: u8,
    /// Whether C1 is signed.
    pub mode: HandshakeMode,
    /// Where a signed C1 holds its digest; without meaning in simple mode.
    pub digest_at: DigestAt,
    /// Whether that digest is right; without meaning in simple mode.
    pub digest: C1Digest,
    /// C1's time.
    pub time: C1Time,
    /// C1's version bytes.
    pub version: [u8; 4],
    /// The rest of C1, and of a C2 that does not repeat S1.
    pub filler: Filler,
    /// What C2 is made from.
    pub c2: C2Rule,
}

/// Whether a signed C1 proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum C1Digest {
    /// The digest is right.
    Right,
    /// The lowest bit of its first byte is inverted.
    OneBitWrong,
}

/// Which clock C1's time is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum C1Time {
    /// None: always 0.
    Zero,
    /// Milliseconds since the machine started.
    UptimeMs,
    /// Seconds since 1970.
    UnixSeconds,
}

/// The clocks of a client's machine. C1's time is that of the moment its template is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientClock {
    /// Milliseconds since the machine started, modulo 2^32.
    pub uptime_ms: u32,
    /// Seconds since 1970, modulo 2^32.
    pub unix_s: u32,
}

/// What C2 is made from: it is signed from S1's digest, or it is the echo of S1. Without a digest in S1 it is the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct C2Rule {
    /// When C2 is signed.
    pub signing: C2Signing,
    /// An echo says in bytes 4..8 when S1 was read; else it is S1 unchanged.
    pub echo_sets_time: bool,
}

/// When C2 is signed, and what lies before its digest then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum C2Signing {
    /// Never.
    Never,
    /// Always; the client's own filler lies before the digest.
    Filler,
    /// If S1's first version byte is at least 3, the client's own filler lies before the digest.
    FillerFromVersion3,
    /// Always; S1's first 1504 bytes lie before the digest.
    CopyOfS1,
}

/// A text that names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a client; the clients are {imitated}; hostile and odd ones are {hostile}",
    imitated = names(false),
    hostile = names(true)
)]
pub struct UnknownProfile(String);

impl ClientProfile {
    /// Every profile: the imitated ones, then the hostile and odd ones.
    pub const ALL: [Self; 29] = [
        Self::Shakedown,
        Self::Ffmpeg,
        Self::FfmpegPlay,
        Self::Mpv,
        Self::Vlc,
        Self::Obs,
        Self::Librtmp,
        Self::LibrtmpSwf,
        Self::Gstreamer,
        Self::NginxRtmp,
        Self::Srs,
        Self::Zlmediakit,
        Self::SrsBench,
        Self::Version0x00,
        Self::Version0x01,
        Self::Version0x06,
        Self::Version0x20,
        Self::WrongDigest,
        Self::ZeroFiller,
        Self::HalfC1,
        Self::Drip,
        Self::NoC2,
        Self::WrongC2,
        Self::Silent,
        Self::CloseAfterC1,
        Self::Http,
        Self::Tls,
        Self::Split1536,
        Self::EarlyC2,
    ];

    /// Whether it breaks the rules of the handshake, or of what arrives together: what counts of its attempts is how the
    /// server reacts, and they neither complete nor fail.
    pub const fn is_hostile(self) -> bool {
        matches!(self.provenance(), Provenance::Hostile)
    }

    /// It sends something else than RTMP, or nothing.
    pub const fn speaks_no_rtmp(self) -> bool {
        matches!(self, Self::Silent | Self::Http | Self::Tls)
    }

    /// Its name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shakedown => "shakedown",
            Self::Ffmpeg => "ffmpeg",
            Self::FfmpegPlay => "ffmpeg-play",
            Self::Mpv => "mpv",
            Self::Vlc => "vlc",
            Self::Obs => "obs",
            Self::Librtmp => "librtmp",
            Self::LibrtmpSwf => "librtmp-swf",
            Self::Gstreamer => "gstreamer",
            Self::NginxRtmp => "nginx-rtmp",
            Self::Srs => "srs",
            Self::Zlmediakit => "zlmediakit",
            Self::SrsBench => "srs-bench",
            Self::Version0x00 => "version-0x00",
            Self::Version0x01 => "version-0x01",
            Self::Version0x06 => "version-0x06",
            Self::Version0x20 => "version-0x20",
            Self::WrongDigest => "wrong-digest",
            Self::ZeroFiller => "zero-filler",
            Self::HalfC1 => "half-c1",
            Self::Drip => "drip",
            Self::NoC2 => "no-c2",
            Self::WrongC2 => "wrong-c2",
            Self::Silent => "silent",
            Self::CloseAfterC1 => "close-after-c1",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Split1536 => "split-1536",
            Self::EarlyC2 => "early-c2",
        }
    }

    /// What it sends.
    pub const fn spec(self) -> ClientSpec {
        match self {
            Self::Shakedown => ClientSpec::shakedown(HandshakeMode::Complex, DigestAt::FirstHalf),
            Self::Ffmpeg => ClientSpec { c2: C2Rule::ECHO, ..FFMPEG_PLAY },
            Self::FfmpegPlay | Self::Mpv | Self::Vlc => FFMPEG_PLAY,
            Self::Obs | Self::Librtmp => LIBRTMP,
            Self::LibrtmpSwf => ClientSpec {
                mode: HandshakeMode::Complex,
                version: [0x0a, 0x00, 0x2d, 0x02],
                c2: C2Rule::SIGNED,
                ..LIBRTMP
            },
            Self::Gstreamer => ClientSpec { filler: Filler::Random, c2: C2Rule::TIMED_ECHO, ..LIBRTMP },
            Self::NginxRtmp => ClientSpec {
                mode: HandshakeMode::Complex,
                version: [0x0c, 0x00, 0x0d, 0x0e],
                filler: Filler::Random,
                c2: C2Rule::SIGNED,
                ..LIBRTMP
            },
            Self::Srs => ClientSpec {
                mode: HandshakeMode::Complex,
                time: C1Time::UnixSeconds,
                version: [0x80, 0x00, 0x07, 0x02],
                filler: Filler::MiddleBytes,
                c2: C2Rule::SIGNED,
                ..LIBRTMP
            },
            Self::Zlmediakit => ClientSpec {
                mode: HandshakeMode::Complex,
                digest_at: DigestAt::SecondHalf,
                time: C1Time::Zero,
                version: [0x80, 0x00, 0x07, 0x02],
                filler: Filler::Letters,
                c2: C2Rule { signing: C2Signing::CopyOfS1, echo_sets_time: false },
                pacing: Pacing::Split { first: 1, gap: Nanos::ZERO },
                ..LIBRTMP
            },
            Self::SrsBench => ClientSpec { time: C1Time::UnixSeconds, filler: Filler::MiddleBytes, ..LIBRTMP },
            Self::Version0x00 => hostile::version(0x00),
            Self::Version0x01 => hostile::version(0x01),
            Self::Version0x06 => hostile::version(0x06),
            Self::Version0x20 => hostile::version(0x20),
            Self::WrongDigest => hostile::WRONG_DIGEST,
            Self::ZeroFiller => hostile::ZERO_FILLER,
            Self::HalfC1 => hostile::HALF_C1,
            Self::Drip => hostile::DRIP,
            Self::NoC2 => hostile::NO_C2,
            Self::WrongC2 => hostile::WRONG_C2,
            Self::Silent => hostile::SILENT,
            Self::CloseAfterC1 => hostile::CLOSE_AFTER_C1,
            Self::Http => hostile::HTTP,
            Self::Tls => hostile::TLS,
            Self::Split1536 => hostile::SPLIT_1536,
            Self::EarlyC2 => hostile::EARLY_C2,
        }
    }

    /// How it is known. Recorded in November 2026; the manifest of the captures has the versions.
    pub const fn provenance(self) -> Provenance {
        match self {
            Self::Shakedown => Provenance::Own,
            Self::Ffmpeg => {
                Provenance::Captured(&["ffmpeg__nginx", "ffmpeg__srs", "ffmpeg__zlmediakit", "ffmpeg__ffmpeg-listen"])
            }
            Self::FfmpegPlay => Provenance::Captured(&["ffmpeg-play__nginx", "ffmpeg-play__srs"]),
            Self::Mpv | Self::Vlc => Provenance::SameLibrary(Self::FfmpegPlay),
            Self::Obs | Self::Srs => Provenance::Source,
            Self::Librtmp => Provenance::Captured(&["rtmpdump__nginx", "rtmpdump__srs", "gstreamer-rtmpsink__nginx"]),
            Self::LibrtmpSwf => Provenance::Captured(&["rtmpdump-swfvfy__srs"]),
            Self::Gstreamer => Provenance::Captured(&["gstreamer-rtmp2__srs"]),
            Self::NginxRtmp => Provenance::Captured(&["nginx-relay__srs"]),
            Self::Zlmediakit => Provenance::Captured(&["zlm-bench-pull__nginx"]),
            Self::SrsBench => Provenance::Captured(&["srs-bench-load__srs"]),
            Self::Version0x00
            | Self::Version0x01
            | Self::Version0x06
            | Self::Version0x20
            | Self::WrongDigest
            | Self::ZeroFiller
            | Self::HalfC1
            | Self::Drip
            | Self::NoC2
            | Self::WrongC2
            | Self::Silent
            | Self::CloseAfterC1
            | Self::Http
            | Self::Tls
            | Self::Split1536
            | Self::EarlyC2 => Provenance::Hostile,
        }
    }
}

impl ClientSpec {
    /// This program's own client; `digest_at` is without meaning in simple mode.
    pub const fn shakedown(mode: HandshakeMode, digest_at: DigestAt) -> Self {
        let c1 = match mode {
            HandshakeMode::Simple => C1Spec::simple(),
            HandshakeMode::Complex => C1Spec::complex(digest_at),
        };
        Self {
            opening: Opening::C0C1,
            pacing: Pacing::AtOnce,
            afterwards: Afterwards::Handshake,
            c0: RTMP_VERSION,
            mode,
            digest_at,
            digest: C1Digest::Right,
            time: C1Time::Zero,
            version: c1.version,
            filler: Filler::Random,
            c2: C2Rule::SHAKEDOWN,
        }
    }

    /// Every opening of this client is the same but for C1's time.
    pub const fn is_constant(&self) -> bool {
        self.filler.is_constant() || matches!(self.opening, Opening::Bytes(_))
    }

    /// The C1 it sends when its machine's clocks show `clock`.
    pub const fn c1(&self, clock: ClientClock) -> C1Spec {
        let time = match self.time {
            C1Time::Zero => 0,
            C1Time::UptimeMs => clock.uptime_ms,
            C1Time::UnixSeconds => clock.unix_s,
        };
        C1Spec { mode: self.mode, digest_at: self.digest_at, time, version: self.version }
    }
}

impl C2Rule {
    /// Signed where S1 holds a digest, else an echo that says when S1 was read.
    pub const SHAKEDOWN: Self = Self { signing: C2Signing::Filler, echo_sets_time: true };
    const ECHO: Self = Self { signing: C2Signing::Never, echo_sets_time: false };
    const TIMED_ECHO: Self = Self { signing: C2Signing::Never, echo_sets_time: true };
    const SIGNED: Self = Self { signing: C2Signing::Filler, echo_sets_time: false };
}

const FFMPEG_PLAY: ClientSpec = ClientSpec {
    version: [0x09, 0x00, 0x7c, 0x02],
    filler: Filler::Ffmpeg,
    c2: C2Rule { signing: C2Signing::FillerFromVersion3, echo_sets_time: false },
    ..ClientSpec::shakedown(HandshakeMode::Complex, DigestAt::FirstHalf)
};

const LIBRTMP: ClientSpec = ClientSpec {
    time: C1Time::UptimeMs,
    filler: Filler::UnseededRand,
    c2: C2Rule::ECHO,
    ..ClientSpec::shakedown(HandshakeMode::Simple, DigestAt::FirstHalf)
};

fn names(hostile: bool) -> String {
    let profiles = ClientProfile::ALL.into_iter().filter(|profile| profile.is_hostile() == hostile);
    profiles.map(ClientProfile::name).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ClientProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ClientProfile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.name() == text).ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_listed_once_and_the_hostile_ones_last() {
        let mut names = ClientProfile::ALL.map(ClientProfile::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ClientProfile::ALL.len());
        assert_eq!(ClientProfile::ALL.last().map(|last| *last as usize + 1), Some(names.len()));
        assert!(ClientProfile::ALL.is_sorted_by_key(|profile| (profile.is_hostile(), *profile as usize)));
    }

    #[test]
    fn names_are_read_back() {
        for profile in ClientProfile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.name());
        }
        let error = "ffmpg".parse::<ClientProfile>().unwrap_err().to_string();
        assert!(error.starts_with("'ffmpg' is not a client; the clients are shakedown, ffmpeg, "), "{error}");
        assert!(error.contains(", srs-bench; hostile and odd ones are version-0x00, "), "{error}");
        assert!(error.ends_with(", early-c2"), "{error}");
    }
}
