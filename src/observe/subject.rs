//! What `--observe` names.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::base::redact_url;

/// Something whose state can be read once a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A process of this machine, by its number, with all processes that descend from it.
    Process(u32),
    /// A machine, by its node_exporter.
    Exporter(ExporterUrl),
}

/// Where a node_exporter answers; shows without a user's name, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct ExporterUrl(pub(super) Url);

/// Why a text names nothing that can be observed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Neither a process nor a URL.
    #[error("'{0}' names nothing to observe: give pid:N or the URL of a node_exporter, http://HOST:9100/metrics")]
    Unknown(String),
    /// `pid:` without a process number.
    #[error("'pid:{0}' is not the number of a process: give pid:N as `pgrep` prints it, N at least 1")]
    NoPid(String),
    /// A URL of another kind.
    #[error("{0} cannot be read: node_exporter is asked over plain http; give http://HOST:9100/metrics")]
    Scheme(String),
}

/// Why a subject cannot be observed now; the load has not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// There is no such process.
    #[error("cannot observe pid:{0}: there is no such process; `pgrep -a NAME` shows numbers")]
    NoProcess(u32),
    /// It exists, and `/proc` does not show it.
    #[error("cannot observe pid:{pid}: {reason}; run as its user or as root")]
    Unreadable {
        /// The process.
        pid: u32,
        /// What the kernel said.
        reason: String,
    },
    /// Nobody answers at the URL, or not with a document.
    #[error("cannot observe {url}: {reason}; is node_exporter running there, and does curl print its metrics?")]
    Exporter {
        /// Where it should be.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The answer has none of node_exporter's names.
    #[error(
        "cannot observe {0}: the answer has no node_cpu_seconds_total; give the URL of a node_exporter, which ends in \
         /metrics"
    )]
    NotNodeExporter(String),
    /// A thread cannot be started.
    #[error("cannot start a thread that observes: {0}")]
    Thread(String),
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if let Some(number) = text.strip_prefix("pid:") {
            // The kernel's numbers are positive and have at most 22 bits (PID_MAX_LIMIT).
            return match number.parse::<i32>() {
                Ok(pid) if pid > 0 => Ok(Self::Process(pid.unsigned_abs())),
                _ => Err(SubjectError::NoPid(number.to_owned())),
            };
        }
        match Url::parse(text) {
            Ok(url) if url.scheme() == "http" && url.has_host() => Ok(Self::Exporter(ExporterUrl(url))),
            Ok(url) if text.contains("://") => Err(SubjectError::Scheme(redact(&url))),
            _ => Err(SubjectError::Unknown(redact_url(text))),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "pid:{pid}"),
            Self::Exporter(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for ExporterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for ExporterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a URL of an exporter hides is its user and its query; its path is the way to the metrics.
fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail on URLs without a host only, which have no user either.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_exporters_are_named() {
        assert_eq!("pid:17".parse(), Ok(Subject::Process(17)));
        let exporter: Subject = "http://me:S3CRET@10.0.0.5:9100/metrics?token=S3CRET".parse().unwrap();
        assert_eq!(exporter.to_string(), "http://10.0.0.5:9100/metrics");
        assert!(!format!("{exporter:?}").contains("S3CRET"));
    }

    #[test]
    fn anything_else_is_refused_without_repeating_secrets() {
        for (text, part) in [
            ("pid:", "not the number of a process"),
            ("pid:0", "not the number of a process"),
            ("pid:-4", "not the number of a process"),
            ("pid:99999999999", "not the number of a process"),
            ("17", "names nothing to observe"),
            ("", "names nothing to observe"),
            ("10.0.0.5:9100", "names nothing to observe"),
            ("https://me:S3CRET@h/metrics", "plain http"),
            ("rtmp://h/live/x?S3CRET", "plain http"),
        ] {
            let told = text.parse::<Subject>().unwrap_err().to_string();
            assert!(told.contains(part) && !told.contains("S3CRET"), "{text}: {told}");
        }
    }
}
