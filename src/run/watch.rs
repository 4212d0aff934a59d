//! Conditions that are judged second by second while the run goes on: windows and outages, early ends, the guard.
//!
//! Nothing here reads a clock: each second comes from the timeline, once, in order, when every worker has reported it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::plan::RunPlan;
use super::threshold::{Condition, Quantity, Threshold};
use crate::base::{DurationText, Nanos};
use crate::measure::{CompletedSecond, IntervalCounts, RecorderLayout, SparseCounts};

mod abort;

pub use abort::{AbortCondition, AbortWatch, GuardWatch, Trip};

/// Follows the windows (`failed<1% in 1m`) and outages (`outage<10s`) that conditions ask about.
///
/// Only the measured load counts: what lies in the warm-up, even in part, is left out, and so is what comes after the
/// end of the load, when attempts drain and connections are held. It keeps the seconds of the longest window.
#[derive(Clone, Debug)]
pub struct WindowWatch {
    /// The first second that is measured as a whole.
    first: u32,
    windows: Vec<SlidingWindow>,
    outages: Vec<LongestOutage>,
    /// The latest measured seconds, as many as the longest window has.
    recent: VecDeque<CompletedSecond>,
}

/// What a [`WindowWatch`] saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchOutcome {
    /// By the condition's text: what it met, or why that cannot be told.
    met: BTreeMap<String, Result<Worst, String>>,
}

/// The worst value of a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Worst {
    pub(super) value: f64,
    /// When its window or outage began, seconds since the run's start; `None` if there was no outage.
    pub(super) at_s: Option<u32>,
}

/// One condition on every window of `length` seconds, sliding by one second.
#[derive(Clone, Debug)]
struct SlidingWindow {
    expression: String,
    population: Option<usize>,
    condition: Condition,
    length: u32,
    /// Of the seconds in the window.
    counts: IntervalCounts,
    response: SparseCounts,
    /// The worst window, after the less bad ones before it that count if the load turns out to have ended earlier.
    worst: Vec<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    begin: u32,
    end: u32,
    value: f64,
}

/// One condition on the longest outage.
#[derive(Clone, Debug)]
struct LongestOutage {
    expression: String,
    population: Option<usize>,
    current: Outage,
    /// The longest outage that is over, after shorter ones before it, likewise: beginnings and ends.
    longest: Vec<(u32, u32)>,
    /// The end of the last second seen.
    seen: u32,
}

/// Whether nothing completes at present. An outage begins with a second in which something was due or failed and nothing
/// completed, and lasts until the next second with a completion.
#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    since: Option<u32>,
}

/// Everything that is followed second by second in a run.
#[derive(Clone, Debug)]
pub(super) struct RunWatch {
    windows: WindowWatch,
    abort: AbortWatch,
    guard: Option<GuardWatch>,
    guard_population: Option<usize>,
}

impl RunWatch {
    /// The watch of a plan.
    ///
    /// # Panics
    /// If the plan's conditions do not parse: they are checked before a run.
    pub(super) fn new(plan: &RunPlan, layout: &RecorderLayout) -> Self {
        let thresholds = Threshold::of_plan(plan).expect("thresholds are checked before the run");
        let conditions = AbortCondition::of_plan(&plan.abort_if, plan).expect("conditions are checked before the run");
        let guard_population = plan.populations.iter().position(|population| population.guard);
        Self {
            windows: WindowWatch::new(&thresholds, layout, plan.warmup()),
            abort: AbortWatch::new(conditions, layout),
            guard: guard_population.map(|index| GuardWatch::new(index, &plan.populations[index].name)),
            guard_population,
        }
    }

    /// Takes in the next second; says why the run is to be ended, if it is.
    pub(super) fn push(&mut self, mut second: CompletedSecond) -> Option<Trip> {
        // The canary's attempts are no part of what was asked.
        if let Some(counts) = self.guard_population.and_then(|guard| second.populations.get(guard)).copied() {
            second.totals -= counts;
        }
        let guard = self.guard.as_mut().and_then(|guard| guard.push(&second));
        let trip = guard.or_else(|| self.abort.push(&second));
        self.windows.push(second);
        trip
    }

    /// What the windows and outages were, in a load that ended at `load_end`.
    pub(super) fn finish(self, load_end: Nanos) -> WatchOutcome {
        self.windows.finish(load_end)
    }
}

impl WindowWatch {
    /// A watch for those of `thresholds` that need one, over a run whose first `warmup` is not measured.
    ///
    /// # Panics
    /// If a condition names a population that `layout` lacks: that is checked with the plan.
    pub fn new(thresholds: &[Threshold], layout: &RecorderLayout, warmup: Nanos) -> Self {
        let population = |threshold: &Threshold| threshold.subject().population_in(&layout.populations);
        let window = |threshold: &Threshold| {
            // First: what has no window may be about a stage or a client, which have no seconds of their own.
            let length = threshold.window_s()?;
            Some(SlidingWindow {
                expression: threshold.expression().to_owned(),
                population: population(threshold),
                condition: threshold.condition(),
                length,
                counts: IntervalCounts::default(),
                response: SparseCounts::default(),
                worst: Vec::new(),
            })
        };
        let outages = thresholds.iter().filter(|threshold| threshold.condition().quantity == Quantity::Outage);
        let outage = |threshold: &Threshold| LongestOutage {
            expression: threshold.expression().to_owned(),
            population: population(threshold),
            current: Outage::default(),
            longest: Vec::new(),
            seen: 0,
        };
        Self {
            first: u32::try_from(warmup.as_u64().div_ceil(Nanos::from_secs(1).as_u64())).unwrap_or(u32::MAX),
            windows: thresholds.iter().filter_map(window).collect(),
            outages: outages.map(outage).collect(),
            recent: VecDeque::new(),
        }
    }

    /// Takes in the next second.
    pub fn push(&mut self, mut second: CompletedSecond) {
        if second.index < self.first {
            return;
        }
        // An arrival was due: what came before lies in the load.
        if second.totals.due > 0 {
            self.windows.iter_mut().for_each(|window| keep_last(&mut window.worst));
            self.outages.iter_mut().for_each(|outage| keep_last(&mut outage.longest));
        }
        for window in &mut self.windows {
            let leaving = self.recent.len().checked_sub(window.length as usize).map(|at| &self.recent[at]);
            window.push(&second, leaving, self.first);
        }
        self.outages.iter_mut().for_each(|outage| outage.push(&second));
        if !self.windows.iter().any(SlidingWindow::needs_latencies) {
            second.response = SparseCounts::default();
        }
        self.recent.push_back(second);
        let longest = self.windows.iter().map(|window| window.length).max().unwrap_or(0);
        if self.recent.len() > longest as usize {
            self.recent.pop_front();
        }
    }

    /// What was seen of a load that ended `load_end` after the run's start.
    pub fn finish(self, load_end: Nanos) -> WatchOutcome {
        let (end_ns, second_ns) = (load_end.as_u64(), Nanos::from_secs(1).as_u64());
        let whole_seconds = u32::try_from(end_ns / second_ns).unwrap_or(u32::MAX);
        let seconds = u32::try_from(end_ns.div_ceil(second_ns)).unwrap_or(u32::MAX);
        let first = self.first;
        let windows = self.windows.into_iter().map(|window| {
            let met = window.worst_until(whole_seconds, first);
            (window.expression, met)
        });
        let outages = self.outages.into_iter().map(|outage| {
            let met = outage.longest_until(seconds);
            (outage.expression, met)
        });
        WatchOutcome { met: windows.chain(outages).collect() }
    }
}

impl WatchOutcome {
    /// What the condition with this text met, or why it cannot be told; `None` if it was not watched.
    pub(super) fn of(&self, expression: &str) -> Option<&Result<Worst, String>> {
        self.met.get(expression)
    }
}

impl SlidingWindow {
    fn needs_latencies(&self) -> bool {
        matches!(self.condition.quantity, Quantity::Latency(..))
    }

    /// Slides by one second; `leaving` is the second that is no longer in the window.
    fn push(&mut self, second: &CompletedSecond, leaving: Option<&CompletedSecond>, first: u32) {
        self.counts += *counts_of(second, self.population);
        if let Some(leaving) = leaving {
            self.counts -= *counts_of(leaving, self.population);
        }
        if self.needs_latencies() {
            self.response.add(&second.response);
            if let Some(leaving) = leaving {
                self.response.subtract(&leaving.response);
            }
        }
        let end = second.index + 1;
        let Some(begin) = end.checked_sub(self.length).filter(|begin| *begin >= first) else { return };
        let Some(value) = self.condition.quantity.over(self.length, &self.counts, &self.response) else { return };
        let upper = self.condition.comparison.is_upper();
        let is_worse = |than: &Window| if upper { value > than.value } else { value < than.value };
        if self.worst.last().is_none_or(is_worse) {
            self.worst.push(Window { begin, end, value });
        }
    }

    /// The worst window that ended by then.
    fn worst_until(&self, whole_seconds: u32, first: u32) -> Result<Worst, String> {
        let length = DurationText(Duration::from_secs(u64::from(self.length)));
        match self.worst.iter().rfind(|window| window.end <= whole_seconds) {
            Some(window) => Ok(Worst { value: window.value, at_s: Some(window.begin) }),
            None if whole_seconds.saturating_sub(first) < self.length => {
                Err(format!("the measured load was shorter than one window of {length}"))
            }
            None if self.needs_latencies() => Err(format!(
                "too few attempts completed in any window of {length}: a percentile needs 10 samples above it"
            )),
            None => Err(format!("nothing was due in any window of {length}")),
        }
    }
}

impl LongestOutage {
    fn push(&mut self, second: &CompletedSecond) {
        self.seen = second.index + 1;
        let Some((begin, end)) = self.current.push(second.index, counts_of(second, self.population)) else { return };
        if self.longest.last().is_none_or(|(longest_begin, longest_end)| end - begin > longest_end - longest_begin) {
            self.longest.push((begin, end));
        }
    }

    /// The longest outage up to then.
    fn longest_until(&self, seconds: u32) -> Result<Worst, String> {
        if self.seen == 0 {
            return Err("no whole second was measured".to_owned());
        }
        let lasting = self.current.since.map(|begin| (begin, self.seen));
        let within = self.longest.iter().copied().chain(lasting).map(|(begin, end)| (begin, end.min(seconds)));
        // Of equally long ones the first.
        let longest = within.filter(|(begin, end)| begin < end).rev().max_by_key(|(begin, end)| end - begin);
        let length = longest.map_or(Nanos::ZERO, |(begin, end)| Nanos::from_secs(u64::from(end - begin)));
        Ok(Worst { value: length.as_u64() as f64, at_s: longest.map(|(begin, _)| begin) })
    }
}

impl Outage {
    /// Takes in the next second; gives beginning and end of an outage that was over before it.
    fn push(&mut self, index: u32, counts: &IntervalCounts) -> Option<(u32, u32)> {
        if counts.completed > 0 {
            return self.since.take().map(|begin| (begin, index));
        }
        if counts.due > 0 || counts.failed > 0 {
            self.since.get_or_insert(index);
        }
        None
    }
}

/// The counts of one population, or of all.
fn counts_of(second: &CompletedSecond, population: Option<usize>) -> &IntervalCounts {
    population.map_or(&second.totals, |population| &second.populations[population])
}

fn keep_last<T>(list: &mut Vec<T>) {
    list.drain(..list.len().saturating_sub(1));
}

#[cfg(test)]
mod tests;
