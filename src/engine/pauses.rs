//! When the worker did not run although it had something to do.

use crate::base::{Nanos, Time};

/// Shorter ones are a scheduler's time slices.
const LEAST: Nanos = Nanos::from_millis(5);
/// The latest ones that are kept: attempts in flight have met no others.
const KEPT: usize = 16;

/// The worker's latest pauses: its thread was stopped, had no CPU, or was busy with one turn for so long.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// In the order of their places, not of their instants.
    spans: [(Time, Time); KEPT],
    /// The place of the oldest.
    next: usize,
    /// The end of the latest.
    latest: Time,
}

impl Pauses {
    /// Takes in that the worker is back at `now` and was to be back at `expected`; whether that is a pause.
    pub(super) fn note(&mut self, expected: Time, now: Time) -> bool {
        if now.since(expected) < LEAST {
            return false;
        }
        self.spans[self.next] = (expected, now);
        self.next = (self.next + 1) % KEPT;
        self.latest = now;
        true
    }

    /// How much of the time between two instants they took.
    pub(super) fn within(&self, from: Time, to: Time) -> Nanos {
        if from >= self.latest {
            return Nanos::ZERO;
        }
        let parts = self.spans.iter().map(|(begin, end)| (*end).min(to).since((*begin).max(from)));
        parts.fold(Nanos::ZERO, |sum, part| sum + part)
    }

    /// Whether `at` lies in one of them.
    pub(super) fn cover(&self, at: Time) -> bool {
        at <= self.latest && self.spans.iter().any(|(begin, end)| (*begin..=*end).contains(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn what_is_shorter_than_a_time_slice_is_none() {
        let mut pauses = Pauses::default();
        assert!(!pauses.note(at(10), at(14)) && !pauses.note(at(10), at(3)) && !pauses.note(Time::MAX, at(3)));
        assert_eq!(pauses.within(at(0), at(100)), Nanos::ZERO);
        assert!(!pauses.cover(at(12)));
    }

    #[test]
    fn only_what_lies_between_counts() {
        let mut pauses = Pauses::default();
        assert!(pauses.note(at(10), at(20)) && pauses.note(at(30), at(60)));
        for (from, to, millis) in
            [(0, 5, 0), (0, 15, 5), (12, 18, 6), (0, 100, 40), (40, 45, 5), (20, 30, 0), (60, 90, 0)]
        {
            assert_eq!(pauses.within(at(from), at(to)), Nanos::from_millis(millis), "{from} to {to}");
        }
        let covered: Vec<u64> =
            [9, 10, 20, 25, 30, 61].into_iter().filter(|millis| pauses.cover(at(*millis))).collect();
        assert_eq!(covered, [10, 20, 30]);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut pauses = Pauses::default();
        for index in 0..KEPT as u64 + 1 {
            assert!(pauses.note(at(index * 100), at(index * 100 + 10)));
        }
        assert_eq!(pauses.within(at(0), at(150)), Nanos::from_millis(10), "the first is forgotten");
        assert_eq!(pauses.within(at(0), at(10_000)), Nanos::from_millis(10 * KEPT as u64));
    }
}
