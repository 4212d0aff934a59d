//! When a worker did not run although it had something to do.

use crate::base::Nanos;

/// A stretch in which a worker did not run: it was stopped, or had no CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause {
    /// Its beginning, since the run's start.
    pub begin: Nanos,
    /// How long it lasted.
    pub length: Nanos,
}

/// The pauses of a worker, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The longest, in no order.
    longest: Vec<Pause>,
}

impl Pause {
    /// Shorter ones are not told one by one: they happen on every machine that has something else to do.
    pub const LEAST: Nanos = Nanos::from_millis(50);

    /// Its end, since the run's start.
    pub fn end(&self) -> Nanos {
        self.begin + self.length
    }
}

impl Pauses {
    /// Most that are kept one by one.
    const MOST: usize = 256;

    /// None yet, and room for all that are kept.
    pub fn with_capacity() -> Self {
        Self { longest: Vec::with_capacity(Self::MOST) }
    }

    /// Takes one in.
    pub fn add(&mut self, pause: Pause) {
        if self.longest.len() < Self::MOST {
            return self.longest.push(pause);
        }
        if let Some(shortest) = self.longest.iter_mut().min_by_key(|kept| kept.length)
            && shortest.length < pause.length
        {
            *shortest = pause;
        }
    }

    /// Adds those of another worker.
    pub fn merge(&mut self, other: &Self) {
        other.longest.iter().for_each(|pause| self.add(*pause));
    }

    /// The longest ones, earliest first; those of several workers that overlap are one.
    pub fn stretches(&self) -> Vec<Pause> {
        let mut pauses = self.longest.clone();
        pauses.sort_unstable();
        pauses.dedup_by(|later, kept| {
            let overlap = later.begin <= kept.end();
            if overlap {
                kept.length = kept.end().max(later.end()).saturating_sub(kept.begin);
            }
            overlap
        });
        pauses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(begin: u64, length: u64) -> Pause {
        Pause { begin: Nanos::from_millis(begin), length: Nanos::from_millis(length) }
    }

    fn pauses(pauses: impl IntoIterator<Item = Pause>) -> Pauses {
        let mut all = Pauses::with_capacity();
        pauses.into_iter().for_each(|pause| all.add(pause));
        all
    }

    #[test]
    fn workers_that_stood_still_together_are_one_stretch() {
        let mut all = pauses([pause(500, 100), pause(100, 50)]);
        all.merge(&pauses([pause(95, 60), pause(590, 20), pause(700, 10)]));
        assert_eq!(all.stretches(), [pause(95, 60), pause(500, 110), pause(700, 10)]);
    }

    #[test]
    fn the_longest_are_kept() {
        let all = pauses((0..1_000).map(|index| pause(index * 1_000, 60 + index % 500)));
        let kept = all.stretches();
        assert_eq!(kept.len(), Pauses::MOST);
        assert!(kept.iter().all(|pause| pause.length >= Nanos::from_millis(60 + 500 - 129)), "{kept:?}");
    }
}
