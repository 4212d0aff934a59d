//! Where text goes: results to stdout, progress and findings to stderr. A closed pipe ends the program quietly.
//!
//! All of it goes through here, so no name, no word of a server and no text of a file acts upon a terminal: see
//! [`visible_lines`].

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

use super::exit::CliError;
use crate::base::{colored_lines, visible_json, visible_lines};
use crate::run::ResultFile;

/// When to colour.
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
/// As [`write`].
pub(super) fn print(text: &str) -> Result<(), CliError> {
    write(&visible_lines(text))
}

/// Writes JSON to stdout.
///
/// # Errors
/// As [`write`].
pub(super) fn print_json(text: &str) -> Result<(), CliError> {
    write(&visible_json(text))
}

/// Writes to stdout what is fit to be there as it is: a page, whose renderer escapes texts of others, or what
/// [`rendered`] made.
///
/// # Errors
/// If stdout cannot be written; a reader that has gone away (`| head`) is no error.
pub(super) fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::environment(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Makes sure, before any load, that the result can be written to its file.
///
/// # Errors
/// If it cannot be.
pub(super) fn reserve(path: Option<&Path>) -> Result<Option<ResultFile>, CliError> {
    path.map(ResultFile::reserve)
        .transpose()
        .map_err(|error| CliError::environment(format!("{error}; give -o a place that can be written")))
}

/// Writes a line for people to stderr. Nobody is left to be told if that fails.
pub(super) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible_lines(line));
}
