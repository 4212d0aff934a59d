//! What was asked of a capacity search: everything optional still is.

use std::fmt;
use std::str::FromStr;

use crate::base::{DurationText, Nanos, REDACTED, Rate};
use crate::load::Reconnect;
use crate::observe::Subject;
use crate::protocol::{ClientProfile, HandshakeMode};
use crate::scenario::{PlanError, Request, TargetText};
use crate::search::TrialOutcome;

use crate::capacity::result::{CapacityResult, Find, GoalResult};
use crate::capacity::verdict::rfc9411::SUSTAIN_S;

const DEFAULT_CONFIRM: Nanos = Nanos::from_secs(60);

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
    /// The file that the result goes to, for advice that names it.
    pub saved_as: Option<String>,
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
    /// Time within which all of them must be back.
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

impl CapacityRequest {
    /// The search that this one goes on with.
    pub fn resumed(&self) -> Option<&CapacityResult> {
        self.resume.as_ref().map(|(_, resumed)| resumed.as_ref())
    }

    /// Its trials.
    pub(super) fn trials_before(&self) -> impl Iterator<Item = &TrialOutcome> {
        self.resumed().into_iter().flat_map(|resumed| &resumed.searched)
    }

    /// What they took of the budget.
    pub(super) fn spent_before(&self) -> Nanos {
        self.trials_before().fold(Nanos::ZERO, |sum, trial| sum + trial.took)
    }

    /// With what the file of the search to go on with says, where nothing else is asked: engine, targets, mode, what
    /// completes an attempt and how it is closed, goals, need and lengths. Other clients, and whatever is about this
    /// machine, are given again.
    ///
    /// # Errors
    /// If that file is none of a search that can go on, or its target was given with a key, which no file holds.
    pub fn completed_from_file(mut self) -> Result<Self, PlanError> {
        let Some((file, resumed)) = &self.resume else { return Ok(self) };
        if self.find == Find::Concurrent || resumed.asked.find == Find::Concurrent {
            return Err(PlanError(format!(
                "{file} cannot be resumed: --find concurrent is one ramp, not trials; start it again without --resume"
            )));
        }
        let (load, asked) = (&mut self.load, &resumed.asked);
        load.engine = load.engine.or(Some(resumed.plan.engine));
        if load.populations.is_empty() {
            if load.targets.is_empty() {
                let mut names: Vec<&str> = resumed.plan.targets.iter().map(|target| target.name.as_str()).collect();
                names.dedup();
                if let Some(hidden) = names.iter().find(|name| name.contains(REDACTED)) {
                    return Err(PlanError(format!(
                        "{file} is a search of {hidden}, without what gives access to it; give the target again"
                    )));
                }
                load.targets = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
            }
            if load.clients.is_empty()
                && let [only] = resumed.plan.clients().as_slice()
                && only.profile == ClientProfile::Shakedown
            {
                load.mode = load.mode.or(Some(only.mode));
                if load.mode == Some(HandshakeMode::Complex) {
                    load.digest_at = load.digest_at.or(Some(only.digest_at));
                }
            }
            load.until = load.until.or(Some(resumed.until));
            load.close = load.close.or(Some(resumed.close));
        }
        self.rfc9411 |= asked.rfc9411;
        if self.goals.is_empty() {
            let goal = |goal: &GoalResult| GoalRequest { name: goal.name.clone(), loss_ratio: goal.loss_ratio };
            self.goals = resumed.goals.iter().map(goal).collect();
        }
        if self.need.is_none() && self.fleet.is_none() {
            let rate = |per_s: Option<f64>| per_s.and_then(|per_s| Rate::per_second(per_s).ok());
            self.fleet = resumed
                .qualification
                .as_ref()
                .and_then(|qualification| qualification.fleet.as_ref())
                .and_then(|fleet| {
                    let recover_in = Nanos::from_secs_f64(fleet.recover_in_s);
                    Some(FleetRequest { clients: fleet.clients, recover_in, reconnect: fleet.reconnect.parse().ok()? })
                });
            self.need = rate(asked.need_per_s).filter(|_| self.fleet.is_none());
            self.margin = self.margin.or(asked.margin);
            self.max_rate = self.max_rate.or(rate(asked.max_rate_per_s));
        }
        // Another budget has a confirmation of its own length.
        if self.budget.is_none() {
            self.budget = Some(Nanos::new(asked.budget_ns));
            let confirm = Nanos::new(asked.confirm_ns);
            let is_given = confirm != default_confirm(Nanos::new(asked.budget_ns), asked.rfc9411);
            self.confirm = self.confirm.or(is_given.then_some(confirm));
        }
        self.trial = self.trial.or(asked.trial_ns.map(Nanos::new));
        self.width = self.width.or(Some(asked.width));
        Ok(self)
    }
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

impl fmt::Display for GoalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A product that is whole but for the last bit is written as what it is.
        let percent = (self.loss_ratio * 1e9).round() / 1e7;
        write!(f, "{}={percent}%", self.name)
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

/// The length of a confirmation that nobody gave one: a short budget has a short one.
pub(super) fn default_confirm(budget: Nanos, rfc9411: bool) -> Nanos {
    let (whole, part) = if rfc9411 { (Nanos::from_secs_f64(SUSTAIN_S), 3) } else { (DEFAULT_CONFIRM, 5) };
    whole.min(Nanos::new(budget.as_u64() / part))
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
