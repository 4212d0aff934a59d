//! Threads: one per worker, each with a backend of its own that is made inside the thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rustix::time::{ClockId, clock_gettime};

use crate::base::{Nanos, Time};
use crate::engine::{Ends, Worker};
use crate::io::{Io, TargetId};
use crate::measure::{CompletedSecond, IntervalReport, Snapshot, Timeline};

use super::affinity::pin_current_thread;
use super::mailbox::{Mailbox, Order, Progress};
use super::turns::{Observer, run_turns};

/// A worker's backend, and the worker once the common start instant is known.
pub struct Prepared<I> {
    /// The backend, made in the worker's thread.
    pub io: I,
    /// Makes the worker for the given start instant.
    pub begin: Box<dyn FnOnce(Time) -> Worker>,
}

/// Why a fleet did not start: nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LaunchError(pub String);

/// What a worker leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// What it measured.
    pub snapshot: Snapshot,
    /// The CPU it was pinned to.
    pub cpu: Option<u32>,
    /// CPU time of its thread while the load ran.
    pub cpu_time: Nanos,
    /// How long its thread was ready to run and another had its CPU; `None` if the kernel does not say.
    pub cpu_wait: Option<CpuWait>,
    /// Wall time of its thread while the load ran.
    pub wall_time: Nanos,
    /// When its load, drain and hold ended.
    pub ends: Ends,
    /// Completions that overflowed the completion queue.
    pub completion_overflows: u64,
    /// Why its backend broke, if it did.
    pub error: Option<String>,
}

/// How a thread that was ready to run had to wait for its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuWait {
    /// Altogether.
    pub time: Nanos,
    /// How often it was given the CPU.
    pub times: u64,
}

/// Worker threads that run one load together.
#[derive(Debug)]
pub struct Fleet {
    threads: Vec<JoinHandle<()>>,
    mailboxes: Vec<Arc<Mailbox>>,
    starts: Vec<Sender<Time>>,
    spares: Vec<Sender<Box<IntervalReport>>>,
    events: Receiver<Event>,
    timeline: Timeline,
    /// The last second that each worker has reported.
    last_seconds: Vec<u32>,
    outcomes: Vec<Option<Outcome>>,
    now: fn() -> Time,
}

#[derive(Debug)]
enum Event {
    Ready,
    Failed(String),
    Interval(usize, Box<IntervalReport>),
    Ended(usize, Box<Outcome>),
}

impl Fleet {
    /// Starts `workers` threads, worker `i` pinned to `cpus[i % len]` (not pinned if `cpus` is empty), and waits until
    /// each has prepared its backend. `now` reads the clock that the backends use.
    ///
    /// # Errors
    /// The first worker's reason why it cannot run; the others end.
    pub fn launch<I, P>(workers: u32, cpus: &[u32], now: fn() -> Time, prepare: P) -> Result<Self, LaunchError>
    where
        I: Io + 'static,
        P: Fn(u32) -> Result<Prepared<I>, String> + Send + Sync + 'static,
    {
        let prepare = Arc::new(prepare);
        let (event_sender, events) = channel();
        let mut fleet = Self {
            threads: Vec::new(),
            mailboxes: Vec::new(),
            starts: Vec::new(),
            spares: Vec::new(),
            events,
            timeline: Timeline::new(workers).with_seconds(),
            last_seconds: vec![0; workers as usize],
            outcomes: (0..workers).map(|_| None).collect(),
            now,
        };
        for index in 0..workers {
            let mailbox = Arc::new(Mailbox::default());
            let (start_sender, start) = channel();
            let (spare_sender, spares) = channel();
            let seat = Seat {
                index: index as usize,
                cpu: (!cpus.is_empty()).then(|| cpus[index as usize % cpus.len()]),
                mailbox: Arc::clone(&mailbox),
                start,
                spares,
                events: event_sender.clone(),
                now,
            };
            let prepare = Arc::clone(&prepare);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || seat.work(&*prepare))
                .map_err(|error| LaunchError(format!("cannot start worker thread {index}: {error}")))?;
            fleet.threads.push(thread);
            fleet.mailboxes.push(mailbox);
            fleet.starts.push(start_sender);
            fleet.spares.push(spare_sender);
        }
        drop(event_sender);
        for _ in 0..workers {
            match fleet.events.recv() {
                Ok(Event::Ready) => {}
                Ok(Event::Failed(reason)) => return Err(LaunchError(reason)),
                Ok(Event::Interval(..) | Event::Ended(..)) | Err(_) => {
                    return Err(LaunchError("a worker thread ended before the load began".into()));
                }
            }
        }
        Ok(fleet)
    }

    /// The present instant of the workers' clock.
    pub fn now(&self) -> Time {
        (self.now)()
    }

    /// Lets the load begin at `start`, the same instant for all workers.
    pub fn start(&self, start: Time) {
        for worker in &self.starts {
            // A worker that is gone has reported why.
            let _ = worker.send(start);
        }
    }

    /// Gives an order to every worker.
    pub fn order(&self, order: Order) {
        for mailbox in &self.mailboxes {
            mailbox.order(order);
        }
    }

    /// On every worker these targets connect to these addresses from now on.
    pub fn retarget(&self, changes: &[(TargetId, SocketAddr)]) {
        for mailbox in &self.mailboxes {
            mailbox.retarget(changes);
        }
    }

    /// Totals of all workers, at most a few tens of milliseconds old.
    pub fn progress(&self) -> Progress {
        let mut total = Progress::default();
        for mailbox in &self.mailboxes {
            total += mailbox.progress();
        }
        total
    }

    /// Every worker's load is over and nothing is in flight; connections may be held.
    pub fn is_drained(&self) -> bool {
        self.mailboxes.iter().all(|mailbox| mailbox.is_drained())
    }

    /// Takes in what the workers have handed over; `true` when all have ended.
    pub fn collect(&mut self) -> bool {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.take(event),
                Err(TryRecvError::Empty) => return self.outcomes.iter().all(Option::is_some),
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// The timeline so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The seconds that every worker has reported and that were not taken yet, in order; take them often.
    pub fn take_seconds(&mut self) -> impl Iterator<Item = CompletedSecond> {
        self.timeline.take_completed()
    }

    /// Waits for the workers' ends and gives their outcomes, in order, with the complete timeline.
    ///
    /// # Panics
    /// If a worker panicked: that is a defect of this program, not of the run.
    pub fn join(mut self) -> (Vec<Outcome>, Timeline) {
        while let Ok(event) = self.events.recv() {
            self.take(event);
        }
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        (self.outcomes.into_iter().flatten().collect(), self.timeline)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Interval(worker, mut report) => {
                self.timeline.add(&report);
                self.last_seconds[worker] = report.index;
                report.clear();
                // A worker that is gone needs no spare.
                let _ = self.spares[worker].send(report);
            }
            Event::Ended(worker, outcome) => {
                self.timeline.worker_ended(self.last_seconds[worker]);
                self.outcomes[worker] = Some(*outcome);
            }
            Event::Ready | Event::Failed(_) => {}
        }
    }
}

/// What a worker thread is given.
struct Seat {
    index: usize,
    cpu: Option<u32>,
    mailbox: Arc<Mailbox>,
    start: Receiver<Time>,
    spares: Receiver<Box<IntervalReport>>,
    events: Sender<Event>,
    now: fn() -> Time,
}

impl Seat {
    fn work<I: Io>(mut self, prepare: &dyn Fn(u32) -> Result<Prepared<I>, String>) {
        let prepared = self
            .cpu
            .map_or(Ok(()), pin_current_thread)
            .map_err(|error| format!("cannot pin worker {} to CPU {:?}: {error}", self.index, self.cpu))
            .and_then(|()| prepare(self.index as u32));
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => {
                let _ = self.events.send(Event::Failed(reason));
                return;
            }
        };
        // The control thread may be gone by now (another worker failed): then there is nothing to do.
        if self.events.send(Event::Ready).is_err() {
            return;
        }
        let Ok(start) = self.start.recv() else { return };
        let mut worker = (prepared.begin)(start);
        let (began, cpu_began, wait_began) = ((self.now)(), thread_cpu_time(), CpuWait::now());
        let mailbox = Arc::clone(&self.mailbox);
        let end = run_turns(&mut prepared.io, &mut worker, &mailbox, &mut self);
        let ended = (self.now)();
        let ends = worker.ends();
        let (snapshot, reports) = worker.finish(ended);
        for report in reports {
            let _ = self.events.send(Event::Interval(self.index, report));
        }
        let outcome = Outcome {
            snapshot,
            cpu: self.cpu,
            cpu_time: thread_cpu_time().saturating_sub(cpu_began),
            cpu_wait: CpuWait::now().zip(wait_began).map(|(now, then)| now.since(then)),
            wall_time: ended.since(began),
            ends,
            completion_overflows: prepared.io.completion_overflows(),
            error: end.err().map(|error| error.to_string()),
        };
        let _ = self.events.send(Event::Ended(self.index, Box::new(outcome)));
    }
}

impl Observer for Seat {
    fn interval(&mut self, report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        let _ = self.events.send(Event::Interval(self.index, report));
        self.spares.try_recv().ok()
    }
}

fn thread_cpu_time() -> Nanos {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Nanos::from_secs(time.tv_sec as u64) + Nanos::new(time.tv_nsec as u64)
}

impl CpuWait {
    /// The calling thread's figures since its beginning: the second and third number of `schedstat`
    /// (Documentation/scheduler/sched-stats.rst; kernels with CONFIG_SCHED_INFO).
    fn now() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut numbers = text.split_whitespace().skip(1).map(str::parse);
        Some(Self { time: Nanos::new(numbers.next()?.ok()?), times: numbers.next()?.ok()? })
    }

    fn since(self, earlier: Self) -> Self {
        Self { time: self.time.saturating_sub(earlier.time), times: self.times.saturating_sub(earlier.times) }
    }
}
