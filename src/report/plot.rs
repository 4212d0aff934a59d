//! Curves over time in a few lines of text.
//!
//! `textplots` draws them in braille dots, two by four to a character; the labels are our own.

use std::time::Duration;

use anstyle::{AnsiColor, Style as Ansi};
use textplots::{Chart, Plot, Shape};

use super::quantity::span;
use crate::base::{DurationText, rate_text};
use crate::measure::TimelineRow;

/// What a curve's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Events per second.
    PerS,
    /// Nanoseconds.
    Span,
    /// Things.
    Count,
}

/// Fewer rows are no curve.
const LEAST_ROWS: usize = 5;
/// Lines of a curve.
const HEIGHT: usize = 5;
/// Columns of a plot, labels included.
const MOST_COLUMNS: usize = 60;
/// Columns of the labels at the left, the axis included.
const LABELS: usize = 12;

/// The curve through `points` (seconds, value), from zero to the largest value, with its labels: a few lines of at most
/// `width` columns (taken as at least 40) and at most 60. Empty without points.
pub fn curve(points: &[(f64, f64)], quantity: Quantity, width: u16) -> String {
    Drawing { curves: vec![points.to_vec()], ..Drawing::new(quantity, width) }.text()
}

/// Plots of a timeline: arrivals and completions, response times, held connections; those that there are. Empty if the
/// timeline is too short for curves. `planned`: arrivals have a plan of their own to be compared with.
pub(super) fn timeline(rows: &[TimelineRow], planned: bool, color: bool, width: u16) -> String {
    let [first, second, ..] = rows else { return String::new() };
    if rows.len() < LEAST_ROWS {
        return String::new();
    }
    let row_s = f64::from(second.t_s - first.t_s).max(1.0);
    // A row's value holds for all its seconds; a row without one is a gap.
    let steps = |value: &dyn Fn(&TimelineRow) -> Option<f64>| {
        let step = |row: &TimelineRow| {
            let begin = f64::from(row.t_s);
            Some([(begin, value(row)?), (begin + row_s, value(row)?)])
        };
        let runs = rows.chunk_by(|row, next| value(row).is_some() == value(next).is_some());
        runs.map(|run| run.iter().filter_map(step).flatten().collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
            .collect()
    };
    let new =
        |quantity| Drawing { color, end: f64::from(rows[rows.len() - 1].t_s) + row_s, ..Drawing::new(quantity, width) };
    let seconds_of = |row: &TimelineRow| (f64::from(row.t_s), f64::from(row.t_s) + row_s);
    let completions = Drawing {
        curves: steps(&|row| Some(row.completed as f64 / row_s)),
        dotted: if planned {
            rows.iter().map(|row| (seconds_of(row), row.due as f64 / row_s)).collect()
        } else {
            Vec::new()
        },
        marks: rows.iter().filter(|row| row.failed > 0).map(seconds_of).collect(),
        pauses: rows.iter().filter(|row| row.paused_ns > 0).map(seconds_of).collect(),
        ..new(Quantity::PerS)
    };
    let mut heading = "completed per second".to_owned();
    if planned {
        heading += "; dotted: due";
    }
    if !completions.marks.is_empty() {
        heading += "; x: failures";
    }
    if !completions.pauses.is_empty() {
        heading += "; p: generator paused";
    }
    // A closed loop of hostile clients completes nothing, and has no plan to fall short of.
    let says_nothing = !planned && rows.iter().all(|row| row.completed + row.failed + row.paused_ns == 0);
    let mut text = if says_nothing { String::new() } else { format!("  {heading}\n{}", completions.text()) };
    let response = Drawing { curves: steps(&|row| row.response_p99_ns.map(|ns| ns as f64)), ..new(Quantity::Span) };
    if !response.curves.is_empty() {
        text += &format!("  response p99\n{}", response.text());
    }
    if rows.iter().any(|row| row.held > 0) {
        let held = Drawing { curves: steps(&|row| Some(row.held as f64)), ..new(Quantity::Count) };
        text += &format!("  held\n{}", held.text());
    }
    text
}

/// The rows of a timeline in which the load went on, which was over at `load_end_s`. What is left to drain after it is a part
/// of a second at most: as a second of its own it would look like a collapse.
pub(super) fn of_load(rows: &[TimelineRow], load_end_s: f64) -> &[TimelineRow] {
    match rows {
        [load @ .., last] if f64::from(last.t_s) >= load_end_s && last.due + last.held + last.failed == 0 => load,
        all => all,
    }
}

/// What goes into one plot.
struct Drawing {
    quantity: Quantity,
    /// Each is a line of its own.
    curves: Vec<Vec<(f64, f64)>>,
    /// Values that hold from one instant to another.
    dotted: Vec<((f64, f64), f64)>,
    /// Spans that are marked below the curve.
    marks: Vec<(f64, f64)>,
    /// The same of the generator's pauses.
    pauses: Vec<(f64, f64)>,
    /// The time axis goes at least to here, seconds.
    end: f64,
    color: bool,
    /// Characters of the curve in a line.
    columns: usize,
}

impl Drawing {
    fn new(quantity: Quantity, width: u16) -> Self {
        let columns = usize::from(width).clamp(40, MOST_COLUMNS) - LABELS;
        Self {
            quantity,
            curves: Vec::new(),
            dotted: Vec::new(),
            marks: Vec::new(),
            pauses: Vec::new(),
            end: 0.0,
            color: false,
            columns,
        }
    }

    fn text(&self) -> String {
        let points = self.curves.iter().flatten().filter(|(at, value)| at.is_finite() && value.is_finite());
        let Some(begin) = points.clone().map(|(at, _)| *at).reduce(f64::min) else { return String::new() };
        let end = points.clone().map(|(at, _)| *at).fold(self.end, f64::max);
        let end = if end > begin { end } else { begin + 1.0 };
        let begin = if self.end > 0.0 { 0.0 } else { begin };
        let values = points.map(|(_, value)| *value).chain(self.dotted.iter().map(|(_, value)| *value));
        let most = values.fold(0.0, f64::max);
        let labels = [(0, self.label(most)), (HEIGHT - 1, self.label(0.0))];
        let mut text = String::new();
        for (index, line) in self.frame((begin, end), most).lines().enumerate() {
            let label = labels.iter().find(|(line, _)| *line == index).map_or("", |(_, label)| label);
            text += format!("{label:>width$} │{line}", width = LABELS - 2).trim_end();
            text.push('\n');
        }
        for (spans, mark, color) in [(&self.marks, 'x', AnsiColor::Red), (&self.pauses, 'p', AnsiColor::Yellow)] {
            if !spans.is_empty() {
                text += &self.marked((begin, end), spans, mark, color);
            }
        }
        let (from, to) = (instant(begin), instant(end));
        let gap = self.columns.saturating_sub(from.len());
        text += &format!("{:LABELS$}{from}{to:>gap$}\n", "");
        text
    }

    /// The dots, a line of characters each.
    fn frame(&self, (begin, end): (f64, f64), most: f64) -> String {
        // The last dot of each axis is drawn too: the canvas is one dot larger than asked.
        let (dots_across, dots_down) = (2 * self.columns as u32 - 1, 4 * HEIGHT as u32 - 1);
        let point = |(at, value): &(f64, f64)| (*at as f32, *value as f32);
        let curves: Vec<Vec<_>> = self.curves.iter().map(|curve| curve.iter().map(point).collect()).collect();
        // Every third dot: a dotted line beside a solid one.
        let instants =
            (0..=dots_across).step_by(3).map(|dot| begin + (end - begin) * f64::from(dot) / f64::from(dots_across));
        let dotted: Vec<_> = instants
            .filter_map(|at| {
                let (_, value) = self.dotted.iter().find(|((from, to), _)| (*from..*to).contains(&at))?;
                Some((at as f32, *value as f32))
            })
            .collect();
        let mut shapes = vec![Shape::Points(&dotted)];
        // A line needs two points; one alone is a dot.
        shapes.extend(curves.iter().flat_map(|curve| [Shape::Points(curve), Shape::Lines(curve)]));
        let most = if most > 0.0 { most as f32 } else { 1.0 };
        let mut chart = Chart::new_with_y_range(dots_across, dots_down, begin as f32, end as f32, 0.0, most);
        let chart = shapes.iter().fold(&mut chart, |chart, shape| chart.lineplot(shape));
        chart.figures();
        chart.frame()
    }

    /// A line of marks.
    fn marked(&self, (begin, end): (f64, f64), spans: &[(f64, f64)], mark: char, color: AnsiColor) -> String {
        let instant = |column: usize| begin + (end - begin) * column as f64 / self.columns as f64;
        let is_marked = |column| {
            let (left, right) = (instant(column), instant(column + 1));
            spans.iter().any(|(from, to)| *from < right && *to > left)
        };
        let marks: String = (0..self.columns).map(|column| if is_marked(column) { mark } else { ' ' }).collect();
        let style = Ansi::new().fg_color(Some(color.into()));
        let marks = marks.trim_end();
        let marks = if self.color { format!("{style}{marks}{style:#}") } else { marks.to_owned() };
        format!("{:LABELS$}{marks}\n", "")
    }

    fn label(&self, value: f64) -> String {
        match self.quantity {
            Quantity::Span => span(Some(value as u64)),
            _ if value == 0.0 => "0".to_owned(),
            Quantity::PerS => rate_text(value),
            Quantity::Count => format!("{value:.0}"),
        }
    }
}

/// A time axis' end: whole milliseconds.
fn instant(seconds: f64) -> String {
    DurationText(Duration::from_millis((seconds * 1e3).round() as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(t_s: u32, due: u64, completed: u64, failed: u64) -> TimelineRow {
        TimelineRow {
            t_s,
            due,
            started: due,
            completed,
            failed,
            dropped: 0,
            paused_ns: 0,
            held: 0,
            response_p50_ns: None,
            response_p99_ns: None,
            lateness_p99_ns: None,
        }
    }

    /// Overload from the twelfth second on, a few failures, and recovery.
    fn overload() -> Vec<TimelineRow> {
        let rows = (0..30).map(|t_s| {
            let completed = if (12..20).contains(&t_s) { 1_200 } else { 2_000 };
            let failed = u64::from((14..16).contains(&t_s) || t_s == 25);
            TimelineRow {
                response_p99_ns: (t_s != 20).then_some(if completed < 2_000 { 400_000_000 } else { 1_500_000 }),
                ..row(t_s, 2_000, completed, failed)
            }
        });
        rows.collect()
    }

    #[test]
    fn overload_shows_where_due_and_completed_part() {
        insta::assert_snapshot!(timeline(&overload(), true, false, 80), @r"
        completed per second; dotted: due; x: failures
          2000/s │⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⡏ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⢸⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
                 │                   ⡇           ⢸
                 │                   ⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
                 │
               0 │
                                        xxxx              xx
                  0s                                           30s
        response p99
          400 ms │                   ⡏⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
                 │                   ⡇
                 │                   ⡇
                 │                   ⡇
            0 ns │⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⡇             ⢀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
                  0s                                           30s
        ");
    }

    #[test]
    fn a_closed_loop_has_no_dots_and_held_connections_have_a_curve() {
        let rows: Vec<_> =
            (0..6).map(|t_s| TimelineRow { held: u64::from(t_s) * 100, ..row(t_s, 50, 50, 0) }).collect();
        insta::assert_snapshot!(timeline(&rows, false, false, 40), @r"
        completed per second
            50/s │⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
                 │
                 │
                 │
               0 │
                  0s                        6s
        held
             500 │                       ⡏⠉⠉⠉⠉
                 │                  ⢸⠉⠉⠉⠉⠁
                 │         ⣀⣀⣀⣀⣀⡏⠉⠉⠉⠉
                 │    ⢀⣀⣀⣀⣀⡇
               0 │⣀⣀⣀⣀⣸
                  0s                        6s
        ");
    }

    #[test]
    fn a_closed_loop_that_completes_nothing_and_fails_nothing_has_no_curve_of_it() {
        let rows: Vec<_> = (0..6).map(|t_s| row(t_s, 50, 0, 0)).collect();
        assert_eq!(timeline(&rows, false, false, 80), "");
        let held: Vec<_> = rows.iter().map(|row| TimelineRow { held: 5, ..row.clone() }).collect();
        assert!(timeline(&held, false, false, 80).starts_with("  held\n"));
        let failing: Vec<_> = rows.iter().map(|row| TimelineRow { failed: 1, ..row.clone() }).collect();
        assert!(timeline(&failing, false, false, 80).starts_with("  completed per second; x: failures\n"));
    }

    #[test]
    fn what_drains_after_the_load_is_no_second_of_it() {
        let rows: Vec<_> = (0..6).map(|t_s| row(t_s, if t_s < 5 { 50 } else { 0 }, 50, 0)).collect();
        assert_eq!(of_load(&rows, 5.0).len(), 5);
        assert_eq!(of_load(&rows, 4.5).len(), 5);
        assert_eq!(of_load(&rows, 5.2).len(), 6, "a closed loop goes on until its last attempts are over");
        let mut slow = rows;
        slow[5].failed = 1;
        assert_eq!(of_load(&slow, 5.0).len(), 6);
    }

    #[test]
    fn too_few_rows_are_no_curve() {
        assert_eq!(timeline(&overload()[..4], true, false, 80), "");
        assert_eq!(timeline(&[], true, false, 80), "");
    }

    #[test]
    fn a_wide_row_counts_per_second() {
        let rows: Vec<_> =
            (0..3_600).map(|index| row(index * 4, 400, if index < 1_800 { 400 } else { 100 }, 0)).collect();
        insta::assert_snapshot!(timeline(&rows, true, false, 60), @r"
        completed per second; dotted: due
           100/s │⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⡇⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈
                 │                        ⡇
                 │                        ⡇
                 │                        ⠧⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤
               0 │
                  0s                                            4h
        ");
    }

    #[test]
    fn a_planned_ramp_is_a_slope() {
        let ramp = [(0.0, 0.0), (10.0, 20_000.0), (60.0, 20_000.0), (60.0, 5_000.0), (70.5, 5_000.0)];
        insta::assert_snapshot!(curve(&ramp, Quantity::PerS, 80), @r"
        20000/s │     ⡠⠊⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⢹
                │    ⡔⠁                                  ⢸
                │  ⢀⠎                                    ⢸
                │ ⡠⠃                                     ⠸⠤⠤⠤⠤⠤⠤⠤
              0 │⡔⠁
                 0s                                       1m10.5s
        ");
    }

    #[test]
    fn what_is_hardly_a_curve_is_drawn_all_the_same() {
        assert_eq!(curve(&[], Quantity::PerS, 80), "");
        assert_eq!(curve(&[(f64::NAN, 1.0)], Quantity::PerS, 80), "");
        for points in [vec![(3.0, 7.0)], vec![(0.0, 0.0), (0.0, 0.0)], vec![(0.0, f64::INFINITY), (1.0, 2.0)]] {
            assert_eq!(curve(&points, Quantity::Count, 0).lines().count(), HEIGHT + 1, "{points:?}");
        }
    }

    #[test]
    fn plots_keep_to_their_width_and_colour_changes_nothing_else() {
        let marked = timeline(&overload(), true, true, 50);
        let plain = timeline(&overload(), true, false, 50);
        assert!(plain.lines().all(|line| line.chars().count() <= 50), "{plain}");
        assert_eq!(marked.replace("\u{1b}[31m", "").replace("\u{1b}[0m", ""), plain);
        assert_ne!(marked, plain);
    }
}
