//! Clients that do the same thing.

use crate::load::{AppName, AppNameError, StreamName, StreamNameError};
use crate::protocol::ClientProfile;
use crate::scenario::request::{ClientRequest, MAX_WEIGHT, PopulationRequest, SourceRange, StageLoad, StageRequest};

use super::document::{Item, Key, ScenarioError, Table, nearest};
use super::{elements, optional, stage};

/// Keys of a population.
pub(super) const POPULATION_KEYS: &[Key] = &[
    Key { name: "name", example: "\"encoders\"" },
    Key { name: "stages", example: "[{ rate = \"20k/s\", for = \"60s\" }]" },
    Key { name: "arrival", example: "\"poisson\"" },
    Key { name: "concurrency", example: "2000" },
    Key { name: "clients", example: "{ ffmpeg = 60, obs = 40 }" },
    Key { name: "mode", example: "\"complex\"" },
    Key { name: "digest", example: "\"first-half\"" },
    Key { name: "verify", example: "\"all\"" },
    Key { name: "until", example: "\"publish\"" },
    Key { name: "app", example: "\"live/room\"" },
    Key { name: "stream", example: "\"load-{id}\"" },
    Key { name: "stream_keys", example: "\"keys.csv\"" },
    Key { name: "hold", example: "\"exp:20m\"" },
    Key { name: "close", example: "\"fin\"" },
    Key { name: "sources", example: "[\"10.0.1.2-10.0.1.33\"]" },
    Key { name: "targets", example: "[\"rtmp://10.0.0.5:1935/live\"]" },
    Key { name: "connect_timeout", example: "\"10s\"" },
    Key { name: "timeout", example: "\"10s\"" },
    Key { name: "expect", example: "\"closed within 60s\"" },
];

/// The name of the only population if it has none.
const UNNAMED: &str = "clients";

/// The population of `table`, which is one `[[population]]` or a whole scenario; without targets and sources, which are
/// the scenario's then.
pub(super) fn population(table: &Table, name: Option<Item>) -> Result<PopulationRequest, ScenarioError> {
    let stages = optional(table.get("stages"), |item| stage::stages(*item))?.unwrap_or_default();
    check_spacing(table, &stages)?;
    Ok(PopulationRequest {
        name: name.map_or_else(|| Ok(UNNAMED.into()), |item| item.label())?,
        stages,
        arrival: optional(table.get("arrival"), Item::choice)?,
        concurrency: optional(table.get("concurrency"), |item| item.whole(1..=u32::MAX))?,
        clients: optional(table.get("clients"), clients)?.unwrap_or_default(),
        mode: optional(table.get("mode"), Item::choice)?,
        digest_at: optional(table.get("digest"), Item::choice)?,
        verify: optional(table.get("verify"), Item::choice)?,
        until: optional(table.get("until"), Item::choice)?,
        app: optional(table.get("app"), app)?,
        stream: optional(table.get("stream"), stream)?,
        stream_keys: optional(table.get("stream_keys"), Item::path)?,
        hold: optional(table.get("hold"), Item::read)?,
        close: optional(table.get("close"), Item::choice)?,
        connect_timeout: optional(table.get("connect_timeout"), Item::length)?,
        timeout: optional(table.get("timeout"), Item::length)?,
        expect: optional(table.get("expect"), Item::read)?,
        origins: table.origins(),
        ..PopulationRequest::default()
    })
}

/// An application. What is wrong with one is said without it: it may hold a token.
fn app(item: &Item) -> Result<AppName, ScenarioError> {
    item.text()?.parse().map_err(|error: AppNameError| item.error(error.cause()))
}

/// A pattern of names. What is wrong with one is said without it: it may be a key.
fn stream(item: &Item) -> Result<StreamName, ScenarioError> {
    item.text()?.parse().map_err(|error: StreamNameError| item.error(error.cause()))
}

/// Local addresses: a list, or one text with commas.
pub(super) fn sources(item: Option<Item>) -> Result<Vec<SourceRange>, ScenarioError> {
    if let Some(item) = item.filter(|item| item.elements().is_empty()) {
        return Err(item.error("the list is empty; name an address, or leave the key out for the kernel's choice"));
    }
    let lists = elements(item, |item| {
        item.text()?.split(',').map(|range| range.parse().map_err(|error| item.error(error))).collect()
    })?;
    Ok(lists.into_iter().flat_map(|list: Vec<SourceRange>| list).collect())
}

/// `{ obs = 40, ffmpeg = 60 }`, `"obs=40,ffmpeg=60"`, or a list of such texts.
fn clients(item: &Item) -> Result<Vec<ClientRequest>, ScenarioError> {
    let mut clients: Vec<ClientRequest> = Vec::new();
    let mut add = |item: &Item, client: Result<ClientRequest, ScenarioError>| {
        let client = client?;
        if clients.iter().any(|other| other.profile == client.profile) {
            return Err(item.error(format!("{} is named twice; give it one weight", client.profile)));
        }
        clients.push(client);
        Ok(())
    };
    match item.named() {
        Some(weights) => {
            for (name, weight) in weights {
                let profile = profile(name).map_err(|error| weight.key_error(format!("clients: {error}")))?;
                let client = weight.whole(1..=MAX_WEIGHT).map(|weight| ClientRequest { profile, weight });
                add(&weight, client)?;
            }
        }
        None => {
            for item in item.elements() {
                for text in item.text()?.split(',') {
                    let (name, _) = text.split_once('=').unwrap_or((text, ""));
                    profile(name.trim()).map_err(|error| item.error(error))?;
                    add(&item, text.trim().parse().map_err(|error| item.error(error)))?;
                }
            }
        }
    }
    match clients.is_empty() {
        true => Err(item.error("nobody is named; write for example { ffmpeg = 60, obs = 40 }, or leave the key out")),
        false => Ok(clients),
    }
}

/// The client of this name, or the nearest one in the error.
fn profile(name: &str) -> Result<ClientProfile, String> {
    name.parse().map_err(|error| {
        let names: Vec<&str> = ClientProfile::ALL.iter().map(|profile| profile.name()).collect();
        match nearest(name, &names) {
            Some(nearest) => format!("'{name}' is not a client; did you mean '{nearest}'?"),
            None => format!("{error}"),
        }
    })
}

/// What spaces or limits arrivals contradicts stages without any.
fn check_spacing(table: &Table, stages: &[StageRequest]) -> Result<(), ScenarioError> {
    let any = |what: fn(StageLoad) -> bool| stages.is_empty() || stages.iter().any(|stage| what(stage.load));
    if let Some(item) = table.get("arrival")
        && !any(StageLoad::has_a_rate)
    {
        return Err(item.key_error(
            "'arrival' spaces the arrivals of a rate and no stage has one: storms, bursts and concurrency have times of \
             their own; drop it",
        ));
    }
    if let Some(item) = table.get("concurrency")
        && !any(StageLoad::has_limited_slots)
    {
        return Err(item.key_error(
            "'concurrency' of a population limits stages with a rate or a burst and there is none; drop it, the stages \
             say how many clients they have",
        ));
    }
    Ok(())
}
