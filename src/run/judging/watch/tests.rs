use std::sync::Arc;

use super::followed::Period;
use super::*;
use crate::measure::{IntervalReport, Timeline};
use crate::run::condition::{AbortCondition, Subject};
use crate::run::plan::{ClientShare, LoadPlan, Pace, Repeat, StagePlan, TargetShare};
use crate::run::{RunResult, fixtures, simulate};
use proptest::prelude::*;

/// All, or the population with this name, from the end of the warm-up on.
fn followed(subject: &Subject, warmup: Nanos) -> Followed {
    let counts = match subject {
        Subject::All => CountsOf::All,
        Subject::Population(name) => CountsOf::Population(usize::from(name == "canary")),
        other => panic!("{other:?}"),
    };
    Followed { counts, period: Period::from(warmup) }
}

/// What happens in a second: due, completed, failed; and the response times in nanoseconds.
type Happening = ([u64; 3], Vec<u64>);

/// The first population has it all, the second population half of it.
fn second((index, (counts, responses)): (u32, &Happening)) -> CompletedSecond {
    let counts = |part: u64| {
        let [due, completed, failed] = counts.map(|count| count / part);
        IntervalCounts { due, completed, failed, ..IntervalCounts::default() }
    };
    let mut report = IntervalReport::new(2);
    (report.totals, report.populations) = (counts(1), [counts(1), counts(2)].into());
    responses.iter().for_each(|response| report.response.saturating_record(*response));
    let mut timeline = Timeline::new(1).with_seconds();
    timeline.add(&report);
    CompletedSecond { index, ..timeline.take_completed().next().unwrap() }
}

fn seconds(run: &[Happening]) -> Vec<CompletedSecond> {
    (0..).zip(run).map(second).collect()
}

fn counts_only(run: &[[u64; 3]]) -> Vec<CompletedSecond> {
    seconds(&run.iter().map(|counts| (*counts, Vec::new())).collect::<Vec<_>>())
}

/// What the condition met in a run with so many milliseconds of warm-up and of load.
fn met(text: &str, run: &[CompletedSecond], warmup_ms: u64, load_end_ms: u64) -> Result<(f64, Option<u32>), String> {
    let threshold: Threshold = text.parse().unwrap();
    let followed = followed(threshold.subject(), Nanos::from_millis(warmup_ms));
    let mut watch = WindowWatch::new([(threshold, followed)]);
    run.iter().cloned().for_each(|second| watch.push(second));
    let outcome = watch.finish(Nanos::from_millis(load_end_ms));
    outcome.of(text).unwrap().clone().map(|worst| (worst.value, worst.at_s))
}

#[test]
fn the_worst_window_decides_and_says_when_it_was() {
    let run = counts_only(&[[100, 100, 0], [100, 90, 10], [100, 50, 50], [100, 80, 20], [100, 100, 0]]);
    assert_eq!(met("failed<1% in 1s", &run, 0, 5_000), Ok((0.5, Some(2))));
    assert_eq!(met("failed<1% in 2s", &run, 0, 5_000), Ok((0.35, Some(2))));
    assert_eq!(met("failed>1% in 2s", &run, 0, 5_000), Ok((0.05, Some(0))), "for a lower limit the least is the worst");
    assert_eq!(met("rate>=90/s in 2s", &run, 0, 5_000), Ok((65.0, Some(2))));
    assert_eq!(met("canary.rate>=90/s in 2s", &run, 0, 5_000), Ok((32.5, Some(2))));
    let equal = counts_only(&[[100, 90, 10]; 3]);
    assert_eq!(met("failed<1% in 1s", &equal, 0, 3_000), Ok((0.1, Some(0))), "the worst of equals is the first");
}

/// Seconds in which so many were due, began to be held, were held no more, were lost, and were taken back.
fn holding(run: &[[u64; 5]]) -> Vec<CompletedSecond> {
    let mut seconds = counts_only(&vec![[0; 3]; run.len()]);
    for (second, [due, kept, released, lost, taken_back]) in seconds.iter_mut().zip(run.iter().copied()) {
        second.totals = IntervalCounts { due, kept, released, lost, taken_back, ..second.totals };
    }
    seconds
}

#[test]
fn what_is_lost_is_a_share_of_all_that_was_held_in_the_window() {
    let run = holding(&[[10, 10, 0, 0, 0], [10, 10, 5, 5, 0], [10, 0, 0, 0, 0], [10, 5, 3, 2, 2], [0, 0, 17, 0, 0]]);
    // 10 held before and 10 more, of which 5 are lost; 15 before and 5 more, of which 2 are.
    assert_eq!(met("lost<1% in 1s", &run, 0, 5_000), Ok((0.25, Some(1))));
    assert_eq!(met("lost<1% in 2s", &run, 0, 5_000), Ok((0.25, Some(0))));
    // 2 of 10 due and 15 held before.
    assert_eq!(met("failed<1% in 1s", &run, 0, 4_000), Ok((0.08, Some(3))));
    let none = holding(&[[5, 0, 0, 0, 0]; 2]);
    assert!(met("lost<1% in 1s", &none, 0, 2_000).is_err());
}

#[test]
fn warm_up_and_what_follows_the_load_are_left_out() {
    let run = counts_only(&[[9, 0, 9], [10, 10, 0], [10, 9, 1], [10, 10, 0], [0, 0, 0], [0, 0, 5], [0, 0, 0]]);
    assert_eq!(met("failed<1% in 1s", &run, 1_000, 4_000), Ok((0.1, Some(2))));
    assert_eq!(met("failed<1% in 2s", &run, 500, 4_000), Ok((0.05, Some(1))), "a second of half warm-up is warm-up");
    assert_eq!(met("rate>5/s in 1s", &run, 0, 4_000), Ok((0.0, Some(0))));
    assert_eq!(met("rate>5/s in 1s", &run, 1_000, 4_000), Ok((9.0, Some(2))), "after the load nothing completes");
    // A load that goes on without arrivals is load all the same.
    assert_eq!(met("rate>5/s in 1s", &run, 1_000, 6_000), Ok((0.0, Some(4))));
    assert_eq!(met("failed<1% in 1s", &run, 1_000, 6_500), Ok((1.0, Some(5))), "more failed than was due is all");
    let reason = met("failed<1% in 4s", &run, 1_000, 4_500).unwrap_err();
    insta::assert_snapshot!(reason, @"the measured load was shorter than one window of 4s");
    let idle = counts_only(&[[0, 0, 0]; 3]);
    insta::assert_snapshot!(met("failed<1% in 2s", &idle, 0, 3_000).unwrap_err(), @"nothing was due in any window of 2s");
}

/// The same run with the generator standing still for so many milliseconds of some seconds.
fn paused(run: &[[u64; 3]], pauses: &[(usize, u64)]) -> Vec<CompletedSecond> {
    let mut run = counts_only(run);
    pauses.iter().for_each(|(second, millis)| run[*second].paused = Nanos::from_millis(*millis));
    run
}

#[test]
fn what_the_generator_may_have_done_itself_decides_no_window() {
    let stopped = paused(&[[100, 100, 0], [100, 50, 0], [100, 0, 0], [100, 250, 0]], &[(1, 500), (2, 1_000)]);
    insta::assert_snapshot!(met("rate>=90/s in 1s", &stopped, 0, 4_000).unwrap_err(), @"it was 50/s in the window from 1 s on, where the generator itself was late or stood still for long enough to be the cause");
    assert!(met("rate>=90/s in 2s", &stopped, 0, 4_000).is_err());
    assert_eq!(met("rate>=90/s in 4s", &stopped, 0, 4_000), Ok((100.0, Some(0))), "met all the same");
    let failing = paused(&[[100, 60, 40], [100, 85, 15]], &[(0, 200), (1, 200)]);
    assert_eq!(met("failed<10% in 1s", &failing, 0, 2_000), Ok((0.4, Some(0))), "more than it can have caused");
    assert!(met("failed<10% in 1s", &failing[1..], 0, 2_000).is_err());
    let mut late = seconds(&[([20, 20, 0], vec![1_000; 20]), ([20, 20, 0], vec![9_000; 20])]);
    late[1].lateness = late[1].response.clone();
    assert!(met("response.p50<5us in 1s", &late, 0, 2_000).is_err());
    assert!(met("response.max<5us in 1s", &late, 0, 2_000).is_err());
    assert_eq!(met("response.p50<2us in 1s", &late[..1], 0, 1_000).unwrap().1, Some(0));
    late[1].lateness = late[0].response.clone();
    assert_eq!(met("response.p50<5us in 1s", &late, 0, 2_000).unwrap().1, Some(1), "9 us, 1 of them its own");
}

#[test]
fn nobody_looked_while_the_generator_stood_still() {
    let run = [[5, 5, 0], [5, 3, 0], [5, 0, 0], [5, 0, 0], [5, 12, 0], [5, 5, 0]];
    assert_eq!(met("outage<1s", &counts_only(&run), 0, 6_000), Ok((2e9, Some(2))));
    assert_eq!(met("outage<1s", &paused(&run, &[(1, 300), (2, 1_000), (3, 1_000)]), 0, 6_000), Ok((0.0, None)));
    // It lasts through a moment, and begins after one.
    assert_eq!(met("outage<1s", &paused(&run, &[(3, 60)]), 0, 6_000), Ok((2e9, Some(2))));
    assert_eq!(met("outage<1s", &paused(&run, &[(2, 60)]), 0, 6_000), Ok((1e9, Some(3))));
}

#[test]
fn nothing_ends_a_run_because_the_generator_stood_still() {
    let run = [[100, 0, 100]; 3];
    let still = paused(&run, &[(0, 1_000), (1, 1_000), (2, 1_000)]);
    for text in ["failed>5% for 1s", "rate<10/s for 1s", "outage>=1s for 1s"] {
        let mut watch = abort_watch(&[text]);
        assert!(still.iter().all(|second| watch.push(second).is_none()), "{text}");
        let mut watch = abort_watch(&[text]);
        assert!(counts_only(&run).iter().any(|second| watch.push(second).is_some()), "{text}");
    }
    let mut watch = CanaryWatch::new(1, "canary");
    assert!(still.iter().all(|second| watch.push(second).is_none()));
}

#[test]
fn latency_windows_need_samples() {
    let run = seconds(&[([20, 20, 0], vec![1_000; 20]), ([20, 20, 0], vec![9_000; 20]), ([20, 1, 0], vec![50_000; 1])]);
    let (worst, at_s) = met("response.p50<1ms in 1s", &run, 0, 3_000).unwrap();
    assert!((9_000.0..9_100.0).contains(&worst) && at_s == Some(1), "{worst} {at_s:?}");
    assert_eq!(met("response.max<1ms in 1s", &run, 0, 3_000).unwrap().1, Some(2));
    insta::assert_snapshot!(met("response.p99<1ms in 1s", &run, 0, 3_000).unwrap_err(), @"too few attempts completed in any window of 1s: a percentile needs 10 samples above it");
}

#[test]
fn an_outage_lasts_from_the_first_second_without_a_completion_to_the_next_with_one() {
    let run = counts_only(&[
        [5, 5, 0],
        [0, 0, 0], // Nothing was due: no outage.
        [5, 0, 0],
        [0, 0, 0],
        [0, 0, 5],
        [5, 5, 0],
        [5, 0, 0],
        [5, 1, 0],
        [5, 0, 5],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]);
    assert_eq!(met("outage<10s", &run[..8], 0, 8_000), Ok((3e9, Some(2))));
    assert_eq!(met("outage<10s", &run[..8], 3_500, 8_000), Ok((1e9, Some(4))), "warm-up begins none");
    assert_eq!(met("outage<10s", &run[..2], 0, 2_000), Ok((0.0, None)));
    assert_eq!(met("outage<10s", &run, 0, 9_000), Ok((3e9, Some(2))), "what holds on after the load is none");
    assert_eq!(met("outage<10s", &run, 0, 11_500), Ok((4e9, Some(8))), "one may last to the end of the load");
    assert_eq!(met("outage<10s", &run[..4], 0, 4_000), Ok((2e9, Some(2))));
    insta::assert_snapshot!(met("outage<10s", &run[..2], 5_000, 7_000).unwrap_err(), @"no whole second was measured");
}

/// Seconds in which an abort condition or the canary tripped.
fn trips(mut push: impl FnMut(&CompletedSecond) -> Option<Trip>, run: &[[u64; 3]]) -> Vec<u32> {
    counts_only(run).iter().filter_map(&mut push).map(|trip| trip.at_s).collect()
}

fn abort_watch(texts: &[&str]) -> AbortWatch {
    AbortWatch::new(texts.iter().map(|text| {
        let condition: AbortCondition = text.parse().unwrap();
        let followed = followed(condition.subject(), Nanos::ZERO);
        (condition, followed)
    }))
}

fn aborts(text: &str, run: &[[u64; 3]]) -> Vec<u32> {
    let mut watch = abort_watch(&[text]);
    trips(|second| watch.push(second), run)
}

#[test]
fn a_condition_must_hold_in_every_second_of_its_time() {
    let (good, bad, silent) = ([10, 10, 0], [10, 5, 5], [0, 0, 0]);
    assert_eq!(aborts("failed>5% for 3s", &[bad, bad, good, bad, bad, bad, bad, good]), [6, 7]);
    assert_eq!(aborts("failed>5% for 2s", &[bad, silent, silent, bad, good]), [4], "a silent second tells nothing");
    assert_eq!(aborts("rate<10/s for 1s", &[good, silent, bad]), [3]);
    assert_eq!(aborts("canary.rate<3/s for 1s", &[good, bad]), [2]);
    assert_eq!(aborts("outage>=3s for 1s", &[good, [5, 0, 0], silent, silent, good, silent]), [4]);
    let mut watch = abort_watch(&["failed>50% for 1s", "rate<1/s for 1s"]);
    let trip = counts_only(&[[10, 0, 10]]).iter().find_map(|second| watch.push(second)).unwrap();
    insta::assert_snapshot!(trip.text, @"failed>50% for 1s held in a second up to 1 s, in the last one with 100.0 %");
    assert_eq!((trip.condition.as_str(), trip.at_s), ("failed>50% for 1s", 1));
    let mut watch = abort_watch(&["rate<10/s for 2s"]);
    let trip = counts_only(&[bad, bad]).iter().find_map(|second| watch.push(second)).unwrap();
    insta::assert_snapshot!(trip.text, @"rate<10/s for 2s held in 2 seconds in a row up to 2 s, in the last one with 5/s");
}

#[test]
fn a_canary_trips_when_nothing_of_it_completes() {
    let canary = |run: &[[u64; 3]]| {
        let mut watch = CanaryWatch::new(1, "canary");
        trips(|second| watch.push(second), run)
    };
    // The second population has half of each number.
    let (good, bad, mixed, silent) = ([4, 4, 0], [4, 0, 4], [4, 2, 2], [4, 0, 0]);
    assert_eq!(canary(&[bad, bad, good, bad, bad, bad, bad]), [6, 7]);
    assert_eq!(canary(&[bad, silent, bad, silent, silent, bad, mixed]), [6,]);
    let mut watch = CanaryWatch::new(1, "canary");
    let text = counts_only(&[bad; 3]).iter().find_map(|second| watch.push(second)).unwrap().text;
    insta::assert_snapshot!(text, @"canary failed: none of its attempts completed in 3 seconds in a row, up to 3 s");
}

#[test]
fn what_cannot_end_a_run_is_refused() {
    let error = |text: &str| text.parse::<AbortCondition>().unwrap_err().to_string();
    insta::assert_snapshot!(error("failed>5%"), @"the condition 'failed>5%' to end the run does not say for how long: write for example 'failed>5% for 5s'");
    insta::assert_snapshot!(error("failed=5% for 5s"), @"the condition 'failed=5% for 5s' to end the run has no comparison: write for example 'failed>5% for 5s' with < <= > or >=");
    insta::assert_snapshot!(error("failed>5% for 2h"), @"the condition 'failed>5% for 2h' to end the run has '2h' after 'for': give whole seconds, from 1s to 1h");
    insta::assert_snapshot!(error("service.p99>1s for 5s"), @"the condition 'service.p99>1s for 5s' to end the run is not seen while the run goes on: there is failed, lost, dropped, rate, outage, and response with a statistic");
    insta::assert_snapshot!(error("downgraded>5% for 5s"), @"the condition 'downgraded>5% for 5s' to end the run is not seen while the run goes on: there is failed, lost, dropped, rate, outage, and response with a statistic");
    let plan = fixtures::open_plan();
    let refusal = |text: &str| text.parse::<AbortCondition>().unwrap().check(&plan).unwrap_err();
    insta::assert_snapshot!(refusal("decoders.failed>5% for 5s"), @"the condition 'decoders.failed>5% for 5s' to end the run names no population of the plan: there is encoders");
    insta::assert_snapshot!(refusal("stage:load.response.p99>1s for 5s"), @"the condition 'stage:load.response.p99>1s for 5s' to end the run has latencies second by second of all attempts together only: write response.p99 alone, or leave the seconds out");
    for text in ["encoders.failed>5% for 5s", "response.p99>1s for 1m"] {
        let condition: AbortCondition = text.parse().unwrap();
        assert_eq!((condition.check(&plan), condition.to_string()), (Ok(()), text.to_owned()));
    }
}

/// The thresholds of a simulated load of 1 000/s for 2 s.
fn simulated(host: &str, thresholds: &[&str]) -> RunResult {
    let mut plan = fixtures::open_plan();
    plan.targets[0].host = host.to_owned();
    plan.thresholds = fixtures::conditions(thresholds);
    RunResult::assemble(simulate(Arc::new(plan)).parts)
}

#[test]
fn a_run_is_watched_to_its_end() {
    let thresholds =
        ["rate>=900/s in 1s", "failed<1% in 2s", "encoders.outage<1s", "response.p90<1s in 1s", "rate>1/s in 3s"];
    let result = simulated("serve.sim", &thresholds);
    let met: Vec<_> = result.thresholds.iter().map(|threshold| (threshold.at_s.is_some(), threshold.pass)).collect();
    let yes = Some(true);
    assert_eq!(met, [(true, yes), (true, yes), (false, yes), (true, yes), (false, None)], "{:?}", result.thresholds);
    let refused = simulated("refuse.sim", &["outage<1s", "failed<1% in 1s"]);
    let met: Vec<_> = refused.thresholds.iter().map(|threshold| (threshold.actual, threshold.pass)).collect();
    assert_eq!(met, [(Some(2e9), Some(false)), (Some(1.0), Some(false))]);
}

#[test]
fn conditions_on_totals_need_no_seconds() {
    let thresholds = ["stage:load.rate>1/s", "target:127.0.0.1:1935.failed<1%", "client:shakedown.rate>1/s"];
    let result = simulated("serve.sim", &thresholds);
    assert_eq!(result.thresholds.iter().map(|met| met.pass).collect::<Vec<_>>(), [Some(true); 3]);
}

/// 100/s and then 200/s for two seconds each, half of it to a target that refuses; and a burst of two each five seconds
/// from the second second on.
fn stages_and_targets() -> RunPlan {
    let mut plan = fixtures::open_plan();
    plan.targets[0].host = "serve.sim".to_owned();
    plan.targets.push(plan.targets[0].clone());
    plan.targets[1].host = "refuse.sim".to_owned();
    plan.targets[1].address.set_port(1);
    let population = &mut plan.populations[0];
    population.targets.push(TargetShare { target: 1, weight: 1 });
    let stage = |name, per_s| fixtures::stage(name, false, per_s, per_s, Some(2));
    let mut burst = population.lanes[0].clone();
    population.lanes[0].load = fixtures::open_load(vec![stage("quiet", 100.0), stage("peak", 200.0)], None);
    burst.begins_ns = 1_000_000_000;
    burst.load = fixtures::open_load(vec![StagePlan { pace: Pace::Burst { count: 2 }, ..stage("burst", 0.0) }], None);
    if let LoadPlan::Open { repeat, .. } = &mut burst.load {
        *repeat = Some(Repeat { every_ns: 5_000_000_000, times: 2 });
    }
    population.lanes.push(burst);
    plan
}

#[test]
fn stages_targets_and_clients_have_seconds_of_their_own() {
    let mut plan = stages_and_targets();
    let mut other = plan.populations[0].clients[0];
    other.client.wrong_c2 = true;
    plan.populations[0].clients.push(ClientShare { weight: 1, ..other });
    let met = |expected: &[(&str, f64, Option<u32>)]| {
        let mut plan = plan.clone();
        plan.thresholds = fixtures::conditions(&expected.iter().map(|(text, ..)| *text).collect::<Vec<_>>());
        let result = RunResult::assemble(simulate(Arc::new(plan)).parts);
        for (met, (text, actual, at_s)) in result.thresholds.iter().zip(expected) {
            assert_eq!((met.actual, met.at_s), (Some(*actual), *at_s), "{text}: {met:?}");
        }
    };
    met(&[
        ("stage:quiet.rate>1/s in 1s", 50.0, Some(0)),
        ("stage:peak.rate>1/s in 2s", 100.0, Some(2)),
        ("stage:peak.failed<1% in 2s", 0.5, Some(2)),
        ("stage:quiet.outage<1s", 0.0, None),
        ("target:127.0.0.1:1935.failed<1% in 1s", 0.0, Some(0)),
        ("target:127.0.0.1:1.failed<1% in 1s", 1.0, Some(0)),
        // Nothing happens after the last burst.
        ("target:127.0.0.1:1.outage<2s", 7e9, Some(0)),
        ("target:127.0.0.1:1935.rate>1/s in 2s", 0.0, Some(4)),
        // One of the burst is refused as well.
        ("client:shakedown, wrong C2.failed<1% in 1s", 26.0 / 51.0, Some(1)),
    ]);
    plan.abort_if = fixtures::conditions(&["target:127.0.0.1:1.failed>90% for 3s"]);
    let result = RunResult::assemble(simulate(Arc::new(plan)).parts);
    assert_eq!(result.window.duration_s, 3.0, "{:?}", result.ended_by);
}

#[test]
fn a_repeated_stage_has_seconds_while_it_is_under_way() {
    let plan = stages_and_targets();
    let Followed { period, .. } = {
        let plan = RunPlan { thresholds: fixtures::conditions(&["stage:burst.failed<1% in 1s"]), ..plan };
        let layout = crate::run::recorder_layout(&plan);
        Followed::of(&Subject::Stage("burst".to_owned()), &plan, &layout)
    };
    // From 1 s to 3 s and from 6 s to 8 s.
    let seconds: Vec<u32> = (0..20).filter(|second| period.has_second(*second)).collect();
    assert_eq!(seconds, [1, 2, 6, 7]);
    let windows: Vec<u32> = (0..20).filter(|begin| period.contains(*begin, begin + 2)).collect();
    assert_eq!(windows, [1, 6]);
    assert_eq!([(2, 3), (2, 2), (3, 20)].map(|(window, load)| period.has_room(window, load)), [true, false, false]);
}

fn happening() -> impl Strategy<Value = Happening> {
    let count = || prop_oneof![Just(0_u64), 0..50_u64];
    ([count(), count(), count()], prop::collection::vec(1..1_000_000_u64, 0..40))
}

/// The worst window, each one summed up anew.
fn naive(quantity: &Threshold, length: usize, run: &[CompletedSecond], first: usize, end: usize) -> Option<(f64, u32)> {
    let mut worst: Option<(f64, u32)> = None;
    for begin in first..(end + 1).saturating_sub(length) {
        let (mut counts, mut response) = (IntervalCounts::default(), SparseCounts::default());
        for second in &run[begin..begin + length] {
            counts += second.totals;
            response.add(&second.response);
        }
        let condition = quantity.condition();
        let Some(value) = condition.quantity.over(length as u32, &counts, 0, &response) else { continue };
        let worse = |than: f64| if condition.comparison.is_upper() { value > than } else { value < than };
        if worst.is_none_or(|(than, _)| worse(than)) {
            worst = Some((value, begin as u32));
        }
    }
    worst
}

proptest! {
    #[test]
    fn sliding_is_summing_each_window_anew(
        run in prop::collection::vec(happening(), 1..30),
        metric in prop::sample::select(vec!["failed<1%", "rate>5/s", "response.p50<1ms", "response.max<1ms", "failed>1%"]),
        length in 1..8_usize,
        first in 0..4_usize,
        cut in 0..10_usize,
    ) {
        let run = seconds(&run);
        // The load ends at the earliest with the last second in which something was due.
        let last_due = run.iter().rposition(|second| second.totals.due > 0).unwrap_or(0);
        let end = (last_due + cut).min(run.len());
        let threshold: Threshold = format!("{metric} in {length}s").parse().unwrap();
        let seen = met(threshold.text(), &run, first as u64 * 1_000, end as u64 * 1_000);
        let expected = naive(&threshold, length, &run, first, end);
        prop_assert_eq!(seen.ok(), expected.map(|(value, begin)| (value, Some(begin))));
    }

    #[test]
    fn the_longest_outage_is_the_longest_stretch(run in prop::collection::vec(happening(), 1..40), cut in 0..10_usize) {
        let run = seconds(&run);
        let last_due = run.iter().rposition(|second| second.totals.due > 0).unwrap_or(0);
        let end = (last_due + cut).min(run.len());
        let mut longest = (0, None);
        for begin in 0..end {
            let counts = run[begin].totals;
            if counts.completed > 0 || counts.due + counts.failed == 0 {
                continue;
            }
            let length = run[begin..end].iter().take_while(|second| second.totals.completed == 0).count();
            if length > longest.0 {
                longest = (length, Some(begin as u32));
            }
        }
        let seen = met("outage<10s", &run, 0, end as u64 * 1_000).unwrap();
        prop_assert_eq!(seen, (longest.0 as f64 * 1e9, longest.1));
    }
}
