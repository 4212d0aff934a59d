//! One long closed loop: does an attempt cost the same, and does memory stay what it was?

use std::error::Error;
use std::io::Write;
use std::time::SystemTime;

use super::machine::{Usage, write_head};
use super::processes::{Generator, LOOK_EVERY_MS, Sink};

/// The load is divided into so many parts of equal length.
const PARTS: usize = 10;
/// Looks between two readings.
const LOOKS: i64 = 500 / LOOK_EVERY_MS;

/// What both had used at an instant.
struct Reading {
    at: SystemTime,
    generator: Usage,
    sink: Usage,
}

/// Makes so many attempts and prints what each tenth of the time cost.
pub fn run(attempts: u64, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    write_head(out)?;
    writeln!(out, "{attempts} attempts, complex, verify all, close rst, closed loop of 64 slots, 1 worker each\n")?;
    let sink = Sink::start(1)?;
    let count = attempts.to_string();
    let generator = Generator::start(&[&sink.address, "-n", &count, "-c", "64", "-t", "1"])?;
    let mut readings = Vec::new();
    let mut looks = 0;
    while !generator.has_ended()? {
        if looks % LOOKS == 0 {
            readings.push(Reading { at: SystemTime::now(), generator: generator.usage()?, sink: sink.usage()? });
        }
        looks += 1;
    }
    let result = generator.result()?;
    let counts = sink.stop()?;

    writeln!(
        out,
        "{:>9}{:>11}{:>10}{:>16}{:>11}{:>15}{:>10}",
        "seconds", "attempts", "a second", "generator us/a", "sink us/a", "generator RSS", "sink RSS"
    )?;
    let began = humantime::parse_rfc3339(&result.started_at)?;
    let length = result.window.duration_s;
    // Within a row of the timeline the rate is taken to be even.
    let begins = result.timeline.iter().map(|row| f64::from(row.t_s));
    let ends = begins.clone().skip(1).chain([length]);
    let rows: Vec<_> = begins.zip(ends).zip(result.timeline.iter().map(|row| row.completed as f64)).collect();
    let completed_by = |second: f64| -> f64 {
        rows.iter()
            .map(|((begin, end), completed)| completed * ((second - begin) / (end - begin)).clamp(0.0, 1.0))
            .sum()
    };
    let elapsed = |reading: &Reading| reading.at.duration_since(began).map_or(0.0, |since| since.as_secs_f64());
    let marks: Vec<&Reading> = (0..=PARTS)
        .filter_map(|part| {
            let wanted = length * part as f64 / PARTS as f64;
            readings
                .iter()
                .min_by(|one, other| (elapsed(one) - wanted).abs().total_cmp(&(elapsed(other) - wanted).abs()))
        })
        .collect();
    let mut costs = Vec::new();
    for pair in marks.windows(2) {
        let [from, to] = pair else { unreachable!("windows of two") };
        let seconds = elapsed(to) - elapsed(from);
        let attempts = completed_by(elapsed(to)) - completed_by(elapsed(from));
        let cost = |cpu_s: fn(&Reading) -> f64| (cpu_s(to) - cpu_s(from)) * 1e6 / attempts;
        let (generator, sink) = (cost(|reading| reading.generator.cpu_s), cost(|reading| reading.sink.cpu_s));
        costs.push(generator);
        writeln!(
            out,
            "{:>9.1}{attempts:>11.0}{:>10.0}{generator:>16.2}{sink:>11.2}{:>12.1} MB{:>7.1} MB",
            elapsed(to),
            attempts / seconds,
            to.generator.rss as f64 / 1e6,
            to.sink.rss as f64 / 1e6
        )?;
    }
    if let [first, .., last] = costs[..] {
        writeln!(out, "cost of the last tenth to that of the first: {:.3}", last / first)?;
    }
    let (done, failed) = (result.attempts.completed, result.attempts.failed);
    writeln!(out, "{done} completed, {failed} failed; the sink saw {} valid C2s", counts.c2_valid)?;
    if (done, counts.c2_valid) == (attempts, attempts) { Ok(()) } else { Err("not all attempts completed".into()) }
}
