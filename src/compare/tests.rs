use std::path::Path;

use rand::Rng;
use statrs::distribution::{ContinuousCDF, LogNormal, Normal};

use super::*;
use crate::base::{RandomStream, Seed, StreamPurpose};
use crate::measure::{Metric, Until};
use crate::run::fixtures::{OpenRun, closed_result, open_result};
use crate::run::{RunResult, Signal};

/// A result of an open loop with this completed rate and 99th percentile.
fn result(rate_per_s: f64, p99_ms: f64) -> RunResult {
    let mut result = open_result(&[]);
    result.rate.completed_per_s = rate_per_s;
    let mut response = result.latency.get(Metric::Response).unwrap().clone();
    response.p99_ns = Some((p99_ms * 1e6) as u64);
    result.latency.set(Metric::Response, Some(response));
    result
}

fn side(name: &str, results: &[RunResult]) -> Side {
    let measured = |(index, result): (usize, &RunResult)| {
        // Runs differ in when they began, at least.
        let mut result = result.clone();
        result.started_at = format!("2026-01-02T03:04:{index:02}Z");
        Measured::of_run(Path::new(&format!("{name}{index}.json")), &result)
    };
    Side { name: name.to_owned(), results: results.iter().enumerate().map(measured).collect() }
}

fn sides(baseline: &[RunResult], other: &[RunResult]) -> [Side; 2] {
    [side("A", baseline), side("B", other)]
}

fn judged(comparison: &Comparison, metric: &str) -> Judgement {
    let row = comparison.pairs[0].metrics.iter().find(|row| row.metric == metric);
    row.unwrap_or_else(|| panic!("{metric} is compared")).judgement
}

const LIMITED: Rules = Rules { anyway: false, regression: Some(Limit { limit: 0.05, strict: false }) };
const STRICT: Rules = Rules { anyway: false, regression: Some(Limit { limit: 0.05, strict: true }) };

#[test]
fn what_differs_by_more_than_noise_is_better_or_worse() {
    let sides = sides(
        &[result(1_000.0, 10.0), result(1_004.0, 10.2), result(996.0, 9.8)],
        &[result(900.0, 8.0), result(903.0, 8.1), result(905.0, 7.9)],
    );
    let comparison = compare(&sides, Rules::default()).unwrap();
    assert_eq!(judged(&comparison, "rate"), Judgement::Worse);
    assert_eq!(judged(&comparison, "response.p99"), Judgement::Better);
    assert_eq!(judged(&comparison, "response.p50"), Judgement::WithinNoise);
    assert_eq!(judged(&comparison, "failed"), Judgement::WithinNoise);
    assert_eq!(comparison.outcome(), Outcome::Pass, "no limit was asked");
    assert_eq!(compare(&sides, LIMITED).unwrap().outcome(), Outcome::Worse);
}

#[test]
fn losses_while_held_and_stalled_publishers_are_compared_where_there_were_any_to_lose() {
    let held = |lost, stalled| {
        let mut result = open_result(&[]);
        (result.attempts.held, result.attempts.lost_while_held) = (1_000, lost);
        (result.media.publishers, result.media.stalled) = (1_000, stalled);
        result
    };
    let run = |stalled| sides(&[held(0, 0), held(1, 0)], &[held(400, stalled), held(410, stalled)]);
    let comparison = compare(&run(500), Rules::default()).unwrap();
    assert_eq!((judged(&comparison, "lost"), judged(&comparison, "stalled")), (Judgement::Worse, Judgement::Worse));
    let none_stalled = compare(&run(0), Rules::default()).unwrap();
    assert!(none_stalled.pairs[0].metrics.iter().all(|row| row.metric != "stalled"));
    let never_held = compare(&sides(&[open_result(&[])], &[open_result(&[])]), Rules::default()).unwrap();
    assert!(never_held.pairs[0].metrics.iter().all(|row| row.metric != "lost"));
}

#[test]
fn noisier_runs_hide_the_same_difference() {
    let noisy = sides(
        &[result(1_000.0, 10.0), result(1_150.0, 12.0), result(850.0, 8.0)],
        &[result(900.0, 8.0), result(1_030.0, 10.0), result(780.0, 6.0)],
    );
    let comparison = compare(&noisy, LIMITED).unwrap();
    assert_eq!(judged(&comparison, "rate"), Judgement::WithinNoise);
    assert_eq!(comparison.outcome(), Outcome::Pass);
    let regression = comparison.regression.unwrap();
    let names: Vec<_> = regression.not_excluded.iter().map(|row| row.metric.as_str()).collect();
    assert_eq!(names, ["rate", "response.p99"], "that they are not worse is not shown either");
    assert_eq!(compare(&noisy, STRICT).unwrap().outcome(), Outcome::Inconclusive);
    let quiet = sides(&[result(1_000.0, 10.0), result(1_001.0, 10.0)], &[result(1_000.0, 10.0), result(999.0, 10.0)]);
    assert_eq!(compare(&quiet, STRICT).unwrap().outcome(), Outcome::Pass);
}

#[test]
fn a_worsening_within_the_limit_is_no_regression() {
    let sides = sides(
        &[result(1_000.0, 10.0), result(1_001.0, 10.0), result(999.0, 10.0)],
        &[result(970.0, 10.0), result(971.0, 10.0), result(969.0, 10.0)],
    );
    let comparison = compare(&sides, LIMITED).unwrap();
    assert_eq!((judged(&comparison, "rate"), comparison.outcome()), (Judgement::Worse, Outcome::Pass));
    let stricter = Rules { regression: Some(Limit { limit: 0.01, strict: false }), ..LIMITED };
    assert_eq!(compare(&sides, stricter).unwrap().outcome(), Outcome::Worse);
}

#[test]
fn of_single_runs_the_noise_is_unknown() {
    let sides = sides(&[result(1_000.0, 10.0)], &[result(500.0, 100.0)]);
    let comparison = compare(&sides, LIMITED).unwrap();
    assert!(comparison.pairs[0].metrics.iter().all(|row| row.judgement == Judgement::NoiseUnknown));
    assert_eq!(comparison.outcome(), Outcome::Inconclusive);
    assert_eq!(compare(&sides, Rules::default()).unwrap().outcome(), Outcome::Pass);
}

#[test]
fn equal_shares_of_failures_in_few_attempts_are_no_certainty() {
    let failing = |failed| OpenRun { completed: 1_990 - failed, failed, ..OpenRun::default() }.result(&[]);
    let rare = sides(&[1, 1, 1].map(failing), &[2, 2, 2].map(failing));
    assert_eq!(judged(&compare(&rare, LIMITED).unwrap(), "failed"), Judgement::WithinNoise);
    let many = sides(&[1, 1, 1].map(failing), &[200, 200, 200].map(failing));
    let comparison = compare(&many, LIMITED).unwrap();
    assert_eq!(judged(&comparison, "failed"), Judgement::Worse);
    let regression = comparison.regression.unwrap();
    assert!(regression.worse.iter().any(|row| row.metric == "failed"), "10 points are more than 5");
}

#[test]
fn lower_bounds_are_not_compared() {
    let limited = |rate| {
        let mut result = result(rate, 10.0);
        result.generator.limited = true;
        result
    };
    let sides = sides(&[result(1_000.0, 10.0), result(1_001.0, 10.0)], &[limited(500.0), limited(501.0)]);
    let comparison = compare(&sides, LIMITED).unwrap();
    assert_eq!((judged(&comparison, "rate"), comparison.outcome()), (Judgement::Inconclusive, Outcome::Inconclusive));
    assert!(
        comparison.notes[0].contains("the generator was the limit in 2 of 2 results of B"),
        "{:?}",
        comparison.notes
    );
}

#[test]
fn several_sides_are_each_compared_with_the_first() {
    let runs = |rate: f64| [result(rate, 10.0), result(rate + 1.0, 10.0), result(rate - 1.0, 10.0)];
    let sides = [side("A", &runs(1_000.0)), side("B", &runs(1_000.0)), side("C", &runs(500.0))];
    let comparison = compare(&sides, LIMITED).unwrap();
    let pairs: Vec<_> = comparison.pairs.iter().map(|pair| (pair.baseline.as_str(), pair.side.as_str())).collect();
    assert_eq!(pairs, [("A", "B"), ("A", "C")]);
    let worse = comparison.regression.unwrap().worse;
    let worse: Vec<_> = worse.iter().map(|row| (row.side.as_str(), row.metric.as_str())).collect();
    assert_eq!(worse, [("C", "rate")]);
}

#[test]
fn other_loads_are_refused_by_name_or_compared_anyway() {
    let mut other = result(1_000.0, 10.0);
    other.plan.populations[0].until = Until::Reply;
    let sides = sides(&[result(1_000.0, 10.0)], &[other]);
    let error = compare(&sides, Rules::default()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"B0.json was asked something else than A0.json: plan.populations[0].until is reply, not handshake; repeat one of them, or compare --anyway");
    let comparison = compare(&sides, Rules { anyway: true, regression: None }).unwrap();
    assert_eq!(comparison.differences.len(), 1);
}

#[test]
fn open_and_closed_loops_have_latencies_of_different_names() {
    let failure = crate::measure::Failure::new(crate::measure::Step::S0, crate::measure::FailureKind::Reset);
    let sides = sides(&[open_result(&[])], &[closed_result(&[], failure, None)]);
    let comparison = compare(&sides, Rules { anyway: true, regression: None }).unwrap();
    let names: Vec<_> = comparison.pairs[0].metrics.iter().map(|row| row.metric.as_str()).collect();
    assert_eq!(names, ["rate", "failed"]);
    insta::assert_snapshot!(comparison.notes.join("\n"), @"left out, for not every result supports it (a percentile needs 10 samples above it): response.p50, response.p90, response.p99, service.p50, service.p90");
}

#[test]
fn a_result_counts_once() {
    let one = side("A", &[result(1_000.0, 10.0)]).results.remove(0);
    let copy = Measured { file: "copy.json".into(), ..one.clone() };
    let twice = Side { name: "A".to_owned(), results: vec![one.clone(), copy] };
    let error = compare(&[twice, side("B", &[result(1_000.0, 10.0)])], Rules::default()).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"A0.json and copy.json of A are the same result; noise shows only between different runs: give each once");
    let itself =
        [Side { name: "A".to_owned(), results: vec![one.clone()] }, Side { name: "B".to_owned(), results: vec![one] }];
    assert!(compare(&itself, Rules::default()).is_ok(), "it may be compared with itself");
}

#[test]
fn one_side_is_nothing_to_compare() {
    assert_eq!(compare(&[side("A", &[result(1_000.0, 10.0)])], Rules::default()), Err(CompareError::OneSide));
    assert_eq!(compare(&[], Rules::default()), Err(CompareError::OneSide));
}

#[test]
fn what_else_differs_is_noted() {
    let mut newer = result(1_000.0, 10.0);
    newer.environment.kernel = "6.19.0".to_owned();
    newer.tool.commit = None;
    newer.interrupted = Some(Signal::Interrupt);
    newer.plan.targets[0].name = "rtmp://other/live".to_owned();
    newer.plan.cpus = vec![1];
    let mut later = side("B", &[newer, result(1_000.0, 10.0)]);
    later.results.iter_mut().for_each(|result| result.started_at = result.started_at.replace("03:04", "05:00"));
    let sides = [side("A", &[result(1_000.0, 10.0), result(1_001.0, 10.0)]), later];
    insta::with_settings!({ filters => vec![(r"0\.\d+\.\d+ \([0-9a-f]+(\+dirty)?\)", "VERSION")] }, {
        insta::assert_snapshot!(compare(&sides, Rules::default()).unwrap().notes.join("\n"), @"
        1 of 2 results of B were interrupted: they cover less than planned
        the results of B are of different targets: rtmp://other/live, rtmp://127.0.0.1:1935/live
        the results differ in the version that measured, too: VERSION, 0.1.0
        the results differ in the kernel, too: 6.18.0, 6.19.0
        the results differ in the CPUs of the workers, too: [0], [1]
        all runs of B were made before or after all of A: whatever else changed in between is part of the difference; take turns, as `shakedown bench` does
        ");
    });
}

/// How often `runs` a side with this noise are called worse by more than 5 %, of 1 000 comparisons, when the side's mean is
/// `factor` times the baseline's in rate and latency.
fn regressions(runs: usize, factor: f64, latency: &dyn Fn(&mut RandomStream) -> f64) -> f64 {
    const COMPARISONS: u32 = 1_000;
    let rate = Normal::new(1_000.0, 20.0).unwrap();
    let mut random = Seed::new(7).stream(StreamPurpose::Simulation, 0);
    let template = result(1_000.0, 10.0);
    let template = Measured::of_run(Path::new("run.json"), &template);
    let mut draw = |name: &str, factor: f64| {
        let results = (0..runs).map(|_| {
            let mut measured = template.clone();
            measured.readings.iter_mut().for_each(|reading| match reading.unit {
                crate::run::Unit::PerS => reading.value = Some(rate.inverse_cdf(uniform(&mut random)) / factor),
                crate::run::Unit::Ns => reading.value = Some(latency(&mut random) * factor),
                crate::run::Unit::Ratio | crate::run::Unit::Count => {}
            });
            measured
        });
        Side { name: name.to_owned(), results: results.collect() }
    };
    let worse = (0..COMPARISONS).filter(|_| {
        let (baseline, side) = (draw("A", 1.0), draw("B", factor));
        compare(&[baseline, side], LIMITED).unwrap().outcome() == Outcome::Worse
    });
    worse.count() as f64 / f64::from(COMPARISONS)
}

fn uniform(random: &mut RandomStream) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[test]
fn equal_targets_and_those_worse_by_the_limit_itself_are_rarely_called_regressions() {
    let normal = Normal::new(10e6, 0.3e6).unwrap();
    let skewed = LogNormal::new(16.0, 0.3).unwrap();
    for runs in [3, 5] {
        for factor in [1.0, 1.05] {
            let normal = regressions(runs, factor, &|random| normal.inverse_cdf(uniform(random)));
            let skewed = regressions(runs, factor, &|random| skewed.inverse_cdf(uniform(random)));
            assert!(normal <= 0.03 && skewed <= 0.03, "{runs} runs, x {factor}: {normal} and {skewed}");
        }
    }
}

#[test]
fn a_clear_regression_is_found() {
    let normal = Normal::new(10e6, 0.3e6).unwrap();
    for (runs, factor) in [(3, 1.3), (5, 1.15)] {
        let found = regressions(runs, factor, &|random| normal.inverse_cdf(uniform(random)));
        assert!(found > 0.9, "{runs} runs, x {factor}: {found}");
    }
}
