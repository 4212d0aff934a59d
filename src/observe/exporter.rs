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

/// Whole numbers are exact up to here.
const LARGEST: f64 = (1_u64 << 53) as f64;

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
            cpus: (!last.cpus.is_empty()).then_some(last.cpus.len() as u32),
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

/// What a node_exporter's text says of its host.
pub fn read_exposition(text: &str) -> ObservedSample {
    HostReading::parse(text).since(&HostReading::default(), 1.0)
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
            // What is not counted, or cannot be reached (the usual maximum of open files), is no number to compare with.
            if !(0.0..=LARGEST).contains(&value) {
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
            (span_s > 0.0).then(|| ((now - then) / span_s * 100.0).clamp(0.0, 100.0))
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::super::Subject;
    use super::*;

    /// Answers one request after the other with these documents, then no more.
    fn serve(answers: Vec<String>) -> ExporterUrl {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics?token=S3CRET", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    request.push(byte[0]);
                }
                // Who asked may have seen enough.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        match url.parse() {
            Ok(Subject::Exporter(url)) => url,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn document(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n{body}")
    }

    /// As node_exporter 1.8 writes it, with what the reader does not know.
    fn metrics(busy: [f64; 2], drops: u64) -> String {
        let [first, second] = busy;
        document(&format!(
            "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n\
             # TYPE node_cpu_seconds_total counter\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} 12345.67\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {first}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"iowait\"}} 5\n\
             node_cpu_seconds_total{{cpu=\"1\",mode=\"softirq\"}} {second}\n\
             node_disk_info{{device=\"a}}b\"}} 1\n\
             node_netstat_TcpExt_ListenDrops {drops}\n\
             node_netstat_TcpExt_ListenOverflows 7\n\
             node_nf_conntrack_entries 1.234e+03\n\
             node_nf_conntrack_entries_limit 65536\n\
             node_memory_MemTotal_bytes 2.0e+09\n\
             node_memory_MemAvailable_bytes 1.5e+09\n\
             node_filefd_allocated 800\n\
             node_filefd_maximum 9.223372036854775807e+18\n\
             go_goroutines 8\n"
        ))
    }

    #[test]
    fn reads_the_names_of_node_exporter() {
        let answers = vec![metrics([100.0, 10.0], 3), metrics([101.9, 10.5], 9)];
        let mut reader = ExporterReader::new(serve(answers));
        reader.read(0.0).unwrap();
        let sample = reader.read(2.0).unwrap();
        let expected = ObservedSample {
            span_s: 2.0,
            cpu_percent: sample.cpu_percent,
            busiest_cpu_percent: sample.busiest_cpu_percent,
            rss_bytes: Some(500_000_000),
            descriptors: Some(800),
            listen_overflows: Some(0),
            listen_drops: Some(6),
            conntrack: Some(1234),
            ..Default::default()
        };
        assert_eq!(sample, expected);
        let whole = |percent: Option<f64>| percent.map(f64::round);
        assert_eq!((whole(sample.cpu_percent), whole(sample.busiest_cpu_percent)), (Some(120.0), Some(95.0)));
        let described = reader.describe();
        assert_eq!((described.cpus, described.conntrack_limit), (Some(2), Some(65_536)));
        assert_eq!(described.descriptors_limit, None, "the largest number is no limit");
        assert_eq!(described.memory_bytes, Some(2_000_000_000));
        assert!(described.name.ends_with("/metrics"), "{}", described.name);
    }

    #[test]
    fn whoever_is_no_node_exporter_is_refused_with_a_reason_and_no_secret() {
        for (answer, part) in [
            (document("up 1\n"), "no node_cpu_seconds_total"),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "HTTP status 404"),
            ("RTMP?\r\n\r\n".to_owned(), "is node_exporter running there"),
            (String::new(), "is node_exporter running there"),
        ] {
            let told = ExporterReader::new(serve(vec![answer.clone()])).check().unwrap_err().to_string();
            assert!(told.contains(part) && !told.contains("S3CRET"), "{answer}: {told}");
        }
        let gone = ExporterReader::new(serve(Vec::new())).check().unwrap_err().to_string();
        assert!(gone.contains("is node_exporter running there") && !gone.contains("S3CRET"), "{gone}");
    }

    #[test]
    fn hostile_numbers_are_unknown() {
        let body = "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} NaN\nnode_cpu_seconds_total{mode=\"user\"} 1\n\
                    node_cpu_seconds_total{} 1\nnode_nf_conntrack_entries -1\nnode_memory_MemTotal_bytes 1e300\n\
                    node_filefd_allocated +Inf\nnode_filefd_maximum many\nnode_{{{{} 1\nnode_cpu_seconds_total";
        let reading = HostReading::parse(body);
        assert_eq!(reading, HostReading::default());
        assert_eq!(reading.since(&reading, 1.0), ObservedSample { span_s: 1.0, ..Default::default() });
    }

    #[test]
    fn cpus_that_count_backwards_are_idle_and_none_is_busier_than_busy() {
        let host = |busy: f64| HostReading { cpus: BTreeMap::from([("0".to_owned(), busy)]), ..Default::default() };
        assert_eq!(host(1.0).since(&host(5.0), 1.0).cpu_percent, Some(0.0));
        assert_eq!(host(9e15).since(&host(5.0), 1e-9).cpu_percent, Some(100.0));
        assert_eq!(host(9.0).since(&host(5.0), 0.0).cpu_percent, None);
    }
}
