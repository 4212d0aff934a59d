use super::*;
use crate::load::{ArrivalPattern, Share};
use crate::protocol::ClientProfile;
use crate::run::condition::Subject;
use crate::run::fixtures;
use crate::run::plan::{ClientPlan, ClientShare, Lane, LoadPlan, Population, RunPlan, Target, TargetShare};
use crate::run::result::{Attempts, LatencyTable, Machine, Row};

fn error(text: &str) -> String {
    text.parse::<Threshold>().unwrap_err().to_string()
}

#[test]
fn every_form_of_the_grammar_is_read() {
    for (text, limit) in [
        ("response.p99<50ms", 5e7),
        (" service.max <= 1s ", 1e9),
        ("s0s1.p99.99<250us", 250e3),
        ("lateness.mean<1ms", 1e6),
        ("connect.min>1us", 1e3),
        ("slot_wait.p50<60s", 6e10),
        ("failed<1%", 0.01),
        ("dropped<=0", 0.0),
        ("downgraded<0.05%", 0.0005),
        ("rate>=19k/s", 19_000.0),
        ("encoders.response.p99.9<50ms", 5e7),
        ("encoders.failed<1%", 0.01),
        ("outage<2m", 120e9),
        ("encoders.outage<=1s", 1e9),
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert!(
            (threshold.condition().limit - limit).abs() <= limit * 1e-12,
            "{text}: {}",
            threshold.condition().limit
        );
        let subject =
            if text.starts_with("encoders") { Subject::Population("encoders".to_owned()) } else { Subject::All };
        assert_eq!((threshold.subject(), threshold.window_s()), (&subject, None), "{text}");
        assert_eq!(threshold.to_string(), text.trim());
    }
}

#[test]
fn errors_are_one_sentence_with_the_valid_names() {
    insta::assert_snapshot!(error("response.p99=50ms"), @"threshold 'response.p99=50ms' has no comparison: write for example 'response.p99<50ms' with < <= > or >=");
    insta::assert_snapshot!(error("respons.p99<50ms"), @"threshold 'respons.p99<50ms' names no metric: there is failed, lost, stalled, unsent, dropped, downgraded, rate, outage, and with a statistic response, service, connect, tls, s0s1, s2, reply, app_connect, publish, first_frame, confirm, slot_wait, lateness");
    insta::assert_snapshot!(error("response.p9<50ms"), @"threshold 'response.p9<50ms' has no such statistic: there is min, mean, p50 to p99.99 and max, as in response.p99");
    insta::assert_snapshot!(error("response<50ms"), @"threshold 'response<50ms' has no such statistic: there is min, mean, p50 to p99.99 and max, as in response.p99");
    insta::assert_snapshot!(error("response.p99<50"), @"threshold 'response.p99<50' has the value '50': a latency needs a unit, as 50ms or 1.5s");
    insta::assert_snapshot!(error("response.p99<2m"), @"threshold 'response.p99<2m' is beyond what is measured: latencies are told apart up to 60s");
    insta::assert_snapshot!(error("failed<5"), @"threshold 'failed<5' has the value '5': a share of the due attempts is written as 1% or 0.05%");
    insta::assert_snapshot!(error("failed<500%"), @"threshold 'failed<500%' has the value '500%': a share of the due attempts is written as 1% or 0.05%");
    insta::assert_snapshot!(error("rate>fast"), @"threshold 'rate>fast' has the value 'fast': a rate is written as 20k/s");
    insta::assert_snapshot!(error("<5%"), @"threshold '<5%' names no metric: there is failed, lost, stalled, unsent, dropped, downgraded, rate, outage, and with a statistic response, service, connect, tls, s0s1, s2, reply, app_connect, publish, first_frame, confirm, slot_wait, lateness");
}

#[test]
fn closed_loop_has_no_planned_arrivals() {
    let plan = fixtures::closed_plan();
    for metric in ["response", "slot_wait", "lateness"] {
        let error = refusal(&plan, &format!("{metric}.p99<50ms"));
        assert!(error.contains("closed loop") && error.contains("service.p99"), "{error}");
    }
    for text in ["service.p99<50ms", "rate>1"] {
        assert_eq!(text.parse::<Threshold>().unwrap().check(&plan), Ok(()), "{text}");
    }
}

#[test]
fn a_condition_must_be_about_something_in_the_plan() {
    let plan = fixtures::open_plan();
    insta::assert_snapshot!(refusal(&plan, "decoders.failed<1%"), @"threshold 'decoders.failed<1%' names no population of the plan: there is encoders");
    assert!(refusal(&plan, "confirm.p99<1ms").contains("attempts end earlier"));
}

#[test]
fn conditions_are_met_missed_or_undecidable() {
    // 2 000 due: 1 980 completed with service 1..=1 980 us, 10 failed, 10 dropped, 2 s.
    let result = fixtures::open_result(&[]);
    for (text, actual, pass) in [
        ("failed<=0.5%", Some(0.005), Some(true)),
        ("failed<0.5%", Some(0.005), Some(false)),
        ("dropped<1%", Some(0.005), Some(true)),
        ("downgraded<=0", Some(0.0), Some(true)),
        ("rate>=990/s", Some(990.0), Some(true)),
        ("rate>990/s", Some(990.0), Some(false)),
        ("encoders.rate>1k/s", Some(990.0), Some(false)),
        ("service.p99.9<1s", None, None),
    ] {
        let met = text.parse::<Threshold>().unwrap().evaluate(&result, &WatchOutcome::default());
        assert_eq!((met.actual, met.pass), (actual, pass), "{text}");
        assert_eq!(met.reason.is_some(), pass.is_none(), "{text}");
    }
    let median = "service.p50<1ms".parse::<Threshold>().unwrap().evaluate(&result, &WatchOutcome::default());
    assert_eq!(median.pass, Some(true), "{median:?}");
    let p75 = "service.p75>1.48ms".parse::<Threshold>().unwrap().evaluate(&result, &WatchOutcome::default());
    assert_eq!(p75.pass, Some(true), "{p75:?}");
}

#[test]
fn an_undecidable_percentile_says_what_it_needs() {
    let met = "service.p99.9<1s"
        .parse::<Threshold>()
        .unwrap()
        .evaluate(&fixtures::open_result(&[]), &WatchOutcome::default());
    insta::assert_snapshot!(met.reason.unwrap(), @"p99.9 needs 10 samples above it, and 1980 attempts completed");
}

#[test]
fn the_scope_is_what_stands_before_the_longest_metric() {
    use Subject::{All, Client, Population, Stage, Target};
    let name = |name: &str| name.to_owned();
    for (text, subject, window_s) in [
        ("rate>1", All, None),
        ("response.p99<1s", All, None),
        ("response.rate>1", Population(name("response")), None),
        ("rate.rate>1", Population(name("rate")), None),
        ("a.b.response.p99.9<1s", Population(name("a.b")), None),
        ("population:stage:x.failed<1%", Population(name("stage:x")), None),
        ("stage:load.failed<1%", Stage(name("load")), None),
        ("target:10.0.0.1:1935.failed<1%", Target(name("10.0.0.1:1935")), None),
        ("target:[::1]:1935.response.mean<1s", Target(name("[::1]:1935")), None),
        ("client:shakedown, simple.downgraded<1%", Client(name("shakedown, simple")), None),
        ("failed<1% in 1m", All, Some(60)),
        ("encoders.rate>=19k/s in 1m 30s", Population(name("encoders")), Some(90)),
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!((threshold.subject(), threshold.window_s()), (&subject, window_s), "{text}");
    }
}

#[test]
fn errors_of_windows_and_scopes_name_the_remedy() {
    insta::assert_snapshot!(error("failed<1% in 2h"), @"threshold 'failed<1% in 2h' has '2h' after 'in': give whole seconds, from 1s to 1h");
    insta::assert_snapshot!(error("failed<1% in 1500ms"), @"threshold 'failed<1% in 1500ms' has '1500ms' after 'in': give whole seconds, from 1s to 1h");
    insta::assert_snapshot!(error("failed<1% in soon"), @"threshold 'failed<1% in soon' has 'soon' after 'in': write a time with its unit, as 30s or 1m");
    insta::assert_snapshot!(error("outage<10s in 1m"), @"threshold 'outage<10s in 1m' needs no window: an outage is looked for in the whole run");
    insta::assert_snapshot!(error("downgraded<1% in 1m"), @"threshold 'downgraded<1% in 1m' cannot have a window: downgrades are counted for the whole run only");
    insta::assert_snapshot!(error("outage<500ms"), @"threshold 'outage<500ms' is too fine: outages are told apart in whole seconds, write 1s or more");
    insta::assert_snapshot!(error("outage<5%"), @"threshold 'outage<5%' has the value '5%': an outage is written with a unit, as 10s or 2m");
    insta::assert_snapshot!(error("target:.failed<1%"), @"threshold 'target:.failed<1%' has a scope without a name: write for example target:10.0.0.1:1935.failed<1%");
}

/// Two populations, the second in closed loop, with two targets; a stage of both is called "load".
fn two_populations() -> RunPlan {
    let mut plan = fixtures::open_plan();
    let name = "scanners".to_owned();
    let load = LoadPlan::closed(64, 0, Some(2_000_000_000), None);
    let lanes = vec![Lane { begins_ns: 0, concurrency: 64, load }];
    plan.populations.push(Population { name, lanes, ..plan.populations[0].clone() });
    let address = "10.0.0.2:1935".parse().unwrap();
    plan.targets.push(Target::new("rtmp://b/live", "b".to_owned(), address));
    plan
}

fn refusal(plan: &RunPlan, text: &str) -> String {
    text.parse::<Threshold>().unwrap().check(plan).unwrap_err().to_string()
}

#[test]
fn a_scope_must_be_in_the_plan_and_have_the_metric() {
    let plan = two_populations();
    let error = |text: &str| refusal(&plan, text);
    insta::assert_snapshot!(error("decoders.failed<1%"), @"threshold 'decoders.failed<1%' names no population of the plan: there is encoders, scanners");
    insta::assert_snapshot!(error("target:c.failed<1%"), @"threshold 'target:c.failed<1%' names no target of the plan: there is rtmp://127.0.0.1:1935/live, rtmp://b/live (10.0.0.2:1935)");
    insta::assert_snapshot!(error("client:obs.failed<1%"), @"threshold 'client:obs.failed<1%' names no client of the plan: there is shakedown");
    insta::assert_snapshot!(error("stage:peak.failed<1%"), @"threshold 'stage:peak.failed<1%' names no stage of the plan: there is encoders:load, scanners:load");
    insta::assert_snapshot!(error("stage:load.failed<1%"), @"threshold 'stage:load.failed<1%' names 2 stages: write one of encoders:load, scanners:load");
    insta::assert_snapshot!(error("target:rtmp://b/live.dropped<1%"), @"threshold 'target:rtmp://b/live.dropped<1%' has nothing to count: what is dropped never had a target; leave it out, or name a population or a stage");
    insta::assert_snapshot!(error("target:rtmp://b/live.s0s1.p99<1s"), @"threshold 'target:rtmp://b/live.s0s1.p99<1s' is not measured by target, only response is: use response.p99, or leave the target out");
    insta::assert_snapshot!(error("scanners.response.p99<1s"), @"threshold 'scanners.response.p99<1s' needs planned arrivals, and closed loop has none: use service.p99, or give a rate (-R, or a stage's rate)");
    insta::assert_snapshot!(error("encoders.response.p99<1s in 10s"), @"threshold 'encoders.response.p99<1s in 10s' has latencies second by second of all attempts together only: write response.p99 alone, or leave the seconds out");
    insta::assert_snapshot!(error("service.p99<1s in 10s"), @"threshold 'service.p99<1s in 10s' has no such latency second by second: use response.p99, with planned arrivals (-R, or a stage's rate)");
    insta::assert_snapshot!(error("stage:encoders:load.response.p99<1s in 10s"), @"threshold 'stage:encoders:load.response.p99<1s in 10s' has latencies second by second of all attempts together only: write response.p99 alone, or leave the seconds out");
    insta::assert_snapshot!(refusal(&fixtures::open_plan(), "client:shakedown.service.p99<1s"), @"threshold 'client:shakedown.service.p99<1s' is not measured by client, only response is: use response.p99, or leave the client out");
}

#[test]
fn every_name_of_a_row_is_taken() {
    let mut plan = two_populations();
    for text in [
        "target:rtmp://b/live (10.0.0.2:1935).failed<1%",
        "target:rtmp://b/live.rate>1",
        "target:b.rate>1",
        "target:b:1935.rate>1",
        "target:10.0.0.2:1935.response.p99<1s",
        "target:10.0.0.2:1935.service.p99<1s",
        "client:shakedown.downgraded<1%",
        "stage:scanners:load.s0s1.p99<1s",
        "population:scanners.failed<1% in 1m",
        "scanners.outage<10s",
        "response.p99<1s in 1m",
        "target:rtmp://b/live.outage<10s",
        "stage:encoders:load.failed<1% in 10s",
        "client:shakedown.rate>1/s in 10s",
    ] {
        assert_eq!(text.parse::<Threshold>().unwrap().check(&plan), Ok(()), "{text}");
    }
    plan.targets[1].host = "127.0.0.1".to_owned();
    insta::assert_snapshot!(refusal(&plan, "target:127.0.0.1.failed<1%"), @"threshold 'target:127.0.0.1.failed<1%' names 2 targets: write one of rtmp://127.0.0.1:1935/live, rtmp://b/live (10.0.0.2:1935)");
}

#[test]
fn a_window_is_no_longer_than_what_is_measured() {
    let plan = two_populations();
    let checked =
        |text: &str| text.parse::<Threshold>().unwrap().check_window(&plan).map_err(|error| error.to_string());
    for text in ["failed<1% in 2s", "encoders.failed<1% in 2s", "failed<1%", "outage<1h"] {
        assert_eq!(checked(text), Ok(()), "{text}");
    }
    insta::assert_snapshot!(checked("failed<1% in 3s").unwrap_err(), @"threshold 'failed<1% in 3s' has windows of 3s and the load is measured for 2s: shorten the window, or lengthen the load");
    insta::assert_snapshot!(checked("encoders.rate>1 in 1h").unwrap_err(), @"threshold 'encoders.rate>1 in 1h' has windows of 1h and the load is measured for 2s: shorten the window, or lengthen the load");
}

#[test]
fn a_scoped_condition_is_about_its_row() {
    let mut result = fixtures::open_result(&[]);
    result.plan = two_populations();
    let mut row = Row {
        name: "rtmp://b/live".to_owned(),
        population: None,
        warmup: false,
        attempts: Attempts { due: 10, started: 10, failed: 1, ..Attempts::default() },
        rate: result.rate,
        modes: result.modes,
        lost_while_held: 0,
        latency: LatencyTable::default(),
        media: Default::default(),
        failures: Vec::new(),
        reactions: None,
    };
    result.by_target = vec![row.clone(), row.clone()];
    row.attempts.failed = 5;
    (result.by_population, result.by_stage) = (vec![row.clone(), row.clone()], vec![row.clone(), row]);
    result.by_target[0].attempts.failed = 0;
    let met = |text: &str| text.parse::<Threshold>().unwrap().evaluate(&result, &WatchOutcome::default());
    for (text, actual) in [
        ("failed<1%", 0.005),
        ("target:rtmp://b/live.failed<1%", 0.1),
        ("target:127.0.0.1:1935.failed<1%", 0.0),
        ("scanners.failed<1%", 0.5),
        ("stage:scanners:load.failed<1%", 0.5),
        // There is but one kind of client.
        ("client:shakedown.failed<1%", 0.005),
    ] {
        assert_eq!(met(text).actual, Some(actual), "{text}");
    }
    insta::assert_snapshot!(met("target:rtmp://b/live.service.p99<1s").reason.unwrap(), @"service was not measured");
}

#[test]
fn what_was_not_watched_cannot_be_told() {
    let mut result = fixtures::open_result(&[]);
    let reason = |result: &RunResult| {
        let met = "failed<1% in 1s".parse::<Threshold>().unwrap().evaluate(result, &WatchOutcome::default());
        assert_eq!((met.actual, met.at_s, met.pass), (None, None, None));
        met.reason.unwrap()
    };
    insta::assert_snapshot!(reason(&result), @"it was not watched while the run went on");
    let machine = |index| Machine {
        share: Share { index, count: 2 },
        started_at: result.started_at.clone(),
        environment: result.environment.clone(),
    };
    result.machines = vec![machine(0), machine(1)];
    insta::assert_snapshot!(reason(&result), @"what each machine saw second by second is not in its file: see the machines' own results");
}

/// Why a run of `plan` cannot decide a condition; nothing if it can.
fn prospect(plan: &RunPlan, text: &str) -> String {
    text.parse::<Threshold>().unwrap().check_prospect(plan).err().map_or(String::new(), |error| error.to_string())
}

#[test]
fn percentiles_that_the_plan_has_too_few_attempts_for_are_refused() {
    // 1 000 a second for 2 s.
    let plan = fixtures::open_plan();
    for text in ["response.p99<1s", "response.max<1s", "service.p99.5<1s", "failed<1%", "response.p99<1s in 1s"] {
        assert_eq!(prospect(&plan, text), "", "{text}");
    }
    insta::assert_snapshot!(prospect(&plan, "response.p99.9<1s"), @"threshold 'response.p99.9<1s' can never be told: p99.9 needs 10000 attempts that complete, and the plan has 2000; lengthen the load to 10s, or use response.p99");
    insta::assert_snapshot!(prospect(&plan, "response.p99.5<1s in 1s"), @"threshold 'response.p99.5<1s in 1s' can never be told: p99.5 needs 2000 attempts that complete in a window, and the plan has at most 1000 in 1s; use windows of 2s or response.p99");
    insta::assert_snapshot!(prospect(&plan, "response.p99.9<1s in 1s"), @"threshold 'response.p99.9<1s in 1s' can never be told: p99.9 needs 10000 attempts that complete in a window, and the plan has at most 1000 in 1s; use response.p99");
    let closed = fixtures::closed_plan();
    assert_eq!(prospect(&closed, "service.p99.99<1s"), "", "a closed loop makes as many attempts as it can");
}

#[test]
fn chance_may_give_more_attempts_than_are_planned() {
    let mut plan = fixtures::open_plan();
    let stage = fixtures::stage("load", false, 990.0, 990.0, Some(1));
    let load = |arrival| LoadPlan::Open { arrival, stages: vec![stage.clone()], attempts: None, repeat: None };
    plan.populations[0].lanes[0].load = load(ArrivalPattern::Poisson);
    assert_eq!(prospect(&plan, "response.p99<1s"), "");
    plan.populations[0].lanes[0].load = load(ArrivalPattern::Uniform);
    assert!(prospect(&plan, "response.p99<1s").contains("the plan has 990; lengthen the load to 2s"));
}

#[test]
fn only_attempts_of_the_subject_that_complete_are_counted() {
    let mut plan = fixtures::open_plan();
    let own = plan.populations[0].clients[0];
    let client = ClientPlan { profile: ClientProfile::HalfC1, ..own.client };
    plan.populations[0].clients.push(ClientShare { client, weight: 9 });
    insta::assert_snapshot!(prospect(&plan, "response.p99<1s"), @"threshold 'response.p99<1s' can never be told: p99 needs 1000 attempts that complete, and the plan has 200; lengthen the load to 10s, or use response.p95");
    insta::assert_snapshot!(prospect(&plan, "client:half-c1.response.max<1s"), @"threshold 'client:half-c1.response.max<1s' can never be told: the plan has no attempt for it that is measured and completes (hostile clients complete none)");
    plan.populations[0].clients.pop();
    plan.targets.push(Target::new("rtmp://b/live", "b", "10.0.0.2:1935".parse().unwrap()));
    plan.populations[0].targets.push(TargetShare { target: 1, weight: 99 });
    assert_eq!(prospect(&plan, "target:b.response.p99<1s"), "");
    assert!(prospect(&plan, "target:127.0.0.1.response.p50<1s").is_empty(), "of 20 attempts");
    assert!(prospect(&plan, "target:127.0.0.1.response.p90<1s").contains("the plan has 20"));
}
