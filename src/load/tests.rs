//! The plan, its shares and its limit, seen through the public interface.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::base::{Nanos, Seed};

const SECOND: Nanos = Nanos::from_secs(1);
const SEED: Seed = Seed::new(20_260_117);

fn constant(per_s: f64, length: Nanos) -> Segment {
    Segment { shape: Shape::Constant { per_s }, length, stage: 0 }
}

fn ramp(from_per_s: f64, to_per_s: f64, length: Nanos) -> Segment {
    Segment { shape: Shape::Ramp { from_per_s, to_per_s }, length, stage: 0 }
}

fn burst(count: u64, length: Nanos) -> Segment {
    Segment { shape: Shape::Burst { count }, length, stage: 0 }
}

/// Numbers the stages of `segments`.
fn plan(segments: impl IntoIterator<Item = Segment>, limit: Option<u64>) -> Arc<LoadProfile> {
    let segments = segments.into_iter().zip(0..).map(|(segment, stage)| Segment { stage, ..segment }).collect();
    Arc::new(LoadProfile::new(segments, limit).unwrap())
}

fn arrivals(profile: &Arc<LoadProfile>, pattern: ArrivalPattern, share: Share) -> Arrivals {
    Arrivals::new(Arc::clone(profile), pattern, share, SEED)
}

fn all(mut arrivals: Arrivals) -> Vec<(u64, u16)> {
    std::iter::from_fn(|| arrivals.pop()).map(|arrival| (arrival.intended.as_u64(), arrival.stage)).collect()
}

fn uniform(profile: &Arc<LoadProfile>) -> Vec<(u64, u16)> {
    all(arrivals(profile, ArrivalPattern::Uniform, Share::WHOLE))
}

fn poisson(profile: &Arc<LoadProfile>) -> Vec<(u64, u16)> {
    all(arrivals(profile, ArrivalPattern::Poisson, Share::WHOLE))
}

fn in_stage(arrivals: &[(u64, u16)], stage: u16) -> usize {
    arrivals.iter().filter(|arrival| arrival.1 == stage).count()
}

#[test]
fn five_thousand_a_second_for_ten_seconds_are_fifty_thousand() {
    let all = uniform(&plan([constant(5_000.0, Nanos::from_secs(10))], None));
    assert_eq!(all.len(), 50_000);
    assert!(all.iter().zip(0..).all(|(&(intended, _), k)| intended == k * 200_000));
}

#[test]
fn rates_and_lengths_give_their_exact_product() {
    for (per_s, length, count) in [
        (10.0, Nanos::from_secs(60), 600),
        (1_100.1, Nanos::from_secs(10), 11_001),
        (0.1, Nanos::from_secs(10), 1),
        (1.0 / 3.0, Nanos::from_secs(9), 3),
        (20.0 / 60.0, Nanos::from_secs(60), 20),
        (0.3, Nanos::from_secs(10), 3),
        (1e9, Nanos::new(1_000), 1_000),
        (2.5, SECOND, 3),
        (0.000_001, SECOND, 1),
    ] {
        let all = uniform(&plan([constant(per_s, length)], None));
        assert_eq!(all.len(), count, "{per_s}/s for {length}");
        assert!(all.iter().all(|arrival| arrival.0 < length.as_u64()));
    }
}

#[test]
fn evenly_spaced_instants_are_rounded_to_the_nearest_nanosecond() {
    for per_s in [3u64, 7, 300, 9_999, 20_011, 123_457] {
        let profile = plan([constant(per_s as f64, Nanos::from_secs(20))], None);
        for k in (0..per_s * 20).step_by(17) {
            let nearest = (2_000_000_000 * k + per_s) / (2 * per_s);
            assert_eq!(profile.instant_of(k as f64), Some(Nanos::new(nearest)), "arrival {k} of {per_s}/s");
        }
    }
}

#[test]
fn a_ramp_is_quadratic_both_ways() {
    let (up, down) = (plan([ramp(0.0, 200.0, SECOND)], None), plan([ramp(200.0, 0.0, SECOND)], None));
    assert_eq!(uniform(&up).len(), 100);
    assert_eq!(uniform(&down).len(), 100);
    assert_eq!(up.arrivals_by(Nanos::from_millis(500)), 25.0);
    assert_eq!(down.arrivals_by(Nanos::from_millis(500)), 75.0);
    assert_eq!(up.instant_of(25.0), Some(Nanos::from_millis(500)));
    assert_eq!(down.instant_of(75.0), Some(Nanos::from_millis(500)));
    assert_eq!(up.instant_of(0.0), Some(Nanos::ZERO));
    assert_eq!(down.instant_of(0.0), Some(Nanos::ZERO));
    // At the end of the falling ramp the rate is zero: the last millisecond is worth 1e-4 arrivals.
    assert_eq!(down.instant_of(99.9999), Some(Nanos::from_millis(999)));
    assert_eq!(up.peak_per_s(), 200.0);
}

#[test]
fn a_fractional_joint_gives_each_arrival_to_one_segment() {
    // L is 2.5 at the first joint and 4.0 at the second: arrivals 0, 1, 2 | 3 | 4, 5.
    let profile = plan([constant(2.5, SECOND), constant(1.5, SECOND), constant(2.0, SECOND)], None);
    assert_eq!(
        uniform(&profile),
        [(0, 0), (400_000_000, 0), (800_000_000, 0), (1_333_333_333, 1), (2_000_000_000, 2), (2_500_000_000, 2)]
    );
}

#[test]
fn a_plan_cut_into_pieces_is_the_same_plan() {
    let whole = plan([constant(10.0, Nanos::from_secs(6))], None);
    let pieces = plan(std::iter::repeat_n(constant(10.0, Nanos::from_millis(250)), 24), None);
    let instants = |profile| uniform(profile).into_iter().map(|arrival| arrival.0).collect::<Vec<_>>();
    assert_eq!(instants(&whole), instants(&pieces));
}

#[test]
fn bursts_are_at_one_instant_and_exact_in_both_patterns() {
    let profile = plan([constant(2.5, SECOND), burst(1_000, SECOND), constant(0.0, SECOND), burst(7, SECOND)], None);
    for all in [uniform(&profile), poisson(&profile)] {
        let intended_in = |stage| all.iter().filter(move |arrival| arrival.1 == stage).map(|arrival| arrival.0);
        assert_eq!(intended_in(1).count(), 1_000);
        assert!(intended_in(1).all(|intended| intended == 1_000_000_000));
        assert_eq!(intended_in(2).count(), 0);
        assert_eq!(intended_in(3).collect::<Vec<_>>(), [3_000_000_000; 7]);
    }
    assert!(profile.arrivals_by(Nanos::new(999_999_999)) < 2.5);
    assert_eq!(profile.arrivals_by(SECOND), 1_002.5);
    assert_eq!(profile.arrivals_by(Nanos::MAX), 1_009.5);
    assert_eq!(profile.peak_per_s(), 1_000.0);
}

#[test]
fn the_limit_counts_the_last_segment_only() {
    let warmup_and_main = [constant(50.0, SECOND), constant(100.0, Nanos::MAX)];
    let profile = plan(warmup_and_main, Some(30));
    let all = uniform(&profile);
    assert_eq!((in_stage(&all, 0), in_stage(&all, 1)), (50, 30));
    assert_eq!(all.last(), Some(&(1_290_000_000, 1)));
    assert_eq!(profile.length(), Nanos::MAX);
    assert_eq!(profile.arrivals_by(Nanos::MAX), 80.0);
    assert_eq!(profile.instant_of(79.0), Some(Nanos::from_millis(1_290)));
    assert_eq!(profile.instant_of(80.0), None);
    assert_eq!(in_stage(&poisson(&profile), 1), 30);
}

#[test]
fn the_earlier_of_limit_and_length_ends_the_load() {
    let profile = plan([constant(100.0, SECOND)], Some(1_000_000));
    assert_eq!(uniform(&profile).len(), 100);
    assert!((50..150).contains(&poisson(&profile).len()));
    assert_eq!(profile.length(), SECOND);
    let burst_last = plan([constant(100.0, SECOND), burst(50, SECOND)], Some(20));
    assert_eq!(in_stage(&uniform(&burst_last), 1), 20);
    assert_eq!(in_stage(&poisson(&burst_last), 1), 20);
}

#[test]
fn a_load_without_an_end_goes_on() {
    let profile = plan([constant(20_000.0, Nanos::MAX)], None);
    assert_eq!(profile.instant_of(1e9), Some(Nanos::from_secs(50_000)));
    for pattern in [ArrivalPattern::Uniform, ArrivalPattern::Poisson] {
        let mut arrivals = arrivals(&profile, pattern, Share { index: 3, count: 256 });
        let mut taken = 0;
        arrivals.take_until(Nanos::from_secs(100), |_, count| taken += count);
        assert!(arrivals.peek().is_some_and(|next| next.intended >= Nanos::from_secs(100)));
        assert!((7_000..8_600).contains(&taken), "{pattern:?}: {taken}");
    }
    let fastest = plan([constant(MAX_PER_S, Nanos::MAX)], None);
    assert_eq!(fastest.arrivals_by(Nanos::MAX), MAX_ARRIVALS as f64);
    let mut taken = 0;
    arrivals(&fastest, ArrivalPattern::Uniform, Share::WHOLE).take_until(Nanos::MAX, |_, count| taken += count);
    assert_eq!(taken, MAX_ARRIVALS);
}

#[test]
fn a_share_beyond_the_streams_has_no_poisson_arrivals() {
    let profile = plan([constant(1_000.0, Nanos::MAX)], Some(500));
    let beyond = Share { index: POISSON_STREAMS, count: 300 };
    assert_eq!(arrivals(&profile, ArrivalPattern::Poisson, beyond).peek(), None);
    let parts: usize =
        (0..300).map(|index| all(arrivals(&profile, ArrivalPattern::Poisson, Share { index, count: 300 })).len()).sum();
    assert_eq!(parts, 500);
}

#[test]
fn poisson_counts_and_gaps_are_those_of_the_plan() {
    let profile = plan([ramp(0.0, 4_000.0, Nanos::from_secs(5)), constant(2_000.0, Nanos::from_secs(20))], None);
    for seed in 0..20 {
        let arrivals = all(Arrivals::new(Arc::clone(&profile), ArrivalPattern::Poisson, Share::WHOLE, Seed::new(seed)));
        for (stage, mean) in [(0, 10_000.0f64), (1, 40_000.0)] {
            let count = in_stage(&arrivals, stage) as f64;
            assert!((count - mean).abs() < 5.0 * mean.sqrt(), "seed {seed}, stage {stage}: {count}");
        }
        let steady: Vec<f64> =
            arrivals.iter().filter(|arrival| arrival.1 == 1).map(|&(at, _)| at as f64 / 1e9).collect();
        let gaps: Vec<f64> = steady.windows(2).map(|pair| (pair[1] - pair[0]) * 2_000.0).collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // Unit exponentials: the sample mean has variance 1/n, the sample variance has 8/n.
        assert!((mean - 1.0).abs() < 5.0 / count.sqrt(), "seed {seed}: mean gap {mean}");
        assert!((variance - 1.0).abs() < 5.0 * (8.0 / count).sqrt(), "seed {seed}: variance of gaps {variance}");
        let halfway = arrivals.iter().filter(|arrival| arrival.0 < 2_500_000_000).count() as f64;
        assert!((halfway - 2_500.0).abs() < 5.0 * 2_500f64.sqrt(), "seed {seed}: {halfway} halfway up the ramp");
    }
}

#[test]
fn poisson_arrivals_are_repeated_by_their_seed() {
    let profile = plan([constant(1_000.0, SECOND)], None);
    let with = |seed| all(Arrivals::new(Arc::clone(&profile), ArrivalPattern::Poisson, Share::WHOLE, Seed::new(seed)));
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    use LoadProfileError as E;
    let endless = Nanos::MAX;
    for (segments, limit, error) in [
        (vec![], None, E::Empty),
        (vec![constant(-1.0, SECOND)], None, E::Rate { segment: 1, per_s: -1.0 }),
        (vec![constant(1.0, SECOND), ramp(0.0, 1e10, SECOND)], None, E::Rate { segment: 2, per_s: 1e10 }),
        (vec![ramp(0.0, 1.0, Nanos::ZERO)], None, E::NoLength { segment: 1 }),
        (vec![burst(0, SECOND)], None, E::EmptyBurst { segment: 1 }),
        (vec![constant(1.0, endless), constant(1.0, SECOND)], None, E::EndlessNotLast { segment: 1 }),
        (vec![constant(0.0, endless)], Some(5), E::EndlessShape { segment: 1 }),
        (vec![ramp(1.0, 2.0, endless)], Some(5), E::EndlessShape { segment: 1 }),
        (vec![burst(5, endless)], None, E::EndlessShape { segment: 1 }),
        (vec![constant(1.0, SECOND)], Some(0), E::ZeroLimit),
        (vec![constant(0.0, SECOND), ramp(0.0, 0.0, SECOND)], None, E::NoArrivals),
        (vec![burst(u64::MAX, SECOND)], None, E::TooManyArrivals),
        (vec![constant(1e9, Nanos::from_secs(1_000_000))], None, E::TooManyArrivals),
        (vec![constant(1e-9, Nanos::new(u64::MAX - 1)); 2], None, E::TooLong),
    ] {
        assert_eq!(LoadProfile::new(segments, limit).unwrap_err(), error);
    }
    let error = LoadProfile::new(vec![constant(f64::NAN, SECOND)], None).unwrap_err();
    assert_eq!(error.to_string(), "stage 1: NaN arrivals per second is not a rate: it must be from 0 to 1000M/s");
}

fn any_rate() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), (1u32..200).prop_map(f64::from), 0.01..200.0]
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let shape = prop_oneof![
        any_rate().prop_map(|per_s| Shape::Constant { per_s }),
        (any_rate(), any_rate()).prop_map(|(from_per_s, to_per_s)| Shape::Ramp { from_per_s, to_per_s }),
        (1u64..50).prop_map(|count| Shape::Burst { count }),
    ];
    let length = prop_oneof![
        (1u64..4).prop_map(Nanos::from_secs),
        (1u64..2_000).prop_map(Nanos::from_millis),
        (1u64..2_000_000_000).prop_map(Nanos::new),
        Just(Nanos::new(1)),
    ];
    (shape, length).prop_map(|(shape, length)| Segment { shape, length, stage: 0 })
}

fn any_plan() -> impl Strategy<Value = Arc<LoadProfile>> {
    let last = prop_oneof![
        3 => (any_segment(), proptest::option::of(1u64..300)),
        1 => (1.0..200.0, 1u64..300).prop_map(|(per_s, limit)| (constant(per_s, Nanos::MAX), Some(limit))),
    ];
    (proptest::collection::vec(any_segment(), 0..4), last).prop_filter_map(
        "plans no arrivals",
        |(mut segments, last)| {
            segments.push(last.0);
            let segments = segments.into_iter().zip(0..).map(|(segment, stage)| Segment { stage, ..segment }).collect();
            LoadProfile::new(segments, last.1).ok().map(Arc::new)
        },
    )
}

fn any_pattern() -> impl Strategy<Value = ArrivalPattern> {
    prop_oneof![Just(ArrivalPattern::Uniform), Just(ArrivalPattern::Poisson)]
}

fn any_share() -> impl Strategy<Value = Share> {
    (0u32..12, 1u32..12).prop_map(|(index, more)| Share { index, count: index + more })
}

proptest! {
    #[test]
    fn l_and_its_inverse_rise_and_undo_each_other(profile in any_plan(), points in prop::collection::vec(0.0..1.0f64, 2..20)) {
        let end = profile.arrivals_by(Nanos::MAX);
        let mut points = points;
        points.sort_by(f64::total_cmp);
        let instants: Vec<_> = points.iter().map(|point| profile.instant_of(point * end).unwrap()).collect();
        prop_assert!(instants.is_sorted());
        let levels: Vec<_> = instants.iter().map(|&at| profile.arrivals_by(at)).collect();
        prop_assert!(levels.is_sorted());
        for (point, at) in points.iter().map(|point| point * end).zip(instants) {
            // L passes the point within the nanosecond that rounding may move the instant by, or jumps over it there.
            let before = at.as_u64().checked_sub(1).map_or(0.0, |before| profile.arrivals_by(Nanos::new(before)));
            let after = profile.arrivals_by(at + Nanos::new(1));
            prop_assert!(before - 1e-9 <= point && point <= after + 1e-9, "{point} is not in {before}..={after}");
        }
        prop_assert_eq!(profile.instant_of(end), None);
        prop_assert_eq!(profile.instant_of(-0.5), None);
        prop_assert_eq!(profile.instant_of(f64::NAN), None);
    }

    #[test]
    fn evenly_spaced_arrivals_are_the_inverse_of_l(profile in any_plan()) {
        let end = profile.arrivals_by(Nanos::MAX).ceil() as u64;
        let planned: Vec<_> = (0..end).map(|k| profile.instant_of(k as f64).unwrap().as_u64()).collect();
        let arrived: Vec<_> = uniform(&profile).into_iter().map(|arrival| arrival.0).collect();
        prop_assert_eq!(arrived, planned);
    }

    #[test]
    fn arrivals_come_in_order_and_within_the_load(profile in any_plan(), pattern in any_pattern(), share in any_share()) {
        let all = all(arrivals(&profile, pattern, share));
        prop_assert!(all.is_sorted());
        prop_assert!(all.iter().all(|arrival| arrival.0 < profile.length().as_u64()));
    }

    #[test]
    fn shares_partition_the_plan(profile in any_plan(), pattern in any_pattern(), machines in 1u32..7, workers in 1u32..7) {
        let whole = all(arrivals(&profile, pattern, Share::WHOLE));
        let mut union = Vec::new();
        for machine in (0..machines).map(|index| Share { index, count: machines }) {
            let mut of_workers = Vec::new();
            for worker in 0..workers {
                of_workers.extend(all(arrivals(&profile, pattern, machine.split(worker, workers))));
            }
            of_workers.sort_unstable();
            prop_assert_eq!(&of_workers, &all(arrivals(&profile, pattern, machine)));
            union.extend(of_workers);
        }
        union.sort_unstable();
        prop_assert_eq!(union, whole);
    }

    #[test]
    fn taking_until_is_popping_until(
        profile in any_plan(),
        pattern in any_pattern(),
        share in any_share(),
        steps in prop::collection::vec(prop_oneof![0u64..10_000_000_000, (0u64..10).prop_map(|s| s * 1_000_000_000)], 1..10),
        pops in 0usize..5,
    ) {
        let mut steps = steps;
        steps.sort_unstable();
        let mut taking = arrivals(&profile, pattern, share);
        let mut popping = taking.clone();
        for until in steps.into_iter().chain([u64::MAX]).map(Nanos::new) {
            let (mut taken, mut popped) = (Vec::new(), Vec::new());
            taking.take_until(until, |stage, count| taken.extend((0..count).map(|_| stage)));
            while popping.peek().is_some_and(|next| next.intended < until) {
                popped.extend(popping.pop().map(|arrival| arrival.stage));
            }
            prop_assert_eq!(taken, popped);
            for _ in 0..pops {
                prop_assert_eq!(taking.peek(), popping.peek());
                prop_assert_eq!(taking.pop(), popping.pop());
            }
        }
        prop_assert_eq!(taking.peek(), None);
    }

    #[test]
    fn limits_are_exact(per_s in 1.0..300.0, warmup_ms in 1u64..3_000, limit in 1u64..500, pattern in any_pattern(), workers in 1u32..9) {
        let profile = plan([constant(per_s, Nanos::from_millis(warmup_ms)), constant(per_s, Nanos::MAX)], Some(limit));
        let in_main: usize = (0..workers)
            .map(|worker| in_stage(&all(arrivals(&profile, pattern, Share::WHOLE.split(worker, workers))), 1))
            .sum();
        prop_assert_eq!(in_main as u64, limit);
    }

    #[test]
    fn clones_go_on_independently(profile in any_plan(), pattern in any_pattern(), share in any_share(), pops in 0usize..50) {
        let mut original = arrivals(&profile, pattern, share);
        let whole = all(original.clone());
        for _ in 0..pops {
            original.pop();
        }
        prop_assert_eq!(all(original.clone()), &whole[pops.min(whole.len())..]);
        prop_assert_eq!(all(original), &whole[pops.min(whole.len())..]);
    }
}
