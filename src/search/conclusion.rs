//! What a search found out.

use serde::{Deserialize, Serialize};

/// The end of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// One entry a goal, in the order of the spec.
    pub goals: Vec<GoalConclusion>,
    /// Whether the target answered again after every overload; `None` if it was never overloaded.
    pub recovered: Option<bool>,
    /// The yes or no, where one was asked for.
    pub qualification: Option<Qualification>,
}

/// What is known about one goal. Rates are intended arrivals per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalConclusion {
    /// The goal's name.
    pub name: String,
    /// Share of attempts that may be lost.
    pub loss_ratio: f64,
    /// Highest load that met the goal (Relevant Lower Bound).
    pub lower_bound_per_s: Option<f64>,
    /// Lowest load that missed it (Relevant Upper Bound), unless it rests on a single trial, which something else may have
    /// spoiled; none if the generator or the range ended the search.
    pub upper_bound_per_s: Option<f64>,
    /// The rate that held for the whole confirmation: the headline.
    pub confirmed_per_s: Option<f64>,
    /// Index of the confirming trial in [`Search::trials`](super::Search::trials).
    pub confirming_trial: Option<usize>,
    /// The lower bound times the share that came through in its trials (draft-ietf-bmwg-mlrsearch, Appendix B).
    pub conditional_throughput_per_s: Option<f64>,
    /// Distance of the bounds, relative to the lower one.
    pub resolution: Option<f64>,
    /// The smallest loss ratio that the attempts at the lower bound (or at the confirmed rate) can tell from none at
    /// 95 % confidence: 3 / attempts ("rule of three").
    pub loss_resolution: Option<f64>,
    /// How to read the numbers.
    pub verdict: Verdict,
}

/// How the numbers of a goal are to be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verdict {
    /// The rate is confirmed, and the target is what limits it.
    Confirmed,
    /// There are bounds, but no confirmation held, or none fitted the budget.
    NotConfirmed {
        /// How many confirmations missed the goal.
        failed: usize,
    },
    /// Trials miss the goal whatever the load: stalls that come and go.
    Unstable {
        /// Share of the valid trials that missed the goal.
        exceeding_share: f64,
        /// Which, as indices into [`Search::trials`](super::Search::trials).
        bad_trials: Vec<usize>,
    },
    /// The generator was the limit: the target sustains at least the lower bound.
    GeneratorLimited {
        /// The lowest rate that the generator could not offer.
        at_per_s: f64,
        /// Its limit, in its own words.
        reason: String,
    },
    /// The highest rate allowed was sustained: the target sustains at least that.
    RangeLimited,
    /// Nothing completed, even at the lowest rate.
    NothingCompletes,
    /// The lowest rate already loses more than the goal allows, in every trial.
    NothingSustained,
    /// The target no longer answered after an overload; the search ended there.
    DidNotRecover {
        /// The rate of that overload.
        after_per_s: f64,
    },
    /// The budget has no room for the attempts that the goal's loss ratio needs.
    NotDecidable {
        /// Attempts that were possible at the load.
        attempts: u64,
        /// Attempts that are needed: 3 / loss ratio.
        needed: u64,
    },
    /// The search ended before it knew: budget or interruption. The bounds so far stand.
    Undecided,
}

/// The answer to "does it sustain what the event needs?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Qualification {
    /// The rate that the event needs.
    pub need_per_s: f64,
    /// The need times its margin: the highest rate that was offered.
    pub target_per_s: f64,
    /// Highest rate that was confirmed, over the need: the headroom. At least this; more was not offered.
    pub headroom: Option<f64>,
    /// The answer.
    pub verdict: QualificationVerdict,
}

/// Yes, no, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualificationVerdict {
    /// Need times margin was confirmed.
    Met,
    /// The need was confirmed, but the margin is not there.
    MarginMissed,
    /// The target does not sustain the need.
    Missed,
    /// Budget, interruption or the generator's limit came first.
    Inconclusive,
}
