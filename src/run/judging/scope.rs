//! The part of a result that a condition is about.

use crate::measure::{MediaCounts, ModeCounts};
use crate::run::condition::Subject;
use crate::run::result::{Attempts, LatencyTable, Rates, Row, RunResult};

/// The attempts a condition is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) attempts: &'a Attempts,
    pub(super) rate: &'a Rates,
    pub(super) modes: &'a ModeCounts,
    pub(super) latency: &'a LatencyTable,
    /// That of a population or of all.
    pub(super) media: &'a MediaCounts,
}

impl<'a> Scope<'a> {
    /// All attempts, or those of one population; `None` if there is no such population.
    pub(super) fn of(result: &'a RunResult, population: Option<&str>) -> Option<Self> {
        let subject = population.map_or(Subject::All, |name| Subject::Population(name.to_owned()));
        Self::of_subject(result, &subject).ok()
    }

    /// The attempts of `subject`, or why there are none.
    pub(super) fn of_subject(result: &'a RunResult, subject: &Subject) -> Result<Self, String> {
        let rows = match subject {
            Subject::All => return Ok(Self::all(result)),
            Subject::Population(_) => &result.by_population,
            Subject::Stage(_) => &result.by_stage,
            Subject::Target(_) => &result.by_target,
            Subject::Client(_) => &result.by_client,
        };
        let index = subject.index(&result.plan)?;
        // What there is but one of has no row: it is all there is.
        Ok(rows.get(index).map_or(Self::all(result), Self::row))
    }

    fn all(result: &'a RunResult) -> Self {
        Self {
            attempts: &result.attempts,
            rate: &result.rate,
            modes: &result.modes,
            latency: &result.latency,
            media: &result.media,
        }
    }

    fn row(row: &'a Row) -> Self {
        Self { attempts: &row.attempts, rate: &row.rate, modes: &row.modes, latency: &row.latency, media: &row.media }
    }
}
