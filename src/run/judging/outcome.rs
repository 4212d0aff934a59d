//! What attempts came to on the whole: whether anything completed, and what hostile clients met.

use crate::measure::{FailureKind, Side, Step};
use crate::run::result::{FailureRow, ReactionRow, RunResult};

/// Why nothing completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// This machine's limits.
    OwnLimits,
    /// The target or the way to it.
    Target,
}

/// Why nothing completed; `None` if something did, nothing was due, or a signal ended everything first.
pub fn nothing_completed(result: &RunResult) -> Option<Obstacle> {
    let attempts = &result.attempts;
    if attempts.due == 0 || attempts.completed > 0 || !meant_to_complete(result) && reactions(result) > 0 {
        return None;
    }
    let mut failures = result.failures.iter().filter(|failure| failure.step != Step::Hold);
    let signalled = result.interrupted.is_some();
    let own = |side, kind| {
        let excused = signalled && kind == FailureKind::Cancelled || kind == FailureKind::GeneratorPaused;
        side == Side::Generator && !excused
    };
    if failures.clone().any(|failure| own(failure.side, failure.kind)) || attempts.started == 0 && !signalled {
        Some(Obstacle::OwnLimits)
    } else {
        failures.any(|failure| failure.side != Side::Generator).then_some(Obstacle::Target)
    }
}

/// Some client is no hostile one.
pub fn meant_to_complete(result: &RunResult) -> bool {
    let mut clients = result.plan.asked().flat_map(|population| &population.clients);
    clients.any(|share| !share.client.is_hostile())
}

/// Attempts of hostile clients that are over, treated as expected or not.
pub fn reactions(result: &RunResult) -> u64 {
    result.attempts.observed + unexpected_reactions(result)
}

/// Attempts of hostile clients that were not treated as the plan expects.
pub fn unexpected_reactions(result: &RunResult) -> u64 {
    let unexpected = |failure: &&FailureRow| failure.kind == FailureKind::Unexpected;
    result.failures.iter().filter(unexpected).map(|failure| failure.count).sum()
}

/// The hostile clients none of whose attempts got a connection.
pub(super) fn shut_out(result: &RunResult) -> impl Iterator<Item = &str> {
    let reactions = result.by_client.iter().filter_map(|row| Some((row.name.as_str(), row.reactions.as_ref()?)));
    let is_shut_out = |reactions: &ReactionRow| {
        let met = reactions.closed + reactions.reset + reactions.open + reactions.left;
        reactions.not_connected > 0 && met == 0
    };
    reactions.filter(move |(_, reactions)| is_shut_out(reactions)).map(|(name, _)| name)
}

/// All clients were hostile ones, none of them was held to an expectation, and none got a connection.
pub fn met_nobody(result: &RunResult) -> bool {
    let ended = result.by_client.iter().filter_map(|row| row.reactions.as_ref());
    let ended = ended.filter(|reactions| {
        reactions.not_connected + reactions.closed + reactions.reset + reactions.open + reactions.left > 0
    });
    !meant_to_complete(result)
        && unexpected_reactions(result) == 0
        && result.attempts.observed > 0
        && ended.count() == shut_out(result).count()
}
