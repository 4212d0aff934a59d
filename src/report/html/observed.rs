//! What was observed of the target's machine, over time.

use maud::{Markup, html};

use super::elements::{facts, figure};
use crate::observe::{Observed, ObservedKind, ObservedSample, TcpInfo};
use crate::report::chart::{Axis, Chart, Form, Ink, Series};
use crate::report::observed::lines_of;

/// Sentences about all that was observed, and charts of each; `load` is the time that they are about (from and to,
/// seconds).
pub(super) fn content(observed: &[Observed], tcp: Option<&TcpInfo>, load: (f64, f64)) -> Markup {
    html! {
        (facts(&lines_of(observed, tcp, load)))
        @for observed in observed {
            (figure(&format!("CPU of {}", observed.name), "100 % is one core.", &cpu(observed, load.1)))
            (figure(
                &format!("Accept queue of {}", observed.name),
                "Connections that wait to be accepted, and what was dropped before it could.",
                &queue(observed, load.1),
            ))
        }
    }
}

fn cpu(observed: &Observed, end: f64) -> Chart {
    let share = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
    let all = match observed.kind {
        ObservedKind::Process => "all threads",
        ObservedKind::Host => "all cores",
    };
    let series = vec![
        Series::new(
            "busiest thread",
            Ink::Orange,
            Form::Line,
            lines(observed, |row| share(row.busiest_thread_percent)),
        ),
        Series::new("busiest core", Ink::Orange, Form::Line, lines(observed, |row| share(row.busiest_cpu_percent))),
        Series::new(all, Ink::Blue, Form::Area, lines(observed, |row| share(row.cpu_percent))),
    ];
    chart(Axis::Share, series, end)
}

/// Nothing while nothing waits and nothing is dropped.
fn queue(observed: &Observed, end: f64) -> Chart {
    let count = |count: Option<u64>| count.map(|count| count as f64);
    let mut series = vec![
        Series::new("dropped by its sockets", Ink::Red, Form::Line, lines(observed, |row| count(row.socket_drops))),
        Series::new("ListenOverflows", Ink::Purple, Form::Thin, lines(observed, |row| count(row.listen_overflows))),
        Series::new("ListenDrops", Ink::Pink, Form::Thin, lines(observed, |row| count(row.listen_drops))),
        Series::new("waiting", Ink::Green, Form::Area, lines(observed, |row| count(row.listen_queue))),
    ];
    series.retain(|series| series.runs.iter().flatten().any(|(_, count)| *count > 0.0));
    chart(Axis::Count, series, end)
}

fn chart(y: Axis, mut series: Vec<Series>, end: f64) -> Chart {
    series.retain(|series| !series.runs.is_empty());
    Chart { extent: Some((0.0, end)), ..Chart::new(Axis::Time, y, series) }
}

/// A value for each reading, which holds for the time since the one before; a reading without one is a gap.
fn lines(observed: &Observed, value: impl Fn(&ObservedSample) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for sample in &observed.samples {
        match (value(sample), runs.last_mut()) {
            (Some(value), Some(run)) => {
                run.extend([((sample.t_s - sample.span_s).max(0.0), value), (sample.t_s, value)])
            }
            (_, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}
