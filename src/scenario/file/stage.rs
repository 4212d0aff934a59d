//! The stages of a population.

use std::time::Duration;

use super::document::{Item, Key, Level, ScenarioError, Table};
use crate::base::DurationText;
use crate::scenario::request::{StageLoad, StageRequest};

/// A stage: one of the first five keys, and when.
pub(super) const STAGE: Level = Level {
    what: "a stage",
    keys: &[&[
        Key { name: "rate", example: "\"20k/s\"" },
        Key { name: "burst", example: "500" },
        Key { name: "concurrency", example: "\"10:500\"" },
        Key { name: "storm", example: "{ fleet = 20000, reconnect = \"obs\" }" },
        Key { name: "probe", example: "\"5/s\"" },
        Key { name: "for", example: "\"60s\"" },
        Key { name: "name", example: "\"evening\"" },
        Key { name: "warmup", example: "true" },
        Key { name: "every", example: "\"1h\"" },
    ]],
};

/// The table behind `storm`.
pub(super) const STORM: Level = Level {
    what: "a storm",
    keys: &[&[Key { name: "fleet", example: "20000" }, Key { name: "reconnect", example: "\"obs\"" }]],
};

/// What a stage does; it does one of these.
const LOADS: [&str; 5] = ["rate", "burst", "concurrency", "storm", "probe"];

/// A burst is over when it has begun; this long it has the time to itself.
const BURST_LENGTH: Duration = Duration::from_secs(1);

impl StageLoad {
    /// Its arrivals have a rate, and so a spacing.
    pub(in crate::scenario) fn has_a_rate(self) -> bool {
        matches!(self, Self::Rate(_) | Self::Probe(_))
    }

    /// It does not say itself how many clients there are at a time.
    pub(in crate::scenario) fn has_limited_slots(self) -> bool {
        matches!(self, Self::Rate(_) | Self::Probe(_) | Self::Burst(_))
    }
}

/// The stages of `stages`, in their order.
///
/// # Errors
/// If one of them is none, or if they contradict each other.
pub(super) fn stages(list: Item) -> Result<Vec<StageRequest>, ScenarioError> {
    let tables = list.tables(&STAGE, &[&STORM, &super::POPULATION, &super::ALONE])?;
    if tables.is_empty() {
        return Err(list.error("the list is empty; give a stage such as { rate = \"100/s\", for = \"10s\" }"));
    }
    let stages = tables.iter().map(stage).collect::<Result<Vec<_>, _>>()?;
    check_names(&tables, &stages)?;
    check_warmups(&tables, &stages)?;
    check_events(&tables, &stages)?;
    Ok(stages)
}

fn stage(table: &Table) -> Result<StageRequest, ScenarioError> {
    let load = match table.present(&LOADS).as_slice() {
        [load] => *load,
        [] => return Err(table.error(format!("the stage does nothing; give it one of {}", LOADS.join(", ")))),
        [first, second, ..] => {
            return Err(second.key_error(format!(
                "'{}' and '{}' contradict each other; a stage does one thing, write two stages",
                first.name(),
                second.name()
            )));
        }
    };
    let load = match load.name() {
        "rate" => StageLoad::Rate(load.read()?),
        "burst" => StageLoad::Burst(load.whole(1..=u64::from(u32::MAX))?),
        "concurrency" => concurrency(&load)?,
        "storm" => {
            let storm = load.table(&STORM, &[&STAGE])?;
            StageLoad::Storm {
                fleet: storm.require("fleet")?.whole(1..=u32::MAX)?,
                reconnect: storm.require("reconnect")?.read()?,
            }
        }
        _ => StageLoad::Probe(load.read()?),
    };
    let length = match (table.get("for"), load) {
        (None, StageLoad::Burst(_)) => BURST_LENGTH,
        (None, _) => table.require("for")?.length()?,
        (Some(length), _) => length.length()?,
    };
    let warmup = table.get("warmup").map_or(Ok(false), |item| item.flag())?;
    let every = table.get("every").map(|item| item.length()).transpose()?;
    if let Some(item) = table.get("warmup").filter(|_| warmup) {
        if matches!(load, StageLoad::Probe(_)) {
            return Err(item.key_error("'warmup' and 'probe' contradict each other: a probe is measured; drop one"));
        }
        if every.is_some() {
            return Err(item.key_error("'warmup' and 'every' contradict each other: an event comes later; drop one"));
        }
    }
    if let Some(item) = table.get("every")
        && matches!(load, StageLoad::Concurrency { .. } | StageLoad::Storm { .. })
    {
        return Err(item.key_error("'every' repeats a rate, a burst or a probe, and nothing else; drop it"));
    }
    if let (Some(item), Some(every)) = (table.get("every"), every)
        && every < length
    {
        return Err(item.error(format!(
            "{} is shorter than the {} that the event lasts; lengthen it, or shorten 'for'",
            DurationText(every),
            DurationText(length)
        )));
    }
    let name = table.get("name").map(|item| item.label()).transpose()?;
    Ok(StageRequest { name, load, length, warmup, every })
}

/// `64`, or `10:500` for a ramp.
fn concurrency(item: &Item) -> Result<StageLoad, ScenarioError> {
    let text = item.written()?;
    if text.trim().parse::<u32>().is_ok() {
        return item.whole(1..=u32::MAX).map(|clients| StageLoad::Concurrency { from: clients, to: clients });
    }
    let (from, to) = text.split_once(':').unwrap_or((&text, ""));
    match (from.trim().parse(), to.trim().parse()) {
        (Ok(0), Ok(0)) => Err(item.error(format!("'{text}' is nobody; one end must be above zero, such as 0:500"))),
        (Ok(from), Ok(to)) => Ok(StageLoad::Concurrency { from, to }),
        _ => {
            Err(item
                .error(format!("'{text}' is not a number of clients; write for example 64, or \"10:500\" for a ramp")))
        }
    }
}

/// Rows of the report and thresholds name stages.
fn check_names(tables: &[Table], stages: &[StageRequest]) -> Result<(), ScenarioError> {
    for (index, stage) in stages.iter().enumerate() {
        let Some(name) = tables[index].get("name") else { continue };
        if let Some(first) = stages[..index].iter().position(|other| other.name == stage.name) {
            let line = tables[first].get("name").map_or(0, |name| name.line());
            return Err(name.error(format!(
                "'{}' is already the name of the stage in line {line}; give each a name of its own",
                stage.name.as_deref().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// The measured part of a population is in one piece.
fn check_warmups(tables: &[Table], stages: &[StageRequest]) -> Result<(), ScenarioError> {
    let sequence = || tables.iter().zip(stages).filter(|(_, stage)| stage.every.is_none());
    match sequence().skip_while(|(_, stage)| stage.warmup).find(|(_, stage)| stage.warmup) {
        Some((table, _)) => Err(table.error("a warm-up cannot come after measured stages; put it first")),
        None if sequence().count() > 0 && sequence().all(|(_, stage)| stage.warmup) => {
            Err(tables[0].error("all stages are warm-ups, which are not measured; add a stage without 'warmup'"))
        }
        None => Ok(()),
    }
}

/// Events happen beside the other stages, whose end is theirs too.
fn check_events(tables: &[Table], stages: &[StageRequest]) -> Result<(), ScenarioError> {
    let end = stages
        .iter()
        .filter(|stage| stage.every.is_none())
        .try_fold(Duration::ZERO, |end, stage| end.checked_add(stage.length))
        .unwrap_or(Duration::MAX);
    for (table, stage) in tables.iter().zip(stages) {
        let (Some(item), Some(every)) = (table.get("every"), stage.every) else { continue };
        if end.is_zero() {
            return Err(item.key_error(
                "'every' repeats an event beside other stages, and there is none that says how long; add one without it",
            ));
        }
        if every >= end {
            return Err(item.error(format!(
                "the first event would come after {}, and the other stages end after {}; shorten it",
                DurationText(every),
                DurationText(end)
            )));
        }
    }
    Ok(())
}
