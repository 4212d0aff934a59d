//! When the attempts of a lane start: what is left of its load.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::{Nanos, Time};
use crate::load::{Arrivals, Backoff, ConcurrencyPlan, QuotaShare, Reconnect, Share};
use crate::measure::{Comeback, Recorder};

use super::plan::Load;

/// What is left of a lane's load.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each lane; the cursors of an open loop stay where they are")]
pub(super) enum Schedule {
    /// Two cursors of one plan: `due` counts arrivals as their instants pass, `waiting` gives the next one to start.
    /// What lies between them is the backlog; it needs no queue.
    Open {
        due: Arrivals,
        waiting: Arrivals,
        end: Nanos,
    },
    Closed {
        quota: QuotaShare,
        plan: ConcurrencyPlan,
        part: Share,
    },
    Storm(Fleet),
    /// No further attempt starts.
    Over,
}

/// This worker's part of a fleet that has lost its connections. Client `k` has the lane's slot `k` for itself.
#[derive(Debug)]
pub(super) struct Fleet {
    rule: Reconnect,
    begin: Time,
    end: Time,
    stage: u16,
    clients: Box<[FleetClient]>,
    /// The next tries of the clients that wait, earliest first; room for all of them.
    tries: BinaryHeap<Reverse<(Time, u32)>>,
    /// Room for what is handed over at the end.
    comebacks: Vec<Comeback>,
}

#[derive(Clone, Copy, Debug)]
struct FleetClient {
    backoff: Backoff,
    /// When it tries again, as soon as its slot is free.
    retry_at: Option<Time>,
    /// It has been back at least once.
    was_back: bool,
    /// When it lost its connection the last time.
    lost_at: Time,
    /// When it was back after that.
    back_at: Option<Time>,
}

/// The state of a lane's slots, as far as it decides about starting.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotUse {
    pub free: u32,
    /// In flight, held or being closed.
    pub busy: u32,
}

/// When the next attempt can start.
pub(super) enum Next {
    Now,
    At(Time),
    Never,
}

/// An attempt about to start.
pub(super) struct Start {
    pub stage: u16,
    pub intended: Option<Time>,
    /// The client of a fleet that makes it; any free slot otherwise.
    pub client: Option<u32>,
}

impl Schedule {
    /// The schedule of a lane with `slots` slots.
    pub(super) fn new(load: Load, slots: u32, start: Time) -> Self {
        match load {
            _ if slots == 0 => Self::Over,
            Load::Open { arrivals, end } => Self::Open { due: arrivals.clone(), waiting: arrivals, end },
            Load::Closed { quota, plan, part } => Self::Closed { quota, plan, part },
            Load::Storm { rule, begin, end, stage, fleet, part, mut random } => {
                // Every part draws for the whole fleet: a client is the same whoever plays it.
                let all = (0..fleet).map(|number| (number, rule.first(&mut random)));
                let own = all.filter(|(number, _)| number % part.count == part.index).map(|(_, backoff)| backoff);
                let fleet = Fleet::new(rule, start + begin, start + end, stage, own);
                assert_eq!(fleet.clients.len(), slots as usize, "each client of a fleet has a slot");
                Self::Storm(fleet)
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Counts the arrivals whose instant has passed.
    pub(super) fn count_due(&mut self, now: Time, start: Time, recorder: &mut Recorder) {
        if let Self::Open { due, .. } = self
            && now >= start
        {
            due.take_until(now.since(start) + Nanos::new(1), |stage, count| recorder.due(stage, count, now));
        }
    }

    /// Arrivals that are due and wait for a slot, by stage.
    pub(super) fn waiting(&self, mut each: impl FnMut(u16, u64)) {
        if let Self::Open { due, waiting, .. } = self {
            let next_due = due.peek().map_or(Nanos::MAX, |arrival| arrival.intended);
            waiting.clone().take_until(next_due, &mut each);
        }
    }

    /// An attempt that the plan wants now or before has not started. A closed loop has no such plan.
    pub(super) fn is_behind(&self, now: Time, start: Time) -> bool {
        match self {
            Self::Open { waiting, .. } => waiting.peek().is_some_and(|arrival| start + arrival.intended <= now),
            Self::Storm(fleet) => fleet.tries.peek().is_some_and(|Reverse((at, _))| *at <= now),
            Self::Closed { .. } | Self::Over => false,
        }
    }

    /// When the next attempt can start.
    pub(super) fn next(&self, now: Time, start: Time, slots: SlotUse) -> Next {
        match self {
            Self::Over => Next::Never,
            Self::Open { waiting, end, .. } => match waiting.peek() {
                None => Next::Never,
                Some(arrival) if start + arrival.intended > now => Next::At(start + arrival.intended),
                Some(_) if slots.free > 0 => Next::Now,
                Some(_) if now >= start + *end => Next::Never,
                Some(_) => Next::At(start + *end),
            },
            Self::Closed { .. } if now < start => Next::At(start),
            Self::Closed { quota, plan, part } => {
                let offset = now.since(start);
                if offset >= plan.end() {
                    return Next::Never;
                }
                let change = plan.next_change(offset, *part).map_or(Time::MAX, |change| start + change);
                match plan.at(offset) {
                    Some((allowed, _)) if slots.free > 0 && slots.busy < ConcurrencyPlan::part(allowed, *part) => {
                        Next::Now
                    }
                    // Held slots may never be free again: the load is over with the quota, not with the slot that
                    // misses it.
                    Some(_) if quota.is_used_up() => Next::Never,
                    _ => Next::At(change),
                }
            }
            Self::Storm(fleet) => fleet.next(now),
        }
    }

    /// Takes the next attempt, which is due; `None` if there turns out to be none left.
    pub(super) fn take(&mut self, now: Time, start: Time, slots: SlotUse, recorder: &mut Recorder) -> Option<Start> {
        match self {
            Self::Over => None,
            Self::Open { waiting, .. } => waiting.pop().map(|arrival| Start {
                stage: arrival.stage,
                intended: Some(start + arrival.intended),
                client: None,
            }),
            Self::Closed { quota, plan, .. } => {
                let (_, step) = plan.at(now.since(start)).expect("an attempt is taken while the plan goes on");
                let stage = step.stage;
                if step.counts && !quota.take(slots.free) {
                    *self = Self::Over;
                    return None;
                }
                recorder.due(stage, 1, now);
                Some(Start { stage, intended: None, client: None })
            }
            Self::Storm(fleet) => {
                let Reverse((intended, client)) = fleet.tries.pop()?;
                recorder.due(fleet.stage, 1, now);
                Some(Start { stage: fleet.stage, intended: Some(intended), client: Some(client) })
            }
        }
    }

    /// Connections beyond what the plan has use for now: `active` are in flight or held.
    pub(super) fn surplus(&self, now: Time, start: Time, active: u32) -> u32 {
        match self {
            Self::Closed { plan, part, .. } if now >= start => match plan.at(now.since(start)) {
                Some((allowed, _)) => active.saturating_sub(ConcurrencyPlan::part(allowed, *part)),
                None => 0,
            },
            _ => 0,
        }
    }

    /// Ends the load at `offset` (exclusive): arrivals before it are due, and dropped if they have not started.
    pub(super) fn end(&mut self, offset: Nanos, start: Time, recorder: &mut Recorder, now: Time) {
        match self {
            Self::Open { due, waiting, .. } => {
                due.take_until(offset, |stage, count| recorder.due(stage, count, now));
                waiting.take_until(offset, |stage, count| recorder.dropped(stage, count));
            }
            Self::Storm(fleet) => {
                let late =
                    fleet.tries.iter().filter(|Reverse((at, _))| *at < start + offset && *at < fleet.end).count();
                if late > 0 {
                    recorder.due(fleet.stage, late as u64, now);
                    recorder.dropped(fleet.stage, late as u64);
                }
                recorder.fleet_ended(fleet.stage, fleet.take_comebacks(start));
            }
            Self::Closed { .. } | Self::Over => {}
        }
        *self = Self::Over;
    }

    /// The offset at which the plan ends the load.
    pub(super) fn planned_end(&self, start: Time) -> Nanos {
        match self {
            Self::Open { end, .. } => *end,
            Self::Storm(fleet) => fleet.end.since(start),
            Self::Closed { .. } | Self::Over => Nanos::ZERO,
        }
    }
}

impl Fleet {
    fn new(rule: Reconnect, begin: Time, end: Time, stage: u16, backoffs: impl Iterator<Item = Backoff>) -> Self {
        let client = |backoff| FleetClient { backoff, retry_at: None, was_back: false, lost_at: begin, back_at: None };
        let clients: Box<[FleetClient]> = backoffs.map(client).collect();
        let mut tries = BinaryHeap::with_capacity(clients.len());
        tries.extend((0..).zip(&clients).map(|(client, state)| Reverse((begin + state.backoff.delay(), client))));
        let comebacks = Vec::with_capacity(clients.len());
        Self { rule, begin, end, stage, clients, tries, comebacks }
    }

    /// The last loss and the return after it of every client, since `start`.
    fn take_comebacks(&mut self, start: Time) -> Vec<Comeback> {
        let mut comebacks = std::mem::take(&mut self.comebacks);
        comebacks.extend(self.clients.iter().map(|client| Comeback {
            lost: client.lost_at.since(start),
            back: client.back_at.map(|back| back.since(start)),
        }));
        comebacks
    }

    fn next(&self, now: Time) -> Next {
        if now >= self.end {
            return Next::Never;
        }
        match self.tries.peek() {
            Some(Reverse((at, _))) if *at <= now => Next::Now,
            Some(Reverse((at, _))) => Next::At((*at).min(self.end)),
            None => Next::At(self.end),
        }
    }

    /// A client's attempt completed at `now`: how long after the loss it is back, if it was not back before.
    pub(super) fn completed(&mut self, client: u32, now: Time) -> Option<(u16, Nanos)> {
        let state = &mut self.clients[client as usize];
        state.back_at = Some(now);
        let first = !std::mem::replace(&mut state.was_back, true);
        first.then(|| (self.stage, now.since(self.begin)))
    }

    /// A client's attempt failed at `now`.
    pub(super) fn failed(&mut self, client: u32, now: Time) {
        let state = &mut self.clients[client as usize];
        if let Some(next) = state.backoff.after_failure(self.rule) {
            state.backoff = next;
            state.retry_at = Some(now + next.delay());
        }
    }

    /// A client that was back lost its connection at `now`.
    pub(super) fn lost(&mut self, client: u32, now: Time) {
        let state = &mut self.clients[client as usize];
        (state.lost_at, state.back_at) = (now, None);
        state.backoff = state.backoff.after_loss(self.rule);
        state.retry_at = Some(now + state.backoff.delay());
    }

    /// A client's slot is free: if it tries again, it waits for its instant.
    pub(super) fn slot_is_free(&mut self, client: u32) {
        if let Some(at) = self.clients[client as usize].retry_at.take() {
            self.tries.push(Reverse((at, client)));
        }
    }
}
