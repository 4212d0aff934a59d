//! How a fleet came back, and whether a target accepted again after an overload.

use serde::{Deserialize, Serialize};

use crate::base::Nanos;
use crate::load::{ConcurrencyPlan, Reconnect};
use crate::measure::{Comeback, HistogramError, LatencyHistogram, LatencySummary, ProbeOutcome, Snapshot, StageRecord};
use crate::run::plan::{Lane, LoadPlan, RunPlan};

/// A fleet that lost its connections: when its clients were back. Percentages are of the whole fleet. Times count from the
/// loss: from the storm's beginning, or, if most of the fleet lost its connections again at once, from the last such loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StormRow {
    /// Whose storm it is.
    pub population: String,
    /// The stage.
    pub stage: String,
    /// By which rule the clients came back.
    pub reconnect: Reconnect,
    /// Clients.
    pub fleet: u64,
    /// Clients that were back at least once; those that were back in the end if times count from a later loss.
    pub back: u64,
    /// Connections that were lost after their client was back.
    #[serde(default)]
    pub lost_again: u64,
    /// The later loss that times count from, since the storm's beginning; null if they count from there.
    #[serde(default)]
    pub lost_again_after_ns: Option<u64>,
    /// When the last client came back, since the storm's beginning; null if none did, or nothing is known of the end.
    #[serde(default)]
    pub last_back_after_ns: Option<u64>,
    /// When half of the fleet was back; null if it never was.
    pub back_50_ns: Option<u64>,
    /// When 90 % were back.
    pub back_90_ns: Option<u64>,
    /// When 99 % were back.
    pub back_99_ns: Option<u64>,
    /// When all were back.
    pub back_100_ns: Option<u64>,
    /// Attempts started.
    pub attempts: u64,
    /// Attempts for each completed one; null if none was.
    pub attempts_per_success: Option<f64>,
    /// When each client was back.
    pub time_to_back: LatencySummary,
}

/// What a probe stage found. Times count from the stage's beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoveryRow {
    /// Whose stage it is.
    pub population: String,
    /// The probe stage.
    pub stage: String,
    /// When it began, seconds since the run's start.
    pub began_s: f64,
    /// How long it watched, seconds.
    pub watched_s: f64,
    /// Probes that ended.
    pub probes: u64,
    /// Probes that failed.
    pub failed: u64,
    /// When the first probe was due that, like all after it, was accepted by every target and from every kind of client:
    /// 0 if none failed, null if the last one of a target or of a kind of client failed.
    pub accepted_after_s: Option<f64>,
    /// The targets, or the kinds of client, whose last probe failed, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_accepted: Vec<String>,
    /// When the last attempt of the stages before it had ended: what was left had drained.
    pub drained_after_s: f64,
    /// When the last connection that those stages held was closed, which occupied the target until then; null if they
    /// held none.
    #[serde(default)]
    pub released_after_s: Option<f64>,
}

/// A row for each storm of the plan.
pub(in crate::run) fn storms(plan: &RunPlan, snapshot: &Snapshot) -> Vec<StormRow> {
    let row = |(population, lane, record): (&str, &Lane, &[StageRecord])| {
        let LoadPlan::Storm { name, fleet, reconnect, .. } = &lane.load else { return None };
        let [record] = record else { return None };
        let counts = &record.tally.counts;
        let began = Nanos::new(lane.begins_ns);
        let common_loss = last_common_loss(&record.comebacks, began);
        let last_back = record.comebacks.iter().filter_map(|client| client.back).max();
        let mut row = StormRow {
            population: population.to_owned(),
            stage: name.clone(),
            reconnect: *reconnect,
            fleet: u64::from(ConcurrencyPlan::part(*fleet, plan.share)),
            back: 0,
            lost_again: counts.lost_while_held,
            lost_again_after_ns: common_loss.map(|loss| loss.saturating_sub(began).as_u64()),
            last_back_after_ns: last_back.map(|back| back.saturating_sub(began).as_u64()),
            back_50_ns: None,
            back_90_ns: None,
            back_99_ns: None,
            back_100_ns: None,
            attempts: counts.started,
            attempts_per_success: (counts.completed > 0).then(|| counts.started as f64 / counts.completed as f64),
            time_to_back: LatencyHistogram::of_ages().summary(),
        };
        let mut back = LatencyHistogram::of_ages();
        match (common_loss, &record.back) {
            (Some(loss), _) => {
                let returns = record.comebacks.iter().filter_map(|client| client.back);
                returns.for_each(|at| back.record(at.saturating_sub(loss)));
            }
            (None, Some(first)) => back.merge(first),
            (None, None) => {}
        }
        row.set_times(&back);
        Some(row)
    };
    lanes(plan, snapshot).filter_map(row).collect()
}

/// Since the run's start, the last loss after `began` that took most of a fleet's connections within a second: a server
/// that goes away, not one that ends connections one by one.
fn last_common_loss(comebacks: &[Comeback], began: Nanos) -> Option<Nanos> {
    const AT_ONCE: Nanos = Nanos::from_secs(1);
    let mut losses: Vec<Nanos> = comebacks.iter().map(|client| client.lost).filter(|lost| *lost > began).collect();
    losses.sort_unstable();
    let most = comebacks.len() / 2 + 1;
    let at_once = |losses: &&[Nanos]| losses[most - 1].saturating_sub(losses[0]) <= AT_ONCE;
    let end = losses.windows(most).rev().find(at_once)?[most - 1];
    losses.into_iter().find(|lost| end.saturating_sub(*lost) <= AT_ONCE)
}

/// A row for each probe stage of the plan that stands in a sequence.
pub(in crate::run) fn recoveries(plan: &RunPlan, snapshot: &Snapshot) -> Vec<RecoveryRow> {
    let row = |(population, lane, records): (&str, &Lane, &[StageRecord])| {
        let LoadPlan::Open { stages, repeat: None, .. } = &lane.load else { return None };
        let ([stage], [record]) = (stages.as_slice(), records) else { return None };
        let began = Nanos::new(lane.begins_ns);
        let before = lanes(plan, snapshot)
            .filter(|(other, other_lane, _)| *other == population && other_lane.end() <= began)
            .flat_map(|(_, _, records)| records);
        let drained = before.clone().map(|record| record.last_end).max().unwrap_or(Nanos::ZERO);
        let released = before.filter_map(|record| record.last_release).max();
        let mut outcomes = record.probes.clone();
        outcomes.sort_unstable();
        let acceptance = Acceptance::of(&outcomes, began);
        stage.probe.then(|| RecoveryRow {
            population: population.to_owned(),
            stage: stage.name.clone(),
            began_s: began.as_secs_f64(),
            watched_s: lane.load.length().as_secs_f64(),
            probes: outcomes.len() as u64,
            failed: outcomes.iter().filter(|outcome| !outcome.completed).count() as u64,
            accepted_after_s: acceptance.after_s,
            not_accepted: acceptance.names(plan),
            drained_after_s: drained.saturating_sub(began).as_secs_f64(),
            released_after_s: released.map(|released| released.saturating_sub(began).as_secs_f64()),
        })
    };
    lanes(plan, snapshot).filter_map(row).collect()
}

/// What the probes of a stage say.
#[derive(Debug, PartialEq)]
struct Acceptance {
    /// From the stage's beginning to the first probe that, like all after it, was accepted.
    after_s: Option<f64>,
    /// Target and client of the probes that were not accepted to the end.
    not: Vec<(u16, u16)>,
}

impl Acceptance {
    /// Of `outcomes` in the order of their instants. A target that refuses beside one that accepts has not recovered,
    /// whichever of them the last probe went to: each pair of target and client is followed by itself.
    fn of(outcomes: &[ProbeOutcome], began: Nanos) -> Self {
        let mut pairs: Vec<_> = outcomes.iter().map(|outcome| (outcome.target, outcome.client)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let after = |pair: &(u16, u16)| {
            let own = outcomes.iter().filter(|outcome| (outcome.target, outcome.client) == *pair);
            if own.clone().all(|outcome| outcome.completed) {
                return Some(0.0);
            }
            let accepted = own.rev().take_while(|outcome| outcome.completed).last()?;
            Some(accepted.intended.saturating_sub(began).as_secs_f64())
        };
        let not: Vec<_> = pairs.iter().copied().filter(|pair| after(pair).is_none()).collect();
        let after_s = if not.is_empty() { pairs.iter().filter_map(after).reduce(f64::max) } else { None };
        Self { after_s, not }
    }

    /// The names of the targets that did not accept, or, with one target, of the clients that were not accepted.
    fn names(&self, plan: &RunPlan) -> Vec<String> {
        let clients = plan.clients();
        let mut names: Vec<String> = match (plan.targets.as_slice(), clients.as_slice()) {
            ([_], [_]) => Vec::new(),
            ([_], _) => self.not.iter().map(|(_, client)| clients[usize::from(*client)].name()).collect(),
            _ => self.not.iter().map(|(target, _)| plan.targets[usize::from(*target)].label()).collect(),
        };
        names.dedup();
        names
    }
}

/// Every lane with its population's name and the records of its stages.
fn lanes<'a>(
    plan: &'a RunPlan,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a str, &'a Lane, &'a [StageRecord])> + Clone {
    let mut records = snapshot.stages();
    let lanes = plan
        .populations
        .iter()
        .flat_map(|population| population.lanes.iter().map(move |lane| (population.name.as_str(), lane)));
    lanes.map(move |(population, lane)| {
        let (own, others) = records.split_at(lane.load.stages().count());
        records = others;
        (population, lane, own)
    })
}

impl StormRow {
    /// Adds the clients of the same storm on another machine.
    pub(in crate::run) fn add(&mut self, other: &Self) -> Result<(), HistogramError> {
        self.time_to_back.merge(&other.time_to_back)?;
        let completed = |row: &Self| row.attempts_per_success.map_or(0.0, |attempts| row.attempts as f64 / attempts);
        let successes = completed(self) + completed(other);
        self.fleet += other.fleet;
        self.attempts += other.attempts;
        self.lost_again += other.lost_again;
        self.lost_again_after_ns = self.lost_again_after_ns.max(other.lost_again_after_ns);
        self.last_back_after_ns = self.last_back_after_ns.max(other.last_back_after_ns);
        self.attempts_per_success = (successes > 0.0).then(|| self.attempts as f64 / successes);
        let back = self.time_to_back.histogram()?;
        self.set_times(&back);
        Ok(())
    }

    fn set_times(&mut self, back: &LatencyHistogram) {
        let percent = |percent: u64| back.nth((self.fleet * percent).div_ceil(100)).map(Nanos::as_u64);
        (self.back_50_ns, self.back_90_ns) = (percent(50), percent(90));
        (self.back_99_ns, self.back_100_ns) = (percent(99), percent(100));
        self.back = back.count();
        self.time_to_back = back.summary();
    }
}

impl RecoveryRow {
    /// Adds the probes of another machine: the target accepts again when it accepts from both.
    pub(in crate::run) fn add(&mut self, other: &Self) {
        self.probes += other.probes;
        self.failed += other.failed;
        self.accepted_after_s =
            self.accepted_after_s.zip(other.accepted_after_s).map(|(mine, theirs)| mine.max(theirs));
        let unknown = other.not_accepted.iter().filter(|name| !self.not_accepted.contains(name)).cloned();
        self.not_accepted.extend(unknown.collect::<Vec<_>>());
        self.drained_after_s = self.drained_after_s.max(other.drained_after_s);
        let released = [self.released_after_s, other.released_after_s];
        self.released_after_s = released.into_iter().flatten().reduce(f64::max);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::plan::{Hold, StagePlan};
    use crate::run::{RunResult, fixtures, simulate};

    /// A probe a second from second 10 on; the targets take turns.
    fn accepted_after(each: &str, targets: u16) -> (Option<f64>, Vec<(u16, u16)>) {
        let outcome = |(number, kind)| ProbeOutcome {
            intended: Nanos::from_secs(10 + u64::from(number)),
            target: number % targets,
            client: 0,
            completed: kind == 'o',
        };
        let outcomes: Vec<_> = (0..).zip(each.chars()).map(outcome).collect();
        let Acceptance { after_s, not } = Acceptance::of(&outcomes, Nanos::from_secs(10));
        (after_s, not)
    }

    #[test]
    fn accepted_again_from_the_first_probe_after_which_none_failed() {
        for (each, after_s) in [("xxoxoo", Some(4.0)), ("oooo", Some(0.0)), ("ooxo", Some(3.0)), ("", None)] {
            assert_eq!(accepted_after(each, 1), (after_s, vec![]), "{each}");
        }
        assert_eq!(accepted_after("ooox", 1), (None, vec![(0, 0)]));
    }

    #[test]
    fn connections_that_are_still_held_are_told() {
        let mut plan = fixtures::open_plan();
        plan.targets[0].host = "serve.sim".to_owned();
        let stage = |name, probe, seconds| {
            let stage = fixtures::stage(name, false, 10.0, 10.0, Some(seconds));
            StagePlan { probe, ..stage }
        };
        let population = &mut plan.populations[0];
        let mut probing = population.lanes[0].clone();
        population.lanes[0].load = fixtures::open_load(vec![stage("load", false, 1)], None);
        probing.begins_ns = 1_000_000_000;
        probing.load = fixtures::open_load(vec![stage("probe", true, 5)], None);
        population.lanes.push(probing);
        let recovery = |hold_ms: u64| {
            let mut plan = plan.clone();
            plan.populations[0].hold = Hold::ForNs(hold_ms * 1_000_000);
            let row = RunResult::assemble(simulate(Arc::new(plan)).parts).recoveries.remove(0);
            (row.drained_after_s, row.released_after_s.map(|after_s| (after_s * 10.0).round() / 10.0))
        };
        assert_eq!(recovery(0), (0.0, None));
        // The last one was intended 0.1 s before the probes began.
        assert_eq!(recovery(3_000), (0.0, Some(2.9)));
    }

    /// The last losses of a fleet, in milliseconds, of a storm that began after a second.
    fn common_loss_ms(lost_ms: &[u64]) -> Option<u64> {
        let client = |lost| Comeback { lost: Nanos::from_millis(lost), back: None };
        let clients: Vec<_> = lost_ms.iter().copied().map(client).collect();
        last_common_loss(&clients, Nanos::from_secs(1)).map(|loss| loss.as_u64() / 1_000_000)
    }

    #[test]
    fn a_common_loss_takes_most_of_a_fleet_at_once() {
        assert_eq!(common_loss_ms(&[1_000; 5]), None, "the loss that began the storm is none");
        assert_eq!(common_loss_ms(&[7_000, 7_000, 7_000, 1_000, 1_000]), Some(7_000));
        assert_eq!(common_loss_ms(&[7_000, 7_000, 1_000, 1_000]), None, "half is not most");
        assert_eq!(common_loss_ms(&[7_200, 7_000, 7_900, 8_000, 20_000]), Some(7_000), "one was lost once more");
        assert_eq!(common_loss_ms(&[7_000, 9_000, 11_000, 13_000, 15_000]), None, "one by one");
        assert_eq!(common_loss_ms(&[]), None);
    }

    #[test]
    fn every_target_accepts_again_by_itself() {
        assert_eq!(accepted_after("oxoxoxo", 2), (None, vec![(1, 0)]), "the last probe went to the good one");
        assert_eq!(accepted_after("xxoxoooo", 2), (Some(5.0), vec![]));
        assert_eq!(accepted_after("xxxxxx", 3), (None, vec![(0, 0), (1, 0), (2, 0)]));
    }
}
