//! Units people write: rates ("20k/s"), ramps of them ("0:20k/s") and durations ("1m30s").

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A rate in events per second.
///
/// Written as a number, a prefix (`k` = 1000, `M` = 1000 k) and a unit of time (`/s`, `/m`, `/h`); both may be left out,
/// and a missing unit is `/s`. [`fmt::Display`] prints it as [`rate_text`] does, whatever it was written as.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// A rate that stays (`20k/s`) or goes evenly from one value to another (`0:20k/s`).
///
/// A missing unit of time before the colon is the one after it. One end may be zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateRange {
    from: Rate,
    to: Rate,
}

/// A duration as people write it: numbers with units of time (`90s`, `1m30s`, `500ms`, `250us`); a unit is required.
///
/// Units are those of the `humantime` crate. [`fmt::Display`] gives a text that parses back to the very same duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// Why a text is not a rate: one sentence with the text and an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RateError(String);

/// Why a text is not a duration: one sentence with the text and an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DurationError(String);

impl Rate {
    /// A rate of `per_second` events a second; it must be finite and not negative (a ramp may start or end at zero).
    pub fn per_second(per_second: f64) -> Result<Self, RateError> {
        if per_second.is_finite() && per_second >= 0.0 {
            // Adding zero turns -0 into 0, which prints without a sign.
            Ok(Self(per_second + 0.0))
        } else {
            Err(RateError::not_a_rate(&per_second.to_string()))
        }
    }

    /// Events per second.
    pub const fn as_per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        match parse_rate(text.trim(), Per::Second) {
            Some((per_second, _)) if per_second > 0.0 => Ok(Self(per_second)),
            _ => Err(RateError::not_a_rate(text)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&rate_text(self.0))
    }
}

impl RateError {
    fn not_a_rate(text: &str) -> Self {
        Self(format!("'{text}' is not a rate: write a number above zero, for example 20000, 1.5k/s, 600/m or 36k/h"))
    }

    fn not_a_ramp(text: &str) -> Self {
        Self(format!("'{text}' is not a rate or a ramp of rates: write for example 20k/s, 0:20k/s or 1k:5k"))
    }
}

impl RateRange {
    /// A range from one rate to another, or of a single rate if they are equal; both may not be zero.
    pub fn new(from: Rate, to: Rate) -> Result<Self, RateError> {
        if from.0 > 0.0 || to.0 > 0.0 {
            Ok(Self { from, to })
        } else {
            Err(RateError(format!(
                "'{}:{}' starts nothing: one end must be above zero, for example 0:20k/s",
                from.0, to.0
            )))
        }
    }

    /// The rate at the start.
    pub const fn from(self) -> Rate {
        self.from
    }

    /// The rate at the end.
    pub const fn to(self) -> Rate {
        self.to
    }

    /// Whether the rate stays the same.
    pub fn is_constant(self) -> bool {
        self.from == self.to
    }
}

impl FromStr for RateRange {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let Some((from, to)) = text.split_once(':') else {
            let rate: Rate = text.parse()?;
            return Self::new(rate, rate);
        };
        let (to, per) = parse_rate(to.trim(), Per::Second).ok_or_else(|| RateError::not_a_ramp(text))?;
        let (from, _) = parse_rate(from.trim(), per).ok_or_else(|| RateError::not_a_ramp(text))?;
        Self::new(Rate(from), Rate(to))
    }
}

impl fmt::Display for RateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_constant() {
            return self.to.fmt(f);
        }
        let from = self.from.to_string();
        f.pad(&format!("{}:{}", from.trim_end_matches("/s"), self.to))
    }
}

/// A rate as people read it, everywhere: events per second in plain digits, four of them, and from 1000/s on all of a whole
/// number. So rates compare at a glance, and the text is a rate on the command line: that of a trial exactly, as a search
/// offers rates of four digits.
pub fn rate_text(per_second: f64) -> String {
    const DIGITS: i32 = 4;
    // Adding zero turns -0 into 0, which prints without a sign.
    let per_second = per_second + 0.0;
    if per_second == 0.0 || !per_second.is_finite() {
        return format!("{per_second}/s");
    }
    let decimals = (DIGITS - 1 - per_second.abs().log10().floor() as i32).max(0) as usize;
    let number = format!("{per_second:.decimals$}");
    let number = if decimals > 0 { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}/s")
}

impl FromStr for DurationText {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        const EXAMPLE: &str = "write for example 90s, 1m30s, 500ms or 250us";
        let not_a_duration = |why: &str| DurationError(format!("'{text}' is not a duration ({why}): {EXAMPLE}"));
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        // One item (a number and its unit) at a time: the sum of the items is checked here, because humantime 2.4 panics
        // where the sum of several passes the largest `Duration`.
        loop {
            let unit = rest.find(char::is_alphabetic).unwrap_or(rest.len());
            let end = rest[unit..].find(|c: char| !c.is_alphabetic()).map_or(rest.len(), |length| unit + length);
            let (item, after) = rest.split_at(end);
            if unit == end && rest.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(DurationError(format!("'{text}' lacks a unit of time after {item}: {EXAMPLE}")));
            }
            let span = humantime::parse_duration(item).map_err(|error| not_a_duration(&error.to_string()))?;
            total = total.checked_add(span).ok_or_else(|| not_a_duration("it is too long"))?;
            rest = after.trim_start();
            if rest.is_empty() {
                return Ok(Self(total));
            }
        }
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::from(self.0.subsec_nanos());
        let below_a_second = match nanos {
            0 => None,
            1..1_000 => Some((nanos, 1, "ns")),
            1_000..1_000_000 => Some((nanos, 1_000, "us")),
            _ => Some((nanos, 1_000_000, "ms")),
        };
        let mut text = String::new();
        let mut seconds = self.0.as_secs();
        for (length, symbol) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
            if seconds >= length {
                text.push_str(&format!("{}{symbol}", seconds / length));
                seconds %= length;
            }
        }
        match below_a_second {
            Some((nanos, length, symbol)) if self.0.as_secs() == 0 => text = decimal(nanos, length) + symbol,
            Some((nanos, ..)) => text += &(decimal(seconds * 1_000_000_000 + nanos, 1_000_000_000) + "s"),
            None if seconds > 0 || text.is_empty() => text.push_str(&format!("{seconds}s")),
            None => {}
        }
        f.pad(&text)
    }
}

/// `value / unit` with all its decimals and no more; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{part:0digits$}").trim_end_matches('0').to_owned()
}

/// The unit of time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const fn seconds(self) -> f64 {
        match self {
            Self::Second => 1.0,
            Self::Minute => 60.0,
            Self::Hour => 3_600.0,
        }
    }
}

/// A power of a thousand before the unit of a rate.
#[derive(Clone, Copy)]
struct Prefix {
    symbol: &'static str,
    exponent: i32,
}

const PREFIXES: [Prefix; 3] =
    [Prefix { symbol: "M", exponent: 6 }, Prefix { symbol: "k", exponent: 3 }, Prefix { symbol: "", exponent: 0 }];

/// Events per second (zero included) and the unit of time they were written in, `missing` if in none.
fn parse_rate(text: &str, missing: Per) -> Option<(f64, Per)> {
    let (number, per) = match text.split_once('/') {
        Some((number, "s")) => (number, Per::Second),
        Some((number, "m")) => (number, Per::Minute),
        Some((number, "h")) => (number, Per::Hour),
        Some(_) => return None,
        None => (text, missing),
    };
    let (digits, prefix) =
        PREFIXES.into_iter().find_map(|prefix| number.strip_suffix(prefix.symbol).map(|digits| (digits, prefix)))?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    // The prefix goes into the decimal number, which is rounded once; "4.35" times 1000 would be rounded twice.
    let number: f64 = format!("{digits}e{}", prefix.exponent).parse().ok()?;
    let per_second = number / per.seconds();
    per_second.is_finite().then_some((per_second, per))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_in_all_their_forms() {
        for (text, per_second) in [
            ("20000", 20_000.0),
            ("20k", 20_000.0),
            ("1.5k/s", 1_500.0),
            ("600/m", 10.0),
            ("36k/h", 10.0),
            ("2M", 2_000_000.0),
            ("0.5/s", 0.5),
            (" 4.35k ", 4_350.0),
        ] {
            assert_eq!(text.parse::<Rate>(), Ok(Rate(per_second)), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_named_with_an_example() {
        let tiny = format!("0.{}1", "0".repeat(400));
        let huge = "9".repeat(400);
        for text in
            ["", "-5", "0", "0k/h", "nan", "inf", "1e3", "20K", "20k/d", "20 k", "k", ".", "1/s/s", &tiny, &huge]
        {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("1.5k/s"), "{error}");
        }
        assert!(Rate::per_second(f64::NAN).is_err());
        assert!(Rate::per_second(-1.0).is_err());
    }

    #[test]
    fn rates_print_per_second_in_plain_digits() {
        for (per_second, text) in [
            (20_000.0, "20000/s"),
            (14_830.6, "14831/s"),
            (1_234_567.0, "1234567/s"),
            (1_000.0, "1000/s"),
            (999.96, "1000/s"),
            (999.94, "999.9/s"),
            (49.7, "49.7/s"),
            (12.345_6, "12.35/s"),
            (10.0, "10/s"),
            (601.0 / 60.0, "10.02/s"),
            (1.0 / 60.0, "0.01667/s"),
            (0.5, "0.5/s"),
            (-0.0, "0/s"),
        ] {
            assert_eq!(Rate::per_second(per_second).unwrap().to_string(), text);
        }
        assert_eq!(format!("[{:>9}]", Rate(20_000.0)), "[  20000/s]");
    }

    #[test]
    fn ramps_take_a_missing_unit_of_time_from_their_end() {
        for (text, from, to, printed) in [
            ("0:20k/s", 0.0, 20_000.0, "0:20000/s"),
            ("1k:5k", 1_000.0, 5_000.0, "1000:5000/s"),
            ("60:1200/m", 1.0, 20.0, "1:20/s"),
            ("10/m:20k/s", 1.0 / 6.0, 20_000.0, "0.1667:20000/s"),
            ("20:0", 20.0, 0.0, "20:0/s"),
            ("20k", 20_000.0, 20_000.0, "20000/s"),
        ] {
            let range: RateRange = text.parse().unwrap();
            assert_eq!((range.from().as_per_second(), range.to().as_per_second()), (from, to), "{text}");
            assert_eq!(range.is_constant(), from == to, "{text}");
            assert_eq!(range.to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_ramp_is_named_with_an_example() {
        for text in ["0", "0:0", ":", "1:", ":1", "1:2:3", "-1:5", "a:b"] {
            let error = text.parse::<RateRange>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("for example"), "{error}");
        }
    }

    #[test]
    fn durations_are_read_and_printed() {
        for (text, nanos, printed) in [
            ("90s", 90_000_000_000, "1m30s"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("1m 30s", 90_000_000_000, "1m30s"),
            ("10s", 10_000_000_000, "10s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1m500ms", 60_500_000_000, "1m0.5s"),
            ("500ms", 500_000_000, "500ms"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("250us", 250_000, "250us"),
            ("7ns", 7, "7ns"),
            ("20min", 1_200_000_000_000, "20m"),
            ("36h", 129_600_000_000_000, "1d12h"),
            ("0s", 0, "0s"),
        ] {
            let duration: DurationText = text.parse().unwrap();
            assert_eq!(duration.0.as_nanos(), nanos, "{text}");
            assert_eq!(duration.to_string(), printed);
        }
    }

    #[test]
    fn a_duration_needs_units() {
        for (text, reason) in [
            ("90", "'90' lacks a unit of time after 90: "),
            ("0", "'0' lacks a unit of time after 0: "),
            ("1m30", "'1m30' lacks a unit of time after 30: "),
            ("", "'' is not a duration ("),
            ("-5s", "'-5s' is not a duration ("),
            ("5 parsecs", "'5 parsecs' is not a duration ("),
            ("18446744073709551615s 1000ms", "(it is too long): "),
        ] {
            let error = text.parse::<DurationText>().unwrap_err().to_string();
            assert!(
                error.contains(reason) && error.ends_with("write for example 90s, 1m30s, 500ms or 250us"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn printed_rates_are_rates(per_second in prop_oneof![f64::MIN_POSITIVE..1e-6, 1e-6..1e6, 1e6..1e12], end in 1e-6..1e6) {
            let (rate, end) = (Rate(per_second), Rate(end));
            let read: Rate = rate.to_string().parse().unwrap();
            prop_assert!((read.0 / rate.0 - 1.0).abs() <= 5.001e-4, "{rate} of {}", rate.0);
            prop_assert_eq!(read.to_string(), rate.to_string());
            let range = RateRange::new(rate, end).unwrap();
            let read: RateRange = range.to_string().parse().unwrap();
            prop_assert_eq!(read.to_string(), range.to_string());
        }

        #[test]
        fn rates_of_four_digits_and_whole_ones_parse_back_exactly(digits in 1u32..10_000, exponent in -6i8..3, whole in 1u32..) {
            let four_digits: Rate = format!("{}", f64::from(digits) / 10f64.powi(-i32::from(exponent))).parse().unwrap();
            for rate in [four_digits, Rate(f64::from(whole))] {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }

        #[test]
        fn printed_durations_parse_back(
            seconds in prop_oneof![Just(0), 0u64..1_000_000, any::<u64>()],
            nanos in prop_oneof![
                Just(0),
                0u32..1_000_000_000,
                (0u32..1_000).prop_map(|millis| millis * 1_000_000),
                0u32..10_000,
            ],
        ) {
            let duration = DurationText(Duration::new(seconds, nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*", numbers in "([0-9]{1,20}[.]?[0-9]{0,12} ?(ns|us|µs|ms|s|m|h|d|w|y)? ?){0,4}") {
            for text in [text, numbers] {
                let _ = text.parse::<Rate>();
                let _ = text.parse::<RateRange>();
                let _ = text.parse::<DurationText>();
            }
        }
    }
}
