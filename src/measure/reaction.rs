//! What a target does with a hostile client: neither a completed attempt nor, unless something was expected, a failed
//! one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::histogram::LatencyHistogram;
use crate::base::{DurationText, Nanos};
use crate::protocol::S0S1S2_SIZE;

/// How the connection of a hostile client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It never came to be: refused, unreachable, or no answer to the SYN.
    NotConnected,
    /// The target closed it (FIN).
    Closed,
    /// The target reset it.
    Reset,
    /// It was open when the client's patience was over (`--timeout`, or the end of the run).
    Open,
    /// The client closed it itself, as it always does.
    Left,
}

/// The end of one attempt of a hostile client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// How the connection ended.
    pub ending: Ending,
    /// How long it had been open; zero if it never was.
    pub after: Nanos,
    /// Bytes received on it.
    pub received: u32,
    /// When S0, S1 and S2 were complete, after it was open; none if they never were.
    pub answered: Option<Nanos>,
}

/// The reactions to one kind of client.
#[derive(Clone, Debug, PartialEq)]
pub struct Reactions {
    endings: [u64; Ending::COUNT],
    /// Attempts that were answered with S0, S1 and S2.
    pub answered: u64,
    /// Attempts that received some bytes, but no whole answer.
    pub partly_answered: u64,
    /// Attempts whose reaction was not the expected one; they are failures too.
    pub unexpected: u64,
    /// How long the target kept the connections: from connected to the end.
    pub open_time: LatencyHistogram,
}

/// What a target is to do with hostile clients: `closed within 5s`, `reset within 5s`, `answered within 2s`,
/// `open for 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expectation {
    /// What.
    pub event: ExpectedEvent,
    /// By when, or how long, after the connection is open.
    pub limit: Nanos,
}

/// What is expected of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedEvent {
    /// It ends the connection, by FIN or RST.
    Closed,
    /// It resets the connection.
    Reset,
    /// It answers with S0, S1 and S2.
    Answered,
    /// It keeps the connection open.
    Open,
}

/// A text that is no expectation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an expectation: write 'closed within 5s', 'reset within 5s', 'answered within 2s' or 'open for 30s'"
)]
pub struct ExpectationError(String);

impl Ending {
    /// Number of endings.
    pub const COUNT: usize = Self::Left as usize + 1;

    /// Every ending, in declaration order.
    pub const ALL: [Self; Self::COUNT] = [Self::NotConnected, Self::Closed, Self::Reset, Self::Open, Self::Left];
}

impl Reactions {
    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() - size_of::<LatencyHistogram>() + self.open_time.memory()
    }

    /// Counts one reaction.
    pub fn count(&mut self, reaction: &Reaction, expected: bool) {
        self.endings[reaction.ending as usize] += 1;
        match reaction {
            Reaction { answered: Some(_), .. } => self.answered += 1,
            Reaction { received: 1.., .. } => self.partly_answered += 1,
            _ => {}
        }
        self.unexpected += u64::from(!expected);
        if reaction.ending != Ending::NotConnected {
            self.open_time.record(reaction.after);
        }
    }

    /// How many connections ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize]
    }

    /// Reactions of all kinds.
    pub fn total(&self) -> u64 {
        self.endings.iter().sum()
    }

    /// Adds `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.endings.iter_mut().zip(other.endings) {
            *mine += theirs;
        }
        self.answered += other.answered;
        self.partly_answered += other.partly_answered;
        self.unexpected += other.unexpected;
        self.open_time.merge(&other.open_time);
    }
}

impl Default for Reactions {
    fn default() -> Self {
        Self {
            endings: [0; Ending::COUNT],
            answered: 0,
            partly_answered: 0,
            unexpected: 0,
            open_time: LatencyHistogram::of_ages(),
        }
    }
}

impl Reaction {
    /// Everything that a server sends in a handshake has come.
    pub const fn is_answer(received: u32) -> bool {
        received as usize >= S0S1S2_SIZE
    }
}

impl Expectation {
    /// Whether the target may have done what was expected of it, where it was not watched for as long as `paused`.
    pub fn may_be_met_by(&self, reaction: &Reaction, paused: Nanos) -> bool {
        let earlier = |at: Nanos| at.saturating_sub(paused);
        let earliest =
            Reaction { after: earlier(reaction.after), answered: reaction.answered.map(earlier), ..*reaction };
        self.is_met_by(reaction) || self.is_met_by(&earliest)
    }

    /// Whether the target did what was expected of it.
    pub fn is_met_by(&self, reaction: &Reaction) -> bool {
        let in_time = reaction.after <= self.limit;
        match self.event {
            ExpectedEvent::Closed => matches!(reaction.ending, Ending::Closed | Ending::Reset) && in_time,
            ExpectedEvent::Reset => reaction.ending == Ending::Reset && in_time,
            ExpectedEvent::Answered => reaction.answered.is_some_and(|after| after <= self.limit),
            ExpectedEvent::Open => match reaction.ending {
                Ending::NotConnected => false,
                Ending::Open | Ending::Left => true,
                Ending::Closed | Ending::Reset => reaction.after >= self.limit,
            },
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotConnected => "not connected",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Open => "left open",
            Self::Left => "left by us",
        })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = DurationText(self.limit.into());
        match self.event {
            ExpectedEvent::Closed => write!(f, "closed within {limit}"),
            ExpectedEvent::Reset => write!(f, "reset within {limit}"),
            ExpectedEvent::Answered => write!(f, "answered within {limit}"),
            ExpectedEvent::Open => write!(f, "open for {limit}"),
        }
    }
}

impl FromStr for Expectation {
    type Err = ExpectationError;

    fn from_str(text: &str) -> Result<Self, ExpectationError> {
        let error = || ExpectationError(text.to_owned());
        let mut words = text.split_whitespace();
        let event = match (words.next(), words.next()) {
            (Some("closed"), Some("within")) => ExpectedEvent::Closed,
            (Some("reset"), Some("within")) => ExpectedEvent::Reset,
            (Some("answered"), Some("within")) => ExpectedEvent::Answered,
            (Some("open"), Some("for")) => ExpectedEvent::Open,
            _ => return Err(error()),
        };
        let limit: DurationText = words.next().and_then(|word| word.parse().ok()).ok_or_else(error)?;
        match words.next() {
            None if !limit.0.is_zero() => Ok(Self { event, limit: limit.0.into() }),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Expectation {
    type Error = ExpectationError;

    fn try_from(text: String) -> Result<Self, ExpectationError> {
        text.parse()
    }
}

impl From<Expectation> for String {
    fn from(expectation: Expectation) -> Self {
        expectation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaction(ending: Ending, after_s: u64) -> Reaction {
        Reaction { ending, after: Nanos::from_secs(after_s), received: 0, answered: None }
    }

    #[test]
    fn expectations_read_back() {
        for text in ["closed within 1m", "reset within 5s", "answered within 250ms", "open for 30s"] {
            assert_eq!(text.parse::<Expectation>().unwrap().to_string(), text);
        }
        for text in
            ["", "closed", "closed within", "closed within 5", "closed for 5s", "open for 0s", "closed within 5s x"]
        {
            assert!(text.parse::<Expectation>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_expectation_is_met_by_what_it_names() {
        for (text, met, missed) in [
            ("closed within 5s", [(Ending::Closed, 5), (Ending::Reset, 1)], [(Ending::Closed, 6), (Ending::Open, 4)]),
            ("reset within 5s", [(Ending::Reset, 5), (Ending::Reset, 0)], [(Ending::Closed, 1), (Ending::Reset, 6)]),
            ("open for 5s", [(Ending::Open, 5), (Ending::Closed, 5)], [(Ending::Reset, 4), (Ending::NotConnected, 0)]),
        ] {
            let expectation: Expectation = text.parse().unwrap();
            assert!(met.iter().all(|(ending, after)| expectation.is_met_by(&reaction(*ending, *after))), "{text}");
            assert!(!missed.iter().any(|(ending, after)| expectation.is_met_by(&reaction(*ending, *after))), "{text}");
        }
        let answered: Expectation = "answered within 2s".parse().unwrap();
        let in_time = Reaction { answered: Some(Nanos::from_secs(2)), ..reaction(Ending::Open, 60) };
        assert!(answered.is_met_by(&in_time));
        assert!(!answered.is_met_by(&reaction(Ending::Open, 60)));
    }

    #[test]
    fn reactions_are_told_apart_and_add_up() {
        let mut reactions = Reactions::default();
        reactions.count(&reaction(Ending::Closed, 90), true);
        reactions.count(&Reaction { received: 7, ..reaction(Ending::Reset, 1) }, false);
        reactions.count(&reaction(Ending::NotConnected, 0), true);
        let mut twice = reactions.clone();
        twice.merge(&reactions);
        assert_eq!((twice.total(), twice.ended(Ending::Closed), twice.partly_answered, twice.unexpected), (6, 2, 2, 2));
        assert_eq!((twice.open_time.count(), twice.open_time.overflow()), (4, 0), "a minute and a half is no overflow");
    }
}
