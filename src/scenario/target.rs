//! Targets as people write them, and the addresses they stand for.

use std::borrow::Cow;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use url::{Host, Url};

use super::PlanError;
use crate::base::table::Choice;
use crate::base::{Secret, host_address, redact_url};
use crate::load::StreamName;
use crate::protocol::UrlRule;

/// The RTMP port of IANA's registry.
const RTMP_PORT: u16 = 1935;
/// Where ffmpeg and librtmp look for RTMP over TLS.
const RTMPS_PORT: u16 = 443;

/// `rtmp://host[:port][/app[/stream]][?query]`, `host:port` or `[v6]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetText {
    /// As the user wrote it, without the stream's key and the query's values.
    pub text: String,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// RTMP over TLS.
    pub tls: bool,
    /// The application, as FFmpeg finds it; none if the path is empty.
    pub app: Option<String>,
    /// What follows it in `connect` and is not shown: `?` and parameters.
    pub app_query: Option<String>,
    /// The stream and its parameters, as FFmpeg finds them.
    pub stream: Option<StreamName>,
    /// What follows host and port, without the slash between.
    pub path: Secret<String>,
}

/// Finds the addresses of a host and port.
pub type Lookup<'a> = &'a dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>>;

/// The addresses of a name that are used, where it has both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl FromStr for TargetText {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let shown = redact_url(text);
        let refuse = |why: &str| {
            Err(PlanError::new(format!(
                "target '{shown}' {why}; write rtmp://host[:port][/app[/stream]], host:port or [v6]:port"
            )))
        };
        if text.ends_with(".toml") {
            return Err(PlanError::new(format!(
                "'{shown}' looks like a scenario file, which `run` and `check` read; give a target here"
            )));
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains('/'));
        let (zoneless, zone) = without_zone(text);
        let url = match scheme {
            Some(scheme) if ["rtmp", "rtmps"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                Url::parse(&zoneless)
            }
            Some(scheme) => return refuse(&format!("has scheme '{scheme}', which is not RTMP")),
            None => Url::parse(&format!("rtmp://{zoneless}")),
        };
        let url = match url {
            Ok(url) => url,
            Err(error) => return refuse(&format!("is not a target ({error})")),
        };
        if scheme.is_none() && url.port().is_none() {
            return refuse("names no port");
        }
        if scheme.is_none() && !matches!(url.path(), "" | "/") {
            return refuse("has a path but no rtmp://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("carries a user name, which RTMP does not have");
        }
        let host = match url.host() {
            None | Some(Host::Domain("")) => return refuse("names no host"),
            Some(Host::Ipv6(address)) => match zone {
                None => address.to_string(),
                Some(zone) if host_address(&format!("{address}%{zone}")).is_some() => format!("{address}%{zone}"),
                Some(_) => return refuse("has a zone, which is the interface of a link-local address (fe80::1%eth0)"),
            },
            Some(host) => host.to_string(),
        };
        let tls = url.scheme() == "rtmps";
        let port = match url.port().unwrap_or(if tls { RTMPS_PORT } else { RTMP_PORT }) {
            0 => return refuse("has port 0"),
            port => port,
        };
        let path = path(text);
        let Parts { app, app_query, stream } = Parts::of(path, UrlRule::Ffmpeg);
        let stream = match stream.map(str::parse::<StreamName>).transpose() {
            Ok(stream) => stream,
            Err(error) => return refuse(&format!("names a stream that cannot be: {error}")),
        };
        let (app, app_query) = (app.map(str::to_owned), app_query.map(str::to_owned));
        Ok(Self { text: shown, host, port, tls, app, app_query, stream, path: Secret::new(path.to_owned()) })
    }
}

/// A target without the zone of its address, which no parser of URLs reads, and that zone: in `[fe80::1%eth0]:1935` as it
/// is, in a URL behind `%25` (RFC 6874).
fn without_zone(text: &str) -> (Cow<'_, str>, Option<&str>) {
    let (begin, is_url) = text.find("://").map_or((0, false), |at| (at + "://".len(), true));
    let bracketed = text[begin..].strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let Some((address, zone)) = bracketed.and_then(|(inside, _)| inside.split_once('%')) else {
        return (text.into(), None);
    };
    let rest = &text[begin + "[".len() + address.len() + "%".len() + zone.len()..];
    let unescaped = zone.strip_prefix("25").filter(|rest| is_url && !rest.is_empty());
    (format!("{}[{address}{rest}", &text[..begin]).into(), Some(unescaped.unwrap_or(zone)))
}

/// What follows host and port, as it is written: placeholders are not percent-encoded.
fn path(url: &str) -> &str {
    url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path)
}

/// A path, divided.
pub(super) struct Parts<'a> {
    pub app: Option<&'a str>,
    pub app_query: Option<&'a str>,
    pub stream: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// `app`, `app?parameters` or `app/stream?parameters`. Of an application with parameters only the first part is shown:
    /// where it ends is the client's opinion, and what it takes for the application may hold a key.
    pub(super) fn of(path: &'a str, rule: UrlRule) -> Self {
        let named = |name: &'a str| (!name.is_empty()).then_some(name);
        let (app, stream) = match rule.split(path) {
            // A query behind a slash is the application's, not a name.
            (app, stream) if stream.starts_with('?') && !app.contains('?') => {
                return Self { app: named(app), app_query: Some(stream), stream: None };
            }
            parts => parts,
        };
        let shown = match app.find('?') {
            Some(_) => app.find(['?', '/']).unwrap_or(app.len()),
            None => app.len(),
        };
        Self { app: named(&app[..shown]), app_query: named(&app[shown..]), stream: named(stream) }
    }
}

impl TargetText {
    /// All addresses the target stands for, without repetitions.
    ///
    /// # Errors
    /// If the name is not known or has no address.
    pub fn addresses(&self, lookup: Lookup<'_>, family: Option<Family>) -> Result<Vec<SocketAddr>, PlanError> {
        let found = lookup(&self.host, self.port).map_err(|error| {
            PlanError::new(format!(
                "cannot resolve '{}' of target '{}': {error}; check the name or give an address",
                self.host, self.text
            ))
        })?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(PlanError::new(format!("'{}' of target '{}' has no address", self.host, self.text)));
        }
        let Some(family) = family else { return Ok(addresses) };
        let (own, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| family.has(*address));
        match others.first() {
            Some(other) if own.is_empty() => Err(PlanError::new(format!(
                "'{}' of target '{}' has no {family} address, only {}; choose {}, or no family",
                self.host,
                self.text,
                other.ip(),
                family.other()
            ))),
            _ => Ok(own),
        }
    }
}

impl Family {
    fn has(self, address: SocketAddr) -> bool {
        address.ip().to_canonical().is_ipv4() == (self == Self::Ipv4)
    }

    fn other(self) -> Self {
        match self {
            Self::Ipv4 => Self::Ipv6,
            Self::Ipv6 => Self::Ipv4,
        }
    }
}

impl Choice for Family {
    const ALL: &'static [Self] = &[Self::Ipv4, Self::Ipv6];

    fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4 addresses only",
            Self::Ipv6 => "IPv6 addresses only",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// The system's resolver.
///
/// # Errors
/// Whatever the resolver says; and that a link-local address is without its zone, or has one that is not there.
pub fn system_lookup(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let zone = host_address(host).and_then(|_| host.split_once('%')).map(|(_, zone)| zone);
    let found: Vec<SocketAddr> = match ((host, port).to_socket_addrs(), zone) {
        (Err(_), Some(zone)) => return Err(std::io::Error::other(format!("this host has no interface '{zone}'"))),
        (found, _) => found?.collect(),
    };
    let lacks_zone = |address: &SocketAddr| matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0);
    if found.iter().any(lacks_zone) {
        let text = format!("a link-local address needs the interface that leads to it, such as {host}%eth0");
        return Err(std::io::Error::other(text));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, u16) {
        let target: TargetText = text.parse().unwrap();
        (target.host, target.port)
    }

    #[test]
    fn reads_every_form() {
        assert_eq!(parsed("rtmp://ingest.example/live/key?token=a"), ("ingest.example".into(), 1935));
        assert_eq!(parsed("rtmp://10.0.0.5:1936/live"), ("10.0.0.5".into(), 1936));
        assert_eq!(parsed("127.0.0.1:1935"), ("127.0.0.1".into(), 1935));
        assert_eq!(parsed("[::1]:1935"), ("::1".into(), 1935));
        assert_eq!(parsed("rtmp://[::1]/live"), ("::1".into(), 1935));
        assert_eq!(parsed("localhost:1935"), ("localhost".into(), 1935));
        for text in ["RTMP://10.0.0.5/live", "Rtmp://10.0.0.5:1935/live"] {
            assert_eq!(parsed(text), ("10.0.0.5".into(), 1935));
        }
        let secure: TargetText = "RTMPS://h/live".parse().unwrap();
        assert_eq!((secure.port, secure.tls), (443, true));
    }

    #[test]
    fn a_link_local_address_has_its_zone() {
        for (text, host) in [
            ("rtmp://[fe80::1%25eth0]/live/key", "fe80::1%eth0"),
            ("RTMP://[fe80::1%25eth0]:1935/live/key", "fe80::1%eth0"),
            ("rtmp://[fe80::1%eth0]/live/key", "fe80::1%eth0"),
            ("rtmp://[fe80::1%25]/live/key", "fe80::1%25"),
            ("[fe80::1%br-lan]:1935", "fe80::1%br-lan"),
            ("[fe80::1%251]:1935", "fe80::1%251"),
        ] {
            let target: TargetText = text.parse().unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, 1935), "{text}");
            assert_eq!(target.app, text.contains("live").then(|| "live".into()), "{text}");
        }
        for text in ["rtmp://[::1%25lo]/live", "[fe80::1%]:1935"] {
            assert!(text.parse::<TargetText>().unwrap_err().to_string().contains("has a zone"), "{text}");
        }
        let addresses = |host| system_lookup(host, 1935).map_err(|error| error.to_string());
        let SocketAddr::V6(found) = addresses("fe80::1%lo").unwrap()[0] else { panic!("no IPv6 address") };
        assert_eq!((found.ip().to_string().as_str(), found.port()), ("fe80::1", 1935));
        assert_ne!(found.scope_id(), 0);
        assert!(addresses("fe80::1%nowhere").unwrap_err().contains("no interface 'nowhere'"));
        assert!(addresses("fe80::1").unwrap_err().contains("fe80::1%eth0"));
    }

    #[test]
    fn refuses_with_the_cause() {
        for (text, cause) in [
            ("http://h/live", "scheme 'http'"),
            ("localhost", "names no port"),
            ("127.0.0.1", "names no port"),
            ("h:0", "port 0"),
            ("h:99999", "port"),
            ("rtmp://", "host"),
            ("", "host"),
            ("rtmp://user:pw@h/live", "user name"),
            ("h:1935/live", "no rtmp://"),
            ("soak.toml", "scenario file"),
        ] {
            let error = text.parse::<TargetText>().unwrap_err().to_string();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_name_says_which() {
        let target: TargetText = "rtmp://nowhere.invalid/live".parse().unwrap();
        let lookup = |_: &str, _| Err(std::io::Error::other("no such host"));
        let error = target.addresses(&lookup, None).unwrap_err().to_string();
        assert!(error.contains("nowhere.invalid") && error.contains("no such host"), "{error}");
    }

    #[test]
    fn one_family_of_a_names_addresses_may_be_chosen() {
        let both = |_: &str, port| Ok(vec![SocketAddr::new([127, 0, 0, 1].into(), port), ([0; 16], port).into()]);
        let four = |_: &str, port| Ok(vec![SocketAddr::new([127, 0, 0, 1].into(), port)]);
        let target: TargetText = "in.example:1935".parse().unwrap();
        let addresses = |lookup: Lookup<'_>, family| target.addresses(lookup, family).map(|found| found.len());
        assert_eq!(addresses(&both, None), Ok(2));
        assert_eq!(addresses(&both, Some(Family::Ipv4)), Ok(1));
        assert_eq!(addresses(&both, Some(Family::Ipv6)), Ok(1));
        insta::assert_snapshot!(addresses(&four, Some(Family::Ipv6)).unwrap_err(), @"'in.example' of target 'in.example:1935' has no IPv6 address, only 127.0.0.1; choose IPv4, or no family");
    }
}
