//! One completed attempt and the spans measured on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Nanos, Time};
use crate::protocol::Negotiated;

/// Where an attempt is counted: indices of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stage it was intended in.
    pub stage: u16,
    /// Where it went.
    pub target: u16,
    /// What kind of client made it.
    pub client: u16,
}

/// The milestones of one completed attempt. Two starts, two names: `intended` is the plan, `started` is what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where it is counted.
    pub place: Place,
    /// When the plan wanted it to start; `None` in closed loop, which has no plan.
    pub intended: Option<Time>,
    /// When its slot was free for it (at or before `intended`: it did not wait for one).
    pub slot_free: Time,
    /// When it started.
    pub started: Time,
    /// TCP was connected.
    pub connected: Time,
    /// C0C1 was handed to the kernel.
    pub sent: Time,
    /// S0S1 was complete.
    pub s0s1: Time,
    /// S2 was complete.
    pub s2: Time,
    /// The attempt was complete.
    pub completed: Time,
    /// What handshake it was.
    pub negotiated: Negotiated,
}

/// A span measured on completed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// From the intended arrival to complete (open loop only).
    Response,
    /// From the actual start to complete.
    Service,
    /// From the actual start to TCP connected.
    Connect,
    /// From C0C1 handed to the kernel to S0S1 complete.
    S0s1,
    /// From C0C1 handed to the kernel to S2 complete.
    S2,
    /// From C2 handed to the kernel to the server's reply: measured only where the attempt goes on after S2.
    Confirm,
    /// From the intended arrival to a free slot: the target (or the hold) kept the slots (open loop only).
    SlotWait,
    /// From the later of intended and slot free to the actual start: the generator's own error (open loop only).
    Lateness,
}

impl Sample {
    /// The span `metric` names, or `None` where this attempt has none.
    pub fn span(&self, metric: Metric) -> Option<Nanos> {
        match metric {
            Metric::Response => Some(self.completed.since(self.intended?)),
            Metric::Service => Some(self.completed.since(self.started)),
            Metric::Connect => Some(self.connected.since(self.started)),
            Metric::S0s1 => Some(self.s0s1.since(self.sent)),
            Metric::S2 => Some(self.s2.since(self.sent)),
            // An attempt is complete with S2: it has no later milestone.
            Metric::Confirm => None,
            Metric::SlotWait => Some(self.slot_free.since(self.intended?)),
            Metric::Lateness => Some(self.started.since(self.intended?.max(self.slot_free))),
        }
    }
}

impl Metric {
    /// Number of metrics.
    pub const COUNT: usize = Self::Lateness as usize + 1;

    /// Every metric, in the order of the report.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Response,
        Self::Service,
        Self::Connect,
        Self::S0s1,
        Self::S2,
        Self::Confirm,
        Self::SlotWait,
        Self::Lateness,
    ];

    /// It is measured from the plan: closed loop has none.
    pub const fn needs_plan(self) -> bool {
        matches!(self, Self::Response | Self::SlotWait | Self::Lateness)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::Connect => "connect",
            Self::S0s1 => "s0s1",
            Self::S2 => "s2",
            Self::Confirm => "confirm",
            Self::SlotWait => "slot_wait",
            Self::Lateness => "lateness",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            place: Place { stage: 0, target: 0, client: 0 },
            intended: Some(Time::from_nanos(100)),
            slot_free: Time::from_nanos(130),
            started: Time::from_nanos(137),
            connected: Time::from_nanos(150),
            sent: Time::from_nanos(151),
            s0s1: Time::from_nanos(171),
            s2: Time::from_nanos(181),
            completed: Time::from_nanos(190),
            negotiated: Negotiated::ComplexVerified,
        }
    }

    fn spans(sample: &Sample) -> [Option<u64>; Metric::COUNT] {
        Metric::ALL.map(|metric| sample.span(metric).map(Nanos::as_u64))
    }

    #[test]
    fn waiting_for_a_slot_is_not_lateness() {
        assert_eq!(
            spans(&sample()),
            [Some(90), Some(53), Some(13), Some(20), Some(30), None, Some(30), Some(7)],
            "response service connect s0s1 s2 confirm slot_wait lateness"
        );
    }

    #[test]
    fn starting_late_with_a_free_slot_is_lateness_alone() {
        let late = Sample { slot_free: Time::from_nanos(20), ..sample() };
        assert_eq!(late.span(Metric::SlotWait), Some(Nanos::ZERO));
        assert_eq!(late.span(Metric::Lateness), Some(Nanos::new(37)));
    }

    #[test]
    fn response_is_slot_wait_and_lateness_and_service() {
        let sum = [Metric::SlotWait, Metric::Lateness, Metric::Service]
            .map(|metric| sample().span(metric).unwrap())
            .into_iter()
            .fold(Nanos::ZERO, |sum, span| sum + span);
        assert_eq!(sample().span(Metric::Response), Some(sum));
    }

    #[test]
    fn closed_loop_has_no_plan_to_measure_from() {
        let closed = Sample { intended: None, ..sample() };
        for metric in Metric::ALL {
            let measured = closed.span(metric).is_some();
            assert_eq!(measured, !metric.needs_plan() && metric != Metric::Confirm, "{metric}");
        }
    }

    #[test]
    fn names_in_files_and_in_text_are_the_same() {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, index);
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.to_string());
        }
    }
}
