//! When a client that lost its connection comes back.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::base::{DurationText, Nanos, RandomStream};

/// The back-off rule of a kind of client. Written `obs`, `nginx-rtmp` or `flat 3s`, in files too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Reconnect {
    /// OBS Studio with its default settings (retry delay 2 s, 25 retries): 2 s after the loss, then 1.5 times as long
    /// after each failed try, at most 15 minutes; it gives up after 25 tries. Each client draws its own factor once, from
    /// 1.45 to 1.55.
    ///
    /// Source: `output_reconnect` in obs-studio's `libobs/obs-output.c`, whose arithmetic is repeated here: whole
    /// milliseconds, truncated, times a single-precision factor.
    Obs,
    /// The relay of nginx-rtmp: 3 s after the loss and after each failed try, for ever (its defaults of
    /// `push_reconnect` and `pull_reconnect`).
    NginxRtmp,
    /// The same delay after the loss and after each failed try, for ever.
    Flat {
        /// The delay in nanoseconds, above zero.
        delay_ns: u64,
    },
}

/// Where one client stands in its rule: how long it waits for its next try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    delay: Nanos,
    /// By what OBS lengthens its delay; 1 under the other rules.
    factor: f32,
    /// Tries since the loss, the one that comes next included; counted only where the rule gives up.
    tries: u8,
}

const _: () = assert!(size_of::<Backoff>() <= 16, "one for each client of a fleet");

/// A text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a reconnect rule ({cause}): write obs, nginx-rtmp, or flat and a delay, for example flat 3s")]
pub struct ReconnectError {
    text: String,
    cause: String,
}

const OBS_FIRST_DELAY: Nanos = Nanos::from_secs(2);
const OBS_LONGEST_DELAY_MS: u32 = 15 * 60 * 1_000;
const OBS_FACTOR: f32 = 1.5;
const OBS_FACTOR_SPREAD: f32 = 0.05;
const OBS_TRIES: u8 = 25;
const NGINX_RTMP_DELAY: Nanos = Nanos::from_secs(3);

impl Reconnect {
    /// The state of a client that has lost its connection for the first time. Only OBS draws from `random`.
    pub fn first(&self, random: &mut RandomStream) -> Backoff {
        let factor = match self {
            Self::Obs => {
                let from_minus_1_to_1 = f64::from(random.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
                OBS_FACTOR + from_minus_1_to_1 as f32 * OBS_FACTOR_SPREAD
            }
            Self::NginxRtmp | Self::Flat { .. } => 1.0,
        };
        Backoff { delay: self.first_delay(), factor, tries: 1 }
    }

    /// How long a client waits before its first try after a loss.
    pub const fn first_delay(self) -> Nanos {
        match self {
            Self::Obs => OBS_FIRST_DELAY,
            Self::NginxRtmp => NGINX_RTMP_DELAY,
            Self::Flat { delay_ns } => Nanos::new(delay_ns),
        }
    }
}

impl Backoff {
    /// How long after the loss, or after the end of the failed try, the next try comes.
    pub const fn delay(&self) -> Nanos {
        self.delay
    }

    /// The state after one more failed try; `None` if the client gives up. `rule` is the one that [`Reconnect::first`]
    /// was called on.
    pub fn after_failure(self, rule: Reconnect) -> Option<Self> {
        match rule {
            Reconnect::Obs if self.tries == OBS_TRIES => None,
            Reconnect::Obs => {
                let delay_ms = self.delay.as_u64() / 1_000_000;
                let longer_ms = (delay_ms as f32 * self.factor) as u32;
                let delay = Nanos::from_millis(longer_ms.min(OBS_LONGEST_DELAY_MS).into());
                Some(Self { delay, tries: self.tries + 1, ..self })
            }
            Reconnect::NginxRtmp | Reconnect::Flat { .. } => Some(self),
        }
    }

    /// The state after the loss of a connection that had recovered: delay and tries begin anew, OBS keeps its factor
    /// (it draws one when the output is made). `rule` is the one that [`Reconnect::first`] was called on.
    pub const fn after_loss(self, rule: Reconnect) -> Self {
        Self { delay: rule.first_delay(), factor: self.factor, tries: 1 }
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obs => f.pad("obs"),
            Self::NginxRtmp => f.pad("nginx-rtmp"),
            Self::Flat { delay_ns } => f.pad(&format!("flat {}", DurationText(Nanos::new(*delay_ns).into()))),
        }
    }
}

impl FromStr for Reconnect {
    type Err = ReconnectError;

    fn from_str(text: &str) -> Result<Self, ReconnectError> {
        let error = |cause: &str| ReconnectError { text: text.to_owned(), cause: cause.to_owned() };
        let (name, delay) = match text.trim().split_once(char::is_whitespace) {
            Some((name, delay)) => (name, Some(delay)),
            None => (text.trim(), None),
        };
        match (name, delay) {
            ("obs", None) => Ok(Self::Obs),
            ("nginx-rtmp", None) => Ok(Self::NginxRtmp),
            ("obs" | "nginx-rtmp", Some(_)) => Err(error("its delays are fixed")),
            ("flat", None) => Err(error("it lacks its delay")),
            ("flat", Some(delay)) => {
                let DurationText(delay) = delay.parse().map_err(|_| error("its delay is not a duration"))?;
                match Nanos::from(delay) {
                    Nanos::ZERO => Err(error("without a delay it would never pause")),
                    Nanos::MAX => Err(error("its delay is too long")),
                    delay => Ok(Self::Flat { delay_ns: delay.as_u64() }),
                }
            }
            _ => Err(error("no rule has this name")),
        }
    }
}

impl From<Reconnect> for String {
    fn from(rule: Reconnect) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for Reconnect {
    type Error = ReconnectError;

    fn try_from(text: String) -> Result<Self, ReconnectError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use std::iter::successors;

    use proptest::prelude::*;

    use super::*;
    use crate::base::{Seed, StreamPurpose};

    fn random(seed: u64) -> RandomStream {
        Seed::new(seed).stream(StreamPurpose::Reconnects, 0)
    }

    /// The delays of a client none of whose tries succeeds.
    fn delays(first: Backoff, rule: Reconnect) -> impl Iterator<Item = Nanos> {
        successors(Some(first), move |backoff| backoff.after_failure(rule)).map(|backoff| backoff.delay())
    }

    fn obs(factor: f32) -> Vec<u64> {
        let first = Backoff { factor, ..Reconnect::Obs.first(&mut random(0)) };
        delays(first, Reconnect::Obs).map(|delay| delay.as_u64() / 1_000_000).collect()
    }

    #[test]
    fn obs_lengthens_its_delay_in_whole_milliseconds() {
        let delays_ms = obs(1.5);
        assert_eq!(delays_ms[..9], [2_000, 3_000, 4_500, 6_750, 10_125, 15_187, 22_780, 34_170, 51_255]);
        assert_eq!(
            delays_ms[15..],
            [875_731, 900_000, 900_000, 900_000, 900_000, 900_000, 900_000, 900_000, 900_000, 900_000]
        );
    }

    #[test]
    fn rules_without_an_end_keep_their_delay() {
        for (rule, delay) in [
            (Reconnect::NginxRtmp, Nanos::from_secs(3)),
            (Reconnect::Flat { delay_ns: 250_000_000 }, Nanos::from_millis(250)),
        ] {
            let first = rule.first(&mut random(1));
            assert!(delays(first, rule).take(1_000).all(|each| each == delay));
            assert_eq!(delays(first, rule).take(1_000).count(), 1_000);
            assert_eq!(first.after_loss(rule), first);
        }
    }

    #[test]
    fn only_obs_draws() {
        let mut stream = random(1);
        Reconnect::NginxRtmp.first(&mut stream);
        Reconnect::Flat { delay_ns: 1 }.first(&mut stream);
        assert_eq!(stream, random(1));
        Reconnect::Obs.first(&mut stream);
        assert_ne!(stream, random(1));
    }

    #[test]
    fn rules_are_read_back() {
        for (text, rule) in [
            ("obs", Reconnect::Obs),
            ("nginx-rtmp", Reconnect::NginxRtmp),
            ("flat 3s", Reconnect::Flat { delay_ns: 3_000_000_000 }),
            ("flat 1m30s", Reconnect::Flat { delay_ns: 90_000_000_000 }),
        ] {
            assert_eq!(text.parse(), Ok(rule));
            assert_eq!(rule.to_string(), text);
            assert_eq!(serde_json::to_value(rule).unwrap(), text);
            assert_eq!(serde_json::from_value::<Reconnect>(text.into()).unwrap(), rule);
        }
        assert_eq!("  flat   500 ms ".parse(), Ok(Reconnect::Flat { delay_ns: 500_000_000 }));
    }

    #[test]
    fn says_what_is_wrong() {
        let rules = "write obs, nginx-rtmp, or flat and a delay, for example flat 3s";
        for (text, cause) in [
            ("", "no rule has this name"),
            ("vlc", "no rule has this name"),
            ("obs 2s", "its delays are fixed"),
            ("flat", "it lacks its delay"),
            ("flat 3", "its delay is not a duration"),
            ("flat 0s", "without a delay it would never pause"),
            ("flat 600y", "its delay is too long"),
        ] {
            let error = text.parse::<Reconnect>().unwrap_err().to_string();
            assert_eq!(error, format!("'{text}' is not a reconnect rule ({cause}): {rules}"));
            assert!(serde_json::from_value::<Reconnect>(text.into()).is_err());
        }
    }

    proptest! {
        #[test]
        fn obs_tries_25_times_at_growing_delays(seed in any::<u64>()) {
            let first = Reconnect::Obs.first(&mut random(seed));
            let all: Vec<Nanos> = delays(first, Reconnect::Obs).collect();
            prop_assert_eq!(all.len(), 25);
            prop_assert_eq!(all[0], Nanos::from_secs(2));
            prop_assert!(all.is_sorted());
            prop_assert_eq!(all[24], Nanos::from_secs(15 * 60));
            prop_assert!(all.iter().all(|delay| delay.as_u64() % 1_000_000 == 0));
        }

        #[test]
        fn the_factor_of_obs_bounds_every_delay_and_their_sum(seed in any::<u64>()) {
            let first = Reconnect::Obs.first(&mut random(seed));
            let all: Vec<u64> = delays(first, Reconnect::Obs).map(|delay| delay.as_u64() / 1_000_000).collect();
            for ((delay, least), most) in all.iter().zip(obs(1.45)).zip(obs(1.55)) {
                prop_assert!((least..=most).contains(delay), "{least} <= {delay} <= {most}");
            }
            // About three hours: without truncation 2 s * (f^n - 1) / (f - 1) until 15 minutes are reached.
            let sum: u64 = all.iter().sum();
            prop_assert!((9_600_000..11_600_000).contains(&sum), "{sum} ms");
        }

        #[test]
        fn a_seed_repeats_its_fleet(seed in any::<u64>()) {
            let fleet = |mut random: RandomStream| -> Vec<Backoff> {
                (0..100).map(|_| Reconnect::Obs.first(&mut random)).collect()
            };
            let clients = fleet(random(seed));
            prop_assert_eq!(&clients, &fleet(random(seed)));
            prop_assert!(clients.windows(2).any(|pair| pair[0].factor != pair[1].factor), "each has its own factor");
        }

        #[test]
        fn a_later_loss_begins_anew_with_the_same_factor(seed in any::<u64>(), failures in 0_usize..24) {
            let first = Reconnect::Obs.first(&mut random(seed));
            let recovered = (0..failures).try_fold(first, |backoff, _| backoff.after_failure(Reconnect::Obs)).unwrap();
            prop_assert_eq!(recovered.after_loss(Reconnect::Obs), first);
        }
    }
}
