//! What a plan has planned by when.

use crate::base::Nanos;
use crate::run::{Lane, LoadPlan, Pace, Population, RunPlan, StagePlan, StepPlan};

/// Steps of a curve.
const STEPS: u32 = 96;

/// Planned arrivals per second over time (seconds), in steps; empty if none are planned, or without an end.
pub(super) fn arrivals(population: &Population) -> Vec<(f64, f64)> {
    let lanes: Vec<_> = population.lanes.iter().filter(|lane| matches!(lane.load, LoadPlan::Open { .. })).collect();
    let length = population.length();
    if lanes.is_empty() || length == Nanos::MAX {
        return Vec::new();
    }
    let by = |t: f64| lanes.iter().map(|lane| arrivals_by(lane, t)).sum::<f64>();
    let step = length.as_secs_f64() / f64::from(STEPS);
    let steps = (0..STEPS).map(|index| (f64::from(index) * step, f64::from(index + 1) * step));
    steps
        .flat_map(|(begin, end)| {
            let rate = (by(end) - by(begin)) / step;
            [(begin, rate), (end, rate)]
        })
        .collect()
}

/// Planned number of clients over time (seconds) in the steps of its closed loops; empty if there are none.
pub(super) fn clients(population: &Population) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for lane in &population.lanes {
        let LoadPlan::Closed { steps, .. } = &lane.load else { continue };
        let mut at = Nanos::new(lane.begins_ns);
        for StepPlan { from, to, duration_ns, .. } in steps {
            points.push((at.as_secs_f64(), f64::from(*from)));
            at += Nanos::new(duration_ns.unwrap_or(0));
            points.push((at.as_secs_f64(), f64::from(*to)));
        }
    }
    points
}

/// The highest sum of rates planned at any time, bursts aside; and the largest burst. Both without the canary's.
pub(super) fn peaks(plan: &RunPlan) -> (f64, u64) {
    let lanes: Vec<_> = plan.asked().flat_map(|population| &population.lanes).collect();
    // Rates are linear between the joints of stages, so a sum of them is largest at one.
    let joints = lanes.iter().flat_map(|lane| joints(lane));
    let rate_at =
        |t| lanes.iter().map(|lane| rates_at(lane, t)).fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
    let peak = joints.map(rate_at).map(|(before, after)| f64::max(before, after)).fold(0.0, f64::max);
    let bursts = lanes.iter().filter_map(|lane| stages(lane)).flatten().filter_map(|stage| match stage.pace {
        Pace::Burst { count } => Some(count),
        Pace::Rate { .. } => None,
    });
    (peak, bursts.max().unwrap_or(0))
}

fn stages(lane: &Lane) -> Option<&[StagePlan]> {
    match &lane.load {
        LoadPlan::Open { stages, .. } => Some(stages),
        _ => None,
    }
}

/// How often the stages of a lane come, and after how long again (nanoseconds).
fn repeats(lane: &Lane) -> (u64, u64) {
    match &lane.load {
        LoadPlan::Open { repeat: Some(repeat), .. } => (u64::from(repeat.times), repeat.every_ns),
        _ => (1, 0),
    }
}

/// Begin and end of each stage of a lane, each time it comes, nanoseconds.
fn joints(lane: &Lane) -> Vec<u64> {
    let (times, every) = repeats(lane);
    let mut joints = Vec::new();
    for time in 0..times {
        let mut at = lane.begins_ns.saturating_add(time.saturating_mul(every));
        for stage in stages(lane).unwrap_or_default() {
            joints.push(at);
            at = at.saturating_add(stage.duration_ns.unwrap_or(u64::MAX));
            joints.push(at);
        }
    }
    joints
}

/// Rates of a lane just before and at `t` (nanoseconds).
fn rates_at(lane: &Lane, t: u64) -> (f64, f64) {
    let (times, every) = repeats(lane);
    let Some(since) = t.checked_sub(lane.begins_ns) else { return (0.0, 0.0) };
    let at = |since: u64, includes_end: bool| {
        let mut begin = match every {
            0 => 0,
            // An end that falls on the next beginning belongs to the time before.
            every => (since.saturating_sub(u64::from(includes_end)) / every).min(times - 1) * every,
        };
        for stage in stages(lane).unwrap_or_default() {
            let length = stage.duration_ns.unwrap_or(u64::MAX);
            let within = since - begin;
            if within < length || includes_end && within == length {
                return match stage.pace {
                    Pace::Burst { .. } => 0.0,
                    Pace::Rate { from_per_s, to_per_s } => {
                        from_per_s + (to_per_s - from_per_s) * (within as f64 / length as f64)
                    }
                };
            }
            begin += length;
            if begin > since {
                break;
            }
        }
        0.0
    };
    (if since == 0 { 0.0 } else { at(since, true) }, at(since, false))
}

/// Arrivals of a lane that are planned by `t` seconds, those at `t` not included.
fn arrivals_by(lane: &Lane, t: f64) -> f64 {
    let stages = stages(lane).unwrap_or_default();
    let once_by = |t: f64| {
        let mut begin = 0.0;
        let mut sum = 0.0;
        for stage in stages {
            let length = stage.duration_ns.map_or(f64::INFINITY, |ns| Nanos::new(ns).as_secs_f64());
            let within = (t - begin).min(length);
            if within <= 0.0 {
                break;
            }
            sum += match stage.pace {
                Pace::Burst { count } => count as f64,
                Pace::Rate { from_per_s, to_per_s } => {
                    from_per_s * within + (to_per_s - from_per_s) * within * within / (2.0 * length)
                }
            };
            begin += length;
        }
        sum
    };
    let (times, every) = repeats(lane);
    let since = t - Nanos::new(lane.begins_ns).as_secs_f64();
    if since <= 0.0 {
        return 0.0;
    }
    match every {
        0 => once_by(since),
        every => {
            let every = Nanos::new(every).as_secs_f64();
            // No time overlaps the next: all but the last that has begun are over.
            let over = (since / every).floor().min(times as f64 - 1.0);
            over * once_by(f64::INFINITY) + once_by(since - over * every)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{Machine, read, resolve};

    fn plan(stages: &[&str]) -> RunPlan {
        let population =
            |(number, stages): (usize, &&str)| format!("[[population]]\nname = \"{number}\"\nstages = [{stages}]\n");
        let text: String = stages.iter().enumerate().map(population).collect();
        let request = read(&format!("engine = \"sim\"\n{text}"), Path::new("test.toml")).unwrap();
        let machine =
            Machine { topology: crate::fleet::Topology::of_cpus([0]), cores: 1, descriptors: 1_000, ports: 1_000 };
        resolve(&request, &machine, &|_, port| Ok(vec![([127, 0, 0, 1], port).into()])).unwrap().plan
    }

    fn area(points: &[(f64, f64)]) -> f64 {
        points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
    }

    #[test]
    fn a_curve_has_all_arrivals() {
        for (stages, all) in [
            ("{ rate = 10, for = \"10s\" }", 100.0),
            ("{ rate = \"0:10/s\", for = \"10s\" }, { rate = 5, for = \"7s\" }", 85.0),
            ("{ rate = 10, for = \"10s\" }, { burst = 50, every = \"3s\" }", 250.0),
            ("{ burst = 7, for = \"3s\" }, { probe = 1, for = \"5s\" }", 12.0),
        ] {
            let points = arrivals(&plan(&[stages]).populations[0]);
            assert!((area(&points) - all).abs() < 1e-6 * all, "{stages}: {}", area(&points));
        }
    }

    #[test]
    fn rates_of_lanes_that_overlap_add_up() {
        assert_eq!(
            peaks(&plan(&["{ rate = \"0:10/s\", for = \"10s\" }", "{ rate = \"10:0/s\", for = \"10s\" }"])),
            (10.0, 0)
        );
        assert_eq!(
            peaks(&plan(&["{ rate = 5, for = \"10s\" }, { rate = 7, for = \"1s\", every = \"4s\" }"])),
            (12.0, 0)
        );
        let busy = "{ rate = 5, for = \"10s\" }, { rate = \"1:9/s\", for = \"4s\", every = \"4s\" }, { burst = 3, every = \"2s\" }";
        assert_eq!(peaks(&plan(&[busy, "{ rate = 1, for = \"9s\" }"])), (15.0, 3));
        assert_eq!(peaks(&plan(&["{ concurrency = 5, for = \"9s\" }"])), (0.0, 0));
    }

    proptest! {
        #[test]
        fn no_instant_is_above_the_peak(
            ramps in prop::collection::vec((1u32..100, 0u32..100, 1u32..9), 1..4),
            event in (0u32..50, 1u32..50, 1u32..3),
        ) {
            let (from, to, length) = event;
            let mut stages: Vec<_> =
                ramps.iter().map(|(from, to, s)| format!("{{ rate = \"{from}:{to}/s\", for = \"{s}s\" }}")).collect();
            stages.push("{ rate = 1, for = \"5s\" }".to_owned());
            stages.push(format!("{{ rate = \"{from}:{to}/s\", for = \"{length}s\", every = \"3s\" }}"));
            let plan = plan(&[&stages.join(", "), "{ rate = \"0:9/s\", for = \"7s\" }"]);
            let (peak, _) = peaks(&plan);
            let most = |t: u64| {
                let lanes = plan.populations.iter().flat_map(|population| &population.lanes);
                lanes.map(|lane| rates_at(lane, t).1).sum::<f64>()
            };
            let sampled = (0..500).map(|step| most(step * 97_000_000)).fold(0.0, f64::max);
            prop_assert!(sampled <= peak + 1e-9, "{sampled} is above {peak}");
        }
    }
}
