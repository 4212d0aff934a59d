//! The stages of a plan and how long they last: what the load model is given, and what reports and checks ask.

use super::{Lane, LoadPlan, Pace, Population, Repeat, RunPlan, StagePlan, StepPlan};
use crate::base::Nanos;
use crate::load::{ConcurrencyError, ConcurrencyPlan, ConcurrencyStep, LoadProfile, LoadProfileError, Segment, Shape};

/// The planned arrivals of `stages` as the load model has them.
pub(in crate::run) fn profile(
    begins: Nanos,
    stages: &[StagePlan],
    repeat: Option<Repeat>,
    first_stage: u16,
    attempts: Option<u64>,
) -> Result<LoadProfile, LoadProfileError> {
    let pause = |length: Nanos| Segment { shape: Shape::Constant { per_s: 0.0 }, length, stage: first_stage };
    let once: Vec<Segment> = (first_stage..).zip(stages).map(|(stage, plan)| segment(plan, stage)).collect();
    let mut segments = Vec::new();
    if begins > Nanos::ZERO {
        segments.push(pause(begins));
    }
    let Repeat { every_ns, times } = repeat.unwrap_or(Repeat { every_ns: 0, times: 1 });
    let length = once.iter().fold(Nanos::ZERO, |sum, segment| sum + segment.length);
    let gap = Nanos::new(every_ns).saturating_sub(length);
    for time in 0..times {
        if time > 0 && gap > Nanos::ZERO {
            segments.push(pause(gap));
        }
        segments.extend_from_slice(&once);
    }
    LoadProfile::new(segments, attempts)
}

fn segment(plan: &StagePlan, stage: u16) -> Segment {
    let shape = match plan.pace {
        Pace::Rate { from_per_s, to_per_s } if from_per_s == to_per_s => Shape::Constant { per_s: from_per_s },
        Pace::Rate { from_per_s, to_per_s } => Shape::Ramp { from_per_s, to_per_s },
        Pace::Burst { count } => Shape::Burst { count },
    };
    Segment { shape, length: plan.duration_ns.map_or(Nanos::MAX, Nanos::new), stage }
}

/// The planned numbers of slots in use as the load model has them.
pub(in crate::run) fn concurrency(
    begins: Nanos,
    steps: &[StepPlan],
    first_stage: u16,
) -> Result<ConcurrencyPlan, ConcurrencyError> {
    let step = |(stage, plan): (u16, &StepPlan)| ConcurrencyStep {
        from: plan.from,
        to: plan.to,
        length: plan.duration_ns.map_or(Nanos::MAX, Nanos::new),
        stage,
        counts: !plan.warmup,
    };
    ConcurrencyPlan::new(begins, (first_stage..).zip(steps).map(step).collect())
}

/// A stage as every kind of load has it.
#[derive(Clone, Copy, Debug)]
pub struct PlannedStage<'a> {
    /// Its name in the report.
    pub name: &'a str,
    /// Left out of the totals.
    pub warmup: bool,
    /// Its attempts tell whether the target accepts (again).
    pub probe: bool,
    /// Its length; none if only a number of attempts bounds it.
    pub length: Option<Nanos>,
}

impl LoadPlan {
    /// Its stages, in the order in which recorders count them.
    pub fn stages(&self) -> Box<dyn Iterator<Item = PlannedStage<'_>> + '_> {
        match self {
            Self::Closed { steps, .. } => Box::new(steps.iter().map(|step| PlannedStage {
                name: &step.name,
                warmup: step.warmup,
                probe: false,
                length: step.duration_ns.map(Nanos::new),
            })),
            Self::Open { stages, .. } => Box::new(stages.iter().map(|stage| PlannedStage {
                name: &stage.name,
                warmup: stage.warmup,
                probe: stage.probe,
                length: stage.duration_ns.map(Nanos::new),
            })),
            Self::Storm { name, duration_ns, .. } => Box::new(std::iter::once(PlannedStage {
                name,
                warmup: false,
                probe: false,
                length: Some(Nanos::new(*duration_ns)),
            })),
        }
    }

    /// How long it lasts at most, from its beginning; [`Nanos::MAX`] if only a number of attempts bounds it.
    pub fn length(&self) -> Nanos {
        let once =
            self.stages().map(|stage| stage.length.unwrap_or(Nanos::MAX)).fold(Nanos::ZERO, |sum, length| sum + length);
        match self {
            Self::Open { repeat: Some(Repeat { every_ns, times }), .. } => {
                Nanos::new(every_ns.saturating_mul(u64::from(times.saturating_sub(1)))) + once
            }
            _ => once,
        }
    }

    /// When the arrival after the last one would be intended if the plan went on: the span that all arrivals together
    /// take at the planned rate. [`Nanos::MAX`] in closed loop, where nothing is planned.
    fn paced_length(&self) -> Nanos {
        match self {
            Self::Closed { .. } => Nanos::MAX,
            Self::Open { stages, attempts: Some(attempts), repeat: None, .. } => {
                let Some((last, before)) = stages.split_last() else { return Nanos::ZERO };
                let begin = before
                    .iter()
                    .map(|stage| stage.duration_ns.map_or(Nanos::MAX, Nanos::new))
                    .fold(Nanos::ZERO, |sum, length| sum + length);
                let last_alone = profile(Nanos::ZERO, std::slice::from_ref(last), None, 0, None).ok();
                let reached = last_alone.and_then(|last_alone| last_alone.instant_of(*attempts as f64));
                reached.map_or(self.length(), |offset| begin + offset)
            }
            Self::Open { .. } | Self::Storm { .. } => self.length(),
        }
    }

    /// How long it warms up before it is measured.
    fn warmup(&self) -> Nanos {
        self.stages()
            .take_while(|stage| stage.warmup)
            .fold(Nanos::ZERO, |sum, stage| sum + stage.length.unwrap_or(Nanos::ZERO))
    }
}

impl Lane {
    /// Arrivals planned in each of its stages, over all machines and all times the stage comes; on average if they are
    /// Poisson's. `None` where only a stop ends them, and where none are planned: in closed loop and in a storm.
    pub fn planned_arrivals(&self) -> Vec<Option<u64>> {
        let profile = match &self.load {
            LoadPlan::Open { stages, attempts, repeat, .. } => profile(Nanos::ZERO, stages, *repeat, 0, *attempts).ok(),
            LoadPlan::Closed { .. } | LoadPlan::Storm { .. } => None,
        };
        (0..).zip(self.load.stages()).map(|(stage, _)| profile.as_ref()?.arrivals_of(stage)).collect()
    }

    /// When it is over at the latest, after the beginning of the load.
    pub fn end(&self) -> Nanos {
        Nanos::new(self.begins_ns) + self.load.length()
    }
}

impl Population {
    /// When its last lane is over at the latest, from the beginning; [`Nanos::MAX`] if only numbers bound it.
    pub fn length(&self) -> Nanos {
        self.lanes.iter().map(Lane::end).max().unwrap_or(Nanos::ZERO)
    }

    /// How long it warms up before it is measured.
    pub fn warmup(&self) -> Nanos {
        let warming = self.lanes.iter().filter(|lane| lane.load.warmup() > Nanos::ZERO);
        warming.map(|lane| Nanos::new(lane.begins_ns) + lane.load.warmup()).max().unwrap_or(Nanos::ZERO)
    }
}

impl RunPlan {
    /// The populations that are part of what was asked: all but the canary.
    pub fn asked(&self) -> impl Iterator<Item = &Population> + Clone {
        self.populations.iter().filter(|population| !population.canary)
    }

    /// When the last load is over at the latest, from the beginning; [`Nanos::MAX`] if only numbers bound it.
    pub fn length(&self) -> Nanos {
        self.asked().map(Population::length).max().unwrap_or(Nanos::MAX)
    }

    /// When the last planned arrival has had its share of time; zero if nothing is planned.
    pub fn paced_length(&self) -> Nanos {
        let lanes = self.asked().flat_map(|population| &population.lanes);
        let open = lanes.filter(|lane| lane.load.is_open_loop());
        open.map(|lane| Nanos::new(lane.begins_ns) + lane.load.paced_length()).max().unwrap_or(Nanos::ZERO)
    }

    /// How long the longest warm-up is.
    pub fn warmup(&self) -> Nanos {
        self.asked().map(Population::warmup).max().unwrap_or(Nanos::ZERO)
    }
}
