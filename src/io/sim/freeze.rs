//! Stretches of time in which nothing is done.

use crate::base::{Nanos, Time};

/// A stretch in which a peer, or the generator, stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Its beginning, counted from the network's start.
    pub at: Nanos,
    /// How long it lasts.
    pub length: Nanos,
}

/// Freezes as instants: sorted, apart from each other.
pub(super) struct Freezes(Vec<Frozen>);

struct Frozen {
    from: Time,
    until: Time,
}

impl Freezes {
    pub(super) fn new(start: Time, freezes: &[Freeze]) -> Self {
        let mut frozen: Vec<Frozen> = freezes
            .iter()
            .filter(|freeze| freeze.length > Nanos::ZERO)
            .map(|freeze| Frozen { from: start + freeze.at, until: start + freeze.at + freeze.length })
            .collect();
        frozen.sort_by_key(|frozen| frozen.from);
        frozen.dedup_by(|next, before| {
            let joined = next.from <= before.until;
            if joined {
                before.until = before.until.max(next.until);
            }
            joined
        });
        Self(frozen)
    }

    /// `now`, or the end of the freeze that `now` lies in.
    pub(super) fn thaw(&self, now: Time) -> Time {
        match self.0.get(self.next_after(now)) {
            Some(frozen) if frozen.from <= now => frozen.until,
            _ => now,
        }
    }

    /// When `work` that begins at `start` is done, the freezes on the way left out.
    pub(super) fn work_end(&self, start: Time, work: Nanos) -> Time {
        let (mut at, mut left) = (start, work);
        for frozen in &self.0[self.next_after(start)..] {
            let free = frozen.from.since(at);
            if frozen.from > at && left <= free {
                break;
            }
            left = left.saturating_sub(free);
            at = frozen.until;
        }
        at + left
    }

    /// Index of the first freeze that ends after `now`.
    fn next_after(&self, now: Time) -> usize {
        self.0.partition_point(|frozen| frozen.until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freezes(spans: &[(u64, u64)]) -> Freezes {
        let freezes: Vec<Freeze> =
            spans.iter().map(|&(at, length)| Freeze { at: Nanos::new(at), length: Nanos::new(length) }).collect();
        Freezes::new(Time::from_nanos(1000), &freezes)
    }

    fn at(nanos: u64) -> Time {
        Time::from_nanos(1000 + nanos)
    }

    #[test]
    fn a_freeze_holds_from_its_first_instant_up_to_its_end() {
        let freezes = freezes(&[(10, 5), (30, 0)]);
        for (now, thawed) in [(9, 9), (10, 15), (14, 15), (15, 15), (30, 30)] {
            assert_eq!(freezes.thaw(at(now)), at(thawed), "{now}");
        }
    }

    #[test]
    fn overlapping_freezes_are_one() {
        let freezes = freezes(&[(20, 5), (10, 5), (12, 8), (11, 1)]);
        assert_eq!(freezes.thaw(at(10)), at(25));
    }

    #[test]
    fn work_stands_still_in_freezes() {
        let freezes = freezes(&[(10, 5), (20, 10)]);
        for (start, work, end) in [
            (0, 10, 10),
            (0, 11, 16),
            (0, 15, 20),
            (0, 16, 31),
            (10, 1, 16),
            (12, 5, 20),
            (12, 6, 31),
            (15, 5, 20),
            (40, 7, 47),
        ] {
            assert_eq!(freezes.work_end(at(start), Nanos::new(work)), at(end), "{work} from {start}");
        }
    }
}
