//! The slot table: what every connection costs, in flight or held.

use crate::base::Time;
use crate::io::{CloseHow, OpKind, SlotIndex, Token};
use crate::measure::Place;

const NONE: u32 = u32::MAX;

/// An entry of the table of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttemptId(pub u32);

/// All slots of a worker.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
}

/// One connection's place. 24 bytes, so that held connections stay cheap; what an attempt in flight needs lives in the
/// attempt pool.
#[derive(Debug)]
pub(super) struct Slot {
    pub state: SlotState,
    generation: u32,
    pub lane: u16,
    /// Ops in flight, a bit for each [`OpKind`].
    pending: u8,
}

/// What a slot is doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum SlotState {
    /// Waits for an attempt, in its lane's queue.
    Free { since: Time, next: u32 },
    /// Runs an attempt.
    InFlight { attempt: AttemptId },
    /// Holds a completed connection; a receive that discards watches it.
    Held { since: Time, place: Place },
    /// Holds a connection that goes on talking; its session knows the rest.
    Session,
    /// The end of its stream is being told to the server.
    Goodbye,
    /// The connection is complete and we wait for the server to close it.
    AwaitingFin,
    /// The connection is over; ops in flight have been cancelled and are waited for.
    Releasing { how: CloseHow, attempt: Option<AttemptId> },
    /// The close is in flight.
    Closing,
}

/// The free slots of one lane, oldest first: the slot an arrival gets is the one that became free first, so
/// `slot_wait` is exact.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreeQueue {
    head: u32,
    tail: u32,
    len: u32,
}

impl Slot {
    /// It holds a completed connection.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, SlotState::Held { .. } | SlotState::Session)
    }
}

impl Slots {
    /// Free slots for each lane, in order: lane `i` gets `counts[i]`.
    pub(super) fn new(counts: &[u32]) -> (Self, Vec<FreeQueue>) {
        let total: u32 = counts.iter().sum();
        let mut slots = Vec::with_capacity(total as usize);
        let mut queues = Vec::with_capacity(counts.len());
        for (lane, &count) in counts.iter().enumerate() {
            let first = slots.len() as u32;
            for position in 0..count {
                let next = if position + 1 < count { first + position + 1 } else { NONE };
                slots.push(Slot {
                    state: SlotState::Free { since: Time::ZERO, next },
                    generation: 0,
                    lane: lane as u16,
                    pending: 0,
                });
            }
            queues.push(match count {
                0 => FreeQueue::EMPTY,
                _ => FreeQueue { head: first, tail: first + count - 1, len: count },
            });
        }
        (Self { slots: slots.into_boxed_slice() }, queues)
    }

    /// Bytes of each slot.
    pub(super) const BYTES: usize = size_of::<Slot>();

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.slots)
    }

    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn get(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    /// Takes the slot that has been free longest and when it became free.
    pub(super) fn take_free(&mut self, queue: &mut FreeQueue) -> Option<(u32, Time)> {
        let slot = queue.head;
        if slot == NONE {
            return None;
        }
        let SlotState::Free { since, next } = self.get(slot).state else {
            unreachable!("slot {slot} is in the free queue and not free")
        };
        queue.head = next;
        queue.len -= 1;
        if next == NONE {
            queue.tail = NONE;
        }
        Some((slot, since))
    }

    /// When this slot, which must be free, became so.
    pub(super) fn free_since(&self, slot: u32) -> Time {
        match self.get(slot).state {
            SlotState::Free { since, .. } => since,
            state => unreachable!("slot {slot} is not free but {state:?}"),
        }
    }

    /// Makes a slot free that is not taken from a queue: its next generation begins.
    pub(super) fn put_aside(&mut self, slot: u32, now: Time) {
        let entry = self.get_mut(slot);
        debug_assert_eq!(entry.pending, 0, "slot {slot} is freed with ops in flight");
        entry.generation = entry.generation.wrapping_add(1);
        entry.state = SlotState::Free { since: now, next: NONE };
    }

    /// Makes a slot free again: its next generation begins.
    pub(super) fn put_free(&mut self, queue: &mut FreeQueue, slot: u32, now: Time) {
        self.put_aside(slot, now);
        match queue.tail {
            NONE => queue.head = slot,
            tail => {
                let SlotState::Free { next, .. } = &mut self.get_mut(tail).state else {
                    unreachable!("slot {tail} is in the free queue and not free")
                };
                *next = slot;
            }
        }
        queue.tail = slot;
        queue.len += 1;
    }

    /// The token of an op about to be issued on `slot`.
    pub(super) fn arm(&mut self, slot: u32, kind: OpKind) -> Token {
        let entry = self.get_mut(slot);
        debug_assert_eq!(entry.pending & bit(kind), 0, "{kind:?} is already in flight on slot {slot}");
        entry.pending |= bit(kind);
        Token::new(kind, SlotIndex(slot), entry.generation)
    }

    /// The token of an op in flight on `slot`, or of one that may be.
    pub(super) fn token(&self, slot: u32, kind: OpKind) -> Token {
        Token::new(kind, SlotIndex(slot), self.get(slot).generation)
    }

    /// Notes a completion; `false` if it belongs to an earlier generation of the slot, or to nothing in flight.
    pub(super) fn disarm(&mut self, token: Token) -> bool {
        let Some(entry) = self.slots.get_mut(token.slot().0 as usize) else { return false };
        let current = Token::new(token.kind(), token.slot(), entry.generation) == token;
        let expected = current && entry.pending & bit(token.kind()) != 0;
        if expected {
            entry.pending &= !bit(token.kind());
        }
        expected
    }

    /// The tokens of the ops in flight on `slot`.
    pub(super) fn in_flight(&self, slot: u32) -> impl Iterator<Item = Token> + use<> {
        let (pending, generation) = (self.get(slot).pending, self.get(slot).generation);
        [OpKind::Open, OpKind::Secure, OpKind::Send, OpKind::Recv, OpKind::Close]
            .into_iter()
            .filter(move |&kind| pending & bit(kind) != 0)
            .map(move |kind| Token::new(kind, SlotIndex(slot), generation))
    }

    pub(super) fn is_idle(&self, slot: u32) -> bool {
        self.get(slot).pending == 0
    }
}

impl FreeQueue {
    /// No slot waits in it.
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };

    pub(super) fn len(&self) -> u32 {
        self.len
    }
}

fn bit(kind: OpKind) -> u8 {
    1 << kind as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_connection_costs_36_bytes_with_its_deadline() {
        assert_eq!(size_of::<Slot>(), 24);
    }

    #[test]
    fn slots_come_back_in_the_order_in_which_they_became_free() {
        let (mut slots, mut queues) = Slots::new(&[2, 1]);
        let (a, _) = slots.take_free(&mut queues[0]).unwrap();
        let (b, _) = slots.take_free(&mut queues[0]).unwrap();
        assert!(slots.take_free(&mut queues[0]).is_none(), "the other lane's slot is not ours");
        slots.put_free(&mut queues[0], b, Time::from_nanos(5));
        slots.put_free(&mut queues[0], a, Time::from_nanos(9));
        assert_eq!(slots.take_free(&mut queues[0]), Some((b, Time::from_nanos(5))));
        assert_eq!(slots.take_free(&mut queues[0]), Some((a, Time::from_nanos(9))));
    }

    #[test]
    fn a_stale_completion_is_recognised() {
        let (mut slots, mut queues) = Slots::new(&[1]);
        let (slot, _) = slots.take_free(&mut queues[0]).unwrap();
        let token = slots.arm(slot, OpKind::Recv);
        assert!(slots.disarm(token));
        assert!(!slots.disarm(token), "completes once");
        slots.put_free(&mut queues[0], slot, Time::ZERO);
        slots.take_free(&mut queues[0]);
        slots.arm(slot, OpKind::Recv);
        assert!(!slots.disarm(token), "an earlier generation");
    }
}
