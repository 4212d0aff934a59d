//! The loop of a worker thread, the same on every backend.

use crate::base::{Nanos, Time};
use crate::engine::Worker;
use crate::io::{Completion, Io, Op};
use crate::measure::IntervalReport;

use super::mailbox::{Mailbox, Order};

/// A worker looks into its mailbox at least this often, so a stop is never waited for longer.
const MAILBOX_PERIOD: Nanos = Nanos::from_millis(20);
/// Room for the completions and ops of a turn; a turn that needs more grows it once.
const BATCH: usize = 8_192;

/// Bytes of the completions and ops of a turn.
pub const BATCH_MEMORY: usize = BATCH * (size_of::<Completion>() + size_of::<Op>());

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is over and closed.
    Finished,
    /// [`Order::Abandon`]: attempts may be in flight and connections held.
    Abandoned,
}

/// What the loop hands out while it runs.
pub trait Observer {
    /// A second of the timeline is full; returns an emptied report to fill next, if one is at hand.
    fn interval(&mut self, report: Box<IntervalReport>) -> Option<Box<IntervalReport>>;

    /// Called after each turn, for those who check invariants.
    fn turn(&mut self, _worker: &Worker) {}

    /// Called when the mailbox says how far the worker has come, a few tens of times a second.
    fn published(&mut self, _worker: &Worker, _now: Time) {}
}

/// Runs `worker` on `io` until everything is over or the mailbox says to leave.
///
/// # Errors
/// If the backend itself breaks; what was measured is still in `worker`.
pub fn run_turns<I: Io>(
    io: &mut I,
    worker: &mut Worker,
    mailbox: &Mailbox,
    observer: &mut impl Observer,
) -> std::io::Result<End> {
    let mut completions = Vec::with_capacity(BATCH);
    let mut ops = Vec::with_capacity(BATCH);
    let mut wake_at = Time::ZERO;
    let mut stopped = false;
    let mut next_publish = Time::ZERO;
    let mut expected = Time::MAX;
    loop {
        let mut now = io.now();
        let overslept = if completions.is_empty() && wake_at > Time::ZERO { now.since(wake_at) } else { Nanos::ZERO };
        if worker.resumes(expected, now) {
            // What has arrived meanwhile is used before deadlines that passed meanwhile.
            io.submit_and_wait(&mut ops, Time::ZERO, &mut completions)?;
            now = io.now();
        }
        // Before anything is recorded: whatever this turn records belongs to the second that `now` lies in.
        while let Some(report) = worker.roll(now) {
            if let Some(spare) = observer.interval(report) {
                worker.recorder_mut().give_spare(spare);
            }
        }
        if mailbox.has(Order::Abandon) {
            worker.stop(now);
            return Ok(End::Abandoned);
        }
        if mailbox.has(Order::Release) {
            worker.release(now);
        }
        for (target, address) in mailbox.take_retargets() {
            io.retarget(target, address);
        }
        worker.step(now, &completions, io.buffers(), &mut ops);
        completions.clear();
        // After the step: what was due at this instant and had a slot has started, not been dropped by the order.
        if !stopped && mailbox.has(Order::Stop) {
            worker.stop(now);
            stopped = true;
        }
        observer.turn(worker);
        if now >= next_publish || worker.is_drained() {
            mailbox.publish(worker);
            observer.published(worker, now);
            next_publish = now + MAILBOX_PERIOD;
        }
        if worker.is_finished() {
            return Ok(End::Finished);
        }
        let mailbox_wake = now + MAILBOX_PERIOD;
        let planned = worker.next_wakeup();
        // Only a wake-up that the plan asked for can be late.
        wake_at = if planned <= mailbox_wake { planned } else { Time::ZERO };
        worker.recorder_mut().turn(io.now().since(now), overslept);
        expected = planned.min(mailbox_wake).max(now);
        io.submit_and_wait(&mut ops, expected, &mut completions)?;
    }
}
