//! The whole parts of a load of which nothing completed while other parts' attempts did: a target that is dead beside one
//! that serves, a kind of client that is turned away.

use std::fmt;

use crate::finding::{Finding, FindingCode};
use crate::run::plan::{ClientPlan, Population, RunPlan, Target};
use crate::run::result::{Attempts, Row, RunResult};

/// Parts that are named before the others are counted.
const NAMED: usize = 3;

/// A target, kind of client or population of which nothing completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    kind: &'static str,
    name: String,
    /// What became of its attempts; none completed.
    pub attempts: Attempts,
}

/// The parts whose attempts were meant to complete, were due, and did not complete; what is one part's fault is told
/// once. None if nothing completed at all: then the whole has failed.
pub fn unserved(result: &RunResult) -> Vec<Unserved> {
    if result.attempts.completed == 0 {
        return Vec::new();
    }
    let plan = &result.plan;
    let one_family = one_family(result);
    let is_target = |index: usize| meant_for_target(plan, index) && !one_family.contains(&index);
    let targets = rows_of(&result.by_target, is_target, nothing_completed);
    let populations =
        rows_of(&result.by_population, |index| plan.populations.get(index).is_some_and(is_meant), nothing_completed);
    let clients = rows_of(&result.by_client, |index| is_meant_client(plan, index), nothing_completed);
    let dead =
        |population: &Population| population.targets.iter().all(|share| targets.contains(&usize::from(share.target)));
    let populations: Vec<_> = populations.into_iter().filter(|index| !dead(&plan.populations[*index])).collect();
    let kinds = plan.clients();
    let elsewhere = |client: &ClientPlan| {
        let mut users = plan.asked().zip(0..).filter(|(population, _)| uses(population, client));
        users.any(|(population, index)| !populations.contains(&index) && !dead(population))
    };
    let clients: Vec<_> = clients.into_iter().filter(|index| elsewhere(&kinds[*index])).collect();
    let parts = [
        ("target", &result.by_target, targets),
        ("population", &result.by_population, populations),
        ("client", &result.by_client, clients),
    ];
    let part = |(kind, rows, indices): (&'static str, &Vec<Row>, Vec<usize>)| {
        let part = |index: usize| Unserved { kind, name: rows[index].name.clone(), attempts: rows[index].attempts };
        indices.into_iter().map(part).collect::<Vec<_>>()
    };
    parts.into_iter().flat_map(part).collect()
}

/// What happened to these parts, in a sentence; nothing if there are none.
pub fn unserved_text(parts: &[Unserved]) -> String {
    let mut named: Vec<String> = parts.iter().take(NAMED).map(ToString::to_string).collect();
    if parts.len() > NAMED {
        named.push(format!("and so {} more (see the tables)", parts.len() - NAMED));
    }
    named.join("; ")
}

/// What to know of parts that nothing is known of, or nothing good.
pub(super) fn findings(result: &RunResult) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = unserved(result);
    if !parts.is_empty() {
        findings.push(Finding::warning(
            FindingCode::Unserved,
            unserved_text(&parts),
            "all of its attempts failed, so the run does not pass: find out why, or leave it out",
        ));
    }
    findings.extend(one_family_finding(result));
    findings.extend(untried(result));
    findings
}

/// The addresses of names that do not serve while those of the other family do. Most clients try both, so the target is
/// not dead: the server listens on one kind only, and nobody has noticed.
fn one_family(result: &RunResult) -> Vec<usize> {
    let targets = || result.plan.targets.iter().zip(&result.by_target);
    let dead = |(target, row): (&Target, &Row)| {
        let name = || targets().filter(move |(other, _)| other.name == target.name);
        let mut others = name().filter(|(other, _)| is_ipv4(other) != is_ipv4(target));
        let mut own = name().filter(|(other, _)| is_ipv4(other) == is_ipv4(target));
        row.attempts.failed > 0
            && own.all(|(_, row)| row.attempts.completed == 0)
            && others.any(|(_, row)| row.attempts.completed > 0)
    };
    targets().enumerate().filter(|(_, target)| dead(*target)).map(|(index, _)| index).collect()
}

fn one_family_finding(result: &RunResult) -> Option<Finding> {
    let text = |index: usize| {
        let target = &result.plan.targets[index];
        let [dead, serves] = if is_ipv4(target) { ["IPv4", "IPv6"] } else { ["IPv6", "IPv4"] };
        format!(
            "{} has {dead} and {serves} addresses, and no attempt over {dead} completed while those over {serves} did",
            target.host
        )
    };
    let mut texts: Vec<String> = one_family(result).into_iter().map(text).collect();
    texts.dedup();
    (!texts.is_empty()).then(|| {
        Finding::warning(
            FindingCode::OneFamily,
            texts.join("; "),
            "let the server listen on both, or choose one family with --ipv4 or --ipv6",
        )
    })
}

fn is_ipv4(target: &Target) -> bool {
    target.address.ip().to_canonical().is_ipv4()
}

/// Targets and clients whose part of the load is so small that no attempt went to them.
fn untried(result: &RunResult) -> Option<Finding> {
    // A load that ended early may not have come to them yet.
    if result.interrupted.is_some() || result.ended_by.is_some() || result.attempts.started == 0 {
        return None;
    }
    let plan = &result.plan;
    let is_asked = |client: &ClientPlan| plan.asked().any(|population| uses(population, client));
    let goes_there = |target: usize| plan.asked().any(|population| has_target(population, target));
    let none = |attempts: &Attempts| attempts.due == 0;
    let targets = rows_of(&result.by_target, goes_there, none);
    let clients = rows_of(&result.by_client, |index| plan.clients().get(index).is_some_and(is_asked), none);
    let targets = targets.into_iter().map(|index| format!("target {}", result.by_target[index].name));
    let clients = clients.into_iter().map(|index| format!("client {}", result.by_client[index].name));
    let names: Vec<String> = targets.chain(clients).collect();
    (!names.is_empty()).then(|| {
        Finding::info(
            FindingCode::Untried,
            format!("no measured attempt used {}: nothing is known about it", names.join(", ")),
            "give it a greater weight, or more attempts",
        )
    })
}

fn rows_of(rows: &[Row], part: impl Fn(usize) -> bool, holds: impl Fn(&Attempts) -> bool) -> Vec<usize> {
    (0..rows.len()).filter(|index| holds(&rows[*index].attempts) && part(*index)).collect()
}

/// Attempts that are still in flight when a run is cut say nothing.
fn nothing_completed(attempts: &Attempts) -> bool {
    attempts.completed == 0 && attempts.failed + attempts.dropped > 0
}

/// Some of its clients are to complete; hostile ones are observed.
fn is_meant(population: &Population) -> bool {
    !population.canary && population.clients.iter().any(|share| !share.client.is_hostile())
}

fn meant_for_target(plan: &RunPlan, target: usize) -> bool {
    plan.asked().any(|population| is_meant(population) && has_target(population, target))
}

fn is_meant_client(plan: &RunPlan, index: usize) -> bool {
    let asked = |client: &ClientPlan| plan.asked().any(|population| uses(population, client));
    plan.clients().get(index).is_some_and(|client| !client.is_hostile() && asked(client))
}

fn has_target(population: &Population, target: usize) -> bool {
    population.targets.iter().any(|share| usize::from(share.target) == target)
}

fn uses(population: &Population, client: &ClientPlan) -> bool {
    population.clients.iter().any(|share| share.client == *client)
}

impl Unserved {
    /// Its attempts were tried and failed; others never started.
    pub(super) fn failed(&self) -> bool {
        self.attempts.failed > 0
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, attempts } = self;
        match (attempts.started, attempts.due) {
            (0, due) => write!(f, "{kind} {name}: none of {due} planned attempts started"),
            (1, _) => write!(f, "{kind} {name}: its only attempt did not complete"),
            (started, _) => write!(f, "{kind} {name}: none of {started} attempts completed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientProfile;
    use crate::run::Verdict;
    use crate::run::fixtures;
    use crate::run::plan::{ClientShare, TargetShare};

    /// A run that completed, with a row of `attempts` beside it for a second target.
    fn with_target(attempts: Attempts) -> RunResult {
        let mut result = fixtures::open_result(&[]);
        let row = fixtures::row(&result);
        result.by_target = vec![row.clone(), Row { name: "rtmp://b/live".to_owned(), attempts, ..row }];
        let plan = &mut result.plan;
        plan.targets.push(Target::new("rtmp://b/live", "b", "10.0.0.2:1935".parse().unwrap()));
        plan.populations[0].targets.push(TargetShare { target: 1, weight: 1 });
        result
    }

    fn failed(failed: u64) -> Attempts {
        Attempts { due: failed, started: failed, failed, ..Attempts::default() }
    }

    fn judged(mut result: RunResult) -> (Verdict, String, Vec<FindingCode>) {
        super::super::verdict::judge(&mut result, &Default::default());
        let codes = result.generator.findings.iter().map(|finding| finding.code).collect();
        (result.verdict, unserved_text(&unserved(&result)), codes)
    }

    #[test]
    fn a_dead_target_fails_the_run() {
        let (verdict, text, codes) = judged(with_target(failed(25)));
        assert_eq!((verdict, codes), (Verdict::Fail, vec![FindingCode::Unserved]));
        insta::assert_snapshot!(text, @"target rtmp://b/live: none of 25 attempts completed");
        let (verdict, text, _) = judged(with_target(failed(1)));
        assert_eq!(verdict, Verdict::Fail);
        insta::assert_snapshot!(text, @"target rtmp://b/live: its only attempt did not complete");
    }

    #[test]
    fn a_target_that_no_attempt_went_to_is_told_and_fails_nothing() {
        assert_eq!(judged(with_target(failed(0))), (Verdict::Pass, String::new(), vec![FindingCode::Untried]));
        let in_flight = Attempts { due: 3, started: 3, in_flight: 3, ..Attempts::default() };
        assert_eq!(judged(with_target(in_flight)), (Verdict::Pass, String::new(), vec![]));
    }

    #[test]
    fn a_name_of_which_one_family_serves_is_told() {
        let mut result = with_target(failed(9));
        for (target, address) in result.plan.targets.iter_mut().zip(["127.0.0.1:1935", "[::1]:1935"]) {
            *target = Target::new("rtmp://localhost/live", "localhost", address.parse().unwrap());
        }
        let found = one_family_finding(&result).unwrap();
        assert_eq!(unserved(&result), [], "most clients try both");
        insta::assert_snapshot!(found.message, @"localhost has IPv6 and IPv4 addresses, and no attempt over IPv6 completed while those over IPv4 did");
        result.plan.targets[1].address = "127.0.0.2:1935".parse().unwrap();
        assert_eq!(one_family_finding(&result), None);
        assert_eq!(unserved(&result).len(), 1);
    }

    #[test]
    fn hostile_clients_complete_nothing_by_nature() {
        let mut result = with_target(Attempts { due: 9, started: 9, observed: 8, failed: 1, ..Attempts::default() });
        let mut scanners = result.plan.populations[0].clone();
        scanners.clients[0].client.profile = ClientProfile::HalfC1;
        scanners.targets.remove(0);
        result.plan.populations[0].targets.pop();
        result.plan.populations.push(scanners);
        assert_eq!(unserved(&result), []);
    }

    #[test]
    fn a_population_whose_targets_are_dead_is_not_told_twice() {
        let mut result = with_target(failed(7));
        let row = fixtures::row(&result);
        let dead = Row { name: "to b".to_owned(), attempts: failed(7), ..row.clone() };
        let mut to_b = result.plan.populations[0].clone();
        to_b.targets.remove(0);
        to_b.clients = vec![ClientShare { client: ClientPlan { wrong_c2: true, ..to_b.clients[0].client }, weight: 1 }];
        result.plan.populations.push(to_b);
        result.by_population = vec![row.clone(), dead.clone()];
        result.by_client = vec![row, dead];
        assert_eq!(unserved(&result).len(), 1);
        // Where the target serves others, it is the population.
        result.by_target[1].attempts.completed = 1;
        insta::assert_snapshot!(unserved_text(&unserved(&result)), @"population to b: none of 7 attempts completed");
        // And where other clients of its are served, the kind of client.
        result.by_population[1].attempts.completed = 1;
        result.by_client[1].name = "obs".to_owned();
        insta::assert_snapshot!(unserved_text(&unserved(&result)), @"client obs: none of 7 attempts completed");
    }

    #[test]
    fn what_never_started_cannot_be_told() {
        let mut result = fixtures::open_result(&[]);
        let row = fixtures::row(&result);
        let waiting = Attempts { due: 9, dropped: 9, ..Attempts::default() };
        result.by_population = vec![row.clone(), Row { name: "late".to_owned(), attempts: waiting, ..row }];
        result.plan.populations.push(result.plan.populations[0].clone());
        assert_eq!(judged(result).0, Verdict::Inconclusive);
    }
}
