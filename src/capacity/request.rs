//! What was asked of a capacity search: everything optional still is.

use std::fmt;
use std::str::FromStr;

use crate::base::{DurationText, Nanos, Rate};
use crate::load::Reconnect;
use crate::observe::Subject;
use crate::scenario::{PlanError, Request, TargetText};

use super::result::{CapacityResult, Find};

/// A capacity search as asked for.
#[derive(Clone, Debug, Default)]
pub struct CapacityRequest {
    /// Targets, clients and generator: a run's request without a load.
    pub load: Request,
    /// The target is this program's own sink, started for this search.
    pub built_in_sink: bool,
    /// What is looked for.
    pub find: Find,
    /// When an attempt is lost; 100 ms without.
    pub deadline: Option<Deadline>,
    /// What may be lost; the goal `slo` without.
    pub goals: Vec<GoalRequest>,
    /// The rate that the target must take: a yes or no instead of a search.
    pub need: Option<Rate>,
    /// What is offered over the need; 1.2 without.
    pub margin: Option<f64>,
    /// The fleet that the need follows from.
    pub fleet: Option<FleetRequest>,
    /// No rate above this is offered.
    pub max_rate: Option<Rate>,
    /// Length of the trials that decide.
    pub trial: Option<Nanos>,
    /// Relative width at which the search ends.
    pub width: Option<f64>,
    /// Length of the confirmation.
    pub confirm: Option<Nanos>,
    /// Length of the warm-up; without, until the target is steady.
    pub warmup: Option<Nanos>,
    /// Time for everything; 5 minutes without.
    pub budget: Option<Nanos>,
    /// Whom the generator's ceiling is measured against.
    pub control: ControlRequest,
    /// What is observed beside the load.
    pub observe: Vec<Subject>,
    /// A search to go on with, and the file it is from.
    pub resume: Option<(String, Box<CapacityResult>)>,
    /// Judge by RFC 9411.
    pub rfc9411: bool,
    /// The user's own keys and values.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// `100ms`, or `+100ms` over the unloaded target's median.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// After the intended start.
    After(Nanos),
    /// So much later than the median response of the unloaded target.
    OverBaseline(Nanos),
}

/// `NAME=LOSS`, such as `strict=0.001%`.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalRequest {
    /// Its name.
    pub name: String,
    /// Share of attempts that may be lost.
    pub loss_ratio: f64,
}

/// A fleet that has lost its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetRequest {
    /// Clients.
    pub clients: u32,
    /// The time in which all of them are to be back.
    pub recover_in: Nanos,
    /// The rule by which they come back.
    pub reconnect: Reconnect,
}

/// Whom the generator's ceiling is measured against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlRequest {
    /// The built-in sink on this machine.
    #[default]
    BuiltInSink,
    /// A sink elsewhere on the same path.
    Target(Box<TargetText>),
    /// Nobody.
    Skip,
}

impl FromStr for Deadline {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (over, rest) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let length = rest.parse::<DurationText>().map(|length| Nanos::from(length.0));
        match length {
            Ok(Nanos::ZERO) | Err(_) => Err(PlanError(format!(
                "'{text}' is not a deadline: write a time after the intended start, such as 100ms, or +100ms for as much \
                 over the unloaded target's median"
            ))),
            Ok(length) => Ok(if over { Self::OverBaseline(length) } else { Self::After(length) }),
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(length) => write!(f, "{}", DurationText((*length).into())),
            Self::OverBaseline(length) => write!(f, "+{}", DurationText((*length).into())),
        }
    }
}

impl FromStr for GoalRequest {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let refuse = |why: &str| {
            Err(PlanError(format!(
                "goal '{text}' {why}: write a name and a share, for example slo=0.5% or strict=0.001%"
            )))
        };
        let Some((name, loss)) = text.split_once('=') else {
            // The names that the documentation uses need no number.
            return match text {
                "slo" => Ok(Self { name: text.to_owned(), loss_ratio: 0.005 }),
                "strict" => Ok(Self { name: text.to_owned(), loss_ratio: 0.000_01 }),
                _ => refuse("has no share of attempts that may be lost"),
            };
        };
        if name.is_empty() {
            return refuse("has no name");
        }
        match share(loss) {
            Some(loss_ratio) if loss_ratio > 0.0 && loss_ratio < 1.0 => Ok(Self { name: name.to_owned(), loss_ratio }),
            _ => refuse("has no share between 0 and 100 %"),
        }
    }
}

/// Reads a share: `0.5%` or `0.005`.
pub fn share(text: &str) -> Option<f64> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (text, 1.0),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse::<f64>().ok().filter(|_| plain).map(|number| number / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_absolute_or_over_the_baseline() {
        assert_eq!("100ms".parse(), Ok(Deadline::After(Nanos::from_millis(100))));
        assert_eq!("+1s".parse(), Ok(Deadline::OverBaseline(Nanos::from_secs(1))));
        for text in ["100ms", "+1s", "+90ms"] {
            assert_eq!(text.parse::<Deadline>().map(|deadline| deadline.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "100", "0s", "+0s", "++1s", "-1s"] {
            let told = text.parse::<Deadline>().unwrap_err().to_string();
            assert!(told.contains("not a deadline"), "{told}");
        }
    }

    #[test]
    fn goals_are_names_and_shares() {
        let goal = |text: &str| text.parse::<GoalRequest>().map(|goal| (goal.name, goal.loss_ratio));
        assert_eq!(goal("slo=0.5%"), Ok(("slo".to_owned(), 0.005)));
        assert_eq!(goal("strict=0.00001"), Ok(("strict".to_owned(), 0.000_01)));
        assert_eq!(goal("strict"), Ok(("strict".to_owned(), 0.000_01)));
        for text in ["", "x", "=1%", "x=", "x=0", "x=100%", "x=-1%", "x=inf", "x=1e-3"] {
            assert!(goal(text).is_err(), "{text}");
        }
    }
}
