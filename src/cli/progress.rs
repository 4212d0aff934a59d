//! Progress of a run on stderr: a bar, the rate of completions, and what happened.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::{DurationText, Nanos, rate_text};
use crate::fleet;
use crate::run::{LoadPlan, Notice, RunPlan, Signal, Watch};

use super::output::{self, Color};

/// The rate shown is that of about the last second.
const RATE_OVER: Nanos = Nanos::from_millis(1_000);

/// Shows how far a run is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
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
    /// Nothing is shown off a terminal.
    pub(super) fn new(plan: &RunPlan, quiet: bool, hidden: bool, color: Color) -> Self {
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
        Self { bar, quiet, length, warmup: plan.warmup(), since: (Nanos::ZERO, 0), rate: 0.0 }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn progress(&mut self, progress: &fleet::Progress, elapsed: Nanos) {
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
        self.bar.set_message(message);
    }

    fn notice(&mut self, notice: Notice<'_>) {
        if self.quiet {
            return;
        }
        let line = match notice {
            Notice::Stopping(signal, in_flight) => format!(
                "{}: no new attempts, waiting for {in_flight} in flight; a second signal stops at once",
                match signal {
                    Signal::Interrupt => "interrupted",
                    Signal::Terminate => "terminated",
                }
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
