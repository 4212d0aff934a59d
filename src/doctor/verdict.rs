//! What a check says of one property of the machine.

use crate::finding::{Finding, FindingCode, Severity};

pub(super) struct Verdict {
    pub severity: Severity,
    pub value: String,
    pub message: String,
    pub remedy: Option<String>,
}

impl Verdict {
    pub(super) fn new(severity: Severity, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity, value: value.into(), message: message.into(), remedy: None }
    }

    pub(super) fn ok(value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Ok, value, message)
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(super) fn into_finding(self, code: FindingCode) -> Finding {
        let Self { severity, value, message, remedy } = self;
        Finding { code, severity, value: Some(value), message, remedy }
    }
}

pub(super) fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
    }
}

/// Rounded down to one digit behind the point.
pub(super) fn count_text(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{} thousand", count / 1_000),
        _ => format!("{}.{} million", count / 1_000_000, count / 100_000 % 10),
    }
}
