//! The plan of a trial at any rate: same targets, same clients, and as many slots, sources and workers as the rate needs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::{DurationText, Nanos, Rate, RateRange};
use crate::engine::ClosePolicy;
use crate::io::Engine;
use crate::run::{Hold, RunPlan, Until};
use crate::scenario::{HoldRequest, Lookup, Machine, PlanError, Request, StageLoad, StageRequest, resolve};

use crate::capacity::error::CapacityError;

/// Slots for so many deadlines' worth of arrivals: if all of them are busy, attempts take four deadlines on average, and
/// that is the target's doing.
const SLOTS_PER_DEADLINE: f64 = 4.0;
/// Fewer slots than this save nothing.
const LEAST_SLOTS: u32 = 64;
/// A slot's worth of room for what Poisson arrivals and short stalls add to the average.
const SPARE: f64 = 1.1;
/// Attempts are given up after so many deadlines, and not before [`LEAST_TIMEOUT`]: they are lost at the deadline, but
/// what a server does with a connection that waits is part of the load.
const TIMEOUT_PER_DEADLINE: u64 = 10;
const LEAST_TIMEOUT: Nanos = Nanos::from_secs(2);
/// How long a port that closed first stays in TIME_WAIT (TCP_TIMEWAIT_LEN of Linux).
const TIME_WAIT_S: f64 = 60.0;
/// Loopback addresses used at most: 127.0.0.1 to 127.0.0.250.
const MOST_LOOPBACK_SOURCES: u32 = 250;
/// A part of the local ports; connect() slows down where more are in use.
const PORTS_IN_USE: f64 = 0.5;

/// Makes plans that differ in rate and length only, and in what follows from them.
pub struct Shape<'a> {
    request: Request,
    machine: Machine,
    lookup: Names<'a>,
    deadline: Nanos,
    /// All targets are loopback addresses of IPv4, so sources may be added.
    loopback: bool,
    targets: u32,
}

/// A plan's load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Arrivals at a constant rate.
    Rate(Rate, Nanos),
    /// So many attempts, so many at a time.
    Closed {
        /// At a time.
        slots: u32,
        /// At most.
        attempts: Option<u64>,
        /// At the longest.
        length: Option<Nanos>,
    },
    /// Arrivals at a constant rate that stay until the end, in so many slots.
    Held {
        /// Arrivals per second.
        rate: Rate,
        /// How long they arrive.
        length: Nanos,
        /// How many may stay.
        slots: u32,
    },
    /// So many connections, held for a time.
    Watched {
        /// How many.
        count: u32,
        /// How long.
        hold: Nanos,
    },
}

/// Names are looked up once: every trial goes to the same addresses.
struct Names<'a> {
    lookup: Lookup<'a>,
    known: RefCell<HashMap<(String, u16), Vec<SocketAddr>>>,
}

impl Names<'_> {
    fn look_up(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        if let Some(known) = self.known.borrow().get(&(host.to_owned(), port)) {
            return Ok(known.clone());
        }
        let found = (self.lookup)(host, port)?;
        self.known.borrow_mut().insert((host.to_owned(), port), found.clone());
        Ok(found)
    }
}

impl<'a> Shape<'a> {
    /// A shape of `request`, which has no load of its own, for this deadline.
    ///
    /// # Errors
    /// If the request has what no search can have, or cannot be resolved.
    pub fn new(
        mut request: Request,
        machine: Machine,
        lookup: Lookup<'a>,
        deadline: Nanos,
    ) -> Result<Self, CapacityError> {
        request.refuse_stages("`capacity` chooses the rates itself; drop the stages, or give the scenario to `run`")?;
        if request.resolve_every.is_some() {
            return Err(CapacityError::Usage(
                "the trials of a capacity search go to the same addresses; drop --resolve".to_owned(),
            ));
        }
        if request.drain == Some(true) {
            return Err(CapacityError::Usage(
                "the trials of a capacity search end with their loads, and wait for no hold; drop --drain".to_owned(),
            ));
        }
        request.until = request.until.or(Some(Until::Reply).filter(|_| request.populations.is_empty()));
        for population in &mut request.populations {
            population.until = population.until.or(Some(Until::Reply));
        }
        if request.seed.is_none() {
            request.seed = Some(crate::base::Seed::random());
        }
        let lookup = Names { lookup, known: RefCell::default() };
        let mut shape = Self { request, machine, lookup, deadline, loopback: false, targets: 1 };
        let plan = shape.plan(Load::Rate(rate(100.0), Nanos::from_secs(1)))?;
        if let Some(share) =
            plan.populations.iter().flat_map(|population| &population.clients).find(|share| share.client.is_hostile())
        {
            return Err(CapacityError::Usage(format!(
                "{} wants no handshake, so there is no capacity for it; leave hostile clients to `run`",
                share.client.name()
            )));
        }
        let loopback =
            |target: &crate::run::Target| matches!(target.address.ip(), IpAddr::V4(address) if address.is_loopback());
        shape.loopback =
            shape.request.engine() != Engine::Sim && plan.sources.is_empty() && plan.targets.iter().all(loopback);
        shape.targets = plan.targets.len().max(1) as u32;
        Ok(shape)
    }

    /// The same shape on other cores.
    pub fn on_cpus(&mut self, cpus: &[u32]) {
        self.machine = self.machine.only(cpus);
    }

    /// The same shape with another deadline.
    pub const fn set_deadline(&mut self, deadline: Nanos) {
        self.deadline = deadline;
    }

    /// When an attempt is lost.
    pub const fn deadline(&self) -> Nanos {
        self.deadline
    }

    /// What was asked.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The machine as it may be used.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Cores for workers: those of the CPUs asked for, or the machine's.
    pub fn cores(&self) -> u32 {
        self.request.cpus.as_ref().map_or_else(|| self.machine.workers(), |list| list.as_slice().len() as u32)
    }

    /// The plan of a load.
    ///
    /// # Errors
    /// If it cannot be resolved: one sentence with the cause and the remedy.
    pub fn plan(&self, load: Load) -> Result<RunPlan, CapacityError> {
        self.plan_from(load, None)
    }

    /// The plan of a load from the first `sources` addresses only.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_from(&self, load: Load, sources: Option<u32>) -> Result<RunPlan, CapacityError> {
        let mut plan = self.resolve(load, self.loopback_sources(load))?;
        if let Some(most) = sources {
            plan.sources.truncate(most as usize);
            for population in &mut plan.populations {
                population.sources.retain(|source| u32::from(*source) < most);
            }
        }
        Ok(plan)
    }

    /// The plan of the same load against somebody else, in this machine's share of `cpus`.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_against(&self, target: crate::scenario::TargetText, load: Load) -> Result<RunPlan, CapacityError> {
        let mut request = self.request.clone();
        request.targets = vec![target];
        request.weights.clear();
        request.canary = None;
        // What is held says how many slots that takes, not how fast attempts are made.
        request.hold = None;
        for population in &mut request.populations {
            population.targets.clear();
            population.weights.clear();
            population.hold = None;
        }
        // Sources that reach the target may not reach this one.
        request.sources.clear();
        request.populations.iter_mut().for_each(|population| population.sources.clear());
        let other = Self {
            request,
            machine: self.machine.clone(),
            lookup: Names { lookup: self.lookup.lookup, known: RefCell::default() },
            deadline: self.deadline,
            loopback: self.request.engine() != Engine::Sim,
            targets: 1,
        };
        other.resolve(load, other.loopback_sources(load))
    }

    fn resolve(&self, load: Load, loopback_sources: u32) -> Result<RunPlan, CapacityError> {
        let mut request = self.request.clone();
        let timeout = Nanos::new(self.deadline.as_u64().saturating_mul(TIMEOUT_PER_DEADLINE)).max(LEAST_TIMEOUT);
        let timeout = Duration::from(timeout);
        request.timeout = request.timeout.or(Some(timeout));
        request.connect_timeout = request.connect_timeout.or(Some(timeout));
        // It is what makes the run judge its own lateness by the deadline, and waiting arrivals as the target's.
        request.thresholds.push(format!("response.p99<{}", DurationText(self.deadline.into())));
        if loopback_sources > 1 {
            request.sources = vec![format!("127.0.0.1-127.0.0.{loopback_sources}").parse()?];
        }
        let groups = request.populations.len().max(1) as u32;
        let hold = request.hold;
        let slots = |hold: Option<HoldRequest>| self.slots(load, hold).div_ceil(groups);
        request.concurrency = Some(request.concurrency.unwrap_or_else(|| slots(hold)));
        for population in &mut request.populations {
            population.timeout = population.timeout.or(request.timeout);
            population.connect_timeout = population.connect_timeout.or(request.connect_timeout);
            population.concurrency = population.concurrency.or_else(|| Some(slots(population.hold.or(hold))));
        }
        match load {
            Load::Rate(rate, length) | Load::Held { rate, length, .. } => {
                let of_a_group = Rate::per_second(rate.as_per_second() / f64::from(groups));
                let range = of_a_group.and_then(|rate| RateRange::new(rate, rate));
                let range = range.map_err(|error| CapacityError::Usage(error.to_string()))?;
                (request.rate, request.duration) = (Some(range), Some(length.into()));
                for population in &mut request.populations {
                    population.stages = vec![only_stage(StageLoad::Rate(range), length)];
                }
                if matches!(load, Load::Held { .. }) {
                    request.hold = Some(HoldRequest::Forever);
                    request.populations.iter_mut().for_each(|p| p.hold = Some(HoldRequest::Forever));
                }
            }
            Load::Watched { count, hold } => {
                let held = Some(HoldRequest::For(hold.into()));
                request.thresholds.clear();
                (request.hold, request.arrival, request.concurrency) = (held, None, Some(count));
                request.attempts = Some(count.into());
                for population in &mut request.populations {
                    (population.hold, population.arrival, population.concurrency) = (held, None, None);
                    // A stage's end cuts what is held.
                    population.stages = vec![only_stage(StageLoad::Burst(count.div_ceil(groups).into()), hold)];
                }
            }
            Load::Closed { slots, attempts, length } => {
                // What has no plan has no response time.
                request.thresholds.clear();
                (request.arrival, request.concurrency, request.attempts) = (None, Some(slots), attempts);
                request.duration = length.map(Duration::from);
                let of_a_group = slots.div_ceil(groups).max(1);
                let load = StageLoad::Concurrency { from: of_a_group, to: of_a_group };
                for population in &mut request.populations {
                    (population.arrival, population.concurrency) = (None, None);
                    population.stages = vec![only_stage(load, length.unwrap_or(Nanos::from_secs(1)))];
                }
            }
        }
        let lookup = |host: &str, port: u16| self.lookup.look_up(host, port);
        Ok(resolve(&request, &self.machine, &lookup)?.plan)
    }

    /// Slots by Little's law, within what the tables of this machine can hold.
    fn slots(&self, load: Load, hold: Option<HoldRequest>) -> u32 {
        let wanted = match load {
            Load::Closed { slots, .. } | Load::Held { slots, .. } | Load::Watched { count: slots, .. } => {
                f64::from(slots)
            }
            Load::Rate(rate, length) => {
                let held = match hold {
                    Some(HoldRequest::For(time) | HoldRequest::Exponential(time)) => time.as_secs_f64(),
                    Some(HoldRequest::Forever) => length.as_secs_f64(),
                    None => 0.0,
                };
                let waiting = SLOTS_PER_DEADLINE * self.deadline.as_secs_f64();
                // No more than there are arrivals.
                // A product that is whole but for the last bit is not rounded up.
                (rate.as_per_second() * (waiting + held).min(length.as_secs_f64()) * SPARE - 1e-6).ceil()
            }
        };
        let tables = match self.request.engine() {
            Engine::IoUring | Engine::Sim => f64::from(self.cores()),
            // The limit of files is that of the process, and a sink in it may have the other ends.
            Engine::Epoll => 1.0 / 3.0,
        } * f64::from(self.machine.descriptors)
            * 0.9;
        let ports = match (self.loopback, self.request.engine()) {
            (true, _) | (_, Engine::Sim) => f64::INFINITY,
            _ => f64::from(self.machine.ports) * f64::from(self.targets * self.named_sources().max(1)) * 0.95,
        };
        (wanted.max(f64::from(LEAST_SLOTS)).min(tables).min(ports).max(1.0)) as u32
    }

    /// Addresses that the user named.
    fn named_sources(&self) -> u32 {
        self.request.sources.iter().map(|range| range.addresses().count() as u32).sum()
    }

    /// Loopback addresses that a load needs; 1: the kernel's choice will do.
    fn loopback_sources(&self, load: Load) -> u32 {
        if !self.loopback {
            return 1;
        }
        let ports = f64::from(self.machine.ports.max(1)) * f64::from(self.targets);
        let at_once = f64::from(self.slots(load, self.request.hold)) / (ports * PORTS_IN_USE);
        let fin = self.request.close == Some(ClosePolicy::Fin)
            || self.request.populations.iter().any(|population| population.close == Some(ClosePolicy::Fin));
        let waiting = match load {
            Load::Rate(rate, length) if fin => rate.as_per_second() * length.as_secs_f64().min(TIME_WAIT_S) / ports,
            Load::Closed { length: Some(length), .. } if fin => CLOSED_LOOP_PER_S * length.as_secs_f64() / ports,
            _ => 0.0,
        };
        // Ports that an earlier trial left in TIME_WAIT are in the way of the next one.
        let sources = (at_once + 2.0 * waiting).ceil() as u32;
        sources.clamp(1, MOST_LOOPBACK_SOURCES)
    }
}

/// More than one core completes in a closed loop.
const CLOSED_LOOP_PER_S: f64 = 100_000.0;

/// A rate that is known to be one.
///
/// # Panics
/// If it is negative or not a number.
pub(in crate::capacity) fn rate(per_s: f64) -> Rate {
    Rate::per_second(per_s).expect("a positive number")
}

/// Connections that stay for ever leave no capacity in attempts per second to look for.
pub(in crate::capacity) fn holds_forever(plan: &RunPlan) -> bool {
    plan.populations.iter().any(|population| population.hold == Hold::Forever)
}

impl From<PlanError> for CapacityError {
    fn from(error: PlanError) -> Self {
        Self::Usage(error.0)
    }
}

fn only_stage(load: StageLoad, length: Nanos) -> StageRequest {
    StageRequest { name: None, load, length: length.into(), warmup: false, every: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Topology;
    use crate::run::LoadPlan;
    use crate::scenario::system_lookup;

    const T: Nanos = Nanos::from_millis(100);

    fn machine() -> Machine {
        Machine { topology: Topology::of_cpus([0, 1]), cores: 2, descriptors: 1 << 20, ports: 28_232 }
    }

    fn shape(target: &str, change: impl FnOnce(&mut Request)) -> Shape<'static> {
        let mut request = Request { targets: vec![target.parse().unwrap()], ..Request::default() };
        change(&mut request);
        Shape::new(request, machine(), &system_lookup, T).unwrap()
    }

    fn at(shape: &Shape<'_>, per_s: f64) -> RunPlan {
        shape.plan(Load::Rate(rate(per_s), Nanos::from_secs(10))).unwrap()
    }

    fn refusal(request: Request) -> String {
        match Shape::new(request, machine(), &system_lookup, T) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it is refused"),
        }
    }

    #[test]
    fn slots_are_four_deadlines_of_arrivals() {
        let shape = shape("10.0.0.5:1935", |_| ());
        for (per_s, slots) in [(10.0, LEAST_SLOTS), (1_000.0, 440), (20_000.0, 8_800)] {
            assert_eq!(at(&shape, per_s).concurrency(), slots, "{per_s}");
        }
        // One source has ports for so many connections to one target.
        assert_eq!(at(&shape, 200_000.0).concurrency(), 26_820);
        let plan = at(&shape, 1_000.0);
        let population = &plan.populations[0];
        assert_eq!((population.until, population.close), (Until::Reply, ClosePolicy::Rst));
        assert_eq!((population.timeout_ns, population.connect_timeout_ns), (2_000_000_000, 2_000_000_000));
        assert_eq!(plan.thresholds, ["response.p99<100ms".parse().unwrap()]);
        assert!(plan.sources.is_empty());
    }

    #[test]
    fn what_was_asked_goes_before_what_is_derived() {
        let shape = shape("10.0.0.5:1935", |request| {
            request.concurrency = Some(7);
            request.timeout = Some(Duration::from_secs(5));
            request.until = Some(Until::Handshake);
            request.sources = vec!["127.0.0.1-127.0.0.4".parse().unwrap()];
        });
        let plan = at(&shape, 50_000.0);
        let population = &plan.populations[0];
        assert_eq!((plan.concurrency(), plan.sources.len(), population.until), (7, 4, Until::Handshake));
        assert_eq!((population.timeout_ns, population.connect_timeout_ns), (5_000_000_000, 2_000_000_000));
        assert_eq!(shape.plan_from(Load::Rate(rate(10.0), T), Some(2)).unwrap().populations[0].sources, [0, 1]);
    }

    #[test]
    fn loopback_has_as_many_sources_as_ports_are_needed() {
        let sources = |close, per_s| at(&shape("127.0.0.1:1935", |request| request.close = close), per_s).sources.len();
        assert_eq!(sources(None, 20_000.0), 0, "the kernel's choice will do");
        assert_eq!(sources(None, 100_000.0), 4, "44 000 slots, on half of the ports");
        // 200 000 ports in TIME_WAIT after 10 s, and as many from the trial before.
        assert_eq!(sources(Some(ClosePolicy::Fin), 20_000.0), 15);
    }

    #[test]
    fn a_deadline_longer_than_the_default_timeouts_lengthens_them() {
        let mut shape = shape("10.0.0.5:1935", |_| ());
        shape.set_deadline(Nanos::from_secs(1));
        assert_eq!(at(&shape, 10.0).populations[0].timeout_ns, 10_000_000_000);
    }

    #[test]
    fn other_loads_have_the_same_clients() {
        let shape = shape("127.0.0.1:1935", |request| request.clients = vec!["obs".parse().unwrap()]);
        let closed = shape.plan(Load::Closed { slots: 5, attempts: Some(5), length: Some(T) }).unwrap();
        assert!(matches!(closed.populations[0].lanes[0].load, LoadPlan::Closed { attempts: Some(5), .. }));
        let held = shape.plan(Load::Held { rate: rate(100.0), length: T, slots: 300 }).unwrap();
        assert_eq!((held.concurrency(), holds_forever(&held)), (300, true));
        let watched = shape.plan(Load::Watched { count: 8, hold: T }).unwrap();
        assert_eq!((watched.concurrency(), watched.populations[0].hold), (8, Hold::ForNs(100_000_000)));
        let against = shape.plan_against("127.0.0.1:9".parse().unwrap(), Load::Rate(rate(5.0), T)).unwrap();
        assert_eq!(against.targets[0].address.port(), 9);
        let holding = self::shape("127.0.0.1:1935", |request| request.hold = Some(HoldRequest::For(T.into())));
        let ceiling = holding.plan_against("127.0.0.1:9".parse().unwrap(), Load::Rate(rate(5.0), T)).unwrap();
        assert_eq!(ceiling.populations[0].hold, Hold::ForNs(0));
        for plan in [closed, held, watched, against] {
            assert_eq!(plan.clients()[0].name(), "obs");
        }
    }

    #[test]
    fn what_has_no_capacity_is_refused() {
        let target = || vec!["10.0.0.5:1935".parse().unwrap()];
        let hostile = Request {
            targets: target(),
            clients: vec!["half-c1".parse().unwrap()],
            until: Some(Until::Handshake),
            ..Request::default()
        };
        insta::assert_snapshot!(refusal(hostile), @"half-c1 wants no handshake, so there is no capacity for it; leave hostile clients to `run`");
        let resolve = Request { targets: target(), resolve_every: Some(Duration::from_secs(5)), ..Request::default() };
        insta::assert_snapshot!(refusal(resolve), @"the trials of a capacity search go to the same addresses; drop --resolve");
        let drain = Request { targets: target(), drain: Some(true), ..Request::default() };
        insta::assert_snapshot!(refusal(drain), @"the trials of a capacity search end with their loads, and wait for no hold; drop --drain");
    }
}
