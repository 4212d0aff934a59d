//! Charts of a timeline: rates, latencies, held connections.

use maud::{Markup, html};

use super::elements::figure;
use crate::measure::TimelineRow;
use crate::report::chart::{Axis, Chart, Form, Ink, Series};
use crate::report::plot;
use crate::report::quantity::seconds;

/// A timeline, and what stands beside it.
pub(super) struct OverTime<'a> {
    pub rows: &'a [TimelineRow],
    /// Arrivals have a plan of their own to be compared with.
    pub planned: bool,
    /// Seconds at the beginning that are in no total.
    pub warmup_s: f64,
    /// When the load was over, seconds; 0 where that is not known.
    pub load_end_s: f64,
    /// Instants of events, seconds.
    pub events: Vec<f64>,
}

/// Fewer rows are no line.
const LEAST_ROWS: usize = 4;
/// Most steps of a line: beyond, rows are joined.
const MOST_STEPS: usize = 240;
/// A latency axis is logarithmic where the largest value is so many times the smallest.
const LOGARITHMIC_FROM: f64 = 20.0;

impl OverTime<'_> {
    /// The charts that there is something for.
    pub(super) fn charts(&self) -> Markup {
        let steps = Steps::of(self.of_load());
        if steps.rows.len() < LEAST_ROWS {
            return html! {};
        }
        let joined = match steps.length_s - steps.row_s {
            more if more > 0.0 => format!(" Each step is the mean of {}.", seconds(steps.length_s)),
            _ => String::new(),
        };
        let worst = joined.replace("the mean", "the worst");
        let (latencies, scale) = self.latencies(&steps);
        html! {
            (figure("Arrivals and completions per second", joined.trim(), &self.rates(&steps)))
            (figure("Response time", &format!("By the instant at which attempts completed{scale}.{worst}"), &latencies))
            (figure("Held connections", "", &self.held(&steps)))
        }
    }

    fn of_load(&self) -> &[TimelineRow] {
        plot::of_load(self.rows, self.load_end_s)
    }

    fn rates(&self, steps: &Steps<'_>) -> Chart {
        let per_s = |count: fn(&TimelineRow) -> u64| {
            steps.lines(|rows| Some(rows.iter().map(|row| count(row) as f64).sum::<f64>() / steps.seconds_of(rows)))
        };
        let mut series = Vec::new();
        if self.planned {
            series.push(Series::new("due by plan", Ink::Text, Form::Dashed, per_s(|row| row.due)));
        }
        series.push(Series::new("completed", Ink::Blue, Form::Area, per_s(|row| row.completed)));
        if self.rows.iter().any(|row| row.failed > 0) {
            series.insert(0, Series::new("failed", Ink::Red, Form::Line, per_s(|row| row.failed)));
        }
        if self.rows.iter().any(|row| row.dropped > 0) {
            series.insert(0, Series::new("dropped: no free slot", Ink::Purple, Form::Thin, per_s(|row| row.dropped)));
        }
        self.chart(Axis::PerS, series)
    }

    fn latencies(&self, steps: &Steps<'_>) -> (Chart, &'static str) {
        let worst = |ns: fn(&TimelineRow) -> Option<u64>| {
            steps.lines(move |rows| rows.iter().filter_map(ns).max().map(|ns| ns as f64))
        };
        let mut series = vec![
            Series::new("p99", Ink::Orange, Form::Line, worst(|row| row.response_p99_ns)),
            Series::new("median", Ink::Blue, Form::Line, worst(|row| row.response_p50_ns)),
        ];
        series.retain(|series| !series.runs.is_empty());
        let values = || series.iter().flat_map(|series| series.runs.iter().flatten()).map(|(_, ns)| *ns);
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        let logarithmic = most > least.max(1.0) * LOGARITHMIC_FROM;
        // On a logarithmic axis what is far below the response would leave no room for it.
        let floor = if logarithmic { least.max(1.0) / 10.0 } else { 0.0 };
        let lateness = worst(|row| row.lateness_p99_ns);
        let shown: Vec<_> = lateness.into_iter().filter(|run| run.iter().all(|(_, ns)| *ns > floor)).collect();
        if !series.is_empty() && !shown.is_empty() {
            series.push(Series::new("lateness p99: the generator's own error", Ink::Text, Form::Dashed, shown));
        }
        let (axis, scale) = if logarithmic { (Axis::LogSpan, "; logarithmic") } else { (Axis::Span, "") };
        (self.chart(axis, series), scale)
    }

    fn held(&self, steps: &Steps<'_>) -> Chart {
        let most = |rows: &[TimelineRow]| rows.iter().map(|row| row.held as f64).reduce(f64::max);
        let held = Series::new("held", Ink::Green, Form::Area, steps.lines(most));
        let series = if self.rows.iter().any(|row| row.held > 0) { vec![held] } else { Vec::new() };
        self.chart(Axis::Count, series)
    }

    fn chart(&self, y: Axis, series: Vec<Series>) -> Chart {
        let mut chart = Chart::new(Axis::Time, y, series);
        let (rows, row_s) = (self.of_load(), Steps::of(self.rows).row_s);
        chart.extent = rows.last().map(|last| (0.0, f64::from(last.t_s) + row_s));
        let paused = rows.iter().filter(|row| row.paused_ns > 0);
        chart.marks.extend(paused.map(|row| (f64::from(row.t_s) + row_s / 2.0, Ink::Olive)));
        if !chart.marks.is_empty() {
            chart.notes.push((Ink::Olive, "the generator stood still".to_owned()));
        }
        if self.warmup_s > 0.0 {
            chart.bands.push((0.0, self.warmup_s));
            chart.notes.push((Ink::Band, "warm-up, in no total".to_owned()));
        }
        if !self.events.is_empty() {
            chart.marks.extend(self.events.iter().map(|at| (*at, Ink::Pink)));
            chart.notes.push((Ink::Pink, "events".to_owned()));
        }
        chart
    }
}

/// Rows, joined where there are more than a line can show.
struct Steps<'a> {
    rows: &'a [TimelineRow],
    /// Seconds of a row.
    row_s: f64,
    /// Rows in a step.
    joined: usize,
    /// Seconds of a step.
    length_s: f64,
}

impl<'a> Steps<'a> {
    fn of(rows: &'a [TimelineRow]) -> Self {
        let row_s = match rows {
            [first, second, ..] => f64::from(second.t_s.saturating_sub(first.t_s)).max(1.0),
            _ => 1.0,
        };
        let joined = rows.len().div_ceil(MOST_STEPS);
        Self { rows, row_s, joined, length_s: row_s * joined as f64 }
    }

    fn seconds_of(&self, rows: &[TimelineRow]) -> f64 {
        self.row_s * rows.len() as f64
    }

    /// A value for each step, which holds for all its time; a step without one is a gap.
    fn lines(&self, value: impl Fn(&[TimelineRow]) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
        let mut runs = vec![Vec::new()];
        for rows in self.rows.chunks(self.joined) {
            let begin = f64::from(rows[0].t_s);
            match (value(rows), runs.last_mut()) {
                (Some(value), Some(run)) => run.extend([(begin, value), (begin + self.seconds_of(rows), value)]),
                (_, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
                _ => {}
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
}
