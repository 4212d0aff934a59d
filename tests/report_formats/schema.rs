//! The published schemas in `docs/schema`: real results follow them, and nothing that a result has is missing from them.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::saved::{OF_RUNS, OF_SEARCHES};

fn schema(name: &str) -> Value {
    let path = format!("{}/docs/schema/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("it is published")).expect("it is JSON")
}

/// The schema as it is published takes files of later versions, which may have more keys; this one does not, so that no
/// key of this version is left undescribed.
fn strict(mut schema: Value) -> Value {
    fn close(value: &mut Value) {
        if let Value::Object(object) = value {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
            object.values_mut().for_each(close);
        } else if let Value::Array(items) = value {
            items.iter_mut().for_each(close);
        }
    }
    close(&mut schema);
    schema
}

#[track_caller]
fn assert_follows(validator: &Validator, name: &str, result: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(result).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {}", errors.join("\n"));
}

#[test]
fn results_follow_their_published_schemas() {
    for (name, results) in [("result.json", &OF_RUNS), ("capacity.json", &OF_SEARCHES)] {
        let published = jsonschema::validator_for(&schema(name)).expect("a schema");
        let strict = jsonschema::validator_for(&strict(schema(name))).expect("a schema");
        for saved in results.iter() {
            assert_follows(&published, saved.name, &saved.json());
            assert_follows(&strict, saved.name, &saved.json());
        }
    }
}

#[test]
fn what_is_no_result_does_not_follow() {
    let validator = jsonschema::validator_for(&schema("result.json")).expect("a schema");
    let result = OF_RUNS[0].json();
    for (place, wrong) in [
        ("/schema", json!("shakedown.result/3")),
        ("/attempts/due", json!(-1)),
        ("/attempts/due", json!("all")),
        ("/latency/response/p99_ns", json!(0.5)),
        ("/verdict", json!("perhaps")),
        ("/plan/populations/0/lanes/0/load/kind", json!("other")),
        ("/timeline/0", json!({})),
    ] {
        let mut edited = result.clone();
        *edited.pointer_mut(place).unwrap_or_else(|| panic!("{place} is there")) = wrong;
        assert!(!validator.is_valid(&edited), "{place}");
    }
    let mut without = result;
    without.as_object_mut().expect("an object").remove("attempts");
    assert!(!validator.is_valid(&without));
}

#[test]
fn every_name_of_a_failure_is_in_the_schema() {
    use shakedown::measure::{FailureKind, Step};
    for name in ["result.json", "capacity.json"] {
        let schema = schema(name);
        let known = |kind: &str, value: Value| {
            let names = schema["$defs"][kind]["enum"].as_array().expect("a list of names");
            assert!(names.contains(&value), "{name}: {kind} lacks {value}");
        };
        Step::ALL.into_iter().for_each(|step| known("Step", serde_json::to_value(step).expect("a name")));
        FailureKind::ALL.into_iter().for_each(|kind| known("FailureKind", serde_json::to_value(kind).expect("a name")));
    }
}
