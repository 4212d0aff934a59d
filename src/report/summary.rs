//! The first lines of every report: what was asked, what happened, whether to believe it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::quantity::{count, percent, seconds, span, value};
use crate::base::{DurationText, Nanos, rate_text};
use crate::load::ArrivalPattern;
use crate::measure::Metric;
use crate::protocol::{ClientProfile, HandshakeMode};
use crate::run::{
    Attempts, ClientPlan, ClientShare, ClosePolicy, Hold, InterruptedAt, Lane, LoadPlan, Obstacle, Pace, Phase,
    Population, RunResult, StagePlan, StormRow, ThresholdResult, Verdict, Verify, meant_to_complete, met_nobody,
    nothing_completed, reactions, unexpected_reactions, unserved, unserved_text,
};

/// What matters most about a result, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where the load went.
    pub target: String,
    /// What each population was asked to do; then who did it.
    pub load: Vec<String>,
    /// What became of the attempts, and the rate.
    pub result: String,
    /// Whether the result is what was asked.
    pub verdict: Verdict,
    /// The verdict's reason.
    pub reason: String,
}

impl Summary {
    /// The summary of a result.
    pub fn of(result: &RunResult) -> Self {
        let mut load: Vec<_> = result.plan.populations.iter().map(|population| asked(result, population)).collect();
        load.push(generator(result));
        Self { target: target(result), load, result: happened(result), verdict: result.verdict, reason: reason(result) }
    }
}

/// The measured value of a threshold, or "-".
pub(super) fn measured(threshold: &ThresholdResult) -> String {
    threshold.actual.map_or_else(|| "-".to_owned(), |actual| value(threshold.unit, actual))
}

fn target(result: &RunResult) -> String {
    let plan = &result.plan;
    let asked: BTreeSet<u16> =
        plan.asked().flat_map(|population| &population.targets).map(|share| share.target).collect();
    let mut names: Vec<_> = asked.iter().map(|index| plan.targets[usize::from(*index)].name.as_str()).collect();
    names.dedup();
    let named = match names.as_slice() {
        few if few.len() <= 3 => few.join(", "),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    };
    let addresses = if asked.len() > names.len() { format!(" ({} addresses)", asked.len()) } else { String::new() };
    match plan.targets.as_slice() {
        [sink] if plan.built_in_sink => format!("the built-in sink, {}", sink.address),
        _ => format!("{named}{addresses}"),
    }
}

/// Mode, what completes an attempt, how it is closed; and when attempts start.
fn asked(result: &RunResult, population: &Population) -> String {
    let name = if result.plan.populations.len() > 1 { format!("{}: ", population.name) } else { String::new() };
    let clients = clients(population);
    let wrong_c2 = if population.clients.iter().any(|share| share.client.wrong_c2) { " with a wrong C2" } else { "" };
    let verify = match population.verify {
        Verify::All => "",
        Verify::Sample => ", 1 in 64 verified",
        Verify::None => ", not verified",
    };
    let streams: Vec<_> = population.streams(&result.plan).iter().map(ToString::to_string).collect();
    let until = match streams.as_slice() {
        [] => population.until.to_string(),
        [stream] => format!("{} of {stream}", population.until),
        [first, others @ ..] => format!("{} of {first} and {} more", population.until, others.len()),
    };
    let hold = match population.hold {
        Hold::ForNs(0) => String::new(),
        Hold::ForNs(ns) => format!(", hold {}", asked_span(ns)),
        Hold::Exponential { mean_ns } => format!(", hold {} on average", asked_span(mean_ns)),
        Hold::Forever => ", hold forever".to_owned(),
    };
    let close = match population.close {
        ClosePolicy::Rst => "rst",
        ClosePolicy::Fin => "fin",
        ClosePolicy::Peer => "peer",
    };
    format!("{name}{clients}{wrong_c2}{verify}, until {until}{hold}, close {close}; {}", load(population))
}

/// The mode asked, and who asks unless it is this program's own client.
fn clients(population: &Population) -> String {
    let asks = |mode| population.clients.iter().any(|share| share.client.mode == mode);
    let mode = match (asks(HandshakeMode::Complex), asks(HandshakeMode::Simple)) {
        (true, true) => "complex and simple",
        (false, true) => "simple",
        (_, false) => "complex",
    };
    match population.clients.as_slice() {
        [ClientShare { client: ClientPlan { profile: ClientProfile::Shakedown, .. }, .. }] => mode.to_owned(),
        [alone] => format!("{mode} as {}", alone.client.profile),
        several => {
            let weighted: Vec<_> =
                several.iter().map(|share| format!("{}={}", share.client.profile, share.weight)).collect();
            format!("{mode} as {}", weighted.join(" "))
        }
    }
}

fn load(population: &Population) -> String {
    population.lanes.iter().map(lane).collect::<Vec<_>>().join("; ")
}

fn lane(lane: &Lane) -> String {
    let begins = match lane.begins_ns {
        0 => String::new(),
        ns => format!(" from {}", asked_span(ns)),
    };
    match &lane.load {
        LoadPlan::Closed { steps, attempts } => {
            let warmup_ns = steps.iter().filter(|step| step.warmup).filter_map(|step| step.duration_ns).sum();
            let measured: Vec<_> = steps.iter().filter(|step| !step.warmup).collect();
            let duration_ns = measured.iter().map(|step| step.duration_ns).sum();
            let in_flight = measured.iter().map(|step| match (step.from, step.to) {
                (from, to) if from == to => from.to_string(),
                (from, to) => format!("{from} to {to}"),
            });
            format!(
                "closed loop{begins}, {} in flight{}{}",
                few(in_flight.collect(), "step"),
                length(duration_ns, *attempts),
                after_warmup(warmup_ns)
            )
        }
        LoadPlan::Open { arrival, stages, attempts, repeat } => {
            let pattern = match arrival {
                ArrivalPattern::Uniform => "uniform",
                ArrivalPattern::Poisson => "poisson",
            };
            let probe = if stages.iter().any(|stage| stage.probe) { "probe, " } else { "" };
            let warmup_ns = stages.iter().filter(|stage| stage.warmup).filter_map(|stage| stage.duration_ns).sum();
            let measured: Vec<_> = stages.iter().filter(|stage| !stage.warmup).collect();
            let duration_ns = measured.iter().map(|stage| stage.duration_ns).sum();
            let repeated = repeat.map(|repeat| {
                format!(" every {}, {}", asked_span(repeat.every_ns), count(repeat.times as usize, "time"))
            });
            format!(
                "{probe}open loop{begins}, {} {pattern}{}{}{}, {}",
                rates(&measured),
                length(duration_ns, *attempts),
                repeated.unwrap_or_default(),
                after_warmup(warmup_ns),
                count(lane.concurrency as usize, "slot")
            )
        }
        LoadPlan::Storm { fleet, reconnect, duration_ns, .. } => {
            format!("storm{begins}, a fleet of {fleet} comes back as {reconnect} for {}", asked_span(*duration_ns))
        }
    }
}

/// Up to three things one after the other, or how many there are.
fn few(things: Vec<String>, thing: &str) -> String {
    if things.len() <= 3 { things.join(", then ") } else { count(things.len(), thing) }
}

fn length(duration_ns: Option<u64>, attempts: Option<u64>) -> String {
    let time = duration_ns.map(|ns| format!(" for {}", asked_span(ns))).unwrap_or_default();
    let number = attempts.map(|attempts| format!(" up to {}", count(attempts as usize, "attempt"))).unwrap_or_default();
    format!("{time}{number}")
}

fn after_warmup(ns: u64) -> String {
    if ns == 0 { String::new() } else { format!(" after a warm-up of {}", asked_span(ns)) }
}

/// A span as the user may have written it.
fn asked_span(ns: u64) -> String {
    DurationText(Duration::from_nanos(ns)).to_string()
}

fn rates(stages: &[&StagePlan]) -> String {
    let stage = |stage: &&StagePlan| match stage.pace {
        Pace::Rate { from_per_s, to_per_s } if from_per_s == to_per_s => rate_text(from_per_s),
        Pace::Rate { from_per_s, to_per_s } => format!("{} to {}", rate_text(from_per_s), rate_text(to_per_s)),
        Pace::Burst { count } => format!("{count} at once"),
    };
    if stages.len() <= 3 {
        few(stages.iter().map(stage).collect(), "stage")
    } else {
        let peak = stages.iter().map(|stage| stage.peak_per_s()).fold(0.0, f64::max);
        format!("{} with a peak of {}", count(stages.len(), "stage"), rate_text(peak))
    }
}

fn generator(result: &RunResult) -> String {
    let plan = &result.plan;
    let workers = count(result.workers.len(), "worker");
    let part = match result.machines.len() {
        0 if plan.share.count > 1 => format!(", share {}/{}", plan.share.index, plan.share.count),
        0 => String::new(),
        machines => format!(", merged from {}", count(machines, "machine")),
    };
    format!("{workers}, {}, seed {}{part}", plan.engine, plan.seed)
}

fn happened(result: &RunResult) -> String {
    let attempts = &result.attempts;
    let bounded = not_a_capacity(result).map(|why| format!(" ({why})")).unwrap_or_default();
    let mut parts: Vec<_> = result.storms.iter().map(|storm| came_back(result, storm)).collect();
    let hostile = !meant_to_complete(result);
    parts.push(match only_storms(result) {
        _ if hostile => format!("{} of {} due of hostile clients observed", attempts.observed, attempts.due),
        // Who comes back asks for no rate.
        true => format!("{} of {} due completed", attempts.completed, count(attempts.due as usize, "attempt")),
        false => format!(
            "{} completed{bounded}: {} of {} due",
            rate_text(result.rate.completed_per_s),
            attempts.completed,
            attempts.due
        ),
    });
    parts.push(format!("{} failed ({})", attempts.failed, percent(attempts.failed, attempts.due)));
    if attempts.observed > 0 && !hostile {
        parts.push(format!("{} of hostile clients observed", attempts.observed));
    }
    if attempts.dropped > 0 {
        parts.push(format!("{} dropped ({})", attempts.dropped, percent(attempts.dropped, attempts.due)));
    }
    if attempts.in_flight > 0 {
        parts.push(format!("{} cut in flight", attempts.in_flight));
    }
    parts.extend(lost_while_held(result));
    if let Some(signal) = result.interrupted {
        let signal = signal.name();
        parts.push(match result.interrupted_at {
            None => format!("ended by {signal}"),
            Some(InterruptedAt { phase: phase @ Phase::Waiting, .. }) => format!("ended by {signal} {phase}"),
            Some(InterruptedAt { t_s, phase }) => format!("ended by {signal} after {}, {phase}", seconds(t_s)),
        });
    }
    parts.join(", ")
}

/// How many of the held connections were lost, and how many of those count as failed where `failed` is judged.
fn lost_while_held(result: &RunResult) -> Option<String> {
    let attempts = &result.attempts;
    let taken_back = match attempts.taken_back {
        0 => String::new(),
        count => format!(" ({count} refused or ended by the server's word: counted by `failed`)"),
    };
    match (attempts.lost_while_held, result.connections.lost_while_held) {
        (0, 0) => None,
        // In the warm-up.
        (0, lost) => Some(format!("{lost} lost while held")),
        (lost, _) => Some(format!("{lost} of {} lost while held{taken_back}", attempts.held)),
    }
}

/// All that was asked is that fleets come back.
pub(super) fn only_storms(result: &RunResult) -> bool {
    let mut lanes = result.plan.asked().flat_map(|population| &population.lanes);
    lanes.all(|lane| matches!(lane.load, LoadPlan::Storm { .. }))
}

/// When a fleet was back.
fn came_back(result: &RunResult, storm: &StormRow) -> String {
    let name = if result.storms.len() > 1 { format!("{}: {}: ", storm.population, storm.stage) } else { String::new() };
    let time = |ns: Option<u64>| ns.map(|ns| span(Some(ns)));
    let back = match (time(storm.back_100_ns), time(storm.back_99_ns)) {
        (Some(all), Some(most)) => format!("all of {} back after {all}, 99 % after {most}", storm.fleet),
        (None, Some(most)) => format!("{} of {} back, 99 % after {most}", storm.back, storm.fleet),
        (_, None) => match time(storm.back_50_ns) {
            Some(half) => format!("only {} of {} back, half after {half}", storm.back, storm.fleet),
            None => format!("only {} of {} back", storm.back, storm.fleet),
        },
    };
    format!("{name}{back}")
}

/// A closed loop's rate is what its concurrency and the target's latency give (Little's law); a mix has but one rate and
/// one latency for all its parts.
fn not_a_capacity(result: &RunResult) -> Option<String> {
    let is_closed = |lane: &&Lane| matches!(lane.load, LoadPlan::Closed { .. });
    let lanes: Vec<_> = result.plan.asked().flat_map(|population| &population.lanes).collect();
    let slots: u32 = lanes.iter().copied().filter(is_closed).map(|lane| lane.concurrency).sum();
    let in_flight = slots as usize * result.machines.len().max(1);
    let service = result.latency.get(Metric::Service)?;
    (in_flight > 0).then(|| match service.mean_ns {
        _ if !lanes.iter().all(is_closed) => "not a capacity: a part of it is a closed loop".to_owned(),
        _ if result.plan.asked().any(|population| population.hold != Hold::ForNs(0)) => {
            "not a capacity: a closed loop of connections that stay".to_owned()
        }
        Some(mean) => format!("not a capacity: {in_flight} in flight / {}", Nanos::new(mean)),
        None => format!("not a capacity: {in_flight} in flight"),
    })
}

/// Why the verdict is what it is; what ended the load early is told in any case.
fn reason(result: &RunResult) -> String {
    let ended = result.ended_by.iter().map(|why| format!("the load was ended: {why}"));
    let of_numbers = Some(reason_of_numbers(result)).filter(|reason| !reason.is_empty());
    ended.chain(of_numbers).collect::<Vec<_>>().join("; ")
}

/// What the numbers alone say; nothing if they miss nothing in a run that failed for another reason.
fn reason_of_numbers(result: &RunResult) -> String {
    match nothing_completed(result) {
        Some(Obstacle::OwnLimits) => return "nothing completed, because of this machine's limits".to_owned(),
        Some(Obstacle::Target) => return "nothing completed: the target or the way to it failed".to_owned(),
        None if result.attempts.due == 0 => return "nothing is known: no attempt was due".to_owned(),
        None if result.attempts.completed + reactions(result) == 0 => {
            return "nothing is known: the run ended before any attempt was over".to_owned();
        }
        None if met_nobody(result) => {
            return "nothing is known about the target: no hostile client got a connection".to_owned();
        }
        None => {}
    }
    let with = |pass: Option<bool>| result.thresholds.iter().filter(move |threshold| threshold.pass == pass);
    let unserved = Some(unserved_text(&unserved(result))).filter(|text| !text.is_empty());
    match result.verdict {
        Verdict::Inconclusive if result.generator.limited => {
            "the generator was the limit, the numbers are a lower bound (see findings)".to_owned()
        }
        Verdict::Inconclusive => {
            let undecided = |threshold: &ThresholdResult| {
                format!(
                    "{} cannot be told: {}",
                    threshold.expression,
                    threshold.reason.as_deref().unwrap_or("no value")
                )
            };
            with(None).map(undecided).chain(unserved).collect::<Vec<_>>().join("; ")
        }
        Verdict::Fail => {
            let missed =
                |threshold: &ThresholdResult| format!("{} is missed: {}", threshold.expression, measured(threshold));
            let unexpected = unexpected_reactions(result);
            let reactions = (unexpected > 0).then(|| {
                format!("{} of hostile clients went otherwise than expected", count(unexpected as usize, "attempt"))
            });
            with(Some(false)).map(missed).chain(reactions).chain(unserved).collect::<Vec<_>>().join("; ")
        }
        Verdict::Pass => passed(result),
    }
}

/// What a run that passes was held to; without thresholds, what they might have been about.
fn passed(result: &RunResult) -> String {
    let dropped = result.attempts.dropped;
    let kept = match (result.rate.intended_per_s, result.generator.limited) {
        (_, true) => "the generator was the limit, the rate is a lower bound (see findings)".to_owned(),
        (Some(_), false) if dropped > 0 => format!("the generator kept up, {dropped} arrivals found no free slot"),
        (Some(_), false) => "the generator kept the plan".to_owned(),
        (None, false) => "closed loop asks no rate".to_owned(),
    };
    let held_to = match result.thresholds.as_slice() {
        [] => format!("no thresholds were set{}", losses(result)),
        [only] => format!("{} is met: {}", only.expression, measured(only)),
        [_, _] => "both thresholds are met".to_owned(),
        thresholds => format!("all {} thresholds are met", thresholds.len()),
    };
    format!("{held_to}; {kept}")
}

/// What a condition on failures would have seen.
fn losses(result: &RunResult) -> String {
    let Attempts { failed, due, .. } = result.attempts;
    let failed = (failed > 0)
        .then(|| format!("{failed} of {} failed ({})", count(due as usize, "attempt"), percent(failed, due)));
    failed.into_iter().chain(lost_while_held(result)).map(|loss| format!(", {loss}")).collect()
}
