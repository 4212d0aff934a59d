//! Parts of a load.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most parts into which a user may split a load over machines; each may be split again over as many workers.
pub const MAX_SHARES: u32 = 65_535;

/// A machine's or worker's part of the arrivals: arrival k belongs to part k mod `count`.
///
/// The parts of any split, nested ones included, are disjoint, and their union is the whole plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Share {
    /// Which part, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

/// Why a text or a pair of numbers is not a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The text is not two numbers.
    #[error("'{0}' is not a share: write I/N, for example 0/3 for the first of three machines")]
    Syntax(String),
    /// No parts, or too many.
    #[error("a load cannot be split into {0} shares: the number must be from 1 to {MAX_SHARES}, for example 0/3")]
    Count(u32),
    /// The part is not one of the parts.
    #[error("share {index}/{count} does not exist: shares count from 0, the last of {count} is {last}/{count}", last = count - 1)]
    Index {
        /// The part asked for.
        index: u32,
        /// The number of parts.
        count: u32,
    },
}

impl Share {
    /// All arrivals.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Part `index` of `count`, counted from 0.
    pub fn new(index: u32, count: u32) -> Result<Self, ShareError> {
        if count == 0 || count > MAX_SHARES {
            Err(ShareError::Count(count))
        } else if index >= count {
            Err(ShareError::Index { index, count })
        } else {
            Ok(Self { index, count })
        }
    }

    /// This share's part for `worker` of `workers`: of its own arrivals, every `workers`-th.
    ///
    /// # Panics
    /// If `worker` is not below `workers`, or if there would be more than 2^32 parts in all.
    pub const fn split(self, worker: u32, workers: u32) -> Self {
        assert!(worker < workers, "workers count from 0");
        match self.count.checked_mul(workers) {
            Some(count) => Self { index: self.index + self.count * worker, count },
            None => panic!("a load has at most 2^32 parts"),
        }
    }

    /// Whether arrival or stream `number` is this share's.
    pub(super) fn owns(self, number: u32) -> bool {
        number % self.count == self.index
    }

    /// This share's first arrival from number `from` on.
    pub(super) fn first_from(self, from: u64) -> u64 {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        from + (index + count - from % count) % count
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let parse = |number: &str| number.trim().parse().ok();
        text.split_once('/')
            .and_then(|(index, count)| Some((parse(index)?, parse(count)?)))
            .ok_or_else(|| ShareError::Syntax(text.to_owned()))
            .and_then(|(index, count)| Self::new(index, count))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// A share as read from a file, before it is checked.
#[derive(Deserialize)]
struct Parts {
    index: u32,
    count: u32,
}

impl TryFrom<Parts> for Share {
    type Error = ShareError;

    fn try_from(parts: Parts) -> Result<Self, ShareError> {
        Self::new(parts.index, parts.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_prints() {
        assert_eq!("0/3".parse(), Ok(Share { index: 0, count: 3 }));
        assert_eq!("2/3".parse::<Share>().unwrap().to_string(), "2/3");
        let json = serde_json::to_string(&Share { index: 2, count: 3 }).unwrap();
        assert_eq!(json, r#"{"index":2,"count":3}"#);
        assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), Share { index: 2, count: 3 });
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("", "'' is not a share: write I/N, for example 0/3 for the first of three machines"),
            ("1", "'1' is not a share: write I/N, for example 0/3 for the first of three machines"),
            ("-1/3", "'-1/3' is not a share: write I/N, for example 0/3 for the first of three machines"),
            ("3/3", "share 3/3 does not exist: shares count from 0, the last of 3 is 2/3"),
            ("0/0", "a load cannot be split into 0 shares: the number must be from 1 to 65535, for example 0/3"),
            (
                "0/65536",
                "a load cannot be split into 65536 shares: the number must be from 1 to 65535, for example 0/3",
            ),
        ] {
            assert_eq!(text.parse::<Share>().unwrap_err().to_string(), message);
        }
        assert!(serde_json::from_str::<Share>(r#"{"index":1,"count":0}"#).is_err());
    }

    proptest! {
        #[test]
        fn nested_splits_own_each_arrival_once(machines in 1u32..20, workers in 1u32..20, arrival in any::<u32>()) {
            let owners = (0..machines)
                .map(|machine| Share::new(machine, machines).unwrap())
                .flat_map(|machine| (0..workers).map(move |worker| (machine, machine.split(worker, workers))))
                .filter(|(_, worker)| worker.owns(arrival))
                .collect::<Vec<_>>();
            prop_assert_eq!(owners.len(), 1);
            prop_assert!(owners[0].0.owns(arrival));
        }

        #[test]
        fn the_first_own_arrival_is_the_nearest(index in 0u32..50, more in 1u32..50, from in 0u64..1 << 48) {
            let share = Share::new(index, index + more).unwrap();
            let nearest = (from..).find(|k| k % u64::from(share.count) == u64::from(share.index)).unwrap();
            prop_assert_eq!(share.first_from(from), nearest);
        }
    }
}
