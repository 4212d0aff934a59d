//! A lane of a worker: its schedule, its slots, and what its next attempt uses.

use crate::base::{Nanos, Time};
use crate::io::{SourceId, TargetId};
use crate::load::WeightedTurns;
use crate::measure::{Expectation, Until};

use super::plan::{Client, ClosePolicy, Hold, LaneSpec, Load, SessionRules, Verify};
use super::schedule::{Schedule, SlotUse};
use super::slots::FreeQueue;

/// Attempts of the same kind, with slots of their own.
#[derive(Debug)]
pub(super) struct Lane {
    pub schedule: Schedule,
    pub free: FreeQueue,
    pub first_slot: u32,
    pub slots: u32,
    /// It ends with the last lane that is none.
    pub is_canary: bool,
    /// Attempts whose outcome is open.
    pub in_flight: u32,
    /// Connections held.
    pub held: u32,
    /// How long the worker has paused since a slot was free and no arrival behind its plan. An arrival that waits for a slot
    /// waits longer by this at most than if the worker had gone on: all that goes on in the slots is so much later.
    pub held_up: Nanos,
    /// Where the search for held connections to close goes on when there are more than the plan has use for.
    pub surplus_cursor: u32,
    pub rules: Rules,
    turns: WeightedTurns,
    mix: Vec<ClientTurns>,
    /// Publishers that trickle, and those that send the clip.
    pub clip_turns: WeightedTurns,
}

/// What one kind of client of a lane uses next. Each kind has turns of its own: else with as many kinds as targets
/// each kind would meet but one target.
#[derive(Debug)]
struct ClientTurns {
    client: u16,
    next_template: u16,
    targets: WeightedTurns,
    /// Attempts until every target has had its weight and the next source is used.
    left_in_cycle: u32,
    next_source: usize,
}

/// The part of the plan that stays as it is.
#[derive(Debug)]
pub(super) struct Rules {
    pub verify: Verify,
    pub targets: Vec<TargetId>,
    pub sources: Vec<SourceId>,
    pub hold: Hold,
    pub close: ClosePolicy,
    pub connect_timeout: Nanos,
    pub timeout: Nanos,
    pub expect: Option<Expectation>,
    pub until: Until,
    pub session: Option<SessionRules>,
}

/// What an attempt is made with.
pub(super) struct Choices {
    /// Which of the lane's.
    pub turn: usize,
    pub client: u16,
    pub target: TargetId,
    pub source: SourceId,
    pub template: u16,
}

impl Lane {
    pub(super) fn new(spec: LaneSpec, free: FreeQueue, first_slot: u32, start: Time) -> Self {
        // The slots of a fleet are its clients', not anybody's whose turn it is.
        let free = if matches!(spec.load, Load::Storm { .. }) { FreeQueue::EMPTY } else { free };
        let begin = |(index, &client)| {
            let mut targets = WeightedTurns::new(spec.targets.iter().map(|(_, weight)| *weight));
            // Each kind begins with another target, so that the first attempts do not all meet the same one.
            for _ in 0..index % spec.targets.len() {
                targets.take();
            }
            ClientTurns { client, next_template: 0, left_in_cycle: targets.cycle(), targets, next_source: 0 }
        };
        let mix = spec.clients.iter().enumerate().map(begin).collect();
        let clip_weights = spec.session.as_ref().map_or([1, 0], |session| session.clip_weights);
        let clip_turns = WeightedTurns::new(clip_weights);
        Self {
            schedule: Schedule::new(spec.load, spec.slots, start),
            free,
            first_slot,
            slots: spec.slots,
            is_canary: spec.is_canary,
            in_flight: 0,
            held: 0,
            held_up: Nanos::ZERO,
            surplus_cursor: 0,
            rules: Rules {
                verify: spec.verify,
                targets: spec.targets.iter().map(|(target, _)| *target).collect(),
                sources: spec.sources,
                hold: spec.hold,
                close: spec.close,
                connect_timeout: spec.connect_timeout,
                timeout: spec.timeout,
                expect: spec.expect,
                until: spec.until,
                session: spec.session,
            },
            turns: spec.turns,
            mix,
            clip_turns,
        }
    }

    pub(super) fn slot_use(&self) -> SlotUse {
        SlotUse { free: self.free.len(), busy: self.slots - self.free.len() }
    }

    /// What the next attempt uses: the client whose turn it is takes its target, source and template in turn.
    pub(super) fn next_choices(&mut self, clients: &[Client]) -> Choices {
        let rules = &self.rules;
        let turn = self.turns.take();
        let turns = &mut self.mix[turn];
        let chosen = Choices {
            turn,
            client: turns.client,
            target: rules.targets[turns.targets.take()],
            source: rules.sources[turns.next_source],
            template: turns.next_template,
        };
        // A source goes to every target before the next source is used, so every pair of them occurs.
        turns.left_in_cycle -= 1;
        if turns.left_in_cycle == 0 {
            turns.left_in_cycle = turns.targets.cycle();
            turns.next_source = (turns.next_source + 1) % rules.sources.len();
        }
        let templates = &clients[usize::from(turns.client)].templates;
        turns.next_template = (turns.next_template + 1) % templates.len() as u16;
        chosen
    }
}
