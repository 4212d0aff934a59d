//! What goes through the hands of everything that acts in one turn of a worker.

use crate::base::{Nanos, Time};
use crate::io::{Buffers, Destination, Op, OpKind, Payload, Token};
use crate::measure::Recorder;

use super::pauses::Pauses;
use super::plan::{Client, SessionPlan, SessionRules};
use super::sessions::Sessions;
use super::slots::Slots;

/// One turn: its instant, the buffers, and the ops that it issues.
pub(super) struct Turn<'a> {
    pub now: Time,
    pub buffers: &'a mut Buffers,
    pub ops: &'a mut Vec<Op>,
}

/// What a connection may use during one turn.
pub(super) struct Context<'a> {
    pub turn: Turn<'a>,
    /// The run is over for what is held.
    pub releases: bool,
    pub slot: u32,
    pub slots: &'a mut Slots,
    pub sessions: &'a mut Sessions,
    pub recorder: &'a mut Recorder,
    pub pauses: &'a Pauses,
    pub plan: &'a SessionPlan,
    pub rules: Option<&'a SessionRules>,
    pub client: &'a Client,
    /// Timeout from connected to complete.
    pub timeout: Nanos,
}

impl Turn<'_> {
    /// The same turn for a shorter time.
    pub(super) fn reborrow(&mut self) -> Turn<'_> {
        Turn { now: self.now, buffers: self.buffers, ops: self.ops }
    }
}

impl Context<'_> {
    pub(super) fn send(&mut self, payload: Payload) {
        let token = self.arm(OpKind::Send);
        self.turn.ops.push(Op::Send { token, payload });
    }

    pub(super) fn receive(&mut self, into: Destination) {
        let token = self.arm(OpKind::Recv);
        self.turn.ops.push(Op::Recv { token, into });
    }

    pub(super) fn secure(&mut self) {
        let token = self.arm(OpKind::Secure);
        self.turn.ops.push(Op::Secure { token });
    }

    fn arm(&mut self, kind: OpKind) -> Token {
        self.slots.arm(self.slot, kind)
    }
}
