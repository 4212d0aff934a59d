//! Progress of a run on stderr: a bar, the rate of completions, and what happened.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::{DurationText, Nanos, rate_text};
use crate::fleet;
use crate::run::{LoadPlan, Notice, RunPlan, Watch};

use super::output::{self, Color};

/// The rate shown is that of about the last second.
const RATE_OVER: Nanos = Nanos::from_millis(1_000);

/// How often a bar is drawn; a simulated run has news more often.
const DRAWN_EVERY: Duration = Duration::from_millis(50);
/// Lines more often than this would hide what is said beside them.
const LEAST_EVERY: Duration = Duration::from_millis(100);

/// Reads how often a line says how far things are.
pub(super) fn parse_every(text: &str) -> Result<DurationText, String> {
    let every: DurationText = text.parse().map_err(|error: crate::base::DurationError| error.to_string())?;
    if every.0 < LEAST_EVERY {
        return Err("give 100ms or more; --no-progress shows none".to_owned());
    }
    Ok(every)
}

/// How progress is shown.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ProgressArgs {
    /// No progress and no notes on stderr
    #[arg(short, long, help_heading = "Result")]
    pub(super) quiet: bool,
    /// No progress: neither a bar nor lines
    #[arg(long, help_heading = "Result")]
    pub(super) no_progress: bool,
    /// Without a terminal, report progress this often
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_every, help_heading = "Result")]
    pub(super) progress_every: DurationText,
}

impl ProgressArgs {
    /// Nothing of it is shown.
    pub(super) fn is_hidden(&self) -> bool {
        self.quiet || self.no_progress
    }
}

/// Off a terminal, where a bar cannot be drawn: when it is time for a line again.
#[derive(Debug)]
pub(super) struct Lines {
    /// Never, if there is none.
    next: Option<Instant>,
    every: Duration,
}

impl Lines {
    /// One each time `every` has passed, unless they are `hidden` or stderr is a terminal.
    pub(super) fn new(every: DurationText, hidden: bool) -> Self {
        let off_terminal = !hidden && !std::io::stderr().is_terminal();
        Self { next: off_terminal.then(|| Instant::now() + every.0), every: every.0 }
    }

    /// Whether it is time for the next one.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.next.is_some_and(|next| now >= next);
        if is_due {
            self.next = Some(now + self.every);
        }
        is_due
    }
}

/// Shows how far a run is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    lines: Lines,
    /// When it was shown last.
    shown: Option<Instant>,
    quiet: bool,
    /// What the bar counts to: milliseconds of load, or attempts.
    length: Length,
    /// The load is warming up until then.
    warmup: Nanos,
    /// Where the current rate is counted from.
    since: (Nanos, u64),
    rate: f64,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Time(Nanos),
    Attempts(u64),
}

impl Progress {
    /// What the flags want to be shown of `plan`.
    pub(super) fn new(plan: &RunPlan, args: &ProgressArgs, color: Color) -> Self {
        let (quiet, hidden) = (args.quiet, args.is_hidden());
        let attempts =
            plan.asked().flat_map(|population| &population.lanes).map(|lane| lane.load.attempts()).sum::<Option<u64>>();
        let length = match (attempts, plan.length()) {
            (Some(attempts), Nanos::MAX) => Length::Attempts(attempts),
            (_, time) => Length::Time(time),
        };
        let total = match length {
            Length::Time(time) => time.as_u64() / 1_000_000,
            Length::Attempts(attempts) => attempts,
        };
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = if color.on_stderr() { "[{bar:20.cyan}] {wide_msg}" } else { "[{bar:20}] {wide_msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        let lines = Lines::new(args.progress_every, hidden);
        Self { bar, lines, shown: None, quiet, length, warmup: plan.warmup(), since: (Nanos::ZERO, 0), rate: 0.0 }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn progress(&mut self, progress: &fleet::Progress, elapsed: Nanos) {
        if self.shown.is_some_and(|shown| shown.elapsed() < DRAWN_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let span = elapsed.saturating_sub(self.since.0);
        if span >= RATE_OVER || self.rate == 0.0 && span > Nanos::ZERO {
            self.rate = (progress.completed - self.since.1.min(progress.completed)) as f64 / span.as_secs_f64();
            if span >= RATE_OVER {
                self.since = (elapsed, progress.completed);
            }
        }
        let ended = progress.completed + progress.failed + progress.dropped;
        let (position, so_far) = match self.length {
            Length::Time(length) => (elapsed.as_u64() / 1_000_000, format!(" of {}", DurationText(length.into()))),
            Length::Attempts(attempts) => (ended, format!("  {ended} of {attempts} attempts")),
        };
        self.bar.set_position(position);
        let phase = match self.length {
            Length::Time(length) if elapsed >= length => "  finishing",
            _ if elapsed < self.warmup => "  warming up",
            _ => "",
        };
        let mut message = format!("{:.1}s{so_far}{phase}  {}", elapsed.as_secs_f64(), rate_text(self.rate));
        // What is unusual first: a narrow terminal cuts the end off.
        for (count, what) in [
            (progress.failed, "failed"),
            (progress.dropped, "dropped"),
            (progress.held, "held"),
            (progress.completed, "completed"),
        ] {
            if count > 0 {
                message.push_str(&format!("  {count} {what}"));
            }
        }
        if self.lines.is_due() {
            output::tell(&message);
        }
        self.bar.set_message(message);
    }

    fn notice(&mut self, notice: &Notice) {
        if self.quiet {
            return;
        }
        let line = match notice {
            Notice::Stopping(signal, in_flight) => format!(
                "{}: no new attempts, waiting for {in_flight} in flight; a second signal stops at once",
                signal.participle()
            ),
            Notice::Tripped(trip) => format!("{}: ending the load", trip.text),
            Notice::Abandoning => "stopping at once".into(),
            Notice::Refused => "every target refuses every connection: ending the load (--keep-going would not)".into(),
        };
        self.bar.suspend(|| output::tell(&line));
    }
}

impl LoadPlan {
    fn attempts(&self) -> Option<u64> {
        match self {
            Self::Closed { attempts, .. } | Self::Open { attempts, .. } => *attempts,
            Self::Storm { .. } => None,
        }
    }
}
