//! N connections, opened at a planned rate, held all at once, released.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use shakedown::run::RunResult;
use shakedown::sink::SinkCounts;

use super::machine::{KernelMemory, Usage, most_files, sources, tcp_sockets, write_head};
use super::processes::{Generator, Sink};

/// How many connections, how fast.
#[derive(Clone, Copy)]
pub struct Extent {
    pub connections: u32,
    pub per_s: u64,
}

impl Extent {
    pub const FULL: Self = Self { connections: 100_000, per_s: 10_000 };
    /// Connections of a quick run.
    pub const QUICK: u32 = 30_000;
}

/// The most memory that a further held connection may cost in each process, bytes.
const GOAL_BYTES: f64 = 64.0;
/// The rate of the last tenth of the connections is to be at least this part of that of the first.
const GOAL_RATE: f64 = 0.8;
/// What the load is divided into. A load of one part goes before: what it takes is the workers', not the connections'.
const PARTS: u32 = 10;
/// How long all are held.
const REST: Duration = Duration::from_secs(2);
/// Connections that do not get more for so long will not.
const STALLED: Duration = Duration::from_secs(20);

/// When a part of the connections was open, and what had been spent by then.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    connections: u64,
    generator_cpu_s: f64,
    sink_cpu_s: f64,
}

/// A load that was opened, held and released.
struct Held {
    connections: u32,
    marks: Vec<Mark>,
    /// While all were held.
    generator: Usage,
    sink: Usage,
    kernel: KernelMemory,
    /// Until the sockets were closed, and until the generator had ended.
    released: (Duration, Duration),
    result: RunResult,
}

/// Opens, holds and releases them, and prints what it took.
pub fn run(extent: &Extent, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let Extent { connections, per_s } = *extent;
    let workers = connections.div_ceil(most_files()).max(2);
    // Listeners get connections by hash, so each has room for more than its even share.
    let sink_workers = (connections + connections / 20).div_ceil(most_files()).max(2);
    let sources = sources(connections)?;
    write_head(out)?;
    writeln!(out, "{connections} connections from {sources}, {per_s} a second planned")?;

    let sink = Sink::start(sink_workers)?;
    let (rate, threads) = (format!("{per_s}/s"), workers.to_string());
    let arguments = ["-R", &rate, "-t", &threads, "--source", &sources, "--hold", "1h"];
    let few = hold((connections / PARTS).max(1), &arguments, &sink)?;
    let before = KernelMemory::now()?;
    let idle_sink = sink.usage()?;
    let full = hold(connections, &arguments, &sink)?;
    let counts = sink.stop()?;

    write_opening(out, &full.marks)?;
    writeln!(out, "\n{:<43}{:>11}{:>11}", "", "generator", "sink")?;
    writeln!(out, "{:<43}{workers:>11}{sink_workers:>11}", "workers")?;
    write_memory(out, &few, &full)?;
    let user = full.generator.rss + full.sink.rss - idle_sink.rss.min(full.sink.rss);
    write_kernel(out, connections, &before, &full.kernel, user)?;
    let (closed, ended) = full.released;
    writeln!(out, "released in {:.2} s, the generator's end after {:.2} s", closed.as_secs_f64(), ended.as_secs_f64())?;
    write_outcomes(out, &full.result, &counts)?;
    check(&[few, full], &counts)
}

/// Opens so many connections, holds all of them for a while, and releases them.
fn hold(connections: u32, arguments: &[&str], sink: &Sink) -> Result<Held, Box<dyn Error>> {
    let sockets = tcp_sockets()?;
    let count = connections.to_string();
    let generator = Generator::start(&[&[&sink.address, "-n", &count, "-c", &count], arguments].concat())?;
    let marks = open(connections, sockets, &generator, sink)?;
    rest(&generator)?;
    let (of_generator, of_sink, kernel) = (generator.usage()?, sink.usage()?, KernelMemory::now()?);
    let released = release(sockets, &generator)?;
    let result = generator.result()?;
    Ok(Held { connections, marks, generator: of_generator, sink: of_sink, kernel, released, result })
}

/// Waits until all are open; says when each part of them was.
fn open(connections: u32, sockets: u64, generator: &Generator, sink: &Sink) -> Result<Vec<Mark>, Box<dyn Error>> {
    let mark = |connections| -> Result<Mark, Box<dyn Error>> {
        let (generator, sink) = (generator.usage()?, sink.usage()?);
        Ok(Mark { at: Instant::now(), connections, generator_cpu_s: generator.cpu_s, sink_cpu_s: sink.cpu_s })
    };
    let mut marks: Vec<Mark> = Vec::new();
    let mut grown = (0, Instant::now());
    loop {
        if generator.has_ended()? {
            return Err("the generator ended before all connections were open".into());
        }
        // A connection has two ends, both on this machine.
        let opened = tcp_sockets()?.saturating_sub(sockets) / 2;
        if opened > grown.0 {
            grown = (opened, Instant::now());
        } else if grown.1.elapsed() > STALLED {
            writeln!(std::io::stderr(), "no more than {} connections came about", grown.0)?;
            return Ok(marks);
        }
        // The first mark is the first connection: set-up is not opening.
        let next = marks.len() as u64 * u64::from(connections) / u64::from(PARTS);
        if opened > 0 && opened >= next {
            marks.push(mark(opened)?);
        }
        if marks.len() > PARTS as usize {
            return Ok(marks);
        }
    }
}

/// All sockets are there; the last handshakes end.
fn rest(generator: &Generator) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    while began.elapsed() < REST {
        if generator.has_ended()? {
            return Err("the generator ended while it was to hold its connections".into());
        }
    }
    Ok(())
}

/// Ends the hold: how long it takes until the sockets are closed, and until the process has ended.
fn release(sockets: u64, generator: &Generator) -> Result<(Duration, Duration), Box<dyn Error>> {
    let began = Instant::now();
    generator.interrupt()?;
    let mut closed = None;
    while !generator.has_ended()? {
        if closed.is_none() && tcp_sockets()? <= sockets {
            closed = Some(began.elapsed());
        }
    }
    let ended = began.elapsed();
    Ok((closed.unwrap_or(ended), ended))
}

fn write_opening(out: &mut impl Write, marks: &[Mark]) -> Result<(), Box<dyn Error>> {
    writeln!(out, "\n{:>10}{:>9}{:>10}{:>17}{:>12}", "open", "seconds", "a second", "generator us/c", "sink us/c")?;
    let mut rates = Vec::new();
    for pair in marks.windows(2) {
        let [from, to] = pair else { unreachable!("windows of two") };
        let (seconds, opened) = ((to.at - from.at).as_secs_f64(), (to.connections - from.connections) as f64);
        let [generator, sink] = [to.generator_cpu_s - from.generator_cpu_s, to.sink_cpu_s - from.sink_cpu_s]
            .map(|cpu_s| cpu_s * 1e6 / opened);
        rates.push(opened / seconds);
        writeln!(out, "{:>10}{seconds:>9.2}{:>10.0}{generator:>17.1}{sink:>12.1}", to.connections, opened / seconds)?;
    }
    if let [first, .., last] = rates[..] {
        let ratio = last / first;
        let verdict = if ratio >= GOAL_RATE { "reached" } else { "MISSED" };
        writeln!(out, "rate of the last tenth to that of the first: {ratio:.2} (goal {GOAL_RATE}: {verdict})")?;
    }
    Ok(writeln!(out, "us/c: CPU time of the process for each connection")?)
}

fn write_memory(out: &mut impl Write, few: &Held, full: &Held) -> Result<(), Box<dyn Error>> {
    for held in [few, full] {
        let mut row = |name: &str, figure: fn(&Usage) -> u64| {
            let [generator, sink] =
                [&held.generator, &held.sink].map(|usage| format!("{:.1} MB", figure(usage) as f64 / 1e6));
            writeln!(out, "{name:<43}{generator:>11}{sink:>11}")
        };
        row(&format!("peak RSS, {} held", held.connections), |usage| usage.peak_rss)?;
        row("  anonymous", |usage| usage.anonymous)?;
    }
    let further = f64::from(full.connections - few.connections);
    let each = [
        (full.generator.peak_rss - few.generator.peak_rss.min(full.generator.peak_rss)) as f64 / further,
        (full.sink.peak_rss - few.sink.peak_rss) as f64 / further,
    ];
    let all = [&full.generator, &full.sink].map(|usage| usage.peak_rss as f64 / f64::from(full.connections));
    for (name, [generator, sink]) in
        [("bytes for each further connection", each), ("bytes for each connection, of everything", all)]
    {
        writeln!(out, "{name:<43}{generator:>9.1} B{sink:>9.1} B")?;
    }
    let verdict = if each[0].max(each[1]) <= GOAL_BYTES { "reached" } else { "MISSED" };
    Ok(writeln!(out, "goal: at most {GOAL_BYTES} bytes for each further connection: {verdict}")?)
}

/// `user` is what both processes have more than before.
fn write_kernel(
    out: &mut impl Write,
    connections: u32,
    before: &KernelMemory,
    after: &KernelMemory,
    user: u64,
) -> Result<(), Box<dyn Error>> {
    let grown = |figure: fn(&KernelMemory) -> u64| figure(after) as f64 - figure(before) as f64;
    let (slab, all) = (grown(|memory| memory.slab), -grown(|memory| memory.available) - user as f64);
    let each = |bytes: f64| bytes / f64::from(connections);
    writeln!(out, "\nkernel, both ends: slab {:.0} MB ({:.0} bytes a connection),", slab / 1e6, each(slab))?;
    writeln!(out, "TCP queues {:.1} MB at the top;", after.tcp_queues as f64 / 1e6)?;
    Ok(writeln!(out, "unavailable beside both RSS {:.0} MB ({:.0} bytes a connection)", all / 1e6, each(all))?)
}

fn write_outcomes(out: &mut impl Write, result: &RunResult, counts: &SinkCounts) -> Result<(), Box<dyn Error>> {
    let (attempts, held) = (&result.attempts, &result.connections);
    writeln!(
        out,
        "generator: {} completed, {} failed, {} dropped, {} held at once, {} lost while held",
        attempts.completed, attempts.failed, attempts.dropped, held.held_peak, held.lost_while_held
    )?;
    for failure in &result.failures {
        writeln!(out, "  {:?} {:?}: {}", failure.step, failure.kind, failure.count)?;
    }
    let late = result.generator.findings.iter().map(|finding| finding.code.to_string()).collect::<Vec<_>>();
    writeln!(out, "  findings: {}", if late.is_empty() { "none".to_owned() } else { late.join(", ") })?;
    Ok(writeln!(
        out,
        "sink (with the tenth before): {} accepted, {} C2 valid, {} refused, {} reset, {} abandoned",
        counts.accepted, counts.c2_valid, counts.refused, counts.reset, counts.abandoned
    )?)
}

/// Every connection was held, at the same time, and both sides say so.
fn check(loads: &[Held], counts: &SinkCounts) -> Result<(), Box<dyn Error>> {
    for Held { connections, result, .. } in loads {
        let wanted = u64::from(*connections);
        let seen = (result.attempts.completed, result.connections.held_peak, result.connections.lost_while_held);
        if seen != (wanted, wanted, 0) {
            return Err(format!("not all of {connections} connections were opened and held").into());
        }
    }
    let all = loads.iter().map(|load| u64::from(load.connections)).sum();
    if (counts.accepted, counts.c2_valid) == (all, all) {
        Ok(())
    } else {
        Err(format!("the sink saw {} connections and {} valid C2s of {all}", counts.accepted, counts.c2_valid).into())
    }
}
