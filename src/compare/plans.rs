//! Whether results are of the same load: what of their plans differs, by name.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::base::Nanos;
use crate::capacity::CapacityResult;
use crate::run::RunPlan;

/// Something that was asked otherwise of one result than of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its place in the result file.
    pub what: String,
    /// What the first result has there; "-" for nothing.
    pub first: String,
    /// What the other has there.
    pub other: String,
}

/// What may differ: the target with its addresses, and what differs between runs by itself or changes nothing that is
/// done (which CPUs do it is told apart from what they do).
const FREE: [&str; 6] = ["scenario", "targets", "built_in_sink", "cpus", "seed", "start_at"];

/// Longer values are cut.
const MOST_CHARACTERS: usize = 60;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not {}", self.what, self.other, self.first)
    }
}

/// What a run was asked, without what may differ.
pub(super) fn of_run(plan: &RunPlan) -> Value {
    json!({ "plan": comparable(plan, &FREE, &["targets"]) })
}

/// What a search was asked, without what may differ, and without what a trial's rate decides: the saved plan is that of
/// its last trial.
pub(super) fn of_capacity(result: &CapacityResult) -> Value {
    let free: Vec<&str> = FREE.into_iter().chain(["workers", "sources"]).collect();
    let mut asked = json(&result.asked);
    remove(&mut asked, "resumed_from");
    let goals: Vec<_> =
        result.goals.iter().map(|goal| json!({ "name": goal.name, "loss_ratio": goal.loss_ratio })).collect();
    json!({ "asked": asked, "goals": goals, "plan": comparable(&result.plan, &free, &["targets", "sources", "lanes"]) })
}

/// A plan without some of its own keys and of its populations'. How many addresses a target has, and how it shares the
/// load among them, is the target's.
fn comparable(plan: &RunPlan, free: &[&str], free_of_populations: &[&str]) -> Value {
    let mut plan = json(plan);
    free.iter().for_each(|key| remove(&mut plan, key));
    let populations = plan.get_mut("populations").and_then(Value::as_array_mut);
    for population in populations.into_iter().flatten() {
        free_of_populations.iter().for_each(|key| remove(population, key));
    }
    plan
}

fn json(part: &impl Serialize) -> Value {
    serde_json::to_value(part).expect("parts of results have string keys only")
}

/// All that differs, in the order of the file.
pub(super) fn differences(first: &Value, other: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", Some(first), Some(other), &mut found);
    found
}

fn remove(value: &mut Value, key: &str) {
    if let Value::Object(parts) = value {
        parts.remove(key);
    }
}

fn walk(path: &str, first: Option<&Value>, other: Option<&Value>, found: &mut Vec<Difference>) {
    match (first, other) {
        _ if first == other => {}
        // Saved as null here and left out there.
        (None | Some(Value::Null), None | Some(Value::Null)) => {}
        (Some(Value::Object(one)), Some(Value::Object(two))) => {
            let only_in_two = two.keys().filter(|key| !one.contains_key(*key));
            let dot = if path.is_empty() { "" } else { "." };
            for key in one.keys().chain(only_in_two) {
                walk(&format!("{path}{dot}{key}"), one.get(key), two.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(two))) if holds_objects(one) || holds_objects(two) => {
            for index in 0..one.len().max(two.len()) {
                walk(&format!("{path}[{index}]"), one.get(index), two.get(index), found);
            }
        }
        _ => found.push(Difference { what: path.to_owned(), first: text(path, first), other: text(path, other) }),
    }
}

fn holds_objects(list: &[Value]) -> bool {
    list.iter().any(Value::is_object)
}

fn text(path: &str, value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Number(number)) if path.ends_with("_ns") => {
            number.as_u64().map_or_else(|| number.to_string(), |ns| Nanos::new(ns).to_string())
        }
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;
    use crate::measure::Until;
    use crate::run::fixtures::{closed_plan, open_plan};
    use crate::run::{LoadPlan, Target};

    fn told(first: &RunPlan, other: &RunPlan) -> Vec<String> {
        let differences = differences(&of_run(first), &of_run(other));
        differences.into_iter().map(|found| format!("{}: {} / {}", found.what, found.first, found.other)).collect()
    }

    #[test]
    fn targets_seeds_and_names_may_differ() {
        let (first, mut other) = (open_plan(), open_plan());
        other.targets = vec![Target::new("h:1", "h", "10.0.0.1:1".parse().unwrap()); 2];
        other.populations[0].targets.clear();
        other.seed = Seed::new(8);
        other.scenario = Some("steady".to_owned());
        other.start_at = Some("2026-01-02T03:04:05Z".to_owned());
        other.cpus = vec![1];
        assert_eq!(told(&first, &other), Vec::<String>::new());
    }

    #[test]
    fn everything_else_is_named_with_both_values() {
        let (first, mut other) = (open_plan(), open_plan());
        let population = &mut other.populations[0];
        population.until = Until::Reply;
        population.timeout_ns = 5_000_000_000;
        if let LoadPlan::Open { stages, .. } = &mut population.lanes[0].load {
            stages.push(stages[0].clone());
            stages[0].duration_ns = None;
        }
        other.sources = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        other.thresholds = vec![format!("{}.failed<1%", "encoders".repeat(10)).parse().unwrap()];
        insta::assert_snapshot!(told(&first, &other).join("\n"), @r#"
        plan.populations[0].lanes[0].load.stages[0].duration_ns: 2.00 s / -
        plan.populations[0].lanes[0].load.stages[1]: - / {"duration_ns":2000000000,"name":"load","probe":false,"rate"...
        plan.populations[0].timeout_ns: 10.0 s / 5.00 s
        plan.populations[0].until: handshake / reply
        plan.sources: [] / ["10.0.0.1","10.0.0.2"]
        plan.thresholds: [] / ["encodersencodersencodersencodersencodersencodersencodersen...
        "#);
    }

    #[test]
    fn an_open_and_a_closed_loop_differ() {
        insta::assert_snapshot!(told(&open_plan(), &closed_plan()).join("\n"), @r#"
        plan.populations[0].lanes[0].load.arrival: uniform / -
        plan.populations[0].lanes[0].load.kind: open / closed
        plan.populations[0].lanes[0].load.stages: [{"duration_ns":2000000000,"name":"load","probe":false,"rate... / -
        plan.populations[0].lanes[0].load.steps: - / [{"duration_ns":2000000000,"from":64,"name":"load","to":64,"...
        "#);
    }
}
