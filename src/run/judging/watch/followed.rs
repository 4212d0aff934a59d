//! What a condition on single seconds follows: whose counts, and in which seconds.

use crate::base::Nanos;
use crate::measure::{CompletedSecond, IntervalCounts, RecorderLayout};
use crate::run::condition::Subject;
use crate::run::plan::{LoadPlan, Population, Repeat, RunPlan};

/// Whose seconds a condition is about, and when.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    pub(super) counts: CountsOf,
    pub(super) period: Period,
}

/// Whose counts of a second.
#[derive(Clone, Copy, Debug)]
pub(super) enum CountsOf {
    /// Of all but the canary.
    All,
    /// Of a population, by its number.
    Population(usize),
    /// Of a stage, target or client, by its place in [`RecorderLayout::watched`].
    Watched(usize),
}

/// When a part of the load is under way: once, or again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    begin: Nanos,
    /// Of each time.
    length: Nanos,
    every: Nanos,
    times: u32,
}

impl Followed {
    /// What a condition on `subject` follows in a run of `plan`.
    ///
    /// # Panics
    /// If the plan lacks the subject: that is checked with the plan.
    pub(super) fn of(subject: &Subject, plan: &RunPlan, layout: &RecorderLayout) -> Self {
        let counts = match subject {
            Subject::All => CountsOf::All,
            Subject::Population(_) => CountsOf::Population(index(subject, plan)),
            Subject::Stage(_) | Subject::Target(_) | Subject::Client(_) => {
                let row = subject.watched_row(plan).expect("the condition was checked with the plan");
                let place = layout.watched.iter().position(|watched| *watched == row);
                CountsOf::Watched(place.expect("recorders count what conditions ask about"))
            }
        };
        Self { counts, period: Period::of(subject, plan) }
    }
}

impl CountsOf {
    /// The counts in `second`.
    pub(super) fn of(self, second: &CompletedSecond) -> &IntervalCounts {
        match self {
            Self::All => &second.totals,
            Self::Population(population) => &second.populations[population],
            Self::Watched(row) => &second.watched[row],
        }
    }
}

impl Period {
    /// From `begin` to the end of the load.
    pub(super) fn from(begin: Nanos) -> Self {
        Self { begin, length: Nanos::MAX, every: Nanos::ZERO, times: 1 }
    }

    fn of(subject: &Subject, plan: &RunPlan) -> Self {
        match subject {
            Subject::All => Self::from(plan.warmup()),
            Subject::Population(_) => Self::of_populations([&plan.populations[index(subject, plan)]].into_iter()),
            Subject::Target(_) => {
                let target = index(subject, plan);
                let goes_there = |population: &&Population| {
                    population.targets.iter().any(|share| usize::from(share.target) == target)
                };
                Self::of_populations(plan.asked().filter(goes_there))
            }
            Subject::Client(_) => {
                let client = plan.clients()[index(subject, plan)];
                let has_it = |population: &&Population| population.clients.iter().any(|share| share.client == client);
                Self::of_populations(plan.asked().filter(has_it))
            }
            Subject::Stage(_) => Self::of_stage(index(subject, plan), plan),
        }
    }

    /// While they are measured: from the end of the last warm-up on.
    fn of_populations<'a>(populations: impl Iterator<Item = &'a Population> + Clone) -> Self {
        let begin = populations.clone().map(Population::warmup).max().unwrap_or(Nanos::ZERO);
        let end = populations.map(Population::length).max().unwrap_or(Nanos::MAX);
        Self { length: end.saturating_sub(begin), ..Self::from(begin) }
    }

    /// While the stage with this number, counted through all lanes, is under way.
    fn of_stage(number: usize, plan: &RunPlan) -> Self {
        let lanes = plan.populations.iter().flat_map(|population| &population.lanes);
        let stages = lanes.flat_map(|lane| {
            let (every, times) = match lane.load {
                LoadPlan::Open { repeat: Some(Repeat { every_ns, times }), .. } => (Nanos::new(every_ns), times),
                _ => (Nanos::ZERO, 1),
            };
            lane.load.stages().scan(Nanos::new(lane.begins_ns), move |at, stage| {
                let (begin, length) = (*at, stage.length.unwrap_or(Nanos::MAX));
                *at += length;
                Some(Self { begin, length, every, times })
            })
        });
        stages.into_iter().nth(number).expect("the stage is one of the plan")
    }

    /// The whole seconds from `begin_s` to `end_s` lie in it.
    pub(super) fn contains(&self, begin_s: u32, end_s: u32) -> bool {
        self.since_begin(begin_s)
            .is_some_and(|since| since + Nanos::from_secs(u64::from(end_s - begin_s)) <= self.length)
    }

    /// The second begins in it.
    pub(super) fn has_second(&self, second: u32) -> bool {
        self.since_begin(second).is_some_and(|since| since < self.length)
    }

    /// A window of so many whole seconds can lie in it, in a load that ends after `load_s`.
    pub(super) fn has_room(&self, window_s: u32, load_s: u32) -> bool {
        let first = u32::try_from(self.begin.as_u64().div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        let end = first.saturating_add(window_s);
        end <= load_s && self.contains(first, end)
    }

    /// How long after the beginning of its latest time the second begins.
    fn since_begin(&self, second: u32) -> Option<Nanos> {
        let at = Nanos::from_secs(u64::from(second));
        let since = (at >= self.begin).then(|| at.saturating_sub(self.begin))?;
        let over = match self.every {
            Nanos::ZERO => 0,
            every => (since.as_u64() / every.as_u64()).min(u64::from(self.times.saturating_sub(1))) * every.as_u64(),
        };
        Some(since.saturating_sub(Nanos::new(over)))
    }
}

fn index(subject: &Subject, plan: &RunPlan) -> usize {
    subject.index(plan).expect("the condition was checked with the plan")
}
