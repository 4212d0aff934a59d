//! A limit per source address: refusals that vanish with more sources.
//!
//! One source alone cannot tell such a limit from any other. Two populations can, if they load the same target from
//! different addresses at the same time and only one of them is turned away.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::finding::{Finding, FindingCode};
use crate::measure::{FailureKind, Step};
use crate::run::plan::{Population, RunPlan};
use crate::run::result::{Attempts, RunResult};

/// Failures of a population from this share on are more than accidents.
const MANY: f64 = 0.05;
/// Fewer attempts without a failure prove nothing.
const LEAST_ATTEMPTS: u64 = 20;

/// The populations whose comparison shows a limit per source, if there are such.
pub(super) fn finding(result: &RunResult) -> Option<Finding> {
    if !mostly_turned_away(result) {
        return None;
    }
    let rows: Vec<(&Population, &Attempts)> =
        result.plan.populations.iter().zip(result.by_population.iter().map(|row| &row.attempts)).collect();
    let turned_away = |attempts: &Attempts| attempts.failed as f64 >= MANY * attempts.started.max(1) as f64;
    let let_in = |attempts: &Attempts| attempts.failed == 0 && attempts.completed >= LEAST_ATTEMPTS;
    let pairs = rows.iter().flat_map(|one| rows.iter().map(move |other| (one, other)));
    let (one, other) = pairs
        .filter(|(one, other)| turned_away(one.1) && let_in(other.1))
        .find(|(one, other)| differ_in_source_only(one.0, other.0, &result.plan))?;
    Some(Finding::warning(
        FindingCode::PerSourceLimit,
        format!(
            "{} of {} attempts of {} were turned away while all {} of {}, from other addresses, were let in: the target or \
             a firewall limits connections per source address",
            one.1.failed, one.1.started, one.0.name, other.1.completed, other.0.name
        ),
        "spread the load over more --source addresses, or raise that limit: this is no capacity",
    ))
}

/// Most failures happened before the target had said anything.
fn mostly_turned_away(result: &RunResult) -> bool {
    let early = |step| matches!(step, Step::Connect | Step::SendC0c1 | Step::S0);
    let away =
        |kind| matches!(kind, FailureKind::Refused | FailureKind::Reset | FailureKind::Closed | FailureKind::Timeout);
    let failures = result.failures.iter().filter(|failure| failure.step != Step::Hold);
    let all: u64 = failures.clone().map(|failure| failure.count).sum();
    let turned_away = failures.filter(|failure| early(failure.step) && away(failure.kind));
    2 * turned_away.map(|failure| failure.count).sum::<u64>() > all
}

fn differ_in_source_only(one: &Population, other: &Population, plan: &RunPlan) -> bool {
    let targets =
        |population: &Population| -> BTreeSet<u16> { population.targets.iter().map(|share| share.target).collect() };
    let same_target = targets(other).is_subset(&targets(one));
    match (sources(one, plan), sources(other, plan)) {
        (Some(one), Some(other)) => same_target && one.is_disjoint(&other),
        _ => false,
    }
}

/// The addresses a population connects from; none if only the kernel knows.
fn sources(population: &Population, plan: &RunPlan) -> Option<BTreeSet<IpAddr>> {
    if !population.sources.is_empty() {
        return Some(population.sources.iter().map(|index| plan.sources[usize::from(*index)]).collect());
    }
    let loopback = |index: u16| {
        plan.targets[usize::from(index)].address.is_ipv4()
            && plan.targets[usize::from(index)].address.ip().is_loopback()
    };
    population
        .targets
        .iter()
        .all(|share| loopback(share.target))
        .then(|| BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Failure;
    use crate::run::fixtures;

    /// Two populations against one loopback target, of 1 000 attempts each; the first fails 300 times.
    fn result(sources: [&[u16]; 2], other_failed: u64) -> RunResult {
        let refused = Failure::new(Step::Connect, FailureKind::Refused);
        let run = fixtures::OpenRun { failure: refused, ..fixtures::OpenRun::default() };
        let mut result = run.result(&[]);
        let mut row = fixtures::row(&result);
        row.attempts = Attempts { due: 1_000, started: 1_000, completed: 700, failed: 300, ..Attempts::default() };
        let mut other = row.clone();
        (other.attempts.failed, other.attempts.completed) = (other_failed, 1_000 - other_failed);
        result.by_population = vec![row, other];
        let plan = &mut result.plan;
        plan.targets[0].address = "127.0.0.1:1935".parse().unwrap();
        plan.sources = vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()];
        let mut second = plan.populations[0].clone();
        second.name = "others".to_owned();
        plan.populations.push(second);
        for (population, sources) in plan.populations.iter_mut().zip(sources) {
            population.sources = sources.to_vec();
        }
        result
    }

    #[test]
    fn a_limit_shows_between_populations_that_differ_in_source_only() {
        let found = finding(&result([&[0], &[1]], 0)).unwrap();
        assert_eq!(found.code, FindingCode::PerSourceLimit);
        insta::assert_snapshot!(found.message, @"300 of 1000 attempts of encoders were turned away while all 1000 of others, from other addresses, were let in: the target or a firewall limits connections per source address");
        assert!(finding(&result([&[0], &[]], 0)).is_some(), "on loopback the kernel chooses 127.0.0.1");
        assert_eq!(finding(&result([&[1], &[]], 0)), None, "the same address");
        assert_eq!(finding(&result([&[0], &[1]], 1)), None, "both are turned away");
    }
}
