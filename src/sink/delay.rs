//! Answers held back by `--delay`, in the order they fall due.

use crate::base::Time;

/// A queue of attempts whose deadlines never decrease, as the delay is the same for all.
///
/// The links lie in one array indexed by attempt, so that an attempt given up by its peer leaves the middle of the queue
/// at once and nothing is allocated after the start.
#[derive(Debug)]
pub(super) struct DelayQueue {
    links: Vec<Link>,
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    due: Time,
    previous: u32,
    next: u32,
}

/// The end of the queue.
const NONE: u32 = u32::MAX;

impl Link {
    const UNLINKED: Self = Self { due: Time::MAX, previous: NONE, next: NONE };
}

impl DelayQueue {
    /// An empty queue for attempts `0..attempts`.
    pub(super) fn new(attempts: u32) -> Self {
        Self { links: vec![Link::UNLINKED; attempts as usize], first: NONE, last: NONE }
    }

    /// Makes room for attempts `0..attempts`; none is taken away.
    pub(super) fn grow(&mut self, attempts: u32) {
        if self.links.len() < attempts as usize {
            self.links.resize(attempts as usize, Link::UNLINKED);
        }
    }

    /// When the first attempt falls due; [`Time::MAX`] if none waits.
    pub(super) fn next_due(&self) -> Time {
        self.links.get(self.first as usize).map_or(Time::MAX, |link| link.due)
    }

    /// Appends `attempt`, which must not be queued; `due` is not earlier than that of any attempt queued.
    pub(super) fn push(&mut self, attempt: u32, due: Time) {
        self.links[attempt as usize] = Link { due, previous: self.last, next: NONE };
        match self.links.get_mut(self.last as usize) {
            Some(last) => last.next = attempt,
            None => self.first = attempt,
        }
        self.last = attempt;
    }

    /// Takes the first attempt if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<u32> {
        let attempt = self.first;
        (self.next_due() <= now && attempt != NONE).then(|| {
            self.remove(attempt);
            attempt
        })
    }

    /// Takes `attempt`, which must be queued, out of the queue.
    pub(super) fn remove(&mut self, attempt: u32) {
        let Link { previous, next, .. } = self.links[attempt as usize];
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => self.first = next,
        }
        match self.links.get_mut(next as usize) {
            Some(link) => link.previous = previous,
            None => self.last = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn queue_of_three() -> DelayQueue {
        let mut queue = DelayQueue::new(3);
        for (attempt, due) in [(2, 10), (0, 10), (1, 20)] {
            queue.push(attempt, at(due));
        }
        queue
    }

    #[test]
    fn attempts_fall_due_in_order() {
        let mut queue = queue_of_three();
        assert_eq!((queue.next_due(), queue.pop_due(at(9))), (at(10), None));
        assert_eq!([queue.pop_due(at(10)), queue.pop_due(at(10)), queue.pop_due(at(10))], [Some(2), Some(0), None]);
        assert_eq!((queue.next_due(), queue.pop_due(at(99))), (at(20), Some(1)));
        assert_eq!((queue.next_due(), queue.pop_due(Time::MAX)), (Time::MAX, None));
    }

    #[test]
    fn any_attempt_leaves_at_once() {
        for gone in 0..3 {
            let mut queue = queue_of_three();
            queue.remove(gone);
            let left: Vec<u32> = std::iter::from_fn(|| queue.pop_due(at(20))).collect();
            let expected: Vec<u32> = [2, 0, 1].into_iter().filter(|&attempt| attempt != gone).collect();
            assert_eq!(left, expected, "without {gone}");
            queue.push(gone, at(30));
            assert_eq!(queue.pop_due(at(30)), Some(gone));
        }
    }
}
