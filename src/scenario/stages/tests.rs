use super::*;
use crate::load::Reconnect;

const STORM: StageLoad = StageLoad::Storm { fleet: 200, reconnect: Reconnect::Obs };

/// For so many seconds, without a name.
fn stage(load: StageLoad, seconds: u64) -> StageRequest {
    StageRequest { name: None, load, length: Duration::from_secs(seconds), warmup: false, every: None }
}

fn warmup(load: StageLoad, seconds: u64) -> StageRequest {
    StageRequest { warmup: true, ..stage(load, seconds) }
}

fn every(seconds: u64, stage: StageRequest) -> StageRequest {
    StageRequest { every: Some(Duration::from_secs(seconds)), ..stage }
}

fn rate(text: &str) -> StageLoad {
    StageLoad::Rate(text.parse().unwrap())
}

fn probe(text: &str) -> StageLoad {
    StageLoad::Probe(text.parse().unwrap())
}

fn population(stages: &[StageRequest]) -> PopulationRequest {
    PopulationRequest { name: "encoders".into(), stages: stages.to_vec(), ..PopulationRequest::default() }
}

fn lanes(stages: &[StageRequest]) -> Vec<Lane> {
    super::lanes(&population(stages)).unwrap()
}

/// Each lane's kind, beginning in seconds and names of stages.
fn outline(stages: &[StageRequest]) -> Vec<(&'static str, u64, Vec<String>)> {
    let kind = |load: &LoadPlan| match load {
        LoadPlan::Open { .. } => "open",
        LoadPlan::Closed { .. } => "closed",
        LoadPlan::Storm { .. } => "storm",
    };
    let names = |lane: &Lane| lane.load.stages().map(|stage| stage.name.to_owned()).collect();
    let outlined = |lane: &Lane| (kind(&lane.load), lane.begins_ns / 1_000_000_000, names(lane));
    lanes(stages).iter().map(outlined).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_follows_its_like_is_one_lane() {
    let closed = StageLoad::Concurrency { from: 10, to: 10 };
    let stages = [
        warmup(rate("10/s"), 5),
        stage(rate("0:1k/s"), 10),
        stage(StageLoad::Burst(500), 1),
        stage(closed, 20),
        stage(StageLoad::Concurrency { from: 10, to: 100 }, 20),
        stage(rate("1k/s"), 4),
        stage(STORM, 60),
        stage(STORM, 60),
        stage(probe("2/s"), 30),
        stage(probe("2/s"), 30),
        stage(rate("1k/s"), 5),
    ];
    assert_eq!(
        outline(&stages),
        [
            ("open", 0, names(&["warm-up", "rate 2", "burst 3"])),
            ("closed", 16, names(&["concurrency 4", "concurrency 5"])),
            ("open", 56, names(&["rate 6"])),
            ("storm", 60, names(&["storm 7"])),
            ("storm", 120, names(&["storm 8"])),
            ("open", 180, names(&["probe 9"])),
            ("open", 210, names(&["probe 10"])),
            ("open", 240, names(&["rate 11"])),
        ]
    );
}

#[test]
fn stages_say_what_they_do() {
    let named = StageRequest { name: Some("peak".into()), ..stage(rate("100:2k/s"), 10) };
    let lanes = lanes(&[warmup(rate("10/s"), 5), named, stage(StageLoad::Burst(500), 1)]);
    let plan = |name: &str, warmup, pace, seconds: u64| StagePlan {
        name: name.into(),
        warmup,
        probe: false,
        pace,
        duration_ns: Some(seconds * 1_000_000_000),
    };
    let stages = vec![
        plan("warm-up", true, Pace::Rate { from_per_s: 10.0, to_per_s: 10.0 }, 5),
        plan("peak", false, Pace::Rate { from_per_s: 100.0, to_per_s: 2_000.0 }, 10),
        plan("burst 3", false, Pace::Burst { count: 500 }, 1),
    ];
    let load = LoadPlan::Open { arrival: ArrivalPattern::Uniform, stages, attempts: None, repeat: None };
    assert_eq!(lanes, [Lane { begins_ns: 0, concurrency: 0, load }]);

    let step = |name: &str, warmup, from, to, seconds: u64| StepPlan {
        name: name.into(),
        warmup,
        from,
        to,
        duration_ns: Some(seconds * 1_000_000_000),
    };
    let steady = StageLoad::Concurrency { from: 5, to: 5 };
    let ramp = StageLoad::Concurrency { from: 5, to: 50 };
    let steps = vec![step("warm-up", true, 5, 5, 3), step("concurrency 2", false, 5, 50, 7)];
    let load = LoadPlan::Closed { steps, attempts: None };
    let planned = super::lanes(&population(&[warmup(steady, 3), stage(ramp, 7)])).unwrap();
    assert_eq!(planned, [Lane { begins_ns: 0, concurrency: 0, load }]);

    let load =
        LoadPlan::Storm { name: "storm 1".into(), fleet: 200, reconnect: Reconnect::Obs, duration_ns: 9_000_000_000 };
    assert_eq!(self::lanes(&[stage(STORM, 9)]), [Lane { begins_ns: 0, concurrency: 0, load }]);
}

#[test]
fn arrivals_are_spaced_as_the_population_says() {
    let stages = [stage(rate("1/s"), 9), every(2, stage(StageLoad::Burst(5), 1)), stage(probe("1/s"), 1)];
    let poisson = PopulationRequest { arrival: Some(ArrivalPattern::Poisson), ..population(&stages) };
    for lane in super::lanes(&poisson).unwrap() {
        assert!(matches!(lane.load, LoadPlan::Open { arrival: ArrivalPattern::Poisson, .. }), "{lane:?}");
    }
}

#[test]
fn events_come_until_the_other_stages_are_over() {
    for (seconds, length, times) in [(2, 9, 4), (2, 8, 3), (3, 10, 3), (8, 9, 1)] {
        let stages = [every(seconds, stage(StageLoad::Burst(5), 1)), stage(rate("1/s"), length)];
        let [_, event] = &lanes(&stages)[..] else { panic!("two lanes") };
        let LoadPlan::Open { repeat, ref stages, .. } = event.load else { panic!("{event:?}") };
        let every_ns = seconds * 1_000_000_000;
        assert_eq!((event.begins_ns, repeat), (every_ns, Some(Repeat { every_ns, times })), "{seconds} in {length}");
        assert_eq!(stages[0].name, "burst 1");
    }
    // It stands outside the sequence: what follows it begins when what is before it ends.
    let stages = [stage(rate("1/s"), 5), every(2, stage(probe("1/s"), 1)), stage(rate("2/s"), 5)];
    assert_eq!(outline(&stages), [("open", 0, names(&["rate 1", "rate 3"])), ("open", 2, names(&["probe 2"]))]);
}

#[test]
fn refuses_what_makes_no_load_with_cause_and_remedy() {
    let steady = stage(rate("1/s"), 10);
    for (stages, cause, remedy) in [
        (vec![], "no stages that follow each other", "without `every`"),
        (vec![every(2, stage(StageLoad::Burst(5), 1))], "no stages that follow each other", "without `every`"),
        (vec![steady.clone(), stage(rate("1/s"), 0)], "stage 2 lasts no time", "give it a length"),
        (vec![steady.clone(), warmup(rate("1/s"), 5)], "stage 2 is a warm-up after", "put warm-ups first"),
        (vec![warmup(STORM, 5), steady.clone()], "stage 1 is a storm or a probe", "drop its warmup"),
        (vec![warmup(probe("1/s"), 5), steady.clone()], "stage 1 is a storm or a probe", "drop its warmup"),
        (
            vec![stage(StageLoad::Storm { fleet: 0, reconnect: Reconnect::Obs }, 5)],
            "a storm of no clients",
            "give its fleet at least 1",
        ),
        (
            vec![steady.clone(), every(5, stage(StageLoad::Concurrency { from: 1, to: 1 }, 1))],
            "stage 2 cannot come again and again",
            "rate, burst and probe",
        ),
        (vec![steady.clone(), every(5, stage(STORM, 1))], "cannot come again and again", "rate, burst and probe"),
        (vec![steady.clone(), every(5, warmup(rate("1/s"), 1))], "is an event and a warm-up", "drop one"),
        (vec![steady.clone(), every(5, stage(rate("1/s"), 6))], "before it is over", "shorter than `every`"),
        (vec![steady.clone(), every(5, stage(rate("1/s"), 0))], "before it is over", "above 0"),
        (vec![steady.clone(), every(10, stage(rate("1/s"), 1))], "never comes", "is after 10.0 s"),
        (
            vec![stage(rate("1/s"), 20_002), every(2, stage(rate("1/s"), 1)), every(1, stage(rate("1/s"), 1))],
            "would come 20001 times",
            "make `every` longer",
        ),
    ] {
        let refused = super::lanes(&population(&stages)).unwrap_err().to_string();
        assert!(refused.starts_with("population 'encoders': "), "{refused}");
        assert!(refused.contains(cause) && refused.contains(remedy), "{cause}, {remedy}: {refused}");
        assert!(!refused.contains('\n') && !refused.ends_with('.'), "one sentence: {refused}");
    }
}
