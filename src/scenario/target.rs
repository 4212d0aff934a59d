//! Targets as people write them, and the addresses they stand for.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use url::{Host, Url};

use super::PlanError;
use crate::base::{Secret, redact_url};
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
        let url = match scheme {
            Some("rtmp" | "rtmps") => Url::parse(text),
            Some(scheme) => return refuse(&format!("has scheme '{scheme}', which is not RTMP")),
            None => Url::parse(&format!("rtmp://{text}")),
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
            Some(Host::Ipv6(address)) => address.to_string(),
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
    pub fn addresses(&self, lookup: Lookup<'_>) -> Result<Vec<SocketAddr>, PlanError> {
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
        Ok(addresses)
    }
}

/// The system's resolver.
///
/// # Errors
/// Whatever the resolver says.
pub fn system_lookup(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
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
        let error = target.addresses(&lookup).unwrap_err().to_string();
        assert!(error.contains("nowhere.invalid") && error.contains("no such host"), "{error}");
    }
}
