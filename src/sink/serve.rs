//! A worker's loop on a real backend.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SinkCounts;
use super::counts::PublishedCounts;
use super::worker::SinkWorker;
use crate::base::{Nanos, Time};
use crate::io::{Completion, Io, Op};

/// How stale the published counts of a busy worker may be; an idle one publishes whenever it looks for the stop flag.
const PUBLISH_EVERY: Nanos = Nanos::from_millis(10);

/// How often an idle worker looks for the stop flag.
const STOP_CHECK: Nanos = Nanos::from_millis(20);

/// A stopped worker with open connections ends when nothing has arrived for this long: what peers have sent may still
/// be on its way through the kernel.
const STOP_QUIET: Nanos = Nanos::from_millis(20);

/// A stopped worker whose peers do not fall silent ends after this long.
const STOP_LIMIT: Nanos = Nanos::from_millis(500);

/// A worker, its backend, and the batches that pass between them.
pub(super) struct Service<I> {
    io: I,
    worker: SinkWorker,
    ops: Vec<Op>,
    completions: Vec<Completion>,
}

impl<I: Io> Service<I> {
    pub(super) fn new(io: I, worker: SinkWorker) -> Self {
        Self { io, worker, ops: Vec::with_capacity(8192), completions: Vec::with_capacity(8192) }
    }

    /// Serves until `stop` is set, then reads what has arrived. Returns the exact counts.
    pub(super) fn run(mut self, stop: &AtomicBool, published: &PublishedCounts) -> io::Result<SinkCounts> {
        let mut publish_at = Time::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let now = self.step();
            if publish_at <= now {
                published.publish(self.worker.counts());
                publish_at = now + PUBLISH_EVERY;
            }
            self.wait(self.worker.next_wakeup().min(now + STOP_CHECK))?;
        }
        self.drain()?;
        published.publish(self.worker.counts());
        Ok(self.worker.counts())
    }

    fn drain(&mut self) -> io::Result<()> {
        let give_up = self.io.now() + STOP_LIMIT;
        // Connections that wait to be accepted have arrived, too.
        loop {
            let now = self.step();
            self.wait(Time::ZERO)?;
            if self.completions.is_empty() || give_up <= now {
                break;
            }
        }
        self.worker.stop_accepting(&mut self.ops);
        loop {
            let now = self.step();
            if self.worker.is_finished() {
                return Ok(());
            }
            self.wait(now + STOP_QUIET)?;
            if self.completions.is_empty() || give_up <= now {
                return Ok(());
            }
        }
    }

    fn step(&mut self) -> Time {
        let now = self.io.now();
        self.worker.step(now, &self.completions, self.io.buffers(), &mut self.ops);
        self.completions.clear();
        now
    }

    fn wait(&mut self, wake_at: Time) -> io::Result<()> {
        self.io.submit_and_wait(&mut self.ops, wake_at, &mut self.completions)
    }
}
