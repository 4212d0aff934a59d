//! Where the values of a request come from: a place in a scenario file, or a flag.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;

use super::PlanError;

/// What a user can set: by this flag of `run`, or by this key of a scenario file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) flag: &'static str,
    pub(super) key: &'static str,
}

/// Where the values of a request, or of one of its populations, come from; without a file they are flags'.
#[derive(Clone, Default)]
pub struct Origins {
    file: Option<Arc<FileText>>,
    /// Of the table that has the values.
    table: usize,
    values: BTreeMap<&'static str, Origin>,
    /// Keys whose values flags have replaced.
    overridden: BTreeSet<&'static str>,
}

/// Where a value stands and, if it is a list, each of its elements: bytes of the file.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) at: usize,
    pub(super) elements: Vec<usize>,
}

/// A file and its text.
#[derive(Debug)]
pub(super) struct FileText {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Setting {
    pub(super) const TARGETS: Self = Self { flag: "a target", key: "targets" };
    pub(super) const FAMILY: Self = Self { flag: "--ipv4 or --ipv6", key: "family" };
    pub(super) const ALLOW: Self = Self { flag: "--allow-target", key: "allow" };
    pub(super) const STAGES: Self = Self { flag: "-R", key: "stages" };
    pub(super) const ARRIVAL: Self = Self { flag: "--arrival", key: "arrival" };
    pub(super) const CONCURRENCY: Self = Self { flag: "-c", key: "concurrency" };
    pub(super) const WORKERS: Self = Self { flag: "-t", key: "workers" };
    pub(super) const CPUS: Self = Self { flag: "--cpus", key: "cpus" };
    pub(super) const CLIENTS: Self = Self { flag: "--client", key: "clients" };
    pub(super) const MODE: Self = Self { flag: "--mode", key: "mode" };
    pub(super) const DIGEST: Self = Self { flag: "--digest", key: "digest" };
    pub(super) const VERIFY: Self = Self { flag: "--verify", key: "verify" };
    pub(super) const UNTIL: Self = Self { flag: "--until", key: "until" };
    pub(super) const APP: Self = Self { flag: "--app", key: "app" };
    pub(super) const STREAM: Self = Self { flag: "--stream", key: "stream" };
    pub(super) const STREAM_KEYS: Self = Self { flag: "--stream-keys", key: "stream_keys" };
    pub(super) const HOLD: Self = Self { flag: "--hold", key: "hold" };
    pub(super) const CLOSE: Self = Self { flag: "--close", key: "close" };
    pub(super) const SOURCES: Self = Self { flag: "--source", key: "sources" };
    pub(super) const CONNECT_TIMEOUT: Self = Self { flag: "--connect-timeout", key: "connect_timeout" };
    pub(super) const TIMEOUT: Self = Self { flag: "--timeout", key: "timeout" };
    pub(super) const EXPECT: Self = Self { flag: "--expect", key: "expect" };
    pub(super) const THRESHOLDS: Self = Self { flag: "--threshold", key: "thresholds" };
    pub(super) const ABORT_IF: Self = Self { flag: "--abort-if", key: "abort_if" };
    pub(super) const CANARY: Self = Self { flag: "--canary", key: "canary" };
    pub(super) const DRAIN: Self = Self { flag: "--drain", key: "drain" };
    pub(super) const RELEASE: Self = Self { flag: "--release", key: "release" };
    pub(super) const RESOLVE: Self = Self { flag: "--resolve", key: "resolve" };
    pub(super) const PROXY_PROTOCOL: Self = Self { flag: "--proxy-protocol", key: "proxy_protocol" };
    pub(super) const CLIENT_IPS: Self = Self { flag: "--client-ips", key: "client_ips" };
    pub(super) const MEDIA: Self = Self { flag: "--media", key: "media" };
    pub(super) const BITRATE: Self = Self { flag: "--bitrate", key: "bitrate" };
    pub(super) const MEDIA_CLIENTS: Self = Self { flag: "--media-clients", key: "media_clients" };
    pub(super) const HOLD_CHECK: Self = Self { flag: "--hold-check", key: "hold_check" };
    pub(super) const ENHANCED_RTMP: Self = Self { flag: "--enhanced-rtmp", key: "enhanced_rtmp" };
    pub(super) const TLS: Self = Self { flag: "TLS", key: "tls" };
    pub(super) const ENGINE: Self = Self { flag: "--engine", key: "engine" };
    pub(super) const SEED: Self = Self { flag: "--seed", key: "seed" };
    pub(super) const NAME: Self = Self { flag: "the name", key: "name" };
}

impl Origins {
    /// Of the values of a table that stands at `table`; its file is told by [`Origins::set_file`].
    pub(super) fn of_table(table: usize, values: BTreeMap<&'static str, Origin>) -> Self {
        Self { file: None, table, values, overridden: BTreeSet::new() }
    }

    /// The values are those of `file`.
    pub(super) fn set_file(&mut self, file: &Arc<FileText>) {
        self.file = Some(Arc::clone(file));
    }

    /// The elements of the list `setting` stand there.
    pub(super) fn set_elements(&mut self, setting: Setting, elements: Vec<usize>) {
        if let Some(&at) = elements.first() {
            self.values.insert(setting.key, Origin { at, elements });
        }
    }

    /// Of the list `setting` only these elements are left.
    pub(super) fn keep_elements(&mut self, setting: Setting, kept: &[usize]) {
        if let Some(origin) = self.values.get_mut(setting.key) {
            origin.elements = kept.iter().filter_map(|index| origin.elements.get(*index)).copied().collect();
        }
    }

    /// A flag has replaced the value.
    pub(super) fn overridden(&mut self, setting: Setting) {
        self.overridden.insert(setting.key);
    }

    /// The origin of `to` is that of `from` here: for a population that one value of the whole describes.
    pub(super) fn renamed(&self, from: Setting, to: Setting) -> Self {
        Self {
            file: self.file.clone(),
            table: self.table,
            values: self.values.get(from.key).map(|origin| (to.key, origin.clone())).into_iter().collect(),
            overridden: self.overridden.get(from.key).map(|_| to.key).into_iter().collect(),
        }
    }

    /// The setting as its user knows it: the key, or the flag.
    pub(super) fn name(&self, setting: Setting) -> String {
        if self.is_of_file(setting) { format!("'{}'", setting.key) } else { setting.flag.to_owned() }
    }

    /// The setting with a value, as its user writes it.
    pub(super) fn written(&self, setting: Setting, value: impl Display) -> String {
        let value = value.to_string();
        match self.is_of_file(setting) {
            false => format!("{} {value}", setting.flag),
            true if value.parse::<u64>().is_ok() => format!("{} = {value}", setting.key),
            true => format!("{} = \"{value}\"", setting.key),
        }
    }

    /// What is written about the settings `about` is refused: at the place of the first of them that the file has, or
    /// at its table if no flag is about them either.
    pub(super) fn refusal(&self, about: &[Setting], message: impl Display) -> PlanError {
        let values = about.iter().filter(|setting| self.is_of_file(**setting));
        match values.filter_map(|setting| self.values.get(setting.key)).next() {
            Some(origin) => self.refusal_at(origin.at, message),
            None if about.iter().all(|setting| self.is_of_file(*setting)) => self.refusal_at(self.table, message),
            None => PlanError::new(message.to_string()),
        }
    }

    /// The same of one element of a list.
    pub(super) fn refusal_of_element(&self, setting: Setting, index: usize, message: impl Display) -> PlanError {
        match self.element(setting, index).filter(|_| self.is_of_file(setting)) {
            Some(at) => self.refusal_at(at, message),
            None => self.refusal(&[setting], message),
        }
    }

    /// The same of one element of a list that flags only add to.
    pub(super) fn refusal_of_condition(&self, setting: Setting, index: usize, message: impl Display) -> PlanError {
        match self.element(setting, index) {
            Some(at) => self.refusal_at(at, message),
            None => PlanError::new(message.to_string()),
        }
    }

    /// This element of a list that flags only add to stands in the file.
    pub(super) fn has_condition(&self, setting: Setting, index: usize) -> bool {
        self.element(setting, index).is_some()
    }

    /// The file has the value, and no flag has replaced it.
    pub(super) fn has(&self, setting: Setting) -> bool {
        self.is_of_file(setting) && self.values.contains_key(setting.key)
    }

    /// The file decides the value, if only by leaving it out.
    fn is_of_file(&self, setting: Setting) -> bool {
        self.file.is_some() && !self.overridden.contains(setting.key)
    }

    fn element(&self, setting: Setting, index: usize) -> Option<usize> {
        self.values.get(setting.key)?.elements.get(index).copied()
    }

    fn refusal_at(&self, at: usize, message: impl Display) -> PlanError {
        let Some(file) = &self.file else { return PlanError::new(message.to_string()) };
        let (line, column) = line_and_column(&file.text, at);
        PlanError::new(format!("{}:{line}:{column}: {message}", file.path.display()))
    }
}

impl fmt::Debug for Origins {
    /// Without the text of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.file.as_ref().map(|file| &file.path);
        f.debug_struct("Origins").field("path", &path).field("overridden", &self.overridden).finish_non_exhaustive()
    }
}

/// Line and column of byte `at`, in characters and from 1.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    (line, 1 + String::from_utf8_lossy(&before[begin..]).chars().count())
}
