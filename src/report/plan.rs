//! The effective plan on paper.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::plot::{Quantity, curve};
use super::quantity::bytes;
use crate::base::{DurationText, Nanos, Seed, host_address, rate_text};
use crate::fleet::CpuList;
use crate::io::Engine;
use crate::load::ArrivalPattern;
use crate::run::{
    ClosePolicy, Hold, Lane, LoadPlan, MemoryNeed, Pace, Population, RunPlan, StagePlan, StepPlan, Target, TargetShare,
    Verify, WorkerMemory,
};
use crate::scenario::Machine;

mod curves;
pub mod sessions;

/// The plan for a machine, at most `width` columns wide; `seed` is the one asked for.
pub fn render(plan: &RunPlan, seed: Option<Seed>, machine: &Machine, memory: &MemoryNeed, width: u16) -> String {
    let mut paper = Paper { text: String::new(), width: usize::from(width) };
    let name = plan.scenario.as_deref().unwrap_or("scenario");
    paper.line(&format!("{name}: {}, {}", count(plan.populations.len() as u64, "population"), length(plan)));
    for population in &plan.populations {
        paper.population(plan, population);
    }
    paper.totals(plan, seed, machine, memory);
    paper.text
}

struct Paper {
    text: String,
    width: usize,
}

impl Paper {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A label and words; further lines stand below the words.
    fn item(&mut self, label: &str, words: &str) {
        const LABEL: usize = 12;
        let mut line = format!("  {label:LABEL$}");
        let mut empty = true;
        for word in words.split(' ') {
            if !empty && line.chars().count() + 1 + word.chars().count() > self.width {
                self.line(&line);
                line = " ".repeat(2 + LABEL);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.line(&line);
    }

    fn population(&mut self, plan: &RunPlan, population: &Population) {
        self.line("");
        self.line(&population.name);
        self.item("clients", &clients(population));
        self.item("targets", &targets(plan, &population.targets));
        self.item("sources", &sources(plan, &population.sources));
        self.item("conduct", &conduct(population));
        if let Some(course) = sessions::course(plan, population) {
            self.item("session", &course);
        }
        if let Some(expect) = population.expect {
            self.item("expects", &expect.to_string());
        }
        self.text.push('\n');
        self.stages(population);
        let arrivals = curves::arrivals(population);
        if !arrivals.is_empty() {
            self.line("");
            self.line("  planned arrivals per second");
            self.text.push_str(&curve(&arrivals, Quantity::PerS, self.width as u16));
        }
        let clients = curves::clients(population);
        if !clients.is_empty() {
            self.line("");
            self.line("  planned clients at a time");
            self.text.push_str(&curve(&clients, Quantity::Count, self.width as u16));
        }
    }

    fn stages(&mut self, population: &Population) {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.add_row(["begins", "stage", "load", "for", "attempts", "slots"]);
        for lane in &population.lanes {
            for row in rows(lane) {
                table.add_row(row);
            }
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((2, 0));
            if index >= 3 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.trim_fmt().lines() {
            self.line(line);
        }
    }

    fn memory(&mut self, plan: &RunPlan, need: &MemoryNeed) {
        let WorkerMemory { slots, buffers, templates, histograms, rings } = need.worker;
        let parts = [
            ("slots", slots, ""),
            ("buffers", buffers, " if all are in flight at once"),
            ("templates", templates, ""),
            ("histograms", histograms, ""),
            ("rings", rings, ""),
        ];
        let parts = parts.iter().map(|(name, size, when)| format!("{name} {}{when}", bytes(*size)));
        let of_each = match need.workers {
            1 => "for the worker".to_owned(),
            workers => format!("for each of {workers} workers"),
        };
        let shared = match need.shared_bytes {
            0 => String::new(),
            shared => format!(", {} of audio and video shared", bytes(shared)),
        };
        let kernel = match need.kernel_bytes {
            0 => String::new(),
            kernel => format!("; the kernel's for all connections about {}", bytes(kernel)),
        };
        let sink = if plan.built_in_sink { "; the built-in sink's not included" } else { "" };
        self.item(
            "memory",
            &format!(
                "at most {} {of_each} ({}){shared}, {} in all{kernel}{sink}",
                bytes(need.worker_bytes),
                parts.collect::<Vec<_>>().join(", "),
                bytes(need.total_bytes)
            ),
        );
    }

    fn totals(&mut self, plan: &RunPlan, seed: Option<Seed>, machine: &Machine, memory: &MemoryNeed) {
        let slots = u64::from(plan.concurrency());
        let (peak, burst) = curves::peaks(plan);
        self.line("");
        self.line("in all");
        self.item("length", &length(plan));
        self.item("attempts", &attempts(plan));
        let bursts = if burst > 0 { format!(", and {burst} at once") } else { String::new() };
        let peak = if peak > 0.0 { format!("{}{bursts}", rate_text(peak)) } else { format!("none planned{bursts}") };
        self.item("peak rate", &peak);
        self.item("connections", &format!("at most {slots}"));
        let pairs = |population: &Population| (population.sources.len().max(1) * population.targets.len()) as u64;
        let ports = plan.populations.iter().map(|p| u64::from(p.concurrency()).div_ceil(pairs(p))).max().unwrap_or(0);
        self.item(
            "ports",
            &format!(
                "at most {ports} from a source to a target, which have {}",
                count(u64::from(machine.ports), "port")
            ),
        );
        let descriptors = match plan.engine {
            // RLIMIT_NOFILE bounds each ring's table, or all files of the process.
            Engine::Epoll => {
                format!("at most {slots} for connections of the process, which may have {}", machine.descriptors)
            }
            Engine::IoUring | Engine::Sim => format!(
                "at most {} in each of {}, which may have {}",
                slots.div_ceil(u64::from(plan.workers)),
                count(u64::from(plan.workers), "worker"),
                machine.descriptors
            ),
        };
        self.item("descriptors", &descriptors);
        self.memory(plan, memory);
        if !plan.cpus.is_empty() {
            let round = if plan.workers as usize > plan.cpus.len() { ", in turn" } else { "" };
            self.item("CPUs", &format!("workers on {}{round}", CpuList::from(plan.cpus.clone())));
        }
        self.item("engine", &plan.engine.to_string());
        self.item("seed", &seed.map_or_else(|| "random".to_owned(), |seed| seed.to_string()));
        for threshold in &plan.thresholds {
            self.item("threshold", &threshold.to_string());
        }
        for condition in &plan.abort_if {
            self.item("abort if", &condition.to_string());
        }
        if plan.drain {
            self.item("drain", "the end of the load waits until every hold is over");
        }
        if let Some(per_s) = plan.release_per_s {
            self.item("release", &format!("{} of the connections held at the end", rate_text(per_s)));
        }
        let described = [
            ("media", sessions::media(plan)),
            ("TLS", sessions::tls(plan)),
            ("hold check", sessions::hold_check(plan)),
        ];
        for (label, text) in described {
            if let Some(text) = text {
                self.item(label, &text);
            }
        }
        if plan.enhanced_rtmp {
            self.item("codecs", "those of Enhanced RTMP are offered in connect");
        }
        if let Some(every) = plan.resolve_every_ns {
            self.item("names", &format!("looked up again every {}", span(every)));
        }
        if let Some(proxy) = plan.proxy_protocol {
            let version = format!("{:?}", proxy.version).to_lowercase();
            self.item("header", &format!("PROXY {version} before C0, clients from {}", proxy.client_ips));
        }
    }
}

/// The stages of a lane: begin, name, load, length, attempts, slots.
fn rows(lane: &Lane) -> Vec<[String; 6]> {
    let mut at = lane.begins_ns;
    let mut first = true;
    let mut row =
        |name: &str, warmup: bool, load: String, length: Option<u64>, attempts: String, every: Option<u64>| {
            let begins = every.map_or_else(|| span(at), |every| format!("every {}", span(every)));
            let named = if warmup && name != "warm-up" { format!("{name} (warm-up)") } else { name.to_owned() };
            let slots = if std::mem::take(&mut first) { lane.concurrency.to_string() } else { "same".to_owned() };
            at = at.saturating_add(length.unwrap_or(0));
            [begins, named, load, length.map_or_else(|| "-".to_owned(), span), attempts, slots]
        };
    match &lane.load {
        LoadPlan::Open { stages, repeat, .. } => stages
            .iter()
            .zip(lane.planned_arrivals())
            .map(|(stage, arrivals)| {
                let times = repeat.map_or(1, |repeat| u64::from(repeat.times));
                let planned = match arrivals {
                    Some(all) if times > 1 && all % times == 0 => format!("{times} x {}", all / times),
                    Some(all) if matches!(stage.pace, Pace::Burst { .. }) => all.to_string(),
                    Some(all) => format!("{}{all}", about(lane)),
                    None => "-".to_owned(),
                };
                let every = repeat.map(|repeat| repeat.every_ns);
                row(&stage.name, stage.warmup, open(stage), stage.duration_ns, planned, every)
            })
            .collect(),
        LoadPlan::Closed { steps, attempts } => steps
            .iter()
            .map(|step| {
                let planned = attempts.filter(|_| !step.warmup).map_or_else(|| "-".to_owned(), |most| most.to_string());
                row(&step.name, step.warmup, closed(step), step.duration_ns, planned, None)
            })
            .collect(),
        LoadPlan::Storm { name, fleet, reconnect, duration_ns } => vec![row(
            name,
            false,
            format!("storm of {fleet}, back by {reconnect}"),
            Some(*duration_ns),
            format!("{fleet} or more"),
            None,
        )],
    }
}

fn open(stage: &StagePlan) -> String {
    let load = match stage.pace {
        Pace::Burst { count } => format!("{count} at once"),
        Pace::Rate { from_per_s, to_per_s } if from_per_s == to_per_s => rate_text(from_per_s),
        Pace::Rate { from_per_s, to_per_s } => format!("{} to {}", rate_text(from_per_s), rate_text(to_per_s)),
    };
    if stage.probe { format!("probe, {load}") } else { load }
}

fn closed(step: &StepPlan) -> String {
    if step.from == step.to {
        format!("{} at a time", step.from)
    } else {
        format!("{} to {} at a time", step.from, step.to)
    }
}

fn clients(population: &Population) -> String {
    let all: u64 = population.clients.iter().map(|share| u64::from(share.weight)).sum();
    let named = population.clients.iter().map(|share| match population.clients.len() {
        1 => share.client.name(),
        _ => format!("{} {:.1} %", share.client.name(), 100.0 * f64::from(share.weight) / all as f64),
    });
    named.collect::<Vec<_>>().join(", ")
}

fn targets(plan: &RunPlan, shares: &[TargetShare]) -> String {
    let all: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let named = shares.iter().map(|share| {
        let target = &plan.targets[usize::from(share.target)];
        let part = match shares.len() {
            1 => String::new(),
            _ => format!(" {:.1} %", 100.0 * f64::from(share.weight) / all as f64),
        };
        format!("{}{}{part}", target.name, unknown(plan, target))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// What is not known of a name without asking for it.
fn unknown(plan: &RunPlan, target: &Target) -> &'static str {
    let named = !plan.built_in_sink && host_address(&target.host).is_none();
    if named && target.address.ip().is_unspecified() { " (not looked up)" } else { "" }
}

fn sources(plan: &RunPlan, sources: &[u16]) -> String {
    let address = |index: &u16| plan.sources[usize::from(*index)];
    match sources {
        [] => "the kernel's choice".to_owned(),
        [only] => address(only).to_string(),
        [first, .., last] => format!("{} addresses, {} to {}", sources.len(), address(first), address(last)),
    }
}

/// What an attempt is, and what becomes of its connection.
fn conduct(population: &Population) -> String {
    let until = format!("until {}", population.until);
    let verify = match population.verify {
        Verify::All => "all verified",
        Verify::Sample => "1 in 64 verified",
        Verify::None => "not verified",
    };
    let hold = match population.hold {
        Hold::ForNs(0) => "not held".to_owned(),
        Hold::ForNs(ns) => format!("held {}", span(ns)),
        Hold::Exponential { mean_ns } => format!("held {} on average", span(mean_ns)),
        Hold::Forever => "held to the end".to_owned(),
    };
    let close = match population.close {
        ClosePolicy::Rst => "closed by RST",
        ClosePolicy::Fin => "closed by FIN",
        ClosePolicy::Peer => "closed by the peer",
    };
    let poisson = |lane: &Lane| matches!(lane.load, LoadPlan::Open { arrival: ArrivalPattern::Poisson, .. });
    let arrival = if population.lanes.iter().any(poisson) { ", Poisson arrivals" } else { "" };
    let limits =
        format!("{} to connect, {} to complete", span(population.connect_timeout_ns), span(population.timeout_ns));
    let canary = if population.canary { "the canary: its failure ends the load; " } else { "" };
    format!("{canary}{until}, {verify}, {hold}, {close}{arrival}; {limits}")
}

/// Random arrivals are planned on average.
fn about(lane: &Lane) -> &'static str {
    match lane.load {
        LoadPlan::Open { arrival: ArrivalPattern::Poisson, .. } => "about ",
        _ => "",
    }
}

/// Planned attempts of all populations but the canary, and what is not planned.
fn attempts(plan: &RunPlan) -> String {
    let mut planned = 0;
    let (mut storm, mut closed, mut on_average) = (false, false, "");
    for lane in plan.asked().flat_map(|population| &population.lanes) {
        match &lane.load {
            LoadPlan::Open { .. } => {
                planned += lane.planned_arrivals().into_iter().flatten().sum::<u64>();
                on_average = if on_average.is_empty() { about(lane) } else { on_average };
            }
            LoadPlan::Storm { fleet, .. } => {
                planned += u64::from(*fleet);
                storm = true;
            }
            LoadPlan::Closed { .. } => closed = true,
        }
    }
    let planned = match (planned > 0, storm, closed) {
        (false, ..) => "as many as the closed loop makes".to_owned(),
        (true, false, false) => format!("{on_average}{planned} planned"),
        (true, true, false) => format!("{on_average}{planned} or more: a fleet tries until it is back"),
        (true, _, true) => format!("{on_average}{planned} or more, and those of the closed loop"),
    };
    let has_canary = plan.populations.iter().any(|population| population.canary);
    if has_canary { format!("{planned}; the canary's are in no sum") } else { planned }
}

fn length(plan: &RunPlan) -> String {
    match plan.length() {
        Nanos::MAX => "as long as the attempts last".to_owned(),
        length => span(length.as_u64()),
    }
}

fn span(ns: u64) -> String {
    DurationText(Duration::from_nanos(ns)).to_string()
}

fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
