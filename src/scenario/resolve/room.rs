//! How many connections the files of this process allow, and how many workers that takes.

use crate::fleet::MAX_WORKERS;
use crate::io::Engine;
use crate::scenario::PlanError;
use crate::scenario::machine::Machine;
use crate::scenario::origins::Setting;
use crate::scenario::request::Request;

use super::slots::Slots;

/// Connections of a simulated run: as many as one ring's file table may hold.
const MAX_SIMULATED: u32 = 1 << 20;
/// Files that a process has open beside its connections: its own, and those of each worker.
const OWN_FILES: u64 = 64;
const OWN_FILES_OF_A_WORKER: u64 = 4;
/// With the built-in sink each connection has two ends in this process, and sometimes three: a slot begins the next one
/// before the sink has closed the last.
const ENDS_WITH_A_SINK: u64 = 3;

/// Room for connections.
pub(super) struct Room {
    /// At once, in all workers that are there without being needed for room.
    pub(super) connections: u64,
    limit: Limit,
}

enum Limit {
    /// RLIMIT_NOFILE bounds each ring's file table.
    OfAWorker(u32),
    /// It bounds the files of the process.
    OfTheProcess { files: u32, with_sink: bool },
    /// There are no files.
    Simulated,
}

impl Room {
    pub(super) fn of(request: &Request, machine: &Machine, cores: u32, built_in_sink: bool) -> Self {
        let (files, workers) = (machine.descriptors, u64::from(request.workers.unwrap_or(cores)));
        match request.engine() {
            Engine::IoUring => Self { connections: u64::from(files) * workers, limit: Limit::OfAWorker(files) },
            Engine::Epoll => {
                let left = u64::from(files).saturating_sub(OWN_FILES + OWN_FILES_OF_A_WORKER * workers);
                let ends = if built_in_sink { ENDS_WITH_A_SINK } else { 1 };
                let limit = Limit::OfTheProcess { files, with_sink: built_in_sink };
                Self { connections: left / ends, limit }
            }
            Engine::Sim => Self { connections: u64::from(files) * workers, limit: Limit::Simulated },
        }
    }

    /// The number of workers for `concurrency` slots.
    pub(super) fn workers(
        &self,
        request: &Request,
        concurrency: u32,
        cores: u32,
        slots: &Slots<'_>,
        notes: &mut Vec<String>,
    ) -> Result<u32, PlanError> {
        let origins = &request.origins;
        let needed = match self.limit {
            Limit::Simulated => return simulated(request, concurrency, slots),
            Limit::OfTheProcess { files, with_sink } if u64::from(concurrency) > self.connections => {
                return Err(slots.refusal(format!(
                    "{concurrency} slots need as many open files, and the epoll engine has {} for them in all workers \
                     together: the process may have {files} open (the hard limit, ulimit -Hn){}; raise the limit, use \
                     {}, whose limit is for each worker, or {}",
                    self.connections,
                    if with_sink { ", the built-in sink's included" } else { "" },
                    origins.written(Setting::ENGINE, Engine::IoUring),
                    slots.fewer()
                )));
            }
            Limit::OfTheProcess { .. } => 1,
            Limit::OfAWorker(files) => concurrency.div_ceil(files.max(1)),
        };
        match (request.workers, &self.limit) {
            (Some(0), _) => Err(PlanError::new("-t 0 leaves no worker; give at least 1")),
            (Some(workers), _) if workers > MAX_WORKERS => {
                let asks = origins.written(Setting::WORKERS, workers);
                let text = format!("{asks} is too many workers; the most is {MAX_WORKERS}");
                Err(origins.refusal(&[Setting::WORKERS], text))
            }
            (Some(workers), Limit::OfAWorker(files)) if workers < needed => {
                let text = format!(
                    "{concurrency} slots need {needed} workers: a worker's file table holds {files} connections (the hard \
                     limit of open files, ulimit -Hn); give {}, raise the limit, or {}",
                    origins.written(Setting::WORKERS, needed),
                    slots.fewer()
                );
                Err(origins.refusal(&[Setting::WORKERS], text))
            }
            (Some(workers), _) => Ok(workers),
            (None, Limit::OfAWorker(files)) if needed > MAX_WORKERS => Err(slots.refusal(format!(
                "{concurrency} slots need {needed} workers, and the most is {MAX_WORKERS}: a worker's file table holds {files} \
                 connections (the hard limit of open files, ulimit -Hn); raise the limit, or {}",
                slots.fewer()
            ))),
            (None, Limit::OfAWorker(files)) if needed > cores => {
                let core = if cores == 1 { "core" } else { "cores" };
                notes.push(format!(
                    "{needed} workers on {cores} {core}: a worker's file table holds {files} connections (ulimit -Hn) and \
                     {concurrency} slots are needed"
                ));
                Ok(needed)
            }
            (None, _) => Ok(cores.min(concurrency)),
        }
    }
}

fn simulated(request: &Request, concurrency: u32, slots: &Slots<'_>) -> Result<u32, PlanError> {
    if concurrency > MAX_SIMULATED {
        return Err(slots.refusal(format!(
            "the simulated network has room for {MAX_SIMULATED} connections, not {concurrency}; {}",
            slots.fewer()
        )));
    }
    match request.workers {
        None | Some(1) => Ok(1),
        Some(_) => {
            let origins = &request.origins;
            let text = format!("the simulated network runs one worker; drop {}", origins.name(Setting::WORKERS));
            Err(origins.refusal(&[Setting::WORKERS], text))
        }
    }
}
