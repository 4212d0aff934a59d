//! What real clients send.

mod filler;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use filler::Filler;

use super::wire::C0C1_SIZE;
use super::{C1Spec, DigestAt, HandshakeMode};

/// A client whose handshake is imitated. C0 is 3 for all of them.
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
}

/// How a profile is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It is this program's own.
    Own,
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
    /// Whether C1 is signed.
    pub mode: HandshakeMode,
    /// Where a signed C1 holds its digest; without meaning in simple mode.
    pub digest_at: DigestAt,
    /// C1's time.
    pub time: C1Time,
    /// C1's version bytes.
    pub version: [u8; 4],
    /// The rest of C1, and of a C2 that does not repeat S1.
    pub filler: Filler,
    /// What C2 is made from.
    pub c2: C2Rule,
    /// In how many sends C0C1 leaves.
    pub segments: C0C1Segments,
    /// STUB
    pub course: Option<Course>,
}
/// STUB
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// STUB
    pub pacing: Pacing,
    /// STUB
    pub afterwards: Afterwards,
}
/// STUB
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// STUB
    AtOnce,
    /// STUB
    Split {
        /// STUB
        first: u16,
        /// STUB
        gap: crate::base::Nanos,
    },
    /// STUB
    Drip {
        /// STUB
        gap: crate::base::Nanos,
    },
}
/// STUB
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// STUB
    Handshake,
    /// STUB
    WithoutC2,
    /// STUB
    WrongC2,
    /// STUB
    Nothing,
    /// STUB
    Close,
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

/// In how many sends C0C1 leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum C0C1Segments {
    /// 1537 bytes at once.
    One,
    /// C0, then C1.
    C0ThenC1,
}

/// A text that names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a client; the clients are {names}", names = ClientProfile::ALL.map(|profile| profile.name()).join(", "))]
pub struct UnknownProfile(String);

impl ClientProfile {
    /// STUB
    pub const fn is_hostile(self) -> bool {
        false
    }
    /// Every profile.
    pub const ALL: [Self; 13] = [
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
    ];

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
                segments: C0C1Segments::C0ThenC1,
                course: None,
            },
            Self::SrsBench => ClientSpec { time: C1Time::UnixSeconds, filler: Filler::MiddleBytes, ..LIBRTMP },
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
            mode,
            digest_at,
            time: C1Time::Zero,
            version: c1.version,
            filler: Filler::Random,
            c2: C2Rule::SHAKEDOWN,
            segments: C0C1Segments::One,
            course: None,
        }
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

impl C0C1Segments {
    /// Bytes of the first send.
    pub const fn first(self) -> usize {
        match self {
            Self::One => C0C1_SIZE,
            Self::C0ThenC1 => 1,
        }
    }
}

const FFMPEG_PLAY: ClientSpec = ClientSpec {
    mode: HandshakeMode::Complex,
    digest_at: DigestAt::FirstHalf,
    time: C1Time::Zero,
    version: [0x09, 0x00, 0x7c, 0x02],
    filler: Filler::Ffmpeg,
    c2: C2Rule { signing: C2Signing::FillerFromVersion3, echo_sets_time: false },
    segments: C0C1Segments::One,
    course: None,
};

const LIBRTMP: ClientSpec = ClientSpec {
    mode: HandshakeMode::Simple,
    digest_at: DigestAt::FirstHalf,
    time: C1Time::UptimeMs,
    version: [0; 4],
    filler: Filler::UnseededRand,
    c2: C2Rule::ECHO,
    segments: C0C1Segments::One,
    course: None,
};

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
    fn names_are_read_back() {
        for profile in ClientProfile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.name());
        }
        let error = "ffmpg".parse::<ClientProfile>().unwrap_err().to_string();
        assert!(error.starts_with("'ffmpg' is not a client; the clients are shakedown, ffmpeg, "), "{error}");
    }
}
