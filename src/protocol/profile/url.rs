//! How clients take a URL apart.
//!
//! RTMP sends an application in `connect` and a stream's name in `publish` or `play`. A URL says neither where the one ends
//! nor where the other begins, and clients differ where a path has more than two parts.

use super::ClientProfile;

/// How a client divides what follows host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UrlRule {
    /// FFmpeg: an application has two parts if the path has three, unless a `:` comes before the third.
    Ffmpeg,
    /// librtmp: an application has as many parts as it can, up to three.
    Librtmp,
    /// nginx-rtmp: an application is one part.
    FirstSlash,
    /// gstreamer's rtmp2 and SRS: the name is the last part.
    LastSlash,
    /// ZLMediaKit: an application has two parts if the path has three, unless a `?` comes before the third.
    Zlmediakit,
}

impl ClientProfile {
    /// How it divides a URL. OBS Studio is given the two apart, and divides none: here it follows the librtmp that it is
    /// built with. Clients of our own follow FFmpeg.
    pub const fn url_rule(self) -> UrlRule {
        match self {
            Self::Obs | Self::Librtmp | Self::LibrtmpSwf => UrlRule::Librtmp,
            Self::Gstreamer | Self::Srs | Self::SrsBench => UrlRule::LastSlash,
            Self::NginxRtmp => UrlRule::FirstSlash,
            Self::Zlmediakit => UrlRule::Zlmediakit,
            _ => UrlRule::Ffmpeg,
        }
    }
}

impl UrlRule {
    /// Application and name in a path without its first slash; the name is empty if the path has none.
    pub fn split(self, path: &str) -> (&str, &str) {
        let two = |at: usize| (&path[..at], &path[at + 1..]);
        let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).take(3).collect();
        let (Some(&first), Some(last)) = (slashes.first(), path.rfind('/')) else { return (path, "") };
        let second_unless = |mark: char| match slashes.get(1) {
            Some(&second) if !path[first..second].contains(mark) => second,
            _ => first,
        };
        match self {
            Self::Ffmpeg | Self::Librtmp if path.starts_with("ondemand/") => two(first),
            Self::Ffmpeg => two(second_unless(':')),
            Self::Librtmp => two(slashes[slashes.len() - 1]),
            Self::FirstSlash => two(first),
            Self::LastSlash => two(last),
            Self::Zlmediakit => two(second_unless('?')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_divides_a_path_as_its_original_does() {
        use UrlRule::{Ffmpeg, FirstSlash, LastSlash, Librtmp, Zlmediakit};
        for (path, split, rules) in [
            ("live", ("live", ""), &[Ffmpeg, Librtmp, FirstSlash, LastSlash, Zlmediakit][..]),
            ("live/key", ("live", "key"), &[Ffmpeg, Librtmp, FirstSlash, LastSlash, Zlmediakit]),
            ("live/inst/key", ("live/inst", "key"), &[Ffmpeg, Librtmp, LastSlash, Zlmediakit]),
            ("live/inst/key", ("live", "inst/key"), &[FirstSlash]),
            ("a/b/c/d", ("a/b", "c/d"), &[Ffmpeg, Zlmediakit]),
            ("a/b/c/d", ("a/b/c", "d"), &[Librtmp, LastSlash]),
            ("a/b/c/d/e", ("a/b/c", "d/e"), &[Librtmp]),
            ("live?vhost=demo/key", ("live?vhost=demo", "key"), &[Ffmpeg, Librtmp, FirstSlash, LastSlash, Zlmediakit]),
            ("live/mp4:dir/key", ("live", "mp4:dir/key"), &[Ffmpeg, FirstSlash]),
            ("live/mp4:dir/key", ("live/mp4:dir", "key"), &[Librtmp, LastSlash, Zlmediakit]),
            ("live/key?token=a/b", ("live/key?token=a", "b"), &[Ffmpeg, Librtmp, LastSlash]),
            ("live/key?token=a/b", ("live", "key?token=a/b"), &[FirstSlash, Zlmediakit]),
            ("ondemand/a/b", ("ondemand", "a/b"), &[Ffmpeg, Librtmp]),
            ("live/inst/", ("live/inst", ""), &[Ffmpeg, Librtmp, LastSlash, Zlmediakit]),
        ] {
            for rule in rules {
                assert_eq!(rule.split(path), split, "{path} by {rule:?}");
            }
        }
    }
}
