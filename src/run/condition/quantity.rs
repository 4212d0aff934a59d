//! What a condition measures and compares, and how it is written.

use std::fmt;

use super::{Condition, Subject, Unit};
use crate::base::{DurationText, Nanos, Rate, redact_url};
use crate::measure::{IntervalCounts, LatencyHistogram, LatencySummary, Metric, Quantile, SparseCounts};

/// The longest window, and the longest `for` of a condition that ends a run: their seconds are kept in memory.
const LONGEST_WINDOW_S: u32 = 3_600;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::run) enum Quantity {
    Latency(Metric, Statistic),
    /// Of the attempts due. A held connection that the server took back in words counts as failed.
    Failed,
    /// Lost while held, of the connections held.
    Lost,
    /// Publishers that could not send, of those held.
    Stalled,
    /// Bytes of media that never left, of those due.
    Unsent,
    Dropped,
    Downgraded,
    Rate,
    /// The longest stretch of whole seconds without a completion.
    Outage,
}

/// A number of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::run) enum Statistic {
    Min,
    Mean,
    Quantile(Quantile),
    Max,
}

/// How a value stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Quantity {
    pub(in crate::run) fn unit(self) -> Unit {
        match self {
            Self::Latency(..) | Self::Outage => Unit::Ns,
            Self::Failed | Self::Lost | Self::Stalled | Self::Unsent | Self::Dropped | Self::Downgraded => Unit::Ratio,
            Self::Rate => Unit::PerS,
        }
    }

    /// The value over `seconds` seconds with these counts and response times, and so many connections `held_before` them, or
    /// `None` if they cannot tell. A share is of what was due in them, at most all: an attempt may fail in a later second than
    /// it was due in. What is lost is a share of all that was held in them, for a part of them or all the time.
    pub(in crate::run) fn over(
        self,
        seconds: u32,
        counts: &IntervalCounts,
        held_before: u64,
        response: &SparseCounts,
    ) -> Option<f64> {
        let share_of = |count: u64, of: u64| (of > 0).then(|| count as f64 / of as f64);
        let share = |count: u64| share_of(count, counts.due.max(count));
        match self {
            // What is taken back was due earlier: with it, it is a share of what was held already, too.
            Self::Failed if counts.taken_back > 0 => {
                let failed = counts.failed + counts.taken_back;
                let of_all = share_of(failed, (counts.due + held_before).max(failed))?;
                Some(share(counts.failed).unwrap_or(0.0).max(of_all))
            }
            Self::Failed => share(counts.failed),
            Self::Lost => share_of(counts.lost, held_before + counts.kept),
            Self::Dropped => share(counts.dropped),
            Self::Rate => Some(counts.completed as f64 / f64::from(seconds)),
            Self::Latency(Metric::Response, statistic) => statistic.of_counts(response).map(|value| value as f64),
            Self::Latency(..) | Self::Stalled | Self::Unsent | Self::Downgraded | Self::Outage => None,
        }
    }

    /// What `value`, measured over `seconds` seconds, may have been without what was the generator's own: its workers did not
    /// run for `paused`, and delayed responses by `lateness`.
    pub(in crate::run) fn at_best(self, value: f64, seconds: f64, paused: Nanos, lateness: &SparseCounts) -> f64 {
        let share = (paused.as_secs_f64() / seconds).clamp(0.0, 1.0);
        match self {
            Self::Latency(Metric::Response, statistic) => {
                value - statistic.of_counts(lateness).map_or(0.0, |lateness| lateness as f64)
            }
            // Of what was due in a pause, and of what was to end in it.
            Self::Failed | Self::Dropped => value - share,
            // Whoever stood still all the time has seen nothing.
            Self::Rate if share >= 1.0 => f64::INFINITY,
            Self::Rate => value / (1.0 - share),
            // No server gives a connection up that is silent for less.
            Self::Lost if paused >= Nanos::from_secs(1) => 0.0,
            Self::Latency(..) | Self::Lost | Self::Stalled | Self::Unsent | Self::Downgraded | Self::Outage => value,
        }
    }

    /// The limit, or how it should be written.
    fn parse_limit(self, text: &str) -> Result<f64, String> {
        match self {
            Self::Outage => {
                let duration: DurationText = text
                    .parse()
                    .map_err(|_| format!("has the value '{text}': an outage is written with a unit, as 10s or 2m"))?;
                let limit = Nanos::from(duration.0);
                if limit < Nanos::from_secs(1) {
                    return Err("is too fine: outages are told apart in whole seconds, write 1s or more".to_owned());
                }
                Ok(limit.as_u64() as f64)
            }
            Self::Latency(..) => {
                let duration: DurationText = text
                    .parse()
                    .map_err(|_| format!("has the value '{text}': a latency needs a unit, as 50ms or 1.5s"))?;
                let limit = Nanos::from(duration.0);
                if limit > LatencyHistogram::LONGEST {
                    return Err("is beyond what is measured: latencies are told apart up to 60s".to_owned());
                }
                Ok(limit.as_u64() as f64)
            }
            Self::Failed | Self::Lost | Self::Stalled | Self::Unsent | Self::Dropped | Self::Downgraded => {
                let percent = text.strip_suffix('%').or((text == "0").then_some(text)).map(str::trim);
                percent
                    .and_then(|number| number.parse().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(|percent: f64| percent / 100.0)
                    .ok_or_else(|| {
                        let of = match self {
                            Self::Lost => "held connections",
                            Self::Stalled => "held publishers",
                            Self::Unsent => "due media",
                            _ => "due attempts",
                        };
                        format!("has the value '{text}': a share of the {of} is written as 1% or 0.05%")
                    })
            }
            Self::Rate => {
                let rate: Rate =
                    text.parse().map_err(|_| format!("has the value '{text}': a rate is written as 20k/s"))?;
                Ok(rate.as_per_second())
            }
        }
    }
}

impl Statistic {
    pub(in crate::run) fn of(self, summary: &LatencySummary) -> Result<u64, String> {
        let value = match self {
            Self::Min => summary.min_ns,
            Self::Mean => summary.mean_ns,
            Self::Max => summary.max_ns,
            Self::Quantile(quantile) => {
                summary.at(quantile).map_err(|error| error.to_string())?.map(|value| value.as_u64())
            }
        };
        value.ok_or_else(|| match self {
            Self::Quantile(quantile) if summary.count > 0 => {
                format!("{quantile} needs 10 samples above it, and {} attempts completed", summary.count)
            }
            _ => "no attempt completed".to_owned(),
        })
    }

    fn of_counts(self, counts: &SparseCounts) -> Option<u64> {
        match self {
            Self::Min => counts.min(),
            Self::Mean => counts.mean(),
            Self::Max => counts.max(),
            Self::Quantile(quantile) => counts.at(quantile),
        }
    }
}

impl Comparison {
    pub(super) fn holds(self, actual: f64, limit: f64) -> bool {
        match self {
            Self::Less => actual < limit,
            Self::LessOrEqual => actual <= limit,
            Self::Greater => actual > limit,
            Self::GreaterOrEqual => actual >= limit,
        }
    }

    /// Smaller values are better.
    pub(in crate::run) fn is_upper(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min"),
            Self::Mean => f.write_str("mean"),
            Self::Max => f.write_str("max"),
            Self::Quantile(quantile) => quantile.fmt(f),
        }
    }
}

/// `[SCOPE.]METRIC OP VALUE [WORD SECONDS]`, or what is wrong with it, to stand after the text itself; `example` shows
/// how one is written.
pub(in crate::run) fn parse_condition(
    expression: &str,
    word: &str,
    example: &str,
) -> Result<(Subject, Condition, Option<u32>), String> {
    let Some(at) = expression.find(['<', '>']) else {
        return Err(format!("has no comparison: write for example '{example}' with < <= > or >="));
    };
    let (subject, rest) = expression.split_at(at);
    let (comparison, rest) = if let Some(rest) = rest.strip_prefix("<=") {
        (Comparison::LessOrEqual, rest)
    } else if let Some(rest) = rest.strip_prefix(">=") {
        (Comparison::GreaterOrEqual, rest)
    } else if let Some(rest) = rest.strip_prefix('<') {
        (Comparison::Less, rest)
    } else {
        (Comparison::Greater, &rest[1..])
    };
    let (subject, quantity) = parse_subject(subject.trim())?;
    let (value, seconds) = match rest.split_once(&format!(" {word} ")) {
        Some((value, seconds)) => (value, Some(parse_seconds(seconds.trim(), word)?)),
        None => (rest, None),
    };
    let limit = quantity.parse_limit(value.trim())?;
    Ok((subject, Condition { quantity, comparison, limit }, seconds))
}

/// A condition whose scope may name a target by its URL, as it may be shown: without the stream and what else gives
/// access. `name_of` knows what a target is called in the plan.
pub fn redact_condition(expression: &str, name_of: impl Fn(&str) -> Option<String>) -> String {
    let shown = |scope: &str| match scope.trim().strip_prefix(Subject::TARGET) {
        Some(name) => format!("{}{}", Subject::TARGET, name_of(name).unwrap_or_else(|| redact_url(name))),
        None if scope.contains("://") => redact_url(scope),
        None => scope.to_owned(),
    };
    // A stream may be called anything: the last comparison behind a metric is the condition's.
    for (at, _) in expression.match_indices(['<', '>']).rev() {
        let metric = quantities(expression[..at].trim_end()).find(|(_, quantity)| quantity.is_ok());
        if let Some((metric_at, _)) = metric {
            let (scope, rest) = expression.split_at(metric_at);
            return match scope.strip_suffix('.') {
                Some(scope) => format!("{}.{rest}", shown(scope)),
                None => rest.to_owned(),
            };
        }
    }
    // Not one: what may be a key goes, a value stays for the error that says what is missing.
    let value = expression.rfind(['<', '>']).map(|at| &expression[at..]);
    let value =
        value.filter(|text| text[1..].trim_start_matches('=').trim_start().starts_with(|c: char| c.is_ascii_digit()));
    let (scope, value) = value.map_or((expression, ""), |value| (&expression[..expression.len() - value.len()], value));
    format!("{}{value}", shown(scope))
}

fn parse_seconds(text: &str, word: &str) -> Result<u32, String> {
    let duration: DurationText =
        text.parse().map_err(|_| format!("has '{text}' after '{word}': write a time with its unit, as 30s or 1m"))?;
    let (seconds, rest) = (duration.0.as_secs(), duration.0.subsec_nanos());
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| rest == 0 && (1..=LONGEST_WINDOW_S).contains(seconds))
        .ok_or_else(|| format!("has '{text}' after '{word}': give whole seconds, from 1s to 1h"))
}

/// What the ends of the text behind its points are, the longest first, and where each begins.
fn quantities(text: &str) -> impl Iterator<Item = (usize, Result<Quantity, QuantityError>)> + '_ {
    let beginnings = std::iter::once(0).chain(text.match_indices('.').map(|(at, _)| at + 1));
    beginnings.map(|at| (at, parse_quantity(&text[at..])))
}

/// Scope and quantity: the metric is the longest end of the text that is one.
fn parse_subject(text: &str) -> Result<(Subject, Quantity), String> {
    let mut unknown = QuantityError::UnknownMetric;
    for (at, quantity) in quantities(text) {
        match quantity {
            Ok(quantity) => return Ok((Subject::parse(text[..at].trim_end_matches('.'))?, quantity)),
            Err(error @ QuantityError::UnknownStatistic) => unknown = error,
            Err(QuantityError::UnknownMetric) => {}
        }
    }
    Err(match unknown {
        QuantityError::UnknownMetric => {
            let latencies = metrics().map(|metric| metric.to_string()).collect::<Vec<_>>().join(", ");
            format!(
                "names no metric: there is failed, lost, stalled, unsent, dropped, downgraded, rate, outage, and with a statistic {latencies}"
            )
        }
        QuantityError::UnknownStatistic => {
            "has no such statistic: there is min, mean, p50 to p99.99 and max, as in response.p99".to_owned()
        }
    })
}

#[derive(Clone, Copy, Debug)]
enum QuantityError {
    UnknownMetric,
    UnknownStatistic,
}

/// What conditions can be on: how long the generator stood still says nothing of a target.
fn metrics() -> impl Iterator<Item = Metric> {
    Metric::ALL.into_iter().filter(|metric| *metric != Metric::Paused)
}

fn parse_quantity(text: &str) -> Result<Quantity, QuantityError> {
    match text {
        "failed" => return Ok(Quantity::Failed),
        "lost" => return Ok(Quantity::Lost),
        "stalled" => return Ok(Quantity::Stalled),
        "unsent" => return Ok(Quantity::Unsent),
        "dropped" => return Ok(Quantity::Dropped),
        "downgraded" => return Ok(Quantity::Downgraded),
        "rate" => return Ok(Quantity::Rate),
        "outage" => return Ok(Quantity::Outage),
        _ => {}
    }
    let (metric, statistic) = text.split_once('.').unwrap_or((text, ""));
    let metric = metrics().find(|known| known.to_string() == metric).ok_or(QuantityError::UnknownMetric)?;
    let statistic = match statistic {
        "min" => Statistic::Min,
        "mean" => Statistic::Mean,
        "max" => Statistic::Max,
        _ => statistic
            .parse()
            .ok()
            .filter(|quantile| *quantile >= Quantile::P50)
            .map(Statistic::Quantile)
            .ok_or(QuantityError::UnknownStatistic)?,
    };
    Ok(Quantity::Latency(metric, statistic))
}
