//! What ends a run early: conditions of the user, and a canary that fails.

use super::{CountsOf, Followed, Outage};
use crate::base::Nanos;
use crate::measure::CompletedSecond;
use crate::run::condition::{AbortCondition, Quantity};

/// Follows the conditions that end a run.
#[derive(Clone, Debug)]
pub struct AbortWatch {
    conditions: Vec<WatchedCondition>,
}

/// Follows a canary: it trips when all its attempts fail for three seconds in a row. Seconds in which none of them ended
/// are left out.
#[derive(Clone, Debug)]
pub struct CanaryWatch {
    population: usize,
    name: String,
    /// Seconds in a row with failures and no completion.
    failing: u32,
}

/// Why a run is to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The condition as it was written, or the canary's name.
    pub condition: String,
    /// When it was decided, seconds since the run's start.
    pub at_s: u32,
    /// What happened, in one sentence.
    pub text: String,
}

#[derive(Clone, Debug)]
struct WatchedCondition {
    condition: AbortCondition,
    counts: CountsOf,
    outage: Outage,
    /// Connections held at the end of the last second.
    held_before: u64,
    /// Seconds in a row in which it held.
    held: u32,
}

impl AbortWatch {
    /// A watch for `conditions`, each with what it follows. Warm-ups count too.
    pub fn new(conditions: impl IntoIterator<Item = (AbortCondition, Followed)>) -> Self {
        let watched = |(condition, followed): (AbortCondition, Followed)| WatchedCondition {
            counts: followed.counts,
            condition,
            outage: Outage::default(),
            held_before: 0,
            held: 0,
        };
        Self { conditions: conditions.into_iter().map(watched).collect() }
    }

    /// Takes in the next second; the first condition that is now met, again and again while it lasts.
    pub fn push(&mut self, second: &CompletedSecond) -> Option<Trip> {
        self.conditions.iter_mut().fold(None, |first, condition| first.or(condition.push(second)))
    }
}

impl CanaryWatch {
    /// So many seconds without a completion are not chance.
    const FAILING_SECONDS: u32 = 3;

    /// A watch for the population at `population` of the layout, called `name`.
    pub fn new(population: usize, name: &str) -> Self {
        Self { population, name: name.to_owned(), failing: 0 }
    }

    /// Takes in the next second; whether the canary has failed, again and again while it does.
    pub fn push(&mut self, second: &CompletedSecond) -> Option<Trip> {
        let counts = &second.populations[self.population];
        if counts.completed > 0 {
            self.failing = 0;
        } else if counts.failed > 0 && second.paused == Nanos::ZERO {
            self.failing += 1;
        }
        (self.failing >= Self::FAILING_SECONDS).then(|| {
            let at_s = second.index + 1;
            let text = format!(
                "{} failed: none of its attempts completed in {} seconds in a row, up to {at_s} s",
                self.name, self.failing
            );
            Trip { condition: self.name.clone(), at_s, text }
        })
    }
}

impl WatchedCondition {
    fn push(&mut self, second: &CompletedSecond) -> Option<Trip> {
        let value = self.value(second)?;
        if !self.condition.condition().holds(value) {
            self.held = 0;
            return None;
        }
        self.held += 1;
        (self.held >= self.condition.seconds()).then(|| {
            let (at_s, value) = (second.index + 1, self.condition.condition().quantity.unit().text(value));
            let row = if self.held == 1 { "a second".to_owned() } else { format!("{} seconds in a row", self.held) };
            let text = format!("{} held in {row} up to {at_s} s, in the last one with {value}", self.condition.text());
            Trip { condition: self.condition.text().to_owned(), at_s, text }
        })
    }

    /// What the condition compares in this second, if that can tell anything.
    fn value(&mut self, second: &CompletedSecond) -> Option<f64> {
        let counts = self.counts.of(second);
        let quantity = self.condition.condition().quantity;
        if quantity == Quantity::Outage {
            self.outage.push(second, self.counts);
            let lasts_s = self.outage.since.map_or(0, |since| second.index + 1 - since);
            return (lasts_s > 0 || counts.due > 0).then_some(f64::from(lasts_s) * 1e9);
        }
        let before = self.held_before;
        self.held_before = counts.held_after(before);
        // Connections are lost when nothing is due any more, too.
        let tells = counts.due > 0 || quantity == Quantity::Lost || counts.taken_back > 0;
        let value = tells.then(|| quantity.over(1, counts, before, &second.response)).flatten()?;
        let best = quantity.at_best(value, 1.0, second.paused, &second.lateness);
        // What the generator may have done itself tells nothing of the target.
        let condition = self.condition.condition();
        (condition.holds(best) || !condition.holds(value)).then_some(value)
    }
}
