//! Messages of type 22, which hold others: section 7.1.6.
//!
//! ```text
//! type 1   size 3   timestamp 3 + 1 (its high byte)   message stream 3   payload   back pointer 4   type 1 ...
//! ```

use super::{MessageKind, Passing, U24};

/// Where a reader is in an aggregate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aggregate {
    header: [u8; Aggregate::HEADER],
    /// Bytes of the header that are in.
    known: u8,
    /// Bytes of the payload and of the back pointer that are not.
    left: u32,
    /// Of the first message in it, which is due at the aggregate's own timestamp.
    begin: Option<u32>,
}

const BACK_POINTER: u32 = 4;

impl Aggregate {
    /// Bytes before each payload.
    pub const HEADER: usize = 11;

    /// How many of the next bytes are of the same part.
    pub fn part_left(&self) -> usize {
        match usize::from(self.known) {
            known @ ..Self::HEADER => Self::HEADER - known,
            _ if self.left > BACK_POINTER => (self.left - BACK_POINTER) as usize,
            _ => self.left as usize,
        }
    }

    /// Takes not more than that; returns what belongs to a message, its timestamp relative to the aggregate's.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Passing> {
        let known = usize::from(self.known);
        let length = bytes.len() as u32;
        if known < Self::HEADER {
            self.header[known..known + bytes.len()].copy_from_slice(bytes);
            self.known += length as u8;
            if usize::from(self.known) < Self::HEADER {
                return None;
            }
            self.left = self.size() + BACK_POINTER;
            let empty = self.size() == 0;
            return empty.then(|| self.passing(0, true, true));
        }
        let first = self.left == self.size() + BACK_POINTER;
        let is_payload = self.left > BACK_POINTER;
        self.left -= length;
        if self.left == 0 {
            self.known = 0;
        }
        is_payload.then(|| self.passing(length, first, self.left == BACK_POINTER))
    }

    fn passing(&mut self, bytes: u32, first: bool, last: bool) -> Passing {
        let [kind, _, _, _, time @ .., _, _, _] = self.header;
        let [high, middle, low, highest] = time;
        let timestamp = u32::from_be_bytes([highest, high, middle, low]);
        let begin = *self.begin.get_or_insert(timestamp);
        Passing { kind: MessageKind::from(kind), timestamp: timestamp.wrapping_sub(begin), bytes, first, last }
    }

    fn size(&self) -> u32 {
        let [_, a, b, c, ..] = self.header;
        U24([a, b, c]).get()
    }
}
