//! One completed attempt and the spans measured on it.

use crate::base::table::{choices, named};
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
    /// TLS was established, on connections that use it.
    pub secured: Option<Time>,
    /// C0C1 was handed to the kernel.
    pub sent: Time,
    /// S0S1 was complete: when its last packet arrived, where the backend knows.
    pub s0s1: Time,
    /// S2 was complete, likewise.
    pub s2: Time,
    /// What it reached after the handshake; `None` if it was complete with it.
    pub session: Option<SessionTimes>,
    /// The attempt was complete. If it was so with the handshake: as of S2's arrival, unless C2 had to wait for C0C1.
    pub completed: Time,
    /// How long the worker did not run between start and completion: so much of the attempt's time may be the generator's.
    pub paused: Nanos,
    /// What handshake it was.
    pub negotiated: Negotiated,
}

/// The milestones after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// The send that carries the command `connect` was handed to the kernel.
    pub asked: Time,
    /// The first byte after S2 that came after that.
    pub reply: Time,
    /// The `_result` of `connect`.
    pub accepted: Option<Time>,
    /// `NetStream.Publish.Start`, or `NetStream.Play.Start` where the client plays.
    pub started: Option<Time>,
    /// The first message of audio or video, where the client plays.
    pub first_frame: Option<Time>,
    /// Which backend answered, among those the recorder knows.
    pub backend: Option<u16>,
}

choices! {
    /// What completes an attempt.
    pub enum Until {
        /// S2 is in and C2 is out.
        Handshake = "handshake",
        /// The first byte after S2: the server answers connect, or begins to.
        Reply = "reply",
        /// The _result of connect.
        Connect = "connect",
        /// NetStream.Publish.Start.
        Publish = "publish",
        /// NetStream.Play.Start and the first message of audio or video.
        Play = "play",
    }
}

/// The attempts that have a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// All.
    Always,
    /// Those of an open loop: it is measured from the plan.
    Planned,
    /// Those that go on this far.
    From(Until),
    /// Those over TLS.
    Tls,
    /// Those that met a pause of the worker.
    Paused,
}

/// The table of metrics: name, presence, and the span of a sample.
macro_rules! metrics {
    ($($(#[$doc:meta])* $metric:ident = $name:literal, $presence:expr, |$sample:ident| $span:expr;)*) => {
        named! {
            /// A span measured on completed attempts.
            pub enum Metric {
                $($(#[$doc])* $metric = $name,)*
            }
        }

        impl Metric {
            const fn presence(self) -> Presence {
                match self {
                    $(Self::$metric => $presence,)*
                }
            }
        }

        impl Sample {
            /// The span `metric` names, or `None` where this attempt has none.
            pub fn span(&self, metric: Metric) -> Option<Nanos> {
                match metric {
                    $(Metric::$metric => {
                        let $sample = self;
                        $span
                    })*
                }
            }
        }
    };
}

metrics! {
    /// From the intended arrival to complete (open loop only).
    Response = "response", Presence::Planned, |sample| Some(sample.completed.since(sample.intended?));
    /// From the actual start to complete.
    Service = "service", Presence::Always, |sample| Some(sample.completed.since(sample.started));
    /// From the actual start to TCP connected.
    Connect = "connect", Presence::Always, |sample| Some(sample.connected.since(sample.started));
    /// From TCP connected to TLS established (`rtmps` only).
    Tls = "tls", Presence::Tls, |sample| Some(sample.secured?.since(sample.connected));
    /// From C0C1 handed to the kernel to S0S1 complete.
    S0s1 = "s0s1", Presence::Always, |sample| Some(sample.s0s1.since(sample.sent));
    /// From C0C1 handed to the kernel to S2 complete.
    S2 = "s2", Presence::Always, |sample| Some(sample.s2.since(sample.sent));
    /// From `connect` handed to the kernel to the first byte of the server's answer.
    Reply = "reply", Presence::From(Until::Reply), |sample| {
        let session = sample.session?;
        Some(session.reply.since(session.asked))
    };
    /// From `connect` handed to the kernel to its `_result`.
    AppConnect = "app_connect", Presence::From(Until::Connect), |sample| {
        let session = sample.session?;
        Some(session.accepted?.since(session.asked))
    };
    /// From the `_result` of `connect` to the start of the stream: `NetStream.Publish.Start` or `NetStream.Play.Start`.
    Publish = "publish", Presence::From(Until::Publish), |sample| {
        let session = sample.session?;
        Some(session.started?.since(session.accepted?))
    };
    /// From the start of a stream that is played to its first message of audio or video.
    FirstFrame = "first_frame", Presence::From(Until::Play), |sample| {
        let session = sample.session?;
        Some(session.first_frame?.since(session.started?))
    };
    /// From `connect`, which leaves with C2, handed to the kernel to the answer that completes the attempt: measured only
    /// where it goes on after S2.
    Confirm = "confirm", Presence::From(Until::Reply), |sample| Some(sample.completed.since(sample.session?.asked));
    /// From the intended arrival to a free slot: the target (or the hold) kept the slots (open loop only).
    SlotWait = "slot_wait", Presence::Planned, |sample| Some(sample.slot_free.since(sample.intended?));
    /// From the later of intended and slot free to the actual start: the generator's own error (open loop only).
    Lateness = "lateness", Presence::Planned, |sample| {
        Some(sample.started.since(sample.intended?.max(sample.slot_free)))
    };
    /// How long the worker did not run between start and completion: measured only on attempts that met a pause.
    Paused = "paused", Presence::Paused, |sample| (sample.paused > Nanos::ZERO).then_some(sample.paused);
}

impl Metric {
    /// It exists only where attempts go on after the handshake, use TLS, or met a pause; the others exist always.
    pub const fn is_optional(self) -> bool {
        matches!(self.presence(), Presence::From(_) | Presence::Tls | Presence::Paused)
    }

    /// Attempts that go on until `until` have it.
    pub fn is_reached_by(self, until: Until) -> bool {
        match self.presence() {
            Presence::From(milestone) => until >= milestone,
            Presence::Tls => false,
            Presence::Always | Presence::Planned | Presence::Paused => true,
        }
    }

    /// It is measured from the plan: closed loop has none.
    pub const fn needs_plan(self) -> bool {
        matches!(self.presence(), Presence::Planned)
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
            secured: None,
            sent: Time::from_nanos(151),
            s0s1: Time::from_nanos(171),
            s2: Time::from_nanos(181),
            session: None,
            completed: Time::from_nanos(190),
            paused: Nanos::ZERO,
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
            [
                Some(90),
                Some(53),
                Some(13),
                None,
                Some(20),
                Some(30),
                None,
                None,
                None,
                None,
                None,
                Some(30),
                Some(7),
                None
            ],
            "response service connect tls s0s1 s2 reply app_connect publish first_frame confirm slot_wait lateness paused"
        );
    }

    #[test]
    fn a_session_is_measured_from_its_connect_on() {
        let session = SessionTimes {
            asked: Time::from_nanos(172),
            reply: Time::from_nanos(182),
            accepted: Some(Time::from_nanos(183)),
            started: Some(Time::from_nanos(187)),
            first_frame: Some(Time::from_nanos(190)),
            backend: None,
        };
        let played = Sample { session: Some(session), secured: Some(Time::from_nanos(151)), ..sample() };
        let spans = [
            (Metric::Tls, 1),
            (Metric::Reply, 10),
            (Metric::AppConnect, 11),
            (Metric::Publish, 4),
            (Metric::FirstFrame, 3),
            (Metric::Confirm, 18),
        ];
        for (metric, nanos) in spans {
            assert!(metric.is_optional());
            assert_eq!(played.span(metric), Some(Nanos::new(nanos)), "{metric}");
        }
        let connected =
            Sample { session: Some(SessionTimes { started: None, first_frame: None, ..session }), ..sample() };
        assert_eq!(connected.span(Metric::Publish), None);
        assert_eq!(connected.span(Metric::Confirm), Some(Nanos::new(18)));
    }

    #[test]
    fn milestones_come_one_after_the_other() {
        assert!(Metric::Reply.is_reached_by(Until::Reply) && !Metric::AppConnect.is_reached_by(Until::Reply));
        assert!(Metric::AppConnect.is_reached_by(Until::Publish) && !Metric::FirstFrame.is_reached_by(Until::Publish));
        assert!(Metric::FirstFrame.is_reached_by(Until::Play) && !Metric::Confirm.is_reached_by(Until::Handshake));
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
            assert_eq!(measured, !metric.needs_plan() && !metric.is_optional(), "{metric}");
        }
    }

    #[test]
    fn what_the_worker_slept_through_is_told_apart_and_taken_off_nothing() {
        let paused = Sample { paused: Nanos::new(21), ..sample() };
        assert_eq!(paused.span(Metric::Paused), Some(Nanos::new(21)));
        assert_eq!(paused.span(Metric::Service), sample().span(Metric::Service));
    }

    #[test]
    fn names_in_files_and_in_text_are_the_same() {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, index);
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.to_string());
        }
    }
}
