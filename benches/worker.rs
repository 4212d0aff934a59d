//! What the engine itself costs per attempt: the worker's turns, its recorder and its deadlines. No system call.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use echo::Echo;
use plan::Clients;
use shakedown::base::{Nanos, Seed, Time};
use shakedown::engine::{Deadlines, Worker};
use shakedown::fleet::{End, Mailbox, Observer, run_turns};
use shakedown::io::sim::{SimConfig, SimNetwork};
use shakedown::io::{Io, IoPlan};
use shakedown::measure::{IntervalReport, Place, Recorder, RecorderLayout, Sample, StageInfo};
use shakedown::protocol::{HandshakeMode, Negotiated};
use shakedown::run::Verify;

mod echo;
mod plan;

const SEED: Seed = Seed::new(1935);
/// Attempts of one measured run.
const ATTEMPTS: u64 = 5_000;
const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1935);

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = attempts, recorder, deadlines
}
criterion_main!(benches);

/// Per attempt, on two backends: one that answers every op at once with bytes made before, so that what is measured is
/// the worker, and the simulated network, whose peers sign and whose packets take virtual time.
fn attempts(criterion: &mut Criterion) {
    let cases = [
        ("simple", Clients::handshakes(HandshakeMode::Simple, Verify::All)),
        ("complex, verify none", Clients::handshakes(HandshakeMode::Complex, Verify::None)),
        ("complex, verify all", Clients::handshakes(HandshakeMode::Complex, Verify::All)),
    ];
    let mut group = criterion.benchmark_group("worker");
    group.sample_size(12).measurement_time(Duration::from_secs(2)).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(ATTEMPTS));
    for (name, clients) in cases {
        group.bench_function(format!("alone/{name}"), |bencher| {
            bencher.iter_batched(|| Run::new(&clients, Echo::new), Run::finish, BatchSize::PerIteration);
        });
        group.bench_function(format!("simulated network/{name}"), |bencher| {
            let network = |plan| SimNetwork::new(plan, SimConfig::new(SEED));
            bencher.iter_batched(|| Run::new(&clients, network), Run::finish, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn recorder(criterion: &mut Criterion) {
    let layout = Arc::new(RecorderLayout {
        stages: vec![StageInfo {
            population: 0,
            name: "load".into(),
            warmup: false,
            open_loop: true,
            probe: false,
            storm: false,
            until: shakedown::measure::Until::Handshake,
        }],
        populations: vec!["bench".into()],
        targets: vec!["one".into(), "two".into()],
        clients: vec!["shakedown".into()],
        hostile: vec![false],
        canary: None,
        watched: Vec::new(),
    });
    let mut recorder = Recorder::new(layout, Time::ZERO);
    let place = Place { stage: 0, target: 0, client: 0 };
    let mut sample = Sample {
        place,
        intended: Some(Time::from_nanos(1_000)),
        slot_free: Time::from_nanos(900),
        started: Time::from_nanos(2_000),
        connected: Time::from_nanos(20_000),
        secured: None,
        sent: Time::from_nanos(20_000),
        s0s1: Time::from_nanos(60_000),
        s2: Time::from_nanos(60_000),
        session: None,
        completed: Time::from_nanos(60_000),
        paused: Nanos::ZERO,
        negotiated: Negotiated::ComplexVerified,
    };
    let mut group = criterion.benchmark_group("recorder");
    group.bench_function("due and started", |bencher| {
        bencher.iter(|| {
            recorder.due(0, 1, Time::from_nanos(1_000));
            recorder.started(place, Time::from_nanos(1_000));
        });
    });
    // Open loop with two targets: seven histograms of the stage, one of the target, two of the second.
    group.bench_function("completed", |bencher| {
        bencher.iter(|| {
            sample.completed = Time::from_nanos(60_000 + (sample.completed.as_nanos() * 7) % 90_000);
            recorder.completed(&sample);
        });
    });
    group.bench_function("turn", |bencher| bencher.iter(|| recorder.turn(Nanos::new(30_000), Nanos::ZERO)));
    group.finish();
}

fn deadlines(criterion: &mut Criterion) {
    const SLOTS: u32 = 10_000;
    let mut group = criterion.benchmark_group("deadlines");
    let timeout = Nanos::from_secs(5);
    let mut deadlines = Deadlines::new(SLOTS, Time::ZERO);
    (0..SLOTS).for_each(|slot| deadlines.set(slot, Time::ZERO + timeout));
    let (mut slot, mut now) = (0, Time::ZERO);
    // As in a run: each slot in turn gives its deadline up and gets a later one, while time goes on and nothing expires.
    group.bench_function("clear and set", |bencher| {
        bencher.iter(|| {
            slot = (slot + 7) % SLOTS;
            now += Nanos::new(100);
            deadlines.clear(slot);
            deadlines.set(slot, now + timeout);
            deadlines.pop_expired(now)
        });
    });
    group.throughput(Throughput::Elements(u64::from(SLOTS)));
    group.bench_function("set and expire", |bencher| {
        bencher.iter_batched_ref(
            || Deadlines::new(SLOTS, Time::ZERO),
            |deadlines| {
                for slot in 0..SLOTS {
                    deadlines.set(slot, Time::ZERO + timeout + Nanos::from_micros(u64::from(slot)));
                }
                while deadlines.pop_expired(Time::ZERO + timeout + timeout).is_some() {}
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A worker about to run [`ATTEMPTS`] attempts on a backend of its own.
struct Run<I> {
    io: I,
    worker: Worker,
    mailbox: Mailbox,
}

impl<I: Io> Run<I> {
    fn new(clients: &Clients, backend: impl FnOnce(IoPlan) -> I) -> Self {
        let preparation = clients.prepare(TARGET, ATTEMPTS);
        let (parts, io_plan) = preparation.parts(0);
        let io = backend(io_plan);
        let worker = preparation.worker(0, parts, io.now());
        Self { io, worker, mailbox: Mailbox::default() }
    }

    /// Returns the parts, so that dropping them is not measured.
    fn finish(mut self) -> Self {
        let end = run_turns(&mut self.io, &mut self.worker, &self.mailbox, &mut Spare).expect("no kernel, no error");
        assert_eq!(end, End::Finished);
        let stages = self.worker.recorder().snapshot().stages();
        assert_eq!(stages[0].tally.counts.completed, ATTEMPTS);
        self
    }
}

/// Gives each report back at once.
struct Spare;

impl Observer for Spare {
    fn interval(&mut self, report: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        Some(report)
    }
}
