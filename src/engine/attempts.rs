//! The table of a worker's attempts: what each costs as long as it is in flight.

use crate::base::Time;
use crate::io::Buffers;
use crate::measure::Place;

use super::connection::Connection;
use super::slots::AttemptId;

/// Attempts in flight; entries are reused last in, first out, so a few stay in the cache.
#[derive(Debug)]
pub(super) struct Attempts {
    entries: Vec<Attempt>,
    free: Vec<u32>,
    /// Attempts whose outcome is open; a failed one keeps its entry until its operations have completed.
    pub in_flight: u32,
}

/// An attempt in flight: where it belongs, when it began, and its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub place: Place,
    /// The plan's instant; `None` in closed loop.
    pub intended: Option<Time>,
    /// When its slot became free.
    pub slot_free: Time,
    pub started: Time,
    pub connection: Connection,
}

impl Attempts {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        let capacity = capacity as usize;
        Self { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), in_flight: 0 }
    }

    /// Bytes of each that there is room for.
    pub(super) const BYTES: usize = size_of::<Attempt>() + size_of::<u32>();

    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Attempt>() + self.free.capacity() * size_of::<u32>()
    }

    pub(super) fn get(&self, id: AttemptId) -> &Attempt {
        &self.entries[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: AttemptId) -> &mut Attempt {
        &mut self.entries[id.0 as usize]
    }

    /// Gives an attempt's entry and buffers back; none of its ops is in flight.
    pub(super) fn free(&mut self, id: AttemptId, buffers: &mut Buffers) {
        self.get(id).connection.release_buffers(buffers);
        self.free.push(id.0);
    }

    /// Within the reserved capacity: there are never more attempts than slots.
    pub(super) fn insert(&mut self, attempt: Attempt) -> AttemptId {
        self.in_flight += 1;
        match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = attempt;
                AttemptId(id)
            }
            None => {
                self.entries.push(attempt);
                AttemptId(self.entries.len() as u32 - 1)
            }
        }
    }
}
