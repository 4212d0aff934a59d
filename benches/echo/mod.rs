//! A network that is not there, for benches of the engine alone.

use shakedown::base::{Nanos, Seed, StreamPurpose, Time};
use shakedown::io::{Buffers, Bytes, Completion, Destination, Io, IoPlan, Op, Payload};
use shakedown::protocol::{C0C1_SIZE, S0S1S2_SIZE, ServerHandshake, ServerTemplates};

const SEED: Seed = Seed::new(1935);

/// A backend on which every op completes at once: the clock moves 100 us a turn.
pub struct Echo {
    now: Time,
    buffers: Buffers,
    /// The answer to each C0C1 of the shared bytes.
    answers: Vec<Vec<u8>>,
    /// Which of them each slot is due.
    sent: Vec<usize>,
}

impl Echo {
    /// What its clock shows at first.
    pub const BEGIN: Time = Time::from_nanos(1_000_000_000);

    pub fn new(plan: IoPlan) -> Self {
        let slots = plan.slots as usize;
        Self {
            now: Self::BEGIN,
            buffers: Buffers::new(plan.buffers),
            answers: answers(&plan.shared_bytes),
            sent: vec![0; slots],
        }
    }
}

impl Io for Echo {
    fn now(&self) -> Time {
        self.now
    }

    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    fn submit_and_wait(
        &mut self,
        ops: &mut Vec<Op>,
        _wake_at: Time,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        self.now += Nanos::from_micros(100);
        for op in ops.drain(..) {
            let (token, value) = match op {
                Op::Open { token, .. } | Op::Close { token, .. } => (token, 0),
                Op::Send { token, payload: Payload::Shared { offset, len } } => {
                    self.sent[token.slot().0 as usize] = offset as usize / C0C1_SIZE;
                    (token, len)
                }
                Op::Send { token, payload: Payload::Buffer { len, .. } } => (token, len),
                Op::Recv { token, into: Destination::Buffer { buffer, .. } } => {
                    let answer = &self.answers[self.sent[token.slot().0 as usize]];
                    self.buffers.receive.bytes_mut(buffer)[..answer.len()].copy_from_slice(answer);
                    (token, answer.len() as u32)
                }
                other => unreachable!("{other:?} in a handshake that is closed at once"),
            };
            completions.push(Completion { token, result: Ok(value) });
        }
        Ok(())
    }

    fn completion_overflows(&self) -> u64 {
        0
    }
}

fn answers(shared_bytes: &Bytes) -> Vec<Vec<u8>> {
    let templates = ServerTemplates::sign(1, &mut SEED.stream(StreamPurpose::ServerTemplates, 0));
    let answer = |c0c1| {
        let mut handshake = ServerHandshake::new(0, false);
        handshake.advance(c0c1, &templates).expect("C0C1 is right");
        let mut answer = vec![0; S0S1S2_SIZE];
        handshake.write_s0s1s2(c0c1, &templates, &mut answer);
        answer
    };
    shared_bytes.chunks(C0C1_SIZE).map(answer).collect()
}
