//! Charts of the HTML report, drawn by `plotters` as SVG that stands in the page.
//!
//! A chart is drawn twice: wide for desks and paper, narrow for phones, and the page's style sheet shows one of them; a
//! single drawing scaled down would have labels that nobody can read. Colours are those of the light page; the style
//! sheet overrides them by attribute (`[stroke="#2563EB"]`) for the dark one. Only numbers go into the drawing: names,
//! which others may have chosen, stand in the legend, which the page writes and escapes.

use std::time::Duration;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::quantity::{share, span};
use crate::base::{DurationText, rate_text};

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub x: Axis,
    pub y: Axis,
    /// In the order of the legend; the first is drawn over the others.
    pub series: Vec<Series>,
    /// Spans of x that are shaded.
    pub bands: Vec<(f64, f64)>,
    /// Vertical lines.
    pub marks: Vec<(f64, Ink)>,
    /// Horizontal lines.
    pub levels: Vec<(f64, Ink)>,
    /// What x reaches over at least: charts of one run have one time axis.
    pub extent: Option<(f64, f64)>,
    /// What bands, marks and levels are, for the legend.
    pub notes: Vec<(Ink, String)>,
}

/// One line, or one set of dots, and its entry in the legend.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub name: String,
    pub ink: Ink,
    pub form: Form,
    /// Lines with gaps between them.
    pub runs: Vec<Vec<(f64, f64)>>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Line,
    Thin,
    Dashed,
    /// A line and the area below it.
    Area,
    Dots,
    Rings,
}

/// A colour with a name in the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Blue,
    Orange,
    Green,
    Red,
    Purple,
    Cyan,
    Pink,
    Olive,
    /// Labels and plain marks.
    Text,
    /// Axes and grid.
    Grid,
    /// Shaded spans.
    Band,
}

/// What an axis measures, and so how it is divided and labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Axis {
    /// Seconds since the beginning.
    Time,
    /// Events per second, from zero.
    PerS,
    /// Events per second, around those that there are.
    PerSAround,
    /// Things, from zero.
    Count,
    /// A share, 1 is all, from zero.
    Share,
    /// Nanoseconds, from zero.
    Span,
    /// Nanoseconds, logarithmic.
    LogSpan,
    /// A quantile (0 to 1), so that each nine has the same width.
    Nines,
}

/// The size of a drawing in pixels.
struct Size {
    class: &'static str,
    width: u32,
    height: u32,
    /// Most labels along each axis.
    labels: (usize, usize),
}

const SIZES: [Size; 2] = [
    Size { class: "wide", width: 860, height: 260, labels: (11, 6) },
    Size { class: "narrow", width: 360, height: 230, labels: (5, 5) },
];

/// Plotters places in whole units: two of them to a pixel are fine enough for curves.
const UNITS: u32 = 2;
/// Characters of a usual label: `100 ms`.
const USUAL_LABEL: usize = 6;
/// Height of the labels, pixels.
const FONT_PX: u32 = 12;

impl Series {
    pub(super) fn new(name: impl Into<String>, ink: Ink, form: Form, runs: Vec<Vec<(f64, f64)>>) -> Self {
        Self { name: name.into(), ink, form, runs }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.runs.iter().flatten().copied()
    }
}

impl Chart {
    pub(super) fn new(x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { x, y, series, bands: Vec::new(), marks: Vec::new(), levels: Vec::new(), extent: None, notes: Vec::new() }
    }

    /// The drawings, one after the other: elements `svg`, `class="wide"` and `class="narrow"`. Empty without points.
    pub(super) fn svg(&self) -> String {
        let chart = self.finite();
        if chart.series.iter().all(|series| series.points().next().is_none()) {
            return String::new();
        }
        SIZES.iter().map(|size| chart.drawn(size)).collect()
    }

    /// Without what has no place: a file may hold any number.
    fn finite(&self) -> Self {
        let has_place = |(x, y): &(f64, f64)| self.x.place(*x).is_some() && self.y.place(*y).is_some();
        let mut chart = self.clone();
        for series in &mut chart.series {
            series.runs.iter_mut().for_each(|run| run.retain(has_place));
            series.runs.retain(|run| !run.is_empty());
        }
        chart.marks.retain(|(x, _)| self.x.place(*x).is_some());
        chart.levels.retain(|(y, _)| self.y.place(*y).is_some());
        chart.extent = chart.extent.filter(|(from, to)| self.x.place(*from).is_some() && self.x.place(*to).is_some());
        chart.bands.retain(|(from, to)| self.x.place(*from).is_some() && self.x.place(*to).is_some());
        chart
    }

    fn drawn(&self, size: &Size) -> String {
        let mut text = String::new();
        {
            let backend = SVGBackend::with_string(&mut text, (size.width * UNITS, size.height * UNITS));
            let root = backend.into_drawing_area();
            self.draw(&root, size).expect("a String takes every drawing");
            root.present().expect("a String takes every drawing");
        }
        let (width, height) = (size.width * UNITS, size.height * UNITS);
        let own = format!(r#"<svg width="{width}" height="{height}" "#);
        text.replacen(&own, &format!(r#"<svg class="{}" "#, size.class), 1)
    }

    fn draw<DB: DrawingBackend>(
        &self,
        root: &DrawingArea<DB, plotters::coord::Shift>,
        size: &Size,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let points = || self.series.iter().flat_map(Series::points);
        let spans = self.bands.iter().chain(&self.extent);
        let x_values = points().map(|(x, _)| x).chain(spans.flat_map(|(from, to)| [*from, *to]));
        let y_values = points().map(|(_, y)| y).chain(self.levels.iter().map(|(y, _)| *y));
        let x = Scale::new(self.x, x_values.chain(self.marks.iter().map(|(x, _)| *x)), size.labels.0);
        let y = Scale::new(self.y, y_values, size.labels.1);
        let (x_place, y_place) = (|value: f64| self.x.place(value), |value: f64| self.y.place(value));
        let place = |(x, y): (f64, f64)| Some((x_place(x)?, y_place(y)?));
        let (left, right) = (x.low, x.high);
        let (bottom, top) = (y.low, y.high);

        // Usual labels take the same room, so that the axes of several charts lie below each other.
        let longest = y.ticks.iter().map(|tick| y.label(*tick).chars().count()).fold(USUAL_LABEL, usize::max) as u32;
        let font = ("sans-serif", FONT_PX * UNITS * 124 / 100).into_font();
        let ink = Ink::Text.color();
        let label = |h, v| TextStyle::from(font.clone()).color(&ink).pos(Pos::new(h, v));
        let mut chart = ChartBuilder::on(root)
            .margin_top(8 * UNITS)
            .margin_right(18 * UNITS)
            .x_label_area_size(22 * UNITS)
            .y_label_area_size((longest * FONT_PX * 58 / 100 + 10) * UNITS)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .axis_style(Ink::Grid.color())
            .bold_line_style(Ink::Grid.color())
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|place| x.label(*place))
            .y_label_formatter(&|place| y.label(*place))
            .x_label_style(label(HPos::Center, VPos::Top))
            .y_label_style(label(HPos::Right, VPos::Center))
            .draw()?;
        for (from, to) in self.bands.iter().filter_map(|(from, to)| Some((x_place(*from)?, x_place(*to)?))) {
            chart.draw_series([Rectangle::new([(from, bottom), (to, top)], Ink::Band.color().mix(0.6).filled())])?;
        }
        let thin = |ink: Ink| ink.color().stroke_width(UNITS);
        for (at, ink) in self.marks.iter().filter_map(|(at, ink)| Some((x_place(*at)?, *ink))) {
            chart.draw_series(DashedLineSeries::new([(at, bottom), (at, top)], 8, 6, thin(ink)))?;
        }
        for (at, ink) in self.levels.iter().filter_map(|(at, ink)| Some((y_place(*at)?, *ink))) {
            chart.draw_series(DashedLineSeries::new([(left, at), (right, at)], 8, 6, thin(ink)))?;
        }
        for series in self.series.iter().rev() {
            for run in &series.runs {
                draw_run(&mut chart, series, run.iter().filter_map(|point| place(*point)).collect())?;
            }
        }
        Ok(())
    }
}

/// Draws points of `series` without a gap between them.
fn draw_run<DB: DrawingBackend>(
    chart: &mut ChartContext<'_, DB, Cartesian2d<Scale, Scale>>,
    series: &Series,
    run: Vec<(f64, f64)>,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let color = series.ink.color();
    let line = color.stroke_width(if series.form == Form::Thin { 3 * UNITS / 2 } else { 2 * UNITS + 1 });
    let ring = color.stroke_width(2 * UNITS);
    match (series.form, run.as_slice()) {
        (Form::Dots, points) => {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4 * UNITS, color.filled())))?;
        }
        (Form::Rings, points) => {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4 * UNITS, ring)))?;
        }
        // A line needs two points.
        (_, [alone]) => {
            chart.draw_series([Circle::new(*alone, 2 * UNITS, color.filled())])?;
        }
        (Form::Dashed, _) => {
            chart.draw_series(DashedLineSeries::new(run, 10, 8, line))?;
        }
        (Form::Area, points) => {
            let bottom = chart.y_range().start;
            chart.draw_series(AreaSeries::new(points.iter().copied(), bottom, color.mix(0.18)))?;
            chart.draw_series(LineSeries::new(run, line))?;
        }
        (Form::Line | Form::Thin, _) => {
            chart.draw_series(LineSeries::new(run, line))?;
        }
    }
    Ok(())
}

impl Ink {
    /// The colours that tell series apart, in the order of their use.
    pub(super) const SERIES: [Self; 8] =
        [Self::Blue, Self::Orange, Self::Green, Self::Purple, Self::Cyan, Self::Pink, Self::Olive, Self::Red];

    /// Its class in the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Orange => "orange",
            Self::Green => "green",
            Self::Red => "red",
            Self::Purple => "purple",
            Self::Cyan => "cyan",
            Self::Pink => "pink",
            Self::Olive => "olive",
            Self::Text => "text",
            Self::Grid => "grid",
            Self::Band => "band",
        }
    }

    /// On the light page; the style sheet finds it by this value.
    const fn color(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x25, 0x63, 0xEB),
            Self::Orange => RGBColor(0xD9, 0x77, 0x06),
            Self::Green => RGBColor(0x05, 0x96, 0x69),
            Self::Red => RGBColor(0xDC, 0x26, 0x26),
            Self::Purple => RGBColor(0x7C, 0x3A, 0xED),
            Self::Cyan => RGBColor(0x08, 0x91, 0xB2),
            Self::Pink => RGBColor(0xDB, 0x27, 0x77),
            Self::Olive => RGBColor(0x65, 0xA3, 0x0D),
            Self::Text => RGBColor(0x57, 0x60, 0x6A),
            Self::Grid => RGBColor(0xD8, 0xDE, 0xE4),
            Self::Band => RGBColor(0xEA, 0xEE, 0xF2),
        }
    }
}

impl Axis {
    /// Where a value lies; none if it has no place on the axis.
    fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::LogSpan => value.max(1.0).log10(),
            Self::Nines => -(1.0 - value).log10(),
            _ => value,
        };
        // Farther out, an axis could not be divided any more.
        (value.is_finite() && place.is_finite() && place.abs() < 1e18).then_some(place)
    }

    fn begins_at_zero(self) -> bool {
        matches!(self, Self::Time | Self::PerS | Self::Count | Self::Share | Self::Span | Self::Nines)
    }

    /// What a place on the axis is called.
    fn label(self, place: f64) -> String {
        match self {
            Self::Time => DurationText(Duration::from_millis((place.max(0.0) * 1e3).round() as u64)).to_string(),
            Self::PerS | Self::PerSAround | Self::Count if place >= 1e6 => format!("{}M", short(place / 1e6)),
            Self::PerS | Self::PerSAround | Self::Count if place >= 1e4 => format!("{}k", short(place / 1e3)),
            Self::PerS | Self::PerSAround | Self::Count => short(place),
            Self::Share => format!("{} %", short(place * 100.0)),
            Self::Span if place == 0.0 => "0".to_owned(),
            Self::Span => short_span(place),
            Self::LogSpan => short_span(10_f64.powf(place)),
            Self::Nines if place < 0.5 => "50 %".to_owned(),
            Self::Nines => {
                let nines = place.round() as usize;
                format!("{:.*} %", nines.saturating_sub(2), 100.0 - 100.0 * 10_f64.powi(-(nines as i32)))
            }
        }
    }

    /// A value in the words of the tables.
    pub(super) fn value(self, value: f64) -> String {
        match self {
            Self::PerS | Self::PerSAround => rate_text(value),
            Self::Share => share(value),
            Self::Span | Self::LogSpan => span(Some(value as u64)),
            _ => self.label(value),
        }
    }
}

/// A number without zeros that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A round span: 1 us, 20 ms, 5 s.
fn short_span(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 999.5 => (ns, "ns"),
        ns if ns < 999.5e3 => (ns / 1e3, "us"),
        ns if ns < 999.5e6 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", short((value * 1e3).round() / 1e3))
}

/// An axis with its ends and divisions, in places.
#[derive(Clone, Debug)]
struct Scale {
    axis: Axis,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    /// An axis with room for all of `values` and about `most` labels.
    fn new(axis: Axis, values: impl Iterator<Item = f64>, most: usize) -> Self {
        let places = values.filter_map(|value| axis.place(value));
        let (least, largest) =
            places.fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)));
        let low = if axis.begins_at_zero() { least.min(0.0) } else { least };
        // One value alone has an axis of some length all the same.
        let least_length = if axis == Axis::Share { 0.01 } else { 1.0 };
        let (low, high) = if largest > low { (low, largest) } else { (low, low + least_length) };
        match axis {
            Axis::Time => Self::divided(axis, low, high, time_step(high - low, most), false),
            Axis::LogSpan => Self::decades(low, high, most),
            Axis::Nines => {
                let high = high.max(1.0);
                let nines = (1..=high as u32).map(f64::from);
                Self { axis, low: 0.0, high, ticks: axis.place(0.5).into_iter().chain(nines).collect() }
            }
            Axis::Count => Self::divided(axis, low, high, round_step(high - low, most).max(1.0), true),
            _ => Self::divided(axis, low, high, round_step(high - low, most), true),
        }
    }

    /// Labels at multiples of `step`; `whole`: both ends are multiples too.
    fn divided(axis: Axis, low: f64, high: f64, step: f64, whole: bool) -> Self {
        let first = (low / step).floor();
        let last = (high / step).ceil();
        let (low, high) = if whole { (first * step, last * step) } else { (low, high) };
        let count = (last - first) as usize;
        let ticks = (0..=count).map(|index| (first + index as f64) * step);
        let ticks = ticks.filter(|tick| (low..=high + step * 1e-9).contains(tick)).collect();
        Self { axis, low, high, ticks }
    }

    /// Labels at 1, 2 and 5 of each power of ten, or at the powers, as there is room for.
    fn decades(low: f64, high: f64, most: usize) -> Self {
        let fine = |range: (f64, f64)| {
            let powers = range.0.floor() as i32..=range.1.ceil() as i32;
            let ticks = powers.flat_map(|power| [1.0_f64, 2.0, 5.0].map(|digit| f64::from(power) + digit.log10()));
            ticks.collect::<Vec<_>>()
        };
        let all = fine((low, high));
        // The ends are the nearest of those places outside.
        let begin = all.iter().copied().filter(|tick| *tick <= low + 1e-9).fold(low.floor(), f64::max);
        let end = all.iter().copied().filter(|tick| *tick >= high - 1e-9).fold(high.ceil(), f64::min);
        let (begin, end) = if end > begin { (begin, end) } else { (begin, begin + 1.0) };
        let within = |tick: &f64| (begin - 1e-9..=end + 1e-9).contains(tick);
        let mut ticks: Vec<_> = all.into_iter().filter(within).collect();
        if ticks.len() > most + 1 {
            let step = ((end - begin) / most as f64).ceil().max(1.0) as usize;
            ticks = (begin.ceil() as i32..=end.floor() as i32).step_by(step).map(f64::from).collect();
        }
        Self { axis: Axis::LogSpan, low: begin, high: end, ticks }
    }

    fn label(&self, place: f64) -> String {
        self.axis.label(place)
    }
}

/// 1, 2 or 5 times a power of ten: at most `most` of them in `length`.
fn round_step(length: f64, most: usize) -> f64 {
    let least = length / most as f64;
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// The same for seconds, minutes, hours and days.
fn time_step(seconds: f64, most: usize) -> f64 {
    const STEPS: [f64; 20] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
        21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
    ];
    let least = seconds / most as f64;
    if least < 1.0 {
        return round_step(seconds, most);
    }
    STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| round_step(seconds, most))
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        // What lies far outside is cut off just outside.
        let part = ((place - self.low) / (self.high - self.low)).clamp(-1.0, 2.0);
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, values: &[f64], most: usize) -> Vec<String> {
        let scale = Scale::new(axis, values.iter().copied(), most);
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    fn line(y: Axis, points: &[(f64, f64)]) -> Chart {
        Chart::new(Axis::Time, y, vec![Series::new("a", Ink::Blue, Form::Line, vec![points.to_vec()])])
    }

    #[test]
    fn axes_have_round_labels() {
        assert_eq!(labels(Axis::PerS, &[3_000.0, 2_900.0], 6), ["0", "500", "1000", "1500", "2000", "2500", "3000"]);
        assert_eq!(labels(Axis::PerSAround, &[15_120.0, 15_300.0], 5), ["15.1k", "15.15k", "15.2k", "15.25k", "15.3k"]);
        assert_eq!(labels(Axis::Share, &[0.0, 0.82], 6), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        assert_eq!(labels(Axis::Share, &[0.0], 5), ["0 %", "0.2 %", "0.4 %", "0.6 %", "0.8 %", "1 %"]);
        assert_eq!(labels(Axis::Count, &[0.0, 2.0], 6), ["0", "1", "2"]);
        assert_eq!(labels(Axis::Time, &[0.0, 75.5], 5), ["0s", "30s", "1m"]);
        assert_eq!(labels(Axis::Span, &[0.6e6], 4), ["0", "200 us", "400 us", "600 us"]);
        assert_eq!(labels(Axis::LogSpan, &[21e6, 190e6], 6), ["20 ms", "50 ms", "100 ms", "200 ms"]);
        assert_eq!(labels(Axis::LogSpan, &[30.0, 7e9], 6), ["100 ns", "10 us", "1 ms", "100 ms", "10 s"]);
        assert_eq!(labels(Axis::Nines, &[0.0, 0.999_6], 6), ["50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn one_drawing_is_wide_and_one_narrow() {
        let svg = line(Axis::PerS, &[(0.0, 5.0), (10.0, 7.0)]).svg();
        assert_eq!(svg.matches("<svg class=\"wide\" viewBox=\"0 0 1720 520\"").count(), 1, "{svg}");
        assert_eq!(svg.matches("<svg class=\"narrow\" viewBox=\"0 0 720 460\"").count(), 1, "{svg}");
        assert_eq!(svg.matches("</svg>").count(), 2);
    }

    #[test]
    fn names_are_not_in_the_drawing() {
        let mut chart = line(Axis::PerS, &[(0.0, 5.0), (10.0, 7.0)]);
        chart.series[0].name = "<script>".to_owned();
        chart.notes.push((Ink::Pink, "<script>".to_owned()));
        assert!(!chart.svg().contains("script"));
    }

    #[test]
    fn every_colour_has_its_place_in_the_style_sheet() {
        let style = include_str!("html/style.css");
        for ink in Ink::SERIES.into_iter().chain([Ink::Text]) {
            let RGBColor(r, g, b) = ink.color();
            for attribute in ["stroke", "fill"] {
                let rule = format!("[{attribute}=\"#{r:02X}{g:02X}{b:02X}\"]");
                assert!(style.contains(&rule), "{rule}");
            }
            assert!(style.contains(&format!(".swatch.{} ", ink.class())), "{ink:?}");
        }
        let svg = line(Axis::PerS, &[(0.0, 5.0), (10.0, 7.0)]).svg();
        assert!(svg.contains("stroke=\"#2563EB\"") && svg.contains("stroke=\"#D8DEE4\""), "{svg}");
    }

    #[test]
    fn numbers_that_no_run_has_are_left_out() {
        let wild = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 0.0, -1.0, 1.8e19];
        for axis in [Axis::Time, Axis::PerS, Axis::PerSAround, Axis::Count, Axis::Share, Axis::Span, Axis::LogSpan] {
            for y in wild {
                let mut chart = line(axis, &[(y, y), (1.0, y), (2.0, 1.0)]);
                chart.marks.push((y, Ink::Red));
                chart.levels.push((y, Ink::Red));
                chart.bands.push((y, 1.0));
                chart.extent = Some((0.0, y));
                let svg = chart.svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{axis:?} {y}");
                chart.x = Axis::Nines;
                chart.svg();
            }
        }
        assert_eq!(line(Axis::PerS, &[]).svg(), "");
        assert_eq!(line(Axis::PerS, &[(f64::NAN, 1.0)]).svg(), "");
    }
}
