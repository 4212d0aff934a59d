//! What the control thread and one worker tell each other while the load runs.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::Worker;
use crate::io::TargetId;
use crate::measure::FailureKind;

/// What the control thread wants; a later order does not take an earlier one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Start nothing more, finish what is in flight, release what is held.
    Stop = 1,
    /// Release held connections: every worker has drained.
    Release = 2,
    /// Leave at once, whatever is in flight.
    Abandon = 4,
}

/// Totals of one worker, or of all, at some recent instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Arrivals whose instant has passed.
    pub due: u64,
    /// Attempts started.
    pub started: u64,
    /// Attempts completed.
    pub completed: u64,
    /// Attempts failed.
    pub failed: u64,
    /// Arrivals that never started.
    pub dropped: u64,
    /// Connections held.
    pub held: u64,
    /// Attempts refused by the target, of those failed.
    pub refused: u64,
}

/// One worker's mailbox. Each side writes a cache line of its own: the worker's progress never contends with another
/// worker's.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Mailbox {
    orders: AtomicU8,
    has_retargets: AtomicBool,
    /// Targets that connect elsewhere from now on; rarely there, so the worker looks at the flag first.
    retargets: Mutex<Vec<(TargetId, SocketAddr)>>,
    published: Published,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Published {
    due: AtomicU64,
    started: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    held: AtomicU64,
    refused: AtomicU64,
    drained: AtomicBool,
}

impl Mailbox {
    /// Control side: adds an order.
    pub fn order(&self, order: Order) {
        self.orders.fetch_or(order as u8, Ordering::Release);
    }

    /// Control side: these targets connect to these addresses from now on.
    pub fn retarget(&self, changes: &[(TargetId, SocketAddr)]) {
        self.retargets.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(changes);
        self.has_retargets.store(true, Ordering::Release);
    }

    /// Worker side: the targets that connect elsewhere, each change once. Takes a lock only where there are some.
    pub fn take_retargets(&self) -> Vec<(TargetId, SocketAddr)> {
        if !self.has_retargets.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.has_retargets.store(false, Ordering::Release);
        std::mem::take(&mut *self.retargets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Worker side: whether an order was given.
    pub fn has(&self, order: Order) -> bool {
        self.orders.load(Ordering::Acquire) & order as u8 != 0
    }

    /// Worker side: says how far it has come.
    pub fn publish(&self, worker: &Worker) {
        let progress = Progress::of(worker);
        let published = &self.published;
        published.due.store(progress.due, Ordering::Relaxed);
        published.started.store(progress.started, Ordering::Relaxed);
        published.completed.store(progress.completed, Ordering::Relaxed);
        published.failed.store(progress.failed, Ordering::Relaxed);
        published.dropped.store(progress.dropped, Ordering::Relaxed);
        published.held.store(progress.held, Ordering::Relaxed);
        published.refused.store(progress.refused, Ordering::Relaxed);
        published.drained.store(worker.is_drained(), Ordering::Release);
    }

    /// Control side: what the worker last published; the counts are each exact, but not of one instant.
    pub fn progress(&self) -> Progress {
        let published = &self.published;
        Progress {
            due: published.due.load(Ordering::Relaxed),
            started: published.started.load(Ordering::Relaxed),
            completed: published.completed.load(Ordering::Relaxed),
            failed: published.failed.load(Ordering::Relaxed),
            dropped: published.dropped.load(Ordering::Relaxed),
            held: published.held.load(Ordering::Relaxed),
            refused: published.refused.load(Ordering::Relaxed),
        }
    }

    /// Control side: the worker's load is over and nothing is in flight.
    pub fn is_drained(&self) -> bool {
        self.published.drained.load(Ordering::Acquire)
    }
}

impl Progress {
    /// The totals of a worker, warm-up included and the canary left out.
    pub fn of(worker: &Worker) -> Self {
        let mut progress = Self { held: u64::from(worker.recorder().held_now()), ..Self::default() };
        let snapshot = worker.recorder().snapshot();
        let asked = (0..).zip(snapshot.stages()).filter(|(index, _)| !snapshot.layout().is_canary(*index));
        for (_, stage) in asked {
            let counts = &stage.tally.counts;
            progress.due += counts.due;
            progress.started += counts.started;
            progress.completed += counts.completed;
            progress.failed += counts.failed;
            progress.dropped += counts.dropped;
            progress.refused += stage
                .failures
                .iter()
                .filter(|(failure, _)| failure.kind == FailureKind::Refused)
                .map(|(_, count)| count.count)
                .sum::<u64>();
        }
        progress
    }
}

impl AddAssign for Progress {
    fn add_assign(&mut self, other: Self) {
        self.due += other.due;
        self.started += other.started;
        self.completed += other.completed;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.held += other.held;
        self.refused += other.refused;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn each_side_writes_cache_lines_of_its_own() {
        const PAIR: usize = 128;
        assert_eq!((align_of::<Mailbox>(), size_of::<Mailbox>() % PAIR), (PAIR, 0), "no neighbour on its lines");
        assert_eq!((offset_of!(Mailbox, published) % PAIR, size_of::<Published>() % PAIR), (0, 0));
        let of_control =
            [offset_of!(Mailbox, orders), offset_of!(Mailbox, has_retargets), offset_of!(Mailbox, retargets)];
        let of_worker = offset_of!(Mailbox, published)..offset_of!(Mailbox, published) + size_of::<Published>();
        assert!(of_control.iter().all(|offset| !of_worker.contains(offset)));
    }
}
