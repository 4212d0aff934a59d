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

/// The most memory that a held connection may cost in each process, bytes.
const GOAL_BYTES: f64 = 64.0;
/// The rate of the last tenth of the connections is to be at least this part of that of the first.
const GOAL_RATE: f64 = 0.8;
/// How long all are held.
const REST: Duration = Duration::from_secs(2);
/// What the load is divided into.
const PARTS: u32 = 10;
/// Attempts of each worker in the load that tells what processes cost without connections.
const FEW: u32 = 20;
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

/// Both processes.
struct Memory {
    generator: Usage,
    sink: Usage,
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
    let few = hold_few(&sink, workers)?;
    let before = KernelMemory::now()?;
    let sockets = tcp_sockets()?;
    let [count, slots, threads] = [connections, connections, workers].map(|number| number.to_string());
    let rate = format!("{per_s}/s");
    let generator = Generator::start(&[
        &sink.address,
        "-R",
        &rate,
        "-n",
        &count,
        "-c",
        &slots,
        "-t",
        &threads,
        "--source",
        &sources,
        "--hold",
        "1h",
    ])?;
    let marks = open(connections, sockets, &generator, &sink)?;
    rest(&generator)?;
    let full = Memory { generator: generator.usage()?, sink: sink.usage()? };
    let at_the_top = KernelMemory::now()?;
    let released = release(sockets, &generator)?;
    let last = Memory { generator: full.generator, sink: sink.usage()? };
    let result = generator.result()?;
    let counts = sink.stop()?;

    write_opening(out, &marks)?;
    writeln!(out, "\n{:<42}{:>11}{:>11}", "", "generator", "sink")?;
    writeln!(out, "{:<42}{workers:>11}{sink_workers:>11}", "workers")?;
    write_memory(out, connections, &few, &full)?;
    writeln!(out, "{:<42}{:>11}{:>7.1} MB", "peak at the end", "", megabytes(last.sink.peak_rss))?;
    write_kernel(out, connections, &before, &at_the_top, &few, &full)?;
    writeln!(
        out,
        "released in {:.2} s, all books closed after {:.2} s",
        released.0.as_secs_f64(),
        released.1.as_secs_f64()
    )?;
    write_outcomes(out, &result, &counts)?;
    check(connections, &result, &counts, few_attempts(workers))
}

fn few_attempts(workers: u32) -> u32 {
    workers * FEW
}

/// Both processes with as many workers as they will have, and next to no connection.
fn hold_few(sink: &Sink, workers: u32) -> Result<Memory, Box<dyn Error>> {
    let sockets = tcp_sockets()?;
    let (count, threads) = (few_attempts(workers), workers.to_string());
    let all = count.to_string();
    let generator = Generator::start(&[&sink.address, "-n", &all, "-c", &all, "-t", &threads, "--hold", "1h"])?;
    open(count, sockets, &generator, sink)?;
    rest(&generator)?;
    let memory = Memory { generator: generator.usage()?, sink: sink.usage()? };
    release(sockets, &generator)?;
    let completed = generator.result()?.attempts.completed;
    if completed == u64::from(count) {
        Ok(memory)
    } else {
        Err(format!("of {count} attempts without load {completed} completed").into())
    }
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

fn write_memory(out: &mut impl Write, connections: u32, few: &Memory, full: &Memory) -> Result<(), Box<dyn Error>> {
    let mut row = |name: &str, figure: fn(&Usage) -> u64, of: &Memory| {
        let [generator, sink] = [&of.generator, &of.sink].map(|usage| format!("{:.1} MB", megabytes(figure(usage))));
        writeln!(out, "{name:<42}{generator:>11}{sink:>11}")
    };
    row("peak RSS, next to no connections", |usage| usage.peak_rss, few)?;
    row("  of it anonymous", |usage| usage.anonymous, few)?;
    row("peak RSS, all held", |usage| usage.peak_rss, full)?;
    row("  of it anonymous", |usage| usage.anonymous, full)?;
    let mut bytes = |name: &str, figure: fn(&Usage, &Usage) -> f64| {
        let of = |few, full| figure(few, full) / f64::from(connections);
        let [generator, sink] = [of(&few.generator, &full.generator), of(&few.sink, &full.sink)];
        writeln!(out, "{name:<42}{generator:>9.1} B{sink:>9.1} B").map(|()| generator.max(sink))
    };
    let each =
        bytes("bytes for each connection, of the difference", |few, full| full.peak_rss as f64 - few.peak_rss as f64)?;
    bytes("bytes for each connection, of everything", |_, full| full.peak_rss as f64)?;
    let verdict = if each <= GOAL_BYTES { "reached" } else { "MISSED" };
    Ok(writeln!(out, "goal: at most {GOAL_BYTES} bytes of the difference: {verdict}")?)
}

fn write_kernel(
    out: &mut impl Write,
    connections: u32,
    before: &KernelMemory,
    after: &KernelMemory,
    few: &Memory,
    full: &Memory,
) -> Result<(), Box<dyn Error>> {
    let grown = |figure: fn(&KernelMemory) -> u64| figure(after) as f64 - figure(before) as f64;
    let (slab, queues) = (grown(|memory| memory.slab), grown(|memory| memory.tcp_queues));
    // The generator that held few has ended when the load begins.
    let user = full.generator.rss + full.sink.rss - few.sink.rss;
    let all = -grown(|memory| memory.available) - user as f64;
    let each = |bytes: f64| bytes / f64::from(connections);
    writeln!(
        out,
        "\nkernel, both ends: slab {:.0} MB ({:.0} bytes a connection), TCP queues {:.0} MB,",
        slab / 1e6,
        each(slab),
        queues / 1e6
    )?;
    Ok(writeln!(
        out,
        "all that became unavailable beside RSS {:.0} MB ({:.0} bytes a connection)",
        all / 1e6,
        each(all)
    )?)
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
        "sink (with the few before): {} accepted, {} C2 valid, {} refused, {} reset, {} abandoned",
        counts.accepted, counts.c2_valid, counts.refused, counts.reset, counts.abandoned
    )?)
}

/// Every connection was held, at the same time, and both sides say so.
fn check(connections: u32, result: &RunResult, counts: &SinkCounts, few: u32) -> Result<(), Box<dyn Error>> {
    let (wanted, all) = (u64::from(connections), u64::from(connections + few));
    let seen = (result.attempts.completed, result.connections.held_peak, result.connections.lost_while_held);
    if seen == (wanted, wanted, 0) && (counts.accepted, counts.c2_valid) == (all, all) {
        Ok(())
    } else {
        Err(format!("not all of {connections} connections were opened and held").into())
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
