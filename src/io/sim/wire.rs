//! Virtual time, the packets under way, and the noise.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::Rng;

use crate::base::{Nanos, RandomStream, Time};
use crate::io::{Errno, SlotIndex, TargetId};

/// The event queue and its clock: what happens at the same instant happens in the order it was scheduled.
pub(super) struct Wire {
    now: Time,
    one_way: Nanos,
    jitter: Nanos,
    random: RandomStream,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
}

/// One connection attempt of the whole network; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub u64);

/// What happens at an instant.
pub(super) enum Event {
    /// A SYN reaches its target.
    SynArrives(Syn),
    /// The client's kernel has waited long enough for an answer to its SYN.
    SynTimer(Syn),
    /// The client's kernel looks whether a connection has been silent for too long.
    KeepAliveTimer(SlotIndex, ConnectionId),
    /// Something reaches the target's kernel.
    AtTarget(TargetId, ConnectionId, ToTarget),
    /// Something reaches the client's kernel.
    AtClient(SlotIndex, ConnectionId, ToClient),
    /// The target's application looks at a connection: it was frozen when there was something to see.
    TargetPolls(TargetId, ConnectionId),
    /// A pause in a target's script is over.
    TargetActs(TargetId, ConnectionId),
    /// A session of the target has something to say unasked, or has waited for a hook.
    SessionWakes(TargetId, ConnectionId),
    /// A server of the target has finished a handshake.
    ServiceEnds(TargetId, ConnectionId),
}

/// A connection request.
#[derive(Clone, Copy)]
pub(super) struct Syn {
    pub id: ConnectionId,
    pub slot: SlotIndex,
    pub target: TargetId,
    pub opened_at: Time,
    /// 0 for the first SYN, counting its retransmissions.
    pub attempt: usize,
}

/// What travels from the client to a target.
pub(super) enum ToTarget {
    Data(Vec<u8>),
    /// The client's application has taken this many bytes in total: the window moves on.
    Window(u64),
    /// A keep-alive probe: the kernel answers it, whatever its application does.
    Probe,
    Fin,
    Rst,
}

/// What travels from a target to the client.
pub(super) enum ToClient {
    SynAck,
    /// An RST to the SYN, or an ICMP error.
    NoConnection(Errno),
    Data(Vec<u8>),
    /// The answer to a probe.
    Alive,
    Fin,
    Rst,
}

impl Wire {
    pub(super) fn new(start: Time, one_way: Nanos, jitter: Nanos, random: RandomStream) -> Self {
        Self { now: start, one_way, jitter, random, queue: BinaryHeap::new(), sequence: 0 }
    }

    pub(super) fn now(&self) -> Time {
        self.now
    }

    pub(super) fn schedule(&mut self, at: Time, event: Event) {
        assert!(at >= self.now, "an event cannot be scheduled in the past");
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    /// Sends something now: `last_arrival` is when the last thing sent the same way arrives, and the order is kept.
    pub(super) fn send(&mut self, last_arrival: &mut Time, event: Event) {
        let noise = self.uniform_up_to(self.jitter);
        *last_arrival = (self.now + self.one_way + noise).max(*last_arrival);
        self.schedule(*last_arrival, event);
    }

    /// When the next event happens.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse(next)| next.at)
    }

    /// The next event not later than `until`; the clock moves to its instant.
    pub(super) fn next_until(&mut self, until: Time) -> Option<Event> {
        if self.next_at()? > until {
            return None;
        }
        let Reverse(next) = self.queue.pop()?;
        self.now = next.at;
        Some(next.event)
    }

    /// Moves the clock on; all events up to `now` have been taken.
    pub(super) fn advance_to(&mut self, now: Time) {
        debug_assert!(now >= self.now && self.next_at().is_none_or(|next| next > now));
        self.now = now;
    }

    /// An exponentially distributed span with this mean.
    pub(super) fn exponential(&mut self, mean: Nanos) -> Nanos {
        if mean == Nanos::ZERO {
            return Nanos::ZERO;
        }
        let uniform = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        Nanos::new((-(1.0 - uniform).ln() * mean.as_u64() as f64) as u64)
    }

    fn uniform_up_to(&mut self, most: Nanos) -> Nanos {
        if most == Nanos::ZERO {
            return Nanos::ZERO;
        }
        let spans = u128::from(most.as_u64()) + 1;
        Nanos::new(((u128::from(self.random.next_u64()) * spans) >> 64) as u64)
    }
}

struct Scheduled {
    at: Time,
    sequence: u64,
    event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, StreamPurpose};

    fn wire() -> Wire {
        let random = Seed::new(1).stream(StreamPurpose::Simulation, 0);
        Wire::new(Time::ZERO, Nanos::ZERO, Nanos::ZERO, random)
    }

    #[test]
    fn exponential_noise_has_the_mean_asked_for() {
        let mut wire = wire();
        let mean = (0..10_000).map(|_| wire.exponential(Nanos::new(1_000)).as_u64()).sum::<u64>() / 10_000;
        assert!((950..1_050).contains(&mean), "{mean}");
    }

    #[test]
    fn jitter_takes_each_value_up_to_its_limit() {
        let mut wire = wire();
        let mut seen = [0; 4];
        (0..1_000).for_each(|_| seen[wire.uniform_up_to(Nanos::new(3)).as_u64() as usize] += 1);
        assert!(seen.iter().all(|&times| times > 200), "{seen:?}");
    }

    #[test]
    fn simultaneous_events_happen_in_the_order_they_were_scheduled() {
        let mut wire = wire();
        for (at, id) in [(2, 1), (1, 2), (2, 3), (1, 4)] {
            wire.schedule(Time::from_nanos(at), Event::TargetPolls(TargetId(0), ConnectionId(id)));
        }
        let mut order = vec![];
        while let Some(Event::TargetPolls(_, ConnectionId(id))) = wire.next_until(Time::from_nanos(2)) {
            order.push((wire.now().as_nanos(), id));
        }
        assert_eq!(order, [(1, 2), (1, 4), (2, 1), (2, 3)]);
    }
}
