//! Turns among entries of different weight.

/// Deals turns to weighted entries by smooth weighted round robin, so it needs no randomness: in each cycle of as many
/// turns as the weights sum up to, every entry has exactly its weight, and its turns are spread over the cycle. Weights
/// 3 and 1 give 0, 0, 1, 0 and so on.
#[derive(Clone, Debug)]
pub struct WeightedTurns {
    entries: Box<[Entry]>,
    sum: i64,
    /// Where equal entries stand, which have their turns one after the other; else none.
    round_robin: Option<usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    weight: i64,
    /// What its past turns owe it; the credits of all entries sum up to zero.
    credit: i64,
}

impl WeightedTurns {
    /// Entries in order, each with its weight.
    ///
    /// # Panics
    /// If no weight is above zero.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let entries: Box<[Entry]> =
            weights.into_iter().map(|weight| Entry { weight: i64::from(weight), credit: 0 }).collect();
        let sum = entries.iter().map(|entry| entry.weight).sum();
        assert!(sum > 0, "one weight at least is above zero");
        let equal = entries.iter().all(|entry| entry.weight == entries[0].weight);
        Self { entries, sum, round_robin: equal.then_some(0) }
    }

    /// Turns after which every entry has had a part that is as its weight.
    pub fn cycle(&self) -> u32 {
        match self.round_robin {
            Some(_) => self.entries.len() as u32,
            None => self.sum as u32,
        }
    }

    /// Whose turn it is; the first of those with the most credit.
    pub fn take(&mut self) -> usize {
        if let Some(next) = &mut self.round_robin {
            let chosen = *next;
            *next = (chosen + 1) % self.entries.len();
            return chosen;
        }
        let mut chosen = 0;
        for index in 0..self.entries.len() {
            self.entries[index].credit += self.entries[index].weight;
            if self.entries[index].credit > self.entries[chosen].credit {
                chosen = index;
            }
        }
        self.entries[chosen].credit -= self.sum;
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_are_spread_over_the_cycle() {
        let mut turns = WeightedTurns::new([3, 1]);
        let dealt: Vec<usize> = (0..8).map(|_| turns.take()).collect();
        assert_eq!(dealt, [0, 0, 1, 0, 0, 0, 1, 0]);
        let mut alone = WeightedTurns::new([7]);
        assert_eq!((alone.take(), alone.take()), (0, 0));
    }

    proptest! {
        #[test]
        fn a_cycle_gives_every_entry_its_weight(weights in prop::collection::vec(0_u32..40, 1..8)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let mut turns = WeightedTurns::new(weights.iter().copied());
            let cycle: u32 = weights.iter().sum();
            for _ in 0..3 {
                let mut dealt = vec![0; weights.len()];
                (0..cycle).for_each(|_| dealt[turns.take()] += 1);
                prop_assert_eq!(&dealt, &weights);
            }
        }
    }
}
