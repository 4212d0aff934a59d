//! The criteria of RFC 9411 for connections per second (section 7.2.3.3), applied to RTMP handshakes.

use crate::measure::FailureKind;

use crate::capacity::result::CapacityResult;

/// How long the sustain phase lasts at least (RFC 9411, section 7.2.3.2).
pub const SUSTAIN_S: f64 = 300.0;
/// Share of transactions that may fail, and of connections that may be reset.
const LOSS: f64 = 0.000_01;
/// By how much the rate of any second may deviate.
const RATE_DEVIATION: f64 = 0.05;
/// By how much the number of concurrent connections may deviate.
const CONCURRENCY_DEVIATION: f64 = 0.1;

/// One criterion and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// What is asked.
    pub name: &'static str,
    /// The limit, as the RFC has it.
    pub limit: String,
    /// What was measured; none if nothing was.
    pub measured: Option<String>,
    /// Whether it is met; none if that cannot be told.
    pub met: Option<bool>,
}

/// The criteria, judged by the confirmation of a result that was asked for them.
pub fn criteria(result: &CapacityResult) -> Vec<Criterion> {
    let Some(confirmation) = &result.confirmation else { return Vec::new() };
    let goal_trial = result.trials.iter().rfind(|trial| {
        trial.purpose == crate::capacity::result::TrialPurpose::Confirm && trial.rate_per_s == confirmation.rate_per_s
    });
    let attempts = confirmation.attempts;
    let share = |count: u64| count as f64 / attempts.max(1) as f64;
    // What did not fail in fewer attempts may still fail more often than that.
    let enough = attempts as f64 * LOSS >= 1.0;
    let judged = |count: u64| match share(count) < LOSS {
        true if enough => Some(true),
        true => None,
        false => Some(false),
    };
    let resets: u64 = goal_trial
        .iter()
        .flat_map(|trial| &trial.failures)
        .filter(|failure| failure.kind == FailureKind::Reset)
        .map(|failure| failure.count)
        .sum();
    let failed = goal_trial.map_or(confirmation.lost, |trial| trial.failed);
    // The first and the last second are not whole.
    let whole: Vec<_> = match confirmation.timeline.as_slice() {
        [_, middle @ .., _] => middle.iter().collect(),
        _ => Vec::new(),
    };
    let rate = deviation(whole.iter().map(|row| row.completed as f64));
    let mut open = 0_i64;
    let concurrent: Vec<f64> = confirmation
        .timeline
        .iter()
        .map(|row| {
            open += row.started as i64 - row.completed as i64 - row.failed as i64;
            open as f64 + row.held as f64
        })
        .collect();
    let held = concurrent.get(1..concurrent.len().saturating_sub(1)).unwrap_or_default();
    let concurrency = deviation(held.iter().copied()).filter(|_| held.iter().any(|open| *open >= 100.0));
    vec![
        Criterion {
            name: "failed transactions",
            limit: "less than 0.001 %".to_owned(),
            measured: Some(format!("{failed} of {attempts}")),
            met: judged(failed),
        },
        Criterion {
            name: "connections ended by an unexpected RST",
            limit: "less than 0.001 %".to_owned(),
            measured: Some(format!("{resets} of {attempts}")),
            met: judged(resets),
        },
        Criterion {
            name: "constant rate, deviation in any second",
            limit: "less than 5 %".to_owned(),
            measured: rate.map(|rate| format!("{:.1} %", rate * 100.0)),
            met: rate.map(|rate| rate < RATE_DEVIATION),
        },
        Criterion {
            name: "concurrent connections, deviation",
            limit: "less than 10 %".to_owned(),
            measured: concurrency.map(|deviation| format!("{:.1} %", deviation * 100.0)),
            met: concurrency.map(|deviation| deviation < CONCURRENCY_DEVIATION),
        },
        Criterion {
            name: "length of the sustain phase",
            limit: "at least 300 s".to_owned(),
            measured: Some(format!("{:.0} s", confirmation.duration_s)),
            met: Some(confirmation.duration_s >= SUSTAIN_S - 0.5),
        },
    ]
}

/// The largest distance from the mean, as a share of it.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let (sum, count) = values.clone().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    let mean = sum / count;
    (count >= 2.0 && mean > 0.0).then(|| values.map(|value| (value - mean).abs() / mean).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_is_of_the_mean() {
        assert_eq!(deviation([90.0, 100.0, 110.0].into_iter()), Some(0.1));
        assert_eq!(deviation([5.0].into_iter()), None);
        assert_eq!(deviation([0.0, 0.0].into_iter()), None);
    }
}
