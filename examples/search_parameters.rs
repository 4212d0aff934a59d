//! How well the capacity search finds the true rate of simulated servers, with plain bisection beside it.
//!
//! `cargo run --release --example search_parameters [SEEDS]` prints the tables of `docs/search.md` (1 000 seeds a row by
//! default, none of which the parameters were chosen with).

#[path = "../tests/support/search/mod.rs"]
#[allow(dead_code, reason = "test and example use a part each")]
mod simulations;

use shakedown::base::Nanos;
use shakedown::search::SearchSpec;
use simulations::simulated::Freeze;
use simulations::sweep::{Catalogue, GOOD, Method, OVER, SWEEP_BUDGET, Tally};

const DEADLINES_MS: [u64; 4] = [50, 100, 500, 1_000];
const SPOILED: [f64; 4] = [0.0, 0.05, 0.1, 0.2];
const SERVERS: usize = 24;
/// Lower ones served to choose the parameters.
const FIRST_SEED: u64 = 1_001;
const FREEZE: Freeze = Freeze { length_s: 0.3, period_s: 5.0 };

fn main() {
    let seeds = std::env::args().nth(1).map_or(1_000, |text| text.parse().expect("the number of seeds is a number"));
    print_parameters();
    println!("\n{seeds} searches a row, {SERVERS} servers:\n");
    print_rows(None, seeds);
    println!("\nThe same servers, but they stand still for 0.3 s every 5 s:\n");
    print_rows(Some(FREEZE), seeds);
    println!("\nServers with low limits, T 1 s, 200 searches and 200 questions a cell:\n");
    print_low_limits();
}

/// What small fleets meet: found rates, and the share of needs that get a yes, at these parts of the true rate.
fn print_low_limits() {
    const SEEDS: std::ops::Range<u64> = FIRST_SEED..FIRST_SEED + 200;
    const MARGIN: f64 = 1.2;
    const PARTS: [f64; 5] = [0.9, 0.95, 1.02, 1.05, 1.1];
    let deadline = Nanos::from_secs(1);
    let spec = SearchSpec { budget: SWEEP_BUDGET, ..SearchSpec::new(deadline) };
    println!(
        "| limit | found | errors | time: median, longest | {} |",
        PARTS.map(|part| format!("yes at {part}")).join(" | ")
    );
    println!("|--:|--:|--:|--:|{}", "--:|".repeat(PARTS.len()));
    for limit in [3.0, 20.0, 80.0, 300.0] {
        let servers = Catalogue::low(deadline, spec.goals[0].loss_ratio, &[limit]);
        let search = servers.sweep(&spec, Method::Search, 0.0, SEEDS);
        let answers = PARTS.map(|part| {
            let answers = servers.qualify(&spec, part, MARGIN, SEEDS);
            let percent = |count: usize| 100.0 * count as f64 / 200.0;
            format!("{:.0} % ({:.0} % not told)", percent(answers.met), percent(answers.inconclusive))
        });
        println!(
            "| {limit}/s | {} | {} | {:.0} s, {:.0} s | {} |",
            share(search.found, &search),
            errors(&search),
            search.median_time.as_secs_f64(),
            search.longest_time.as_secs_f64(),
            answers.join(" | ")
        );
    }
}

fn print_parameters() {
    for deadline_ms in DEADLINES_MS {
        let spec = SearchSpec::new(Nanos::from_millis(deadline_ms));
        let goal = &spec.goals[0];
        println!(
            "T {deadline_ms} ms: loss {} %, exceed ratio {}, width {} %, trial {} (climb {}), duration sum {}, confirm {}",
            goal.loss_ratio * 100.0,
            goal.exceed_ratio,
            goal.width * 100.0,
            goal.final_trial,
            spec.climb_trial,
            goal.duration_sum,
            spec.confirm
        );
    }
}

fn print_rows(freeze: Option<Freeze>, seeds: u64) {
    let (good, width) = (GOOD * 100.0, SearchSpec::new(Nanos::ZERO).goals[0].width);
    let over = (width + OVER) * 100.0;
    println!(
        "| T | spoiled | > {over:.0} % too high | within {good:.0} % | confirmed | unstable | error | time: median, longest \
         | bisection: > {over:.0} % too high | within {good:.0} % | error | time: median |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for deadline_ms in DEADLINES_MS {
        let deadline = Nanos::from_millis(deadline_ms);
        let spec = SearchSpec { budget: SWEEP_BUDGET, ..SearchSpec::new(deadline) };
        let catalogue = Catalogue::new(deadline, spec.goals[0].loss_ratio, freeze, SERVERS);
        for spoiled in SPOILED {
            let search = catalogue.sweep(&spec, Method::Search, spoiled, FIRST_SEED..FIRST_SEED + seeds);
            let bisection = catalogue.sweep(&spec, Method::Bisection, spoiled, FIRST_SEED..FIRST_SEED + seeds);
            println!(
                "| {deadline_ms} ms | {:.0} % | {} | {} | {} | {} | {} | {:.0} s, {:.0} s | {} | {} | {} | {:.0} s |",
                spoiled * 100.0,
                search.over,
                share(search.good, &search),
                share(search.found, &search),
                share(search.unstable, &search),
                errors(&search),
                search.median_time.as_secs_f64(),
                search.longest_time.as_secs_f64(),
                bisection.over,
                share(bisection.good, &bisection),
                errors(&bisection),
                bisection.median_time.as_secs_f64()
            );
        }
    }
}

fn share(count: usize, tally: &Tally) -> String {
    format!("{:.1} %", 100.0 * count as f64 / tally.searches as f64)
}

fn errors(tally: &Tally) -> String {
    // Without a true rate there is nothing to compare with.
    if !tally.highest.is_finite() {
        return "-".to_owned();
    }
    format!("{:+.1} to {:+.1} %", tally.lowest * 100.0, tally.highest * 100.0)
}
