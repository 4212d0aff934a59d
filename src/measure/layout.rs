//! What the indices of a record stand for.

use super::sample::Until;

/// The names behind the indices: the same for every worker of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderLayout {
    /// Stages of all populations, by global index.
    pub stages: Vec<StageInfo>,
    /// Names of the populations.
    pub populations: Vec<String>,
    /// Names of the targets.
    pub targets: Vec<String>,
    /// Names of the kinds of client.
    pub clients: Vec<String>,
    /// By kind of client: its attempts end in a reaction of the target instead of being completed or failing.
    pub hostile: Vec<bool>,
    /// The canary: the population whose attempts are in no sum.
    pub canary: Option<u16>,
    /// What is counted second by second beside all attempts and those of each population; no entry twice.
    pub watched: Vec<WatchedRow>,
}

/// Attempts that are counted second by second because a condition asks about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedRow {
    /// Those intended in a stage.
    Stage(u16),
    /// Those to a target: arrivals count once they start.
    Target(u16),
    /// Those of a kind of client, likewise.
    Client(u16),
}

/// One stage of one population.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageInfo {
    /// Whose stage it is.
    pub population: u16,
    /// Its name in the report.
    pub name: String,
    /// Left out of the totals: a warm-up, or the canary's.
    pub warmup: bool,
    /// Its attempts have intended instants.
    pub open_loop: bool,
    /// Its attempts tell whether the target accepts (again): the outcome of each is kept.
    pub probe: bool,
    /// Its clients are a fleet that comes back: when each was back is recorded.
    pub storm: bool,
    /// What completes its attempts.
    pub until: Until,
}

impl RecorderLayout {
    /// Its attempts are the canary's.
    pub fn is_canary(&self, stage: u16) -> bool {
        self.canary == Some(self.population_of(stage))
    }

    /// The population that `stage` belongs to.
    pub(super) fn population_of(&self, stage: u16) -> u16 {
        self.stages[usize::from(stage)].population
    }
}
