//! Names of applications.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::REDACTED;

/// What clients connect to, as it is sent: `live`, `live/room`, `live?token=abc`. A query may hold a token: texts, debug
/// output and files show `***` for it, and two applications are equal if they show the same.
#[derive(Clone)]
pub struct AppName(Box<str>);

/// Why a text names no application: one sentence with the remedy. It does not repeat the text, which may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("application: {0}")]
pub struct AppNameError(&'static str);

impl AppName {
    /// What is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl AppNameError {
    /// The sentence without what it is about.
    pub const fn cause(&self) -> &'static str {
        self.0
    }
}

impl FromStr for AppName {
    type Err = AppNameError;

    fn from_str(text: &str) -> Result<Self, AppNameError> {
        if text.is_empty() {
            return Err(AppNameError("it is empty; write for example live"));
        }
        if text.chars().any(char::is_control) {
            return Err(AppNameError("it holds a control character, such as a line break; leave it out"));
        }
        if text.starts_with('/') {
            return Err(AppNameError("it begins with a slash, which is no part of it; leave that out"));
        }
        if text.contains("://") {
            return Err(AppNameError("it is a URL; give what follows host and port, for example live"));
        }
        if text.contains(['{', '}']) {
            return Err(AppNameError("it holds a brace, and only names of streams have placeholders; leave it out"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((path, _)) => f.pad(&format!("{path}?{REDACTED}")),
            None => f.pad(&self.0),
        }
    }
}

impl fmt::Debug for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppName({self})")
    }
}

impl PartialEq for AppName {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for AppName {}

impl Serialize for AppName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AppName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_sent_and_not_shown() {
        let app: AppName = "live/room?token=S3CRET".parse().unwrap();
        assert_eq!((app.reveal(), app.to_string().as_str()), ("live/room?token=S3CRET", "live/room?***"));
        assert_eq!(format!("{app:?}"), "AppName(live/room?***)");
        let saved = serde_json::to_string(&app).unwrap();
        assert_eq!(serde_json::from_str::<AppName>(&saved).unwrap(), app);
    }

    #[test]
    fn what_is_no_application_is_refused_without_repeating_it() {
        for text in ["", "S3CRET\n", "/S3CRET", "rtmp://h/S3CRET", "S3CRET{id}"] {
            let error = text.parse::<AppName>().unwrap_err().to_string();
            assert!(
                error.starts_with("application: it ") && error.contains("; ") && !error.contains("S3CRET"),
                "{error}"
            );
        }
    }
}
