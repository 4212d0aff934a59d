//! The control thread of a run on sockets: it looks at the workers, asks the policy, and gives them its orders.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::{Nanos, Time};
use crate::fleet::{Fleet, LaunchError, allowed_cpus};
use crate::host::MachineFacts;
use crate::io::monotonic_now;
use crate::observe::{Observer, Observing};

use super::driver::{Driver, Ran, Watch};
use super::ending::Ending;
use super::host_watch::HostWatch;
use super::launch::launch;
use super::names::{Resolver, Resolving};
use super::policy::{Policy, Standing};
use super::runtime::ControlError;
use super::signals::Signals;
use crate::finding::{Finding, FindingCode};
use crate::host::local_ports;
use crate::run::judging::preflight;
use crate::run::plan::RunPlan;
use crate::run::prepare::Preparation;
use crate::run::result::Event;

/// Between the workers' readiness and the first arrival: time enough to make the workers and go to sleep.
const LEAD: Nanos = Nanos::from_millis(50);
/// How often the control thread looks at the workers.
const TICK: Duration = Duration::from_millis(20);

/// How a run is carried out, beside its plan.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// Do not end a load that every target refuses.
    pub keep_going: bool,
    /// When the load begins, if not at once: the same instant on every machine, however long each takes to set up.
    pub start_at: Option<SystemTime>,
    /// Looks names up again while the load runs, if the plan asks for it.
    pub resolver: Option<Resolver>,
    /// Reads what the target's machine says while the load runs, and TCP_INFO of the connections.
    pub observer: Option<Observer>,
}

/// When a load begins.
struct Begin {
    start: Time,
    /// The same instant (RFC 3339).
    started_at: String,
    /// It is after the instant that was asked.
    late: Option<Finding>,
}

/// Runs `plan` on workers with sockets. Must be called on the control thread's runtime.
///
/// # Errors
/// If the workers or the signal handlers cannot be set up; once the load has begun there is always a result.
pub async fn run(plan: Arc<RunPlan>, conduct: Conduct, watch: &mut dyn Watch) -> Result<Ran, ControlError> {
    let signals = Signals::new().map_err(ControlError::Signals)?;
    let preparation = Arc::new(Preparation::new(Arc::clone(&plan)).map_err(|error| LaunchError(error.to_string()))?);
    let mut fleet = launch(&plan, &preparation)?;
    let mut findings = preflight::findings(&plan, local_ports(), allowed_cpus().len() as u32);
    findings.extend(preflight::held(&plan, MachineFacts::detect_without_ring));
    let host = HostWatch::begin();
    let Begin { start, started_at, late } = Begin::after(fleet.now(), conduct.start_at);
    findings.extend(late);
    let addresses: Vec<_> = plan.targets.iter().map(|target| target.address).collect();
    let observer = conduct.observer.as_ref();
    let observing = observer.map(|observer| observer.begin(start, &addresses, monotonic_now)).transpose()?;
    fleet.start(start);

    let policy = Policy::new(&plan, preparation.layout(), start, conduct.keep_going);
    let mut driver = Driver::new(policy, watch);
    let resolving = Resolving::of(&plan, conduct.resolver, start);
    drive(&mut driver, &mut fleet, start, signals, resolving).await;

    let (outcomes, mut timeline) = fleet.join();
    let observation = observing.map(Observing::finish).unwrap_or_default();
    let Driver { policy, mut events, .. } = driver;
    events.extend(observation.happenings.iter().map(Event::of_happening));
    events.sort_by(|one, other| one.t_s.total_cmp(&other.t_s));
    let (decided, seconds) = policy.finish(timeline.take_completed());
    let (network, happened) = host.finish(monotonic_now().since(start), plan.workers);
    findings.extend(happened);
    let broken = outcomes.iter().find_map(|outcome| outcome.error.clone());
    let ending = Ending { plan, start, started_at, decided, network, findings, events, observation };
    Ok(Ran { parts: ending.parts(outcomes, timeline, seconds, &preparation), broken })
}

/// Looks at the workers until all have ended.
async fn drive(
    driver: &mut Driver<'_>,
    fleet: &mut Fleet,
    start: Time,
    mut signals: Signals,
    mut resolving: Option<Resolving>,
) {
    let mut ticks = tokio::time::interval(TICK);
    while !fleet.collect() {
        let signal = tokio::select! {
            _ = ticks.tick() => None,
            signal = signals.next() => Some(signal),
        };
        // All seconds are taken in, also those after one that ends the run.
        let seconds: Vec<_> = fleet.take_seconds().collect();
        for second in seconds {
            driver.second(second, fleet.is_drained(), |order| fleet.order(order));
        }
        let standing = Standing { now: fleet.now(), progress: fleet.progress(), drained: fleet.is_drained() };
        if let Some(signal) = signal {
            driver.signal(signal, &standing, |order| fleet.order(order));
        }
        if let Some(resolving) = &mut resolving {
            let changes = resolving.changes(standing.now).await;
            fleet.retarget(&changes.retargets);
            let t_s = standing.now.since(start).as_secs_f64();
            driver.events.extend(changes.texts.into_iter().map(|text| Event { t_s, code: "resolved".into(), text }));
        }
        driver.tick(&standing, start, |order| fleet.order(order));
    }
}

impl Begin {
    /// At that instant, if there is time enough until then; else as soon as the workers can.
    fn after(now: Time, start_at: Option<SystemTime>) -> Self {
        let clock = SystemTime::now();
        let (lead, late) = match start_at.map(|at| at.duration_since(clock)) {
            Some(Ok(left)) if Nanos::from(left) >= LEAD => (Nanos::from(left), None),
            Some(left) => {
                let behind = left.map_or_else(|passed| passed.duration().into(), |_| Nanos::ZERO) + LEAD;
                (LEAD, Some(late_finding(behind)))
            }
            None => (LEAD, None),
        };
        let started_at = humantime::format_rfc3339_millis(clock + Duration::from(lead)).to_string();
        Self { start: now + lead, started_at, late }
    }
}

fn late_finding(behind: Nanos) -> Finding {
    Finding::warning(
        FindingCode::LateBegin,
        format!("the load began up to {behind} after --start-at: setting it up took longer than there was time"),
        "give an instant that is some seconds away",
    )
}
