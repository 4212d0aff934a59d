use std::path::Path;

use super::*;
use crate::base::{Time, save};
use crate::measure::Place;
use crate::protocol::HandshakeMode;
use crate::run::fixtures::{
    OpenRun, Record, closed_plan, closed_result, open_load, open_plan, open_result, row, stage,
};
use crate::run::plan::Target;

fn failure() -> Failure {
    Failure::new(Step::S0, FailureKind::Reset)
}

#[test]
fn numbers_of_a_known_run() {
    let result = open_result(&["response.p50<2ms"]);
    let attempts =
        Attempts { due: 2_000, started: 1_990, dropped: 10, completed: 1_980, failed: 10, ..Attempts::default() };
    assert_eq!(result.attempts, attempts);
    let rate = Rates { intended_per_s: Some(1_000.0), started_per_s: 995.0, completed_per_s: 990.0 };
    assert_eq!(result.rate, rate);
    assert_eq!(result.modes, ModeCounts { complex_verified: 1_980, ..ModeCounts::default() });
    // Service times are 1 us to 1 980 us.
    let service = result.latency.get(Metric::Service).unwrap();
    assert_eq!((service.count, service.min_ns), (1_980, Some(1_000)));
    let within = |value: Option<u64>, exact: f64| (value.unwrap() as f64 / exact - 1.0).abs() < 1e-3;
    assert!(within(service.p50_ns, 990e3) && within(service.p99_ns, 1_961e3) && within(service.mean_ns, 990.5e3));
    assert_eq!(service.p999_ns, None);
    assert_eq!(result.failures.len(), 1);
    let row = &result.failures[0];
    assert_eq!((row.step, row.kind, row.side, row.count), (Step::S0, FailureKind::Reset, Side::Target, 10));
    assert_eq!((row.first_s, row.last_s), (1.981_981, 1.990_99));
    assert_eq!(row.detail.as_deref(), Some("Connection reset by peer (os error 104)"));
    assert_eq!(result.time_to_failure.as_ref().unwrap().count, 10);
    // Attempt 999 ends exactly at the beginning of the next second.
    assert_eq!(result.timeline.iter().map(|row| row.completed).collect::<Vec<_>>(), [999, 981]);
    assert_eq!(result.network, BTreeMap::from([("syn_retransmits".to_owned(), 3)]));
    assert_eq!((result.verdict, result.thresholds[0].pass), (Verdict::Pass, Some(true)));
}

#[test]
fn closed_loop_has_no_plan_to_measure_from() {
    let result = closed_result(&[], failure(), None);
    let json = serde_json::to_value(&result).unwrap();
    for metric in ["response", "slot_wait", "lateness", "confirm"] {
        assert!(json["latency"][metric].is_null(), "{metric}");
    }
    for metric in ["service", "connect", "s0s1", "s2"] {
        assert_eq!(json["latency"][metric]["count"], 990, "{metric}");
    }
    assert!(json["rate"]["intended_per_s"].is_null());
}

#[test]
fn the_file_has_exactly_these_keys() {
    let json = serde_json::to_value(open_result(&["failed<1%"])).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(keys(&json), @"attempts by_client by_population by_stage by_target connections environment failures generator interrupted labels latency modes network plan rate schema started_at thresholds time_to_failure timeline tool verdict window workers");
    insta::assert_snapshot!(keys(&json["attempts"]), @"completed dropped due failed held in_flight lost_while_held observed started taken_back");
    insta::assert_snapshot!(keys(&json["rate"]), @"completed_per_s intended_per_s started_per_s");
    insta::assert_snapshot!(keys(&json["connections"]), @"held held_peak lost_age lost_while_held");
    insta::assert_snapshot!(keys(&json["modes"]), @"complex_unverified complex_verified downgraded simple");
    insta::assert_snapshot!(keys(&json["failures"][0]), @"advice count detail first_s kind last_s side step");
    insta::assert_snapshot!(keys(&json["latency"]), @"confirm connect lateness response s0s1 s2 service slot_wait");
    insta::assert_snapshot!(keys(&json["latency"]["response"]), @"count hdr_v2_base64 max_ns mean_ns min_ns overflow p50_ns p90_ns p95_ns p9999_ns p999_ns p99_ns stdev_ns");
    insta::assert_snapshot!(keys(&json["workers"][0]), @"cpu cpu_busy_percent cpu_time_ns cpu_wait_mean_ns cpu_wait_percent index oversleep_p99_ns turn_max_ns turn_p99_ns turns");
    insta::assert_snapshot!(keys(&json["timeline"][0]), @"completed dropped due failed held lateness_p99_ns paused_ns response_p50_ns response_p99_ns started t_s");
    insta::assert_snapshot!(keys(&json["generator"]), @"cpu_us_per_attempt findings limited");
    insta::assert_snapshot!(keys(&json["thresholds"][0]), @"actual expression pass unit");
    insta::assert_snapshot!(keys(&json["environment"]), @"cpu_model cpus engine kernel nofile");
    assert_eq!(json["schema"], "shakedown.result/2");
    assert_eq!(json["verdict"], "pass");
    assert_eq!(json["environment"]["engine"], "io_uring");
}

#[test]
fn stages_targets_and_populations_have_rows_of_their_own() {
    let mut plan = open_plan();
    let stage = |name: &str, warmup, seconds| stage(name, warmup, 1_000.0, 1_000.0, seconds);
    let stages = vec![stage("ramp", true, Some(1)), stage("steady", false, Some(2)), stage("rest", false, None)];
    plan.populations[0].lanes[0].load = open_load(stages, None);
    let mut scanners = closed_plan().populations.remove(0);
    scanners.name = "scanners".to_owned();
    scanners.clients[0].client.mode = HandshakeMode::Simple;
    plan.populations.push(scanners);
    plan.targets.push(Target::new("other", "127.0.0.2".to_owned(), "127.0.0.2:1935".parse().unwrap()));
    let mut record = Record::new(&plan);
    let started = Time::ZERO;
    record.attempt(Some(started), started, started, 0, None);
    for (stage, target) in [(1, 0), (1, 1), (2, 1), (3, 1)] {
        record.recorder.due(stage, 1, started);
        let place = Place { stage, target, client: u16::from(stage == 3) };
        record.recorder.started(place, started);
        record.recorder.failed(place, None, started, started + Nanos::new(5), failure());
    }
    let mut parts = record.parts(plan, None);
    parts.window = Window { duration_s: 5.0, warmup_s: 1.0 };
    let result = RunResult::assemble(parts);
    let row = |row: &Row| (row.name.clone(), row.warmup, row.attempts.due, row.rate.started_per_s);
    assert_eq!(
        result.by_stage.iter().map(row).collect::<Vec<_>>(),
        [
            ("ramp".to_owned(), true, 1, 1.0),
            ("steady".to_owned(), false, 2, 1.0),
            ("rest".to_owned(), false, 1, 1.0 / 3.0),
            ("load".to_owned(), false, 1, 0.5)
        ]
    );
    assert_eq!(result.by_stage[3].population.as_deref(), Some("scanners"));
    let names = |rows: &[Row]| rows.iter().map(|row| (row.name.clone(), row.attempts.failed)).collect::<Vec<_>>();
    assert_eq!(names(&result.by_population), [("encoders".to_owned(), 3), ("scanners".to_owned(), 1)]);
    assert_eq!(
        names(&result.by_target),
        [("rtmp://127.0.0.1:1935/live".to_owned(), 1), ("other (127.0.0.2:1935)".to_owned(), 3)]
    );
    assert_eq!(names(&result.by_client), [("shakedown".to_owned(), 3), ("shakedown, simple".to_owned(), 1)]);
    assert_eq!(result.attempts.due, 4, "warm-up stays out");
    assert!(
        result.by_population[1].latency.get(Metric::Response).is_none()
            && result.by_population[1].latency.get(Metric::Service).is_some()
    );
}

#[test]
fn connections_that_are_closed_at_one_instant_were_not_idle() {
    let advice = |closed_ms: &[u64]| {
        let plan = open_plan();
        let mut record = Record::new(&plan);
        let closed = Failure::new(Step::Hold, FailureKind::Closed);
        let place = Place { stage: 0, target: 0, client: 0 };
        for at in closed_ms {
            let at = Time::from_nanos(at * 1_000_000);
            record.recorder.lost_while_held(place, Nanos::from_millis(5), at, closed);
        }
        RunResult::assemble(record.parts(plan, None)).failures[0].advice.clone()
    };
    insta::assert_snapshot!(advice(&[700, 700, 701]), @"the server closed all of them at once: was it restarted or stopped?");
    let idle = "the server ends idle connections: shorten --hold, or raise the server's idle timeout";
    assert_eq!([advice(&[100, 700]), advice(&[700])], [idle, idle], "one alone may have been idle");
}

#[test]
fn a_file_reads_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let result = OpenRun { slot_wait_ms: 3, ..OpenRun::default() }.result(&["response.p50<50ms", "failed<1%"]);
    save::save(&path, &result.to_text()).unwrap();
    assert_eq!(RunResult::read(&path).unwrap(), result);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no partial file is left");
}

#[test]
fn damaged_and_foreign_files_are_refused_with_the_reason() {
    let error = |text: &str| RunResult::parse(text, Path::new("r.json")).unwrap_err().to_string();
    let whole = serde_json::to_string_pretty(&open_result(&[])).unwrap();
    insta::assert_snapshot!(error(""), @"r.json is damaged or not JSON: EOF while parsing a value at line 1 column 0; is it the file that `-o` wrote, copied whole?");
    insta::assert_snapshot!(error(&whole[..60]), @r#"r.json is damaged or not JSON: EOF while parsing a value at line 4 column 12; is it the file that `-o` wrote, copied whole?"#);
    insta::assert_snapshot!(error("[1, 2]"), @r#"r.json is not a result of this program: it has no "schema" key; give a file written with `-o`"#);
    insta::assert_snapshot!(error(r#"{"schema": "shakedown.result/9"}"#), @r#"r.json has the schema "shakedown.result/9", "shakedown.result/2" is read here; use the version that wrote it"#);
    insta::assert_snapshot!(error(r#"{"schema": "shakedown.result/2", "tool": 5}"#), @r#"r.json does not follow its schema "shakedown.result/2": invalid type: integer `5`, expected struct Tool at line 1 column 42; was it edited by hand?"#);
    let missing = RunResult::read(Path::new("/nonexistent/r.json")).unwrap_err().to_string();
    assert!(missing.contains("cannot read /nonexistent/r.json"), "{missing}");
}

#[test]
fn a_file_that_no_run_can_have_written_is_refused() {
    let whole = serde_json::to_value(open_result(&[])).unwrap();
    let with = |place: &str, value: serde_json::Value| {
        let mut edited = whole.clone();
        *edited.pointer_mut(place).unwrap() = value;
        RunResult::parse(&edited.to_string(), Path::new("r.json")).unwrap_err().to_string()
    };
    insta::assert_snapshot!(with("/plan/targets", serde_json::json!([])), @"r.json cannot be a result: plan.populations[0].targets has number 0, and there are 0; was it edited by hand?");
    insta::assert_snapshot!(with("/plan/populations", serde_json::json!([])), @"r.json cannot be a result: plan.populations asks for nothing; was it edited by hand?");
    insta::assert_snapshot!(with("/plan/populations/0/clients", serde_json::json!([])), @"r.json cannot be a result: plan.populations[0].clients is empty; was it edited by hand?");
    insta::assert_snapshot!(with("/plan/thresholds", serde_json::json!(["decoders.failed<1%"])), @"r.json cannot be a result: threshold 'decoders.failed<1%' names no population of the plan: there is encoders; was it edited by hand?");
    let unreadable = with("/plan/abort_if", serde_json::json!(["failed>5%"]));
    assert!(unreadable.contains("'failed>5%' to end the run does not say for how long"), "{unreadable}");
    insta::assert_snapshot!(with("/failures/0/first_s", (-1).into()), @"r.json cannot be a result: failures[0].first_s is -1; was it edited by hand?");
    insta::assert_snapshot!(with("/failures/0/last_s", 1e300.into()), @"r.json cannot be a result: failures[0].last_s is 1e+300; was it edited by hand?");
    insta::assert_snapshot!(with("/rate/completed_per_s", (-0.5).into()), @"r.json cannot be a result: rate.completed_per_s is -0.5; was it edited by hand?");
    insta::assert_snapshot!(with("/attempts/due", u64::MAX.into()), @"r.json cannot be a result: attempts.due is 18446744073709551615; was it edited by hand?");
    insta::assert_snapshot!(with("/timeline/1/t_s", 0.into()), @"r.json cannot be a result: timeline goes from 0 s to 0 s; was it edited by hand?");
    insta::assert_snapshot!(with("/by_target", vec![serde_json::to_value(row(&open_result(&[]))).unwrap(); 2].into()), @"r.json cannot be a result: by_target has 2 rows for 1 in the plan; was it edited by hand?");
    insta::assert_snapshot!(with("/window/duration_s", 1e-160.into()), @"r.json cannot be a result: window.duration_s is 1e-160, shorter than any clock can tell; was it edited by hand?");
    insta::assert_snapshot!(with("/attempts/due", 2_001.into()), @"r.json cannot be a result: attempts has 2001 due, which are not 1990 started and 10 dropped; was it edited by hand?");
    insta::assert_snapshot!(with("/attempts/in_flight", 1.into()), @"r.json cannot be a result: attempts has 1990 started, of which 1991 ended or are in flight; was it edited by hand?");
    insta::assert_snapshot!(with("/modes/simple", 1.into()), @"r.json cannot be a result: attempts has 1980 completed, and modes are of 1981; was it edited by hand?");
    let count = with("/latency/response/count", 7.into());
    assert!(
        count.contains("hdr_v2_base64 holds 1980 samples, but count is 7 and overflow 0 at line 1 column"),
        "{count}"
    );
}

#[test]
fn a_newer_file_of_the_same_schema_may_have_more_keys() {
    let mut json = serde_json::to_value(open_result(&[])).unwrap();
    json["addition"] = 1.into();
    json["environment"]["clocksource"] = "tsc".into();
    let read = RunResult::parse(&json.to_string(), Path::new("r.json")).unwrap();
    assert_eq!(read.environment.more["clocksource"], "tsc");
}
