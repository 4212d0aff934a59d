//! One result from those of several machines that ran shares of the same plan.

use super::condition::Threshold;
use super::judging::{self, WatchOutcome};
use crate::load::Share;
use crate::measure::{HistogramError, LatencySummary, TimelineRow};
use crate::run::plan::{Population, RunPlan};
use crate::run::result::{
    AnnouncementRow, FailureRow, Machine, Rates, ReactionRow, ReasonRow, Row, RunResult, Window, counted_s,
    measured_length_s,
};

/// Why results cannot be merged: one sentence that names the difference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("give at least two results to merge")]
    TooFew,
    /// The results are of different plans.
    #[error(
        "the results are of different plans: {what} is {first} in the first and {other} in number {number}; give every \
         machine the same command, --seed among it, and its own --share"
    )]
    DifferentPlans {
        /// What differs.
        what: &'static str,
        /// Its value in the first result.
        first: String,
        /// Its value in the other.
        other: String,
        /// Which other, counted from 1.
        number: usize,
    },
    /// Two results are of the same share.
    #[error("share {0} is there twice: every machine runs a share of its own (--share I/N)")]
    SameShare(String),
    /// A share has no result.
    #[error("share {0} is missing: merge the results of all machines")]
    MissingShare(String),
    /// A distribution cannot be read.
    #[error("a result is damaged: {0}")]
    Damaged(#[from] HistogramError),
}

impl RunResult {
    /// The result of the whole plan from the results of its shares, judged anew.
    ///
    /// Counts and latency distributions are exact. Two numbers cannot be had from files alone: a timeline row's
    /// percentiles, where several machines completed attempts in it, become null, and `held_peak` is the sum of the
    /// machines' peaks, an upper bound.
    ///
    /// # Errors
    /// If the results are not the shares of one plan: names the difference.
    pub fn merge(results: Vec<Self>) -> Result<Self, MergeError> {
        check_same_plan(&results)?;
        check_shares(&results)?;
        let machines = results.iter().map(|result| Machine {
            share: result.plan.share,
            started_at: result.started_at.clone(),
            environment: result.environment.clone(),
        });
        let machines = machines.collect();
        let longest = results.iter().map(|result| result.window).reduce(Window::longest).ok_or(MergeError::TooFew)?;
        let mut parts = results.into_iter().map(|mut part| {
            part.stretch_rates(longest);
            part
        });
        let mut merged = parts.next().ok_or(MergeError::TooFew)?;
        merged.plan.share = Share::WHOLE;
        merged.machines = machines;
        for part in parts {
            merged.add(part)?;
        }
        merged.set_rates();
        for (index, worker) in (0..).zip(&mut merged.workers) {
            worker.index = index;
        }
        judging::judge(&mut merged, &WatchOutcome::default());
        Ok(merged)
    }

    fn add(&mut self, part: Self) -> Result<(), MergeError> {
        self.window = self.window.longest(part.window);
        self.attempts.merge(&part.attempts);
        self.connections.held += part.connections.held;
        self.connections.held_peak += part.connections.held_peak;
        self.connections.lost_while_held += part.connections.lost_while_held;
        add_summary(&mut self.connections.lost_age, part.connections.lost_age.as_ref())?;
        self.modes.merge(&part.modes);
        self.tls.merge(&part.tls);
        self.media.merge(&part.media);
        add_failures(&mut self.failures, part.failures);
        add_announcements(&mut self.announcements, part.announcements);
        add_backends(&mut self.by_backend, part.by_backend)?;
        self.latency.merge(&part.latency)?;
        add_summary(&mut self.time_to_failure, part.time_to_failure.as_ref())?;
        for (mine, theirs) in [
            (&mut self.by_population, &part.by_population),
            (&mut self.by_target, &part.by_target),
            (&mut self.by_client, &part.by_client),
            (&mut self.by_stage, &part.by_stage),
        ] {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                mine.add(theirs)?;
            }
        }
        for (mine, theirs) in self.storms.iter_mut().zip(&part.storms) {
            mine.add(theirs)?;
        }
        for (mine, theirs) in self.recoveries.iter_mut().zip(&part.recoveries) {
            mine.add(theirs);
        }
        self.events.extend(part.events);
        self.events.sort_by(|one, other| one.t_s.total_cmp(&other.t_s));
        self.observed.extend(part.observed);
        match (&mut self.tcp_info, part.tcp_info) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (mine, theirs) => *mine = mine.take().or(theirs),
        }
        self.workers.extend(part.workers);
        self.generator.pauses.extend(part.generator.pauses);
        self.generator.pauses.sort_by(|one, other| one.t_s.total_cmp(&other.t_s));
        self.timeline = join_timelines(std::mem::take(&mut self.timeline), part.timeline);
        for (name, count) in part.network {
            *self.network.entry(name).or_default() += count;
        }
        for finding in part.generator.findings {
            if !self.generator.findings.contains(&finding) {
                self.generator.findings.push(finding);
            }
        }
        for (key, value) in part.labels {
            self.labels.entry(key).or_insert(value);
        }
        self.started_at = std::mem::take(&mut self.started_at).min(part.started_at);
        self.interrupted = self.interrupted.or(part.interrupted);
        self.interrupted_at = self.interrupted_at.or(part.interrupted_at);
        self.ended_by = self.ended_by.take().or(part.ended_by);
        Ok(())
    }

    /// Rates by target, by client and by backend as if the load had gone on as long as the longest of the machines': so they can be
    /// added.
    fn stretch_rates(&mut self, longest: Window) {
        if longest.duration_s > self.window.duration_s {
            let part = self.window.duration_s / longest.duration_s;
            for row in self.by_target.iter_mut().chain(&mut self.by_client).chain(&mut self.by_backend) {
                row.rate.started_per_s *= part;
                row.rate.completed_per_s *= part;
            }
        }
    }

    /// Rates of the merged counts; the window is the longest of the machines'.
    fn set_rates(&mut self) {
        let (plan, window) = (&self.plan, self.window);
        for (population, row) in plan.populations.iter().zip(&mut self.by_population) {
            let seconds = measured_length_s(population, window);
            row.rate = Rates::over(seconds, &row.attempts, row.rate.intended_per_s.is_some());
        }
        let of_population = |index: usize| self.by_population.get(index).map_or(self.attempts, |row| row.attempts);
        self.rate = Rates::of_asked(plan, window, of_population);
        let counted: Vec<f64> = plan.asked().map(|population| counted_s(population, window)).collect();
        // Populations that were measured for different times have rates that only add up.
        if counted.windows(2).all(|pair| pair[0] == pair[1]) {
            for row in self.by_target.iter_mut().chain(&mut self.by_client).chain(&mut self.by_backend) {
                row.rate = Rates::over(window.duration_s, &row.attempts, false);
            }
        }
    }
}

impl Window {
    fn longest(self, other: Self) -> Self {
        Self { duration_s: self.duration_s.max(other.duration_s), warmup_s: self.warmup_s.max(other.warmup_s) }
    }
}

impl Rates {
    /// What happens at the same time adds up.
    pub(super) fn add(&mut self, other: &Self) {
        self.intended_per_s = self.intended_per_s.zip(other.intended_per_s).map(|(mine, theirs)| mine + theirs);
        self.started_per_s += other.started_per_s;
        self.completed_per_s += other.completed_per_s;
    }
}

impl Row {
    fn add(&mut self, other: &Self) -> Result<(), HistogramError> {
        self.attempts.merge(&other.attempts);
        self.rate.add(&other.rate);
        self.modes.merge(&other.modes);
        self.lost_while_held += other.lost_while_held;
        self.media.merge(&other.media);
        add_failures(&mut self.failures, other.failures.clone());
        if let (Some(mine), Some(theirs)) = (&mut self.reactions, &other.reactions) {
            mine.add(theirs)?;
        }
        self.latency.merge(&other.latency)
    }
}

impl ReactionRow {
    fn add(&mut self, other: &Self) -> Result<(), HistogramError> {
        self.not_connected += other.not_connected;
        self.closed += other.closed;
        self.reset += other.reset;
        self.open += other.open;
        self.left += other.left;
        self.answered += other.answered;
        self.partly_answered += other.partly_answered;
        self.unexpected += other.unexpected;
        self.open_time.merge(&other.open_time)
    }
}

fn add_summary(mine: &mut Option<LatencySummary>, theirs: Option<&LatencySummary>) -> Result<(), HistogramError> {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) => mine.merge(theirs)?,
        (mine, theirs) => *mine = mine.take().or(theirs.cloned()),
    }
    Ok(())
}

fn add_failures(mine: &mut Vec<FailureRow>, theirs: Vec<FailureRow>) {
    for row in theirs {
        match mine.iter_mut().find(|known| (known.step, known.kind) == (row.step, row.kind)) {
            None => mine.push(row),
            Some(known) => {
                known.count += row.count;
                known.last_s = known.last_s.max(row.last_s);
                add_reasons(&mut known.reasons, row.reasons);
                if row.first_s < known.first_s {
                    (known.first_s, known.detail, known.advice) = (row.first_s, row.detail, row.advice);
                }
            }
        }
    }
    mine.sort_by_key(|row| (row.step, row.kind));
}

fn add_reasons(mine: &mut Vec<ReasonRow>, theirs: Vec<ReasonRow>) {
    for row in theirs {
        match mine.iter_mut().find(|known| known.text == row.text) {
            None => mine.push(row),
            Some(known) => known.count += row.count,
        }
    }
    mine.sort_by(|one, other| one.text.cmp(&other.text));
}

fn add_announcements(mine: &mut Vec<AnnouncementRow>, theirs: Vec<AnnouncementRow>) {
    for row in theirs {
        match mine.iter_mut().find(|known| known.text == row.text) {
            None => mine.push(row),
            Some(known) => {
                known.count += row.count;
                (known.first_s, known.last_s) = (known.first_s.min(row.first_s), known.last_s.max(row.last_s));
            }
        }
    }
    mine.sort_by(|one, other| one.text.cmp(&other.text));
}

/// A backend may have answered some of the machines only.
fn add_backends(mine: &mut Vec<Row>, theirs: Vec<Row>) -> Result<(), HistogramError> {
    for row in theirs {
        match mine.iter_mut().find(|known| known.name == row.name) {
            None => mine.push(row),
            Some(known) => known.add(&row)?,
        }
    }
    mine.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(())
}

/// Both timelines row by row, in the wider of their intervals.
fn join_timelines(mine: Vec<TimelineRow>, theirs: Vec<TimelineRow>) -> Vec<TimelineRow> {
    let interval = |rows: &[TimelineRow]| rows.get(1).map_or(1, |row| row.t_s.max(1));
    let wider = interval(&mine).max(interval(&theirs));
    let (mut joined, theirs) = (widen(mine, wider), widen(theirs, wider));
    let common = joined.len().min(theirs.len());
    for (mine, theirs) in joined.iter_mut().zip(&theirs) {
        let (held, paused_ns) = (mine.held + theirs.held, mine.paused_ns.max(theirs.paused_ns));
        add_row(mine, theirs);
        (mine.held, mine.paused_ns) = (held, paused_ns);
    }
    joined.extend(theirs.into_iter().skip(common));
    joined
}

/// The rows in intervals of `wider` seconds, a multiple of theirs.
fn widen(rows: Vec<TimelineRow>, wider: u32) -> Vec<TimelineRow> {
    let mut wide: Vec<TimelineRow> = Vec::new();
    for row in rows {
        match wide.last_mut() {
            Some(last) if last.t_s / wider == row.t_s / wider => add_row(last, &row),
            _ => wide.push(row),
        }
    }
    wide
}

/// Adds the counts of `other`; what is held is then what `other` held. Percentiles of joint samples cannot be had from
/// percentiles.
fn add_row(row: &mut TimelineRow, other: &TimelineRow) {
    let percentiles = |row: &TimelineRow| (row.response_p50_ns, row.response_p99_ns, row.lateness_p99_ns);
    let known = match (row.completed, other.completed) {
        (0, _) => percentiles(other),
        (_, 0) => percentiles(row),
        _ => (None, None, None),
    };
    (row.response_p50_ns, row.response_p99_ns, row.lateness_p99_ns) = known;
    row.due += other.due;
    row.started += other.started;
    row.completed += other.completed;
    row.failed += other.failed;
    row.dropped += other.dropped;
    row.paused_ns += other.paused_ns;
    row.held = other.held;
}

fn check_same_plan(results: &[RunResult]) -> Result<(), MergeError> {
    let [first, others @ ..] = results else { return Err(MergeError::TooFew) };
    if others.is_empty() {
        return Err(MergeError::TooFew);
    }
    for (other, number) in others.iter().zip(2..) {
        if let Some((what, first, other)) = difference(&first.plan, &other.plan) {
            return Err(MergeError::DifferentPlans { what, first, other, number });
        }
    }
    Ok(())
}

/// The first difference that makes two plans different loads. Workers, CPUs and sources are each machine's own.
fn difference(first: &RunPlan, other: &RunPlan) -> Option<(&'static str, String, String)> {
    fn differ<T: PartialEq>(
        what: &'static str,
        first: T,
        other: T,
        text: impl Fn(&T) -> String,
    ) -> Option<(&'static str, String, String)> {
        (first != other).then(|| (what, text(&first), text(&other)))
    }
    let addresses = |plan: &RunPlan| {
        let addresses: Vec<_> = plan.targets.iter().map(|target| target.address.to_string()).collect();
        addresses.join(", ")
    };
    let names = |plan: &RunPlan| {
        let names: Vec<_> = plan.populations.iter().map(|population| population.name.clone()).collect();
        names.join(", ")
    };
    differ("the number of shares", first.share.count, other.share.count, u32::to_string)
        .or_else(|| differ("the seed", first.seed.get(), other.seed.get(), u64::to_string))
        .or_else(|| differ("the target", addresses(first), addresses(other), String::clone))
        .or_else(|| differ("the engine", first.engine, other.engine, |engine| engine.to_string()))
        .or_else(|| differ("what publishers send", &first.media, &other.media, |media| format!("{media:?}")))
        .or_else(|| differ("--drain", first.drain, other.drain, bool::to_string))
        .or_else(|| differ("the list of thresholds", &first.thresholds, &other.thresholds, |list| joined(list)))
        .or_else(|| differ("the list of populations", names(first), names(other), String::clone))
        .or_else(|| {
            first
                .populations
                .iter()
                .zip(&other.populations)
                .find_map(|(first, other)| population_difference(first, other))
        })
}

fn joined(thresholds: &[Threshold]) -> String {
    thresholds.iter().map(Threshold::to_string).collect::<Vec<_>>().join(" ")
}

fn population_difference(first: &Population, other: &Population) -> Option<(&'static str, String, String)> {
    fn differ<T: PartialEq + std::fmt::Debug>(
        what: &'static str,
        first: &T,
        other: &T,
    ) -> Option<(&'static str, String, String)> {
        (first != other).then(|| (what, format!("{first:?}"), format!("{other:?}")))
    }
    let loads = |population: &Population| {
        population.lanes.iter().map(|lane| (lane.begins_ns, lane.load.clone())).collect::<Vec<_>>()
    };
    differ("the load", &loads(first), &loads(other))
        .or_else(|| differ("the concurrency", &first.concurrency(), &other.concurrency()))
        .or_else(|| differ("the list of targets", &first.targets, &other.targets))
        .or_else(|| differ("the list of clients", &first.clients, &other.clients))
        .or_else(|| differ("--verify", &first.verify, &other.verify))
        .or_else(|| differ("--until", &first.until, &other.until))
        .or_else(|| differ("the name of the streams", &first.stream, &other.stream))
        .or_else(|| differ("--hold", &first.hold, &other.hold))
        .or_else(|| differ("--close", &first.close, &other.close))
        .or_else(|| differ("the expectation", &first.expect, &other.expect))
        .or_else(|| differ("the connect timeout (ns)", &first.connect_timeout_ns, &other.connect_timeout_ns))
        .or_else(|| differ("the timeout (ns)", &first.timeout_ns, &other.timeout_ns))
}

fn check_shares(results: &[RunResult]) -> Result<(), MergeError> {
    let count = results.first().map_or(0, |result| result.plan.share.count);
    let text = |index: u32| format!("{index}/{count}");
    let mut shares: Vec<u32> = results.iter().map(|result| result.plan.share.index).collect();
    shares.sort_unstable();
    if let Some(twice) = shares.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(MergeError::SameShare(text(twice[0])));
    }
    match (0..count).find(|index| !shares.contains(index)) {
        Some(missing) => Err(MergeError::MissingShare(text(missing))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::measure::{FailureKind, Metric, Step};
    use crate::run::Verdict;
    use crate::run::fixtures::{self, OpenRun};
    use crate::run::plan::TargetShare;
    use crate::run::simulate;

    fn share(index: u32, count: u32) -> RunResult {
        OpenRun { share: Share { index, count }, completed: 1_000 + u64::from(index), ..OpenRun::default() }.result(&[])
    }

    #[test]
    fn counts_and_distributions_add_up_exactly() {
        let (first, second) = (share(0, 2), share(1, 2));
        let merged = RunResult::merge(vec![first.clone(), second.clone()]).unwrap();
        assert_eq!(merged.plan.share, Share::WHOLE);
        assert_eq!(merged.attempts.completed, 2_001);
        assert_eq!(merged.attempts.due, first.attempts.due + second.attempts.due);
        assert_eq!(merged.rate.completed_per_s, 1_000.5);
        assert_eq!(merged.modes.total(), 2_001);
        assert_eq!(merged.failures[0].count, 20);
        assert_eq!((merged.failures[0].step, merged.failures[0].kind), (Step::S0, FailureKind::Reset));
        let service = |result: &RunResult| result.latency.get(Metric::Service).unwrap().histogram().unwrap();
        let mut both = service(&first);
        both.merge(&service(&second));
        assert_eq!(service(&merged), both);
        assert_eq!(merged.latency.get(Metric::Service).unwrap().p99_ns, both.summary().p99_ns);
        assert_eq!((merged.workers.len(), merged.machines.len()), (2, 2));
        assert_eq!((merged.workers[1].index, merged.machines[1].share.index), (1, 1));
        assert_eq!(merged.verdict, Verdict::Pass);
        // The order of the files makes no difference to the numbers.
        let swapped = RunResult::merge(vec![second, first]).unwrap();
        assert_eq!(
            (swapped.attempts, &swapped.latency, &swapped.timeline),
            (merged.attempts, &merged.latency, &merged.timeline)
        );
    }

    #[test]
    fn different_plans_are_refused_with_the_difference() {
        let (first, mut other) = (share(0, 2), share(1, 2));
        other.plan.populations[0].lanes[0].concurrency = 65;
        let error = RunResult::merge(vec![first.clone(), other]).unwrap_err();
        insta::assert_snapshot!(error, @"the results are of different plans: the concurrency is 64 in the first and 65 in number 2; give every machine the same command, --seed among it, and its own --share");
        let mut other = share(1, 2);
        other.plan.seed = crate::base::Seed::new(8);
        let error = RunResult::merge(vec![first.clone(), other]).unwrap_err();
        insta::assert_snapshot!(error, @"the results are of different plans: the seed is 7 in the first and 8 in number 2; give every machine the same command, --seed among it, and its own --share");
        let error = RunResult::merge(vec![first, share(1, 3)]).unwrap_err();
        insta::assert_snapshot!(error, @"the results are of different plans: the number of shares is 2 in the first and 3 in number 2; give every machine the same command, --seed among it, and its own --share");
    }

    #[test]
    fn every_share_is_there_once() {
        assert_eq!(RunResult::merge(vec![share(0, 2)]), Err(MergeError::TooFew));
        let twice = RunResult::merge(vec![share(1, 2), share(1, 2)]).unwrap_err();
        insta::assert_snapshot!(twice, @"share 1/2 is there twice: every machine runs a share of its own (--share I/N)");
        let missing = RunResult::merge(vec![share(0, 3), share(2, 3)]).unwrap_err();
        insta::assert_snapshot!(missing, @"share 1/3 is missing: merge the results of all machines");
    }

    /// 10/s after a second of warm-up and 10/s without, for two targets, beside a canary at 1/s.
    fn mixed_plan() -> RunPlan {
        let mut plan = fixtures::open_plan();
        plan.engine = crate::io::Engine::Sim;
        plan.targets[0].host = "serve.sim".to_owned();
        plan.targets.push(plan.targets[0].clone());
        plan.targets[1].address.set_port(1936);
        plan.populations[0].targets.push(TargetShare { target: 1, weight: 1 });
        plan.populations.resize(3, plan.populations[0].clone());
        let stage = |name, warmup, per_s, seconds| fixtures::stage(name, warmup, per_s, per_s, Some(seconds));
        let stages = [
            vec![stage("warm-up", true, 10.0, 8), stage("load", false, 10.0, 2)],
            vec![stage("load", false, 10.0, 10)],
            vec![stage("load", false, 1.0, 10)],
        ];
        for ((population, stages), name) in plan.populations.iter_mut().zip(stages).zip(["a", "b", "canary"]) {
            population.lanes[0].load = fixtures::open_load(stages, None);
            population.name = name.to_owned();
        }
        plan.populations[2].canary = true;
        plan
    }

    fn simulated(share: Share) -> RunResult {
        RunResult::assemble(simulate(Arc::new(RunPlan { share, ..mixed_plan() })).parts)
    }

    fn rates(rows: &[Row]) -> Vec<f64> {
        rows.iter().map(|row| row.rate.completed_per_s).collect()
    }

    #[test]
    fn populations_with_other_warm_ups_are_divided_by_their_own_time() {
        let whole = simulated(Share::WHOLE);
        assert_eq!((whole.attempts.completed, whole.rate.completed_per_s), (120, 20.0));
        assert_eq!(whole.rate.intended_per_s, Some(20.0));
        assert_eq!(rates(&whole.by_population), [10.0, 10.0, 1.0]);
        assert_eq!(rates(&whole.by_target), [10.0, 10.0]);
    }

    #[test]
    fn merged_rates_are_those_of_the_whole_run() {
        let merged = RunResult::merge((0..2).map(|index| simulated(Share { index, count: 2 })).collect()).unwrap();
        let whole = simulated(Share::WHOLE);
        assert_eq!((merged.attempts, merged.rate), (whole.attempts, whole.rate));
        assert_eq!(rates(&merged.by_population), rates(&whole.by_population));
        assert_eq!(rates(&merged.by_target), rates(&whole.by_target));
    }

    #[test]
    fn sessions_add_up() {
        let publish = |index| {
            let mut plan = RunPlan { share: Share { index, count: 2 }, ..mixed_plan() };
            plan.targets[1].host = "name-taken.sim".to_owned();
            plan.populations[0].until = crate::run::Until::Publish;
            plan.populations[0].hold = crate::run::Hold::ForNs(1_000_000_000);
            RunResult::assemble(simulate(Arc::new(plan)).parts)
        };
        let (first, mut second) = (publish(0), publish(1));
        second.by_backend[0].name = "another".to_owned();
        let merged = RunResult::merge(vec![first.clone(), second.clone()]).unwrap();
        let both = |count: fn(&RunResult) -> u64| count(&first) + count(&second);
        assert_eq!(merged.media.sent_messages, both(|result| result.media.sent_messages));
        assert!(merged.media.sent_messages > 0);
        let names: Vec<&str> = merged.by_backend.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["FMS/3,0,1,123", "another"]);
        let accepted: u64 = merged.by_backend.iter().map(|row| row.attempts.due).sum();
        assert_eq!(accepted, both(|result| result.by_backend[0].attempts.due));
        let [reason] = &merged.failures[0].reasons[..] else { panic!("{:?}", merged.failures) };
        assert_eq!(reason.count, both(|result| result.failures[0].reasons[0].count));
        let publish = |result: &RunResult| result.latency.get(Metric::Publish).unwrap().count;
        assert_eq!(publish(&merged), publish(&first) + publish(&second));
    }

    fn row(t_s: u32, completed: u64, held: u64) -> TimelineRow {
        TimelineRow {
            t_s,
            due: completed,
            started: completed,
            completed,
            failed: 0,
            dropped: 0,
            paused_ns: 0,
            held,
            response_p50_ns: (completed > 0).then_some(9),
            response_p99_ns: None,
            lateness_p99_ns: None,
        }
    }

    #[test]
    fn timelines_meet_in_the_wider_interval() {
        let narrow = vec![row(0, 20, 1), row(1, 0, 2), row(2, 20, 3), row(3, 20, 4), row(4, 20, 5)];
        let wide = vec![row(0, 0, 10), row(2, 20, 20)];
        let joined = join_timelines(narrow, wide);
        let columns = |row: &TimelineRow| (row.t_s, row.completed, row.held, row.response_p50_ns);
        assert_eq!(
            joined.iter().map(columns).collect::<Vec<_>>(),
            [(0, 20, 12, Some(9)), (2, 60, 24, None), (4, 20, 5, Some(9))]
        );
    }
}
