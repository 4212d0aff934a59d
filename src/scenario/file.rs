//! Scenario files: TOML becomes the request that flags would make.

mod document;
mod population;
mod stage;

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use crate::base::input;
use crate::run::{AbortCondition, Threshold};

use super::origins::{FileText, Setting};
use super::request::{PopulationRequest, Request, TlsRequest};
use super::safety::Allowance;
use super::target::TargetText;
pub use document::ScenarioError;
use document::{Item, Key, Level, Source, Table};
use population::{POPULATION_KEYS, population, sources};

/// Longer files are no scenarios.
const LONGEST: u64 = 1 << 20;

/// Reads the scenario of a file.
///
/// # Errors
/// If the file cannot be read or is not UTF-8, and those of [`read`].
pub fn read_file(path: &Path) -> Result<Request, ScenarioError> {
    let bytes = input::read(path, LONGEST);
    let path = input::name(path);
    let bytes = bytes
        .map_err(|error| ScenarioError::of_file(path, format!("cannot be read: {error}; give a scenario file")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => read(text, path),
        Err(error) => {
            let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let source = Source { path, text: &text };
            Err(source.error(error.valid_up_to(), "this is not UTF-8; save the file as UTF-8"))
        }
    }
}

/// Reads a scenario; `path` is where the text is from.
///
/// The request has its clients in `populations` only; what would describe them beside (`rate` to `expect`) is unset.
///
/// # Errors
/// `FILE:LINE:COLUMN: `, the first cause and its remedy, in one line. What depends on the machine, on names, on other
/// files or on flags is left to [`resolve`](super::resolve).
pub fn read(text: &str, path: &Path) -> Result<Request, ScenarioError> {
    let source = Source { path, text };
    let document = source.parse()?;
    let document = Table::of_document(&source, &document, &ALONE);
    if document.is_empty() {
        return Err(document.error(
            "the scenario is empty; give at least stages, such as stages = [{ rate = \"100/s\", for = \"10s\" }]",
        ));
    }
    document.check_keys(&[&stage::STAGE, &stage::STORM, &THRESHOLD, &TARGET, &TLS])?;
    let populations = match document.get("population") {
        Some(list) => populations(&document, list)?,
        None => vec![population(&document, None)?],
    };
    let (targets, weights) = targets(document.get("targets"))?;
    let (thresholds, places) = thresholds(&document)?;
    let mut origins = document.origins();
    origins.set_elements(Setting::THRESHOLDS, places);
    let stem = path.file_stem().filter(|_| !input::is_open_already(path));
    let file_stem = || stem.map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy().into_owned());
    let mut request = Request {
        scenario: Some(document.get("name").map_or_else(|| Ok(file_stem()), |item| item.label())?),
        populations,
        targets,
        weights,
        allowed: elements(document.get("allow"), |item| item.text().map(Allowance::from))?,
        family: optional(document.get("family"), Item::choice)?,
        workers: optional(document.get("workers"), |item| item.whole(1..=u32::MAX))?,
        cpus: optional(document.get("cpus"), Item::read)?,
        sources: sources(document.get("sources"))?,
        thresholds,
        abort_if: elements(document.get("abort_if"), |item| {
            item.read::<AbortCondition>().map(|condition| condition.to_string())
        })?,
        canary: optional(document.get("canary"), Item::read)?,
        drain: optional(document.get("drain"), Item::flag)?,
        release: optional(document.get("release"), Item::read)?,
        resolve_every: optional(document.get("resolve"), Item::length)?,
        proxy_protocol: optional(document.get("proxy_protocol"), Item::choice)?,
        client_ips: optional(document.get("client_ips"), client_ips)?,
        media: optional(document.get("media"), Item::path)?,
        bitrate: optional(document.get("bitrate"), Item::read)?,
        media_clients: optional(document.get("media_clients"), Item::read)?,
        hold_check: optional(document.get("hold_check"), Item::length)?,
        enhanced_rtmp: optional(document.get("enhanced_rtmp"), Item::flag)?,
        tls: optional(document.get("tls"), tls)?.unwrap_or_default(),
        engine: optional(document.get("engine"), Item::choice)?,
        seed: optional(document.get("seed"), |item| item.whole(0..=u64::MAX))?.map(crate::base::Seed::new),
        origins,
        ..Request::default()
    };
    let file = Arc::new(FileText { path: path.to_owned(), text: text.to_owned() });
    request.origins.set_file(&file);
    request.populations.iter_mut().for_each(|population| population.origins.set_file(&file));
    if let Some(text) = document.get("description") {
        text.text()?;
    }
    match document.get("client_ips") {
        Some(item) if request.proxy_protocol.is_none() => {
            Err(item.key_error("'client_ips' stand in a PROXY header and none is sent; add proxy_protocol = \"v2\""))
        }
        _ => Ok(request),
    }
}

/// Keys of the whole.
const SCENARIO_KEYS: &[Key] = &[
    Key { name: "name", example: "\"ingest-evening\"" },
    Key { name: "description", example: "\"What the evening brings\"" },
    Key { name: "targets", example: "[\"rtmp://10.0.0.5:1935/live\"]" },
    Key { name: "allow", example: "[\"203.0.113.7\"]" },
    Key { name: "family", example: "\"ipv4\"" },
    Key { name: "workers", example: "2" },
    Key { name: "cpus", example: "\"2-15\"" },
    Key { name: "seed", example: "7" },
    Key { name: "engine", example: "\"io_uring\"" },
    Key { name: "threshold", example: "[[threshold]] with metric = \"response.p99\" and below = \"50ms\"" },
    Key { name: "thresholds", example: "[\"failed<1% in 1m\"]" },
    Key { name: "abort_if", example: "\"failed>5% for 5s\"" },
    Key { name: "canary", example: "\"rtmp://10.0.0.5:1935/live\"" },
    Key { name: "drain", example: "true" },
    Key { name: "release", example: "\"5k/s\"" },
    Key { name: "resolve", example: "\"30s\"" },
    Key { name: "proxy_protocol", example: "\"v2\"" },
    Key { name: "client_ips", example: "\"10.9.0.0/16\"" },
    Key { name: "media", example: "\"clip.flv\"" },
    Key { name: "bitrate", example: "\"2.5M\"" },
    Key { name: "media_clients", example: "\"10%\"" },
    Key { name: "hold_check", example: "\"30s\"" },
    Key { name: "enhanced_rtmp", example: "true" },
    Key { name: "tls", example: "{ ca = \"ca.pem\" }" },
    Key { name: "sources", example: "[\"10.0.1.2-10.0.1.33\"]" },
    Key { name: "population", example: "[[population]] with a name and stages" },
];

/// A scenario whose only population may stand beside the keys of the whole.
const ALONE: Level = Level { what: "a scenario", keys: &[SCENARIO_KEYS, POPULATION_KEYS] };

const POPULATION: Level = Level { what: "a population", keys: &[POPULATION_KEYS] };

const THRESHOLD: Level = Level {
    what: "a threshold",
    keys: &[&[
        Key { name: "metric", example: "\"response.p99\"" },
        Key { name: "below", example: "\"50ms\"" },
        Key { name: "at_most", example: "\"1%\"" },
        Key { name: "above", example: "\"19k/s\"" },
        Key { name: "at_least", example: "\"19k/s\"" },
        Key { name: "in", example: "\"1m\"" },
    ]],
};

const TLS: Level = Level {
    what: "tls",
    keys: &[&[
        Key { name: "ca", example: "\"ca.pem\"" },
        Key { name: "insecure", example: "true" },
        Key { name: "name", example: "\"ingest.example\"" },
        Key { name: "resume", example: "true" },
    ]],
};

const TARGET: Level = Level {
    what: "a target",
    keys: &[&[Key { name: "url", example: "\"rtmp://10.0.0.5:1935/live\"" }, Key { name: "weight", example: "3" }]],
};

fn populations(document: &Table, list: Item) -> Result<Vec<PopulationRequest>, ScenarioError> {
    let own = POPULATION_KEYS.iter().map(|key| key.name);
    let stray: Vec<&str> = own.filter(|name| !SCENARIO_KEYS.iter().any(|key| key.name == *name)).collect();
    if let Some(stray) = document.present(&stray).first() {
        return Err(stray.key_error(format!(
            "'{}' here makes this scenario a single population, and line {} begins [[population]]; move it below there",
            stray.name(),
            list.line()
        )));
    }
    let tables = list.tables(&POPULATION, &[&ALONE, &stage::STAGE, &stage::STORM, &THRESHOLD])?;
    let several = tables.len() > 1;
    let mut populations: Vec<PopulationRequest> = Vec::new();
    for table in &tables {
        let name = match table.get("name") {
            None if several => Some(table.require("name")?),
            name => name,
        };
        let (targets, weights) = targets(table.get("targets"))?;
        let sources = sources(table.get("sources"))?;
        let population = PopulationRequest { targets, weights, sources, ..population(table, name)? };
        if let Some(index) = populations.iter().position(|other| other.name == population.name) {
            let first = tables[index].get("name").map_or(0, |name| name.line());
            return Err(name.expect("only one population may lack a name").error(format!(
                "'{}' is already the name of the population in line {first}; give each a name of its own",
                population.name
            )));
        }
        populations.push(population);
    }
    if populations.is_empty() {
        return Err(list.error("the list is empty; write [[population]] and its keys"));
    }
    Ok(populations)
}

/// Targets and their weights; no weights if all are equal.
fn targets(item: Option<Item>) -> Result<(Vec<TargetText>, Vec<u32>), ScenarioError> {
    let weighted = elements(item, |item| match item.is_table() {
        false => Ok((item.read()?, 1)),
        true => {
            let target = item.table(&TARGET, &[&ALONE])?;
            let weight = optional(target.get("weight"), |item| item.whole(1..=super::request::MAX_WEIGHT))?;
            Ok((target.require("url")?.read()?, weight.unwrap_or(1)))
        }
    })?;
    if let Some(item) = item.filter(|_| weighted.is_empty()) {
        return Err(item.error("the list is empty; name a target, or leave the key out for the built-in sink"));
    }
    let (targets, weights): (Vec<_>, Vec<u32>) = weighted.into_iter().unzip();
    let equal = weights.iter().all(|weight| *weight == 1);
    Ok((targets, if equal { Vec::new() } else { weights }))
}

/// The conditions of `thresholds`, then those of each `[[threshold]]`, and where they stand.
fn thresholds(document: &Table) -> Result<(Vec<String>, Vec<usize>), ScenarioError> {
    let mut conditions = elements(document.get("thresholds"), |item| {
        item.read::<Threshold>().map(|condition| (condition.to_string(), item.at()))
    })?;
    if let Some(list) = document.get("threshold") {
        for table in list.tables(&THRESHOLD, &[&ALONE, &POPULATION])? {
            conditions.push((threshold(&table)?, table.require("metric")?.at()));
        }
    }
    Ok(conditions.into_iter().unzip())
}

fn threshold(table: &Table) -> Result<String, ScenarioError> {
    const OPERATORS: [(&str, &str); 4] = [("below", "<"), ("at_most", "<="), ("above", ">"), ("at_least", ">=")];
    let metric = table.require("metric")?;
    let limits = table.present(&OPERATORS.map(|(name, _)| name));
    let limit = match limits.as_slice() {
        [limit] => limit,
        [] => return Err(table.error("the threshold has no limit; give one of below, at_most, above, at_least")),
        [first, second, ..] => {
            return Err(second.key_error(format!(
                "'{}' and '{}' contradict each other; a threshold has one limit, write two thresholds",
                first.name(),
                second.name()
            )));
        }
    };
    let (_, operator) = OPERATORS.into_iter().find(|(name, _)| *name == limit.name()).expect("one of these");
    let (subject, value) = (metric.text()?, limit.written()?);
    let condition = format!("{subject}{operator}{value}");
    if let Err(error) = condition.parse::<Threshold>() {
        // A metric that takes none of the three kinds of limit is none; else it is the limit that is wrong.
        let takes = |limit| format!("{subject}{operator}{limit}").parse::<Threshold>().is_ok();
        let wrong = if ["1ms", "1%", "1/s"].into_iter().any(takes) { limit } else { &metric };
        return Err(wrong.error(error));
    }
    let Some(window) = table.get("in") else { return Ok(condition) };
    let windowed = format!("{condition} in {}", window.text()?);
    windowed.parse::<Threshold>().map_err(|error| window.error(error))?;
    Ok(windowed)
}

fn tls(item: &Item) -> Result<TlsRequest, ScenarioError> {
    let table = item.table(&TLS, &[&ALONE, &POPULATION])?;
    Ok(TlsRequest {
        ca: optional(table.get("ca"), Item::path)?,
        insecure: optional(table.get("insecure"), Item::flag)?,
        name: optional(table.get("name"), |item| item.text().map(str::to_owned))?,
        resume: optional(table.get("resume"), Item::flag)?,
    })
}

fn client_ips(item: &Item) -> Result<IpNet, ScenarioError> {
    let text = item.text()?;
    text.parse().map_err(|_| item.error(format!("'{text}' is not a range of addresses; write for example 10.9.0.0/16")))
}

/// The value of a key that may be left out.
fn optional<'a, T>(
    item: Option<Item<'a>>,
    read: impl FnOnce(&Item<'a>) -> Result<T, ScenarioError>,
) -> Result<Option<T>, ScenarioError> {
    item.map(|item| read(&item)).transpose()
}

/// The values of a list that may be left out, or be one value.
fn elements<'a, T>(
    item: Option<Item<'a>>,
    read: impl Fn(&Item<'a>) -> Result<T, ScenarioError>,
) -> Result<Vec<T>, ScenarioError> {
    item.map_or_else(Vec::new, |item| item.elements()).iter().map(read).collect()
}

#[cfg(test)]
mod tests;
