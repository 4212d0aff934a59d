//! A simulated server, for choosing the parameters of the search and for tests.
//!
//! One FIFO queue in steps of a fiftieth of the deadline, at most 5 ms: in each step the server finishes as many attempts
//! as a random service time allows, and whole steps' arrivals move as one amount. Latencies are therefore exact to one
//! step, and an idle moment within a step is not seen; near capacity, where it matters, the queue is longer than that.

use std::collections::VecDeque;
use std::convert::Infallible;

use rand::{Rng, RngExt};

use shakedown::base::{Nanos, RandomStream, Seed, StreamPurpose};
use shakedown::search::{Measurer, Purpose, TrialOutcome, TrialRequest};

/// When Linux sends a SYN again, in seconds after the first, with `net.ipv4.tcp_syn_linear_timeouts` = 4 (since 6.5).
pub const SYN_RETRIES_LINEAR: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0];
/// When older kernels send a SYN again.
pub const SYN_RETRIES_EXPONENTIAL: &[f64] = &[1.0, 3.0, 7.0, 15.0];

/// What a simulated server is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Server {
    /// Attempts it completes per second when it always has some.
    pub capacity_per_s: f64,
    /// Standard deviation of the service time over its mean.
    pub variation: f64,
    /// Its listen queue, if that is bounded: SYNs beyond it are dropped, and sent again.
    pub backlog: Option<Backlog>,
    /// Stalls that come at regular intervals.
    pub freeze: Option<Freeze>,
    /// Share of the trials that something else spoils: the server stands still for the deadline and another 1 % to 5 % of
    /// the trial, at a random moment of it.
    pub spoiled: f64,
}

/// A bounded listen queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// Attempts that may wait.
    pub limit: f64,
    /// When a dropped SYN is sent again, in seconds after the first.
    pub syn_retries_s: &'static [f64],
}

/// A server that stops for `length_s` every `period_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Freeze {
    /// How long it stands still, in seconds.
    pub length_s: f64,
    /// From one stop to the next, in seconds.
    pub period_s: f64,
}

/// A simulated server under trials, with a clock of its own.
#[derive(Clone, Debug)]
pub struct SimulatedServer {
    server: Server,
    deadline_s: f64,
    overhead: Nanos,
    clock_s: f64,
    random: RandomStream,
}

/// A warm-up is over after this time: the server is always warm.
const WARM_UP_S: f64 = 3.0;
/// A step of the simulation: this part of the deadline, but no longer than `LONGEST_STEP_S`.
const STEPS_PER_DEADLINE: f64 = 50.0;
const LONGEST_STEP_S: f64 = 0.005;

impl SimulatedServer {
    /// A server that has nothing to do yet. Each trial costs `overhead` on top of its load and drain.
    pub fn new(server: Server, deadline: Nanos, overhead: Nanos, seed: Seed) -> Self {
        let mut random = seed.stream(StreamPurpose::Simulation, 0);
        let clock_s = server.freeze.map_or(0.0, |freeze| freeze.period_s) * random.random::<f64>();
        Self { server, deadline_s: deadline.as_secs_f64(), overhead, clock_s, random }
    }

    /// The server's queue under a constant rate for so many seconds, and until it has drained.
    fn load(
        &mut self,
        rate_per_s: f64,
        duration_s: f64,
        pause: Option<(f64, f64)>,
        is_settled: impl Fn(Nanos, u64) -> bool,
    ) -> Loaded {
        let step_s = (self.deadline_s / STEPS_PER_DEADLINE).min(LONGEST_STEP_S);
        let mut steps = (duration_s / step_s).round() as usize;
        let steps_per_second = (1.0 / step_s).round() as usize;
        let mut queue = Queue::default();
        let mut in_flight = Vec::with_capacity(steps);
        let mut progress = 0.0_f64;
        let mut step = 0;
        while step < steps || queue.fresh > 0.0 {
            let now_s = step as f64 * step_s;
            let arriving = if step < steps { rate_per_s * step_s } else { 0.0 };
            queue.arrive(step, arriving, self.server.backlog, self.deadline_s, step_s);
            let busy_s = step_s * self.awake_share(now_s, step_s, pause);
            // A step of long service times finishes nothing, and delays the next one.
            progress = progress.min(0.0) + self.work_done_in(busy_s);
            queue.serve(progress.max(0.0), step, (self.deadline_s / step_s) as usize);
            step += 1;
            if step <= steps {
                in_flight.push(queue.in_flight());
            }
            // Like the generator, which counts by whole seconds.
            if step < steps
                && step.is_multiple_of(steps_per_second)
                && is_settled(Nanos::from_secs_f64(step as f64 * step_s), queue.lost as u64)
            {
                steps = step;
            }
        }
        let quarter = steps / 4;
        let floor = |part: &[f64]| part.iter().copied().fold(f64::INFINITY, f64::min);
        Loaded {
            attempts: rate_per_s * steps as f64 * step_s,
            lost: queue.lost,
            growth: if steps < 4 { 0.0 } else { floor(&in_flight[steps - quarter..]) - floor(&in_flight[..quarter]) },
            ended_s: step as f64 * step_s,
        }
    }

    /// Work done in so many seconds, in attempts: its mean, and the deviation that a sum of service times has.
    fn work_done_in(&mut self, busy_s: f64) -> f64 {
        let mean = self.server.capacity_per_s * busy_s;
        mean + self.server.variation * mean.sqrt() * self.deviate()
    }

    /// A random number with mean 0 and variance 1: the sum of four even ones (Irwin-Hall), close enough to a normal one.
    fn deviate(&mut self) -> f64 {
        let bits = self.random.next_u64();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        (sum as f64 / 65_535.0 - 2.0) * 3f64.sqrt()
    }

    /// The share of a step in which the server works.
    fn awake_share(&self, now_s: f64, step_s: f64, pause: Option<(f64, f64)>) -> f64 {
        let middle_s = now_s + step_s / 2.0;
        let pauses = pause.is_some_and(|(from_s, until_s)| (from_s..until_s).contains(&middle_s));
        let frozen = self.server.freeze.is_some_and(|f| (self.clock_s + middle_s) % f.period_s < f.length_s);
        if pauses || frozen { 0.0 } else { 1.0 }
    }
}

impl Measurer for SimulatedServer {
    type Error = Infallible;

    fn trial(&mut self, request: &TrialRequest) -> Result<TrialOutcome, Infallible> {
        let asked_s = request.duration.as_secs_f64();
        let duration_s = if request.purpose == Purpose::WarmUp { asked_s.min(WARM_UP_S) } else { asked_s };
        let is_spoiled = self.random.random::<f64>() < self.server.spoiled;
        let pause_s = self.deadline_s + duration_s * self.random.random_range(0.01..0.05);
        let from_s = self.random.random::<f64>() * (duration_s - pause_s).max(0.0);
        let pause = is_spoiled.then_some((from_s, from_s + pause_s));
        let is_settled = |elapsed, lost| request.is_settled(elapsed, lost);
        let loaded = self.load(request.rate_per_s, duration_s, pause, is_settled);
        let took = Nanos::from_secs_f64(loaded.ended_s) + self.overhead;
        self.clock_s += took.as_secs_f64();
        let attempts = loaded.attempts.round() as u64;
        Ok(TrialOutcome {
            request: *request,
            attempts,
            lost: (loaded.lost.round() as u64).min(attempts),
            backlog_growth: loaded.growth / loaded.attempts.max(1.0),
            limited: None,
            took,
        })
    }
}

/// The highest rate of which a run of ten minutes loses no more than `loss_ratio`, to a tenth of a percent: what a search
/// should find. Nothing is spoiled in it. Zero where not even a hundredth of the capacity is sustained.
pub fn sustainable_rate(server: Server, deadline: Nanos, loss_ratio: f64) -> f64 {
    const RUN_S: f64 = 600.0;
    const EXACT: f64 = 0.0005;
    let server = Server { spoiled: 0.0, ..server };
    let sustains = |rate_per_s: f64| {
        let mut run = SimulatedServer::new(server, deadline, Nanos::ZERO, Seed::new(0));
        let loaded = run.load(rate_per_s, RUN_S, None, |_, _| false);
        loaded.lost <= loss_ratio * loaded.attempts
    };
    let (mut low, mut high) = (0.0, server.capacity_per_s * 1.1);
    while high - low > EXACT * high && high > server.capacity_per_s / 100.0 {
        let middle = (low + high) / 2.0;
        if sustains(middle) { low = middle } else { high = middle }
    }
    low
}

/// What came of a load.
struct Loaded {
    attempts: f64,
    lost: f64,
    growth: f64,
    ended_s: f64,
}

/// Attempts that wait, as amounts by the step in which they arrived.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Amount>,
    /// Sum of the amounts that wait, late or not.
    length: f64,
    /// Attempts whose fate is open: they wait and may still be in time.
    fresh: f64,
    /// Dropped SYNs by the step in which they are sent again, and how often they were sent.
    retries: VecDeque<Vec<Amount>>,
    waiting_for_retry: f64,
    lost: f64,
}

/// Attempts that arrived together.
#[derive(Clone, Copy)]
struct Amount {
    /// The step of arrival, or the number of SYNs sent.
    mark: usize,
    attempts: f64,
    /// Already lost; only the server does not know.
    is_lost: bool,
}

impl Queue {
    fn in_flight(&self) -> f64 {
        self.length + self.waiting_for_retry
    }

    fn arrive(&mut self, step: usize, arriving: f64, backlog: Option<Backlog>, deadline_s: f64, step_s: f64) {
        let Some(backlog) = backlog else {
            return self.accept(Amount { mark: step, attempts: arriving, is_lost: false });
        };
        let again = self.retries.pop_front().unwrap_or_default();
        self.waiting_for_retry -= again.iter().map(|amount| amount.attempts).sum::<f64>();
        let all: f64 = arriving + again.iter().map(|amount| amount.attempts).sum::<f64>();
        let room = (backlog.limit - self.length).max(0.0);
        let accepted = if all > room { room / all } else { 1.0 };
        let first = Amount { mark: 0, attempts: arriving, is_lost: false };
        for amount in again.into_iter().chain([first]) {
            self.accept(Amount { mark: step, attempts: amount.attempts * accepted, ..amount });
            let dropped = amount.attempts * (1.0 - accepted);
            if dropped <= 0.0 {
                continue;
            }
            if !amount.is_lost {
                self.lost += dropped;
            }
            // The client gives up at the timeout of its attempt: ten deadlines, at least 2 s.
            let sent_s = amount.mark.checked_sub(1).map_or(0.0, |last| backlog.syn_retries_s[last]);
            let next_s = backlog.syn_retries_s.get(amount.mark).filter(|next| **next < (10.0 * deadline_s).max(2.0));
            if let Some(next_s) = next_s {
                let after = ((next_s - sent_s) / step_s) as usize;
                self.send_again(after, Amount { mark: amount.mark + 1, attempts: dropped, is_lost: true });
            }
        }
    }

    fn send_again(&mut self, after_steps: usize, amount: Amount) {
        if self.retries.len() < after_steps {
            self.retries.resize_with(after_steps, Vec::new);
        }
        self.retries[after_steps - 1].push(amount);
        self.waiting_for_retry += amount.attempts;
    }

    fn accept(&mut self, amount: Amount) {
        if amount.attempts > 0.0 {
            self.length += amount.attempts;
            self.fresh += if amount.is_lost { 0.0 } else { amount.attempts };
            self.waiting.push_back(amount);
        }
    }

    fn serve(&mut self, mut served: f64, step: usize, deadline_steps: usize) {
        while let Some(first) = self.waiting.front_mut() {
            let done = first.attempts.min(served);
            let is_late = step - first.mark > deadline_steps;
            if !first.is_lost {
                self.fresh -= done;
                self.lost += if is_late { done } else { 0.0 };
            }
            self.length -= done;
            served -= done;
            first.attempts -= done;
            if first.attempts > 0.0 {
                return;
            }
            self.waiting.pop_front();
        }
        // Sums of differences of floating-point numbers; nothing waits.
        (self.length, self.fresh) = (0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(capacity_per_s: f64, variation: f64) -> Server {
        Server { capacity_per_s, variation, backlog: None, freeze: None, spoiled: 0.0 }
    }

    /// Kingman's heavy-traffic limit: at a load of 1 - e of the capacity c, with even arrivals and service times that vary
    /// by v, a share exp(-2 e c T / v^2) waits for longer than T.
    #[test]
    fn a_noisy_queue_sustains_what_heavy_traffic_theory_says() {
        let deadline = Nanos::from_millis(50);
        for (capacity, variation) in [(2_000.0_f64, 1.0_f64), (5_000.0, 1.0), (5_000.0, 0.6)] {
            let predicted = 200.0_f64.ln() * variation.powi(2) / (2.0 * capacity * 0.05);
            let found = 1.0 - sustainable_rate(server(capacity, variation), deadline, 0.005) / capacity;
            assert!((found / predicted - 1.0).abs() < 0.35, "predicted {predicted}, found {found}");
        }
    }

    #[test]
    fn a_bounded_listen_queue_and_freezes_cost_capacity() {
        let deadline = Nanos::from_millis(500);
        let plain = server(5_000.0, 0.6);
        let bounded =
            Server { backlog: Some(Backlog { limit: 128.0, syn_retries_s: SYN_RETRIES_EXPONENTIAL }), ..plain };
        let freezing = Server { freeze: Some(Freeze { length_s: 0.3, period_s: 5.0 }), ..plain };
        let [plain, bounded, frozen] = [plain, bounded, freezing].map(|s| sustainable_rate(s, deadline, 0.005));
        assert!(bounded < plain && frozen < 0.95 * plain, "{plain} {bounded} {frozen}");
        assert!(sustainable_rate(freezing, Nanos::from_millis(100), 0.005) < 100.0);
    }
}
