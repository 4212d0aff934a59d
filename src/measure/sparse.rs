//! Distributions by their occupied buckets.

use std::borrow::Cow;
use std::io::Cursor;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use super::histogram::{Quantile, new_histogram};

/// The occupied buckets of a histogram, by value: a second has a few hundred of 4 000, and there are thousands of them.
///
/// Values are in the histogram's unit; each stands for its bucket's upper end, so with two significant digits a number
/// read here is up to 1 % above the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseCounts(Vec<(u64, u64)>);

/// The same, packed while nobody adds to it: a bucket takes two or three bytes then instead of 16 and more. A run of many
/// hours has thousands of them.
#[derive(Clone, Debug)]
pub(super) enum StoredCounts {
    Open(SparseCounts),
    /// A histogram of [`DIGITS`] in HdrHistogram's V2 encoding.
    Packed(Box<[u8]>),
}

/// Significant digits of the histograms that counts come from.
pub(super) const DIGITS: u8 = 2;

impl SparseCounts {
    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The smallest value, or `None` without samples.
    pub fn min(&self) -> Option<u64> {
        self.0.first().map(|(value, _)| *value)
    }

    /// The largest value, or `None` without samples.
    pub fn max(&self) -> Option<u64> {
        self.0.last().map(|(value, _)| *value)
    }

    /// The mean, or `None` without samples.
    pub fn mean(&self) -> Option<u64> {
        let sum: u128 = self.0.iter().map(|(value, count)| u128::from(*value) * u128::from(*count)).sum();
        Some(sum.checked_div(u128::from(self.count()))? as u64)
    }

    /// The value at `quantile`, or `None` where fewer than 10 samples lie above it.
    pub fn at(&self, quantile: Quantile) -> Option<u64> {
        let rank = quantile.rank(self.count())?;
        let mut below = 0;
        self.0.iter().find_map(|(value, count)| {
            below += count;
            (below >= rank).then_some(*value)
        })
    }

    /// Number of samples above `value` for certain, wherever in their buckets they lie.
    pub fn count_above(&self, value: u64) -> u64 {
        let upper_end = value + value / 10u64.pow(u32::from(DIGITS));
        self.0.iter().filter(|(end, _)| *end > upper_end).map(|(_, count)| count).sum()
    }

    /// Adds the samples of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable_by_key(|(value, _)| *value);
        self.0.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            kept.1 += if same { later.1 } else { 0 };
            same
        });
    }

    /// Takes away the samples of `other`, which were added before.
    pub fn subtract(&mut self, other: &Self) {
        for (value, count) in &other.0 {
            let bucket = self.0.binary_search_by_key(value, |(value, _)| *value).expect("it was added before");
            self.0[bucket].1 -= count;
        }
        self.0.retain(|(_, count)| *count > 0);
    }
}

impl From<&Histogram<u64>> for SparseCounts {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self(histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
    }
}

impl Default for StoredCounts {
    fn default() -> Self {
        Self::Open(SparseCounts::default())
    }
}

impl StoredCounts {
    /// The counts.
    pub(super) fn counts(&self) -> Cow<'_, SparseCounts> {
        match self {
            Self::Open(counts) => Cow::Borrowed(counts),
            Self::Packed(bytes) => {
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut Cursor::new(bytes)).expect("it was packed here");
                Cow::Owned(SparseCounts::from(&histogram))
            }
        }
    }

    /// Adds the samples of `other`.
    pub(super) fn add(&mut self, other: &SparseCounts) {
        let mut counts = match std::mem::take(self) {
            Self::Open(counts) => counts,
            packed => packed.counts().into_owned(),
        };
        counts.add(other);
        *self = Self::Open(counts);
    }

    /// Packs them until something is added.
    pub(super) fn pack(&mut self) {
        let Self::Open(counts) = self else { return };
        let mut histogram = new_histogram(DIGITS);
        for (value, count) in &counts.0 {
            histogram.record_n(*value, *count).expect("it was counted by a histogram with the same bounds");
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).expect("a Vec takes every histogram");
        *self = Self::Packed(bytes.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(values: &[u64]) -> Histogram<u64> {
        let mut histogram = new_histogram(DIGITS);
        values.iter().for_each(|value| histogram.saturating_record(*value));
        histogram
    }

    #[test]
    fn without_samples_there_are_no_numbers() {
        let none = SparseCounts::default();
        assert_eq!(
            (none.count(), none.min(), none.mean(), none.max(), none.at(Quantile::P50)),
            (0, None, None, None, None)
        );
        let few = SparseCounts::from(&recorded(&[1, 2, 2, 7]));
        assert_eq!((few.count(), few.min(), few.mean(), few.max()), (4, Some(1), Some(3), Some(7)));
    }

    proptest! {
        #[test]
        fn percentiles_are_the_histograms(values in prop::collection::vec(0..60_000_000_000_u64, 0..2_000)) {
            let histogram = recorded(&values);
            let sparse = SparseCounts::from(&histogram);
            for quantile in [Quantile::P50, Quantile::P90, Quantile::P99] {
                prop_assert_eq!(sparse.at(quantile), quantile.of(&histogram).map(|value| value.as_u64()));
            }
        }

        #[test]
        fn packing_loses_nothing(
            before in prop::collection::vec(0..60_000_000_000_u64, 0..2_000),
            after in prop::collection::vec(0..60_000_000_000_u64, 0..20),
        ) {
            let (before, after) = (SparseCounts::from(&recorded(&before)), SparseCounts::from(&recorded(&after)));
            let mut stored = StoredCounts::default();
            stored.add(&before);
            stored.pack();
            let StoredCounts::Packed(bytes) = &stored else { panic!("{stored:?}") };
            prop_assert!(bytes.len() <= 64 + 4 * before.0.len(), "{} bytes", bytes.len());
            prop_assert_eq!(&*stored.counts(), &before);
            stored.add(&after);
            let mut sum = before;
            sum.add(&after);
            prop_assert_eq!(&*stored.counts(), &sum);
        }

        #[test]
        fn what_is_added_and_taken_away_leaves_no_trace(
            kept in prop::collection::vec(0..1_000_000_u64, 0..200),
            passing in prop::collection::vec(0..1_000_000_u64, 0..200),
        ) {
            let (kept, passing) = (SparseCounts::from(&recorded(&kept)), SparseCounts::from(&recorded(&passing)));
            let mut sum = kept.clone();
            sum.add(&passing);
            prop_assert_eq!(sum.count(), kept.count() + passing.count());
            sum.subtract(&passing);
            prop_assert_eq!(sum, kept);
        }
    }
}
