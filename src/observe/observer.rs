//! Reads subjects once a second while a load runs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::exporter::ExporterReader;
use super::process::{Ended, Identity, ProcessReader};
use super::sample::{Observed, ObservedSample, TcpInfo};
use super::sockets::TcpInfoReader;
use super::subject::{ExporterUrl, ObserveError, Subject};
use crate::base::{Nanos, Time};

/// Between readings, at first.
const INTERVAL: Nanos = Nanos::from_secs(1);
/// Connections are sampled in the middle of a second, where no reading of a subject is under way.
const HALF: Nanos = Nanos::from_millis(500);
/// What is left of a last second that the end of the load cuts short is read if it is at least this long.
const LEAST_LAST: Nanos = Nanos::from_millis(500);
/// More rows are joined in pairs, and readings become half as frequent: an hour of seconds, as the timeline.
const MOST_ROWS: usize = 3600;

/// Subjects that were there when it was made. Cheap to clone: it observes one load after the other.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    subjects: Vec<Checked>,
}

#[derive(Clone, Debug)]
enum Checked {
    Process(Identity),
    Exporter(ExporterUrl),
}

/// What was read in one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// A part for each subject, in their order.
    pub observed: Vec<Observed>,
    /// TCP_INFO of the connections to the targets; `None` where the kernel does not tell.
    pub tcp_info: Option<TcpInfo>,
    /// What became of the subjects, in the order of time.
    pub happenings: Vec<Happening>,
}

/// A subject ended or stopped answering.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// When it was noticed, seconds since the run's start.
    pub t_s: f64,
    /// What.
    pub text: String,
}

impl Observer {
    /// Looks at each of `subjects` once, so that a wrong one shows before the load.
    ///
    /// # Errors
    /// Which one cannot be observed, and why.
    pub fn new(subjects: &[Subject]) -> Result<Self, ObserveError> {
        let check = |subject: &Subject| match subject {
            Subject::Process(pid) => Identity::of(*pid).map(Checked::Process),
            Subject::Exporter(url) => {
                ExporterReader::new(url.clone()).check()?;
                Ok(Checked::Exporter(url.clone()))
            }
        };
        Ok(Self { subjects: subjects.iter().map(check).collect::<Result<_, _>>()? })
    }

    /// Begins to read at `start`, then once a second: each subject, and TCP_INFO of the connections to `targets`, on a
    /// thread of its own. `now` is the clock that `start` is of.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn begin(&self, start: Time, targets: &[SocketAddr], now: fn() -> Time) -> Result<Observing, ObserveError> {
        let mut observing = Observing { threads: Vec::new(), tcp_info: None };
        let pace = Pace { start, now };
        for subject in &self.subjects {
            let subject = subject.clone();
            observing.threads.push(Thread::start(move |stop| watch(&subject, pace, &stop))?);
        }
        let targets: BTreeSet<SocketAddr> = targets.iter().copied().collect();
        observing.tcp_info = Some(Thread::start(move |stop| sample_connections(&targets, pace, &stop))?);
        Ok(observing)
    }
}

/// Readings under way; they end when this is dropped.
#[derive(Debug)]
pub struct Observing {
    threads: Vec<Thread<(Observed, Vec<Happening>)>>,
    tcp_info: Option<Thread<Option<TcpInfo>>>,
}

impl Observing {
    /// Ends the readings, with a last one where at least half a second passed since the one before. Waits for an answer
    /// that an exporter owes, at most a second.
    pub fn finish(self) -> Observation {
        let tcp_info = self.tcp_info.and_then(Thread::finish);
        // All are told to stop before the first is waited for.
        let threads: Vec<_> = self.threads.into_iter().map(Thread::stopped).collect();
        let (observed, happenings): (Vec<_>, Vec<_>) = threads.into_iter().map(Thread::finish).unzip();
        let mut happenings: Vec<Happening> = happenings.into_iter().flatten().collect();
        happenings.sort_by(|one, other| one.t_s.total_cmp(&other.t_s));
        Observation { observed, tcp_info, happenings }
    }
}

/// A thread that works until its order to stop.
#[derive(Debug)]
struct Thread<T> {
    /// Dropped: stop.
    stop: Option<Sender<()>>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Thread<T> {
    fn start(work: impl FnOnce(Receiver<()>) -> T + Send + 'static) -> Result<Self, ObserveError> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("observe".into())
            .spawn(move || work(stopped))
            .map_err(|error| ObserveError::Thread(error.to_string()))?;
        Ok(Self { stop: Some(stop), thread })
    }

    fn stopped(mut self) -> Self {
        self.stop = None;
        self
    }

    fn finish(self) -> T {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The instants of a load.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start: Time,
    now: fn() -> Time,
}

impl Pace {
    /// Seconds since the run's start.
    fn elapsed_s(self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    fn elapsed(self) -> Nanos {
        (self.now)().since(self.start)
    }

    /// The next instant that is `offset` after a multiple of `interval`. A reading that took longer than its interval
    /// leaves out those it overran.
    fn next(self, interval: Nanos, offset: Nanos) -> Nanos {
        let passed = self.elapsed().saturating_sub(offset).as_u64() / interval.as_u64();
        Nanos::new((passed + 1) * interval.as_u64() + offset.as_u64())
    }

    /// Waits until `at` after the start; `false` if the load is over before.
    fn wait(self, at: Nanos, stop: &Receiver<()>) -> bool {
        let left: Duration = (self.start + at).since((self.now)()).into();
        stop.recv_timeout(left) == Err(RecvTimeoutError::Timeout)
    }
}

enum Reader {
    Process(Box<ProcessReader>),
    Exporter(Box<ExporterReader>),
}

/// Why there is no row.
enum Missed {
    Ended,
    Unanswered(String),
}

impl Reader {
    fn read(&mut self, span_s: f64) -> Result<ObservedSample, Missed> {
        match self {
            Self::Process(process) => process.read(span_s).map_err(|Ended| Missed::Ended),
            Self::Exporter(exporter) => exporter.read(span_s).map_err(Missed::Unanswered),
        }
    }

    fn describe(&self) -> Observed {
        match self {
            Self::Process(process) => process.describe(),
            Self::Exporter(exporter) => exporter.describe(),
        }
    }
}

/// Reads one subject until the load is over or the subject has ended.
fn watch(subject: &Checked, pace: Pace, stop: &Receiver<()>) -> (Observed, Vec<Happening>) {
    let mut reader = match subject {
        Checked::Process(identity) => Reader::Process(Box::new(ProcessReader::new(*identity))),
        Checked::Exporter(url) => Reader::Exporter(Box::new(ExporterReader::new(url.clone()))),
    };
    let (mut rows, mut happenings) = (Rows::default(), Vec::new());
    let (mut missed, mut ended_s) = (0, None);
    // When the last reading that worked was.
    let mut last = None;
    let mut at = Nanos::ZERO;
    let mut goes_on = true;
    while goes_on {
        goes_on = pace.wait(at, stop);
        let now = pace.elapsed();
        let span = last.map(|last| now.saturating_sub(last));
        if !goes_on && span.is_none_or(|span| span < LEAST_LAST) {
            break;
        }
        match reader.read(span.map_or(0.0, Nanos::as_secs_f64)) {
            Ok(sample) => {
                if span.is_some() {
                    rows.push(ObservedSample { t_s: now.as_secs_f64(), ..sample });
                }
                last = Some(now);
            }
            Err(Missed::Ended) => {
                ended_s = Some(pace.elapsed_s());
                let text = format!("{} ended", reader.describe().name);
                happenings.push(Happening { t_s: now.as_secs_f64(), text });
                break;
            }
            Err(Missed::Unanswered(reason)) => {
                if missed == 0 {
                    let text = format!("{} could not be read: {reason}", reader.describe().name);
                    happenings.push(Happening { t_s: now.as_secs_f64(), text });
                }
                missed += 1;
            }
        }
        at = pace.next(rows.interval(), Nanos::ZERO);
    }
    (Observed { missed, ended_s, samples: rows.rows, ..reader.describe() }, happenings)
}

/// Rows of a bounded number.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<ObservedSample>,
    doublings: u32,
}

impl Rows {
    fn push(&mut self, row: ObservedSample) {
        self.rows.push(row);
        if self.rows.len() == MOST_ROWS {
            self.rows =
                self.rows.chunks(2).filter_map(|pair| pair.iter().copied().reduce(ObservedSample::joined)).collect();
            self.doublings += 1;
        }
    }

    fn interval(&self) -> Nanos {
        Nanos::new(INTERVAL.as_u64() << self.doublings.min(30))
    }
}

/// Samples the connections to `targets` in the middle of every second.
fn sample_connections(targets: &BTreeSet<SocketAddr>, pace: Pace, stop: &Receiver<()>) -> Option<TcpInfo> {
    let mut reader = TcpInfoReader::default();
    let mut at = HALF;
    while pace.wait(at, stop) {
        // A kernel that refuses once refuses always.
        if reader.read(targets).is_err() {
            break;
        }
        at = pace.next(INTERVAL, HALF);
    }
    reader.finish()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::sample::ObservedKind;
    use super::*;

    /// A process that does nothing; killed and waited for when dropped.
    struct Idle(Child);

    impl Idle {
        fn start() -> Self {
            Self(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat exists"))
        }

        fn subject(&self) -> Subject {
            Subject::Process(self.0.id())
        }

        fn end(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    impl Drop for Idle {
        fn drop(&mut self) {
            self.end();
        }
    }

    static SECONDS: AtomicU64 = AtomicU64::new(0);
    static LOAD: Mutex<Option<Sender<()>>> = Mutex::new(None);

    /// A clock on which a second passes each time it is read, so that nothing waits; the load is over after twenty.
    fn twenty_seconds() -> Time {
        let seconds = SECONDS.fetch_add(1, Ordering::Relaxed);
        if seconds == 20 {
            LOAD.lock().unwrap().take();
        }
        Time::from_nanos(seconds * 1_000_000_000)
    }

    /// The same without an end.
    fn endless() -> Time {
        static SECONDS: AtomicU64 = AtomicU64::new(0);
        Time::from_nanos(SECONDS.fetch_add(1, Ordering::Relaxed) * 1_000_000_000)
    }

    #[test]
    fn a_process_is_read_until_the_load_is_over() {
        let idle = Idle::start();
        let observer = Observer::new(&[idle.subject()]).unwrap();
        let (load, stop) = channel();
        *LOAD.lock().unwrap() = Some(load);
        let (observed, happenings) =
            watch(&observer.subjects[0], Pace { start: Time::ZERO, now: twenty_seconds }, &stop);
        assert_eq!((observed.kind, observed.ended_s, observed.missed), (ObservedKind::Process, None, 0));
        assert!(observed.name.starts_with("cat (pid "), "{}", observed.name);
        assert!(observed.cpus.is_some_and(|cpus| cpus > 0), "{observed:?}");
        let rows = &observed.samples;
        assert!(rows.len() > 3 && rows.windows(2).all(|pair| pair[0].t_s < pair[1].t_s), "{rows:?}");
        let is_whole = |row: &ObservedSample| row.threads == Some(1) && row.descriptors >= Some(3) && row.span_s > 0.0;
        assert!(rows.iter().all(is_whole), "{rows:?}");
        assert_eq!(happenings, []);
    }

    #[test]
    fn a_process_that_dies_is_told_in_this_load_and_the_next() {
        let mut idle = Idle::start();
        let observer = Observer::new(&[idle.subject()]).unwrap();
        let pace = Pace { start: Time::ZERO, now: endless };
        let subject = observer.subjects[0].clone();
        let (_load, stop) = channel();
        let watching = std::thread::spawn(move || watch(&subject, pace, &stop));
        idle.end();
        let (observed, happenings) = watching.join().unwrap();
        assert!(observed.ended_s.is_some(), "{observed:?}");
        assert!(matches!(happenings.as_slice(), [only] if only.text.ends_with(" ended")), "{happenings:?}");
        let (_load, stop) = channel();
        let (observed, happenings) = watch(&observer.subjects[0], pace, &stop);
        assert_eq!((observed.samples.len(), happenings.len()), (0, 1));
        assert_eq!(Observer::new(&[idle.subject()]).unwrap_err(), ObserveError::NoProcess(idle.0.id()));
    }

    #[test]
    fn an_exporter_that_stops_answering_is_told_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        drop(listener);
        let Ok(Subject::Exporter(url)) = url.parse() else { panic!("{url}") };
        let (load, stop) = channel();
        let pace = Pace { start: Time::ZERO, now: endless };
        let watching = std::thread::spawn(move || watch(&Checked::Exporter(url), pace, &stop));
        drop(load);
        let (observed, happenings) = watching.join().unwrap();
        assert_eq!(observed.samples, []);
        assert_eq!(happenings.len(), usize::from(observed.missed > 0), "{happenings:?}");
    }

    #[test]
    fn a_load_that_ends_at_once_leaves_no_row() {
        let idle = Idle::start();
        let observer = Observer::new(&[idle.subject()]).unwrap();
        let never: fn() -> Time = || Time::ZERO;
        let observation = observer.begin(Time::from_nanos(1 << 62), &[], never).unwrap().finish();
        assert_eq!((observation.observed.len(), observation.tcp_info), (1, None));
        assert_eq!(observation.observed[0].samples, []);
    }

    #[test]
    fn long_runs_have_a_bounded_number_of_rows() {
        let mut rows = Rows::default();
        for second in 1..=5 * MOST_ROWS as u32 {
            rows.push(ObservedSample {
                t_s: f64::from(second),
                span_s: 1.0,
                listen_drops: Some(1),
                ..Default::default()
            });
            assert!(rows.rows.len() < MOST_ROWS);
        }
        assert!(rows.interval() > INTERVAL);
        let drops: u64 = rows.rows.iter().filter_map(|row| row.listen_drops).sum();
        assert_eq!(drops, 5 * MOST_ROWS as u64, "none is lost");
    }
}
