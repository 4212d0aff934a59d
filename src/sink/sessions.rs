//! What follows C2 on the connections that say something: their sessions, as few as there are such connections.
//!
//! A connection that has said nothing after C2 has none. One that has owns an entry here, and a buffer only while it is
//! read from or written to.

use std::sync::Arc;

use super::SinkCounts;
use crate::base::{Nanos, Time};
use crate::engine::Deadlines;
use crate::io::{BufferId, CloseHow, SlotIndex};
use crate::protocol::session::{MessageStore, ServerEvent, ServerPolicy, ServerSession, SessionViolation};

/// The sessions of a worker.
#[derive(Debug)]
pub(super) struct Sessions {
    policy: Arc<ServerPolicy>,
    /// Zero: clients are not pinged.
    ping_every: Nanos,
    entries: Vec<Session>,
    /// Last in, first out: a small working set stays in the cache.
    free: Vec<SessionId>,
    store: MessageStore,
    /// When each has to say something unasked: a player's media, or a ping.
    deadlines: Deadlines,
}

/// A session's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionId(u32);

/// What a connection owns that goes on after C2.
#[derive(Debug)]
pub(super) struct Session {
    pub slot: SlotIndex,
    pub receive: Receive,
    /// The send in flight.
    pub sending: Option<BufferId>,
    /// The connection is closed like this when the send in flight is over.
    pub ending: Option<CloseHow>,
    /// It stands in the queue of those that lack a buffer.
    pub starving: bool,
    machine: ServerSession,
    publishes: bool,
    /// When it was let play.
    plays_since: Time,
    ping_at: Time,
}

/// How a session is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// It is told when there is something to read; or nothing more is read.
    Watching,
    Reading(BufferId),
    /// There is something to read, and no buffer.
    Starving,
}

impl Sessions {
    /// None yet. `now` is not later than any instant that follows; with `ping_every` above zero clients are asked for a
    /// sign of life that often.
    pub(super) fn new(policy: Arc<ServerPolicy>, ping_every: Nanos, now: Time) -> Self {
        Self {
            policy,
            ping_every,
            entries: Vec::new(),
            free: Vec::new(),
            store: MessageStore::for_requests(),
            deadlines: Deadlines::new(0, now),
        }
    }

    pub(super) fn get(&self, id: SessionId) -> &Session {
        &self.entries[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> &mut Session {
        &mut self.entries[id.0 as usize]
    }

    /// The connection in `slot` says something.
    pub(super) fn open(&mut self, slot: SlotIndex) -> SessionId {
        let session = Session {
            slot,
            receive: Receive::Watching,
            sending: None,
            ending: None,
            starving: false,
            machine: ServerSession::new(&self.policy),
            publishes: false,
            plays_since: Time::ZERO,
            ping_at: Time::MAX,
        };
        match self.free.pop() {
            Some(id) => {
                self.entries[id.0 as usize] = session;
                id
            }
            None => {
                let id = SessionId(self.entries.len() as u32);
                self.entries.push(session);
                self.deadlines.grow(id.0 + 1);
                id
            }
        }
    }

    /// The connection is over; its session owns no buffer any more.
    pub(super) fn close(&mut self, id: SessionId) {
        self.entries[id.0 as usize].machine.release(&mut self.store);
        self.deadlines.clear(id.0);
        self.free.push(id);
    }

    /// Takes in what the client says.
    ///
    /// # Errors
    /// It broke the protocol.
    pub(super) fn take_in(
        &mut self,
        id: SessionId,
        mut input: &[u8],
        now: Time,
        counts: &mut SinkCounts,
    ) -> Result<(), SessionViolation> {
        let session = &mut self.entries[id.0 as usize];
        while let Some(event) = session.machine.receive(&mut input, &mut self.store, &self.policy)? {
            match event {
                ServerEvent::Connect { .. } => {
                    counts.connected += 1;
                    if self.ping_every > Nanos::ZERO {
                        session.ping_at = now + self.ping_every;
                    }
                }
                ServerEvent::Publish { .. } => {
                    counts.published += 1;
                    session.publishes = true;
                }
                ServerEvent::Play { .. } => {
                    counts.played += 1;
                    session.plays_since = now;
                }
                ServerEvent::Refused { .. } => counts.rejected += 1,
                ServerEvent::Media { bytes, first, .. } if session.publishes => {
                    counts.media_bytes += u64::from(bytes);
                    counts.media_messages += u64::from(first);
                }
                ServerEvent::Closed => session.publishes = false,
                ServerEvent::StreamCreated
                | ServerEvent::Media { .. }
                | ServerEvent::Acknowledged(_)
                | ServerEvent::Pong { .. }
                | ServerEvent::Other => {}
            }
        }
        Ok(())
    }

    /// Whether there is something to say at `now`. If not, it is looked at again when there will be.
    pub(super) fn has_output(&mut self, id: SessionId, now: Time) -> bool {
        let session = &mut self.entries[id.0 as usize];
        if session.ping_at <= now {
            session.machine.ping((now.as_nanos() / 1_000_000) as u32);
            session.ping_at = now + self.ping_every;
        }
        let media_at = match session.machine.next_media_ms(&self.policy) {
            Some(due_ms) => session.plays_since + Nanos::from_millis(due_ms),
            None => Time::MAX,
        };
        if session.machine.has_output() || media_at <= now {
            return true;
        }
        match media_at.min(session.ping_at) {
            Time::MAX => self.deadlines.clear(id.0),
            at => self.deadlines.set(id.0, at),
        }
        false
    }

    /// Writes what is due; returns its bytes.
    pub(super) fn write(&mut self, id: SessionId, now: Time, out: &mut [u8]) -> usize {
        let session = &mut self.entries[id.0 as usize];
        let written = session.machine.write(&self.policy, out);
        let elapsed_ms = now.since(session.plays_since).as_u64() / 1_000_000;
        written + session.machine.write_media(&self.policy, elapsed_ms, &mut out[written..])
    }

    /// Whether the client was refused: nothing more is read, and the connection is closed once all is said.
    pub(super) fn is_over(&self, id: SessionId) -> bool {
        self.get(id).machine.is_over()
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Takes a session that has something to say unasked.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<SessionId> {
        self.deadlines.pop_expired(now).map(SessionId)
    }

    /// When [`Self::pop_due`] is to be called next.
    pub(super) fn next_due(&self) -> Time {
        self.deadlines.next_wakeup()
    }
}
