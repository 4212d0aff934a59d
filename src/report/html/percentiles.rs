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
    // The first is drawn last: over the others.
    let mut series: Vec<_> = series.collect();
    series.reverse();
    Chart::new(Axis::Nines, Axis::LogSpan, series)
}

/// Quantile and nanoseconds, as far as the number of samples supports a quantile.
fn points(summary: &LatencySummary) -> Vec<(f64, f64)> {
    // A file may be damaged: then there is no line, and the table has what it says.
    let Ok(histogram) = summary.histogram() else { return Vec::new() };
    let count = histogram.count() as f64;
    let supported = |quantile: f64| (1.0 - quantile) * count >= Quantile::SAMPLES_ABOVE as f64;
    let points = histogram.points(PER_HALF).take_while(|point| supported(point.quantile));
    points.map(|point| (point.quantile, point.value.as_u64() as f64)).filter(|(_, ns)| *ns > 0.0).collect()
}
