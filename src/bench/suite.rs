//! What a suite asks: targets, load, variants, rounds; and the measurements that follow from it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{DurationText, REDACTED, input, redact_url};
use crate::scenario::line_and_column;

/// Longer files are no suites.
const LONGEST: u64 = 1 << 20;

/// Several targets, and what is done to each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its title in the report; by default the file's name.
    #[serde(default)]
    pub title: String,
    /// What measures.
    #[serde(default)]
    pub measure: Measure,
    /// The flags of that command: the load.
    #[serde(default)]
    flags: Words,
    /// How often each is measured.
    #[serde(default = "default_rounds")]
    pub rounds: u32,
    /// Time between measurements, in which sockets drain.
    #[serde(default = "default_pause")]
    pause: Duration,
    /// The same is done to the built-in sink: the row that shows what the generator can do here.
    #[serde(default = "default_control")]
    pub control: bool,
    /// Modes asked, each a variant.
    #[serde(default)]
    mode: Vec<String>,
    /// Milestones that complete an attempt, each a variant.
    #[serde(default)]
    until: Vec<String>,
    /// Ways of closing, each a variant.
    #[serde(default)]
    close: Vec<String>,
    /// The targets, in their order within a round.
    #[serde(rename = "target")]
    pub targets: Vec<SuiteTarget>,
}

/// What measures a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// `shakedown run`.
    #[default]
    Run,
    /// `shakedown capacity`.
    Capacity,
}

/// A target of a suite.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteTarget {
    /// Its name in the table.
    pub name: String,
    /// Where it is, as on the command line.
    url: String,
    /// What a reader needs to know of it: its version, the cores it was given.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Text files that go with the result, such as its configuration; relative to the suite's file.
    #[serde(default)]
    pub attach: Vec<PathBuf>,
    /// Further flags, for this target only.
    #[serde(default)]
    flags: Words,
}

/// How the load is varied; what is absent is left to the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The mode asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What completes an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How connections are closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<String>,
}

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The round, from 1.
    pub round: u32,
    /// The row of the table: target by target, variant by variant.
    pub row: usize,
    /// The target's number; none for the control.
    pub target: Option<usize>,
    /// How the load is varied.
    pub variant: Variant,
    /// The words of the command, without those that say where its result goes.
    pub words: Vec<String>,
}

/// Why a suite cannot be measured: the place, the cause and the remedy, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SuiteError(String);

/// The name of the control's row.
pub const CONTROL: &str = "built-in sink (control)";

/// Words of a command line, written as in a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Words(Vec<String>);

/// A duration with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Duration(std::time::Duration);

const fn default_rounds() -> u32 {
    5
}

const fn default_pause() -> Duration {
    Duration(std::time::Duration::from_secs(1))
}

const fn default_control() -> bool {
    true
}

/// More would be a typing error.
const MOST_ROUNDS: u32 = 1_000;
/// More would last for days, at a second each; they are listed before the first begins.
const MOST_MEASUREMENTS: usize = 100_000;

impl TryFrom<String> for Words {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        shlex::split(&text).map(Self).ok_or_else(|| format!("a quote is not closed in '{}'", shown(&text)))
    }
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<DurationText>().map(|duration| Self(duration.0)).map_err(|error| error.to_string())
    }
}

impl Suite {
    /// Reads a suite's file.
    ///
    /// # Errors
    /// `FILE:LINE:COLUMN:` and the cause.
    pub fn read(path: &Path) -> Result<Self, SuiteError> {
        let text = input::read_text(path, LONGEST);
        let path = input::name(path);
        let text =
            text.map_err(|error| SuiteError(format!("cannot read {}: {error}; give a suite file", path.display())))?;
        Self::parse(&text, path)
    }

    /// Reads a suite; `path` is where the text is from.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, SuiteError> {
        let mut suite: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
            SuiteError(format!("{}:{line}:{column}: {}", path.display(), one_line(error.message())))
        })?;
        let refused = |why: String| Err(SuiteError(format!("{}: {why}", path.display())));
        if suite.targets.is_empty() {
            return refused("it has no [[target]]; give at least one, with a name and a url".to_owned());
        }
        if !(1..=MOST_ROUNDS).contains(&suite.rounds) {
            return refused(format!("rounds = {}; give 1 to {MOST_ROUNDS}, at least 5 for a comparison", suite.rounds));
        }
        for (index, target) in suite.targets.iter().enumerate() {
            if target.name.trim().is_empty() || target.url.trim().is_empty() {
                return refused(format!("target number {} has an empty name or url", index + 1));
            }
            if target.name == CONTROL || suite.targets[..index].iter().any(|other| other.name == target.name) {
                return refused(format!("two targets are called '{}'; each needs a name of its own", target.name));
            }
        }
        let variants = [&suite.mode, &suite.until, &suite.close].map(|values| values.len().max(1));
        let counts = variants.into_iter().chain([suite.rounds as usize, suite.subjects().len()]);
        let measurements = counts.fold(1, usize::saturating_mul);
        if measurements > MOST_MEASUREMENTS {
            return refused(format!(
                "its rounds, targets and variants make {measurements} measurements; the most is {MOST_MEASUREMENTS}"
            ));
        }
        if suite.title.is_empty() {
            let stem = path.file_stem().filter(|_| !input::is_open_already(path));
            suite.title = stem.map_or_else(|| "suite".into(), |stem| stem.to_string_lossy().into_owned());
        }
        let folder = input::folder(path);
        for file in suite.targets.iter_mut().flat_map(|target| &mut target.attach) {
            *file = folder.join(&file);
        }
        Ok(suite)
    }

    /// Time between measurements.
    pub const fn pause(&self) -> std::time::Duration {
        self.pause.0
    }

    /// The ways in which the load is varied: every mode with every milestone with every way of closing.
    pub fn variants(&self) -> Vec<Variant> {
        let each = |values: &[String]| -> Vec<Option<String>> {
            if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
        };
        let mut variants = Vec::new();
        for mode in each(&self.mode) {
            for until in each(&self.until) {
                for close in each(&self.close) {
                    variants.push(Variant { mode: mode.clone(), until: until.clone(), close });
                }
            }
        }
        variants
    }

    /// The targets' numbers, and the control's, if there is one.
    pub fn subjects(&self) -> Vec<Option<usize>> {
        let targets = (0..self.targets.len()).map(Some);
        targets.chain(self.control.then_some(None)).collect()
    }

    /// The name of a target, or of the control.
    pub fn name(&self, target: Option<usize>) -> &str {
        target.map_or(CONTROL, |target| &self.targets[target].name)
    }

    /// Everything to be done: in every round every variant, and in every variant every target in its turn, so that what
    /// changes with time meets all of them.
    pub fn measurements(&self) -> Vec<Measurement> {
        let (variants, subjects) = (self.variants(), self.subjects());
        let mut measurements = Vec::new();
        for round in 1..=self.rounds {
            for (variant_index, variant) in variants.iter().enumerate() {
                for (subject_index, target) in subjects.iter().enumerate() {
                    measurements.push(Measurement {
                        round,
                        row: variant_index * subjects.len() + subject_index,
                        target: *target,
                        variant: variant.clone(),
                        words: self.words(*target, variant),
                    });
                }
            }
        }
        measurements
    }

    fn words(&self, target: Option<usize>, variant: &Variant) -> Vec<String> {
        let target = target.map(|target| &self.targets[target]);
        let mut words = vec![self.measure.to_string()];
        words.extend(target.map(|target| target.url.clone()));
        words.extend(self.flags.0.iter().cloned());
        words.extend(target.iter().flat_map(|target| target.flags.0.iter().cloned()));
        for (flag, value) in [("--mode", &variant.mode), ("--until", &variant.until), ("--close", &variant.close)] {
            words.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        words
    }
}

impl SuiteTarget {
    /// Where it is, as on the command line.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, without what gives access.
    pub fn shown_url(&self) -> String {
        redact_url(&self.url)
    }
}

impl Measurement {
    /// The command as it is published: quoted as a shell needs it, without keys and tokens.
    pub fn command_line(&self) -> String {
        let mut hidden = false;
        let shown = self.words.iter().map(|word| {
            let text = if std::mem::take(&mut hidden) { REDACTED.to_owned() } else { shown(word) };
            hidden = word == STREAM;
            text
        });
        let words: Vec<String> = shown.map(|word| quoted(&word)).collect();
        format!("shakedown {}", words.join(" "))
    }
}

/// The flag whose value is a stream's name, which often is its key.
const STREAM: &str = "--stream";

fn shown(word: &str) -> String {
    match word.split_once('=') {
        Some((STREAM, _)) => format!("{STREAM}={REDACTED}"),
        _ if word.contains("://") || word.contains('?') => redact_url(word),
        _ => word.to_owned(),
    }
}

fn quoted(word: &str) -> String {
    // What no shell can quote holds a NUL, and no argument can.
    shlex::try_quote(word).map_or_else(|_| REDACTED.to_owned(), |quoted| quoted.into_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Run => "run",
            Self::Capacity => "capacity",
        })
    }
}

/// Its parts, as they would be written after their flags.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> =
            [&self.mode, &self.until, &self.close].into_iter().flatten().map(String::as_str).collect();
        f.pad(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(text: &str) -> Result<Suite, String> {
        Suite::parse(text, Path::new("suites/servers.toml")).map_err(|error| error.to_string())
    }

    const TWO: &str = "flags = \"-R 2k -d 10s --threshold 'response.p99 < 50ms'\"\nrounds = 2\n\
                       mode = [\"simple\", \"complex\"]\n\
                       [[target]]\nname = \"a\"\nurl = \"10.0.0.1:1935\"\nattach = [\"a.conf\"]\n\
                       [[target]]\nname = \"b\"\nurl = \"rtmp://10.0.0.2/live/k3y?token=t0ken\"\nflags = \"--stream s3cret\"\n";

    #[test]
    fn targets_take_turns_within_every_round() {
        let suite = suite(TWO).unwrap();
        let order: Vec<_> = suite
            .measurements()
            .iter()
            .map(|one| format!("{} {} {} row {}", one.round, suite.name(one.target), one.variant, one.row))
            .collect();
        insta::assert_snapshot!(order.join("\n"), @r"
        1 a simple row 0
        1 b simple row 1
        1 built-in sink (control) simple row 2
        1 a complex row 3
        1 b complex row 4
        1 built-in sink (control) complex row 5
        2 a simple row 0
        2 b simple row 1
        2 built-in sink (control) simple row 2
        2 a complex row 3
        2 b complex row 4
        2 built-in sink (control) complex row 5
        ");
    }

    #[test]
    fn command_lines_can_be_pasted_and_hold_no_secret() {
        let measurements = suite(TWO).unwrap().measurements();
        let lines: Vec<_> = measurements[..3].iter().map(Measurement::command_line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        shakedown run 10.0.0.1:1935 -R 2k -d 10s --threshold 'response.p99 < 50ms' --mode simple
        shakedown run 'rtmp://10.0.0.2/live/***?***' -R 2k -d 10s --threshold 'response.p99 < 50ms' --stream '***' --mode simple
        shakedown run -R 2k -d 10s --threshold 'response.p99 < 50ms' --mode simple
        ");
        assert_eq!(measurements[1].words[1], "rtmp://10.0.0.2/live/k3y?token=t0ken", "what is done needs them");
    }

    #[test]
    fn files_are_found_beside_the_suite() {
        assert_eq!(suite(TWO).unwrap().targets[0].attach, [Path::new("suites/a.conf")]);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let suite = suite("[[target]]\nname = \"a\"\nurl = \"h:1\"\n").unwrap();
        assert_eq!((suite.rounds, suite.control, suite.measure), (5, true, Measure::Run));
        assert_eq!((suite.title.as_str(), suite.pause().as_secs()), ("servers", 1));
        assert_eq!(suite.variants(), [Variant::default()]);
    }

    #[test]
    fn what_is_no_suite_is_refused_with_its_place() {
        let target = "[[target]]\nname = \"a\"\nurl = \"h:1\"\n";
        let refusals = [
            String::new(),
            "rounds = 5\n".to_owned(),
            "target = []\n".to_owned(),
            format!("round = 5\n{target}"),
            format!("rounds = 0\n{target}"),
            format!("pause = \"5\"\n{target}"),
            format!("flags = \"--label 'a\"\n{target}"),
            format!("measure = \"probe\"\n{target}"),
            format!("{target}{target}"),
            "[[target]]\nname = \"\"\nurl = \"h:1\"\n".to_owned(),
        ];
        let told: Vec<String> = refusals.iter().map(|text| suite(text).unwrap_err()).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        suites/servers.toml:1:1: missing field `target`
        suites/servers.toml:1:1: missing field `target`
        suites/servers.toml: it has no [[target]]; give at least one, with a name and a url
        suites/servers.toml:1:1: unknown field `round`, expected one of `title`, `measure`, `flags`, `rounds`, `pause`, `control`, `mode`, `until`, `close`, `target`
        suites/servers.toml: rounds = 0; give 1 to 1000, at least 5 for a comparison
        suites/servers.toml:1:9: '5' lacks a unit of time after 5: write for example 90s, 1m30s, 500ms or 250us
        suites/servers.toml:1:9: a quote is not closed in '--label 'a'
        suites/servers.toml:1:11: unknown variant `probe`, expected `run` or `capacity`
        suites/servers.toml: two targets are called 'a'; each needs a name of its own
        suites/servers.toml: target number 1 has an empty name or url
        ");
    }
}
