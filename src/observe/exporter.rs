//! A machine, by its node_exporter (names of its version 1; text format 0.0.4 of Prometheus).

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_parse::{Scrape, Value};
use ureq::Agent;

use super::netstat::ListenCounters;
use super::sample::{Observed, ObservedKind, ObservedSample};
use super::subject::{ExporterUrl, ObserveError};

/// An answer that takes longer would mix with the next reading.
const PATIENCE: Duration = Duration::from_millis(900);
/// No node_exporter says more.
const MOST_BYTES: u64 = 32 << 20;

/// Reads one exporter.
#[derive(Debug)]
pub(super) struct ExporterReader {
    url: ExporterUrl,
    agent: Agent,
    before: Option<HostReading>,
}

/// What an exporter said at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
struct HostReading {
    /// Seconds of work, by CPU.
    cpus: BTreeMap<String, f64>,
    listen: Option<ListenCounters>,
    conntrack: Option<u64>,
    conntrack_limit: Option<u64>,
    memory: Option<u64>,
    memory_available: Option<u64>,
    files: Option<u64>,
    files_limit: Option<u64>,
}

impl ExporterReader {
    pub(super) fn new(url: ExporterUrl) -> Self {
        // A proxy of the environment is for the web, not for the machines beside this one.
        let config = Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build();
        Self { url, agent: config.into(), before: None }
    }

    /// Asks once.
    ///
    /// # Errors
    /// If nobody answers, or it is no node_exporter.
    pub(super) fn check(&self) -> Result<(), ObserveError> {
        let reading = self.ask().map_err(|reason| ObserveError::Exporter { url: self.url.to_string(), reason })?;
        if reading.cpus.is_empty() { Err(ObserveError::NotNodeExporter(self.url.to_string())) } else { Ok(()) }
    }

    /// What it is, with the limits of its last reading.
    pub(super) fn describe(&self) -> Observed {
        let last = self.before.clone().unwrap_or_default();
        Observed {
            name: self.url.to_string(),
            kind: ObservedKind::Host,
            cpus: (!last.cpus.is_empty()).then(|| last.cpus.len() as u32),
            descriptors_limit: last.files_limit,
            listen_backlog: None,
            conntrack_limit: last.conntrack_limit,
            memory_bytes: last.memory,
            ended_s: None,
            missed: 0,
            samples: Vec::new(),
        }
    }

    /// What it did in the `span_s` since the last reading that worked; the first one has no span, and its row is for
    /// nothing but the states in it.
    ///
    /// # Errors
    /// Why the exporter did not answer.
    pub(super) fn read(&mut self, span_s: f64) -> Result<ObservedSample, String> {
        let now = self.ask()?;
        let before = self.before.replace(now.clone());
        Ok(now.since(&before.unwrap_or_default(), span_s))
    }

    fn ask(&self) -> Result<HostReading, String> {
        let mut response = self.agent.get(self.url.0.as_str()).call().map_err(|error| self.told(&error))?;
        let body = response.body_mut().with_config().limit(MOST_BYTES).lossy_utf8(true).read_to_string();
        Ok(HostReading::parse(&body.map_err(|error| self.told(&error))?))
    }

    /// An error in words; some of them repeat the URL, with what it hides.
    fn told(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::StatusCode(code) => format!("it answers with HTTP status {code}"),
            ureq::Error::Timeout(_) => format!("no whole answer within {} ms", PATIENCE.as_millis()),
            ureq::Error::BadUri(_) => "this is no URL that can be asked".to_owned(),
            error => error.to_string(),
        }
    }
}

impl HostReading {
    fn parse(text: &str) -> Self {
        let mut reading = Self::default();
        // All other lines are left out before they are parsed: an exporter says thousands.
        let lines = text.lines().filter(|line| line.starts_with("node_")).map(|line| Ok(line.to_owned()));
        let samples = Scrape::parse(lines).map(|scrape| scrape.samples).unwrap_or_default();
        let (mut overflows, mut drops) = (None, None);
        for sample in samples {
            let (Value::Untyped(value) | Value::Counter(value) | Value::Gauge(value)) = sample.value else { continue };
            if !value.is_finite() || value < 0.0 {
                continue;
            }
            let count = Some(value as u64);
            match sample.metric.as_str() {
                "node_cpu_seconds_total" => {
                    let (Some(cpu), Some(mode)) = (sample.labels.get("cpu"), sample.labels.get("mode")) else {
                        continue;
                    };
                    let cpu = reading.cpus.entry(cpu.to_owned()).or_default();
                    if !matches!(mode, "idle" | "iowait") {
                        *cpu += value;
                    }
                }
                "node_netstat_TcpExt_ListenOverflows" => overflows = count,
                "node_netstat_TcpExt_ListenDrops" => drops = count,
                "node_nf_conntrack_entries" => reading.conntrack = count,
                "node_nf_conntrack_entries_limit" => reading.conntrack_limit = count,
                "node_memory_MemTotal_bytes" => reading.memory = count,
                "node_memory_MemAvailable_bytes" => reading.memory_available = count,
                "node_filefd_allocated" => reading.files = count,
                "node_filefd_maximum" => reading.files_limit = count,
                _ => {}
            }
        }
        reading.listen = overflows.zip(drops).map(|(overflows, drops)| ListenCounters { overflows, drops });
        reading
    }

    fn since(&self, before: &Self, span_s: f64) -> ObservedSample {
        let busy = self.cpus.iter().filter_map(|(cpu, now)| {
            let then = before.cpus.get(cpu)?;
            (span_s > 0.0).then(|| (now - then).max(0.0) / span_s * 100.0)
        });
        let busy: Vec<f64> = busy.collect();
        let grown = |count: fn(&ListenCounters) -> u64| {
            let (now, then) = (self.listen.as_ref()?, before.listen.as_ref()?);
            Some(count(now).saturating_sub(count(then)))
        };
        ObservedSample {
            span_s,
            cpu_percent: (!busy.is_empty()).then(|| busy.iter().sum()),
            busiest_cpu_percent: busy.iter().copied().reduce(f64::max),
            rss_bytes: self.memory.zip(self.memory_available).map(|(all, free)| all.saturating_sub(free)),
            descriptors: self.files,
            listen_overflows: grown(|counters| counters.overflows),
            listen_drops: grown(|counters| counters.drops),
            conntrack: self.conntrack,
            ..Default::default()
        }
    }
}
