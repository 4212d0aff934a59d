//! Many searches against simulated servers whose true rate is known: how the parameters were chosen, and what shows that
//! they hold.

use std::ops::Range;
use std::thread;

use rand::RngExt;

use super::simulated::{
    Backlog, Freeze, SYN_RETRIES_EXPONENTIAL, SYN_RETRIES_LINEAR, Server, SimulatedServer, sustainable_rate,
};
use shakedown::base::{Nanos, Rate, Seed, StreamPurpose};
use shakedown::search::{
    Measurer, Mode, Purpose, QualificationVerdict, Search, SearchSpec, TrialRequest, Verdict, search,
};

/// The searches of a sweep have this much of the 5 minutes; the rest is for the baseline and for what follows a search.
pub const SWEEP_BUDGET: Nanos = Nanos::from_secs(270);
/// A result within this relative distance of the truth is a good one.
pub const GOOD: f64 = 0.03;
/// A result may lie above the truth by the width of the goal and this.
pub const OVER: f64 = 0.01;

/// Servers of all sorts with their true rates.
#[derive(Clone, Debug)]
pub struct Catalogue {
    deadline: Nanos,
    servers: Vec<(Server, f64)>,
}

/// How the rate is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The search of this module.
    Search,
    /// Plain bisection: one trial a load, judged by its loss alone, the same trials and bounds, no confirmation.
    Bisection,
}

/// What many searches found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Searches made.
    pub searches: usize,
    /// Those that gave a rate: confirmed, or for bisection found.
    pub found: usize,
    /// Those whose rate lies above the truth by more than the width and [`OVER`].
    pub over: usize,
    /// Those whose rate lies within [`GOOD`] of the truth.
    pub good: usize,
    /// Those that called the target unstable.
    pub unstable: usize,
    /// The highest rate found, relative to the truth: 0.01 is 1 % above it.
    pub highest: f64,
    /// The lowest rate found, relative to the truth.
    pub lowest: f64,
    /// The median of the time taken.
    pub median_time: Nanos,
    /// The longest time taken.
    pub longest_time: Nanos,
}

impl Catalogue {
    /// `count` servers: capacities of 1 000 to 20 000/s, a third each with service times that vary by 0.3, 0.6 and 1 of
    /// their mean; half of them with a listen queue of 128, 511 or 1024 and either kernel's SYN retries.
    pub fn new(deadline: Nanos, loss_ratio: f64, freeze: Option<Freeze>, count: usize) -> Self {
        let mut random = Seed::new(0).stream(StreamPurpose::Simulation, 1);
        let mut server = |number: usize| Server {
            capacity_per_s: 1_000.0 * 20f64.powf(random.random()),
            variation: [0.3, 0.6, 1.0][number % 3],
            backlog: (number % 2 == 1).then(|| Backlog {
                limit: [128.0, 511.0, 1024.0][number / 2 % 3],
                syn_retries_s: if number % 4 == 1 { SYN_RETRIES_LINEAR } else { SYN_RETRIES_EXPONENTIAL },
            }),
            freeze,
            spoiled: 0.0,
        };
        let servers: Vec<Server> = (0..count).map(&mut server).collect();
        Self::of(&servers, deadline, loss_ratio)
    }

    /// Servers with these low limits, such as small fleets meet: half of them as even as a limiter, half with service times
    /// that vary by 0.3 of their mean.
    pub fn low(deadline: Nanos, loss_ratio: f64, limits_per_s: &[f64]) -> Self {
        let server = |capacity_per_s: &f64, variation| Server {
            capacity_per_s: *capacity_per_s,
            variation,
            backlog: None,
            freeze: None,
            spoiled: 0.0,
        };
        let servers = limits_per_s.iter().flat_map(|limit| [0.0, 0.3].map(|variation| server(limit, variation)));
        Self::of(&servers.collect::<Vec<_>>(), deadline, loss_ratio)
    }

    fn of(servers: &[Server], deadline: Nanos, loss_ratio: f64) -> Self {
        let with_truth = |server: &Server| (*server, sustainable_rate(*server, deadline, loss_ratio));
        Self { deadline, servers: on_all_cores(servers, with_truth) }
    }

    /// The servers with their true rates: what ten minutes sustain without spoiled trials.
    pub fn servers(&self) -> &[(Server, f64)] {
        &self.servers
    }

    /// One search per seed, the servers in turn, this share of the trials spoiled.
    pub fn sweep(&self, spec: &SearchSpec, method: Method, spoiled: f64, seeds: Range<u64>) -> Tally {
        let numbers: Vec<u64> = seeds.collect();
        let results = on_all_cores(&numbers, |number| {
            let (server, truth) = self.servers[*number as usize % self.servers.len()];
            let server = Server { spoiled, ..server };
            let seed = Seed::new(*number);
            let simulated = SimulatedServer::new(server, self.deadline, spec.trial_overhead, seed);
            let spec = &begun_at(spec, server.capacity_per_s);
            let found = match method {
                Method::Search => by_search(spec, simulated),
                Method::Bisection => by_bisection(spec, simulated),
            };
            Found { error: found.error.map(|rate| rate / truth - 1.0), ..found }
        });
        Tally::of(&results, spec.goals[0].width + OVER)
    }
}

/// Answers to the same question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The need is met, with its margin.
    pub met: usize,
    /// It is not, or its margin is not.
    pub missed: usize,
    /// It could not be told.
    pub inconclusive: usize,
    /// The longest time taken.
    pub longest_time: Nanos,
}

impl Catalogue {
    /// Whether the servers take what they are offered as need and margin, at this share of their true rates: one
    /// qualification per seed, the servers in turn, no trial spoiled.
    pub fn qualify(&self, spec: &SearchSpec, share: f64, margin: f64, seeds: Range<u64>) -> Answers {
        let numbers: Vec<u64> = seeds.collect();
        let results = on_all_cores(&numbers, |number| {
            let (server, truth) = self.servers[*number as usize % self.servers.len()];
            let need = Rate::per_second(truth * share / margin).expect("a true rate is one");
            let spec = SearchSpec { mode: Mode::Qualify { need, margin }, ..begun_at(spec, server.capacity_per_s) };
            let mut simulated = SimulatedServer::new(server, self.deadline, spec.trial_overhead, Seed::new(*number));
            let mut under_way = Search::new(spec).expect("the spec of a sweep is sound");
            let Ok(conclusion) = search(&mut under_way, &mut simulated);
            (conclusion.qualification.expect("one was asked for").verdict, under_way.spent())
        });
        let mut answers = Answers::default();
        for (verdict, took) in results {
            match verdict {
                QualificationVerdict::Met => answers.met += 1,
                QualificationVerdict::Missed | QualificationVerdict::MarginMissed => answers.missed += 1,
                QualificationVerdict::Inconclusive => answers.inconclusive += 1,
            }
            answers.longest_time = answers.longest_time.max(took);
        }
        answers
    }
}

/// The search begins where a baseline would have it begin: not above what the server takes.
fn begun_at(spec: &SearchSpec, capacity_per_s: f64) -> SearchSpec {
    let at_most =
        |rate: Rate, most: f64| Rate::per_second(rate.as_per_second().min(most)).expect("a capacity is a rate");
    SearchSpec {
        start_rate: at_most(spec.start_rate, capacity_per_s),
        min_rate: at_most(spec.min_rate, capacity_per_s / 10.0),
        ..spec.clone()
    }
}

/// One search: the rate it gave (later its error), whether it called the target unstable, the time it took.
#[derive(Clone, Copy, Debug)]
struct Found {
    error: Option<f64>,
    is_unstable: bool,
    took: Nanos,
}

fn by_search(spec: &SearchSpec, mut server: SimulatedServer) -> Found {
    let mut under_way = Search::new(spec.clone()).expect("the spec of a sweep is sound");
    let Ok(conclusion) = search(&mut under_way, &mut server);
    let goal = &conclusion.goals[0];
    let is_unstable = matches!(goal.verdict, Verdict::Unstable { .. });
    Found { error: goal.confirmed_per_s, is_unstable, took: under_way.spent() }
}

fn by_bisection(spec: &SearchSpec, mut server: SimulatedServer) -> Found {
    let goal = &spec.goals[0];
    let (mut lower, mut upper) = (spec.min_rate.as_per_second(), None::<f64>);
    let mut rate_per_s = spec.start_rate.as_per_second();
    let mut took = Nanos::ZERO;
    while upper.is_none_or(|upper| upper > lower * (1.0 + goal.width)) && took < spec.budget {
        let request =
            TrialRequest { rate_per_s, duration: goal.final_trial, purpose: Purpose::Decide, goal: 0, may_lose: 1.0 };
        let Ok(outcome) = server.trial(&request);
        took += outcome.took;
        if outcome.loss_ratio() <= goal.loss_ratio {
            lower = rate_per_s;
        } else {
            upper = Some(rate_per_s);
        }
        rate_per_s = upper.map_or(lower * 2.0, |upper| (lower * upper).sqrt());
    }
    Found { error: Some(lower), is_unstable: false, took }
}

impl Tally {
    fn of(results: &[Found], allowed: f64) -> Self {
        let errors: Vec<f64> = results.iter().filter_map(|found| found.error).collect();
        let mut times: Vec<Nanos> = results.iter().map(|found| found.took).collect();
        times.sort_unstable();
        Self {
            searches: results.len(),
            found: errors.len(),
            over: errors.iter().filter(|error| **error > allowed).count(),
            good: errors.iter().filter(|error| error.abs() <= GOOD).count(),
            unstable: results.iter().filter(|found| found.is_unstable).count(),
            highest: errors.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            lowest: errors.iter().copied().fold(f64::INFINITY, f64::min),
            median_time: times.get(times.len() / 2).copied().unwrap_or_default(),
            longest_time: times.last().copied().unwrap_or_default(),
        }
    }
}

/// Applies `work` to all items, shared among as many threads as there are cores; the order stays.
fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = items.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let work = &work;
        let parts: Vec<_> =
            items.chunks(part).map(|items| scope.spawn(move || items.iter().map(work).collect())).collect();
        let done = parts.into_iter().map(|part| part.join().expect("a simulated search does not panic"));
        done.collect::<Vec<Vec<R>>>().into_iter().flatten().collect()
    })
}
