//! Who asked for how many slots: what to blame for too many of them.

use crate::run::Population;
use crate::scenario::PlanError;
use crate::scenario::origins::Setting;
use crate::scenario::request::{PopulationRequest, StageLoad};

/// What asks for the slots of a population.
pub(super) struct Slots<'a> {
    pub(super) asked: &'a PopulationRequest,
    /// The stage that says itself how many clients it has, if it has the most.
    stage: Option<(usize, StageLoad)>,
}

impl<'a> Slots<'a> {
    /// Those of the population with the most of them in `group`; `asked` has at least one population.
    pub(super) fn of_largest(asked: &'a [PopulationRequest], group: &[&Population]) -> Self {
        let slots = |name: &str| group.iter().find(|population| population.name == name).map(|p| p.concurrency());
        let largest =
            asked.iter().rev().max_by_key(|population| slots(&population.name)).expect("a population is asked");
        let stages = largest.stages.iter().map(|stage| stage.load).enumerate();
        let stage = stages.rev().max_by_key(|(_, load)| load.clients());
        let stage = stage.filter(|(_, load)| load.clients() > u64::from(largest.concurrency.unwrap_or(0)));
        Self { asked: largest, stage }
    }

    /// How many all populations have, if they can be numbered.
    pub(super) fn number(&self, populations: &[Population]) -> Result<u32, PlanError> {
        let lanes = populations.iter().flat_map(|population| &population.lanes);
        let slots: u64 = lanes.map(|lane| u64::from(lane.concurrency)).sum();
        u32::try_from(slots)
            .map_err(|_| self.refusal(format!("{slots} connections at once are too many; the most is {}", u32::MAX)))
    }

    /// A refusal of their number.
    pub(super) fn refusal(&self, text: String) -> PlanError {
        let origins = &self.asked.origins;
        match self.stage {
            Some((index, _)) => origins.refusal_of_element(Setting::STAGES, index, text),
            None if origins.has(Setting::CONCURRENCY) => origins.refusal(&[Setting::CONCURRENCY], text),
            None => origins.refusal(&[Setting::CONCURRENCY, Setting::STAGES], text),
        }
    }

    /// How to ask for fewer.
    pub(super) fn fewer(&self) -> String {
        match self.stage {
            Some((_, StageLoad::Storm { .. })) => "make the fleet smaller".to_owned(),
            Some(_) => "lower the stage's concurrency".to_owned(),
            None => format!("lower {}", self.asked.origins.name(Setting::CONCURRENCY)),
        }
    }
}

impl StageLoad {
    /// Clients at a time, where the stage says how many.
    fn clients(self) -> u64 {
        match self {
            Self::Storm { fleet, .. } => u64::from(fleet),
            Self::Concurrency { from, to } => u64::from(from.max(to)),
            Self::Rate(_) | Self::Burst(_) | Self::Probe(_) => 0,
        }
    }
}
