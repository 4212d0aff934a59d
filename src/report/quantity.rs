//! Numbers for people: three significant digits, with their unit; rates as `base` writes them.

use crate::base::{Nanos, rate_text};
use crate::run::Unit;

/// A span, or "-" where there is none.
pub(super) fn span(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| Nanos::new(ns).to_string())
}

/// Seconds.
pub(super) fn seconds(seconds: f64) -> String {
    Nanos::new((seconds * 1e9).round() as u64).to_string()
}

/// A value with its unit.
pub(super) fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ns => span(Some(value.round() as u64)),
        Unit::Ratio => share(value),
        Unit::PerS => rate_text(value),
        Unit::Count => format!("{value:.0}"),
    }
}

/// A number of bytes.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1e3, larger);
    }
    if unit == "bytes" { count(bytes as usize, "byte") } else { format!("{value:.*} {unit}", decimals(value)) }
}

/// `part` of `whole` in percent. What is not zero never reads as zero, what is not all never as all.
pub(super) fn percent(part: u64, whole: u64) -> String {
    share(if whole == 0 { 0.0 } else { part as f64 / whole as f64 })
}

/// A ratio in percent, likewise.
pub(super) fn share(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 0.0 && percent < 0.01 {
        "<0.01 %".to_owned()
    } else if percent > 99.9 && percent < 100.0 {
        ">99.9 %".to_owned()
    } else if percent == 0.0 || percent == 100.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.decimals$} %", decimals = decimals(percent))
    }
}

/// `count` things, in the plural where it is one.
pub(super) fn count(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

fn decimals(value: f64) -> usize {
    match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_round_to_nothing_or_all() {
        let texts = [(0, 7), (1, 100_000), (1, 1_000), (1, 8), (99_999, 100_000), (7, 7), (0, 0)]
            .map(|(part, whole)| percent(part, whole));
        assert_eq!(texts, ["0 %", "<0.01 %", "0.10 %", "12.5 %", ">99.9 %", "100 %", "0 %"]);
    }

    #[test]
    fn bytes_have_three_digits() {
        let texts = [1, 999, 1_000, 999_499, 12_345_678, 5_000_000_000, 1 << 60].map(bytes);
        assert_eq!(texts, ["1 byte", "999 bytes", "1.00 kB", "999 kB", "12.3 MB", "5.00 GB", "1152922 TB"]);
    }
}
