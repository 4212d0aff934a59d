//! Latency by percentile: the whole distribution in a line.

use crate::measure::{LatencySummary, Quantile};
use crate::report::chart::{Axis, Chart, Form, Ink, Series};

/// Points in each half of the way to 100 %: smooth, and few enough for a page.
const PER_HALF: u32 = 12;

/// Distributions, each with its name: the first is the one that matters most.
pub(super) fn chart<'a>(named: impl IntoIterator<Item = (String, &'a LatencySummary)>) -> Chart {
    let series = named.into_iter().zip(Ink::SERIES).enumerate().filter_map(|(index, ((name, summary), ink))| {
        let form = if index == 0 { Form::Line } else { Form::Thin };
        let points = points(summary);
        (points.len() > 1).then(|| Series::new(name, ink, form, vec![points]))
    });
    Chart::new(Axis::Nines, Axis::LogSpan, series.collect())
}

/// Quantile and nanoseconds, as far as the number of samples supports a quantile.
fn points(summary: &LatencySummary) -> Vec<(f64, f64)> {
    // A file may be damaged: then there is no line, and the table has what it says.
    let Ok(histogram) = summary.histogram() else { return Vec::new() };
    let last = 1.0 - Quantile::SAMPLES_ABOVE as f64 / histogram.count().max(1) as f64;
    let mut points = Vec::new();
    for point in histogram.points(PER_HALF) {
        // The value of a quantile is that of the first point at or beyond it: the line goes on to where support ends.
        let ns = point.value.as_u64() as f64;
        points.push((point.quantile.min(last), ns));
        if point.quantile >= last {
            break;
        }
    }
    points.retain(|(quantile, ns)| *quantile >= 0.0 && *ns > 0.0);
    points
}
