//! Conditions that are judged second by second while the run goes on: windows and outages, early ends, the canary.
//!
//! Nothing here reads a clock: each second comes from the timeline, once, in order, when every worker has reported it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::{DurationText, Nanos};
use crate::measure::{CompletedSecond, IntervalCounts, RecorderLayout, SparseCounts};
use crate::run::condition::{Condition, Quantity, Threshold};
use crate::run::plan::RunPlan;

mod abort;
mod followed;

pub use abort::Trip;
use abort::{AbortWatch, CanaryWatch};
use followed::{CountsOf, Followed};

/// Follows the windows (`failed<1% in 1m`) and outages (`outage<10s`) that conditions ask about.
///
/// Only the measured load counts: what lies in the warm-up, even in part, is left out, and so is what comes after the
/// end of the load, when attempts drain and connections are held. Populations, stages, targets and clients have times of
/// their own. It keeps the seconds of the longest window.
#[derive(Clone, Debug)]
pub struct WindowWatch {
    windows: Vec<SlidingWindow>,
    outages: Vec<LongestOutage>,
    /// The latest seconds, as many as the longest window has.
    recent: VecDeque<CompletedSecond>,
}

/// What was seen of windows and outages while a run went on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchOutcome {
    /// By the condition's text: what it met, or why that cannot be told.
    met: BTreeMap<String, Result<Worst, String>>,
}

/// The worst value of a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::run) struct Worst {
    pub(in crate::run) value: f64,
    /// When its window or outage began, seconds since the run's start; `None` if there was no outage.
    pub(super) at_s: Option<u32>,
}

/// One condition on every window of `length` seconds, sliding by one second.
#[derive(Clone, Debug)]
struct SlidingWindow {
    expression: String,
    followed: Followed,
    condition: Condition,
    length: u32,
    /// Of the seconds in the window.
    counts: IntervalCounts,
    /// Connections held when it began.
    held_before: u64,
    response: SparseCounts,
    lateness: SparseCounts,
    paused: Nanos,
    /// The worst window, after the less bad ones before it that count if the load turns out to have ended earlier.
    worst: Vec<Window>,
    /// The first window in which the condition did not hold and the generator may be the cause: it tells nothing.
    excused: Option<Window>,
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
    followed: Followed,
    current: Outage,
    /// The longest outage that is over, after shorter ones before it, likewise: beginnings and ends.
    longest: Vec<(u32, u32)>,
    /// The end of the last second seen.
    seen: u32,
}

/// Whether nothing completes at present. An outage begins with a second in which something was due or failed and nothing
/// completed, and lasts until the next second with a completion. A second in which the generator paused begins none, and
/// one that it paused through for the most part ends one: nobody looked.
#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    since: Option<u32>,
}

/// A second that the generator paused through for longer is not one in which nothing completed: nobody looked.
const MOST_UNSEEN: Nanos = Nanos::from_millis(500);

/// Everything that is followed second by second in a run.
#[derive(Clone, Debug)]
pub(in crate::run) struct RunWatch {
    windows: WindowWatch,
    abort: AbortWatch,
    canary: Option<CanaryWatch>,
}

impl RunWatch {
    /// The watch of a plan whose conditions were checked.
    pub(in crate::run) fn new(plan: &RunPlan, layout: &RecorderLayout) -> Self {
        let watched = plan.thresholds.iter().filter(|threshold| threshold.is_watched());
        let windows = watched.map(|threshold| (threshold, Followed::of(threshold.subject(), plan, layout)));
        let conditions = plan.abort_if.iter().map(|condition| {
            let followed = Followed::of(condition.subject(), plan, layout);
            (condition.clone(), followed)
        });
        let canary = plan.populations.iter().position(|population| population.canary);
        Self {
            windows: WindowWatch::new(windows.map(|(threshold, followed)| (threshold.clone(), followed))),
            abort: AbortWatch::new(conditions),
            canary: canary.map(|index| CanaryWatch::new(index, &plan.populations[index].name)),
        }
    }

    /// Takes in the next second; says why the run is to be ended, if it is.
    pub(in crate::run) fn push(&mut self, second: CompletedSecond) -> Option<Trip> {
        let canary = self.canary.as_mut().and_then(|canary| canary.push(&second));
        let trip = canary.or_else(|| self.abort.push(&second));
        self.windows.push(second);
        trip
    }

    /// What the windows and outages were, in a load that ended at `load_end`.
    pub(in crate::run) fn finish(self, load_end: Nanos) -> WatchOutcome {
        self.windows.finish(load_end)
    }
}

impl WindowWatch {
    /// A watch for conditions on windows and outages, each with what it follows; others are left out.
    pub fn new(thresholds: impl IntoIterator<Item = (Threshold, Followed)>) -> Self {
        let mut watch = Self { windows: Vec::new(), outages: Vec::new(), recent: VecDeque::new() };
        for (threshold, followed) in thresholds {
            let (expression, condition) = (threshold.text().to_owned(), threshold.condition());
            if let Some(length) = threshold.window_s() {
                watch.windows.push(SlidingWindow {
                    expression,
                    followed,
                    condition,
                    length,
                    counts: IntervalCounts::default(),
                    held_before: 0,
                    response: SparseCounts::default(),
                    lateness: SparseCounts::default(),
                    paused: Nanos::ZERO,
                    worst: Vec::new(),
                    excused: None,
                });
            } else if condition.quantity == Quantity::Outage {
                let current = Outage::default();
                watch.outages.push(LongestOutage { expression, followed, current, longest: Vec::new(), seen: 0 });
            }
        }
        watch
    }

    /// Takes in the next second.
    pub fn push(&mut self, mut second: CompletedSecond) {
        // An arrival was due: what came before lies in the load.
        if second.totals.due > 0 {
            self.windows.iter_mut().for_each(|window| keep_last(&mut window.worst));
            self.outages.iter_mut().for_each(|outage| keep_last(&mut outage.longest));
        }
        for window in &mut self.windows {
            let leaving = self.recent.len().checked_sub(window.length as usize).map(|at| &self.recent[at]);
            window.push(&second, leaving);
        }
        self.outages.iter_mut().for_each(|outage| outage.push(&second));
        if !self.windows.iter().any(SlidingWindow::needs_latencies) {
            (second.response, second.lateness) = Default::default();
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
        let windows = self.windows.into_iter().map(|window| {
            let met = window.worst_until(whole_seconds);
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
    pub(in crate::run) fn of(&self, expression: &str) -> Option<&Result<Worst, String>> {
        self.met.get(expression)
    }
}

impl SlidingWindow {
    fn needs_latencies(&self) -> bool {
        matches!(self.condition.quantity, Quantity::Latency(..))
    }

    /// Slides by one second; `leaving` is the second that is no longer in the window.
    fn push(&mut self, second: &CompletedSecond, leaving: Option<&CompletedSecond>) {
        self.counts += *self.followed.counts.of(second);
        if let Some(leaving) = leaving {
            let leaving = self.followed.counts.of(leaving);
            self.counts -= *leaving;
            self.held_before = leaving.held_after(self.held_before);
        }
        self.paused += second.paused;
        self.paused = self.paused.saturating_sub(leaving.map_or(Nanos::ZERO, |leaving| leaving.paused));
        if self.needs_latencies() {
            self.response.add(&second.response);
            self.lateness.add(&second.lateness);
            if let Some(leaving) = leaving {
                self.response.subtract(&leaving.response);
                self.lateness.subtract(&leaving.lateness);
            }
        }
        let end = second.index + 1;
        let period = self.followed.period;
        let Some(begin) = end.checked_sub(self.length).filter(|begin| period.contains(*begin, end)) else { return };
        let Some(value) = self.condition.quantity.over(self.length, &self.counts, self.held_before, &self.response)
        else {
            return;
        };
        if !self.condition.holds(value) {
            let best = self.condition.quantity.at_best(value, self.length.into(), self.paused, &self.lateness);
            if self.condition.holds(best) {
                self.excused.get_or_insert(Window { begin, end, value });
                return;
            }
        }
        let upper = self.condition.comparison.is_upper();
        let is_worse = |than: &Window| if upper { value > than.value } else { value < than.value };
        if self.worst.last().is_none_or(is_worse) {
            self.worst.push(Window { begin, end, value });
        }
    }

    /// The worst window that ended by then.
    fn worst_until(&self, whole_seconds: u32) -> Result<Worst, String> {
        let length = DurationText(Duration::from_secs(u64::from(self.length)));
        let excused = self.excused.filter(|window| window.end <= whole_seconds);
        match (self.worst.iter().rfind(|window| window.end <= whole_seconds), excused) {
            (Some(window), None) => Ok(Worst { value: window.value, at_s: Some(window.begin) }),
            (Some(window), _) if !self.condition.holds(window.value) => {
                Ok(Worst { value: window.value, at_s: Some(window.begin) })
            }
            (_, Some(window)) => Err(format!(
                "it was {} in the window from {} s on, where the generator itself was late or stood still for long enough \
                 to be the cause",
                self.condition.quantity.unit().text(window.value),
                window.begin
            )),
            (None, None) if !self.followed.period.has_room(self.length, whole_seconds) => {
                Err(format!("the measured load was shorter than one window of {length}"))
            }
            (None, None) if self.needs_latencies() => Err(format!(
                "too few attempts completed in any window of {length}: a percentile needs 10 samples above it"
            )),
            (None, None) => Err(format!("nothing was due in any window of {length}")),
        }
    }
}

impl LongestOutage {
    fn push(&mut self, second: &CompletedSecond) {
        let over = if self.followed.period.has_second(second.index) {
            self.seen = second.index + 1;
            self.current.push(second, self.followed.counts)
        } else {
            // Its time is over, perhaps until it comes again.
            self.current.since.take().map(|begin| (begin, self.seen))
        };
        let Some((begin, end)) = over else { return };
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
    fn push(&mut self, second: &CompletedSecond, counts: CountsOf) -> Option<(u32, u32)> {
        let counts = counts.of(second);
        if counts.completed > 0 || second.paused > MOST_UNSEEN {
            return self.since.take().map(|begin| (begin, second.index));
        }
        if (counts.due > 0 || counts.failed > 0) && second.paused == Nanos::ZERO {
            self.since.get_or_insert(second.index);
        }
        None
    }
}

fn keep_last<T>(list: &mut Vec<T>) {
    list.drain(..list.len().saturating_sub(1));
}

#[cfg(test)]
mod tests;
