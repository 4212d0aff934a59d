//! The number of attempts of a closed loop, shared by its workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The attempts that closed-loop workers may still start: one counter for all of them, taken in chunks. Aligned to the pair
/// of cache lines that x86 prefetches together, so that writing it disturbs nothing else that workers read.
#[derive(Debug)]
#[repr(align(128))]
pub struct Quota {
    /// `None`: no limit.
    remaining: Option<AtomicU64>,
    workers: u64,
}

/// One worker's access to a [`Quota`].
#[derive(Debug)]
pub struct QuotaShare {
    quota: Arc<Quota>,
    credits: u64,
    /// Whole chunks are taken, whatever is free.
    ahead: bool,
}

impl Quota {
    /// At most `limit` attempts over all `workers`; `None` is no limit.
    pub fn new(limit: Option<u64>, workers: u32) -> Self {
        Self { remaining: limit.map(AtomicU64::new), workers: u64::from(workers.max(1)) }
    }

    /// Takes a chunk of at most `most` attempts (at least 1); zero when none are left.
    ///
    /// The chunk is a small part of what is left, so that no worker sits on attempts while another has none: large at
    /// first, to touch the shared counter rarely, single attempts at the end.
    fn take_chunk(&self, most: u64) -> u64 {
        const LARGEST_CHUNK: u64 = 1_024;
        const CHUNKS_A_WORKER: u64 = 8;
        let Some(remaining) = &self.remaining else { return LARGEST_CHUNK };
        let chunk = |left: u64| (left / (self.workers * CHUNKS_A_WORKER)).clamp(1, LARGEST_CHUNK.min(most));
        // Relaxed: the counter guards no other memory.
        remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left - chunk(left)))
            .map_or(0, chunk)
    }
}

impl QuotaShare {
    /// A worker's access to `quota`, with nothing taken yet.
    pub const fn new(quota: Arc<Quota>) -> Self {
        Self { quota, credits: 0, ahead: false }
    }

    /// The same for a worker whose slots always become free again and stay in use: it takes whole chunks, so that the
    /// shared counter is written once in up to 1 024 attempts, not with nearly every one.
    pub const fn ahead(quota: Arc<Quota>) -> Self {
        Self { quota, credits: 0, ahead: true }
    }

    /// May one more attempt start? Takes it if so. Takes no lock.
    ///
    /// `free_slots` is what this worker could start now, at least 1. Unless it takes [`ahead`](Self::ahead), no more than that
    /// is taken from the quota: a held slot may never become free, and an attempt taken for it would never start while
    /// another worker has room.
    pub fn take(&mut self, free_slots: u32) -> bool {
        if self.credits == 0 {
            let most = if self.ahead { u64::MAX } else { u64::from(free_slots) };
            self.credits = self.quota.take_chunk(most);
        }
        let granted = self.credits > 0;
        self.credits -= u64::from(granted);
        granted
    }

    /// No further attempt may start, here or elsewhere: nothing is left, neither taken nor to take.
    pub fn is_used_up(&self) -> bool {
        self.credits == 0
            && self.quota.remaining.as_ref().is_some_and(|remaining| remaining.load(Ordering::Relaxed) == 0)
    }

    /// Attempts taken from the quota but not started; zero once [`QuotaShare::take`] has refused, and without a limit.
    pub fn unused(&self) -> u64 {
        if self.quota.remaining.is_some() { self.credits } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// More free slots than there are attempts.
    const MANY: u32 = u32::MAX;

    fn drain(mut share: QuotaShare) -> u64 {
        let mut taken = 0;
        while share.take(MANY) {
            taken += 1;
        }
        assert_eq!(share.unused(), 0);
        assert!(share.is_used_up());
        taken
    }

    #[test]
    fn a_quota_is_used_up_when_its_last_attempt_is_taken() {
        let mut share = QuotaShare::new(Arc::new(Quota::new(Some(2), 1)));
        assert!(share.take(MANY) && !share.is_used_up());
        assert!(share.take(MANY) && share.is_used_up(), "nobody needs to be refused first");
    }

    #[test]
    fn workers_together_take_exactly_the_limit() {
        for limit in [0, 1, 7, 1_000, 300_001] {
            let quota = Arc::new(Quota::new(Some(limit), 4));
            let taken: u64 = std::thread::scope(|scope| {
                let workers = [(); 4].map(|()| scope.spawn(|| drain(QuotaShare::new(Arc::clone(&quota)))));
                workers.map(|worker| worker.join().unwrap()).iter().sum()
            });
            assert_eq!(taken, limit);
        }
    }

    #[test]
    fn a_worker_takes_no_attempt_that_it_has_no_slot_for() {
        let quota = Arc::new(Quota::new(Some(1_000), 1));
        let mut few = QuotaShare::new(Arc::clone(&quota));
        assert!((1..=3).rev().all(|free_slots| few.take(free_slots)));
        assert_eq!(few.unused(), 0);
        assert_eq!(drain(QuotaShare::new(quota)), 997);
    }

    #[test]
    fn taking_ahead_touches_the_counter_once_a_chunk() {
        let quota = Arc::new(Quota::new(Some(1_000_000), 4));
        let mut share = QuotaShare::ahead(Arc::clone(&quota));
        assert!(share.take(1));
        assert_eq!(share.unused(), 1_023);
        assert!((0..1_023).all(|_| share.take(1)));
        assert_eq!(quota.remaining.as_ref().unwrap().load(Ordering::Relaxed), 1_000_000 - 1_024);
        assert!((0..1_000_000 - 1_024).all(|_| share.take(1)) && share.is_used_up(), "all of them in the end");
    }

    #[test]
    fn the_counter_has_a_cache_line_of_its_own() {
        assert_eq!((align_of::<Quota>(), size_of::<Quota>()), (128, 128));
    }

    #[test]
    fn no_limit_is_never_used_up() {
        let mut share = QuotaShare::new(Arc::new(Quota::new(None, 1)));
        assert!((0..5_000).all(|_| share.take(MANY)));
        assert!(!share.is_used_up());
        assert_eq!(share.unused(), 0);
    }

    proptest! {
        #[test]
        fn no_worker_hoards_what_another_lacks(limit in 1u64..100_000, workers in 1u32..9, ahead: bool) {
            let quota = Arc::new(Quota::new(Some(limit), workers));
            let share = if ahead { QuotaShare::ahead } else { QuotaShare::new };
            let mut shares: Vec<_> = (0..workers).map(|_| share(Arc::clone(&quota))).collect();
            let mut taken = 0u64;
            while shares[0].take(MANY) {
                taken += 1;
                for share in &mut shares[1..] {
                    taken += u64::from(share.take(MANY));
                }
            }
            let hoarded: u64 = shares.iter().map(QuotaShare::unused).sum();
            prop_assert_eq!(taken + hoarded, limit);
            prop_assert!(hoarded <= u64::from(workers), "{hoarded} left");
        }
    }
}
