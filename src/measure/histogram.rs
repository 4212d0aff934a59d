//! Exact, mergeable latency distributions and their form in files.

use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::iterators::IterationValue;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer as Reader, Serialize, Serializer as Writer};

use crate::base::Nanos;

/// Spans in nanoseconds: three significant digits up to 60 s (ages: up to 30 days). A longer span is recorded as the
/// longest, so that percentiles stay lower bounds of the truth, and counted in [`overflow`](Self::overflow).
///
/// Memory becomes resident where spans are recorded, a page for each two octaves, not for the whole range: a worker has a
/// dozen distributions, and a machine may have more workers than cores.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyHistogram {
    counts: BucketCounts,
    longest: Nanos,
    overflow: u64,
}

/// A percentile between p0 and p100 in steps of 0.01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantile {
    /// Hundredths of a percent.
    per_10_000: u16,
}

/// A distribution in a result file: its numbers, and itself. Latencies are in nanoseconds. One that is read from a file
/// has a distribution that can be read, of as many samples as it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct LatencySummary {
    /// Number of samples, those beyond 60 s (ages: 30 days) included.
    pub count: u64,
    /// Samples beyond that; every number below counts them as so long.
    pub overflow: u64,
    /// The shortest; null without samples.
    pub min_ns: Option<u64>,
    /// The mean; null without samples.
    pub mean_ns: Option<u64>,
    /// The standard deviation; null without samples.
    pub stdev_ns: Option<u64>,
    /// The median. Like every percentile: null unless at least 10 samples lie above it.
    pub p50_ns: Option<u64>,
    /// The 90th percentile.
    pub p90_ns: Option<u64>,
    /// The 95th percentile.
    pub p95_ns: Option<u64>,
    /// The 99th percentile.
    pub p99_ns: Option<u64>,
    /// The 99.9th percentile.
    pub p999_ns: Option<u64>,
    /// The 99.99th percentile.
    pub p9999_ns: Option<u64>,
    /// The longest; null without samples.
    pub max_ns: Option<u64>,
    /// The whole distribution: HdrHistogram V2 + DEFLATE, in standard base64.
    pub hdr_v2_base64: String,
}

/// A point of a distribution: how many samples are at most so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistributionPoint {
    /// The span.
    pub value: Nanos,
    /// The share of the samples that was asked for, 0 to 1.
    pub quantile: f64,
    /// Samples up to the span.
    pub count: u64,
}

/// Why a distribution in a file cannot be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// Its bytes are none.
    #[error("hdr_v2_base64 is not a HdrHistogram (V2 + DEFLATE, base64): {0}")]
    Bytes(String),
    /// It is not what the numbers beside it are made of.
    #[error("hdr_v2_base64 holds {held} samples, but count is {count} and overflow {overflow}")]
    OtherCount {
        /// Samples in the distribution.
        held: u64,
        /// What the summary says.
        count: u64,
        /// What the summary says of samples beyond the range.
        overflow: u64,
    },
}

impl LatencyHistogram {
    /// The longest latency told apart.
    pub const LONGEST: Nanos = Nanos::from_secs(60);
    /// The longest age told apart.
    pub const LONGEST_AGE: Nanos = Nanos::from_secs(30 * 24 * 3600);

    /// An empty distribution of latencies.
    pub fn new() -> Self {
        Self { counts: BucketCounts::up_to(Self::LONGEST), longest: Self::LONGEST, overflow: 0 }
    }

    /// An empty distribution of ages: how long something lasted that may last for days.
    pub fn of_ages() -> Self {
        Self { counts: BucketCounts::up_to(Self::LONGEST_AGE), longest: Self::LONGEST_AGE, overflow: 0 }
    }

    /// Counts one span.
    pub fn record(&mut self, span: Nanos) {
        if span > self.longest {
            self.overflow += 1;
        }
        self.counts.record(span.min(self.longest).as_u64());
    }

    /// Samples between `from` and `to`, both included, as exact as the digits are.
    pub fn count_between(&self, from: Nanos, to: Nanos) -> u64 {
        self.histogram().count_between(from.as_u64(), to.as_u64())
    }

    /// The sample number `rank`, counted from 1 in ascending order; `None` if there are fewer.
    pub fn nth(&self, rank: u64) -> Option<Nanos> {
        let count = self.count();
        // Half a rank below: the quotient cannot round up to the next sample.
        let quantile = || (rank as f64 - 0.5) / count as f64;
        (1..=count).contains(&rank).then(|| Nanos::new(self.histogram().value_at_quantile(quantile())))
    }

    /// Adds the samples of `other`. A file may pair latencies with ages: then the sum is of ages.
    pub fn merge(&mut self, other: &Self) {
        if other.longest > self.longest {
            let latencies = std::mem::replace(self, Self { overflow: self.overflow, ..Self::of_ages() });
            self.counts.add(&latencies.counts);
        }
        self.counts.add(&other.counts);
        self.overflow += other.overflow;
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.counts.total
    }

    /// Samples beyond the longest span told apart.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The longest sample, or `None` without samples.
    pub fn max(&self) -> Option<Nanos> {
        (self.count() > 0).then(|| Nanos::new(self.histogram().max()))
    }

    /// The value at `quantile`, or `None` where fewer than 10 samples lie above it.
    pub fn at(&self, quantile: Quantile) -> Option<Nanos> {
        quantile.of(&self.histogram())
    }

    /// Points of the distribution up to its longest sample, so many in each half of the way that is left to 100 %: as
    /// HdrHistogram's `outputPercentileDistribution` takes them. The last ones stand for single samples.
    ///
    /// # Panics
    /// If `per_half` is 0.
    pub fn points(&self, per_half: u32) -> impl Iterator<Item = DistributionPoint> + use<> {
        let mut count = 0;
        let mut point = |step: IterationValue<u64>| {
            count += step.count_since_last_iteration();
            let value = Nanos::new(step.value_iterated_to());
            DistributionPoint { value, quantile: step.quantile_iterated_to(), count }
        };
        let points: Vec<_> = self.histogram().iter_quantiles(per_half).map(&mut point).collect();
        points.into_iter()
    }

    /// Bytes that it takes at most: fixed from its making on, and resident where samples are.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.counts.low) + size_of_val(&*self.counts.high)
    }

    /// How HdrHistogram divides the range: buckets, and parts of each.
    pub fn buckets(&self) -> (u8, u32) {
        (self.histogram().buckets(), BucketCounts::PARTS)
    }

    /// The distribution as it goes into a file.
    pub fn summary(&self) -> LatencySummary {
        let histogram = self.histogram();
        let some = |value: u64| (!histogram.is_empty()).then_some(value);
        let at = |quantile: Quantile| quantile.of(&histogram).map(Nanos::as_u64);
        LatencySummary {
            count: histogram.len(),
            overflow: self.overflow,
            min_ns: some(histogram.min()),
            mean_ns: some(histogram.mean().round() as u64),
            stdev_ns: some(histogram.stdev().round() as u64),
            p50_ns: at(Quantile::P50),
            p90_ns: at(Quantile::P90),
            p95_ns: at(Quantile::P95),
            p99_ns: at(Quantile::P99),
            p999_ns: at(Quantile::P99_9),
            p9999_ns: at(Quantile::P99_99),
            max_ns: some(histogram.max()),
            hdr_v2_base64: to_base64(&histogram),
        }
    }

    /// The same as the library's, which knows everything that is asked of a distribution.
    fn histogram(&self) -> Histogram<u64> {
        self.counts.histogram(self.longest)
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencySummary {
    /// The distribution itself.
    ///
    /// # Errors
    /// If `hdr_v2_base64` is damaged, was not written by this program, or is not of `count` samples.
    pub fn histogram(&self) -> Result<LatencyHistogram, HistogramError> {
        let read = from_base64(&self.hdr_v2_base64).map_err(HistogramError::Bytes)?;
        if read.len() != self.count || self.overflow > self.count {
            let (count, overflow) = (self.count, self.overflow);
            return Err(HistogramError::OtherCount { held: read.len(), count, overflow });
        }
        let ages = read.high() > LatencyHistogram::LONGEST.as_u64();
        let mut whole = if ages { LatencyHistogram::of_ages() } else { LatencyHistogram::new() };
        for step in read.iter_recorded() {
            let span = step.value_iterated_to().min(whole.longest.as_u64());
            whole.counts.record_many(BucketCounts::index(span), step.count_at_value());
        }
        Ok(LatencyHistogram { overflow: self.overflow, ..whole })
    }

    /// Adds the samples of `other`.
    ///
    /// # Errors
    /// As [`histogram`](Self::histogram).
    pub fn merge(&mut self, other: &Self) -> Result<(), HistogramError> {
        let mut both = self.histogram()?;
        both.merge(&other.histogram()?);
        *self = both.summary();
        Ok(())
    }

    /// The value at any `quantile`, or `None` where fewer than 10 samples lie above it.
    ///
    /// # Errors
    /// If `hdr_v2_base64` is damaged.
    pub fn at(&self, quantile: Quantile) -> Result<Option<Nanos>, HistogramError> {
        Ok(self.histogram()?.at(quantile))
    }
}

impl Serialize for LatencySummary {
    fn serialize<W: Writer>(&self, writer: W) -> Result<W::Ok, W::Error> {
        Self::serialize(self, writer)
    }
}

impl<'de> Deserialize<'de> for LatencySummary {
    fn deserialize<R: Reader<'de>>(reader: R) -> Result<Self, R::Error> {
        let summary = Self::deserialize(reader)?;
        summary.histogram().map(|_| summary).map_err(R::Error::custom)
    }
}

impl Quantile {
    /// The median.
    pub const P50: Self = Self { per_10_000: 5_000 };
    /// The 90th percentile.
    pub const P90: Self = Self { per_10_000: 9_000 };
    /// The 95th percentile.
    pub const P95: Self = Self { per_10_000: 9_500 };
    /// The 99th percentile.
    pub const P99: Self = Self { per_10_000: 9_900 };
    /// The 99.9th percentile.
    pub const P99_9: Self = Self { per_10_000: 9_990 };
    /// The 99.99th percentile.
    pub const P99_99: Self = Self { per_10_000: 9_999 };

    /// A percentile is shown if at least so many samples lie above it: fewer, and the number is noise.
    pub const SAMPLES_ABOVE: u64 = 10;

    /// Enough of `count` samples lie above it.
    pub const fn is_supported_by(self, count: u64) -> bool {
        count as u128 * (10_000 - self.per_10_000) as u128 >= Self::SAMPLES_ABOVE as u128 * 10_000
    }

    /// The fewest samples of which enough lie above it.
    pub const fn samples_needed(self) -> u64 {
        (Self::SAMPLES_ABOVE * 10_000).div_ceil((10_000 - self.per_10_000) as u64)
    }

    /// Which of `count` samples, counted from 1 in ascending order, has the value; `None` where fewer than 10 lie above.
    pub fn rank(self, count: u64) -> Option<u64> {
        let rank = (u128::from(count) * u128::from(self.per_10_000)).div_ceil(10_000);
        self.is_supported_by(count).then_some((rank as u64).max(1))
    }

    /// The value in `histogram`, or `None` where fewer than 10 samples lie above it.
    pub(super) fn of(self, histogram: &Histogram<u64>) -> Option<Nanos> {
        let rank = self.rank(histogram.len())?;
        // Half a rank below: the quotient cannot round up to the next sample.
        let quantile = (rank as f64 - 0.5) / histogram.len() as f64;
        Some(Nanos::new(histogram.value_at_quantile(quantile)))
    }
}

impl FromStr for Quantile {
    type Err = ();
    /// Reads "p50", "p99.9"; at most two decimals, from p0 to p99.99.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, decimals) = match text.strip_prefix('p').ok_or(())?.split_once('.') {
            Some((whole, decimals)) => (whole, decimals),
            None => (&text[1..], "00"),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || !(1..=2).contains(&whole.len()) || !(1..=2).contains(&decimals.len())
        {
            return Err(());
        }
        let per_10_000 = format!("{whole}{decimals:0<2}").parse().map_err(drop)?;
        Ok(Self { per_10_000 })
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.per_10_000 / 100, self.per_10_000 % 100);
        match hundredths {
            0 => write!(f, "p{whole}"),
            _ if hundredths % 10 == 0 => write!(f, "p{whole}.{}", hundredths / 10),
            _ => write!(f, "p{whole}.{hundredths:02}"),
        }
    }
}

/// Bytes of a histogram's counters, one of 8 bytes for each value told apart.
pub(super) fn bytes_of(histogram: &Histogram<u64>) -> usize {
    histogram.distinct_values() * size_of::<u64>()
}

/// Significant digits of a distribution.
const DIGITS: u8 = 3;

/// The counts of a HdrHistogram of three digits whose lowest unit is 1, in its own layout: spans below 2048 have a count
/// each; each octave above has 1024.
///
/// The library's histogram writes eight bytes for each count when it is made, and all of them are resident. Here a count
/// begins with two bytes, four more are for those that outgrow them, and both are zero pages until something is counted
/// in them.
#[derive(Clone, Debug, PartialEq)]
struct BucketCounts {
    /// The lower 16 bits of each count.
    low: Box<[u16]>,
    /// The other 32: at 20 000 spans a second into one bucket they last for 400 years.
    high: Box<[u32]>,
    total: u64,
}

impl BucketCounts {
    /// Parts of the first bucket, of which the others have half as many: enough to tell two spans of three digits apart,
    /// as a power of two.
    const PARTS: u32 = 2_048;
    const HALF_BITS: u32 = (Self::PARTS / 2).ilog2();
    /// Higher counts, which only files can add up to, are cut to this.
    const MOST: u64 = (1 << 48) - 1;

    fn up_to(longest: Nanos) -> Self {
        let len = Self::index(longest.as_u64()) + 1;
        Self { low: vec![0; len].into_boxed_slice(), high: vec![0; len].into_boxed_slice(), total: 0 }
    }

    /// Counts a span that is not longer than the longest.
    fn record(&mut self, span: u64) {
        let index = Self::index(span);
        self.low[index] = self.low[index].wrapping_add(1);
        if self.low[index] == 0 {
            self.high[index] = self.high[index].saturating_add(1);
        }
        self.total += 1;
    }

    /// Adds to the count of a bucket.
    fn record_many(&mut self, index: usize, added: u64) {
        let count = self.count(index).saturating_add(added).min(Self::MOST);
        // Not written to without need: see above.
        if added > 0 {
            self.low[index] = count as u16;
        }
        if count > u64::from(u16::MAX) {
            self.high[index] = (count >> 16) as u32;
        }
        self.total = self.total.saturating_add(added);
    }

    fn count(&self, index: usize) -> u64 {
        u64::from(self.high[index]) << 16 | u64::from(self.low[index])
    }

    fn add(&mut self, other: &Self) {
        for index in 0..other.low.len() {
            self.record_many(index, other.count(index));
        }
    }

    fn histogram(&self, longest: Nanos) -> Histogram<u64> {
        let mut histogram = bounded(longest, DIGITS);
        for (index, count) in
            (0..self.low.len()).map(|index| (index, self.count(index))).filter(|(_, count)| *count > 0)
        {
            histogram.record_n(Self::lowest(index), count).expect("the longest of both is the same");
        }
        histogram
    }

    /// Where a span is counted.
    fn index(span: u64) -> usize {
        let octave = (span | u64::from(Self::PARTS - 1)).ilog2() - Self::HALF_BITS;
        ((octave as usize) << Self::HALF_BITS) + (span >> octave) as usize
    }

    /// The shortest span that is counted here.
    fn lowest(index: usize) -> u64 {
        let octave = (index >> Self::HALF_BITS).saturating_sub(1);
        ((index - (octave << Self::HALF_BITS)) as u64) << octave
    }
}

fn to_base64(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("a Vec takes every histogram");
    BASE64.encode(bytes)
}

/// Reads what [`to_base64`] writes. The lengths that it gives are held against what is there before anything is allocated:
/// the library believes them.
fn from_base64(text: &str) -> Result<Histogram<u64>, String> {
    /// Of both encodings: a cookie and the length of what follows.
    const HEAD: usize = 8;
    /// Before the counts of a histogram that is not compressed.
    const V2_HEAD: usize = 40;
    /// The range of ages has some 43 000 counts, of at most nine bytes.
    const MOST_INFLATED: u64 = 1 << 20;
    let compressed = BASE64.decode(text).map_err(|error| error.to_string())?;
    let deflated = after_head(&compressed, [0x1c, 0x84, 0x93, 0x14], HEAD)?;
    let mut bytes = Vec::new();
    let inflated = ZlibDecoder::new(deflated).take(MOST_INFLATED + 1).read_to_end(&mut bytes);
    inflated.map_err(|error| format!("it cannot be inflated: {error}"))?;
    if bytes.len() as u64 > MOST_INFLATED {
        return Err(format!("it inflates to more than {MOST_INFLATED} bytes, the most that its range can take"));
    }
    after_head(&bytes, [0x1c, 0x84, 0x93, 0x13], V2_HEAD)?;
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes of the head"));
    // The digits are the lower half of the eight bytes that begin with an offset, which the library checks.
    let (digits, lowest, longest) = (number(8) as u32, number(16), number(24));
    let ranges = [LatencyHistogram::LONGEST, LatencyHistogram::LONGEST_AGE].map(Nanos::as_u64);
    if digits != u32::from(DIGITS) || lowest != 1 || !ranges.contains(&longest) {
        return Err(format!(
            "its values have {digits} digits from {lowest} to {longest}; this program writes {DIGITS} from 1 to {} or {}",
            ranges[0], ranges[1]
        ));
    }
    let histogram: Histogram<u64> =
        Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| error.to_string())?;
    if histogram.len() > BucketCounts::MOST {
        return Err(format!("it holds {} samples, more than can be measured", histogram.len()));
    }
    Ok(histogram)
}

/// What follows a head of so many bytes, which begins with `cookie` and the length of what follows.
fn after_head(bytes: &[u8], cookie: [u8; 4], head: usize) -> Result<&[u8], String> {
    let rest = bytes.get(head..).ok_or_else(|| format!("it has {} bytes, fewer than its head", bytes.len()))?;
    if bytes[..4] != cookie {
        return Err("its first four bytes are those of another format".to_owned());
    }
    let length = u32::from_be_bytes(bytes[4..8].try_into().expect("four bytes of the head"));
    if length as usize != rest.len() {
        return Err(format!("its head announces {length} bytes, and {} follow", rest.len()));
    }
    Ok(rest)
}

/// A histogram of nanoseconds from 1 to 60 s.
pub(super) fn new_histogram(significant_digits: u8) -> Histogram<u64> {
    bounded(LatencyHistogram::LONGEST, significant_digits)
}

fn bounded(longest: Nanos, significant_digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, longest.as_u64(), significant_digits).expect("valid bounds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(spans: impl IntoIterator<Item = u64>) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::new();
        spans.into_iter().for_each(|span| histogram.record(Nanos::new(span)));
        histogram
    }

    #[test]
    fn a_percentile_needs_ten_samples_above_it() {
        for (quantile, least) in [
            (Quantile::P50, 20),
            (Quantile::P90, 100),
            (Quantile::P95, 200),
            (Quantile::P99, 1_000),
            (Quantile::P99_9, 10_000),
            (Quantile::P99_99, 100_000),
        ] {
            assert!(!quantile.is_supported_by(least - 1), "{quantile}");
            assert!(quantile.is_supported_by(least), "{quantile}");
        }
    }

    #[test]
    fn numbers_of_a_known_distribution() {
        // 1..=1000: small enough to be exact in three digits.
        let summary = recorded(1..=1_000).summary();
        assert_eq!((summary.count, summary.overflow), (1_000, 0));
        assert_eq!((summary.min_ns, summary.max_ns), (Some(1), Some(1_000)));
        // Mean 500.5, standard deviation sqrt((1000^2 - 1) / 12) = 288.67.
        assert_eq!((summary.mean_ns, summary.stdev_ns), (Some(501), Some(289)));
        assert_eq!((summary.p50_ns, summary.p90_ns, summary.p95_ns), (Some(500), Some(900), Some(950)));
        assert_eq!((summary.p99_ns, summary.p999_ns, summary.p9999_ns), (Some(990), None, None));
    }

    #[test]
    fn points_count_up_to_all_samples() {
        let points: Vec<_> = recorded(1..=1_000).points(1).collect();
        let (first, last) = (points[0], points[points.len() - 1]);
        assert_eq!((first.value, first.quantile, first.count), (Nanos::new(1), 0.0, 1));
        assert_eq!((last.value, last.quantile, last.count), (Nanos::new(1_000), 1.0, 1_000));
        let half = points.iter().find(|point| point.quantile == 0.5).unwrap();
        assert_eq!((half.value, half.count), (Nanos::new(500), 500));
        assert_eq!(LatencyHistogram::new().points(5).count(), 0);
        assert_eq!(LatencyHistogram::new().buckets(), (26, 2_048));
    }

    #[test]
    fn without_samples_there_are_no_numbers() {
        let summary = LatencyHistogram::new().summary();
        assert_eq!(summary.count, 0);
        assert_eq!((summary.min_ns, summary.mean_ns, summary.p50_ns, summary.max_ns), (None, None, None, None));
        assert_eq!(summary.histogram().unwrap(), LatencyHistogram::new());
    }

    #[test]
    fn beyond_a_minute_is_counted_and_stays_a_lower_bound() {
        let histogram = recorded([60_000_000_000, 60_000_000_001, u64::MAX]);
        assert_eq!((histogram.count(), histogram.overflow()), (3, 2));
        assert!(histogram.max().unwrap() >= LatencyHistogram::LONGEST);
    }

    #[test]
    fn damaged_text_is_an_error_that_names_the_key() {
        let mut summary = recorded([5]).summary();
        for damaged in ["", "????", "AAAA", &summary.hdr_v2_base64.clone()[..8]] {
            summary.hdr_v2_base64 = damaged.to_owned();
            assert!(summary.histogram().unwrap_err().to_string().contains("hdr_v2_base64"), "{damaged}");
        }
    }

    /// A summary of no samples whose payload is that of a histogram, changed.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> LatencySummary {
        let mut bytes = Vec::new();
        hdrhistogram::serialization::V2Serializer::new().serialize(&new_histogram(DIGITS), &mut bytes).unwrap();
        change(&mut bytes);
        let mut deflated = flate2::read::ZlibEncoder::new(bytes.as_slice(), flate2::Compression::fast());
        let mut file = vec![0x1c, 0x84, 0x93, 0x14, 0, 0, 0, 0];
        deflated.read_to_end(&mut file).unwrap();
        let length = file.len() as u32 - 8;
        file[4..8].copy_from_slice(&length.to_be_bytes());
        LatencySummary { hdr_v2_base64: BASE64.encode(file), ..LatencyHistogram::new().summary() }
    }

    #[test]
    fn lengths_and_ranges_of_a_file_are_not_believed() {
        assert_eq!(changed(|_| ()).histogram(), Ok(LatencyHistogram::new()));
        let refused = |change: fn(&mut Vec<u8>)| changed(change).histogram().unwrap_err().to_string();
        let most = refused(|bytes| bytes[4..8].copy_from_slice(&[0xff; 4]));
        assert!(most.ends_with("its head announces 4294967295 bytes, and 1 follow"), "{most}");
        let bomb = refused(|bytes| bytes.resize(1 << 26, 0));
        assert!(bomb.contains("it inflates to more than 1048576 bytes"), "{bomb}");
        let nested = refused(|bytes| bytes[3] = 0x14);
        assert!(nested.contains("another format"), "{nested}");
        for change in [
            (|bytes| bytes[15] = 5) as fn(&mut Vec<u8>),
            |bytes| bytes[12] = 1,
            |bytes| bytes[16] = 1,
            |bytes| bytes[24] = 0xff,
        ] {
            let range = refused(change);
            assert!(range.contains("this program writes 3 from 1 to 60000000000 or 2592000000000000"), "{range}");
        }
        assert!(refused(|bytes| bytes.truncate(30)).contains("fewer than its head"));
    }

    #[test]
    fn a_summary_of_other_samples_than_its_distribution_is_not_read() {
        let whole = serde_json::to_value(recorded(1..=1_000).summary()).unwrap();
        for (key, number) in [("count", 999), ("overflow", 1_001)] {
            let mut edited = whole.clone();
            edited[key] = number.into();
            let error = serde_json::from_value::<LatencySummary>(edited).unwrap_err().to_string();
            assert!(error.contains("hdr_v2_base64 holds 1000 samples, but count is"), "{error}");
        }
    }

    #[test]
    fn quantiles_read_back() {
        for text in ["p50", "p99", "p99.9", "p99.99", "p97.5", "p5", "p99.05"] {
            assert_eq!(text.parse::<Quantile>().unwrap().to_string(), text);
        }
        assert_eq!("p99.90".parse(), Ok(Quantile::P99_9));
        for text in ["", "p", "50", "p100", "p99.", "p.9", "p99.999", "p+9", "p9\u{e9}"] {
            assert_eq!(text.parse::<Quantile>(), Err(()), "{text}");
        }
    }

    #[test]
    fn counts_outgrow_their_first_bytes() {
        let mut histogram = LatencyHistogram::new();
        for _ in 0..200_000 {
            histogram.record(Nanos::new(1_000_000));
        }
        let mut merged = histogram.clone();
        merged.merge(&histogram);
        assert_eq!((histogram.histogram().len(), merged.histogram().len()), (200_000, 400_000));
        assert_eq!(merged.summary().histogram().unwrap(), merged);
        merged.counts.record_many(5, u64::MAX);
        assert_eq!(merged.counts.count(5), BucketCounts::MOST);
    }

    #[test]
    fn the_whole_range_has_its_counts() {
        for longest in [LatencyHistogram::LONGEST, LatencyHistogram::LONGEST_AGE] {
            let counts = BucketCounts::up_to(longest);
            assert!(counts.low.len() <= bounded(longest, DIGITS).distinct_values());
            for index in 0..counts.low.len() {
                let lowest = BucketCounts::lowest(index);
                assert_eq!(BucketCounts::index(lowest), index);
                assert!(index == 0 || BucketCounts::index(lowest - 1) == index - 1, "{index} follows its predecessor");
            }
        }
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_library(spans in prop::collection::vec(0..70_000_000_000_u64, 0..200)) {
            let mut expected = new_histogram(DIGITS);
            spans.iter().for_each(|span| expected.saturating_record((*span).min(LatencyHistogram::LONGEST.as_u64())));
            let histogram = recorded(spans).histogram();
            prop_assert_eq!(&histogram, &expected);
            // What they print is made of more than what they compare.
            prop_assert_eq!(
                (histogram.min(), histogram.max(), histogram.mean(), histogram.stdev()),
                (expected.min(), expected.max(), expected.mean(), expected.stdev())
            );
        }

        #[test]
        fn files_keep_the_whole_distribution(spans in prop::collection::vec(0..70_000_000_000_u64, 0..200)) {
            let histogram = recorded(spans);
            let text = serde_json::to_string(&histogram.summary()).unwrap();
            let summary: LatencySummary = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(summary.histogram().unwrap().summary(), histogram.summary());
        }

        #[test]
        fn merging_parts_is_recording_in_one(
            spans in prop::collection::vec(0..70_000_000_000_u64, 0..200), cut in 0..200_usize
        ) {
            let cut = cut.min(spans.len());
            let mut merged = recorded(spans[..cut].iter().copied());
            merged.merge(&recorded(spans[cut..].iter().copied()));
            prop_assert_eq!(merged, recorded(spans));
        }
    }
}
