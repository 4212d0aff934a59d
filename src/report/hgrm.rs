//! HdrHistogram's own text form (`.hgrm`): the percentile distribution that its plotters and converters read.

use std::fmt::Write;

use crate::measure::{HistogramError, LatencySummary};

/// Lines in each half of the way to 100 %: what HdrHistogram's own tools write.
const PER_HALF: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// The distribution in milliseconds, as `outputPercentileDistribution` of HdrHistogram's Java library lays it out (2.1.12;
/// columns `Value Percentile TotalCount 1/(1-Percentile)`, three lines of comment at the end), with six decimals, so
/// that no nanosecond is lost. Other than in reports its last lines stand for single samples: readers of the format want
/// the whole distribution, and each line says how many samples it rests on.
///
/// # Errors
/// If the summary's histogram is damaged.
pub fn render(summary: &LatencySummary) -> Result<String, HistogramError> {
    let histogram = summary.histogram()?;
    let ms = |ns: Option<u64>| ns.unwrap_or(0) as f64 / NS_PER_MS;
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for point in histogram.points(PER_HALF) {
        let value = point.value.as_u64() as f64 / NS_PER_MS;
        let line = format!("{value:12.6} {:2.12} {:10}", point.quantile, point.count);
        let above =
            if point.quantile < 1.0 { format!(" {:14.2}", 1.0 / (1.0 - point.quantile)) } else { String::new() };
        writeln!(text, "{line}{above}").expect("a String takes all");
    }
    let (buckets, parts) = histogram.buckets();
    let (mean, deviation, max) = (ms(summary.mean_ns), ms(summary.stdev_ns), ms(summary.max_ns));
    for (one, value, other, second) in [
        ("Mean    ", format!("{mean:12.6}"), "StdDeviation   ", format!("{deviation:12.6}")),
        ("Max     ", format!("{max:12.6}"), "Total count    ", format!("{:12}", histogram.count())),
        ("Buckets ", format!("{buckets:12}"), "SubBuckets     ", format!("{parts:12}")),
    ] {
        writeln!(text, "#[{one}= {value}, {other}= {second}]").expect("a String takes all");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Nanos;
    use crate::measure::LatencyHistogram;

    fn summary(spans: impl IntoIterator<Item = u64>) -> LatencySummary {
        let mut histogram = LatencyHistogram::new();
        spans.into_iter().for_each(|span| histogram.record(Nanos::new(span)));
        histogram.summary()
    }

    #[test]
    fn the_layout_is_that_of_hdr_histogram() {
        let text = render(&summary([1_000_000, 1_000_000, 2_000_000, 5_000_000])).unwrap();
        insta::assert_snapshot!(text, @"");
    }

    #[test]
    fn nothing_measured_is_an_empty_distribution() {
        let text = render(&summary([])).unwrap();
        insta::assert_snapshot!(text, @"");
    }

    #[test]
    fn a_damaged_histogram_is_an_error() {
        let damaged = LatencySummary { hdr_v2_base64: "AAAA".to_owned(), ..summary([5]) };
        assert!(render(&damaged).unwrap_err().to_string().contains("hdr_v2_base64"));
    }
}
