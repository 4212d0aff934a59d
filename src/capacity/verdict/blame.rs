//! Who sets the limit: nobody is blamed without evidence.

use crate::measure::Side;
use crate::run::{FailureRow, RunResult};

use crate::capacity::result::{LimitedBy, Outcome};

/// What a trial at or past the limit shows about who set it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What an observed target had none left of.
    pub used_up: Option<String>,
    /// Attempts lost, all of them.
    pub lost: u64,
    /// Failures.
    pub failures: Vec<FailureRow>,
    /// Connections and SYNs that a local target's accept queue had no room for.
    pub accept_queue_drops: u64,
}

impl Evidence {
    /// What `result` shows; the host's counters are the target's only if the target is local.
    pub fn of(result: &RunResult, lost: u64, local_target: bool) -> Self {
        let counter = |name: &str| result.network.get(name).copied().unwrap_or(0);
        Self {
            used_up: used_up(result),
            lost,
            failures: result.failures.clone(),
            accept_queue_drops: if local_target { counter("listen_drops").max(counter("listen_overflows")) } else { 0 },
        }
    }

    fn failed(&self, side: Side) -> u64 {
        self.failures.iter().filter(|failure| failure.side == side).map(|failure| failure.count).sum()
    }
}

/// What the observed target had none left of while the load ran.
fn used_up(result: &RunResult) -> Option<String> {
    let (from_s, to_s) = (result.window.warmup_s, result.window.end_s());
    crate::observe::limits(&result.observed, from_s, to_s).first().map(|limit| limit.text.clone())
}

/// Who sets the limit, and the evidence for it.
pub fn blame(outcome: Outcome, reason: Option<&str>, evidence: &[Evidence]) -> (LimitedBy, String) {
    match outcome {
        Outcome::GeneratorLimited => {
            (LimitedBy::Generator, reason.unwrap_or("the generator could do no more").to_owned())
        }
        Outcome::RangeLimited => {
            (LimitedBy::Range, reason.unwrap_or("the highest rate that was allowed was met").to_owned())
        }
        _ => by_evidence(evidence),
    }
}

/// The strongest evidence first.
fn by_evidence(evidence: &[Evidence]) -> (LimitedBy, String) {
    if let Some(used_up) = evidence.iter().rev().find_map(|evidence| evidence.used_up.as_ref()) {
        return (LimitedBy::Target, used_up.clone());
    }
    let lost: u64 = evidence.iter().map(|evidence| evidence.lost).sum();
    let failed = |side| evidence.iter().map(|evidence| evidence.failed(side)).sum::<u64>();
    let mostly = |side| lost > 0 && 2 * failed(side) >= lost;
    if mostly(Side::Target) {
        let worst = evidence.iter().flat_map(|evidence| &evidence.failures).filter(|row| row.side == Side::Target);
        if let Some(worst) = worst.max_by_key(|row| row.count) {
            return (LimitedBy::Target, format!("past the limit it fails attempts: {} {}", worst.step, worst.kind));
        }
    }
    let drops: u64 = evidence.iter().map(|evidence| evidence.accept_queue_drops).sum();
    if drops > 0 {
        let text = format!("its accept queue had no room for {drops} connections past the limit");
        return (LimitedBy::Target, text);
    }
    if mostly(Side::Network) {
        return (LimitedBy::Network, "past the limit most losses are the network's".to_owned());
    }
    let text = if lost > 0 {
        "past the limit attempts come late, and nothing seen here says why; --observe pid:N or the URL of its \
         node_exporter would show its CPU, descriptors and queues"
    } else {
        "no limit was met"
    };
    (LimitedBy::Unattributed, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{FailureKind, Step};

    fn row(side: Side, count: u64) -> FailureRow {
        FailureRow {
            step: Step::S0,
            kind: FailureKind::Reset,
            side,
            count,
            first_s: 0.0,
            last_s: 1.0,
            detail: None,
            advice: String::new(),
            reasons: Vec::new(),
        }
    }

    #[test]
    fn nobody_is_blamed_without_evidence() {
        let late = Evidence { lost: 100, ..Evidence::default() };
        let (by, text) = blame(Outcome::Confirmed, None, std::slice::from_ref(&late));
        assert_eq!(by, LimitedBy::Unattributed);
        assert!(text.contains("--observe"), "{text}");
        assert_eq!(blame(Outcome::Confirmed, None, &[]).1, "no limit was met");
        assert_eq!(blame(Outcome::GeneratorLimited, Some("late"), &[late]), (LimitedBy::Generator, "late".to_owned()));
    }

    #[test]
    fn evidence_is_taken_in_order_of_its_strength() {
        let mut evidence = Evidence { lost: 100, failures: vec![row(Side::Network, 60)], ..Evidence::default() };
        let blamed = |evidence: &Evidence| blame(Outcome::NotConfirmed, None, std::slice::from_ref(evidence));
        assert_eq!(blamed(&evidence).0, LimitedBy::Network);
        evidence.accept_queue_drops = 7;
        assert_eq!(blamed(&evidence).1, "its accept queue had no room for 7 connections past the limit");
        evidence.failures.push(row(Side::Target, 50));
        assert_eq!(blamed(&evidence), (LimitedBy::Target, "past the limit it fails attempts: s0 reset".to_owned()));
        evidence.used_up = Some("target CPU 98 % (one core)".to_owned());
        assert_eq!(blamed(&evidence), (LimitedBy::Target, "target CPU 98 % (one core)".to_owned()));
    }
}
