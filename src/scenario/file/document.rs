//! A TOML text whose every table, key and value knows where it stands.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::table::Choice;
use crate::base::{DurationText, Nanos, input, redact_repeated};
use crate::scenario::origins::{Origin, Origins, line_and_column};

/// Why a file is not a scenario: its place, the cause and the remedy, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", .path.display(), .place.map_or_else(String::new, |(line, column)| format!(":{line}:{column}")))]
pub struct ScenarioError {
    path: PathBuf,
    /// Line and column, in characters and from 1; none if the file cannot be read.
    place: Option<(usize, usize)>,
    message: String,
}

/// The text of a file, for places in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

/// A key and what may stand behind it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A value as the file would have it.
    pub(super) example: &'static str,
}

/// What a kind of table is called, and its keys.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) what: &'static str,
    pub(super) keys: &'static [&'static [Key]],
}

/// A table all of whose keys are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    level: &'static Level,
    at: usize,
    entries: &'a DeTable<'a>,
}

/// A value and the key it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    source: &'a Source<'a>,
    key: &'static Key,
    key_at: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl ScenarioError {
    /// An error of the whole file.
    pub(super) fn of_file(path: &Path, message: String) -> Self {
        Self { path: path.to_owned(), place: None, message }
    }
}

impl<'a> Source<'a> {
    /// The tables of the text.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ScenarioError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, format!("this is not TOML: {}", error.message()))
        })
    }

    /// An error at byte `at` of the text. It repeats no key of a URL in the text.
    pub(super) fn error(&self, at: usize, message: impl Display) -> ScenarioError {
        let one_line = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        let words = self.text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '[' | ']'));
        let message = redact_repeated(&message.to_string(), words).chars().map(one_line).collect();
        ScenarioError { path: self.path.to_owned(), place: Some(line_and_column(self.text, at)), message }
    }

    /// The line of byte `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        line_and_column(self.text, at).0
    }
}

impl<'a> Table<'a> {
    /// The table of the whole text; its keys are checked by [`Table::check_keys`].
    pub(super) fn of_document(
        source: &'a Source<'a>,
        document: &'a Spanned<DeTable<'a>>,
        level: &'static Level,
    ) -> Self {
        Self { source, level, at: 0, entries: document.get_ref() }
    }

    /// Every key is one of the level's.
    ///
    /// # Errors
    /// Names the first unknown key, and the nearest known one or the `others` that know it.
    pub(super) fn check_keys(&self, others: &[&Level]) -> Result<(), ScenarioError> {
        let known = |level: &Level, name: &str| level.keys.iter().any(|keys| keys.iter().any(|key| key.name == name));
        let Some((at, unknown)) = self.keys().into_iter().find(|(_, name)| !known(self.level, name)) else {
            return Ok(());
        };
        let names: Vec<&str> = self.level.keys.iter().flat_map(|keys| keys.iter().map(|key| key.name)).collect();
        let what = self.level.what;
        Err(self.source.error(
            at,
            if let Some(other) = others.iter().find(|other| known(other, unknown)) {
                format!("'{unknown}' is not a key of {what} but of {}; move it there", other.what)
            } else if let Some(nearest) = nearest(unknown, &names) {
                format!("unknown key '{unknown}'; did you mean '{nearest}'?")
            } else {
                format!("unknown key '{unknown}' in {what}; its keys are {}", names.join(", "))
            },
        ))
    }

    /// The value of `name`, which is a key of the level, if the table has it.
    pub(super) fn get(&self, name: &str) -> Option<Item<'a>> {
        let key = self
            .level
            .keys
            .iter()
            .flat_map(|keys| keys.iter())
            .find(|key| key.name == name)
            .expect("only known keys are asked for");
        let (found, value) = self.entries.get_key_value(name)?;
        Some(Item { source: self.source, key, key_at: found.span().start, value })
    }

    /// The same, or an error that says what to add.
    pub(super) fn require(&self, name: &str) -> Result<Item<'a>, ScenarioError> {
        self.get(name).ok_or_else(|| {
            let mut keys = self.level.keys.iter().flat_map(|keys| keys.iter());
            let example = keys.find(|key| key.name == name).map_or("", |key| key.example);
            self.error(format!("{} needs '{name}'; give for example {name} = {example}", self.level.what))
        })
    }

    /// Those of `names` that the table has, in the order of the file.
    pub(super) fn present(&self, names: &[&str]) -> Vec<Item<'a>> {
        let mut items: Vec<_> = names.iter().filter_map(|name| self.get(name)).collect();
        items.sort_by_key(|item| item.key_at);
        items
    }

    /// Where its keys stand, in the order of the file.
    fn keys(&self) -> Vec<(usize, &'a str)> {
        in_order(self.entries).into_iter().map(|(key, _)| (key.span().start, key.get_ref().as_ref())).collect()
    }

    /// Where its values stand.
    pub(super) fn origins(&self) -> Origins {
        let of_key = |key: &Key| {
            let item = self.get(key.name)?;
            Some((key.name, Origin { at: item.at(), elements: item.elements().iter().map(Item::at).collect() }))
        };
        let keys = self.level.keys.iter().flat_map(|keys| keys.iter());
        let values: BTreeMap<_, _> = keys.filter_map(of_key).collect();
        Origins::of_table(self.at, values)
    }

    /// Without any key.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An error at the table's beginning.
    pub(super) fn error(&self, message: impl Display) -> ScenarioError {
        self.source.error(self.at, message)
    }
}

impl<'a> Item<'a> {
    /// The key's name.
    pub(super) fn name(&self) -> &'static str {
        self.key.name
    }

    /// The line of the key, from 1.
    pub(super) fn line(&self) -> usize {
        self.source.line(self.key_at)
    }

    /// The byte at which the value stands.
    pub(super) fn at(&self) -> usize {
        self.value.span().start
    }

    /// A text or number, read by the type's own grammar.
    pub(super) fn read<T: FromStr<Err: Display>>(&self) -> Result<T, ScenarioError> {
        let text = self.written()?;
        text.parse().map_err(|error| self.error(error))
    }

    /// A text or number as it would be written on the command line.
    pub(super) fn written(&self) -> Result<String, ScenarioError> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => match number.radix() {
                10 => Ok(number.as_str().trim_start_matches('+').to_owned()),
                radix => u64::from_str_radix(number.as_str(), radix)
                    .map(|number| number.to_string())
                    .map_err(|_| self.error(format!("{number} is too large"))),
            },
            // Decimal, for 1e3 is a number in TOML but not in the grammar of rates.
            DeValue::Float(number) => Ok(number
                .as_str()
                .parse::<f64>()
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string())),
            _ => Err(self.wrong_type()),
        }
    }

    /// A text.
    pub(super) fn text(&self) -> Result<&'a str, ScenarioError> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_type()),
        }
    }

    /// The path of a file; a relative one begins at the folder of the scenario.
    pub(super) fn path(&self) -> Result<PathBuf, ScenarioError> {
        let text = self.text()?;
        if text.is_empty() {
            return Err(self.error("the path is empty; name a file"));
        }
        Ok(input::folder(self.source.path).join(text))
    }

    /// A name for the report: short, and without characters that would spoil a table.
    pub(super) fn label(&self) -> Result<String, ScenarioError> {
        const LONGEST: usize = 60;
        let text = self.text()?.trim();
        if text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control) {
            return Err(self.error(format!("'{text}' is not a name; give 1 to {LONGEST} characters in one line")));
        }
        Ok(text.to_owned())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, ScenarioError> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_type()),
        }
    }

    /// A whole number within `range`, written as a number.
    pub(super) fn whole<T>(&self, range: RangeInclusive<T>) -> Result<T, ScenarioError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let text = self.written()?;
        if let DeValue::String(_) = self.value.get_ref() {
            return Err(match text.trim().parse::<T>() {
                Ok(number) => self.error(format!("'{text}' is a text; write the number without quotes: {number}")),
                Err(_) => self.wrong_type(),
            });
        }
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.error(format!("'{text}' is not a whole number from {least} to {most}"))
        })
    }

    /// A duration above zero that nanoseconds can count.
    pub(super) fn length(&self) -> Result<Duration, ScenarioError> {
        match self.read::<DurationText>()?.0 {
            length if length.as_nanos() >= u128::from(Nanos::MAX.as_u64()) => {
                let (text, Key { name, example }) = (self.written()?, self.key);
                Err(self.error(format!("'{text}' is longer than 584 years; write for example {name} = {example}")))
            }
            Duration::ZERO => Err(self.error(format!("it must be longer than nothing, such as {}", self.key.example))),
            length => Ok(length),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Choice>(&self) -> Result<T, ScenarioError> {
        let text = self.text()?;
        T::ALL.iter().find(|choice| choice.name() == text).copied().ok_or_else(|| {
            let names: Vec<&str> = T::ALL.iter().map(|choice| choice.name()).collect();
            self.error(match nearest(text, &names) {
                Some(nearest) => format!("'{text}' is unknown here; did you mean '{nearest}'?"),
                None => format!("'{text}' is unknown here; give one of {}", names.join(", ")),
            })
        })
    }

    /// The elements of a list; a value that is none stands for a list of itself.
    pub(super) fn elements(&self) -> Vec<Item<'a>> {
        match self.value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| Item { value, ..*self }).collect(),
            _ => vec![*self],
        }
    }

    /// The tables of a list, such as that of `[[population]]`.
    pub(super) fn tables(&self, level: &'static Level, others: &[&Level]) -> Result<Vec<Table<'a>>, ScenarioError> {
        match self.value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| Item { value, ..*self }.table(level, others)).collect(),
            _ => Err(self.wrong_type()),
        }
    }

    /// A table of known keys.
    pub(super) fn table(&self, level: &'static Level, others: &[&Level]) -> Result<Table<'a>, ScenarioError> {
        let entries = self.entries().ok_or_else(|| self.wrong_type())?;
        let table = Table { source: self.source, level, at: self.value.span().start, entries };
        table.check_keys(others)?;
        Ok(table)
    }

    /// The entries of a table whose keys are names, in the order of the file: each as a text `NAME=VALUE`, with the
    /// items of its value.
    pub(super) fn named(&self) -> Option<Vec<(&'a str, Item<'a>)>> {
        let entries = self.entries()?;
        let item = |(key, value): (&'a Spanned<_>, &'a Spanned<_>)| Item { key_at: key.span().start, value, ..*self };
        Some(in_order(entries).into_iter().map(|entry| (entry.0.get_ref().as_ref(), item(entry))).collect())
    }

    /// It is a table.
    pub(super) fn is_table(&self) -> bool {
        self.entries().is_some()
    }

    fn entries(&self) -> Option<&'a DeTable<'a>> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// An error at the value.
    pub(super) fn error(&self, message: impl Display) -> ScenarioError {
        self.source.error(self.value.span().start, format!("{}: {message}", self.key.name))
    }

    /// An error at the key.
    pub(super) fn key_error(&self, message: impl Display) -> ScenarioError {
        self.source.error(self.key_at, message)
    }

    fn wrong_type(&self) -> ScenarioError {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "an instant",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let Key { name, example } = self.key;
        let example = if example.starts_with("[[") { (*example).to_owned() } else { format!("{name} = {example}") };
        self.error(format!("{found} cannot stand here; write for example {example}"))
    }
}

/// The one of `names` that `text` was meant to be, if one is near.
pub(super) fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    /// Nothing is spelled like this: the distance of long texts takes long to find.
    const LONGEST: usize = 60;
    if text.len() > LONGEST {
        return None;
    }
    let distance = |name: &str| strsim::damerau_levenshtein(&text.to_lowercase(), name);
    let longest = |name: &str| text.chars().count().max(name.len());
    names
        .iter()
        .map(|name| (distance(name), *name))
        .filter(|(distance, name)| distance * 3 <= longest(name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Entries as the file has them; the map has them by name.
fn in_order<'a>(entries: &'a DeTable<'a>) -> Vec<(&'a Spanned<toml::de::DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
