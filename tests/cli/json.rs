//! `--json` is the result file: the keys of `shakedown.result/2`, their units and their nulls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::{Value, json};

use super::command::{assert_conserved, ended, simulated};

/// Where keys must stand, and which. More may stand there.
const KEYS: [(&str, &str); 15] = [
    (
        "",
        "schema tool started_at plan labels environment window attempts rate connections modes failures latency \
         by_population by_target by_client by_stage workers timeline generator network thresholds verdict interrupted",
    ),
    ("/tool", "name version commit"),
    ("/environment", "kernel cpus cpu_model engine nofile"),
    ("/window", "duration_s warmup_s"),
    ("/attempts", "due started dropped completed failed in_flight"),
    ("/rate", "intended_per_s started_per_s completed_per_s"),
    ("/connections", "held held_peak lost_while_held"),
    ("/modes", "complex_verified complex_unverified simple downgraded"),
    ("/failures/0", "step kind side count first_s last_s detail advice"),
    ("/latency", "response service connect s0s1 s2 confirm slot_wait lateness"),
    (
        "/latency/response",
        "count overflow min_ns mean_ns stdev_ns p50_ns p90_ns p95_ns p99_ns p999_ns p9999_ns max_ns hdr_v2_base64",
    ),
    ("/by_target/0", "name attempts rate latency"),
    ("/by_stage/0", "name attempts rate latency"),
    ("/workers/0", "cpu_busy_percent turn_p99_ns"),
    ("/generator", "limited cpu_us_per_attempt findings"),
];

const TIMELINE_KEYS: &str = "t_s due started completed failed held response_p50_ns response_p99_ns lateness_p99_ns";

/// Failures, two targets, two stages, a hold and a threshold: every part of a result has something to say.
fn full() -> Value {
    let words = "rtmp://serve.sim/live rtmp://reset.sim/live -R 1k -w 1s -d 2s --hold 100ms --threshold failed<1% \
                 --label server=reset-1.0 --json";
    let ended = simulated(words);
    assert_eq!(ended.code, Some(3));
    ended.json()
}

#[track_caller]
fn assert_keys(at: &str, value: &Value, keys: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("{at} is no object: {value}"));
    let missing: Vec<&str> = keys.split_whitespace().filter(|key| !object.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{at} lacks {missing:?}: {value}");
}

#[test]
fn every_key_of_the_schema_is_there() {
    let result = full();
    for (at, keys) in KEYS {
        assert_keys(at, result.pointer(at).unwrap_or(&Value::Null), keys);
    }
    for row in result["timeline"].as_array().unwrap() {
        assert_keys("timeline", row, TIMELINE_KEYS);
    }
    assert_keys("thresholds", &result["thresholds"][0], "expression actual pass");
    let limited = simulated("rtmp://no-ports.sim/live -R 100 -d 1s --hold 1s --json").json();
    assert_keys("findings", &limited["generator"]["findings"][0], "code severity message remedy");
    assert_eq!(limited["generator"]["limited"], true);
}

#[test]
fn the_values_are_those_of_the_run() {
    let result = full();
    assert_eq!(result["schema"], "shakedown.result/2");
    assert_eq!(result["tool"]["name"], "shakedown");
    assert_eq!(result["tool"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(result["environment"]["engine"], "sim");
    assert_eq!(result["labels"], json!({"server": "reset-1.0"}));
    assert_eq!(result["window"], json!({"duration_s": 2.0, "warmup_s": 1.0}));
    assert_eq!(
        result["attempts"],
        json!({"due": 2000, "started": 2000, "dropped": 0, "completed": 1000, "failed": 1000, "observed": 0,
               "in_flight": 0, "held": 1000, "lost_while_held": 0, "taken_back": 0})
    );
    assert_eq!(result["rate"], json!({"intended_per_s": 1000.0, "started_per_s": 1000.0, "completed_per_s": 500.0}));
    assert_eq!(result["connections"]["lost_while_held"], 0);
    let failure = &result["failures"][0];
    assert_eq!(
        (&failure["step"], &failure["kind"], &failure["side"], &failure["count"]),
        (&json!("s0"), &json!("reset"), &json!("target"), &json!(1000))
    );
    let threshold = &result["thresholds"][0];
    assert_eq!((&threshold["actual"], &threshold["pass"]), (&json!(0.5), &json!(false)));
    assert_eq!((&result["verdict"], &result["interrupted"]), (&json!("fail"), &Value::Null));
}

#[test]
fn every_arrival_has_one_outcome_in_the_totals_and_in_every_part() {
    let result = full();
    assert_conserved(&result);
    let sum = |rows: &Value, keys: [&str; 2]| -> u64 {
        let [group, key] = keys;
        let value = |row: &Value| if group.is_empty() { row[key].as_u64() } else { row[group][key].as_u64() };
        rows.as_array().unwrap().iter().map(|row| value(row).unwrap_or_else(|| panic!("no {key}: {row}"))).sum()
    };
    // By stage and in the timeline the warm-up counts too: 1 s of 1 000/s.
    for (key, measured, all) in [("due", 2000, 3000), ("completed", 1000, 1500), ("failed", 1000, 1500)] {
        assert_eq!(sum(&result["by_target"], ["attempts", key]), measured, "{key} by target");
        assert_eq!(sum(&result["by_stage"], ["attempts", key]), all, "{key} by stage");
        assert_eq!(sum(&result["timeline"], ["", key]), all, "{key} in the timeline");
    }
}

#[test]
fn histograms_decode_to_what_the_summary_says() {
    let result = full();
    for metric in ["response", "service", "connect", "s0s1", "s2", "slot_wait", "lateness"] {
        let summary = &result["latency"][metric];
        let bytes = STANDARD.decode(summary["hdr_v2_base64"].as_str().unwrap()).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(histogram.len(), summary["count"].as_u64().unwrap(), "{metric}");
        let (decoded, said) = (histogram.value_at_quantile(0.5), summary["p50_ns"].as_u64().unwrap());
        assert!(histogram.equivalent(decoded, said), "{metric}: {decoded} and {said}");
    }
}

#[test]
fn a_percentile_needs_ten_samples_above_it() {
    let supported = |attempts: u32| {
        let result = simulated(&format!("rtmp://serve.sim/live -n {attempts} --json")).json();
        let summary = &result["latency"]["service"];
        let all = ["p50_ns", "p90_ns", "p95_ns", "p99_ns", "p999_ns", "p9999_ns"];
        all.into_iter().filter(|key| !summary[key].is_null()).collect::<Vec<_>>()
    };
    assert_eq!(supported(19), Vec::<&str>::new());
    assert_eq!(supported(20), ["p50_ns"]);
    assert_eq!(supported(199), ["p50_ns", "p90_ns"]);
    assert_eq!(supported(200), ["p50_ns", "p90_ns", "p95_ns"]);
    assert_eq!(supported(999), ["p50_ns", "p90_ns", "p95_ns"]);
    assert_eq!(supported(1000), ["p50_ns", "p90_ns", "p95_ns", "p99_ns"]);
}

#[test]
fn what_does_not_exist_is_null() {
    let closed = simulated("rtmp://serve.sim/live -n 10 --json").json();
    for metric in ["response", "slot_wait", "lateness", "confirm"] {
        assert_eq!(closed["latency"][metric], Value::Null, "{metric} in closed loop");
    }
    assert_eq!(closed["rate"]["intended_per_s"], Value::Null);
    let nothing = simulated("rtmp://refuse.sim/live -R 10 -n 10 --json").json();
    let response = &nothing["latency"]["response"];
    assert_eq!((&response["count"], &response["min_ns"], &response["max_ns"]), (&json!(0), &Value::Null, &Value::Null));
    assert_conserved(&nothing);
}

#[test]
fn the_same_seed_gives_the_same_result() {
    let words = "run --engine sim rtmp://noisy.sim/live -R 1k -d 1s --arrival poisson --json --seed";
    let run = |seed: u32| ended(&format!("{words} {seed}")).stdout;
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn sessions_have_keys_of_their_own() {
    let words = "rtmp://serve.sim/live rtmp://name-taken.sim/live --until publish -R 100 -d 2s --hold 1s --json";
    let result = simulated(words).json();
    assert_conserved(&result);
    for (at, keys) in [
        ("/latency", "reply app_connect publish confirm"),
        ("/media", "publishers stalled due_messages due_bytes sent_messages sent_bytes unsent_messages unsent_bytes"),
        ("/media", "late_messages received_messages received_bytes"),
        ("/by_backend/0", "name attempts rate latency"),
        ("/failures/0/reasons/0", "text count"),
    ] {
        assert_keys(at, result.pointer(at).unwrap_or(&Value::Null), keys);
    }
    let plan = &result["plan"]["populations"][0];
    assert_eq!((&plan["until"], &plan["stream"]), (&json!("publish"), &json!("shakedown-{id}")));
    assert_eq!(result["latency"]["publish"]["count"], result["attempts"]["completed"]);
    assert!(result.get("tls").is_none() && result["latency"].get("tls").is_none(), "nobody uses TLS");
    let handshakes = simulated("rtmp://serve.sim/live -n 10 --json").json();
    assert!(["media", "by_backend", "tls"].iter().all(|key| handshakes.get(key).is_none()), "{handshakes}");
    assert!(handshakes["latency"]["confirm"].is_null() && handshakes["latency"].get("reply").is_none());
}
