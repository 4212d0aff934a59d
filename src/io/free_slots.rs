//! Slots for accepted connections, where the backend keeps count of them itself.

use super::SlotIndex;

/// Slots that no accepted connection holds.
pub(super) struct FreeSlots {
    /// Given back, last in, first out. Slots at and above `untouched` were never taken.
    returned: Vec<u32>,
    untouched: u32,
    count: u32,
}

impl FreeSlots {
    pub(super) fn new(count: u32) -> Self {
        Self { returned: Vec::with_capacity(count as usize), untouched: 0, count }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.untouched == self.count
    }

    pub(super) fn take(&mut self) -> Option<SlotIndex> {
        let fresh = (self.untouched < self.count).then_some(self.untouched);
        let slot = self.returned.pop().or_else(|| fresh.inspect(|_| self.untouched += 1))?;
        Some(SlotIndex(slot))
    }

    pub(super) fn give_back(&mut self, slot: SlotIndex) {
        self.returned.push(slot.0);
    }
}
