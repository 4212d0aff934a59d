//! Summaries of latencies, one for each metric.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::measure::{HistogramError, Latencies, LatencyHistogram, LatencySummary, Metric};

/// A summary per metric. In files, those that attempts have only if they go on after the handshake, use TLS or met a pause
/// are there only then; `confirm` and the others are null where they do not exist (`response`, `slot_wait` and `lateness`
/// in closed loop).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyTable(BTreeMap<Metric, LatencySummary>);

impl LatencyTable {
    /// The summary of `metric`.
    pub fn get(&self, metric: Metric) -> Option<&LatencySummary> {
        self.0.get(&metric)
    }

    /// Sets the summary of `metric`, or takes it away.
    pub fn set(&mut self, metric: Metric, summary: Option<LatencySummary>) {
        match summary {
            Some(summary) => self.0.insert(metric, summary),
            None => self.0.remove(&metric),
        };
    }

    /// Adds the samples of `other`.
    ///
    /// # Errors
    /// If a distribution cannot be read.
    pub(in crate::run) fn merge(&mut self, other: &Self) -> Result<(), HistogramError> {
        for (metric, theirs) in &other.0 {
            match self.0.get_mut(metric) {
                Some(mine) => mine.merge(theirs)?,
                None => self.set(*metric, Some(theirs.clone())),
            }
        }
        Ok(())
    }

    /// Summaries of `metrics`; those that exist have one even without a sample.
    pub(in crate::run) fn of(latencies: &Latencies, metrics: &[Metric], open_loop: bool) -> Self {
        let mut table = Self::default();
        for metric in metrics {
            let exists = open_loop || !metric.needs_plan();
            let summary = match latencies.get(*metric) {
                Some(histogram) if *metric == Metric::Paused && histogram.count() == 0 => None,
                Some(histogram) if exists => Some(histogram.summary()),
                _ => (exists && !metric.is_optional()).then(|| LatencyHistogram::new().summary()),
            };
            table.set(*metric, summary);
        }
        table
    }
}

impl Serialize for LatencyTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_shown =
            |metric: &Metric| self.get(*metric).is_some() || !metric.is_optional() || *metric == Metric::Confirm;
        serializer.collect_map(Metric::ALL.into_iter().filter(is_shown).map(|metric| (metric, self.get(metric))))
    }
}

impl<'de> Deserialize<'de> for LatencyTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = BTreeMap::<Metric, Option<LatencySummary>>::deserialize(deserializer)?;
        Ok(Self(rows.into_iter().filter_map(|(metric, summary)| Some((metric, summary?))).collect()))
    }
}
