//! How many clients a closed loop may have at once, over time.

use super::Share;
use crate::base::Nanos;

/// A stretch of a closed loop: the number of clients stays, or goes evenly from one number to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Clients allowed at the start.
    pub from: u32,
    /// Clients allowed at the end.
    pub to: u32,
    /// How long it lasts; [`Nanos::MAX`] is "until stopped", for a last step of constant number only.
    pub length: Nanos,
    /// The stage of the run that its attempts are counted under.
    pub stage: u16,
    /// Whether its attempts take from the [`Quota`](super::Quota).
    pub counts: bool,
}

/// The whole plan of a closed loop: steps one after the other.
///
/// A step holds from its first instant to before the first of the next. A ramp from A to B over T allows
/// A + floor((B - A) t / T) at t when it rises and A - floor((A - B) t / T) when it falls: whole clients, of which the
/// last comes or goes exactly at the step's end, so that two ramps meet without a jump.
#[derive(Clone, Debug)]
pub struct ConcurrencyPlan {
    steps: Vec<PlannedStep>,
    end: Nanos,
}

/// Why a closed loop cannot be planned. Steps are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConcurrencyError {
    /// No steps.
    #[error("a closed loop needs at least one stage, for example a concurrency of 64 for 10s")]
    Empty,
    /// A step that lasts no time.
    #[error("stage {step} lasts no time: give it a length, for example 10s")]
    NoLength {
        /// Which step.
        step: usize,
    },
    /// A step without an end that is not the last.
    #[error("stage {step} has no end, so the stages after it would never begin: give it a length")]
    EndlessNotLast {
        /// Which step.
        step: usize,
    },
    /// A ramp without an end.
    #[error("stage {step} has no end: only a concurrency that stays can go on until stopped, so give it a length")]
    EndlessRamp {
        /// Which step.
        step: usize,
    },
    /// No step ever allows a client.
    #[error("the stages allow no client at any time: make one concurrency at least 1, or a ramp reach 2")]
    NoClients,
    /// Longer than nanoseconds can count.
    #[error("the stages last longer than 584 years: shorten them")]
    TooLong,
}

impl ConcurrencyPlan {
    /// Plans `steps` one after the other; the first begins at `begins`.
    pub fn new(begins: Nanos, steps: Vec<Step>) -> Result<Self, ConcurrencyError> {
        let last = steps.len().checked_sub(1).ok_or(ConcurrencyError::Empty)?;
        let mut end = begins;
        let mut planned = Vec::with_capacity(steps.len());
        for (index, step) in steps.into_iter().enumerate() {
            let begins = end;
            end = end_of(&step, begins, index, index == last)?;
            planned.push(PlannedStep { begins, step });
        }
        if planned.iter().all(|step| step.most() == 0) {
            return Err(ConcurrencyError::NoClients);
        }
        Ok(Self { steps: planned, end })
    }

    /// When the last step ends; [`Nanos::MAX`] if it goes on until stopped.
    pub fn end(&self) -> Nanos {
        self.end
    }

    /// The highest number that any step has at its start or end. No more is allowed at any time.
    pub fn peak(&self) -> u32 {
        self.steps.iter().map(|PlannedStep { step, .. }| step.from.max(step.to)).max().unwrap_or(0)
    }

    /// The number of clients allowed at `t`, over all parts, and the step that says so. `None` before the first step and
    /// from the end on.
    pub fn at(&self, t: Nanos) -> Option<(u32, &Step)> {
        let (step, _) = self.step_at(t)?;
        Some((step.allowed(t), &step.step))
    }

    /// The next instant after `t` at which the number allowed to part `share` changes, or a step begins or ends: the
    /// first beginning and the last end are among them. `None` when nothing changes any more.
    pub fn next_change(&self, t: Nanos, share: Share) -> Option<Nanos> {
        let Some((step, end)) = self.step_at(t) else {
            let first = self.steps[0].begins;
            return (t < first).then_some(first);
        };
        let next = step.next_change(t, share).map_or(end, |change| change.min(end));
        (next < Nanos::MAX).then_some(next)
    }

    /// How many of `total` clients are part `share`'s: those numbers k from 0 to before `total` with k mod `share.count`
    /// equal to `share.index`.
    pub fn part(total: u32, share: Share) -> u32 {
        total.saturating_sub(share.index).div_ceil(share.count)
    }

    /// The step that holds at `t`, and when it ends.
    fn step_at(&self, t: Nanos) -> Option<(&PlannedStep, Nanos)> {
        let begun = self.steps.partition_point(|step| step.begins <= t);
        let step = &self.steps[begun.checked_sub(1)?];
        let end = self.steps.get(begun).map_or(self.end, |next| next.begins);
        (t < end).then_some((step, end))
    }
}

fn end_of(step: &Step, begins: Nanos, index: usize, is_last: bool) -> Result<Nanos, ConcurrencyError> {
    let number = index + 1;
    match step.length {
        Nanos::ZERO => Err(ConcurrencyError::NoLength { step: number }),
        Nanos::MAX if !is_last => Err(ConcurrencyError::EndlessNotLast { step: number }),
        Nanos::MAX if step.from != step.to => Err(ConcurrencyError::EndlessRamp { step: number }),
        Nanos::MAX => Ok(Nanos::MAX),
        length => match begins + length {
            Nanos::MAX => Err(ConcurrencyError::TooLong),
            end => Ok(end),
        },
    }
}

/// A step and its place in the plan.
#[derive(Clone, Copy, Debug)]
struct PlannedStep {
    begins: Nanos,
    step: Step,
}

impl PlannedStep {
    /// Clients allowed at `t`, an instant of this step.
    fn allowed(&self, t: Nanos) -> u32 {
        let Step { from, to, length, .. } = self.step;
        let since = t.saturating_sub(self.begins);
        let moved = u128::from(from.abs_diff(to)) * u128::from(since.as_u64()) / u128::from(length.as_u64());
        if from <= to { from + moved as u32 } else { from - moved as u32 }
    }

    /// The most clients it allows at any of its instants.
    fn most(&self) -> u32 {
        let last = self.step.length.saturating_sub(Nanos::new(1));
        self.step.from.max(self.allowed(self.begins + last))
    }

    /// The next instant after `t` at which the part's number changes, if the step lasts until then.
    fn next_change(&self, t: Nanos, share: Share) -> Option<Nanos> {
        let Step { from, to, length, .. } = self.step;
        let allowed = self.allowed(t);
        // Clients are numbered from 0; those below the number allowed may be there.
        let distance = if from < to {
            let next_to_come = share.first_from(allowed.into());
            next_to_come + 1 - u64::from(from)
        } else {
            let last_of_part = ConcurrencyPlan::part(allowed, share).checked_sub(1)?;
            let next_to_go = u64::from(share.index) + u64::from(last_of_part) * u64::from(share.count);
            u64::from(from) - next_to_go
        };
        let range = from.abs_diff(to);
        if distance > range.into() {
            return None;
        }
        let since = (u128::from(distance) * u128::from(length.as_u64())).div_ceil(range.into());
        Some(self.begins + Nanos::new(since as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Nanos = Nanos::from_secs(1);

    fn step(from: u32, to: u32, length: Nanos) -> Step {
        Step { from, to, length, stage: 0, counts: true }
    }

    fn plan(steps: &[Step]) -> ConcurrencyPlan {
        ConcurrencyPlan::new(SECOND, steps.to_vec()).unwrap()
    }

    /// Every change after `t` that the plan names.
    fn changes(plan: &ConcurrencyPlan, t: Nanos, share: Share) -> Vec<Nanos> {
        std::iter::successors(plan.next_change(t, share), |t| plan.next_change(*t, share)).collect()
    }

    fn allowed(plan: &ConcurrencyPlan, nanos: u64) -> Option<u32> {
        plan.at(Nanos::new(nanos)).map(|(allowed, _)| allowed)
    }

    #[test]
    fn steps_follow_each_other() {
        let steps =
            [step(0, 4, SECOND), Step { stage: 1, ..step(4, 4, SECOND) }, Step { stage: 2, ..step(4, 1, SECOND) }];
        let plan = plan(&steps);
        assert_eq!((plan.end(), plan.peak()), (Nanos::from_secs(4), 4));
        let at = |millis| plan.at(Nanos::from_millis(millis)).map(|(allowed, step)| (allowed, step.stage));
        assert_eq!((at(0), at(999), at(4_000)), (None, None, None));
        assert_eq!(
            (at(1_000), at(1_249), at(1_250), at(1_999)),
            (Some((0, 0)), Some((0, 0)), Some((1, 0)), Some((3, 0)))
        );
        assert_eq!((at(2_000), at(3_000), at(3_333)), (Some((4, 1)), Some((4, 2)), Some((4, 2))));
        assert_eq!((at(3_334), at(3_999)), (Some((3, 2)), Some((2, 2))));

        let ms = |share| -> Vec<u64> {
            changes(&plan, Nanos::ZERO, share).into_iter().map(|t| t.as_u64().div_ceil(1_000_000)).collect()
        };
        assert_eq!(ms(Share::WHOLE), [1_000, 1_250, 1_500, 1_750, 2_000, 3_000, 3_334, 3_667, 4_000]);
        assert_eq!(ms(Share { index: 1, count: 2 }), [1_000, 1_500, 2_000, 3_000, 3_334, 4_000]);
        assert_eq!(ms(Share { index: 9, count: 10 }), [1_000, 2_000, 3_000, 4_000], "steps begin for everyone");
    }

    #[test]
    fn a_last_step_may_go_on_until_stopped() {
        let plan = plan(&[step(0, 8, SECOND), step(8, 8, Nanos::MAX)]);
        assert_eq!(plan.end(), Nanos::MAX);
        assert_eq!(plan.next_change(Nanos::from_secs(2), Share::WHOLE), None);
        assert_eq!(allowed(&plan, u64::MAX - 1), Some(8));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let length = Nanos::new(u64::MAX - 1_000_000_001);
        for (from, to, at_last, number_of_changes) in [(0, u32::MAX, u32::MAX - 1, 2), (u32::MAX, 0, 1, 3)] {
            let plan = plan(&[step(from, to, length)]);
            assert_eq!(plan.end(), Nanos::new(u64::MAX - 1));
            assert_eq!(allowed(&plan, u64::MAX - 2), Some(at_last));
            let share = Share { index: u32::MAX - 1, count: u32::MAX };
            assert_eq!(changes(&plan, Nanos::ZERO, share).len(), number_of_changes);
        }
        assert_eq!(ConcurrencyPlan::part(u32::MAX, Share { index: 0, count: u32::MAX }), 1);
    }

    #[test]
    fn says_what_cannot_be_planned() {
        use ConcurrencyError::*;
        let error = |begins, steps: &[Step]| ConcurrencyPlan::new(begins, steps.to_vec()).map(|_| ()).unwrap_err();
        let good = step(1, 1, SECOND);
        assert_eq!(error(SECOND, &[]), Empty);
        assert_eq!(error(SECOND, &[good, step(1, 1, Nanos::ZERO)]), NoLength { step: 2 });
        assert_eq!(error(SECOND, &[step(1, 1, Nanos::MAX), good]), EndlessNotLast { step: 1 });
        assert_eq!(error(SECOND, &[good, step(1, 2, Nanos::MAX)]), EndlessRamp { step: 2 });
        assert_eq!(error(SECOND, &[step(0, 0, SECOND)]), NoClients);
        assert_eq!(error(SECOND, &[step(0, 1, SECOND)]), NoClients, "its client may come when all is over");
        assert_eq!(error(Nanos::new(u64::MAX - 5), &[good]), TooLong);
        for (wrong, text) in [
            (Empty, "a closed loop needs at least one stage, for example a concurrency of 64 for 10s"),
            (NoLength { step: 2 }, "stage 2 lasts no time: give it a length, for example 10s"),
            (NoClients, "the stages allow no client at any time: make one concurrency at least 1, or a ramp reach 2"),
        ] {
            assert_eq!(wrong.to_string(), text);
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let number = || 0_u32..12;
        prop::collection::vec((number(), number(), 1_u64..40, any::<bool>()), 1..5).prop_map(|steps| {
            (0..)
                .zip(steps)
                .map(|(stage, (from, to, length, stays))| Step {
                    stage,
                    ..step(from, if stays { from } else { to }, Nanos::new(length))
                })
                .collect()
        })
    }

    fn share() -> impl Strategy<Value = Share> {
        (0_u32..6, 1_u32..6).prop_map(|(index, more)| Share { index, count: index + more })
    }

    proptest! {
        #[test]
        fn next_change_visits_every_change_and_nothing_else(steps in steps(), share in share(), begins in 0_u64..20) {
            let Ok(plan) = ConcurrencyPlan::new(Nanos::new(begins), steps) else { return Ok(()) };
            // Lengths of a few nanoseconds, so that every instant can be looked at.
            let seen = |t: u64| plan.at(Nanos::new(t)).map(|(allowed, step)| (ConcurrencyPlan::part(allowed, share), step.stage));
            let sampled: Vec<Nanos> =
                (1..=plan.end().as_u64()).filter(|&t| seen(t) != seen(t - 1)).map(Nanos::new).collect();
            let named = changes(&plan, Nanos::ZERO, share);
            prop_assert!(named.is_sorted_by(|a, b| a < b), "{named:?}");
            prop_assert_eq!(named, sampled);
        }

        #[test]
        fn parts_sum_up_to_the_whole(total in any::<u32>(), count in 1_u32..500) {
            let parts = (0..count).map(|index| u64::from(ConcurrencyPlan::part(total, Share { index, count })));
            prop_assert_eq!(parts.sum::<u64>(), u64::from(total));
        }

        #[test]
        fn a_part_is_the_clients_it_owns(total in 0_u32..300, share in share()) {
            prop_assert_eq!(ConcurrencyPlan::part(total, share), (0..total).filter(|k| k % share.count == share.index).count() as u32);
        }

        #[test]
        fn ramps_move_one_way_from_one_end_to_the_other(
            from in any::<u32>(),
            to in any::<u32>(),
            length in 1_u64..1 << 50,
            instants in prop::collection::vec(any::<prop::sample::Index>(), 50),
        ) {
            let steps = vec![step(from, to, Nanos::new(length)), step(to, to, SECOND)];
            let Ok(plan) = ConcurrencyPlan::new(Nanos::ZERO, steps) else { return Ok(()) };
            let mut instants: Vec<u64> = instants.iter().map(|index| index.index(length as usize) as u64).collect();
            instants.sort_unstable();
            let numbers: Vec<u32> = instants.iter().filter_map(|&t| allowed(&plan, t)).collect();
            prop_assert_eq!(numbers.len(), 50);
            let one_way = |a: &u32, b: &u32| if from <= to { a <= b } else { a >= b };
            prop_assert!(numbers.is_sorted_by(one_way), "{:?}", numbers);
            prop_assert!(numbers.iter().all(|number| (from.min(to)..=from.max(to)).contains(number)));
            prop_assert_eq!((allowed(&plan, 0), allowed(&plan, length)), (Some(from), Some(to)));
            prop_assert!(numbers.iter().all(|&number| number <= plan.peak()));
        }
    }
}
