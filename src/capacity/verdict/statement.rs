//! The capacity in one plain sentence: what was measured is part of the number.

use crate::base::{DurationText, Nanos, rate_text};
use crate::engine::ClosePolicy;
use crate::finding::Finding;
use crate::measure::Until;
use crate::protocol::HandshakeMode;
use crate::run::{Hold, RunPlan, Verdict};
use crate::search::{attempts_to_tell, loss_at_most};

use crate::capacity::result::{
    CapacityResult, Concurrent, Confirmation, GoalResult, LimitedBy, Outcome, Qualification,
};

/// The sentence at the top of every report.
pub fn statement(result: &CapacityResult) -> String {
    let found = if let Some(concurrent) = &result.concurrent {
        of_concurrent(result, concurrent)
    } else if let Some(goal) = result.first_goal() {
        match &result.qualification {
            Some(qualification) => of_qualification(result, qualification, goal),
            None => of_goal(result, goal),
        }
    } else {
        nothing(result)
    };
    let sentence = format!("{}: {found}", whom(result));
    match result.recovered {
        Some(false) => format!("{sentence}; it did not recover from the overload{}", overload_rate(result)),
        _ => sentence,
    }
}

/// A share in percent without needless digits.
pub fn percent_text(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if (1.0..99.0).contains(&percent) { format!("{percent:.2}") } else { format!("{percent:.4}") };
    let text = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", if text.is_empty() { "0" } else { text })
}

/// Server, address, and how far away it is.
fn whom(result: &CapacityResult) -> String {
    let mut addresses: Vec<String> = result.plan.targets.iter().map(|target| target.address.to_string()).collect();
    addresses.dedup();
    let addresses = match addresses.as_slice() {
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => result.target.clone(),
    };
    let loopback = result.plan.targets.iter().all(|target| target.address.ip().is_loopback());
    let simulated = result.plan.engine == crate::io::Engine::Sim;
    let place = match result.baseline.as_ref().and_then(|baseline| baseline.rtt_ns) {
        _ if simulated => "simulated".to_owned(),
        _ if loopback => "loopback".to_owned(),
        Some(rtt) => format!("RTT {}", Nanos::new(rtt)),
        None => "RTT unknown".to_owned(),
    };
    let at = if simulated { result.target.clone() } else { addresses };
    match result.labels.get("server").or(result.server.as_ref()) {
        Some(server) => format!("{server} at {at}, {place}"),
        None => format!("{at}, {place}"),
    }
}

fn of_goal(result: &CapacityResult, goal: &GoalResult) -> String {
    match goal.confirmed_per_s {
        Some(rate) => of_confirmed(result, goal, &rate_text(rate)),
        None => of_unconfirmed(result, goal),
    }
}

/// What is said of a goal for which a longer run confirmed `rate`.
fn of_confirmed(result: &CapacityResult, goal: &GoalResult, rate: &str) -> String {
    let (bounds, limit, measured) = (bounds(goal), limit(goal), measured(result, goal, true));
    match goal.outcome {
        Outcome::Confirmed => format!("{rate} {measured}{bounds}; {limit}{}", generator(result)),
        Outcome::RangeLimited => {
            format!("at least {rate} {measured}; range-limited: no higher rate was allowed{}", generator(result))
        }
        Outcome::GeneratorLimited => format!("at least {rate} {measured}; generator-limited: {}", goal.because),
        Outcome::Undecided => format!(
            "at least {rate} {measured}{bounds}; the search ended before {}",
            if goal.upper_bound_per_s.is_some() { "its bounds were close" } else { "it found the limit" }
        ),
        Outcome::Unstable | Outcome::NothingCompletes | Outcome::NotDecidable | Outcome::DidNotRecover => {
            of_unconfirmed(result, goal)
        }
        Outcome::NotConfirmed => format!("{rate} {measured}{bounds}; {limit}"),
    }
}

fn of_unconfirmed(result: &CapacityResult, goal: &GoalResult) -> String {
    let bounds = bounds(goal);
    let limit = limit(goal);
    match (goal.outcome, goal.lower_bound_per_s) {
        (Outcome::GeneratorLimited, Some(rate)) => format!(
            "at least {} {}, not confirmed; generator-limited: {}",
            rate_text(rate),
            measured(result, goal, false),
            goal.because
        ),
        (Outcome::GeneratorLimited, None) => {
            format!("no capacity can be stated; generator-limited: {}", goal.because)
        }
        (Outcome::Unstable, _) => format!(
            "no capacity to state: unstable, {} lose more than {} within {}{bounds}; {}",
            contradicted(result),
            percent_text(goal.loss_ratio),
            deadline(result),
            if result.findings.iter().any(Finding::is_lost_cpu_time) {
                "stalls, not a limit: of the target, or of this machine, where other programs used CPU time"
            } else {
                "stalls, not a limit"
            }
        ),
        (Outcome::NothingCompletes, _) => format!(
            "no capacity: not even the lowest rate is met, {} within {}; {limit}",
            percent_text(1.0 - goal.loss_ratio),
            deadline(result)
        ),
        (Outcome::NotDecidable, Some(rate)) => {
            format!("about {} by short trials{bounds}, which is not decidable: {}", rate_text(rate), goal.because)
        }
        (Outcome::NotDecidable, None) => format!("not decidable: {}", goal.because),
        (Outcome::DidNotRecover, Some(rate)) => {
            format!("at least {} {}, not confirmed", rate_text(rate), measured(result, goal, false))
        }
        (Outcome::DidNotRecover, None) => "no capacity can be stated".to_owned(),
        (Outcome::NotConfirmed, Some(rate)) => format!(
            "about {} {}, but no longer run confirmed it{bounds}; {limit}",
            rate_text(rate),
            measured(result, goal, false)
        ),
        (_, Some(rate)) => {
            format!(
                "{} {} {}, not confirmed: the search ended first{bounds}",
                // What met the goal is no estimate of what would miss it.
                if goal.upper_bound_per_s.is_some() { "about" } else { "at least" },
                rate_text(rate),
                measured(result, goal, false)
            )
        }
        (_, None) => "the search ended before anything was known".to_owned(),
    }
}

fn of_qualification(result: &CapacityResult, qualification: &Qualification, goal: &GoalResult) -> String {
    let need = rate_text(qualification.need_per_s);
    let offered = rate_text(qualification.offered_per_s);
    let margin = format!("{:.2}", qualification.margin);
    let margin = margin.trim_end_matches('0').trim_end_matches('.');
    let headroom =
        qualification.headroom.map_or_else(String::new, |headroom| format!("; headroom at least {headroom:.2}"));
    match (qualification.qualified, qualification.headroom) {
        (Some(true), _) => format!(
            "yes, it takes {need} with a margin of {margin}: {offered} {}{headroom}{}",
            measured(result, goal, true),
            generator(result)
        ),
        (Some(false), Some(headroom)) if headroom >= 1.0 => format!(
            "no: it takes {need}, but not the margin of {margin}: {offered} is missed, {} {}",
            need,
            measured(result, goal, true)
        ),
        (Some(false), _) => format!(
            "no, it does not take {need}: {} within {} is missed; {}",
            percent_text(1.0 - goal.loss_ratio),
            deadline(result),
            limit(goal)
        ),
        (None, _) if result.interrupted.is_some() => {
            format!("whether it takes {need} is undecided: the search was interrupted")
        }
        (None, _) => format!("whether it takes {need} is undecided: {}", goal.because),
    }
}

fn of_concurrent(result: &CapacityResult, concurrent: &Concurrent) -> String {
    let idle = concurrent.idle_timeout_s.map_or_else(
        || format!("no idle time-out within {:.0} s", concurrent.watched_s),
        |age| format!("its idle time-out is {:.1} s", age),
    );
    let at_least = if concurrent.limited_by == LimitedBy::Target { "" } else { "at least " };
    format!(
        "{at_least}{} connections at once, {}, opened at {}; {}; {idle}",
        concurrent.held_peak,
        until(result),
        rate_text(concurrent.ramp_per_s),
        concurrent.because
    )
}

fn nothing(result: &CapacityResult) -> String {
    let baseline = result.baseline.as_ref();
    let worst = baseline.and_then(|baseline| baseline.failures.iter().max_by_key(|failure| failure.count));
    match worst {
        Some(worst) if result.nothing_completed().is_some() => {
            format!(
                "nothing completes: {} of {} attempts failed ({} {})",
                worst.count,
                baseline.map_or(0, |b| b.attempts),
                worst.step,
                worst.kind
            )
        }
        _ if result.verdict == Verdict::Inconclusive => "the search ended before anything was known".to_owned(),
        _ => "nothing is known".to_owned(),
    }
}

/// Mode, confirmation, what completes an attempt, close, deadline.
fn measured(result: &CapacityResult, goal: &GoalResult, confirmed: bool) -> String {
    let confirmation = match &result.confirmation {
        Some(confirmation) if confirmed => format!(
            " confirmed for {}{}",
            DurationText(Nanos::from_millis((confirmation.duration_s * 1e3).round() as u64).into()),
            what_few_attempts_show(confirmation, goal)
        ),
        _ => String::new(),
    };
    format!(
        "{}{confirmation}, {}{}, {} close, {} within {}",
        what(&result.plan),
        until(result),
        held(&result.plan),
        match result.close {
            ClosePolicy::Rst => "RST",
            ClosePolicy::Fin => "FIN",
            ClosePolicy::Peer => "server's",
        },
        percent_text(1.0 - goal.loss_ratio),
        deadline(result)
    )
}

/// How many attempts a confirmation rests on, and what they show, where they are few for the goal.
fn what_few_attempts_show(confirmation: &Confirmation, goal: &GoalResult) -> String {
    /// So many times the attempts without which nothing can be told leave no doubt worth a word.
    const MANY: u64 = 5;
    if confirmation.attempts >= MANY * attempts_to_tell(goal.loss_ratio) {
        return String::new();
    }
    let most = loss_at_most(confirmation.lost, confirmation.attempts);
    // No more digits than the approximation has.
    let most = percent_text((most * 1e4).ceil() / 1e4);
    format!(" ({} of {} attempts lost: at most {most} at 95 % confidence)", confirmation.lost, confirmation.attempts)
}

/// "complex handshakes", or what several kinds of clients make.
fn what(plan: &RunPlan) -> String {
    let clients = plan.clients();
    let all = |mode| clients.iter().all(|client| client.mode == mode);
    if all(HandshakeMode::Complex) {
        "complex handshakes".to_owned()
    } else if all(HandshakeMode::Simple) {
        "simple handshakes".to_owned()
    } else {
        "handshakes of a mix of clients".to_owned()
    }
}

fn until(result: &CapacityResult) -> &'static str {
    match result.until {
        Until::Handshake => "until S2",
        Until::Reply => "reply awaited",
        Until::Connect => "connect awaited",
        Until::Publish => "publish awaited",
        Until::Play => "first frame awaited",
    }
}

/// How long connections stay: the server has all of them at once.
fn held(plan: &RunPlan) -> String {
    let length = |ns: u64| DurationText(Nanos::new(ns).into());
    let mut holds: Vec<Hold> = plan.populations.iter().map(|population| population.hold).collect();
    holds.dedup();
    match holds.as_slice() {
        [Hold::ForNs(0)] => String::new(),
        [Hold::ForNs(ns)] => format!(", held for {}", length(*ns)),
        [Hold::Exponential { mean_ns }] => format!(", held for {} on average", length(*mean_ns)),
        [Hold::Forever] => ", held to the end".to_owned(),
        _ => ", held for different times".to_owned(),
    }
}

fn deadline(result: &CapacityResult) -> String {
    DurationText(Nanos::from_millis(result.deadline_ns.div_ceil(1_000_000)).into()).to_string()
}

fn bounds(goal: &GoalResult) -> String {
    let number = |rate: f64| rate_text(rate).trim_end_matches("/s").to_owned();
    match (goal.lower_bound_per_s, goal.upper_bound_per_s) {
        (Some(lower), Some(upper)) => format!(" (search {}-{})", number(lower), number(upper)),
        (None, Some(upper)) => format!(" (below {})", rate_text(upper)),
        _ => String::new(),
    }
}

fn limit(goal: &GoalResult) -> String {
    match goal.limited_by {
        LimitedBy::Target => {
            format!("limited by the target: {}", goal.because.strip_prefix("target ").unwrap_or(&goal.because))
        }
        LimitedBy::Network => format!("limited by the network: {}", goal.because),
        LimitedBy::Generator | LimitedBy::Range => goal.because.clone(),
        LimitedBy::Unattributed => "what limits it is not known".to_owned(),
    }
}

/// How far the generator is from its own ceiling.
fn generator(result: &CapacityResult) -> String {
    // No share of what is only known to be possible.
    let ceiling = result.control.as_ref().filter(|control| !control.at_least);
    match ceiling.and_then(|control| control.headroom) {
        Some(headroom) if headroom > 0.0 => format!("; generator at {:.0} % of its ceiling", 100.0 / headroom),
        _ => String::new(),
    }
}

fn overload_rate(result: &CapacityResult) -> String {
    result.overload.as_ref().map_or_else(String::new, |overload| format!(" at {}", rate_text(overload.rate_per_s)))
}

/// How many of the trials exceed at rates that others met: those that overload on purpose are not among them.
fn contradicted(result: &CapacityResult) -> String {
    use crate::capacity::result::TrialPurpose::{Climb, Confirm, Decide};
    let judged =
        || result.trials.iter().filter(|trial| trial.valid && matches!(trial.purpose, Climb | Decide | Confirm));
    let met = judged().filter(|trial| !trial.exceeds).map(|trial| trial.rate_per_s).fold(0.0, f64::max);
    let within = || judged().filter(|trial| trial.rate_per_s <= met);
    let exceeding = within().filter(|trial| trial.exceeds).count();
    format!("{exceeding} of {} trials at rates that others met", within().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_no_needless_digits() {
        let texts = [0.995, 0.99999, 0.5, 0.108_867, 0.000_01, 0.0].map(percent_text);
        assert_eq!(texts, ["99.5 %", "99.999 %", "50 %", "10.89 %", "0.001 %", "0 %"]);
    }
}
