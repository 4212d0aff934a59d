//! Where text goes: results to stdout, progress and findings to stderr. A closed pipe ends the program quietly.
//!
//! All of it goes through here, so no name, no word of a server and no text of a file acts upon a terminal: see
//! [`visible_lines`].

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::Once;

use super::exit::CliError;
use crate::base::save::{Destination, rescue};
use crate::base::{colored_lines, visible_json, visible_lines};
use crate::run::{ExitCode, on_each_signal};

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Narrower than this, nothing is aligned any more; wider, lines are hard to follow.
const WIDTHS: std::ops::RangeInclusive<u16> = 60..=120;

impl Color {
    /// Whether text on stdout is coloured.
    pub(super) fn on_stdout(self) -> bool {
        self.resolve(std::io::stdout().is_terminal())
    }

    /// Whether text on stderr is coloured.
    pub(super) fn on_stderr(self) -> bool {
        self.resolve(std::io::stderr().is_terminal())
    }

    fn resolve(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Columns of the terminal behind stdout, or 80.
pub(super) fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| size.ws_col)
        .filter(|&columns| columns > 0)
        .map_or(80, |columns| columns.clamp(*WIDTHS.start(), *WIDTHS.end()))
}

/// Text for people that `render` makes with colours or without: what goes to stdout or into a file.
pub(super) fn rendered(color: bool, render: impl Fn(bool) -> String) -> String {
    let plain = render(false);
    if color { colored_lines(&plain, &render(true)) } else { visible_lines(&plain).into_owned() }
}

/// Writes text for people to stdout, without colours.
///
/// # Errors
/// As [`print_rendered`].
pub(super) fn print(text: &str) -> Result<(), CliError> {
    print_rendered(&visible_lines(text))
}

/// Writes JSON to stdout.
///
/// # Errors
/// As [`print_rendered`].
pub(super) fn print_json(text: &str) -> Result<(), CliError> {
    print_rendered(&visible_json(text))
}

/// Writes to stdout what is fit to be there as it is: a page, whose renderer escapes texts of others, or what
/// [`rendered`] made.
///
/// # Errors
/// If stdout cannot be written; a reader that has gone away (`| head`) is no error.
pub(super) fn print_rendered(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::environment(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Where a command's file goes: the place that `-o` names, found writable before any load.
pub(super) enum Saving {
    /// Nowhere: the report is all there is.
    Nowhere,
    /// To stdout, and the report to stderr.
    Stdout,
    /// To a file.
    To(Destination),
}

impl Saving {
    /// Finds `path` writable; a FIFO that nobody reads yet is waited for.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn reserve(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(Self::Nowhere) };
        if is_stdout(path) {
            return Ok(Self::Stdout);
        }
        let waiting = || tell(&format!("waiting for somebody to read {}", path.display()));
        Destination::reserve(path, waiting)
            .map(Self::To)
            .map_err(|error| CliError::environment(format!("{error}; give -o a place that can be written")))
    }

    /// Saves the result `file`, then shows its report, whatever came of the former. A signal ends the command from here on:
    /// nothing is measured any more, and a reader may never read.
    ///
    /// # Errors
    /// If either cannot be written; it says what has become of the result.
    pub(super) fn deliver(self, file: &str, report: &Report<'_>) -> Result<(), CliError> {
        end_by_signals();
        let or_rescued = |error| rescued(error, file);
        match (self, report) {
            (Self::Nowhere, Report::Json) => print_json(file).map_err(or_rescued),
            (Self::Nowhere, Report::Text { text, .. }) => print_rendered(text),
            (Self::Stdout, report) => {
                let printed = print_json(file).map_err(or_rescued);
                if let Report::Text { text, quiet: false } = report {
                    tell_rendered(text.trim_end());
                }
                printed
            }
            (Self::To(destination), report) => {
                let saved = write_to(destination, file).map_err(or_rescued);
                let printed = match report {
                    Report::Text { text, .. } => print_rendered(text),
                    Report::Json => print_json(file),
                };
                match (saved, printed) {
                    (Err(unsaved), Err(unprinted)) => {
                        Err(CliError::environment(format!("{}; {}", unsaved.message, unprinted.message)))
                    }
                    (saved, printed) => saved.and(printed),
                }
            }
        }
    }
}

/// What is shown of a result.
pub(super) enum Report<'a> {
    /// Its file.
    Json,
    /// A text that [`rendered`] made.
    Text {
        text: &'a str,
        /// Only where it belongs: not on stderr, if stdout has the file.
        quiet: bool,
    },
}

fn write_to(destination: Destination, file: &str) -> Result<(), CliError> {
    if let Some(elsewhere) = destination.write(file).map_err(|error| CliError::environment(error.to_string()))? {
        tell(&format!(
            "note: somebody else has written to the place that -o names meanwhile; this result is in {}",
            elsewhere.display()
        ));
    }
    Ok(())
}

/// A result that could not be written is kept somewhere else, if that can be.
fn rescued(error: CliError, file: &str) -> CliError {
    let what = match rescue(file) {
        Some(place) => format!("the result is in {} instead", place.display()),
        None => "the result is not saved, what stdout has is all".to_owned(),
    };
    CliError { message: format!("{}; {what}", error.message), ..error }
}

/// Whether `path` is stdout: by `-`, or by a name of the system's.
fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// Writes a text that is fit to be there as it is, and can be made again, to the place that `-o` names, or else to stdout.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(path: Option<&Path>, text: &str) -> Result<(), CliError> {
    match Saving::reserve(path)? {
        Saving::Nowhere | Saving::Stdout => print_rendered(text),
        Saving::To(destination) => write_to(destination, text),
    }
}

/// From now on a signal ends the process at once.
pub(super) fn end_by_signals() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        // Without a thread for it, signals are heeded where nothing waits.
        let _ = on_each_signal(|signal| std::process::exit(i32::from(ExitCode::from(signal).code())));
    });
}

/// Writes a line for people to stderr. Nobody is left to be told if that fails.
pub(super) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible_lines(line));
}

/// Writes what [`rendered`] made to stderr.
fn tell_rendered(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
