//! What a sink has seen, and how its workers show it to other threads.

use std::fmt;
use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Declares [`SinkCounts`] and its views as an array, in the order of the list.
macro_rules! counters {
    ($(#[$about:meta])* pub struct SinkCounts { $($(#[$doc:meta])* $name:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct SinkCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl SinkCounts {
            const fn to_array(self) -> [u64; NAMES.len()] {
                [$(self.$name),*]
            }

            const fn from_array([$($name),*]: [u64; NAMES.len()]) -> Self {
                Self { $($name),* }
            }
        }
    };
}

counters! {
    /// Connections, handshakes and sessions seen by a sink since its start.
    ///
    /// Every accepted connection ends in exactly one of `c2_valid`, `c2_echo`, `c2_invalid`, `c2_unchecked`,
    /// `violations` and `abandoned`, or is still open without a C2.
    pub struct SinkCounts {
        /// Connections accepted.
        accepted,
        /// C1s that carry a digest.
        complex,
        /// C1s that carry none.
        simple,
        /// C2s signed from S1's digest.
        c2_valid,
        /// C2s that repeat S1, as those of simple clients do.
        c2_echo,
        /// C2s that are neither.
        c2_invalid,
        /// C2s nobody looked at (see [`Verify`](super::Verify)).
        c2_unchecked,
        /// Connections that ended by the peer's RST (or another error of the socket), whether before C2 or after it.
        reset,
        /// Connections that did not speak RTMP; they were closed by RST.
        violations,
        /// Connections that the peer ended, by FIN or RST, before its C2 was complete.
        abandoned,
        /// Accepts that failed for want of a slot, a file or memory; each may have cost a client its connection.
        refused,
        /// `connect` commands accepted.
        connected,
        /// `publish` commands accepted.
        published,
        /// `play` commands accepted.
        played,
        /// Commands refused by a rule.
        rejected,
        /// Bytes of audio, video and data that publishers sent, without the headers of their chunks.
        media_bytes,
        /// Messages of audio, video and data that publishers began to send.
        media_messages,
        /// Connections that broke the protocol after the handshake; they were closed by RST.
        bad_messages,
        /// Times that all slots of a worker were in use, so that further connections waited to be accepted.
        full,
        /// Connections open now.
        held,
    }
}

impl Sum for SinkCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        let mut sum = [0; NAMES.len()];
        for each in counts {
            for (total, counter) in sum.iter_mut().zip(each.to_array()) {
                *total += counter;
            }
        }
        Self::from_array(sum)
    }
}

impl fmt::Display for SinkCounts {
    /// A counter a line: its name, a space, its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, counter)) in NAMES.iter().zip(self.to_array()).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{name} {counter}")?;
        }
        Ok(())
    }
}

/// One worker's counts as other threads see them. Aligned to the pair of cache lines that x86 prefetches together, so
/// that no worker writes to a line another one uses.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct PublishedCounts([AtomicU64; NAMES.len()]);

impl PublishedCounts {
    /// Shows `counts` to readers; called by the owning worker only.
    pub(super) fn publish(&self, counts: SinkCounts) {
        for (published, counter) in self.0.iter().zip(counts.to_array()) {
            published.store(counter, Ordering::Relaxed);
        }
    }

    /// What was published last; counters of two publications may mix.
    pub(super) fn read(&self) -> SinkCounts {
        SinkCounts::from_array(std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered() -> SinkCounts {
        SinkCounts::from_array(std::array::from_fn(|index| index as u64 + 1))
    }

    #[test]
    fn prints_a_counter_a_line() {
        let text = numbered().to_string();
        let expected = "accepted 1\ncomplex 2\nsimple 3\nc2_valid 4\nc2_echo 5\nc2_invalid 6\nc2_unchecked 7\nreset 8\n\
                        violations 9\nabandoned 10\nrefused 11\nconnected 12\npublished 13\nplayed 14\nrejected 15\n\
                        media_bytes 16\nmedia_messages 17\nbad_messages 18\nfull 19\nheld 20";
        assert_eq!(text, expected);
    }

    #[test]
    fn text_and_json_use_the_same_names() {
        let json = serde_json::to_value(numbered()).unwrap();
        for line in numbered().to_string().lines() {
            let (name, counter) = line.split_once(' ').unwrap();
            assert_eq!(json[name].to_string(), counter, "{name}");
        }
    }

    #[test]
    fn published_counts_read_back_and_add_up() {
        let workers = [PublishedCounts::default(), PublishedCounts::default()];
        for worker in &workers {
            worker.publish(numbered());
        }
        assert_eq!(workers[0].read(), numbered());
        let sum: SinkCounts = workers.iter().map(PublishedCounts::read).sum();
        assert_eq!((sum.accepted, sum.held), (2, 40));
    }
}
