//! Result files, read and written.

use std::path::{Path, PathBuf};

use super::{RunResult, check};
use crate::base::input;

/// The schema of this version's result files. Files of version 1 are read, too: their plans have `clip` for `media`,
/// `four_cc` for `enhanced_rtmp` and `guard` for `canary`.
pub const RESULT_SCHEMA: &str = "shakedown.result/2";

/// The oldest version of a schema that is read.
const OLDEST: u32 = 1;

/// Why a result file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON, or not whole.
    #[error("{path} is damaged or not JSON: {source}; is it the file that `-o` wrote, copied whole?")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// The file is JSON of another origin.
    #[error("{path} is not a result of this program: it has no \"schema\" key; give a file written with `-o`")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file has another schema.
    #[error(
        "{path} has the schema \"{schema}\", \"{reads}\" is read here; {}",
        if schema_kind(schema) == schema_kind(reads) { "use the version that wrote it" } else { "give a file of that schema" }
    )]
    UnknownSchema {
        /// The file.
        path: PathBuf,
        /// The schema wanted.
        reads: &'static str,
        /// What it says.
        schema: String,
    },
    /// The file has the right schema and the wrong content.
    #[error("{path} does not follow its schema \"{reads}\": {source}; was it edited by hand?")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its schema.
        reads: &'static str,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// The file has a content that nothing can have measured.
    #[error("{path} cannot be a result: {what}; was it edited by hand?")]
    Impossible {
        /// The file.
        path: PathBuf,
        /// Where in it, and what stands there.
        what: String,
    },
}

impl RunResult {
    /// Reads a result file.
    ///
    /// # Errors
    /// Names the file, what is wrong with it and what to do.
    pub fn read(path: &Path) -> Result<Self, ResultFileError> {
        Self::parse(&ResultFileError::read(path)?, input::name(path))
    }

    /// Reads a result file's text; `path` is named in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ResultFileError> {
        let value = ResultFileError::check_schema(text, path, RESULT_SCHEMA)?;
        let path = || path.to_owned();
        // From the text again: only so an error has its line and column.
        let mut result: Self = serde_json::from_str(text).map_err(|source| ResultFileError::Malformed {
            path: path(),
            reads: RESULT_SCHEMA,
            source,
        })?;
        result.schema = RESULT_SCHEMA.to_owned();
        let possible =
            check::numbers(&value).and_then(|()| check::references(&result)).and_then(|()| check::equations(&result));
        possible.map(|()| result).map_err(|what| ResultFileError::Impossible { path: path(), what })
    }

    /// The text of the result file.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a result has string keys only");
        text.push('\n');
        text
    }
}

/// What a file of this schema is of, whatever its version.
pub fn schema_kind(schema: &str) -> &str {
    schema.split_once('/').map_or(schema, |(kind, _)| kind)
}

/// Whether a file of `schema` is read where files of the schema `reads` are written.
fn is_read(schema: &str, reads: &str) -> bool {
    let version = |schema: &str| schema.split_once('/').and_then(|(_, version)| version.parse::<u32>().ok());
    let versions = version(schema).zip(version(reads));
    schema_kind(schema) == schema_kind(reads) && versions.is_some_and(|(file, own)| (OLDEST..=own).contains(&file))
}

/// The longest result file that is read; those of the longest runs have some megabytes.
const LONGEST: u64 = 256 << 20;

impl ResultFileError {
    /// The text of a result file of any schema.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<String, Self> {
        input::read_text(path, LONGEST).map_err(|source| Self::Read { path: input::name(path).to_owned(), source })
    }

    /// Reads the JSON `text` of a file and makes sure that it has the schema `reads`.
    ///
    /// # Errors
    /// If it is no JSON, or not of this schema.
    pub fn check_schema(text: &str, path: &Path, reads: &'static str) -> Result<serde_json::Value, Self> {
        let path = || path.to_owned();
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|source| Self::Damaged { path: path(), source })?;
        match value.get("schema").and_then(serde_json::Value::as_str) {
            None => Err(Self::Foreign { path: path() }),
            Some(schema) if !is_read(schema, reads) => {
                Err(Self::UnknownSchema { path: path(), reads, schema: schema.to_owned() })
            }
            Some(_) => Ok(value),
        }
    }
}
