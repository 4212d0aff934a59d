//! How well the capacity search finds the true rate of simulated servers, with plain bisection beside it.
//!
//! `cargo run --release --example search_parameters [SEEDS]` prints the tables of `docs/search.md` (1 000 seeds a row by
//! default).

use shakedown::base::Nanos;
use shakedown::search::simulated::Freeze;
use shakedown::search::sweep::{Catalogue, GOOD, Method, OVER, SWEEP_BUDGET, Tally};
use shakedown::search::{Goal, SearchSpec};

const DEADLINES_MS: [u64; 4] = [50, 100, 500, 1_000];
const SPOILED: [f64; 4] = [0.0, 0.05, 0.1, 0.2];
const SERVERS: usize = 24;
const FREEZE: Freeze = Freeze { length_s: 0.3, period_s: 5.0 };

fn main() {
    let seeds = std::env::args().nth(1).map_or(1_000, |text| text.parse().expect("the number of seeds is a number"));
    print_parameters();
    println!("\n{seeds} searches a row, {SERVERS} servers\n");
    print_header();
    for deadline_ms in DEADLINES_MS {
        print_rows(deadline_ms, None, seeds);
    }
    println!("\nServers that stand still for 0.3 s every 5 s\n");
    print_header();
    for deadline_ms in DEADLINES_MS {
        print_rows(deadline_ms, Some(FREEZE), seeds);
    }
}

fn print_parameters() {
    for deadline_ms in DEADLINES_MS {
        let goal = Goal::slo(Nanos::from_millis(deadline_ms));
        println!(
            "T {deadline_ms:>4} ms: loss {} %, exceed ratio {}, width {} %, final trial {}, duration sum {}",
            goal.loss_ratio * 100.0,
            goal.exceed_ratio,
            goal.width * 100.0,
            goal.final_trial,
            goal.duration_sum
        );
    }
}

fn print_header() {
    println!(
        "| T | spoiled | search: too high | within {:.0} % | found | unstable | lowest, highest | median time | longest \
         | bisection: too high | within {:.0} % | lowest, highest | median time |",
        GOOD * 100.0,
        GOOD * 100.0
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let _ = OVER;
}

fn print_rows(deadline_ms: u64, freeze: Option<Freeze>, seeds: usize) {
    let deadline = Nanos::from_millis(deadline_ms);
    let spec = SearchSpec { budget: SWEEP_BUDGET, ..SearchSpec::new(deadline) };
    let catalogue = Catalogue::new(deadline, spec.goals[0].loss_ratio, freeze, SERVERS);
    for spoiled in SPOILED {
        let search = catalogue.sweep(&spec, Method::Search, spoiled, seeds);
        let bisection = catalogue.sweep(&spec, Method::Bisection, spoiled, seeds);
        println!(
            "| {deadline_ms} ms | {:.0} % | {} | {} | {} | {} | {} | {:.0} s | {:.0} s | {} | {} | {} | {:.0} s |",
            spoiled * 100.0,
            search.over,
            share(search.good, &search),
            share(search.found, &search),
            share(search.unstable, &search),
            range(&search),
            search.median_time.as_secs_f64(),
            search.longest_time.as_secs_f64(),
            bisection.over,
            share(bisection.good, &bisection),
            range(&bisection),
            bisection.median_time.as_secs_f64()
        );
    }
}

fn share(count: usize, tally: &Tally) -> String {
    format!("{:.1} %", 100.0 * count as f64 / tally.searches as f64)
}

fn range(tally: &Tally) -> String {
    if tally.found == 0 {
        return "-".to_owned();
    }
    format!("{:+.1} %, {:+.1} %", tally.lowest * 100.0, tally.highest * 100.0)
}
