//! The built-in target: an RTMP server on the generator's own backend.
//!
//! A sink accepts, answers C0C1 with S0S1S2, and reads and judges C2. It then answers commands as nginx-rtmp does: any
//! application and any stream is accepted that no rule refuses, what publishers send is counted and dropped, and players
//! of any stream get a small built-in one. It has no deadlines: a client that stays silent keeps its slot. Its counts are
//! exact once it has stopped, which makes it the oracle of end-to-end tests: every C2 that arrived is counted, even one
//! followed at once by an RST.

mod counts;
mod delay;
mod listener;
mod serve;
mod sessions;
mod worker;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::counts::PublishedCounts;
pub use self::counts::SinkCounts;
use self::serve::Service;
use self::worker::MOST_ATTEMPTS;
pub use self::worker::{SinkWorker, WorkerPlan};
use crate::base::{Nanos, Seed, StreamPurpose};
use crate::engine::Verify;
use crate::fleet::pin_current_thread;
use crate::io::epoll::{Epoll, EpollError};
use crate::io::ring::{Ring, RingError};
use crate::io::tls::{Tls, TlsIo, TlsServer};
use crate::io::{Engine, Io, IoPlan};
use crate::protocol::ServerTemplates;
use crate::protocol::media::Track;
use crate::protocol::session::{RejectRule, ServerPolicy, ServerSession};

/// What a sink does.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who executes the operations.
    pub engine: Engine,
    /// Worker threads, each with a listener, a backend and connections of its own; at least 1.
    pub workers: u32,
    /// The CPU each worker is pinned to; workers beyond its length wrap around. Empty: not pinned.
    pub cpus: Vec<u32>,
    /// Which C2s are checked.
    pub verify: Verify,
    /// How long after C1's last byte S0S1S2 is sent.
    pub delay: Nanos,
    /// Most connections open at once in one worker; cut to the hard limit of RLIMIT_NOFILE (with the epoll engine: to the
    /// worker's part of it) and to 2^20, with TLS to 2^17.
    pub slots_per_worker: u32,
    /// What it refuses of what clients ask for; the first rule that fits decides.
    pub reject: Vec<RejectRule>,
    /// How often clients in session are asked for a sign of life; zero: never.
    pub ping_every: Nanos,
    /// The certificate of a sink that speaks TLS, and nothing else.
    pub tls: Option<TlsServer>,
    /// Filler of S1 and S2, and the choice of [`Verify::Sample`].
    pub seed: Seed,
}

impl SinkPlan {
    /// A sink on a free loopback port for a load with so many `slots`, on these CPUs, in a process that may open so many
    /// `descriptors`.
    pub fn for_load(engine: Engine, slots: u32, cpus: Vec<u32>, descriptors: u32, seed: Seed) -> Self {
        // Connections are spread over the workers by hash, so each gets room for more than its even share. A slot is also
        // busy from the client's reset until the sink has seen it, while the client already opens the next connection.
        let wanted = slots.saturating_mul(2).max(1_024);
        let workers = wanted.div_ceil(descriptors.max(1)).max(cpus.len() as u32).max(1);
        let slots_per_worker = wanted.div_ceil(workers).saturating_mul(2).min(descriptors);
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            engine,
            workers,
            cpus,
            verify: Verify::All,
            delay: Nanos::ZERO,
            slots_per_worker,
            reject: Vec::new(),
            ping_every: Nanos::ZERO,
            tls: None,
            seed,
        }
    }
}

/// A running sink. Dropping it stops it.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    control: Arc<Control>,
    threads: Vec<JoinHandle<io::Result<SinkCounts>>>,
}

/// Why a sink did not start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_remedy(source))]
    Listen {
        /// As planned.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A worker cannot be pinned.
    #[error(
        "cannot pin a worker of the sink to CPU {cpu}: {source}; choose CPUs of this process's cpuset (`taskset -p $$`)"
    )]
    Pin {
        /// As planned.
        cpu: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// io_uring is not to be had.
    #[error("the sink needs io_uring: {0}")]
    Ring(#[from] RingError),
    /// epoll is not to be had.
    #[error("the sink needs epoll: {0}")]
    Epoll(#[from] EpollError),
    /// No thread is to be had.
    #[error("cannot start a worker thread of the sink: {0}; raise `ulimit -u` or the cgroup's pids.max")]
    Thread(io::Error),
}

/// What the workers share with their owner.
#[derive(Debug)]
struct Control {
    stop: AtomicBool,
    published: Box<[PublishedCounts]>,
}

/// S1s of each kind that a worker signs at its start; few, so that they stay in the cache.
const TEMPLATES: usize = 16;

/// Files that the process has open beside connections, where these count, too.
const OWN_FILES: u32 = 64;

/// The largest file table of a ring (`IORING_MAX_FIXED_FILES`).
const MOST_SLOTS: u32 = 1 << 20;

impl Sink {
    /// Starts the workers and returns when all of them accept connections. Raises the soft limit of RLIMIT_NOFILE to
    /// the hard one, for the whole process.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the system denies a thread, a CPU or the engine; nothing is left running.
    ///
    /// # Panics
    /// If the plan has no worker or no slot, or names the simulated engine, or a worker panics.
    pub fn start(plan: SinkPlan) -> Result<Self, SinkError> {
        assert!(plan.workers > 0 && plan.slots_per_worker > 0, "a sink without workers or slots");
        assert_ne!(plan.engine, Engine::Sim, "a sink listens on sockets");
        let (address, listeners) = listener::listen(plan.listen, plan.workers)
            .map_err(|source| SinkError::Listen { address: plan.listen, source })?;
        // With TLS each connection has buffers of its own, so that no two can wait for each other's.
        let most_slots = if plan.tls.is_some() { MOST_ATTEMPTS } else { MOST_SLOTS };
        let files = match (plan.engine, raise_file_limit()) {
            (Engine::Epoll, limit) => (limit.saturating_sub(OWN_FILES) / plan.workers).max(1),
            (_, limit) => limit,
        };
        let slots = plan.slots_per_worker.min(files).min(most_slots);
        let track = Track::played_trickle(ServerSession::CHUNK_SIZE);
        let policy = Arc::new(ServerPolicy {
            reject: plan.reject.clone(),
            track: Some(Arc::new(track)),
            answers_goodbye: false,
            ..ServerPolicy::default()
        });
        let control = Arc::new(Control {
            stop: AtomicBool::new(false),
            published: listeners.iter().map(|_| PublishedCounts::default()).collect(),
        });
        let mut sink = Self { address, control: Arc::clone(&control), threads: Vec::new() };

        let (ready, starts) = mpsc::channel();
        for (index, listener) in listeners.into_iter().enumerate() {
            let (plan, control, ready) = (plan.clone(), Arc::clone(&control), ready.clone());
            let policy = Arc::clone(&policy);
            let thread = thread::Builder::new().name(format!("sink-{index}")).spawn(move || {
                let worker = Prepared { plan: &plan, policy, slots, index, listener };
                match plan.engine {
                    Engine::Epoll => worker.serve_on(&control, ready, Epoll::new),
                    _ => worker.serve_on(&control, ready, Ring::new),
                }
            });
            sink.threads.push(thread.map_err(SinkError::Thread)?);
        }
        drop(ready);
        let ready = starts.iter().collect::<Result<Vec<()>, _>>()?;
        assert_eq!(ready.len(), sink.threads.len(), "a worker of the sink panicked while it made ready");
        Ok(sink)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen, up to some tens of milliseconds ago.
    pub fn counts(&self) -> SinkCounts {
        self.control.published.iter().map(PublishedCounts::read).sum()
    }

    /// Accepts what waits to be accepted, then no more; reads what has arrived; ends. The counts are exact; `held` is
    /// the number of connections that were open at the end, which the peers see closed some 200 ms later.
    ///
    /// Returns within about 20 ms when the peers are silent, and within half a second in any case.
    ///
    /// # Panics
    /// If a worker could not go on because its backend failed.
    pub fn stop(mut self) -> SinkCounts {
        self.control.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(counts) => counts.expect("a sink's backend can be entered"),
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .sum()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.control.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its counts are not asked for; a panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What a worker's thread begins with.
struct Prepared<'a> {
    plan: &'a SinkPlan,
    policy: Arc<ServerPolicy>,
    slots: u32,
    index: usize,
    listener: OwnedFd,
}

impl Prepared<'_> {
    /// Serves on a backend that `make` makes, with TLS above it if the plan wants it.
    fn serve_on<I: Io, E: Into<SinkError>>(
        self,
        control: &Control,
        ready: mpsc::Sender<Result<(), SinkError>>,
        make: impl FnOnce(IoPlan) -> Result<I, E>,
    ) -> io::Result<SinkCounts> {
        match &self.plan.tls {
            None => self.serve(control, ready, make),
            Some(server) => {
                let tls = Tls { clients: Vec::new(), server: Some(server.clone()) };
                self.serve(control, ready, |io| TlsIo::new(io, &tls, make))
            }
        }
    }

    /// Makes the backend and says that the worker is ready, or why it is not; then serves until it is to stop. A ring
    /// must be made by the thread that enters it.
    fn serve<I: Io, E: Into<SinkError>>(
        self,
        control: &Control,
        ready: mpsc::Sender<Result<(), SinkError>>,
        make: impl FnOnce(IoPlan) -> Result<I, E>,
    ) -> io::Result<SinkCounts> {
        let index = self.index;
        let (service, answer) = match self.service(make) {
            Ok(service) => (Some(service), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The starter reads answers until no thread can give one any more.
        let _ = ready.send(answer);
        drop(ready);
        service.map_or(Ok(SinkCounts::default()), |service| service.run(&control.stop, &control.published[index]))
    }

    fn service<I: Io, E: Into<SinkError>>(
        self,
        make: impl FnOnce(IoPlan) -> Result<I, E>,
    ) -> Result<Service<I>, SinkError> {
        let Self { plan, policy, slots, index, listener } = self;
        if !plan.cpus.is_empty() {
            let cpu = plan.cpus[index % plan.cpus.len()];
            pin_current_thread(cpu).map_err(|source| SinkError::Pin { cpu, source })?;
        }
        let worker_plan = WorkerPlan { slots, verify: plan.verify, delay: plan.delay, ping_every: plan.ping_every };
        let stream = |purpose| plan.seed.stream(purpose, index as u32);
        let templates = ServerTemplates::sign(TEMPLATES, &mut stream(StreamPurpose::ServerTemplates));
        let io = make(IoPlan {
            slots,
            targets: Vec::new(),
            sources: Vec::new(),
            listeners: vec![listener],
            nodelay: true,
            arrival_times: false,
            hold_check: None,
            ports: None,
            shared_bytes: [].into(),
            media: [].into(),
            buffers: worker_plan.buffers(),
        })
        .map_err(Into::into)?;
        let worker = SinkWorker::new(worker_plan, policy, templates, stream(StreamPurpose::Sampling), io.now());
        Ok(Service::new(io, worker))
    }
}

/// Raises the soft limit of open files to the hard one and returns it.
fn raise_file_limit() -> u32 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

fn listen_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop what listens there (`ss -ltnp`), or choose another port, or port 0 for a free one"
        }
        io::ErrorKind::PermissionDenied => "choose a port from 1024 up, or run with CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "choose an address of this host (`ip address`), or 0.0.0.0 or [::] for all of them"
        }
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            "raise `ulimit -n`, or give fewer workers"
        }
        _ => "choose another address",
    }
}

#[cfg(test)]
mod tests;
