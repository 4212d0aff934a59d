//! Differences and quotients of means of a few runs, with the uncertainty that the runs themselves show.
//!
//! Welch's t-test: the two sides need not vary equally, and need not have the same number of runs. The effective degrees
//! of freedom are those of Welch and Satterthwaite (B. L. Welch, "The generalization of 'Student's' problem when several
//! different population variances are involved", Biometrika 34, 1947).
//!
//! What is always positive, a rate or a latency, is compared by the quotient of the means, on a logarithmic scale: the
//! logarithm of a mean varies by the mean's relative error (the delta method). Such an interval never goes below nothing,
//! and is longer upwards, as the noise of latencies is.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The values of one metric, one from each run of a side.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    values: Vec<f64>,
    least_variance: f64,
}

/// A range that covers the true value with the probability it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Sample {
    /// `values`, each of which was measured with a variance of at least `least_variance`, however well a few of them
    /// agree: of counts, that of counting, and of values in buckets, that within a bucket.
    ///
    /// # Panics
    /// If there is no value.
    pub(super) fn new(values: Vec<f64>, least_variance: f64) -> Self {
        assert!(!values.is_empty(), "a side has runs");
        Self { values, least_variance }
    }

    /// One from each run.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Their mean.
    pub(super) fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// Their standard deviation (with n - 1); none of a single run.
    pub(super) fn deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    fn variance(&self) -> Option<f64> {
        let mean = self.mean();
        let squares: f64 = self.values.iter().map(|value| (value - mean).powi(2)).sum();
        (self.values.len() > 1).then(|| squares / (self.values.len() - 1) as f64)
    }

    /// The variance of the mean, as far as the runs tell it, and its degrees of freedom; none of a single run.
    fn uncertainty(&self) -> Option<(f64, f64)> {
        let runs = self.values.len() as f64;
        Some((self.variance()?.max(self.least_variance) / runs, runs - 1.0))
    }
}

/// The interval around `side - factor * baseline` (means) that covers its true value with probability `confidence`, or
/// `None` if a side has a single run: then the noise between runs is unknown.
pub(super) fn interval(side: &Sample, baseline: &Sample, factor: f64, confidence: f64) -> Option<Interval> {
    let (side_variance, side_freedom) = side.uncertainty()?;
    let (baseline_variance, baseline_freedom) = baseline.uncertainty()?;
    let baseline_variance = baseline_variance * factor.powi(2);
    let margin = margin([(side_variance, side_freedom), (baseline_variance, baseline_freedom)], confidence);
    let estimate = side.mean() - factor * baseline.mean();
    Some(Interval { low: estimate - margin, high: estimate + margin })
}

/// The same for values that are never negative: the uncertainty is that of the quotient of the means, so that the side is
/// nowhere in the interval less than nothing.
pub(super) fn relative_interval(side: &Sample, baseline: &Sample, factor: f64, confidence: f64) -> Option<Interval> {
    let [side_mean, baseline_mean] = [side.mean(), baseline.mean()];
    let nothing = -factor * baseline_mean;
    if side_mean <= 0.0 || baseline_mean <= 0.0 {
        // Nothing has no logarithm.
        let Interval { low, high } = interval(side, baseline, factor, confidence)?;
        return Some(Interval { low: low.max(nothing), high });
    }
    let (side_variance, side_freedom) = side.uncertainty()?;
    let (baseline_variance, baseline_freedom) = baseline.uncertainty()?;
    let relative = [
        (side_variance / side_mean.powi(2), side_freedom),
        (baseline_variance / baseline_mean.powi(2), baseline_freedom),
    ];
    let times = margin(relative, confidence).exp();
    Some(Interval { low: side_mean / times + nothing, high: side_mean * times + nothing })
}

/// Half the length of an interval around a sum of two independent estimates with these variances and degrees of freedom.
fn margin([(one, one_freedom), (other, other_freedom)]: [(f64, f64); 2], confidence: f64) -> f64 {
    let variance = one + other;
    if variance == 0.0 {
        return 0.0;
    }
    // Shares, not squares of variances: those of tiny values would not be told from zero.
    let [one, other] = [one, other].map(|part| part / variance);
    let freedom = 1.0 / (one.powi(2) / one_freedom + other.powi(2) / other_freedom);
    quantile(0.5 + confidence / 2.0, freedom) * variance.sqrt()
}

/// The value that Student's t with so many degrees of freedom (at least 1) stays below with `probability`.
fn quantile(probability: f64, freedom: f64) -> f64 {
    let distribution = StudentsT::new(0.0, 1.0, freedom).expect("degrees of freedom are positive");
    distribution.inverse_cdf(probability)
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use statrs::distribution::{LogNormal, Normal};

    use super::*;
    use crate::base::{RandomStream, Seed, StreamPurpose};

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, freedom, expected) in [
            (0.975, 1.0, 12.706),
            (0.975, 2.0, 4.303),
            (0.975, 4.0, 2.776),
            (0.975, 8.0, 2.306),
            (0.975, 30.0, 2.042),
            (0.975, 1_000.0, 1.962),
            (0.995, 4.0, 4.604),
            (0.999, 4.0, 7.173),
            (0.9995, 8.0, 5.041),
        ] {
            let found = quantile(probability, freedom);
            assert!((found - expected).abs() < 1e-3, "t({probability}, {freedom}) is {expected}, not {found}");
        }
    }

    #[test]
    fn quantiles_are_inverses_for_all_numbers_of_runs_and_confidences() {
        for hundredths in (100..20_000).step_by(37) {
            let freedom = f64::from(hundredths) / 100.0;
            let distribution = StudentsT::new(0.0, 1.0, freedom).unwrap();
            for probability in [0.975, 0.99, 0.999, 0.999_9] {
                let back = distribution.cdf(quantile(probability, freedom));
                assert!((back - probability).abs() < 1e-6, "{freedom}: {back} for {probability}");
            }
        }
    }

    #[test]
    fn the_interval_is_welchs() {
        // Worked by hand: means 20.0 and 23.0, variances 1 and 4, n = 3 and 3; t = 3 / sqrt(5/3) = 2.324 with
        // 25/9 / ((1/9 + 16/9) / 2) = 2.941 degrees of freedom, whose 97.5 % quantile is 3.219.
        let baseline = Sample::new(vec![19.0, 20.0, 21.0], 0.0);
        let side = Sample::new(vec![21.0, 23.0, 25.0], 0.0);
        let Interval { low, high } = interval(&side, &baseline, 1.0, 0.95).unwrap();
        assert!((low - (3.0 - 4.156)).abs() < 0.01 && (high - (3.0 + 4.156)).abs() < 0.01, "{low} to {high}");
    }

    #[test]
    fn a_single_run_shows_no_noise() {
        let (one, two) = (Sample::new(vec![1.0], 0.0), Sample::new(vec![1.0, 2.0], 0.0));
        assert_eq!(interval(&one, &two, 1.0, 0.95), None);
        assert_eq!(interval(&two, &one, 1.0, 0.95), None);
        assert_eq!((one.deviation(), two.deviation()), (None, Some(0.5_f64.sqrt())));
    }

    #[test]
    fn runs_that_agree_by_chance_are_no_more_certain_than_their_measurement() {
        let exact = |value| Sample::new(vec![value; 3], 0.0);
        let counted = |value| Sample::new(vec![value; 3], 1.0);
        let certain = interval(&exact(2.0), &exact(1.0), 1.0, 0.95).unwrap();
        assert_eq!(certain, Interval { low: 1.0, high: 1.0 });
        let Interval { low, high } = interval(&counted(2.0), &counted(1.0), 1.0, 0.95).unwrap();
        assert!(low < 0.0 && high > 2.0, "{low} to {high}");
    }

    #[test]
    fn what_is_positive_stays_so() {
        let (baseline, side) = (Sample::new(vec![1.0, 19.0], 0.0), Sample::new(vec![2.0, 20.0], 0.0));
        assert!(interval(&side, &baseline, 1.0, 0.95).unwrap().low < -40.0, "less than nothing");
        let Interval { low, high } = relative_interval(&side, &baseline, 1.0, 0.95).unwrap();
        assert!(low > -10.0 && low < -9.0 && high > 1_000.0, "{low} to {high}");
        // With little noise both are the same; a limit of 5 % is held against 1.05 times the baseline.
        let (baseline, side) = (Sample::new(vec![99.0, 101.0], 0.0), Sample::new(vec![104.0, 106.0], 0.0));
        for factor in [1.0, 1.05] {
            let [plain, relative] = [interval, relative_interval].map(|of| of(&side, &baseline, factor, 0.95).unwrap());
            let apart = [plain.low - relative.low, plain.high - relative.high].map(f64::abs);
            assert!(apart.iter().all(|apart| *apart < 0.5), "{plain:?} {relative:?}");
        }
        let nothing = Sample::new(vec![0.0, 0.0], 1.0);
        let Interval { low, high } = relative_interval(&nothing, &baseline, 1.0, 0.95).unwrap();
        assert!(low == -100.0 && high > -100.0, "{low} to {high}");
    }

    /// How often, of simulated comparisons with `factor` times the baseline, the true difference lies in the interval,
    /// below it and above it.
    fn coverage(
        interval: fn(&Sample, &Sample, f64, f64) -> Option<Interval>,
        runs: [usize; 2],
        factor: f64,
        draw: [&dyn Fn(&mut RandomStream) -> f64; 2],
        truth: f64,
    ) -> [f64; 3] {
        const PAIRS: u32 = 4_000;
        let mut random = Seed::new(42).stream(StreamPurpose::Simulation, 0);
        let mut counts = [0_u32; 3];
        for _ in 0..PAIRS {
            let [baseline, side] =
                [0, 1].map(|index| Sample::new((0..runs[index]).map(|_| draw[index](&mut random)).collect(), 0.0));
            let Interval { low, high } = interval(&side, &baseline, factor, 0.95).unwrap();
            let place = if truth < low {
                1
            } else if truth > high {
                2
            } else {
                0
            };
            counts[place] += 1;
        }
        counts.map(|count| f64::from(count) / f64::from(PAIRS))
    }

    fn uniform(random: &mut RandomStream) -> f64 {
        // Never 0, where a quantile would be infinite.
        ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say_on_normal_noise() {
        // Sides that vary equally; one that varies three times as much; one with fewer runs, too.
        for (runs, deviations) in
            [([3, 3], [1.0, 1.0]), ([5, 5], [1.0, 3.0]), ([3, 5], [1.0, 3.0]), ([5, 3], [1.0, 3.0])]
        {
            let [baseline, side] = deviations.map(|deviation| Normal::new(100.0, deviation).unwrap());
            let [inside, below, above] = coverage(
                interval,
                runs,
                1.0,
                [&|random| baseline.inverse_cdf(uniform(random)), &|random| side.inverse_cdf(uniform(random)) + 5.0],
                5.0,
            );
            assert!((0.93..0.985).contains(&inside), "{runs:?} {deviations:?}: {inside}");
            assert!(below < 0.035 && above < 0.035, "{runs:?} {deviations:?}: {below} below, {above} above");
        }
    }

    #[test]
    fn intervals_of_quotients_cover_the_truth_as_often_on_skewed_noise() {
        // As high percentiles of latency vary: log-normal, a long tail upwards.
        let skewed = LogNormal::new(0.0, 0.5).unwrap();
        for (runs, factor) in [([3, 3], 1.0), ([5, 5], 1.0), ([5, 5], 2.0), ([3, 5], 2.0)] {
            let [inside, below, above] = coverage(
                relative_interval,
                runs,
                factor,
                [&|random| skewed.inverse_cdf(uniform(random)), &|random| factor * skewed.inverse_cdf(uniform(random))],
                0.0,
            );
            assert!((0.92..0.985).contains(&inside), "{runs:?} x {factor}: {inside}");
            // A side that is truly worse by so much is not called worse by more.
            assert!(below < 0.045 && above < 0.045, "{runs:?} x {factor}: {below} below, {above} above");
        }
    }
}
