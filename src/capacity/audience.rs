//! Who is told how a measurement goes.

use crate::base::Nanos;
use crate::capacity::result::{TrialPurpose, TrialRow};
use crate::fleet::Progress;
use crate::run::{Notice, Watch};

/// Who is told how it goes.
pub trait Audience {
    /// A line for people.
    fn say(&mut self, line: &str);

    /// Called every few tens of milliseconds while a run of a known length goes on.
    fn progress(&mut self, trial: TrialProgress, progress: &Progress);

    /// Something happened in a run.
    fn notice(&mut self, notice: &Notice);

    /// A trial is over.
    fn trial(&mut self, row: &TrialRow);
}

/// How far a trial is.
#[derive(Clone, Copy, Debug)]
pub struct TrialProgress {
    /// What it is for.
    pub purpose: TrialPurpose,
    /// Planned arrivals.
    pub rate_per_s: f64,
    /// Since its load began.
    pub elapsed: Nanos,
    /// How long its load lasts.
    pub length: Nanos,
}

/// Shows nothing but what happens.
pub struct Silent<'a, A>(pub &'a mut A);

impl<A: Audience> Watch for Silent<'_, A> {
    fn progress(&mut self, _progress: &Progress, _elapsed: Nanos) {}

    fn notice(&mut self, notice: &Notice) {
        self.0.notice(notice);
    }
}
