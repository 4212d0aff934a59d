//! What is measured: samples, failures, recorders, snapshots and the timeline.
//!
//! A worker owns one [`Recorder`]. Every second it hands out an [`IntervalReport`] for the [`Timeline`]; at the end it
//! hands over a [`Snapshot`]. Snapshots merge exactly, so the number of workers never shows in a result.

mod failure;
mod histogram;
mod interval;
mod layout;
mod pause;
mod reaction;
mod recorder;
mod sample;
mod snapshot;
mod sparse;
mod timeline;

pub use failure::{Failure, FailureDetail, FailureKind, Side, Step};
pub use histogram::{DistributionPoint, HistogramError, LatencyHistogram, LatencySummary, Quantile};
pub use interval::{IntervalCounts, IntervalReport};
pub use layout::{RecorderLayout, StageInfo, WatchedRow};
pub use pause::{Pause, Pauses};
pub use reaction::{Ending, Expectation, ExpectationError, ExpectedEvent, Reaction, Reactions};
pub use recorder::Recorder;
pub use sample::{Metric, Place, Sample, SessionTimes, Until};
pub use snapshot::{
    Announcement, Announcements, Attempts, BackendRecord, Comeback, ConservationError, FailureCount, FailureTable,
    Latencies, MediaCounts, ModeCounts, ProbeOutcome, Reason, RowPart, Snapshot, StageRecord, Tally, TlsCounts,
};
pub use sparse::SparseCounts;
pub use timeline::{CompletedSecond, Timeline, TimelineRow};
