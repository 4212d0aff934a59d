//! What crosses behind a handshake, put together and read as it comes: nothing of it is kept but what it says.

use std::collections::BTreeMap;

use crate::protocol::S0S1S2_SIZE;
use crate::protocol::transcript::{Notebook, Side, Transcript};

/// Messages that are told of a session. Those that set it up are some twenty.
const MOST_MESSAGES: usize = 200;
/// Messages that are told of all sessions: some 100 MB.
const MOST_MESSAGES_OF_ALL: usize = 1 << 18;
/// Bytes of one direction that wait for what was sent before them. What is missing then is not in the capture: no window
/// of packets that overtake each other is so large.
const MOST_WAITING: usize = 256 * 1024;
/// The same of all connections.
const MOST_WAITING_OF_ALL: usize = 32 << 20;

/// What the sessions of a capture share.
#[derive(Debug)]
pub(super) struct Sessions {
    pub notebook: Notebook,
    /// Bytes that wait, of all connections.
    waiting: usize,
}

/// Both directions behind a handshake.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub transcript: Transcript,
    client: Direction,
    server: Direction,
}

/// One direction. Places are counted from C0 or S0.
#[derive(Debug)]
struct Direction {
    /// Where the bytes begin that were not read yet.
    next: u64,
    /// Segments that came before others which lie before them, by their places.
    waiting: BTreeMap<u64, Waiting>,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    captured: Vec<u8>,
    size: usize,
}

/// A part of a direction, as a packet carried it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub from: Side,
    pub at_ns: u64,
    /// Where it begins.
    pub start: i64,
    /// The bytes that were captured.
    pub captured: &'a [u8],
    /// How many there were.
    pub size: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { notebook: Notebook::new(MOST_MESSAGES, MOST_MESSAGES_OF_ALL), waiting: 0 }
    }
}

impl Default for Direction {
    fn default() -> Self {
        Self { next: S0S1S2_SIZE as u64, waiting: BTreeMap::new(), waiting_bytes: 0 }
    }
}

impl Part<'_> {
    /// Whether any of it lies behind the handshake.
    pub(super) fn is_behind_handshake(&self) -> bool {
        u64::try_from(self.start).map_or(0, |start| start.saturating_add(self.size as u64)) > S0S1S2_SIZE as u64
    }
}

impl Session {
    /// Reads what can be read, now that `part` is there.
    pub(super) fn take(&mut self, part: &Part<'_>, sessions: &mut Sessions) {
        let Ok(start) = u64::try_from(part.start) else { return };
        if start > self.direction(part.from).next {
            return self.wait(start, part, sessions);
        }
        self.read(start, part, sessions);
        self.catch_up(part.from, part.at_ns, sessions);
    }

    /// Reads what still waits: what lies before it was not captured.
    pub(super) fn finish(&mut self, at_ns: u64, sessions: &mut Sessions) {
        for from in [Side::Client, Side::Server] {
            while self.give_up_hole(from, at_ns, sessions) {}
        }
    }

    fn direction(&mut self, from: Side) -> &mut Direction {
        match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Keeps `part` until what lies before it has come; if that is too much to keep, what lies before it is missing.
    fn wait(&mut self, start: u64, part: &Part<'_>, sessions: &mut Sessions) {
        let direction = self.direction(part.from);
        let known = direction.waiting.get(&start).map_or(0, |waiting| waiting.size);
        if known >= part.size {
            return;
        }
        let replaced = direction
            .waiting
            .insert(start, Waiting { captured: part.captured.to_vec(), size: part.size })
            .map_or(0, |waiting| waiting.captured.len());
        direction.waiting_bytes += part.captured.len() - replaced;
        sessions.waiting += part.captured.len() - replaced;
        while self.direction(part.from).waiting_bytes > MOST_WAITING || sessions.waiting > MOST_WAITING_OF_ALL {
            if !self.give_up_hole(part.from, part.at_ns, sessions) {
                return;
            }
        }
    }

    /// Goes on behind the first hole, if there is anything behind it.
    fn give_up_hole(&mut self, from: Side, at_ns: u64, sessions: &mut Sessions) -> bool {
        let direction = self.direction(from);
        let Some((&start, _)) = direction.waiting.first_key_value() else { return false };
        let missing = start.saturating_sub(direction.next);
        direction.next = direction.next.max(start);
        self.transcript.miss(from, Some(at_ns), missing, &mut sessions.notebook);
        self.catch_up(from, at_ns, sessions);
        true
    }

    /// Reads what waited for what has come.
    fn catch_up(&mut self, from: Side, at_ns: u64, sessions: &mut Sessions) {
        loop {
            let direction = self.direction(from);
            let Some(first) = direction.waiting.first_entry().filter(|first| *first.key() <= direction.next) else {
                return;
            };
            let (start, Waiting { captured, size }) = first.remove_entry();
            direction.waiting_bytes -= captured.len();
            sessions.waiting -= captured.len();
            self.read(start, &Part { from, at_ns, start: start as i64, captured: &captured, size }, sessions);
        }
    }

    /// Reads what is new of a part that begins at `start`, no later than what comes next.
    fn read(&mut self, start: u64, part: &Part<'_>, sessions: &mut Sessions) {
        let next = &mut self.direction(part.from).next;
        let known = usize::try_from(*next - start).unwrap_or(usize::MAX);
        if known >= part.size {
            return;
        }
        *next = start + part.size as u64;
        let captured = part.captured.get(known..part.captured.len().min(part.size)).unwrap_or_default();
        self.transcript.take(part.from, Some(part.at_ns), captured, &mut sessions.notebook);
        let cut = part.size - known - captured.len();
        if cut > 0 {
            self.transcript.miss(part.from, Some(part.at_ns), cut as u64, &mut sessions.notebook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::session::Control;

    /// Two control messages and what lies where in them.
    fn said() -> Vec<u8> {
        let mut bytes = vec![0; 2 * Control::MAX_SIZE];
        let first = Control::WindowAckSize(2_500_000).write(&mut bytes);
        let second = Control::SetChunkSize(4096).write(&mut bytes[first..]);
        bytes.truncate(first + second);
        bytes
    }

    /// What is told of parts of [`said`], and how many bytes wait at the end.
    fn told(parts: &[(usize, usize, usize)]) -> (Vec<String>, usize) {
        let bytes = said();
        let (mut session, mut sessions) = (Session::default(), Sessions::default());
        for (at_ns, &(start, captured, size)) in parts.iter().enumerate() {
            let part = Part {
                from: Side::Server,
                at_ns: at_ns as u64,
                start: (S0S1S2_SIZE + start) as i64,
                captured: &bytes[start..start + captured],
                size,
            };
            assert!(part.is_behind_handshake());
            session.take(&part, &mut sessions);
        }
        session.finish(99, &mut sessions);
        let told = session.transcript.finish(&mut sessions.notebook);
        let told = told.messages.iter().map(|said| format!("{} {}", said.at_ns.unwrap(), said.name)).collect();
        (told, sessions.waiting)
    }

    #[test]
    fn parts_are_read_in_the_order_of_their_places() {
        let both = vec!["0 window_ack_size".to_owned(), "0 set_chunk_size".to_owned()];
        assert_eq!(told(&[(0, 32, 32)]), (both, 0));
        let late = vec!["2 window_ack_size".to_owned(), "2 set_chunk_size".to_owned()];
        assert_eq!(told(&[(20, 12, 12), (8, 12, 12), (0, 8, 8), (0, 32, 32)]), (late, 0), "overtaken, and sent again");
        let overlapping = vec!["1 window_ack_size".to_owned(), "2 set_chunk_size".to_owned()];
        assert_eq!(told(&[(0, 10, 10), (5, 12, 12), (12, 20, 20)]), (overlapping, 0));
    }

    #[test]
    fn what_is_missing_or_cut_ends_the_reading() {
        let lost = |at: usize| vec![format!("{at} unreadable")];
        assert_eq!(told(&[(20, 12, 12)]), (lost(99), 0), "its beginning never came");
        assert_eq!(told(&[(0, 9, 16), (16, 16, 16)]), (lost(0), 0), "cut by the snap length");
    }
}
